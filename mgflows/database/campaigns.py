"""Campaign documents: stored once, with a history of what was added since."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import mgflows
from mgflows.schemas.campaign import CAMPAIGNS, CampaignChange, CampaignDocument

if TYPE_CHECKING:
    from pymongo.database import Database

__all__ = ["record_change", "store_campaign"]


def store_campaign(database: Database, document: CampaignDocument) -> CampaignDocument:
    """Store a campaign, unless one of its name exists; return the stored document.

    Parameters
    ----------
    database
        The pymongo database.
    document
        The campaign.
    """
    collection = database[CAMPAIGNS]
    collection.create_index("campaign", unique=True)
    collection.update_one(
        {"campaign": document.campaign}, {"$setOnInsert": document.model_dump()}, upsert=True
    )
    return CampaignDocument.model_validate(
        collection.find_one({"campaign": document.campaign}, {"_id": 0})
    )


def record_change(
    database: Database, campaign: str, action: str, part: str, **details: Any
) -> None:
    """Add an entry to the history of a campaign, once for each part.

    Parameters
    ----------
    database
        The pymongo database.
    campaign
        Name of the campaign.
    action, part, details
        As in :class:`~mgflows.schemas.campaign.CampaignChange`.
    """
    change = CampaignChange(
        action=action,
        part=part,
        details=details,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        mgflows_version=mgflows.__version__,
    )
    database[CAMPAIGNS].update_one(
        {
            "campaign": campaign,
            "history": {"$not": {"$elemMatch": {"action": action, "part": part}}},
        },
        {"$push": {"history": change.model_dump()}},
    )
