"""Lennard-Jones parameters of metalloids (B, C, Si, P, Ge) in alloys of metals.

The crystal of a metalloid, with three or four directed bonds per atom, is not representative of its
size or its bonds in a metal. The rule, in the terms of :mod:`mgflows.surrogate.elements`:

- Diameter: twice the covalent radius replaces the nearest-neighbour distance of a metal's crystal.
  With the mean diameter, the distance of a metal and a metalloid is the sum of a metallic and a
  covalent radius, as in their compounds: Fe2B, Fe3C, Ni3P and Pd-Si are reproduced within 6 %.
- Metal and metalloid: the well depth that gives a random alloy of both in equal parts the enthalpy
  of mixing ``H``. With the energy ``-8.610 eps`` per atom of a Lennard-Jones crystal this is
  ``eps_MX = (eps_M + eps_X) / 2 - 2 H / 8.610``, where ``eps_X`` is the cohesive energy of the
  metalloid over 8.610.
- Two metalloids avoid each other in such glasses. As in the model of Ni80P20 by W. Kob and H. C.
  Andersen, Phys. Rev. E 51, 4626 (1995), doi:10.1103/PhysRevE.51.4626, their well depth is half of
  ``eps_X``, and their diameter is 0.88/0.80 of that of a metalloid and a metal, in the mean over
  the metals of the alloy.

Only the sizes and the preference of metalloids for metallic neighbours are meant to be realistic:
the sampled structures depend on these.
"""

from __future__ import annotations

import itertools
from statistics import fmean
from typing import TYPE_CHECKING

from mgflows import units
from mgflows.errors import InputError
from mgflows.surrogate.elements import (
    COHESIVE_ENERGY,
    METALLOIDS,
    NEIGHBOUR_DISTANCE,
    Metalloid,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["METALLOIDS", "MIXING_ENTHALPIES", "Metalloid", "metalloid_parameters"]


# A. Takeuchi and A. Inoue, Mater. Trans. 46, 2817 (2005), doi:10.2320/matertrans.46.2817.
MIXING_ENTHALPIES: Mapping[str, Mapping[str, float]] = {
    "B": {
        "Be": 0.0,
        "Mg": -4,
        "Al": 0.0,
        "Ca": -22,
        "Sc": -55,
        "Ti": -58,
        "V": -42,
        "Cr": -31,
        "Mn": -32,
        "Fe": -26,
        "Co": -24,
        "Ni": -24,
        "Cu": 0.0,
        "Zn": 4,
        "Y": -50,
        "Zr": -71,
        "Nb": -54,
        "Mo": -34,
        "Ru": -24,
        "Rh": -25,
        "Pd": -24,
        "Ag": 5,
        "La": -47,
        "Ce": -48,
        "Pr": -49,
        "Nd": -49,
        "Gd": -50,
        "Tb": -51,
        "Dy": -51,
        "Ho": -50,
        "Er": -52,
        "Yb": -22,
        "Lu": -54,
        "Hf": -66,
        "Ta": -54,
        "W": -31,
        "Re": -25,
        "Ir": -26,
        "Pt": -28,
        "Au": -2,
        "Pb": 30,
    },
    "C": {
        "Be": -15,
        "Mg": -55,
        "Al": -36,
        "Ca": -89,
        "Sc": -118,
        "Ti": -109,
        "V": -82,
        "Cr": -61,
        "Mn": -66,
        "Fe": -50,
        "Co": -42,
        "Ni": -39,
        "Cu": -33,
        "Zn": -32,
        "Y": -117,
        "Zr": -131,
        "Nb": -102,
        "Mo": -67,
        "Ru": -35,
        "Rh": -35,
        "Pd": -32,
        "Ag": -32,
        "La": -116,
        "Ce": -116,
        "Pr": -117,
        "Nd": -116,
        "Gd": -117,
        "Tb": -118,
        "Dy": -117,
        "Ho": -116,
        "Er": -118,
        "Yb": -88,
        "Lu": -119,
        "Hf": -123,
        "Ta": -101,
        "W": -60,
        "Re": -42,
        "Ir": -32,
        "Pt": -30,
        "Au": -20,
        "Pb": -13,
    },
    "Si": {
        "Be": -15,
        "Mg": -26,
        "Al": -19,
        "Ca": -51,
        "Sc": -74,
        "Ti": -66,
        "V": -48,
        "Cr": -37,
        "Mn": -45,
        "Fe": -35,
        "Co": -38,
        "Ni": -40,
        "Cu": -19,
        "Zn": -18,
        "Y": -73,
        "Zr": -84,
        "Nb": -56,
        "Mo": -35,
        "Ru": -38,
        "Rh": -46,
        "Pd": -55,
        "Ag": -20,
        "La": -73,
        "Ce": -73,
        "Pr": -73,
        "Nd": -73,
        "Gd": -73,
        "Tb": -74,
        "Dy": -74,
        "Ho": -73,
        "Er": -74,
        "Yb": -51,
        "Lu": -75,
        "Hf": -77,
        "Ta": -56,
        "W": -31,
        "Re": -31,
        "Ir": -43,
        "Pt": -53,
        "Au": -30,
        "Pb": -2,
    },
    "P": {
        "Be": -3.5,
        "Mg": -39.5,
        "Al": -20.5,
        "Ca": -81.5,
        "Sc": -112.5,
        "Ti": -100.5,
        "V": -70.5,
        "Cr": -49.5,
        "Mn": -57.5,
        "Fe": -39.5,
        "Co": -35.5,
        "Ni": -34.5,
        "Cu": -17.5,
        "Zn": -17.5,
        "Y": -113.5,
        "Zr": -127.5,
        "Nb": -89.5,
        "Mo": -53.5,
        "Ru": -30.5,
        "Rh": -34.5,
        "Pd": -36.5,
        "Ag": -18.5,
        "La": -112.5,
        "Ce": -112.5,
        "Pr": -112.5,
        "Nd": -112.5,
        "Gd": -113.5,
        "Tb": -113.5,
        "Dy": -112.5,
        "Ho": -111.5,
        "Er": -113.5,
        "Yb": -80.5,
        "Lu": -114.5,
        "Hf": -117.5,
        "Ta": -89.5,
        "W": -46.5,
        "Re": -32.5,
        "Ir": -30.5,
        "Pt": -34.5,
        "Au": -13.5,
        "Pb": 4.5,
    },
    "Ge": {
        "Be": -3.5,
        "Mg": -26.5,
        "Al": -14.5,
        "Ca": -59.5,
        "Sc": -69.5,
        "Ti": -51.5,
        "V": -31.5,
        "Cr": -18.5,
        "Mn": -31.5,
        "Fe": -15.5,
        "Co": -21.5,
        "Ni": -23.5,
        "Cu": -11.5,
        "Zn": -15.5,
        "Y": -72.5,
        "Zr": -72.5,
        "Nb": -36.5,
        "Mo": -13.5,
        "Ru": -18.5,
        "Rh": -29.5,
        "Pd": -43.5,
        "Ag": -17.5,
        "La": -73.5,
        "Ce": -73.5,
        "Pr": -72.5,
        "Nd": -101.5,
        "Gd": -72.5,
        "Tb": -72.5,
        "Dy": -71.5,
        "Ho": -71.5,
        "Er": -71.5,
        "Yb": -58.5,
        "Lu": -71.5,
        "Hf": -65.5,
        "Ta": -37.5,
        "W": -7.5,
        "Re": -7.5,
        "Ir": -24.5,
        "Pt": -37.5,
        "Au": -21.5,
        "Pb": -7.5,
    },
}
"""Enthalpies of mixing of liquids of a metalloid and a metal in equal parts, kJ/mol of atoms."""


_DIAMETER_RATIO = 0.88 / 0.80
"""Diameter of two metalloids over that of a metalloid and a metal."""
_DEPTH_RATIO = 0.5
"""Well depth of two metalloids over that from their cohesive energies."""


def metalloid_parameters(
    symbols: Sequence[str], metals: Mapping[str, tuple[float, float]]
) -> dict[tuple[str, str], tuple[float, float]]:
    """Estimate the pairs of metalloids with metals and with each other.

    Parameters
    ----------
    symbols
        Metalloids.
    metals
        Diameter in A and well depth in eV of each metal.

    Returns
    -------
    Diameter in A and well depth in eV of every pair with a metalloid, like pairs included.

    Raises
    ------
    InputError
        For metalloids without a metal.

    Examples
    --------
    >>> pairs = metalloid_parameters(["P"], {"Ni": (2.283, 0.516)})
    >>> [round(value, 3) for value in pairs["Ni", "P"]]
    [2.123, 0.54]
    """
    if symbols and not metals:
        raise InputError(
            f"{', '.join(symbols)} without a metal has no surrogate by rule",
            hint="add a metal, or give a pair table (LennardJones.from_yaml, or --pair-table)",
        )
    depths = {symbol: METALLOIDS[symbol].cohesive_energy / COHESIVE_ENERGY for symbol in symbols}
    pairs: dict[tuple[str, str], tuple[float, float]] = {}
    own: dict[str, float] = {}
    for symbol in symbols:
        covalent = 2.0 * METALLOIDS[symbol].covalent_radius / NEIGHBOUR_DISTANCE
        for metal, (diameter, depth) in metals.items():
            enthalpy = MIXING_ENTHALPIES[symbol][metal] * units.KJ_PER_MOL
            pairs[metal, symbol] = (
                0.5 * (diameter + covalent),
                0.5 * (depth + depths[symbol]) - 2.0 * enthalpy / COHESIVE_ENERGY,
            )
        own[symbol] = _DIAMETER_RATIO * fmean(pairs[metal, symbol][0] for metal in metals)
    for a, b in itertools.combinations_with_replacement(symbols, 2):
        pairs[a, b] = (0.5 * (own[a] + own[b]), 0.5 * _DEPTH_RATIO * (depths[a] + depths[b]))
    return pairs
