"""What the page is made of, and how numbers become words."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Panel:
    """One figure on the page.

    Parameters
    ----------
    name
        Anchor and prefix of the ids inside the SVG; unique on the page.
    label
        Which figure of the paper it answers to, such as ``Fig. 2a``; empty where the paper has none.
    title
        What it shows.
    svg
        The figure.
    caption
        How to read it and what is scaled down.
    """

    name: str
    label: str
    title: str
    svg: str
    caption: str


@dataclass(frozen=True)
class Table:
    """A table; the first column is text, the others are numbers. ``groups`` are labels over several columns, with their number."""

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""
    groups: tuple[tuple[str, int], ...] = ()
    emphasised_rows: tuple[int, ...] = ()


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
        What is seen, from the numbers.
    panels, tables
        Figures and tables.
    missing
        What is not there and why, one sentence each.
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
    """``25.3 ± 0.4``, or the value alone where its error is not known."""
    text = f"{value:.{digits}f}"
    return f"{text} ± {error:.{digits}f}" if math.isfinite(error) else text


def compact(value: float) -> str:
    """An error with at most one decimal: ``4.6``, ``37.3``, ``117``."""
    return f"{value:.1f}" if abs(value) < 99.95 else f"{value:.0f}"


def plural(number: int, noun: str) -> str:
    """``1 glass``, ``3 glasses``, ``2 families``."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{number} {noun[:-1]}ies"
    return f"{number} {noun}{'es' if noun.endswith(('s', 'ch', 'x')) else 's'}"


def listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def sentence(text: str) -> str:
    """The text with a capital and a full stop; empty text stays empty."""
    text = text.strip()
    return text and text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def scaled_down(text: str) -> str:
    """The note that ends a caption where something is smaller than in the paper."""
    return sentence(f"Scaled down: {text}") if text else ""
