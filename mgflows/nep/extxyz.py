"""The syntax of extended XYZ files, read frame by frame: what the keys mean is up to the caller.

A frame is a line with the number of atoms, a line with ``key=value`` entries, and a line per atom
whose columns the entry ``Properties`` names.
"""

from __future__ import annotations

import gzip
import re
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

    from numpy.typing import NDArray

__all__ = ["Block", "blocks"]

_ENTRY = re.compile(
    r"""
    (?P<key>"[^"]*"|'[^']*'|[^\s=]+) \s*=\s*
    (?P<value>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\{[^}]*\}|\[[^\]]*\]|\S*)
    | \S+
    """,
    re.VERBOSE,
)
"""``key=value`` of a comment line, the value quoted where it has blanks; or a word alone."""


@dataclass(frozen=True)
class Block:
    """The text of one frame.

    Attributes
    ----------
    line
        Number of its first line in the file, from 1.
    comment
        Its second line.
    rows
        The lines of its atoms.
    """

    line: int
    comment: str
    rows: list[str]

    @contextmanager
    def naming(self, path: Path) -> Iterator[None]:
        """Turn errors of reading values into an :class:`InputError` that names file and line."""
        try:
            yield
        except (ValueError, IndexError, KeyError) as error:
            raise InputError(
                f"the frame at line {self.line} of {path} cannot be read: {error}"
            ) from error

    @cached_property
    def entries(self) -> dict[str, str]:
        """Values of the second line by key, without quotes; lists as words."""
        entries: dict[str, str] = {}
        for match in _ENTRY.finditer(self.comment):
            key, value = match["key"], match["value"]
            if key is None:
                continue
            key = key.strip("\"'")
            if key.lower() in ("lattice", "properties", "pbc"):
                key = key.lower()
            if value[:1] in ("'", '"'):
                value = re.sub(r"\\(.)", r"\1", value[1:-1])
            elif value[:1] in ("{", "["):
                value = value[1:-1].replace(",", " ")
            if entries.setdefault(key, value) != value:
                raise ValueError(
                    f"its second line gives {key}= twice with different values; remove the wrong "
                    "one"
                )
        for key in ("lattice", "properties"):
            if key not in entries:
                raise ValueError(f"its second line has no {key}=")
        return entries

    @cached_property
    def columns(self) -> dict[str, slice]:
        """Columns of the atoms by name."""
        columns: dict[str, slice] = {}
        parts = self.entries["properties"].split(":")
        offset = 0
        for name, _, width in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            if name.lower() in {known.lower() for known in columns}:
                raise ValueError(f"its properties name the column {name} twice")
            columns[name] = slice(offset, offset + int(width))
            offset += int(width)
        return columns

    @property
    def cell(self) -> NDArray[np.float64]:
        """(3, 3) lattice vectors in rows."""
        return np.array(self.entries["lattice"].split(), dtype=float).reshape(3, 3)

    def words(self, column: str) -> list[str]:
        """The first word of each atom in a column."""
        start = self.columns[column].start
        return [row[start] for row in self._table]

    def symbols(self, column: str) -> list[str]:
        """The chemical symbols of the atoms, checked."""
        from ase.data import atomic_numbers

        symbols = self.words(column)
        for number, symbol in enumerate(symbols):
            if atomic_numbers.get(symbol, 0) < 1:
                raise ValueError(
                    f"atom {number} has the species {symbol!r}, which is not an element"
                )
        return symbols

    @property
    def periodic(self) -> list[bool]:
        """Whether each lattice vector is periodic; all are where the file does not say."""
        words = self.entries.get("pbc", "T T T").split()
        periodic = [word[:1].upper() in ("T", "1") for word in words]
        return periodic * (3 if len(periodic) == 1 else 1)

    def numbers(self, column: str) -> NDArray[np.float64]:
        """(n, width) numbers of a column."""
        return np.array([row[self.columns[column]] for row in self._table], dtype=float)

    @cached_property
    def _table(self) -> list[list[str]]:
        table = [row.split() for row in self.rows]
        width = max(columns.stop for columns in self.columns.values())
        uneven = next((number for number, row in enumerate(table) if len(row) != width), None)
        if uneven is not None:
            raise ValueError(f"atom {uneven} has {len(table[uneven])} columns instead of {width}")
        return table


def blocks(path: Path) -> Iterator[Block]:
    """Yield the frames of a file, of which one is in memory at a time.

    Parameters
    ----------
    path
        The file, which may be compressed with gzip; blank lines between frames are skipped.

    Raises
    ------
    InputError
        If the file cannot be read as text or is cut off: names the line.
    """
    try:
        with _open(path) as stream:
            yield from _blocks(path, stream)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"the frames {path} cannot be read: {error}") from error


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig")
    # Editors of Windows begin a file with a byte order mark.
    return path.open(encoding="utf-8-sig")


def _blocks(path: Path, stream: TextIO) -> Iterator[Block]:
    number = 0
    while line := stream.readline():
        number += 1
        if not line.strip():
            continue
        try:
            n_atoms = int(line)
        except ValueError as error:
            raise InputError(
                f"line {number} of {path} is {line.rstrip()[:60]!r} but must be the number of "
                "atoms of a frame"
            ) from error
        if n_atoms < 1:
            raise InputError(
                f"the frame at line {number} of {path} has {n_atoms} atoms, but a frame has at "
                "least one",
                hint="remove it",
            )
        lines = [each.rstrip("\n") for each in islice(stream, 1 + n_atoms)]
        if len(lines) < 1 + n_atoms:
            raise InputError(
                f"line {number} of {path} declares {n_atoms} atoms, but "
                f"{max(0, len(lines) - 1)} lines are left; the file is cut off"
            )
        yield Block(number, lines[0], lines[1:])
        number += len(lines)
