from __future__ import annotations

import json
import math

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mgflows.errors import InputError
from mgflows.structures.similarity import (
    HISTOGRAM_WIDTH,
    SimilaritySummary,
    average_similarity,
    compare_structures,
)


@pytest.fixture
def glass():
    atoms = bulk("Cu", "fcc", a=4.2, cubic=True).repeat((3, 3, 3))
    atoms.rattle(0.3, seed=2)
    return atoms


def test_shift_expansion_shear_and_wrapping_are_no_change(glass):
    relaxed = glass.copy()
    gradient = np.array([[1.06, 0.01, 0.0], [0.0, 1.05, 0.02], [0.0, 0.0, 1.07]])
    relaxed.set_cell(glass.cell.array @ gradient.T, scale_atoms=True)
    relaxed.translate([3.7, -8.1, 0.4])
    relaxed.wrap()
    similarity = compare_structures(glass, relaxed)
    np.testing.assert_allclose(similarity.displacements, 0.0, atol=1e-10)
    np.testing.assert_allclose(similarity.deformation, gradient, atol=1e-12)
    assert similarity.delta_cb_affine == 1.0
    # 6 % longer bonds: those between 4 / 1.06 and 4 A break, by definition.
    assert similarity.delta_cb < 1.0


def test_known_displacements_come_back(glass):
    moves = np.random.default_rng(3).normal(scale=0.05, size=(len(glass), 3))
    moves -= moves.mean(axis=0)
    relaxed = glass.copy()
    relaxed.positions += moves + np.array([0.2, 0.1, -0.3])
    similarity = compare_structures(glass, relaxed)
    np.testing.assert_allclose(similarity.displacements, np.linalg.norm(moves, axis=1), atol=1e-10)
    np.testing.assert_allclose(similarity.rigid_shift, [0.2, 0.1, -0.3], atol=1e-10)


def test_known_displacements_come_back_from_under_a_shift_and_a_change_of_the_cell(glass):
    """Both are removed from wrapped positions; the rest is measured in the initial cell."""
    moves = np.random.default_rng(8).normal(scale=0.1, size=(len(glass), 3))
    moves -= moves.mean(axis=0)
    gradient = np.array([[1.06, 0.02, -0.01], [0.0, 1.08, 0.03], [0.01, 0.0, 1.04]])
    shift = np.array([2.0, -5.0, 1.5])
    relaxed = glass.copy()
    relaxed.positions += moves + shift
    relaxed.set_cell(glass.cell.array @ gradient.T, scale_atoms=True)
    relaxed.wrap()
    similarity = compare_structures(glass, relaxed)
    np.testing.assert_allclose(similarity.displacements, np.linalg.norm(moves, axis=1), atol=1e-10)
    np.testing.assert_allclose(similarity.deformation, gradient, atol=1e-12)
    # The shift is known up to whole cells.
    difference = np.linalg.solve(glass.cell.array.T, similarity.rigid_shift - shift)
    np.testing.assert_allclose(difference, np.round(difference), atol=1e-10)


@pytest.mark.physics
def test_equations_2_and_3_of_the_paper_written_down_again(glass):
    """From tables of minimum-image distances, without bond list, images or unwrapping."""
    pairs = []
    for seed, scale in ((1, 1.0), (2, 1.06), (3, 1.06)):
        relaxed = glass.copy()
        relaxed.rattle(0.15 * seed, seed=seed)
        relaxed.translate([0.7, 0.0, -9.0])
        relaxed.set_cell(scale * glass.cell.array, scale_atoms=True)
        relaxed.wrap()
        pairs.append((glass, relaxed))
    n_atoms = len(glass)
    sums = []
    for lj, dft in pairs:
        before, after = lj.get_all_distances(mic=True), dft.get_all_distances(mic=True)
        total = 0.0
        for i in range(n_atoms):
            neighbours = [j for j in range(n_atoms) if j != i and before[i, j] <= 4.0]
            kept = [j for j in neighbours if after[i, j] <= 4.0]
            total += len(kept) / len(neighbours)
        sums.append(total / n_atoms)
    found = [compare_structures(lj, dft) for lj, dft in pairs]
    assert [each.delta_cb for each in found] == pytest.approx(sums, abs=1e-12)
    assert average_similarity(found).delta_cb == pytest.approx(np.mean(sums), abs=1e-12)
    assert max(sums) < 0.98, "bonds do break here"


@pytest.mark.physics
def test_neighbour_fraction_of_a_cluster_counted_by_hand():
    initial = Atoms(
        "Cu4", [[5, 5, 5], [8, 5, 5], [5, 8, 5], [5, 5, 8.5]], cell=[30, 30, 30], pbc=True
    )
    relaxed = initial.copy()
    relaxed.positions[3] = [5, 5, 9.1]
    similarity = compare_structures(initial, relaxed)
    # Atom 0 keeps 2 of 3 bonds; atoms 1 and 2 (4.24 A apart) keep theirs with atom 0; atom 3 loses
    # its only one.
    np.testing.assert_allclose(similarity.preserved, [2 / 3, 1, 1, 0], atol=1e-12)
    assert similarity.delta_cb == pytest.approx((2 / 3 + 2) / 4)


@pytest.mark.physics
def test_small_cells_count_every_image():
    """A cell shorter than the cutoff: bonds to several images of the other atom and of itself."""
    small = bulk("CuZr", "cesiumchloride", a=3.6)
    moved = small.copy()
    moved.positions[1, 0] += 1.3
    # Each atom has 8 unlike neighbours at 3.12 A and 6 like ones at 3.6 A; the shift takes four
    # unlike ones to (3.1, 1.8, 1.8), 4.01 A away.
    assert compare_structures(small, moved).delta_cb == pytest.approx(10 / 14, abs=1e-12)
    repeat = (3, 3, 3)
    assert compare_structures(small.repeat(repeat), moved.repeat(repeat)).delta_cb == pytest.approx(
        10 / 14, abs=1e-12
    )


def test_atoms_without_bonds_do_not_count():
    initial = Atoms("Cu3", [[5, 5, 5], [8, 5, 5], [20, 20, 20]], cell=[30, 30, 30], pbc=True)
    similarity = compare_structures(initial, initial)
    assert math.isnan(similarity.preserved[2])
    assert similarity.delta_cb == 1.0


def test_average_over_samples(glass):
    relaxed = glass.copy()
    relaxed.rattle(0.2, seed=5)
    one, other = compare_structures(glass, glass), compare_structures(glass, relaxed)
    average = average_similarity([one, other])
    assert average.n_samples == 2
    assert average.delta_cb == pytest.approx((1.0 + other.delta_cb) / 2)
    assert average.delta_cb_error == pytest.approx((1.0 - other.delta_cb) / 2)
    assert average.rms_displacement == pytest.approx(np.sqrt(np.mean(other.displacements**2) / 2))
    assert average.linear_expansion == pytest.approx(0.0, abs=1e-12)
    assert math.isnan(average_similarity([one]).delta_cb_error)


def test_removed_motions_are_reported(glass):
    relaxed = glass.copy()
    gradient = 1.05 * np.array([[1.0, 0.02, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    relaxed.set_cell(glass.cell.array @ gradient.T, scale_atoms=True)
    relaxed.rattle(0.1, seed=6)
    relaxed.translate([0.0, 0.3, 0.4])
    one = compare_structures(glass, relaxed)
    average = average_similarity([one])
    assert average.linear_expansion == pytest.approx(0.05)
    assert average.distortion == pytest.approx(0.02)
    # Measured in the initial cell; the rattle has a mean of its own.
    assert average.rigid_shift == pytest.approx(0.5 / 1.05, abs=0.05)
    assert one.relative_volume == pytest.approx(relaxed.get_volume() / glass.get_volume())
    assert sum(average.histogram) == len(glass)
    centres = HISTOGRAM_WIDTH * (np.arange(len(average.histogram)) + 0.5)
    assert np.average(centres, weights=average.histogram) == pytest.approx(
        average.mean_displacement, abs=HISTOGRAM_WIDTH / 4
    )
    assert np.mean(one.displacements < average.percentile_95) == pytest.approx(0.95, abs=0.01)


def test_a_summary_survives_storage(glass):
    relaxed = glass.copy()
    relaxed.rattle(0.2, seed=5)
    one = compare_structures(glass, relaxed)
    again = SimilaritySummary.from_dict(json.loads(json.dumps(one.as_dict())))
    assert average_similarity([again]).histogram == average_similarity([one]).histogram
    np.testing.assert_allclose(again.deformation, one.deformation)
    # Version 0.1.0 kept displacements, bonds and the volume.
    old = {
        key: value
        for key, value in one.as_dict().items()
        if key not in ("rigid_shift", "deformation")
    }
    average = average_similarity([SimilaritySummary.from_dict({**old, "relative_volume": 1.331})])
    assert average.linear_expansion == pytest.approx(0.1)
    assert math.isnan(average.rigid_shift)


def test_wrong_pairs_are_refused(glass):
    shuffled = glass[::-1]
    shuffled.symbols[0] = "Zr"
    with pytest.raises(InputError, match="same order"):
        compare_structures(glass, shuffled)
    with pytest.raises(InputError, match="cutoff"):
        compare_structures(glass, glass, bond_cutoff=0.5)
    with pytest.raises(InputError, match="no sample"):
        average_similarity([])
