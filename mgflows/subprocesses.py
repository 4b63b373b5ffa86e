"""Run a program that ends with the process that started it.

A trainer that outlived a killed worker would keep writing into a directory that its successor uses.
The parent-death signal of Linux prevents this, whatever kills the parent. It is set by this file,
run as a script in between: ``python subprocesses.py PARENT_PID COMMAND...`` requests the signal and
then becomes the command. A ``preexec_fn`` would do the same, but may deadlock if the parent has
threads, as the launchers of FireWorks have.
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

__all__ = ["end_with_parent", "run", "tied_command"]

_PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>."""
_POLL_SECONDS = 0.2


def tied_command(command: Sequence[str]) -> list[str]:
    """The command line that runs `command` and ends it with the present process."""
    return [sys.executable, __file__, str(os.getpid()), *command]


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
        Variables, in addition to those of this process.
    while_running
        Called five times a second; an exception in it ends the command.

    Returns
    -------
    exit_status, cpu_seconds
        The status is negative after a signal.
    """
    with log.open("a", encoding="utf-8") as output:
        process = subprocess.Popen(
            tied_command(command),
            cwd=directory,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while True:
                # Popen.poll does not return the CPU time of this child alone.
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    process.returncode = os.waitstatus_to_exitcode(status)
                    return process.returncode, usage.ru_utime + usage.ru_stime
                while_running()
                time.sleep(_POLL_SECONDS)
        except BaseException:
            # In a separate session the command does not receive Ctrl-C: end it here.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise


def end_with_parent(parent: int, by: signal.Signals = signal.SIGKILL) -> bool:
    """Make the kernel send a signal to this process when its parent ends (Linux only).

    Parameters
    ----------
    parent
        Process id of the parent.
    by
        The signal.

    Returns
    -------
    bool
        False if the parent has ended already, in which case no signal will come.

    Raises
    ------
    OSError
        If the kernel refuses.
    """
    if sys.platform == "linux":
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, by) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"prctl failed: {os.strerror(number)}")
        # A parent that ended before prctl sends no signal.
        return os.getppid() == parent
    return True


def _become(parent: int, command: list[str]) -> None:
    """Tie this process to `parent` and replace it by `command`."""
    if not end_with_parent(parent):
        sys.exit("the process that started this program has ended")
    os.execvp(command[0], command)


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
