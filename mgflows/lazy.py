"""Public names of a package that are imported on first use, so that its import is fast."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def lazy_names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module ``__getattr__`` (PEP 562) that imports public names on first use.

    Parameters
    ----------
    package
        ``__name__`` of the package.
    modules
        Public name to the absolute path of the module that defines it.

    Examples
    --------
    >>> __getattr__ = lazy_names(__name__, {"LennardJones": "mgflows.surrogate.lennard_jones"})
    """

    def load(name: str) -> Any:
        if name in modules:
            return getattr(importlib.import_module(modules[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return load
