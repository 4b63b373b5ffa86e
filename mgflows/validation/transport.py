"""Diffusion and relaxation in the melt, and temperature dependence of viscosity."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mgflows import units
from mgflows.errors import InputError
from mgflows.fits import least_squares_line
from mgflows.geometry import check_geometry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ArrheniusFit",
    "Relaxation",
    "VogelFit",
    "alpha_relaxation",
    "diffusion_coefficients",
    "finite_size_correction",
    "fit_arrhenius",
    "fit_vogel",
]

_BLOCKS = 4
_XI = 2.837297
"""Constant of a cubic periodic cell in Eq. 12 of Yeh and Hummer."""


@dataclass(frozen=True)
class ArrheniusFit:
    """``value = prefactor exp(energy / kT)``; the energy in eV is positive for a viscosity."""

    prefactor: float
    energy: float
    energy_error: float


@dataclass(frozen=True)
class VogelFit:
    """Vogel-Fulcher-Tammann law ``value = prefactor exp(D T_0 / (T - T_0))``.

    Parameters
    ----------
    prefactor
        In the unit of the values.
    strength
        D: large for strong liquids.
    temperature, temperature_error
        T_0 in K and its standard error.
    """

    prefactor: float
    strength: float
    temperature: float
    temperature_error: float


@dataclass(frozen=True, eq=False)
class Relaxation:
    """Decay of the self-intermediate scattering function of one melt.

    Parameters
    ----------
    time, scattering
        (n,) lag in ps and F_s, from 1 at lag 0.
    tau
        tau_alpha in ps, at which F_s is 1/e; nan if it decays before the second lag or not within
        half of the run.
    error
        Standard error of tau_alpha over four blocks of the run; nan if a block has none.
    """

    time: NDArray[np.float64]
    scattering: NDArray[np.float64]
    tau: float
    error: float


def alpha_relaxation(frames: Sequence[Atoms], interval: float, wavenumber: float) -> Relaxation:
    """The alpha relaxation of a melt from its frames.

    ``F_s(k, t) = <sin(k r) / (k r)>`` over all atoms, with ``r`` the distance moved in the time
    ``t``, is the self-intermediate scattering function averaged over the directions of ``k``; it
    falls to 1/e at tau_alpha. All pairs of frames of one lag count.

    Parameters
    ----------
    frames
        Configurations of one run at equal intervals, in a cell of fixed shape. No atom may move
        half a cell between two of them.
    interval
        fs between two frames.
    wavenumber
        k in 1/A; the usual one is the first peak of S(q).

    Raises
    ------
    InputError
        For fewer than ten frames, frames of different size or not periodic, or an interval that
        is not positive.
    """
    if not 0.0 < wavenumber < np.inf:
        raise InputError(f"the wave number is {wavenumber:g} 1/A but must be positive")
    path, n = _unwrapped(frames, interval), len(frames)
    lags = np.unique(np.round(np.geomspace(1, n // 2, 60)).astype(int))
    # Blocks of origins; the last ones have no partner at the longest lags.
    edges = np.linspace(0, n - lags[-1], _BLOCKS + 1).astype(int)
    decays = np.empty((_BLOCKS, len(lags)))
    for column, lag in enumerate(lags):
        moved = np.linalg.norm(path[lag:] - path[:-lag], axis=2)
        of_origin = np.sinc(wavenumber * moved / np.pi).mean(axis=1)
        decays[:, column] = [of_origin[a:b].mean() for a, b in pairwise(edges)]
    time = np.concatenate([[0.0], 1e-3 * interval * lags])
    weights = np.diff(edges) / np.diff(edges).sum()
    scattering = np.concatenate([[1.0], weights @ decays])
    tau = _decay_time(time, scattering)
    others = [
        _decay_time(time, np.concatenate([[1.0], np.delete(decays, block, axis=0).mean(axis=0)]))
        for block in range(_BLOCKS)
    ]
    error = float(np.sqrt((_BLOCKS - 1) * np.var(others)))  # jackknife
    return Relaxation(time, scattering, tau, error)


def _decay_time(time: NDArray[np.float64], decay: NDArray[np.float64]) -> float:
    """Where a decay from 1 crosses 1/e; nan if it does not after its second point."""
    below = np.flatnonzero(decay < np.exp(-1.0))
    if not len(below) or below[0] < 2:
        return float("nan")
    last = int(below[0])
    (t0, t1), (y0, y1) = (
        time[last - 1 : last + 1],
        np.log(np.maximum(decay[last - 1 : last + 1], 1e-6)),
    )
    return float(t0 + (t1 - t0) * (y0 + 1.0) / (y0 - y1))


def _unwrapped(frames: Sequence[Atoms], interval: float) -> NDArray[np.float64]:
    """(n, N, 3) positions in A, continuous over the periodic boundaries, at rest on average."""
    if not 0.0 < interval < np.inf:
        raise InputError(f"the interval of the frames is {interval:g} fs but must be positive")
    for index, frame in enumerate(frames):
        check_geometry(frame, f"frame {index}", periodic=True)
        if len(frame) != len(frames[0]):
            raise InputError(
                f"frame {index} has {len(frame)} atoms and the first one {len(frames[0])}",
                hint="give the frames of one run",
            )
    if len(frames) < 10:
        raise InputError(
            f"{len(frames)} frames are too few to follow the motion of atoms", hint="give ten"
        )
    scaled = np.array([frame.get_scaled_positions(wrap=False) for frame in frames])
    steps = np.diff(scaled, axis=0)
    steps -= np.rint(steps)
    path = np.concatenate([np.zeros_like(scaled[:1]), np.cumsum(steps, axis=0)])
    path = path @ np.mean([frame.cell.array for frame in frames], axis=0)
    masses = frames[0].get_masses()
    path -= (np.einsum("tix,i->tx", path, masses) / masses.sum())[:, None, :]
    return np.asarray(path, dtype=np.float64)


def diffusion_coefficients(frames: Sequence[Atoms], interval: float) -> dict[str, float]:
    """Self-diffusion coefficients in 1e-9 m^2/s by species, from mean square displacements.

    Slope of ``<|r(t) - r(0)|^2> / 6`` against ``t`` between a fifth and half of the run, averaged
    over all pairs of frames with the same lag (Einstein's relation). Positions are unwrapped
    here: no atom may move by half a cell between two frames.

    Parameters
    ----------
    frames
        Configurations of one run at equal intervals, in a cell of fixed shape.
    interval
        fs between two frames.

    Raises
    ------
    InputError
        For fewer than ten frames, frames of different size or not periodic, or an interval that
        is not positive.
    """
    path, n = _unwrapped(frames, interval), len(frames)
    lags = np.arange(max(n // 5, 1), n // 2 + 1)
    msd = np.array([np.mean(np.sum((path[k:] - path[:-k]) ** 2, axis=2), axis=0) for k in lags])
    time = lags * interval
    symbols = np.array(frames[0].get_chemical_symbols())
    found = {}
    for symbol in dict.fromkeys(symbols.tolist()):
        curve = msd[:, symbols == symbol].mean(axis=1)
        slope = least_squares_line(time, curve)[0]
        found[symbol] = slope / 6.0 * units.A2_PER_FS_IN_1E9_M2_PER_S
    return found


def finite_size_correction(temperature: float, viscosity: float, length: float) -> float:
    """Difference of the diffusion coefficient of an infinite system to that in a cubic cell.

    ``xi k_B T / (6 pi eta L)`` with xi = 2.837297, in 1e-9 m^2/s and the same for all species:
    the images of a periodic cell slow each other down (Yeh and Hummer, J. Phys. Chem. B 108, 15873
    (2004), doi:10.1021/jp0477147).

    Parameters
    ----------
    temperature
        K.
    viscosity
        mPa s.
    length
        Edge of the cell in A.

    Raises
    ------
    InputError
        For an argument that is not positive and finite.
    """
    for name, value in (
        ("temperature", temperature),
        ("viscosity", viscosity),
        ("length of the cell", length),
    ):
        if not 0.0 < value < np.inf:
            raise InputError(f"the {name} is {value:g} but must be positive and finite")
    thermal = units.BOLTZMANN * temperature
    friction = 6.0 * np.pi * viscosity / units.EV_FS_PER_A3_IN_MPA_S * length
    return float(_XI * thermal / friction * units.A2_PER_FS_IN_1E9_M2_PER_S)


def fit_arrhenius(
    temperature: ArrayLike, value: ArrayLike, error: ArrayLike | None = None
) -> ArrheniusFit:
    """Weighted straight line of ``ln(value)`` over ``1 / kT``.

    Parameters
    ----------
    temperature
        (n,) K, at least two.
    value, error
        (n,) positive, and standard errors; equal weights without them.
    """
    t, y, weight = _logarithms(temperature, value, error, 2)
    x = 1.0 / (units.BOLTZMANN * t)
    design = np.stack([np.ones_like(x), x], axis=1)
    parameters, covariance = _least_squares(design, y, weight, scaled=error is None)
    return ArrheniusFit(
        float(np.exp(parameters[0])), float(parameters[1]), float(np.sqrt(covariance[1, 1]))
    )


def fit_vogel(temperature: ArrayLike, value: ArrayLike, error: ArrayLike | None = None) -> VogelFit:
    """Fit the Vogel-Fulcher-Tammann law to ``ln(value)``.

    Parameters
    ----------
    temperature
        (n,) K, at least four.
    value, error
        (n,) positive, and standard errors; equal weights without them.

    Raises
    ------
    InputError
        For fewer than four temperatures, or values that do not determine T_0.
    """
    from scipy.optimize import curve_fit

    t, y, weight = _logarithms(temperature, value, error, 4)
    line = fit_arrhenius(temperature, value, error)
    if not line.energy > line.energy_error:
        raise InputError(
            "the values do not fall with the temperature within their errors, so there is no T_0",
            hint="add lower temperatures",
        )
    lowest = float(t.min())

    def law(temperature: NDArray[np.float64], a: float, b: float, t0: float) -> object:
        return a + b / (temperature - t0)

    start_t0 = 0.3 * lowest
    slope = line.energy / units.BOLTZMANN * (1.0 - start_t0 / float(t.mean())) ** 2
    start = (float(y.mean()) - slope / (float(t.mean()) - start_t0), slope, start_t0)
    try:
        parameters, covariance = curve_fit(
            law,
            t,
            y,
            p0=start,
            sigma=1.0 / weight,
            absolute_sigma=error is not None,
            bounds=([-np.inf, 0.0, 0.0], [np.inf, np.inf, 0.98 * lowest]),
        )
    except RuntimeError as problem:
        raise InputError(
            f"the values at {len(t)} temperatures do not determine T_0 ({problem})",
            hint="add lower temperatures",
        ) from problem
    a, b, t0 = (float(parameter) for parameter in parameters)
    return VogelFit(
        float(np.exp(a)), b / t0 if t0 > 0.0 else float("inf"), t0, float(np.sqrt(covariance[2, 2]))
    )


def _logarithms(
    temperature: ArrayLike, value: ArrayLike, error: ArrayLike | None, n_least: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    t, y = np.asarray(temperature, dtype=float), np.asarray(value, dtype=float)
    if t.shape != y.shape or t.ndim != 1:
        raise InputError(f"temperatures and values have the shapes {t.shape} and {y.shape}")
    usable = np.isfinite(t) & np.isfinite(y) & (t > 0.0) & (y > 0.0)
    if not usable.all() or len(np.unique(t)) < n_least:
        raise InputError(
            f"{len(np.unique(t[usable]))} temperatures with positive values, of {len(t)}, do not "
            "determine the fit",
            hint=f"give at least {n_least}, all of them positive",
        )
    relative = np.ones_like(y) if error is None else np.asarray(error, dtype=float) / y
    return t, np.log(y), 1.0 / np.maximum(relative, 1e-6)


def _least_squares(
    design: NDArray[np.float64],
    y: NDArray[np.float64],
    weight: NDArray[np.float64],
    *,
    scaled: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    weighted = design * weight[:, None]
    covariance = np.linalg.inv(weighted.T @ weighted)
    parameters = covariance @ weighted.T @ (y * weight)
    if scaled:
        free = max(len(y) - design.shape[1], 1)
        covariance = covariance * float(np.sum((y - design @ parameters) ** 2)) / free
    return parameters, np.asarray(covariance, dtype=np.float64)
