"""One host: the private MongoDB server, rendered configuration, checks, and local campaigns.

Names are imported on first use, because importing FireWorks takes seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mgflows.lazy import lazy_names

if TYPE_CHECKING:
    from mgflows.machine.local import LocalLauncher
    from mgflows.machine.mongod import PrivateMongod

__all__ = [
    "LocalLauncher",
    "PrivateMongod",
]

__getattr__ = lazy_names(
    __name__,
    {
        "LocalLauncher": "mgflows.machine.local",
        "PrivateMongod": "mgflows.machine.mongod",
    },
)
