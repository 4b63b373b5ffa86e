"""Progress of a running job: a small file in its working directory, which launchers show."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mgflows.files import write_text

__all__ = ["CHECKPOINTS", "PROGRESS_FILE", "JobProgress", "read_progress"]

PROGRESS_FILE = "mgflows_progress.json"
_SECONDS_BETWEEN_WRITES = 0.5

CHECKPOINTS = ("checkpoint-*", "nep")
"""Files and folders, as patterns, from which jobs resume.

When a job is run again, those of its last launch are copied into the new launch directory.
"""


@dataclass
class JobProgress:
    """Write the progress of the current job, at most twice a second.

    Parameters
    ----------
    unit
        Unit of the count, such as ``"sweeps"``.
    directory
        Directory of the file; the working directory by default.
    """

    unit: str
    directory: Path = field(default_factory=Path.cwd)
    _last: float = field(default=-1.0, init=False, repr=False)

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Report that `done` of `total` units are done."""
        now = time.monotonic()
        if done < total and self._last >= 0.0 and now - self._last < _SECONDS_BETWEEN_WRITES:
            return
        self._last = now
        progress = {"done": int(done), "total": int(total), "unit": self.unit, "note": note}
        write_text(self.directory / PROGRESS_FILE, json.dumps(progress))


def read_progress(directory: str | Path) -> dict[str, Any] | None:
    """Return the last progress written in a directory, or None.

    The keys are ``done``, ``total``, ``unit`` and ``note``.
    """
    try:
        return json.loads((Path(directory) / PROGRESS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
