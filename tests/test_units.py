from __future__ import annotations

import numpy as np
import pytest
from ase import units as ase_units
from scipy import constants

from mgflows import units

pytestmark = pytest.mark.physics


def test_constants_agree_with_scipy_and_ase():
    assert pytest.approx(constants.k / constants.e, rel=1e-12) == units.BOLTZMANN
    assert pytest.approx(constants.R, rel=1e-12) == units.GAS_CONSTANT
    # ASE's constants are CODATA 2014, so that they agree to eight digits.
    assert pytest.approx(1.0 / ase_units.GPa, rel=1e-7) == units.EV_PER_A3_IN_GPA
    assert pytest.approx(1.0 / ase_units.fs, rel=1e-7) == units.FS_PER_LJ_TIME
    pascal_second = constants.e * constants.femto / constants.angstrom**3
    assert pytest.approx(1e3 * pascal_second, rel=1e-12) == units.EV_FS_PER_A3_IN_MPA_S
    square_metre_per_second = constants.angstrom**2 / constants.femto
    assert pytest.approx(1e9 * square_metre_per_second) == units.A2_PER_FS_IN_1E9_M2_PER_S


def test_stress_and_virial_have_opposite_signs():
    """A compressed crystal: negative ASE stress, positive virial, pressure and VASP stress."""
    from ase.build import bulk
    from ase.calculators.emt import EMT

    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell * 0.97, scale_atoms=True)
    atoms.calc = EMT()
    stress = atoms.get_stress(voigt=False)
    virial = units.virial_from_stress(stress, atoms.get_volume())
    assert stress[0, 0] < 0.0 < virial[0, 0]
    assert units.pressure_from_stress(stress) > 0.0
    assert units.stress_to_vasp(stress)[0, 0] > 0.0
    # The virial is minus the derivative of the energy with respect to a strain.
    step = 1e-4
    energies = []
    for sign in (1, -1):
        strained = atoms.copy()
        strained.set_cell(atoms.cell @ np.diag([1 + sign * step, 1, 1]), scale_atoms=True)
        strained.calc = EMT()
        energies.append(strained.get_potential_energy())
    assert virial[0, 0] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), rel=1e-4)


def test_vasp_conversion():
    # atomate2 stores ASE's stress times -10 / GPa, in kbar: VASP's convention.
    stress = np.diag([0.01, 0.02, 0.03])
    assert units.stress_to_vasp(stress) == pytest.approx(stress * -10.0 / ase_units.GPa, rel=1e-7)
    assert units.stress_from_vasp(units.stress_to_vasp(stress)) == pytest.approx(stress)
    assert units.stress_from_virial(units.virial_from_stress(stress, 7.0), 7.0) == pytest.approx(
        stress
    )


def test_voigt_order_is_that_of_ase():
    from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress

    voigt = np.arange(1.0, 7.0)
    assert units.voigt_to_tensor(voigt) == pytest.approx(voigt_6_to_full_3x3_stress(voigt))
    assert units.tensor_to_voigt(units.voigt_to_tensor(voigt)) == pytest.approx(voigt)
    assert units.tensor_to_voigt(units.voigt_to_tensor(voigt)) == pytest.approx(
        full_3x3_to_voigt_6_stress(units.voigt_to_tensor(voigt))
    )
    assert units.pressure_from_stress(voigt) == pytest.approx(
        units.pressure_from_stress(units.voigt_to_tensor(voigt))
    )


def test_lennard_jones_units_of_the_table_as_printed():
    # From eps, sigma and the mass of Zr by hand: 4746.248 K, 0.44579 ps, 2.59981 GPa.
    assert units.lj_temperature_unit(0.409) == pytest.approx(4746.248, abs=1e-3)
    assert units.lj_time_unit(2.932, 0.409, 91.224) == pytest.approx(445.79, abs=0.01)
    assert units.lj_pressure_unit(2.932, 0.409) == pytest.approx(2.59981, abs=1e-5)


def test_densities_invert_each_other():
    assert units.mass_density(units.number_density(7.18, 73.3), 73.3) == pytest.approx(7.18)
    # Copper: 4 atoms in (3.615 A)^3 weigh 8.93 g/cm3.
    assert units.mass_density(4 / 3.615**3, 63.546) == pytest.approx(8.934, abs=2e-3)


def test_conversion_keeps_the_sign():
    assert units.ev_per_a3_to_gpa(-1.0) == pytest.approx(-160.2176634)
    assert units.gpa_to_ev_per_a3(units.ev_per_a3_to_gpa([1.0, -2.0])) == pytest.approx([1.0, -2.0])


def test_atomic_units_agree_with_scipy_and_ase():
    hartree, bohr = (
        constants.physical_constants["Hartree energy in eV"][0],
        constants.physical_constants["Bohr radius"][0] * 1e10,
    )
    assert pytest.approx(hartree, rel=1e-10) == units.HARTREE
    assert pytest.approx(bohr, rel=1e-9) == units.BOHR
    assert pytest.approx(ase_units.Rydberg, rel=1e-7) == units.RYDBERG
    assert units.forces_from_atomic_units([[1.0, 0.0, -2.0]]) == pytest.approx(
        np.array([[51.42206747, 0.0, -102.84413494]]), rel=1e-8
    )
