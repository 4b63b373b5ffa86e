"""Checkpoint files of interrupted runs: written at intervals, atomic, tied to one run."""

from __future__ import annotations

import logging
import time
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["RunCheckpoint"]

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_WRITES = 10.0


class RunCheckpoint:
    """Arrays that a run needs to resume, in one ``.npz`` file.

    Parameters
    ----------
    path
        The file.
    identity
        Digest of everything that decides the run, such as
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

    def write(self, content: Callable[[], Mapping[str, Any]]) -> None:
        """Save what ``content`` returns, unless the last write was less than 10 s ago."""
        if time.monotonic() - self._written < _SECONDS_BETWEEN_WRITES:
            return
        with atomic_write(self.path, "wb") as stream:
            np.savez(stream, **{"identity": np.array(self._identity), **content()})
        self._written = time.monotonic()

    def remove(self) -> None:
        """Delete the file: the run is complete."""
        self.path.unlink(missing_ok=True)
