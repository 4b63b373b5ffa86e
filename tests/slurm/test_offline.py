"""Offline mode on a real Slurm: batch jobs in a network namespace without any network."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from pymongo import MongoClient

from mgflows.launch.offline import recover_offline
from mgflows.recovery import recover
from mgflows.settings import Settings
from tests.helpers import jobs
from tests.helpers.jobs import pids, ran
from tests.helpers.requirements import no_network
from tests.helpers.slurm import ROOT, configure, in_category, qlaunch, submit_jobs, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.slurm import Cluster

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.mongo,
    pytest.mark.faults,
    pytest.mark.needs("network namespace"),
]


def test_batch_jobs_without_a_network(
    cluster: Cluster, tcp_server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", str(cluster.configuration))
    isolate = f'[ -n "$ISOLATED" ] || ISOLATED=1 exec {" ".join(no_network())} bash "$0"'
    resources = {
        "dft": {
            "queue": "cpu",
            "walltime": "0:05:00",
            "reserve": True,
            "offline": True,
            "setup": [isolate, f"export PYTHONPATH={ROOT}"],
        }
    }
    site = Settings.checked(
        {
            "directory": tmp_path,
            "scheduler": "slurm",
            "mongodb_uri": f"mongodb://127.0.0.1:{tcp_server}/",
            "resources": resources,
            "minimum_free_gb": 0.01,
        }
    )
    configure(site)
    journal = tmp_path / "journal"
    submit_jobs(
        site,
        in_category(jobs.arrays(str(journal), "one", 5), "dft", family="f1"),
        in_category(jobs.add(str(journal), "two", 1.0, 2.0, 600.0), "dft", family="f2"),
    )
    printed = qlaunch(cluster, site, "dft", "rapidfire", "-m", "2", "--nlaunches", "2")
    wait_for(cluster, f"one ends\n{printed}", lambda: len(cluster.jobs("completed")) >= 1)
    wait_for(cluster, "two runs", lambda: "two" in pids(journal))
    database = MongoClient(site.uri)[site.database_name]
    assert database.fireworks.distinct("state") == ["RESERVED"]
    # The batch job of `one` has ended, but it is not run again: its result is stored.
    found = recover(site)
    assert [(step.problem, step.action) for step in found.steps] == [("offline result", "collect")]
    assert len(found.running) == 1
    assert database.outputs.count_documents({}) == 1
    # That of `two` is killed: its run counts as lost, even though it was never seen to run.
    os.kill(pids(journal)["two"], signal.SIGKILL)
    cluster.wait()
    (step,) = recover(site).steps
    assert (step.problem, step.action) == ("lost run", "rerun")
    assert sorted(database.fireworks.distinct("state")) == ["COMPLETED", "READY"]
    # A late result of the lost launch would not be stored.
    assert len(recover_offline(site).superseded) == 1
    assert sorted(ran(journal)) == ["one", "two"]
    database.client.close()
