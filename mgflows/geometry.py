"""Checks of a structure before a calculator sees it.

Compiled calculators do not check their input: a cell that is not finite can end the process, and
a position that is not finite can give a finite energy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["check_geometry"]

_SMALLEST_VOLUME = 1e-3
"""A^3 per atom; below it the cell is degenerate."""


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
        For no atoms, a position or cell vector that is not finite, or a periodic cell without a
        volume; names the first atom concerned.
    """
    if len(atoms) == 0:
        raise InputError(f"{name} has no atoms")
    wrong = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
    if len(wrong):
        x, y, z = atoms.positions[wrong[0]]
        raise InputError(
            f"{name} has atom {wrong[0]} ({atoms.symbols[wrong[0]]}) at ({x:g}, {y:g}, {z:g}) A, "
            "which is not finite",
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
