"""Repairs of campaigns: lost runs, stuck reservations, stale locks, and retries of failed jobs.

Names are imported on first use, because FireWorks takes seconds to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mgflows.lazy import lazy_names

if TYPE_CHECKING:
    from mgflows.recovery.repairs import Recovery, recover

__all__ = [
    "Recovery",
    "recover",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Recovery": "mgflows.recovery.repairs",
        "recover": "mgflows.recovery.repairs",
    },
)
