from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from mgflows import units
from mgflows.errors import InputError
from mgflows.validation.elasticity import elastic_constants
from mgflows.validation.shear import athermal_quasistatic_shear
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
        disordered, calculator, directions=("xz",), relax_reference=False, force_tolerance=3e-5
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
        directions=("xy", "xz"),
        strain_max=1e-3,
        fit_window=(0.0, 1e-3),
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(k, 6) for k in range(1, 7)]


def test_bad_input_is_refused():
    atoms = bulk("Cu", "fcc", a=3.65)
    with pytest.raises(InputError, match="direction 'xx'"):
        athermal_quasistatic_shear(atoms, lennard_jones("Cu"), directions=("xx",))
    with pytest.raises(InputError, match="fit window"):
        athermal_quasistatic_shear(atoms, lennard_jones("Cu"), strain_max=0.003)
    with pytest.raises(InputError, match="strain step"):
        athermal_quasistatic_shear(atoms, lennard_jones("Cu"), strain_step=0.0)
