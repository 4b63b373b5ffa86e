"""Files of a job in its launch directory: what it prints, and checkpoints of earlier launches."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mgflows.jobs.progress import CHECKPOINTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["STDERR", "STDOUT", "copy_checkpoints", "printing_to_files"]

logger = logging.getLogger(__name__)

STDOUT, STDERR = "job.out", "job.err"


def copy_checkpoints(source: Path, target: Path) -> list[str]:
    """Copy the checkpoints of one launch directory to another; their names."""
    found = sorted(path for pattern in CHECKPOINTS for path in source.glob(pattern))
    for path in found:
        _copy(path, target / path.name)
    return [path.name for path in found]


def _copy(source: Path, target: Path) -> None:
    """Copy a file or folder completely or not at all, since this launch may also be killed."""
    partial = target.with_name(f".{target.name}.partial")
    if source.is_dir():
        shutil.copytree(source, partial)
    else:
        shutil.copy2(source, partial)
    partial.replace(target)


@contextmanager
def printing_to_files() -> Iterator[None]:
    """Redirect file descriptors 1 and 2 to files in the current directory.

    The output of child processes also goes to these files.
    """
    saved = []
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        for descriptor, name in ((1, STDOUT), (2, STDERR)):
            saved.append((descriptor, os.dup(descriptor)))
            with open(name, "ab") as stream:
                os.dup2(stream.fileno(), descriptor)
        yield
    finally:
        lost = []
        for descriptor, text, name in ((1, sys.stdout, STDOUT), (2, sys.stderr, STDERR)):
            try:
                text.flush()
            except OSError as error:
                lost.append(f"{name}: {error.strerror}")
                # Output that did not fit on a full disk must not go to the worker's own log.
                with open(os.devnull, "wb") as nowhere:
                    os.dup2(nowhere.fileno(), descriptor)
                text.flush()
        for descriptor, original in saved:
            os.dup2(original, descriptor)
            os.close(original)
        if lost:
            logger.warning("part of the job's printed output is lost (%s)", ", ".join(lost))
