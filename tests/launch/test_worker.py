from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fireworks import FWorker
from jobflow import Flow, JobStore
from maggma.stores import MemoryStore

from mgflows.connections import open_database, open_job_store, open_launchpad
from mgflows.database.failures import read_failures
from mgflows.errors import ServiceError
from mgflows.flows.tags import set_campaign
from mgflows.launch.campaigns import submit
from mgflows.launch.firetask import refuse_store_in_memory
from mgflows.launch.launchpad import configure_fireworks
from mgflows.launch.processes import is_alive
from mgflows.launch.worker import ExitCode
from mgflows.recovery import recover
from mgflows.settings import Settings
from tests.helpers import jobs
from tests.helpers.processes import wait_for
from tests.helpers.workers import run_worker, working

if TYPE_CHECKING:
    from pymongo.database import Database

pytestmark = pytest.mark.mongo


def test_a_flow_with_every_kind_of_job_runs(settings: Settings, tmp_path: Path) -> None:
    journal = str(tmp_path / "journal")
    first = jobs.add(journal, "first", 1.0, 2.0)
    blobs = jobs.arrays(journal, "blobs", 1000)
    fan = jobs.fan_out(journal, "fan", 3)
    references = jobs.fan_out_references(journal, "references", [first.output, blobs.output["n"]])
    last = jobs.total(journal, "total", fan.output)
    flow = Flow([first, blobs, fan, references, last])
    flow.update_metadata({"mgflows": {"campaign": "c1", "stage": "sampling"}}, dynamic=True)
    assert submit(flow, settings).n_added == 5
    run_worker(settings)
    states = {
        fw["name"]: fw["state"]
        for fw in open_database(settings).fireworks.find({}, {"name": 1, "state": 1})
    }
    assert set(states.values()) == {"COMPLETED"}
    store = open_job_store(settings)
    store.connect()
    assert store.get_output(last.uuid) == 6.0
    assert store.get_output(blobs.uuid, load=True)["values"][-1] == 999.0
    assert open_database(settings)["outputs_blobs.files"].count_documents({}) == 1
    assert sorted(jobs.ran(tmp_path / "journal")) == sorted(
        [
            "first",
            "blobs",
            "fan",
            "fan-0",
            "fan-1",
            "fan-2",
            "references",
            "references-0",
            "references-1",
            "total",
        ]
    )


@pytest.mark.faults
def test_a_result_that_was_stored_is_not_computed_again(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    """A worker is killed after storing the output and before FireWorks has recorded it.

    Its follow-up jobs are not lost, either.
    """
    journal = tmp_path / "journal"
    fan = jobs.fan_out(str(journal), "fan", 2)
    submit(Flow([fan, jobs.total(str(journal), "total", fan.output)]), settings)
    code = (
        "import os, signal, sys\n"
        "from mgflows.launch import launchpad, worker\n"
        "kill = lambda *args: os.kill(os.getpid(), signal.SIGKILL)\n"
        "launchpad.WorkerLaunchPad.complete_launch = kill\n"
        "sys.exit(worker.main(sys.argv[1:]))\n"
    )
    path = settings.write(settings.directory / "mgflows.yaml")
    assert (
        subprocess.run(
            [sys.executable, "-c", code, "--settings", str(path)], check=False
        ).returncode
        == -signal.SIGKILL
    )
    assert database.fireworks.find_one({"name": "fan_out"})["state"] == "RUNNING"
    assert database.outputs.count_documents({}) == 1
    assert list(recover(settings).rerun) == [
        database.fireworks.find_one({"name": "fan_out"})["fw_id"]
    ]
    run_worker(settings)
    assert sorted(jobs.ran(journal)) == ["fan", "fan-0", "fan-1", "total"]
    assert set(database.fireworks.distinct("state")) == {"COMPLETED"}
    # A rerun on request computes it again.
    open_launchpad(settings).rerun_fw(database.fireworks.find_one({"name": "fan_out"})["fw_id"])
    run_worker(settings, check=None)
    assert jobs.ran(journal).count("fan") == 2


def test_a_store_in_memory_is_refused(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    """As with FireWorks' own rocket on a machine without a jobflow configuration."""
    submit(jobs.add(str(tmp_path / "journal"), "x", 1.0, 1.0), settings)
    code = (
        "import sys\n"
        "from mgflows.connections import open_launchpad\n"
        "from mgflows.settings import Settings\n"
        "from fireworks.core.rocket_launcher import launch_rocket\n"
        "launch_rocket(open_launchpad(Settings.read(sys.argv[1])), strm_lvl='ERROR')\n"
    )
    path = settings.write(settings.directory / "mgflows.yaml")
    subprocess.run(
        [sys.executable, "-c", code, str(path)],
        check=True,
        cwd=tmp_path,
        capture_output=True,
        env=os.environ | {"HOME": str(tmp_path)},
    )
    assert database.fireworks.find_one({})["state"] == "FIZZLED"
    assert (
        "the JobStore of this worker is in memory, all results would be lost"
        in read_failures(database)[0].reason
    )
    assert not (tmp_path / "journal").exists()
    with pytest.raises(ServiceError, match="in memory"):
        refuse_store_in_memory(JobStore(MemoryStore()))


@pytest.mark.faults
def test_a_machine_that_cannot_import_a_job_leaves_it_to_others(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    submit([jobs.add(str(tmp_path / "journal"), f"a{i}", 1.0, 1.0) for i in range(3)], settings)
    database.fireworks.update_many(
        {}, {"$set": {"spec._tasks.0.job.function.@module": "no_such_module"}}
    )
    done = run_worker(settings, check=ExitCode.BROKEN_ENVIRONMENT)
    assert "cannot be read on this machine" in done.stderr
    assert "no_such_module" in done.stderr
    assert database.fireworks.distinct("state") == ["READY"]


@pytest.mark.faults
def test_a_row_of_quick_failures_stops_the_worker(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    submit([jobs.fail(str(tmp_path / "journal"), f"f{i}") for i in range(9)], settings)
    done = run_worker(settings, check=ExitCode.BROKEN_ENVIRONMENT)
    assert "5 jobs in a row failed within 5 s each" in done.stderr
    assert database.fireworks.count_documents({"state": "FIZZLED"}) == 5
    assert database.fireworks.count_documents({"state": "READY"}) == 4


def test_the_exit_code_shows_failed_jobs(settings: Settings, tmp_path: Path) -> None:
    submit(
        [
            jobs.fail(str(tmp_path / "journal"), "f"),
            jobs.add(str(tmp_path / "journal"), "a", 1.0, 1.0),
        ],
        settings,
    )
    run_worker(settings, check=ExitCode.SOME_FAILED)


def test_a_worker_prints_a_line_for_every_job(settings: Settings, tmp_path: Path) -> None:
    journal = str(tmp_path / "journal")
    good, bad = jobs.add(journal, "good", 1.0, 2.0), jobs.fail(journal, "bad")
    submit(Flow([good, bad]), settings)
    lines = run_worker(settings, check=ExitCode.SOME_FAILED).stderr
    for line in (
        r"job \d+ add starts in .*/launches/launcher_",
        r"job \d+ add done after [\d.]+ s",
        r"warning: job \d+ fail failed after [\d.]+ s: .*no such luck",
        r"1 job done, 1 failed",
    ):
        assert re.search(rf"^[\d-]{{10}} [\d:]{{8}}  {line}", lines, re.MULTILINE), (line, lines)
    assert "0 jobs done: none is ready" in run_worker(settings).stderr


def test_only_the_requested_campaign_and_category_run(settings: Settings, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    for campaign in ("c1", "c2"):
        flow = Flow(
            [
                jobs.add(str(journal), f"{campaign}-{category}", 1.0, 1.0)
                for category in ("sampling", "dft")
            ]
        )
        flow.update_metadata({"mgflows": {"campaign": campaign}})
        for job, category in zip(flow.jobs, ("sampling", "dft"), strict=True):
            job.update_config({"manager_config": {"_category": category}})
        submit(flow, settings)
    run_worker(settings, "--campaign", "c2", "--category", "dft")
    assert jobs.ran(journal) == ["c2-dft"]


def test_what_a_job_prints_is_in_its_launch_directory(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    submit(
        [
            jobs.add(str(tmp_path / "journal"), "a", 1.0, 2.0),
            jobs.fail(str(tmp_path / "journal"), "f", "bad luck"),
        ],
        settings,
    )
    run_worker(settings, check=None)
    directories = {
        database.fireworks.find_one({"fw_id": launch["fw_id"]})["name"]: Path(launch["launch_dir"])
        for launch in database.launches.find()
    }
    assert (directories["add"] / "job.out").read_text() == "adding 1.0 and 2.0\n"
    assert "ValueError: bad luck" in (directories["fail"] / "job.err").read_text()
    assert not (directories["add"] / "FW.json").exists()


@pytest.mark.faults
def test_a_worker_ends_with_its_parent(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    submit(jobs.add(str(journal), "slow", 1.0, 1.0, 30.0), settings)
    path = settings.write(settings.directory / "mgflows.yaml")
    code = (
        "import os, subprocess, sys, time\n"
        "command = [sys.executable, '-m', 'mgflows.launch.worker', '--settings', sys.argv[1]]\n"
        "subprocess.Popen([*command, '--parent', str(os.getpid())])\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(path)], stderr=subprocess.DEVNULL)
    wait_for(lambda: jobs.ran(journal) == ["slow"])
    worker = int(journal.read_text().split()[1])
    parent.kill()
    parent.wait()
    wait_for(lambda: not is_alive(worker))
    assert database.fireworks.find_one({})["state"] == "READY"


def test_a_worker_without_database_ends_with_the_remedy(short_directory: Path) -> None:
    done = run_worker(Settings(directory=short_directory), check=ExitCode.UNUSABLE)
    assert "mgflows db start --directory" in done.stderr


@pytest.mark.faults
def test_a_stale_lock_does_not_stop_a_worker(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    submit(jobs.add(str(tmp_path / "journal"), "a", 1.0, 1.0), settings)
    database.workflows.update_one({}, {"$set": {"locked": True}})
    found = recover(settings)
    assert found.unlocked == 1
    run_worker(settings)
    assert database.fireworks.distinct("state") == ["COMPLETED"]


@pytest.mark.faults
def test_a_workflow_that_was_half_written_is_finished(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    """A worker is killed between inserting follow-up fireworks and linking them."""
    journal = tmp_path / "journal"
    fan = jobs.fan_out(str(journal), "fan", 3)
    submit(Flow([fan, jobs.total(str(journal), "total", fan.output)]), settings)
    code = (
        "import os, signal, sys\n"
        "from mgflows.launch import launchpad, worker\n"
        "upsert = launchpad.WorkerLaunchPad._upsert_fws\n"
        "def upsert_and_die(self, fws, reassign_all=False):\n"
        "    result = upsert(self, fws, reassign_all)\n"
        "    if any(fw.state == 'COMPLETED' for fw in fws):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return result\n"
        "launchpad.WorkerLaunchPad._upsert_fws = upsert_and_die\n"
        "sys.exit(worker.main(sys.argv[1:]))\n"
    )
    path = settings.write(settings.directory / "mgflows.yaml")
    assert (
        subprocess.run(
            [sys.executable, "-c", code, "--settings", str(path)], check=False
        ).returncode
        == -signal.SIGKILL
    )
    assert database.workflows.find_one({})["locked"]
    assert (
        database.fireworks.count_documents({}) > len(database.workflows.find_one({})["nodes"]) == 2
    )
    found = recover(settings)
    assert (found.unlocked, len(found.completed), len(found.removed)) == (1, 1, 4)
    run_worker(settings)
    assert sorted(jobs.ran(journal)) == ["fan", "fan-0", "fan-1", "fan-2", "total"]
    assert database.fireworks.distinct("state") == ["COMPLETED"]


def test_fireworks_constants_are_set() -> None:
    configure_fireworks(7.0)
    from fireworks.core import launchpad, rocket

    assert rocket.PING_TIME_SECS == 7.0
    assert not rocket.PRINT_FW_JSON
    assert launchpad.SORT_FWS == "FIFO"
    lock = launchpad.WFLock(None, 1)
    assert (lock.expire_secs, lock.kill) == (60, True)


def test_files_of_jobs_follow_the_umask(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    """Members of a group that share launch directories can continue from each other's files."""
    submit(jobs.write_checkpoint(str(tmp_path / "journal"), "a"), settings)
    path = settings.write(settings.directory / "mgflows.yaml")
    command = [sys.executable, "-m", "mgflows.launch.worker", "--settings", str(path)]
    subprocess.run(command, check=True, timeout=60, umask=0o027, stderr=subprocess.DEVNULL)
    modes = {
        file.name: stat.S_IMODE(file.stat().st_mode)
        for file in (settings.directory / "launches").rglob("*")
    }
    directory = modes.pop(Path(database.launches.find_one({})["launch_dir"]).name)
    assert directory == 0o750
    assert {"job.out", "job.err", "checkpoint-a.npz", "checkpoint-b.npz"} <= set(modes)
    assert set(modes.values()) == {0o640}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_checkpoints_that_cannot_be_read_are_not_used(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    """The first launch ran as another user, who does not share files."""
    journal = tmp_path / "journal"
    submit(jobs.write_checkpoint(str(journal), "a", fail=True), settings)
    run_worker(settings, check=ExitCode.SOME_FAILED)
    (launch,) = database.launches.find({})
    checkpoint = Path(launch["launch_dir"]) / "checkpoint-a.npz"
    checkpoint.unlink()
    checkpoint.symlink_to(tmp_path / "absent")
    recover(settings, retry=True)
    run_worker(settings, check=ExitCode.SOME_FAILED)
    assert jobs.ran(journal) == ["a", "a"]
    again = database.launches.find_one({}, sort=[("launch_id", -1)])
    assert "cannot be used" in (Path(again["launch_dir"]) / "job.err").read_text()


def test_a_running_worker_leaves_a_later_campaign_of_another_version(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"

    def add(campaign: str, name: str, seconds: float = 0.0) -> None:
        flow = Flow([jobs.add(str(journal), name, 1.0, 2.0, seconds)])
        set_campaign(flow, campaign)
        submit(flow, settings)

    add("old", "first", 2.0)
    with working(settings) as (worker,):
        wait_for(lambda: jobs.ran(journal) == ["first"])
        database.campaigns.insert_one({"campaign": "new", "mgflows_version": "9.9.9"})
        add("new", "second")
        submit(jobs.add(str(journal), "third", 1.0, 2.0), settings)
        assert worker.wait(timeout=60) == ExitCode.DONE
    assert jobs.ran(journal) == ["first", "third"]
    (left,) = database.fireworks.find({"state": "READY"})
    assert left["spec"]["mgflows"]["campaign"] == "new"
    # A batch job for it gives the reservation back.
    launchpad = open_launchpad(settings)
    launchpad.reserve_fw(FWorker(), str(tmp_path))
    done = run_worker(settings, "singleshot", "--fw_id", str(left["fw_id"]), check=None)
    assert done.returncode == ExitCode.BROKEN_ENVIRONMENT
    assert "submitted with mgflows 9.9.9" in done.stderr
    assert database.fireworks.find_one({"fw_id": left["fw_id"]})["state"] == "READY"


def test_a_firework_that_cannot_run_is_an_error(settings: Settings, tmp_path: Path) -> None:
    submit(jobs.add(str(tmp_path / "journal"), "a", 1.0, 1.0), settings)
    done = run_worker(settings, "--fw_id", "999", check=ExitCode.UNUSABLE)
    assert "there is no firework 999 in the database; list the fireworks with" in done.stderr
    run_worker(settings)
    done = run_worker(settings, "--fw_id", "1", check=ExitCode.UNUSABLE)
    assert "the firework 1 is COMPLETED and cannot be run" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_leaves_no_array_of_its_checks(settings: Settings, database: Database) -> None:
    run_worker(settings)
    assert database["outputs_blobs.files"].count_documents({}) == 0
    assert database["outputs_blobs.chunks"].count_documents({}) == 0
