"""Rename and delete campaigns: all their documents, arrays, fireworks and plans."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mgflows.checked_stores import seal
from mgflows.connections import open_launchpad
from mgflows.database.campaigns import record_change
from mgflows.database.planned import batches
from mgflows.database.progress import require_campaign
from mgflows.errors import InputError
from mgflows.schemas.campaign import CAMPAIGNS, PLANNED, check_campaign_name

if TYPE_CHECKING:
    from fireworks import LaunchPad
    from pymongo.database import Database

    from mgflows.settings import Settings

__all__ = ["CampaignContents", "campaign_contents", "delete_campaign", "rename_campaign"]

_PLANS = "plans"
_FINISHED = ("COMPLETED", "DEFUSED", "ARCHIVED")
_OF_CAMPAIGN = "metadata.mgflows.campaign"


@dataclass(frozen=True)
class CampaignContents:
    """Contents of a campaign in the database.

    Attributes
    ----------
    documents
        Class of the documents to their number.
    n_fireworks, n_planned
        Jobs in the LaunchPad, and planned ones.
    states
        State to the number of fireworks.
    used_by
        Other campaigns with datasets that list labels of this one.
    """

    documents: dict[str, int]
    n_fireworks: int
    n_planned: int
    states: dict[str, int]
    used_by: list[str]

    @property
    def n_unfinished(self) -> int:
        """Fireworks and planned jobs that have not ended."""
        unfinished = sum(n for state, n in self.states.items() if state not in _FINISHED)
        return unfinished + self.n_planned


def campaign_contents(database: Database, campaign: str) -> CampaignContents:
    """Count the contents of a campaign in the database.

    Parameters
    ----------
    database
        The pymongo database.
    campaign
        Name of the campaign.

    Raises
    ------
    InputError
        If there is no such campaign.
    """
    require_campaign(database, campaign)
    outputs = database["outputs"]
    documents = {
        str(row["_id"]): row["n"]
        for row in outputs.aggregate(
            [
                {"$match": {_OF_CAMPAIGN: campaign}},
                {"$group": {"_id": "$output.@class", "n": {"$sum": 1}}},
            ]
        )
    }
    states: Counter[str] = Counter()
    query = {"spec.mgflows.campaign": campaign}
    for row in database["fireworks"].aggregate(
        [{"$match": query}, {"$group": {"_id": "$state", "n": {"$sum": 1}}}]
    ):
        states[row["_id"]] = row["n"]
    planned = database[PLANNED].find({"campaign": campaign, "state": "planned"}, ["jobs"])
    uuids = [each["uuid"] for each in outputs.find({_OF_CAMPAIGN: campaign}, ["uuid"])]
    users: set[str] = set()
    for some in batches(uuids):
        users |= set(
            outputs.distinct(
                _OF_CAMPAIGN,
                {
                    "output.@class": "DatasetDocument",
                    "output.provenance.parents": {"$in": some},
                    _OF_CAMPAIGN: {"$ne": campaign},
                },
            )
        )
    return CampaignContents(
        documents=dict(sorted(documents.items())),
        n_fireworks=sum(states.values()),
        n_planned=sum(len(piece["jobs"]) for piece in planned),
        states=dict(states),
        used_by=sorted(users),
    )


def delete_campaign(settings: Settings, campaign: str, *, force: bool = False) -> CampaignContents:
    """Delete a campaign with all its documents, arrays, fireworks and plans.

    An interrupted deletion is completed by the same call: the campaign's document is deleted last.

    Parameters
    ----------
    settings
        Settings that name the database.
    campaign
        Name of the campaign.
    force
        Delete it although datasets of other campaigns list its labels, which can then no longer be
        loaded.

    Returns
    -------
    CampaignContents
        The contents before the deletion.

    Raises
    ------
    InputError
        If there is no such campaign, a job of it runs, or other campaigns use its labels.
    """
    launchpad = open_launchpad(settings)
    try:
        database = launchpad.db
        found = campaign_contents(database, campaign)
        if n_running := sum(found.states.get(state, 0) for state in ("RUNNING", "RESERVED")):
            raise InputError(
                f"{n_running} jobs of the campaign {campaign!r} run or are in a queue",
                hint="stop its workers first",
            )
        if found.used_by and not force:
            raise InputError(
                f"datasets of {', '.join(found.used_by)} list labels of the campaign {campaign!r}",
                hint="delete those first, or use --force (force=True), after which these datasets "
                "cannot be loaded any more",
            )
        # Without its plans none of its jobs can be submitted again in the meantime.
        database[_PLANS].delete_many({"campaign": campaign})
        database[PLANNED].delete_many({"campaign": campaign})
        _delete_fireworks(launchpad, campaign)
        _delete_outputs(database, campaign)
        database[CAMPAIGNS].delete_many({"campaign": campaign})
        return found
    finally:
        launchpad.connection.close()


def rename_campaign(settings: Settings, campaign: str, name: str) -> None:
    """Change the name of a campaign in all its documents.

    Parameters
    ----------
    settings
        Settings that name the database.
    campaign, name
        Old and new name.

    Raises
    ------
    InputError
        If there is no such campaign, one of the new name exists, or jobs have not ended: they carry
        the old name in their inputs.
    """
    launchpad = open_launchpad(settings)
    try:
        database = launchpad.db
        found = campaign_contents(database, campaign)
        check_campaign_name(name)
        if database[CAMPAIGNS].find_one({"campaign": name}, {"_id": 1}) is not None:
            raise InputError(f"a campaign {name!r} exists already", hint="choose another name")
        if found.n_unfinished:
            raise InputError(
                f"{found.n_unfinished} jobs of the campaign {campaign!r} have not ended, and carry "
                "its name",
                hint="wait until they have, or delete those that failed with: lpad defuse_fws",
            )
        record_change(database, campaign, "rename", f"{campaign}/{name}", old=campaign, new=name)
        # Each of these documents is changed together with its checksum.
        for document in database["outputs"].find(
            {_OF_CAMPAIGN: campaign, "output.campaign": campaign}
        ):
            document["output"]["campaign"] = name
            document["metadata"]["mgflows"]["campaign"] = name
            if "sha256" in document["metadata"]:
                seal(document)
            database["outputs"].replace_one({"_id": document["_id"]}, document)
        database["outputs"].update_many({_OF_CAMPAIGN: campaign}, {"$set": {_OF_CAMPAIGN: name}})
        database["fireworks"].update_many(
            {"spec.mgflows.campaign": campaign}, {"$set": {"spec.mgflows.campaign": name}}
        )
        for plan in list(database[_PLANS].find({"campaign": campaign})):
            key = name + str(plan["_id"]).removeprefix(campaign)
            database[PLANNED].update_many(
                {"key": plan["_id"]}, {"$set": {"key": key, "campaign": name}}
            )
            database[_PLANS].update_one(
                {"_id": key}, {"$set": {**plan, "_id": key, "campaign": name}}, upsert=True
            )
            database[_PLANS].delete_one({"_id": plan["_id"]})
        # The campaign's document is changed last: an interrupted call can be repeated.
        changes: dict[str, Any] = {"campaign": name}
        stored = database[CAMPAIGNS].find_one({"campaign": campaign}, ["settings.name"])
        if stored is not None and "name" in stored.get("settings", {}):
            changes["settings.name"] = name
        database[CAMPAIGNS].update_one({"campaign": campaign}, {"$set": changes})
    finally:
        launchpad.connection.close()


def _delete_fireworks(launchpad: LaunchPad, campaign: str) -> None:
    database = launchpad.db
    query = {"spec.mgflows.campaign": campaign}
    for some in batches(each["fw_id"] for each in database["fireworks"].find(query, ["fw_id"])):
        launches = database["launches"].find({"fw_id": {"$in": some}}, ["launch_id"])
        database["launches"].delete_many(
            {"launch_id": {"$in": [each["launch_id"] for each in launches]}}
        )
        database["workflows"].delete_many({"nodes": {"$in": some}})
        database["fireworks"].delete_many({"fw_id": {"$in": some}})


def _delete_outputs(database: Database, campaign: str) -> None:
    from gridfs import GridFS

    outputs, files = database["outputs"], database["outputs_blobs.files"]
    blobs = GridFS(database, "outputs_blobs")
    for some in batches(outputs.find({_OF_CAMPAIGN: campaign}, {"output": 1}), 100):
        identifiers = [blob for document in some for blob in _blobs(document["output"])]
        for file in files.find({"metadata.blob_uuid": {"$in": identifiers}}, ["_id"]):
            blobs.delete(file["_id"])
        outputs.delete_many({"_id": {"$in": [document["_id"] for document in some]}})


def _blobs(value: Any) -> list[str]:
    """Ids of the arrays in GridFS that a document refers to."""
    if isinstance(value, dict):
        if "blob_uuid" in value:
            return [value["blob_uuid"]]
        return [blob for member in value.values() for blob in _blobs(member)]
    if isinstance(value, list):
        return [blob for member in value for blob in _blobs(member)]
    return []
