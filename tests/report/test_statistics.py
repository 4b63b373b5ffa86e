from __future__ import annotations

import math

import pytest

from mgflows.report.statistics import mean_and_error, root_mean_square


def test_standard_error() -> None:
    assert mean_and_error([1.0, 3.0]) == pytest.approx((2.0, 1.0))
    mean, error = mean_and_error([4.0])
    assert mean == 4.0
    assert math.isnan(error)


def test_root_mean_square() -> None:
    assert root_mean_square([3.0, -4.0, 0.0, 0.0]) == pytest.approx(2.5)
