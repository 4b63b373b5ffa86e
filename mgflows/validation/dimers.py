"""Dimer curves: whether a potential keeps two atoms apart at distances without training frames.

Bulk frames contain no pair much closer than the first peak of g(r). At shorter distances the energy
of a machine-learned potential comes from the added Ziegler-Biersack-Littmark repulsion and from
extrapolation. An attractive hole there lets a hot run collapse, if atoms can cross the barrier in
front of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase.calculators.calculator import Calculator
    from numpy.typing import NDArray

__all__ = ["DIMERS", "HARMLESS_BARRIER", "DimerCurve", "dimer_curves"]

DIMERS = "dimers"
"""Key of unsafe dimers among the failures of a sample."""
HARMLESS_BARRIER = 5.0
"""eV. At 2000 K the thermal energy is 0.17 eV: a barrier of 30 times that is never crossed."""


_LEAST_POINTS = 10


@dataclass(frozen=True, eq=False)
class DimerCurve:
    """Energy of two atoms against their distance.

    Parameters
    ----------
    pair
        Such as ``"Cu-Zr"``.
    distance
        (n,) A, rising.
    energy
        (n,) eV, relative to the two atoms far apart.
    repulsive
        Whether the energy rises at every step inwards from ``repulsive_below``.
    hole
        Distance in A of the lowest point from which the energy rises *outwards* below
        ``repulsive_below``; None if the curve is repulsive.
    hole_depth
        How far in eV the curve falls inwards from the barrier to that point; zero if the curve is
        repulsive.
    barrier
        Highest energy in eV between the hole and ``repulsive_below``, relative to the two atoms
        far apart: the energy that two atoms need to enter the hole. None if the curve is
        repulsive.
    """

    pair: str
    distance: NDArray[np.float64]
    energy: NDArray[np.float64]
    repulsive: bool
    hole: float | None
    hole_depth: float
    barrier: float | None = None

    @property
    def safe(self) -> bool:
        """Whether the pair is repulsive, or its hole is behind :data:`HARMLESS_BARRIER`."""
        return self.repulsive or (self.barrier is not None and self.barrier >= HARMLESS_BARRIER)

    @property
    def verdict(self) -> str:
        """The result in words."""
        if self.repulsive:
            return f"{self.pair} is repulsive at short range"
        effect = "out of reach" if self.safe else "atoms in a hot melt can enter it"
        # A barrier below zero is lower than the energy of the separated atoms.
        has_barrier = self.barrier is not None and self.barrier >= 0.05
        behind = (
            f"behind a barrier of {self.barrier:.1f} eV" if has_barrier else "without a barrier"
        )
        return (
            f"{self.pair} has an attractive hole of {self.hole_depth:.1f} eV at {self.hole:.2f} A "
            f"{behind} ({effect})"
        )


def dimer_curves(
    calculator: Calculator,
    species: Sequence[str],
    *,
    distance_min: float = 0.8,
    distance_max: float = 6.0,
    n_points: int = 105,
    repulsive_below: float = 2.0,
    box_length: float = 30.0,
) -> dict[str, DimerCurve]:
    """Dimer curves of all pairs of species in a large periodic box.

    Parameters
    ----------
    calculator
        Any ASE calculator with energies.
    species
        Element symbols.
    distance_min, distance_max, n_points
        The distances in A.
    repulsive_below
        A; closer than this every pair of metal atoms must repel.
    box_length
        A; more than twice the cutoff of the potential.

    Raises
    ------
    InputError
        For distances in the wrong order, or a box in which periodic images interact.
    """
    from ase import Atoms

    if not species or n_points < _LEAST_POINTS:
        raise InputError(
            f"dimer curves need species and {_LEAST_POINTS} distances, not {len(species)} species "
            f"and {n_points} distances"
        )
    if not 0.0 < distance_min < repulsive_below < distance_max <= box_length / 2.0:
        raise InputError(
            f"the distances {distance_min:g} < {repulsive_below:g} < {distance_max:g} A and half "
            f"the box, {box_length / 2.0:g} A, must be positive and rise"
        )
    distance = np.linspace(distance_min, distance_max, n_points)
    curves = {}
    for first, second in combinations_with_replacement(species, 2):
        dimer = Atoms([first, second], cell=[box_length] * 3, pbc=True, calculator=calculator)

        def energy_at(separation: float, dimer: Atoms = dimer) -> float:
            dimer.positions = [[0.0, 0.0, 0.0], [separation, 0.0, 0.0]]
            return float(dimer.get_potential_energy())

        energy = np.array([energy_at(separation) for separation in distance]) - energy_at(
            box_length / 2.0
        )
        pair = f"{first}-{second}"
        curves[pair] = DimerCurve(
            pair, distance, energy, *_find_hole(distance, energy, repulsive_below)
        )
    return curves


def _find_hole(
    distance: NDArray[np.float64], energy: NDArray[np.float64], repulsive_below: float
) -> tuple[bool, float | None, float, float | None]:
    """Whether the inner part falls monotonically outwards.

    If not: position, depth and barrier of the deepest fall inwards.
    """
    inner = distance <= repulsive_below
    r, e = distance[inner], energy[inner]
    barrier_outside = np.maximum.accumulate(e[::-1])[::-1]
    fall = barrier_outside - e
    deepest = int(np.argmax(fall))
    if fall[deepest] <= 0.0:
        return True, None, 0.0, None
    return False, float(r[deepest]), float(fall[deepest]), float(barrier_outside[deepest])
