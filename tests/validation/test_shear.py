from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator

from mgflows import units
from mgflows.errors import InputError, PotentialFailureError
from mgflows.validation.elasticity import elastic_constants, relax_to_zero_stress
from mgflows.validation.shear import (
    ShearCurve,
    ShearResult,
    ShearSettings,
    athermal_quasistatic_shear,
    elastic_slope,
)
from tests.helpers.calculators import lennard_jones


@pytest.mark.physics
def test_slope_of_a_crystal_is_c44():
    crystal = bulk("Cu", "fcc", a=3.65, cubic=True).repeat((2, 2, 2))
    c44 = elastic_constants(crystal, lennard_jones("Cu"), strain=1e-3).stiffness[3, 3]
    result = athermal_quasistatic_shear(
        crystal, lennard_jones("Cu"), directions=("xy", "yx", "xz", "yz")
    )
    assert len(result.curves) == 4
    for curve in result.curves:
        assert curve.shear_modulus == pytest.approx(c44, rel=5e-3)
        assert curve.strain[-1] == pytest.approx(0.006)
        assert len(curve.strain) == 13
    assert result.shear_modulus == pytest.approx(c44, rel=5e-3)
    assert result.shear_modulus_error < 0.01 * c44


@pytest.mark.physics
def test_stress_is_the_derivative_of_the_energy(disordered):
    """dE/dstrain = V stress, for a disordered structure whose atoms relax at every step."""
    calculator = lennard_jones("Cu", "Zr")
    result = athermal_quasistatic_shear(
        disordered,
        calculator,
        ShearSettings(force_tolerance=3e-5),
        directions=("xz",),
        relax_reference=False,
    )
    (curve,) = result.curves
    assert result.shear_modulus == curve.shear_modulus > 0.0
    assert np.isnan(result.shear_modulus_error)
    work = np.cumsum((curve.stress[1:] + curve.stress[:-1]) / 2 * np.diff(curve.strain))
    volume = disordered.get_volume() / len(disordered)
    np.testing.assert_allclose(
        curve.energy[1:] - curve.energy[0],
        units.gpa_to_ev_per_a3(work) * volume,
        rtol=0.02,
        atol=2e-8,
    )


def test_progress_counts_every_step():
    calls = []
    athermal_quasistatic_shear(
        bulk("Cu", "fcc", a=3.65),
        lennard_jones("Cu"),
        ShearSettings(strain_max=1e-3, fit_window=(0.0, 1e-3)),
        directions=("xy", "xz"),
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(k, 6) for k in range(1, 7)]


def test_bad_input_is_refused():
    atoms = bulk("Cu", "fcc", a=3.65)
    with pytest.raises(InputError, match="direction 'xx'"):
        athermal_quasistatic_shear(atoms, lennard_jones("Cu"), directions=("xx",))
    with pytest.raises(InputError, match="fit window"):
        ShearSettings(strain_max=0.003)
    with pytest.raises(InputError, match="strain step"):
        ShearSettings(strain_step=0.0)
    with pytest.raises(InputError, match="no shear direction"):
        athermal_quasistatic_shear(atoms, lennard_jones("Cu"), directions=())


class Softening(Calculator):
    """A calculator whose energy drops when the cell of a structure is sheared beyond a strain.

    Stress and energy are consistent with each other apart from the released energy.
    """

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, base, height, threshold=5.2e-3, drop=0.5, released=0.01):
        super().__init__()
        self.base, self.height = base, height
        self.threshold, self.drop, self.released = threshold, drop, released

    def calculate(self, atoms=None, properties=None, system_changes=()):
        super().calculate(atoms, properties, system_changes)
        inner = self.atoms.copy()
        inner.calc = self.base
        self.results = {
            "energy": inner.get_potential_energy(),
            "forces": inner.get_forces(),
            "stress": inner.get_stress(),
        }
        strain = self.atoms.cell.array[1, 0] / self.height
        if strain > self.threshold:
            drop = units.gpa_to_ev_per_a3(self.drop)
            self.results["stress"][5] -= drop
            work = self.atoms.get_volume() * drop * (strain - self.threshold)
            self.results["energy"] -= self.released + work


@pytest.mark.physics
def test_a_plastic_event_in_the_fit_window_does_not_change_the_modulus():
    crystal = bulk("Cu", "fcc", a=3.65, cubic=True).repeat((2, 2, 2))
    reference = relax_to_zero_stress(crystal, lennard_jones("Cu"))
    sound = athermal_quasistatic_shear(reference, lennard_jones("Cu"), relax_reference=False)
    broken = athermal_quasistatic_shear(
        reference, Softening(lennard_jones("Cu"), reference.cell.array[1, 1]), relax_reference=False
    )
    (curve,) = broken.curves
    naive = np.polyfit(curve.strain[8:], curve.stress[8:], 1)[0]
    assert naive < 0.5 * sound.shear_modulus
    assert broken.shear_modulus == pytest.approx(sound.shear_modulus, rel=5e-3)
    assert np.flatnonzero(curve.events).tolist() == [11]
    assert curve.n_events == 1
    assert sound.curves[0].n_events == 0
    assert broken.problems == []


@pytest.mark.physics
def test_events_of_a_glass_are_where_its_stress_drops(disordered):
    """The avalanche of a sheared glass is an event; its reversible softening is none."""
    result = athermal_quasistatic_shear(
        disordered,
        lennard_jones("Cu", "Zr"),
        ShearSettings(strain_step=2e-3, strain_max=0.12),
        relax_reference=False,
    )
    (curve,) = result.curves
    drops = np.diff(curve.stress)
    assert np.flatnonzero(curve.events).tolist() == [int(drops.argmin()) + 1]
    assert drops.min() < -1.0
    assert (np.delete(drops, drops.argmin()) < 0.0).any()
    assert result.shear_modulus == pytest.approx(curve.stress[1] / curve.strain[1], rel=0.05)
    # The avalanche ends the rise of the stress; the curve up to it has no yield point yet.
    last = int(drops.argmin())
    assert curve.yield_point == (curve.strain[curve.stress.argmax()], curve.stress.max())
    rising = replace(curve, strain=curve.strain[: last + 1], stress=curve.stress[: last + 1])
    assert np.isnan(rising.yield_point).all()


@pytest.mark.physics
@pytest.mark.parametrize("threshold", [2e-4, 4.2e-3, 5.7e-3])
def test_an_event_at_any_step_is_left_out(threshold):
    """In the first step, and at both ends of the fit window."""
    reference = relax_to_zero_stress(
        bulk("Cu", "fcc", a=3.65, cubic=True).repeat((2, 2, 2)), lennard_jones("Cu")
    )
    height = reference.cell.array[1, 1]
    moduli = []
    for calculator in (lennard_jones("Cu"), Softening(lennard_jones("Cu"), height, threshold)):
        result = athermal_quasistatic_shear(reference, calculator, relax_reference=False)
        moduli.append(result.shear_modulus)
    assert result.curves[0].n_events == 1
    assert moduli[1] == pytest.approx(moduli[0], rel=5e-3)


def test_a_falling_stress_gives_no_modulus():
    class Unstable(Softening):
        """The stress falls steadily with the strain, and the energy with it."""

        def calculate(self, atoms=None, properties=None, system_changes=()):
            super().calculate(atoms, properties, system_changes)
            strain = self.atoms.cell.array[1, 0] / self.height
            soft = units.gpa_to_ev_per_a3(500.0)
            self.results["stress"][5] -= soft * strain
            self.results["energy"] -= self.atoms.get_volume() * soft * strain**2 / 2.0

    reference = relax_to_zero_stress(bulk("Cu", "fcc", a=3.65, cubic=True), lennard_jones("Cu"))
    calculator = Unstable(lennard_jones("Cu"), reference.cell.array[1, 1], threshold=1.0)
    result = athermal_quasistatic_shear(reference, calculator, relax_reference=False)
    assert np.isnan(result.shear_modulus)
    assert "a stress that falls with the strain" in result.problems[0]


def test_window_without_two_neighbouring_elastic_points_has_no_modulus():
    strain, stress = np.linspace(0.0, 1.0, 5), np.zeros(5)
    assert np.isnan(elastic_slope(strain, stress, np.ones(5, dtype=bool)))
    curve = ShearCurve("xy", strain, stress, stress, np.nan, np.ones(5, dtype=bool))
    result = ShearResult((curve,), np.nan, np.nan, (0.0, 1.0))
    assert "no elastic slope" in result.problems[0]


def test_slope_without_events_is_the_least_squares_line():
    generator = np.random.default_rng(0)
    strain = np.linspace(0.004, 0.006, 5)
    stress = 30.0 * strain + generator.normal(scale=1e-3, size=5)
    none = np.zeros(5, dtype=bool)
    assert elastic_slope(strain, stress, none) == pytest.approx(np.polyfit(strain, stress, 1)[0])


def test_a_minimisation_that_fails_keeps_the_curve_up_to_there(monkeypatch):
    crystal = bulk("Cu", "fcc", a=3.65, cubic=True)
    calls = []

    def give_up(atoms, tolerance):
        calls.append(atoms)
        if len(calls) == 5:
            raise PotentialFailureError("not converged")

    monkeypatch.setattr("mgflows.validation.shear.minimise_positions", give_up)
    result = athermal_quasistatic_shear(
        crystal, lennard_jones("Cu"), directions=("xy", "xz"), relax_reference=True
    )
    short, whole = result.curves
    assert len(short.strain) == len(short.stress) == len(short.energy) == 5
    assert "ends at a strain of 0.002: not converged" in short.failure
    assert np.isnan(short.shear_modulus)
    assert len(whole.strain) == 13
    assert result.shear_modulus == pytest.approx(whole.shear_modulus)
    assert result.problems == [f"xy: {short.failure}"]
