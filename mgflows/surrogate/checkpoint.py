"""Checkpoints of long runs: atomic writes, and signals handled between two chunks of work."""

from __future__ import annotations

import logging
import signal
import threading
import time
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows.errors import InputError
from mgflows.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import FrameType

    from numpy.typing import NDArray

__all__ = ["Checkpointer", "read_arrays", "write_arrays"]

logger = logging.getLogger(__name__)


def write_arrays(path: Path | str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an ``.npz`` file atomically: a crash leaves the old file or the new one."""
    with atomic_write(path, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_arrays(path: Path | str) -> dict[str, NDArray[Any]]:
    """Read what :func:`write_arrays` wrote.

    Raises
    ------
    InputError
        If the file is missing or is not an ``.npz`` file of arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"the checkpoint {path} cannot be read ({error})",
            hint="give a file that SwapMonteCarlo.save wrote",
        ) from error


class Checkpointer:
    """Saves checkpoints between two chunks of a run and determines when to stop.

    Parameters
    ----------
    save
        Writes the checkpoint. With None nothing is saved and signals keep their handlers.
    interval
        Seconds between two checkpoints.
    wall_time
        Seconds after which the run should stop; None for no limit.

    Notes
    -----
    While :meth:`listening`, SIGUSR1 (which Slurm's ``--signal`` can send before the end of a job)
    makes the run save and stop. SIGTERM makes it save and is then passed to the previous handler,
    which by default ends the process. Signals are only handled in the main thread.
    """

    def __init__(
        self, save: Callable[[], None] | None, interval: float, wall_time: float | None
    ) -> None:
        self._save = save
        self._interval = interval
        self._saved_at = self._started_at = time.monotonic()
        self._wall_time = wall_time
        self._signal: int | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Record signals for :meth:`time_to_stop` instead of acting on them at once."""
        if self._save is None or threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {
            number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGUSR1)
        }
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        if self._signal == signal.SIGTERM:
            signal.raise_signal(signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._signal = number

    def time_to_stop(self) -> bool:
        """Save if a checkpoint is due, and return whether the run should stop now."""
        now = time.monotonic()
        stop = self._signal is not None or (
            self._wall_time is not None and now - self._started_at >= self._wall_time
        )
        if self._save is not None and (stop or now - self._saved_at >= self._interval):
            self.save()
        if self._signal is not None:
            logger.warning(
                "stopped by %s; the checkpoint is written", signal.Signals(self._signal).name
            )
        return stop

    def save(self) -> None:
        """Save now."""
        if self._save is not None:
            self._save()
            self._saved_at = time.monotonic()
