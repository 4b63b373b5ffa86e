"""Long jobs that are killed: the next launch resumes from the checkpoint.

The result is that of an uninterrupted run.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mgflows import Alloy
from mgflows.connections import open_job_store
from mgflows.flows.tags import set_campaign, tag
from mgflows.jobs.sampling import SurrogateMDMaker, SwapMonteCarloMaker
from mgflows.launch import submit
from mgflows.recovery import recover

if TYPE_CHECKING:
    from jobflow import Job
    from pymongo.database import Database

    from mgflows.settings import Settings

pytestmark = [pytest.mark.mongo, pytest.mark.faults]

ALLOY = Alloy.cuzral(n_atoms=113)


def run_and_kill(settings: Settings, pattern: str) -> None:
    """A worker that is killed some time after its job wrote a checkpoint."""
    worker = start(settings)
    deadline = time.monotonic() + 120
    while not list((settings.directory / "launches").glob(f"launcher_*/{pattern}")):
        assert worker.poll() is None, "the job ended before it could be killed; make it longer"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.1)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()


def start(settings: Settings) -> subprocess.Popen[bytes]:
    path = settings.write(settings.directory / "mgflows.yaml")
    return subprocess.Popen(
        [sys.executable, "-m", "mgflows.launch.worker", "--settings", str(path)],
        stderr=subprocess.DEVNULL,
    )


def output_after_a_kill(
    settings: Settings, database: Database, job: Job, pattern: str
) -> dict[str, Any]:
    from jobflow import Flow

    flow = Flow([tag(job, stage="sampling", category="sampling")])
    set_campaign(flow, "long")
    submit(flow, settings)
    run_and_kill(settings, pattern)
    assert recover(settings).rerun
    assert start(settings).wait(timeout=300) == 0
    (launch,) = database.launches.find({"state": "COMPLETED"})
    assert "resuming from" in (Path(launch["launch_dir"]) / "job.err").read_text()
    store = open_job_store(settings)
    store.connect()
    return store.get_output(job.uuid, load=True)


def test_swap_monte_carlo(settings: Settings, database: Database) -> None:
    maker = SwapMonteCarloMaker(checkpoint_interval=0.3, equilibration_sweeps=100)
    sample = output_after_a_kill(
        settings, database, maker.make(ALLOY, 150_000, 3), "checkpoint-swap-monte-carlo.npz"
    )
    whole = maker._cool(ALLOY, 150_000, 3)
    positions = np.array([site["xyz"] for site in sample["structure"]["sites"]])
    assert np.array_equal(positions, whole.structure.cart_coords)


def test_molecular_dynamics(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobflow import JobStore, run_locally
    from maggma.stores import MemoryStore

    maker = SurrogateMDMaker(checkpoint_interval=0.2, equilibration_sweeps=20)
    # Killed in the second of three runs.
    document = output_after_a_kill(
        settings, database, maker.make(ALLOY, 150.0, [1, 2, 3]), "checkpoint-dynamics-1.npz"
    )
    monkeypatch.chdir(tmp_path)
    job = maker.make(ALLOY, 150.0, [1, 2, 3])
    whole = run_locally(job, store=JobStore(MemoryStore()), create_folders=True, log=False)[
        job.uuid
    ][1].output
    assert document["e_is_reduced"] == whole.e_is_reduced
    assert document["seeds"] == [1, 2, 3]
