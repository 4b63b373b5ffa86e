"""Choice of the reader of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mgflows.database.imports.deepmd import find_systems, read_deepmd
from mgflows.database.imports.extxyz import read_ase_database, read_extxyz
from mgflows.database.imports.vasp import is_archive, is_calculation, read_vasp
from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mgflows.database.imports.foreign import ForeignFrame, Format, Reading

__all__ = ["find_format", "read_foreign"]

_SUFFIXES: dict[str, Format] = {
    ".xyz": "extxyz",
    ".extxyz": "extxyz",
    ".db": "ase-db",
}


def find_format(path: Path) -> Format:
    """Recognise the format of a file or folder by its name and content.

    Raises
    ------
    InputError
        If it does not exist, or is of none of the formats.
    """
    if not path.exists():
        raise InputError(f"there is no file {path}", hint="check the path")
    if path.is_dir():
        return "deepmd" if find_systems(path) else "vasp"
    if is_archive(path) or is_calculation(path.name):
        return "vasp"
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    found = _SUFFIXES.get(suffixes[-1].lower()) if suffixes else None
    if found is None:
        raise InputError(
            f"the format of {path} is not known from its name",
            hint="give it with --format: extxyz, ase-db, vasp or deepmd",
        )
    return found


def read_foreign(path: Path, reading: Reading) -> Iterator[ForeignFrame]:
    """Yield the labelled frames of a file, a folder or an archive, one at a time.

    Parameters
    ----------
    path
        The file or folder.
    reading
        How it is read.

    Raises
    ------
    InputError
        If it is of another format, or holds nothing to read.
    """
    form = reading.format or find_format(path)
    if not path.exists():
        raise InputError(f"there is no file {path}", hint="check the path")
    if form == "deepmd":
        return read_deepmd(path, reading)
    if form == "vasp":
        return read_vasp(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder", hint="give a file, or another --format")
    return read_ase_database(path, reading) if form == "ase-db" else read_extxyz(path, reading)
