"""Files that commands read and write, checked before any work starts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from mgflows.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms

__all__ = ["check_output", "force_option", "read_structures"]

force_option = click.option("--force", is_flag=True, help="Overwrite existing files.")


def check_output(path: Path, *, force: bool) -> None:
    """Make sure that a file can be written, before the work whose result it will hold.

    Parameters
    ----------
    path
        The file; its directory is created if it is missing.
    force
        Whether an existing file may be overwritten.

    Raises
    ------
    InputError
        If the file exists, or it or its directory cannot be written.
    """
    directory = path.parent
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the directory {directory} cannot be created: {error.strerror}",
            hint="choose another --output",
        ) from error
    if path.is_dir():
        raise InputError(f"{path} is a directory", hint="choose a file name for --output")
    if path.exists() and not force:
        raise InputError(
            f"{path} exists already", hint="choose another --output or overwrite with --force"
        )
    # Files are replaced by renaming, which needs a writable directory.
    if not os.access(directory, os.W_OK | os.X_OK):
        raise InputError(
            f"the directory {directory} is not writable", hint="choose another --output"
        )


def read_structures(path: Path) -> list[Atoms]:
    """Read all structures in a file of any format that ASE reads.

    Raises
    ------
    InputError
        If the file is missing, cannot be read or holds no structure.
    """
    from ase.io import read

    if not path.exists():
        raise InputError(f"there is no file {path}", hint="check the path")
    if path.is_dir():
        raise InputError(f"{path} is a directory", hint="give a file with structures")
    try:
        structures = read(path, index=":")
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(
            f"{path} cannot be read as structures ({reason})",
            hint="give a file that ASE reads, such as extended XYZ",
        ) from error
    if not structures or any(len(atoms) == 0 for atoms in structures):
        raise InputError(f"{path} holds no structure", hint="give a file with atoms")
    return structures
