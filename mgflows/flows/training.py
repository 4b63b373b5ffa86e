"""The training stage: freeze a dataset and train on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobflow import Flow, Maker

from mgflows.flows.tags import tag
from mgflows.jobs.dataset import DatasetMaker
from mgflows.jobs.training import TrainingMaker
from mgflows.nep import NepParameters
from mgflows.nep.trainers import GpumdTrainer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobflow import OutputReference

    from mgflows.alloy import Alloy

__all__ = ["TrainingFlowMaker"]


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
        Trains a second potential on another split of the same dataset: its test error says how much of the first one's is owed to the split.
        It is never used for anything else. None leaves it out.
    """

    name: str = "training"
    dataset_maker: DatasetMaker = field(default_factory=DatasetMaker)
    training_maker: TrainingMaker = field(default_factory=TrainingMaker)
    comparison_maker: TrainingMaker | None = None

    def make(
        self,
        alloy: Alloy,
        campaign: str,
        *,
        stage: str,
        generation: int,
        labels: Sequence[OutputReference],
        samples: Sequence[OutputReference],
        clock: OutputReference | None,
        held_out_families: Sequence[str],
        previous_dataset: OutputReference | None = None,
        previous_potential: OutputReference | None = None,
        previous_comparison: OutputReference | None = None,
        trajectory_checks: Sequence[OutputReference] = (),
        scaled_down: str = "",
    ) -> Flow:
        """A flow whose output has ``dataset``, ``potential`` and ``comparison`` (None without a maker for it).

        Parameters
        ----------
        alloy, campaign
            What the dataset is for.
        stage
            The stage these jobs belong to.
        generation
            0 before the feedback step, 1 after it.
        labels, samples, clock, held_out_families, trajectory_checks
            As in :meth:`mgflows.jobs.dataset.DatasetMaker.make`.
        previous_dataset, previous_potential, previous_comparison
            Dataset whose splits are kept, and potentials from which the trainings go on; each must have been trained on the same split.
        scaled_down
            In which way the campaign is smaller than the paper's.
        """
        dataset = self.dataset_maker.make(
            campaign=campaign,
            species=list(alloy.species),
            labels=list(labels),
            samples=list(samples),
            clock=clock,
            held_out_families=list(held_out_families),
            previous=previous_dataset,
            trajectory_checks=list(trajectory_checks),
            scaled_down=scaled_down,
        )
        dataset.name = f"dataset {generation}"
        training = self.training_maker.make(
            dataset.output, generation=generation, **_start(self.training_maker, previous_potential)
        )
        training.name = f"train {generation}"
        jobs = [
            tag(dataset, stage=stage, category="sampling"),
            tag(
                training,
                stage=stage,
                category="training",
                priority=5,
                seconds=_seconds(self.training_maker),
            ),
        ]
        output = {"dataset": dataset.output, "potential": training.output, "comparison": None}
        if self.comparison_maker:
            comparison = self.comparison_maker.make(
                dataset.output,
                generation=generation,
                **_start(self.comparison_maker, previous_comparison),
            )
            comparison.name = f"train {generation} on the {self.comparison_maker.split} split"
            jobs.append(
                tag(
                    comparison,
                    stage=stage,
                    category="training",
                    seconds=_seconds(self.comparison_maker),
                )
            )
            output["comparison"] = comparison.output
        return Flow(jobs, output=output, name=f"{self.name} {generation}")


def _start(maker: TrainingMaker, potential: OutputReference | None) -> dict[str, OutputReference]:
    """Arguments of a training that goes on from a potential; none for GPUMD's trainer, which begins each time anew."""
    if potential is None or not maker.trainer.starts_from_potential:
        return {}
    return {"started_from": potential.potential_id, "initial_potential": potential.nep_txt}


def _seconds(maker: TrainingMaker) -> float:
    """Forecast from docs/training.md: frames of 150 atoms on one CPU core; 807 frames on one H100, whose speed others will not have."""
    trainer = maker.trainer
    if isinstance(trainer, GpumdTrainer):
        return 0.14 * (maker.parameters or NepParameters).generation
    if trainer.device == "cpu":
        return 0.015 * trainer.steps * trainer.batch
    return 20.0 + (3.5e-3 + 5e-5 * trainer.batch) * trainer.steps
