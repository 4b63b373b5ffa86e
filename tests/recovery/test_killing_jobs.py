"""Jobs that end their worker: set aside after some deaths, so that all others run."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jobflow import Flow

from mgflows.database.failures import read_failures
from mgflows.errors import ErrorCategory
from mgflows.launch import submit
from mgflows.machine.local import LocalLauncher
from mgflows.recovery import plan_recovery, recover
from tests.helpers import jobs
from tests.helpers.failing_jobs import kill_worker
from tests.helpers.processes import wait_for
from tests.helpers.programs import slurm_that_prints
from tests.helpers.workers import elsewhere, fw_ids, run_worker, working

if TYPE_CHECKING:
    from pymongo.database import Database

    from mgflows.settings import Settings

pytestmark = [pytest.mark.mongo, pytest.mark.faults]


def killing_and_good(journal: Path, how: str) -> Flow:
    flow = Flow(
        [
            kill_worker(str(journal), "killer", how),
            *(jobs.add(str(journal), f"good{i}", 1.0, 1.0) for i in range(5)),
        ]
    )
    flow.update_metadata({"mgflows": {"campaign": "c1"}})
    return flow


def test_the_local_launcher_sets_it_aside_and_runs_the_others(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    submit(killing_and_good(journal, "segmentation fault"), settings)
    launcher = LocalLauncher(settings, n_workers=1, max_restarts=1)
    snapshots = list(launcher.run(poll_seconds=0.1))
    assert (snapshots[-1].n_done, snapshots[-1].n_failed) == (5, 1)
    # After its first death it is the last in the queue.
    ran = jobs.ran(journal)
    assert ran == ["killer", *(f"good{i}" for i in range(5)), "killer", "killer"]
    assert settings.max_worker_deaths == 3
    (failure,) = read_failures(database, "c1")
    assert failure.category is ErrorCategory.WORKER_DIED
    assert "its worker died 3 times in a row while running it" in failure.reason
    assert "(signal 11)" in failure.reason
    messages = "\n".join(message for each in snapshots for message in each.messages)
    assert "is set aside: its worker died 3 times in a row" in messages
    # The stack of the crash is in the launch directory.
    for launch in database.launches.find({"fw_id": failure.fw_id}):
        assert "Segmentation fault" in (Path(launch["launch_dir"]) / "job.err").read_text()


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_heal_counts_deaths_and_a_retry_begins_again(
    settings: Settings, database: Database, tmp_path: Path, how: str
) -> None:
    journal = tmp_path / "journal"
    submit(killing_and_good(journal, how), settings)
    killer = fw_ids(database)["killer"]
    for number in (1, 2, 3):
        run_worker(settings, check=None)
        planned = plan_recovery(settings)
        found = recover(settings)
        assert found.steps == planned.steps
        assert list(found.rerun if number < 3 else found.set_aside) == [killer]
    assert database.fireworks.find_one({"fw_id": killer})["state"] == "FIZZLED"
    run_worker(settings)
    assert database.fireworks.count_documents({"state": "COMPLETED"}) == 5
    # It is not rerun automatically.
    assert not recover(settings).steps
    # On request its deaths are counted from zero; when the cause is fixed, it succeeds.
    found = recover(settings, retry={ErrorCategory.WORKER_DIED})
    assert list(found.rerun) == [killer]
    run_worker(settings, check=None)
    assert list(recover(settings).rerun) == [killer]
    (tmp_path / "fixed").touch()
    run_worker(settings)
    assert database.fireworks.distinct("state") == ["COMPLETED"]


def test_workers_that_others_end_do_not_count(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch jobs that are cancelled or preempted, more often than a worker may die."""
    journal = tmp_path / "journal"
    settings = settings.model_copy(update={"ping_seconds": 0.2})
    submit(jobs.add(str(journal), "slow", 1.0, 1.0, 60.0), settings)
    for number, state in enumerate(["CANCELLED", "PREEMPTED", "NODE_FAIL", "CANCELLED"]):
        with working(settings):
            wait_for(lambda count=number: len(jobs.ran(journal)) == count + 1)
        fw_id = fw_ids(database)["slow"]
        elsewhere(database, fw_id, id="7")
        slurm_that_prints(tmp_path / "bin", monkeypatch, f"7|{state}|0|\n")
        assert recover(settings).rerun == {fw_id: f"its job 7 has ended ({state})"}
    for number, state in enumerate(["FAILED", "OUT_OF_MEMORY", "FAILED"]):
        with working(settings):
            wait_for(lambda count=number: len(jobs.ran(journal)) == count + 5)
        elsewhere(database, fw_id, id="7")
        slurm_that_prints(tmp_path / "bin", monkeypatch, f"7|{state}|0|\n")
        found = recover(settings)
    assert list(found.set_aside) == [fw_id]
    assert found.failures[0].category is ErrorCategory.WORKER_DIED


def test_restarts_of_the_machine_do_not_count(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    settings = settings.model_copy(update={"ping_seconds": 0.2, "max_worker_deaths": 1})
    submit(jobs.add(str(journal), "slow", 1.0, 1.0, 60.0), settings)
    with working(settings):
        wait_for(lambda: jobs.ran(journal) == ["slow"])
    fw_id = fw_ids(database)["slow"]
    elsewhere(database, fw_id)
    database.launches.update_one({}, {"$set": {"fworker.env.host": socket.gethostname()}})
    wait_for(lambda: bool(plan_recovery(settings).rerun))
    assert "the machine was restarted" in recover(settings).rerun[fw_id]
