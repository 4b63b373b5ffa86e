"""Shear viscosity of the melt from the fluctuations of the stress (Green-Kubo).

Paper, Methods, Eq. 4. The post-processing takes stresses from any code; :func:`sample_stress`
makes them with an ASE calculator.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mgflows import units
from mgflows.errors import InputError, PotentialFailureError
from mgflows.fits import least_squares_line
from mgflows.geometry import check_geometry
from mgflows.validation.statistics import finite_array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "StressSampling",
    "ViscosityResult",
    "autocorrelation",
    "green_kubo_viscosity",
    "helfand_viscosity",
    "sample_stress",
    "shear_components",
    "stress_correlations",
    "viscosity_from_correlations",
]

_SEGMENTS = 5
"""Segments into which a single run is cut; their spread gives the error."""
_GPA2_FS_A3_PER_EV_IN_MPA_S = units.EV_FS_PER_A3_IN_MPA_S / units.EV_PER_A3_IN_GPA**2


@dataclass(frozen=True, eq=False)
class ViscosityResult:
    """Green-Kubo viscosity.

    Parameters
    ----------
    viscosity, viscosity_error
        In mPa s: mean of the running integral over the plateau window, and the standard error of
        that mean over runs or segments. Slow decays that a run is too short to resolve are
        missing in both: compare runs of different length.
    time
        (n,) lags in fs.
    correlation
        (n,) stress autocorrelation in GPa^2, mean over five components and all runs or segments.
    running_integral
        (n,) mPa s.
    plateau
        Window of lags in fs, from the lag at which the correlation vanishes in its noise to twice
        that lag.
    converged
        Whether the running integral changes by less than 10 % across the window; if not, take
        longer runs or a larger ``max_lag``.
    of_segments
        (n_runs,) mPa s of each run or segment, over the same window.
    """

    viscosity: float
    viscosity_error: float
    time: NDArray[np.float64]
    correlation: NDArray[np.float64]
    running_integral: NDArray[np.float64]
    plateau: tuple[float, float]
    converged: bool
    of_segments: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))


def autocorrelation(series: ArrayLike, n_lags: int) -> NDArray[np.float64]:
    """``<x(0) x(t)>`` for lags 0 to ``n_lags - 1`` along the first axis.

    By zero-padded FFT; each lag is divided by its number of pairs. The mean is *not* subtracted.
    """
    x = np.asarray(series, dtype=float)
    n = len(x)
    if not 0 < n_lags <= n:
        raise InputError(
            f"{n_lags} lags of a series of {n} samples are not possible",
            hint="give at most as many lags as samples",
        )
    spectrum = np.fft.rfft(x, n=2 * n, axis=0)
    products = np.fft.irfft(np.abs(spectrum) ** 2, n=2 * n, axis=0)[:n_lags]
    pairs = np.arange(n, n - n_lags, -1, dtype=float)
    return products / pairs.reshape(-1, *(1,) * (x.ndim - 1))


def shear_components(stress: ArrayLike) -> NDArray[np.float64]:
    """(n, 5) independent shear stresses of a series of (n, 6) Voigt stresses.

    They are xy, xz, yz, (xx - yy)/2 and (yy - zz)/2.
    In an isotropic liquid all five have the same autocorrelation; the paper uses the first three.
    """
    xx, yy, zz, yz, xz, xy = np.asarray(stress, dtype=float).T
    return np.stack([xy, xz, yz, (xx - yy) / 2.0, (yy - zz) / 2.0], axis=1)


def green_kubo_viscosity(
    stress: ArrayLike | Sequence[ArrayLike],
    *,
    sample_interval: float,
    volume: float,
    temperature: float,
    max_lag: float | None = None,
) -> ViscosityResult:
    """``V / (k_B T)`` times the time integral of the shear-stress autocorrelation.

    Parameters
    ----------
    stress
        (n, 6) Voigt stresses in eV/A^3 at constant volume, *with* the kinetic part; or several
        such runs, each of the same length.
    sample_interval
        fs between two samples.
    volume
        A^3 of the cell.
    temperature
        K.
    max_lag
        Longest lag in fs; a tenth of a run by default.

    Raises
    ------
    InputError
        For a shape other than (n, 6), quantities that are not positive, or a run too short for
        its lag.
    """
    runs = finite_array(stress, "stresses")
    if runs.ndim == 2:
        usable = len(runs) // _SEGMENTS * _SEGMENTS
        segments = runs[:usable].reshape(_SEGMENTS, -1, runs.shape[-1])
    else:
        segments = runs
    if segments.ndim != 3 or segments.shape[-1] != 6:
        raise InputError(
            f"the stresses have the shape {runs.shape}",
            hint="give (n, 6) Voigt stresses in eV/A^3, or several such runs of equal length",
        )
    _check_positive(sample_interval, volume, temperature)
    n_samples = segments.shape[1]
    n_lags = (
        min(round(max_lag / sample_interval) + 1, n_samples)
        if max_lag
        else max(n_samples // (2 if runs.ndim == 2 else 10), 1)
    )
    if n_lags < 4:
        raise InputError(
            f"{n_samples} samples per run or segment leave {n_lags} lags",
            hint="run longer or sample more often",
        )

    return viscosity_from_correlations(
        stress_correlations(segments, n_lags),
        sample_interval=sample_interval,
        volume=volume,
        temperature=temperature,
    )


def _check_positive(sample_interval: float, volume: float, temperature: float) -> None:
    for name, value in (
        ("sample interval", sample_interval),
        ("volume", volume),
        ("temperature", temperature),
    ):
        if not 0.0 < value < np.inf:
            raise InputError(f"the {name} is {value:g} but must be positive and finite")


def stress_correlations(runs: ArrayLike, n_lags: int) -> NDArray[np.float64]:
    """(n_runs, n_lags) autocorrelation in GPa^2 of the shear stress of each run.

    Parameters
    ----------
    runs
        (n_runs, n, 6) Voigt stresses in eV/A^3.
    n_lags
        Number of lags.
    """
    pressure = units.ev_per_a3_to_gpa(np.asarray(runs, dtype=float))
    return np.stack(
        [autocorrelation(shear_components(run), n_lags).mean(axis=1) for run in pressure]
    )


def viscosity_from_correlations(
    correlations: NDArray[np.float64],
    *,
    sample_interval: float,
    volume: float,
    temperature: float,
) -> ViscosityResult:
    """Green-Kubo viscosity from the stress autocorrelations of independent runs or segments.

    Parameters
    ----------
    correlations
        (n_runs, n_lags) in GPa^2, from :func:`stress_correlations`.
    sample_interval
        fs between two lags.
    volume
        A^3 of the cell.
    temperature
        K.
    """
    n_segments, n_lags = correlations.shape
    prefactor = volume / (units.BOLTZMANN * temperature) * _GPA2_FS_A3_PER_EV_IN_MPA_S
    steps = (correlations[:, 1:] + correlations[:, :-1]) / 2.0 * sample_interval
    integrals = prefactor * np.concatenate(
        [np.zeros((n_segments, 1)), np.cumsum(steps, axis=1)], axis=1
    )

    start, end = _plateau(correlations)
    viscosities = integrals[:, start : end + 1].mean(axis=1)
    running = integrals.mean(axis=0)
    viscosity = float(viscosities.mean())
    return ViscosityResult(
        viscosity=viscosity,
        viscosity_error=float(viscosities.std(ddof=1) / np.sqrt(n_segments))
        if n_segments > 1
        else float("nan"),
        time=np.arange(n_lags, dtype=float) * float(sample_interval),
        correlation=correlations.mean(axis=0),
        running_integral=running,
        plateau=(start * sample_interval, end * sample_interval),
        converged=bool(
            end == 2 * start and abs(running[end] - running[start]) < 0.1 * abs(viscosity)
        ),
        of_segments=viscosities,
    )


def helfand_viscosity(
    runs: ArrayLike,
    *,
    sample_interval: float,
    volume: float,
    temperature: float,
    window: tuple[float, float],
) -> float:
    """Viscosity in mPa s from the Einstein relation of Helfand's moment, a check of the integral.

    ``V / (2 k_B T) d/dt <(int_0^t stress dt')^2>``, the slope within ``window`` (Helfand,
    Phys. Rev. 119, 1 (1960), doi:10.1103/PhysRev.119.1). The moment is the time integral of the
    stress, because positions in a periodic cell define none.

    Parameters
    ----------
    runs
        (n_runs, n, 6) Voigt stresses in eV/A^3, kinetic part included.
    sample_interval
        fs between two samples.
    volume, temperature
        A^3 and K.
    window
        Range of lags in fs; the plateau of the Green-Kubo integral is suitable.

    Raises
    ------
    InputError
        For another shape, quantities that are not positive, or a window that is not within the
        runs.
    """
    pressure = units.ev_per_a3_to_gpa(finite_array(runs, "stresses"))
    if pressure.ndim != 3 or pressure.shape[-1] != 6:
        raise InputError(
            f"the stresses have the shape {pressure.shape}",
            hint="give (n_runs, n, 6) Voigt stresses in eV/A^3",
        )
    _check_positive(sample_interval, volume, temperature)
    if not 0.0 <= window[0] < window[1] < (pressure.shape[1] - 3) * sample_interval:
        raise InputError(
            f"the window from {window[0]:g} to {window[1]:g} fs is not within runs of "
            f"{pressure.shape[1] * sample_interval:g} fs",
            hint="give lags that rise, shorter than the runs",
        )
    low, high = (max(round(lag / sample_interval), 1) for lag in window)
    lags = np.unique(np.linspace(low, max(high, low + 2), 12).astype(int))
    squares = []
    for run in pressure:
        moment = np.cumsum(shear_components(run), axis=0) * sample_interval
        squares.append([np.mean((moment[k:] - moment[:-k]) ** 2) for k in lags])
    slope, _ = least_squares_line(lags * sample_interval, np.mean(squares, axis=0))
    thermal = units.BOLTZMANN * temperature
    return float(volume / (2.0 * thermal) * slope * _GPA2_FS_A3_PER_EV_IN_MPA_S)


@dataclass(frozen=True)
class StressSampling:
    """Dynamics of :func:`sample_stress` and the spacing of its samples.

    Parameters
    ----------
    equilibration_steps
        Steps before the first sample.
    timestep
        fs.
    sample_every
        Steps between samples; the stress decorrelates within about 10 fs.
    thermostat_time
        Relaxation time of the kinetic energy in fs.

    Raises
    ------
    InputError
        If a time or interval is not positive, or the number of steps negative.
    """

    equilibration_steps: int = 1000
    timestep: float = 2.0
    sample_every: int = 2
    thermostat_time: float = 500.0

    def __post_init__(self) -> None:
        for name, value in (
            ("timestep", self.timestep),
            ("sampling interval", self.sample_every),
            ("time of the thermostat", self.thermostat_time),
        ):
            if not value > 0:
                raise InputError(f"the {name} is {value:g} but must be positive")
        if self.equilibration_steps < 0:
            raise InputError(
                f"the equilibration has {self.equilibration_steps} steps but must have 0 or more"
            )

    @property
    def interval(self) -> float:
        """Time between two samples in fs."""
        return self.timestep * self.sample_every


def sample_stress(
    atoms: Atoms,
    calculator: Calculator,
    *,
    temperature: float,
    n_steps: int,
    sampling: StressSampling | None = None,
    seed: int,
) -> NDArray[np.float64]:
    """(n, 6) Voigt stresses in eV/A^3, kinetic part included, of a melt at constant volume.

    Bussi's stochastic velocity rescaling (ASE) does not disturb the relative motion of the atoms,
    which a Langevin thermostat would damp.

    Parameters
    ----------
    atoms
        A melt at its equilibrium density for ``temperature``; not changed. Its velocities are used
        if it has any.
    calculator
        Any ASE calculator with forces and stress.
    temperature
        K.
    n_steps
        Steps sampled.
    sampling
        Dynamics and spacing of the samples; the defaults of :class:`StressSampling` if None.
    seed
        Seed of velocities and thermostat noise.

    Raises
    ------
    InputError
        If the number of steps or the temperature is not positive, or the structure is not finite
        or not periodic.
    PotentialFailureError
        If the stress becomes infinite or undefined.
    """
    import ase.units
    from ase.md.bussi import Bussi
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary

    sampling = sampling or StressSampling()
    for name, value in (("temperature", temperature), ("number of steps", n_steps)):
        if not value > 0:
            raise InputError(f"the {name} is {value:g} but must be positive")
    check_geometry(atoms, periodic=True)
    melt = atoms.copy()
    melt.set_constraint()
    melt.calc = calculator
    generator = np.random.default_rng(seed)
    if not melt.has("momenta") or melt.get_kinetic_energy() == 0.0:
        MaxwellBoltzmannDistribution(melt, temperature_K=temperature, rng=generator)
    Stationary(melt)
    dynamics = Bussi(
        melt,
        sampling.timestep * ase.units.fs,
        temperature_K=temperature,
        taut=sampling.thermostat_time * ase.units.fs,
        rng=generator,
    )
    dynamics.run(sampling.equilibration_steps)
    stresses = []
    for sample in range(n_steps // sampling.sample_every):
        dynamics.run(sampling.sample_every)
        stress = melt.get_stress(include_ideal_gas=True)
        if not np.isfinite(stress).all():
            raise PotentialFailureError(
                f"the stress is not finite after {(sample + 1) * sampling.sample_every} steps at "
                f"{temperature:g} K; the potential fails for this melt",
                hint="shorten the timestep, or train the potential on melts",
            )
        stresses.append(stress)
    return np.array(stresses)


def _plateau(correlations: NDArray[np.float64]) -> tuple[int, int]:
    """Lags between which the running integral is averaged.

    They run from the lag at which the mean correlation falls below twice its standard error to
    twice that lag.
    """
    mean = correlations.mean(axis=0)
    noise = (
        correlations.std(axis=0, ddof=1) / np.sqrt(len(correlations))
        if len(correlations) > 1
        else np.full_like(mean, 0.02 * mean[0])
    )
    lost = np.flatnonzero(mean < 2.0 * noise)
    start = max(int(lost[0]), 1) if len(lost) else len(mean) - 1
    return start, min(2 * start, len(mean) - 1)
