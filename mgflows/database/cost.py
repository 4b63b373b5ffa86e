"""Cost of a campaign so far and forecast, from the provenance of its documents.

Estimates are used only if nothing was measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from mgflows.schemas.campaign import PLANNED, stage_order
from mgflows.schemas.fitness import FitnessDocument

if TYPE_CHECKING:
    from pymongo.database import Database

__all__ = ["Basis", "Cost", "RemainingCost", "campaign_cost", "elapsed_seconds", "remaining_cost"]

Basis = Literal["measured", "pilots", "guess"]
"""Source of a forecast: finished jobs of the same stage and subset; the pilot labels, for subsets
without finished jobs; the jobs' own estimates."""

_OPEN = ("WAITING", "READY", "RESERVED", "PAUSED", "RUNNING")


@dataclass(frozen=True)
class Cost:
    """The finished jobs of one stage and subset.

    Attributes
    ----------
    stage, subset
        None if the jobs have none.
    n
        Number of documents with a provenance.
    core_hours
        Total processor time, child processes included, h.
    wall_hours
        Total elapsed time, h.
    mean_core_seconds, largest_core_seconds
        Mean and largest processor time of one job, s.
    largest_cores
        Largest number of cores that one job used.
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
    largest_cores: int
    largest_memory: float
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class RemainingCost:
    """Forecast for the remaining jobs of one stage and subset: planned, waiting or running.

    Attributes
    ----------
    stage, subset
        None if the jobs have none.
    n
        Number of jobs.
    core_hours, wall_hours
        Total processor time and elapsed time, h.
    basis
        Source of the numbers.
    longest_wall_hours
        Elapsed time of the longest job, h.
    estimated_seconds
        Sum of the jobs' own estimates, s.
    """

    stage: str | None
    subset: str | None
    n: int
    core_hours: float
    wall_hours: float
    basis: Basis
    longest_wall_hours: float = 0.0
    estimated_seconds: float = 0.0


def campaign_cost(database: Database, campaign: str) -> list[Cost]:
    """Sum the costs of a campaign by stage and subset, in one query.

    Parameters
    ----------
    database
        The database.
    campaign
        Name of the campaign.
    """
    provenance = "$output.provenance"
    group: dict[str, Any] = {
        "_id": {"stage": "$metadata.mgflows.stage", "subset": "$metadata.mgflows.subset"},
        "n": {"$sum": 1},
        "cpu": {"$sum": f"{provenance}.cpu_seconds"},
        "wall": {"$sum": f"{provenance}.wall_seconds"},
        "largest": {"$max": f"{provenance}.cpu_seconds"},
        "cores": {"$max": f"{provenance}.n_cores"},
        "memory": {"$max": f"{provenance}.max_rss_mib"},
        "hosts": {"$addToSet": f"{provenance}.host"},
    }
    match = {
        "metadata.mgflows.campaign": campaign,
        "output.provenance.cpu_seconds": {"$exists": True},
    }
    rows = database["outputs"].aggregate([{"$match": match}, {"$group": group}])
    costs = [
        Cost(
            stage=row["_id"].get("stage"),
            subset=row["_id"].get("subset"),
            n=row["n"],
            core_hours=row["cpu"] / 3600.0,
            wall_hours=row["wall"] / 3600.0,
            mean_core_seconds=row["cpu"] / row["n"],
            largest_core_seconds=row["largest"],
            largest_cores=row["cores"] or 1,
            largest_memory=row["memory"] or 0.0,
            hosts=tuple(sorted(host for host in row["hosts"] if host)),
        )
        for row in rows
    ]
    return sorted(costs, key=lambda cost: (stage_order(cost.stage), cost.subset or ""))


def elapsed_seconds(database: Database, campaign: str) -> float | None:
    """Time from the start of a campaign's first job to the end of its last one, s.

    None before any job has finished.
    """
    provenance = "$output.provenance"
    pipeline: list[dict[str, Any]] = [
        {
            "$match": {
                "metadata.mgflows.campaign": campaign,
                "output.provenance.created_at": {"$exists": True},
            }
        },
        {
            "$project": {
                "start": {"$dateFromString": {"dateString": f"{provenance}.created_at"}},
                "milliseconds": {"$multiply": [f"{provenance}.wall_seconds", 1000]},
            }
        },
        {
            "$group": {
                "_id": None,
                "start": {"$min": "$start"},
                "end": {"$max": {"$add": ["$start", {"$toLong": "$milliseconds"}]}},
            }
        },
    ]
    found = next(iter(database["outputs"].aggregate(pipeline)), None)
    return (found["end"] - found["start"]).total_seconds() if found else None


def remaining_cost(database: Database, campaign: str) -> list[RemainingCost]:
    """Forecast the remaining jobs by stage, subset and source of the forecast.

    Some jobs carry an estimate of their run time (``seconds`` of :func:`mgflows.flows.tags.tag`):
    coolings, quenches, trainings. Others, such as labels and collectors, have none and count as
    one second. The two kinds are treated separately; otherwise a finished collector would determine
    the forecast of the training after it. The rules, in this order:

    - measured: jobs of the same stage, subset and kind are finished. Their measured over their
      estimated time scales the estimates of the remaining ones: for labels this is the mean cost
      times the number of jobs, for coolings each counts by its length.
    - pilots: the campaign has a gate, whose pilot labels set the cost of the glasses' labels
      (:class:`~mgflows.schemas.fitness.CostForecast`, with its assumed number of steps per
      relaxation).
    - guess: the jobs' own estimates.

    Failed jobs and jobs that depend on them count only if they may still run.

    Parameters
    ----------
    database
        The database.
    campaign
        Name of the campaign.
    """
    measured, pilots = _measured(database, campaign), _pilot_cost(database, campaign)
    found: dict[tuple[str | None, str | None, Basis], RemainingCost] = {}
    for kind, (n, seconds, longest) in _open_jobs(database, campaign).items():
        stage, subset, _ = kind
        basis: Basis = (
            "measured"
            if kind in measured
            else "pilots"
            if pilots and subset in pilots["evaluations"]
            else "guess"
        )
        if basis == "measured":
            core, wall = (seconds * ratio for ratio in measured[kind])
        elif basis == "pilots" and pilots:
            core, wall = (
                pilots["evaluations"][subset] * pilots[f"{each}_seconds_each"]
                for each in ("core", "wall")
            )
        else:
            core = wall = seconds
        other = found.get((stage, subset, basis), RemainingCost(stage, subset, 0, 0.0, 0.0, basis))
        found[stage, subset, basis] = replace(
            other,
            n=other.n + n,
            core_hours=other.core_hours + core / 3600.0,
            wall_hours=other.wall_hours + wall / 3600.0,
            estimated_seconds=other.estimated_seconds + seconds,
            longest_wall_hours=max(
                other.longest_wall_hours, wall / 3600.0 * longest / seconds if seconds else 0.0
            ),
        )
    return sorted(
        found.values(), key=lambda each: (stage_order(each.stage), each.subset or "", each.basis)
    )


_Kind = tuple[str | None, str | None, bool]
"""Stage, subset, and whether a job has an estimate of its run time."""


def _measured(database: Database, campaign: str) -> dict[_Kind, tuple[float, float]]:
    """Core and wall seconds of the finished jobs over their estimated seconds."""
    tags, provenance = "$metadata.mgflows", "$output.provenance"
    pipeline: list[dict[str, Any]] = [
        {
            "$match": {
                "metadata.mgflows.campaign": campaign,
                "output.provenance.cpu_seconds": {"$exists": True},
            }
        },
        {
            "$group": {
                **_grouped(tags),
                "core": {"$sum": f"{provenance}.cpu_seconds"},
                "wall": {"$sum": f"{provenance}.wall_seconds"},
            }
        },
    ]
    rows = database["outputs"].aggregate(pipeline)
    return {
        _kind(row): (row["core"] / row["seconds"], row["wall"] / row["seconds"])
        for row in rows
        if row["seconds"]
    }


def _pilot_cost(database: Database, campaign: str) -> dict[str, Any] | None:
    query = {"metadata.mgflows.campaign": campaign, "output.@class": FitnessDocument.__name__}
    found = database["outputs"].find_one(query, ["output.cost"])
    return found["output"]["cost"] if found else None


def _open_jobs(database: Database, campaign: str) -> dict[_Kind, tuple[int, float, float]]:
    """Jobs of each kind that may still run: number, estimated seconds, and those of the longest."""
    in_launchpad: list[dict[str, Any]] = [
        {"$match": {"spec.mgflows.campaign": campaign, "state": {"$in": _OPEN}}},
        {
            "$group": {
                **_grouped("$spec.mgflows"),
                "longest": {"$max": {"$ifNull": ["$spec.mgflows.seconds", 1.0]}},
            }
        },
    ]
    planned: list[dict[str, Any]] = [
        {"$match": {"campaign": campaign, "state": "planned"}},
        {"$project": {"_id": 0, "groups": 1}},
        {"$unwind": "$groups"},
        {
            "$group": {
                "_id": {
                    "stage": "$groups.stage",
                    "subset": "$groups.subset",
                    "estimated": "$groups.estimated",
                },
                "n": {"$sum": "$groups.n"},
                "seconds": {"$sum": "$groups.seconds"},
                "longest": {"$max": {"$divide": ["$groups.seconds", "$groups.n"]}},
            }
        },
    ]
    found: dict[_Kind, tuple[int, float, float]] = {}
    for collection, pipeline in (("fireworks", in_launchpad), (PLANNED, planned)):
        for row in database[collection].aggregate(pipeline):
            n, seconds, longest = found.get(_kind(row), (0, 0.0, 0.0))
            found[_kind(row)] = (
                n + row["n"],
                seconds + row["seconds"],
                max(longest, row["longest"]),
            )
    return found


def _grouped(tags: str) -> dict[str, Any]:
    """Fields of a ``$group`` by kind, for documents with their tags at `tags`."""
    seconds = f"{tags}.seconds"
    return {
        "_id": {
            "stage": f"{tags}.stage",
            "subset": f"{tags}.subset",
            "estimated": {"$gt": [seconds, None]},
        },
        "n": {"$sum": 1},
        "seconds": {"$sum": {"$ifNull": [seconds, 1.0]}},
    }


def _kind(row: dict[str, Any]) -> _Kind:
    key = row["_id"]
    return key.get("stage"), key.get("subset"), bool(key.get("estimated"))
