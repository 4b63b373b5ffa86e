"""Check that energies, forces and stresses of frames are in the same units and have the same signs.

Between two frames of the same atoms that are close to each other, such as strained copies of a
glass or configurations of a trajectory, the energy changes by the work of the mean force and the
mean stress (trapezoidal rule):

``dE = -1/2 (F_1 + F_2) . dx + 1/2 (V_1 sigma_1 + V_2 sigma_2) : epsilon``,

where dx are the displacements after the strain epsilon. A fit of the two terms to the changes of
the labelled energies has coefficients near 1: 0.8 to 1.1 for the data sets of
docs/how_to/training.md, which have strains up to 10 %. Labels in other units are off by factors
from 14 (Ry) to 1600 (kbar), labels of another sign by -1.

If all labels are in the same other unit of energy, they do not contradict each other. Then the
stiffness shows it, the change of the forces over the displacement, ``-dF . dx / dx^2``. It scales
with ``B V^(1/3)``, bulk modulus and atomic volume of the elements: the ratio is 3 for displaced
copies of Cu-Zr-Al, 7 to 9 for those of K, Ca and Na, and 0.7 to 2 along hot trajectories.
"""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mgflows import units
from mgflows.errors import InputError
from mgflows.nep.frames import frame_labels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ase import Atoms
    from numpy.typing import NDArray

__all__ = ["UnitComparison", "check_units"]

_LARGEST_DISPLACEMENT = 0.6
"""A."""
_LARGEST_STRAIN = 0.1
_FEWEST_PAIRS = 10
_SMALLEST_R2 = 0.8
_LARGEST_FACTOR = 4.0
"""Largest plausible ratio of two estimates of the same energy change."""
_SIGNIFICANT = 5.0
"""Coefficients are judged if they are this many times their standard error,"""
_SMALLEST_SHARE = 0.1
"""and if their work is this share of the energy changes. A smaller one is hidden by the error of
the trapezoidal rule: 1 % along a heated trajectory, whose cell hardly changes."""
_SMALLEST_DISPLACEMENT = 0.02
"""A, root mean square over the atoms, of pairs whose stiffness is judged."""
_STIFFNESS = (0.25, 16.0)
"""Times B V^(1/3). Forces in Hartree/A, Rydberg/A and kcal/mol/A are off by 27.2, 13.6 and 23."""
_TYPICAL_STIFFNESS = (0.5, 10.0)
_SMALLEST_KNOWN = 0.5
"""Share of the atoms whose B and V must be known, those of metals."""
_COHERENT = 0.9
"""Share of the pairs that must resist the displacement before their stiffness is judged."""
_REMEMBERED = 256
"""Orders of atoms whose latest frame is kept, so that frames can be streamed."""


class _Work(NamedTuple):
    """Energy changes in eV: of the labels, and as the work of the forces and of the stresses.

    That of the stresses is NaN without a stress. The stiffness is in eV/A^2, NaN for atoms that
    hardly move; the modulus is B V^(1/3) in the same unit, NaN where it is not known.
    """

    energy: float
    force: float
    stress: float
    n_atoms: int
    stiffness: float
    modulus: float


class _Fit(NamedTuple):
    coefficients: NDArray[np.float64]
    errors: NDArray[np.float64]
    shares: NDArray[np.float64]
    r2: float

    @property
    def is_good(self) -> bool:
        return self.r2 >= _SMALLEST_R2

    @property
    def is_significant(self) -> NDArray[np.bool_]:
        """Coefficients that the frames determine."""
        is_certain = np.abs(self.coefficients) > _SIGNIFICANT * self.errors
        return is_certain & (self.shares > _SMALLEST_SHARE)

    @property
    def implausible(self) -> NDArray[np.bool_]:
        """Coefficients that are significant and of another sign or magnitude than 1."""
        value, largest = self.coefficients, _LARGEST_FACTOR
        return self.is_significant & ((value < 1.0 / largest) | (value > largest))


class UnitComparison:
    """Comparison of the labels of frames, given one after the other.

    Only the latest frames of a limited number of compositions are kept in memory.
    """

    def __init__(self) -> None:
        self._works: list[_Work] = []
        self._latest: OrderedDict[bytes, tuple[int, Atoms]] = OrderedDict()
        self._n_frames = 0

    def add(self, frame: Atoms) -> None:
        """Compare a frame with the one before it of the same atoms.

        Parameters
        ----------
        frame
            A labelled frame (:mod:`mgflows.nep.frames`).
        """
        key = frame.numbers.tobytes()
        before = self._latest.pop(key, None)
        self._latest[key] = self._n_frames, frame
        if len(self._latest) > _REMEMBERED:
            self._latest.popitem(last=False)
        if before is not None:
            work = _work(before, (self._n_frames, frame))
            if work is not None:
                self._works.append(work)
        self._n_frames += 1

    def check(self) -> None:
        """Refuse labels that contradict each other; see :func:`check_units`."""
        _check(self._works)


def check_units(frames: Iterable[Atoms]) -> None:
    """Refuse labels whose energies, forces and stresses contradict each other.

    Only consecutive frames of the same atoms that are close to each other are compared; fewer than
    ten such pairs are not judged.

    Parameters
    ----------
    frames
        Labelled frames (:mod:`mgflows.nep.frames`), those without a stress included.

    Raises
    ------
    InputError
        If the changes of the energies are explained well by those expected from forces and
        stresses, but with another sign or a factor above 4, or as energies per atom; or if the
        forces are an order of magnitude too small or too large for the displacements.
    """
    comparison = UnitComparison()
    for frame in frames:
        comparison.add(frame)
    comparison.check()


def _check(works: list[_Work]) -> None:
    if len(works) < _FEWEST_PAIRS:
        return
    energy, force, stress, n_atoms, stiffness, modulus = np.array(works).T
    # Frames that are strained and have no stress.
    known = np.isfinite(stress)
    if known.sum() >= _FEWEST_PAIRS:
        works_known = np.stack([force, stress], axis=1)[known]
        _check_agreement(energy[known], works_known, n_atoms[known])
    judged = np.isfinite(stiffness) & np.isfinite(modulus)
    _check_stiffness(stiffness[judged], modulus[judged])


def _check_agreement(
    energy: NDArray[np.float64], works: NDArray[np.float64], n_atoms: NDArray[np.float64]
) -> None:
    terms = works / n_atoms[:, None]
    fit = _fit(energy / n_atoms, terms)
    if fit.is_good and not fit.implausible.any():
        return
    per_atom = _fit(energy, terms)
    if per_atom.is_good and not per_atom.implausible.any():
        raise InputError(
            "the energies of the frames agree with their forces and stresses only if they are "
            "energies per atom",
            hint="give the energy of the whole cell in eV",
        )
    if fit.is_good:
        _refuse(fit, len(works))


def _check_stiffness(stiffness: NDArray[np.float64], modulus: NDArray[np.float64]) -> None:
    if len(stiffness) < _FEWEST_PAIRS or np.mean(stiffness > 0.0) < _COHERENT:
        return
    ratio = float(np.median(stiffness / modulus))
    if not _STIFFNESS[0] <= ratio <= _STIFFNESS[1]:
        low, high = (factor * float(np.median(modulus)) for factor in _TYPICAL_STIFFNESS)
        raise InputError(
            f"in {len(stiffness)} pairs of similar frames, the forces change by "
            f"{np.median(stiffness):.2g} eV/A^2 times the displacements of the atoms, where "
            f"{low:.2g} to {high:.2g} is expected of these elements",
            hint="check that all labels are in eV and A: forces in Hartree, Rydberg and kcal/mol "
            "per A are off by factors of 27.2, 13.6 and 23",
        )


def _modulus(numbers: NDArray[np.int64]) -> float:
    """``B V^(1/3)`` in eV/A^2, averaged over the atoms of metals; NaN if they are too few."""
    kinds, counts = np.unique(numbers, return_counts=True)
    moduli = np.array([_modulus_of(int(number)) for number in kinds])
    known = np.isfinite(moduli)
    if counts[known].sum() < _SMALLEST_KNOWN * len(numbers):
        return math.nan
    return float(np.average(moduli[known], weights=counts[known]))


@cache
def _modulus_of(number: int) -> float:
    """``B V^(1/3)`` of a metal in eV/A^2; NaN for other elements and if pymatgen has no value."""
    from pymatgen.core import Element

    element = Element.from_Z(number) if number > 0 else None
    if element is None or not element.is_metal:
        return math.nan
    with warnings.catch_warnings():
        # Values that pymatgen lacks.
        warnings.simplefilter("ignore")
        modulus, molar_volume = element.bulk_modulus, element.molar_volume
    if not modulus or not molar_volume:
        return math.nan
    volume = float(molar_volume) * 1e24 / units.AVOGADRO
    return float(units.gpa_to_ev_per_a3(float(modulus))) * volume ** (1 / 3)


def _refuse(fit: _Fit, n_pairs: int) -> None:
    force, stress = fit.coefficients.tolist()
    compared = f"in {n_pairs} pairs of similar frames, the energies change by"
    of_force = f"{force:.3g} times the work of the forces"
    of_stress = f"{stress:.3g} times the work of the stresses"
    if fit.implausible.all() and force * stress > 0.0:
        what, factors = "energies", f"{of_force} and {of_stress}"
    elif fit.implausible.all():
        what, factors = "forces and stresses", f"{of_force} and {of_stress}"
    elif fit.implausible[0]:
        what, factors = "forces" if fit.is_significant[1] else "energies and forces", of_force
    else:
        what, factors = "stresses" if fit.is_significant[0] else "energies and stresses", of_stress
    raise InputError(
        f"{compared} {factors}, where about 1 is expected",
        hint=f"check unit and sign of the {what}: eV per cell, eV/A, and eV/A^3 with positive "
        "values when stretched",
    )


def _work(*numbered: tuple[int, Atoms]) -> _Work | None:
    """Compare two frames of the same atoms; None if they are not close to each other."""
    (_, first), (_, second) = numbered
    if first.cell.rank < 3 or second.cell.rank < 3:
        return None
    cells = first.cell.array, second.cell.array
    cell = 0.5 * (cells[0] + cells[1])
    strain = np.linalg.solve(cell, cells[1] - cells[0])
    if np.abs(strain).max() > _LARGEST_STRAIN:
        return None
    move = second.get_scaled_positions(wrap=False) - first.get_scaled_positions(wrap=False)
    move = (move - np.round(move)) @ cell
    move -= move.mean(axis=0)
    if np.abs(move).max() > _LARGEST_DISPLACEMENT:
        return None
    energies, forces, stresses = zip(
        *(frame_labels(frame, index, needs_stress=False) for index, frame in numbered), strict=True
    )
    by_stress = 0.0
    if np.any(strain):
        tensors = [
            frame.cell.volume * stress
            for frame, stress in zip((first, second), stresses, strict=True)
        ]
        by_stress = 0.5 * float(np.sum((tensors[0] + tensors[1]) * strain))
    by_force = -0.5 * float(np.sum((forces[0] + forces[1]) * move))
    square = float(np.sum(move**2))
    stiffness = np.nan
    if square > _SMALLEST_DISPLACEMENT**2 * len(first):
        stiffness = -float(np.sum((forces[1] - forces[0]) * move)) / square
    return _Work(
        energies[1] - energies[0],
        by_force,
        by_stress,
        len(first),
        stiffness,
        _modulus(first.numbers),
    )


def _fit(changes: NDArray[np.float64], terms: NDArray[np.float64]) -> _Fit:
    """Least squares without an intercept; a term that is always zero has the coefficient 0."""
    inverse = np.linalg.pinv(terms.T @ terms)
    coefficients = inverse @ (terms.T @ changes)
    residual = float(np.sum((changes - terms @ coefficients) ** 2))
    variance = residual / (len(changes) - terms.shape[1])
    # Rounding of exact data must not make a coefficient of 0 significant.
    errors = np.sqrt(variance * np.diag(inverse)) + 1e-9
    total = float(np.sum(changes**2))
    if not total > 0.0:
        return _Fit(coefficients, errors, np.zeros(len(coefficients)), 0.0)
    shares = np.sqrt(np.sum((coefficients * terms) ** 2, axis=0) / total)
    return _Fit(coefficients, errors, shares, 1.0 - residual / total)
