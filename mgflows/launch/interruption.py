"""Signals (walltime, preemption, Ctrl-C) as orderly ends of jobs.

A signal interrupts the job, but never FireWorks' bookkeeping around it.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


class Interrupted(BaseException):
    """A job did not fail but was ended from outside, and can be rerun.

    It derives from BaseException so that an ``except Exception`` in a job does not catch it.
    """

    def to_dict(self) -> dict[str, Any]:
        """Values that FireWorks stores with the launch."""
        return {"error": type(self).__name__, "interrupted": True, "reason": str(self)}


class StopRequest:
    """A request to this process to stop, with its reason.

    Attributes
    ----------
    reason
        The reason; None without a request.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._job_runs = False

    def listen(self) -> None:
        """Turn SIGTERM, SIGUSR1 and SIGINT into requests to stop."""
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def request(self, reason: str) -> None:
        """Request this process to stop before its next job."""
        self.reason = self.reason or reason

    @contextmanager
    def job(self) -> Iterator[None]:
        """The part of a firework during which a signal raises `Interrupted`.

        Outside of it a signal stops the process before its next job.
        """
        if self.reason is not None:
            raise Interrupted(self.reason)
        self._job_runs = True
        try:
            yield
        finally:
            self._job_runs = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        name = signal.Signals(number).name
        self.request(f"{name} (walltime, memory limit, preemption or a user's request)")
        if self._job_runs:
            # Only once: the job's orderly end must not be interrupted again.
            self._job_runs = False
            raise Interrupted(self.reason)


# Signals belong to the process, so that there is one object per process.
stop_request = StopRequest()
