"""Signals (walltime, preemption, Ctrl-C) as orderly ends: a job is interrupted, FireWorks' bookkeeping never is."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


class Interrupted(BaseException):
    """A job did not fail but was ended from outside, and can run again.

    It derives from BaseException so that an ``except Exception`` in a job does not take it for a failure of the job.
    """

    def to_dict(self) -> dict[str, Any]:
        """What FireWorks stores with the launch."""
        return {"interrupted": True, "reason": str(self)}


class StopRequest:
    """Whether this process was asked to stop, and why.

    Attributes
    ----------
    reason
        Why; None as long as nobody requested.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._job_runs = False

    def listen(self) -> None:
        """Turn SIGTERM, SIGUSR1 and SIGINT into requests to stop."""
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def ask(self, reason: str) -> None:
        """Ask this process to stop before its next job."""
        self.reason = self.reason or reason

    @contextmanager
    def job(self) -> Iterator[None]:
        """The part of a firework during which a signal raises `Interrupted`; everywhere else the process stops before its next job."""
        if self.reason is not None:
            raise Interrupted(self.reason)
        self._job_runs = True
        try:
            yield
        finally:
            self._job_runs = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.ask(f"{signal.Signals(number).name} (walltime, preemption or somebody who stopped it)")
        if self._job_runs:
            # Once: what the job does to end in good order is not to be interrupted again.
            self._job_runs = False
            raise Interrupted(self.reason)


# Signals belong to the process, so there is one of these in it.
stop_request = StopRequest()
