"""Correlation of the energies of glasses between two methods (paper, Figs. 2b, 6b and S1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError
from mgflows.fits import LinearFit, fit_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from numpy.typing import ArrayLike, NDArray

__all__ = ["EnergyCorrelation", "energies_per_atom", "energy_correlation"]


@dataclass(frozen=True)
class EnergyCorrelation:
    """Straight lines through the energies of two methods, eV per atom.

    Parameters
    ----------
    overall
        All samples. The slope is one if both methods agree on the scale of the landscape; the
        intercept only reflects their zeros of energy.
    residual
        Root mean square distance from that line, in eV per atom.
    by_group
        For each group (a cooling rate) with at least three samples of different energy.
    """

    overall: LinearFit
    residual: float
    by_group: dict[str, LinearFit]


def energies_per_atom(structures: Sequence[Atoms], calculator: Calculator) -> NDArray[np.float64]:
    """(n,) potential energies in eV per atom, without relaxation."""
    energies = []
    for structure in structures:
        atoms = structure.copy()
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy() / len(atoms))
    return np.array(energies)


def energy_correlation(
    reference: ArrayLike, model: ArrayLike, groups: Sequence[object] | None = None
) -> EnergyCorrelation:
    """Fit the model's energies against the reference's.

    Parameters
    ----------
    reference
        (n,) eV per atom: x. For Fig. 2b e(LJ), for Fig. 6b e(DFT).
    model
        (n,) eV per atom: y.
    groups
        (n,) group of each sample, such as its cooling rate; any hashable value.

    Raises
    ------
    InputError
        For lengths that differ, values that are not finite, or fewer than three different
        reference energies.
    """
    x, y = np.asarray(reference, dtype=float), np.asarray(model, dtype=float)
    labels = [""] * len(x) if groups is None else [str(group) for group in groups]
    if not len(x) == len(y) == len(labels):
        raise InputError(
            f"{len(x)} reference energies, {len(y)} model energies and {len(labels)} groups do not "
            "match",
            hint="give one of each per sample",
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError(
            "some energies are not finite", hint="leave out the samples whose calculation failed"
        )
    if len(np.unique(x)) < 3:
        raise InputError(
            f"{len(np.unique(x))} different reference energies do not determine a correlation",
            hint="give at least three samples",
        )
    by_group = {}
    for label in dict.fromkeys(labels) if groups is not None else ():
        members = np.array([other == label for other in labels])
        if len(np.unique(x[members])) >= 3 and (line := fit_line(x[members], y[members])):
            by_group[label] = line
    overall = fit_line(x, y)
    assert overall is not None
    residual = float(np.sqrt(np.mean((y - overall(x)) ** 2)))
    return EnergyCorrelation(overall, residual, by_group)
