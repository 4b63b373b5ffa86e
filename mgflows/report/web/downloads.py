"""Datasets and potentials as archives for download, as ``mgflows export`` writes them."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast, get_args

from mgflows.database.export import (
    DatasetFormat,
    PotentialFormat,
    write_dataset,
    write_potential,
)
from mgflows.errors import InputError

if TYPE_CHECKING:
    from mgflows.database import GlassDatabase
    from mgflows.schemas.training import Split

__all__ = ["DATASET_FORMATS", "POTENTIAL_FORMATS", "dataset_archive", "potential_archive"]

DATASET_FORMATS = get_args(DatasetFormat)
POTENTIAL_FORMATS = get_args(PotentialFormat)


def dataset_archive(database: GlassDatabase, dataset_id: str, form: str, split: str) -> IO[bytes]:
    """Return a ZIP archive of a dataset, as a temporary file.

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
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(
            database,
            dataset_id,
            cast("Split", split),
            folder,
            form=cast("DatasetFormat", form),
        )
        return _zipped(Path(folder))


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
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    stream.seek(0)
    return stream
