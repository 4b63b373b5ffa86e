"""The FireWorks side: compile flows, keep a private MongoDB, run workers, bring interrupted work back.

Everything is imported on first use, because FireWorks takes seconds to import.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mgflows.launch.local import LocalLauncher
    from mgflows.launch.mongod import PrivateMongod
    from mgflows.launch.progress import Progress, read_progress
    from mgflows.launch.recovery import Recovery, recover
    from mgflows.launch.workflows import Submission, submit, to_workflows

__all__ = [
    "LocalLauncher",
    "PrivateMongod",
    "Progress",
    "Recovery",
    "Submission",
    "read_progress",
    "recover",
    "submit",
    "to_workflows",
]

_HOME = {
    "LocalLauncher": "local",
    "PrivateMongod": "mongod",
    "Progress": "progress",
    "Recovery": "recovery",
    "Submission": "workflows",
    "read_progress": "progress",
    "recover": "recovery",
    "submit": "workflows",
    "to_workflows": "workflows",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
