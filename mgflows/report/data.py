"""The data of one report, read from the database once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from mgflows.database.cost import elapsed_seconds
from mgflows.database.glass import choose_potential
from mgflows.jobs.store import join_labels
from mgflows.report import records
from mgflows.schemas.training import subset_order
from mgflows.validation.experiments import load_curves, load_experiments

if TYPE_CHECKING:
    from pathlib import Path

    from mgflows.database import FrameRecord, GlassDatabase
    from mgflows.database.cost import Cost
    from mgflows.report.records import RelaxationRecord, StageCost
    from mgflows.schemas.active_learning import RoundDocument
    from mgflows.schemas.campaign import CampaignDocument
    from mgflows.schemas.comparison import ComparisonDocument
    from mgflows.schemas.fitness import FitnessDocument, SimilarityDocument
    from mgflows.schemas.labels import MethodFingerprint
    from mgflows.schemas.sampling import SampleDocument, SupercoolingDocument
    from mgflows.schemas.training import DatasetDocument, PotentialDocument, Split
    from mgflows.schemas.validation import QuenchDocument, ValidationDocument
    from mgflows.surrogate.correlation import LabelledSample
    from mgflows.validation.experiments import Experiment, MeasuredCurve


@dataclass(frozen=True)
class ReportData:
    """The documents of one campaign, as plain lists.

    An empty list means that the campaign has not reached that stage, or that it failed.

    Parameters
    ----------
    campaign
        The campaign.
    samples
        Family and sample.
    supercooling
        The clock, with the molecular-dynamics coolings it was fitted to.
    frames, relaxations
        Summaries of labelled frames, and relaxed samples before and after the relaxation.
    similarity
        Averages of the relaxations by cooling length; none before all relaxations have ended.
    gate
        The verdict of the first labels; none before it, or without a gate.
    datasets, potentials, quenches, validations
        Documents of the later stages.
    comparisons
        Stored comparisons with other potentials, in which one of the campaign takes part.
    experiments, measured_curves
        Measured values and curves of the alloy.
    costs
        Cost by stage.
    fireworks
        State to the number of fireworks.
    failures
        Name and reason of each failed job.
    wall_seconds
        From the first job's start to the last job's end in s; none if nothing has run.
    """

    campaign: CampaignDocument
    samples: list[tuple[str, SampleDocument]] = field(default_factory=list)
    supercooling: SupercoolingDocument | None = None
    frames: list[FrameRecord] = field(default_factory=list)
    relaxations: list[RelaxationRecord] = field(default_factory=list)
    similarity: SimilarityDocument | None = None
    gate: FitnessDocument | None = None
    datasets: list[DatasetDocument] = field(default_factory=list)
    potentials: list[PotentialDocument] = field(default_factory=list)
    rounds: list[RoundDocument] = field(default_factory=list)
    quenches: list[QuenchDocument] = field(default_factory=list)
    validations: list[ValidationDocument] = field(default_factory=list)
    comparisons: list[ComparisonDocument] = field(default_factory=list)
    experiments: list[Experiment] = field(default_factory=list)
    measured_curves: list[MeasuredCurve] = field(default_factory=list)
    costs: list[StageCost] = field(default_factory=list)
    fireworks: dict[str, int] = field(default_factory=dict)
    failures: list[tuple[str, str]] = field(default_factory=list)
    wall_seconds: float | None = None

    @classmethod
    def from_database(
        cls, database: GlassDatabase, campaign: str, experiments: str | Path | None = None
    ) -> Self:
        """Read a campaign from the database.

        Parity values, which are large, are loaded only for the potential that is shown.

        Parameters
        ----------
        database
            The database.
        campaign
            Name of the campaign.
        experiments
            A file of your own measured values and curves, beside the shipped values.

        Raises
        ------
        InputError
            If there is no such campaign, or the file is wrong.
        """
        measured, curves = load_experiments(experiments), load_curves(experiments)
        description = database.campaign(campaign)
        composition = description.alloy.composition
        status = database.status(campaign)
        samples = database.samples(campaign)
        relaxations = [
            records.relaxation_of(family, label, samples.get(family))
            for family, label in database.relaxations(campaign).items()
        ]
        data = cls(
            campaign=description,
            samples=list(samples.items()),
            supercooling=database.supercooling(campaign),
            frames=database.frames(campaign),
            relaxations=[relaxation for relaxation in relaxations if relaxation is not None],
            similarity=database.similarity(campaign),
            gate=database.gate(campaign),
            datasets=database.datasets(campaign),
            potentials=database.potentials(campaign),
            rounds=database.rounds(campaign),
            quenches=database.quenches(campaign),
            validations=database.validations(campaign),
            comparisons=[
                database.comparison(each.validation) for each in database.comparisons(campaign)
            ],
            experiments=[each for each in measured if each.is_of(composition)],
            measured_curves=[each for each in curves if each.is_of(composition)],
            fireworks=status.states,
            failures=status.failures,
            costs=_costs(database, campaign),
            wall_seconds=elapsed_seconds(database.mongo, campaign),
        )
        best, dataset = data.best_potential, data.dataset
        return replace(
            data,
            potentials=[
                database.potential(p.potential_id) if p is best else p for p in data.potentials
            ],
            datasets=[database.dataset(d.dataset_id) if d is dataset else d for d in data.datasets],
        )

    def potential(
        self, generation: int | None = None, split: Split = "family"
    ) -> PotentialDocument | None:
        """The potential of a generation (the last one by default) and split, or none."""
        found = [
            p for p in self.potentials if p.split == split and generation in (None, p.generation)
        ]
        return max(found, key=lambda p: p.generation, default=None)

    @property
    def best_potential(self) -> PotentialDocument | None:
        """The potential to use: the last one, of the family split if there is one."""
        return choose_potential(self.potentials) if self.potentials else None

    @property
    def dataset(self) -> DatasetDocument | None:
        """The dataset of the last potential, or else the largest one."""
        best = self.best_potential
        same = [
            dataset
            for dataset in self.datasets
            if best is not None and dataset.dataset_id == best.dataset_id
        ]
        return (
            same[0]
            if same
            else max(self.datasets, key=lambda dataset: dataset.n_frames, default=None)
        )

    @property
    def validation(self) -> ValidationDocument | None:
        """The validation of the last potential, or else the last validation."""
        best = self.best_potential
        same = [
            v for v in self.validations if best is not None and v.potential_id == best.potential_id
        ]
        found = same or self.validations
        return found[-1] if found else None

    @property
    def fingerprint(self) -> MethodFingerprint | None:
        """The method of the labels, of the dataset or else of the campaign."""
        dataset = self.dataset
        return dataset.fingerprint if dataset is not None else self.campaign.fingerprint

    @property
    def is_dft(self) -> bool | None:
        """Whether the labels are density-functional results; none if the method is not known."""
        return None if self.fingerprint is None else self.fingerprint.is_dft

    @property
    def is_stand_in(self) -> bool:
        """Whether a stand-in labels the structures in place of DFT."""
        return self.fingerprint is not None and self.fingerprint.is_stand_in

    @property
    def method_name(self) -> str:
        """Name of the labelling method on axes; ``DFT`` only for density functionals."""
        if self.is_dft:
            return "DFT"
        return "stand-in" if self.is_stand_in else "label"

    @property
    def frame_counts(self) -> dict[str, int]:
        """Number of labelled frames by subset, those of the paper first."""
        dataset = self.dataset
        counts = (
            {s: c["frames"] for s, c in dataset.counts.items()}
            if dataset is not None
            else Counter(f.subset for f in self.frames)
        )
        return {subset: counts[subset] for subset in sorted(counts, key=subset_order)}

    @property
    def labelled_samples(self) -> list[LabelledSample]:
        """Every sample with a label of the same structure, shortest cooling first."""
        labels = {frame.family: frame for frame in self.frames if frame.subset == "lj_surrogate"}
        return join_labels(dict(self.samples), labels)

    @property
    def energy_records(self) -> list[tuple[int, float, float]]:
        """Cooling length and energies of surrogate and label (eV per atom) of labelled samples."""
        return [
            (sample.n_sweeps, sample.energy_lj, sample.energy_label)
            for sample in self.labelled_samples
        ]

    @property
    def clock(self) -> records.Clock | None:
        """The supercooling clock."""
        return records.clock_of(self.supercooling) if self.supercooling is not None else None


def _costs(database: GlassDatabase, campaign: str) -> list[StageCost]:
    """Sum the cost of the finished jobs by stage, in the order of the stages."""
    stages: dict[str, list[Cost]] = {}
    for cost in database.cost(campaign):
        stages.setdefault(cost.stage or "other", []).append(cost)
    return [
        records.StageCost(
            stage=stage,
            n_jobs=sum(cost.n for cost in costs),
            wall_seconds=3600.0 * sum(cost.wall_hours for cost in costs),
            cpu_seconds=3600.0 * sum(cost.core_hours for cost in costs),
        )
        for stage, costs in stages.items()
    ]
