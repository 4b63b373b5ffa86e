"""What a check of `mgflows doctor` says: a verdict, what was found, and what mends it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from mgflows.errors import MgflowsError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Finding", "Verdict", "installed_version", "judged"]


class Verdict(enum.StrEnum):
    """How serious a finding is.

    `WARNING`: an optional feature is unavailable; `ERROR`: must be fixed.
    """

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes
    ----------
    check
        What was looked at.
    verdict
        Whether it is good.
    reason
        What was found.
    hint
        What to do about it; empty if it is good.
    """

    check: str
    verdict: Verdict
    reason: str
    hint: str = ""


def judged(check: str, look: Callable[[], Finding]) -> Finding:
    """Turn the error a check raises into a finding; those of mgflows end with the mend."""
    try:
        return look()
    except MgflowsError as error:
        reason, _, hint = str(error).rpartition("; ")
        return Finding(check, Verdict.ERROR, reason or hint, hint)


def installed_version(name: str) -> str | None:
    """Version of a Python package; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
