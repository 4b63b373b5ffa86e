"""Processes that a test starts and waits for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from mgflows.launch.processes import is_alive

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["children", "is_alive", "members", "wait_for"]


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until a condition holds; fail if it does not within the time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """Process ids of the children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def members(group: int) -> list[int]:
    """Process ids of the living processes of a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        if entry.name.isdigit() and int(fields[2]) == group and fields[0] != "Z":
            found.append(int(entry.name))
    return found
