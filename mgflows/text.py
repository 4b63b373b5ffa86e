"""Sentences for people: counts with nouns, lists, and rounded numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "files_exist",
    "format_hours",
    "listed",
    "plural",
    "rounded",
    "sentence",
    "with_error",
]


def plural(number: int, noun: str) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> plural(1, "glass"), plural(3, "glass"), plural(2, "family")
    ('1 glass', '3 glasses', '2 families')
    """
    if number == 1:
        return f"1 {noun}"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{number} {noun[:-1]}ies"
    return f"{number} {noun}{'es' if noun.endswith(('s', 'ch', 'x')) else 's'}"


def listed(words: Sequence[str]) -> str:
    """Return words as a list in a sentence: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def files_exist(paths: Sequence[str]) -> str:
    """Begin a sentence on existing files: ``a.txt and 3 more files exist``."""
    first, *others = paths
    if not others:
        return f"{first} exists"
    more = others[0] if len(others) == 1 else f"{len(others)} more files"
    return f"{first} and {more} exist"


def sentence(text: str) -> str:
    """Return the text with a capital letter and a full stop; an empty text stays empty."""
    text = text.strip()
    return text and text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def rounded(value: float | None) -> str:
    """Return a number with at least three significant digits; an empty text for None."""
    if value is None:
        return ""
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e7 else f"{value:.3g}"


def with_error(value: float, error: float | None, sign: str = "±") -> str:
    """Return a value with its error, both to the second digit of the error.

    Examples
    --------
    >>> with_error(631.8, 162.0), with_error(6.98166, 0.00063), with_error(0.0004251, None)
    ('630 ± 160', '6.98166 ± 0.00063', '0.0004251')
    """
    if error is None or not math.isfinite(error) or error <= 0.0:
        return f"{value:.4g}"
    digits = 1 - math.floor(math.log10(error))
    if digits > 6:
        return f"{value:.3g} {sign} {error:.1e}"
    places = max(digits, 0)
    return f"{round(value, digits):.{places}f} {sign} {round(error, digits):.{places}f}"


def format_hours(hours: float) -> str:
    """Return a time in h; small ones as ``<0.001``."""
    return "<0.001" if 0.0 < hours < 0.001 else rounded(hours)
