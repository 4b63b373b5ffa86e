"""Tags: what queries, ``lpad`` and progress displays filter on, and which worker takes a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from jobflow import OnMissing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobflow import Flow, Job

__all__ = ["Category", "all_jobs", "set_campaign", "tag"]

Category = Literal["sampling", "dft", "training", "md"]
"""Kind of worker a job needs: one core, packed; whole nodes; a trainer (GPU); molecular dynamics with a potential."""


def tag(
    job: Job,
    *,
    stage: str,
    category: Category,
    subset: str | None = None,
    family: str | None = None,
    priority: int = 0,
    seconds: float | None = None,
    after_failure: bool = False,
    gate: str | None = None,
    resources: Mapping[str, Any] | None = None,
    crystal: Mapping[str, str] | None = None,
) -> Job:
    """Say what a job is for, in ``metadata.mgflows`` and in the FireWorks specification.

    Parameters
    ----------
    job
        The job; it is changed and returned.
    stage
        One of :data:`mgflows.schemas.campaign.STAGES`.
    category
        Which workers may take it.
    subset
        For a job whose output is labelled frames: their subset.
    family
        The sample the result descends from.
    priority
        Jobs of higher priority are taken first.
    seconds
        Rough run time, for forecasts only; they are corrected by what finished jobs took. None: nothing is known, and all such jobs of a stage and
        subset count alike.
    after_failure
        Run, and fail with a reason, also where a job before it failed. Otherwise the job waits for ever, and with it the collector that could
        go on without it.
    gate
        Uuid of a job whose output must have ``passed: true`` before :func:`mgflows.launch.advance` submits this one.
    resources
        Values of the queue file that this job wants otherwise, such as ``{"nodes": 4, "walltime": "24:00:00"}``: FireWorks' ``_queueadapter``, which
        ``qlaunch -r`` honours. Workers that take whatever comes cannot.
    crystal
        For labels of a crystal: its ``name``, ``identifier`` and ``source``, which the dataset document takes over.
    """
    tags = {
        "stage": stage,
        "subset": subset,
        "family": family,
        "seconds": None if seconds is None else round(seconds, 1),
        "gate": gate,
        "crystal": crystal and dict(crystal),
    }
    job.update_metadata(
        {"mgflows": {key: value for key, value in tags.items() if value is not None}}
    )
    if after_failure:
        job.update_config({"on_missing_references": OnMissing.NONE})
    manager: dict[str, Any] = {"_category": category, "_priority": priority}
    if resources:
        manager["_queueadapter"] = dict(resources)
    job.update_config({"manager_config": manager})
    return job


def set_campaign(flow: Flow, campaign: str) -> None:
    """Add the campaign to the tags of every job of a flow and hand all tags on to jobs that these may create."""
    for job in all_jobs(flow):
        tags = job.metadata.pop("mgflows", {})
        job.update_metadata({"mgflows": {"campaign": campaign} | tags}, dynamic=True)


def all_jobs(flow: Flow) -> list[Job]:
    """Every job of a flow, however deeply nested, in the order of the flow."""
    jobs: list[Job] = []
    for member in flow.jobs:
        jobs.extend(all_jobs(member) if hasattr(member, "jobs") else [member])
    return jobs
