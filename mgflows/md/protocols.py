"""Protocols of molecular dynamics as stages, which every engine can run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mgflows.errors import InputError

__all__ = ["Stage", "check_rate", "deform", "hold", "nve", "quench", "ramp"]

Ensemble = Literal["nve", "nvt", "npt"]

_RATES = (1e-6, 1e6)
"""Cooling rates in K/ps that a simulation can have."""


@dataclass(frozen=True)
class Stage:
    """A period of dynamics in one ensemble.

    Parameters
    ----------
    ensemble
        ``nve``: constant energy. ``nvt``: a thermostat that does not disturb the dynamics
        (stochastic velocity rescaling). ``npt``: at the pressure of the run's
        :class:`~mgflows.md.langevin.NPTSettings`.
    duration
        ps.
    temperature
        K of the thermostat at the beginning; of the drawn velocities in ``nve``.
    temperature_end
        K at the end, reached linearly; None: constant.
    shape
        In ``npt``, ``isotropic`` keeps the shape of the cell (a liquid does not restore it);
        ``full`` frees all six components.
    strain_rate
        In ``nvt``: (xx, yy, zz, yz, xz, xy) of the deformation gradient ``F = 1 + rate t`` in
        1/ps; off-diagonal ones are simple shears, such as displacements along x that grow with y.
    sample_every
        Steps between two samples.
    n_frames
        Configurations taken at equal intervals.
    name
        For progress displays.

    Raises
    ------
    InputError
        For invalid values.
    """

    ensemble: Ensemble
    duration: float
    temperature: float
    temperature_end: float | None = None
    shape: Literal["isotropic", "full"] = "isotropic"
    strain_rate: tuple[float, ...] | None = None
    sample_every: int = 10
    n_frames: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        if self.ensemble not in ("nve", "nvt", "npt"):
            raise InputError(
                f"the ensemble {self.ensemble!r} is unknown", hint="choose nve, nvt or npt"
            )
        if self.shape not in ("isotropic", "full"):
            raise InputError(
                f"the shape {self.shape!r} of the cell is unknown", hint="choose isotropic or full"
            )
        end = self.temperature if self.temperature_end is None else self.temperature_end
        if not (np.isfinite(self.duration) and self.duration >= 0.0):
            raise InputError(f"the duration is {self.duration:g} ps but must not be negative")
        if not (self.temperature >= 0.0 and end >= 0.0):
            raise InputError(
                f"the temperatures {self.temperature:g} and {end:g} K must not be negative"
            )
        if self.sample_every < 1 or self.n_frames < 0:
            raise InputError(
                f"sample_every is {self.sample_every} and n_frames {self.n_frames}, but the first "
                "must be positive and the second must not be negative"
            )
        if self.strain_rate is not None and (self.ensemble != "nvt" or len(self.strain_rate) != 6):
            raise InputError(
                f"a strain rate of {len(self.strain_rate)} components in {self.ensemble} is not "
                "possible",
                hint="give six components (xx, yy, zz, yz, xz, xy) in nvt",
            )

    def n_steps(self, timestep: float) -> int:
        """Steps of ``timestep`` fs; at least one unless the duration is zero."""
        return max(round(self.duration * 1e3 / timestep), 1) if self.duration > 0.0 else 0

    def temperature_at(self, fraction: float) -> float:
        """K of the thermostat after a fraction of the stage."""
        if self.temperature_end is None:
            return self.temperature
        return self.temperature + (self.temperature_end - self.temperature) * fraction

    def frame_steps(self, n_steps: int) -> list[int]:
        """Steps at which frames are taken: at equal intervals, the last one at the end."""
        steps = {round(n_steps * (k + 1) / self.n_frames) for k in range(self.n_frames)}
        return sorted(steps - {0})


def nve(duration: float, temperature: float, *, sample_every: int = 10) -> list[Stage]:
    """Constant energy for ``duration`` ps.

    Atoms without velocities get random ones of ``temperature`` K.
    """
    return [Stage("nve", duration, temperature, sample_every=sample_every, name="NVE")]


def hold(
    temperature: float,
    time: float,
    *,
    equilibration_time: float = 0.5,
    n_frames: int = 20,
    ensemble: Ensemble = "npt",
    shape: Literal["isotropic", "full"] = "isotropic",
    sample_every: int = 10,
) -> list[Stage]:
    """Equilibrate, then sample at constant temperature.

    Parameters
    ----------
    temperature
        K.
    time, equilibration_time
        ps that are sampled, and ps before them.
    n_frames
        Configurations at equal intervals of ``time``.
    ensemble, shape, sample_every
        As for :class:`Stage`.
    """
    return [
        Stage(
            ensemble,
            equilibration_time,
            temperature,
            shape=shape,
            sample_every=sample_every,
            name="equilibration",
        ),
        Stage(
            ensemble,
            time,
            temperature,
            shape=shape,
            sample_every=sample_every,
            n_frames=n_frames,
            name="hold",
        ),
    ]


def ramp(
    temperature_start: float,
    temperature_end: float,
    rate: float,
    *,
    shape: Literal["isotropic", "full"] = "isotropic",
    sample_every: int = 10,
    n_frames: int = 0,
) -> list[Stage]:
    """Change the temperature linearly at constant pressure.

    Parameters
    ----------
    temperature_start, temperature_end
        K.
    rate
        K/ps, positive both for heating and for cooling.
    shape, sample_every, n_frames
        As for :class:`Stage`.

    Raises
    ------
    InputError
        If the rate is not positive.
    """
    check_rate(rate)
    return [
        Stage(
            "npt",
            abs(temperature_end - temperature_start) / rate,
            temperature_start,
            temperature_end,
            shape=shape,
            sample_every=sample_every,
            n_frames=n_frames,
            name="ramp",
        )
    ]


def quench(
    *,
    temperature_high: float = 2000.0,
    temperature_low: float = 300.0,
    cooling_rate: float = 1.0,
    equilibration_time: float = 2.0,
    hold_time: float = 0.0,
    n_frames: int = 20,
    n_path_frames: int = 0,
    sample_every: int = 50,
) -> list[Stage]:
    """Equilibrate a melt, cool it linearly and optionally hold the glass (paper, section III).

    Parameters
    ----------
    temperature_high, temperature_low
        K. The paper cools from 2000 to 300 K.
    cooling_rate
        K/ps. The paper's 1000, 100 and 10 K/ns are 1, 0.1 and 0.01 K/ps.
    equilibration_time, hold_time
        ps at the high and at the low temperature.
    n_frames
        Frames taken during the hold.
    n_path_frames
        Frames taken before: a third of the equilibration, the others of the cooling.
    sample_every
        Steps between samples.

    Raises
    ------
    InputError
        For temperatures or times that do not define a cooling.
    """
    if not temperature_high > temperature_low > 0.0:
        raise InputError(
            f"cooling from {temperature_high:g} to {temperature_low:g} K is not possible",
            hint="give temperature_high > temperature_low > 0",
        )
    check_rate(cooling_rate)
    if equilibration_time < 0.0 or hold_time < 0.0:
        raise InputError(
            f"the times {equilibration_time:g} and {hold_time:g} ps of equilibration and hold "
            "must not be negative"
        )
    return [
        Stage(
            "npt",
            equilibration_time,
            temperature_high,
            sample_every=sample_every,
            n_frames=n_path_frames // 3,
            name="equilibration",
        ),
        Stage(
            "npt",
            (temperature_high - temperature_low) / cooling_rate,
            temperature_high,
            temperature_low,
            sample_every=sample_every,
            n_frames=n_path_frames - n_path_frames // 3,
            name="cooling",
        ),
        Stage(
            "npt",
            hold_time,
            temperature_low,
            sample_every=sample_every,
            n_frames=n_frames if hold_time > 0.0 else 0,
            name="hold",
        ),
    ]


def deform(
    strain_rate: tuple[float, ...],
    strain: float,
    temperature: float,
    *,
    sample_every: int = 10,
    n_frames: int = 0,
) -> list[Stage]:
    """Deform at a constant rate and temperature until the largest component reaches ``strain``.

    Parameters
    ----------
    strain_rate
        (xx, yy, zz, yz, xz, xy) in 1/ps, see :class:`Stage`.
    strain
        Largest component at the end.
    temperature
        K.
    sample_every, n_frames
        As for :class:`Stage`.
    """
    fastest = max(map(abs, strain_rate), default=0.0)
    if not (fastest > 0.0 and strain > 0.0):
        raise InputError(
            f"the strain {strain:g} cannot be reached at a rate of {fastest:g} 1/ps",
            hint="give a positive strain and at least one rate that is not zero",
        )
    return [
        Stage(
            "nvt",
            strain / fastest,
            temperature,
            strain_rate=tuple(strain_rate),
            sample_every=sample_every,
            n_frames=n_frames,
            name="deformation",
        )
    ]


def check_rate(rate: float) -> None:
    """Check a cooling rate in K/ps.

    Parameters
    ----------
    rate
        K/ps.

    Raises
    ------
    InputError
        If it is not positive, or slower or faster than any simulation: a quench of 2000 K at 1e-6
        K/ps has 10^12 steps, one at 1e6 K/ps two.
    """
    slowest, fastest = _RATES
    if not slowest <= rate <= fastest:
        raise InputError(
            f"the cooling rate is {rate:g} K/ps but must be {slowest:g} to {fastest:g}",
            hint="the paper's 100 K/ns is 0.1 K/ps",
        )
