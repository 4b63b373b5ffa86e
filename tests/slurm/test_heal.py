"""States in a real queue of silent jobs whose processes cannot be seen."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from mgflows.recovery import plan_recovery, recover
from tests.helpers import jobs
from tests.helpers.jobs import pids
from tests.helpers.slurm import in_category, qlaunch, submit_jobs, wait_for
from tests.helpers.workers import elsewhere, fw_ids

if TYPE_CHECKING:
    from pymongo.database import Database

    from mgflows.settings import Settings
    from tests.helpers.slurm import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.mongo, pytest.mark.faults]


def test_silent_jobs_whose_batch_job_runs_and_whose_has_ended(
    cluster: Cluster, site: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", str(cluster.configuration))
    journal = site.directory / "journal"
    submit_jobs(
        site,
        *(
            in_category(jobs.add(str(journal), name, 1.0, 2.0, 600.0), "sampling")
            for name in ("one", "two")
        ),
    )
    for _ in range(2):
        qlaunch(cluster, site, "sampling", "singleshot")
    wait_for(cluster, "both jobs run", lambda: len(pids(journal)) == 2)
    ids, running = fw_ids(database), pids(journal)
    noted = {
        name: database.launches.find_one({"fw_id": ids[name], "state": "RUNNING"})["fworker"][
            "env"
        ]["batch_job"]
        for name in ("one", "two")
    }
    assert {noted[name]["id"] for name in noted} == {job[0] for job in cluster.jobs("running")}
    assert {job["cluster"] for job in noted.values()} == {"mgflows"}
    os.kill(running["one"], signal.SIGSTOP)
    os.kill(running["two"], signal.SIGKILL)
    wait_for(cluster, "one batch job ends", lambda: len(cluster.jobs("running,completing")) == 1)
    for name in ("one", "two"):
        elsewhere(database, ids[name])
    # Longer than five heartbeats.
    time.sleep(6.0)
    found = recover(site)
    assert found.rerun == {ids["two"]: f"its job {noted['two']['id']} has ended (FAILED)"}
    assert (found.running, found.unclear) == ([ids["one"]], {})
    os.kill(running["one"], signal.SIGKILL)
    wait_for(cluster, "the other ends, too", lambda: not cluster.jobs("running,completing"))
    assert list(recover(site).rerun) == [ids["one"]]
    assert database.fireworks.distinct("state") == ["READY"]


def test_a_reservation_whose_batch_job_was_cancelled(
    cluster: Cluster, site: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", str(cluster.configuration))
    # It takes all cores, so that later jobs wait.
    blocker = cluster.run(
        "sbatch",
        "--parsable",
        "--exclusive",
        "--partition=large",
        "--output=/dev/null",
        "--wrap=sleep 300",
    ).strip()
    journal = str(site.directory / "journal")
    submit_jobs(
        site, *(in_category(jobs.add(journal, name, 1.0, 2.0), "dft") for name in ("one", "two"))
    )
    qlaunch(cluster, site, "dft", "rapidfire", "-m", "5", "--nlaunches", "2")
    waiting = [job[0] for job in cluster.jobs("pending") if job[0] != blocker]
    assert len(waiting) == 2
    assert not plan_recovery(site).steps
    assert database.launches.distinct("submitted_to.cluster") == ["mgflows"]
    cluster.run("scancel", waiting[0])
    found = recover(site)
    (step,) = found.steps
    assert step.problem == "stuck reservation"
    assert (
        step.reason
        == f"it is reserved for job {waiting[0]}, which ended (CANCELLED) without starting it"
    )
    states = {firework["fw_id"]: firework["state"] for firework in database.fireworks.find()}
    assert states == {step.fireworks[0]: "READY", found.running[0]: "RESERVED"}
    cluster.run("scancel", blocker)
