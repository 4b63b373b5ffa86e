"""The syntax of extended XYZ files, read frame by frame; the caller interprets the keys.

A frame is a line with the number of atoms, a line with ``key=value`` entries, and a line per atom
whose columns the entry ``Properties`` names.
"""

from __future__ import annotations

import gzip
import re
import zlib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import TextIOWrapper
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

    from numpy.typing import NDArray

__all__ = ["Block", "add_entry", "blocks"]

_ENTRY = re.compile(
    r"""
    (?P<key>"[^"]*"|'[^']*'|[^\s=]+) \s*=\s*
    (?P<value>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\{[^}]*\}|\[[^\]]*\]|\S*)
    | \S+
    """,
    re.VERBOSE,
)
"""``key=value`` of a comment line, with a value in quotes if it has blanks; or a single word."""


_TRUTH = {
    **dict.fromkeys(("t", "true", "1", "y", "yes"), True),
    **dict.fromkeys(("f", "false", "0", "n", "no"), False),
}
_GZIP = b"\x1f\x8b"
_LONGEST_COUNT = 1000
"""Number of characters that are read of the line with the number of atoms."""
"""The first bytes of a gzip file."""


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
                f"the frame at line {self.line} of {path} cannot be read: {error}",
                hint="correct the frame or leave it out",
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
            add_entry(entries, key, value)
        for key in ("lattice", "properties"):
            if key not in entries:
                raise ValueError(f"its second line has no {key}=")
        return entries

    @cached_property
    def columns(self) -> dict[str, slice]:
        """Columns of the atoms by name."""
        columns: dict[str, slice] = {}
        text = self.entries["properties"]
        parts = text.split(":")
        if len(parts) % 3 or not all(width.isdigit() and int(width) for width in parts[2::3]):
            raise ValueError(
                f"its properties are {text!r} but must be name:type:width of each column, such as "
                "species:S:1:pos:R:3:forces:R:3"
            )
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
        words = self.entries["lattice"].split()
        if len(words) != 9:
            raise ValueError(
                f"its lattice has {len(words)} numbers but must have nine, three for each vector"
            )
        return np.array(words, dtype=float).reshape(3, 3)

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
        """Whether each lattice vector is periodic; all are if the file does not state it."""
        text = self.entries.get("pbc", "T T T")
        words = text.replace(",", " ").split()
        if len(words) == 1 and len(words[0]) == 3:
            words = list(words[0])
        values = [_TRUTH.get(word.strip(".").lower()) for word in words]
        periodic = [value for value in values if value is not None]
        if len(values) not in (1, 3) or len(periodic) < len(values):
            raise ValueError(f'its pbc= is {text!r} but must be three of T and F, such as "T T T"')
        return periodic * (3 if len(periodic) == 1 else 1)

    def vectors(self, column: str) -> NDArray[np.float64]:
        """(n, 3) numbers of a column."""
        columns = self.columns[column]
        if (width := columns.stop - columns.start) != 3:
            raise ValueError(f"its column {column} has {width} numbers per atom, not three")
        return np.array([row[columns] for row in self._table], dtype=float)

    @cached_property
    def _table(self) -> list[list[str]]:
        table = [row.split() for row in self.rows]
        width = max(columns.stop for columns in self.columns.values())
        uneven = next((number for number, row in enumerate(table) if len(row) != width), None)
        if uneven is not None:
            raise ValueError(f"atom {uneven} has {len(table[uneven])} columns instead of {width}")
        return table


def add_entry(entries: dict[str, str], key: str, value: str) -> None:
    """Add a value to the entries of a comment line, unless it has another one under this key.

    Raises
    ------
    ValueError
        For two values; a number that is written in two ways is one.
    """
    if (known := entries.setdefault(key, value)) == value:
        return
    try:
        same = [float(word) for word in known.split()] == [float(word) for word in value.split()]
    except ValueError:
        same = False
    if not same:
        raise ValueError(
            f"its second line gives {key}= twice with different values; remove the wrong one"
        )


def blocks(path: Path) -> Iterator[Block]:
    """Yield the frames of a file with one in memory at a time.

    Parameters
    ----------
    path
        The file, which may be compressed with gzip under any name; blank lines between frames are
        skipped.

    Raises
    ------
    InputError
        If the file cannot be read as text or is cut off: names the line.
    """
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(path.open("rb"))
            is_compressed = raw.peek(len(_GZIP)).startswith(_GZIP)
            content = stack.enter_context(gzip.open(raw)) if is_compressed else raw
            # Editors on Windows begin a file with a byte order mark.
            yield from _blocks(path, TextIOWrapper(content, encoding="utf-8-sig"))
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(
            f"the frames {path} cannot be read: {reason}", hint="check the path and the file"
        ) from error


def _blocks(path: Path, stream: TextIO) -> Iterator[Block]:
    number = 0
    # Bounded: devices have no line ends.
    while line := stream.readline(_LONGEST_COUNT):
        number += 1
        if not line.strip():
            continue
        try:
            n_atoms = int(line)
        except ValueError as error:
            raise InputError(
                f"line {number} of {path} is {line.rstrip()[:60]!r} but must be the number of "
                "atoms of a frame",
                hint="give frames in extended XYZ",
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
                f"{max(0, len(lines) - 1)} lines are left; the file is cut off",
                hint="copy the file again",
            )
        yield Block(number, lines[0], lines[1:])
        number += len(lines)
