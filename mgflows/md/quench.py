"""Cooling a melt into a glass, holding and heating it, at constant pressure.

:func:`quench` makes the glasses of the paper's step vii and of its structural validation,
:func:`hold` averages over thermal motion, and :func:`heat` is step v, the ``aimd`` subset. All
take any ASE calculator; quench and hold also take an engine (:mod:`mgflows.md.engines`), and
their stages come from :mod:`mgflows.md.protocols`. The seed makes them repeatable.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.stress import full_3x3_to_voigt_6_stress

from mgflows import units
from mgflows.checkpoints import RunCheckpoint
from mgflows.errors import InputError, PotentialFailureError
from mgflows.files import digest_of_arrays
from mgflows.geometry import at_rest, check_geometry
from mgflows.md import protocols
from mgflows.md.condensed import check_condensed, density
from mgflows.md.engines.ase import AseEngine
from mgflows.md.engines.base import Engine, draw_velocities
from mgflows.md.frame_limits import GLASS_LIMITS
from mgflows.md.langevin import LangevinNPT, NPTSettings
from mgflows.md.potentials import CalculatorPotential
from mgflows.md.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from numpy.typing import NDArray

    from mgflows.md.protocols import Stage

    Progress = Callable[[int, int], None]

__all__ = [
    "AIMD_SETTINGS",
    "HeatResult",
    "HeatingRamp",
    "HoldResult",
    "NPTSettings",
    "PathFrame",
    "QuenchResult",
    "Trace",
    "check_glass",
    "heat",
    "hold",
    "quench",
]

AIMD_SETTINGS = NPTSettings(timestep=1.0, friction=20.0, lattice_friction=5.0)
"""Settings of the paper's heating (Methods, "DFT Calculations")."""

_COOLING, _HOLD = 1, 2
"""Stages of :func:`mgflows.md.protocols.quench`."""
_LARGEST_PRESSURE = 3.0
"""Largest difference in GPa between the external pressure and the mean over the last tenth of a
quench; thermal noise of single samples of 150 atoms is 0.4."""
_PRESSURE_TIME = 2.0
"""Shortest run in ps for this check: the cell, with a period of 0.4 ps, must relax."""
_FRAME_COLUMNS = ("positions", "cell", "momenta", "energy", "free_energy", "forces", "stress")


@dataclass(frozen=True, eq=False)
class PathFrame:
    """A configuration on the way from the melt to the glass.

    Parameters
    ----------
    atoms
        Configuration with velocities and no calculator, wrapped into its cell.
    time
        fs since the start.
    temperature
        Temperature of the thermostat, in K.
    """

    atoms: Atoms
    time: float
    temperature: float


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
        Configurations taken during the hold at the low temperature, for time averages; empty
        without a hold.
    path
        Configurations taken before: in the melt, and while it cools.
    exchanges
        (n_pairs, 2) trials and accepted exchanges, where the engine tries them.
    """

    atoms: Atoms
    cooling_rate: float
    trace: Trace
    cooling: NDArray[np.bool_]
    frames: list[Atoms]
    path: list[PathFrame] = field(default_factory=list)
    exchanges: NDArray[np.int64] | None = None


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

    @property
    def volume_drift(self) -> float:
        """Relative change of the mean volume from the first to the last third of the samples.

        Thermal noise is below 0.01 for 150 atoms and 2 ps; a larger value means that the run is
        not in equilibrium, or that the potential lets the structure evaporate.
        """
        first, _, last = np.array_split(self.trace.volume, 3)
        return float(last.mean() / first.mean() - 1.0) if len(first) and len(last) else 0.0


@dataclass(frozen=True)
class HeatingRamp:
    """A linear ramp of the thermostat. The defaults are the paper's (Methods, "DFT Calculations").

    Parameters
    ----------
    temperature_start, temperature_end
        Temperatures of the thermostat in K.
    n_steps
        Number of steps, and of frames.

    Raises
    ------
    InputError
        For negative temperatures, or a number of steps below 1.
    """

    temperature_start: float = 0.0
    temperature_end: float = 2000.0
    n_steps: int = 120

    def __post_init__(self) -> None:
        if self.temperature_start < 0.0 or self.temperature_end < 0.0:
            raise InputError(
                f"the temperatures {self.temperature_start:g} and {self.temperature_end:g} K must "
                "not be negative"
            )
        if self.n_steps < 1:
            raise InputError(
                f"a heating of {self.n_steps} steps is not possible",
                hint="the paper takes about 120 of 1 fs",
            )

    @property
    def temperatures(self) -> NDArray[np.float64]:
        """(n_steps,) temperature of the thermostat at each step, in K."""
        ramp = np.arange(1, self.n_steps + 1) / self.n_steps
        return self.temperature_start + (self.temperature_end - self.temperature_start) * ramp


@dataclass(frozen=True, eq=False)
class HeatResult:
    """A heating trajectory in which every step is a labelled frame.

    Parameters
    ----------
    frames
        One per step, each with a single-point calculator that holds energy and free energy (eV),
        forces (eV/A) and stress (eV/A^3, ASE sign). The stress is the derivative of the potential
        energy alone: no kinetic (ideal-gas) part, as required of a label.
    trace
        One sample per frame.
    """

    frames: list[Atoms]
    trace: Trace


def quench(
    atoms: Atoms,
    calculator: Calculator | Engine,
    stages: Sequence[Stage] | None = None,
    *,
    npt: NPTSettings | None = None,
    seed: int,
    checkpoint: Path | None = None,
    wall_time: float | None = None,
    progress: Progress | None = None,
) -> QuenchResult:
    """Equilibrate a melt, cool it linearly and optionally hold it at the low temperature.

    All stages are NPT. The shape of the cell is fixed (a liquid does not restore it); velocities
    are drawn at the high temperature.

    Parameters
    ----------
    atoms
        Start, not changed: any liquid or glass, also the compressed surrogate samples, which
        expand during the equilibration.
    calculator
        Any ASE calculator with forces and stress, or an engine.
    stages
        Temperatures, times and frames: of :func:`mgflows.md.protocols.quench`, whose defaults are
        the paper's.
    npt
        Timestep, pressure and frictions; the defaults of :class:`NPTSettings` if None.
    seed
        Decides velocities and noise.
    checkpoint, wall_time, progress
        As for :meth:`mgflows.md.engines.Engine.run`.

    Raises
    ------
    InputError
        For stages other than those of a quench.
    PotentialFailureError
        If the structure evaporates, collapses or flies apart; see
        :func:`mgflows.md.condensed.check_condensed`.
    RunPausedError
        At the wall time.

    Examples
    --------
    >>> from mgflows.md import protocols
    >>> stages = protocols.quench(cooling_rate=10.0, hold_time=5.0)
    >>> result = quench(melt, calculator, stages, seed=1)  # doctest: +SKIP
    """
    stages = protocols.quench() if stages is None else stages
    if [stage.name for stage in stages] != ["equilibration", "cooling", "hold"]:
        raise InputError(
            f"the stages {[stage.name for stage in stages]} are not those of a quench",
            hint="give those of mgflows.md.protocols.quench()",
        )
    run = _engine(calculator).run(
        at_rest(atoms),  # New velocities are drawn.
        stages,
        npt=npt,
        seed=seed,
        checkpoint=checkpoint,
        wall_time=wall_time,
        progress=progress,
    )
    path, before = [], 0
    for number, stage in enumerate(stages[:_HOLD]):
        total = stage.n_steps(run.timestep)
        for step, frame in zip(stage.frame_steps(total), run.frames.get(number, []), strict=True):
            temperature = stage.temperature_at(step / total)
            path.append(PathFrame(frame, (before + step) * run.timestep, temperature))
        before += total
    cooling = stages[_COOLING]
    return QuenchResult(
        atoms=run.atoms,
        cooling_rate=(cooling.temperature - stages[_HOLD].temperature) / cooling.duration,
        trace=run.trace(),
        cooling=run.samples.stage == _COOLING,
        frames=run.frames.get(_HOLD, []),
        path=path,
        exchanges=run.exchanges,
    )


def check_glass(result: QuenchResult, calculator: Calculator, pressure: float = 0.0) -> None:
    """Check that a quench ended in a glass, before it is labelled.

    Parameters
    ----------
    result
        The quench.
    calculator
        The potential that made it, for the forces.
    pressure
        External pressure in GPa.

    Raises
    ------
    PotentialFailureError
        Names every quantity outside its range: density, closest pair, largest force, pressure.
    """
    atoms = result.atoms.copy()
    atoms.calc = calculator
    problems = GLASS_LIMITS.violations(atoms, pressure=False)
    last = result.trace.pressure[-max(len(result.trace.pressure) // 10, 1) :]
    relaxed = result.trace.time[-1] >= 1e3 * _PRESSURE_TIME
    if relaxed and not abs(last.mean() - pressure) < _LARGEST_PRESSURE:
        problems.append(
            f"the pressure is {last.mean():+.1f} GPa at an external pressure of {pressure:g}"
        )
    if problems:
        raise PotentialFailureError(f"the quench did not end in a glass: {'; '.join(problems)}")


def hold(
    atoms: Atoms,
    calculator: Calculator | Engine,
    stages: Sequence[Stage],
    *,
    npt: NPTSettings | None = None,
    seed: int,
    checkpoint: Path | None = None,
    wall_time: float | None = None,
    progress: Progress | None = None,
) -> HoldResult:
    """Keep a structure at one temperature and pressure and take frames.

    Parameters
    ----------
    atoms
        Start, not changed.
    calculator
        Any ASE calculator with forces and stress, or an engine.
    stages
        Temperature, times and frames: of :func:`mgflows.md.protocols.hold`. The last one is
        sampled.
    npt, seed, checkpoint, wall_time, progress
        As for :func:`quench`.

    Raises
    ------
    InputError
        If the temperature or the time is not positive.
    PotentialFailureError
        If the structure evaporates, collapses or flies apart.
    RunPausedError
        At the wall time.

    Examples
    --------
    >>> from mgflows.md import protocols
    >>> result = hold(glass, calculator, protocols.hold(300.0, 5.0), seed=1)  # doctest: +SKIP
    >>> result.trace.density.mean()  # doctest: +SKIP
    """
    if not stages or not (stages[-1].temperature > 0.0 and stages[-1].duration > 0.0):
        times = " + ".join(f"{stage.duration:g}" for stage in stages)
        temperature = stages[-1].temperature if stages else 0.0
        raise InputError(
            f"holding at {temperature:g} K for {times or '0'} ps is not possible",
            hint="give a positive temperature and time",
        )
    run = _engine(calculator).run(
        at_rest(atoms),  # New velocities are drawn.
        stages,
        npt=npt,
        seed=seed,
        checkpoint=checkpoint,
        wall_time=wall_time,
        progress=progress,
    )
    sampled = len(stages) - 1
    return HoldResult(atoms=run.atoms, trace=run.trace(sampled), frames=run.frames.get(sampled, []))


def heat(
    atoms: Atoms,
    calculator: Calculator,
    ramp: HeatingRamp | None = None,
    *,
    npt: NPTSettings = AIMD_SETTINGS,
    seed: int,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> HeatResult:
    """Heat a solid with a linear ramp of the thermostat and label every step.

    NPT with a cell of free volume and shape. The defaults are the paper's AIMD (Methods, "DFT
    Calculations"): 0 to 2000 K in about 120 steps of 1 fs, friction 20/ps for the atoms and 5/ps
    for the lattice, no external pressure. The atoms lag behind the ramp by about
    ``1 / friction``, because kinetic and potential energy are both heated: here 50 fs or
    800 K, so that the last frame has about 1200 K.

    Parameters
    ----------
    atoms
        A relaxed structure, not changed.
    calculator
        Any ASE calculator with forces and stress.
    ramp
        Temperatures and number of steps; velocities are drawn at the first temperature.
    npt
        Timestep, pressure and frictions.
    seed
        Decides velocities and noise.
    checkpoint
        File (``.npz``) that is written at most every ten seconds, and removed at the end. If it
        exists from an interrupted run of the same atoms, seed and protocol, this run resumes
        from it: bitwise, if the results of the calculator do not depend on its history.
    progress
        Called with (steps done, steps in all) at every step.

    Raises
    ------
    InputError
        If the structure is not finite or not periodic.
    PotentialFailureError
        If the structure evaporates, collapses or flies apart.
    """
    ramp = ramp or HeatingRamp()
    start, n_steps, schedule = ramp.temperature_start, ramp.n_steps, ramp.temperatures
    saved, earlier = None, None
    if checkpoint:
        protocol = (n_steps, start, ramp.temperature_end, *astuple(npt), seed)
        saved = RunCheckpoint(checkpoint, _identity(atoms, protocol))
        earlier = saved.read()
    state, rows, frames = _unpacked(earlier, atoms)
    dynamics = _start(atoms, calculator, start, seed, npt, isotropic=False, state=state)
    recorder = _Recorder(dynamics, rows)
    for step in range(len(frames) + 1, n_steps + 1):
        dynamics.step(schedule[step - 1])
        recorder.sample(step * npt.timestep, schedule[step - 1])
        frames.append(_labelled_copy(dynamics))
        if progress:
            progress(step, n_steps)
        if saved:
            saved.write(lambda: _packed(dynamics, recorder, frames))
    if saved:
        saved.finish(lambda: _packed(dynamics, recorder, frames))
    return HeatResult(frames=frames, trace=recorder.trace())


def _start(
    atoms: Atoms,
    calculator: Calculator,
    temperature: float,
    seed: int,
    npt: NPTSettings,
    *,
    isotropic: bool,
    state: Mapping[str, NDArray[Any]] | None = None,
) -> LangevinNPT:
    """Dynamics of a copy of the atoms, with drawn velocities or those of an earlier state."""
    check_geometry(atoms, periodic=True)
    velocity_seed, noise_seed = np.random.SeedSequence(seed).spawn(2)
    moving = atoms.copy()
    moving.set_constraint()
    moving.calc = calculator
    draw_velocities(moving, temperature, np.random.default_rng(velocity_seed))
    return LangevinNPT(moving, npt, isotropic=isotropic, seed=noise_seed, state=state)


class _Recorder:
    """Collects the samples of a :class:`Trace` and checks that the structure stays condensed."""

    def __init__(self, dynamics: LangevinNPT, rows: Sequence[Sequence[float]] = ()) -> None:
        self._dynamics = dynamics
        self._external_pressure = units.gpa_to_ev_per_a3(dynamics.settings.pressure)
        self.rows = list(rows)

    def sample(self, time: float, set_temperature: float) -> None:
        atoms = self._dynamics.atoms
        check_condensed(atoms, self._dynamics.temperature)
        n_atoms = len(atoms)
        volume = atoms.get_volume() / n_atoms
        potential_energy = self._dynamics.evaluation.energy / n_atoms
        kinetic_energy = self._dynamics.kinetic_energy / n_atoms
        enthalpy = potential_energy + kinetic_energy + self._external_pressure * volume
        self.rows.append(
            (
                time,
                set_temperature,
                self._dynamics.temperature,
                self._dynamics.pressure,
                density(atoms),
                volume,
                potential_energy,
                enthalpy,
            )
        )

    def trace(self) -> Trace:
        return Trace(*np.array(self.rows, dtype=float).T.copy())


def _identity(atoms: Atoms, protocol: Sequence[float]) -> str:
    """Digest of everything that determines a heating, except the calculator."""
    arrays = (atoms.numbers, atoms.positions, atoms.cell.array, np.array(protocol, dtype=float))
    return digest_of_arrays([(values, 12) for values in arrays])


def _packed(
    dynamics: LangevinNPT, recorder: _Recorder, frames: Sequence[Atoms]
) -> dict[str, NDArray[Any]]:
    """Arrays from which :func:`_unpacked` restores a heating."""
    content = {f"state_{name}": value for name, value in dynamics.state().items()}
    content["rows"] = np.array(recorder.rows)
    for name in _FRAME_COLUMNS:
        content[f"frame_{name}"] = np.array([_frame_column(frame, name) for frame in frames])
    return content


def _unpacked(
    arrays: Mapping[str, NDArray[Any]] | None, atoms: Atoms
) -> tuple[dict[str, NDArray[Any]] | None, list[list[float]], list[Atoms]]:
    """State of the dynamics, samples and frames of an interrupted heating."""
    if arrays is None:
        return None, [], []
    state = {
        name.removeprefix("state_"): value
        for name, value in arrays.items()
        if name.startswith("state_")
    }
    columns = (arrays[f"frame_{name}"] for name in _FRAME_COLUMNS)
    frames = [
        _restored_frame(atoms, dict(zip(_FRAME_COLUMNS, values, strict=True)))
        for values in zip(*columns, strict=True)
    ]
    return state, arrays["rows"].tolist(), frames


def _frame_column(frame: Atoms, name: str) -> Any:
    if name in ("positions", "momenta"):
        return frame.get_array(name)
    return frame.cell.array if name == "cell" else frame.calc.results[name]


def _restored_frame(atoms: Atoms, values: Mapping[str, NDArray[Any]]) -> Atoms:
    from ase.calculators.singlepoint import SinglePointCalculator

    frame = atoms.copy()
    frame.set_constraint()
    frame.set_cell(values["cell"])
    frame.positions = values["positions"]
    frame.set_momenta(values["momenta"])
    frame.calc = SinglePointCalculator(
        frame,
        energy=float(values["energy"]),
        free_energy=float(values["free_energy"]),
        forces=values["forces"],
        stress=values["stress"],
    )
    return frame


def _engine(calculator: Calculator | Engine) -> Engine:
    if isinstance(calculator, Engine):
        return calculator
    return AseEngine(CalculatorPotential(instance=calculator))


def _bare_copy(atoms: Atoms) -> Atoms:
    copy = atoms.copy()
    copy.wrap()
    return copy


def _labelled_copy(dynamics: LangevinNPT) -> Atoms:
    from ase.calculators.singlepoint import SinglePointCalculator

    frame = _bare_copy(dynamics.atoms)
    found = dynamics.evaluation
    calculator = dynamics.atoms.calc
    assert calculator is not None
    frame.calc = SinglePointCalculator(
        frame,
        energy=found.energy,
        # Without electrons there is often no separate free energy: the two are equal.
        free_energy=calculator.results.get("free_energy", found.energy),
        forces=found.forces,
        stress=full_3x3_to_voigt_6_stress(found.stress),
    )
    return frame
