"""What mgflows says when something is wrong: the value, the reason and the mend, in one sentence each.

The command line prints these without a traceback and exits with 2; everything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType


class MgflowsError(Exception):
    """Base of all errors a user can mend."""


class InputError(MgflowsError, ValueError):
    """A value that cannot be used: names the value, why, and what to give instead."""


class MissingDependencyError(MgflowsError, ImportError):
    """An optional package is not installed: names the extra that brings it."""


class ServiceError(MgflowsError, RuntimeError):
    """A server, executable or file system that mgflows needs does not do its part."""


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional module or say which extra brings it.

    Parameters
    ----------
    module
        Import path, such as ``"neppo"``.
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
            f"{module} is needed for {purpose} but cannot be imported ({error}); install it with: pip install 'mgflows[{extra}]'"
        ) from error
