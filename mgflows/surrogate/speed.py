"""Processor time of coolings, from measured speeds, for forecasts.

The fits describe whole coolings of Cu46Zr46Al8 from T* = 10.01 to 0.01 on the processor of
``docs/reference/performance.md``, section "Forecasts", which lists the measurements. Other
processors differ, and forecasts are corrected by the times of finished jobs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mgflows.surrogate.kernels.layouts import CROSSOVER, Replicas

if TYPE_CHECKING:
    from mgflows.alloy import Alloy
    from mgflows.surrogate.lennard_jones import LennardJones

__all__ = ["cooling_seconds", "dynamics_seconds"]


def cooling_seconds(lj: LennardJones, alloy: Alloy, n_sweeps: int, *, n_replicas: int = 1) -> float:
    """Return the processor time in s of Monte Carlo sweeps.

    Parameters
    ----------
    lj, alloy
        Surrogate and alloy; a box below twice the largest cutoff takes the slower sum over images.
    n_sweeps
        Sweeps, with those of the equilibration.
    n_replicas
        Samples cooled side by side in single precision; one is cooled in double precision.
    """
    n = alloy.n_atoms
    n_systems = 1
    if lj.check_box(alloy) is not None:
        microseconds = 0.25 + 0.012 * n
    elif n_replicas > 1:
        microseconds = 0.012 + 0.00029 * n
        n_systems = Replicas.lanes("float32")
    elif n <= CROSSOVER["float64"]:
        microseconds = 0.03 + 0.0006 * n
    else:
        microseconds = 0.5 + 1e-5 * n
    return 1e-6 * microseconds * n_systems * n * n_sweeps


def dynamics_seconds(lj: LennardJones, alloy: Alloy, reduced_time: float) -> float:
    """Return the processor time in s of molecular dynamics for a reduced time."""
    n = alloy.n_atoms
    if lj.check_box(alloy) is not None:
        milliseconds = 0.01 * n + 0.0007 * n**2
    else:
        milliseconds = n**2 / 4.5e3
    return 1e-3 * milliseconds * reduced_time
