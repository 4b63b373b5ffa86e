from __future__ import annotations

import numpy as np
import pytest

from mgflows import Alloy
from mgflows.errors import InputError, MgflowsError
from mgflows.surrogate.alpha_relaxation import (
    RelaxationSettings,
    mean_squared_displacement,
    measure_relaxation,
    measure_relaxation_times,
    self_intermediate_scattering,
)

pytestmark = pytest.mark.physics


def test_gaussian_displacements_have_a_gaussian_scattering_function():
    displacements = 0.2 * np.random.default_rng(0).standard_normal((200_000, 3))
    assert mean_squared_displacement(displacements) == pytest.approx(3 * 0.2**2, rel=0.01)
    assert self_intermediate_scattering(displacements, 7.5) == pytest.approx(
        np.exp(-(7.5**2) * 0.2**2 / 2), abs=0.003
    )
    assert self_intermediate_scattering(np.zeros((2, 4, 3)), 7.5) == 1.0


def test_a_hot_liquid_is_ballistic_first_and_diffusive_later(consistent, liquid):
    run = measure_relaxation(consistent, liquid, 6.5, seed=1)
    early = run.msd[0] / run.times[0] ** 2
    # 3 T t^2 at first, reduced by collisions.
    assert early == pytest.approx(3 * 6.5, rel=0.15)
    # Late: linear in time.
    slope = np.log(run.msd[-1] / run.msd[-4]) / np.log(run.times[-1] / run.times[-4])
    assert slope == pytest.approx(1.0, abs=0.2)
    assert run.self_intermediate[0] > 0.9
    assert run.self_intermediate[-1] < 0.2
    assert np.log(run.relaxation_time) == pytest.approx(-1.793, abs=0.15)
    assert len(run.atoms) == 150


def test_relaxation_times_and_inherent_energies_of_the_consistent_table(consistent):
    # ln tau from another implementation, eight runs each: -1.458(6) at 5 and -0.741(15) at 3.3.
    table = measure_relaxation_times(consistent, Alloy.cuzral(), [5.0, 3.3], n_runs=4, seed=3)
    assert table.log_relaxation_times == pytest.approx([-1.458, -0.741], abs=0.1)
    assert np.all((table.log_errors > 0.003) & (table.log_errors < 0.08))
    assert len(table.runs) == 2
    energy, error = table.inherent_energy(4.15)
    assert table.e_is.min() <= energy <= table.e_is.max()
    assert energy / consistent.energy_unit == pytest.approx(-1.72, abs=0.05)
    assert error > 0
    with pytest.raises(InputError, match="outside"):
        table.inherent_energy(2.0)


def test_a_liquid_too_cold_to_relax_raises(consistent, liquid):
    with pytest.raises(MgflowsError, match="has not relaxed"):
        measure_relaxation(consistent, liquid, 0.5, 1, RelaxationSettings(longest_time=8.0))


def test_one_run_has_no_error(consistent):
    with pytest.raises(InputError, match="two or more"):
        measure_relaxation_times(consistent, Alloy.cuzral(), [5.0], n_runs=1)
