"""The result of a check of `mgflows doctor`: a verdict, what was found, and how to fix it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from mgflows.errors import MgflowsError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Finding", "Verdict", "error_as_finding", "installed_version"]


class Verdict(enum.StrEnum):
    """Severity of a finding.

    `WARNING`: an optional feature is unavailable; `ERROR`: must be fixed.
    """

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes
    ----------
    check
        The subject of the check.
    verdict
        OK, WARNING or ERROR.
    reason
        What was found.
    hint
        How to fix it; empty if the verdict is OK.
    """

    check: str
    verdict: Verdict
    reason: str
    hint: str = ""


def error_as_finding(check: str, look: Callable[[], Finding]) -> Finding:
    """Run a check and return an error that it raises as its finding."""
    try:
        return look()
    except MgflowsError as error:
        return Finding(check, Verdict.ERROR, error.message, error.hint)


def installed_version(name: str) -> str | None:
    """Version of a Python package; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
