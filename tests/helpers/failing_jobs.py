"""Jobs that fail for real reasons, crash, or leave something behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from jobflow import job

from tests.helpers.jobs import _note


@job
def break_down(journal: str, name: str, how: str) -> float:
    """Fail in the way `how`, unless a file of that name is next to the journal."""
    _note(journal, name)
    if (Path(journal).parent / f"fixed-{how}").exists():
        return 1.0
    if how == "disk":
        Path("/dev/full").write_text("x" * 100_000)
    elif how == "module":
        import no_such_module  # noqa: F401
    elif how == "program":
        # The shell's message goes to the job's standard error; the exception has the exit code.
        subprocess.run("no_such_vasp", shell=True, check=True)
    return 0.0


@job
def kill_worker(journal: str, name: str, how: str) -> float:
    """End the worker process, unless a file `fixed` is next to the journal."""
    _note(journal, name)
    if (Path(journal).parent / "fixed").exists():
        return 1.0
    if how == "segmentation fault":
        ctypes.string_at(0)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(7)


@job
def raise_error(journal: str, name: str, how: str) -> float:
    """Raise an error whose text is a problem to store or to read."""
    _note(journal, name)
    if how == "details":
        raise _UnstorableError("its details cannot be stored")
    texts = {
        "secret": "cannot connect to mongodb://glass:TRACESECRET@host:27017/?tls=true",
        "surrogate": "a lone surrogate \udc80 and a control sequence \x1b[31m",
        "long": "y" * 20_000_000,
    }
    raise ValueError(texts[how])


class _UnstorableError(ValueError):
    def to_dict(self) -> dict[object, object]:
        return {1: object(), "$set": 2}


@job
def leave_thread(journal: str, name: str) -> float:
    """Leave a thread behind that keeps the process alive."""
    _note(journal, name)
    threading.Thread(target=time.sleep, args=(600.0,), daemon=False).start()
    return 1.0


@job
def fork(journal: str, name: str, how: str) -> float:
    """Fork a process that leaves the job before its parent does."""
    _note(journal, name)
    if child := os.fork():
        os.waitpid(child, 0)
        return 1.0
    if how == "raises":
        raise ValueError("from the child")
    return 2.0
