from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

from mgflows import Alloy
from mgflows.errors import InputError
from mgflows.structures.order import OrderThresholds, analyse_order, structure_factor_maximum

pytestmark = pytest.mark.physics

LAVES = crystal(
    ["Mg", "Cu"],
    [(1 / 8, 1 / 8, 1 / 8), (1 / 2, 1 / 2, 1 / 2)],
    spacegroup=227,
    setting=2,
    cellpar=[7.03] * 3 + [90] * 3,
)
A15 = crystal(
    ["Si", "Cr"], [(0, 0, 0), (0.25, 0, 0.5)], spacegroup=223, cellpar=[4.56] * 3 + [90] * 3
)


def jammed(n: int = 150, seed: int = 0) -> Atoms:
    """A random configuration without overlaps: disordered whatever the potential."""
    from mgflows.surrogate import LennardJones, find_inherent_structure

    alloy = Alloy.cuzral(n)
    positions = np.random.default_rng(seed).random((n, 3)) * alloy.box_length
    atoms = Atoms(alloy.symbols, positions=positions, cell=[alloy.box_length] * 3, pbc=True)
    return find_inherent_structure(atoms, LennardJones.cuzral(), 1e-2)[0]


@pytest.mark.parametrize("element", ["Cu", "Fe", "Ti"])
def test_close_packed_and_bcc_crystals_are_detected_hot_and_in_any_cell(element):
    atoms = bulk(element).repeat((5, 5, 6))
    atoms.rattle(0.12, seed=1)
    order = analyse_order(atoms)
    assert order.q6_solid_fraction > 0.95
    assert order.structure_factor_max > 0.8
    assert order.crystalline
    assert not order.frank_kasper_ordered


def test_a_random_alloy_on_a_lattice_is_a_crystal():
    atoms = bulk("Cu", cubic=True).repeat((3, 3, 4))
    atoms.symbols = np.random.default_rng(0).permutation(["Cu"] * 66 + ["Zr"] * 66 + ["Al"] * 12)
    assert analyse_order(atoms).crystalline


def test_a_laves_phase_is_detected_by_its_rings_and_not_by_q6():
    atoms = LAVES.repeat((2, 2, 2))
    order = analyse_order(atoms)
    assert order.q6_solid_fraction == 0.0
    # 16 Cu with twelve rings of five; 8 Mg with twelve of five and four of six.
    assert order.frank_kasper_fraction == 1.0
    assert order.icosahedral_fraction == pytest.approx(2 / 3)
    assert order.cna_555_fraction == pytest.approx((24 * 12) / (16 * 12 + 8 * 16))
    assert order.mean_coordination == pytest.approx(40 / 3)
    assert order.frank_kasper_ordered


def test_the_coordinations_of_a15():
    order = analyse_order(A15)
    assert order.frank_kasper_fraction == 1.0
    assert order.icosahedral_fraction == pytest.approx(0.25)
    assert order.mean_coordination == pytest.approx((2 * 12 + 6 * 14) / 8)


def test_an_icosahedron_and_its_strained_cell():
    # Thirteen atoms far from their images; the centre has twelve rings of five, the vertices open
    # chains.
    golden = (1 + np.sqrt(5)) / 2
    corners = np.array([(0, s, t * golden) for s in (-1, 1) for t in (-1, 1)])
    vertices = np.vstack([np.roll(corners, k, axis=1) for k in range(3)])
    atoms = Atoms(
        "Cu13", positions=np.vstack([[[0, 0, 0]], vertices]) * 1.25, cell=[30, 30, 30], pbc=True
    )
    order = analyse_order(atoms, OrderThresholds(neighbour_cutoff=3.2))
    assert order.icosahedral_fraction == pytest.approx(1 / 13)
    assert order.mean_coordination == pytest.approx((12 + 12 * 6) / 13)


def test_a_disordered_sample_is_neither():
    for seed in range(3):
        order = analyse_order(jammed(seed=seed))
        assert not order.ordered
        assert order.q6_solid_fraction < 0.05
        assert order.structure_factor_max < 0.25
        assert order.cna_555_fraction < 0.25
        assert order.neighbour_cutoff == pytest.approx(4.0, abs=1e-3)


def test_values_do_not_depend_on_cell_choice_handedness_or_repetition():
    atoms = jammed()
    order = analyse_order(atoms)
    mirrored = atoms.copy()
    mirrored.set_cell(atoms.cell.array[[1, 0, 2]])
    sheared = atoms.copy()
    sheared.set_cell(np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]]) @ atoms.cell.array)
    for other in (mirrored, sheared, atoms.repeat((2, 1, 1))):
        again = analyse_order(other)
        for name in (
            "q6_solid_fraction",
            "cna_555_fraction",
            "frank_kasper_fraction",
            "mean_coordination",
        ):
            assert getattr(again, name) == pytest.approx(getattr(order, name))
    assert analyse_order(sheared).structure_factor_max == pytest.approx(order.structure_factor_max)


def test_structure_factor_of_two_atoms_by_hand():
    # Half a cell apart along x: amplitude 2 for even h, 0 for odd h.
    atoms = Atoms("Cu2", positions=[[0, 0, 0], [2, 0, 0]], cell=[4, 3, 3], pbc=True)
    maximum, wavenumber = structure_factor_maximum(atoms)
    assert maximum == pytest.approx(1.0)
    assert wavenumber > 2 * np.pi / 4 * 1.01


def test_small_cells_are_repeated_and_their_structure_factor_left_out():
    atoms = bulk("Cu", cubic=True)
    order = analyse_order(atoms)
    assert order.q6_solid_fraction == 1.0
    assert order.crystalline
    random = Atoms(
        "Cu2Zr2",
        scaled_positions=[[0, 0, 0], [0.5, 0.45, 0.02], [0.52, 0.03, 0.47], [0.04, 0.55, 0.5]],
        cell=[4.0, 4.1, 4.2],
        pbc=True,
    )
    assert analyse_order(random).structure_factor_max > 0.4


def test_thresholds_are_settings_and_survive_serialisation():
    thresholds = OrderThresholds(
        neighbour_cutoff=3.9, frank_kasper_fraction=1.0, cna_555_fraction=1.0
    )
    again = OrderThresholds.from_dict(thresholds.as_dict())
    assert again == thresholds
    assert not analyse_order(LAVES.repeat(2), again).frank_kasper_ordered


def test_what_has_no_order_is_refused():
    with pytest.raises(InputError, match="periodic"):
        analyse_order(Atoms("Cu2", positions=[[0, 0, 0], [2, 0, 0]]))
    with pytest.raises(InputError, match="must be positive"):
        OrderThresholds(neighbour_cutoff=-1.0)
