"""The training stage: freeze a dataset and train on it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from jobflow import Flow, Maker

from mgflows.flows.tags import tag
from mgflows.jobs.dataset import DatasetMaker
from mgflows.jobs.training import TrainingMaker

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
    compare_splits
        Train a second potential, from random parameters, on the other split of the same dataset: its test error says how much of the first
        one's is owed to the split. It is never used for anything else.
    """

    name: str = "training"
    dataset_maker: DatasetMaker = field(default_factory=DatasetMaker)
    training_maker: TrainingMaker = field(default_factory=TrainingMaker)
    compare_splits: bool = False

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
        scaled_down: str = "",
    ) -> Flow:
        """A flow whose output has ``dataset``, ``potential`` and ``comparison`` (None without ``compare_splits``).

        Parameters
        ----------
        alloy, campaign
            What the dataset is for.
        stage
            The stage these jobs belong to.
        generation
            0 before the feedback step, 1 after it.
        labels, samples, clock, held_out_families
            As in :meth:`mgflows.jobs.dataset.DatasetMaker.make`.
        previous_dataset, previous_potential
            Dataset whose splits are kept and potential from which the training goes on.
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
            scaled_down=scaled_down,
        )
        dataset.name = f"dataset {generation}"
        start = {}
        if previous_potential is not None:
            start = {"started_from": previous_potential.potential_id, "initial_potential": previous_potential.nep_txt}
        training = self.training_maker.make(dataset.output, generation=generation, **start)
        training.name = f"train {generation}"
        # Forecast for a CPU: 23 ms a frame of 150 atoms and step (docs/training.md).
        seconds = 0.023 * getattr(self.training_maker.trainer, "steps", 0) * getattr(self.training_maker.trainer, "batch", 0)
        jobs = [
            tag(dataset, stage=stage, category="sampling"),
            tag(training, stage=stage, category="training", priority=5, seconds=seconds),
        ]
        output = {"dataset": dataset.output, "potential": training.output, "comparison": None}
        if self.compare_splits:
            other = "paper" if self.training_maker.split == "family" else "family"
            comparison = replace(self.training_maker, split=other).make(dataset.output, generation=generation)
            comparison.name = f"train {generation} on the {other} split"
            jobs.append(tag(comparison, stage=stage, category="training", seconds=seconds))
            output["comparison"] = comparison.output
        return Flow(jobs, output=output, name=f"{self.name} {generation}")
