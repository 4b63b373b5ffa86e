"""What a campaign has cost, and what the rest of it will: from the provenance of its documents, never from estimates where something was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mgflows.schemas.campaign import PLANNED

if TYPE_CHECKING:
    from pymongo.database import Database

__all__ = ["Cost", "campaign_cost", "estimated_seconds"]

_LOST = ("FIZZLED", "ARCHIVED")


@dataclass(frozen=True)
class Cost:
    """The jobs of one stage and subset that are done.

    Attributes
    ----------
    stage, subset
        What they were for; None where the jobs say nothing.
    n
        Documents with a provenance.
    core_hours
        Processor time of all of them, child processes included, h.
    wall_hours
        Elapsed time of all of them, h.
    mean_core_seconds, largest_core_seconds
        Processor time of one, s.
    largest_memory
        Largest resident memory of one process, MiB.
    hosts
        Machines they ran on.
    """

    stage: str | None
    subset: str | None
    n: int
    core_hours: float
    wall_hours: float
    mean_core_seconds: float
    largest_core_seconds: float
    largest_memory: float
    hosts: tuple[str, ...]


def campaign_cost(database: Database, campaign: str) -> list[Cost]:
    """Sum up the documents of a campaign by stage and subset, in one query.

    Parameters
    ----------
    database
        The database.
    campaign
        Its name.
    """
    provenance = "$output.provenance"
    group: dict[str, Any] = {
        "_id": {"stage": "$metadata.mgflows.stage", "subset": "$metadata.mgflows.subset"},
        "n": {"$sum": 1},
        "cpu": {"$sum": f"{provenance}.cpu_seconds"},
        "wall": {"$sum": f"{provenance}.wall_seconds"},
        "largest": {"$max": f"{provenance}.cpu_seconds"},
        "memory": {"$max": f"{provenance}.max_rss_mib"},
        "hosts": {"$addToSet": f"{provenance}.host"},
    }
    match = {"metadata.mgflows.campaign": campaign, "output.provenance.cpu_seconds": {"$exists": True}}
    rows = database["outputs"].aggregate([{"$match": match}, {"$group": group}, {"$sort": {"_id": 1}}])
    return [
        Cost(
            stage=row["_id"].get("stage"),
            subset=row["_id"].get("subset"),
            n=row["n"],
            core_hours=row["cpu"] / 3600.0,
            wall_hours=row["wall"] / 3600.0,
            mean_core_seconds=row["cpu"] / row["n"],
            largest_core_seconds=row["largest"],
            largest_memory=row["memory"] or 0.0,
            hosts=tuple(sorted(host for host in row["hosts"] if host)),
        )
        for row in rows
    ]


def estimated_seconds(database: Database, campaign: str) -> dict[tuple[str | None, str | None], tuple[int, float]]:
    """Number of jobs and estimated seconds of all of them, of each (stage, subset), that are not in the LaunchPad yet."""
    pipeline: list[dict[str, Any]] = [
        {"$match": {"campaign": campaign, "state": "planned"}},
        {"$project": {"_id": 0, "groups": 1}},
        {"$unwind": "$groups"},
        {
            "$group": {
                "_id": {"stage": "$groups.stage", "subset": "$groups.subset"},
                "n": {"$sum": "$groups.n"},
                "seconds": {"$sum": "$groups.seconds"},
            }
        },
    ]
    rows = database[PLANNED].aggregate(pipeline)
    return {(row["_id"].get("stage"), row["_id"].get("subset")): (row["n"], row["seconds"]) for row in rows}
