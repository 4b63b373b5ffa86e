"""Checks of a structure before it is given to a calculator, and copies at rest or scaled.

Compiled calculators do not check their input: a cell that is not finite can end the process, and
a position that is not finite can give a finite energy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError
from mgflows.text import plural

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

__all__ = [
    "SHORTEST_DISTANCE",
    "at_rest",
    "check_bulk",
    "check_distances",
    "check_geometry",
    "compact_cell",
    "right_handed",
    "with_volume",
]

SHORTEST_DISTANCE = 0.1
"""A. In no material are two atoms closer; potentials overflow or ignore one of them there."""

_SMALLEST_VOLUME = 1e-3
"""A^3 per atom; below it the cell is degenerate."""
_SKEWED = 2.0
"""Product of the lattice vectors over the volume: 1.41 in a primitive fcc or hexagonal cell."""
_WIDEST_GAP = 8.0
"""A. Layers without atoms in a bulk metal are thinner."""
_FARTHEST = 1e9
"""A. Further from the origin, double precision resolves positions to less than 1e-7 A."""


def check_geometry(atoms: Atoms, name: str = "the structure", *, periodic: bool = False) -> None:
    """Check that positions and cell are finite and the cell, where there is one, has a volume.

    Parameters
    ----------
    atoms
        The structure; left-handed and skewed cells are allowed.
    name
        How messages call it.
    periodic
        Require periodic boundary conditions in three directions.

    Raises
    ------
    InputError
        For no atoms, a position or cell vector that is not finite or beyond 1e9 A, or a periodic
        cell without a volume; names the first atom concerned.
    """
    if len(atoms) == 0:
        raise InputError(f"{name} has no atoms", hint="give at least one")
    wrong = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
    if len(wrong):
        x, y, z = atoms.positions[wrong[0]]
        raise InputError(
            f"{name} has atom {wrong[0]} ({atoms.symbols[wrong[0]]}) at ({x:g}, {y:g}, {z:g}) A, "
            "which is not finite",
            hint="remove the structure or repair its file",
        )
    farthest = np.abs(atoms.positions).max(axis=1)
    if not farthest.max() < _FARTHEST:
        raise InputError(
            f"{name} has atom {farthest.argmax()} at a distance of {farthest.max():.3g} A from the "
            "origin",
            hint="remove the structure or repair its file",
        )
    if not np.isfinite(atoms.cell.array).all():
        raise InputError(
            f"{name} has a cell vector that is not finite",
            hint="remove the structure or repair its file",
        )
    if periodic and not atoms.pbc.all():
        raise InputError(
            f"{name} is not periodic in three directions", hint="set atoms.pbc = True and a cell"
        )
    if atoms.pbc.all() and not abs(atoms.cell.volume) > _SMALLEST_VOLUME * len(atoms):
        raise InputError(
            f"{name} is periodic, but its cell has the volume {abs(atoms.cell.volume):.3g} A^3",
            hint="give three cell vectors that are not coplanar",
        )


def check_bulk(atoms: Atoms, name: str = "the structure", *, n_least: int = 1) -> None:
    """Check that a structure is periodic in three directions and fills its cell.

    Parameters
    ----------
    atoms
        The structure.
    name
        How messages call it.
    n_least
        Smallest number of atoms.

    Raises
    ------
    InputError
        For what :func:`check_geometry` refuses, for fewer atoms, and for a slab, wire or cluster in
        vacuum, which has no density and no elastic constants.
    """
    check_geometry(atoms, name, periodic=True)
    if len(atoms) < n_least:
        raise InputError(
            f"{name} has {plural(len(atoms), 'atom')}, fewer than {n_least}, so that its "
            "properties are not those of a glass",
            hint="give a cell of 100 atoms or more",
        )
    heights = 1.0 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
    places = np.sort(atoms.get_scaled_positions(wrap=True), axis=0)
    gaps = np.diff(places, axis=0, append=places[:1] + 1.0).max(axis=0) * heights
    if gaps.max() > _WIDEST_GAP:
        raise InputError(
            f"{name} has a gap of {gaps.max():.0f} A without atoms along lattice vector "
            f"{gaps.argmax() + 1}, so it is not a bulk glass",
            hint="give a cell that the atoms fill",
        )


def check_distances(atoms: Atoms, name: str = "the structure") -> None:
    """Check that no two atoms, or images of them, are at the same place.

    Parameters
    ----------
    atoms
        A structure that :func:`check_geometry` accepts.
    name
        How messages call it.

    Raises
    ------
    InputError
        For two atoms closer than :data:`SHORTEST_DISTANCE`; names them.
    """
    from ase.neighborlist import neighbor_list

    if not _may_be_close(atoms):
        return
    compact = atoms.copy()
    compact.set_cell(compact_cell(atoms))
    first, second, distances = neighbor_list("ijd", compact, SHORTEST_DISTANCE)
    if len(distances) == 0:
        return
    closest = int(np.argmin(distances))
    i, j = first[closest], second[closest]
    pair = f"atoms {i} and {j}" if i != j else f"atom {i} and its image"
    raise InputError(
        f"{name} has {pair} at the same place, {distances[closest]:.2g} A apart",
        hint="remove duplicate atoms, or check the length unit",
    )


def _may_be_close(atoms: Atoms) -> bool:
    """Whether two atoms can be closer than the shortest distance; False is certain.

    Close atoms are close along each reciprocal vector too, and a tree of those coordinates is
    searched in a tenth of the time of a neighbour list.
    """
    from scipy.spatial import KDTree

    cell = atoms.cell.complete().array
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    if np.any(heights[atoms.pbc] < 2.0 * SHORTEST_DISTANCE):
        return True
    fractional = atoms.get_scaled_positions(wrap=True)
    points = fractional * heights
    box = np.where(atoms.pbc, heights, 0.0)
    points[:, atoms.pbc] = np.where(points >= heights, 0.0, points)[:, atoms.pbc]
    tree = KDTree(points, boxsize=box)
    return bool(tree.query_pairs(SHORTEST_DISTANCE, p=np.inf))


def compact_cell(atoms: Atoms) -> NDArray[np.float64]:
    """Return lattice vectors of the same lattice that are as short as possible, (3, 3) in A.

    Sums over neighbours in a skewed cell visit far more images than needed. Cells that are not
    skewed, or not periodic in three directions, are returned as they are.
    """
    from ase.geometry import minkowski_reduce

    cell: NDArray[np.float64] = atoms.cell.array.copy()
    if not atoms.pbc.all() or np.prod(atoms.cell.lengths()) < _SKEWED * abs(atoms.cell.volume):
        return cell
    return np.asarray(minkowski_reduce(cell)[0], dtype=float)


def at_rest(atoms: Atoms) -> Atoms:
    """Return a copy without velocities and constraints."""
    copy = atoms.copy()
    copy.set_constraint()
    copy.arrays.pop("momenta", None)
    return copy


def with_volume(atoms: Atoms, volume: float) -> Atoms:
    """Return a copy without constraints, scaled with its cell to a volume in A^3."""
    scaled = atoms.copy()
    scaled.set_constraint()
    scaled.set_cell(atoms.cell.array * np.cbrt(volume / atoms.get_volume()), scale_atoms=True)
    return scaled


def right_handed(atoms: Atoms) -> Atoms:
    """The same crystal with right-handed lattice vectors.

    Some codes refuse left-handed ones. The negative vectors span the same lattice, so that
    positions, energy, forces and stress keep their values.
    """
    copy = atoms.copy()
    if np.linalg.det(atoms.cell.array) < 0.0:
        copy.set_cell(-atoms.cell.array)
    return copy
