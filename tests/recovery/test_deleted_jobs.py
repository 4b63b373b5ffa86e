"""Fireworks deleted with FireWorks' own `lpad`: noticed, reported and restored."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from jobflow import Flow

from mgflows.cli.heal import heal
from mgflows.connections import open_launchpad
from mgflows.database.status import campaign_status
from mgflows.flows.tags import set_campaign, tag
from mgflows.launch import advance, submit, worker
from mgflows.machine.doctor import examine
from mgflows.recovery import plan_recovery, recover
from tests.helpers import jobs
from tests.helpers.families import families

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.database import Database

    from mgflows.settings import Settings

pytestmark = [pytest.mark.mongo, pytest.mark.faults]


def delete(settings: Settings, database: Database, name: str) -> None:
    """As ``lpad delete_wflows`` does."""
    launchpad = open_launchpad(settings)
    launchpad.delete_wf(database.fireworks.find_one({"name": name})["fw_id"])
    launchpad.connection.close()


def labels_and_dataset(journal: Path, n: int = 6) -> Flow:
    """Labels in separate workflows, and a dataset that waits for them."""
    labels = [
        tag(
            jobs.add(str(journal), f"l{i}", float(i), 1.0),
            stage="labels",
            category="dft",
            family=f"f{i}",
        )
        for i in range(n)
    ]
    for i, label in enumerate(labels):
        label.name = f"l{i}"
    dataset = jobs.collect(str(journal), "dataset", [label.output for label in labels])
    tag(dataset, stage="training", category="sampling")
    flow = Flow([*labels, dataset])
    set_campaign(flow, "c1")
    return flow


def test_a_deleted_label_is_reported_everywhere_and_restored_by_heal(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    submit(labels_and_dataset(journal), settings)
    delete(settings, database, "l3")
    worker.work(settings)
    (stopped,) = advance(settings)
    reason = (
        "1 of 6 upstream jobs were deleted from the LaunchPad (lpad delete_wflows or reset) or "
        "have lost their output; restore them with: mgflows heal c1 --yes"
    )
    assert stopped.stopped == {reason: 1}
    status = campaign_status(database, "c1")
    assert (status.deleted, status.total, status.succeeded, status.finished) == (1, 7, False, True)
    assert status.stopped[reason] == 1
    assert any("mgflows heal c1 --yes" in text for text in status.stopped)
    settings.write(settings.directory / "mgflows.yaml")
    (finding,) = [each for each in examine(settings.directory) if each.check == "deleted jobs"]
    assert "1 submitted jobs of c1 were deleted" in finding.reason
    # A launcher repairs lost jobs automatically, but not deleted ones.
    assert not recover(settings).steps
    arguments = ["c1", "--directory", str(settings.directory), "--json"]
    shown = CliRunner().invoke(heal, arguments)
    (step,) = json.loads(shown.output)["steps"]
    assert (shown.exit_code, step["action"], step["problem"]) == (1, "restore", "deleted")
    assert database.fireworks.count_documents({"name": "l3"}) == 0
    assert CliRunner().invoke(heal, [*arguments, "--yes"]).exit_code == 0
    worker.work(settings)
    assert sorted(jobs.ran(journal)) == ["dataset", *(f"l{i}" for i in range(6))]
    assert database.outputs.find_one({"name": "collect"})["output"] == {"there": 6, "missing": 0}
    status = campaign_status(database, "c1")
    assert (status.succeeded, status.deleted, status.stopped) == (True, 0, {})
    assert not plan_recovery(settings).steps


def test_submitting_again_restores_it(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    submit(labels_and_dataset(journal), settings)
    delete(settings, database, "l0")
    again = submit(labels_and_dataset(journal), settings)
    assert (again.n_added, again.is_new) == (1, False)
    assert submit(labels_and_dataset(journal), settings).n_added == 0
    worker.work(settings)
    assert campaign_status(database, "c1").succeeded


def test_a_reset_launchpad_continues_with_what_has_no_output(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    """``lpad reset`` in the middle of a campaign: results are kept, the rest runs."""
    journal = tmp_path / "journal"
    submit(families(journal), settings)
    worker.work(settings, category="sampling", n_launches=2)
    before = {row["uuid"]: row["output"] for row in database.outputs.find({})}
    n_before = len(jobs.ran(journal))
    assert n_before >= 2
    launchpad = open_launchpad(settings)
    launchpad.reset(datetime.now(UTC).strftime("%Y-%m-%d"), require_password=False)
    launchpad.connection.close()
    assert database.fireworks.count_documents({}) == 0
    assert campaign_status(database, "c1").deleted > 0
    recover(settings, "c1", restore=True)
    worker.work(settings)
    assert sorted(jobs.ran(journal)) == [
        *("dataset", "l0", "l1", "l2", "l3", "s0", "s1", "s2", "s3")
    ]
    assert {row["uuid"]: row["output"] for row in database.outputs.find({})}.items() >= (
        before.items()
    )
    assert database.outputs.find_one({"name": "collect"})["output"] == {"there": 4, "missing": 0}


def test_archived_fireworks_of_finished_jobs_are_not_missed(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    """As docs/reference/scaling.md recommends for finished campaigns."""
    submit(labels_and_dataset(tmp_path / "journal"), settings)
    worker.work(settings)
    for name in ("fireworks", "workflows", "launches"):
        database[name].delete_many({})
    assert campaign_status(database, "c1").deleted == 0
    assert not plan_recovery(settings).steps
    # A later part may use its outputs.
    assert advance(settings) == []


def test_a_deleted_job_that_replaced_itself_runs_again(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    fan = tag(jobs.fan_out(str(journal), "fan", 2), stage="sampling", category="sampling")
    fan.name = "fan"
    total = tag(jobs.total(str(journal), "total", fan.output), stage="labels", category="dft")
    flow = Flow([fan, total])
    set_campaign(flow, "c1")
    submit(flow, settings)
    worker.work(settings, category="sampling", n_launches=1)
    delete(settings, database, "fan")
    assert campaign_status(database, "c1").deleted == 1
    recover(settings, restore=True)
    worker.work(settings)
    assert jobs.ran(journal)[-1] == "total"
    assert jobs.ran(journal).count("fan") == 2
