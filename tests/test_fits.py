from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mgflows.fits import fit_line, least_squares_line


def test_a_line_is_found_exactly() -> None:
    x = np.array([-2.0, 0.5, 1.0, 4.0])
    fit = fit_line(x, 3.0 - 0.25 * x)
    assert fit is not None
    assert (fit.slope, fit.intercept, fit.r2, fit.slope_error) == pytest.approx(
        (-0.25, 3.0, 1.0, 0.0), abs=1e-12
    )
    assert fit(8.0) == pytest.approx(1.0)


def test_slope_its_error_and_r2_are_those_of_scipy() -> None:
    generator = np.random.default_rng(5)
    x = generator.standard_normal(50)
    y = 0.4 * x + generator.standard_normal(50)
    fit, other = fit_line(x, y), stats.linregress(x, y)
    assert fit is not None
    assert (fit.slope, fit.slope_error, fit.r2) == pytest.approx(
        (other.slope, other.stderr, other.rvalue**2)
    )


@pytest.mark.parametrize(
    ("x", "y"), [([], []), ([1.0, 2.0], [1.0, 2.0]), ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])]
)
def test_nothing_to_fit(x: list[float], y: list[float]) -> None:
    assert fit_line(x, y) is None


def test_two_points_determine_a_line() -> None:
    assert least_squares_line([1.0, 3.0], [5.0, 1.0]) == pytest.approx((-2.0, 7.0))
