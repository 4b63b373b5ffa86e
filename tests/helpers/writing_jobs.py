"""Jobs that need space on the disk where they run."""

from __future__ import annotations

import sys
from pathlib import Path

from jobflow import job

from tests.helpers.jobs import _note


@job
def write(journal: str, name: str, n_bytes: int) -> int:
    """Write a file of a given number of bytes in the launch directory."""
    Path("trajectory.bin").write_bytes(b"x" * n_bytes)
    _note(journal, name)
    return n_bytes


@job
def say(journal: str, name: str, n_bytes: int) -> int:
    """Print a given number of bytes."""
    sys.stdout.write("x" * n_bytes)
    _note(journal, name)
    return n_bytes
