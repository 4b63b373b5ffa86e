"""A worker that is silent for longer than the limit of lost runs and then continues."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from jobflow import Flow
from jobflow.core.schemas import JobStoreDocument

from mgflows.connections import open_job_store
from mgflows.flows.tags import tag
from mgflows.launch import submit
from mgflows.launch.outputs import LaunchJobStore, SupersededError
from mgflows.launch.workflows import prepare_database
from mgflows.recovery import recover
from tests.helpers import jobs
from tests.helpers.jobs import ran
from tests.helpers.processes import wait_for
from tests.helpers.workers import elsewhere, run_worker

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.database import Database

    from mgflows.settings import Settings

pytestmark = [pytest.mark.mongo, pytest.mark.faults]


def contents(database: Database) -> tuple[Any, ...]:
    outputs = list(database.outputs.find({}, {"_id": 0}).sort("uuid"))
    blobs = sorted(f["metadata"]["blob_uuid"] for f in database["outputs_blobs.files"].find({}))
    fireworks = list(database.fireworks.find({}, {"fw_id": 1, "state": 1, "launches": 1}))
    return outputs, blobs, fireworks


def test_a_worker_that_wakes_up_does_not_replace_the_output(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    first = jobs.stamped(str(journal), "first", 1.5)
    total = jobs.total(str(journal), "total", first.output["values"])
    made = [tag(job, stage="sampling", category="sampling") for job in (first, total)]
    submit(Flow(made), settings)
    path = settings.write(settings.directory / "mgflows.yaml")
    log = tmp_path / "log"
    with log.open("wb") as stream:
        sleeper = subprocess.Popen(
            [sys.executable, "-m", "mgflows.launch.worker", "--settings", str(path)], stderr=stream
        )
    wait_for(lambda: ran(journal) == ["first"])
    sleeper.send_signal(signal.SIGSTOP)
    (launch,) = database.launches.find({})
    # As if on another node: its process cannot be seen, so that the heartbeats decide.
    elsewhere(database, launch["fw_id"])
    wait_for(lambda: recover(settings).rerun)
    run_worker(settings)
    assert ran(journal) == ["first", "first", "total"]
    before = contents(database)
    assert before[0]
    assert len(before[1]) == 1
    sleeper.send_signal(signal.SIGCONT)
    assert sleeper.wait(timeout=60) == 0
    assert contents(database) == before
    assert ran(journal) == ["first", "first", "total"]
    assert "had lost its job to another worker" in log.read_text()


@pytest.fixture
def stores(settings: Settings, database: Database) -> dict[int, LaunchJobStore]:
    """The stores of two launches of one job; both count as running, as just before a repair."""
    from mgflows.connections import open_launchpad

    prepare_database(open_launchpad(settings))
    store = open_job_store(settings)
    store.connect()
    database.launches.insert_many([{"launch_id": number, "state": "RUNNING"} for number in (1, 2)])
    return {number: LaunchJobStore(store, database.launches, number) for number in (1, 2)}


def write(store: LaunchJobStore, value: float) -> None:
    document = JobStoreDocument(
        uuid="job", index=1, output={"values": [value] * 3}, metadata={}, name="job"
    )
    store.update(document, key=["uuid", "index"], save={"data": ["values"]})


def test_the_later_launch_wins_whichever_writes_first(
    stores: dict[int, LaunchJobStore], database: Database
) -> None:
    write(stores[1], 1.0)
    write(stores[2], 2.0)
    assert stores[1].get_output("job", load=True)["values"] == [2.0] * 3
    with pytest.raises(SupersededError):
        write(stores[1], 1.0)
    assert stores[1].get_output("job", load=True)["values"] == [2.0] * 3
    # Neither the replaced nor the refused output leaves an array behind.
    assert database["outputs_blobs.files"].count_documents({}) == 1
    # A launch may write its own output again, as after a broken connection.
    write(stores[2], 3.0)
    assert stores[1].get_output("job", load=True)["values"] == [3.0] * 3
    assert database["outputs_blobs.files"].count_documents({}) == 1
    assert database["outputs_blobs.chunks"].count_documents({}) == 1


def test_a_launch_that_is_overtaken_between_its_output_and_its_arrays(
    stores: dict[int, LaunchJobStore], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = stores[1].additional_stores["data"]
    update = data.update

    def late(*args: Any, **kwargs: Any) -> None:
        monkeypatch.setattr(data, "update", update)
        write(stores[2], 2.0)
        update(*args, **kwargs)

    monkeypatch.setattr(data, "update", late)
    with pytest.raises(SupersededError):
        write(stores[1], 1.0)
    assert stores[1].get_output("job", load=True)["values"] == [2.0] * 3
    assert database["outputs_blobs.files"].count_documents({}) == 1


def test_a_launch_that_has_lost_its_job_stores_nothing(
    stores: dict[int, LaunchJobStore], database: Database
) -> None:
    database.launches.update_one({"launch_id": 1}, {"$set": {"state": "FIZZLED"}})
    write(stores[1], 1.0)
    with pytest.raises(SupersededError, match="launch 1 has lost its job"):
        stores[1].confirm({})
    assert database.outputs.count_documents({}) == 0
    assert database["outputs_blobs.files"].count_documents({}) == 0
    write(stores[2], 2.0)
    stores[2].confirm({"finished": 1})
    assert database.launches.find_one({"launch_id": 2})["finished"] == 1
    assert database.outputs.count_documents({}) == 1


def test_launch_ids_grow_after_a_reset(settings: Settings, database: Database) -> None:
    """FireWorks' `lpad reset` begins to count launches at one again."""
    from mgflows.connections import open_launchpad

    launchpad = open_launchpad(settings)
    prepare_database(launchpad)
    database.outputs.insert_one({"uuid": "a", "index": 1, "metadata": {"launch_id": 41}})
    launchpad.reset("", require_password=False)
    prepare_database(launchpad)
    assert launchpad.get_new_launch_id() == 42
