"""Alpha relaxation of the equilibrium liquid.

The self-intermediate scattering function, the mean squared displacement and the relaxation time
tau_alpha are measured by molecular dynamics. The temperature below which tau_alpha exceeds its
Arrhenius law is the onset of supercooling (paper, Methods, "Estimating the supercooling"): see
:func:`mgflows.surrogate.supercooling.find_onset`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError, MgflowsError
from mgflows.surrogate.inherent_structure import find_inherent_structure
from mgflows.surrogate.molecular_dynamics import SurrogateMolecularDynamics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms
    from numpy.typing import NDArray

    from mgflows.alloy import Alloy
    from mgflows.surrogate.lennard_jones import LennardJones

__all__ = [
    "AlphaRelaxation",
    "RelaxationSettings",
    "RelaxationTimes",
    "mean_squared_displacement",
    "measure_relaxation",
    "measure_relaxation_times",
    "self_intermediate_scattering",
]

_TIMES_PER_DECADE = 8
_SHORTEST_LAG = 0.02


def self_intermediate_scattering(displacements: NDArray[np.float64], wavenumber: float) -> float:
    """Average ``exp(i k . (r(t) - r(0)))`` over atoms and all directions of k.

    The average over directions is ``sin(k r) / (k r)``.

    Parameters
    ----------
    displacements
        (n, 3) or (n_origins, n, 3) displacements.
    wavenumber
        Wave number k, in the inverse unit of the displacements.
    """
    distance = np.linalg.norm(displacements, axis=-1)
    return float(np.mean(np.sinc(wavenumber * distance / np.pi)))


def mean_squared_displacement(displacements: NDArray[np.float64]) -> float:
    """Average the square of (n, 3) or (n_origins, n, 3) displacements."""
    return float(np.mean(np.sum(displacements**2, axis=-1)))


@dataclass(frozen=True, eq=False)
class AlphaRelaxation:
    """The relaxation of one run of the liquid, in reduced units.

    Parameters
    ----------
    reduced_temperature
        Temperature of the run.
    wavenumber
        Wave number of the scattering function.
    times, self_intermediate, msd
        (n_times,) lag times, self-intermediate scattering function and mean squared displacement,
        over all species.
    relaxation_time
        tau_alpha, the time at which the scattering function falls to 1/e.
    e_is
        Mean inherent-structure energy of the run in eV per atom.
    atoms
        The last configuration.
    """

    reduced_temperature: float
    wavenumber: float
    times: NDArray[np.float64]
    self_intermediate: NDArray[np.float64]
    msd: NDArray[np.float64]
    relaxation_time: float
    e_is: float
    atoms: Atoms


@dataclass(frozen=True, eq=False)
class RelaxationTimes:
    """Relaxation times against temperature, each a mean over independent runs.

    Parameters
    ----------
    reduced_temperatures
        (n,) temperatures.
    log_relaxation_times, log_errors
        (n,) mean of ln tau_alpha over the runs and its standard error, from the spread between the
        runs, smoothed over adjacent temperatures.
    e_is, e_is_errors
        (n,) mean inherent-structure energy in eV per atom and its standard error, likewise.
    runs
        The runs of each temperature.
    """

    reduced_temperatures: NDArray[np.float64]
    log_relaxation_times: NDArray[np.float64]
    log_errors: NDArray[np.float64]
    e_is: NDArray[np.float64]
    e_is_errors: NDArray[np.float64]
    runs: tuple[tuple[AlphaRelaxation, ...], ...]

    def inherent_energy(self, reduced_temperature: float) -> tuple[float, float]:
        """Interpolate the inherent-structure energy and its error linearly in temperature.

        Both are in eV per atom; at T_on the energy is the onset energy.
        """
        order = np.argsort(self.reduced_temperatures)
        temperatures = self.reduced_temperatures[order]
        if not temperatures[0] <= reduced_temperature <= temperatures[-1]:
            raise InputError(
                f"T* = {reduced_temperature:g} lies outside the measured {temperatures[0]:g} to "
                f"{temperatures[-1]:g}",
                hint="measure at temperatures on both sides",
            )
        energy = np.interp(reduced_temperature, temperatures, self.e_is[order])
        error = np.interp(reduced_temperature, temperatures, self.e_is_errors[order])
        return float(energy), float(error)


@dataclass(frozen=True)
class RelaxationSettings:
    """Settings of a measurement of the alpha relaxation.

    Parameters
    ----------
    wavenumber
        In units of the inverse reference diameter; 7.5 is near the first peak of S(k) of Cu-Zr-Al.
    n_origins
        Number of time origins.
    longest_time
        Longest reduced time span in the search for the relaxation time.
    """

    wavenumber: float = 7.5
    n_origins: int = 20
    longest_time: float = 1e4


def measure_relaxation(
    lj: LennardJones,
    atoms: Atoms,
    reduced_temperature: float,
    seed: int,
    settings: RelaxationSettings | None = None,
) -> AlphaRelaxation:
    """Equilibrate a liquid for ten relaxation times and measure its relaxation.

    A first run, lengthened until the scattering function has fallen, gives the relaxation time. It
    sets the length of the equilibration and the spacing of the time origins, three relaxation
    times.

    Parameters
    ----------
    lj
        The surrogate.
    atoms
        Any start configuration; it is heated to T* = 10 first.
    reduced_temperature
        Temperature of the measurement.
    seed
        Seed of the dynamics.
    settings
        Wavenumber, time origins and limit; the defaults of :class:`RelaxationSettings` if None.

    Raises
    ------
    MgflowsError
        If the liquid does not relax within ``longest_time``: too cold, or crystallised.
    """
    settings = settings or RelaxationSettings()
    wavenumber, longest_time = settings.wavenumber, settings.longest_time
    md = SurrogateMolecularDynamics(lj, atoms, seed)
    md.run(5.0, 10.0, sample_every=250)
    *_, tau = _decay_in_full(md, reduced_temperature, wavenumber, 1.0, longest_time, n_origins=2)
    md.run(10.0 * tau, reduced_temperature, sample_every=1000)
    energies: list[float] = []

    def minimise() -> None:
        energies.append(find_inherent_structure(md.atoms, lj, 1e-6)[1])

    times, scattering, msd, tau = _decay_in_full(
        md, reduced_temperature, wavenumber, 3.0 * tau, longest_time, settings.n_origins, minimise
    )
    return AlphaRelaxation(
        float(reduced_temperature),
        float(wavenumber),
        times,
        scattering,
        msd,
        tau,
        float(np.mean(energies)),
        md.atoms,
    )


def _decay_in_full(
    md: SurrogateMolecularDynamics,
    reduced_temperature: float,
    wavenumber: float,
    span: float,
    longest_time: float,
    n_origins: int,
    at_origin: Callable[[], None] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]:
    """Repeat :func:`_decay` over doubled spans until the scattering function falls to 1/e."""
    while True:
        times, scattering, msd, tau = _decay(
            md, reduced_temperature, wavenumber, span, n_origins, at_origin
        )
        if tau is not None:
            return times, scattering, msd, tau
        span *= 2.0
        if span > longest_time:
            raise MgflowsError(
                f"the liquid at T* = {reduced_temperature:g} has not relaxed after t* = "
                f"{longest_time:g}",
                hint=(
                    "raise the temperature or longest_time, and check that it has not crystallised"
                ),
            )


def _decay(
    md: SurrogateMolecularDynamics,
    reduced_temperature: float,
    wavenumber: float,
    span: float,
    n_origins: int,
    at_origin: Callable[[], None] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float | None]:
    """Run over ``n_origins`` spans and return lag times, F_s, MSD and relaxation time.

    The relaxation time is None if F_s does not fall to 1/e.
    """
    n_times = max(4, round(_TIMES_PER_DECADE * np.log10(span / _SHORTEST_LAG)))
    times = (
        np.unique(np.round(np.geomspace(_SHORTEST_LAG, span, n_times) / md.reduced_timestep))
        * md.reduced_timestep
    )
    scattering, msd = np.zeros(len(times)), np.zeros(len(times))
    for _ in range(n_origins):
        if at_origin is not None:
            at_origin()
        frames = md.trajectory(times, reduced_temperature)
        displacements = frames[1:] - frames[0]
        scattering += [
            self_intermediate_scattering(moved, wavenumber) / n_origins for moved in displacements
        ]
        msd += [mean_squared_displacement(moved) / n_origins for moved in displacements]
    below = np.flatnonzero(scattering < np.exp(-1.0))
    if len(below) == 0 or below[0] == 0:
        return times, scattering, msd, None
    i = below[0]
    part = (scattering[i - 1] - np.exp(-1.0)) / (scattering[i - 1] - scattering[i])
    log_time = np.log(times[i - 1]) + part * np.log(times[i] / times[i - 1])
    return times, scattering, msd, float(np.exp(log_time))


def measure_relaxation_times(
    lj: LennardJones,
    alloy: Alloy,
    reduced_temperatures: Sequence[float],
    *,
    n_runs: int = 4,
    seed: int = 0,
    settings: RelaxationSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RelaxationTimes:
    """Measure tau_alpha(T) in independent runs, with errors from their spread.

    Parameters
    ----------
    lj, alloy
        The surrogate and the alloy.
    reduced_temperatures
        Temperatures of the measurements.
    n_runs
        Independent runs per temperature, two or more.
    seed
        Seed; run r of temperature i has the seed ``(seed, i, r)``.
    settings
        As in :func:`measure_relaxation`.
    progress
        Called with the runs done and the total number of runs.
    """
    from mgflows.surrogate.swap_monte_carlo import random_configuration

    if n_runs < 2:
        raise InputError(
            f"{n_runs} run per temperature gives no spread to estimate an error from",
            hint="give two or more",
        )
    runs: list[tuple[AlphaRelaxation, ...]] = []
    for i, temperature in enumerate(reduced_temperatures):
        row = []
        for r in range(n_runs):
            run_seed = int(np.random.SeedSequence([seed, i, r]).generate_state(1)[0])
            atoms = random_configuration(lj, alloy, run_seed)
            row.append(measure_relaxation(lj, atoms, temperature, run_seed, settings))
            if progress is not None:
                progress(i * n_runs + r + 1, len(reduced_temperatures) * n_runs)
        runs.append(tuple(row))
    logs = np.log([[run.relaxation_time for run in row] for row in runs])
    energies = np.array([[run.e_is for run in row] for row in runs])
    return RelaxationTimes(
        reduced_temperatures=np.asarray(reduced_temperatures, dtype=float),
        log_relaxation_times=logs.mean(axis=1),
        log_errors=_standard_errors(logs),
        e_is=energies.mean(axis=1),
        e_is_errors=_standard_errors(energies),
        runs=tuple(runs),
    )


def _standard_errors(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n,) errors of the means of (n, n_runs) values.

    The variance of a few runs is imprecise and can be far too small by chance, which distorts
    weights. It is therefore averaged with the mean variance of a temperature and its neighbours in
    the order given.
    """
    variance = values.var(axis=1, ddof=1)
    padded = np.pad(variance, 1, mode="edge")
    smooth = (padded[:-2] + padded[1:-1] + padded[2:]) / 3.0
    return np.sqrt(0.5 * (variance + smooth) / values.shape[1])
