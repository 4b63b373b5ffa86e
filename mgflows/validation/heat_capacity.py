"""Isobaric heat capacity from the enthalpy (paper, section III, "Specific heat").

Two routes: the slope of the enthalpy during a cooling, and its fluctuations in equilibrium.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mgflows import units
from mgflows.errors import InputError
from mgflows.fits import least_squares_line
from mgflows.validation.statistics import autocovariance, finite_array, inefficiency, slope_error

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "FluctuationHeatCapacity",
    "HeatCapacityCurve",
    "heat_capacity_from_cooling",
    "heat_capacity_from_fluctuations",
]

_EV_PER_KELVIN = units.GAS_CONSTANT / units.BOLTZMANN
"""J/(mol K) in one eV/K per atom: 96485."""
_TREND_DEGREE = 4
"""Degree of the polynomial in temperature that separates the enthalpy's trend from its noise."""


_LEAST_PER_WINDOW = 3.0
"""Fewest independent samples in a window for which the error of its slope is given: with fewer than
two, the error would be underestimated by a third."""
_LEAST_PER_BLOCK = 5.0
"""Fewest independent samples in a block for which its variance counts as converged."""


@dataclass(frozen=True)
class FluctuationHeatCapacity:
    """Heat capacity from the fluctuations of the enthalpy.

    Parameters
    ----------
    value, error
        J/(mol K), per mole of atoms, and its standard error.
    converged
        Whether the blocks are long compared with the correlation time of the enthalpy. If not,
        the run is too short, and value and error are underestimated.
    """

    value: float
    error: float
    converged: bool


@dataclass(frozen=True, eq=False)
class HeatCapacityCurve:
    """Heat capacity against temperature.

    Parameters
    ----------
    temperature
        (n,) centres of the windows in K.
    heat_capacity, error
        (n,) J/(mol K), per mole of atoms: slope of the enthalpy within the window, and the
        standard error of the slope for correlated samples; nan where a window holds fewer than
        three independent samples, so that the slope is not converged.
    """

    temperature: NDArray[np.float64]
    heat_capacity: NDArray[np.float64]
    error: NDArray[np.float64]


def heat_capacity_from_cooling(
    temperature: ArrayLike, enthalpy: ArrayLike, *, n_windows: int = 8
) -> HeatCapacityCurve:
    """``dH/dT`` by straight lines through windows of equal width in temperature.

    It is the heat capacity along the actual cooling: below the glass transition it is that of the
    glass, not of the equilibrium liquid.

    The error follows from the autocovariance of the enthalpy about a smooth curve through the
    whole cooling, in units of the temperature, because thermal fluctuations grow with it.

    Parameters
    ----------
    temperature
        (n,) K of the thermostat or of the atoms, during a cooling or heating, at equal time
        intervals.
    enthalpy
        (n,) eV per atom, kinetic energy included.
    n_windows
        Number of windows.

    Raises
    ------
    InputError
        For lengths that differ, values that are not finite, or windows with fewer than three
        samples.
    """
    t, h = np.asarray(temperature, dtype=float), np.asarray(enthalpy, dtype=float)
    if t.shape != h.shape or t.ndim != 1:
        raise InputError(
            f"temperatures and enthalpies have the shapes {t.shape} and {h.shape}",
            hint="give one of each per sample",
        )
    if not (np.isfinite(t).all() and np.isfinite(h).all()):
        raise InputError("some temperatures or enthalpies are not finite")
    if n_windows < 1:
        raise InputError(f"the number of windows is {n_windows} but must be positive")
    edges = np.linspace(t.min(), t.max(), n_windows + 1)
    window = np.clip(np.searchsorted(edges, t, side="right") - 1, 0, n_windows - 1)
    counts = np.bincount(window, minlength=n_windows)
    if counts.min() < 3:
        index = int(counts.argmin())
        raise InputError(
            f"the window from {edges[index]:.0f} to {edges[index + 1]:.0f} K holds "
            f"{counts[index]} samples",
            hint="take fewer windows",
        )
    scale = np.abs(t) / np.abs(t).mean()
    trend = np.polynomial.Polynomial.fit(t, h, _TREND_DEGREE)
    covariance = autocovariance((h - trend(t)) / scale, _TREND_DEGREE + 1)
    enough = counts >= _LEAST_PER_WINDOW * inefficiency(covariance)
    slopes, errors = np.empty(n_windows), np.full(n_windows, np.nan)
    for index in range(n_windows):
        members = np.flatnonzero(window == index)
        slopes[index] = least_squares_line(t[members], h[members])[0]
        if enough[index]:
            errors[index] = slope_error(t[members], covariance, scale[members])
    return HeatCapacityCurve(
        (edges[1:] + edges[:-1]) / 2.0, slopes * _EV_PER_KELVIN, errors * _EV_PER_KELVIN
    )


def heat_capacity_from_fluctuations(
    enthalpy: ArrayLike, temperature: float, n_atoms: int, *, n_blocks: int = 5
) -> FluctuationHeatCapacity:
    """``N (<h^2> - <h>^2) / (k_B T^2)`` of an equilibrium run at constant pressure.

    Parameters
    ----------
    enthalpy
        (n,) eV per atom, kinetic energy included, with the *external* pressure in ``P V``, from a
        thermostat and barostat that sample the NPT ensemble (Berendsen's do not).
    temperature
        K.
    n_atoms
        Atoms in the cell.
    n_blocks
        Blocks whose spread gives the error. The variance is taken about the mean of each block,
        so that a slow drift does not count as heat capacity, and corrected for the part of the
        fluctuations that this mean follows: ``1 - g / n`` for blocks of n samples with a
        statistical inefficiency g.

    Raises
    ------
    InputError
        For a temperature that is not positive, an enthalpy that is not finite, or fewer than ten
        samples per block.
    """
    h = finite_array(enthalpy, "enthalpies")
    if not (temperature > 0.0 and n_atoms > 0):
        raise InputError(
            f"the temperature {temperature:g} K and the number of atoms {n_atoms} must be positive"
        )
    if h.ndim != 1 or n_blocks < 2 or len(h) < 10 * n_blocks:
        raise InputError(
            f"{h.size} enthalpies are too few for {n_blocks} blocks",
            hint="give at least ten per block and two blocks",
        )
    samples_per_block = len(h) / n_blocks
    g = inefficiency(autocovariance(h - h.mean()))
    variances = np.array([block.var() for block in np.array_split(h, n_blocks)])
    variances /= 1.0 - min(g / samples_per_block, 0.5)
    values = n_atoms * variances / (units.BOLTZMANN * temperature**2) * _EV_PER_KELVIN
    return FluctuationHeatCapacity(
        value=float(values.mean()),
        error=float(values.std(ddof=1) / np.sqrt(n_blocks)),
        converged=samples_per_block >= _LEAST_PER_BLOCK * g,
    )
