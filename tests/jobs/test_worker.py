"""Settings that a job takes from its worker."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from jobflow import JobStore, OutputReference
from maggma.stores import MemoryStore

from mgflows.errors import ServiceError
from mgflows.jobs.store import read_summaries
from mgflows.jobs.worker import _store_of_settings, store_to_read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mgflows.settings import Settings


@pytest.fixture
def file_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[JobStore]:
    """The store of a job of jobflow-remote, which is no requirement of the tests."""
    module = ModuleType("jobflow_remote.remote.data")
    store_class = type("StdJSONStore", (MemoryStore,), {"__module__": module.__name__})
    monkeypatch.setitem(sys.modules, module.__name__, module)
    _store_of_settings.cache_clear()
    yield JobStore(store_class())
    _store_of_settings.cache_clear()


def test_the_store_of_a_job_is_read() -> None:
    store = JobStore(MemoryStore())
    assert store_to_read(store) is store


@pytest.mark.mongo
def test_jobs_of_jobflow_remote_read_the_store_of_their_worker(
    settings: Settings, file_store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MGFLOWS_CONFIG", str(settings.write(settings.directory / "mgflows.yaml")))
    found = store_to_read(file_store)
    found.docs_store.update(
        [{"uuid": "u", "index": 1, "output": {"n": 3}, "metadata": {}}], key=["uuid", "index"]
    )
    ((uuid, document),) = read_summaries(store_to_read(file_store), [OutputReference("u")], ["n"])
    assert document is not None
    assert (uuid, document["output"]) == ("u", {"n": 3})


def test_jobs_of_jobflow_remote_without_a_database_name_the_remedy(
    file_store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mgflows.yaml"
    path.write_text(f"mongodb_uri: mongodb://%2F{tmp_path.name}%2Fnone.sock/\n")
    monkeypatch.setenv("MGFLOWS_CONFIG", str(path))
    with pytest.raises(ServiceError, match="which jobflow-remote does not give to it") as error:
        store_to_read(file_store)
    assert "MGFLOWS_CONFIG" in str(error.value)
