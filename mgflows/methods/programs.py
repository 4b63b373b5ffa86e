"""Starting the programs of other codes: the command with its ranks and threads, what it says of itself, and why it ended."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

from mgflows.errors import InputError

__all__ = [
    "fresh_directory",
    "last_error",
    "other_ranks",
    "parallel_command",
    "require_program",
    "way_it_ended",
]

_SIGKILL = 9


def parallel_command(
    command: str, launcher: str, n_ranks: int, n_threads: int, **variables: str
) -> str:
    """The command line of a program with MPI ranks and OpenMP threads.

    Parameters
    ----------
    command
        The program with its own options.
    launcher
        How MPI programs are started, with ``{n_ranks}`` in it; used for more than one rank, or if it does not name the number (``srun``).
    n_ranks
        MPI ranks.
    n_threads
        OpenMP threads of each rank. The variable is set behind the launcher, so that it reaches the ranks on every node.
    variables
        Further variables of the environment.

    Raises
    ------
    InputError
        If a number is not positive.
    """
    for name, value in (("n_ranks", n_ranks), ("n_threads", n_threads)):
        if value < 1:
            raise InputError(f"{name} is {value} but must be at least 1")
    words = (
        shlex.split(launcher.format(n_ranks=n_ranks))
        if n_ranks > 1 or (launcher and "{n_ranks}" not in launcher)
        else []
    )
    settings = [
        f"OMP_NUM_THREADS={n_threads}",
        *(f"{name}={value}" for name, value in variables.items()),
    ]
    return shlex.join([*words, "env", *settings, *shlex.split(command)])


def require_program(command: str, launcher: str, n_ranks: int, hint: str) -> None:
    """Refuse to start what is not there.

    Raises
    ------
    InputError
        If the program, or the launcher where one is needed, is not found.
    """
    wanted = [shlex.split(command)[0]]
    if n_ranks > 1 and launcher:
        wanted.append(shlex.split(launcher)[0])
    for program in wanted:
        if shutil.which(os.path.expandvars(program)) is None:
            raise InputError(f"the program {program} was not found on this machine; {hint}")


def fresh_directory(name: str) -> Path:
    """A directory of that name, made here, with a number if earlier calculations left theirs: the files of a failed one stay."""
    number = 1
    while True:
        directory = Path(name if number == 1 else f"{name}_{number}").absolute()
        try:
            directory.mkdir()
        except FileExistsError:
            number += 1
        else:
            return directory


def way_it_ended(code: int) -> str:
    """How a program ended that did not end well, in words; ``code`` is negative for a signal, as in :mod:`subprocess`."""
    if code in (-_SIGKILL, 128 + _SIGKILL):
        return "it was killed by signal 9, which is what a machine out of memory does"
    return f"it was ended by signal {-code}" if code < 0 else f"it ended with code {code}"


def last_error(*paths: Path) -> str:
    """What a program that failed said: the first line that tells of an error in these files, else the last line of the second; empty if nothing."""
    patterns = (
        # Quantum ESPRESSO's box: the routine, then the message between lines of percent signs.
        r"Error in routine\s+\S+[^\n]*\n\s*(?P<message>\S[^\n]*)",
        # CP2K's box: *  [ABORT]  * and the message framed by asterisks.
        r"\[ABORT\][\s*]*\\___/\s*(?P<message>[^\n*]*)",
        r"(?m)^(?P<message>.*(?:[Oo]ut of memory|[Cc]annot allocate|[Ee]rror allocating|ALLOCATE|allocate memory|not found|No such file).*)$",
    )
    for path in paths:
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        for pattern in patterns:
            if found := re.search(pattern, text):
                return " ".join(found["message"].split())
    # The second file is the standard error, where a launcher says what it does not like.
    lines = [
        line
        for path in paths[1:2]
        if path.is_file()
        for line in path.read_text(errors="replace").splitlines()
        if line.strip(" -=")
    ]
    return " ".join(lines[-1].split()) if lines else ""


def other_ranks(found: str | None, n_ranks: int, launcher: str) -> str:
    """What is wrong if a program ran on another number of ranks than it was asked to; empty if nothing.

    A launcher of another MPI than that of the program starts it ``n_ranks`` times on one rank each, and all write the same files.
    """
    if n_ranks == 1 or found is None or int(found) == n_ranks:
        return ""
    return f"it ran on {found} rank, not on {n_ranks}: {shlex.split(launcher)[0]} belongs to another MPI than the program; set `launcher`"
