"""Limits of structures from molecular dynamics with a trained potential that are labelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mgflows import units
from mgflows.md.condensed import density, volume_ratio

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["GLASS_LIMITS", "FrameLimits", "closest_pair"]


@dataclass(frozen=True)
class FrameLimits:
    """Limits beyond which a structure is not labelled.

    The defaults hold for melts up to 2500 K: under the stand-in and under UNEP-v1, Cu-Zr-Al has
    volume ratios of 1.07 to 1.17, closest pairs of 0.65 or more, forces of 7 eV/A or less and
    pressures between -4 and +1 GPa there.

    Parameters
    ----------
    volume_ratio
        Smallest and largest volume over that of the elements
        (:func:`mgflows.md.condensed.volume_ratio`).
    closest_pair
        Smallest distance of two atoms over the sum of their covalent radii.
    largest_force
        eV/A, of one atom.
    largest_pressure
        GPa, of either sign, without the kinetic part.
    """

    volume_ratio: tuple[float, float] = (0.6, 1.4)
    closest_pair: float = 0.55
    largest_force: float = 20.0
    largest_pressure: float = 10.0

    def violations(self, atoms: Atoms, *, pressure: bool = True) -> list[str]:
        """Return the violated limits in words; empty if there are none.

        Parameters
        ----------
        atoms
            A periodic structure with the calculator whose forces and stress are checked.
        pressure
            Whether the pressure is checked.
        """
        found = []
        ratio, (smallest, largest) = volume_ratio(atoms), self.volume_ratio
        if ratio < smallest or ratio > largest:
            found.append(
                f"the density is {density(atoms):.2f} g/cm3, a volume of {ratio:.2f} times that of "
                f"the elements ({smallest:g} to {largest:g} is plausible)"
            )
        pair, distance, closeness = closest_pair(atoms)
        if closeness < self.closest_pair:
            found.append(f"a {pair} pair is {distance:.2f} A apart")
        force = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
        if not force < self.largest_force:
            found.append(f"the largest force is {force:.1f} eV/A (at most {self.largest_force:g})")
        if pressure:
            value = units.pressure_from_stress(atoms.get_stress(voigt=False))
            if not abs(value) < self.largest_pressure:
                found.append(
                    f"the pressure is {value:+.1f} GPa (at most {self.largest_pressure:g})"
                )
        return found


GLASS_LIMITS = FrameLimits(closest_pair=0.6, largest_force=15.0)
"""Limits at the end of a quench. The volume of real glasses at room temperature over that of their
elements is 0.8 (Pd-Ni-P) to 1.03. Within the limits, errors of a potential are corrected by labels
of its glasses; outside of them, the structure is porous or collapsed. At 300 K the largest forces
in Cu-Zr-Al are 2 to 4 eV/A, and the closest pairs are at 0.75 of their radii."""


def closest_pair(atoms: Atoms) -> tuple[str, float, float]:
    """Return the pair of atoms that is closest relative to its radii.

    Parameters
    ----------
    atoms
        A periodic structure.

    Returns
    -------
    pair, distance, closeness
        Such as ``"Cu-Zr"``, in A, and over the sum of the covalent radii; infinite without a pair
        closer than twice the largest radius.
    """
    from ase.data import covalent_radii
    from ase.neighborlist import neighbor_list

    radii = covalent_radii[atoms.numbers]
    first, second, distance = neighbor_list("ijd", atoms, 2.0 * float(radii.max()))
    if not len(distance):
        return "", float("inf"), float("inf")
    closeness = distance / (radii[first] + radii[second])
    k = int(closeness.argmin())
    pair = f"{atoms.symbols[first[k]]}-{atoms.symbols[second[k]]}"
    return pair, float(distance[k]), float(closeness[k])
