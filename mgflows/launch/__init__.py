"""The FireWorks side: compile flows, keep a private MongoDB, run workers, bring interrupted work back.

Everything is imported on first use, because FireWorks takes seconds to import.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mgflows.launch.campaigns import Advance, Submission, advance, submit, submit_campaign
    from mgflows.launch.local import LocalLauncher
    from mgflows.launch.mongod import PrivateMongod
    from mgflows.launch.progress import Progress, read_progress
    from mgflows.launch.recovery import Recovery, recover
    from mgflows.launch.workflows import to_workflows

__all__ = [
    "Advance",
    "LocalLauncher",
    "PrivateMongod",
    "Progress",
    "Recovery",
    "Submission",
    "advance",
    "read_progress",
    "recover",
    "submit",
    "submit_campaign",
    "to_workflows",
]

_HOME = {
    "Advance": "campaigns",
    "LocalLauncher": "local",
    "PrivateMongod": "mongod",
    "Progress": "progress",
    "Recovery": "recovery",
    "Submission": "campaigns",
    "advance": "campaigns",
    "read_progress": "progress",
    "recover": "recovery",
    "submit": "campaigns",
    "submit_campaign": "campaigns",
    "to_workflows": "workflows",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
