"""A campaign and its stages."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, model_validator

from mgflows.alloy import Alloy
from mgflows.errors import InputError
from mgflows.schemas.fields import AsDict
from mgflows.schemas.labels import MethodFingerprint

STAGES = ("sampling", "labels", "training", "feedback", "validation")
"""Stages of a campaign in their order; the value of ``metadata.mgflows.stage``."""

CAMPAIGNS = "campaigns"
"""Collection with one :class:`CampaignDocument` per campaign."""
PLANNED = "planned"
"""Collection with one document per workflow; ``planned`` ones are not in the LaunchPad yet."""


class CampaignChange(BaseModel):
    """One later addition to a campaign."""

    action: str = Field(
        description="import, extend, retrain, revalidate, label, dataset, rename or delete"
    )
    part: str = Field("", description="name of the part of the campaign that was submitted")
    details: dict[str, Any] = Field(
        default_factory=dict, description="the request: files, numbers, settings"
    )
    at: str = Field(description="UTC, ISO 8601")
    mgflows_version: str = Field(description="version that made the change")


class CampaignDocument(BaseModel):
    """One run of the whole method for one alloy, with later additions.

    All fields except the name and the history are written once, at submission.
    """

    campaign: str = Field(description="name, unique in the database")
    alloy: Annotated[Alloy, AsDict] = Field(description="the alloy")
    method: str = Field(description="the method of the labels, in words")
    fingerprint: MethodFingerprint | None = Field(
        None, description="the method of the labels; none where the label Maker does not name it"
    )
    settings: dict[str, Any] = Field(description="the CampaignMaker, encoded by monty")
    settings_digest: str = Field(
        description="hash of the alloy and the settings: equal when the same campaign is "
        "submitted again"
    )
    scale: str = Field(description="name of the scale, such as 'small'")
    scaled_down: str = Field(
        description="how the campaign is smaller than the paper's; empty if it is not"
    )
    teacher: str = Field(
        "",
        description="cheap model that labelled everything first, in words; empty without one",
    )
    planned: dict[str, int] = Field(description="number of planned jobs by stage")
    created_at: str = Field(description="UTC, ISO 8601")
    mgflows_version: str = Field(description="version that submitted it")
    history: list[CampaignChange] = Field(
        default_factory=list, description="what was added or changed since, oldest first"
    )

    @model_validator(mode="before")
    @classmethod
    def _read_version_0_1(cls, values: Any) -> Any:
        """Version 0.1 stored the method in words only; the calculator is in its settings."""
        if not isinstance(values, dict) or "fingerprint" in values:
            return values
        maker = values.get("settings", {}).get("label_maker", {}).get("label_maker", {})
        method = maker.get("method") or {}
        if "calculator" not in method:
            return values
        fingerprint = MethodFingerprint(
            code=f"ase:{method['calculator']}",
            version=str(values.get("mgflows_version", "")),
            settings=method.get("kwargs", {}),
            is_dft=method.get("is_dft", False),
            description=values.get("method", ""),
        )
        return values | {"fingerprint": fingerprint}


def check_campaign_name(name: str) -> None:
    """Check the name of a new campaign, by which commands and queries find it.

    Raises
    ------
    InputError
        If it is empty, longer than 100 characters, begins with a dash (as options do) or with a
        blank, ends with one, or has characters that cannot be printed.
    """
    if name != name.strip() or not name.isprintable() or not 0 < len(name) <= 100 or name[0] == "-":
        shown = name if len(name) <= 100 else f"{name[:20]}..."
        raise InputError(
            f"a campaign cannot have the name {shown!r}",
            hint="give one of 1 to 100 printable characters, without a dash or blank in the first "
            "place and without a blank in the last",
        )


def stage_order(stage: str | None) -> tuple[int, str]:
    """Return a sort key: the stages in their order, then others by name."""
    name = stage or ""
    return (STAGES.index(name) if name in STAGES else len(STAGES), name)
