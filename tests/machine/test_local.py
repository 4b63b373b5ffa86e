from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from jobflow import Flow

from mgflows.connections import open_database
from mgflows.errors import ServiceError
from mgflows.launch.campaigns import submit
from mgflows.machine.local import LocalLauncher
from mgflows.machine.mongod import PrivateMongod
from mgflows.recovery import recover
from mgflows.settings import Settings
from tests.helpers import jobs

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.mongo, pytest.mark.faults]


def tagged(flow_jobs: list, campaign: str = "c1", **metadata: str) -> Flow:
    flow = Flow(flow_jobs)
    flow.update_metadata({"mgflows": {"campaign": campaign, **metadata}}, dynamic=True)
    return flow


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def states(settings: Settings) -> dict[str, str]:
    """The state of each job, by its name in the journal (its second argument)."""
    with open_database(settings).client as client:
        fireworks = list(
            client[settings.database_name].fireworks.find({}, {"spec._tasks": 1, "state": 1})
        )
    return {fw["spec"]["_tasks"][0]["job"]["function_args"][1]: fw["state"] for fw in fireworks}


def test_two_workers_run_each_job_once_and_report_progress(
    settings: Settings, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    names = [f"a{i}" for i in range(30)]
    submit(
        tagged(
            [jobs.add(str(journal), name, 1.0, 1.0, 0.02) for name in names],
            stage="sampling",
            subset="aimd",
        ),
        settings,
    )
    launcher = LocalLauncher(settings, n_workers=2)
    snapshots = list(launcher.run(poll_seconds=0.2))
    assert snapshots[0].groups == {("sampling", "aimd"): {"READY": 30}}
    assert snapshots[-1].is_finished
    assert snapshots[-1].n_done == 30
    assert sorted(jobs.ran(journal)) == sorted(names)
    assert len({line.split()[1] for line in journal.read_text().splitlines()}) == 2
    assert launcher.worker_pids == []


def test_a_killed_worker_costs_exactly_the_job_it_ran(settings: Settings, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    flow = tagged(
        [jobs.add(str(journal), "quick", 1.0, 1.0), jobs.add(str(journal), "slow", 1.0, 2.0, 4.0)]
    )
    submit(flow, settings)
    run = (launcher := LocalLauncher(settings, n_workers=2)).run(poll_seconds=0.1)
    next(run)
    next(run)
    wait_for(
        lambda: (
            sorted(jobs.ran(journal)) == ["quick", "slow"]
            and states(settings)["quick"] == "COMPLETED"
        )
    )
    pid = next(
        int(line.split()[1]) for line in journal.read_text().splitlines() if line.startswith("slow")
    )
    assert pid in launcher.worker_pids
    os.kill(pid, signal.SIGKILL)
    snapshots = list(run)
    assert snapshots[-1].is_finished
    assert any(
        "a worker died (signal 9)" in message
        for snapshot in snapshots
        for message in snapshot.messages
    )
    assert sorted(jobs.ran(journal)) == ["quick", "slow", "slow"]


def test_closing_the_launcher_puts_jobs_back_and_a_later_run_finishes(
    settings: Settings, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    slow = jobs.add(str(journal), "slow", 1.0, 2.0, 3.0)
    after = jobs.collect(str(journal), "after", [slow.output])
    submit(tagged([slow, after]), settings)
    run = LocalLauncher(settings, n_workers=2).run(poll_seconds=0.1)
    next(run)
    next(run)
    wait_for(lambda: jobs.ran(journal) == ["slow"])
    run.close()
    assert states(settings) == {"slow": "READY", "after": "WAITING"}
    launch = open_database(settings).launches.find_one({"state": "FIZZLED"})
    assert "SIGTERM" in launch["action"]["stored_data"]["_exception"]["_details"]["reason"]
    assert "Interrupted" in (Path(launch["launch_dir"]) / "job.err").read_text()
    assert list(LocalLauncher(settings).run(poll_seconds=0.1))[-1].is_finished
    assert jobs.ran(journal) == ["slow", "slow", "after"]


def test_a_running_job_is_never_rerun(settings: Settings, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    submit(tagged([jobs.add(str(journal), "slow", 1.0, 2.0, 4.0)]), settings)
    run = LocalLauncher(settings, n_workers=1).run(poll_seconds=0.1)
    next(run)
    next(run)
    wait_for(lambda: jobs.ran(journal) == ["slow"])
    for _ in range(5):
        found = recover(settings, retry=True)
        assert found.rerun == {}
        assert len(found.running) == 1
    assert list(run)[-1].is_finished
    assert jobs.ran(journal) == ["slow"]


def test_failures_are_left_with_their_reason_until_retry(
    settings: Settings, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    bad = jobs.fail(str(journal), "bad", "SCF did not converge")
    collected = jobs.collect(str(journal), "collected", [bad.output])
    submit(tagged([bad, collected]), settings)
    launcher = LocalLauncher(settings, n_workers=1)
    last = list(launcher.run(poll_seconds=0.1))[-1]
    assert (last.n_failed, last.n_done, last.is_finished) == (1, 1, False)
    (failure,) = launcher.recover().failures
    assert (failure.name, failure.reason) == ("fail", "ValueError: SCF did not converge")
    assert jobs.ran(journal) == ["bad", "collected"]
    assert list(launcher.recover(retry=True).rerun.values()) == [
        "retry requested after: ValueError: SCF did not converge"
    ]
    list(launcher.run(poll_seconds=0.1))
    assert jobs.ran(journal) == ["bad", "collected", "bad", "collected"]


def test_a_server_that_is_killed_for_seconds_costs_nothing(
    short_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(directory=short_directory, ping_seconds=1.0, outage_seconds=60.0)
    server = PrivateMongod.from_settings(settings)
    server.start()
    journal = short_directory / "journal"
    names = [f"a{i}" for i in range(60)]
    submit(tagged([jobs.add(str(journal), name, 1.0, 1.0, 0.05) for name in names]), settings)
    try:
        launcher = LocalLauncher(settings, n_workers=2)
        # The launcher must find the server dead for a while, not restart it at once.
        start, down = launcher._server.start, threading.Event()

        def start_later() -> str:
            wait_for(lambda: not down.is_set())
            return start()

        monkeypatch.setattr(launcher._server, "start", start_later)
        messages, killed = [], False
        for snapshot in launcher.run(poll_seconds=0.2):
            messages += snapshot.messages
            if not killed and snapshot.n_done >= 5:
                killed = True
                down.set()
                os.kill(server.pid(), signal.SIGKILL)
                threading.Timer(3.0, down.clear).start()
        assert snapshot.is_finished
        assert any("was restarted" in message for message in messages)
        assert sorted(jobs.ran(journal)) == sorted(names)
        assert open_database(settings).outputs.count_documents({}) == 60
    finally:
        server.stop()


def test_a_launcher_ends_when_its_server_is_stopped_on_request(short_directory: Path) -> None:
    settings = Settings(directory=short_directory, ping_seconds=0.5, outage_seconds=60.0)
    server = PrivateMongod.from_settings(settings)
    server.start()
    journal = str(short_directory / "journal")
    submit(tagged([jobs.add(journal, name, 1.0, 1.0, 0.2) for name in "abcdefgh"]), settings)
    launcher = LocalLauncher(settings, n_workers=1, stop_seconds=1.0)

    def run_and_stop() -> None:
        for snapshot in launcher.run(poll_seconds=0.1):
            if snapshot.n_done and server.pid() is not None:
                server.stop()

    with pytest.raises(ServiceError, match="was stopped by `mgflows db stop --force`; run the"):
        run_and_stop()
    assert server.pid() is None
    assert server.was_stopped
    try:
        server.start()
        assert not server.was_stopped
        states = set(open_database(settings).fireworks.distinct("state"))
        # A worker that waits for the server is killed; the next run recovers its job.
        assert {"COMPLETED", "READY"} <= states <= {"COMPLETED", "READY", "RUNNING"}
    finally:
        server.stop()


@pytest.mark.slow
def test_workers_killed_at_random_lose_nothing_and_repeat_little(
    settings: Settings, tmp_path: Path
) -> None:
    """Short jobs, so that many kills hit FireWorks' bookkeeping rather than a job."""
    journal = tmp_path / "journal"
    fans = [jobs.fan_out(str(journal), f"fan{i}", 3) for i in range(8)]
    parts = [jobs.add(str(journal), f"a{i}", float(i), 1.0, 0.02) for i in range(30)]
    submit(
        tagged([*fans, *parts, jobs.total(str(journal), "total", [part.output for part in parts])]),
        settings,
    )
    # As many deaths as kills: these are not the jobs' own.
    settings = settings.model_copy(update={"max_worker_deaths": 100})
    launcher = LocalLauncher(settings, n_workers=2, max_restarts=100)
    random = np.random.default_rng(5)
    n_kills, last = 0, time.monotonic()
    for snapshot in launcher.run(poll_seconds=0.05):
        if (
            snapshot.n_done > 2
            and n_kills < 8
            and time.monotonic() - last > random.uniform(0.5, 1.5)
        ):
            pids = sorted(
                {int(line.split()[1]) for line in journal.read_text().splitlines()}
                & set(launcher.worker_pids)
            )
            if pids:
                os.kill(int(random.choice(pids)), signal.SIGKILL)
                n_kills, last = n_kills + 1, time.monotonic()
    assert n_kills >= 3
    assert snapshot.is_finished
    assert snapshot.n_done == 8 + 8 * 4 + 31
    names = jobs.ran(journal)
    assert set(names) == {f"fan{i}" for i in range(8)} | {
        f"fan{i}-{j}" for i in range(8) for j in range(3)
    } | {f"a{i}" for i in range(30)} | {"total"}
    # A kill costs at most the job of that worker, and none of the other worker.
    assert len(names) - len(set(names)) <= n_kills
