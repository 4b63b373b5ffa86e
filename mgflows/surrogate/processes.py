"""Tasks in parallel processes, none of which outlives the process that started them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, resource_tracker
from typing import TYPE_CHECKING, TypeVar

from mgflows.errors import ServiceError
from mgflows.subprocesses import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableSequence, Sequence

__all__ = ["available_cores", "run_in_processes"]

_POLL_SECONDS = 0.3

Task = TypeVar("Task")
Result = TypeVar("Result")


def available_cores() -> int:
    """Number of cores on which this process may run."""
    return len(os.sched_getaffinity(0))


def run_in_processes(
    function: Callable[[Task, Callable[[int], None]], Result],
    tasks: Sequence[Task],
    n_processes: int,
    progress: Callable[[Sequence[int]], None] | None = None,
) -> Iterator[tuple[int, Result]]:
    """Run a function on every task in parallel processes that end with this one.

    Parameters
    ----------
    function
        Takes a task and a function to be called with the work done so far in it. Must be importable
        by a new process. A process receives SIGTERM when this one ends for any reason, so that a
        cooling with a checkpoint is saved.
    tasks
        The tasks, started in this order.
    n_processes
        Number of processes that run at the same time.
    progress
        Called several times a second with the work done in each task.

    Yields
    ------
    index, result
        In the order in which the tasks end.

    Raises
    ------
    ServiceError
        If a process was killed.
    """
    if not tasks:
        return
    context = get_context("spawn")
    done = context.Array("q", len(tasks), lock=False)
    with _processes_without_interrupts():
        pool = ProcessPoolExecutor(
            min(n_processes, len(tasks)),
            mp_context=context,
            initializer=_start,
            initargs=(os.getpid(), done),
        )
    try:
        with _processes_without_interrupts():
            numbers = {
                pool.submit(_run, function, task, number): number
                for number, task in enumerate(tasks)
            }
        pending = set(numbers)
        while pending:
            ended, pending = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            for future in ended:
                yield numbers[future], future.result()
            if progress is not None:
                progress(list(done))
    except BrokenProcessPool as error:
        raise ServiceError(
            "a process was killed, perhaps for lack of memory",
            hint="run it again to resume, with fewer processes at a time",
        ) from error
    finally:
        # A cooling saves its checkpoint on SIGTERM.
        for process in multiprocessing.active_children():
            process.terminate()
        pool.shutdown(cancel_futures=True)


_done: MutableSequence[int] = []
"""In a process of the pool: the work done by task, shared with the parent."""


def _start(parent: int, done: MutableSequence[int]) -> None:
    global _done
    _done = done
    logging.getLogger("mgflows").setLevel(logging.ERROR)
    if not end_with_parent(parent, signal.SIGTERM):
        raise SystemExit(1)


def _run(
    function: Callable[[Task, Callable[[int], None]], Result], task: Task, number: int
) -> Result:
    def note(work: int) -> None:
        _done[number] = work

    return function(task, note)


@contextmanager
def _processes_without_interrupts() -> Iterator[None]:
    """Start processes that ignore Ctrl-C of the terminal; this process ends them.

    A signal that this process receives in the meantime takes effect at the end. SIGTERM must not be
    blocked, because the processes inherit what is blocked, and end by SIGTERM.
    """
    signals = (signal.SIGINT, signal.SIGHUP)
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        # The start of the tracker unblocks SIGINT.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        with _postponed(signal.SIGTERM):
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


@contextmanager
def _postponed(number: signal.Signals) -> Iterator[None]:
    """Handle a signal at the end; a handler that raises would leave a process half started."""
    if threading.current_thread() is not threading.main_thread():
        # Handlers run in the main thread.
        yield
        return
    received = []
    previous = signal.signal(number, lambda *arguments: received.append(arguments))
    try:
        yield
    finally:
        signal.signal(number, previous)
        if received:
            signal.raise_signal(number)
