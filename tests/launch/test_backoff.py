"""Workers that cannot run jobs: recorded, so that qlaunch waits longer and stops in the end."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING

import fireworks.core.firework
import pytest
from fireworks import FWorker, LaunchPad
from fireworks.utilities.fw_serializers import load_object_from_file

from mgflows.connections import launchpad_options
from mgflows.flows.tags import tag
from mgflows.launch import processes, queue_adapter, submit
from mgflows.launch.backoff import forget_unusable, record_unusable, unusable_workers
from mgflows.launch.worker import ExitCode
from mgflows.machine.configuration import write_configuration
from mgflows.recovery import plan_recovery
from mgflows.recovery.diagnosis import parse_time
from tests.helpers import jobs
from tests.helpers.programs import commands
from tests.helpers.workers import run_worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pymongo.database import Database

    from mgflows.settings import Settings

pytestmark = [pytest.mark.mongo, pytest.mark.faults]


@pytest.fixture
def site(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A configured cluster whose sbatch only records its calls."""
    site = settings.model_copy(update={"scheduler": "slurm", "max_unusable_workers": 4})
    site.write(tmp_path / "mgflows.yaml")
    write_configuration(site, tmp_path, sys.executable)
    script = f"echo x >> {tmp_path}/submitted; echo Submitted batch job 7"
    commands(tmp_path / "bin", monkeypatch, sbatch=script)
    changed = ("run_exists", "get_fw_by_id", "reserve_fw", "set_reservation_id")
    original = {name: vars(LaunchPad)[name] for name in changed}
    yield site
    for name, function in original.items():
        setattr(LaunchPad, name, function)


def submit_batch_job(folder: Path, category: str) -> str | None:
    adapter = load_object_from_file(str(folder / f"my_qadapter_{category}.yaml"))
    (folder / "FW_submit.script").write_text("")
    return adapter.submit_to_queue(str(folder / "FW_submit.script"))


def test_qlaunch_waits_longer_and_stops(
    site: Settings,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    waits: list[float] = []
    # Not time.sleep itself: the threads of pymongo sleep, too.
    monkeypatch.setattr(queue_adapter, "time", SimpleNamespace(sleep=waits.append))
    numbers = []
    for _ in range(3):
        numbers.append(submit_batch_job(tmp_path, "sampling"))
        record_unusable(database, ["sampling"], "no space left on /scratch")
    assert numbers == ["7", "7", "7"]
    assert waits == []
    assert submit_batch_job(tmp_path, "sampling") == "7"
    assert waits == [15.0]
    record_unusable(database, ["sampling"], "no space left on mongodb://a:secret@b")
    assert submit_batch_job(tmp_path, "sampling") is None
    err = capfd.readouterr().err
    assert "no batch job is submitted: the last 4 workers for sampling could not run jobs" in err
    assert "no space left on mongodb://a:***@b; fix that and start qlaunch again after" in err
    assert (tmp_path / "submitted").read_text().count("x") == 4
    # Other categories continue; a worker that ran a job resets the count, and so does time.
    assert submit_batch_job(tmp_path, "md") == "7"
    forget_unusable(database, ["sampling"])
    assert submit_batch_job(tmp_path, "sampling") == "7"
    record_unusable(database, [], "a worker for all categories")
    assert unusable_workers(database, "md").number == 1
    old = datetime.now(UTC) - timedelta(hours=1)
    database.unusable_workers.update_many({}, {"$set": {"time": old}})
    assert unusable_workers(database, "md").number == 0


def test_times_are_the_server_s(
    site: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reservations and records of a machine whose clock is ten minutes slow."""

    class Slow(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime.now(UTC) - timedelta(minutes=10)

    monkeypatch.setattr(processes, "datetime", Slow)
    monkeypatch.setattr(
        fireworks.core.firework, "datetime", SimpleNamespace(datetime=Slow, timezone=timezone)
    )
    record_unusable(database, ["dft"], "reason")
    submit(jobs.add(str(tmp_path / "journal"), "a", 1.0, 1.0), site)
    load_object_from_file(str(tmp_path / "my_qadapter_dft.yaml"))
    launchpad = LaunchPad(**launchpad_options(site, 5.0))
    firework, _ = launchpad.reserve_fw(FWorker(), str(tmp_path))
    launch = database.launches.find_one({})
    monkeypatch.undo()
    written = launch["state_history"][-1]["created_on"]
    assert parse_time(written) < datetime.now(UTC) - timedelta(minutes=9), "it was slow"
    last = unusable_workers(database, "dft").last
    assert last is not None
    assert abs(last - datetime.now(UTC)) < timedelta(minutes=1)
    found = plan_recovery(site)
    assert (found.steps, found.running) == ([], [firework.fw_id])


def test_waits_grow_and_stay_below_the_time_of_a_stuck_reservation(database: Database) -> None:
    waits = []
    for _ in range(12):
        record_unusable(database, ["dft"], "reason")
        waits.append(unusable_workers(database, "dft").wait_seconds)
    assert waits[:5] == [0.0, 0.0, 15.0, 30.0, 60.0]
    assert max(waits) == 240.0 < 600.0


def test_workers_record_that_they_cannot_run_jobs_and_that_they_can(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    journal = str(tmp_path / "journal")
    job = tag(jobs.add(journal, "a", 1.0, 1.0), stage="sampling", category="sampling")
    submit(job, settings)
    broken = settings.model_copy(update={"minimum_free_gb": 1e9})
    for number in (1, 2):
        done = run_worker(broken, "--category", "sampling", check=ExitCode.UNUSABLE)
        found = unusable_workers(database, "sampling")
        assert found.number == number
        assert "GB of free space and a worker needs" in found.reason
        assert found.reason in done.stderr
    run_worker(settings, "--category", "sampling")
    assert unusable_workers(database, "sampling").number == 0


def test_qlaunch_leaves_jobs_that_its_python_cannot_import(
    site: Settings, database: Database, tmp_path: Path
) -> None:
    submit([jobs.add(str(tmp_path / "journal"), f"a{i}", 1.0, 1.0) for i in range(3)], site)
    database.fireworks.update_many(
        {}, {"$set": {"spec._tasks.0.job.function.@module": "no_such_module"}}
    )
    load_object_from_file(str(tmp_path / "my_qadapter_dft.yaml"))
    launchpad = LaunchPad(**launchpad_options(site, 5.0))
    assert launchpad.run_exists(FWorker())
    with pytest.raises(SystemExit, match=r"cannot be read by .*no_such_module.* left to others"):
        launchpad.reserve_fw(FWorker(), str(tmp_path))
    assert database.fireworks.distinct("state") == ["READY"]
    assert database.launches.count_documents({}) == 0
