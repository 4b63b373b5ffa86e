"""Files that commands read and write, checked before any work starts."""

from __future__ import annotations

import codecs
import os
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mgflows.errors import InputError
from mgflows.files import read_text

if TYPE_CHECKING:
    from ase import Atoms

__all__ = [
    "check_output",
    "check_output_directory",
    "force_option",
    "read_dataset",
    "read_structures",
]

force_option = click.option("--force", is_flag=True, help="Overwrite existing files.")


def check_output(path: Path, *, force: bool, option: str = "--output") -> None:
    """Make sure that a file can be written, before the work whose result it will hold.

    Parameters
    ----------
    path
        The file; its directory is created if it is missing.
    force
        Whether an existing file may be overwritten.
    option
        The option that names the file, for the messages.

    Raises
    ------
    InputError
        If the file exists, or it or its directory cannot be written.
    """
    _make_directory(path.parent, option)
    if path.is_dir():
        raise InputError(f"{path} is a directory", hint=f"choose a file name for {option}")
    if path.exists() and not force:
        raise InputError(
            f"{path} exists already",
            hint=f"choose another {option} or overwrite with --force",
        )
    _check_writable(path.parent, option)


def check_output_directory(directory: Path) -> None:
    """Make sure that files can be written into a directory, before the work that makes them.

    Parameters
    ----------
    directory
        The value of --output; it is created if it is missing.

    Raises
    ------
    InputError
        If the directory cannot be created or written.
    """
    _make_directory(directory, "--output")
    _check_writable(directory, "--output")


def _make_directory(directory: Path, option: str) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the directory {directory} cannot be created: {error.strerror}",
            hint=f"choose another {option}",
        ) from error


def _check_writable(directory: Path, option: str) -> None:
    # Files are replaced by renaming, which needs a writable directory.
    if not os.access(directory, os.W_OK | os.X_OK):
        raise InputError(
            f"the directory {directory} is not writable", hint=f"choose another {option}"
        )


def read_structures(path: Path) -> list[Atoms]:
    """Read all structures in a file of any format that ASE reads.

    Raises
    ------
    InputError
        If the file is missing, cannot be read or holds no structure.
    """
    from ase.io.formats import UnknownFileTypeError

    if not path.exists():
        raise InputError(f"there is no file {path}", hint="check the path")
    if path.is_dir():
        raise InputError(f"{path} is a directory", hint="give a file with structures")
    if not path.is_file():
        raise InputError(f"{path} is not a regular file", hint="write its content to a file first")
    if os.access(path, os.R_OK) and path.stat().st_size == 0:
        raise InputError(f"{path} is empty", hint="give a file with atoms")
    try:
        structures = _read_with_ase(path)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        if isinstance(error, UnknownFileTypeError):
            reason = f"no format has the ending {path.suffix!r}" if path.suffix else "no ending"
        raise InputError(
            f"{path} cannot be read as structures ({reason})",
            hint="give a file that ASE reads, such as extended XYZ with the ending .xyz",
        ) from error
    if not structures or any(len(atoms) == 0 for atoms in structures):
        raise InputError(f"{path} holds no structure", hint="give a file with atoms")
    return structures


def _read_with_ase(path: Path) -> list[Atoms]:
    from ase.io import read
    from ase.io.formats import filetype

    with path.open("rb") as stream:
        has_mark = stream.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
    if not has_mark:
        return read(path, index=":")
    # Editors of Windows put a byte order mark first, which ASE does not expect.
    text = read_text(path)
    guess = filetype(path, read=False)
    return read(StringIO(text), index=":", format=guess)


def read_dataset(source: str, directory: Path | None) -> tuple[list[Atoms], list[Atoms]]:
    """Read the training and the test frames that an argument names.

    Parameters
    ----------
    source
        A folder with ``train.xyz`` and ``test.xyz``, as `mgflows export` writes, or the id of a
        dataset, of which the family split is taken.
    directory
        Directory of the database's settings.

    Raises
    ------
    InputError
        If the folder lacks a file, or there is no such dataset.
    """
    folder = Path(source)
    if folder.is_dir():
        from mgflows.nep import read_frames

        return read_frames(folder / "train.xyz"), read_frames(folder / "test.xyz")
    if folder.exists() or os.sep in source:
        raise InputError(
            f"{source} is not a folder with train.xyz and test.xyz",
            hint="give such a folder, as `mgflows export` writes, or the id of a dataset",
        )
    from mgflows.cli.options import open_database

    database = open_database(directory)
    dataset = database.dataset(source)
    train, test = (
        database.load([frame for frame in dataset.frames if frame.test["family"] is is_test])
        for is_test in (False, True)
    )
    return train, test
