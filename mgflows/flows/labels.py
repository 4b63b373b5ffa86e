"""The label stage: single points, relaxed, strained, heated and crystalline structures.

Paper, section II, subsets i to vi.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jobflow import Flow, Job, Maker, OutputReference

from mgflows.errors import InputError
from mgflows.flows.outputs import LabelOutput
from mgflows.flows.tags import Schedule, tag
from mgflows.jobs.fitness import FitnessMaker, SimilarityMaker
from mgflows.jobs.heating import AseHeatingMaker, TrajectoryCheckMaker
from mgflows.jobs.labels import AseLabelMaker, AseRelaxMaker, LabelsSets
from mgflows.jobs.makers import makers_for
from mgflows.jobs.strain import DeformationMaker
from mgflows.schemas.labels import structure_from_atoms
from mgflows.structures.crystals import choose_crystals, crystal_prototypes
from mgflows.surrogate.correlation import choose_pilots

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from mgflows.alloy import Alloy
    from mgflows.methods.base import LabelMethod
    from mgflows.structures.crystal_databases import DatabaseCrystal
    from mgflows.structures.crystals import Crystal

__all__ = ["LabelFlowMaker"]

_STAGE = "labels"
_KINDS = ("static", "relax", "aimd")
_SAMPLES_PER_PILOT = 2
"""A campaign has a gate if it has more than this many samples per pilot label."""


@dataclass
class LabelFlowMaker(Maker):
    """Label the samples of a surrogate and the structures derived from them.

    The flow is static: every job is known before anything runs, and a structure that does not exist
    yet is a reference.

    Parameters
    ----------
    name
        Name of the flow.
    label_maker
        Labels one structure; the contract of :mod:`mgflows.jobs.labels`.
    relax_maker, heating_maker
        Relax and heat one structure with the same method; None leaves their subsets out.
    volume_maker, elastic_maker, crystal_maker
        The strains of the subsets iii, iv and vi; None leaves the subset out.
    fitness_maker
        Evaluates the surrogate with the first labels; all other jobs of this stage wait for its
        verdict (see :class:`~mgflows.jobs.fitness.FitnessMaker` and docs/concepts/fitness.md).
        There is no gate without it, or with at most twice as many samples as pilot labels.
    similarity_maker
        Averages the changes on relaxation by cooling length; None leaves it out.
    trajectory_check_maker
        Compares the last frame of the first heated family with a single point, since a stress of
        molecular dynamics may contain a kinetic part; a dataset refuses such frames. None leaves it
        out.
    relaxed_fraction
        Fraction of the samples that are relaxed, strained and heated (paper: 10 %).
    n_heated
        Number of relaxed samples that are heated; None: all of them.
    n_held_out
        Further samples that are only relaxed and heated, and are entirely in the test set (paper:
        two new trajectories).
    n_crystals
        Largest number of crystals, the elements first and compounds spread over the list; None
        takes all of them.
    crystals
        Crystals of the alloy, such as those of
        :func:`~mgflows.structures.crystal_databases.load_crystals`; those with other elements are
        ignored. None: the shipped ones. The dataset document lists each.
    label_sets
        Label the members of a strained family in one job, for methods that take milliseconds. With
        a density functional use one job per label.
    resources
        Values of the queue file that differ by kind of job (``"static"``, ``"relax"`` or
        ``"aimd"``), such as ``{"relax": {"nodes": 4, "walltime": "24:00:00"}}``. ``qlaunch -r``
        honours them.
    seed
        Seed of the heating runs.
    """

    name: str = "labels"
    label_maker: Maker = field(default_factory=AseLabelMaker)
    relax_maker: Maker | None = field(default_factory=AseRelaxMaker)
    heating_maker: Maker | None = field(default_factory=AseHeatingMaker)
    volume_maker: DeformationMaker | None = field(
        default_factory=lambda: DeformationMaker(name="expand and compress", kind="volume")
    )
    elastic_maker: DeformationMaker | None = field(
        default_factory=lambda: DeformationMaker(name="distort", kind="elastic")
    )
    crystal_maker: DeformationMaker | None = field(
        default_factory=lambda: DeformationMaker(name="strain crystal", kind="crystal")
    )
    relaxed_fraction: float = 0.1
    n_heated: int | None = None
    n_held_out: int = 2
    n_crystals: int | None = None
    crystals: list[Crystal | DatabaseCrystal] | None = None
    fitness_maker: FitnessMaker | None = field(default_factory=FitnessMaker)
    similarity_maker: SimilarityMaker | None = field(default_factory=SimilarityMaker)
    trajectory_check_maker: TrajectoryCheckMaker | None = field(
        default_factory=TrajectoryCheckMaker
    )
    label_sets: bool = True
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = sorted(set(self.resources) - set(_KINDS))
        if unknown:
            raise InputError(
                f"resources has the unknown kind of job {unknown[0]!r}",
                hint=f"the kinds are {', '.join(_KINDS)}",
            )

    def labelled_by(self, method: LabelMethod) -> LabelFlowMaker:
        """Return the same stage with all labels by one method and the paper's tolerances.

        A density functional labels one structure per job.

        Examples
        --------
        >>> from mgflows.methods.gpaw import GpawMethod
        >>> LabelFlowMaker().labelled_by(GpawMethod(n_ranks=32)).label_sets
        False
        """
        makers = makers_for(method)
        return replace(
            self,
            label_maker=makers.label,
            relax_maker=self.relax_maker and makers.relax,
            heating_maker=self.heating_maker and makers.heating,
            label_sets=not method.fingerprint().is_dft,
        )

    def make(
        self,
        alloy: Alloy,
        samples: Mapping[str, OutputReference],
        n_sweeps: Mapping[str, int] | None = None,
    ) -> Flow:
        """Make a flow whose output is a :class:`~mgflows.flows.outputs.LabelOutput`.

        Parameters
        ----------
        alloy
            The alloy, which determines the crystals.
        samples
            Family to its :class:`~mgflows.schemas.sampling.SampleDocument`, shortest cooling first.
        n_sweeps
            Family to its cooling length, so that the first labels are of all lengths; without it
            they are spread over the list.
        """
        families = list(samples)
        relaxed_families, held_out = self._choose(families)
        heated = relaxed_families[::-1][: self.n_heated]
        pilots = self._pilots(families, n_sweeps)
        members = _Members(self.resources, pilots)

        single_points = {
            family: members.add(
                self.label_maker.make(sample.structure),
                "label",
                kind="static",
                subset="lj_surrogate",
                family=family,
                priority=10 if family in pilots else 1,
            )
            for family, sample in samples.items()
        }

        relaxed: dict[str, OutputReference] = {}
        trajectory_checks: list[OutputReference] = []
        if self.relax_maker:
            seeds = np.random.SeedSequence(self.seed).generate_state(
                len(relaxed_families) + len(held_out)
            )
            heating_seeds = iter(seeds.tolist())
            for family in (*relaxed_families, *held_out):
                relax = self.relax_maker.make(samples[family].structure)
                relaxed[family] = members.add(
                    relax, "relax", kind="relax", subset="dft_minimized", family=family, priority=9
                )
                structure = relaxed[family].structure
                if family in relaxed_families:
                    self._strain(
                        members, self.volume_maker, structure, "expanded_compressed", family
                    )
                    self._strain(members, self.elastic_maker, structure, "distorted", family)
                if self.heating_maker and (family in heated or family in held_out):
                    heating = self.heating_maker.make(structure, next(heating_seeds))
                    members.add(
                        heating,
                        "heat",
                        kind="aimd",
                        subset="aimd",
                        family=family,
                        evaluations=self.heating_maker.n_steps,
                    )
                    if self.trajectory_check_maker and not trajectory_checks:
                        trajectory_checks.append(self._check_trajectory(members, heating, family))
            self._add_crystals(members, alloy)
            if self.similarity_maker and relaxed:
                similarity = self.similarity_maker.make(
                    list(relaxed.values()), [samples[family] for family in relaxed]
                )
                members.add(similarity, self.similarity_maker.name)

        jobs = members.finish(self._gate(members, single_points, samples, pilots))
        output = LabelOutput(
            labels=members.labels,
            crystal_labels=members.crystal_labels,
            single_points=single_points,
            relaxed=relaxed,
            held_out_families=list(held_out),
            trajectory_checks=trajectory_checks,
        )
        return Flow(jobs, output=output, name=self.name)

    def _check_trajectory(self, members: _Members, heating: Job, family: str) -> OutputReference:
        """Compare the last frame of a heating with a single point."""
        assert self.trajectory_check_maker is not None
        again = self.label_maker.make(heating.output.structure)
        members.add(again, "label last frame", kind="static", family=family)
        check = self.trajectory_check_maker.make(heating.output, again.output)
        return members.add(check, self.trajectory_check_maker.name, family=family)

    def _add_crystals(self, members: _Members, alloy: Alloy) -> None:
        """Relax and strain the crystals."""
        assert self.relax_maker is not None
        for crystal in self._crystals(alloy):
            family = f"crystal-{crystal.name}".replace(" ", "-")
            relax = self.relax_maker.make(structure_from_atoms(crystal.atoms()))
            pin = {
                "name": crystal.name,
                "identifier": crystal.identifier,
                "source": crystal.source,
            }
            members.add(relax, "relax", kind="relax", subset="crystal", family=family, crystal=pin)
            self._strain(
                members,
                self.crystal_maker,
                relax.output.structure,
                "crystal",
                family,
                crystal=pin,
            )

    def _strain(
        self,
        members: _Members,
        maker: DeformationMaker | None,
        structure: OutputReference,
        subset: str,
        family: str,
        crystal: dict[str, str] | None = None,
    ) -> None:
        if maker is None:
            return
        deformed = members.add(maker.make(structure), maker.name, family=family)
        names = [deformation.name for deformation in maker.deformations]
        if self.label_sets:
            if not isinstance(self.label_maker, LabelsSets):
                raise InputError(
                    f"{type(self.label_maker).__name__} labels one structure per job",
                    hint="use it with LabelFlowMaker(label_sets=False)",
                )
            labels = self.label_maker.make_set(deformed.structures, names)
            members.add(
                labels,
                f"label {maker.name}",
                kind="static",
                subset=subset,
                family=family,
                evaluations=len(names),
                crystal=crystal,
            )
            return
        for number, name in enumerate(names):
            label = self.label_maker.make(deformed.structures[number])
            members.add(
                label,
                f"label {maker.name} {name}",
                kind="static",
                subset=subset,
                family=family,
                crystal=crystal,
            )

    def _pilots(self, families: Sequence[str], n_sweeps: Mapping[str, int] | None) -> set[str]:
        """Return the samples that are labelled before the gate; none without a gate."""
        if (
            self.fitness_maker is None
            or len(families) <= _SAMPLES_PER_PILOT * self.fitness_maker.n_pilots
        ):
            return set()
        positions = choose_pilots(
            [n_sweeps[family] if n_sweeps else 0 for family in families],
            self.fitness_maker.n_pilots,
        )
        return {families[position] for position in positions}

    def _gate(
        self,
        members: _Members,
        single_points: dict[str, OutputReference],
        samples: Mapping[str, OutputReference],
        pilots: set[str],
    ) -> Job | None:
        if self.fitness_maker is None or not pilots:
            return None
        chosen = [family for family in single_points if family in pilots]
        return self.fitness_maker.make(
            labels=[single_points[family] for family in chosen],
            samples=[samples[family] for family in chosen],
            evaluations=dict(members.evaluations),
            n_relaxations=dict(members.n_relaxations),
        )

    def _choose(self, families: Sequence[str]) -> tuple[list[str], list[str]]:
        """Choose families to relax, and to hold out, evenly over the cooling lengths."""
        if not 0.0 <= self.relaxed_fraction <= 1.0:
            raise InputError(
                f"relaxed_fraction is {self.relaxed_fraction:g} but must lie between 0 and 1",
                hint="the paper relaxes 0.1",
            )
        n_relaxed = round(self.relaxed_fraction * len(families))
        n_chosen = n_relaxed + self.n_held_out
        if n_chosen > len(families):
            raise InputError(
                f"{n_relaxed} samples to relax and {self.n_held_out} to hold out are more than all "
                f"{len(families)} samples",
                hint="sample more glasses or lower relaxed_fraction",
            )
        positions = np.unique(np.linspace(0, len(families) - 1, n_chosen).round().astype(int))
        held_out = positions[
            np.linspace(0, len(positions) - 1, self.n_held_out + 2).round().astype(int)[1:-1]
        ]
        return [families[i] for i in positions if i not in held_out], [
            families[i] for i in held_out
        ]

    def _crystals(self, alloy: Alloy) -> list[Crystal | DatabaseCrystal]:
        if self.crystals is None:
            return choose_crystals([*crystal_prototypes(alloy.species)], self.n_crystals)
        own = [crystal for crystal in self.crystals if set(crystal.species) <= set(alloy.species)]
        if not own:
            raise InputError(
                f"none of the {len(self.crystals)} crystals given has only the elements "
                f"{', '.join(alloy.species)}",
                hint="fetch those of this alloy with: mgflows crystals, or give none for the "
                "shipped ones",
            )
        names = Counter(crystal.name for crystal in own)
        if repeated := [name for name, count in names.items() if count > 1]:
            raise InputError(
                f"the crystal {repeated[0]!r} is given more than once",
                hint="give each crystal once, with a unique name",
            )
        return choose_crystals(own, self.n_crystals)


class _Members:
    """The jobs of the stage, their outputs, and the evaluations that wait behind the gate."""

    def __init__(self, resources: dict[str, dict[str, Any]], pilots: Collection[str]) -> None:
        self.labels: list[OutputReference] = []
        self.crystal_labels: list[OutputReference] = []
        self.evaluations: Counter[str] = Counter()
        self.n_relaxations: Counter[str] = Counter()
        self._resources = resources
        self._pilots = pilots
        self._jobs: list[tuple[Job, bool, dict[str, str] | None, dict[str, Any]]] = []

    def add(
        self,
        job: Job,
        name: str,
        *,
        kind: str | None = None,
        subset: str | None = None,
        family: str | None = None,
        priority: int = 0,
        evaluations: int = 1,
        crystal: dict[str, str] | None = None,
    ) -> OutputReference:
        """Add a job and return its output.

        ``kind`` selects the resources; a job without one needs no node and runs where samples are
        cooled.
        """
        job.name = f"{name} {family}" if family else name
        category = "dft" if kind else "sampling"
        is_pilot = subset == "lj_surrogate" and family in self._pilots
        tags = {
            "category": category,
            "subset": subset,
            "family": family,
            "schedule": Schedule(priority, resources=self._resources.get(kind or "", {})),
        }
        self._jobs.append((job, is_pilot, crystal, tags))
        if subset:
            (self.crystal_labels if subset == "crystal" else self.labels).append(job.output)
        # Crystals have few atoms: the cost of a label of a sample does not apply to them.
        if subset and subset != "crystal" and not is_pilot:
            (self.n_relaxations if kind == "relax" else self.evaluations)[subset] += evaluations
        return job.output

    def finish(self, gate: Job | None) -> list[Job]:
        """Tag all jobs; those that are not pilots wait for the gate."""
        jobs = []
        for job, is_pilot, crystal, tags in self._jobs:
            waits_for = None if gate is None or is_pilot else gate.uuid
            tag(job, stage=_STAGE, after_failure=True, gate=waits_for, **tags)
            if crystal:
                # The dataset document copies it.
                job.metadata["mgflows"]["crystal"] = crystal
            jobs.append(job)
        if gate is not None:
            jobs.append(
                tag(gate, stage=_STAGE, category="sampling", schedule=Schedule(priority=10))
            )
        return jobs
