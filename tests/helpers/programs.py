"""Stand-ins for programs of the system."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def commands(folder: Path, monkeypatch: pytest.MonkeyPatch, **programs: str) -> None:
    """Put programs on PATH, before all others."""
    folder.mkdir(exist_ok=True)
    for name, script in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def slurm_that_prints(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A squeue that prints a text, on the cluster `here`."""
    folder.mkdir(exist_ok=True)
    (folder / "squeue.txt").write_text(text)
    commands(
        folder,
        monkeypatch,
        squeue=f"cat {folder}/squeue.txt",
        scontrol="echo 'ClusterName             = here'",
    )
