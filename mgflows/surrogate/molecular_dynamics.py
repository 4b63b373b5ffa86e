"""Molecular dynamics of the surrogate, the time reference for swap Monte Carlo.

Velocity Verlet with unit masses, and the stochastic velocity rescaling of Bussi, Donadio and
Parrinello (J. Chem. Phys. 126, 014101 (2007), doi:10.1063/1.2408420) as the thermostat, which
samples the canonical ensemble and, unlike a Langevin thermostat, hardly disturbs the dynamics. All
quantities are in reduced units, as are the paper's times (Methods, "Estimating the supercooling").
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows.errors import InputError, MgflowsError
from mgflows.surrogate.checkpoint import Checkpointer, read_arrays, write_arrays
from mgflows.surrogate.kernels.forces import (
    all_pairs_forces,
    fire,
    image_forces,
    integrate,
    listed_forces,
    potential_energy,
    reduced_interaction,
    verlet_list,
)
from mgflows.surrogate.lennard_jones import LennardJones

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

__all__ = ["LinearCooling", "SurrogateMolecularDynamics"]

_LONGEST_TIMESTEP = 0.004
_CHUNK = 5000
_FORMAT = 1
# A force that moves an atom this far in one step, starting from rest, indicates overlapping atoms,
# which are relaxed before the dynamics. In a liquid at T* = 10 the distance is 0.04.
_LONGEST_FIRST_MOVE = 0.05
# An atom that moves half a diameter in one step passes through others. The fastest atoms at T* = 10
# move a tenth of that.
_LONGEST_STEP = 0.5


@dataclass
class LinearCooling:
    """A linear change of temperature and its progress.

    Parameters
    ----------
    n_steps
        Total number of steps.
    reduced_temperature_high, reduced_temperature_low
        Thermostat's temperature at the beginning and at the end.
    n_done
        Steps already taken.
    """

    n_steps: int
    reduced_temperature_high: float
    reduced_temperature_low: float
    n_done: int = 0

    @property
    def finished(self) -> bool:
        """Whether the low temperature has been reached."""
        return self.n_done == self.n_steps

    def targets(self, n: int) -> NDArray[np.float64]:
        """Return the (n,) temperatures at the ends of the next ``n`` steps."""
        steps = self.n_done + 1 + np.arange(n)
        return self.reduced_temperature_high + (
            self.reduced_temperature_low - self.reduced_temperature_high
        ) * (steps / self.n_steps)


class SurrogateMolecularDynamics:
    """One molecular dynamics run of the surrogate.

    Parameters
    ----------
    lj
        The surrogate.
    atoms
        Configuration in a periodic orthorhombic box; not changed. A box below twice the largest
        cutoff is slower because all images are visited. Overlapping atoms, as after random
        insertion, are relaxed first.
    seed
        Seed of the initial velocities and of the thermostat.
    reduced_timestep
        Timestep, at most 0.004.
    reduced_thermostat_time
        Relaxation time of the kinetic energy.

    Notes
    -----
    All masses are one, so the time unit in seconds depends on the chosen mass, see
    :meth:`LennardJones.time_unit`. The total momentum is zero.
    """

    def __init__(
        self,
        lj: LennardJones,
        atoms: Atoms,
        seed: int,
        *,
        reduced_timestep: float = 0.004,
        reduced_thermostat_time: float = 0.5,
    ) -> None:
        if not 0.0 < reduced_timestep <= _LONGEST_TIMESTEP:
            raise InputError(
                f"the timestep is {reduced_timestep:g} but must lie in "
                f"(0, {_LONGEST_TIMESTEP:g}], because longer timesteps do not conserve the energy "
                "at T* = 10",
                hint="use the default of 0.004",
            )
        if not reduced_thermostat_time > 0.0:
            raise InputError(
                f"the thermostat time is {reduced_thermostat_time:g} but must be positive",
                hint="use the default of 0.5",
            )
        if len(atoms) < 2:
            raise InputError(
                "molecular dynamics at zero total momentum needs at least two atoms",
                hint="add atoms",
            )
        self.lj = lj
        self.seed = int(seed)
        self.reduced_timestep = float(reduced_timestep)
        self.reduced_thermostat_time = float(reduced_thermostat_time)
        self.cooling: LinearCooling | None = None
        self.n_steps_taken = 0
        self._template = atoms.copy()
        self._template.calc = None
        configuration = lj.reduced_configuration(atoms)
        self._interaction = reduced_interaction(lj, configuration)
        self._positions = np.ascontiguousarray(configuration.positions.T)
        self._forces = np.empty_like(self._positions)
        self._evaluate_forces()
        longest_move = np.linalg.norm(self._forces, axis=0).max() * self.reduced_timestep**2
        if not longest_move < _LONGEST_FIRST_MOVE:
            fire(
                self._positions,
                self._interaction,
                _LONGEST_FIRST_MOVE / (10.0 * self.reduced_timestep**2),
                100_000,
            )
            self._evaluate_forces()
        self._reference = self._positions.copy()
        # One stream per distribution makes the draws independent of how a run is divided into
        # chunks.
        start, normal, chi_square = np.random.SeedSequence(self.seed).spawn(3)
        self._velocity_generator = np.random.default_rng(start)
        self._normal_generator = np.random.default_rng(normal)
        self._chi_square_generator = np.random.default_rng(chi_square)
        self._velocities = np.zeros_like(self._positions)

    def _evaluate_forces(self) -> None:
        if self._interaction.skin > 0.0:
            starts, neighbours = verlet_list(self._positions, self._interaction)
            listed_forces(self._positions, self._interaction, starts, neighbours, self._forces)
        elif self._interaction.translations.shape[1] > 1:
            image_forces(self._positions, self._interaction, self._forces)
        else:
            all_pairs_forces(self._positions, self._interaction, self._forces)

    @property
    def atoms(self) -> Atoms:
        """The current configuration in A, in the given order, wrapped into the box."""
        atoms = self._template.copy()
        atoms.positions = self._positions.T * self.lj.length_unit
        atoms.wrap()
        return atoms

    @property
    def reduced_time(self) -> float:
        """Time since the start of the run."""
        return self.n_steps_taken * self.reduced_timestep

    @property
    def reduced_potential_energy(self) -> float:
        """Potential energy per atom."""
        return potential_energy(self._positions, self._interaction) / self._positions.shape[1]

    @property
    def reduced_kinetic_energy(self) -> float:
        """Kinetic energy per atom."""
        return float(0.5 * np.sum(self._velocities**2) / self._positions.shape[1])

    @property
    def reduced_kinetic_temperature(self) -> float:
        """Twice the kinetic energy over the 3n - 3 degrees of freedom."""
        return float(np.sum(self._velocities**2) / self._degrees)

    @property
    def reduced_positions(self) -> NDArray[np.float64]:
        """(n, 3) positions, not wrapped, so differences between two times are displacements."""
        return self._positions.T.copy()

    @property
    def reduced_velocities(self) -> NDArray[np.float64]:
        """(n, 3) velocities."""
        return self._velocities.T.copy()

    @property
    def _generators(self) -> tuple[np.random.Generator, ...]:
        return self._velocity_generator, self._normal_generator, self._chi_square_generator

    @property
    def _degrees(self) -> int:
        return 3 * self._positions.shape[1] - 3

    def draw_velocities(self, reduced_temperature: float) -> None:
        """Give the atoms Maxwell-Boltzmann velocities with zero total momentum.

        A thermostatted run without velocities draws them itself.
        """
        _check_temperature(reduced_temperature)
        velocities = self._velocity_generator.standard_normal(self._positions.shape) * np.sqrt(
            reduced_temperature
        )
        self._velocities = velocities - velocities.mean(axis=1, keepdims=True)

    def run(
        self,
        time: float,
        reduced_temperature: float | None,
        *,
        sample_every: int = 25,
        progress: Callable[[int, int], None] | None = None,
    ) -> NDArray[np.float64]:
        """Run at one temperature.

        Parameters
        ----------
        time
            Reduced time, rounded to a whole number of samples.
        reduced_temperature
            Temperature of the thermostat; None for constant energy, which needs velocities from an
            earlier run or :meth:`draw_velocities`.
        sample_every
            Steps between samples.
        progress
            Called with the steps done and the total number of steps.

        Returns
        -------
        energies
            (n_samples,) potential energy per atom.
        """
        energies = []
        n_samples = max(1, round(self._steps(time) / sample_every))
        for sample in range(n_samples):
            self._advance(sample_every, reduced_temperature)
            energies.append(self.reduced_potential_energy)
            if progress is not None:
                progress((sample + 1) * sample_every, n_samples * sample_every)
        return np.array(energies)

    def trajectory(
        self, times: NDArray[np.float64], reduced_temperature: float | None
    ) -> NDArray[np.float64]:
        """Run at one temperature and keep unwrapped positions.

        Parameters
        ----------
        times
            (n_frames,) increasing reduced times from the current one, rounded to steps.
        reduced_temperature
            As in :meth:`run`.

        Returns
        -------
        positions
            (n_frames + 1, n, 3) positions; the first are the current ones.
        """
        steps = np.round(np.asarray(times, dtype=float) / self.reduced_timestep).astype(int)
        if len(steps) == 0 or np.any(np.diff(steps, prepend=0) < 0):
            raise InputError(
                "the times of a trajectory must increase from zero",
                hint="give one or more times in ascending order",
            )
        frames = [self.reduced_positions]
        for n_steps in np.diff(steps, prepend=0):
            self._advance(int(n_steps), reduced_temperature)
            frames.append(self.reduced_positions)
        return np.array(frames)

    def cool(
        self,
        time: float,
        reduced_temperature_high: float = 10.01,
        reduced_temperature_low: float = 0.01,
        *,
        equilibration_time: float = 5.0,
        progress: Callable[[int, int], None] | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_interval: float = 300.0,
        wall_time: float | None = None,
    ) -> LinearCooling:
        """Equilibrate at the high temperature and cool linearly to the low temperature.

        Paper, Methods, "Estimating the supercooling".

        Parameters
        ----------
        time
            Reduced time of the cooling; 1e2 to 4e6 in the paper.
        reduced_temperature_high, reduced_temperature_low
            Beginning and end of the ramp.
        equilibration_time
            Reduced time at the high temperature before the cooling, not counted in ``time``; 5 is
            40 relaxation times at T* = 10.
        progress, checkpoint, checkpoint_interval, wall_time
            As in :meth:`resume`.

        Returns
        -------
        The record of the run. It is not ``finished`` if ``wall_time`` or a signal stopped it.
        """
        _check_temperature(reduced_temperature_high)
        _check_temperature(reduced_temperature_low)
        if not 0.0 <= equilibration_time < np.inf:
            raise InputError(
                f"the equilibration time is {equilibration_time:g} but must be finite and not "
                "negative",
                hint="5 is the usual choice",
            )
        n_steps = self._steps(time)
        n_equilibration = round(equilibration_time / self.reduced_timestep)
        if n_equilibration:
            self._advance(n_equilibration, reduced_temperature_high)
        self.cooling = LinearCooling(
            n_steps, float(reduced_temperature_high), float(reduced_temperature_low)
        )
        return self.resume(
            progress=progress,
            checkpoint=checkpoint,
            checkpoint_interval=checkpoint_interval,
            wall_time=wall_time,
        )

    def resume(
        self,
        *,
        progress: Callable[[int, int], None] | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_interval: float = 300.0,
        wall_time: float | None = None,
    ) -> LinearCooling:
        """Continue an unfinished cooling, also of a loaded run, to its end.

        Parameters
        ----------
        progress
            Called with the steps done and the total number of steps, without the equilibration.
        checkpoint
            File for :meth:`load`, written every ``checkpoint_interval`` seconds, at the end, on
            SIGTERM (which is then passed to the previous handler) and on SIGUSR1 (after which the
            method returns). A resumed run is bitwise identical to an uninterrupted one.
        checkpoint_interval
            Seconds between two checkpoints.
        wall_time
            Seconds after which the method saves and returns with the cooling unfinished.
        """
        cooling = self.cooling
        if cooling is None:
            raise InputError("there is no cooling to resume", hint="start one with cool(time)")
        checkpointer = Checkpointer(
            None if checkpoint is None else lambda: self.save(checkpoint),
            checkpoint_interval,
            wall_time,
        )
        with checkpointer.listening():
            while not cooling.finished:
                n = min(_CHUNK, cooling.n_steps - cooling.n_done)
                if not np.any(self._velocities):
                    self.draw_velocities(cooling.reduced_temperature_high)
                self._integrate(cooling.targets(n), self.reduced_thermostat_time)
                cooling.n_done += n
                if progress is not None:
                    progress(cooling.n_done, cooling.n_steps)
                if not cooling.finished and checkpointer.time_to_stop():
                    return cooling
            checkpointer.save()
        return cooling

    def _steps(self, time: float) -> int:
        n_steps = round(time / self.reduced_timestep) if 0.0 < time < np.inf else 0
        if n_steps < 1:
            raise InputError(
                f"the time is {time:g} but must be finite and at least one timestep, "
                f"{self.reduced_timestep:g}",
                hint="give such a time",
            )
        return n_steps

    def _advance(self, n_steps: int, reduced_temperature: float | None) -> None:
        if reduced_temperature is not None:
            _check_temperature(reduced_temperature)
        if not np.any(self._velocities):
            if reduced_temperature is None:
                raise InputError(
                    "a run at constant energy has no velocities to start from",
                    hint="call draw_velocities first",
                )
            self.draw_velocities(reduced_temperature)
        thermostat_time = np.inf if reduced_temperature is None else self.reduced_thermostat_time
        for first in range(0, n_steps, _CHUNK):
            n = min(_CHUNK, n_steps - first)
            self._integrate(np.full(n, reduced_temperature or 0.0), thermostat_time)

    def _integrate(self, targets: NDArray[np.float64], thermostat_time: float) -> None:
        n = len(targets)
        normals = self._normal_generator.standard_normal(n)
        chi_squares = self._chi_square_generator.chisquare(self._degrees - 1, n)
        integrate(
            self._positions,
            self._velocities,
            self._forces,
            self._reference,
            self._interaction,
            self.reduced_timestep,
            thermostat_time,
            targets,
            normals,
            chi_squares,
        )
        self.n_steps_taken += n
        fastest = float(np.sqrt(np.sum(self._velocities**2, axis=0)).max())
        if not fastest * self.reduced_timestep < _LONGEST_STEP:
            raise MgflowsError(
                f"the dynamics with the timestep {self.reduced_timestep:g} has become unstable",
                hint="give a shorter timestep or a lower temperature",
            )

    def save(self, path: str | Path) -> None:
        """Write the whole state to a file, atomically."""
        values: dict[str, Any] = {
            "format": _FORMAT,
            "lj": self.lj.as_dict(),
            "seed": self.seed,
            "reduced_timestep": self.reduced_timestep,
            "reduced_thermostat_time": self.reduced_thermostat_time,
            "n_steps_taken": self.n_steps_taken,
            "cooling": None if self.cooling is None else asdict(self.cooling),
            "generators": [generator.bit_generator.state for generator in self._generators],
        }
        arrays = {
            "values": np.array(json.dumps(values)),
            "numbers": self._template.numbers,
            "cell": self._template.cell.array,
            "positions": self._positions,
            "velocities": self._velocities,
            "forces": self._forces,
            "reference": self._reference,
        }
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: str | Path) -> SurrogateMolecularDynamics:
        """Read a run that :meth:`save` wrote; it continues bitwise identically.

        Raises
        ------
        InputError
            If the file is missing or is not such a checkpoint.
        """
        from ase import Atoms

        arrays = read_arrays(path)
        values = json.loads(str(arrays["values"])) if "values" in arrays else {}
        if values.get("format") != _FORMAT or "generators" not in values:
            raise InputError(
                f"{path} is not a checkpoint of molecular dynamics",
                hint="give a file that SurrogateMolecularDynamics.save wrote",
            )
        lj = LennardJones.from_dict(values["lj"])
        atoms = Atoms(
            arrays["numbers"],
            positions=arrays["positions"].T * lj.length_unit,
            cell=arrays["cell"],
            pbc=True,
        )
        md = cls(
            lj,
            atoms,
            values["seed"],
            reduced_timestep=values["reduced_timestep"],
            reduced_thermostat_time=values["reduced_thermostat_time"],
        )
        # Conversion to A and back changes the last bits.
        md._positions, md._velocities = arrays["positions"], arrays["velocities"]
        md._forces, md._reference = arrays["forces"], arrays["reference"]
        md.n_steps_taken = values["n_steps_taken"]
        md.cooling = None if values["cooling"] is None else LinearCooling(**values["cooling"])
        for generator, state in zip(md._generators, values["generators"], strict=True):
            generator.bit_generator.state = state
        return md


def _check_temperature(reduced_temperature: float) -> None:
    if not (np.isfinite(reduced_temperature) and reduced_temperature > 0.0):
        raise InputError(
            f"the reduced temperature is {reduced_temperature:g} but must be positive",
            hint="the paper cools from 10.01 to 0.01",
        )
