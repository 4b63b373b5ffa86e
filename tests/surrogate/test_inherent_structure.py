from __future__ import annotations

import numpy as np
import pytest

from mgflows.errors import InputError, MgflowsError
from mgflows.surrogate import find_inherent_structure, find_inherent_structures
from tests.helpers.lammps_reference import run_lammps
from tests.helpers.surrogate_samples import random_atoms


def test_forces_vanish_and_the_energy_is_that_of_the_calculator(consistent, liquid):
    before = liquid.positions.copy()
    relaxed, e_is = find_inherent_structure(liquid, consistent)
    np.testing.assert_array_equal(liquid.positions, before)
    assert relaxed.get_chemical_symbols() == liquid.get_chemical_symbols()
    np.testing.assert_array_equal(relaxed.cell.array, liquid.cell.array)
    relaxed.calc = consistent.calculator()
    reduced_forces = relaxed.get_forces() * consistent.length_unit / consistent.energy_unit
    # Converting positions to A and back loses some digits of the forces.
    assert np.linalg.norm(reduced_forces, axis=1).max() < 1.5e-8
    assert relaxed.get_potential_energy() / 150 == pytest.approx(e_is, abs=1e-12)
    assert e_is < consistent.energy(liquid) / 150


@pytest.mark.needs("lammps")
@pytest.mark.physics
def test_energy_equals_that_of_lammps_fire(consistent, liquid):
    # Started near a minimum, both stay in its basin; from a liquid, two FIRE codes may reach
    # different minima.
    start, _ = find_inherent_structure(liquid, consistent)
    start.rattle(0.05, seed=5)
    _, e_is = find_inherent_structure(start, consistent)
    configuration = consistent.reduced_configuration(start)
    reference = run_lammps(
        consistent, configuration.positions, configuration.box, configuration.types, minimise="fire"
    )
    assert e_is / consistent.energy_unit == pytest.approx(reference.energy, abs=1e-10)


@pytest.mark.physics
def test_a_rattled_crystal_returns_to_its_lattice(consistent):
    from ase.build import bulk

    crystal = bulk("Zr", "fcc", a=4.53, cubic=True).repeat((3, 3, 3))
    rattled = crystal.copy()
    rattled.rattle(0.15, seed=2)
    relaxed, e_is = find_inherent_structure(rattled, consistent, 1e-10)
    assert e_is == pytest.approx(consistent.energy(crystal) / 108, abs=1e-12)
    shift = relaxed.positions - crystal.positions
    shift -= np.round(shift / relaxed.cell.lengths()) * relaxed.cell.lengths()
    np.testing.assert_allclose(shift - shift.mean(axis=0), 0.0, atol=1e-8)


def test_list_and_all_pairs_agree(consistent, monkeypatch):
    import mgflows.surrogate.kernels.forces as forces

    atoms = random_atoms(200, seed=4)
    _, all_pairs = find_inherent_structure(atoms, consistent)
    close, _ = find_inherent_structure(atoms, consistent, 1e-2)
    close.rattle(1e-3, seed=1)
    _, direct = find_inherent_structure(close, consistent)
    monkeypatch.setattr(forces, "_LARGEST_ALL_PAIRS", 100)
    _, listed = find_inherent_structure(close, consistent)
    assert listed == pytest.approx(direct, abs=1e-12)
    assert direct == pytest.approx(all_pairs, abs=0.05)


def test_random_insertion_converges_and_batches_are_the_same_one_by_one(consistent):
    samples = [random_atoms(seed=seed) for seed in (1, 2)]
    counts = []
    relaxed, energies = find_inherent_structures(samples, consistent, progress=counts.append)
    assert counts == [1, 2]
    assert energies.shape == (2,)
    assert energies[1] == find_inherent_structure(samples[1], consistent)[1]
    assert len(relaxed) == 2
    assert np.all(energies / consistent.energy_unit < -1.4)


def test_impossible_requests_raise(consistent, liquid):
    with pytest.raises(InputError, match="1e-12"):
        find_inherent_structure(liquid, consistent, 1e-13)
    with pytest.raises(MgflowsError, match="after 10 FIRE steps"):
        find_inherent_structure(liquid, consistent, max_steps=10)
