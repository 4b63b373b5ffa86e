"""Jobs that make no progress, and workers that jobs keep from ending."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from mgflows.cli.heal import heal
from mgflows.launch import submit
from mgflows.recovery import plan_recovery, recover
from tests.helpers import jobs
from tests.helpers.failing_jobs import fork, leave_thread
from tests.helpers.processes import wait_for
from tests.helpers.workers import fw_ids, run_worker, working

if TYPE_CHECKING:
    from pymongo.database import Database

    from mgflows.settings import Settings

pytestmark = [pytest.mark.mongo, pytest.mark.faults]


def test_a_job_that_changes_no_file_is_reported_and_left_alone(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    settings = settings.model_copy(update={"ping_seconds": 0.2, "stall_seconds": 3.0})
    submit(jobs.add(str(journal), "hangs", 1.0, 1.0, 60.0), settings)
    with working(settings):
        wait_for(lambda: jobs.ran(journal) == ["hangs"])
        wait_for(lambda: "last_change" in database.launches.find_one({}))
        assert plan_recovery(settings).stalled == {}
        time.sleep(4.0)
        found = recover(settings)
        fw_id = fw_ids(database)["hangs"]
        directory = database.launches.find_one({})["launch_dir"]
        assert found.steps == []
        assert found.running == [fw_id]
        assert f"no file in {directory} has changed since" in found.stalled[fw_id]
        assert f"kill {jobs.pids(journal)['hangs']} on" in found.stalled[fw_id]
        arguments = ["--directory", str(settings.directory)]
        shown = CliRunner().invoke(heal, [*arguments, "--json"])
        assert (shown.exit_code, list(json.loads(shown.output)["stalled"])) == (1, [str(fw_id)])
        assert f"hanging job {fw_id}" in CliRunner().invoke(heal, arguments).output
        # A change of any file is progress.
        (Path(directory) / "log").write_text("step 2")
        wait_for(lambda: plan_recovery(settings).stalled == {})


def test_a_worker_ends_in_spite_of_a_thread_that_a_job_left(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    submit([leave_thread(str(journal), "thread"), jobs.add(str(journal), "a", 1.0, 1.0)], settings)
    done = run_worker(settings)
    assert database.fireworks.distinct("state") == ["COMPLETED"]
    assert "jobs left threads behind" in done.stderr


def test_a_killed_rlaunch_of_fireworks_is_recognised_at_once(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    """FireWorks' own worker does not store its identity; the firetask does."""
    from mgflows.machine.configuration import write_configuration

    journal = tmp_path / "journal"
    settings.write(tmp_path / "mgflows.yaml")
    write_configuration(settings, tmp_path, sys.executable)
    submit(jobs.add(str(journal), "slow", 1.0, 1.0, 60.0), settings)
    environment = {
        **os.environ,
        "FW_CONFIG_FILE": str(tmp_path / "FW_config.yaml"),
        "JOBFLOW_CONFIG_FILE": str(tmp_path / "jobflow.yaml"),
    }
    program = Path(sys.executable).parent / "rlaunch"
    process = subprocess.Popen(
        [program, "-c", str(tmp_path), "singleshot"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: jobs.ran(journal) == ["slow"], 60.0)
        assert plan_recovery(settings).running == [fw_ids(database)["slow"]]
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    found = recover(settings)
    assert found.rerun == {fw_ids(database)["slow"]: f"its worker (process {process.pid}) died"}


@pytest.mark.parametrize("how", ["raises", "returns"])
def test_a_process_that_a_job_forked_is_not_a_second_worker(
    how: str, settings: Settings, database: Database, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    submit([fork(str(journal), "fork", how), jobs.add(str(journal), "a", 1.0, 1.0)], settings)
    run_worker(settings)
    assert database.fireworks.distinct("state") == ["COMPLETED"]
    assert database.outputs.find_one({"name": "fork"})["output"] == 1.0
    assert sorted(jobs.ran(journal)) == ["a", "fork"]
