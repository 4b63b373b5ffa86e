"""The time to the end of a campaign, from the forecast of its remaining jobs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mgflows.database.cost import remaining_cost
from mgflows.jobs.progress import read_progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymongo.database import Database

    from mgflows.database.cost import RemainingCost

__all__ = ["Forecast", "RunningJob", "forecast", "running_jobs", "seconds_left"]


@dataclass(frozen=True)
class RunningJob:
    """A running job.

    Attributes
    ----------
    name
        Its name.
    fw_id
        Its firework.
    directory
        Its launch directory; empty if it is not known.
    stage, subset, seconds
        Those of its metadata; `seconds` is its estimated run time, 1 s without one.
    done, total, unit, note
        Its progress (:class:`mgflows.jobs.progress.JobProgress`); zero and empty without one.
    """

    name: str
    fw_id: int = 0
    directory: str = ""
    stage: str | None = None
    subset: str | None = None
    seconds: float = 1.0
    done: int = 0
    total: int = 0
    unit: str = ""
    note: str = ""

    @property
    def fraction(self) -> float:
        """The part that is done, 0 to 1."""
        return self.done / self.total if self.total else 0.0

    @property
    def text(self) -> str:
        """Name and progress in words."""
        progress = f": {self.done}/{self.total} {self.unit} {self.note}" if self.total else ""
        return f"{self.name}{progress}".rstrip()


@dataclass(frozen=True)
class Forecast:
    """Running jobs and the time to the end.

    Attributes
    ----------
    running
        Jobs that run now.
    seconds_left
        Estimated time to the end, s; None before any job has been measured.
    """

    running: tuple[RunningJob, ...]
    seconds_left: float | None


def forecast(database: Database, campaign: str, n_workers: int) -> Forecast:
    """Estimate the time to the end of a campaign on this machine.

    Parameters
    ----------
    database
        Database of the LaunchPad.
    campaign
        Name of the campaign.
    n_workers
        Number of jobs that run at the same time.
    """
    running = running_jobs(database, campaign)
    remaining = remaining_cost(database, campaign)
    return Forecast(running, seconds_left(_without_done(remaining, running), n_workers))


def _without_done(
    remaining: Sequence[RemainingCost], running: Sequence[RunningJob]
) -> list[RemainingCost]:
    """Subtract the part of the running jobs that is done."""
    reduced = []
    for each in remaining:
        jobs = [job for job in running if (job.stage, job.subset) == (each.stage, each.subset)]
        scale = each.wall_hours / each.estimated_seconds if each.estimated_seconds else 0.0
        left = [scale * job.seconds * (1.0 - job.fraction) for job in jobs]
        done = sum(scale * job.seconds * job.fraction for job in jobs)
        reduced.append(
            replace(
                each,
                wall_hours=max(each.wall_hours - done, 0.0),
                longest_wall_hours=max(left)
                if left and len(left) == each.n
                else each.longest_wall_hours,
            )
        )
    return reduced


def seconds_left(remaining: Sequence[RemainingCost], n_workers: int) -> float | None:
    """Time to the end with a number of jobs at a time, s.

    Stages follow each other; within a stage jobs run in parallel but none is split, so that a stage
    takes the larger of its total elapsed time over the number of workers and its longest job.

    Parameters
    ----------
    remaining
        Forecast of the remaining jobs.
    n_workers
        Number of jobs that run at the same time.

    Returns
    -------
    float or None
        None if no worker runs or nothing was measured yet.
    """
    if not remaining:
        return 0.0
    if n_workers < 1 or all(each.basis == "guess" for each in remaining):
        return None
    total: defaultdict[str | None, float] = defaultdict(float)
    longest: defaultdict[str | None, float] = defaultdict(float)
    # Elapsed time rather than processor time: a job on many cores is one job.
    for each in remaining:
        total[each.stage] += each.wall_hours
        longest[each.stage] = max(longest[each.stage], each.longest_wall_hours)
    return 3600.0 * sum(max(total[stage] / n_workers, longest[stage]) for stage in total)


def running_jobs(database: Database, campaign: str) -> tuple[RunningJob, ...]:
    """The running jobs of a campaign, with their progress where this machine can read it."""
    query = {"spec.mgflows.campaign": campaign, "state": "RUNNING"}
    fireworks = list(
        database["fireworks"]
        .find(query, ["fw_id", "name", "launches", "spec.mgflows"])
        .sort("fw_id", 1)
    )
    ids = [firework["launches"][-1] for firework in fireworks if firework.get("launches")]
    found = database["launches"].find({"launch_id": {"$in": ids}}, ["launch_id", "launch_dir"])
    directories = {launch["launch_id"]: launch.get("launch_dir") or "" for launch in found}
    jobs = []
    for firework in fireworks:
        directory = directories.get((firework.get("launches") or [None])[-1], "")
        progress = (read_progress(directory) if directory else None) or {}
        tags = (firework.get("spec") or {}).get("mgflows") or {}
        job = RunningJob(
            name=firework["name"],
            fw_id=firework["fw_id"],
            directory=directory,
            stage=tags.get("stage"),
            subset=tags.get("subset"),
            seconds=float(tags.get("seconds", 1.0)),
            **progress,
        )
        jobs.append(job)
    return tuple(jobs)
