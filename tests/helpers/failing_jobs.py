"""Jobs that fail for real reasons."""

from __future__ import annotations

import subprocess
from pathlib import Path

from jobflow import job

from tests.helpers.jobs import _note


@job
def break_down(journal: str, name: str, how: str) -> float:
    """Fail as `how` says, unless a file of that name stands beside the journal."""
    _note(journal, name)
    if (Path(journal).parent / f"mended-{how}").exists():
        return 1.0
    if how == "disk":
        Path("/dev/full").write_text("x" * 100_000)
    elif how == "module":
        import no_such_module  # noqa: F401
    elif how == "program":
        # What the shell says goes to the job's standard error; the exception has only the exit code.
        subprocess.run("no_such_vasp", shell=True, check=True)
    return 0.0
