"""Time and memory of datasets: import, query, freeze, training and export of many frames.

Each step runs in a separate process, so that the peak memory is that of the step.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
import uuid
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mgflows.settings import Settings

__all__ = ["DatasetStep", "bench_dataset"]

_CAMPAIGN = "bench"
_FRAMES_PER_FAMILY = 50
_STEPS = 10
"""Steps of the training: its time is that of reading the frames and of the errors."""
_CACHE = 0.25
"""GiB of the trainer's cache, which is a matter of its settings, not of the number of frames."""


@dataclass(frozen=True)
class DatasetStep:
    """One step of the benchmark.

    Attributes
    ----------
    name
        write, import, query, freeze, load, train or export.
    seconds, cpu_seconds
        Elapsed and processor time, s; without that of the database server.
    peak_mib
        Largest resident memory of the process, or of the trainer that it starts, MiB.
    """

    name: str
    seconds: float
    cpu_seconds: float
    peak_mib: float


def bench_dataset(settings: Settings, n_frames: int, n_atoms: int = 150) -> list[DatasetStep]:
    """Measure all steps with a temporary database on the server of the settings.

    Parameters
    ----------
    settings
        Settings that name the server; the benchmark uses a temporary database there.
    n_frames
        Number of frames.
    n_atoms
        Atoms in each.

    Raises
    ------
    InputError
        For a number that is not positive.
    """
    if n_frames < 10 or n_atoms < 4:
        raise InputError(
            f"{n_frames} frames of {n_atoms} atoms are too few to measure",
            hint="give at least 10 frames of 4 atoms",
        )
    from mgflows.connections import open_database

    own = _with_database(settings, f"bench_{uuid.uuid4().hex[:10]}")
    try:
        with tempfile.TemporaryDirectory() as folder:
            arguments = own, Path(folder), n_frames, n_atoms
            return [
                _measured(step, *arguments)
                for step in (_write, _import, _query, _freeze, _load, _train, _export)
            ]
    finally:
        database = open_database(own)
        database.client.drop_database(own.database_name)
        database.client.close()


def _with_database(settings: Settings, name: str) -> Settings:
    """The same server with another database."""
    return settings.model_copy(update={"database_name": name})


def _measured(step: Callable[..., None], *arguments: Any) -> DatasetStep:
    context = multiprocessing.get_context("spawn")
    parent, child = context.Pipe()
    process = context.Process(target=_run, args=(child, step, arguments))
    process.start()
    child.close()
    try:
        seconds, cpu, peak = parent.recv()
    except EOFError as error:
        process.join()
        raise InputError(
            f"the step {step.__name__.removeprefix('_')} of the benchmark failed",
            hint="see its message above",
        ) from error
    process.join()
    return DatasetStep(step.__name__.removeprefix("_"), seconds, cpu, peak)


def _run(pipe: Any, step: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    start, before = time.perf_counter(), _usage()
    step(*arguments)
    after = _usage()
    pipe.send((time.perf_counter() - start, after[0] - before[0], after[1]))


def _usage() -> tuple[float, float]:
    """Processor time in s and peak memory in MiB, of this process and its children."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return (
        sum(usage.ru_utime + usage.ru_stime for usage in found),
        max(usage.ru_maxrss for usage in found) / 1024.0,
    )


def _write(settings: Settings, folder: Path, n_frames: int, n_atoms: int) -> None:  # noqa: ARG001
    """Random cubic cells with random labels; atoms are at least 1.5 A apart."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    from mgflows.nep.frames import frame_text

    generator = np.random.default_rng(0)
    edge = int(np.ceil(n_atoms ** (1 / 3)))
    sites = np.stack(np.meshgrid(*[np.arange(edge)] * 3, indexing="ij"), -1).reshape(-1, 3)
    symbols = (["Zr", "Cu"] * n_atoms)[:n_atoms]
    with (folder / "frames.xyz").open("w", encoding="utf-8") as stream:
        for number in range(n_frames):
            positions = 2.6 * sites[:n_atoms] + generator.uniform(-0.5, 0.5, (n_atoms, 3))
            atoms = Atoms(symbols, positions=positions, cell=[2.6 * edge] * 3, pbc=True)
            atoms.calc = SinglePointCalculator(
                atoms,
                energy=-5.0 * n_atoms + generator.normal(),
                forces=generator.normal(size=(n_atoms, 3)),
                stress=np.zeros(6),
            )
            atoms.info = {"family": f"family-{number // _FRAMES_PER_FAMILY}", "subset": "bench"}
            stream.write(frame_text(atoms, number))


def _import(settings: Settings, folder: Path, n_frames: int, n_atoms: int) -> None:  # noqa: ARG001
    _database(settings).import_frames([folder / "frames.xyz"], _CAMPAIGN, "random numbers")


def _query(settings: Settings, folder: Path, n_frames: int, n_atoms: int) -> None:  # noqa: ARG001
    from mgflows.database.queries import FrameFilter

    found = _database(settings).frames(_CAMPAIGN, where=FrameFilter(pressure=(-1.0, 1.0)))
    assert len(found) == n_frames


def _freeze(settings: Settings, folder: Path, n_frames: int, n_atoms: int) -> None:  # noqa: ARG001
    database = _database(settings)
    assert database.freeze(database.frames(_CAMPAIGN)).n_frames == n_frames


def _load(settings: Settings, folder: Path, n_frames: int, n_atoms: int) -> None:  # noqa: ARG001
    from mgflows.database.frames import iterate_atoms

    database = _database(settings)
    dataset = database.dataset(database.datasets(_CAMPAIGN)[0].dataset_id)
    assert sum(1 for _ in iterate_atoms(database.store, dataset.frames)) == n_frames


def _train(settings: Settings, folder: Path, n_frames: int, n_atoms: int) -> None:  # noqa: ARG001
    """The job that trains a potential, with few steps and without the acceptance."""
    from jobflow import run_locally

    from mgflows.jobs.training import TrainingMaker
    from mgflows.nep.training.settings import TrainingSettings
    from mgflows.nep.training.trainer import NepTrainer

    database = _database(settings)
    dataset = database.dataset(database.datasets(_CAMPAIGN)[0].dataset_id)
    maker = TrainingMaker(
        trainer=NepTrainer(steps=_STEPS, reports=1, settings=TrainingSettings(cache=_CACHE)),
        acceptance=None,
    )
    job = maker.make(dataset)
    with warnings.catch_warnings():
        # Of jobflow's own code.
        warnings.simplefilter("ignore", FutureWarning)
        run_locally(job, store=database.store, root_dir=folder, ensure_success=True, log=False)


def _export(settings: Settings, folder: Path, n_frames: int, n_atoms: int) -> None:  # noqa: ARG001
    from mgflows.database.export import write_dataset

    database = _database(settings)
    identifier = database.datasets(_CAMPAIGN)[0].dataset_id
    write_dataset(database, identifier, "family", folder / "export")


def _database(settings: Settings) -> Any:
    from mgflows.database import GlassDatabase

    return GlassDatabase(settings)
