"""Datasets and potentials as archives for download, as ``mgflows export`` writes them."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast, get_args

from mgflows.database.export import (
    DatasetFormat,
    PotentialFormat,
    datasheet,
    write_dataset,
    write_potential,
)
from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mgflows.database import GlassDatabase
    from mgflows.schemas.training import DatasetDocument, Split

__all__ = ["DATASET_FORMATS", "POTENTIAL_FORMATS", "dataset_archive", "potential_archive"]

DATASET_FORMATS = get_args(DatasetFormat)
POTENTIAL_FORMATS = get_args(PotentialFormat)
_PACKING: dict[str, Any] = {"compression": zipfile.ZIP_DEFLATED, "compresslevel": 1}
"""Texts of numbers shrink to 45 % at level 1, hardly more at higher levels."""
_DATASHEET = "DATASHEET.md"
_BLOCK = 1 << 20
"""Bytes read at a time."""


def dataset_archive(
    database: GlassDatabase, dataset_id: str, form: str, split: str
) -> Iterator[bytes]:
    """Return a ZIP archive of a dataset in pieces; the datasheet comes before frames are read.

    Parameters
    ----------
    database
        The database.
    dataset_id
        Id of the dataset.
    form
        One of :data:`DATASET_FORMATS`.
    split
        ``family`` or ``paper``.

    Raises
    ------
    InputError
        For an unknown dataset, format or split.
    """
    _check(form, DATASET_FORMATS)
    _check(split, ("family", "paper"))
    dataset = database.dataset(dataset_id)
    return _dataset_pieces(database, dataset, form, cast("Split", split))


def _dataset_pieces(
    database: GlassDatabase, dataset: DatasetDocument, form: str, split: Split
) -> Iterator[bytes]:
    sink = _Sink()
    with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(sink, "w", **_PACKING) as archive:
        archive.writestr(_DATASHEET, datasheet(dataset, split, form))
        yield sink.taken()
        folder = Path(name)
        write_dataset(database, dataset.dataset_id, split, folder, form=cast("DatasetFormat", form))
        for path in _files(folder):
            if path.name == _DATASHEET:
                continue
            entry = zipfile.ZipInfo.from_file(path, path.relative_to(folder).as_posix())
            entry.compress_type = zipfile.ZIP_DEFLATED
            with path.open("rb") as source, archive.open(entry, "w") as target:
                while block := source.read(_BLOCK):
                    target.write(block)
                    yield sink.taken()
    yield sink.taken()


class _Sink(io.RawIOBase):
    """A stream that cannot be rewound; what was written is taken away piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        """What has been written since the last call."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def potential_archive(database: GlassDatabase, potential_id: str, form: str) -> IO[bytes]:
    """Return a ZIP archive of a potential, as a temporary file.

    Parameters
    ----------
    database
        The database.
    potential_id
        Id of the potential.
    form
        One of :data:`POTENTIAL_FORMATS`.

    Raises
    ------
    InputError
        For an unknown potential or format.
    """
    _check(form, POTENTIAL_FORMATS)
    with tempfile.TemporaryDirectory() as folder:
        write_potential(database, potential_id, folder, form=cast("PotentialFormat", form))
        return _zipped(Path(folder))


def _check(value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"there is no {value!r} here", hint=f"choose one of {', '.join(known)}")


def _zipped(folder: Path) -> IO[bytes]:
    stream = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the response
    with zipfile.ZipFile(stream, "w", **_PACKING) as archive:
        for path in _files(folder):
            archive.write(path, path.relative_to(folder))
    stream.seek(0)
    return stream


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]
