"""Molecular dynamics of NEPs by GPUMD's ``gpumd`` on a GPU, the user's own executable.

Integrators: ``nve``; ``nvt_bdp`` (stochastic velocity rescaling); ``npt_scr`` (stochastic cell
rescaling, Bernetti and Bussi, J. Chem. Phys. 153, 114107 (2020), doi:10.1063/5.0020514).

GPUMD has no restart files: it starts again from a structure with velocities. Its noise cannot be
seeded, so that two runs differ, and a resumed run agrees with an uninterrupted one within the
statistical errors only.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows import subprocesses, units
from mgflows.errors import InputError, MissingProgramError, PotentialFailureError, ServiceError
from mgflows.files import write_text
from mgflows.md.engines.base import Chunk, Engine, Session
from mgflows.md.engines.gpumd_files import model_text, read_model, read_thermo, run_in_text
from mgflows.md.forces import Evaluation
from mgflows.md.potentials import NepPotential

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ase import Atoms
    from numpy.typing import NDArray

    from mgflows.md.langevin import NPTSettings
    from mgflows.md.protocols import Stage

__all__ = ["GpumdEngine"]

_ELASTIC_CONSTANT = 100.0
"""Typical bulk modulus in GPa, for converting the relaxation time of the barostat."""
_SHEAR_CONSTANT = 30.0
_LOG_LINES = 5


@dataclass(frozen=True)
class GpumdEngine(Engine):
    """Molecular dynamics by GPUMD.

    Parameters
    ----------
    potential
        A :class:`~mgflows.md.potentials.NepPotential`.
    command
        The executable with its launcher, such as ``srun -n 1 /opt/gpumd/gpumd``.
    thermostat_time, barostat_time
        Relaxation times in fs.
    full_precision
        Write states with ``dump_xyz ... precision double``, which GPUMD has since 2026. False for
        older versions: ``dump_restart``, whose six digits displace atoms by up to 1e-4 A at every
        checkpoint.
    extra
        Further lines of ``run.in`` before every ``run``, such as ``compute_rdf 10 400 100``, whose
        output :func:`~mgflows.md.engines.gpumd_files.read_rdf` reads.
    directory
        Working directory of GPUMD, which keeps its files, in one folder per launch. None: a
        temporary directory.

    Examples
    --------
    >>> from mgflows.md.potentials import NepPotential
    >>> from mgflows.md.protocols import quench
    >>> engine = GpumdEngine(NepPotential("nep.txt"), command="/opt/gpumd/gpumd")  # doctest: +SKIP
    >>> run = engine.run(atoms, quench(cooling_rate=0.1), seed=1)  # doctest: +SKIP
    """

    command: str = "gpumd"
    thermostat_time: float = 100.0
    barostat_time: float = 1000.0
    full_precision: bool = True
    extra: tuple[str, ...] = ()
    directory: str | Path | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.potential, NepPotential):
            raise InputError(
                f"GPUMD evaluates NEPs only, not {self.potential.name}",
                hint="use LammpsEngine or AseEngine",
            )

    @property
    def name(self) -> str:
        """``gpumd``."""
        return "gpumd"

    def check(self, atoms: Atoms, stages: Sequence[Stage], npt: NPTSettings) -> None:  # noqa: ARG002
        """Refuse deformations, and isotropic pressure in skewed cells."""
        self._check_installation()
        skewed = np.abs(atoms.cell.array - np.diag(np.diag(atoms.cell.array))).max() > 1e-9
        for stage in stages:
            if stage.strain_rate is not None:
                raise InputError(
                    "GPUMD deforms boxes at constant pressure only, not at constant volume",
                    hint="use LammpsEngine or AseEngine for deformations",
                )
            if stage.ensemble == "npt" and stage.shape == "isotropic" and skewed:
                raise InputError(
                    "GPUMD keeps the shape of orthogonal boxes with vectors along x, y and z only",
                    hint="use shape='full', or LammpsEngine or AseEngine",
                )

    def evaluate(self, atoms: Atoms) -> Evaluation:
        """Energy, forces and stress of one structure, without the kinetic part.

        One step of 0 fs: the integrator moves nothing.
        """
        resting = self._at_rest(atoms)
        self._check_installation()
        with closing(_GpumdSession(self, resting, 1.0, 0.0, None)) as session:
            return session.evaluate()

    def _start(
        self,
        atoms: Atoms,
        npt: NPTSettings,
        seed: int,  # noqa: ARG002
        state: Mapping[str, NDArray[Any]] | None,
    ) -> Session:
        return _GpumdSession(self, atoms, npt.timestep, npt.pressure, state)

    def _check_installation(self) -> None:
        program = shlex.split(self.command)[0]
        if shutil.which(program) is None:
            raise MissingProgramError(
                f"GPUMD's executable {program!r} was not found",
                hint="give its path in the command; it needs an NVIDIA or AMD GPU",
            )


class _GpumdSession(Session):
    """A sequence of launches of ``gpumd``, each from the last state."""

    atom_steps = 3e8

    def __init__(
        self,
        engine: GpumdEngine,
        atoms: Atoms,
        timestep: float,
        pressure: float,
        state: Mapping[str, NDArray[Any]] | None,
    ) -> None:
        self._engine = engine
        self._atoms = atoms.copy()
        self._timestep, self._pressure = timestep, pressure
        self._folder = (
            None if engine.directory else tempfile.TemporaryDirectory(prefix="mgf-gpumd-")
        )
        self._root = Path(engine.directory or self._folder.name)  # type: ignore[union-attr]
        self._n_launches = 0
        if state is not None:
            self._atoms.set_cell(state["cell"])
            self._atoms.positions = state["positions"]
            self._atoms.set_momenta(state["momenta"])

    def period(self, stage: Stage) -> int:
        """Launches count their steps from zero: they must be multiples of all intervals."""
        return stage.sample_every

    def advance(self, stage: Stage, done: int, n: int, total: int) -> Chunk:
        sample_every = min(stage.sample_every, n)
        commands: list[Sequence[object]] = [
            ("time_step", self._timestep),
            ("ensemble", *self._ensemble(stage, done / total, (done + n) / total)),
            ("dump_thermo", sample_every),
        ]
        commands += [tuple(line.split()) for line in self._engine.extra]
        if self._engine.full_precision:
            state = "state.xyz"
            commands.append(("dump_xyz", n, state, "precision", "double", "mass", "velocity"))
        else:
            state = "restart.xyz"
            commands.append(("dump_restart", n))
        folder = self._launch([*commands, ("run", n)])
        chunk = Chunk()
        for k, values in enumerate(read_thermo(folder / "thermo.out"), start=1):
            step = done + k * sample_every
            chunk.rows.append(self._row(stage, step, total, values))
        self._take(read_model(folder / state)[-1], read_thermo(folder / "thermo.out")[-1])
        self._clean(folder)
        return chunk

    def evaluate(self) -> Evaluation:
        """Energy, forces and stress of the current configuration."""
        folder = self._launch(
            [
                ("time_step", 0.0),
                ("ensemble", "nve"),
                ("dump_thermo", 1),
                ("dump_xyz", 1, "state.xyz", "precision", "double", "force"),
                ("run", 1),
            ]
        )
        values = read_thermo(folder / "thermo.out")[-1]
        frame = read_model(folder / "state.xyz")[-1]
        forces = frame.arrays.get("forces")
        if forces is None:
            forces = frame.get_forces()
        self._clean(folder)
        stress = -units.gpa_to_ev_per_a3(1.0) * values[3:9]
        xx, yy, zz, yz, xz, xy = stress
        tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        return Evaluation(float(values[2]), np.asarray(forces, float), tensor)

    def state(self) -> dict[str, NDArray[Any]]:
        return dict(self.configuration())

    def configuration(self) -> dict[str, NDArray[np.float64]]:
        return _arrays(self._atoms)

    def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def _ensemble(self, stage: Stage, begin: float, end: float) -> list[object]:
        # GPUMD takes relaxation times in steps.
        coupling = max(self._engine.thermostat_time / self._timestep, 1.0)
        temperatures = [max(stage.temperature_at(fraction), 1e-3) for fraction in (begin, end)]
        if stage.ensemble == "nve":
            return ["nve"]
        if stage.ensemble == "nvt":
            return ["nvt_bdp", *temperatures, coupling]
        barostat = max(self._engine.barostat_time / self._timestep, 1.0)
        if stage.shape == "isotropic":
            pressure: list[object] = [self._pressure, _ELASTIC_CONSTANT]
        else:
            pressure = [
                *[self._pressure] * 3,
                *[0.0] * 3,
                *[_ELASTIC_CONSTANT] * 3,
                *[_SHEAR_CONSTANT] * 3,
            ]
        return ["npt_scr", *temperatures, coupling, *pressure, barostat]

    def _launch(self, commands: list[Sequence[object]]) -> Path:
        """Run GPUMD in a new folder; return the folder."""
        self._n_launches += 1
        folder = self._root / f"launch-{self._n_launches:05d}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        potential = self._engine.potential
        assert isinstance(potential, NepPotential)
        write_text(folder / "nep.txt", potential.text)
        write_text(folder / "model.xyz", model_text(self._atoms))
        write_text(folder / "run.in", run_in_text([("potential", "nep.txt"), *commands]))
        log = folder / "output"
        status, _ = subprocesses.run(
            shlex.split(self._engine.command), folder, log, {}, lambda: None
        )
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        end = " / ".join(lines[-_LOG_LINES:]) or "(nothing)"
        if status != 0:
            raise ServiceError(
                f"GPUMD ended with exit status {status}; its output ends with: {end}",
                hint="check the command and the GPU, then run again",
            )
        if not (folder / "thermo.out").is_file():
            raise ServiceError(
                f"GPUMD wrote no thermo.out; its output ends with: {end}",
                hint="check that the command is gpumd and not nep",
            )
        return folder

    def _take(self, frame: Atoms, values: NDArray[np.float64]) -> None:
        """Read a written configuration as the current one."""
        if not (np.isfinite(frame.positions).all() and np.isfinite(values).all()):
            raise PotentialFailureError(
                "the positions are not finite; the potential fails",
                hint="shorten the timestep, or train the potential on such structures",
            )
        self._atoms.positions = frame.positions
        # restart.xyz has six digits; the last line of thermo.out has the same cell with more.
        precise = values[9:].reshape(3, 3)
        close = np.allclose(precise, frame.cell.array, rtol=1e-4, atol=1e-4)
        self._atoms.set_cell(
            precise if close and not self._engine.full_precision else frame.cell.array
        )
        self._atoms.set_velocities(frame.get_velocities())

    def _row(self, stage: Stage, step: int, total: int, values: NDArray[np.float64]) -> list[float]:
        temperature, kinetic, potential = values[:3].tolist()
        stress = -units.gpa_to_ev_per_a3(1.0) * values[3:9]
        volume = abs(float(np.linalg.det(values[9:].reshape(3, 3))))
        return [
            *(0.0, float(step), stage.temperature_at(step / total), temperature),
            *(potential, kinetic, volume, *stress.tolist()),
        ]

    def _clean(self, folder: Path) -> None:
        if self._folder is not None:
            shutil.rmtree(folder)


def _arrays(atoms: Atoms) -> dict[str, NDArray[np.float64]]:
    return {
        "positions": atoms.positions.copy(),
        "cell": atoms.cell.array.copy(),
        "momenta": atoms.get_momenta().copy(),
    }
