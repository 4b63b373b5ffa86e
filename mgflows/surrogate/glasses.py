"""Glasses of the surrogate: from random insertion to the inherent structure, in one call.

Paper, Methods, "Sampling PEL with swap-Monte Carlo": a random configuration is melted at the high
temperature, cooled and minimised.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack

import numpy as np

from mgflows.errors import InputError
from mgflows.surrogate.cooling import CoolingSchedule
from mgflows.surrogate.inherent_structure import find_inherent_structure
from mgflows.surrogate.kernels.layouts import CROSSOVER, Replicas
from mgflows.surrogate.replicas import SwapMonteCarloReplicas
from mgflows.surrogate.supercooling import estimate_onset
from mgflows.surrogate.swap_monte_carlo import SwapMonteCarlo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from mgflows.alloy import Alloy
    from mgflows.surrogate.cooling import Cooling, RunOptions
    from mgflows.surrogate.lennard_jones import LennardJones

__all__ = [
    "GlassProtocol",
    "ProtocolName",
    "SampledGlass",
    "batches",
    "sample_glass",
    "sample_replicas",
]

logger = logging.getLogger(__name__)

Sampler = TypeVar("Sampler", bound=SwapMonteCarlo)

ProtocolName = Literal["paper", "efficient"]

_EFFICIENT_HIGH, _EFFICIENT_LOW = 0.75, 0.25
"""First and last temperature of the efficient cooling, in units of the onset temperature."""
_FEWEST_REPLICAS = 12
"""Glasses for which replicas take clearly less processor time than single coolings."""


@dataclass(frozen=True)
class GlassProtocol:
    """How a glass is cooled; the defaults are the paper's, :meth:`efficient` has others.

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
        Sweeps at the high temperature after random insertion; not stated in the paper.
    dtype
        Precision of the sampler.

    Examples
    --------
    >>> from mgflows import Alloy
    >>> from mgflows.surrogate import LennardJones
    >>> lj, alloy = LennardJones.cuzral(), Alloy.cuzral()
    >>> protocol = GlassProtocol.of("efficient", lj, alloy, n_sweeps=10_000)
    >>> round(protocol.reduced_temperature_high, 1), round(protocol.reduced_temperature_low, 1)
    (1.6, 0.5)
    """

    n_sweeps: int
    reduced_temperature_high: float = 10.01
    reduced_temperature_low: float = 0.01
    schedule: Literal["linear", "exponential", "stepwise"] = "linear"
    swap_fraction: float = 0.2
    equilibration_sweeps: int = 1000
    dtype: Literal["float64", "float32"] = "float64"

    @classmethod
    def of(
        cls, name: ProtocolName, lj: LennardJones, alloy: Alloy, n_sweeps: int, **settings: Any
    ) -> GlassProtocol:
        """Return a protocol by its name.

        Parameters
        ----------
        name
            ``"paper"``: the paper's cooling from T* = 10.01 to 0.01. ``"efficient"``: a cooling
            that starts below the onset of supercooling, estimated by
            :func:`~mgflows.surrogate.supercooling.estimate_onset`, and ends where hardly any move
            is accepted. All sweeps are spent at temperatures where the inherent-structure energy
            still falls; it reaches the energies of the paper's cooling in about a fifth of the
            sweeps (docs/concepts/surrogate.md, "Efficient cooling").
        lj, alloy, n_sweeps
            Surrogate, alloy and length of the cooling.
        settings
            Other parameters that differ from the defaults.

        Raises
        ------
        InputError
            For another name.
        """
        if name == "paper":
            return cls(n_sweeps, **settings)
        if name != "efficient":
            raise InputError(
                f"the protocol {name!r} does not exist", hint="choose 'paper' or 'efficient'"
            )
        onset = estimate_onset(lj, alloy)
        efficient = {
            "reduced_temperature_high": _EFFICIENT_HIGH * onset,
            "reduced_temperature_low": _EFFICIENT_LOW * onset,
        }
        return cls(n_sweeps, **(settings | efficient))


@dataclass(frozen=True)
class SampledGlass:
    """A glass at the end of its cooling.

    Attributes
    ----------
    atoms
        The glass.
    energy_per_atom
        Its reduced energy.
    inherent_structure
        The minimised glass.
    e_is
        Its energy, eV per atom.
    cooling
        Record of the cooling; for replicas, with the mean energies and the summed counts of all.
    sampler
        The sampler in its final state.
    """

    atoms: Atoms
    energy_per_atom: float
    inherent_structure: Atoms
    e_is: float
    cooling: Cooling
    sampler: SwapMonteCarlo


def batches(lj: LennardJones, alloy: Alloy, n_glasses: int) -> list[range]:
    """Divide glasses of one alloy and protocol into those cooled one by one and side by side.

    Sixteen replicas in single precision (:func:`sample_replicas`) take about as long as eight
    single coolings in double precision, so glasses are cooled sixteen at a time, and a
    remainder of twelve or more is filled up with spare replicas. Replicas are used for boxes of at
    least twice the largest cutoff and up to a thousand atoms; all others are cooled one by one. The
    division does not depend on anything else, such as the number of processes.

    Parameters
    ----------
    lj, alloy, n_glasses
        Surrogate, alloy and number of glasses.

    Returns
    -------
    Consecutive ranges of glass numbers; those of more than one number are for replicas.
    """
    lanes = Replicas.lanes("float32")
    if lj.check_box(alloy) is not None or alloy.n_atoms > CROSSOVER["float64"]:
        return [range(number, number + 1) for number in range(n_glasses)]
    n_full, rest = divmod(n_glasses, lanes)
    together = n_full * lanes + (rest if rest >= _FEWEST_REPLICAS else 0)
    return [
        *(range(start, min(start + lanes, together)) for start in range(0, together, lanes)),
        *(range(number, number + 1) for number in range(together, n_glasses)),
    ]


def sample_glass(
    lj: LennardJones,
    alloy: Alloy,
    protocol: GlassProtocol,
    seed: int,
    *,
    stream: int = 0,
    **run: Unpack[RunOptions],
) -> SampledGlass | None:
    """Cool one glass and minimise it, or resume an interrupted cooling from its checkpoint.

    Parameters
    ----------
    lj, alloy, protocol
        Surrogate, composition with number of atoms and density, and the cooling.
    seed, stream
        Seed of insertion and sampling; streams of one seed are independent.
    run
        ``progress``, ``checkpoint``, ``checkpoint_interval`` and ``wall_time``, as in
        :meth:`SwapMonteCarlo.resume`. The checkpoint of an interrupted cooling must belong to the
        same arguments; it is kept after the end.

    Returns
    -------
    SampledGlass or None
        None if the wall time or SIGUSR1 ended the cooling before its last sweep.
    """
    sampler = _load(SwapMonteCarlo, run.get("checkpoint"))
    if sampler is None:
        sampler = SwapMonteCarlo.from_alloy(
            lj,
            alloy,
            (seed, stream),
            swap_fraction=protocol.swap_fraction,
            dtype=protocol.dtype,
        )
        sampler.equilibrate(protocol.equilibration_sweeps, protocol.reduced_temperature_high)
    cooling = _cool(sampler, protocol, **run)
    if not cooling.finished:
        return None
    return _minimised(sampler.atoms, sampler.energy_per_atom, cooling, sampler)


def sample_replicas(
    lj: LennardJones,
    alloy: Alloy,
    protocol: GlassProtocol,
    seeds: Sequence[int],
    **run: Unpack[RunOptions],
) -> list[SampledGlass] | None:
    """Cool up to sixteen glasses side by side in single precision and minimise them.

    Parameters
    ----------
    lj, alloy, protocol
        As in :func:`sample_glass`; the precision of the protocol is not used.
    seeds
        One for each glass. Spare replicas fill the SIMD register and are discarded. A glass depends
        on the seeds of all glasses, since the same atoms are moved in all replicas.
    run
        As in :func:`sample_glass`.

    Returns
    -------
    list of SampledGlass, or None
        None if the wall time or SIGUSR1 ended the coolings before their last sweep.

    Raises
    ------
    InputError
        For more seeds than replicas, none, or a box below twice the largest cutoff.
    """
    lanes = Replicas.lanes("float32")
    if not 0 < len(seeds) <= lanes:
        raise InputError(
            f"{len(seeds)} seeds are given", hint=f"give one for each of up to {lanes} replicas"
        )
    sampler = _load(SwapMonteCarloReplicas, run.get("checkpoint"))
    if sampler is None:
        spare = np.random.SeedSequence(list(seeds)).generate_state(lanes - len(seeds))
        sampler = SwapMonteCarloReplicas.from_alloy(
            lj, alloy, [*seeds, *spare.tolist()], swap_fraction=protocol.swap_fraction
        )
        sampler.equilibrate(protocol.equilibration_sweeps, protocol.reduced_temperature_high)
    cooling = _cool(sampler, protocol, **run)
    if not cooling.finished:
        return None
    return [
        _minimised(atoms, float(energy), cooling, sampler)
        for atoms, energy, _ in zip(
            sampler.replicas, sampler.energies_per_atom, seeds, strict=False
        )
    ]


def _load(kind: type[Sampler], checkpoint: Path | str | None) -> Sampler | None:
    if checkpoint is None or not Path(checkpoint).exists():
        return None
    sampler = kind.load(checkpoint)
    logger.info("resuming from the checkpoint at sweep %d", sampler.sweeps)
    return sampler


def _cool(sampler: SwapMonteCarlo, protocol: GlassProtocol, **run: Unpack[RunOptions]) -> Cooling:
    # The checkpoint of a run that was killed after its last sweep holds the finished cooling.
    if sampler.finished_cooling is not None:
        return sampler.finished_cooling
    schedule = CoolingSchedule(
        protocol.n_sweeps,
        protocol.reduced_temperature_high,
        protocol.reduced_temperature_low,
        protocol.schedule,
    )
    return sampler.follow(schedule, **run)


def _minimised(
    atoms: Atoms, energy_per_atom: float, cooling: Cooling, sampler: SwapMonteCarlo
) -> SampledGlass:
    relaxed, e_is = find_inherent_structure(atoms, sampler.lj)
    return SampledGlass(atoms, energy_per_atom, relaxed, e_is, cooling, sampler)
