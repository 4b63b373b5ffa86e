"""What a campaign is and how far it has come."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

STAGES = ("sampling", "labels", "training", "feedback", "validation")
"""Stages of a campaign in their order; the value of ``metadata.mgflows.stage``."""


def stage_order(stage: str | None) -> tuple[int, str]:
    """Sort key of a stage: the order of `STAGES`, then unknown stages by name."""
    return (STAGES.index(stage) if stage in STAGES else len(STAGES), stage or "")


CAMPAIGNS = "campaigns"
"""Collection with one :class:`CampaignDocument` a campaign."""
PLANNED = "planned"
"""Collection with one document a workflow of a campaign; those in state ``planned`` are not in the LaunchPad yet."""


class CampaignDocument(BaseModel):
    """One run of the whole method for one alloy: written once, at submission."""

    campaign: str = Field(description="name, unique in the database")
    alloy: dict[str, Any] = Field(description="the alloy, as a dictionary")
    method: str = Field(description="what labels the structures, in words")
    settings: dict[str, Any] = Field(description="the CampaignMaker, as a dictionary")
    settings_digest: str = Field(
        description="hash of the alloy and the settings: the same campaign submitted again has the same"
    )
    scale: str = Field(description="name of the scale, such as 'small'")
    scaled_down: str = Field(
        description="in which way the campaign is smaller than the paper's; empty if it is not"
    )
    planned: dict[str, int] = Field(description="stage to the number of jobs planned")
    created_at: str = Field(description="UTC, ISO 8601")
    mgflows_version: str = Field(description="version that submitted it")
