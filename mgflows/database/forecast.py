"""How long a campaign will still take, from the rough run time each job carries and from what finished jobs took."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mgflows.jobs.progress import read_progress as read_job_progress
from mgflows.schemas.campaign import PLANNED

if TYPE_CHECKING:
    from pymongo.database import Database

__all__ = ["Forecast", "RunningJob", "forecast"]

_TRUST = 60.0
"""Seconds for which the estimates are trusted before what was measured outweighs them: the first jobs are short and mostly overhead."""
_OPEN = ("READY", "WAITING", "RESERVED", "RUNNING")


@dataclass(frozen=True)
class RunningJob:
    """A job that runs now.

    Parameters
    ----------
    name
        Its name.
    done, total, unit, note
        What it says about itself; zero, zero and empty if it says nothing.
    """

    name: str
    done: int = 0
    total: int = 0
    unit: str = ""
    note: str = ""


@dataclass(frozen=True)
class Forecast:
    """What runs, and how long the rest will take.

    Parameters
    ----------
    running
        Jobs that run now.
    seconds_left
        Estimated time to the end in s; None before anything can be said.
    """

    running: tuple[RunningJob, ...]
    seconds_left: float | None


def forecast(database: Database, campaign: str, n_workers: int) -> Forecast:
    """Estimate the time to the end of a campaign on this machine.

    Stages follow each other; within one, jobs run beside each other, but none is split: a stage takes the larger of its work over the number of
    workers and its longest job. Estimates are scaled by the ratio of measured to estimated time of the jobs that are done.

    Parameters
    ----------
    database
        Database of the LaunchPad.
    campaign
        Its name.
    n_workers
        Jobs that run at the same time.
    """
    fireworks = list(
        database["fireworks"].find(
            {"spec.mgflows.campaign": campaign},
            ["name", "state", "launches", "spec.mgflows.stage", "spec.mgflows.seconds"],
        )
    )
    wanted = [
        firework["launches"][-1]
        for firework in fireworks
        if firework.get("launches") and firework["state"] in ("RUNNING", "COMPLETED")
    ]
    launches = {
        launch["launch_id"]: launch
        for launch in database["launches"].find(
            {"launch_id": {"$in": wanted}}, ["launch_id", "launch_dir", "runtime_secs"]
        )
    }
    running, left = [], defaultdict(list)
    estimated = measured = 0.0
    for firework in fireworks:
        tags = firework["spec"]["mgflows"]
        seconds = float(tags.get("seconds", 1.0))
        launch = launches.get(firework["launches"][-1], {}) if firework.get("launches") else {}
        if firework["state"] == "COMPLETED":
            estimated += seconds
            measured += float(launch.get("runtime_secs") or seconds)
        elif firework["state"] in _OPEN:
            fraction = 0.0
            if firework["state"] == "RUNNING":
                said = read_job_progress(launch["launch_dir"]) if launch.get("launch_dir") else None
                job = RunningJob(firework["name"], **said) if said else RunningJob(firework["name"])
                running.append(job)
                fraction = job.done / job.total if job.total else 0.0
            left[tags.get("stage")].append(seconds * (1.0 - fraction))
    for piece in database[PLANNED].find({"campaign": campaign, "state": "planned"}, ["groups"]):
        for group in piece["groups"]:
            left[group["stage"]] += [group["seconds"] / group["n"]] * group["n"]
    ratio = (measured + _TRUST) / (estimated + _TRUST)
    rest = sum(max(sum(seconds) / n_workers, max(seconds)) for seconds in left.values())
    return Forecast(
        running=tuple(running), seconds_left=ratio * rest if estimated or not left else None
    )
