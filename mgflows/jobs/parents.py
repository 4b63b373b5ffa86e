"""Reasons of failed parents, for jobs that run in spite of them."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Reasons = Callable[[], dict[str, str]]

__all__ = ["failed_parents", "with_failed_parents"]

_REASONS: ContextVar[Reasons | None] = ContextVar("reasons of failed parents", default=None)


def failed_parents() -> dict[str, str]:
    """Return name and reason of the failed parents of the running job.

    Empty if all parents succeeded, or if the launcher of the job does not give reasons.
    """
    reasons = _REASONS.get()
    return {} if reasons is None else reasons()


@contextmanager
def with_failed_parents(reasons: Reasons) -> Iterator[None]:
    """Let the job that runs in this context read the reasons of its failed parents."""
    token = _REASONS.set(reasons)
    try:
        yield
    finally:
        _REASONS.reset(token)
