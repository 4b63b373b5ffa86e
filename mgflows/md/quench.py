"""Cooling a melt into a glass, holding and heating it, at constant pressure, under any ASE calculator.

:func:`quench` makes the glasses of the paper's step vii and of its structural validation, :func:`hold` averages over thermal motion, and
:func:`heat` is step v, the ``aimd`` subset. All use :class:`mgflows.md.langevin.LangevinNPT` and are repeatable from their seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows import units
from mgflows.errors import InputError
from mgflows.md.checkpoint import HeatingCheckpoint
from mgflows.md.langevin import LangevinNPT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from numpy.typing import NDArray

    Progress = Callable[[int, int], None]

__all__ = ["HeatResult", "HoldResult", "QuenchResult", "Trace", "heat", "hold", "quench"]

_EQUILIBRATION, _COOLING, _HOLD = range(3)


@dataclass(frozen=True, eq=False)
class Trace:
    """Time series of a run; every field is (n_samples,).

    Parameters
    ----------
    time
        fs since the start.
    set_temperature, temperature
        Of the thermostat, and measured from the velocities, in K.
    pressure
        Internal pressure with its kinetic part, in GPa.
    density
        g/cm^3.
    volume
        A^3 per atom.
    potential_energy, enthalpy
        eV per atom; the enthalpy is ``E_pot + E_kin + P V`` with the *external* pressure.
    """

    time: NDArray[np.float64]
    set_temperature: NDArray[np.float64]
    temperature: NDArray[np.float64]
    pressure: NDArray[np.float64]
    density: NDArray[np.float64]
    volume: NDArray[np.float64]
    potential_energy: NDArray[np.float64]
    enthalpy: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class QuenchResult:
    """A quenched glass.

    Parameters
    ----------
    atoms
        Final configuration with velocities and no calculator, wrapped into its cell.
    cooling_rate
        K/ps as run.
    trace
        Samples of equilibration, cooling and hold.
    cooling
        (n_samples,) mask of the trace: the samples of the cooling ramp.
    frames
        Configurations taken during the hold at the low temperature, for time averages; empty without a hold.
    """

    atoms: Atoms
    cooling_rate: float
    trace: Trace
    cooling: NDArray[np.bool_]
    frames: list[Atoms]


@dataclass(frozen=True, eq=False)
class HoldResult:
    """A run at constant temperature.

    Parameters
    ----------
    atoms
        Final configuration with velocities and no calculator, wrapped into its cell.
    trace
        Samples after the equilibration.
    frames
        Configurations at equal intervals after the equilibration, without calculators.
    """

    atoms: Atoms
    trace: Trace
    frames: list[Atoms]


@dataclass(frozen=True, eq=False)
class HeatResult:
    """A heating trajectory whose every step is a labelled frame.

    Parameters
    ----------
    frames
        One per step, each with a single-point calculator that holds energy and free energy (eV), forces (eV/A) and stress (eV/A^3, ASE sign).
        The stress is the derivative of the potential energy alone: no kinetic (ideal-gas) part, as a label must be.
    trace
        One sample per frame.
    """

    frames: list[Atoms]
    trace: Trace


def quench(
    atoms: Atoms,
    calculator: Calculator,
    *,
    temperature_high: float = 2000.0,
    temperature_low: float = 300.0,
    cooling_rate: float = 1.0,
    timestep: float = 2.0,
    pressure: float = 0.0,
    equilibration_time: float = 2.0,
    hold_time: float = 0.0,
    n_frames: int = 20,
    friction: float = 5.0,
    lattice_friction: float = 5.0,
    lattice_period: float = 400.0,
    sample_every: int = 50,
    seed: int,
    progress: Progress | None = None,
) -> QuenchResult:
    """Equilibrate a melt, cool it linearly and optionally hold it at the low temperature; NPT throughout.

    The cell keeps its shape (a liquid does not restore it); velocities are drawn at ``temperature_high``.

    Parameters
    ----------
    atoms
        Start, not changed: any liquid or glass, also the compressed surrogate samples, which expand during the equilibration.
    calculator
        Any ASE calculator with forces and stress.
    temperature_high, temperature_low
        K. The paper cools from 2000 to 300 K.
    cooling_rate
        K/ps. The paper's 1000, 100 and 10 K/ns are 1, 0.1 and 0.01 K/ps.
    timestep
        fs.
    pressure
        GPa.
    equilibration_time, hold_time
        ps at the high and at the low temperature.
    n_frames
        Frames taken at equal intervals of the hold.
    friction, lattice_friction, lattice_period
        As in :class:`LangevinNPT`. With 5/ps the atoms lag behind a ramp of 100 K/ps by about 30 K.
    sample_every
        Steps between two samples of the trace.
    seed
        Decides velocities and noise.
    progress
        Called with (steps done, steps in all) at every sample.

    Raises
    ------
    InputError
        For temperatures or times that make no cooling.
    PotentialFailureError
        If the potential lets the structure fly apart.
    """
    if not temperature_high > temperature_low > 0.0:
        raise InputError(
            f"cooling from {temperature_high:g} to {temperature_low:g} K is not possible; give temperature_high > temperature_low > 0"
        )
    if not cooling_rate > 0.0:
        raise InputError(
            f"the cooling rate is {cooling_rate:g} K/ps but must be positive; the paper's 100 K/ns is 0.1 K/ps"
        )
    if equilibration_time < 0.0 or hold_time < 0.0:
        raise InputError(
            f"the times {equilibration_time:g} and {hold_time:g} ps of equilibration and hold must not be negative"
        )
    ramp = max(_n_steps((temperature_high - temperature_low) / cooling_rate, timestep), 1)
    stages = np.repeat(
        (_EQUILIBRATION, _COOLING, _HOLD),
        (_n_steps(equilibration_time, timestep), ramp, _n_steps(hold_time, timestep)),
    )
    cooled = np.cumsum(stages == _COOLING) / ramp
    schedule = temperature_high + (temperature_low - temperature_high) * cooled
    n_hold = int(np.sum(stages == _HOLD))
    dynamics = _start(
        atoms,
        calculator,
        temperature_high,
        seed,
        timestep,
        friction,
        lattice_friction,
        lattice_period,
        pressure,
        isotropic=True,
    )
    trace, sampled, frames = _run(
        dynamics,
        schedule,
        timestep=timestep,
        pressure=pressure,
        sample_every=sample_every,
        frame_steps=_evenly_spaced(len(stages) - n_hold, len(stages), n_frames),
        progress=progress,
    )
    return QuenchResult(
        atoms=_bare_copy(dynamics.atoms),
        cooling_rate=cooling_rate,
        trace=trace,
        cooling=stages[np.array(sampled) - 1] == _COOLING,
        frames=frames,
    )


def hold(
    atoms: Atoms,
    calculator: Calculator,
    *,
    temperature: float = 300.0,
    time: float,
    equilibration_time: float = 0.5,
    n_frames: int = 20,
    timestep: float = 2.0,
    pressure: float = 0.0,
    friction: float = 5.0,
    lattice_friction: float = 5.0,
    lattice_period: float = 400.0,
    sample_every: int = 10,
    seed: int,
    progress: Progress | None = None,
) -> HoldResult:
    """Keep a structure at one temperature and pressure and take frames; NPT with a cell of fixed shape.

    Parameters
    ----------
    atoms
        Start, not changed.
    calculator
        Any ASE calculator with forces and stress.
    temperature
        K.
    time, equilibration_time
        ps sampled, and before that.
    n_frames
        Frames at equal intervals of ``time``.
    timestep, pressure, friction, lattice_friction, lattice_period, sample_every, seed, progress
        As for :func:`quench`.

    Raises
    ------
    InputError
        If the temperature or the time is not positive.
    PotentialFailureError
        If the potential lets the structure fly apart.
    """
    if not (temperature > 0.0 and time > 0.0 and equilibration_time >= 0.0):
        raise InputError(
            f"holding at {temperature:g} K for {equilibration_time:g} + {time:g} ps is not possible; give a positive temperature and time"
        )
    n_before, n_sampled = _n_steps(equilibration_time, timestep), _n_steps(time, timestep)
    dynamics = _start(
        atoms,
        calculator,
        temperature,
        seed,
        timestep,
        friction,
        lattice_friction,
        lattice_period,
        pressure,
        isotropic=True,
    )
    for _ in range(n_before):
        dynamics.step(temperature)
    trace, _, frames = _run(
        dynamics,
        np.full(n_sampled, temperature),
        timestep=timestep,
        pressure=pressure,
        sample_every=sample_every,
        frame_steps=_evenly_spaced(0, n_sampled, n_frames),
        progress=progress,
    )
    return HoldResult(atoms=_bare_copy(dynamics.atoms), trace=trace, frames=frames)


def heat(
    atoms: Atoms,
    calculator: Calculator,
    *,
    temperature_start: float = 0.0,
    temperature_end: float = 2000.0,
    n_steps: int = 120,
    timestep: float = 1.0,
    pressure: float = 0.0,
    friction: float = 20.0,
    lattice_friction: float = 5.0,
    lattice_period: float = 400.0,
    seed: int,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> HeatResult:
    """Heat a solid with a linear ramp of the thermostat and label every step; NPT with a cell of free volume and shape.

    The defaults are the paper's AIMD (Methods, "DFT Calculations"): 0 to 2000 K in about 120 steps of 1 fs, friction 20/ps for the atoms and
    5/ps for the lattice, no external pressure. The atoms lag behind the ramp by about ``1 / friction``, because the friction heats kinetic and
    potential energy alike: here 50 fs or 800 K, so that the last frame has about 1200 K.

    Parameters
    ----------
    atoms
        A relaxed structure, not changed.
    calculator
        Any ASE calculator with forces and stress.
    temperature_start, temperature_end
        Of the thermostat, in K; velocities are drawn at the first.
    n_steps
        Number of steps, and of frames.
    timestep
        fs.
    pressure
        GPa.
    friction, lattice_friction, lattice_period
        As in :class:`LangevinNPT`.
    seed
        Decides velocities and noise.
    checkpoint
        File (``.npz``) that is written at most every ten seconds, and removed at the end. If it is there from an interrupted run of the same atoms, seed and
        protocol, this one goes on from it: bit for bit, if the calculator gives the same for the same atoms whatever it computed before.
    progress
        Called with (steps done, steps in all) at every step.

    Raises
    ------
    InputError
        For negative temperatures or no steps.
    PotentialFailureError
        If the potential lets the structure fly apart.
    """
    if temperature_start < 0.0 or temperature_end < 0.0:
        raise InputError(
            f"the temperatures {temperature_start:g} and {temperature_end:g} K must not be negative"
        )
    if n_steps < 1:
        raise InputError(f"{n_steps} steps heat nothing; the paper takes about 120 of 1 fs")
    schedule = (
        temperature_start
        + (temperature_end - temperature_start) * np.arange(1, n_steps + 1) / n_steps
    )
    protocol = (
        n_steps,
        temperature_start,
        temperature_end,
        timestep,
        pressure,
        friction,
        lattice_friction,
        lattice_period,
        seed,
    )
    earlier = HeatingCheckpoint(checkpoint, atoms, protocol) if checkpoint else None
    state, rows, frames = (earlier.read() if earlier else None) or (None, [], [])
    dynamics = _start(
        atoms,
        calculator,
        temperature_start,
        seed,
        timestep,
        friction,
        lattice_friction,
        lattice_period,
        pressure,
        isotropic=False,
        state=state,
    )
    recorder = _Recorder(dynamics, pressure, rows)
    for step in range(len(frames) + 1, n_steps + 1):
        dynamics.step(schedule[step - 1])
        recorder.sample(step * timestep, schedule[step - 1])
        frames.append(_labelled_copy(dynamics.atoms))
        if progress:
            progress(step, n_steps)
        if earlier:
            earlier.write(dynamics, recorder.rows, frames)
    if earlier:
        earlier.remove()
    return HeatResult(frames=frames, trace=recorder.trace())


def _start(
    atoms: Atoms,
    calculator: Calculator,
    temperature: float,
    seed: int,
    timestep: float,
    friction: float,
    lattice_friction: float,
    lattice_period: float,
    pressure: float,
    *,
    isotropic: bool,
    state: Mapping[str, NDArray[Any]] | None = None,
) -> LangevinNPT:
    """Dynamics of a copy of the atoms, whose velocities are drawn at ``temperature`` or are those of an earlier state."""
    velocity_seed, noise_seed = np.random.SeedSequence(seed).spawn(2)
    moving = atoms.copy()
    moving.set_constraint()
    moving.calc = calculator
    _draw_velocities(moving, temperature, np.random.default_rng(velocity_seed))
    return LangevinNPT(
        moving,
        timestep=timestep,
        friction=friction,
        lattice_friction=lattice_friction,
        lattice_period=lattice_period,
        pressure=pressure,
        isotropic=isotropic,
        seed=noise_seed,
        state=state,
    )


def _run(
    dynamics: LangevinNPT,
    schedule: NDArray[np.float64],
    *,
    timestep: float,
    pressure: float,
    sample_every: int,
    frame_steps: Collection[int],
    progress: Progress | None = None,
) -> tuple[Trace, list[int], list[Atoms]]:
    """One step for each temperature of the schedule; returns the trace, the steps at which it was sampled, and the frames."""
    recorder, sampled, frames = _Recorder(dynamics, pressure), [], []
    for step, temperature in enumerate(schedule, start=1):
        dynamics.step(temperature)
        if step % sample_every == 0 or step == len(schedule):
            recorder.sample(step * timestep, temperature)
            sampled.append(step)
            if progress:
                progress(step, len(schedule))
        if step in frame_steps:
            frames.append(_bare_copy(dynamics.atoms))
    return recorder.trace(), sampled, frames


class _Recorder:
    """Collects the samples of a :class:`Trace` from running dynamics."""

    def __init__(
        self, dynamics: LangevinNPT, pressure: float, rows: Sequence[Sequence[float]] = ()
    ) -> None:
        self._dynamics = dynamics
        self._external_pressure = units.gpa_to_ev_per_a3(pressure)
        self.rows = list(rows)

    def sample(self, time: float, set_temperature: float) -> None:
        atoms = self._dynamics.atoms
        n_atoms = len(atoms)
        volume = atoms.get_volume() / n_atoms
        potential_energy = atoms.get_potential_energy() / n_atoms
        enthalpy = (
            potential_energy
            + atoms.get_kinetic_energy() / n_atoms
            + self._external_pressure * volume
        )
        density = units.mass_density(1.0 / volume, float(atoms.get_masses().mean()))
        self.rows.append(
            (
                time,
                set_temperature,
                self._dynamics.temperature,
                self._dynamics.pressure,
                density,
                volume,
                potential_energy,
                enthalpy,
            )
        )

    def trace(self) -> Trace:
        return Trace(*np.array(self.rows, dtype=float).T.copy())


def _n_steps(duration: float, timestep: float) -> int:
    """Steps of ``timestep`` fs in ``duration`` ps."""
    if not timestep > 0.0:
        raise InputError(
            f"the timestep is {timestep:g} fs but must be positive; 1 or 2 fs suit metals"
        )
    return round(duration * 1e3 / timestep)


def _evenly_spaced(first: int, last: int, n: int) -> set[int]:
    """``n`` steps that divide those after ``first`` up to ``last`` evenly; none if there are no steps."""
    return (
        {first + round((last - first) * (k + 1) / n) for k in range(n)} if last > first else set()
    )


def _draw_velocities(atoms: Atoms, temperature: float, generator: np.random.Generator) -> None:
    """Maxwell-Boltzmann velocities at ``temperature`` K, with the centre of mass at rest."""
    masses = atoms.get_masses()[:, None]
    momenta = generator.normal(size=(len(atoms), 3)) * np.sqrt(
        masses * units.BOLTZMANN * temperature
    )
    atoms.set_momenta(momenta - masses * momenta.sum(axis=0) / masses.sum())


def _bare_copy(atoms: Atoms) -> Atoms:
    copy = atoms.copy()
    copy.wrap()
    return copy


def _labelled_copy(atoms: Atoms) -> Atoms:
    from ase.calculators.singlepoint import SinglePointCalculator

    frame = _bare_copy(atoms)
    energy = atoms.get_potential_energy()
    frame.calc = SinglePointCalculator(
        frame,
        energy=energy,
        # Potentials without electrons often give no free energy of their own: for them the two are the same.
        free_energy=atoms.calc.results.get("free_energy", energy),
        forces=atoms.get_forces(),
        stress=atoms.get_stress(include_ideal_gas=False),
    )
    return frame
