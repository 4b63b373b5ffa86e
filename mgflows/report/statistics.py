"""The few statistics the report quotes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class LinearFit:
    """An ordinary least-squares line ``y = intercept + slope x``.

    Parameters
    ----------
    slope, intercept
        In the units of the data.
    r2
        Coefficient of determination.
    n_points
        Points fitted.
    """

    slope: float
    intercept: float
    r2: float
    n_points: int

    def __call__(self, x: ArrayLike) -> NDArray[np.float64]:
        """The line at ``x``."""
        return self.intercept + self.slope * np.asarray(x, dtype=float)


def fit_line(x: Sequence[float], y: Sequence[float]) -> LinearFit | None:
    """Fit a line, or return none where fewer than three points or a single abscissa leave nothing to fit."""
    x_values, y_values = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(x_values) < 3 or np.ptp(x_values) == 0.0:
        return None
    slope, intercept = np.polyfit(x_values, y_values, 1)
    residual = y_values - (intercept + slope * x_values)
    total = float(np.sum((y_values - y_values.mean()) ** 2))
    r2 = 1.0 - float(residual @ residual) / total if total > 0.0 else float("nan")
    return LinearFit(slope=float(slope), intercept=float(intercept), r2=r2, n_points=len(x_values))


def mean_and_error(values: ArrayLike) -> tuple[float, float]:
    """Mean and its standard error; the error of a single value is nan, since nothing is known of it."""
    array = np.asarray(values, dtype=float)
    error = float(array.std(ddof=1) / np.sqrt(len(array))) if len(array) > 1 else float("nan")
    return float(array.mean()), error


def root_mean_square(values: ArrayLike) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(np.asarray(values, dtype=float)))))
