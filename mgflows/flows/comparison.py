"""A validation as a flow: one job per glass, quench or melt, and a collector."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING

from jobflow import Flow, Maker

from mgflows.flows.tags import Schedule, set_campaign, tag
from mgflows.jobs.comparison import ComparisonMaker, FurtherMelts, ValidationSampleMaker
from mgflows.schemas.labels import structure_from_atoms
from mgflows.validation.plan import plan_further_melts, plan_samples, protocol_of
from mgflows.validation.run import check_inputs, unique_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ase import Atoms
    from jobflow import Job
    from pymatgen.core import Structure

    from mgflows.md.potentials import Potential
    from mgflows.validation.plan import SampleTask

__all__ = ["ComparisonFlowMaker"]

_seconds = attrgetter("seconds")


@dataclass
class ComparisonFlowMaker(Maker):
    """Validate potentials by independent samples on a cluster.

    Every sample is a job of the category ``md`` and a document. Samples that fail are counted and
    left out. The collector adds runs of the melts whose viscosity is not converged, and another
    collector, up to the limit of the suite. Another flow of the same name with ``first`` adds
    samples: its collector averages all samples in the database.

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
            element, does not evaluate the first glass or cannot be built by another process.
        """
        from mgflows.md.potentials import NepPotential

        check_inputs(potentials, glasses)
        names = unique_names(potentials)
        structures = [structure_from_atoms(glass) for glass in glasses]
        energies = list(label_energies or []) + [None] * len(glasses)
        tasks, later = (
            plan(
                self.sample_maker.suite,
                potentials,
                n_glasses=len(glasses),
                glass_atoms=len(glasses[0]),
                seed=self.seed,
                first=self.first,
                name_of=lambda potential: names[potentials.index(potential)],
            )
            for plan in (plan_samples, plan_further_melts)
        )
        further = FurtherMelts(
            tasks=later,
            potentials={
                name: each.text if isinstance(each, NepPotential) else each.specification
                for each, name in zip(potentials, names, strict=True)
            },
            glasses=structures[: protocol_of(self.sample_maker.suite).n_melts_most],
        )
        jobs = []
        planned = dict.fromkeys(names, 0)
        # The longest samples determine the duration of the validation: they start first.
        longest = {task.potential: task.seconds for task in sorted(tasks, key=_seconds)}
        for task in tasks:
            planned[task.potential] += 1
            place = task.index % len(glasses)
            job = self._sample(
                task,
                further.potentials[task.potential],
                structures[place],
                label_energy=energies[place] if task.kind == "glass" else None,
                priority=round(10.0 * task.seconds / (longest[task.potential] or 1.0)),
            )
            jobs.append(job)
        return self._flow(jobs, planned, further)

    def add_melts(
        self, melts: Sequence[SampleTask], planned: Mapping[str, int], further: FurtherMelts
    ) -> Flow:
        """Make a flow of further runs of melts and another collector.

        Parameters
        ----------
        melts
            The runs, with the names of their potentials.
        planned
            Potential to the number of its samples so far.
        further
            Potentials, glasses, and the runs that may follow.
        """
        numbers = Counter(task.potential for task in melts)
        jobs = [
            self._sample(
                task,
                further.potentials[task.potential],
                further.glasses[task.index % len(further.glasses)],
            )
            for task in melts
        ]
        return self._flow(jobs, {name: n + numbers[name] for name, n in planned.items()}, further)

    def _sample(
        self,
        task: SampleTask,
        text: str,
        glass: Structure,
        *,
        label_energy: float | None = None,
        priority: int = 0,
    ) -> Job:
        job = self.sample_maker.make(
            self.name, text, task.potential, asdict(task), glass, label_energy=label_energy
        )
        job.name = f"{task.potential} {task.key}"
        return tag(
            job,
            stage="validation",
            category="md",
            family=job.name,
            schedule=Schedule(priority, task.seconds),
        )

    def _flow(self, samples: list[Job], planned: dict[str, int], further: FurtherMelts) -> Flow:
        maker = replace(self.comparison_maker, flow_maker=self if further.tasks else None)
        collector = maker.make(
            self.name,
            list(planned),
            planned,
            [job.output for job in samples],
            # It also carries the reasons of failures.
            further=further if further.tasks or further.failed else None,
        )
        collector.name = "compare"
        tag(collector, stage="validation", category="md")
        flow = Flow([*samples, collector], output=collector.output, name=self.name)
        set_campaign(flow, self.name)
        return flow
