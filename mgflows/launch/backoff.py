"""Records of workers that cannot run jobs, so that no further ones are submitted.

A worker that finds its machine unusable ends within seconds and leaves the queue of jobs as it is,
so that ``qlaunch`` would submit the next one at once, without end. The queue adapter
(:mod:`mgflows.launch.queue_adapter`) waits longer after each of them, and stops at a limit.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from mgflows.errors import clean_text
from mgflows.launch.processes import server_time

if TYPE_CHECKING:
    from pymongo.database import Database

__all__ = ["UnusableWorkers", "forget_unusable", "record_unusable", "unusable_workers"]

_COLLECTION = "unusable_workers"
_WINDOW = timedelta(minutes=30)
"""Age in s above which records do not count, so that a repaired machine is used again."""
_TOLERATED = 2
_FIRST_WAIT, _LONGEST_WAIT = 15.0, 240.0
"""Longest wait in s, below the 600 s after which a reservation without a batch job is stuck."""


@dataclass(frozen=True)
class UnusableWorkers:
    """The recent workers of a category that could not run jobs.

    Attributes
    ----------
    number
        Their number since the last worker that could run jobs.
    reason, host
        Reason and host of the last one; empty if there is none.
    last
        Time of the last one; None if there is none.
    """

    number: int
    reason: str = ""
    host: str = ""
    last: datetime | None = None

    @property
    def wait_seconds(self) -> float:
        """Wait before the next submission, s; it doubles with each worker."""
        if self.number <= _TOLERATED:
            return 0.0
        return min(_FIRST_WAIT * 2.0 ** (self.number - _TOLERATED - 1), _LONGEST_WAIT)

    @property
    def until(self) -> datetime | None:
        """Time at which the records expire; None if there is none."""
        return self.last + _WINDOW if self.last else None


def record_unusable(database: Database, categories: list[str], reason: str) -> None:
    """Record that a worker for these categories (empty: for all) cannot run jobs on this host."""
    document: dict[str, Any] = {
        "categories": categories,
        "host": socket.gethostname(),
        "reason": clean_text(reason, 1000),
        # The clock of this machine may be the reason.
        "time": server_time(database.client),
    }
    collection = database[_COLLECTION]
    collection.create_index("time", expireAfterSeconds=int(_WINDOW.total_seconds()))
    collection.insert_one(document)


def forget_unusable(database: Database, categories: list[str]) -> None:
    """Remove the records of these categories (empty: all), because a worker ran a job."""
    database[_COLLECTION].delete_many({"categories": {"$in": categories}} if categories else {})


def unusable_workers(database: Database, category: str) -> UnusableWorkers:
    """The recent workers of a category that could not run jobs."""
    query = {
        "categories": {"$in": [category, []]},
        "time": {"$gt": server_time(database.client) - _WINDOW},
    }
    rows = list(database[_COLLECTION].find(query).sort("time", -1).limit(1000))
    if not rows:
        return UnusableWorkers(0)
    last = rows[0]["time"].replace(tzinfo=UTC)
    return UnusableWorkers(len(rows), rows[0]["reason"], rows[0]["host"], last)
