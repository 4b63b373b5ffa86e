"""Running, dead and silent workers, and the states of their batch jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fireworks import FWorker
from jobflow import Flow

from mgflows.connections import open_launchpad
from mgflows.launch import processes, submit
from mgflows.launch.workflows import prepare_database
from mgflows.recovery import diagnosis, repairs
from mgflows.recovery.queues import JobState, QueuedJob, Queues, parse_qstat, parse_squeue
from mgflows.recovery.repairs import plan_recovery, recover
from mgflows.recovery.steps import Action
from mgflows.settings import Settings, batch_job
from tests.helpers import jobs
from tests.helpers.jobs import pids
from tests.helpers.processes import wait_for
from tests.helpers.programs import commands, slurm_that_prints
from tests.helpers.workers import elsewhere, everything, fw_ids, run_worker, working

if TYPE_CHECKING:
    from pymongo.database import Database

pytestmark = [pytest.mark.mongo, pytest.mark.faults]

# Printed by squeue 22.05.8 for
# squeue --noheader --states=all -O "JobID:|,State:|,RestartCnt:|" --jobs=1,2,3,3
# after job 1 was requeued and cancelled, job 2 and task 4 of array 3 ended, the other task ran.
SQUEUE = "1|CANCELLED|1|\n2|COMPLETED|0|\n4|COMPLETED|0|\n3|RUNNING|0|\n"
# In the form that the PBS Reference Guide documents for qstat -f; not captured from a server.
QSTAT = """Job Id: 123.pbs01
    Job_Name = relax
    Job_Owner = me@login1
    job_state = R
    queue = workq
    Variable_List = PBS_O_HOME=/home/me,PBS_O_QUEUE=workq,
\tPBS_O_HOST=login1

Job Id: 124.pbs01
    Job_Name = relax
    job_state = Q
    queue = workq

Job Id: 125[].pbs01
    job_state = F
    Exit_status = 271

"""


def quick(settings: Settings) -> Settings:
    return settings.model_copy(update={"ping_seconds": 0.2})


def test_of_a_dead_and_a_silent_worker_only_the_job_of_the_dead_one_is_rerun(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    """The running one is stopped by a signal, so that its heartbeats really stop for too long."""
    journal = tmp_path / "journal"
    settings = quick(settings)
    submit(Flow([jobs.add(str(journal), name, 1.0, 1.0, 6.0) for name in ("one", "two")]), settings)
    with working(settings, 2) as workers:
        wait_for(lambda: len(pids(journal)) == 2)
        dead, live = pids(journal)["one"], pids(journal)["two"]
        os.kill(dead, signal.SIGKILL)
        os.kill(live, signal.SIGSTOP)
        next(worker for worker in workers if worker.pid == dead).wait()
        time.sleep(2.0)
        before = everything(database)
        planned = plan_recovery(settings)
        assert planned.rerun == {fw_ids(database)["one"]: f"its worker (process {dead}) died"}
        assert planned.running == [fw_ids(database)["two"]]
        assert everything(database) == before
        found = recover(settings)
        assert found.steps == planned.steps
        os.kill(live, signal.SIGCONT)
        wait_for(lambda: all(worker.poll() is not None for worker in workers), 60.0)
    assert sorted(jobs.ran(journal)) == ["one", "one", "two"]
    assert database.fireworks.distinct("state") == ["COMPLETED"]


def test_the_queue_overrides_heartbeats(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent jobs on other machines: outside of Slurm, running, ended, requeued, and elsewhere."""
    journal = tmp_path / "journal"
    settings = quick(settings)
    names = ("no queue", "runs", "ended", "requeued", "foreign")
    submit(
        [jobs.add(str(journal), name.replace(" ", "-"), 1.0, 1.0, 60.0) for name in names], settings
    )
    with working(settings, len(names)):
        wait_for(lambda: len(pids(journal)) == len(names), 60.0)
    ids = {name.replace("-", " "): fw_id for name, fw_id in fw_ids(database).items()}
    elsewhere(database, ids["no queue"])
    elsewhere(database, ids["runs"], id="3")
    elsewhere(database, ids["ended"], id="2")
    elsewhere(database, ids["requeued"], id="5")
    elsewhere(database, ids["foreign"], id="2", cluster="there")
    time.sleep(1.5)
    slurm_that_prints(tmp_path / "bin", monkeypatch, SQUEUE + "5|RUNNING|1|\n")
    found = plan_recovery(settings)
    assert set(found.rerun) == {ids["no queue"], ids["ended"], ids["requeued"]}
    assert "no heartbeat from its worker on node7" in found.rerun[ids["no queue"]]
    assert found.rerun[ids["ended"]] == "its job 2 has ended (COMPLETED)"
    assert "was requeued and has started again" in found.rerun[ids["requeued"]]
    assert sorted(found.running) == sorted([ids["runs"], ids["foreign"]])
    assert list(found.unclear) == [ids["foreign"]]
    # Nothing is concluded from a queue that does not answer.
    commands(
        tmp_path / "bin",
        monkeypatch,
        squeue="echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1",
    )
    assert set(plan_recovery(settings).rerun) == {ids["no queue"]}
    # A recent heartbeat counts if the queue does not answer, but not against its answer.
    database.launches.update_many({}, {"$set": {"fworker.env.ping_seconds": 3600.0}})
    assert plan_recovery(settings).rerun == {}
    slurm_that_prints(tmp_path / "bin", monkeypatch, SQUEUE)
    assert list(recover(settings).rerun) == [ids["ended"], ids["requeued"]]
    assert {fw["fw_id"] for fw in database.fireworks.find({"state": "READY"})} == {
        ids["ended"],
        ids["requeued"],
    }


def test_a_reservation_without_its_queue_job_is_given_back(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit([jobs.add(str(tmp_path / "journal"), f"a{i}", 1.0, 1.0) for i in range(4)], settings)
    launchpad = open_launchpad(settings)
    launch_of = {}
    for number in ("3", "77", None, None):
        firework, launch_id = launchpad.reserve_fw(FWorker(), str(tmp_path))
        launch_of[firework.fw_id] = launch_id
        if number is not None:
            launchpad.set_reservation_id(launch_id, number)
    waits, gone, new, old = launch_of
    then = (datetime.now(UTC) - timedelta(hours=1)).replace(tzinfo=None)
    database.launches.update_one(
        {"launch_id": launch_of[old]}, {"$set": {"state_history.0.created_on": then}}
    )
    commands(tmp_path / "bin", monkeypatch, squeue="echo down >&2; exit 1")
    found = plan_recovery(settings)
    assert list(found.rerun) == [old]
    assert "no job was submitted for it" in found.rerun[old]
    assert set(found.unclear) == {waits, gone}
    slurm_that_prints(tmp_path / "bin", monkeypatch, SQUEUE.replace("3|RUNNING", "3|PENDING"))
    found = recover(settings)
    assert set(found.rerun) == {gone, old}
    assert (
        found.rerun[gone]
        == "it is reserved for job 77, which ended (not in the queue) without starting it"
    )
    assert {step.problem for step in found.steps} == {"stuck reservation"}
    assert {fw["fw_id"]: fw["state"] for fw in database.fireworks.find()} == {
        waits: "RESERVED",
        gone: "READY",
        new: "RESERVED",
        old: "READY",
    }
    assert not plan_recovery(settings).steps


def test_reservations_of_another_cluster_are_left_to_it(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clusters with the same job ids share a database."""
    from mgflows.launch.queue_adapter import _set_reservation_id

    slurm_that_prints(tmp_path / "bin", monkeypatch, SQUEUE)
    submit([jobs.add(str(tmp_path / "journal"), f"a{i}", 1.0, 1.0) for i in range(3)], settings)
    launchpad = open_launchpad(settings)
    taken = [launchpad.reserve_fw(FWorker(), str(tmp_path)) for _ in range(3)]
    (here, first), (there, second), (unnamed, third) = taken
    for launch_id in (first, second):
        _set_reservation_id(launchpad, launch_id, "77", "slurm")
    launchpad.set_reservation_id(third, "77")
    submitted = database.launches.find_one({"launch_id": first})["submitted_to"]
    assert submitted == {"scheduler": "slurm", "cluster": "here"}
    database.launches.update_one(
        {"launch_id": second}, {"$set": {"submitted_to.cluster": "elsewhere"}}
    )
    database.launches.update_one({"launch_id": third}, {"$set": {"host": "login2"}})
    found = recover(settings)
    assert list(found.rerun) == [here.fw_id]
    assert set(found.unclear) == {there.fw_id, unnamed.fw_id}
    assert "job 77 of the cluster elsewhere" in found.unclear[there.fw_id]
    assert "job 77, submitted on login2" in found.unclear[unnamed.fw_id]


def test_wrong_clocks_do_no_harm(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker with a clock ten minutes slow, seen from a machine with one ten minutes fast."""
    submit(jobs.add(str(tmp_path / "journal"), "a", 1.0, 1.0, 60.0), settings)
    with working(settings) as (worker,):
        wait_for(lambda: jobs.ran(tmp_path / "journal") == ["a"])
        os.kill(worker.pid, signal.SIGSTOP)
        launch = database.launches.find_one({})
        assert abs(launch["fworker"]["env"]["clock_ahead"]) < 1.0
        elsewhere(database, launch["fw_id"])
        (entry,) = [entry for entry in launch["state_history"] if entry["state"] == "RUNNING"]
        written = datetime.fromisoformat(str(entry["updated_on"])) - timedelta(minutes=10)
        slow = {"state_history.$.updated_on": written.isoformat(), "fworker.env.ping_seconds": 30.0}
        database.launches.update_one(
            {"state_history.state": "RUNNING"},
            {"$set": {**slow, "fworker.env.clock_ahead": -600.0}, "$unset": {"heartbeat": 1}},
        )

        class Clock(datetime):
            @classmethod
            def now(cls, tz: object = None) -> datetime:
                return datetime.now(UTC) + timedelta(minutes=10)

        monkeypatch.setattr(diagnosis, "datetime", Clock)
        monkeypatch.setattr(processes, "datetime", Clock)
        assert plan_recovery(settings).running == [launch["fw_id"]]
        database.launches.update_one({}, {"$set": {"fworker.env.clock_ahead": 0.0}})
        assert list(plan_recovery(settings).rerun) == [launch["fw_id"]]


SLOW_WORKER = """
import datetime, sys
from types import SimpleNamespace
from fireworks.core import firework
from mgflows.launch import bookkeeping, processes, worker

class Slow(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.now(tz) - datetime.timedelta(minutes=10)

processes.clock_ahead = lambda client: 600.0
processes.datetime = bookkeeping.datetime = Slow
firework.datetime = SimpleNamespace(datetime=Slow, timezone=datetime.timezone)
sys.exit(worker.main(sys.argv[1:]))
"""


def test_the_clock_of_a_worker_has_no_effect(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    """It is ten minutes slow, was ten minutes fast when the worker started, and dates files."""
    settings = settings.model_copy(update={"ping_seconds": 0.2, "stall_seconds": 60.0})
    submit(jobs.add(str(tmp_path / "journal"), "a", 1.0, 1.0, 60.0), settings)
    path = settings.write(tmp_path / "mgflows.yaml")
    command = [sys.executable, "-c", SLOW_WORKER, "--settings", str(path)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as worker:
        try:
            wait_for(lambda: "heartbeat" in (database.launches.find_one({}) or {}))
            launch = database.launches.find_one({})
            then = time.time() - 600.0
            directory = Path(launch["launch_dir"])
            for file in (*directory.iterdir(), directory):
                os.utime(file, (then, then))
            elsewhere(database, launch["fw_id"])
            seen = launch["last_change"]
            wait_for(lambda: database.launches.find_one({})["last_change"] > seen)
            launch = database.launches.find_one({})
            (entry,) = [entry for entry in launch["state_history"] if entry["state"] == "RUNNING"]
            written = diagnosis.parse_time(entry["updated_on"])
            assert written < datetime.now(UTC) - timedelta(minutes=9), "it was slow"
            found = plan_recovery(settings)
            assert (found.steps, found.running) == ([], [launch["fw_id"]])
            assert found.stalled == {}
        finally:
            worker.kill()
    wait_for(lambda: plan_recovery(settings).rerun)


def test_fireworks_that_a_slow_clock_dated_are_not_removed_while_they_are_linked(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(
        [jobs.add(str(tmp_path / "journal"), name, 1.0, 1.0) for name in ("dead", "linked")],
        settings,
    )
    database.fireworks.update_many({}, {"$set": {"updated_on": "2026-01-01T00:00:00"}})
    ids = fw_ids(database)
    workflow = database.workflows.find_one({"nodes": ids["linked"]})
    database.workflows.delete_many({})
    wait = time.sleep

    def link(seconds: float) -> None:
        # pymongo's threads sleep, too.
        if seconds == repairs.GRACE_SECONDS:
            database.workflows.insert_one({**workflow, "nodes": [ids["linked"]]})
        wait(min(seconds, 0.5))

    monkeypatch.setattr(repairs.time, "sleep", link)
    assert recover(settings).removed == [ids["dead"]]


def test_a_job_that_is_just_being_taken_is_left(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its time it was taken long ago, but it changes during the check."""
    submit(
        [jobs.add(str(tmp_path / "journal"), name, 1.0, 1.0) for name in ("dead", "moves")],
        settings,
    )
    database.fireworks.update_many(
        {}, {"$set": {"state": "RESERVED", "updated_on": "2026-01-01T00:00:00"}}
    )
    ids = fw_ids(database)
    wait = time.sleep

    def go_on(seconds: float) -> None:
        # pymongo's threads sleep, too.
        if seconds == repairs.GRACE_SECONDS:
            database.fireworks.update_one(
                {"fw_id": ids["moves"]},
                {"$set": {"state": "RUNNING", "updated_on": "2026-01-01T00:00:02"}},
            )
        wait(min(seconds, 0.5))

    monkeypatch.setattr(repairs.time, "sleep", go_on)
    found = recover(settings)
    assert list(found.rerun) == [ids["dead"]]
    assert found.running == [ids["moves"]]


def test_a_late_batch_job_does_not_run_a_job_twice(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    """A reservation was given back by mistake and another worker took its job."""
    submit(jobs.add(str(tmp_path / "journal"), "a", 1.0, 1.0), settings)
    launchpad = open_launchpad(settings)
    firework, launch_id = launchpad.reserve_fw(FWorker(), str(tmp_path))
    launchpad.set_reservation_id(launch_id, "18")
    launchpad.rerun_fw(firework.fw_id)
    assert launchpad.checkout_fw(FWorker(), str(tmp_path))[0].fw_id == firework.fw_id
    assert launchpad.checkout_fw(FWorker(), str(tmp_path), fw_id=firework.fw_id) == (None, None)


def test_old_fireworks_in_no_workflow_are_removed(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    submit(jobs.add(str(tmp_path / "journal"), "a", 1.0, 1.0), settings)
    (kept,) = database.fireworks.find({}, {"_id": 0})
    now = datetime.now(UTC).replace(tzinfo=None)
    for fw_id, age in ((901, timedelta(seconds=1)), (902, timedelta(hours=1))):
        database.fireworks.insert_one(
            {**kept, "fw_id": fw_id, "updated_on": (now - age).isoformat()}
        )
    found = recover(settings)
    assert [(step.action, step.fireworks) for step in found.steps] == [(Action.REMOVE, (902,))]
    assert sorted(database.fireworks.distinct("fw_id")) == [kept["fw_id"], 901]


def test_the_end_of_a_launch_is_recorded_on_its_firework(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    first = jobs.add(str(journal), "first", 1.0, 1.0)
    submit(Flow([first, jobs.total(str(journal), "second", [first.output])]), settings)
    run_worker(settings)
    database.fireworks.update_one({"name": "add"}, {"$set": {"state": "RUNNING"}})
    found = recover(settings)
    assert [(step.problem, step.action) for step in found.steps] == [
        ("inconsistent", Action.FINISH)
    ]
    assert database.fireworks.distinct("state") == ["COMPLETED"]
    assert jobs.ran(journal) == ["first", "second"]


def test_a_worker_records_its_batch_job(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "18")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "here")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    submit(jobs.add(str(tmp_path / "journal"), "a", 1.0, 1.0), settings)
    run_worker(settings)
    noted = database.launches.find_one({})["fworker"]["env"]["batch_job"]
    assert noted == {"scheduler": "slurm", "id": "18", "cluster": "here", "restarts": 1}
    monkeypatch.delenv("SLURM_JOB_ID")
    monkeypatch.setenv("PBS_JOBID", "123.pbs01")
    assert batch_job() == {"scheduler": "pbs", "id": "123.pbs01", "cluster": "pbs01", "restarts": 0}


def test_the_output_of_squeue_and_qstat_is_parsed() -> None:
    assert parse_squeue(SQUEUE)["3"] == QueuedJob("3", JobState.RUNNING, "RUNNING", 0)
    assert {
        number: job.state
        for number, job in parse_squeue(
            "1|PENDING|1|\n2|COMPLETING|0|\n3|TIMEOUT|0|\n4|REQUEUE_HOLD|2|"
        ).items()
    } == {
        "1": JobState.WAITING,
        "2": JobState.RUNNING,
        "3": JobState.ENDED,
        "4": JobState.WAITING,
    }
    assert parse_squeue("slurm_load_jobs error: Invalid job id specified\n") == {}
    assert {name: job.state for name, job in parse_qstat(QSTAT).items()} == {
        "123.pbs01": JobState.RUNNING,
        "124.pbs01": JobState.WAITING,
        "125[].pbs01": JobState.ENDED,
    }


def test_pbs_is_queried_where_there_is_no_slurm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "qstat.txt").write_text(QSTAT)
    commands(
        tmp_path / "bin",
        monkeypatch,
        qstat=f"cat {tmp_path}/qstat.txt; echo 'qstat: Unknown Job Id 999.pbs01' >&2; exit 153",
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin-without-slurm")
    (tmp_path / "bin" / "cat").symlink_to("/bin/cat")
    queues = Queues()
    assert queues.scheduler == "pbs"
    # The settings decide where they name one.
    commands(tmp_path / "bin", monkeypatch, squeue="echo 'fatal: no configuration' >&2; exit 1")
    assert (Queues().scheduler, Queues("sge").scheduler) == ("slurm", None)
    queues = Queues("pbs")
    assert queues.state({"scheduler": "pbs", "id": "123.pbs01"}).state is JobState.RUNNING
    # FireWorks stores the number only.
    assert queues.state({"id": "124"}).state is JobState.WAITING
    assert queues.state({"scheduler": "pbs", "id": "999.pbs01"}).state is JobState.ENDED
    assert queues.state({"scheduler": "slurm", "id": "123"}) is None
    commands(
        tmp_path / "bin",
        monkeypatch,
        qstat="echo 'Connection refused: qstat: cannot connect to server pbs01' >&2; exit 255",
    )
    assert Queues().state({"scheduler": "pbs", "id": "123.pbs01"}) is None


def test_an_empty_database_needs_no_repair(settings: Settings) -> None:
    prepare_database(open_launchpad(settings))
    found = recover(settings, retry=True)
    assert (found.changed, found.failures, found.running, found.unclear) == (False, [], [], {})
