"""Sample glasses on this machine without a database: processes side by side, resumable.

Every finished glass, and a checkpoint of every unfinished cooling, is a file in a folder next to
the output. The output is assembled from them at the end, and also when the run is interrupted.
"""

from __future__ import annotations

import fcntl
import json
import logging
import multiprocessing
import os
import shutil
import signal
import threading
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from mgflows.errors import InputError, ServiceError
from mgflows.files import atomic_write, write_text
from mgflows.structures.order import analyse_order
from mgflows.subprocesses import end_with_parent
from mgflows.surrogate.glasses import sample_glass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableSequence
    from pathlib import Path

    from mgflows.alloy import Alloy
    from mgflows.surrogate import LennardJones
    from mgflows.surrogate.cooling import CoolingProgress
    from mgflows.surrogate.glasses import GlassProtocol

__all__ = ["GlassRequest", "finished_glasses", "sample_glasses", "unfinished_folder"]

_SETTINGS = "settings.json"
_POLL_SECONDS = 0.3
_CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class GlassRequest:
    """Everything that determines a glass but its stream.

    Parameters
    ----------
    lj, alloy, protocol
        Surrogate, composition with number of atoms and density, and the cooling.
    seed
        Seed of all glasses; glass i uses stream i of it.
    inherent
        Whether the minimised structures are written instead of the glasses.
    """

    lj: LennardJones
    alloy: Alloy
    protocol: GlassProtocol
    seed: int
    inherent: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """The request as JSON values."""
        return {
            "surrogate": self.lj.as_dict(),
            "alloy": self.alloy.as_dict(),
            "protocol": asdict(self.protocol),
            "seed": self.seed,
            "inherent": self.inherent,
        }


def unfinished_folder(output: Path) -> Path:
    """Folder of the run that writes `output`, as long as it is not finished."""
    return output.with_name(f"{output.name}.unfinished")


def finished_glasses(request: GlassRequest, output: Path) -> int:
    """Number of glasses that an interrupted run of the same request has finished.

    Raises
    ------
    InputError
        If the unfinished run next to `output` has other settings.
    """
    folder = unfinished_folder(output)
    if not folder.exists():
        return 0
    try:
        settings = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = None
    if settings != json.loads(json.dumps(request.settings)):
        raise InputError(
            f"{folder} holds an unfinished run with other settings",
            hint="run its command again, choose another --output, or discard it with --force",
        )
    return len(_glass_files(folder))


def sample_glasses(
    request: GlassRequest,
    n_glasses: int,
    output: Path,
    *,
    n_workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Cool glasses and write them to an extended XYZ file, in the order of their streams.

    An interrupted run (by KeyboardInterrupt, a kill or a crash) leaves its finished glasses in
    `output` and resumes when this function is called again with the same request.

    Parameters
    ----------
    request
        What to sample.
    n_glasses
        Number of glasses: streams 0 to n_glasses - 1 of the seed.
    output
        The file; an existing one is replaced.
    n_workers
        Glasses cooled at the same time; the result does not depend on it.
    progress
        Called several times a second with the number of sweeps done.

    Raises
    ------
    InputError
        If the unfinished run next to `output` has other settings, or is running.
    ServiceError
        If a process was killed.
    """
    finished_glasses(request, output)
    folder = unfinished_folder(output)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        write_text(folder / _SETTINGS, json.dumps(request.settings, indent=2))
        try:
            _cool_all(request, n_glasses, folder, n_workers, progress)
        finally:
            files = _glass_files(folder)[:n_glasses]
            if files:
                with atomic_write(output) as stream:
                    stream.writelines(file.read_text(encoding="utf-8") for file in files)
        shutil.rmtree(folder)


def _cool_all(
    request: GlassRequest,
    n_glasses: int,
    folder: Path,
    n_workers: int,
    progress: Callable[[int], None] | None,
) -> None:
    open_streams = [
        number for number in range(n_glasses) if not _glass_file(folder, number).exists()
    ]
    context = get_context("spawn")
    sweeps = context.Array("q", n_glasses, lock=False)
    for stream in set(range(n_glasses)) - set(open_streams):
        sweeps[stream] = request.protocol.n_sweeps
    if not open_streams:
        return
    pool = ProcessPoolExecutor(
        min(n_workers, len(open_streams)),
        mp_context=context,
        initializer=_start_worker,
        initargs=(os.getpid(), sweeps),
    )
    try:
        with _without_interrupts():
            pending = {pool.submit(_cool, request, stream, folder) for stream in open_streams}
        while pending:
            done, pending = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            if progress is not None:
                progress(sum(sweeps))
    except BrokenProcessPool as error:
        raise ServiceError(
            "a sampling process was killed, perhaps for lack of memory",
            hint="run the same command again to resume, with fewer --workers",
        ) from error
    finally:
        # A cooling saves its checkpoint on SIGTERM.
        for process in multiprocessing.active_children():
            process.terminate()
        pool.shutdown(cancel_futures=True)


_sweeps: MutableSequence[int] = []
"""In a worker: sweeps done by stream, shared with the parent."""


def _start_worker(parent: int, sweeps: MutableSequence[int]) -> None:
    global _sweeps
    _sweeps = sweeps
    logging.getLogger("mgflows").setLevel(logging.ERROR)
    if not end_with_parent(parent, signal.SIGTERM):
        raise SystemExit(1)


def _cool(request: GlassRequest, stream: int, folder: Path) -> None:
    """Cool one glass and write it, with its energy, its seed and its order parameters."""
    from ase.io import write

    def note(state: CoolingProgress) -> None:
        _sweeps[stream] = state.sweeps_done

    checkpoint = folder / f"cooling-{stream:06d}.npz"
    glass = sample_glass(
        request.lj,
        request.alloy,
        request.protocol,
        request.seed,
        stream=stream,
        progress=note,
        checkpoint=checkpoint,
        checkpoint_interval=_CHECKPOINT_SECONDS,
    )
    if glass is None:
        raise ServiceError("the cooling was stopped by a signal", hint="run the command again")
    order = analyse_order(glass.inherent_structure)
    atoms = glass.inherent_structure if request.inherent else glass.sampler.atoms
    atoms.calc = request.lj.calculator()
    atoms.get_forces()
    atoms.get_stress()
    atoms.info |= {
        "e_is": glass.e_is,
        "n_sweeps": request.protocol.n_sweeps,
        "seed": request.seed,
        "stream": stream,
        "ordered": order.ordered,
        "q6_solid_fraction": order.q6_solid_fraction,
        "cna_555_fraction": order.cna_555_fraction,
        "frank_kasper_fraction": order.frank_kasper_fraction,
    }
    with atomic_write(_glass_file(folder, stream)) as file:
        write(file, atoms, format="extxyz")
    checkpoint.unlink(missing_ok=True)


def _glass_file(folder: Path, stream: int) -> Path:
    return folder / f"glass-{stream:06d}.xyz"


def _glass_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("glass-*.xyz"))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Refuse a second run of the same output."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another process is sampling into {folder}", hint="choose another --output"
            ) from None
        yield
    finally:
        os.close(handle)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start processes that ignore Ctrl-C, which a terminal sends to all; the parent ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
