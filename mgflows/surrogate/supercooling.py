"""The supercooling clock: the molecular dynamics cooling time equivalent to a sample's energy.

Inherent-structure energies fall with the logarithm of the cooling time, ``e_IS = e_on + A log10(t /
t_on)`` with A < 0 (paper, Results, "Effectiveness of LJ-surrogate model"; Sciortino, Tartaglia and
Kob, Physica A 306, 343 (2002), doi:10.1016/S0378-4371(02)00514-4). The law is fitted to molecular
dynamics coolings and inverted for swap Monte Carlo samples. This is an extrapolation, so every
result should be quoted with the window of the fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from mgflows.alloy import Alloy
    from mgflows.surrogate.lennard_jones import LennardJones

__all__ = [
    "EffectiveTime",
    "Onset",
    "SupercoolingClock",
    "estimate_onset",
    "find_onset",
    "fit_supercooling_clock",
]

_PERCENTILES = (16.0, 84.0)
_MOST_DECADES = 30.0
_ONSET_PER_WELL = 2.9
_DENSITY_EXPONENT = 3.9
"""See :func:`estimate_onset`."""


@dataclass(frozen=True)
class EffectiveTime:
    """The molecular dynamics cooling time that would give an inherent-structure energy.

    Parameters
    ----------
    log10_time, low, high
        Decimal logarithm of the reduced time, and its 68 % interval from the bootstrap of the fit
        and the error of the energy. It is limited to 30 decades in either direction, because an
        interval beyond that means that the slope is practically unknown.
    log10_seconds
        Decimal logarithm of the time in seconds, for the clock's mass.
    decades_above_onset
        ``log10_time`` minus that of the onset; None if the clock has no onset.
    extrapolated
        Whether the time lies beyond the longest cooling of the fit.
    """

    log10_time: float
    low: float
    high: float
    log10_seconds: float
    decades_above_onset: float | None
    extrapolated: bool


@dataclass(frozen=True, eq=False)
class SupercoolingClock:
    """The log law of the inherent-structure energy and its uncertainty, in reduced units.

    Parameters
    ----------
    intercept
        Energy per atom at t* = 1.
    slope
        ``A``, energy per atom and decade of time; negative.
    window
        Shortest and longest reduced cooling time in the fit.
    n_samples
        Number of coolings in the fit.
    bootstrap
        (n_draws, 2) intercepts and slopes of the bootstrap draws.
    energy_unit
        eV in one unit of energy.
    time_unit
        fs in one unit of time, for ``mass``.
    mass
        Mass unit in u.
    onset_energy, onset_energy_error
        Energy per atom of the inherent structures of the liquid at the onset temperature, and its
        standard error. The energy is None if not measured.
    """

    intercept: float
    slope: float
    window: tuple[float, float]
    n_samples: int
    bootstrap: NDArray[np.float64]
    energy_unit: float
    time_unit: float
    mass: float
    onset_energy: float | None = None
    onset_energy_error: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "window", (float(self.window[0]), float(self.window[1])))
        object.__setattr__(self, "bootstrap", np.array(self.bootstrap, dtype=float))

    def with_onset(self, energy: float, error: float = 0.0) -> SupercoolingClock:
        """Return the clock with the onset of supercooling, which determines ``t_on``.

        Parameters
        ----------
        energy, error
            Inherent-structure energy of the liquid at the onset temperature and its standard
            error, in eV per atom.
        """
        return replace(
            self,
            onset_energy=energy / self.energy_unit,
            onset_energy_error=error / self.energy_unit,
        )

    @property
    def slope_error(self) -> float:
        """Standard error of the slope."""
        return float(self.bootstrap[:, 1].std(ddof=1))

    @property
    def covariance(self) -> NDArray[np.float64]:
        """(2, 2) covariance of intercept and slope."""
        return np.cov(self.bootstrap.T)

    @property
    def onset_time(self) -> float | None:
        """The reduced time ``t_on`` of the onset energy in the law; None if not measured."""
        if self.onset_energy is None:
            return None
        return float(
            10.0
            ** np.clip(
                (self.onset_energy - self.intercept) / self.slope, -_MOST_DECADES, _MOST_DECADES
            )
        )

    @property
    def onset_time_interval(self) -> tuple[float, float] | None:
        """The 68 % interval of :attr:`onset_time`."""
        if self.onset_energy is None:
            return None
        low, high = np.percentile(
            self._log_times(self.onset_energy, self.onset_energy_error), _PERCENTILES
        )
        return float(10.0**low), float(10.0**high)

    def energy(self, time: ArrayLike) -> Any:
        """Return the energy in eV per atom that the law gives for reduced cooling times."""
        return (self.intercept + self.slope * np.log10(time)) * self.energy_unit

    def effective_time(self, e_is: float, error: float | None = None) -> EffectiveTime:
        """Return the cooling time at which the law gives an energy.

        Parameters
        ----------
        e_is
            Inherent-structure energy in eV per atom, of one sample or the mean of several.
        error
            Its standard error in eV per atom. For a single sample, omit it or give the spread
            between samples.
        """
        if not np.isfinite(e_is):
            raise InputError(
                f"the energy is {e_is} eV/atom, which has no time",
                hint="give a finite inherent-structure energy",
            )
        if error is not None and not error >= 0.0:
            raise InputError(
                f"the error of the energy is {error:g} eV/atom but must not be negative",
                hint="give a standard error",
            )
        energy = e_is / self.energy_unit
        log10_time = (energy - self.intercept) / self.slope
        low, high = np.percentile(
            self._log_times(energy, (error or 0.0) / self.energy_unit), _PERCENTILES
        )
        onset = self.onset_time
        return EffectiveTime(
            log10_time=float(log10_time),
            low=float(low),
            high=float(high),
            log10_seconds=float(log10_time + np.log10(self.time_unit * 1e-15)),
            decades_above_onset=None if onset is None else float(log10_time - np.log10(onset)),
            extrapolated=bool(log10_time > np.log10(self.window[1])),
        )

    def _log_times(self, energy: float, error: float) -> NDArray[np.float64]:
        """Return log10 of the time for every bootstrap draw, with a random error of the energy."""
        noise = np.random.default_rng(0).standard_normal(len(self.bootstrap)) * error
        # A line with a slope that is not negative has no solution; its time is clipped to the
        # limits.
        slopes = np.minimum(self.bootstrap[:, 1], -1e-300)
        return np.clip(
            (energy + noise - self.bootstrap[:, 0]) / slopes, -_MOST_DECADES, _MOST_DECADES
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the clock as plain Python values, with the class keys of monty."""
        return {
            "@module": type(self).__module__,
            "@class": type(self).__name__,
            "intercept": self.intercept,
            "slope": self.slope,
            "window": list(self.window),
            "n_samples": self.n_samples,
            "bootstrap": self.bootstrap.tolist(),
            "energy_unit": self.energy_unit,
            "time_unit": self.time_unit,
            "mass": self.mass,
            "onset_energy": self.onset_energy,
            "onset_energy_error": self.onset_energy_error,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SupercoolingClock:
        """Invert :meth:`as_dict`."""
        return cls(**{key: value for key, value in data.items() if not key.startswith("@")})


def fit_supercooling_clock(
    times: ArrayLike,
    e_is: ArrayLike,
    e_is_errors: ArrayLike | None = None,
    *,
    lj: LennardJones,
    window: tuple[float, float] | None = None,
    mass: float | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> SupercoolingClock:
    """Fit ``e_IS = a + A log10 t`` to molecular dynamics coolings, with errors by bootstrap.

    Parameters
    ----------
    times
        (n,) reduced cooling times, repeated for several seeds.
    e_is
        (n,) inherent-structure energies in eV per atom.
    e_is_errors
        (n,) standard errors in eV per atom if ``e_is`` are means over seeds. The fit is then
        weighted, and the bootstrap draws normal errors. Without them every entry is one sample, and
        the bootstrap resamples the residuals of the fit, which include deviations from the law.
    lj
        The surrogate, for its units.
    window
        Shortest and longest reduced time in the fit; all by default. The slope depends on it:
        Cu-Zr-Al begins to order in coolings longer than about 10^3.
    mass
        Mass unit in u for times in seconds; by default the atomic mass of the reference species.
    n_bootstrap, seed
        Number of draws and their seed.

    Raises
    ------
    InputError
        For fewer than three samples or two times in the window, or energies that do not fall with
        time.
    """
    times = np.asarray(times, dtype=float)
    reduced = np.asarray(e_is, dtype=float) / lj.energy_unit
    if times.ndim != 1 or times.shape != reduced.shape:
        raise InputError(
            f"there are times of shape {times.shape} but energies of shape {reduced.shape}",
            hint="give one energy per cooling",
        )
    if not (np.all(np.isfinite(times)) and np.all(np.isfinite(reduced)) and np.all(times > 0.0)):
        raise InputError(
            "a cooling time is not positive or an energy is not finite",
            hint="remove such runs from the fit",
        )
    window = (float(times.min()), float(times.max())) if window is None and len(times) else window
    if window is None:
        raise InputError(
            "no coolings are given", hint="run molecular dynamics coolings of at least two lengths"
        )
    inside = (times >= window[0] * (1.0 - 1e-9)) & (times <= window[1] * (1.0 + 1e-9))
    n = int(inside.sum())
    n_times = len(np.unique(times[inside]))
    if n_times < 2 or n < (3 if e_is_errors is None else 2):
        raise InputError(
            f"the window {window[0]:g} to {window[1]:g} holds {n} coolings of {n_times} lengths, "
            "too few for a line with errors",
            hint="widen it or run more seeds",
        )
    x = np.log10(times[inside])
    y = reduced[inside]
    design = np.column_stack([np.ones(n), x])
    generator = np.random.default_rng(seed)
    if e_is_errors is None:
        solve = np.linalg.pinv(design)
        best = solve @ y
        residuals = (y - design @ best) * np.sqrt(n / (n - 2))
        draws = (design @ best)[:, None] + generator.choice(residuals, size=(n, n_bootstrap))
    else:
        sigma = np.asarray(e_is_errors, dtype=float)[inside] / lj.energy_unit
        if sigma.shape != y.shape or not np.all(sigma > 0.0):
            raise InputError(
                "the errors of the energies must be positive and as many as the energies",
                hint="omit e_is_errors for single samples",
            )
        solve = np.linalg.pinv(design / sigma[:, None]) / sigma
        best = solve @ y
        draws = y[:, None] + sigma[:, None] * generator.standard_normal((n, n_bootstrap))
    if not best[1] < 0.0:
        raise InputError(
            f"the energy does not fall with the cooling time (slope {best[1]:+.3g} per decade in "
            f"the window {window[0]:g} to {window[1]:g})",
            hint="run longer coolings or more seeds",
        )
    bootstrap = (solve @ draws).T
    mass_used = _reference_mass(lj) if mass is None else float(mass)
    return SupercoolingClock(
        intercept=float(best[0]),
        slope=float(best[1]),
        window=(float(times[inside].min()), float(times[inside].max())),
        n_samples=n,
        bootstrap=bootstrap,
        energy_unit=lj.energy_unit,
        time_unit=lj.time_unit(mass_used),
        mass=mass_used,
    )


@dataclass(frozen=True)
class Onset:
    """Onset of the deviation of relaxation times from the Arrhenius law of the hot liquid.

    Parameters
    ----------
    reduced_temperature, low, high
        The onset temperature T_on and its 68 % interval; NaN if the relaxation times never exceed
        the criterion.
    criterion
        The excess of tau over its Arrhenius line that defines the onset; 0.15 is 15 %.
    arrhenius_above
        Lowest temperature in the fit of the line.
    reduced_activation_energy, log_prefactor
        ``E`` and ``b`` of the line ``ln tau = b + E / T``.
    ratios
        Ratio of tau to the line at each temperature, in the order given.
    """

    reduced_temperature: float
    low: float
    high: float
    criterion: float
    arrhenius_above: float
    reduced_activation_energy: float
    log_prefactor: float
    ratios: tuple[float, ...]


def find_onset(
    reduced_temperatures: ArrayLike,
    log_relaxation_times: ArrayLike,
    log_errors: ArrayLike,
    *,
    arrhenius_above: float,
    criterion: float = 0.15,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Onset:
    """Find the onset temperature of supercooling, where tau_alpha departs from Arrhenius.

    Paper, Methods, "Estimating the supercooling". The line ``ln tau = b + E / T`` is a weighted fit
    to the temperatures from ``arrhenius_above`` up. The onset is the temperature at which the
    logarithm of the excess, interpolated linearly in 1/T, exceeds ``ln(1 + criterion)`` and remains
    above it at all lower temperatures.

    Parameters
    ----------
    reduced_temperatures
        (n,) temperatures in any order.
    log_relaxation_times, log_errors
        (n,) natural logarithms of the relaxation times, and their standard errors.
    arrhenius_above
        Lowest temperature of the Arrhenius fit.
    criterion
        Relative excess over the line that counts as departure.
    n_bootstrap, seed
        Number of normal draws for the interval, and their seed.
    """
    temperatures = np.asarray(reduced_temperatures, dtype=float)
    logs = np.asarray(log_relaxation_times, dtype=float)
    errors = np.asarray(log_errors, dtype=float)
    if not (temperatures.shape == logs.shape == errors.shape and temperatures.ndim == 1):
        raise InputError(
            "temperatures, relaxation times and errors differ in number",
            hint="give one of each per temperature",
        )
    if not (np.all(errors > 0.0) and np.all(np.isfinite(logs)) and np.all(temperatures > 0.0)):
        raise InputError(
            "errors and temperatures must be positive and relaxation times finite",
            hint="remove the other values",
        )
    if not criterion > 0.0:
        raise InputError(
            f"the criterion is {criterion:g} but must be positive",
            hint="give the relative excess over the Arrhenius line, such as 0.15",
        )
    hot = temperatures >= arrhenius_above
    if hot.sum() < 3:
        raise InputError(
            f"{int(hot.sum())} temperatures lie at or above {arrhenius_above:g}",
            hint="give three or more for an Arrhenius line with errors",
        )
    order = np.argsort(temperatures)[::-1]
    inverse = 1.0 / temperatures[order]
    is_hot = hot[order]
    sigma = errors[order]
    design = np.column_stack([np.ones(is_hot.sum()), inverse[is_hot]])
    solve = np.linalg.pinv(design / sigma[is_hot, None]) / sigma[is_hot]

    def onset(
        values: NDArray[np.float64],
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        line = solve @ values[is_hot]
        excess = values - line[0] - line[1] * inverse
        below = np.flatnonzero(excess <= np.log1p(criterion))
        last = int(below[-1])
        if last == len(excess) - 1:
            return np.nan, line, excess
        part = (np.log1p(criterion) - excess[last]) / (excess[last + 1] - excess[last])
        return 1.0 / (inverse[last] + part * (inverse[last + 1] - inverse[last])), line, excess

    temperature, line, excess = onset(logs[order])
    generator = np.random.default_rng(seed)
    draws = [
        onset(logs[order] + sigma * generator.standard_normal(len(sigma)))[0]
        for _ in range(n_bootstrap)
    ]
    found = np.array([draw for draw in draws if np.isfinite(draw)])
    low, high = np.percentile(found, _PERCENTILES) if len(found) else (np.nan, np.nan)
    ratios = np.empty(len(excess))
    ratios[order] = np.exp(excess)
    return Onset(
        reduced_temperature=float(temperature),
        low=float(low),
        high=float(high),
        criterion=float(criterion),
        arrhenius_above=float(arrhenius_above),
        reduced_activation_energy=float(line[1]),
        log_prefactor=float(line[0]),
        ratios=tuple(float(ratio) for ratio in ratios),
    )


def estimate_onset(lj: LennardJones, alloy: Alloy) -> float:
    """Estimate the onset temperature of supercooling from the mean well depth and the density.

    The measured onsets of Cu46Zr46Al8 (docs/concepts/surrogate.md, "Which table is meant") are 2.88
    mean well depths with the consistent table and 2.95 with the printed one, at the default
    density (:meth:`LennardJones.number_density`); the mean is over all pairs of atoms. At a
    reduced density of 1.47 in place of 1.75, the onset of the printed table falls from 3.94 to
    about 2.0, which is the power 3.9 of the density.

    Returns
    -------
    T*, to perhaps 10 % for Cu-Zr-Al; untested for other alloys. :func:`find_onset` measures it.

    Raises
    ------
    InputError
        For a species that the table lacks.

    Examples
    --------
    >>> from mgflows import Alloy
    >>> from mgflows.surrogate import LennardJones
    >>> round(estimate_onset(LennardJones.cuzral(), Alloy.cuzral()), 2)
    2.15
    """
    density = alloy.number_density / lj.number_density(alloy.composition)
    index = [lj.species.index(symbol) for symbol in alloy.composition]
    fractions = np.array(list(alloy.composition.values())) / sum(alloy.composition.values())
    well = fractions @ lj.reduced_epsilon[np.ix_(index, index)] @ fractions
    return float(_ONSET_PER_WELL * well * density**_DENSITY_EXPONENT)


def _reference_mass(lj: LennardJones) -> float:
    from ase.data import atomic_masses, atomic_numbers

    return float(atomic_masses[atomic_numbers[lj.reference]])
