"""Checks of a potential away from equilibrium: volume changes and energy conservation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError, PotentialFailureError
from mgflows.fits import least_squares_line
from mgflows.geometry import at_rest, with_volume
from mgflows.md import protocols
from mgflows.md.langevin import NPTSettings

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from numpy.typing import NDArray

    from mgflows.md.engines.base import Engine

__all__ = ["ColdCurve", "cold_curve", "energy_drift"]


@dataclass(frozen=True, eq=False)
class ColdCurve:
    """Energy of a structure scaled uniformly, without relaxation.

    Parameters
    ----------
    ratio
        (n,) volume over that of the structure.
    energy
        (n,) eV per atom.
    problem
        What is wrong with the curve; empty if it falls to one minimum and rises again.
    """

    ratio: NDArray[np.float64]
    energy: NDArray[np.float64]
    problem: str


def cold_curve(
    atoms: Atoms,
    calculator: Calculator,
    *,
    ratio_min: float = 0.7,
    ratio_max: float = 1.3,
    n_points: int = 25,
) -> ColdCurve:
    """Energy against volume from 0.7 to 1.3 of the volume of a structure.

    Parameters
    ----------
    atoms
        A relaxed glass.
    calculator
        Any ASE calculator with energies.
    ratio_min, ratio_max, n_points
        The volumes.

    Raises
    ------
    InputError
        For ratios in the wrong order.
    """
    if not 0.0 < ratio_min < 1.0 < ratio_max or n_points < 5:
        raise InputError(
            f"the volume ratios {ratio_min:g} to {ratio_max:g} in {n_points} points must include 1 "
            "and have at least five points"
        )
    ratio = np.linspace(ratio_min, ratio_max, n_points)
    energy = np.empty(n_points)
    for k, factor in enumerate(ratio):
        scaled = with_volume(atoms, factor * atoms.get_volume())
        scaled.calc = calculator
        energy[k] = scaled.get_potential_energy() / len(atoms)
    lowest = int(np.argmin(energy))
    problem = ""
    if lowest in (0, n_points - 1):
        problem = f"the energy is lowest at {ratio[lowest]:g} of the volume, the end of the curve"
    else:
        falls = np.flatnonzero(np.diff(energy[: lowest + 1]) > 0.0)
        rises = np.flatnonzero(np.diff(energy[lowest:]) < 0.0)
        wrong = [*ratio[falls], *ratio[lowest + rises]]
        if wrong:
            problem = f"a second minimum near {wrong[0]:.2f} of the volume"
    return ColdCurve(ratio, energy, problem)


def energy_drift(
    atoms: Atoms, engine: Engine, *, temperature: float, time: float, seed: int
) -> float:
    """Drift of the total energy at constant volume without a thermostat, in meV per atom and ps.

    Parameters
    ----------
    atoms
        A glass. Velocities are drawn at twice the temperature, because half of the kinetic energy
        becomes potential energy.
    engine
        Engine with the potential.
    temperature
        K.
    time
        ps.
    seed
        Seed of the velocities.

    Raises
    ------
    PotentialFailureError
        If the energy is not finite.
    """
    run = engine.run(
        at_rest(atoms),
        protocols.nve(time, 2.0 * temperature, sample_every=5),
        npt=NPTSettings(timestep=1.0),
        seed=seed,
    )
    energy = 1e3 * (run.samples.potential_energy + run.samples.kinetic_energy) / len(atoms)
    if not np.isfinite(energy).all():
        raise PotentialFailureError(
            "the energy is not finite in dynamics at constant energy",
            hint="train the potential on hotter structures",
        )
    return least_squares_line(run.samples.step * 1e-3, energy)[0]
