"""Jobs run with jobflow's local manager, in a temporary directory and a store in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from jobflow import Flow, Job, JobStore, run_locally
from maggma.stores import MemoryStore

from mgflows.jobs.labels import AseMethod

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def store() -> JobStore:
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    return store


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(store: JobStore) -> Callable[..., Any]:
    """Run a job or a flow; return the output of the last job, as a document would be read."""

    def run(flow: Flow | Job, *, ensure_success: bool = True) -> Any:
        run_locally(
            flow, store=store, create_folders=True, ensure_success=ensure_success, log=False
        )
        last = flow.jobs[-1] if isinstance(flow, Flow) else flow
        return _output(store, last)

    return run


def _output(store: JobStore, job: Job) -> Any:
    document = store.query_one({"uuid": job.uuid}, load=True, sort={"index": -1})
    return None if document is None else document["output"]


@pytest.fixture
def method() -> AseMethod:
    """A method of microseconds for copper and aluminium."""
    return AseMethod("ase.calculators.emt.EMT", description="effective medium theory")
