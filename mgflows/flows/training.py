"""The training stage: freeze a dataset and train on it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from jobflow import Flow, Maker

from mgflows.flows.outputs import TrainingOutput
from mgflows.flows.tags import Schedule, tag
from mgflows.jobs.dataset import DatasetInputs, DatasetMaker
from mgflows.jobs.training import TrainingMaker
from mgflows.nep import NepParameters
from mgflows.nep.trainers import GpumdTrainer
from mgflows.nep.training.trainer import NepTrainer

if TYPE_CHECKING:
    from jobflow import OutputReference

    from mgflows.alloy import Alloy
    from mgflows.jobs.committee import CommitteeMemberMaker

__all__ = ["DatasetInputs", "TrainingFlowMaker", "training_seconds"]


@dataclass
class TrainingFlowMaker(Maker):
    """Collect labels into a dataset and train a potential on it.

    Parameters
    ----------
    name
        Name of the flow.
    dataset_maker, training_maker
        Makers of the jobs.
    comparison_maker
        Trains a second potential on another split of the same dataset. The difference of the two
        test errors is the effect of the split; the second potential has no other use. None leaves
        it out.
    """

    name: str = "training"
    dataset_maker: DatasetMaker = field(default_factory=DatasetMaker)
    training_maker: TrainingMaker = field(default_factory=TrainingMaker)
    comparison_maker: TrainingMaker | None = None

    def with_scale(self, scaled_down: str) -> TrainingFlowMaker:
        """Return the same Maker for potentials of a campaign that is smaller than the paper's.

        Parameters
        ----------
        scaled_down
            How it is smaller; trainings that already state it are not changed.
        """

        def scaled(maker: TrainingMaker) -> TrainingMaker:
            return replace(maker, scaled_down=maker.scaled_down or scaled_down)

        return replace(
            self,
            training_maker=scaled(self.training_maker),
            comparison_maker=self.comparison_maker and scaled(self.comparison_maker),
        )

    def make(
        self,
        alloy: Alloy,
        campaign: str,
        inputs: DatasetInputs,
        *,
        stage: str = "training",
        generation: int = 0,
        previous: TrainingOutput | None = None,
        start: OutputReference | None = None,
        gate: str | None = None,
    ) -> Flow:
        """Make a flow whose output is a :class:`~mgflows.flows.outputs.TrainingOutput`.

        Parameters
        ----------
        alloy, campaign
            Alloy and campaign of the dataset.
        inputs
            Inputs of the dataset.
        stage
            The stage of these jobs.
        generation
            0 before the feedback stage, 1 after it.
        previous
            Output of an earlier training: its splits are kept and its potentials are the start of
            the new ones, each of the same split.
        start
            Potential to start from whose dataset is not continued, such as the student of a
            teacher.
        gate
            Uuid of the training whose potential must have passed its acceptance.
        """
        dataset = self.dataset_maker.make(
            campaign, list(alloy.species), inputs, previous.dataset if previous else None
        )
        dataset.name = f"dataset {generation}"
        jobs = [tag(dataset, stage=stage, category="sampling", gate=gate)]

        def train(
            maker: TrainingMaker, name: str, start: OutputReference | None, priority: int
        ) -> OutputReference:
            training = maker.make(dataset.output, generation=generation, **_start(maker, start))
            training.name = name
            schedule = Schedule(priority=priority, seconds=training_seconds(maker))
            jobs.append(
                tag(training, stage=stage, category="training", gate=gate, schedule=schedule)
            )
            return training.output

        potential = train(
            self.training_maker,
            f"train {generation}",
            previous.potential if previous else start,
            priority=5,
        )
        comparison = self.comparison_maker and train(
            self.comparison_maker,
            f"train {generation} on the {self.comparison_maker.split} split",
            previous.comparison if previous else start,
            priority=0,
        )
        output = TrainingOutput(dataset.output, potential, comparison)
        return Flow(jobs, output=output, name=f"{self.name} {generation}")


def _start(maker: TrainingMaker, potential: OutputReference | None) -> dict[str, OutputReference]:
    """Return the arguments to start a training from a potential; empty if the trainer cannot."""
    if potential is None or not maker.trainer.starts_from_potential:
        return {}
    return {"started_from": potential.potential_id, "initial_potential": potential.nep_txt}


def training_seconds(maker: TrainingMaker | CommitteeMemberMaker) -> float:
    """Estimate the run time of a training in s from docs/how_to/training.md.

    Frames of 150 atoms on one CPU core, or 807 frames on one H100; other GPUs are slower.
    """
    trainer = maker.trainer
    if isinstance(trainer, GpumdTrainer):
        return 0.14 * (maker.parameters or NepParameters).generation
    if isinstance(trainer, NepTrainer):
        return 10.0 + 0.0015 * trainer.steps * trainer.batch
    if trainer.device == "cpu":
        return 0.015 * trainer.steps * trainer.batch
    return 20.0 + (3.5e-3 + 5e-5 * trainer.batch) * trainer.steps
