"""Repair of campaigns: lost runs, stuck reservations, stale locks, and retries of failed jobs.

Names are imported on first use, because importing FireWorks takes seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mgflows.lazy import lazy_names

if TYPE_CHECKING:
    from mgflows.recovery.repairs import plan_recovery, recover
    from mgflows.recovery.steps import Recovery

__all__ = [
    "Recovery",
    "plan_recovery",
    "recover",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Recovery": "mgflows.recovery.steps",
        "plan_recovery": "mgflows.recovery.repairs",
        "recover": "mgflows.recovery.repairs",
    },
)
