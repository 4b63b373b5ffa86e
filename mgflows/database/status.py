"""How far a campaign is, from FireWorks' own records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymongo.database import Database

__all__ = ["CampaignStatus", "StageStatus", "campaign_status"]

_WAITING = ("WAITING", "READY", "RESERVED", "PAUSED", "DEFUSED")


@dataclass(frozen=True)
class StageStatus:
    """Jobs of one stage.

    Parameters
    ----------
    stage
        Name of the stage.
    planned
        Jobs the campaign plans in it.
    completed, running, waiting, failed
        Jobs in that state.
    seconds
        Time its jobs have run so far, in s.
    """

    stage: str
    planned: int
    completed: int
    running: int
    waiting: int
    failed: int
    seconds: float


@dataclass(frozen=True)
class CampaignStatus:
    """Progress of a campaign.

    Parameters
    ----------
    campaign
        Its name.
    states
        FireWorks state to number of fireworks.
    stages
        One entry a stage, in order.
    running
        Name and launch directory of each running job.
    failures
        Name and reason of each failed job.
    """

    campaign: str
    states: dict[str, int]
    stages: list[StageStatus]
    running: list[tuple[str, str]]
    failures: list[tuple[str, str]]

    @property
    def total(self) -> int:
        """Number of fireworks."""
        return sum(self.states.values())

    @property
    def completed(self) -> int:
        """Number of completed fireworks."""
        return self.states.get("COMPLETED", 0)

    @property
    def finished(self) -> bool:
        """Whether nothing is left that could run."""
        return self.total > 0 and not (self.states.get("READY", 0) or self.states.get("RUNNING", 0) or self.states.get("RESERVED", 0))

    @property
    def succeeded(self) -> bool:
        """Whether every job is completed."""
        return self.total > 0 and self.completed == self.total


def campaign_status(database: Database, campaign: str, planned: dict[str, int]) -> CampaignStatus:
    """Aggregate the fireworks of a campaign.

    Parameters
    ----------
    database
        Database of the LaunchPad.
    campaign
        Its name.
    planned
        Stage to number of jobs planned.
    """
    groups = database["fireworks"].aggregate(
        [
            {"$match": {"spec.mgflows.campaign": campaign}},
            {"$group": {"_id": {"stage": "$spec.mgflows.stage", "state": "$state"}, "count": {"$sum": 1}}},
        ]
    )
    states: dict[str, int] = {}
    by_stage: dict[str, dict[str, int]] = {stage: {} for stage in planned}
    for group in groups:
        stage, state, count = group["_id"].get("stage", ""), group["_id"]["state"], group["count"]
        states[state] = states.get(state, 0) + count
        by_stage.setdefault(stage, {})[state] = count
    seconds = _run_times(database, campaign)
    stages = [
        StageStatus(
            stage=stage,
            planned=planned.get(stage, sum(counts.values())),
            completed=counts.get("COMPLETED", 0),
            running=counts.get("RUNNING", 0),
            waiting=sum(counts.get(state, 0) for state in _WAITING),
            failed=counts.get("FIZZLED", 0),
            seconds=seconds.get(stage, 0.0),
        )
        for stage, counts in by_stage.items()
    ]
    return CampaignStatus(
        campaign=campaign, states=states, stages=stages, running=_running(database, campaign), failures=_failures(database, campaign)
    )


def _launches(database: Database, campaign: str, state: str, fields: list[str]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(firework, last launch) of every firework of a campaign in a state."""
    fireworks = list(database["fireworks"].find({"spec.mgflows.campaign": campaign, "state": state}, ["name", "launches", "spec.mgflows"]))
    ids = [firework["launches"][-1] for firework in fireworks if firework.get("launches")]
    launches = {launch["launch_id"]: launch for launch in database["launches"].find({"launch_id": {"$in": ids}}, ["launch_id", *fields])}
    return [(firework, launches.get(firework["launches"][-1], {}) if firework.get("launches") else {}) for firework in fireworks]


def _running(database: Database, campaign: str) -> list[tuple[str, str]]:
    return [
        (firework["name"], launch.get("launch_dir", "")) for firework, launch in _launches(database, campaign, "RUNNING", ["launch_dir"])
    ]


def _failures(database: Database, campaign: str) -> list[tuple[str, str]]:
    return [(firework["name"], failure_reason(launch)) for firework, launch in _launches(database, campaign, "FIZZLED", ["action"])]


def failure_reason(launch: dict[str, Any]) -> str:
    """The last line of the traceback FireWorks stored with a launch: the error and what it says."""
    stored = ((launch.get("action") or {}).get("stored_data") or {}).get("_exception") or {}
    trace = str(stored.get("_stacktrace") or "").strip()
    return trace.splitlines()[-1] if trace else "no reason was stored; look at the launch directory"


def _run_times(database: Database, campaign: str) -> dict[str, float]:
    """Stage to seconds that its completed jobs ran."""
    pipeline: list[dict[str, Any]] = [
        {"$match": {"spec.mgflows.campaign": campaign, "state": "COMPLETED"}},
        {"$project": {"stage": "$spec.mgflows.stage", "launch": {"$last": "$launches"}}},
        {"$lookup": {"from": "launches", "localField": "launch", "foreignField": "launch_id", "as": "launch"}},
        {"$group": {"_id": "$stage", "seconds": {"$sum": {"$first": "$launch.runtime_secs"}}}},
    ]
    return {group["_id"] or "": float(group["seconds"] or 0.0) for group in database["fireworks"].aggregate(pipeline)}
