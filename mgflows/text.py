"""Text for people: durations, counts and lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["format_duration", "listed", "plural", "sentence"]


def format_duration(seconds: float) -> str:
    """Return a time in s as text with two units at most.

    Examples
    --------
    >>> [format_duration(seconds) for seconds in (4.25, 34, 372, 7500, 180000)]
    ['4.2 s', '34 s', '6 min 12 s', '2 h 5 min', '2 d 2 h']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if 0.0 < seconds < 9.95 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


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


def sentence(text: str) -> str:
    """Return the text with a capital letter and a full stop; an empty text stays empty."""
    text = text.strip()
    return text and text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
