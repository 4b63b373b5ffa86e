"""The state of a campaign: numbers of jobs, failures, cost and forecast."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mgflows.database.cost import campaign_cost, remaining_cost
from mgflows.database.failures import read_failures
from mgflows.database.forecast import running_jobs, seconds_left
from mgflows.database.planned import deleted_jobs, deletion_notice, stopped_jobs
from mgflows.database.progress import ACTIVE, campaign_progress, require_campaign
from mgflows.database.rounds import RoundSummary, round_summaries
from mgflows.schemas.campaign import PLANNED, stage_order

if TYPE_CHECKING:
    from pymongo.database import Database

__all__ = ["CampaignStatus", "GroupStatus", "campaign_status"]

_WAITING = ("WAITING", "READY", "RESERVED", "PAUSED")


@dataclass(frozen=True)
class GroupStatus:
    """Jobs of one stage and subset.

    Attributes
    ----------
    stage, subset
        None if the jobs have none.
    completed, running, waiting, failed
        Number of fireworks in that state.
    planned
        Number of jobs that are not in the LaunchPad yet.
    core_hours
        Processor time of the completed jobs, h.
    core_hours_left
        Forecast for the remaining jobs, h (:func:`mgflows.database.cost.remaining_cost`).
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
        """Number of jobs."""
        return self.completed + self.running + self.waiting + self.failed + self.planned

    @property
    def left(self) -> int:
        """Number of jobs that run or will run."""
        return self.running + self.waiting + self.planned


@dataclass(frozen=True)
class CampaignStatus:
    """Progress of a campaign.

    Attributes
    ----------
    campaign
        Name of the campaign.
    states
        FireWorks state to number of fireworks.
    groups
        One entry per stage and subset, in the order of the stages.
    running
        Name and launch directory of each running job.
    progress
        Progress of the running jobs that report it, such as
        ``train 0: 1400/7000 steps test 1.3 meV/atom, 27 meV/A; 14 s left``.
    failures
        Name and reason of each failed job.
    stopped
        Reason to number of jobs that do not start: because inputs failed, a gate is closed, or they
        were deleted from the LaunchPad.
    deleted
        Number of submitted jobs that were deleted from the LaunchPad without an output.
    rounds
        Rounds of active learning; empty without.
    seconds_left
        Estimated time to the end with as many jobs at a time as run now, s; None while nothing
        runs or nothing was measured.
    """

    campaign: str
    states: dict[str, int]
    groups: list[GroupStatus]
    running: list[tuple[str, str]]
    failures: list[tuple[str, str]]
    stopped: dict[str, int]
    seconds_left: float | None
    deleted: int = 0
    progress: tuple[str, ...] = ()
    rounds: tuple[RoundSummary, ...] = ()

    @property
    def total(self) -> int:
        """Number of fireworks, planned jobs and deleted jobs."""
        return sum(group.total for group in self.groups) + self.deleted

    @property
    def completed(self) -> int:
        """Number of completed fireworks."""
        return self.states.get("COMPLETED", 0)

    @property
    def planned(self) -> int:
        """Number of jobs that are not in the LaunchPad yet."""
        return sum(group.planned for group in self.groups)

    @property
    def core_hours(self) -> float:
        """Processor time so far, h."""
        return sum(group.core_hours for group in self.groups)

    @property
    def core_hours_left(self) -> float:
        """Estimated processor time of the remaining jobs, h."""
        return sum(group.core_hours_left for group in self.groups)

    @property
    def finished(self) -> bool:
        """Whether nothing is left that could run."""
        n_waiting = self.planned - (sum(self.stopped.values()) - self.deleted)
        return (
            bool(self.states)
            and not n_waiting
            and not any(self.states.get(state, 0) for state in ACTIVE)
        )

    @property
    def succeeded(self) -> bool:
        """Whether every job is completed."""
        return self.total > 0 and self.completed == self.total


def campaign_status(database: Database, campaign: str) -> CampaignStatus:
    """Read the state of a campaign.

    The numbers of jobs come from an index and take milliseconds for campaigns of any size;
    processor times are summed over the campaign's documents.

    Parameters
    ----------
    database
        Database of the LaunchPad.
    campaign
        Name of the campaign.

    Raises
    ------
    InputError
        If there is no such campaign.
    """
    require_campaign(database, campaign)
    progress = campaign_progress(database, campaign)
    costs = campaign_cost(database, campaign)
    core_hours = {(cost.stage, cost.subset): cost.core_hours for cost in costs}
    remaining = remaining_cost(database, campaign)
    core_hours_left: defaultdict[tuple[str | None, str | None], float] = defaultdict(float)
    for each in remaining:
        core_hours_left[each.stage, each.subset] += each.core_hours
    planned = _planned(database, campaign)
    keys = sorted({*progress.groups, *planned}, key=lambda key: (stage_order(key[0]), key[1] or ""))
    deleted = deleted_jobs(database, campaign)
    stopped = stopped_jobs(database, campaign)
    if deleted:
        stopped[deletion_notice(campaign)] = len(deleted)
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
    running = running_jobs(database, campaign)
    return CampaignStatus(
        campaign=campaign,
        states=progress.states,
        groups=groups,
        running=[(job.name, job.directory) for job in running],
        progress=tuple(job.text for job in running if job.total),
        failures=[(failure.name, failure.reason) for failure in read_failures(database, campaign)],
        stopped=stopped,
        deleted=len(deleted),
        rounds=round_summaries(database, campaign),
        seconds_left=seconds_left(remaining, progress.states.get("RUNNING", 0)),
    )


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
