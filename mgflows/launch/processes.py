"""Who runs a job: a process that others can recognise, and tell alive from dead."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgflows.settings import batch_job

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymongo import MongoClient


def identity() -> dict[str, Any]:
    """Describe this process so that another one can find out whether it still lives.

    Returns
    -------
    dict
        `host`, `pid`, `kernel` (boot and process namespace: two processes see each other only if it is equal) and `started` (clock
        ticks since boot: a later process with the same id has another one); in a job of a batch system also `batch_job`
        (see :func:`mgflows.settings.batch_job`), which others can ask the queue for.
    """
    me: dict[str, Any] = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "kernel": _kernel(),
        "started": _start_ticks(os.getpid()),
    }
    if (job := batch_job()) is not None:
        me["batch_job"] = job
    return me


def clock_ahead(client: MongoClient) -> float:
    """How far the clock of this machine is ahead of the database server's, s.

    Times in the database are written by one machine's clock and read by another; all of them know how far they are off the server's.
    """
    before = datetime.now(UTC)
    theirs = client.admin.command("hello")["localTime"].replace(tzinfo=UTC)
    after = datetime.now(UTC)
    # The server read its clock somewhere in between.
    return ((before - theirs) + (after - theirs)).total_seconds() / 2


def is_known_dead(who: Mapping[str, Any]) -> bool | None:
    """Whether the process that `identity` described has ended.

    Returns
    -------
    bool or None
        None if it ran where this process cannot look.
    """
    if "pid" not in who or who.get("kernel") != _kernel():
        return None
    pid = int(who["pid"])
    return not (is_alive(pid) and _start_ticks(pid) == who.get("started"))


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent to notice does not."""
    fields = _stat(pid)
    return fields is not None and fields[0] not in ("Z", "X")


def _start_ticks(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on (man 5 proc); the name before them may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _kernel() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
