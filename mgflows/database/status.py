"""How far a campaign is: what is done, runs, waits, failed and is planned, what it has cost, and how long it will take."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mgflows.database.cost import RemainingCost, campaign_cost, remaining_cost
from mgflows.database.failures import read_failures
from mgflows.database.progress import read_progress
from mgflows.schemas.campaign import PLANNED, STAGES

if TYPE_CHECKING:
    from pymongo.database import Database

__all__ = ["CampaignStatus", "GroupStatus", "campaign_status"]

_WAITING = ("WAITING", "READY", "RESERVED", "PAUSED")
_ACTIVE = ("READY", "RESERVED", "RUNNING")


@dataclass(frozen=True)
class GroupStatus:
    """Jobs of one stage and subset.

    Attributes
    ----------
    stage, subset
        What they are for; None where the jobs say nothing.
    completed, running, waiting, failed
        Fireworks in that state.
    planned
        Jobs that are not in the LaunchPad yet.
    core_hours
        Processor time of those that are done, h.
    core_hours_left
        Forecast for the others, h (:func:`mgflows.database.cost.remaining_cost`).
    """

    stage: str | None
    subset: str | None
    completed: int
    running: int
    waiting: int
    failed: int
    planned: int
    core_hours: float
    core_hours_left: float

    @property
    def total(self) -> int:
        """All jobs."""
        return self.completed + self.running + self.waiting + self.failed + self.planned

    @property
    def left(self) -> int:
        """Jobs that will run."""
        return self.running + self.waiting + self.planned


@dataclass(frozen=True)
class CampaignStatus:
    """Progress of a campaign.

    Attributes
    ----------
    campaign
        Its name.
    states
        FireWorks state to number of fireworks.
    groups
        One entry for each stage and subset, in the order of the stages.
    running
        Name and launch directory of each running job.
    failures
        Name and reason of each failed job.
    stopped
        Why planned jobs do not go on by themselves; reason to number of jobs.
    seconds_left
        Estimated time to the end with as many jobs at a time as run now, s; None while nothing runs or nothing was measured.
    """

    campaign: str
    states: dict[str, int]
    groups: list[GroupStatus]
    running: list[tuple[str, str]]
    failures: list[tuple[str, str]]
    stopped: dict[str, int]
    seconds_left: float | None

    @property
    def total(self) -> int:
        """Number of fireworks, and of jobs that are planned."""
        return sum(group.total for group in self.groups)

    @property
    def completed(self) -> int:
        """Number of completed fireworks."""
        return self.states.get("COMPLETED", 0)

    @property
    def planned(self) -> int:
        """Jobs that are not in the LaunchPad yet."""
        return sum(group.planned for group in self.groups)

    @property
    def core_hours(self) -> float:
        """Processor time so far, h."""
        return sum(group.core_hours for group in self.groups)

    @property
    def core_hours_left(self) -> float:
        """Estimated processor time of the rest, h."""
        return sum(group.core_hours_left for group in self.groups)

    @property
    def finished(self) -> bool:
        """Whether nothing is left that could run."""
        going_on = self.planned - sum(self.stopped.values())
        return (
            bool(self.states)
            and not going_on
            and not any(self.states.get(state, 0) for state in _ACTIVE)
        )

    @property
    def succeeded(self) -> bool:
        """Whether every job is completed."""
        return self.total > 0 and self.completed == self.total


def campaign_status(database: Database, campaign: str) -> CampaignStatus:
    """Look at a campaign.

    The numbers of jobs come from an index, and take milliseconds however large the campaign is; processor times are summed up over its documents.

    Parameters
    ----------
    database
        Database of the LaunchPad.
    campaign
        Its name.
    """
    progress = read_progress(database, campaign)
    costs = campaign_cost(database, campaign)
    core_hours = {(cost.stage, cost.subset): cost.core_hours for cost in costs}
    remaining = remaining_cost(database, campaign)
    core_hours_left: defaultdict[tuple[str | None, str | None], float] = defaultdict(float)
    for each in remaining:
        core_hours_left[each.stage, each.subset] += each.core_hours
    planned = _planned(database, campaign)
    keys = sorted({*progress.groups, *planned}, key=_order)
    groups = [
        _group(
            key,
            progress.groups.get(key, {}),
            planned.get(key, 0),
            core_hours.get(key, 0.0),
            core_hours_left[key],
        )
        for key in keys
    ]
    return CampaignStatus(
        campaign=campaign,
        states=progress.states,
        groups=groups,
        running=_running(database, campaign),
        failures=[(failure.name, failure.reason) for failure in read_failures(database, campaign)],
        stopped=_stopped(database, campaign),
        seconds_left=_seconds_left(
            remaining, progress.states.get("RUNNING", 0), is_measured=bool(costs)
        ),
    )


def _order(key: tuple[str | None, str | None]) -> tuple[int, str, str]:
    stage, subset = key
    return (STAGES.index(stage) if stage in STAGES else len(STAGES), stage or "", subset or "")


def _group(
    key: tuple[str | None, str | None],
    states: dict[str, int],
    planned: int,
    core_hours: float,
    core_hours_left: float,
) -> GroupStatus:
    return GroupStatus(
        stage=key[0],
        subset=key[1],
        completed=states.get("COMPLETED", 0),
        running=states.get("RUNNING", 0),
        waiting=sum(states.get(state, 0) for state in _WAITING),
        failed=states.get("FIZZLED", 0) + states.get("DEFUSED", 0),
        planned=planned,
        core_hours=core_hours,
        core_hours_left=core_hours_left,
    )


def _planned(database: Database, campaign: str) -> dict[tuple[str | None, str | None], int]:
    """Number of jobs of each (stage, subset) that are not in the LaunchPad yet."""
    pipeline: list[dict[str, Any]] = [
        {"$match": {"campaign": campaign, "state": "planned"}},
        {"$project": {"_id": 0, "groups": 1}},
        {"$unwind": "$groups"},
        {
            "$group": {
                "_id": {"stage": "$groups.stage", "subset": "$groups.subset"},
                "n": {"$sum": "$groups.n"},
            }
        },
    ]
    return {
        (row["_id"].get("stage"), row["_id"].get("subset")): row["n"]
        for row in database[PLANNED].aggregate(pipeline)
    }


def _seconds_left(
    remaining: list[RemainingCost], n_running: int, *, is_measured: bool
) -> float | None:
    if not remaining:
        return 0.0
    if not n_running or not is_measured:
        return None
    # Walltime rather than processor time: a job on many cores is one job.
    return 3600.0 * sum(each.wall_hours for each in remaining) / n_running


def _running(database: Database, campaign: str) -> list[tuple[str, str]]:
    query = {"spec.mgflows.campaign": campaign, "state": "RUNNING"}
    fireworks = list(database["fireworks"].find(query, ["name", "launches"]))
    ids = [firework["launches"][-1] for firework in fireworks if firework.get("launches")]
    found = database["launches"].find({"launch_id": {"$in": ids}}, ["launch_id", "launch_dir"])
    directories = {launch["launch_id"]: launch["launch_dir"] for launch in found}
    return [
        (firework["name"], directories.get((firework.get("launches") or [None])[-1], ""))
        for firework in fireworks
    ]


def _stopped(database: Database, campaign: str) -> dict[str, int]:
    reasons: Counter[str] = Counter()
    query: dict[str, Any] = {"campaign": campaign, "state": "planned", "stopped": True}
    for piece in database[PLANNED].find(query, ["reason", "groups.n"]):
        reasons[piece["reason"]] += sum(group["n"] for group in piece["groups"])
    return dict(reasons)
