"""Launch directories on a really full disk: a small tmpfs that only the worker sees."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from jobflow import Flow

from mgflows.database.failures import classify
from mgflows.errors import ErrorCategory
from mgflows.flows.tags import set_campaign, tag
from mgflows.launch import submit
from mgflows.launch.backoff import unusable_workers
from mgflows.launch.worker import ExitCode
from mgflows.recovery import recover
from tests.helpers import jobs
from tests.helpers.requirements import private_namespace
from tests.helpers.writing_jobs import say, write

if TYPE_CHECKING:
    from pathlib import Path

    from jobflow import Job
    from pymongo.database import Database

    from mgflows.settings import Settings

pytestmark = [pytest.mark.mongo, pytest.mark.faults, pytest.mark.needs("mount")]

MOUNT = 'mount -t tmpfs -o "$1" none "$2" && shift 2 && exec "$@"'


@pytest.fixture
def site(settings: Settings) -> Settings:
    settings.minimum_free_gb = 0.0
    (settings.directory / "launches").mkdir()
    return settings


def run_worker(
    settings: Settings, disk: str | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """A worker; with `disk`, its launch directories are on a tmpfs with these options."""
    path = settings.write(settings.directory / "mgflows.yaml")
    command = [sys.executable, "-m", "mgflows.launch.worker", "--settings", str(path)]
    if disk is not None:
        # Its mounts vanish with the worker, and no other process sees them.
        command = [
            *private_namespace(),
            "sh",
            "-c",
            MOUNT,
            "sh",
            disk,
            str(settings.directory / "launches"),
            *command,
        ]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env=os.environ | variables,
    )


def submit_jobs(settings: Settings, *made: Job) -> None:
    flow = Flow(
        [
            tag(job, stage="sampling", category="sampling", family=f"f{i}")
            for i, job in enumerate(made)
        ]
    )
    set_campaign(flow, "c1")
    submit(flow, settings)


def states(database: Database) -> Counter[str]:
    return Counter(firework["state"] for firework in database.fireworks.find({}, ["state"]))


def test_jobs_that_do_not_fit_fail_a_few_and_the_rest_waits(
    site: Settings, database: Database, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    names = [f"a{i}" for i in range(12)]
    submit_jobs(site, *(write(str(journal), name, 400_000) for name in names))
    worker = run_worker(site, "size=1000k")
    assert worker.returncode == ExitCode.BROKEN_ENVIRONMENT, worker.stderr
    assert f"{site.max_quick_failures} jobs in a row failed" in worker.stderr
    assert states(database) == {"COMPLETED": 2, "FIZZLED": 5, "READY": 5}
    failures = recover(site).failures
    assert {classify(failure.reason) for failure in failures} == {ErrorCategory.DISK_FULL}
    assert all("No space left on device" in failure.reason for failure in failures)

    recover(site, retry=True)
    assert run_worker(site).returncode == ExitCode.DONE
    assert states(database) == {"COMPLETED": 12}
    assert sorted(jobs.ran(journal)) == sorted(names)


@pytest.mark.parametrize("buffered", [True, False])
def test_the_printed_output_of_a_job_does_not_fit(
    site: Settings, database: Database, tmp_path: Path, buffered: bool
) -> None:
    """The output is not written anywhere else, and the worker ends as with other failures."""
    journal = tmp_path / "journal"
    submit_jobs(site, say(str(journal), "much", 3_000_000), say(str(journal), "more", 3_000_000))
    worker = run_worker(site, "size=1000k", PYTHONUNBUFFERED="" if buffered else "1")
    assert worker.returncode == ExitCode.SOME_FAILED, worker.stderr
    assert re.search(r"jobs? done, [12] failed$", worker.stderr.splitlines()[-1])
    assert "xxxx" not in worker.stdout + worker.stderr
    failures = recover(site, retry=True).failures
    assert {classify(failure.reason) for failure in failures} <= {ErrorCategory.DISK_FULL}
    assert run_worker(site).returncode == ExitCode.DONE
    assert states(database) == {"COMPLETED": 2}
    assert set(jobs.ran(journal)) == {"much", "more"}


def test_not_even_a_directory_fits(site: Settings, database: Database, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    names = [f"a{i}" for i in range(4)]
    submit_jobs(site, *(jobs.add(str(journal), name, 1.0, 2.0) for name in names))
    # The number of files is limited, too: there is room for the root directory only.
    worker = run_worker(site, "size=1000k,nr_inodes=1")
    assert worker.returncode == ExitCode.BROKEN_ENVIRONMENT, worker.stderr
    assert "No space left on device" in worker.stderr
    assert "Traceback" not in worker.stderr
    assert states(database) == {"READY": 4}
    # After several of these qlaunch waits longer, and stops.
    assert "No space left on device" in unusable_workers(database, "sampling").reason
    assert run_worker(site).returncode == ExitCode.DONE
    assert unusable_workers(database, "sampling").number == 0
    assert sorted(jobs.ran(journal)) == names


def test_a_disk_that_is_nearly_full_is_left_alone(
    site: Settings, database: Database, tmp_path: Path
) -> None:
    """The launches may be on another disk than the other files."""
    site.minimum_free_gb = 0.002
    submit_jobs(site, jobs.add(str(tmp_path / "journal"), "a", 1.0, 2.0))
    worker = run_worker(site, "size=1000k")
    assert worker.returncode == ExitCode.BROKEN_ENVIRONMENT, worker.stderr
    assert "0.00 GB of free space and a worker needs 0.002" in worker.stderr
    assert states(database) == {"READY": 1}
