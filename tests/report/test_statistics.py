from __future__ import annotations

import math

import numpy as np
import pytest

from mgflows.report.statistics import fit_line, mean_and_error, root_mean_square


def test_a_line_is_found_exactly() -> None:
    x = np.array([-2.0, 0.5, 1.0, 4.0])
    fit = fit_line(x.tolist(), (3.0 - 0.25 * x).tolist())
    assert fit is not None
    assert (fit.slope, fit.intercept, fit.r2) == pytest.approx((-0.25, 3.0, 1.0))
    assert fit(8.0) == pytest.approx(1.0)


def test_r2_is_the_squared_correlation() -> None:
    generator = np.random.default_rng(5)
    x = generator.standard_normal(50)
    y = 0.4 * x + generator.standard_normal(50)
    fit = fit_line(x.tolist(), y.tolist())
    assert fit is not None
    assert fit.r2 == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)


@pytest.mark.parametrize(("x", "y"), [([], []), ([1.0, 2.0], [1.0, 2.0]), ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])])
def test_nothing_to_fit(x: list[float], y: list[float]) -> None:
    assert fit_line(x, y) is None


def test_standard_error() -> None:
    assert mean_and_error([1.0, 3.0]) == pytest.approx((2.0, 1.0))
    mean, error = mean_and_error([4.0])
    assert mean == 4.0
    assert math.isnan(error)


def test_root_mean_square() -> None:
    assert root_mean_square([3.0, -4.0, 0.0, 0.0]) == pytest.approx(2.5)
