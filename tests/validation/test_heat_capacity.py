from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from mgflows import units
from mgflows.errors import InputError
from mgflows.validation.heat_capacity import (
    heat_capacity_from_cooling,
    heat_capacity_from_fluctuations,
)

DULONG_PETIT = 3 * units.GAS_CONSTANT


@pytest.mark.physics
def test_cooling_a_harmonic_solid_gives_dulong_and_petit():
    temperature = np.linspace(2000.0, 300.0, 400)
    noise = np.random.default_rng(0).normal(scale=1e-3, size=400)
    curve = heat_capacity_from_cooling(
        temperature, -5.0 + 3 * units.BOLTZMANN * temperature + noise, n_windows=4
    )
    np.testing.assert_allclose(curve.heat_capacity, DULONG_PETIT, atol=4 * curve.error.max())
    assert np.all(curve.error < 0.05 * DULONG_PETIT)
    np.testing.assert_allclose(curve.temperature, [512.5, 937.5, 1362.5, 1787.5])


@pytest.mark.physics
def test_a_kink_shows_as_a_step():
    temperature = np.linspace(300.0, 1300.0, 500)
    slope = np.where(temperature < 800.0, 3.0, 5.0) * units.BOLTZMANN
    enthalpy = np.cumsum(slope) * (temperature[1] - temperature[0])
    curve = heat_capacity_from_cooling(temperature, enthalpy, n_windows=2)
    np.testing.assert_allclose(
        curve.heat_capacity, [3 * units.GAS_CONSTANT, 5 * units.GAS_CONSTANT], rtol=0.01
    )


@pytest.mark.physics
def test_canonical_fluctuations_of_a_harmonic_solid():
    """N oscillators: H is k T / 2 times a chi-square of 6 N degrees of freedom: Cp = 3 R."""
    n_atoms, temperature = 150, 900.0
    thermal = units.BOLTZMANN * temperature
    enthalpy = thermal / 2 * np.random.default_rng(1).chisquare(6 * n_atoms, size=20_000) / n_atoms
    result = heat_capacity_from_fluctuations(enthalpy, temperature, n_atoms)
    assert result.value == pytest.approx(DULONG_PETIT, rel=0.03)
    assert abs(result.value - DULONG_PETIT) < 5 * result.error


@pytest.mark.physics
@pytest.mark.parametrize(("time", "converged"), [(10.0, True), (200.0, True), (4000.0, False)])
def test_fluctuations_of_a_correlated_enthalpy(time, converged):
    """An autoregressive series: the value within its error, and the error that of many runs."""
    n, n_atoms, temperature, sigma = 20_000, 100, 1000.0, 1e-3
    decay = np.exp(-1.0 / time)
    noise = np.random.default_rng(5).normal(size=(60, n)) * np.sqrt(1.0 - decay**2)
    noise[:, 0] /= np.sqrt(1.0 - decay**2)
    results = [
        heat_capacity_from_fluctuations(series, temperature, n_atoms)
        for series in sigma * lfilter([1.0], [1.0, -decay], noise, axis=1)
    ]
    assert np.mean([result.converged for result in results]) == pytest.approx(
        float(converged), abs=0.05
    )
    if converged:
        expected = n_atoms * sigma**2 / (units.BOLTZMANN * temperature**2)
        expected *= units.GAS_CONSTANT / units.BOLTZMANN
        values = np.array([result.value for result in results])
        spread = values.std(ddof=1)
        assert abs(values.mean() - expected) < 3.0 * spread / np.sqrt(60)
        errors = [result.error for result in results]
        assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(spread, rel=0.2)


def test_a_cooling_shorter_than_its_memory_has_no_errors():
    n = 1000
    noise = np.cumsum(np.random.default_rng(0).normal(size=n)) * 1e-4
    temperature = np.linspace(2000.0, 1000.0, n)
    curve = heat_capacity_from_cooling(temperature, 3e-4 * temperature + noise, n_windows=20)
    assert np.isnan(curve.error).all()


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="shapes"):
        heat_capacity_from_cooling([1.0, 2.0], [1.0])
    with pytest.raises(InputError, match="fewer windows"):
        heat_capacity_from_cooling(np.linspace(1, 2, 10), np.linspace(1, 2, 10), n_windows=8)
    with pytest.raises(InputError, match="too few"):
        heat_capacity_from_fluctuations(np.zeros(20), 300.0, 10)
    with pytest.raises(InputError, match="temperature"):
        heat_capacity_from_fluctuations(np.zeros(200), 0.0, 10)
    with pytest.raises(InputError, match="1 of the 200 enthalpies are not finite"):
        heat_capacity_from_fluctuations(np.append(np.zeros(199), np.nan), 300.0, 10)
