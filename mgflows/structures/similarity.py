"""Changes of a sample on relaxation: displacements and preserved neighbours.

Paper, Fig. 1b and Methods, Eqs. 2-3.

Relaxing a Lennard-Jones sample with another method changes the cell as well: at the paper's density
all lengths grow by about 6 %. Two trivial parts are therefore removed before a displacement is
measured:

1. the *affine cell change*: both structures are compared in fractional coordinates, and the
   displacement is expressed in the cell of the **initial** sample;
2. the *rigid shift*: the mean displacement of all atoms (unweighted) is subtracted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows.errors import InputError
from mgflows.geometry import check_distances, check_geometry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ase import Atoms
    from numpy.typing import NDArray

__all__ = [
    "BOND_CUTOFF",
    "HISTOGRAM_WIDTH",
    "Similarity",
    "SimilarityAverage",
    "SimilaritySummary",
    "average_similarity",
    "compare_structures",
]

BOND_CUTOFF = 4.0
"""Largest distance of neighbours in A.

Paper, Methods, "Particle's local neighborhood changes".
"""
HISTOGRAM_WIDTH = 0.01
"""Width of the bins of displacement magnitudes, in A."""
_LARGEST_BOND_CUTOFF = 20.0
"""A. Bonds are neighbours; larger cutoffs only cost memory."""
_LARGEST_SHEAR = 0.5
"""Largest change of the cell's shape; relaxations of glasses stay below 0.1."""


@dataclass(frozen=True, eq=False)
class SimilaritySummary:
    """The stored part of the comparison of one sample with its relaxed version.

    Parameters
    ----------
    displacements
        (N,) displacement magnitudes in A, after removing affine cell change and rigid shift.
    rigid_shift
        (3,) the mean displacement that was removed, in A.
    deformation
        (3, 3) gradient ``F`` that was removed: ``F`` times the initial cell vectors are the relaxed
        ones.
    delta_cb, delta_cb_affine
        Mean over the atoms of the fraction of preserved bonds (the inner average of Eq. 3),
        measured in the relaxed cell and in the initial one.
    """

    displacements: NDArray[np.float64]
    rigid_shift: NDArray[np.float64]
    deformation: NDArray[np.float64]
    delta_cb: float
    delta_cb_affine: float

    @property
    def relative_volume(self) -> float:
        """Volume after over volume before."""
        return float(np.linalg.det(self.deformation))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as stored in the ``relaxation`` of a label."""
        return {
            "displacements": self.displacements.tolist(),
            "rigid_shift": self.rigid_shift.tolist(),
            "deformation": self.deformation.tolist(),
            "relative_volume": self.relative_volume,
            "delta_cb": self.delta_cb,
            "delta_cb_affine": self.delta_cb_affine,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SimilaritySummary:
        """Invert :meth:`as_dict`.

        Version 0.1.0 stored the volume only: its documents have no rigid shift (nan) and count as
        uniformly expanded.
        """
        uniform = np.cbrt(values["relative_volume"]) * np.eye(3)
        return cls(
            displacements=np.asarray(values["displacements"], dtype=float),
            rigid_shift=np.asarray(values.get("rigid_shift", [np.nan] * 3), dtype=float),
            deformation=np.asarray(values.get("deformation", uniform), dtype=float),
            delta_cb=float(values["delta_cb"]),
            delta_cb_affine=float(values["delta_cb_affine"]),
        )


@dataclass(frozen=True, eq=False)
class Similarity(SimilaritySummary):
    """One sample compared with its relaxed version.

    Parameters
    ----------
    preserved
        (N,) fraction of each atom's initial bonds that are preserved (Eq. 2); nan for an atom
        without bonds. Bonds are shorter than the cutoff in the initial *and* in the relaxed
        structure, each measured in its own cell: an expansion of the cell breaks bonds.
    preserved_affine
        (N,) the same with the relaxed structure scaled back into the initial cell: rearrangements
        only.
    """

    preserved: NDArray[np.float64]
    preserved_affine: NDArray[np.float64]


@dataclass(frozen=True)
class SimilarityAverage:
    """Averages over the samples of one cooling rate (the angular bracket of Eq. 3).

    Parameters
    ----------
    n_samples
        Number of samples.
    delta_cb, delta_cb_affine
        Mean of :class:`Similarity`'s values of the same names.
    delta_cb_error, delta_cb_affine_error
        Standard errors of these means; nan for one sample.
    mean_displacement, rms_displacement, median_displacement, percentile_95
        Over all atoms of all samples, in A; 95 % of the displacements are below the last.
    linear_expansion
        Mean of ``det(F)^(1/3) - 1``: the change of all lengths.
    distortion
        Mean Frobenius norm of ``F / det(F)^(1/3) - 1``: the change of the cell's shape.
    rigid_shift
        Mean magnitude of the removed rigid shift in A; it has no physical meaning.
    histogram
        Number of displacements in each bin of :data:`HISTOGRAM_WIDTH`, from zero upwards.
    """

    n_samples: int
    delta_cb: float
    delta_cb_error: float
    delta_cb_affine: float
    delta_cb_affine_error: float
    mean_displacement: float
    rms_displacement: float
    median_displacement: float
    percentile_95: float
    linear_expansion: float
    distortion: float
    rigid_shift: float
    histogram: tuple[int, ...]


def compare_structures(
    initial: Atoms, relaxed: Atoms, bond_cutoff: float = BOND_CUTOFF
) -> Similarity:
    """Compare a sample with its relaxed version.

    Parameters
    ----------
    initial, relaxed
        The same atoms in the same order; each may be wrapped into its cell in its own way.
    bond_cutoff
        Largest length of a bond in A. It may exceed half the cell: every periodic image of a
        neighbour is a separate bond.

    Raises
    ------
    InputError
        If the two do not contain the same atoms in the same order, a structure has no cell with a
        volume, the cells are different settings of a lattice, or no pair is within the cutoff.
    """
    from ase.neighborlist import neighbor_list

    for atoms, name in ((initial, "the initial structure"), (relaxed, "the relaxed structure")):
        check_geometry(atoms, name)
        check_distances(atoms, name)
        if atoms.cell.rank < 3:
            raise InputError(
                f"{name} has no cell with a volume, and structures are compared in fractional "
                "coordinates",
                hint="give it a cell, such as with atoms.center(vacuum=10)",
            )
    if initial.get_chemical_symbols() != relaxed.get_chemical_symbols():
        raise InputError(
            f"the two structures ({initial.get_chemical_formula()} and "
            f"{relaxed.get_chemical_formula()}) do not list the same atoms in the same order",
            hint="give a sample and its own relaxed version, unsorted",
        )
    initial_cell, relaxed_cell = initial.cell.array, relaxed.cell.array
    if not 0.0 < bond_cutoff < _LARGEST_BOND_CUTOFF:
        raise InputError(
            f"the bond cutoff is {bond_cutoff:g} A but must lie between 0 and "
            f"{_LARGEST_BOND_CUTOFF:g} A",
            hint="the paper's value is 4 A",
        )
    deformation = np.linalg.solve(initial_cell, relaxed_cell).T
    volume = np.linalg.det(deformation)
    if not (
        volume > 0.0 and np.abs(deformation / np.cbrt(volume) - np.eye(3)).max() < _LARGEST_SHEAR
    ):
        raise InputError(
            "the lattice vectors of the two structures do not correspond",
            hint="give the relaxed structure in the cell that came from the sample, not in an "
            "equivalent or reduced one",
        )
    fractional = initial.get_scaled_positions(wrap=False)
    jump = _remove_periodic_jumps(
        relaxed.get_scaled_positions(wrap=False) - fractional, initial.pbc
    )
    shift = jump.mean(axis=0)
    jump -= shift

    i, j, images = neighbor_list("ijS", initial, bond_cutoff)
    n_bonds = np.bincount(i, minlength=len(initial))
    if not n_bonds.any():
        raise InputError(
            f"no two atoms are within {bond_cutoff:g} A of each other",
            hint="raise the bond cutoff",
        )
    moved = fractional + jump
    bonds = moved[j] + images - moved[i]
    preserved, preserved_affine = (
        _preserved_fraction(i, np.linalg.norm(bonds @ cell, axis=1) < bond_cutoff, n_bonds)
        for cell in (relaxed_cell, initial_cell)
    )
    return Similarity(
        displacements=np.linalg.norm(jump @ initial_cell, axis=1),
        rigid_shift=shift @ initial_cell,
        deformation=deformation,
        preserved=preserved,
        preserved_affine=preserved_affine,
        delta_cb=float(np.nanmean(preserved)),
        delta_cb_affine=float(np.nanmean(preserved_affine)),
    )


def average_similarity(samples: Sequence[SimilaritySummary]) -> SimilarityAverage:
    """Average over the samples of one cooling rate.

    Raises
    ------
    InputError
        If there is no sample.
    """
    if not samples:
        raise InputError(
            "there is no sample to average",
            hint="compare at least one structure with its relaxed version",
        )
    delta = np.array([sample.delta_cb for sample in samples])
    delta_affine = np.array([sample.delta_cb_affine for sample in samples])
    displacements = np.concatenate([sample.displacements for sample in samples])
    scales = np.cbrt([sample.relative_volume for sample in samples])
    shapes = [
        np.linalg.norm(sample.deformation / scale - np.eye(3))
        for sample, scale in zip(samples, scales, strict=True)
    ]
    return SimilarityAverage(
        n_samples=len(samples),
        delta_cb=float(delta.mean()),
        delta_cb_error=_standard_error(delta),
        delta_cb_affine=float(delta_affine.mean()),
        delta_cb_affine_error=_standard_error(delta_affine),
        mean_displacement=float(displacements.mean()),
        rms_displacement=float(np.sqrt(np.mean(displacements**2))),
        median_displacement=float(np.median(displacements)),
        percentile_95=float(np.quantile(displacements, 0.95)),
        linear_expansion=float(np.mean(scales - 1.0)),
        distortion=float(np.mean(shapes)),
        rigid_shift=float(np.mean([np.linalg.norm(sample.rigid_shift) for sample in samples])),
        histogram=tuple(np.bincount((displacements / HISTOGRAM_WIDTH).astype(int)).tolist()),
    )


def _remove_periodic_jumps(
    difference: NDArray[np.float64], periodic: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Fractional differences without the whole lattice vectors that wrapping adds.

    The rigid shift, of any size, is estimated first as a mean on the circle, which wrapping does
    not change; for each atom the image nearest to it is taken.
    """
    circular_mean = np.angle(np.exp(2j * np.pi * difference).mean(axis=0)) / (2.0 * np.pi)
    return np.where(periodic, difference - np.round(difference - circular_mean), difference)


def _preserved_fraction(
    i: NDArray[np.int64], kept: NDArray[np.bool_], n_bonds: NDArray[np.int64]
) -> NDArray[np.float64]:
    n_kept = np.bincount(i, weights=kept, minlength=len(n_bonds))
    return np.divide(n_kept, n_bonds, out=np.full(len(n_bonds), np.nan), where=n_bonds > 0)


def _standard_error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
