"""Campaigns in many small workflows, on a real MongoDB with real workers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from jobflow import Flow

from mgflows import Alloy
from mgflows.database import GlassDatabase
from mgflows.errors import InputError
from mgflows.flows.scales import stand_in_campaign
from mgflows.flows.tags import all_jobs, set_campaign, tag
from mgflows.launch import advance, campaigns, submit, submit_campaign, worker
from mgflows.recovery import recover
from tests.helpers import jobs
from tests.helpers.families import families

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.database import Database

    from mgflows.settings import Settings

pytestmark = pytest.mark.mongo


def work(settings: Settings, category: str = "") -> None:
    """Run a worker that does not advance the campaign."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(campaigns, "advance", lambda *args, **kwargs: [])
        worker.work(settings, category=category)


def ran(journal: Path) -> list[str]:
    return sorted(jobs.ran(journal))


def test_each_family_continues_when_its_sample_is_available(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    submission = submit(families(journal), settings)
    assert (submission.n_added, submission.n_planned) == (4, 5)
    (before,) = advance(settings, "c1")
    assert (before.n_added, before.n_planned, before.stopped) == (0, 5, {})
    assert {d["reason"] for d in database.planned.find({"state": "planned"})} == {
        "waits for 1 of 1 jobs",
        "waits for 4 of 4 jobs",
    }

    work(settings, category="sampling")
    advance(settings)
    assert database.fireworks.count_documents({"spec._category": "dft", "state": "READY"}) == 4
    work(settings, category="dft")
    advance(settings)
    work(settings)
    assert ran(journal) == ["dataset", "l0", "l1", "l2", "l3", "s0", "s1", "s2", "s3"]
    assert advance(settings) == []
    assert database.outputs.find_one({"name": "collect"})["output"] == {"there": 4, "missing": 0}


def test_workers_advance_campaigns_when_they_run_out_of_jobs(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    submit(families(tmp_path / "journal"), settings)
    worker.work(settings)
    assert (
        len(ran(tmp_path / "journal"))
        == database.fireworks.count_documents({"state": "COMPLETED"})
        == 9
    )
    assert database.planned.count_documents({"state": "planned"}) == 0


def test_the_rest_continues_after_partial_failure(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    submit(families(journal, failing=(1,)), settings)
    work(settings)
    (stopped,) = advance(settings)
    reason = "1 of 1 upstream jobs failed or are blocked (at least 50% required)"
    assert stopped.stopped == {reason: 1}
    work(settings)
    advance(settings)
    work(settings)
    assert database.outputs.find_one({"name": "collect"})["output"] == {"there": 3, "missing": 1}
    # The label starts when the sample is finished after all.
    database.fireworks.update_one(
        {"name": "s1"},
        {"$set": {"spec._tasks.0.job.function_args": [str(journal), "s1", 1.0, 0.0]}},
    )
    assert [each.stopped for each in advance(settings)] == [{reason: 1}]


def test_below_the_minimum_it_stops_until_failed_jobs_are_rerun(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "journal"
    flow = families(journal, failing=(0, 1, 2))
    submit(flow, settings)
    work(settings)
    advance(settings)
    work(settings)
    (stopped,) = advance(settings)
    assert (
        stopped.stopped["3 of 4 upstream jobs failed or are blocked (at least 50% required)"] == 1
    )
    assert "dataset" not in ran(journal)

    # The cause is fixed.
    succeed = {"@module": "tests.helpers.jobs", "@callable": "add", "@bound": None}
    for i in range(3):
        change = {
            "spec._tasks.0.job.function": succeed,
            "spec._tasks.0.job.function_args": [str(journal), f"again{i}", 0.0, 0.0],
        }
        database.fireworks.update_one({"name": f"s{i}"}, {"$set": change})
    recover(settings, "c1", retry=True)
    for _ in range(3):
        work(settings)
        advance(settings)
    assert database.outputs.find_one({"name": "collect"})["output"] == {"there": 4, "missing": 0}
    assert [name for name in ran(journal) if name.startswith("again")] == [
        "again0",
        "again1",
        "again2",
    ]


@pytest.mark.parametrize("passed", [True, False])
def test_a_gate_holds_the_jobs_behind_it(
    settings: Settings, database: Database, tmp_path: Path, passed: bool
) -> None:
    journal = tmp_path / "journal"
    gate = tag(
        jobs.verdict(str(journal), passed, "the slope is -0.3"), stage="labels", category="sampling"
    )
    submit(families(journal, gate=gate), settings)
    assert {each.n_added for each in advance(settings)} == {0}
    work(settings)
    (went_on,) = advance(settings)
    if not passed:
        assert (went_on.n_added, went_on.stopped) == (
            0,
            {"the gate is closed: the slope is -0.3": 4}
            | {"4 of 4 upstream jobs failed or are blocked (at least 50% required)": 1},
        )
        (went_on,) = advance(settings, "c1", accept_gate=True)
    assert went_on.n_added == 4
    work(settings)
    advance(settings)
    work(settings)
    assert "dataset" in ran(journal)
    assert database.planned.count_documents({"state": "planned"}) == 0


@pytest.mark.faults
@pytest.mark.parametrize("dies_in", ["insert_once", "update_many"])
def test_an_advance_that_is_killed_is_finished_by_the_next(
    settings: Settings,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dies_in: str,
) -> None:
    from pymongo.collection import Collection

    from mgflows.launch import workflows

    journal = tmp_path / "journal"
    submit(families(journal), settings)
    work(settings)

    def die(*args: Any, **kwargs: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        if dies_in == "insert_once":
            # Only the fireworks are inserted; a kill leaves no time to clean up.
            patch.setattr(Collection, "insert_many", _only_fireworks(Collection.insert_many))
            patch.setattr(Collection, "delete_many", lambda *args, **kwargs: None)
        else:
            patch.setattr(workflows, "_ready_roots", die)
        with pytest.raises(SystemExit):
            campaigns.advance(settings)
    assert database.fireworks.count_documents({"spec._category": "dft", "state": "READY"}) == 0
    for _ in range(3):
        advance(settings)
        work(settings)
    assert ran(journal) == ["dataset", "l0", "l1", "l2", "l3", "s0", "s1", "s2", "s3"]
    assert (
        database.fireworks.count_documents({"state": "COMPLETED"})
        == database.fireworks.count_documents({})
        == 9
    )


def _only_fireworks(insert_many: Any) -> Any:
    def insert(self: Any, documents: Any, *args: Any, **kwargs: Any) -> Any:
        if self.name == "workflows":
            raise SystemExit
        return insert_many(self, documents, *args, **kwargs)

    return insert


@pytest.mark.faults
def test_a_submission_that_is_killed_leaves_nothing_in_the_way(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pymongo.collection import Collection

    def die(*args: Any, **kwargs: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(Collection, "insert_one", die)
        patch.setattr(Collection, "delete_many", lambda *args, **kwargs: None)
        with pytest.raises(SystemExit):
            submit(families(tmp_path / "journal"), settings)
    assert database.planned.count_documents({"state": "draft"}) == 9
    assert submit(families(tmp_path / "journal"), settings).n_added == 4
    assert database.planned.count_documents({}) == 9
    assert database.planned.count_documents({"state": "draft"}) == 0


def test_many_advance_at_once(settings: Settings, database: Database, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    submit(families(journal, n=120), settings)
    work(settings)
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda: results.extend(advance(settings, "c1"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(result.n_added for result in results) == 120
    assert database.fireworks.count_documents({"spec._category": "dft", "state": "READY"}) == 120
    assert database.workflows.count_documents({}) == 240


def test_an_input_that_replaces_itself_counts_when_its_last_job_is_done(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    fan = tag(jobs.fan_out(str(journal), "fan", 2), stage="sampling", category="sampling")
    total = tag(jobs.total(str(journal), "total", fan.output), stage="labels", category="dft")
    flow = Flow([fan, total])
    set_campaign(flow, "c1")
    submit(flow, settings)
    work(settings)
    # The state between the first job and the last of those that replaced it.
    last = database.fireworks.find_one({"spec.job_uuid": fan.uuid}, sort=[("fw_id", -1)])
    assert last["fw_id"] != database.fireworks.find_one({"spec.job_uuid": fan.uuid})["fw_id"]
    database.fireworks.update_one({"fw_id": last["fw_id"]}, {"$set": {"state": "READY"}})
    assert [each.n_added for each in advance(settings)] == [0]
    database.fireworks.update_one({"fw_id": last["fw_id"]}, {"$set": {"state": "COMPLETED"}})
    # The state while FireWorks writes.
    database.workflows.update_one({"nodes": last["fw_id"]}, {"$set": {"locked": True}})
    assert [each.n_added for each in advance(settings)] == [0]
    database.workflows.update_one({"nodes": last["fw_id"]}, {"$unset": {"locked": ""}})
    assert [each.n_added for each in advance(settings)] == [1]
    work(settings)
    assert "total" in ran(journal)


def test_several_alloys_in_one_call(settings: Settings, database: Database) -> None:
    alloys = [
        Alloy({"Cu": x, "Zr": 0.9 - x, "Al": 0.1}, n_atoms=120, number_density=0.0694)
        for x in (0.4, 0.5)
    ]
    makers = stand_in_campaign("tiny", name="series").for_alloys(alloys)
    submissions = submit_campaign(makers, settings)
    assert [each.campaign for each in submissions] == [f"series-{alloy.name}" for alloy in alloys]
    assert all(
        each.is_new and each.n_added > 0 and each.n_planned > each.n_added for each in submissions
    )
    assert database.campaigns.count_documents({}) == 2
    assert max(len(workflow["nodes"]) for workflow in database.workflows.find()) <= 100
    for maker, submission in zip(makers, submissions, strict=True):
        status = GlassDatabase(settings).status(maker.name)
        assert (status.total, status.planned) == (
            submission.n_added + submission.n_planned,
            submission.n_planned,
        )
        assert status.total == len(all_jobs(maker.make()))
        assert sum(group.waiting for group in status.groups) == submission.n_added
        assert status.core_hours == 0.0 < status.core_hours_left
        assert not status.finished
    again = submit_campaign(makers, settings)
    assert [(each.is_new, each.n_added) for each in again] == [(False, 0), (False, 0)]
    with pytest.raises(InputError, match="given more than once"):
        makers[0].for_alloys([alloys[0], alloys[0]])
    with pytest.raises(InputError, match="2 of the campaigns have the name"):
        submit_campaign([makers[0], makers[0]], settings)
