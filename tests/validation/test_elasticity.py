from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.constraints import FixAtoms, FixCartesian
from pymatgen.analysis.elasticity.elastic import ElasticTensor

from mgflows import units
from mgflows.errors import InputError, PotentialFailureError
from mgflows.structures.relaxation import minimise_positions
from mgflows.validation.elasticity import elastic_constants, isotropic_moduli, relax_to_zero_stress
from tests.helpers.calculators import IdealGas, Noise, lennard_jones


def cubic_stiffness(c11, c12, c44):
    stiffness = np.diag([c11 - c12] * 3 + [c44] * 3).astype(float)
    stiffness[:3, :3] += c12
    return stiffness


@pytest.mark.physics
def test_isotropic_stiffness_gives_back_its_moduli():
    bulk_modulus, shear_modulus = 115.0, 34.0
    c12 = bulk_modulus - 2 / 3 * shear_modulus
    moduli = isotropic_moduli(cubic_stiffness(c12 + 2 * shear_modulus, c12, shear_modulus))
    assert moduli.bulk_modulus == pytest.approx(bulk_modulus)
    assert moduli.shear_modulus == pytest.approx(shear_modulus)
    assert moduli.young_modulus == pytest.approx(9 * 115 * 34 / (3 * 115 + 34))
    assert moduli.poisson_ratio == pytest.approx(moduli.young_modulus / (2 * shear_modulus) - 1)
    assert moduli.shear_modulus_voigt == pytest.approx(moduli.shear_modulus_reuss)


@pytest.mark.physics
def test_copper_averages_and_pymatgen():
    """Copper (Simmons and Wang): 168.4, 121.4, 75.4 GPa; closed forms of the cubic averages."""
    c11, c12, c44 = 168.4, 121.4, 75.4
    moduli = isotropic_moduli(cubic_stiffness(c11, c12, c44))
    assert moduli.shear_modulus_voigt == pytest.approx((c11 - c12 + 3 * c44) / 5)
    assert moduli.shear_modulus_reuss == pytest.approx(
        5 * (c11 - c12) * c44 / (4 * c44 + 3 * (c11 - c12))
    )
    random = np.random.default_rng(0).uniform(-5, 5, (6, 6))
    general = cubic_stiffness(c11, c12, c44) + random + random.T
    ours, theirs = isotropic_moduli(general), ElasticTensor.from_voigt(general)
    assert ours.bulk_modulus == pytest.approx(theirs.k_vrh)
    assert ours.shear_modulus == pytest.approx(theirs.g_vrh)
    assert ours.poisson_ratio == pytest.approx(theirs.homogeneous_poisson)


@pytest.mark.physics
def test_cauchy_relation_of_a_pair_potential():
    """Central forces at zero pressure and every atom a centre of symmetry: C12 = C44."""
    result = elastic_constants(
        bulk("Cu", "fcc", a=3.65, cubic=True), lennard_jones("Cu"), strain=1e-3
    )
    c = result.stiffness
    assert c[0, 1] == pytest.approx(c[3, 3], rel=2e-3)
    np.testing.assert_allclose(c[:3, :3], c[[1, 2, 0]][:, [1, 2, 0]], rtol=1e-3)
    np.testing.assert_allclose(c[:3, 3:], 0.0, atol=1e-3 * c[0, 0])
    # The bulk modulus is V d2E/dV2, from energies alone.
    atoms = result.atoms
    atoms.calc = lennard_jones("Cu")
    cell, volume, energies = atoms.cell.array.copy(), atoms.get_volume(), []
    scales = np.linspace(0.997, 1.003, 7)
    for scale in scales:
        atoms.set_cell(cell * scale, scale_atoms=True)
        energies.append(atoms.get_potential_energy())
    curvature = 2 * np.polyfit(volume * scales**3 - volume, energies, 3)[1]
    assert result.moduli.bulk_modulus == pytest.approx(volume * curvature * 160.2176634, rel=5e-3)


@pytest.mark.physics
def test_relaxed_constants_agree_with_matscipy(disordered):
    from ase.optimize import FIRE
    from matscipy.elasticity import full_3x3x3x3_to_Voigt_6x6, measure_triclinic_elastic_constants

    calculator = lennard_jones("Cu", "Zr")
    ours = elastic_constants(disordered, calculator, relax_reference=False, force_tolerance=3e-5)
    theirs_atoms = disordered.copy()
    theirs_atoms.calc = calculator
    theirs = measure_triclinic_elastic_constants(
        theirs_atoms, delta=2e-3, optimizer=FIRE, fmax=3e-5, steps=5000
    )
    theirs = full_3x3x3x3_to_Voigt_6x6(theirs, check_symmetry=False) * 160.2176634
    np.testing.assert_allclose(ours.stiffness, (theirs + theirs.T) / 2, atol=0.01 * theirs[0, 0])
    assert ours.residual_stress < 0.01
    assert ours.asymmetry < 1.0


@pytest.mark.physics
def test_clamped_ions_are_stiffer(disordered):
    relaxed = elastic_constants(disordered, lennard_jones("Cu", "Zr"), relax_reference=False)
    clamped = elastic_constants(
        disordered, lennard_jones("Cu", "Zr"), relax_reference=False, relax_ions=False
    )
    assert np.linalg.eigvalsh(clamped.stiffness - relaxed.stiffness).min() > -0.5
    assert clamped.moduli.shear_modulus > 1.2 * relaxed.moduli.shear_modulus


@pytest.mark.physics
def test_constraints_of_the_structure_do_not_change_the_constants(disordered):
    free = elastic_constants(disordered, lennard_jones("Cu", "Zr")).stiffness
    fixed = disordered.copy()
    fixed.set_constraint([FixAtoms(range(24)), FixCartesian(range(24, 48), (True, False, False))])
    constrained = elastic_constants(fixed, lennard_jones("Cu", "Zr")).stiffness
    np.testing.assert_allclose(constrained, free, atol=0.02)


class Rearranging(Calculator):
    """A calculator whose stress jumps when the cell is sheared beyond a strain."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, base, height, threshold):
        super().__init__()
        self.base, self.height, self.threshold = base, height, threshold

    def calculate(self, atoms=None, properties=None, system_changes=()):
        super().calculate(atoms, properties, system_changes)
        inner = self.atoms.copy()
        inner.calc = self.base
        self.results = {
            "energy": inner.get_potential_energy(),
            "forces": inner.get_forces(),
            "stress": inner.get_stress(),
        }
        if 2.0 * self.atoms.cell.array[1, 0] / self.height > self.threshold:
            self.results["stress"][5] -= 0.2 / 160.2176634


@pytest.mark.physics
def test_a_rearrangement_halves_the_strain_instead_of_biasing_the_constants():
    crystal = relax_to_zero_stress(bulk("Cu", "fcc", a=3.65, cubic=True), lennard_jones("Cu"))
    calculator = Rearranging(lennard_jones("Cu"), crystal.cell.array[1, 1], 1.2e-3)
    sound = elastic_constants(crystal, lennard_jones("Cu"), relax_reference=False)
    result = elastic_constants(crystal, calculator, relax_reference=False)
    np.testing.assert_allclose(result.strains, [2e-3] * 5 + [1e-3])
    np.testing.assert_allclose(sound.strains, 2e-3)
    np.testing.assert_allclose(result.stiffness, sound.stiffness, rtol=2e-3, atol=0.05)
    assert result.nonlinearity < 0.03 * result.stiffness.max()
    with pytest.raises(PotentialFailureError, match="atoms rearrange under every strain"):
        elastic_constants(
            crystal,
            Rearranging(lennard_jones("Cu"), crystal.cell.array[1, 1], 0.0),
            relax_reference=False,
        )


class Yielding(Calculator):
    """A calculator with an event when the cell is sheared beyond a strain of either sign.

    The stress drops on both sides alike. Stress and energy are consistent apart from the energy
    that the event releases.
    """

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, base, height, threshold, released):
        super().__init__()
        self.base, self.height = base, height
        self.threshold, self.released = threshold, released

    def calculate(self, atoms=None, properties=None, system_changes=()):
        super().calculate(atoms, properties, system_changes)
        inner = self.atoms.copy()
        inner.calc = self.base
        self.results = {
            "energy": inner.get_potential_energy(),
            "forces": inner.get_forces(),
            "stress": inner.get_stress(),
        }
        strain = 2.0 * self.atoms.cell.array[1, 0] / self.height
        if abs(strain) > self.threshold:
            drop = units.gpa_to_ev_per_a3(0.02)
            self.results["stress"][5] -= np.sign(strain) * drop
            work = self.atoms.get_volume() * drop * (abs(strain) - self.threshold)
            self.results["energy"] -= self.released + work


@pytest.mark.physics
def test_events_under_strains_of_both_signs_do_not_bias_the_constants():
    """The stresses stay symmetric about the reference: only the energy shows the events."""
    crystal = relax_to_zero_stress(bulk("Cu", "fcc", a=3.65, cubic=True), lennard_jones("Cu"))
    sound = elastic_constants(crystal, lennard_jones("Cu"), relax_reference=False)
    released = 0.2 * crystal.get_volume() * units.gpa_to_ev_per_a3(sound.stiffness[5, 5]) * 2e-6
    calculator = Yielding(lennard_jones("Cu"), crystal.cell.array[1, 1], 1.2e-3, released)
    result = elastic_constants(crystal, calculator, relax_reference=False)
    np.testing.assert_allclose(result.strains, [2e-3] * 5 + [1e-3])
    np.testing.assert_allclose(result.stiffness, sound.stiffness, rtol=2e-3, atol=0.05)


def test_original_is_not_changed():
    atoms = bulk("Cu", "fcc", a=3.7, cubic=True)
    before = atoms.copy()
    elastic_constants(atoms, lennard_jones("Cu"))
    assert atoms == before


def test_bad_input_is_refused():
    atoms = bulk("Cu", "fcc", a=3.65)
    with pytest.raises(InputError, match="the strain is"):
        elastic_constants(atoms, lennard_jones("Cu"), strain=0.5)
    with pytest.raises(InputError, match="unstable"):
        isotropic_moduli(cubic_stiffness(100.0, 120.0, 30.0))
    with pytest.raises(InputError, match="shape"):
        isotropic_moduli(np.eye(3))
    with pytest.raises(InputError, match="36 of the 36 elements of the stiffness are not finite"):
        isotropic_moduli(np.full((6, 6), np.nan))
    with pytest.raises(InputError, match="unstable"):
        elastic_constants(atoms, IdealGas(), relax_reference=False)


@pytest.mark.faults
def test_minimisations_without_end_are_reported():
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    with pytest.raises(PotentialFailureError, match="not converged after 30 steps"):
        relax_to_zero_stress(atoms, Noise(), max_steps=30)
    atoms.calc = Noise()
    with pytest.raises(PotentialFailureError, match="not smooth"):
        minimise_positions(atoms, max_steps=30)


def test_minimisation_finds_the_lattice():
    atoms = bulk("Cu", "fcc", a=3.65, cubic=True).repeat((2, 2, 2))
    atoms.calc = lennard_jones("Cu")
    lowest = atoms.get_potential_energy()
    atoms.rattle(0.1, seed=1)
    assert minimise_positions(atoms, 1e-6) > 0
    assert atoms.get_potential_energy() == pytest.approx(lowest, abs=1e-9)
    assert np.abs(atoms.get_forces()).max() < 1e-6
    with pytest.raises(InputError, match="tolerance"):
        minimise_positions(atoms, 0.0)
