from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from pymatgen.core import Lattice

from mgflows import Alloy
from mgflows.errors import InputError
from mgflows.methods.base import k_mesh, mesh_of_points


def test_the_papers_cell_has_the_papers_mesh():
    """0.162/A and 3x3x3 for 12.9 A (paper, Methods, "DFT Calculations"); VASP rounds up to four."""
    length = Alloy.cuzral().box_length
    assert k_mesh(np.eye(3) * length, 0.162) == (3, 3, 3)
    assert np.ceil(2.0 * np.pi / length / 0.162) == 4


def test_the_mesh_follows_reciprocal_vectors_of_any_cell():
    cell = bulk("Zr").cell.array @ np.diag([1.0, 1.1, 2.0])
    expected = [max(1, round(length / 0.3)) for length in Lattice(cell).reciprocal_lattice.abc]
    assert list(k_mesh(cell, 0.3)) == expected
    assert len(set(expected)) > 1
    assert k_mesh(np.eye(3) * 100.0, 0.3) == (1, 1, 1)


@pytest.mark.parametrize(
    ("cell", "spacing", "words"),
    [(np.eye(3), 0.0, "must be positive"), (np.zeros((3, 3)), 0.2, "no volume")],
)
def test_what_has_no_mesh(cell, spacing, words):
    with pytest.raises(InputError, match=words):
        k_mesh(cell, spacing)


@pytest.mark.parametrize("mesh", [(1, 1, 1), (2, 2, 4), (3, 5, 1)])
def test_a_mesh_is_found_from_its_points(mesh):
    points = np.stack(np.meshgrid(*(np.arange(n) / n for n in mesh), indexing="ij"), -1).reshape(
        -1, 3
    )
    assert mesh_of_points(points) == mesh
    # One of k and -k, shifted by lattice vectors, with the rounding of an output.
    half = [
        point
        for number, point in enumerate(points)
        if not any(np.allclose((point + other) % 1.0 % 1.0, 0.0) for other in points[:number])
    ]
    assert mesh_of_points(np.round(-np.array(half) + 1.0, 5)) == mesh
