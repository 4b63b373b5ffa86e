"""Pair tables of the surrogate in YAML files, for user-defined alloys and parameters.

::

    # Lengths in A, energies in eV.
    species:
      Pd: {sigma: 2.52, epsilon: 0.452}
      Ni: {sigma: 2.28, epsilon: 0.516}
      P: {sigma: 1.96, epsilon: 0.199}
    pairs:                # optional: pairs that are not mixed by Lorentz-Berthelot
      Pd-P: {sigma: 2.24, epsilon: 0.513}
      Ni-P: {epsilon: 0.540}
    cutoff_factor: 2.0    # optional: the cutoff of each pair over its sigma
    reference: Pd         # optional: the species whose sigma and epsilon are the units

A pair without sigma or without epsilon has the mixed value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ase.data import atomic_numbers

from mgflows.errors import InputError, MissingFileError
from mgflows.files import parse_yaml, read_text

__all__ = ["PairTable", "read_pair_table"]

_KEYS = ("species", "pairs", "cutoff_factor", "reference")
_HINT = "see the format in the documentation of mgflows.surrogate.pair_tables"


@dataclass(frozen=True)
class PairTable:
    """Parameters of a Lennard-Jones mixture; see :meth:`LennardJones.from_species`.

    Parameters
    ----------
    sigma, epsilon
        Diameters in A and well depths in eV, by species.
    pairs
        Both by pair, for pairs that are not mixed.
    cutoff_factor
        Cutoff of each pair over its sigma.
    reference
        Species whose sigma and epsilon are the units; empty for the default.
    """

    sigma: dict[str, float]
    epsilon: dict[str, float]
    pairs: dict[tuple[str, str], tuple[float, float]]
    cutoff_factor: float
    reference: str


def read_pair_table(path: Path | str) -> PairTable:
    """Read the parameters of a surrogate from a YAML file.

    Parameters
    ----------
    path
        The file; its format is described in :mod:`mgflows.surrogate.pair_tables`.

    Raises
    ------
    MissingFileError
        If there is no such file.
    InputError
        If the file is not YAML or has unknown, missing or unusable entries.
    """
    path = Path(path)
    try:
        content = parse_yaml(read_text(path))
    except FileNotFoundError as error:
        raise MissingFileError(
            f"the pair table {path} does not exist", hint="give the path of a YAML file"
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the pair table {path} cannot be read ({reason})", hint=_HINT) from error
    table = _mapping(content, f"the pair table {path}", _KEYS)
    species = _mapping(table.get("species"), f"species of {path}")
    if not species:
        raise InputError(f"{path} names no species", hint=_HINT)
    for symbol in species:
        if symbol not in atomic_numbers:
            raise InputError(f"{path} names {symbol!r}, which is not an element", hint=_HINT)
    parameters = {
        symbol: _well(well, f"{symbol} in {path}", required=True)
        for symbol, well in species.items()
    }
    sigma = {symbol: well["sigma"] for symbol, well in parameters.items()}
    epsilon = {symbol: well["epsilon"] for symbol, well in parameters.items()}
    pairs = {}
    for name, well in _mapping(table.get("pairs") or {}, f"pairs of {path}").items():
        a, _, b = str(name).partition("-")
        if a not in species or b not in species or a == b:
            raise InputError(
                f"{path} has the pair {name!r}, which is not of two of its species "
                f"({', '.join(species)})",
                hint="name it like Pd-P",
            )
        if (b, a) in pairs or (a, b) in pairs:
            raise InputError(f"{path} has the pair {name} twice", hint="give it once")
        given = _well(well, f"{name} in {path}", required=False)
        pairs[a, b] = (
            given.get("sigma", (sigma[a] + sigma[b]) / 2.0),
            given.get("epsilon", math.sqrt(epsilon[a] * epsilon[b])),
        )
    return PairTable(
        sigma,
        epsilon,
        pairs=pairs,
        cutoff_factor=_number(table.get("cutoff_factor", 2.0), f"cutoff_factor of {path}"),
        reference=str(table.get("reference", "")),
    )


def _mapping(value: Any, name: str, allowed: tuple[str, ...] | None = None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{name} is {value!r} but must have named entries", hint=_HINT)
    unknown = [key for key in value if allowed is not None and key not in allowed]
    if unknown:
        raise InputError(
            f"{name} has the entry {unknown[0]!r}", hint=f"use {', '.join(allowed or ())}"
        )
    return value


def _well(value: Any, name: str, *, required: bool) -> dict[str, float]:
    entries = _mapping(value, name, ("sigma", "epsilon"))
    missing = [key for key in ("sigma", "epsilon") if key not in entries]
    if required and missing:
        raise InputError(f"{name} has no {missing[0]}", hint="give sigma in A and epsilon in eV")
    return {key: _number(number, f"{key} of {name}") for key, number in entries.items()}


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0.0:
        raise InputError(f"{name} is {value!r} but must be a positive number", hint=_HINT)
    return float(value)
