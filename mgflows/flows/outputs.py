"""Outputs of the stages: references that later stages use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from monty.json import MSONable

if TYPE_CHECKING:
    from jobflow import OutputReference

__all__ = ["FeedbackOutput", "LabelOutput", "SamplingOutput", "TrainingOutput"]


@dataclass(frozen=True)
class SamplingOutput(MSONable):
    """Output of the sampling stage.

    Parameters
    ----------
    samples
        Family to its :class:`~mgflows.schemas.sampling.SampleDocument`, shortest cooling first.
    n_sweeps
        Family to its cooling length in sweeps.
    clock
        The :class:`~mgflows.schemas.sampling.SupercoolingDocument`, if there is one.
    """

    samples: dict[str, OutputReference]
    n_sweeps: dict[str, int]
    clock: OutputReference | None = None


@dataclass(frozen=True)
class LabelOutput(MSONable):
    """Output of the label stage.

    Parameters
    ----------
    labels, crystal_labels
        Label documents of glasses and of crystals.
    single_points, relaxed
        Family to the label of its sample, and to that of its relaxed structure.
    held_out_families
        Families that are entirely in the test set.
    trajectory_checks
        Comparisons of a trajectory with a single point.
    """

    labels: list[OutputReference]
    crystal_labels: list[OutputReference]
    single_points: dict[str, OutputReference]
    relaxed: dict[str, OutputReference]
    held_out_families: list[str]
    trajectory_checks: list[OutputReference] = field(default_factory=list)


@dataclass(frozen=True)
class TrainingOutput(MSONable):
    """Output of a training.

    Parameters
    ----------
    dataset, potential
        The :class:`~mgflows.schemas.training.DatasetDocument` and the
        :class:`~mgflows.schemas.training.PotentialDocument`.
    comparison
        The potential trained on another split, if there is one.
    """

    dataset: OutputReference
    potential: OutputReference
    comparison: OutputReference | None = None


@dataclass(frozen=True)
class FeedbackOutput(MSONable):
    """Output of the feedback stage.

    Parameters
    ----------
    labels, quenches
        Family, or family and number where every configuration has a job, to the labels of its
        configurations; family to its :class:`~mgflows.schemas.validation.QuenchDocument`.
    """

    labels: dict[str, OutputReference]
    quenches: dict[str, OutputReference]
