"""Selection of candidates to label: uncertain ones that differ from each other.

There are three strategies; the last two serve as a comparison for the first:

``committee``
    Candidates with a force spread inside a window; of the most uncertain ones, those farthest from
    each other and from the known frames.
``farthest``
    Farthest-point sampling: each choice is the candidate farthest from the known frames and from
    those chosen before (Gonzalez, DOI 10.1016/0304-3975(85)90224-5).
``random``
    A random choice.

Distances are those of mean NEP descriptors, one vector per element, in units of their standard
deviations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from mgflows.errors import InputError, require
from mgflows.geometry import check_geometry
from mgflows.nep.calculator import batch_calculator, potential_text, read_potential

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

    from mgflows.nep.committee import Committee

__all__ = [
    "Selection",
    "SelectionSettings",
    "SelectionStrategy",
    "SpreadWindow",
    "describe",
    "select_frames",
]

SelectionStrategy = Literal["committee", "farthest", "random"]
"""Strategies for choosing candidates."""

_POOL = 3
"""Candidates per choice among which the farthest are taken."""


@dataclass(frozen=True)
class SpreadWindow:
    """Calibrated force errors that a candidate may have, in eV/A.

    Attributes
    ----------
    lower
        Mean over the atoms below which a candidate needs no label.
    upper
        Largest error of an atom above which a candidate is implausible and is not labelled: an
        exploded trajectory, or atoms that overlap.
    """

    lower: float = 0.0
    upper: float = math.inf

    def __post_init__(self) -> None:
        if not 0.0 <= self.lower < self.upper:
            raise InputError(
                f"the window of force errors is {self.lower:g} to {self.upper:g} eV/A but must "
                "begin at 0 or above and end above its beginning"
            )


@dataclass(frozen=True)
class SelectionSettings:
    """How candidates are chosen.

    Attributes
    ----------
    strategy
        See the module docstring.
    window
        Range of calibrated force errors; no limits by default.
    seed
        Seed of ``random``.
    """

    strategy: SelectionStrategy = "committee"
    window: SpreadWindow = SpreadWindow()
    seed: int = 0

    def __post_init__(self) -> None:
        strategies = get_args(SelectionStrategy)
        if self.strategy not in strategies:
            raise InputError(
                f"the selection {self.strategy!r} is unknown",
                hint=f"choose one of {', '.join(strategies)}",
            )


@dataclass(frozen=True)
class Selection:
    """Chosen candidates, and the reasons why others were not considered.

    Attributes
    ----------
    chosen
        Indices of the candidates, in the order of the choice. Fewer than requested if there are
        not enough.
    discarded
        Reason by index of those above the window, which must not be labelled.
    known
        Indices of those below the window.
    force_errors
        (n_candidates,) calibrated force errors in eV/A; NaN without a committee.
    """

    chosen: list[int]
    discarded: dict[int, str]
    known: list[int]
    force_errors: NDArray[np.float64]


def select_frames(
    candidates: Sequence[Atoms],
    n: int,
    settings: SelectionSettings | None = None,
    *,
    committee: Committee | None = None,
    potential: str | Path | None = None,
    known: Sequence[Atoms] = (),
    further_errors: NDArray[np.float64] | None = None,
) -> Selection:
    """Choose structures to label.

    Parameters
    ----------
    candidates
        Periodic structures; labels are not needed.
    n
        Number to choose.
    settings
        Strategy, window and seed; the defaults of :class:`SelectionSettings` if None.
    committee
        Needed by ``committee``; its force scale is used if it is calibrated. With it, all
        strategies discard candidates above the window.
    potential
        Potential whose descriptors are used; the first of the committee by default.
    known
        Labelled frames from which the choice keeps a distance.
    further_errors
        (n_candidates,) force errors in eV/A that are known otherwise, such as the difference from
        another model: a candidate counts with the larger one.

    Raises
    ------
    InputError
        For no candidates, or if the strategy needs a committee or potential that is missing.
    """
    settings = settings or SelectionSettings()
    strategy = settings.strategy
    if n < 1:
        raise InputError(f"the number of frames to select is {n} but must be at least 1")
    if not candidates:
        raise InputError("there are no candidates to select from", hint="give structures")
    errors = np.full(len(candidates), np.nan)
    discarded: dict[int, str] = {}
    too_well_known: list[int] = []
    if committee is not None:
        errors, largest = _force_errors(committee, candidates, further_errors)
        discarded, too_well_known = _outside(settings.window, errors, largest)
    elif strategy == "committee":
        raise InputError(
            "the selection by a committee needs a committee",
            hint="train one, or select with 'farthest' or 'random'",
        )
    allowed = [index for index in range(len(candidates)) if index not in discarded]
    if strategy == "committee":
        left = set(allowed) - set(too_well_known)
        allowed = sorted(left, key=lambda index: (-errors[index], index))[: _POOL * n]
    if strategy == "random":
        order = np.random.default_rng(settings.seed).permutation(len(allowed))[:n]
        chosen = [allowed[position] for position in order]
    elif len(allowed) <= n and strategy == "committee":
        chosen = allowed
    elif allowed:
        if potential is None:
            if committee is None:
                raise InputError(
                    "the selection of the farthest frames needs a potential for its descriptors",
                    hint="give potential= or committee=",
                )
            potential = committee.potentials[0]
        points = describe(potential, [*(candidates[index] for index in allowed), *known])
        start = 0 if strategy == "committee" else None
        farthest = _farthest_points(points[: len(allowed)], points[len(allowed) :], n, start)
        chosen = [allowed[position] for position in farthest]
    else:
        chosen = []
    return Selection(chosen, discarded, too_well_known, errors)


def _force_errors(
    committee: Committee,
    candidates: Sequence[Atoms],
    further_errors: NDArray[np.float64] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Calibrated force errors of the candidates, and the largest one of an atom of each."""
    scale = 1.0
    if committee.calibration is not None:
        scale = committee.calibration.scales["force"].value
    prediction = committee.predict(candidates)
    errors, largest = scale * prediction.force_spread, scale * prediction.largest_force_spread
    if further_errors is not None:
        errors = np.maximum(errors, further_errors)
    return errors, largest


def _outside(
    window: SpreadWindow, errors: NDArray[np.float64], largest: NDArray[np.float64]
) -> tuple[dict[int, str], list[int]]:
    """Reasons by index of the candidates above a window, and the indices of those below it."""
    discarded: dict[int, str] = {}
    known: list[int] = []
    for index, (error, of_an_atom) in enumerate(zip(errors, largest, strict=True)):
        if not np.isfinite(of_an_atom):
            discarded[index] = "the committee's force error of an atom is not finite"
        elif of_an_atom > window.upper:
            discarded[index] = (
                f"the force error of an atom is {of_an_atom:.3g} eV/A by the committee, above "
                f"{window.upper:g}"
            )
        elif error < window.lower:
            known.append(index)
    return discarded, known


def describe(potential: str | Path, structures: Sequence[Atoms]) -> NDArray[np.float64]:
    """Mean NEP descriptors of structures, element by element.

    Parameters
    ----------
    potential
        Path or text of a ``nep.txt``.
    structures
        Periodic structures.

    Returns
    -------
    descriptors
        (n_structures, n_elements * n_descriptors), scaled as in the network; zero for an element
        that a structure lacks.

    Raises
    ------
    InputError
        For a structure that is not finite, or has other elements than the potential.
    MissingDependencyError
        If nep-adapters is not installed.
    """
    text = potential_text(potential)
    require("nep_adapters", "md", "the descriptors of a NEP")
    symbols = sorted({symbol for atoms in structures for symbol in atoms.get_chemical_symbols()})
    header = read_potential(text, symbols)
    rows = []
    with batch_calculator(text) as calculator:
        for number, atoms in enumerate(structures):
            check_geometry(atoms, f"structure {number}", periodic=True)
            values = np.asarray(calculator.predict_descriptors([atoms]), dtype=float)
            names = np.array(atoms.get_chemical_symbols())
            rows.append(
                np.concatenate(
                    [
                        values[names == symbol].mean(axis=0)
                        if (names == symbol).any()
                        else np.zeros(values.shape[1])
                        for symbol in header.species
                    ]
                )
            )
    return np.array(rows)


def _farthest_points(
    points: NDArray[np.float64], known: NDArray[np.float64], n: int, start: int | None
) -> list[int]:
    """Indices of points, each the farthest from those before; ties go to the first."""
    every = np.concatenate([points, known])
    deviation = every.std(axis=0)
    deviation[deviation == 0.0] = 1.0
    points, known = points / deviation, known / deviation
    if len(known):
        distance = np.array([np.min(np.sum((known - point) ** 2, axis=1)) for point in points])
    else:
        distance = np.sum((points - points.mean(axis=0)) ** 2, axis=1)
    chosen: list[int] = []
    while len(chosen) < min(n, len(points)):
        following = start if start is not None and not chosen else int(np.argmax(distance))
        to_chosen = np.sum((points - points[following]) ** 2, axis=1)
        distance = np.minimum(distance, to_chosen) if chosen or len(known) else to_chosen
        chosen.append(following)
        distance[chosen] = -1.0
    return chosen
