from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from jobflow import Flow

from mgflows.launch.workflows import submit
from tests.launch import jobs

if TYPE_CHECKING:
    from pathlib import Path

    from mgflows.settings import Settings

pytestmark = pytest.mark.mongo


def run_worker(settings: Settings, *arguments: str, check: int | None = 0) -> subprocess.CompletedProcess[str]:
    path = settings.write(settings.directory / "mgflows.yaml")
    done = subprocess.run(
        [sys.executable, "-m", "mgflows.launch.worker", "--settings", str(path), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert check is None or done.returncode == check, done.stderr
    return done


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
    states = {fw["name"]: fw["state"] for fw in settings.database().fireworks.find({}, {"name": 1, "state": 1})}
    assert set(states.values()) == {"COMPLETED"}
    store = settings.job_store()
    store.connect()
    assert store.get_output(last.uuid) == 6.0
    assert store.get_output(blobs.uuid, load=True)["values"][-1] == 999.0
    assert settings.database()["outputs_blobs.files"].count_documents({}) == 1
    assert sorted(jobs.ran(tmp_path / "journal")) == sorted(
        ["first", "blobs", "fan", "fan-0", "fan-1", "fan-2", "references", "references-0", "references-1", "total"]
    )
