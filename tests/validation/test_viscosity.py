from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from mgflows import units
from mgflows.errors import InputError
from mgflows.validation.viscosity import (
    StressSampling,
    autocorrelation,
    green_kubo_viscosity,
    sample_stress,
    shear_components,
)
from tests.helpers.calculators import IdealGas, lennard_jones


def ornstein_uhlenbeck(n_steps, n_series, correlation_steps, generator):
    decay = np.exp(-1.0 / correlation_steps)
    noise = generator.normal(size=(n_steps, n_series)) * np.sqrt(1 - decay**2)
    noise[0] = generator.normal(size=n_series)
    from scipy.signal import lfilter

    return lfilter([1.0], [1.0, -decay], noise, axis=0)


def test_autocorrelation_by_fft_is_the_plain_sum():
    x = np.random.default_rng(0).normal(size=(50, 2))
    direct = [np.mean(x[: 50 - lag] * x[lag:], axis=0) for lag in range(20)]
    np.testing.assert_allclose(autocorrelation(x, 20), direct, atol=1e-12)
    with pytest.raises(InputError, match="51 lags"):
        autocorrelation(x, 51)


@pytest.mark.physics
def test_five_components_of_an_isotropic_tensor_have_one_variance():
    """Random symmetric isotropic tensors: var(xx - yy) / 4 = var(xy), without the pressure."""
    generator = np.random.default_rng(1)
    tensors = generator.normal(size=(20_000, 3, 3))
    tensors = (tensors + tensors.transpose(0, 2, 1)) / 2 + generator.normal(
        scale=3.0, size=(20_000, 1, 1)
    ) * np.eye(3)
    voigt = np.array([units.tensor_to_voigt(tensor) for tensor in tensors])
    np.testing.assert_allclose(shear_components(voigt).var(axis=0), 0.5, rtol=0.05)


@pytest.mark.physics
@pytest.mark.parametrize("separate_runs", [False, True])
def test_ornstein_uhlenbeck_stress_gives_its_analytic_viscosity(separate_runs):
    """<s s(t)> = s0^2 exp(-t / tau): viscosity V s0^2 tau / (k T)."""
    generator = np.random.default_rng(2)
    interval, tau, amplitude, volume, temperature = 2.0, 60.0, 0.004, 2500.0, 1600.0
    n_runs, n_samples = (8, 100_000) if separate_runs else (1, 800_000)
    runs = []
    for _ in range(n_runs):
        series = amplitude * ornstein_uhlenbeck(n_samples, 6, tau / interval, generator)
        series[:, :3] *= np.sqrt(2.0)
        runs.append(series)
    stress = runs if separate_runs else runs[0]
    result = green_kubo_viscosity(
        stress, sample_interval=interval, volume=volume, temperature=temperature, max_lag=1000.0
    )
    joule_per_ev = units.ELEMENTARY_CHARGE
    amplitude_pa = amplitude * joule_per_ev * 1e30
    expected = (
        volume
        * 1e-30
        * amplitude_pa**2
        * tau
        * 1e-15
        / (units.BOLTZMANN * joule_per_ev * temperature)
        * 1e3
    )
    assert result.viscosity == pytest.approx(expected, rel=0.06)
    assert abs(result.viscosity - expected) < 4 * result.viscosity_error
    assert result.viscosity_error < 0.1 * expected
    assert result.converged
    assert result.plateau[0] > 2 * tau
    assert result.correlation[0] == pytest.approx(
        float(units.ev_per_a3_to_gpa(amplitude)) ** 2, rel=0.05
    )
    np.testing.assert_allclose(
        result.correlation[:30], result.correlation[0] * np.exp(-result.time[:30] / tau), rtol=0.1
    )


@pytest.mark.physics
def test_a_run_shorter_than_its_memory_is_not_converged():
    series = 0.004 * ornstein_uhlenbeck(2000, 6, 500.0, np.random.default_rng(3))
    assert not green_kubo_viscosity(
        series, sample_interval=2.0, volume=2500.0, temperature=1600.0
    ).converged


@pytest.mark.physics
def test_sampled_stress_contains_the_kinetic_part():
    """Without forces the mean normal stress is minus the ideal-gas pressure."""
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True).repeat((2, 2, 2))
    stress = sample_stress(
        atoms,
        IdealGas(),
        temperature=1000.0,
        n_steps=800,
        sampling=StressSampling(equilibration_steps=0, thermostat_time=20.0),
        seed=1,
    )
    expected = units.BOLTZMANN * 1000.0 * len(atoms) / atoms.get_volume()
    assert stress.shape == (400, 6)
    assert -stress[:, :3].mean() == pytest.approx(expected, rel=0.05)


def test_sampling_is_repeatable():
    atoms = bulk("Cu", "fcc", a=3.7, cubic=True)
    one, two = (
        sample_stress(
            atoms,
            lennard_jones("Cu"),
            temperature=500.0,
            n_steps=20,
            sampling=StressSampling(equilibration_steps=10),
            seed=5,
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(one, two)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="shape"):
        green_kubo_viscosity(np.zeros((100, 3)), sample_interval=1.0, volume=1.0, temperature=1.0)
    with pytest.raises(InputError, match="temperature is 0"):
        green_kubo_viscosity(np.zeros((1000, 6)), sample_interval=1.0, volume=1.0, temperature=0.0)
    broken = np.zeros((1000, 6))
    broken[3, 2] = np.nan
    with pytest.raises(InputError, match="1 of the 6000 stresses are not finite"):
        green_kubo_viscosity(broken, sample_interval=1.0, volume=1.0, temperature=1.0)
    with pytest.raises(InputError, match="lags"):
        green_kubo_viscosity(np.zeros((10, 6)), sample_interval=1.0, volume=1.0, temperature=1.0)
    with pytest.raises(InputError, match="timestep is 0"):
        StressSampling(timestep=0.0)
