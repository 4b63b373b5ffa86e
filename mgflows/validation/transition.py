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

__all__ = ["GlassTransition", "glass_transition"]

_SMALLEST_CONTRAST = 2.0
"""Smallest difference of the slopes, in units of its standard error, at which a kink is located."""


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
    glass_below: float = 550.0,
    liquid_above: float = 1100.0,
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
        K; the straight lines are fitted outside this range. Fast cooling broadens the transition:
        at 1e13 K/s it extends from 600 to 1000 K in Cu-Zr-Al.

    Raises
    ------
    InputError
        If fewer than ten samples are on either side, or a value is not finite.
    PotentialFailureError
        If the two lines are parallel within their errors, or meet outside the cooling.
    """
    t, x = finite_array(temperature, "temperatures"), finite_array(quantity, "values")
    if t.ndim != 1 or t.shape != x.shape:
        raise InputError(
            f"temperatures and values have the shapes {t.shape} and {x.shape}",
            hint="give one of each per sample",
        )
    lines = []
    for name, chosen in (("below", t <= glass_below), ("above", t >= liquid_above)):
        if chosen.sum() < 10:
            limit = glass_below if name == "below" else liquid_above
            raise InputError(
                f"{chosen.sum()} samples {name} {limit:g} K do not determine a line",
                hint="cool more slowly, sample more often or move the limits",
            )
        abscissa, ordinate = t[chosen], x[chosen]
        slope, _ = least_squares_line(abscissa, ordinate)
        center, height = float(abscissa.mean()), float(ordinate.mean())
        covariance = autocovariance(ordinate - height - slope * (abscissa - center), 2)
        n = len(abscissa)
        height_error = np.sqrt((covariance[0] + 2.0 * covariance[1:].sum()) / n)
        lines.append(
            (slope, slope_error(abscissa, covariance), center, height, float(height_error))
        )
    (m1, dm1, c1, h1, dh1), (m2, dm2, c2, h2, dh2) = lines
    contrast = m2 - m1
    if abs(contrast) < _SMALLEST_CONTRAST * np.hypot(dm1, dm2):
        raise PotentialFailureError(
            f"the slopes of glass and liquid, {m1:.3g} and {m2:.3g} per K, do not differ by more "
            "than twice their error: no glass transition can be located",
            hint="cool through a wider range of temperatures",
        )
    # h1 + m1 (T - c1) = h2 + m2 (T - c2)
    kink = (h1 - m1 * c1 - h2 + m2 * c2) / contrast
    if not t.min() < kink < t.max():
        raise PotentialFailureError(
            f"the lines of glass and liquid meet at {kink:.0f} K, outside the cooling from "
            f"{t.max():.0f} to {t.min():.0f} K: no glass transition can be located"
        )
    variance = dh1**2 + dh2**2 + ((kink - c1) * dm1) ** 2 + ((kink - c2) * dm2) ** 2
    return GlassTransition(float(kink), float(np.sqrt(variance) / abs(contrast)), m1, dm1, m2, dm2)
