"""Damage of the database by hand: reported, repaired by a rerun, and never used silently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from jobflow import Flow

from mgflows.connections import open_job_store, open_launchpad
from mgflows.database.failures import read_failures
from mgflows.database.integrity import missing_indexes, wrong_counters
from mgflows.errors import DamagedDataError, ErrorCategory, ServiceError
from mgflows.flows.tags import set_campaign, tag
from mgflows.launch import advance, submit
from mgflows.launch.launchpad import RetryingLaunchPad
from mgflows.launch.worker import ExitCode
from mgflows.launch.workflows import prepare_database
from mgflows.machine.doctor import Verdict, _checksums, _integrity
from mgflows.recovery import plan_recovery, recover
from mgflows.recovery.steps import Action
from tests.helpers import jobs
from tests.helpers.jobs import ran
from tests.helpers.workers import run_worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jobflow import Job, JobStore
    from pymongo.database import Database

    from mgflows.settings import Settings

pytestmark = [pytest.mark.mongo, pytest.mark.faults]


@pytest.fixture
def finished(settings: Settings, tmp_path: Path) -> tuple[Job, Job]:
    """A job with an array, which has run, and one that waits for it."""
    journal = str(tmp_path / "journal")
    first = tag(jobs.arrays(journal, "first", 1000), stage="sampling", category="sampling")
    total = tag(
        jobs.total(journal, "total", first.output["values"]), stage="labels", category="dft"
    )
    flow = Flow([first, total])
    set_campaign(flow, "c1")
    submit(flow, settings)
    run_worker(settings, "--category", "sampling")
    assert ran(tmp_path / "journal") == ["first"]
    return first, total


def lose_chunks(database: Database) -> None:
    database["outputs_blobs.chunks"].delete_many({})


def lose_output(database: Database) -> None:
    database.outputs.delete_many({})


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lose_chunks, "1 array of its output is missing or incomplete"),
        (lose_output, "its output is missing"),
    ],
)
def test_lost_data_are_named_and_computed_again(
    damage: Callable[[Database], None],
    reason: str,
    finished: tuple[Job, Job],
    settings: Settings,
    database: Database,
    tmp_path: Path,
) -> None:
    damage(database)
    (finding,) = _integrity(database)
    assert reason in finding.reason
    assert "mgflows heal --yes" in finding.hint
    (step,) = plan_recovery(settings, "c1").steps
    found = (step.action, step.problem, step.name, step.reason)
    assert found == (Action.RERUN, "lost output", "arrays", reason)
    run_worker(settings, check=None)
    failures = read_failures(database, "c1")
    assert {failure.category for failure in failures} == {ErrorCategory.DAMAGED_DATA}
    assert "total" not in ran(tmp_path / "journal")
    recover(settings, retry=True, restore=True)
    run_worker(settings)
    assert ran(tmp_path / "journal") == ["first", "first", "total"]
    assert not plan_recovery(settings).steps
    assert not _integrity(database)


def test_nothing_is_submitted_on_a_lost_output(
    finished: tuple[Job, Job], settings: Settings, database: Database
) -> None:
    first, total = finished
    database.fireworks.delete_many({"spec.job_uuid": total.uuid})
    database.planned.update_many(
        {"jobs": total.uuid}, {"$set": {"state": "planned", "waits_for": [first.uuid]}}
    )
    lose_output(database)
    (result,) = advance(settings)
    assert (result.n_added, result.n_planned) == (0, 1)
    assert "have lost their output" in next(iter(result.stopped))


@pytest.fixture
def store(settings: Settings) -> JobStore:
    store = open_job_store(settings)
    store.connect()
    return store


def test_changed_data_are_not_read(
    finished: tuple[Job, Job], store: JobStore, database: Database
) -> None:
    uuid = finished[0].uuid
    assert store.get_output(uuid, load=True)["values"][:2] == [0.0, 1.0]
    chunks = database["outputs_blobs.chunks"]
    data = bytes(chunks.find_one({})["data"])
    for changed, message in (
        (data[: len(data) // 2], r"is incomplete \(truncated chunk #0"),
        (b"\0" * len(data), "was changed after it was stored"),
        (data.replace(b" 7.0,", b" 8.0,"), "was changed after it was stored"),
    ):
        chunks.update_one({}, {"$set": {"data": changed}})
        with pytest.raises(DamagedDataError, match=f"of job {uuid} {message}"):
            store.get_output(uuid, load=True)
    whole = database.outputs.find_one({"uuid": uuid})
    changes: list[dict[str, Any]] = [{"output.n": 1001}, {"output.n": 1000.0}, {"index": 2}]
    for change in changes:
        database.outputs.update_one({"uuid": uuid}, {"$set": change})
        with pytest.raises(
            DamagedDataError, match=f"output of job {uuid} was changed.*lpad rerun_fws"
        ):
            store.get_output(uuid)
        database.outputs.replace_one({"uuid": uuid}, whole)
    # Documents of version 0.1 and of other programs have no checksum.
    database.outputs.update_one(
        {"uuid": uuid}, {"$set": {"output.n": 5}, "$unset": {"metadata.sha256": ""}}
    )
    assert store.get_output(uuid)["n"] == 5


def test_deleted_indexes_and_counters_are_named_and_created(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    submit(jobs.add(str(tmp_path / "journal"), "a", 1.0, 2.0), settings)
    database.outputs.drop_indexes()
    database.fw_id_assigner.delete_many({})
    assert [finding.check for finding in _integrity(database)] == ["indexes", "counters"]
    planned = plan_recovery(settings).steps
    assert [step.problem for step in planned] == ["missing index", "wrong counter"]
    assert "outputs: uuid, index" in planned[0].reason
    assert planned[1].reason.startswith("missing or too small: next_fw_id (at least 2)")
    with pytest.raises(ServiceError, match=r"counter of launches .* is missing"):
        RetryingLaunchPad(settings, 5.0).get_new_launch_id()
    assert recover(settings, restore=True).steps
    assert not missing_indexes(database)
    assert not wrong_counters(database)
    # A worker creates them, too, and reports it.
    database.outputs.drop_indexes()
    done = run_worker(settings)
    assert "the database lacks indexes or counters, which are created" in done.stderr
    assert ran(tmp_path / "journal") == ["a"]


@pytest.mark.parametrize(
    "damage",
    [
        {"$unset": {"spec._tasks": 1}},
        {"$set": {"spec._tasks.0._fw_name": "{{no_such_module.Task}}"}},
    ],
)
def test_an_edited_firework_is_named_and_restored(
    damage: dict[str, Any], settings: Settings, database: Database, tmp_path: Path
) -> None:
    first = jobs.add(str(tmp_path / "journal"), "first", 1.0, 2.0)
    second = jobs.add(str(tmp_path / "journal"), "second", first.output, 2.0)
    flow = Flow([first, second])
    set_campaign(flow, "c1")
    submit(flow, settings)
    (before,) = database.fireworks.find({"spec.job_uuid": first.uuid})
    database.fireworks.update_one({"fw_id": before["fw_id"]}, damage)
    done = run_worker(settings, check=ExitCode.BROKEN_ENVIRONMENT)
    assert "or run mgflows heal in case the firework was edited" in done.stderr
    (finding,) = _integrity(database)
    assert f"the task of 1 waiting job was removed or replaced, first of {before['fw_id']}" in (
        finding.reason
    )
    (step,) = recover(settings, restore=True).steps
    assert (step.problem, step.fireworks) == ("damaged job", (before["fw_id"],))
    assert database.fireworks.find_one({"fw_id": before["fw_id"]})["spec"] == before["spec"]
    run_worker(settings)
    assert ran(tmp_path / "journal") == ["first", "second"]
    assert not plan_recovery(settings).steps


def test_an_edited_firework_that_is_not_planned_is_reported(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    submit(jobs.add(str(tmp_path / "journal"), "a", 1.0, 2.0), settings)
    submission = database.fireworks.find_one({})["spec"]["submission"]
    database.fireworks.update_one({}, {"$set": {"spec": {"submission": submission}}})
    found = recover(settings, restore=True)
    assert found.steps == []
    assert "remove it with: lpad delete_wflows -i 1" in found.unclear[1]


def test_a_deleted_workflow_ends_its_worker_at_once(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    flow = Flow([jobs.add(str(tmp_path / "journal"), "a", 1.0, 2.0)])
    set_campaign(flow, "c1")
    submit(flow, settings)
    database.workflows.delete_many({})
    done = run_worker(settings, check=None)
    assert done.returncode != 0
    assert "firework 1 is in no workflow" in done.stderr
    recover(settings, restore=True)
    run_worker(settings)
    assert ran(tmp_path / "journal") == ["a"]


def test_a_counter_is_never_set_back(settings: Settings, database: Database) -> None:
    launchpad = open_launchpad(settings)
    prepare_database(launchpad)
    database.fireworks.insert_one({"fw_id": 70})
    database.launches.insert_one({"launch_id": 30})
    database.fw_id_assigner.delete_many({})
    prepare_database(launchpad)
    assert (launchpad.get_new_fw_id(), launchpad.get_new_launch_id()) == (71, 31)
    prepare_database(launchpad)
    assert launchpad.get_new_fw_id() == 72


def test_deleted_launches_are_named_and_recorded(
    finished: tuple[Job, Job], settings: Settings, database: Database, tmp_path: Path
) -> None:
    database.launches.delete_many({})
    (finding,) = _integrity(database)
    assert "those of 1 ended job were deleted" in finding.reason
    assert "mgflows heal --yes" in finding.hint
    (step,) = recover(settings, restore=True).steps
    assert (step.action, step.problem, step.name) == (Action.RECORD, "lost launch", "arrays")
    assert not plan_recovery(settings).steps
    # FireWorks derives the same state again, and the next job runs.
    launchpad = open_launchpad(settings)
    launchpad._refresh_wf(step.fireworks[0])
    launchpad.connection.close()
    run_worker(settings)
    assert database.fireworks.distinct("state") == ["COMPLETED"]
    assert ran(tmp_path / "journal") == ["first", "total"]


def test_changed_data_are_found_by_reading_them(
    finished: tuple[Job, Job], settings: Settings, database: Database
) -> None:
    assert _checksums(settings, deep=True).reason == "1 of 1 outputs agree with their checksums"
    chunk = database["outputs_blobs.chunks"].find_one()
    changed = bytes(chunk["data"]).replace(b"999.0", b"998.0")
    database["outputs_blobs.chunks"].update_one({"_id": chunk["_id"]}, {"$set": {"data": changed}})
    for deep in (False, True):
        finding = _checksums(settings, deep=deep)
        assert finding.verdict is Verdict.ERROR
        assert "1 of 1 outputs that were read changed after they were stored" in finding.reason
        assert finished[0].uuid in finding.hint
    assert "lpad rerun_fws" in finding.hint
