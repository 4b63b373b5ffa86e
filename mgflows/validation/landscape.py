"""Does one method order the energies of glasses as another does? Linear fits of e against e (paper, Figs. 2b, 6b and S1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from numpy.typing import ArrayLike, NDArray

__all__ = ["EnergyCorrelation", "LinearFit", "energies_per_atom", "energy_correlation"]


@dataclass(frozen=True)
class LinearFit:
    """Least-squares line ``y = slope x + intercept`` through energies in eV per atom.

    Parameters
    ----------
    slope
        Dimensionless; one if both methods agree on the scale of the landscape.
    intercept
        eV per atom; methods differ in their zero, so that only its change means something.
    r_squared
        Square of Pearson's correlation.
    residual
        Root mean square distance from the line, in eV per atom.
    n_samples
        Number of points.
    """

    slope: float
    intercept: float
    r_squared: float
    residual: float
    n_samples: int


@dataclass(frozen=True)
class EnergyCorrelation:
    """Fit through all samples, and one for every group of them.

    Parameters
    ----------
    overall
        All samples.
    by_group
        For each label of a group (a cooling rate) with at least three samples of different energy.
    """

    overall: LinearFit
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
        (n,) anything that names the group of a sample, such as its cooling rate.

    Raises
    ------
    InputError
        For lengths that differ, values that are not finite, or fewer than three different reference energies.
    """
    x, y = np.asarray(reference, dtype=float), np.asarray(model, dtype=float)
    labels = [""] * len(x) if groups is None else [str(group) for group in groups]
    if not len(x) == len(y) == len(labels):
        raise InputError(
            f"{len(x)} reference energies, {len(y)} model energies and {len(labels)} groups do not match; give one of each per sample"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError(
            "some energies are not finite; leave out the samples whose calculation failed"
        )
    if len(np.unique(x)) < 3:
        raise InputError(
            f"{len(np.unique(x))} different reference energies fix no correlation; give at least three samples"
        )
    by_group = {}
    for label in dict.fromkeys(labels) if groups is not None else ():
        members = np.array([other == label for other in labels])
        if len(np.unique(x[members])) >= 3:
            by_group[label] = _fit(x[members], y[members])
    return EnergyCorrelation(_fit(x, y), by_group)


def _fit(x: NDArray[np.float64], y: NDArray[np.float64]) -> LinearFit:
    slope, intercept = np.polyfit(x, y, 1)
    residuals = y - (slope * x + intercept)
    variance = np.var(y)
    return LinearFit(
        slope=float(slope),
        intercept=float(intercept),
        r_squared=float(1.0 - np.var(residuals) / variance) if variance > 0.0 else 0.0,
        residual=float(np.sqrt(np.mean(residuals**2))),
        n_samples=len(x),
    )
