"""FireWorks' offline mode: jobs on nodes without any network, results brought back afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from fireworks import FWorker
from fireworks.queue.queue_launcher import setup_offline_job
from pydantic import ValidationError
from pymongo import MongoClient

from mgflows.connections import open_database, open_launchpad
from mgflows.launch import submit
from mgflows.launch.offline import INPUTS, OUTPUT, recover_offline, write_inputs
from mgflows.launch.worker import ExitCode
from mgflows.machine.configuration import write_configuration
from mgflows.recovery import plan_recovery
from mgflows.settings import Resources, Settings
from tests.helpers import jobs
from tests.helpers.jobs import ran
from tests.helpers.requirements import no_network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pymongo.database import Database

pytestmark = pytest.mark.mongo


def configure(directory: Path, uri: str, **values: Any) -> Settings:
    """A site whose nodes cannot reach the database."""
    resources = {"dft": {"reserve": True, "offline": True, "queue": "cpu"}}
    values = {"directory": directory, "scheduler": "slurm", "resources": resources, **values}
    site = Settings.checked({**values, "mongodb_uri": uri, "outage_seconds": 20.0})
    site.write(directory / "mgflows.yaml")
    write_configuration(site, directory, sys.executable)
    return site


def reserve(site: Settings, name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Reserve the next job, as `qlaunch -r` does; its launch directory."""
    folder = site.directory / name
    folder.mkdir()
    launchpad = open_launchpad(site)
    firework, launch_id = launchpad.reserve_fw(FWorker(), str(folder))
    with monkeypatch.context() as here:
        here.chdir(folder)
        setup_offline_job(launchpad, firework, launch_id)
    write_inputs(site, launchpad, folder)
    launchpad.connection.close()
    return folder


def start(site: Settings, folder: Path, prefix: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Start the job of a launch directory as its batch job does."""
    command = yaml.safe_load((site.directory / "my_qadapter_dft.yaml").read_text())["rocket_launch"]
    return subprocess.Popen(
        [*prefix, "sh", "-c", f"{command} --fw_id 1"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> ExitCode:
    _, printed = process.communicate(timeout=120)
    assert process.returncode in list(ExitCode), printed
    return ExitCode(process.returncode)


@pytest.mark.needs("network namespace")
def test_jobs_on_nodes_without_a_network(
    tcp_server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = configure(tmp_path, f"mongodb://127.0.0.1:{tcp_server}/")
    there: Database = MongoClient(site.uri)[site.database_name]
    journal = tmp_path / "journal"
    first = jobs.arrays(str(journal), "first", 50)
    second = jobs.total(str(journal), "second", first.output["values"])
    third = jobs.add(str(journal), "third", second.output, 0.5)
    submit([first, second, third], site)
    for number, job in enumerate((first, second, third)):
        folder = reserve(site, f"launch{number}", monkeypatch)
        assert end(start(site, folder, no_network())) == ExitCode.DONE
        assert there.outputs.count_documents({}) == number
        fw_id = there.fireworks.find_one({"spec.job_uuid": job.uuid})["fw_id"]
        assert recover_offline(site).completed == [fw_id]
        assert not (folder / INPUTS).exists()
        assert not (folder / OUTPUT).exists()
    assert ran(journal) == ["first", "second", "third"]
    for collection in (there.fireworks, there.workflows, there.launches):
        assert collection.distinct("state") == ["COMPLETED"]
    assert there.outputs.find_one({"uuid": third.uuid})["output"] == sum(range(50)) + 0.5
    # Nothing is left to do.
    assert not any(vars(recover_offline(site)).values())
    assert not plan_recovery(site).steps
    there.client.close()


def test_failed_interrupted_superseded_and_damaged_runs(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = configure(tmp_path, settings.uri, database_name=settings.database_name)
    database = open_database(site)
    journal = tmp_path / "journal"

    def state() -> str:
        return database.fireworks.find_one({}, sort=[("fw_id", -1)])["state"]

    submit(jobs.fail(str(journal), "fails", "no such luck"), site)
    assert end(start(site, reserve(site, "fails", monkeypatch))) == ExitCode.SOME_FAILED
    assert recover_offline(site).failed == [1]
    (failure,) = plan_recovery(site).failures
    assert "no such luck" in failure.reason

    # A signal before the walltime: the job runs again.
    submit(jobs.add(str(journal), "slow", 1.0, 2.0, 60.0), site)
    process = start(site, reserve(site, "slow", monkeypatch))
    while "slow" not in ran(journal):
        time.sleep(0.1)
    assert recover_offline(site).running == [2]
    assert state() == "RUNNING"
    process.send_signal(signal.SIGUSR1)
    assert end(process) == ExitCode.STOPPED
    assert recover_offline(site).interrupted == [2]
    assert state() == "READY"
    database.fireworks.update_one({"fw_id": 2}, {"$set": {"state": "PAUSED"}})

    # The job was given to another launch before the result came back.
    submit(jobs.add(str(journal), "twice", 1.0, 2.0), site)
    assert end(start(site, reserve(site, "twice", monkeypatch))) == ExitCode.DONE
    launchpad = open_launchpad(site)
    launchpad.rerun_fw(3)
    assert recover_offline(site).superseded == [3]
    assert database.outputs.count_documents({}) == 0
    assert not any(vars(recover_offline(site)).values())

    # The launch directory is out of sight, comes back, and its output is damaged.
    folder = reserve(site, "again", monkeypatch)
    assert end(start(site, folder)) == ExitCode.DONE
    folder.rename(hidden := tmp_path / "hidden")
    assert "No such file" in recover_offline(site).unreadable[3]
    hidden.rename(folder)
    os.truncate(folder / OUTPUT, 20)
    assert recover_offline(site).failed == [3]
    assert state() == "FIZZLED"
    launchpad.connection.close()
    database.client.close()


def test_a_folder_without_a_job_and_a_category_without_reservations(
    settings: Settings, tmp_path: Path
) -> None:
    site = configure(tmp_path, settings.uri, database_name=settings.database_name)
    (folder := tmp_path / "empty").mkdir()
    process = start(site, folder)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == ExitCode.UNUSABLE
    assert "submit jobs with qlaunch -r" in printed
    with pytest.raises(ValidationError, match="needs reserve: true"):
        Resources(offline=True)
