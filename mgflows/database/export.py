"""Datasets and potentials as files that other programs read."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mgflows.errors import ServiceError
from mgflows.nep.frames import write_frames

if TYPE_CHECKING:
    from mgflows.database.glass import GlassDatabase
    from mgflows.schemas.training import Split

__all__ = ["write_dataset", "write_potential"]


def write_dataset(
    database: GlassDatabase, dataset_id: str, split: Split, directory: Path | str
) -> list[Path]:
    """Write ``train.xyz`` and ``test.xyz`` of a dataset, as GPUMD, neppo, calorine and ASE read them.

    Parameters
    ----------
    database
        Where the dataset is.
    dataset_id
        Its id, or the beginning of it.
    split
        Which split decides what is train and what is test.
    directory
        Where the files go; made if necessary.

    Returns
    -------
    paths
        The two files.
    """
    dataset = database.dataset(dataset_id)
    directory = _make(directory)
    paths = []
    for name, is_test in (("train.xyz", False), ("test.xyz", True)):
        frames = [frame for frame in dataset.frames if frame.test[split] is is_test]
        atoms = database.load(frames)
        write_frames(directory / name, atoms)
        paths.append(directory / name)
    return paths


def write_potential(
    database: GlassDatabase, potential_id: str, directory: Path | str
) -> list[Path]:
    """Write ``nep.txt`` and ``nep.in`` of a potential.

    Parameters
    ----------
    database
        Where the potential is.
    potential_id
        Its id, or the beginning of it.
    directory
        Where the files go; made if necessary.

    Returns
    -------
    paths
        The two files.
    """
    potential = database.potential(potential_id)
    directory = _make(directory)
    return [
        _write(directory / name, text)
        for name, text in (("nep.txt", potential.nep_txt), ("nep.in", potential.nep_in))
    ]


def _make(directory: Path | str) -> Path:
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ServiceError(
            f"{directory} cannot be made: {error.strerror}; choose a directory that is yours"
        ) from error
    return directory


def _write(path: Path, text: str) -> Path:
    """Write a file at once or not at all."""
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as stream:
        stream.write(text)
    partial = Path(stream.name)
    partial.chmod(0o644)
    return partial.replace(path)
