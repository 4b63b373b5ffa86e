"""Glasses of the surrogate: from random insertion to the inherent structure, in one call.

Paper, Methods, "Sampling PEL with swap-Monte Carlo": a random configuration is melted at the high
temperature, cooled and minimised.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mgflows.surrogate.inherent_structure import find_inherent_structure
from mgflows.surrogate.swap_monte_carlo import SwapMonteCarlo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ase import Atoms

    from mgflows.alloy import Alloy
    from mgflows.surrogate.cooling import Cooling, CoolingProgress
    from mgflows.surrogate.lennard_jones import LennardJones

__all__ = ["GlassProtocol", "SampledGlass", "sample_glass"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GlassProtocol:
    """How a glass is cooled; the defaults are the paper's.

    Parameters
    ----------
    n_sweeps
        Length of the cooling in sweeps of N moves.
    reduced_temperature_high, reduced_temperature_low
        T* at the start and at the end.
    schedule
        How the temperature falls, see :class:`~mgflows.surrogate.cooling.CoolingSchedule`.
    swap_fraction
        Fraction of moves that exchange two species.
    equilibration_sweeps
        Sweeps at the high temperature after random insertion; the paper does not state its start.
    dtype
        Precision of the sampler.
    """

    n_sweeps: int
    reduced_temperature_high: float = 10.01
    reduced_temperature_low: float = 0.01
    schedule: Literal["linear", "exponential", "stepwise"] = "linear"
    swap_fraction: float = 0.2
    equilibration_sweeps: int = 1000
    dtype: Literal["float64", "float32"] = "float64"


@dataclass(frozen=True)
class SampledGlass:
    """A glass at the end of its cooling.

    Attributes
    ----------
    sampler
        The sampler in its final state; `sampler.atoms` is the glass.
    cooling
        Record of the cooling.
    inherent_structure
        The minimised glass.
    e_is
        Its energy, eV per atom.
    """

    sampler: SwapMonteCarlo
    cooling: Cooling
    inherent_structure: Atoms
    e_is: float


def sample_glass(
    lj: LennardJones,
    alloy: Alloy,
    protocol: GlassProtocol,
    seed: int,
    *,
    stream: int = 0,
    progress: Callable[[CoolingProgress], None] | None = None,
    checkpoint: Path | None = None,
    checkpoint_interval: float = 60.0,
    wall_time: float | None = None,
) -> SampledGlass | None:
    """Cool one glass and minimise it, or resume an interrupted cooling from its checkpoint.

    Parameters
    ----------
    lj, alloy, protocol
        Surrogate, composition with number of atoms and density, and the cooling.
    seed, stream
        Seed of insertion and sampling; streams of one seed are independent.
    progress
        Called about twice a second.
    checkpoint
        File of the interrupted cooling, which must be of the same arguments; it stays after the
        end.
    checkpoint_interval
        Time between two checkpoints, s.
    wall_time
        Time after which the cooling stops and saves itself, s.

    Returns
    -------
    SampledGlass or None
        None if the wall time or SIGUSR1 ended the cooling before its last sweep.
    """
    if checkpoint is not None and checkpoint.exists():
        sampler = SwapMonteCarlo.load(checkpoint)
        logger.info("resuming the cooling at sweep %d", sampler.sweeps)
    else:
        sampler = SwapMonteCarlo.from_alloy(
            lj,
            alloy,
            seed,
            stream=stream,
            swap_fraction=protocol.swap_fraction,
            dtype=protocol.dtype,
        )
        sampler.equilibrate(protocol.equilibration_sweeps, protocol.reduced_temperature_high)
    # The checkpoint of a run that was killed after its last sweep holds the finished cooling.
    cooling = sampler.finished_cooling or sampler.cool(
        protocol.n_sweeps,
        protocol.reduced_temperature_high,
        protocol.reduced_temperature_low,
        schedule=protocol.schedule,
        progress=progress,
        checkpoint=checkpoint,
        checkpoint_interval=checkpoint_interval,
        wall_time=wall_time,
    )
    if not cooling.finished:
        return None
    relaxed, e_is = find_inherent_structure(sampler.atoms, lj)
    return SampledGlass(sampler, cooling, relaxed, e_is)
