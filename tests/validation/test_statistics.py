from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from mgflows.errors import InputError
from mgflows.validation.heat_capacity import heat_capacity_from_cooling
from mgflows.validation.statistics import autocovariance, mean_error, slope_error


def correlated(n, time, generator, n_series=1):
    """Stationary Gaussian series with unit variance and correlation exp(-t / time)."""
    decay = np.exp(-1.0 / time)
    noise = generator.normal(size=(n_series, n)) * np.sqrt(1.0 - decay**2)
    noise[:, 0] = generator.normal(size=n_series)
    return lfilter([1.0], [1.0, -decay], noise, axis=1)


@pytest.mark.physics
def test_autocovariance_of_an_exponential_process():
    series = correlated(400_000, 20.0, np.random.default_rng(0))[0]
    covariance = autocovariance(series - series.mean())
    np.testing.assert_allclose(covariance[:40], np.exp(-np.arange(40) / 20.0), atol=0.03)


@pytest.mark.physics
@pytest.mark.parametrize("time", [0.1, 5.0, 25.0])
def test_error_of_the_mean_is_the_spread_of_means(time):
    runs = correlated(2000, time, np.random.default_rng(1), 400)
    spread = runs.mean(axis=1).std(ddof=1)
    quoted = np.sqrt(np.mean([mean_error(run) ** 2 for run in runs]))
    assert quoted == pytest.approx(spread, rel=0.15)


@pytest.mark.physics
def test_slope_error_of_white_noise_is_the_textbook_one():
    x = np.linspace(0.0, 3.0, 50)
    covariance = np.zeros(50)
    covariance[0] = 0.04
    expected = 0.2 / np.sqrt(np.sum((x - x.mean()) ** 2))
    assert slope_error(x, covariance) == pytest.approx(expected)
    assert slope_error(x, covariance, np.full(50, 2.0)) == pytest.approx(2.0 * expected)


@pytest.mark.physics
def test_slope_error_of_any_covariance_is_the_quadratic_form():
    generator = np.random.default_rng(2)
    x, scale = np.sort(generator.normal(size=31)), generator.uniform(0.5, 2.0, 31)
    covariance = 0.3 * np.exp(-np.arange(60) / 7.0)
    lags = np.abs(np.subtract.outer(np.arange(31), np.arange(31)))
    matrix = np.outer(scale, scale) * covariance[lags]
    weights = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    assert slope_error(x, covariance, scale) == pytest.approx(
        np.sqrt(weights @ matrix @ weights), rel=1e-10
    )


@pytest.mark.physics
def test_quoted_error_of_the_heat_capacity_covers_the_spread_of_coolings():
    """Correlated enthalpy noise; errors for independent samples would be five times too small."""
    generator = np.random.default_rng(3)
    n, n_runs = 850, 200
    temperature = np.linspace(2000.0, 300.0, n)
    trend = -5.0 + 3.5e-4 * temperature + 2e-8 * temperature**2
    noise = 1.5e-5 * temperature * correlated(n, 12.0, generator, n_runs)
    curves = [heat_capacity_from_cooling(temperature, trend + row, n_windows=6) for row in noise]
    spread = np.std([curve.heat_capacity for curve in curves], axis=0, ddof=1)
    quoted = np.sqrt(np.mean([curve.error**2 for curve in curves], axis=0))
    np.testing.assert_allclose(quoted / spread, 1.0, atol=0.25)


def test_short_series_are_refused():
    with pytest.raises(InputError, match="at least 2"):
        autocovariance([1.0])
