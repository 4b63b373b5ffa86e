"""Queries: datasets, frames, potentials, validations, and the progress of a campaign.

Names are imported on first use: a worker needs none of them to start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mgflows.lazy import lazy_names

if TYPE_CHECKING:
    from mgflows.database.frames import FrameRecord
    from mgflows.database.glass import GlassDatabase
    from mgflows.database.status import CampaignStatus, GroupStatus

__all__ = ["CampaignStatus", "FrameRecord", "GlassDatabase", "GroupStatus"]

__getattr__ = lazy_names(
    __name__,
    {
        "CampaignStatus": "mgflows.database.status",
        "FrameRecord": "mgflows.database.frames",
        "GlassDatabase": "mgflows.database.glass",
        "GroupStatus": "mgflows.database.status",
    },
)
