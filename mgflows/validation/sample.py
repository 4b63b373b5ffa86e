"""One sample of a validation: what it starts from, and what was measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mgflows.validation.statistics import correlation_time, mean_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

    from mgflows.md.engines.base import Engine
    from mgflows.md.potentials import Potential
    from mgflows.validation.plan import SampleTask, SuiteProtocol

    Progress = Callable[[int, int], None]

__all__ = ["Sample", "SampleInput"]


@dataclass
class Sample:
    """Result of one task.

    Parameters
    ----------
    values
        Quantity to value, in the units of :data:`mgflows.validation.quantities.QUANTITIES`.
    errors
        Standard errors over time, where available.
    correlation_times
        Correlation times in ps of quantities averaged over time.
    curves
        Name to columns, such as ``{"distance": [...], "total": [...]}``.
    failures
        Quantity to the reason why the potential has no value.
    unresolved
        Quantity to the reason why this sample cannot determine it, whatever the potential.
    cpu_seconds
        CPU time of the task.
    version
        Version of mgflows that measured it; empty if it was not recorded.
    """

    values: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    correlation_times: dict[str, float] = field(default_factory=dict)
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    unresolved: dict[str, str] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    version: str = ""

    def average(self, name: str, series: NDArray[np.float64], times: NDArray[np.float64]) -> None:
        """Record the mean of a correlated series, sampled at equal intervals of ``times`` in fs."""
        self.values[name] = float(series.mean())
        error = mean_error(series)
        if np.isfinite(error):
            self.errors[name] = error
        interval = 1e-3 * float(times[1] - times[0]) if len(times) > 1 else 0.0
        self.correlation_times[name] = correlation_time(series) * interval


@dataclass(frozen=True)
class SampleInput:
    """Everything a measurement starts from.

    Parameters
    ----------
    task, potential
        The task, and the potential that it names.
    engine
        Engine of the dynamics.
    atoms
        The given glass, or the disordered start of a quench or melt.
    protocol
        Numbers of the suite.
    checkpoint, wall_time, progress
        As for :meth:`mgflows.md.engines.Engine.run`.
    """

    task: SampleTask
    potential: Potential
    engine: Engine
    atoms: Atoms
    protocol: SuiteProtocol
    checkpoint: Path | None = None
    wall_time: float | None = None
    progress: Progress | None = None
