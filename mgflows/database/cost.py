"""What a campaign has cost, and what the rest of it will: from the provenance of its documents, never from estimates where something was measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from mgflows.schemas.campaign import PLANNED, STAGES
from mgflows.schemas.fitness import FitnessDocument

if TYPE_CHECKING:
    from pymongo.database import Database

__all__ = ["Basis", "Cost", "RemainingCost", "campaign_cost", "remaining_cost"]

Basis = Literal["measured", "pilots", "guess"]
"""Where a forecast comes from: jobs of the same stage and subset; the first labels, for subsets that only they say anything about; what each job says of itself."""

_OPEN = ("WAITING", "READY", "RESERVED", "PAUSED", "RUNNING")


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
    largest_cores
        Most cores that one of them used.
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
    """A forecast for jobs of one stage and subset that are still to come: planned, waiting or running.

    Attributes
    ----------
    stage, subset
        What they are for; None where the jobs say nothing.
    n
        How many.
    core_hours, wall_hours
        Processor time and elapsed time of all of them, h.
    basis
        Where the numbers come from.
    """

    stage: str | None
    subset: str | None
    n: int
    core_hours: float
    wall_hours: float
    basis: Basis


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
    return sorted(costs, key=lambda cost: (_stage_order(cost.stage), cost.subset or ""))


def remaining_cost(database: Database, campaign: str) -> list[RemainingCost]:
    """Forecast the jobs that are not done, by stage, subset and where the forecast comes from.

    Some jobs say roughly how long they will take (``seconds`` of :func:`mgflows.flows.tags.tag`): coolings, quenches, trainings. Others, such as labels and
    collectors, say nothing and count as one second. The two kinds are kept apart, or a collector that is done would speak for the training behind it. Where jobs of
    the same stage, subset and kind are done, the forecast is what the open ones say, times what the done ones took over what they had said: for labels the
    measured mean times the number of open ones, for coolings each by its length. Where none is done, glasses' labels are forecast from the pilot labels if the
    campaign has a gate (:class:`~mgflows.schemas.fitness.CostForecast`, with its assumed number of steps a relaxation); for anything else it is the guess of the jobs.
    Failed jobs, and those behind them, are counted only where they may still run.

    Parameters
    ----------
    database
        The database.
    campaign
        Its name.
    """
    measured, pilots = _measured(database, campaign), _pilot_cost(database, campaign)
    found: dict[tuple[str | None, str | None, Basis], RemainingCost] = {}
    for kind, (n, seconds) in _open_jobs(database, campaign).items():
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
        )
    return sorted(
        found.values(), key=lambda each: (_stage_order(each.stage), each.subset or "", each.basis)
    )


_Kind = tuple[str | None, str | None, bool]
"""Stage, subset, and whether a job says how long it takes."""


def _measured(database: Database, campaign: str) -> dict[_Kind, tuple[float, float]]:
    """Core and wall seconds of the jobs that are done, over the seconds that they had said."""
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


def _open_jobs(database: Database, campaign: str) -> dict[_Kind, tuple[int, float]]:
    """Number of jobs of each kind that may still run, and the seconds that they say they take."""
    in_launchpad: list[dict[str, Any]] = [
        {"$match": {"spec.mgflows.campaign": campaign, "state": {"$in": _OPEN}}},
        {"$group": _grouped("$spec.mgflows")},
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
            }
        },
    ]
    found: dict[_Kind, tuple[int, float]] = {}
    for collection, pipeline in (("fireworks", in_launchpad), (PLANNED, planned)):
        for row in database[collection].aggregate(pipeline):
            n, seconds = found.get(_kind(row), (0, 0.0))
            found[_kind(row)] = n + row["n"], seconds + row["seconds"]
    return found


def _grouped(tags: str) -> dict[str, Any]:
    """Members of a ``$group`` by kind, for documents with tags there."""
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


def _stage_order(stage: str | None) -> int:
    return STAGES.index(stage) if stage in STAGES else len(STAGES)
