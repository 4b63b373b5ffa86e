"""Labelled structures in a file instead of in memory, as a sequence."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, overload

from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator

from mgflows.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["FrameFile"]


class FrameFile(Sequence[Atoms]):
    """A sequence of labelled structures, each of which is read when it is used.

    The file has no name and disappears with the last sequence of its frames. A frame of
    150 atoms takes about 10 kB of the disk and a few bytes of memory. It is a new object each time:
    changes to it are not kept.

    Parameters
    ----------
    directory
        Where the file is; None for the system's directory of temporary files.

    Raises
    ------
    ServiceError
        If the file cannot be written.

    Examples
    --------
    >>> from ase.build import bulk
    >>> frames = FrameFile()
    >>> frames.append(bulk("Cu"))
    >>> len(frames), len(frames[0])
    (1, 1)
    """

    def __init__(self, directory: Path | None = None) -> None:
        try:
            self._file: BinaryIO = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115
        except OSError as error:
            raise _not_written(error) from error
        self._places: list[int] = []

    def append(self, frame: Atoms) -> None:
        """Write a frame at the end, with the standard results of its calculator and ``info``.

        Other arrays than numbers and positions are not kept.
        """
        record = (
            frame.numbers,
            frame.positions,
            frame.cell.array,
            frame.pbc,
            frame.info,
            None if frame.calc is None else _known(frame.calc.results),
        )
        try:
            place = self._file.seek(0, 2)
            pickle.dump(record, self._file, pickle.HIGHEST_PROTOCOL)
            self._file.flush()
        except OSError as error:
            raise _not_written(error) from error
        self._places.append(place)

    def chosen(self, indices: Iterable[int]) -> FrameFile:
        """Return the sequence of some of these frames, which are not copied."""
        part = FrameFile.__new__(FrameFile)
        part._file = self._file
        part._places = [self._places[index] for index in indices]
        return part

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Atoms: ...

    @overload
    def __getitem__(self, index: slice) -> FrameFile: ...

    def __getitem__(self, index: int | slice) -> Atoms | FrameFile:
        if isinstance(index, slice):
            return self.chosen(range(*index.indices(len(self))))
        self._file.seek(self._places[index])
        numbers, positions, cell, pbc, info, results = pickle.load(self._file)
        frame = Atoms(numbers=numbers, positions=positions, cell=cell, pbc=pbc, info=info)
        if results is not None:
            frame.calc = SinglePointCalculator(frame, **results)
        return frame


def _known(results: dict[str, Any]) -> dict[str, Any]:
    """Results that every calculator may have; MACE, for example, adds energies of nodes."""
    return {name: value for name, value in results.items() if name in all_properties}


def _not_written(error: OSError) -> ServiceError:
    return ServiceError(
        f"the frames of a training cannot be written to the disk: {error.strerror}",
        hint="free some space where the job runs",
    )
