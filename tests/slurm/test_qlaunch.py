"""What FireWorks' `qlaunch` does with the rendered queue adapters, on a real Slurm."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest

import mgflows
from mgflows.launch.backoff import unusable_workers
from tests.helpers import jobs
from tests.helpers.slurm import configure, in_category, qlaunch, submit_jobs, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.database import Database

    from mgflows.settings import Settings
    from tests.helpers.slurm import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.mongo, pytest.mark.faults]


def scripts(site: Settings) -> list[Path]:
    return sorted((site.directory / "queue").rglob("FW_submit.script"))


def test_many_batch_jobs_of_one_category_do_not_stop_another(
    cluster: Cluster, site: Settings, database: Database
) -> None:
    """Labels and samples in one partition: -m counts the batch jobs of the category."""
    site.resources["dft"].queue = "cpu"
    configure(site)
    journal = site.directory / "journal"
    names = [f"l{i}" for i in range(4)]
    submit_jobs(
        site,
        *(
            in_category(jobs.add(str(journal), name, 1.0, 2.0, 600.0), "dft", family=name)
            for name in names
        ),
        in_category(jobs.add(str(journal), "sample", 1.0, 2.0), "sampling"),
    )
    qlaunch(cluster, site, "dft", "rapidfire", "-m", "10", "--nlaunches", "4")
    assert len(cluster.jobs("pending,running")) == 4
    qlaunch(cluster, site, "sampling", "rapidfire", "-m", "2", "--nlaunches", "1")
    assert len(cluster.jobs("pending,running")) == 5
    # The limit of its own category holds.
    qlaunch(cluster, site, "dft", "rapidfire", "-m", "4", "--nlaunches", "1", "--timeout", "3")
    assert len(cluster.jobs("pending,running")) == 5
    assert len(scripts(site)) == 5


def test_workers_that_cannot_work_do_not_fill_the_queue(
    cluster: Cluster, site: Settings, database: Database
) -> None:
    """Another version of mgflows on the nodes: qlaunch stops by itself, with the reason."""
    site.max_unusable_workers = 3
    configure(site)
    journal = site.directory / "journal"
    submit_jobs(
        site,
        *(
            in_category(jobs.add(str(journal), f"s{i}", 1.0, 2.0), "sampling", family=f"f{i}")
            for i in range(4)
        ),
    )
    database.campaigns.insert_one({"campaign": "c1", "mgflows_version": "9.9.9"})
    printed = ""
    deadline = time.monotonic() + 90.0
    while "no batch job is submitted" not in printed:
        assert time.monotonic() < deadline, printed
        printed = qlaunch(
            cluster, site, "sampling", "rapidfire", "-m", "20", "--nlaunches", "3", "--timeout", "8"
        )
        wait_for(cluster, "they end", lambda: not cluster.jobs("pending,running,completing"))
    assert "was submitted with mgflows 9.9.9" in printed
    assert unusable_workers(database, "sampling").number >= 3
    # At most those of one call, which had been submitted before the first could fail.
    assert len(scripts(site)) <= 3 + 3 + 1
    assert database.fireworks.distinct("state") == ["READY"]
    # When a worker has run a job, qlaunch submits again.
    database.campaigns.update_one({}, {"$set": {"mgflows_version": mgflows.__version__}})
    cluster.run(
        sys.executable,
        "-m",
        "mgflows.launch.worker",
        "--directory",
        str(site.directory),
        "--category",
        "sampling",
        "--launches",
        "1",
    )
    qlaunch(cluster, site, "sampling", "rapidfire", "-m", "2", "--nlaunches", "1")
    cluster.wait()
    assert sorted(jobs.ran(journal)) == [f"s{i}" for i in range(4)]
