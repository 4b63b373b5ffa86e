from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list

from mgflows import Alloy
from mgflows.errors import InputError
from mgflows.validation.rdf import curve_distance, periodic_pairs, radial_distribution


@pytest.mark.physics
def test_ideal_gas_is_one_beyond_half_the_box():
    generator = np.random.default_rng(1)
    edge, n_atoms = 10.0, 60
    symbols = ["Cu"] * 40 + ["Zr"] * 20
    frames = [
        Atoms(symbols, generator.uniform(0, edge, (n_atoms, 3)), cell=[edge] * 3, pbc=True)
        for _ in range(150)
    ]
    result = radial_distribution(frames, distance_max=9.5, n_bins=19)
    outer = result.distance > 1.0
    assert result.distance[-1] > edge / 2
    # An atom is no neighbour of its own: 1 - 1/N until the box repeats.
    np.testing.assert_allclose(result.total[outer], 1 - 1 / 60, atol=0.02)
    np.testing.assert_allclose(result.partial["Cu-Zr"][outer], 1.0, atol=0.05)
    np.testing.assert_allclose(result.partial["Cu-Cu"][outer], 1 - 1 / 40, atol=0.05)
    assert result.number_density == pytest.approx(0.06)
    assert result.n_frames == 150


@pytest.mark.physics
def test_coordination_shells_of_fcc_from_a_single_atom():
    a = 4.0
    result = radial_distribution(bulk("Al", "fcc", a=a), distance_max=6.5, n_bins=130)
    shell_volume = 4 * np.pi * result.distance**2 * (result.distance[1] - result.distance[0])
    neighbours = result.total * shell_volume * result.number_density
    for radius, count in (
        (a / np.sqrt(2), 12),
        (a, 6),
        (a * np.sqrt(1.5), 24),
        (a * np.sqrt(2), 12),
    ):
        near = np.abs(result.distance - radius) < 0.15
        assert neighbours[near].sum() == pytest.approx(count, rel=1e-3)


def test_triclinic_cells_count_the_same_pairs_as_a_neighbour_list():
    atoms = bulk("CuZr", "cesiumchloride", a=3.3).repeat((2, 2, 3))
    atoms.set_cell(
        atoms.cell.array + np.random.default_rng(2).uniform(-1, 1, (3, 3)), scale_atoms=True
    )
    atoms.rattle(0.2, seed=3)
    result = radial_distribution(atoms, distance_max=9.0, n_bins=90)
    i, j, d = neighbor_list("ijd", atoms, 9.0)
    edges = np.linspace(0, 9, 91)
    is_zr = atoms.symbols == "Zr"
    histogram, _ = np.histogram(d[~is_zr[i] & is_zr[j]], edges)
    expected = histogram * atoms.get_volume() / (4 / 3 * np.pi * np.diff(edges**3)) / 12 / 12
    # Single-precision distances may move a pair across the edge of a bin.
    assert np.abs(result.partial["Cu-Zr"] - expected).sum() < 0.005 * expected.sum()
    np.testing.assert_allclose(
        result.total[40:],
        np.histogram(d, edges)[0][40:]
        * atoms.get_volume()
        / (4 / 3 * np.pi * np.diff(edges**3)[40:])
        / 576,
        rtol=0.02,
    )


def test_left_handed_cells_have_the_pairs_of_their_mirror_image():
    atoms = bulk("CuZr", "cesiumchloride", a=3.3).repeat((2, 2, 3))
    atoms.set_cell(
        atoms.cell.array + np.random.default_rng(2).uniform(-1, 1, (3, 3)), scale_atoms=True
    )
    left = atoms.copy()
    left.set_cell(atoms.cell.array * [[1.0], [1.0], [-1.0]])
    assert np.linalg.det(left.cell.array) < 0.0
    for each in (atoms, left):
        found = np.sort(periodic_pairs(each, 9.0)[2])
        np.testing.assert_allclose(found, np.sort(neighbor_list("d", each, 9.0)), atol=1e-4)


@pytest.mark.physics
def test_xray_weights_of_the_paper_alloy():
    """Weights of Cu46Zr46Al8 by hand: c_a c_b Z_a Z_b / (sum c Z)^2 with Z = 29, 40, 13."""
    alloy = Alloy.cuzral(n_atoms=100)
    atoms = Atoms(
        alloy.symbols, np.random.default_rng(0).uniform(0, 12, (100, 3)), cell=[12] * 3, pbc=True
    )
    result = radial_distribution(atoms, distance_max=5.0, n_bins=10)
    expected = {
        "Cu-Cu": 0.166,
        "Cu-Zr": 0.457,
        "Cu-Al": 0.026,
        "Zr-Zr": 0.315,
        "Zr-Al": 0.036,
        "Al-Al": 0.001,
    }
    assert result.xray_weights == pytest.approx(expected, abs=1e-3)
    assert sum(result.xray_weights.values()) == pytest.approx(1.0)
    np.testing.assert_allclose(
        result.xray,
        sum(result.xray_weights[pair] * curve for pair, curve in result.partial.items()),
    )
    composition = {"Cu": 0.46, "Zr": 0.46, "Al": 0.08}
    total = sum(
        (1 if pair.split("-")[0] == pair.split("-")[1] else 2)
        * np.prod([composition[s] for s in pair.split("-")])
        * curve
        for pair, curve in result.partial.items()
    )
    np.testing.assert_allclose(result.total, total, atol=1e-12)


@pytest.mark.physics
def test_distances_between_known_curves():
    r = np.linspace(0, 12, 601)
    flat = np.ones_like(r)
    offset = curve_distance(r, flat, r, flat + 0.1)
    assert offset.mean_absolute_error == pytest.approx(0.1)
    assert offset.wasserstein == pytest.approx(0.0, abs=1e-12)
    peak = np.exp(-((r - 4.0) ** 2) / 0.02)
    shifted = np.exp(-((r - 4.5) ** 2) / 0.02)
    assert curve_distance(r, peak, r, shifted).wasserstein == pytest.approx(0.5, abs=1e-3)
    assert curve_distance(r, peak, r[::2], peak[::2]).mean_absolute_error < 0.01
    assert (offset.distance_min, offset.distance_max) == (2.3, 10.0)


def test_bad_input_is_refused():
    atoms = bulk("Cu", "fcc", a=3.6)
    with pytest.raises(InputError, match="no frame"):
        radial_distribution([])
    with pytest.raises(InputError, match="composition"):
        radial_distribution([atoms, bulk("Al", "fcc", a=4.0)])
    with pytest.raises(InputError, match="periodic"):
        radial_distribution(Atoms("Cu2", [[0, 0, 0], [2, 0, 0]], cell=[5, 5, 5]))
    r = np.linspace(0, 6, 100)
    with pytest.raises(InputError, match="second curve"):
        curve_distance(np.linspace(0, 12, 100), np.ones(100), r, np.ones(100))
    with pytest.raises(InputError, match="100 of the 100 values of the first curve"):
        curve_distance(r, np.full(100, np.nan), r, np.ones(100))
    with pytest.raises(InputError, match="distances that do not rise"):
        curve_distance(r[::-1], np.ones(100), r, np.ones(100))
    with pytest.raises(InputError, match="from 8 to 3 A is empty"):
        curve_distance(r, np.ones(100), r, np.ones(100), distance_range=(8.0, 3.0))
    atoms.positions[0, 1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        radial_distribution(atoms)
