"""Tiny jobs that leave a line in a journal, by which tests count how often each really ran."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from jobflow import Flow, JobConfig, OnMissing, Response, job


def _note(journal: str, name: str) -> None:
    with open(journal, "a") as stream:
        stream.write(f"{name} {os.getpid()}\n")


def ran(journal: Path) -> list[str]:
    """The names of the jobs that ran, in order."""
    return (
        [line.split()[0] for line in journal.read_text().splitlines()] if journal.exists() else []
    )


def pids(journal: Path) -> dict[str, int]:
    """Name of the job to process id of its last run."""
    lines = journal.read_text().splitlines() if journal.exists() else []
    return {line.split()[0]: int(line.split()[1]) for line in lines}


@job
def add(journal: str, name: str, a: float, b: float, seconds: float = 0.0) -> float:
    sys.stdout.write(f"adding {a} and {b}\n")
    _note(journal, name)
    time.sleep(seconds)
    return a + b


@job(data=["values"])
def arrays(journal: str, name: str, n: int) -> dict[str, object]:
    _note(journal, name)
    return {"values": [float(i) for i in range(n)], "n": n}


@job
def total(journal: str, name: str, values: list[float]) -> float:
    _note(journal, name)
    return sum(values)


@job
def fail(journal: str, name: str, message: str = "no such luck") -> float:
    _note(journal, name)
    raise ValueError(message)


@job
def fan_out(journal: str, name: str, n: int, start: object = 0.0) -> Response:
    """Replace itself by n additions."""
    _note(journal, name)
    jobs = [add(journal, f"{name}-{i}", float(i), 1.0) for i in range(n)]
    return Response(replace=Flow(jobs, output=[j.output for j in jobs]))


@job(config=JobConfig(resolve_references=False))
def fan_out_references(journal: str, name: str, earlier: list[object]) -> Response:
    """Replace itself by jobs that refer to outputs of earlier ones."""
    _note(journal, name)
    jobs = [add(journal, f"{name}-{i}", reference, 1.0) for i, reference in enumerate(earlier)]
    return Response(replace=Flow(jobs))


@job(config=JobConfig(on_missing_references=OnMissing.NONE))
def collect(journal: str, name: str, values: list[float | None]) -> dict[str, int]:
    _note(journal, name)
    return {"there": sum(v is not None for v in values), "missing": sum(v is None for v in values)}


@job
def verdict(journal: str, passed: bool, reason: str) -> dict[str, object]:
    """Return the verdict of a gate."""
    _note(journal, "verdict")
    return {"passed": passed, "reason": reason}


@job
def large(journal: str, name: str, megabytes: int) -> list[str]:
    """Return an output of a given size in MB."""
    _note(journal, name)
    return ["x" * 1_000_000] * megabytes


@job(data=["values"])
def stamped(journal: str, name: str, seconds: float) -> dict[str, object]:
    """Return the id of the process, and an array of it."""
    _note(journal, name)
    time.sleep(seconds)
    return {"values": [float(os.getpid())] * 1000, "pid": os.getpid()}


@job
def write_checkpoint(journal: str, name: str, fail: bool = False) -> str:
    """Write checkpoints of both kinds."""
    import numpy as np

    from mgflows.checkpoints import RunCheckpoint
    from mgflows.surrogate.checkpoint import write_arrays

    _note(journal, name)
    write_arrays("checkpoint-a.npz", {"x": np.zeros(3)})
    saved = RunCheckpoint(Path("checkpoint-b.npz"), "b")
    saved._written = -60.0
    saved.write(lambda: {"x": np.zeros(3)})
    if fail:
        raise ValueError("no such luck")
    return name
