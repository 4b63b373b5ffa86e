"""Standard errors of correlated time series.

Samples of molecular dynamics are correlated over many steps, so that the textbook errors for
independent samples are several times too small. The errors here use the autocovariance of the
residuals (Sokal, "Monte Carlo methods in statistical mechanics", in Functional Integration (1997),
doi:10.1007/978-1-4899-0319-8_6, section 3; its sum is truncated at the first non-positive value).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "autocovariance",
    "correlation_time",
    "finite_array",
    "inefficiency",
    "mean_error",
    "slope_error",
]


def finite_array(values: ArrayLike | Sequence[ArrayLike], name: str) -> NDArray[np.float64]:
    """The values as an array of floats.

    Parameters
    ----------
    values
        Numbers of any shape.
    name
        Name of the values in the message, in the plural.

    Raises
    ------
    InputError
        If one of them is not a finite number.
    """
    array = np.asarray(values, dtype=float)
    if not np.isfinite(array).all():
        raise InputError(
            f"{np.count_nonzero(~np.isfinite(array))} of the {array.size} {name} are not finite",
            hint="leave out what failed",
        )
    return array


def autocovariance(residuals: ArrayLike, n_parameters: int = 1) -> NDArray[np.float64]:
    """Autocovariance of a stationary series with zero mean.

    Parameters
    ----------
    residuals
        (n,) deviations from a fit.
    n_parameters
        Number of parameters of that fit. The fit follows slow fluctuations, which are therefore
        missing in the residuals; the result is scaled up to compensate.

    Returns
    -------
    (n,) array; zero from the first lag at which the estimate is not positive.
    """
    r = np.asarray(residuals, dtype=float)
    n = len(r)
    if r.ndim != 1 or n < 2:
        raise InputError(
            f"the autocovariance needs a one-dimensional series, not one of shape {r.shape}",
            hint="give at least 2 samples",
        )
    spectrum = np.fft.rfft(r, n=2 * n)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, n=2 * n)[:n] / np.arange(n, 0, -1)
    negative = np.flatnonzero(covariance <= 0.0)
    if len(negative):
        covariance[negative[0] :] = 0.0
    covariance *= 1.0 / (1.0 - min(n_parameters * inefficiency(covariance) / n, 0.5))
    return covariance


def inefficiency(covariance: ArrayLike) -> float:
    """Statistical inefficiency, ``1 + 2 sum of the correlation``.

    This is the number of samples that carry as much information as one independent sample.

    Parameters
    ----------
    covariance
        (n,) autocovariance by lag; 1 is returned for a series that does not vary.
    """
    c = np.asarray(covariance, dtype=float)
    return float(2.0 * c.sum() / c[0] - 1.0) if c[0] > 0.0 else 1.0


def correlation_time(series: ArrayLike) -> float:
    """Integrated autocorrelation time in samples, ``1/2 + sum of the correlation``.

    The mean of n samples is as precise as that of ``n / (2 tau)`` independent ones.
    """
    values = np.asarray(series, dtype=float)
    if len(values) < 2:
        return float("nan")
    covariance = autocovariance(values - values.mean())
    return float(covariance.sum() / covariance[0] - 0.5) if covariance[0] > 0.0 else 0.0


def mean_error(series: ArrayLike) -> float:
    """Standard error of the mean of a correlated series; nan for fewer than two samples."""
    values = np.asarray(series, dtype=float)
    if len(values) < 2:
        return float("nan")
    covariance = autocovariance(values - values.mean())
    n = len(values)
    return float(np.sqrt((covariance[0] + 2.0 * covariance[1:].sum()) / n))


def slope_error(x: ArrayLike, covariance: ArrayLike, scale: ArrayLike | None = None) -> float:
    """Standard error of an ordinary least-squares slope whose residuals are correlated.

    ``sqrt(w C w)`` with the weights ``w`` of the samples in the slope and the covariance matrix
    ``C_ij = scale_i scale_j c(|i - j|)`` of the samples.

    Parameters
    ----------
    x
        (n,) abscissa of consecutive samples.
    covariance
        (m,) autocovariance of the residuals by lag, m >= n.
    scale
        (n,) factors that multiply the stationary series with autocovariance ``covariance`` to give
        the residuals; 1 if None.
    """
    x = np.asarray(x, dtype=float)
    weights = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    if scale is not None:
        weights = weights * np.asarray(scale, dtype=float)
    n = len(x)
    c = np.asarray(covariance, dtype=float)[:n]
    # The product with a Toeplitz matrix is a convolution.
    correlated = np.convolve(weights, np.concatenate([c[:0:-1], c]))[n - 1 : 2 * n - 1]
    return float(np.sqrt(max(float(weights @ correlated), 0.0)))
