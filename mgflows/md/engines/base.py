"""One interface for all engines: stages in, samples and frames out, checkpoints in between."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows import units
from mgflows.checkpoints import RunCheckpoint
from mgflows.errors import InputError, MgflowsError, PotentialFailureError
from mgflows.files import digest_of_arrays
from mgflows.geometry import check_geometry, right_handed
from mgflows.md.condensed import check_volume
from mgflows.md.langevin import NPTSettings
from mgflows.md.trace import COLUMNS, Samples, Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

    from mgflows.md.forces import Evaluation
    from mgflows.md.potentials import Potential
    from mgflows.md.protocols import Stage

    Progress = Callable[[int, int], None]

__all__ = ["Chunk", "Engine", "Run", "RunPausedError", "Session", "draw_velocities"]

logger = logging.getLogger(__name__)

_FRAME_ARRAYS = ("positions", "cell", "momenta")


class RunPausedError(MgflowsError):
    """A run stopped at its wall time; the same call with the same checkpoint continues it."""


@dataclass(frozen=True, eq=False)
class Run:
    """The result of a run.

    Parameters
    ----------
    atoms
        Last configuration with velocities and no calculator, wrapped into its cell.
    samples
        Time series of all stages.
    frames
        Configurations by stage, with velocities, without calculators.
    timestep, pressure
        fs, and external pressure in GPa.
    exchanges
        (n_pairs, 2) trials and accepted exchanges of each pair of elements, where the engine
        tries them.
    """

    atoms: Atoms
    samples: Samples
    frames: dict[int, list[Atoms]]
    timestep: float
    pressure: float
    exchanges: NDArray[np.int64] | None = None

    def trace(self, stage: int | None = None) -> Trace:
        """Quantities per atom, of all stages or of one, whose time then begins at zero."""
        start = 0
        samples = self.samples
        if stage is not None:
            earlier = samples.step[samples.stage < stage]
            start = int(earlier.max()) if len(earlier) else 0
            samples = samples.of_stage(stage)
        return samples.trace(
            len(self.atoms),
            float(self.atoms.get_masses().mean()),
            timestep=self.timestep,
            pressure=self.pressure,
            start=start,
        )


@dataclass
class Chunk:
    """Results of one piece of a stage.

    Parameters
    ----------
    rows
        (n, 13) samples in the order of :data:`mgflows.md.trace.COLUMNS`; ``step`` counts within
        the stage, ``stage`` is filled in by the engine.
    exchanges
        (n_pairs, 2) trials and accepted exchanges of each pair of elements.
    """

    rows: list[list[float]] = field(default_factory=list)
    exchanges: NDArray[np.int64] | None = None


class Session(ABC):
    """A running simulation of one engine."""

    atom_steps: float = 3e5
    """Atoms times steps of one chunk, a few seconds of work, which is the interval between
    progress reports and the delay of a stop at the wall time."""

    def period(self, stage: Stage) -> int:  # noqa: ARG002
        """Steps of which every chunk of a stage must be a multiple."""
        return 1

    @abstractmethod
    def advance(self, stage: Stage, done: int, n: int, total: int) -> Chunk:
        """Do steps ``done + 1`` to ``done + n`` of the ``total`` steps of a stage."""

    @abstractmethod
    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that a new session needs to continue."""

    @abstractmethod
    def configuration(self) -> dict[str, NDArray[np.float64]]:
        """``positions``, ``cell`` and ``momenta`` now, in the orientation of the start."""

    @abstractmethod
    def close(self) -> None:
        """Release the resources of the session."""


@dataclass(frozen=True)
class Engine(ABC):
    """A program that integrates the equations of motion under a potential.

    Parameters
    ----------
    potential
        Interaction of the atoms.
    """

    potential: Potential

    @property
    @abstractmethod
    def name(self) -> str:
        """Program and potential style, for documents."""

    @abstractmethod
    def evaluate(self, atoms: Atoms) -> Evaluation:
        """Energy, forces and stress of one structure, without the kinetic part."""

    def _at_rest(self, atoms: Atoms) -> Atoms:
        """A checked copy of a structure without constraints and velocities."""
        check_geometry(atoms, periodic=True)
        self.potential.check_species(atoms.get_chemical_symbols())
        resting = right_handed(atoms)
        resting.set_constraint()
        resting.set_momenta(np.zeros((len(atoms), 3)))
        return resting

    @abstractmethod
    def _start(
        self,
        atoms: Atoms,
        npt: NPTSettings,
        seed: int,
        state: Mapping[str, NDArray[Any]] | None,
    ) -> Session:
        """A session for atoms with velocities; resumed from ``state`` if there is one."""

    @abstractmethod
    def check(self, atoms: Atoms, stages: Sequence[Stage], npt: NPTSettings) -> None:
        """Refuse stages that this engine cannot run, before anything runs."""

    def run(
        self,
        atoms: Atoms,
        stages: Sequence[Stage],
        *,
        npt: NPTSettings | None = None,
        seed: int,
        checkpoint: Path | None = None,
        wall_time: float | None = None,
        progress: Progress | None = None,
    ) -> Run:
        """Run stages one after the other.

        Parameters
        ----------
        atoms
            Start, not changed; constraints are ignored. If it has no velocities, they are drawn at
            the temperature of the first stage; all engines draw the same ones.
        stages
            Stages, such as those of :func:`mgflows.md.protocols.quench`.
        npt
            Timestep, pressure and, for :class:`AseEngine`, frictions.
        seed
            Seed of velocities and noise.
        checkpoint
            File (``.npz``), written atomically at most every ten seconds and removed at the end.
            If it exists from an interrupted run of the same atoms, stages, seed, potential and
            engine, this run resumes from it.
        wall_time
            Seconds after which the run writes its checkpoint and stops with
            :class:`RunPausedError`, so that another job can continue it.
        progress
            Called with (steps done, steps in all).

        Raises
        ------
        InputError
            For stages, settings or a structure that the engine cannot run.
        PotentialFailureError
            If the structure evaporates, collapses or flies apart.
        RunPausedError
            At the wall time.
        """
        npt = npt or NPTSettings()
        check_geometry(atoms, periodic=True)
        self.potential.check_species(atoms.get_chemical_symbols())
        self.check(atoms, stages, npt)
        if wall_time is not None and checkpoint is None:
            raise InputError(
                f"a wall time of {wall_time:g} s needs a checkpoint", hint="name a file for it"
            )
        lengths = [stage.n_steps(npt.timestep) for stage in stages]
        if sum(lengths) == 0:
            raise InputError("the stages have no steps", hint="give them a duration")
        began = time.monotonic()
        moving = _with_velocities(right_handed(atoms), stages[0].temperature, seed)
        saved = None
        earlier: dict[str, NDArray[Any]] | None = None
        if checkpoint is not None:
            protocol = repr([stages, astuple(npt), seed, self.name, self.potential.digest])
            saved = RunCheckpoint(checkpoint, _identity(atoms, protocol))
            earlier = saved.read()
        record = _Record(lengths, earlier)
        if record.last is not None:
            # From a finished run whose checkpoint was kept.
            return self._result(moving, record, record.last, npt)
        with self._session(moving, npt, seed, record.state) as session:
            size = max(int(session.atom_steps / len(atoms)), 1)
            for index, stage in enumerate(stages):
                if index < record.stage:
                    continue
                frames = _frame_steps(stage, lengths[index], session.period(stage))
                while record.step < lengths[index]:
                    n = _chunk(record.step, lengths[index], size, session.period(stage), frames)
                    started = time.monotonic()
                    chunk = session.advance(stage, record.step, n, lengths[index])
                    record.add(chunk, n)
                    if record.step in frames:
                        record.take(session.configuration())
                    _check_rows(chunk, moving, stage)
                    if progress:
                        progress(record.n_done, sum(lengths))
                    if record.n_done == sum(lengths) or saved is None:
                        continue
                    now = time.monotonic()
                    paused = wall_time is not None and now - began + (now - started) > wall_time
                    saved.write(lambda: record.packed(session), now=paused)
                    if paused:
                        raise RunPausedError(
                            f"the run stopped at its wall time of {wall_time:g} s after "
                            f"{record.n_done} of {sum(lengths)} steps",
                            hint=f"run it again with the checkpoint {checkpoint} to continue",
                        )
                record.next_stage()
            last = session.configuration()
            if saved:
                saved.finish(lambda: record.packed(session))
        return self._result(moving, record, last, npt)

    @staticmethod
    def _result(
        atoms: Atoms, record: _Record, last: Mapping[str, NDArray[Any]], npt: NPTSettings
    ) -> Run:
        return Run(
            atoms=_structure(atoms, last),
            samples=record.samples,
            frames=record.frames(atoms),
            timestep=npt.timestep,
            pressure=npt.pressure,
            exchanges=record.exchanges,
        )

    @contextmanager
    def _session(
        self,
        atoms: Atoms,
        npt: NPTSettings,
        seed: int,
        state: Mapping[str, NDArray[Any]] | None,
    ) -> Iterator[Session]:
        session = self._start(atoms, npt, seed, state)
        try:
            yield session
        finally:
            session.close()


class _Record:
    """Samples and frames so far, and the position within the stages."""

    def __init__(self, lengths: list[int], earlier: Mapping[str, NDArray[Any]] | None) -> None:
        self._lengths = lengths
        self.stage, self.step = 0, 0
        self._rows: list[list[float]] = []
        self._frames: list[tuple[int, dict[str, NDArray[np.float64]]]] = []
        self.state: dict[str, NDArray[Any]] | None = None
        self.last: dict[str, NDArray[Any]] | None = None
        self.exchanges: NDArray[np.int64] | None = None
        if earlier is not None:
            self.stage, self.step = (int(value) for value in earlier["position"])
            self._rows = earlier["rows"].tolist()
            self.exchanges = earlier.get("exchanges")
            columns = zip(*(earlier[f"frame_{name}"] for name in _FRAME_ARRAYS), strict=True)
            self._frames = [
                (int(stage), dict(zip(_FRAME_ARRAYS, values, strict=True)))
                for stage, values in zip(earlier["frame_stage"], columns, strict=True)
            ]
            if self.stage == len(lengths):
                self.last = {name: earlier[f"last_{name}"] for name in _FRAME_ARRAYS}
            self.state = {
                name.removeprefix("state_"): value
                for name, value in earlier.items()
                if name.startswith("state_")
            }

    @property
    def n_done(self) -> int:
        return sum(self._lengths[: self.stage]) + self.step

    def add(self, chunk: Chunk, n: int) -> None:
        before = sum(self._lengths[: self.stage])
        for row in chunk.rows:
            self._rows.append([float(self.stage), before + row[1], *row[2:]])
        if chunk.exchanges is not None:
            earlier = 0 if self.exchanges is None else self.exchanges
            self.exchanges = chunk.exchanges + earlier
        self.step += n

    def take(self, frame: dict[str, NDArray[np.float64]]) -> None:
        self._frames.append((self.stage, frame))

    def next_stage(self) -> None:
        self.stage, self.step = self.stage + 1, 0

    def packed(self, session: Session) -> dict[str, Any]:
        content: dict[str, Any] = {
            f"state_{name}": value for name, value in session.state().items()
        }
        content["position"] = np.array([self.stage, self.step])
        content["rows"] = np.array(self._rows).reshape(-1, len(COLUMNS))
        if self.exchanges is not None:
            content["exchanges"] = self.exchanges
        content |= {f"last_{name}": value for name, value in session.configuration().items()}
        content["frame_stage"] = np.array([stage for stage, _ in self._frames])
        for name in _FRAME_ARRAYS:
            content[f"frame_{name}"] = np.array([frame[name] for _, frame in self._frames])
        return content

    @property
    def samples(self) -> Samples:
        return Samples.from_rows(np.array(self._rows))

    def frames(self, atoms: Atoms) -> dict[int, list[Atoms]]:
        found: dict[int, list[Atoms]] = {}
        for stage, frame in self._frames:
            found.setdefault(stage, []).append(_structure(atoms, frame))
        return found


def _frame_steps(stage: Stage, total: int, period: int) -> list[int]:
    """Steps of the frames, rounded to multiples of the period of a session."""
    rounded = {min(-(-step // period) * period, total) for step in stage.frame_steps(total)}
    return sorted(rounded)


def _chunk(done: int, total: int, size: int, period: int, frames: Sequence[int]) -> int:
    """Steps of the next chunk: it ends at the latest with the stage or the next frame."""
    ends = [step for step in frames if step > done] or [total]
    return min(-(-size // period) * period, ends[0] - done, total - done)


def draw_velocities(atoms: Atoms, temperature: float, generator: np.random.Generator) -> None:
    """Maxwell-Boltzmann velocities at ``temperature`` K, with the centre of mass at rest."""
    masses = atoms.get_masses()[:, None]
    momenta = generator.normal(size=(len(atoms), 3)) * np.sqrt(
        masses * units.BOLTZMANN * temperature
    )
    atoms.set_momenta(momenta - masses * momenta.sum(axis=0) / masses.sum())


def _with_velocities(atoms: Atoms, temperature: float, seed: int) -> Atoms:
    moving = atoms.copy()
    moving.set_constraint()
    if not moving.has("momenta") or not np.any(moving.get_momenta()):
        velocity_seed, _ = np.random.SeedSequence(seed).spawn(2)
        draw_velocities(moving, temperature, np.random.default_rng(velocity_seed))
    return moving


def _structure(atoms: Atoms, values: Mapping[str, NDArray[np.float64]]) -> Atoms:
    structure = atoms.copy()
    structure.calc = None
    structure.set_cell(values["cell"])
    structure.positions = values["positions"]
    structure.set_momenta(values["momenta"])
    structure.wrap()
    return structure


def _check_rows(chunk: Chunk, atoms: Atoms, stage: Stage) -> None:
    """Check that the structure stays condensed and finite."""
    for row in chunk.rows:
        if not np.isfinite(row).all():
            raise PotentialFailureError(
                "energy or stress are not finite; the potential fails, or the timestep is too long",
                hint="shorten the timestep, or train the potential on such structures",
            )
        if stage.ensemble == "npt":
            check_volume(atoms, row[6], row[3])


def _identity(atoms: Atoms, protocol: str) -> str:
    """Digest of everything that determines a run."""
    arrays = [atoms.numbers, atoms.positions, atoms.cell.array, atoms.get_masses()]
    if atoms.has("momenta"):
        arrays.append(atoms.get_momenta())
    words = np.frombuffer(protocol.encode(), dtype=np.uint8)
    return digest_of_arrays([(np.asarray(values, float), 12) for values in (*arrays, words)])
