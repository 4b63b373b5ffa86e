"""Arrays that grow chunk by chunk, outside the memory of the process where there is a disk."""

from __future__ import annotations

import logging
import tempfile
from typing import IO, TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray

__all__ = ["GrowingArray"]

logger = logging.getLogger(__name__)


class GrowingArray:
    """Rows that are appended, and an array of all of them at the end.

    With a directory the rows are in a file there that has no name and disappears with the array;
    the array is a map of it, whose pages the system keeps in memory only as long as nothing else
    needs it. If the disk is full, the rows stay in memory.

    Parameters
    ----------
    dtype, shape
        Type of the numbers and shape of a row.
    directory
        Where the file is; None for memory.

    Examples
    --------
    >>> rows = GrowingArray(np.float64, (2,))
    >>> rows.append(np.zeros((3, 2)))
    >>> rows.append(np.ones((1, 2)))
    >>> rows.finish().shape
    (4, 2)
    """

    def __init__(
        self, dtype: DTypeLike, shape: tuple[int, ...] = (), directory: Path | None = None
    ) -> None:
        self._dtype, self._shape = np.dtype(dtype), shape
        self._chunks: list[NDArray] = []
        self._n_rows = 0
        self._file: IO[bytes] | None = None
        if directory is not None:
            try:
                self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115
            except OSError as error:
                self._stay_in_memory(error)

    def append(self, rows: NDArray) -> None:
        """Add rows at the end."""
        rows = np.ascontiguousarray(rows, dtype=self._dtype)
        if self._file is None:
            self._chunks.append(rows)
            return
        try:
            self._file.write(rows.data)
            self._file.flush()
        except OSError as error:
            if self._n_rows:
                self._chunks.append(np.array(self._map(self._file)))
            self._chunks.append(rows)
            self._stay_in_memory(error)
            return
        self._n_rows += len(rows)

    def finish(self) -> NDArray:
        """All rows; the object cannot be used any more."""
        if self._file is not None and self._n_rows:
            # The map holds the file after this object has closed it.
            with self._file as file:
                return self._map(file)
        chunks, self._chunks = self._chunks, []
        return np.concatenate([np.empty((0, *self._shape), self._dtype), *chunks])

    def _map(self, file: IO[bytes]) -> NDArray:
        shape = (self._n_rows, *self._shape)
        return np.asarray(np.memmap(file, self._dtype, "r+", shape=shape))

    def _stay_in_memory(self, error: OSError) -> None:
        logger.warning("the atoms of the frames stay in memory: %s", error)
        if self._file is not None:
            # What could not be written must not be tried again when the file is closed.
            try:
                self._file.close()
            except OSError:
                logger.debug("the unfinished file could not be written out")
        self._file = None
