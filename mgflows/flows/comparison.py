"""A validation as a flow: one job per glass, quench or melt, and a collector."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from jobflow import Flow, Maker

from mgflows.flows.tags import Schedule, set_campaign, tag
from mgflows.jobs.comparison import ComparisonMaker, ValidationSampleMaker
from mgflows.schemas.labels import structure_from_atoms
from mgflows.validation.plan import plan_samples
from mgflows.validation.run import composition_of, unique_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from jobflow import Job

    from mgflows.md.potentials import Potential

__all__ = ["ComparisonFlowMaker"]


@dataclass
class ComparisonFlowMaker(Maker):
    """Validate potentials by independent samples on a cluster.

    Every sample is a job of the category ``md`` and a document. Samples that fail are counted and
    left out. Another flow of the same name with ``first`` adds samples: its collector averages all
    samples in the database.

    Parameters
    ----------
    name
        Name of the validation.
    sample_maker, comparison_maker
        Makers of the jobs; both must have the same suite.
    seed
        Seed of all samples.
    first
        Number of the first quench and melt: the number that the validation already has.

    Examples
    --------
    >>> maker = ComparisonFlowMaker.of_suite("against-eam", "paper")
    >>> maker.sample_maker.suite
    'paper'
    """

    name: str = "validation"
    sample_maker: ValidationSampleMaker = field(default_factory=ValidationSampleMaker)
    comparison_maker: ComparisonMaker = field(default_factory=ComparisonMaker)
    seed: int = 0
    first: int = 0

    @classmethod
    def of_suite(
        cls, name: str, suite: str, *, seed: int = 0, first: int = 0
    ) -> ComparisonFlowMaker:
        """Return the flow Maker of a suite."""
        return cls(
            name=name,
            sample_maker=ValidationSampleMaker(suite=suite),
            comparison_maker=ComparisonMaker(suite=suite),
            seed=seed,
            first=first,
        )

    def make(
        self,
        potentials: Sequence[Potential],
        glasses: Sequence[Atoms],
        label_energies: Sequence[float | None] | None = None,
    ) -> Flow:
        """Make the flow; its output is a :class:`~mgflows.schemas.comparison.ComparisonDocument`.

        Parameters
        ----------
        potentials
            Each must be readable on every worker: files on a shared file system. NEPs travel with
            the jobs.
        glasses
            Structures of one composition.
        label_energies
            Their energies by the labelling method, eV per atom.

        Raises
        ------
        InputError
            For an unknown suite, no glass, several compositions, or a potential that lacks an
            element or cannot be built by another process.
        """
        from mgflows.md.potentials import NepPotential

        composition = composition_of(glasses)
        names = unique_names(potentials)
        structures = [structure_from_atoms(glass) for glass in glasses]
        energies = list(label_energies or []) + [None] * len(glasses)
        jobs: list[Job] = []
        planned: dict[str, int] = {}
        for potential, name in zip(potentials, names, strict=True):
            potential.check_species(list(composition))
            text = (
                potential.text if isinstance(potential, NepPotential) else potential.specification
            )
            tasks = plan_samples(
                self.sample_maker.suite,
                [potential],
                n_glasses=len(glasses),
                glass_atoms=len(glasses[0]),
                seed=self.seed,
                first=self.first,
            )
            planned[name] = len(tasks)
            longest = max((task.seconds for task in tasks), default=0.0)
            for task in tasks:
                fields = asdict(task)
                # The text of a NEP need not be stored twice.
                fields["potential"] = name
                place = task.index % len(glasses)
                job = self.sample_maker.make(
                    self.name,
                    text,
                    name,
                    fields,
                    structures[place],
                    label_energy=energies[place] if task.kind == "glass" else None,
                )
                job.name = f"{name} {task.key}"
                # The longest samples determine the duration of the validation: they start first.
                schedule = Schedule(round(10.0 * task.seconds / (longest or 1.0)), task.seconds)
                jobs.append(
                    tag(
                        job,
                        stage="validation",
                        category="md",
                        family=f"{name} {task.key}",
                        schedule=schedule,
                    )
                )
        collector = self.comparison_maker.make(
            self.name, names, planned, [job.output for job in jobs]
        )
        collector.name = "compare"
        jobs.append(tag(collector, stage="validation", category="md", after_failure=True))
        flow = Flow(jobs, output=collector.output, name=self.name)
        set_campaign(flow, self.name)
        return flow
