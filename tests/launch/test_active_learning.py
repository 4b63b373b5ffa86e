"""Rounds of active learning with real trainings, quenches, labels and workers."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from mgflows import CampaignMaker
from mgflows.cli.status import status as status_command
from mgflows.database import GlassDatabase
from mgflows.database.status import campaign_status
from mgflows.jobs.labels import AseLabelMaker
from mgflows.jobs.rounds import RoundSettings
from mgflows.launch import advance, submit, worker
from mgflows.launch.campaigns import register_campaign
from mgflows.nep import ErrorTarget
from mgflows.nep.selection import SpreadWindow
from mgflows.recovery import recover
from mgflows.report.data import ReportData
from mgflows.report.sections.active_learning import rounds as rounds_section
from tests.helpers.rounds import ALLOY, METHOD, FailingOnceMaker, first_training, later_rounds
from tests.helpers.workers import working

if TYPE_CHECKING:
    from pathlib import Path

    from mgflows.settings import Settings

pytestmark = [pytest.mark.mongo, pytest.mark.slow]


def run(settings: Settings) -> None:
    worker.work(settings)
    advance(settings)


def test_rounds_survive_a_kill_and_a_failed_label_and_end_for_every_reason(
    settings: Settings, tmp_path: Path
) -> None:
    """One campaign, so that its first training is shared."""
    flow, inputs, trained = first_training("rounds")
    database = GlassDatabase(settings)
    register_campaign(database.mongo, CampaignMaker(name="rounds", alloy=ALLOY).document(flow))
    submit(flow, settings)
    run(settings)
    fireworks = database.mongo["fireworks"]

    # Two rounds of labels, three and two of a budget of five, of which the first fails. A worker is
    # killed while it trains a member of the second committee.
    limited = RoundSettings(
        target=ErrorTarget(force=1.0), label_budget=5, n_labels=3, maximum_rounds=4
    )
    label_maker = FailingOnceMaker(method=METHOD, marker=str(tmp_path / "failed"))
    submit(later_rounds("rounds", inputs, trained, limited, label_maker), settings, part="budget")
    second = {"name": {"$regex": "^committee 1"}}
    with working(settings) as (process,):
        while not fireworks.count_documents({**second, "state": "RUNNING"}):
            assert process.poll() is None
            time.sleep(0.02)
    recover(settings, "rounds")
    run(settings)
    judged = database.rounds("rounds")
    assert [each.round for each in judged] == [0, 1, 2]
    assert [len(each.selected) for each in judged] == [3, 2, 0]
    assert [each.outcome for each in judged] == ["continue", "continue", "budget"]
    assert [each.n_labels for each in judged] == [0, 2, 4]
    assert [each.n_failed_labels for each in judged] == [0, 1, 1]
    assert all(each.n_members == 2 for each in judged)
    assert "the budget of 5 labels is spent: force error (candidates)" in judged[-1].reason
    assert "misses 1" in judged[-1].reason
    assert [each.passed for each in judged] == [False, False, True]
    assert judged[1].cpu_seconds["labels"] > 0.0
    assert judged[0].cpu_seconds["labels"] == 0.0
    # Nothing ran twice, and the failure is reported.
    query = {"spec.mgflows.stage": "feedback"}
    names = [each["name"] for each in fireworks.find(query, ["name"])]
    assert len(names) == len(set(names))
    status = campaign_status(database.mongo, "rounds")
    (failure,) = status.failures
    assert "the node is gone" in failure[1]
    assert status.stopped == {}

    # The last training has all labels, and starts from the potential of the last round.
    best = database.best_potential("rounds")
    assert best.generation == 5
    assert best.started_from == judged[-1].potential_id
    counts = database.dataset(best.dataset_id).counts
    assert counts["mlip_feedback"]["frames"] == 4
    assert best.dataset_id == judged[-1].dataset_id

    # Status, JSON and report show the rounds.
    settings.write(tmp_path / "mgflows.yaml")
    shown = CliRunner().invoke(
        status_command, ["rounds", "--directory", str(tmp_path)], catch_exceptions=False
    )
    assert "the budget of 5 labels is spent" in " ".join(shown.output.split())
    plain = CliRunner().invoke(
        status_command, ["rounds", "--directory", str(tmp_path), "--json"], catch_exceptions=False
    )
    listed = json.loads(plain.output)["rounds"]
    assert [each["n_labels"] for each in listed] == [0, 2, 4]
    assert listed[0]["force_error"] == judged[0].candidates.force_error
    section = rounds_section(ReportData.from_database(database, "rounds"))
    assert [row[1] for row in section.tables[0].rows] == ["0", "2", "4"]

    # Other reasons to end, each of the same first potential.
    for part, ends, outcome in (
        ("target", RoundSettings(target=ErrorTarget(force=1e4, energy=1e4)), "target"),
        ("exhausted", RoundSettings(window=SpreadWindow(lower=100.0)), "exhausted"),
        ("rounds", RoundSettings(maximum_rounds=1, n_labels=1), "rounds"),
    ):
        flow = later_rounds("rounds", inputs, trained, ends, AseLabelMaker(method=METHOD))
        submit(flow, settings, part=part)
        run(settings)
        uuid = flow.jobs[0].output.uuid
        found = database.store.docs_store.query({"uuid": uuid}, ["output"], sort={"index": 1})
        outputs = [each["output"] for each in found]
        assert outputs[-1]["outcome"] == outcome, outputs[-1]["reason"]
        assert len(outputs) == (2 if outcome == "rounds" else 1)
        if outcome == "target":
            assert "meV/A meets 10000" in outputs[-1]["reason"]
