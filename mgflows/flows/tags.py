"""Tags of jobs for queries, ``lpad`` and progress displays, and for the choice of workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from jobflow import OnMissing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobflow import Flow, Job

__all__ = ["Category", "Schedule", "all_jobs", "set_campaign", "tag"]

Category = Literal["sampling", "dft", "training", "md"]
"""Kind of worker a job needs.

One core, packed; whole nodes; a trainer (GPU); molecular dynamics with a potential.
"""


@dataclass(frozen=True)
class Schedule:
    """Priority, run time and resources of a job.

    Parameters
    ----------
    priority
        Jobs of higher priority are taken first.
    seconds
        Rough run time in s, only for forecasts, which are corrected by the times of finished jobs.
        None if it is unknown: all such jobs of a stage and subset then count equally.
    resources
        Values of the queue file that differ for this job, such as ``{"nodes": 4, "walltime":
        "24:00:00"}``: FireWorks' ``_queueadapter``, which only ``qlaunch -r`` uses.
    """

    priority: int = 0
    seconds: float | None = None
    resources: Mapping[str, Any] = field(default_factory=dict)


def tag(
    job: Job,
    *,
    stage: str,
    category: Category,
    subset: str | None = None,
    family: str | None = None,
    after_failure: bool = False,
    gate: str | None = None,
    schedule: Schedule | None = None,
) -> Job:
    """Record the purpose of a job in ``metadata.mgflows`` and in the FireWorks specification.

    Parameters
    ----------
    job
        The job; it is changed and returned.
    stage
        One of :data:`mgflows.schemas.campaign.STAGES`.
    category
        Category of the workers that may run it.
    subset
        For a job whose output is labelled frames: their subset, one of
        :data:`mgflows.schemas.training.SUBSETS` or any other name for frames of other origin.
    family
        The sample from which the result descends.
    after_failure
        Run, and fail with a reason, if an upstream job failed. Otherwise the job would wait
        indefinitely, and so would the collector that does not require it.
    gate
        Uuid of a job whose output must have ``passed: true`` before :func:`mgflows.launch.advance`
        submits this one.
    schedule
        Priority, run time and resources.
    """
    schedule = schedule or Schedule()
    tags = {
        "stage": stage,
        "subset": subset,
        "family": family,
        "seconds": None if schedule.seconds is None else round(schedule.seconds, 1),
        "gate": gate,
    }
    job.update_metadata(
        {"mgflows": {key: value for key, value in tags.items() if value is not None}},
        dynamic=False,
    )
    if after_failure:
        job.update_config({"on_missing_references": OnMissing.NONE})
    manager: dict[str, Any] = {"_category": category, "_priority": schedule.priority}
    if schedule.resources:
        manager["_queueadapter"] = dict(schedule.resources)
    job.update_config({"manager_config": manager})
    return job


def set_campaign(flow: Flow, campaign: str) -> None:
    """Add the campaign to the tags of every job of a flow.

    Jobs that it creates while it runs get the same tags, unless they are tagged already.
    """
    for job in all_jobs(flow):
        tags = job.metadata.pop("mgflows", {})
        job.update_metadata(
            {"mgflows": {"campaign": campaign} | tags}, callback_filter=is_untagged, dynamic=True
        )


def is_untagged(job: Job) -> bool:
    """Whether a job has no tags; a named function, since jobs that are stored refer to it."""
    return "mgflows" not in job.metadata


def all_jobs(flow: Flow) -> list[Job]:
    """Return every job of a flow, nested flows included, in the order of the flow."""
    jobs: list[Job] = []
    for member in flow.jobs:
        jobs.extend(all_jobs(member) if hasattr(member, "jobs") else [member])
    return jobs
