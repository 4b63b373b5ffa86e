"""The identity of a process, from which other processes determine whether it still runs."""

from __future__ import annotations

import logging
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgflows.settings import batch_job

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymongo import MongoClient

logger = logging.getLogger(__name__)


def identity() -> dict[str, Any]:
    """Describe this process so that another one can determine whether it still runs.

    Returns
    -------
    dict
        `host`, `pid`, `kernel` (boot and process namespace: processes see each other only if it is
        equal) and `started` (clock ticks since boot: a later process with the same id has another
        value); in a job of a batch system also `batch_job` (see
        :func:`mgflows.settings.batch_job`), to look it up in the queue.
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
    """Lead of this machine's clock over that of the database server, s.

    Times in the database are written by the clock of one machine and read by another; all of them
    are compared with the server's.
    """
    before = datetime.now(UTC)
    theirs = client.admin.command("hello")["localTime"].replace(tzinfo=UTC)
    after = datetime.now(UTC)
    # The server read its clock at some time in between.
    return ((before - theirs) + (after - theirs)).total_seconds() / 2


def server_time(client: MongoClient) -> datetime:
    """Time by the database server's clock, the common reference of all machines."""
    return datetime.now(UTC) - timedelta(seconds=clock_ahead(client))


def is_known_dead(who: Mapping[str, Any]) -> bool | None:
    """Whether the process that `identity` described has ended.

    Returns
    -------
    bool or None
        None if it ran on another machine or in another process namespace.
    """
    if "pid" not in who or who.get("kernel") != _kernel():
        return None
    pid = int(who["pid"])
    return not (is_alive(pid) and _start_ticks(pid) == who.get("started"))


def was_restarted(who: Mapping[str, Any]) -> bool:
    """Whether this machine was restarted since the process that `identity` described started."""
    boot = str(who.get("kernel", "")).partition("/")[0]
    return (
        bool(boot)
        and who.get("host") == socket.gethostname()
        and boot != _kernel().partition("/")[0]
    )


def end_if_forked(parent: int) -> None:
    """End this process at once if it is not `parent`, but a child that a job forked.

    Such a child would return from the job as a second worker: store its output, record its error as
    that of the job, and take jobs.
    """
    if os.getpid() != parent:
        logger.warning("a process that the job forked has left the job; it ends here")
        os._exit(1)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    fields = _stat(pid)
    return fields is not None and fields[0] not in ("Z", "X")


def _start_ticks(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat after the process name (man 5 proc)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None


def _kernel() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
