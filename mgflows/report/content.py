"""Parts of the page, and numbers as text."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mgflows.text import sentence

if TYPE_CHECKING:
    from mgflows.report.style import Drawing


_CHARACTERS_OF_HALF = 72
"""Characters of a table row in half of a page of 1200 pixels."""


@dataclass(frozen=True)
class Panel:
    """One figure on the page.

    Parameters
    ----------
    name
        Anchor and prefix of the ids inside the SVG; unique on the page.
    label
        Corresponding figure of the paper, such as ``Fig. 2a``; empty if there is none.
    title
        Title of the figure.
    drawing
        The figure.
    caption
        Explanation, and how the quantity is scaled down.
    """

    name: str
    label: str
    title: str
    drawing: Drawing
    caption: str


@dataclass(frozen=True)
class Table:
    """A table; the first column is text, the others are numbers.

    ``groups`` are labels over several columns, each with its number of columns.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""
    groups: tuple[tuple[str, int], ...] = ()
    emphasised_rows: tuple[int, ...] = ()

    @property
    def is_wide(self) -> bool:
        """Whether it is too wide for half of the page."""
        columns = zip(self.header, *self.rows, strict=True)
        return sum(max(map(len, column)) + 2 for column in columns) > _CHARACTERS_OF_HALF


@dataclass(frozen=True)
class Section:
    """One section of the report.

    Parameters
    ----------
    anchor
        Its id on the page.
    name
        One word for the table of contents.
    title
        Heading.
    paragraphs
        Results in words.
    panels, tables
        Figures and tables.
    missing
        Missing results with the reason, one sentence each.
    """

    anchor: str
    name: str
    title: str
    paragraphs: list[str] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Tile:
    """One key number."""

    label: str
    value: str
    unit: str = ""
    note: str = ""


def with_error(value: float, error: float, digits: int = 1) -> str:
    """``25.3 ± 0.4``, or the value alone if its error is unknown."""
    text = f"{value:.{digits}f}"
    return f"{text} ± {error:.{digits}f}" if math.isfinite(error) else text


def slope_with_error(slope: float, error: float) -> str:
    """A slope with as many decimals as its error has, at least two: ``0.132 ± 0.003``."""
    if not math.isfinite(error) or error <= 1e-6 * abs(slope):
        return f"{slope:.2f}"
    return with_error(slope, error, max(2, -math.floor(math.log10(error))))


def compact(value: float) -> str:
    """An error with at most one decimal: ``4.6``, ``37.3``, ``117``."""
    return f"{value:.1f}" if abs(value) < 99.95 else f"{value:.0f}"


def scaled_down(text: str) -> str:
    """The note at the end of a caption if something is smaller than in the paper."""
    return sentence(f"Scaled down: {text}") if text else ""
