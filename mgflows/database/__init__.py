"""Queries: datasets, frames, potentials, validations, and the progress of a campaign."""

from __future__ import annotations

from mgflows.database.frames import FrameRecord
from mgflows.database.glass import GlassDatabase
from mgflows.database.status import CampaignStatus, GroupStatus

__all__ = ["CampaignStatus", "FrameRecord", "GlassDatabase", "GroupStatus"]
