"""Consoles and tables of the command line.

A table fits a terminal of 80 columns, leaves out its less important columns with a note, or folds
its longest texts; nothing is cut off. Without a terminal (a pipe or a file) tables are complete and
lines are as long as they need to be, so that ``grep`` finds whole values; the variable COLUMNS sets
another width. Lines in a pipe end without the blanks that fill a column.
"""

from __future__ import annotations

import re
import sys
from typing import IO, TYPE_CHECKING, TextIO, TypeAlias, cast

from mgflows.text import rounded

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

__all__ = ["Cell", "make_console", "make_table", "print_table"]

Cell: TypeAlias = "str | Text | float | None"

_NO_LIMIT = 10_000
"""Width of a pipe in columns; rich would assume 80."""


def make_console(*, stderr: bool = False) -> Console:
    """Return a console for standard output or standard error."""
    from rich.console import Console

    from mgflows.settings import columns_of_environment

    stream = sys.stderr if stderr else sys.stdout

    class _Console(Console):
        def on_broken_pipe(self) -> None:
            """Leave it to the command, whose exit code is not that of a problem."""
            raise BrokenPipeError

    if stream.isatty():
        return _Console(stderr=stderr, highlight=False)
    width = _NO_LIMIT if columns_of_environment() is None else None
    return _Console(file=cast("IO[str]", _Trimmed(stream)), highlight=False, width=width)


class _Trimmed:
    """A stream that drops blanks at the ends of lines, with which rich fills columns.

    Parameters
    ----------
    stream
        Where the text goes; each write has whole lines.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = stream.encoding

    def write(self, text: str) -> int:
        """Write a text."""
        return self._stream.write(re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE))

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()


def make_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell] | None],
    *,
    numbers: Collection[str] = (),
    title: str = "",
) -> Table:
    """Return a table.

    Parameters
    ----------
    columns
        Titles.
    rows
        Cells; texts are printed as they are, without markup. A row that is None draws a line.
    numbers
        Titles of the columns that are right-aligned and never folded.
    title
        Title of the table.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD,
        title=Text(title, style="bold") if title else None,
        title_justify="left",
        collapse_padding=True,
        pad_edge=False,
    )
    for column in columns:
        numeric = column in numbers
        table.add_column(
            column,
            justify="right" if numeric else "left",
            no_wrap=numeric,
            overflow="fold",
        )
    for row in rows:
        if row is None:
            table.add_section()
            continue
        table.add_row(*(cell if isinstance(cell, Text) else Text(_words(cell)) for cell in row))
    return table


def print_table(
    console: Console,
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    numbers: Collection[str] = (),
    optional: Sequence[str] = (),
    title: str = "",
) -> None:
    """Print a table without those of its columns that the console has no room for.

    Parameters
    ----------
    console
        Where to print.
    columns, rows, numbers, title
        As for :func:`make_table`.
    optional
        Titles of columns that may be left out, the first one first. A line below the table names
        those that are.
    """
    from rich.measure import Measurement

    rows = [tuple(row) for row in rows]
    left_out: list[str] = []

    def table() -> Table:
        shown = [index for index, title in enumerate(columns) if title not in left_out]
        return make_table(
            [columns[index] for index in shown],
            ([row[index] for index in shown] for row in rows),
            numbers=numbers,
            title=title,
        )

    for column in optional:
        width = Measurement.get(console, console.options, table()).maximum
        # rich clips the measurement to the width of the console.
        if width < console.width:
            break
        left_out.append(column)
    console.print(table())
    if left_out:
        console.print(
            f"not shown for lack of space: {', '.join(left_out)}; a pipe or --json has everything",
            style="dim",
        )


def _words(cell: str | float | None) -> str:
    return rounded(cell) if isinstance(cell, float) else "" if cell is None else str(cell)
