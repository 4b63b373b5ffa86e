"""Straight lines through data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["LinearFit", "fit_line", "least_squares_line"]


@dataclass(frozen=True)
class LinearFit:
    """An ordinary least-squares line ``y = intercept + slope x``.

    Parameters
    ----------
    slope, intercept
        In the units of the data.
    slope_error
        Standard error of the slope, from the scatter about the line.
    r2
        Coefficient of determination; nan where ``y`` does not vary.
    n_points
        Points fitted.
    """

    slope: float
    intercept: float
    slope_error: float
    r2: float
    n_points: int

    def __call__(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return the line at ``x``."""
        return self.intercept + self.slope * np.asarray(x, dtype=float)


def least_squares_line(x: ArrayLike, y: ArrayLike) -> tuple[float, float]:
    """Return slope and intercept of the least-squares line through two or more points.

    Parameters
    ----------
    x, y
        (n,) data.

    Examples
    --------
    >>> slope, intercept = least_squares_line([0.0, 1.0], [1.0, 3.0])
    >>> round(slope, 6), round(intercept, 6)
    (2.0, 1.0)
    """
    slope, intercept = np.polyfit(np.asarray(x, dtype=float), np.asarray(y, dtype=float), 1)
    return float(slope), float(intercept)


def fit_line(x: ArrayLike, y: ArrayLike) -> LinearFit | None:
    """Fit a line, or return None for fewer than three points or a single abscissa.

    Parameters
    ----------
    x, y
        (n,) data.

    Examples
    --------
    >>> line = fit_line([0.0, 1.0, 2.0], [1.0, 3.0, 5.0])
    >>> round(line.slope, 6), round(line.intercept, 6)
    (2.0, 1.0)
    """
    x_values, y_values = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(x_values) < 3 or np.ptp(x_values) == 0.0:
        return None
    slope, intercept = least_squares_line(x_values, y_values)
    residual = y_values - (intercept + slope * x_values)
    variance = float(residual @ residual) / (len(x_values) - 2)
    total = float(np.sum((y_values - y_values.mean()) ** 2))
    return LinearFit(
        slope=slope,
        intercept=intercept,
        slope_error=float(np.sqrt(variance / np.sum((x_values - x_values.mean()) ** 2))),
        r2=1.0 - float(residual @ residual) / total if total > 0.0 else float("nan"),
        n_points=len(x_values),
    )
