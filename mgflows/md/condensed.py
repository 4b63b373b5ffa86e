"""Check that a structure is a condensed metal, from its volume and that of its elements."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from mgflows import units
from mgflows.errors import PotentialFailureError

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["check_condensed", "check_volume", "density", "elemental_volume", "volume_ratio"]

_SMALLEST_RATIO, _LARGEST_RATIO = 0.5, 1.5
"""Metallic glasses and melts lie between 0.8 (Pd-Ni-P) and 1.35 (liquid Al at 2000 K) times the
volume of their elements at room temperature; surrogate samples of Cu-Zr-Al are at 0.84."""


def elemental_volume(atoms: Atoms) -> float:
    """Mean volume per atom in A^3 of the elements of a structure in their stable solids.

    Molar volumes at room temperature from pymatgen's table of the elements; nan if one of the
    elements has none.
    """
    symbols, counts = np.unique(atoms.get_chemical_symbols(), return_counts=True)
    volumes = np.array([_volume(str(symbol)) for symbol in symbols])
    return float(volumes @ counts / counts.sum())


def volume_ratio(atoms: Atoms) -> float:
    """Volume of a periodic structure over :func:`elemental_volume`; nan if that is unknown."""
    return float(abs(atoms.cell.volume) / len(atoms) / elemental_volume(atoms))


def check_condensed(atoms: Atoms, temperature: float) -> None:
    """Check during a run that the structure neither evaporates nor collapses.

    Parameters
    ----------
    atoms
        The structure.
    temperature
        K, for the message.

    Raises
    ------
    PotentialFailureError
        If the volume is less than half or more than 1.5 times that of the elements.
    """
    check_volume(atoms, abs(float(atoms.cell.volume)), temperature)


def check_volume(atoms: Atoms, volume: float, temperature: float) -> None:
    """Check an earlier volume of the atoms, as :func:`check_condensed` checks the current one.

    Parameters
    ----------
    atoms
        Atoms of the same species.
    volume
        A^3 per cell.
    temperature
        K, for the message.

    Raises
    ------
    PotentialFailureError
        If the volume is less than half or more than 1.5 times that of the elements.
    """
    n_atoms = len(atoms)
    ratio = volume / n_atoms / elemental_volume(atoms)
    if ratio > _LARGEST_RATIO or ratio < _SMALLEST_RATIO:
        process = "evaporates" if ratio > 1.0 else "collapses"
        mass_density = units.mass_density(n_atoms / volume, float(atoms.get_masses().mean()))
        raise PotentialFailureError(
            f"the structure {process} at {temperature:.0f} K: {mass_density:.2f} g/cm3, a volume "
            f"of {ratio:.2f} times that of its elements ({_SMALLEST_RATIO:g} to "
            f"{_LARGEST_RATIO:g} is allowed)",
            hint="train the potential on such structures, or lower the temperature",
        )


def density(atoms: Atoms) -> float:
    """Mass density of a periodic structure in g/cm^3."""
    n_atoms = len(atoms)
    return units.mass_density(n_atoms / abs(atoms.cell.volume), float(atoms.get_masses().mean()))


@cache
def _volume(symbol: str) -> float:
    """A^3 per atom."""
    from pymatgen.core import Element

    molar = Element(symbol).molar_volume
    return float("nan") if molar is None else float(molar) * 1e24 / units.AVOGADRO
