"""Errors state the offending value, the reason and how to fix it.

The command line prints them without a traceback and exits with code 2. Every other exception that escapes is a bug and
keeps its traceback.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType


class MgflowsError(Exception):
    """Base class of all errors that a user can fix.

    Parameters
    ----------
    message
        The offending value and the reason.
    hint
        How to fix it; empty where the message already says so.

    Attributes
    ----------
    message, hint
        As given. ``str(error)`` joins both with ``"; "``.

    Examples
    --------
    >>> error = InputError("the timestep is -1 fs but must be positive", hint="use 1 to 5 fs")
    >>> str(error)
    'the timestep is -1 fs but must be positive; use 1 to 5 fs'
    >>> error.hint
    'use 1 to 5 fs'
    """

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__("; ".join(part for part in (message, hint) if part))

    def __reduce__(self) -> tuple[object, ...]:
        """Keep message and hint apart when the error crosses a process boundary."""
        return _rebuild, (type(self), self.message, self.hint)


class InputError(MgflowsError, ValueError):
    """A value cannot be used."""


class MissingDependencyError(MgflowsError, ImportError):
    """An optional package is not installed; the hint names the extra that installs it."""


class ServiceError(MgflowsError, RuntimeError):
    """A server, executable or file system does not work as required."""


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
            hint=f"install it with: pip install 'mgflows[{extra}]'",
        ) from error


def _rebuild(kind: type[MgflowsError], message: str, hint: str) -> MgflowsError:
    return kind(message, hint=hint)
