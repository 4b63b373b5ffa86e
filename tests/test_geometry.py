from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mgflows.errors import InputError
from mgflows.geometry import check_distances, check_geometry, compact_cell


def test_atoms_at_the_same_place_are_named() -> None:
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    check_distances(atoms)
    atoms.positions[2] = atoms.positions[1] + atoms.cell[0] + [0.0, 0.0, 0.05]
    with pytest.raises(InputError, match=r"the glass has atoms 1 and 2 at .*, 0\.05 A apart"):
        check_distances(atoms, "the glass")
    with pytest.raises(InputError, match="atom 0 and its image"):
        check_distances(Atoms("Cu", cell=[0.05, 50.0, 50.0], pbc=True))


@pytest.mark.parametrize("position", [np.nan, np.inf, 1e12])
def test_positions_that_cannot_be_used_are_named(position: float) -> None:
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    atoms.positions[2, 1] = position
    with pytest.raises(InputError, match="atom 2"):
        check_geometry(atoms)


def test_a_skewed_cell_becomes_compact_and_others_stay() -> None:
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    np.testing.assert_array_equal(compact_cell(atoms), atoms.cell.array)
    skewed = atoms.copy()
    skewed.set_cell(np.array([[1, 0, 0], [9, 1, 0], [4, -7, 1]]) @ atoms.cell.array)
    cell = compact_cell(skewed)
    np.testing.assert_allclose(np.linalg.norm(cell, axis=1), 3.6)
    # Integer combinations both ways: the same lattice.
    steps = cell @ np.linalg.inv(atoms.cell.array)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)
    assert abs(np.linalg.det(steps)) == pytest.approx(1.0)
    skewed.pbc = False
    np.testing.assert_array_equal(compact_cell(skewed), skewed.cell.array)
