"""Datasets and potentials as files for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mgflows.errors import InputError, ServiceError
from mgflows.files import write_text
from mgflows.nep.frames import frames_text
from mgflows.text import listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mgflows.database.glass import GlassDatabase
    from mgflows.schemas.training import Split

__all__ = ["write_dataset", "write_potential"]


def write_dataset(
    database: GlassDatabase,
    dataset_id: str,
    split: Split,
    directory: Path | str,
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Write ``train.xyz`` and ``test.xyz`` of a dataset for GPUMD, neppo, calorine and ASE.

    Parameters
    ----------
    database
        The database with the dataset.
    dataset_id
        Its id, or the beginning of it.
    split
        Which split of the dataset to write.
    directory
        Folder of the files; made if necessary.
    overwrite
        Replace files with another content.

    Returns
    -------
    paths
        The two files.

    Raises
    ------
    InputError
        If a file exists with another content.
    ServiceError
        If the folder cannot be made.
    """
    dataset = database.dataset(dataset_id)
    texts = {}
    for name, is_test in (("train.xyz", False), ("test.xyz", True)):
        frames = [frame for frame in dataset.frames if frame.test[split] is is_test]
        texts[name] = frames_text(database.load(frames))
    return _write(directory, texts, overwrite)


def write_potential(
    database: GlassDatabase,
    potential_id: str,
    directory: Path | str,
    *,
    overwrite: bool = False,
) -> list[Path]:
    """Write ``nep.txt`` and ``nep.in`` of a potential.

    Parameters
    ----------
    database
        The database with the potential.
    potential_id
        Its id, or the beginning of it.
    directory
        Folder of the files; made if necessary.
    overwrite
        Replace files with another content.

    Returns
    -------
    paths
        The two files.

    Raises
    ------
    InputError
        If a file exists with another content.
    ServiceError
        If the folder cannot be made.
    """
    potential = database.potential(potential_id)
    texts = {"nep.txt": potential.nep_txt, "nep.in": potential.nep_in}
    return _write(directory, texts, overwrite)


def _write(directory: Path | str, texts: Mapping[str, str], overwrite: bool) -> list[Path]:
    """Write all files, or none if one of them would be replaced by another content."""
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ServiceError(
            f"the folder {directory} cannot be made: {error.strerror}",
            hint="choose a folder that you can write to",
        ) from error
    paths = [directory / name for name in texts]
    others = [
        str(path)
        for path in paths
        if path.exists() and path.read_bytes() != texts[path.name].encode()
    ]
    if others and not overwrite:
        raise InputError(
            f"{listed(others)} {'exists' if len(others) == 1 else 'exist'} with another content",
            hint="choose another directory, or overwrite with --force (overwrite=True)",
        )
    for path in paths:
        write_text(path, texts[path.name])
    return paths
