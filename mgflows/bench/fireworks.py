"""Overhead of MongoDB and FireWorks per job, as ``mgflows bench fireworks`` measures it."""

from __future__ import annotations

import logging
import os
import resource
import statistics
import time
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobflow import Flow, job

from mgflows.connections import open_database, open_launchpad
from mgflows.database.progress import campaign_progress
from mgflows.flows.tags import set_campaign, tag
from mgflows.launch.campaigns import advance, submit
from mgflows.launch.worker import work
from mgflows.machine.mongod import PrivateMongod
from mgflows.recovery import plan_recovery
from mgflows.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.database import Database

__all__ = ["benchmark", "measure"]

_ENOUGH = 100
"""Smallest number of added jobs from which the cost per job is computed."""
LABELS = 9
"""Labels per family, such as the strains of one relaxed sample."""


@job
def nothing(*_inputs: object) -> int:
    """Return an input for the next job."""
    return 0


def families(campaign: str, n_jobs: int) -> Flow:
    """Return a campaign of jobs that do nothing, with families of one sample and its labels."""
    jobs = []
    for family in range(n_jobs // (1 + LABELS)):
        sample = nothing()
        name = f"family-{family:06d}"
        jobs.append(tag(sample, stage="sampling", category="sampling", family=name))
        jobs += [
            tag(
                nothing(sample.output),
                stage="labels",
                category="dft",
                subset="distorted",
                family=name,
                after_failure=True,
            )
            for _ in range(LABELS)
        ]
    flow = Flow(jobs, name=campaign)
    set_campaign(flow, campaign)
    return flow


def benchmark(sizes: list[int], n_run: int, directory: Path) -> Iterator[dict[str, Any]]:
    """Measure campaigns of several sizes, each on its own MongoDB server.

    Parameters
    ----------
    sizes
        Jobs of each campaign.
    n_run
        Number of them that run.
    directory
        Directory of the servers and the launches.

    Yields
    ------
    dict
        The result of :func:`measure` for each size, and ``mongod_mib``: memory of the server.
    """
    for size in sizes:
        settings = Settings(directory=directory / str(size))
        server = PrivateMongod.from_settings(settings)
        server.start()
        try:
            yield {**measure(settings, size, n_run), "mongod_mib": _resident_mib(server.pid())}
        finally:
            server.stop()


def measure(settings: Settings, n_jobs: int, n_run: int) -> dict[str, Any]:
    """Submit a campaign of jobs that do nothing, run some of them, and query its progress.

    Parameters
    ----------
    settings
        Settings of a database without a campaign of this size.
    n_jobs
        Number of jobs.
    n_run
        Number of jobs that run, one after the other in this process: half of them samples, half of
        them labels when all are in the LaunchPad.

    Returns
    -------
    dict
        ``making``, ``insertion``: time per firework to make the flow, and to plan and insert it,
        ms. ``overhead``: time to check out, run and complete a job that does nothing and to store
        its output, ms. ``status``, ``checkout`` (the query of a worker for a job), ``heal``,
        ``advance`` (with nothing new): time of one call, ms. ``advance_per_firework``: time per
        firework that it adds, ms. ``client_mib``: peak memory of this process, MiB. ``disk_kib``:
        size of the database per firework, KiB. ``fireworks``, ``workflows``: their numbers.
    """
    logging.getLogger("mgflows").setLevel(logging.WARNING)
    name = f"nothing-{n_jobs}"
    database = open_database(settings)
    begin = time.perf_counter()
    flow = families(name, n_jobs)
    made = time.perf_counter()
    submission = submit(flow, settings)
    submitted = time.perf_counter()
    planned = submission.n_added + submission.n_planned
    with chdir(settings.directory):
        # The first jobs include imports.
        work(settings, name, n_launches=5)
        running, n_ran = _run(settings, name, n_run // 2, database)
        _complete_samples(database)
        start = time.perf_counter()
        n_added = sum(each.n_added for each in advance(settings, name))
        advancing = time.perf_counter() - start
        more_running, n_more = _run(settings, name, n_run // 2, database)
        running, n_ran = running + more_running, n_ran + n_more
    launchpad = open_launchpad(settings)
    query = {"state": "READY", "spec._category": "dft", "spec.mgflows.campaign": name}
    result = {
        "jobs": planned,
        "ran": n_ran,
        "making": 1e3 * (made - begin) / planned,
        "insertion": 1e3 * (submitted - made) / planned,
        "overhead": 1e3 * running / max(n_ran, 1),
        "status": 1e3 * _median(lambda: campaign_progress(database, name)),
        "checkout": 1e3
        * _median(
            lambda: launchpad.fireworks.find_one(
                query, sort=[("spec._priority", -1), ("created_on", 1)]
            )
        ),
        "advance": 1e3 * _median(lambda: advance(settings, name)),
        "heal": 1e3 * _median(lambda: plan_recovery(settings, name), 3),
        "advance_per_firework": 1e3 * advancing / n_added if n_added >= _ENOUGH else None,
        "client_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "fireworks": database.fireworks.estimated_document_count(),
        "workflows": database.workflows.estimated_document_count(),
        "disk_kib": _stored_kib(database) / database.fireworks.estimated_document_count(),
    }
    launchpad.connection.close()
    database.client.close()
    return result


def _run(settings: Settings, name: str, n_jobs: int, database: Database) -> tuple[float, int]:
    """Run up to `n_jobs` jobs; return the time in s and how many ran."""
    done = database.fireworks.count_documents({"state": "COMPLETED"})
    start = time.perf_counter()
    work(settings, name, n_launches=n_jobs)
    return time.perf_counter() - start, database.fireworks.count_documents(
        {"state": "COMPLETED"}
    ) - done


def _complete_samples(database: Database) -> None:
    """Complete the other samples with an output, so that all labels enter the LaunchPad."""
    waiting = {"spec._category": "sampling", "state": "READY"}
    uuids = [
        firework["spec"]["job_uuid"]
        for firework in database.fireworks.find(waiting, ["spec.job_uuid"])
    ]
    if uuids:
        database.outputs.insert_many(
            [{"uuid": uuid, "index": 1, "output": 0, "metadata": {}} for uuid in uuids]
        )
    database.fireworks.update_many(waiting, {"$set": {"state": "COMPLETED"}})
    _record_states(database)


def _record_states(database: Database) -> None:
    """Write the states of fireworks into their workflows, as FireWorks does when a job ends."""
    states = {row["fw_id"]: row["state"] for row in database.fireworks.find({}, ["fw_id", "state"])}
    for workflow in database.workflows.find({}, ["nodes"]):
        found = {str(fw_id): states[fw_id] for fw_id in workflow["nodes"]}
        change: dict[str, Any] = {"fw_states": found}
        if set(found.values()) == {"COMPLETED"}:
            change["state"] = "COMPLETED"
        database.workflows.update_one({"_id": workflow["_id"]}, {"$set": change})


def _stored_kib(database: Database) -> float:
    """Size of the collections and indexes on disk, KiB, after a checkpoint."""
    database.client.admin.command("fsync")
    numbers = database.command("dbStats")
    return (numbers["storageSize"] + numbers["indexSize"]) / 1024


def _median(act: Callable[[], Any], n: int = 9) -> float:
    times = []
    for _ in range(n):
        start = time.perf_counter()
        act()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _resident_mib(pid: int | None) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
