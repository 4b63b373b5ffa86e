"""Lennard-Jones parameters of the metals, estimated from their crystals.

The Lennard-Jones fcc crystal gets the volume per atom and the cohesive energy of the metal. With
the lattice sums ``A12 = 12.13188`` and ``A6 = 14.45392`` of that crystal, the nearest-neighbour
distance is ``(2 A12 / A6)^(1/6) sigma = 1.0902 sigma`` and the energy is ``-A6^2 / (2 A12) eps =
-8.610 eps`` per atom (C. Kittel, Introduction to Solid State Physics, 8th edition, chapter 3,
"Equilibrium lattice constants" and "Cohesive energy"). The paper's parameters were found in the
same way: "estimated from the corresponding crystalline structures" (Methods).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "CRYSTALS",
    "METALLOIDS",
    "MetalCrystal",
    "Metalloid",
    "crystal_number_density",
    "lennard_jones_parameters",
]

_A12, _A6 = 12.13188, 14.45392
NEIGHBOUR_DISTANCE = (2.0 * _A12 / _A6) ** (1.0 / 6.0)
"""Nearest-neighbour distance of the Lennard-Jones fcc crystal, in sigma."""
COHESIVE_ENERGY = _A6**2 / (2.0 * _A12)
"""Cohesive energy per atom of that crystal, in epsilon."""

_ATOMS_PER_CELL = {"fcc": 4, "bcc": 2, "hcp": 2, "dhcp": 4, "alpha-Mn": 58}


class MetalCrystal(NamedTuple):
    """The stable crystal of a metal at room temperature.

    Attributes
    ----------
    structure
        fcc, bcc, hcp, dhcp (double hcp) or alpha-Mn.
    a, c
        Lattice constants in A; c is zero for cubic crystals.
    cohesive_energy
        Cohesive energy at 0 K relative to free atoms in their ground state, eV per atom.
    """

    structure: str
    a: float
    c: float
    cohesive_energy: float

    @property
    def volume(self) -> float:
        """Volume per atom in A^3."""
        cell = self.a**3 if self.c == 0.0 else math.sqrt(3.0) / 2.0 * self.a**2 * self.c
        return cell / _ATOMS_PER_CELL[self.structure]


# Lattice constants: Kittel, chapter 1, table 3; those of dhcp La, Pr and Nd and of alpha-Mn: W. B.
# Pearson, Handbook of Lattice Spacings (1967). Cohesive energies: Kittel, chapter 3, table 1.
CRYSTALS: Mapping[str, MetalCrystal] = {
    "Be": MetalCrystal("hcp", 2.27, 3.59, 3.32),
    "Mg": MetalCrystal("hcp", 3.21, 5.21, 1.51),
    "Al": MetalCrystal("fcc", 4.05, 0.0, 3.39),
    "Ca": MetalCrystal("fcc", 5.58, 0.0, 1.84),
    "Sc": MetalCrystal("hcp", 3.31, 5.27, 3.90),
    "Ti": MetalCrystal("hcp", 2.95, 4.68, 4.85),
    "V": MetalCrystal("bcc", 3.03, 0.0, 5.31),
    "Cr": MetalCrystal("bcc", 2.88, 0.0, 4.10),
    "Mn": MetalCrystal("alpha-Mn", 8.91, 0.0, 2.92),
    "Fe": MetalCrystal("bcc", 2.87, 0.0, 4.28),
    "Co": MetalCrystal("hcp", 2.51, 4.07, 4.39),
    "Ni": MetalCrystal("fcc", 3.52, 0.0, 4.44),
    "Cu": MetalCrystal("fcc", 3.61, 0.0, 3.49),
    "Zn": MetalCrystal("hcp", 2.66, 4.95, 1.35),
    "Y": MetalCrystal("hcp", 3.65, 5.73, 4.37),
    "Zr": MetalCrystal("hcp", 3.23, 5.15, 6.25),
    "Nb": MetalCrystal("bcc", 3.30, 0.0, 7.57),
    "Mo": MetalCrystal("bcc", 3.15, 0.0, 6.82),
    "Ru": MetalCrystal("hcp", 2.71, 4.28, 6.74),
    "Rh": MetalCrystal("fcc", 3.80, 0.0, 5.75),
    "Pd": MetalCrystal("fcc", 3.89, 0.0, 3.89),
    "Ag": MetalCrystal("fcc", 4.09, 0.0, 2.95),
    "La": MetalCrystal("dhcp", 3.77, 12.16, 4.47),
    "Ce": MetalCrystal("fcc", 5.16, 0.0, 4.32),
    "Pr": MetalCrystal("dhcp", 3.67, 11.84, 3.70),
    "Nd": MetalCrystal("dhcp", 3.66, 11.80, 3.40),
    "Gd": MetalCrystal("hcp", 3.63, 5.78, 4.14),
    "Tb": MetalCrystal("hcp", 3.60, 5.70, 4.05),
    "Dy": MetalCrystal("hcp", 3.59, 5.65, 3.04),
    "Ho": MetalCrystal("hcp", 3.58, 5.62, 3.14),
    "Er": MetalCrystal("hcp", 3.56, 5.59, 3.29),
    "Yb": MetalCrystal("fcc", 5.48, 0.0, 1.60),
    "Lu": MetalCrystal("hcp", 3.50, 5.55, 4.43),
    "Hf": MetalCrystal("hcp", 3.19, 5.05, 6.44),
    "Ta": MetalCrystal("bcc", 3.30, 0.0, 8.10),
    "W": MetalCrystal("bcc", 3.16, 0.0, 8.90),
    "Re": MetalCrystal("hcp", 2.76, 4.46, 8.03),
    "Ir": MetalCrystal("fcc", 3.84, 0.0, 6.94),
    "Pt": MetalCrystal("fcc", 3.92, 0.0, 5.84),
    "Au": MetalCrystal("fcc", 4.08, 0.0, 3.81),
    "Pb": MetalCrystal("fcc", 4.95, 0.0, 2.03),
}
"""Crystals of the metals common in metallic glasses and high-entropy alloys."""


class Metalloid(NamedTuple):
    """Properties of a metalloid.

    Attributes
    ----------
    covalent_radius
        Covalent radius in A.
    cohesive_energy
        Cohesive energy of the element at 0 K, eV per atom.
    """

    covalent_radius: float
    cohesive_energy: float


# Radii: B. Cordero et al., Dalton Trans. 2832 (2008), doi:10.1039/b801115j (carbon: sp3). Cohesive
# energies: Kittel, chapter 3, table 1.
METALLOIDS: Mapping[str, Metalloid] = {
    "B": Metalloid(0.84, 5.81),
    "C": Metalloid(0.76, 7.37),
    "Si": Metalloid(1.11, 4.63),
    "P": Metalloid(1.07, 3.43),
    "Ge": Metalloid(1.20, 3.85),
}
"""The metalloids common in metallic glasses."""


def _crystal(symbol: str) -> MetalCrystal:
    if symbol not in CRYSTALS:
        raise InputError(
            f"no crystal data for {symbol!r}",
            hint=(
                "give a pair table (LennardJones.from_yaml, or --pair-table), or use one of "
                f"{', '.join((*CRYSTALS, *METALLOIDS))}"
            ),
        )
    return CRYSTALS[symbol]


def lennard_jones_parameters(symbols: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Estimate diameters in A and well depths in eV from volumes and cohesive energies.

    Raises
    ------
    InputError
        For an element that is not in :data:`CRYSTALS`, such as a metalloid, for which there is
        :mod:`mgflows.surrogate.metalloids`.
    """
    crystals = {symbol: _crystal(symbol) for symbol in symbols}
    # The nearest-neighbour distance of an fcc crystal with volume V per atom is (sqrt(2) V)^(1/3).
    sigma = {
        symbol: (math.sqrt(2.0) * crystal.volume) ** (1.0 / 3.0) / NEIGHBOUR_DISTANCE
        for symbol, crystal in crystals.items()
    }
    epsilon = {
        symbol: crystal.cohesive_energy / COHESIVE_ENERGY for symbol, crystal in crystals.items()
    }
    return sigma, epsilon


def crystal_number_density(composition: Mapping[str, float], compression: float = 1.0) -> float:
    """Estimate the density of an alloy from the volumes of its metals' crystals.

    Parameters
    ----------
    composition
        Atomic fractions by symbol.
    compression
        Factor on the density; 1.212 gives the paper's surrogate density for Cu46Zr46Al8.

    Returns
    -------
    number_density
        Atoms per A^3.
    """
    total = sum(composition.values())
    return (
        compression
        * total
        / sum(fraction * _crystal(symbol).volume for symbol, fraction in composition.items())
    )
