"""The plan of a campaign: deleted jobs, and reasons why planned jobs do not start.

A campaign is planned as a whole at its submission, in the collection ``planned``: one document per
workflow. Those in state ``submitted`` have fireworks in the LaunchPad.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from mgflows.schemas.campaign import PLANNED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pymongo.database import Database

__all__ = ["batches", "deleted_jobs", "deletion_notice", "finished_jobs", "stopped_jobs"]

T = TypeVar("T")
_BATCH = 1000


def batches(items: Iterable[T], size: int = _BATCH) -> Iterator[list[T]]:
    """Return the items in lists of at most `size`."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def stopped_jobs(database: Database, campaign: str) -> dict[str, int]:
    """Reasons why planned jobs do not start, with the number of jobs."""
    reasons: Counter[str] = Counter()
    query: dict[str, Any] = {"campaign": campaign, "state": "planned", "stopped": True}
    for piece in database[PLANNED].find(query, ["reason", "groups.n"]):
        reasons[piece["reason"]] += sum(group["n"] for group in piece["groups"])
    return dict(reasons)


def deletion_notice(campaign: str) -> str:
    """Message about deleted jobs of a campaign."""
    return (
        "deleted from the LaunchPad (lpad delete_wflows or reset); restore them with: "
        f"mgflows heal {campaign} --yes"
    )


def deleted_jobs(database: Database, campaign: str) -> dict[str, list[str]]:
    """Submitted jobs that have neither a firework nor an output.

    FireWorks' ``lpad delete_wflows`` and ``lpad reset`` delete fireworks without a trace. Jobs
    whose output is stored do not count: the fireworks of finished campaigns may be archived.

    Parameters
    ----------
    database
        Database of the LaunchPad.
    campaign
        Name of the campaign.

    Returns
    -------
    dict
        Job uuid to the ids of the documents of ``planned`` that contain it; empty without
        deleted jobs.
    """
    planned, fireworks = database[PLANNED], database["fireworks"]
    submitted = {"campaign": campaign, "state": "submitted"}
    pipeline: list[dict[str, Any]] = [
        {"$match": submitted},
        {"$group": {"_id": None, "n": {"$sum": {"$size": {"$ifNull": ["$jobs", []]}}}}},
    ]
    expected = next((row["n"] for row in planned.aggregate(pipeline)), 0)
    if not expected:
        return {}
    # Counting keys of an index is enough in the normal case: CAMPAIGN/PART/PLAN/NUMBER.
    pattern = f"^{re.escape(campaign)}/[^/]+/[0-9a-f]{{32}}/"
    of_campaign = {"spec.submission": {"$regex": pattern}}
    if fireworks.count_documents(of_campaign) >= expected:
        return {}
    pieces: dict[str, list[str]] = {}
    for piece in planned.find(submitted, ["jobs"]):
        for job in piece["jobs"]:
            pieces.setdefault(job, []).append(piece["_id"])
    present = {
        firework["spec"]["job_uuid"]
        for some in batches(pieces)
        for firework in fireworks.find({"spec.job_uuid": {"$in": some}}, ["spec.job_uuid"])
    }
    without = [job for job in pieces if job not in present]
    finished = finished_jobs(database, without)
    return {job: pieces[job] for job in without if job not in finished}


def finished_jobs(database: Database, jobs: Iterable[str]) -> set[str]:
    """The jobs whose own output is stored, without those that other jobs replaced."""
    finished = set()
    for some in batches(jobs):
        # The own document of a job that replaced itself has no output.
        query = {
            "uuid": {"$in": some},
            "output": {"$ne": None},
            "output.@class": {"$ne": "OutputReference"},
        }
        finished |= {row["uuid"] for row in database["outputs"].find(query, ["uuid"])}
    return finished
