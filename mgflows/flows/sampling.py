"""The sampling stage: glasses over many decades of supercooling, and their effective times."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jobflow import Flow, Maker

from mgflows.errors import InputError
from mgflows.flows.outputs import SamplingOutput
from mgflows.flows.tags import Schedule, tag
from mgflows.jobs.clock import SupercoolingMaker, SurrogateMDMaker
from mgflows.jobs.onset import OnsetMaker
from mgflows.jobs.sampling import SwapMonteCarloMaker
from mgflows.surrogate import LennardJones
from mgflows.surrogate.speed import cooling_seconds, dynamics_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobflow import Job, OutputReference

    from mgflows.alloy import Alloy

__all__ = ["SamplingFlowMaker"]

_TAGS: dict[str, Any] = {"stage": "sampling", "category": "sampling"}


@dataclass
class SamplingFlowMaker(Maker):
    """Swap Monte Carlo coolings, molecular-dynamics coolings, and the clock fitted to both.

    Parameters
    ----------
    name
        Name of the flow.
    samples
        (cooling length in sweeps, number of samples) pairs. The paper cools in 10^4 to 10^9 sweeps
        (Methods, "Sampling PEL with swap-Monte Carlo").
    coolings
        (duration in t*, number of runs) pairs of the molecular dynamics. The paper: 10^2 to 4x10^6
        (section II). Empty: no clock.
    batched_sweeps
        Coolings up to this length share one job per length. Longer ones have a job for each sample,
        or for each batch of up to sixteen samples that are cooled side by side.
    monte_carlo_maker, dynamics_maker, clock_maker
        Makers of the jobs.
    onset_maker
        Measures the onset of supercooling, from which the clock then counts decades; None leaves it
        out.
    seed
        Seed from which every run gets its own.
    """

    name: str = "sampling"
    samples: tuple[tuple[int, int], ...] = (
        (10_000, 20),
        (100_000, 20),
        (1_000_000, 20),
        (10_000_000, 10),
        (100_000_000, 5),
    )
    coolings: tuple[tuple[float, int], ...] = (
        (1e2, 8),
        (3e2, 8),
        (1e3, 8),
        (3e3, 8),
        (1e4, 8),
        (4e4, 4),
    )
    batched_sweeps: int = 10_000
    monte_carlo_maker: SwapMonteCarloMaker = field(default_factory=SwapMonteCarloMaker)
    dynamics_maker: SurrogateMDMaker = field(default_factory=SurrogateMDMaker)
    clock_maker: SupercoolingMaker = field(default_factory=SupercoolingMaker)
    onset_maker: OnsetMaker | None = field(default_factory=OnsetMaker)
    seed: int = 0

    def make(self, alloy: Alloy, existing: Mapping[int, int] | None = None) -> Flow:
        """Make a flow whose output is a :class:`~mgflows.flows.outputs.SamplingOutput`.

        Parameters
        ----------
        alloy
            The alloy.
        existing
            Cooling length to the number of samples already in the campaign; new ones are
            numbered after them.
        """
        first = existing or {}
        if not self.samples or any(n_sweeps < 1 or count < 1 for n_sweeps, count in self.samples):
            raise InputError(
                f"samples is {self.samples}",
                hint="give pairs of cooling length and number of samples, both at least 1",
            )
        lengths = [n_sweeps for n_sweeps, count in sorted(self.samples) for _ in range(count)]
        counters = [
            first.get(n_sweeps, 0) + number
            for n_sweeps, count in sorted(self.samples)
            for number in range(count)
        ]
        families = [
            f"mc-{_short(n_sweeps)}-{number:03d}"
            for n_sweeps, number in zip(lengths, counters, strict=True)
        ]
        seeds = _spawn(self.seed, len(families) + sum(count for _, count in self.coolings) + 1)

        jobs: list[Job] = []
        samples: dict[str, OutputReference] = {}
        for n_sweeps, count in sorted(self.samples):
            group = [
                family
                for family, length in zip(families, lengths, strict=True)
                if length == n_sweeps
            ]
            for members in self._jobs_of(alloy, n_sweeps, count):
                job = self._cool(
                    alloy,
                    n_sweeps,
                    [seeds[families.index(group[number])] for number in members],
                    [group[number] for number in members],
                    samples,
                )
                jobs.append(job)

        lj = self.dynamics_maker.lennard_jones or LennardJones.for_species(alloy.species)
        dynamics, rest = [], iter(seeds[len(families) :])
        for time, count in sorted(self.coolings):
            run = self.dynamics_maker.make(
                alloy, time=time, seeds=[next(rest) for _ in range(count)]
            )
            run.name = f"molecular dynamics t*={time:g}"
            seconds = count * dynamics_seconds(lj, alloy, time)
            dynamics.append(tag(run, **_TAGS, schedule=Schedule(seconds=seconds)))

        jobs += dynamics
        clock = None
        if dynamics:
            onset = None
            if self.onset_maker:
                onset = tag(
                    self.onset_maker.make(alloy, next(rest)),
                    **_TAGS,
                    schedule=Schedule(priority=20, seconds=200.0),
                )
                jobs.append(onset)
            clock = self.clock_maker.make(
                samples=[samples[family] for family in families],
                families=families,
                coolings=[job.output for job in dynamics],
                onset=onset.output if onset else None,
            )
            jobs.append(tag(clock, **_TAGS))
        output = SamplingOutput(
            samples={family: samples[family] for family in families},
            n_sweeps=dict(zip(families, lengths, strict=True)),
            clock=clock.output if clock else None,
        )
        return Flow(jobs, output=output, name=self.name)

    def _jobs_of(self, alloy: Alloy, n_sweeps: int, count: int) -> list[range]:
        """Divide the samples of one length among jobs."""
        if n_sweeps <= self.batched_sweeps:
            return [range(count)]
        return self.monte_carlo_maker.batches(alloy, count)

    def _cool(
        self,
        alloy: Alloy,
        n_sweeps: int,
        seeds: list[int],
        families: list[str],
        samples: dict[str, OutputReference],
    ) -> Job:
        """Make the job of some samples of one length, and add their outputs to `samples`."""
        maker = self.monte_carlo_maker
        lj = maker.lennard_jones or LennardJones.for_species(alloy.species)
        batches = [len(batch) for batch in maker.batches(alloy, len(seeds))]
        seconds = sum(
            cooling_seconds(lj, alloy, n_sweeps + maker.equilibration_sweeps, n_replicas=n)
            for n in batches
        )
        n_processes = min(maker.n_processes or 1, len(batches))
        # The longest runs determine the duration of the stage: they start first.
        schedule = Schedule(10 + len(str(n_sweeps)), seconds / n_processes)
        if n_sweeps > self.batched_sweeps and len(seeds) == 1:
            job = maker.make(alloy, n_sweeps=n_sweeps, seed=seeds[0])
            job.name = f"cool {families[0]}"
            samples[families[0]] = job.output
            return tag(job, **_TAGS, family=families[0], schedule=schedule)
        job = maker.make_set(alloy, n_sweeps, seeds, families)
        job.name = f"cool {len(seeds)} x {_short(n_sweeps)} sweeps"
        samples |= {family: job.output.samples[number] for number, family in enumerate(families)}
        return tag(job, **_TAGS, schedule=schedule)


def _spawn(seed: int, n: int) -> list[int]:
    """Return independent seeds, small enough for JSON and any generator."""
    return [int(child.generate_state(1)[0]) for child in np.random.SeedSequence(seed).spawn(n)]


def _short(n_sweeps: int) -> str:
    """Return ``1e4`` for 10000, ``1.5e6`` for 1500000, and all digits where these are not exact."""
    mantissa, _, exponent = f"{n_sweeps:.6e}".partition("e+")
    text = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return text if float(text) == n_sweeps else str(n_sweeps)
