"""Codes that run as programs: their fields, start, version, messages and second attempt."""

from __future__ import annotations

import functools
import logging
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mgflows.errors import (
    InputError,
    LabelError,
    MissingProgramError,
    NotConvergedError,
    OutOfMemoryError,
)
from mgflows.methods.base import check_geometry, k_mesh
from mgflows.schemas.labels import MethodFingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ase import Atoms

    from mgflows.schemas.quality import CalculationReport

__all__ = [
    "ParallelMethod",
    "ProgramCalculator",
    "ProgramMethod",
    "absolute_command",
    "absolute_path",
    "failure_of",
    "fresh_directory",
    "parallel_command",
    "require_program",
    "wrong_ranks",
]

logger = logging.getLogger(__name__)

_SIGKILL = 9
_ERROR_MESSAGES = (
    # Quantum ESPRESSO's box: the routine, then the message between lines of percent signs.
    r"Error in routine\s+\S+[^\n]*\n\s*(?P<message>\S[^\n]*)",
    # CP2K's box: *  [ABORT]  * and the message framed by asterisks.
    r"\[ABORT\][\s*]*\\___/\s*(?P<message>[^\n*]*)",
    r"(?m)^(?P<message>.*(?:[Oo]ut of memory|[Cc]annot allocate|[Ee]rror allocating|ALLOCATE).*)$",
    r"(?m)^(?P<message>.*(?:allocate memory|not found|No such file).*)$",
)
"""Patterns of error messages of programs, most specific first."""
_OUT_OF_MEMORY = r"out of memory|cannot allocate|error allocating|allocate memory"
"""Messages of a program that ran out of memory (case-insensitive)."""
_RETRIED = r"cholesky|too many bands are not converged"
"""Messages (case-insensitive) after which other mixing or another eigensolver may help.

The first is pw.x's for a subspace that is not positive definite.
"""
_VERSIONS: dict[str, str] = {}
"""Version of a program by command, as its last calculation in this process printed it."""


@dataclass(frozen=True)
class ParallelMethod:
    """The parallel execution of a method that runs in separate processes.

    Parameters
    ----------
    n_ranks, n_threads
        MPI ranks, and threads of each.
    """

    n_ranks: int = field(default=1, kw_only=True)
    n_threads: int = field(default=1, kw_only=True)

    @property
    def n_cores(self) -> int:
        """Ranks times threads."""
        return self.n_ranks * self.n_threads

    def _check_positive(self, *names: str) -> None:
        for name in (*names, "n_ranks", "n_threads"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name):g} but must be positive")


@dataclass(frozen=True)
class ProgramMethod(ParallelMethod, ABC):
    """A density-functional code that runs once per geometry: Quantum ESPRESSO, CP2K.

    Parameters
    ----------
    command
        The program. A path relative to the current directory becomes absolute.
    launcher
        Command that starts MPI programs, used for more than one rank.
    n_ranks, n_threads
        MPI ranks, and OpenMP threads of each.
    keep_wave_functions
        Keep the restart files, which are large.
    """

    command: str = field(default="", kw_only=True)
    launcher: str = field(default="mpirun -n {n_ranks}", kw_only=True)
    keep_wave_functions: bool = field(default=False, kw_only=True)

    code: ClassVar[str]
    """Name of the code in fingerprints and directories."""
    program: ClassVar[str]
    """Name of the program in messages."""
    install_hint: ClassVar[str]
    """Instructions to install the program."""
    version_pattern: ClassVar[str]
    """Regular expression, with one group, for the version that the program prints."""
    version_arguments: ClassVar[tuple[str, ...]] = ()
    """Arguments with which it prints its version, given an empty input."""

    if TYPE_CHECKING:
        k_spacing: float

    def __post_init__(self) -> None:
        for name in ("command", "launcher"):
            object.__setattr__(self, name, absolute_command(getattr(self, name)))

    @property
    @abstractmethod
    def description(self) -> str:
        """One line for reports."""

    @property
    def full_command(self) -> str:
        """The command line, without the input file."""
        return parallel_command(self.command, self.launcher, self.n_ranks, self.n_threads)

    @property
    @abstractmethod
    def second_attempt(self) -> dict[str, Any]:
        """Changed settings of the second attempt, which do not affect the converged density."""

    @abstractmethod
    def deciding_settings(self) -> dict[str, Any]:
        """The settings that determine a label."""

    @abstractmethod
    def data_directory_or_none(self) -> Path | None:
        """The directory of the potentials; None if this machine has none."""

    @abstractmethod
    def potential(self, element: str) -> str:
        """Name and hash of the potential of an element.

        Raises
        ------
        InputError
            If there is none, or it does not fit the method.
        """

    def check_species(self, species: Sequence[str]) -> None:
        """Check that there is a potential of each element.

        A machine without any potentials, which only submits jobs, accepts all.

        Raises
        ------
        InputError
            If the potential of an element is missing.
        """
        if self.data_directory_or_none() is not None:
            for element in sorted(set(species)):
                self.potential(element)

    def check_ready(self, atoms: Atoms) -> None:
        """Check that a calculation of these atoms can start.

        Raises
        ------
        InputError
            If the program, the launcher or a potential is missing, or the structure cannot be
            labelled.
        """
        check_geometry(atoms)
        require_program(self.command, self.launcher, self.n_ranks, self.install_hint)
        for element in sorted(set(atoms.symbols)):
            self.potential(element)

    def mesh(self, atoms: Atoms) -> tuple[int, int, int]:
        """Divisions of the k-mesh of a cell."""
        return k_mesh(atoms.cell.array, self.k_spacing)

    def fingerprint(self, species: Sequence[str] = ()) -> MethodFingerprint:
        """Everything that determines the labels; potentials by name and sha256.

        The version is the one that the last calculation in this process printed, otherwise the one
        that the program prints without input; ``unknown`` where it is not installed. An element
        whose potential this machine does not have has no entry.
        """
        potentials = {}
        for element in sorted(set(species)):
            try:
                potentials[element] = self.potential(element)
            except InputError as error:
                logger.warning("no potential in the fingerprint: %s", error)
        return MethodFingerprint(
            code=self.code,
            version=self.version,
            settings=self.deciding_settings(),
            potentials=potentials,
            is_dft=True,
            description=self.description,
        )

    def report(self, calculator: ProgramCalculator) -> CalculationReport:
        """Report of the code on its last calculation."""
        return calculator.report

    @property
    def version(self) -> str:
        """Version of the program; ``unknown`` where it is not installed."""
        return _VERSIONS.get(self.command) or self._version_in(
            _printed_version(self.command, self.version_arguments)
        )

    def remember_version(self, output: str) -> None:
        """Take the version from the output of a calculation."""
        _VERSIONS[self.command] = self._version_in(output)

    def _version_in(self, text: str) -> str:
        found = re.search(self.version_pattern, text)
        return found[1] if found else "unknown"


class ProgramCalculator(ABC):
    """Mix-in of ASE calculators that run a program once per geometry.

    Electrons that do not converge are refused, after a second attempt with
    :attr:`ProgramMethod.second_attempt`.

    Attributes
    ----------
    method
        The settings.
    mesh
        Divisions of the k-mesh.
    report
        Report of the program on its last calculation.
    """

    method: Any
    mesh: tuple[int, int, int]
    report: CalculationReport
    directory: Any

    @abstractmethod
    def attempt(self, atoms: Atoms, corrections: Mapping[str, Any]) -> CalculationReport:
        """Run the program once and set ``results``.

        Raises
        ------
        LabelError
            If it ends without a result.
        """

    @abstractmethod
    def delete_wave_functions(self) -> None:
        """Delete the restart files."""

    def run(self, atoms: Atoms) -> None:
        """Run the program, twice if the electrons do not converge.

        Raises
        ------
        LabelError
            If it ends without a result; the message has its error and the directory of its files.
        """
        corrections: dict[str, Any] = {}
        try:
            try:
                report = self.attempt(atoms, corrections)
            except LabelError as error:
                if not _may_converge(error):
                    raise
                logger.warning("%s: %s; trying once more", self.method.program, error)
                self.delete_wave_functions()
                corrections = self.method.second_attempt
                report = self.attempt(atoms, corrections)
        except LabelError as error:
            raise type(error)(
                f"{self.method.program} did not label {atoms.get_chemical_formula()}: "
                f"{error.message}; its files are in {self.directory}",
                hint=error.hint,
            ) from error
        self.report = report.model_copy(
            update={
                "k_mesh_requested": self.mesh,
                "cutoff_requested": self.method.cutoff,
                "corrections": [f"{name}: {value}" for name, value in corrections.items()],
            }
        )

    def close(self) -> None:
        """Delete the restart files unless they are to be kept."""
        if not self.method.keep_wave_functions:
            self.delete_wave_functions()


def parallel_command(
    command: str, launcher: str, n_ranks: int, n_threads: int, **variables: str
) -> str:
    """The command line of a program with MPI ranks and OpenMP threads.

    Parameters
    ----------
    command
        The program with its own options.
    launcher
        Command that starts MPI programs, with ``{n_ranks}`` in it. It is used for more than one
        rank, or if it does not contain the number (``srun``).
    n_ranks
        MPI ranks.
    n_threads
        OpenMP threads of each rank. The variable is set after the launcher, so that it reaches the
        ranks on every node.
    variables
        Further environment variables.

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


def absolute_path(path: str | None) -> str | None:
    """The absolute path, because jobs run in other directories."""
    return None if path is None else str(Path(path).expanduser().absolute())


def absolute_command(command: str) -> str:
    """The command with the path of its program absolute, if that is a relative path to a file."""
    words = shlex.split(command)
    if not words or "/" not in words[0] or not Path(words[0]).expanduser().is_file():
        return command
    return shlex.join([str(Path(words[0]).expanduser().absolute()), *words[1:]])


def require_program(command: str, launcher: str, n_ranks: int, hint: str) -> None:
    """Check that a program, and its launcher if one is needed, are installed.

    Raises
    ------
    MissingProgramError
        If one of them is not found.
    """
    wanted = [shlex.split(command)[0]]
    if n_ranks > 1 and launcher:
        wanted.append(shlex.split(launcher)[0])
    for program in wanted:
        if shutil.which(os.path.expandvars(program)) is None:
            raise MissingProgramError(
                f"the program {program} was not found on this machine", hint=hint
            )


def fresh_directory(name: str) -> Path:
    """Make a directory of that name here, numbered if there is one already.

    The files of earlier calculations are kept.
    """
    number = 1
    while True:
        directory = Path(name if number == 1 else f"{name}_{number}").absolute()
        try:
            directory.mkdir()
        except FileExistsError:
            number += 1
        else:
            return directory


def failure_of(code: int | None, *files: Path) -> LabelError:
    """The error of a program that ended without a result.

    Parameters
    ----------
    code
        Its exit status, negative for a signal as in :mod:`subprocess`; None if it ended normally
        with an output that is cut off.
    files
        Its output, its standard error and other files in which it may have printed an error. The
        first line with an error counts, else the last line of its standard error.
    """
    message = "; ".join(part for part in (_ending(code), _printed_error(*files)) if part)
    killed = code in (-_SIGKILL, 128 + _SIGKILL)
    if killed or re.search(_OUT_OF_MEMORY, message, re.IGNORECASE):
        return OutOfMemoryError(message, hint="give it more memory or more nodes")
    return LabelError(message)


def wrong_ranks(found: str | None, n_ranks: int, launcher: str) -> LabelError | None:
    """The error if a program did not run on the number of ranks that was requested.

    The launcher of another MPI library starts the program ``n_ranks`` times on one rank each, and
    all of them write the same files.
    """
    if n_ranks == 1 or found is None or int(found) == n_ranks:
        return None
    return LabelError(
        f"it ran on {found} rank, not on {n_ranks}: {shlex.split(launcher)[0]} belongs to another "
        "MPI than the program",
        hint="set `launcher`",
    )


def _may_converge(error: LabelError) -> bool:
    return isinstance(error, NotConvergedError) or bool(
        re.search(_RETRIED, str(error), re.IGNORECASE)
    )


def _ending(code: int | None) -> str:
    if code is None:
        return "its output is cut off"
    if code in (-_SIGKILL, 128 + _SIGKILL):
        return "it was killed by signal 9, as happens when a machine is out of memory"
    return f"it was ended by signal {-code}" if code < 0 else f"it ended with code {code}"


def _printed_error(*files: Path) -> str:
    for path in files:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for pattern in _ERROR_MESSAGES:
            if found := re.search(pattern, text):
                return " ".join(found["message"].split())
    # The second file is the standard error, where a launcher prints its errors.
    lines = [
        line
        for path in files[1:2]
        if path.is_file()
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.strip(" -=")
    ]
    return " ".join(lines[-1].split()) if lines else ""


@functools.cache
def _printed_version(command: str, arguments: tuple[str, ...]) -> str:
    """Output of the program for an empty input."""
    words = shlex.split(command)
    program = shutil.which(words[0])
    if program is None:
        return ""
    # pw.x writes its input and the reason of its stop into its working directory.
    with tempfile.TemporaryDirectory() as directory:
        try:
            return subprocess.run(
                [os.path.abspath(program), *words[1:], *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
                timeout=60,
                check=False,
                cwd=directory,
            ).stdout
        except (OSError, subprocess.TimeoutExpired):
            return ""
