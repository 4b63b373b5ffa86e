"""Errors state the offending value, the reason and how to fix it.

The command line prints them without a traceback and exits with code 2. Every other exception that
escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

import enum
import importlib
import logging
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from types import ModuleType

_CREDENTIALS = re.compile(
    r"([a-z][a-z0-9+.-]{1,30}://[^\s:/@]{0,200}:)(?!password@)[^\s@]{1,500}@(?:[^\s@]{0,300}@)*",
    re.IGNORECASE,
)
_TERMINAL_SEQUENCE = re.compile(r"\x1b\[[0-9;?]{0,20}[a-zA-Z]")
_SECRET_OPTIONS = re.compile(
    r"(?<=[?&;])([a-z]{0,40}(?:password|token|secret)[a-z]{0,20}=)[^&;\s'\"]+", re.IGNORECASE
)
_SECRET_ARGUMENTS = re.compile(
    r"""(\b[a-z_-]{0,40}(?:password|passwd|token|secret|api_?key)['"]?\s?[=:]\s?)"""
    r"""(b?'[^'\n]+'|b?"[^"\n]+"|[^\s'",;&(){}\[\]]+)""",
    re.IGNORECASE,
)
"""A keyword argument, a variable or an entry of a dictionary, with its value."""
_SECRET_WORDS = re.compile(
    r"(--[a-z-]{0,40}(?:password|token|secret)\s+|\bBearer\s+)\S+", re.IGNORECASE
)
"""An option of a command with its value, or the header of an HTTP request."""
_LONGEST_SECRET = 1000
"""Number of characters."""


def mask_credentials(text: str) -> str:
    """Replace the passwords of all URIs and keyword arguments in a text by ``***``.

    Examples
    --------
    >>> mask_credentials("mongodb://glass:secret@host:27017/ does not answer")
    'mongodb://glass:***@host:27017/ does not answer'
    >>> mask_credentials("MongoClient(username='glass', password='secret')")
    "MongoClient(username='glass', password='***')"
    """
    text = _SECRET_OPTIONS.sub(r"\1***", _CREDENTIALS.sub(r"\1***@", text))
    text = _SECRET_WORDS.sub(r"\1***", text)
    return _SECRET_ARGUMENTS.sub(_mask_argument, text)


def _mask_argument(found: re.Match[str]) -> str:
    quote = found[2][-1] if found[2][-1] in "'\"" else ""
    return f"{found[1]}{quote}***{quote}"


class MaskingFormatter(logging.Formatter):
    """Formats log records, tracebacks included, without credentials."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        return mask_credentials(super().format(record))


def clean_text(text: str, longest: int) -> str:
    """Make the text of any error safe to store and print.

    Parameters
    ----------
    text
        Any text, such as a traceback.
    longest
        Largest number of characters. A longer text is shortened in the middle; a quarter is kept
        from its beginning, the rest from its end.

    Returns
    -------
    str
        Without credentials, characters that UTF-8 cannot encode, and terminal control sequences.
    """
    if len(text) > longest:
        # Masked before it is cut: the rest of a credential would not be recognised.
        begin, end = longest // 4, longest - longest // 4
        head = mask_credentials(text[: begin + _LONGEST_SECRET])[:begin]
        tail = mask_credentials(text[-end - _LONGEST_SECRET :])[-end:]
        text = f"{head} ... {tail}"
    text = _TERMINAL_SEQUENCE.sub("", text.encode("utf-8", "replace").decode("utf-8"))
    text = "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text.replace("\r", "\n"))
    return mask_credentials(text)


class ErrorCategory(enum.StrEnum):
    """The kind of error that ended a job."""

    INTERRUPTED = "interrupted"
    WORKER_DIED = "worker-died"
    OUT_OF_MEMORY = "out-of-memory"
    DISK_FULL = "disk-full"
    MISSING_MODULE = "missing-module"
    MISSING_EXECUTABLE = "missing-executable"
    MISSING_FILE = "missing-file"
    NOT_CONVERGED = "not-converged"
    DATABASE = "database"
    DAMAGED_DATA = "damaged-data"
    INPUT = "input"
    OTHER = "other"

    @property
    def meaning(self) -> str:
        """The category in words."""
        return _MEANINGS[self][0]

    @property
    def hint(self) -> str:
        """Remedy before such a job is rerun."""
        return _MEANINGS[self][1]


_MEANINGS = {
    ErrorCategory.INTERRUPTED: (
        "walltime, preemption or a kill",
        "rerun; if the walltime was too short, increase it",
    ),
    ErrorCategory.WORKER_DIED: (
        "the job ended its worker several times in a row",
        "look into job.err in the launch directory, fix the cause, then rerun",
    ),
    ErrorCategory.OUT_OF_MEMORY: (
        "not enough memory",
        "give the job more memory or more nodes, then rerun",
    ),
    ErrorCategory.DISK_FULL: (
        "no space left or quota exceeded",
        "free disk space, then rerun",
    ),
    ErrorCategory.MISSING_MODULE: (
        "a Python package or shared library is missing",
        "fix the worker's Python environment, then rerun",
    ),
    ErrorCategory.MISSING_EXECUTABLE: (
        "a program was not found",
        "name it in mgflows.yaml or load its module, then rerun",
    ),
    ErrorCategory.MISSING_FILE: (
        "a pseudopotential or another data file was not found",
        "install it and set its directory, then rerun",
    ),
    ErrorCategory.NOT_CONVERGED: (
        "the electronic self-consistency did not converge",
        "change the settings of the calculation; a plain rerun gives the same result",
    ),
    ErrorCategory.DATABASE: (
        "the database did not answer or refused a request",
        "run mgflows doctor, then rerun",
    ),
    ErrorCategory.DAMAGED_DATA: (
        "a stored output is missing, incomplete or was changed",
        "compute that output again with the command in the error, then rerun",
    ),
    ErrorCategory.INPUT: (
        "the input of the job cannot be used",
        "correct the input; a plain rerun gives the same result",
    ),
    ErrorCategory.OTHER: ("none of the known categories", "look into the launch directory"),
}


class MgflowsError(Exception):
    """Base class of all errors that a user can fix.

    Parameters
    ----------
    message
        The offending value and the reason.
    hint
        How to fix it; empty where the message already states it.

    Attributes
    ----------
    message, hint
        As given. ``str(error)`` joins both with ``"; "``.
    category
        The kind of failure of a job that ends with this error.

    Examples
    --------
    >>> error = InputError("the timestep is -1 fs but must be positive", hint="use 1 to 5 fs")
    >>> str(error)
    'the timestep is -1 fs but must be positive; use 1 to 5 fs'
    >>> error.hint
    'use 1 to 5 fs'
    """

    category: ClassVar[ErrorCategory] = ErrorCategory.OTHER

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        self.message = mask_credentials(message)
        self.hint = mask_credentials(hint)
        super().__init__("; ".join(part for part in (self.message, self.hint) if part))

    def to_dict(self) -> dict[str, str]:
        """Values that FireWorks stores with the launch of a failed job."""
        return {
            "error": type(self).__name__,
            "category": self.category.value,
            "message": self.message,
            "hint": self.hint,
        }

    def __reduce__(self) -> tuple[object, ...]:
        """Keep message and hint apart when the error crosses a process boundary."""
        return _rebuild, (type(self), self.message, self.hint)


class InputError(MgflowsError, ValueError):
    """A value cannot be used."""

    category = ErrorCategory.INPUT


class StructureError(InputError):
    """A structure cannot be labelled by any method."""


class MissingProgramError(InputError):
    """A program that a calculation needs was not found."""

    category = ErrorCategory.MISSING_EXECUTABLE


class MissingFileError(InputError):
    """A pseudopotential, a model or another data file was not found."""

    category = ErrorCategory.MISSING_FILE


class MissingDependencyError(MgflowsError, ImportError):
    """An optional package is not installed; the hint names the extra that installs it."""

    category = ErrorCategory.MISSING_MODULE


class DamagedDataError(MgflowsError):
    """A stored output is incomplete or was changed after it was stored."""

    category = ErrorCategory.DAMAGED_DATA


class ServiceError(MgflowsError, RuntimeError):
    """A server, executable or file system does not work as required."""


class LabelError(MgflowsError):
    """A calculation gave no label that may become a frame; the message states why."""


class NotConvergedError(LabelError):
    """The electronic self-consistency of a calculation did not converge."""

    category = ErrorCategory.NOT_CONVERGED


class WrongSettingsError(LabelError):
    """A code ran with other settings than those requested."""

    category = ErrorCategory.INPUT


class OutOfMemoryError(LabelError):
    """A program was killed, or stopped, for lack of memory."""

    category = ErrorCategory.OUT_OF_MEMORY


class PotentialFailureError(MgflowsError, RuntimeError):
    """A potential failed on a structure: a result that is not finite, or atoms that fly apart."""


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional module or name the extra that installs it.

    Parameters
    ----------
    module
        Import path, such as ``"matplotlib"``.
    extra
        The extra of mgflows that installs it.
    purpose
        What it is needed for, as the end of "... is needed for".

    Raises
    ------
    MissingDependencyError
        If the module cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{module} is needed for {purpose} but cannot be imported ({error})",
            hint=f"install it with: {install_command(extra)}",
        ) from error


def install_command(extra: str = "") -> str:
    """Return the pip command that installs an extra of this mgflows.

    mgflows is not on PyPI: the command names the clone it runs from, or the wheel.

    Parameters
    ----------
    extra
        Name of the extra; empty for mgflows itself.
    """
    root = Path(__file__).parents[1]
    constraints = root / "constraints.txt"
    brackets = f"[{extra}]" if extra else ""
    if (root / "pyproject.toml").is_file() and constraints.is_file():
        source = shlex.quote(f"{root}{brackets}")
        return f"pip install -c {shlex.quote(str(constraints))} -e {source}"
    return f"pip install -c constraints.txt {shlex.quote(f'{_wheel()}{brackets}')}"


def _wheel() -> str:
    """The wheel that mgflows was installed from; its file name if that was not recorded."""
    import json
    from importlib import metadata
    from urllib.parse import unquote, urlsplit

    try:
        distribution = metadata.distribution("mgflows")
    except metadata.PackageNotFoundError:
        return "mgflows.whl"
    # pip records the origin (https://packaging.python.org/specifications/direct-url).
    recorded = json.loads(distribution.read_text("direct_url.json") or "{}").get("url", "")
    path = unquote(urlsplit(recorded).path)
    if recorded.startswith("file:") and path.endswith(".whl"):
        return path
    return f"mgflows-{distribution.version}-py3-none-any.whl"


def _rebuild(kind: type[MgflowsError], message: str, hint: str) -> MgflowsError:
    return kind(message, hint=hint)
