from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mgflows import Alloy
from mgflows.errors import InputError
from mgflows.structures.order import analyse_order, structure_factor_maximum
from mgflows.structures.relaxation import relax
from mgflows.structures.similarity import compare_structures
from mgflows.structures.strain import apply_deformation
from mgflows.surrogate import (
    LennardJones,
    SurrogateMolecularDynamics,
    SwapMonteCarlo,
    find_inherent_structure,
)
from mgflows.surrogate.elements import crystal_number_density
from mgflows.surrogate.insertion import random_configuration
from tests.helpers.lammps_reference import run_lammps


def test_the_two_tables_differ_only_in_the_wells_of_copper_and_zirconium():
    consistent, printed = LennardJones.cuzral(), LennardJones.cuzral(table="printed")
    assert consistent.species == printed.species == ("Cu", "Zr", "Al")
    np.testing.assert_array_equal(np.diag(consistent.epsilon), [0.409, 0.739, 0.392])
    np.testing.assert_array_equal(np.diag(printed.epsilon), [0.739, 0.409, 0.392])
    np.testing.assert_array_equal(consistent.sigma, printed.sigma)
    np.testing.assert_allclose(np.diag(consistent.sigma), [2.338, 2.932, 2.620])
    assert (consistent.length_unit, consistent.energy_unit) == (2.932, 0.739)
    assert printed.energy_unit == 0.409


def test_lorentz_berthelot_values_of_the_printed_table():
    printed = LennardJones.cuzral(table="printed")
    np.testing.assert_allclose(printed.sigma[0], [2.338, 2.635, 2.479], atol=1e-12)
    np.testing.assert_allclose(printed.epsilon[0], [0.739, 0.54977359, 0.53822672], atol=1e-8)
    assert printed.reduced_epsilon[1, 2] == pytest.approx(0.97899704, abs=1e-8)


def test_pairs_that_are_not_mixed():
    lj = LennardJones.from_species(
        {"A": 2.0, "B": 3.0, "C": 2.5}, {"A": 0.4, "B": 0.9, "C": 0.1}, pairs={("B", "A"): (2.5, 1)}
    )
    assert lj.unmixed_pairs(["A", "B", "C"]) == {("A", "B"): (2.5, 1.0)}
    assert lj.unmixed_pairs(["A", "C"]) == {}


def test_units_of_the_printed_table():
    printed = LennardJones.cuzral(table="printed")
    assert printed.temperature_unit == pytest.approx(4746.248, abs=1e-3)
    assert printed.pressure_unit == pytest.approx(2.59981, abs=1e-5)
    assert printed.time_unit() == pytest.approx(445.79, abs=0.01)
    assert printed.time_unit(mass=4 * 91.224) == pytest.approx(2 * printed.time_unit(mass=91.224))


def test_the_surrogate_has_the_species_of_the_alloy(consistent):
    assert LennardJones.for_species(["Zr", "Cu"]) == consistent
    assert LennardJones.for_species(["Cu"], "printed") == LennardJones.cuzral(table="printed")
    quinary = LennardJones.for_species(["Zr", "Cu", "Ni", "Al", "Ti"])
    assert quinary.species == ("Zr", "Cu", "Ni", "Al", "Ti")
    assert quinary == LennardJones.from_elements(quinary.species)


def test_exchange_pairs_are_the_ladder_of_the_paper(consistent):
    assert consistent.exchange_pairs == (("Cu", "Al"), ("Al", "Zr"))


def test_explicit_pairs_replace_mixed_ones():
    lj = LennardJones.from_species(
        {"A": 1.0, "B": 2.0}, {"A": 1.0, "B": 4.0}, pairs={("B", "A"): (1.1, 1.3)}
    )
    assert lj.sigma[0, 1] == lj.sigma[1, 0] == 1.1
    assert lj.epsilon[0, 1] == lj.epsilon[1, 0] == 1.3
    assert lj.reference == "B"


def test_round_trip_through_json(consistent):
    again = LennardJones.from_dict(json.loads(json.dumps(consistent.as_dict())))
    assert again == consistent
    assert hash(again) == hash(consistent)
    assert again != LennardJones.cuzral(table="printed")
    from monty.json import MontyDecoder

    assert MontyDecoder().process_decoded(consistent.as_dict()) == consistent


def test_tables_cannot_be_changed(consistent):
    with pytest.raises(ValueError, match="read-only"):
        consistent.sigma[0, 0] = 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LennardJones.cuzral(table="other"), "'other' does not exist"),
        (lambda: LennardJones(("A", "A"), np.ones((2, 2)), np.ones((2, 2))), "distinct"),
        (lambda: LennardJones(("A", "B"), np.ones((1, 1)), np.ones((2, 2))), "shape"),
        (
            lambda: LennardJones(("A", "B"), np.array([[1, 2], [3, 1]]), np.ones((2, 2))),
            "not symmetric",
        ),
        (lambda: LennardJones(("A",), np.ones((1, 1)), -np.ones((1, 1))), "positive"),
        (
            lambda: LennardJones(("A",), np.ones((1, 1)), np.ones((1, 1)), cutoff_factor=1.1),
            "cutoff factor",
        ),
        (
            lambda: LennardJones(("A",), np.ones((1, 1)), np.ones((1, 1)), reference="B"),
            "reference",
        ),
        (lambda: LennardJones.from_species({"A": 1.0}, {"B": 1.0}), "give both"),
        (
            lambda: LennardJones.from_species({"A": 1.0}, {"A": 1.0}, pairs={("A", "C"): (1, 1)}),
            "C",
        ),
    ],
)
def test_bad_tables_raise(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.physics
@pytest.mark.parametrize("pair", ["CuCu", "CuZr", "ZrZr", "CuAl", "ZrAl", "AlAl"])
def test_dimers_by_hand(consistent, pair):
    a, b = pair[:2], pair[2:]
    i, j = consistent.species.index(a), consistent.species.index(b)
    sigma, epsilon = consistent.sigma[i, j], consistent.epsilon[i, j]
    well = 4 * epsilon * (0.25 - 0.5)
    shift = 4 * epsilon * (2.0**-12 - 2.0**-6)
    for distance, expected in (
        (sigma, -shift),
        (2 ** (1 / 6) * sigma, well - shift),
        (1.999999 * sigma, 0.0),
        (2.000001 * sigma, 0.0),
    ):
        dimer = Atoms(a + b, positions=[[0, 0, 0], [0, distance, 0]])
        assert consistent.energy(dimer) == pytest.approx(expected, abs=1e-6)
    assert shift == pytest.approx(-0.0615234375 * epsilon, rel=1e-12)
    # The force at the minimum is zero and that just inside the cutoff is the jump of the
    # truncation.
    dimer = Atoms(
        a + b,
        positions=[[0, 0, 0], [0, 2 ** (1 / 6) * sigma, 0]],
        calculator=consistent.calculator(),
    )
    assert np.abs(dimer.get_forces()).max() < 1e-12
    dimer.positions[1, 1] = sigma * (2 - 1e-9)
    assert dimer.get_forces()[0, 1] == pytest.approx(
        24 * epsilon / sigma * (2.0**-7 - 2 * 2.0**-13), rel=1e-6
    )


@pytest.mark.physics
def test_fcc_energy_is_the_sum_over_shells():
    # With a cutoff of 2 sigma and the nearest neighbours at 1.09 sigma three shells lie inside: 12
    # at d, 6 at sqrt(2) d, 24 at sqrt(3) d.
    lj = LennardJones.from_species({"Cu": 2.338}, {"Cu": 0.409})
    d = 1.09 * 2.338
    atoms = bulk("Cu", "fcc", a=d * np.sqrt(2))
    u = lambda r: 4 * 0.409 * ((2.338 / r) ** 12 - (2.338 / r) ** 6 - 2.0**-12 + 2.0**-6)
    assert lj.energy(atoms) == pytest.approx(
        6 * u(d) + 3 * u(np.sqrt(2) * d) + 12 * u(np.sqrt(3) * d), rel=1e-12
    )


@pytest.mark.physics
def test_forces_and_stress_against_finite_differences(consistent):
    # Triclinic and smaller than the cutoff in one direction, so that images of an atom with itself
    # count.
    generator = np.random.default_rng(3)
    atoms = Atoms(
        "Cu4Zr3Al",
        cell=[[4.6, 0, 0], [1.2, 5.5, 0], [-0.7, 0.9, 6.1]],
        scaled_positions=generator.random((8, 3)) * 0.05,
        pbc=True,
    )
    grid = np.array([(i, j, k) for i in (0, 0.5) for j in (0, 0.5) for k in (0, 0.5)])
    atoms.set_scaled_positions(atoms.get_scaled_positions() + grid)
    atoms.calc = consistent.calculator()
    step = 1e-5
    forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)
    assert np.abs(forces.sum(axis=0)).max() < 1e-12 * np.abs(forces).max()
    for i in range(len(atoms)):
        for d in range(3):
            energies = []
            for sign in (1, -1):
                moved = atoms.copy()
                moved.positions[i, d] += sign * step
                energies.append(consistent.energy(moved))
            assert -(energies[0] - energies[1]) / (2 * step) == pytest.approx(
                forces[i, d], rel=1e-5, abs=1e-5
            )
    for d in range(3):
        for e in range(d, 3):
            energies = []
            for sign in (1, -1):
                strain = np.eye(3)
                strain[d, e] += sign * step / 2
                strain[e, d] += sign * step / 2
                strained = atoms.copy()
                strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
                energies.append(consistent.energy(strained))
            assert (energies[0] - energies[1]) / (2 * step * atoms.get_volume()) == pytest.approx(
                stress[d, e], rel=1e-5, abs=1e-6
            )


@pytest.mark.physics
def test_small_cell_equals_its_repetition(consistent):
    atoms = Atoms(
        "CuZrAl",
        cell=[[3.4, 0.2, 0], [0.1, 3.9, 0.3], [0.5, 0, 4.4]],
        scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.1], [0.1, 0.4, 0.6]],
        pbc=True,
    )
    large = atoms.repeat((5, 4, 4))
    atoms.calc, large.calc = consistent.calculator(), consistent.calculator()
    assert large.get_potential_energy() / 80 == pytest.approx(
        atoms.get_potential_energy(), rel=1e-12
    )
    np.testing.assert_allclose(large.get_stress(), atoms.get_stress(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(large.get_forces()[:3], atoms.get_forces(), rtol=1e-10, atol=1e-9)


def test_each_direction_may_be_periodic_or_not(consistent):
    r = 2.9
    atoms = Atoms("Zr", cell=[r, 20, 20], pbc=(True, False, False))
    once = Atoms("Zr2", positions=[[0, 0, 0], [r, 0, 0]])
    twice = Atoms("Zr2", positions=[[0, 0, 0], [2 * r, 0, 0]])
    assert consistent.energy(atoms) == pytest.approx(
        consistent.energy(once) + consistent.energy(twice)
    )
    moved = atoms.copy()
    moved.positions += [100.0, -31.0, 57.0]
    assert consistent.energy(moved) == pytest.approx(consistent.energy(atoms))
    cluster = Atoms("Zr2", positions=[[-40, 0, 0], [-40 + r, 0, 0]], cell=[5, 5, 5], pbc=False)
    assert consistent.energy(cluster) == pytest.approx(consistent.energy(once))


def test_per_atom_energies_sum_to_the_energy_and_stress_needs_three_periods(consistent, liquid):
    atoms = liquid.copy()
    atoms.calc = consistent.calculator()
    assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy())
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    molecule = Atoms("Zr2", positions=[[0, 0, 0], [3, 0, 0]], calculator=consistent.calculator())
    from ase.calculators.calculator import PropertyNotImplementedError

    with pytest.raises(PropertyNotImplementedError):
        molecule.get_stress()


@pytest.mark.needs("lammps")
@pytest.mark.physics
def test_energy_forces_and_pressure_against_lammps(consistent, liquid):
    configuration = consistent.reduced_configuration(liquid)
    reference = run_lammps(
        consistent, configuration.positions, configuration.box, configuration.types
    )
    atoms = liquid.copy()
    atoms.calc = consistent.calculator()
    assert atoms.get_potential_energy() / 150 / consistent.energy_unit == pytest.approx(
        reference.energy, rel=1e-13, abs=1e-13
    )
    force_unit = consistent.energy_unit / consistent.length_unit
    np.testing.assert_allclose(atoms.get_forces() / force_unit, reference.forces, atol=1e-10)
    # LAMMPS's pressure tensor has no kinetic part here, as no velocities were set.
    virial_pressure = -atoms.get_stress() * consistent.length_unit**3 / consistent.energy_unit
    np.testing.assert_allclose(virial_pressure, reference.pressure, rtol=1e-11, atol=1e-10)


def test_configurations_that_the_kernels_cannot_treat_raise(consistent, liquid):
    small = liquid.copy()
    small.set_cell([11.7, 13, 13])
    assert consistent.reduced_configuration(small).images.tolist() == [
        [0, 0, 0],
        [-1, 0, 0],
        [1, 0, 0],
    ]
    tilted = liquid.copy()
    tilted.set_cell([[13, 0, 0], [0.1, 13, 0], [0, 0, 13]])
    with pytest.raises(InputError, match="orthorhombic"):
        consistent.reduced_configuration(tilted)
    with pytest.raises(InputError, match="contains Ni"):
        consistent.energy(Atoms("Ni"))
    with pytest.raises(InputError, match=r"the volume 0 A\^3"):
        consistent.energy(Atoms("Zr", pbc=True))
    with pytest.raises(InputError, match="zero length"):
        consistent.energy(Atoms("Zr", cell=[0, 5, 5], pbc=[True, False, False]))
    broken = liquid.copy()
    broken.positions[0] = np.nan
    with pytest.raises(InputError, match="finite"):
        consistent.energy(broken)
    # Without Zr the largest cutoff is that of Al.
    light = Atoms("CuAl", positions=[[0, 0, 0], [3, 0, 0]], cell=[11, 11, 11], pbc=True)
    np.testing.assert_allclose(consistent.reduced_configuration(light).box, 11 / 2.932)
    assert consistent.reduced_configuration(light).nearest_image_suffices


def test_the_default_density_is_the_papers_for_its_alloy_and_that_of_the_mixture_for_others():
    lj = LennardJones.cuzral()
    paper = lj.number_density({"Cu": 0.46, "Zr": 0.46, "Al": 0.08})
    assert paper * 2.932**3 == pytest.approx(1.75, rel=1e-12)
    # A species that the alloy lacks has no influence, in either table.
    alone = LennardJones.from_species({"Cu": 2.338, "Al": 2.620}, {"Cu": 0.409, "Al": 0.392})
    composition = {"Cu": 0.5, "Al": 0.5}
    assert lj.number_density(composition) == pytest.approx(alone.number_density(composition))
    for composition in ({"Cu": 1.0}, {"Zr": 0.9, "Cu": 0.1}, {"Cu": 0.5, "Al": 0.5}):
        ratio = lj.number_density(composition) / crystal_number_density(composition)
        assert 1.15 < ratio < 1.30


def test_exchanges_are_those_between_the_species_of_the_alloy():
    lj = LennardJones.cuzral()
    assert lj.exchanges_of(["Zr", "Cu"]) == (("Cu", "Zr"),)
    assert lj.exchanges_of(["Cu", "Zr", "Al"]) == lj.exchange_pairs
    assert lj.exchanges_of(["Cu"]) == ()
    with pytest.raises(InputError, match="Ni"):
        lj.exchanges_of(["Cu", "Ni"])


@pytest.mark.parametrize("fault", ["nan", "inf", "nan cell", "coincident", "coincident image"])
def test_structures_that_are_not_finite_raise_everywhere(fault: str):
    lj = LennardJones.cuzral()
    atoms = bulk("Cu", "sc", a=2.5).repeat(5)
    atoms.positions[1] += 0.1
    if fault == "coincident":
        atoms.positions[1] = atoms.positions[0]
    elif fault == "coincident image":
        atoms.positions[1] = atoms.positions[0] + atoms.cell[0]
    elif fault == "nan cell":
        atoms.cell[0, 0] = np.nan
    else:
        atoms.positions[1, 2] = float(fault)
    calls = [
        lambda: lj.energy(atoms),
        lambda: find_inherent_structure(atoms, lj),
        lambda: SwapMonteCarlo(lj, atoms, seed=1),
    ]
    calls += [
        lambda: SurrogateMolecularDynamics(lj, atoms, seed=1),
        lambda: analyse_order(atoms),
        lambda: compare_structures(atoms, atoms),
        lambda: relax(atoms, lj.calculator()),
    ]
    if fault not in ("coincident", "coincident image"):
        calls += [lambda: structure_factor_maximum(atoms)]
        calls += [lambda: apply_deformation(atoms, np.eye(3))]
    for call in calls:
        with pytest.raises(InputError, match=r"finite|atoms 0 and 1 at the same place"):
            call()


def test_the_cell_of_the_same_lattice_does_not_matter():
    """Left-handed, skewed and repeated cells: the same energy, forces, stress and order."""
    lj = LennardJones.cuzral()
    atoms = bulk("Cu", "fcc", a=3.9, cubic=True).repeat(2)
    atoms.symbols[::3] = "Zr"
    atoms.rattle(0.1, seed=2)
    forces, stress = _forces_and_stress(lj, atoms)
    order = analyse_order(atoms)
    for rows in (
        [[0, 1, 0], [1, 0, 0], [0, 0, 1]],
        [[1, 0, 0], [0, 1, 0], [0, 0, -1]],
        [[1, 0, 0], [7, 1, 0], [-3, 5, 1]],
    ):
        other = atoms.copy()
        other.set_cell(np.array(rows) @ atoms.cell.array)
        assert lj.energy(other) == pytest.approx(lj.energy(atoms), rel=1e-12)
        other_forces, other_stress = _forces_and_stress(lj, other)
        np.testing.assert_allclose(other_forces, forces, atol=1e-9)
        np.testing.assert_allclose(other_stress, stress, atol=1e-12)
        values = analyse_order(other)
        assert values.q6_solid_fraction == order.q6_solid_fraction
        assert values.mean_coordination == order.mean_coordination
        assert values.structure_factor_max == pytest.approx(order.structure_factor_max, rel=1e-9)
        with pytest.raises(InputError, match="orthorhombic"):
            SwapMonteCarlo(lj, other, seed=1)
        with pytest.raises(InputError, match="lattice vectors of the two structures do not"):
            compare_structures(atoms, other)


def _forces_and_stress(lj: LennardJones, atoms: Atoms):
    atoms = atoms.copy()
    atoms.calc = lj.calculator()
    return atoms.get_forces(), atoms.get_stress()


def test_positions_too_far_to_be_resolved_raise():
    atoms = bulk("Cu", "sc", a=2.5).repeat(5)
    moved = atoms.copy()
    moved.positions += 1e6 * atoms.cell.array.sum(axis=0)
    lj = LennardJones.cuzral()
    assert lj.energy(moved) == pytest.approx(lj.energy(atoms), rel=1e-6)
    moved.positions[3, 0] = 1e30
    with pytest.raises(InputError, match=r"atom 3 at a distance of 1e\+30 A"):
        lj.energy(moved)


@pytest.mark.parametrize("closest", [np.nan, -0.1, np.inf, 2.0])
def test_a_smallest_distance_out_of_range_is_refused(closest: float):
    with pytest.raises(InputError, match="must lie between 0 and 1"):
        random_configuration(LennardJones.cuzral(), Alloy.cuzral(), 1, closest)


@pytest.mark.parametrize("time", [np.inf, np.nan, -1.0, 0.0])
def test_times_that_are_not_finite_raise(liquid, time: float):
    md = SurrogateMolecularDynamics(LennardJones.cuzral(), liquid, seed=1)
    with pytest.raises(InputError, match=r"time is .* but must be finite"):
        md.run(time, 2.0)
    with pytest.raises(InputError, match="must be finite"):
        md.cool(1.0, equilibration_time=time if time else -2.0)
