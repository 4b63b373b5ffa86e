"""Start configurations: atoms inserted at random positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from mgflows.errors import InputError

if TYPE_CHECKING:
    from mgflows.alloy import Alloy
    from mgflows.surrogate.lennard_jones import LennardJones

__all__ = ["random_configuration"]

_PATIENCE = 2000
"""Failed insertions of one atom before the closest distance is lowered."""


def random_configuration(lj: LennardJones, alloy: Alloy, seed: int, closest: float = 0.7) -> Atoms:
    """Insert the alloy's atoms one by one at random points of its box.

    No two atoms are closer than ``closest`` sigma. If the box is too dense for that, this distance
    is lowered in steps of 5 %.

    Parameters
    ----------
    lj
        The surrogate, for its diameters.
    alloy
        Composition, number of atoms and density.
    seed
        Seed of the insertion.
    closest
        Smallest distance of a pair in units of its sigma. Random insertion of equal spheres stops
        at a packing fraction of 0.38, which is reached at 0.75 sigma for the paper's density.

    Returns
    -------
    Atoms in A, grouped by species.

    Raises
    ------
    InputError
        For a distance out of range, or a species that the surrogate lacks.
    """
    if not 0.0 <= closest <= 1.0:
        raise InputError(
            f"the smallest distance is {closest:g} sigma but must lie between 0 and 1",
            hint="0.7 suits the paper's density",
        )
    generator = np.random.default_rng([seed, alloy.n_atoms])
    length = alloy.box_length
    atoms = Atoms(alloy.symbols, cell=[length] * 3, pbc=True)
    types = lj.types(atoms)
    placed = 0
    failures = 0
    while placed < len(atoms):
        point = generator.uniform(0.0, length, 3)
        separation = atoms.positions[:placed] - point
        separation -= length * np.round(separation / length)
        limit = closest * lj.sigma[types[placed], types[:placed]]
        if np.all((separation**2).sum(axis=1) >= limit**2):
            atoms.positions[placed] = point
            placed += 1
            failures = 0
        else:
            failures += 1
            if failures == _PATIENCE:
                closest *= 0.95
                failures = 0
    return atoms
