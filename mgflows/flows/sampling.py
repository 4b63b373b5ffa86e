"""The sampling stage: glasses over many decades of supercooling, and the clock that dates them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jobflow import Flow, Maker

from mgflows.errors import InputError
from mgflows.flows.tags import tag
from mgflows.jobs.sampling import SupercoolingMaker, SurrogateMDMaker, SwapMonteCarloMaker

if TYPE_CHECKING:
    from mgflows.alloy import Alloy

__all__ = ["SamplingFlowMaker"]

_MOVES_PER_SECOND = 4e6
"""Monte Carlo moves of one core, for forecasts (docs/performance.md)."""
_PAIRS_PER_REDUCED_TIME = 4.5e6
"""Molecular dynamics of one core, for forecasts: squared number of atoms times t*, per second."""


@dataclass
class SamplingFlowMaker(Maker):
    """Swap Monte Carlo coolings, molecular-dynamics coolings of the same surrogate, and the clock fitted to both.

    Parameters
    ----------
    name
        Name of the flow.
    samples
        (cooling length in sweeps, number of samples) pairs. The paper cools in 10^4 to 10^9 sweeps (Methods, "Sampling PEL with swap-Monte Carlo").
    coolings
        (duration in t*, number of runs) pairs of the molecular dynamics. The paper: 10^2 to 4x10^6 (section II). Empty: no clock.
    monte_carlo_maker, dynamics_maker, clock_maker
        Makers of the jobs.
    seed
        Seed from which every run gets its own.
    """

    name: str = "sampling"
    samples: tuple[tuple[int, int], ...] = ((10_000, 20), (100_000, 20), (1_000_000, 20), (10_000_000, 10), (100_000_000, 5))
    coolings: tuple[tuple[float, int], ...] = ((1e2, 8), (3e2, 8), (1e3, 8), (3e3, 8), (1e4, 8), (4e4, 4))
    monte_carlo_maker: SwapMonteCarloMaker = field(default_factory=SwapMonteCarloMaker)
    dynamics_maker: SurrogateMDMaker = field(default_factory=SurrogateMDMaker)
    clock_maker: SupercoolingMaker = field(default_factory=SupercoolingMaker)
    seed: int = 0

    def make(self, alloy: Alloy) -> Flow:
        """A flow whose output has ``families`` (names), ``n_sweeps``, ``samples`` (references, in the same order) and ``clock``."""
        if not self.samples or any(n_sweeps < 1 or count < 1 for n_sweeps, count in self.samples):
            raise InputError(f"samples is {self.samples}; give pairs of cooling length and number of samples, both at least 1")
        lengths = [n_sweeps for n_sweeps, count in sorted(self.samples) for _ in range(count)]
        counters = [number for _, count in sorted(self.samples) for number in range(count)]
        families = [f"mc-{n_sweeps:.0e}-{number:03d}".replace("e+0", "e") for n_sweeps, number in zip(lengths, counters, strict=True)]
        seeds = _spawn(self.seed, len(families) + sum(count for _, count in self.coolings))

        samples = []
        for family, n_sweeps, seed in zip(families, lengths, seeds, strict=False):
            sample = self.monte_carlo_maker.make(alloy, n_sweeps=n_sweeps, seed=seed)
            sample.name = f"cool {n_sweeps:.0e} sweeps {family}"
            # The longest runs decide how long the stage takes: they start first.
            seconds = n_sweeps * alloy.n_atoms / _MOVES_PER_SECOND
            priority = 10 + len(str(n_sweeps))
            samples.append(tag(sample, stage="sampling", category="sampling", family=family, priority=priority, seconds=seconds))

        dynamics, rest = [], iter(seeds[len(families) :])
        for time, count in sorted(self.coolings):
            run = self.dynamics_maker.make(alloy, time=time, seeds=[next(rest) for _ in range(count)])
            run.name = f"molecular dynamics t*={time:g}"
            seconds = count * time * alloy.n_atoms**2 / _PAIRS_PER_REDUCED_TIME
            dynamics.append(tag(run, stage="sampling", category="sampling", seconds=seconds))

        jobs = [*samples, *dynamics]
        output = {"families": families, "n_sweeps": lengths, "samples": [job.output for job in samples], "clock": None}
        if dynamics:
            clock = self.clock_maker.make(
                samples=[job.output for job in samples], families=families, coolings=[job.output for job in dynamics]
            )
            jobs.append(tag(clock, stage="sampling", category="sampling"))
            output["clock"] = clock.output
        return Flow(jobs, output=output, name=self.name)


def _spawn(seed: int, n: int) -> list[int]:
    """Seeds that are independent of each other and small enough for JSON and any generator."""
    return [int(child.generate_state(1)[0]) for child in np.random.SeedSequence(seed).spawn(n)]
