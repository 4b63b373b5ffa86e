"""What a campaign has cost, and what the rest of it will: from the provenance of its documents, never from estimates where something was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mgflows.schemas.campaign import PLANNED
from mgflows.schemas.fitness import FitnessDocument

if TYPE_CHECKING:
    from pymongo.database import Database

__all__ = ["Basis", "Cost", "RemainingCost", "campaign_cost", "estimated_seconds", "remaining_cost"]

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
    estimated_seconds
        What the jobs themselves said, before they ran, that all of them would take, s: the scale of forecasts.
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
    estimated_seconds: float


@dataclass(frozen=True)
class RemainingCost:
    """A forecast for the jobs of one stage and subset that are still to come: planned, waiting or running.

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
        "estimated": {"$sum": {"$ifNull": ["$metadata.mgflows.seconds", 1.0]}},
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
            largest_cores=row["cores"] or 1,
            largest_memory=row["memory"] or 0.0,
            hosts=tuple(sorted(host for host in row["hosts"] if host)),
            estimated_seconds=row["estimated"],
        )
        for row in rows
    ]


def remaining_cost(database: Database, campaign: str, costs: list[Cost] | None = None) -> list[RemainingCost]:
    """Forecast the jobs that are not done, by stage and subset.

    Every job says roughly how long it will take (``seconds`` of :func:`mgflows.flows.tags.tag`). Where jobs of the same stage and subset are done, the
    forecast is what the open ones say, times what the done ones took over what they had said: for jobs that all say the same, such as labels, the measured
    mean times the number of open ones; for coolings of different lengths each by its length. Where none is done, glasses' labels are forecast from the
    pilot labels if the campaign has a gate (:class:`~mgflows.schemas.fitness.CostForecast`, with its assumed number of steps a relaxation); for anything
    else it is the guess of the jobs. Failed jobs, and those behind them, are counted only where they may still run.

    Parameters
    ----------
    database
        The database.
    campaign
        Its name.
    costs
        What :func:`campaign_cost` gave, where it is known already.
    """
    measured = {(cost.stage, cost.subset): cost for cost in (campaign_cost(database, campaign) if costs is None else costs)}
    pilots = _pilot_cost(database, campaign)
    return [
        _remaining(kind, n, seconds, measured.get(kind), pilots)
        for kind, (n, seconds) in sorted(_open_jobs(database, campaign).items(), key=lambda item: tuple(map(str, item[0])))
    ]


def _remaining(
    kind: tuple[str | None, str | None], n: int, seconds: float, cost: Cost | None, pilots: dict[str, Any] | None
) -> RemainingCost:
    stage, subset = kind
    basis: Basis
    if cost is not None:
        core, wall = (hours * seconds / cost.estimated_seconds for hours in (cost.core_hours, cost.wall_hours))
        basis = "measured"
    elif pilots is not None and subset in pilots["evaluations"]:
        core, wall = (pilots["evaluations"][subset] * pilots[f"{each}_seconds_each"] / 3600.0 for each in ("core", "wall"))
        basis = "pilots"
    else:
        core = wall = seconds / 3600.0
        basis = "guess"
    return RemainingCost(stage, subset, n, core, wall, basis)


def _pilot_cost(database: Database, campaign: str) -> dict[str, Any] | None:
    query = {"metadata.mgflows.campaign": campaign, "output.@class": FitnessDocument.__name__}
    found = database["outputs"].find_one(query, ["output.cost"])
    return found["output"]["cost"] if found else None


def _open_jobs(database: Database, campaign: str) -> dict[tuple[str | None, str | None], tuple[int, float]]:
    """Number of jobs that may still run, and the seconds that they say they take, of each (stage, subset)."""
    in_launchpad: list[dict[str, Any]] = [
        {"$match": {"spec.mgflows.campaign": campaign, "state": {"$in": _OPEN}}},
        {
            "$group": {
                "_id": {"stage": "$spec.mgflows.stage", "subset": "$spec.mgflows.subset"},
                "n": {"$sum": 1},
                "seconds": {"$sum": {"$ifNull": ["$spec.mgflows.seconds", 1.0]}},
            }
        },
    ]
    found = estimated_seconds(database, campaign)
    for row in database["fireworks"].aggregate(in_launchpad):
        kind = row["_id"].get("stage"), row["_id"].get("subset")
        n, seconds = found.get(kind, (0, 0.0))
        found[kind] = n + row["n"], seconds + row["seconds"]
    return found


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
