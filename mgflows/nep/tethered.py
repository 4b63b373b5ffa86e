"""Run a command that dies with the process that asked for it: ``python tethered.py PARENT_PID COMMAND...``.

A trainer that outlives a killed worker would go on writing into a directory that its successor uses. Linux' parent-death signal prevents
this, whatever kills the parent; it survives ``exec``, so that the command takes the place of this script. A file that is run, not
imported: a ``preexec_fn`` would do the same, but may deadlock where the parent has threads, as FireWorks' launchers do.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>."""


def main(parent: int, command: list[str]) -> None:
    """Tie this process to ``parent`` and become ``command``."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # A parent that died before prctl sends no signal any more.
        if os.getppid() != parent:
            sys.exit("the process that started this training has ended")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
