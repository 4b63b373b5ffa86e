"""Checkpoint files of interrupted runs: written at intervals, atomic, tied to one run.

A run may also hold the lock of its folder (:func:`only_process`).

The checkpoint of a finished run is removed with :func:`remove_checkpoint`. In a worker it stays
until the output of the job is stored: a job that is killed after its computation and before that
finds the finished state again.
"""

from __future__ import annotations

import fcntl
import logging
import time
import zipfile
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows.errors import InputError
from mgflows.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["LOCK", "RunCheckpoint", "checkpoints_kept", "only_process", "remove_checkpoint"]

logger = logging.getLogger(__name__)

LOCK = ".lock"
"""Name of the file in a folder that :func:`only_process` locks."""


@contextmanager
def only_process(folder: Path, activity: str, *, hint: str) -> Iterator[None]:
    """Hold the lock of a folder, so that no other process works in it at the same time.

    The system releases the lock when the process ends, however it ends. File systems without locks
    are used without.

    Parameters
    ----------
    folder
        An existing folder; the lock is its file :data:`LOCK`, since NFS locks only files that are
        open for writing.
    activity
        What the other process does, such as ``"training in"``.
    hint
        The remedy.

    Raises
    ------
    InputError
        If another process holds the lock.
    """
    with (folder / LOCK).open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another process is {activity} {folder}", hint=hint) from None
        except OSError as error:
            logger.debug("%s cannot be locked: %s", folder, error)
        yield


_SECONDS_BETWEEN_WRITES = 10.0
_kept: ContextVar[list[Path] | None] = ContextVar("kept", default=None)
"""Checkpoints of finished runs whose results are not stored yet; None outside of a worker."""


@contextmanager
def checkpoints_kept() -> Iterator[None]:
    """Delay :func:`remove_checkpoint` to the end of the block, and skip it after an error."""
    finished: list[Path] = []
    token = _kept.set(finished)
    try:
        yield
    finally:
        _kept.reset(token)
    for path in finished:
        path.unlink(missing_ok=True)


def remove_checkpoint(path: Path) -> None:
    """Remove the checkpoint of a finished run: now, or at the end of :func:`checkpoints_kept`."""
    finished = _kept.get()
    if finished is None:
        path.unlink(missing_ok=True)
    else:
        finished.append(path)


class RunCheckpoint:
    """Arrays that a run needs to resume, in one ``.npz`` file.

    Parameters
    ----------
    path
        The file.
    identity
        Digest of everything that determines the run, such as
        :func:`mgflows.files.digest_of_arrays` of its start; the file of another run is not used.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        self._identity = identity
        self._written = time.monotonic()

    def read(self) -> dict[str, NDArray[Any]] | None:
        """The arrays of the interrupted run; None without a usable file.

        A damaged file, and the file of another run, are reported in the log.
        """
        if not self.path.is_file():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as file:
                found = {name: file[name] for name in file.files}
            identity = str(found.pop("identity"))
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            logger.warning("%s cannot be read (%s); the run starts over", self.path, error)
            return None
        if identity != self._identity:
            logger.warning("%s is of another run; this one starts over", self.path)
            return None
        return found

    def write(self, content: Callable[[], Mapping[str, Any]], *, now: bool = False) -> None:
        """Save what ``content`` returns, unless the last write was less than 10 s ago.

        Parameters
        ----------
        content
            Called only if the file is written.
        now
            Save in any case.
        """
        if not now and time.monotonic() - self._written < _SECONDS_BETWEEN_WRITES:
            return
        self._save(content)

    def finish(self, content: Callable[[], Mapping[str, Any]]) -> None:
        """Remove the file of a complete run; where it is kept, save the final state first."""
        if _kept.get() is not None:
            self._save(content)
        remove_checkpoint(self.path)

    def _save(self, content: Callable[[], Mapping[str, Any]]) -> None:
        with atomic_write(self.path, "wb") as stream:
            np.savez(stream, **{"identity": np.array(self._identity), **content()})
        self._written = time.monotonic()
