"""The label stage: single points, relaxations, strained, heated and crystalline structures (paper, section II, subsets i to vi)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jobflow import Flow, Job, Maker, OutputReference

from mgflows.errors import InputError
from mgflows.flows.tags import tag
from mgflows.jobs.aimd import AseHeatingMaker
from mgflows.jobs.labels import AseLabelMaker, AseRelaxMaker
from mgflows.jobs.strain import DeformationMaker
from mgflows.schemas.labels import structure_from_atoms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mgflows.alloy import Alloy

__all__ = ["LabelFlowMaker"]

_STAGE = "labels"


@dataclass
class LabelFlowMaker(Maker):
    """Label the samples of a surrogate and everything derived from them.

    Every member is known before anything runs, so that the flow is static: a structure that does not exist yet is a reference.

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
    relaxed_fraction
        Fraction of the samples that are relaxed, strained and heated (paper: 10 %).
    n_heated
        How many of the relaxed samples are heated; None: all of them.
    n_held_out
        Further samples that are only relaxed and heated, and lie wholly in the test set (paper: two new trajectories).
    n_crystals
        Largest number of crystal prototypes, the elements first and compounds spread over the list; None takes all that are known.
    label_sets
        Label the members of a strained family in one job: right for methods of milliseconds, wrong for a density functional.
    seed
        Seed of the heating runs.
    """

    name: str = "labels"
    label_maker: AseLabelMaker = field(default_factory=AseLabelMaker)
    relax_maker: AseRelaxMaker | None = field(default_factory=AseRelaxMaker)
    heating_maker: AseHeatingMaker | None = field(default_factory=AseHeatingMaker)
    volume_maker: DeformationMaker | None = field(default_factory=lambda: DeformationMaker(name="expand and compress", kind="volume"))
    elastic_maker: DeformationMaker | None = field(default_factory=lambda: DeformationMaker(name="distort", kind="elastic"))
    crystal_maker: DeformationMaker | None = field(default_factory=lambda: DeformationMaker(name="strain crystal", kind="crystal"))
    relaxed_fraction: float = 0.1
    n_heated: int | None = None
    n_held_out: int = 2
    n_crystals: int | None = None
    label_sets: bool = True
    seed: int = 0

    def make(self, alloy: Alloy, families: Sequence[str], samples: Sequence[OutputReference]) -> Flow:
        """A flow over the samples.

        Parameters
        ----------
        alloy
            The alloy; decides which crystals are added.
        families, samples
            Name of each sample and reference to its :class:`~mgflows.schemas.sampling.SampleDocument`, shortest cooling first.

        Returns
        -------
        flow
            Output: ``labels`` (references to the label documents of glasses), ``crystal_labels``, ``single_points`` and ``relaxed`` (by family), ``held_out_families``.
        """
        relaxed_families, held_out = self._choose(families)
        heated = relaxed_families[::-1][: self.n_heated]
        reference_of = dict(zip(families, samples, strict=True))
        jobs: list[Job] = []
        labels: list[OutputReference] = []
        crystal_labels: list[OutputReference] = []

        def add(job: Job, name: str, *, subset: str | None = None, family: str, priority: int = 0) -> OutputReference:
            job.name = f"{name} {family}"
            jobs.append(tag(job, stage=_STAGE, category="dft", subset=subset, family=family, priority=priority, after_failure=True))
            if subset:
                (crystal_labels if subset == "crystal" else labels).append(job.output)
            return job.output

        def strain(maker: DeformationMaker | None, structure: Any, subset: str, family: str) -> None:
            if maker is None:
                return
            deformed = add(maker.make(structure), maker.name, family=family)
            names = [deformation.name for deformation in maker.deformations]
            if self.label_sets:
                add(self.label_maker.make_set(deformed.structures, names), f"label {maker.name}", subset=subset, family=family)
                return
            for number, name in enumerate(names):
                add(self.label_maker.make(deformed.structures[number]), f"label {maker.name} {name}", subset=subset, family=family)

        single_points = {
            family: add(self.label_maker.make(sample.structure), "label", subset="lj_surrogate", family=family, priority=1)
            for family, sample in reference_of.items()
        }

        relaxed: dict[str, OutputReference] = {}
        heating_seeds = iter(np.random.SeedSequence(self.seed).generate_state(len(relaxed_families) + len(held_out)).tolist())
        if self.relax_maker:
            for family in (*relaxed_families, *held_out):
                relax = self.relax_maker.make(reference_of[family].structure)
                relaxed[family] = add(relax, "relax", subset="dft_minimized", family=family, priority=9)
                structure = relaxed[family].structure
                if family in relaxed_families:
                    strain(self.volume_maker, structure, "expanded_compressed", family)
                    strain(self.elastic_maker, structure, "distorted", family)
                if self.heating_maker and (family in heated or family in held_out):
                    add(self.heating_maker.make(structure, next(heating_seeds)), "heat", subset="aimd", family=family)
            for crystal in self._crystals(alloy):
                family = f"crystal-{crystal.name}".replace(" ", "-")
                relax = add(self.relax_maker.make(structure_from_atoms(crystal.atoms())), "relax", subset="crystal", family=family)
                strain(self.crystal_maker, relax.structure, "crystal", family)

        output = {
            "labels": labels,
            "crystal_labels": crystal_labels,
            "single_points": single_points,
            "relaxed": relaxed,
            "held_out_families": list(held_out),
        }
        return Flow(jobs, output=output, name=self.name)

    def _choose(self, families: Sequence[str]) -> tuple[list[str], list[str]]:
        """Families to relax, and to hold out: spread evenly over the cooling lengths, without overlap."""
        if not 0.0 <= self.relaxed_fraction <= 1.0:
            raise InputError(f"relaxed_fraction is {self.relaxed_fraction:g} but must lie between 0 and 1; the paper relaxes 0.1")
        n_relaxed = round(self.relaxed_fraction * len(families))
        n_chosen = n_relaxed + self.n_held_out
        if n_chosen > len(families):
            raise InputError(
                f"{n_relaxed} samples to relax and {self.n_held_out} to hold out are more than the {len(families)} samples there are; "
                "sample more glasses or lower relaxed_fraction"
            )
        positions = np.unique(np.linspace(0, len(families) - 1, n_chosen).round().astype(int))
        held_out = positions[np.linspace(0, len(positions) - 1, self.n_held_out + 2).round().astype(int)[1:-1]]
        return [families[i] for i in positions if i not in held_out], [families[i] for i in held_out]

    def _crystals(self, alloy: Alloy) -> list[Any]:
        from mgflows.structures.crystals import crystal_prototypes

        prototypes = crystal_prototypes(alloy.species)
        if self.n_crystals is None or len(prototypes) <= self.n_crystals:
            return prototypes
        elements = [crystal for crystal in prototypes if len(crystal.species) == 1][: self.n_crystals]
        compounds = [crystal for crystal in prototypes if len(crystal.species) > 1]
        chosen = np.linspace(0, len(compounds) - 1, self.n_crystals - len(elements)).round().astype(int)
        return [*elements, *(compounds[position] for position in chosen)]
