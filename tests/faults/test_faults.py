"""Faults of whole campaigns, provoked on a real MongoDB with real processes.

Nothing is lost and nothing runs twice.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

import mgflows
from mgflows.connections import open_database
from mgflows.errors import ServiceError
from mgflows.flows.tags import set_campaign, tag
from mgflows.launch import advance, submit
from mgflows.launch.preflight import check_free_space, preflight
from mgflows.launch.worker import ExitCode
from mgflows.machine import PrivateMongod
from mgflows.recovery import recover
from mgflows.settings import Settings
from tests.helpers import jobs
from tests.helpers.families import families

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.database import Database

pytestmark = [pytest.mark.mongo, pytest.mark.faults]


def start(
    settings: Settings, *arguments: str, module: str = "mgflows.launch.worker"
) -> subprocess.Popen[str]:
    path = settings.directory / "mgflows.yaml"
    if not path.exists():
        settings.write(path)
    where = ["--settings", str(path)] if module == "mgflows.launch.worker" else []
    return subprocess.Popen(
        [sys.executable, "-m", module, *where, *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def test_advance_is_killed_again_and_again(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    n = 150
    journal = tmp_path / "journal"
    submit(families(journal, n=n), settings)
    # The samples are finished at once: the test is about the submission of the next jobs.
    database.fireworks.update_many({"state": "READY"}, {"$set": {"state": "COMPLETED"}})
    database.outputs.insert_many(
        {"uuid": firework["spec"]["job_uuid"], "index": 1, "output": 1.0}
        for firework in database.fireworks.find({"name": {"$regex": "^s"}})
    )
    generator = random.Random(1)
    planned = n
    for _ in range(12):
        process = start(settings, "advance", "--directory", str(tmp_path), module="mgflows")
        # Killed as soon as it has begun to write, or a moment later.
        while (
            database.fireworks.count_documents({"spec._category": "dft"}) < n - planned + 1
            and process.poll() is None
        ):
            time.sleep(0.001)
        time.sleep(generator.uniform(0.0, 0.03))
        process.kill()
        process.wait()
        planned = database.planned.count_documents({"state": "planned", "groups.stage": "labels"})
        if not planned:
            break
    advance(settings)
    assert database.fireworks.count_documents({"spec._category": "dft", "state": "READY"}) == n
    assert len(database.fireworks.distinct("spec.job_uuid", {"spec._category": "dft"})) == n
    linked = Counter(node for workflow in database.workflows.find() for node in workflow["nodes"])
    assert set(linked.values()) == {1}
    assert set(linked) == set(database.fireworks.distinct("fw_id"))


def test_workers_race_through_a_campaign(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    submit(families(journal, n=40), settings)
    workers = [start(settings) for _ in range(4)]
    for worker in workers:
        worker.wait(timeout=240)
    # The last worker finds nothing left, unless another one still ran an input of its jobs.
    assert start(settings).wait(timeout=120) == ExitCode.DONE
    assert Counter(jobs.ran(journal)) == Counter(
        [*(f"s{i}" for i in range(40)), *(f"l{i}" for i in range(40)), "dataset"]
    )
    assert database.fireworks.count_documents({"state": {"$ne": "COMPLETED"}}) == 0


def test_two_launchers_share_a_campaign_and_one_is_killed(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    settings.write(tmp_path / "mgflows.yaml")
    submit([jobs.add(str(journal), f"a{i}", float(i), 1.0, 0.1) for i in range(40)], settings)
    code = (
        "import sys\n"
        "from mgflows.machine import LocalLauncher\n"
        "from mgflows.settings import Settings\n"
        "launcher = LocalLauncher(Settings.read(sys.argv[1]), n_workers=2)\n"
        "for progress in launcher.run(poll_seconds=0.2): pass\n"
        "sys.exit(0 if progress.is_finished else 1)\n"
    )
    launchers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "mgflows.yaml")])
        for _ in range(2)
    ]
    # Both have running workers.
    while (
        len(
            {
                line.split()[1]
                for line in (journal.read_text().splitlines() if journal.exists() else [])
            }
        )
        < 4
    ):
        assert launchers[0].poll() is None
        time.sleep(0.02)
    launchers[1].kill()
    assert launchers[0].wait(timeout=120) == 0
    ran = Counter(jobs.ran(journal))
    assert set(ran) == {f"a{i}" for i in range(40)}
    # Its workers are stopped when it dies, and each gives back at most its current job.
    assert ran.total() <= 42
    assert database.fireworks.count_documents({"state": {"$ne": "COMPLETED"}}) == 0
    assert database.outputs.count_documents({}) == 40


def test_an_output_above_16_mb_costs_that_job_only(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    large, small = jobs.large(str(journal), "large", 20), jobs.add(str(journal), "small", 1.0, 1.0)
    submit([large, small], settings)
    worker = start(settings)
    assert worker.wait(timeout=120) == ExitCode.SOME_FAILED, worker.stderr.read()
    (failure,) = recover(settings).failures
    assert failure.name == "large"
    assert "does not fit into a document of 16 MB" in failure.reason
    assert sorted(jobs.ran(journal)) == ["large", "small"]


@pytest.mark.slow
def test_a_server_that_is_away_for_a_minute(short_directory: Path) -> None:
    settings = Settings(directory=short_directory, ping_seconds=1.0, outage_seconds=180.0)
    server = PrivateMongod.from_settings(settings)
    server.start()
    try:
        journal = short_directory / "journal"
        submit([jobs.add(str(journal), f"a{i}", 1.0, 1.0, 0.3) for i in range(10)], settings)
        worker = start(settings)
        while len(jobs.ran(journal)) < 3:
            assert worker.poll() is None
            time.sleep(0.05)
        os.kill(server.pid(), signal.SIGKILL)
        time.sleep(60.0)
        server.start()
        assert worker.wait(timeout=240) == ExitCode.DONE
        assert sorted(jobs.ran(journal)) == sorted(f"a{i}" for i in range(10))
        assert open_database(settings).fireworks.count_documents({"state": "COMPLETED"}) == 10
    finally:
        server.stop()


def test_a_database_that_is_down_is_reported_in_one_line_within_seconds(tmp_path: Path) -> None:
    settings = Settings(mongodb_uri="mongodb://127.0.0.1:9/", directory=tmp_path)
    began = time.monotonic()
    with pytest.raises(ServiceError, match="does not answer"):
        submit(families(tmp_path / "journal"), settings)
    assert time.monotonic() - began < 6.0
    settings.write(tmp_path / "mgflows.yaml")
    command = [sys.executable, "-m", "mgflows", "advance", "--directory", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "check mongodb_uri and the server" in done.stderr


def test_a_worker_of_another_version_touches_nothing(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    submit(families(tmp_path / "journal"), settings)
    database.campaigns.insert_one({"campaign": "c1", "mgflows_version": "0.0.1"})
    worker = start(settings)
    assert worker.wait(timeout=60) == ExitCode.UNUSABLE
    message = worker.stderr.read()
    assert "submitted with mgflows 0.0.1" in message
    assert mgflows.__version__ in message
    assert database.fireworks.count_documents({"state": "READY"}) == 4


def test_a_machine_without_what_its_category_needs_or_without_space_touches_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mgflows.launch import checks

    preflight(settings, categories=["sampling", "dft", "training", "md"])
    with monkeypatch.context() as patch:
        patch.setattr(checks, "installed_version", lambda name: None)
        with pytest.raises(ServiceError, match=r"this machine cannot run jobs: .*nep-adapters"):
            preflight(settings, categories=["training"])
    settings.minimum_free_gb = 1e9
    with pytest.raises(ServiceError, match="lower minimum_free_gb"):
        check_free_space(settings, settings.directory)


def test_a_job_that_never_fits_its_walltime_fails_in_the_end(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    settings.max_interruptions = 2
    journal = tmp_path / "journal"
    slow = tag(
        jobs.add(str(journal), "slow", 1.0, 1.0, 600.0), stage="sampling", category="sampling"
    )
    from jobflow import Flow

    flow = Flow([slow])
    set_campaign(flow, "c1")
    submit(flow, settings)
    for number in range(2):
        worker = start(settings)
        while len(jobs.ran(journal)) < number + 1:
            assert worker.poll() is None
            time.sleep(0.05)
        worker.send_signal(signal.SIGUSR1)
        worker.wait(timeout=60)
    (failure,) = recover(settings).failures
    assert "it was interrupted 2 times, the last time by SIGUSR1" in failure.reason
    assert "longer walltime" in failure.reason
