"""Glass transition and thermal expansion from a cooling at constant pressure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError, PotentialFailureError
from mgflows.fits import least_squares_line
from mgflows.validation.statistics import autocovariance, finite_array, slope_error

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = [
    "GLASS_BELOW",
    "LIQUID_ABOVE",
    "GlassTransition",
    "PhaseLine",
    "glass_transition",
    "phase_line",
]

GLASS_BELOW, LIQUID_ABOVE = 550.0, 1100.0
"""K; the lines of glass and liquid are fitted outside this range. Fast cooling broadens the
transition: at 1e13 K/s it extends from 600 to 1000 K in Cu-Zr-Al."""
_FEWEST_SAMPLES = 10
_SMALLEST_CONTRAST = 2.0
"""Smallest difference of the slopes, in units of its standard error, at which a kink is located."""


@dataclass(frozen=True)
class PhaseLine:
    """A straight line through the samples of glass or liquid.

    Parameters
    ----------
    slope, slope_error
        Per K, with standard error: heat capacity for the enthalpy, thermal expansion for the
        volume.
    center
        Mean temperature of the samples in K, at which the errors of slope and height are
        independent.
    height, height_error
        The line at the center, and its standard error.
    """

    slope: float
    slope_error: float
    center: float
    height: float
    height_error: float

    @property
    def intercept(self) -> float:
        """The line at 0 K."""
        return self.height - self.slope * self.center

    def error_at(self, temperature: float) -> float:
        """Standard error of the line at a temperature in K."""
        return float(np.hypot(self.height_error, (temperature - self.center) * self.slope_error))


@dataclass(frozen=True)
class GlassTransition:
    """Intersection of the straight lines of glass and liquid.

    Parameters
    ----------
    temperature, error
        T_g in K at the cooling rate of the run, and its standard error.
    slope_glass, slope_glass_error, slope_liquid, slope_liquid_error
        Slopes per K: heat capacities for the enthalpy, thermal expansion for the volume.
    """

    temperature: float
    error: float
    slope_glass: float
    slope_glass_error: float
    slope_liquid: float
    slope_liquid_error: float


def glass_transition(
    temperature: ArrayLike,
    quantity: ArrayLike,
    *,
    glass_below: float = GLASS_BELOW,
    liquid_above: float = LIQUID_ABOVE,
) -> GlassTransition:
    """Locate the kink of the volume or the enthalpy along a cooling.

    The error follows from those of the four line parameters, whose samples are correlated, to
    first order.

    Parameters
    ----------
    temperature
        (n,) K of the thermostat, at equal time intervals.
    quantity
        (n,) volume or enthalpy per atom.
    glass_below, liquid_above
        K; the straight lines are fitted outside this range.

    Raises
    ------
    InputError
        If fewer than ten samples are on either side, or a value is not finite.
    PotentialFailureError
        If the two lines are parallel within their errors, or meet outside the cooling.
    """
    glass = phase_line(temperature, quantity, below=glass_below)
    liquid = phase_line(temperature, quantity, above=liquid_above)
    contrast = liquid.slope - glass.slope
    if abs(contrast) < _SMALLEST_CONTRAST * np.hypot(glass.slope_error, liquid.slope_error):
        raise PotentialFailureError(
            f"the slopes of glass and liquid, {glass.slope:.3g} and {liquid.slope:.3g} per K, do "
            "not differ by more than twice their error: no glass transition can be located",
            hint="cool through a wider range of temperatures",
        )
    kink = (glass.intercept - liquid.intercept) / contrast
    t = np.asarray(temperature, dtype=float)
    if not t.min() < kink < t.max():
        raise PotentialFailureError(
            f"the lines of glass and liquid meet at {kink:.0f} K, outside the cooling from "
            f"{t.max():.0f} to {t.min():.0f} K: no glass transition can be located"
        )
    error = np.hypot(glass.error_at(kink), liquid.error_at(kink)) / abs(contrast)
    return GlassTransition(
        float(kink),
        float(error),
        glass.slope,
        glass.slope_error,
        liquid.slope,
        liquid.slope_error,
    )


def phase_line(
    temperature: ArrayLike, quantity: ArrayLike, *, below: float = np.inf, above: float = -np.inf
) -> PhaseLine:
    """Fit a straight line to the volume or the enthalpy of glass or liquid along a cooling.

    Parameters
    ----------
    temperature
        (n,) K of the thermostat, at equal time intervals.
    quantity
        (n,) volume or enthalpy per atom.
    below, above
        K; the line is fitted to the samples between ``above`` and ``below``.

    Raises
    ------
    InputError
        If fewer than ten samples are in the range, or a value is not finite.
    """
    t, x = finite_array(temperature, "temperatures"), finite_array(quantity, "values")
    if t.ndim != 1 or t.shape != x.shape:
        raise InputError(
            f"temperatures and values have the shapes {t.shape} and {x.shape}",
            hint="give one of each per sample",
        )
    chosen = (t >= above) & (t <= below)
    if chosen.sum() < _FEWEST_SAMPLES:
        side = f"below {below:g} K" if np.isfinite(below) else f"above {above:g} K"
        raise InputError(
            f"{chosen.sum()} samples {side} do not determine a line",
            hint="cool more slowly, sample more often or move the limits",
        )
    t, x = t[chosen], x[chosen]
    slope, _ = least_squares_line(t, x)
    center, height = float(t.mean()), float(x.mean())
    covariance = autocovariance(x - height - slope * (t - center), 2)
    return PhaseLine(
        slope,
        slope_error(t, covariance),
        center,
        height,
        float(np.sqrt((covariance[0] + 2.0 * covariance[1:].sum()) / len(t))),
    )
