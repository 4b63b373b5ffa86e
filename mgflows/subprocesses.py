"""Run a program that never outlives the process that asked for it.

A trainer that outlives a killed worker would go on writing into a directory that its successor uses. Linux' parent-death signal prevents
this, whatever kills the parent. It is set by this file, run as a script in between: ``python tethered.py PARENT_PID COMMAND...`` takes the
signal on and becomes the command. A ``preexec_fn`` would do the same, but may deadlock where the parent has threads, as FireWorks'
launchers do.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["run"]

_PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>."""
_POLL_SECONDS = 0.2


def run(
    command: Sequence[str],
    directory: Path,
    log: Path,
    environment: Mapping[str, str],
    while_running: Callable[[], None],
) -> tuple[int, float]:
    """Run a command to its end.

    Parameters
    ----------
    command
        Program and arguments.
    directory
        Where to run it.
    log
        File to which its output is appended.
    environment
        Variables, beside those of this process.
    while_running
        Called five times a second; what it raises ends the command.

    Returns
    -------
    exit_status, cpu_seconds
        The status is negative after a signal.
    """
    with log.open("a", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, __file__, str(os.getpid()), *command],
            cwd=directory,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while True:
                # Popen.poll would not tell the CPU time of this child alone.
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    process.returncode = os.waitstatus_to_exitcode(status)
                    return process.returncode, usage.ru_utime + usage.ru_stime
                while_running()
                time.sleep(_POLL_SECONDS)
        except BaseException:
            # The session of its own keeps Ctrl-C away from the command, so that it is ours to end.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise


def become(parent: int, command: list[str]) -> None:
    """Tie this process to ``parent`` and replace it by ``command``."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # A parent that died before prctl sends no signal any more.
        if os.getppid() != parent:
            sys.exit("the process that started this training has ended")
    os.execvp(command[0], command)


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
