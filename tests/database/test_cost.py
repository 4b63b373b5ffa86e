"""Costs and forecast against values counted by hand, on a real MongoDB."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from mgflows.cli.cost import cost as cost_command
from mgflows.database import GlassDatabase
from mgflows.launch.campaigns import register_campaign
from mgflows.schemas.fitness import FitnessDocument

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.database import Database

    from mgflows.schemas.campaign import CampaignDocument
    from mgflows.settings import Settings

pytestmark = pytest.mark.mongo

CAMPAIGN = "test-campaign"


def done(
    cpu: float,
    *,
    stage: str = "labels",
    subset: str | None = None,
    seconds: float | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A document of a job that took ``cpu`` core seconds on four cores, estimated ``seconds``."""
    tags = {"campaign": CAMPAIGN, "stage": stage, "subset": subset, "seconds": seconds}
    provenance = {
        "cpu_seconds": cpu,
        "wall_seconds": cpu / 4,
        "max_rss_mib": 10.0 * cpu,
        "n_cores": 4,
        "host": f"node{cpu:g}",
    }
    return {
        "uuid": f"{stage}-{subset}-{cpu}",
        "index": 1,
        "metadata": {"mgflows": {key: value for key, value in tags.items() if value is not None}},
        "output": {"provenance": provenance, **more},
    }


def firework(
    fw_id: int,
    state: str,
    *,
    campaign: str = CAMPAIGN,
    stage: str = "labels",
    subset: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    tags = {"campaign": campaign, "stage": stage, **({"subset": subset} if subset else {}), **more}
    return {
        "fw_id": fw_id,
        "name": str(fw_id),
        "state": state,
        "spec": {"mgflows": tags, "group": f"{stage}/{subset or ''}"},
        "launches": [],
    }


def piece(
    *groups: tuple[str | None, int, float], state: str = "planned", campaign: str = CAMPAIGN
) -> dict[str, Any]:
    found = [
        {"stage": "labels", "subset": subset, "estimated": False, "n": n, "seconds": seconds}
        for subset, n, seconds in groups
    ]
    return {"campaign": campaign, "state": state, "groups": found}


@pytest.fixture
def ledger(
    settings: Settings, database: Database, campaign_document: CampaignDocument
) -> GlassDatabase:
    """A campaign in the middle of its labels."""
    register_campaign(database, campaign_document)
    gate = {
        "@class": FitnessDocument.__name__,
        "cost": {
            "evaluations": {"lj_surrogate": 5, "dft_minimized": 300},
            "core_seconds_each": 24.0,
            "wall_seconds_each": 6.0,
        },
    }
    database["outputs"].insert_many(
        [
            # Two short coolings that took twice their estimate.
            done(4.0, stage="sampling", seconds=2.0),
            done(8.0, stage="sampling", seconds=4.0),
            done(12.0, subset="lj_surrogate"),
            done(36.0, subset="lj_surrogate"),
            done(0.5, **gate),
            # A finished dataset before the training: its cost must not set that of the training.
            done(0.25, stage="training"),
            {
                **done(1000.0, subset="lj_surrogate"),
                "metadata": {"mgflows": {"campaign": "another", "subset": "lj_surrogate"}},
            },
        ]
    )
    database["fireworks"].insert_many(
        [
            firework(1, "RUNNING", stage="sampling", seconds=500.0),
            firework(2, "COMPLETED", stage="sampling", seconds=2.0),
            firework(3, "READY", subset="lj_surrogate"),
            firework(4, "FIZZLED", subset="lj_surrogate"),
            firework(5, "READY", campaign="another", subset="lj_surrogate"),
        ]
    )
    database["planned"].insert_many(
        [
            piece(("lj_surrogate", 4, 4.0), ("dft_minimized", 2, 2.0)),
            piece(("dft_minimized", 1, 1.0), ("crystal", 6, 6.0)),
            {
                **piece(),
                "groups": [
                    {
                        "stage": "training",
                        "subset": None,
                        "estimated": True,
                        "n": 1,
                        "seconds": 50.0,
                    }
                ],
            },
            {
                **piece(),
                "groups": [
                    {
                        "stage": "training",
                        "subset": None,
                        "estimated": False,
                        "n": 2,
                        "seconds": 2.0,
                    }
                ],
            },
            piece(("lj_surrogate", 100, 100.0), state="submitted"),
            piece(("lj_surrogate", 100, 100.0), campaign="another"),
        ]
    )
    return GlassDatabase(settings)


def test_spent_is_summed_by_stage_and_subset(ledger: GlassDatabase) -> None:
    costs = {(cost.stage, cost.subset): cost for cost in ledger.cost(CAMPAIGN)}
    assert list(costs) == [
        ("sampling", None),
        ("labels", None),
        ("labels", "lj_surrogate"),
        ("training", None),
    ], "in the order of the stages"
    label = costs["labels", "lj_surrogate"]
    assert (label.n, label.largest_cores, label.largest_memory, label.hosts) == (
        2,
        4,
        360.0,
        ("node12", "node36"),
    )
    assert (3600 * label.core_hours, 3600 * label.wall_hours) == pytest.approx((48.0, 12.0))
    assert (label.mean_core_seconds, label.largest_core_seconds) == pytest.approx((24.0, 36.0))


def test_the_remaining_cost_is_forecast_from_measured_jobs(ledger: GlassDatabase) -> None:
    rest = ledger.remaining_cost(CAMPAIGN)
    forecast = {
        (each.stage, each.subset, each.basis): (
            each.n,
            round(3600 * each.core_hours, 6),
            round(3600 * each.wall_hours, 6),
        )
        for each in rest
    }
    assert forecast == {
        # A long cooling is scaled by its length: the mean of the short ones would give 6 s.
        ("sampling", None, "measured"): (1, 1000.0, 250.0),
        # One is in the LaunchPad and four are planned; the failed one is not rerun.
        ("labels", "lj_surrogate", "measured"): (5, 5 * 24.0, 5 * 6.0),
        # No relaxation is finished: the gate counted 100 evaluations for each of the three.
        ("labels", "dft_minimized", "pilots"): (3, 300 * 24.0, 300 * 6.0),
        # For crystals there are only the jobs' own estimates.
        ("labels", "crystal", "guess"): (6, 6.0, 6.0),
        ("training", None, "guess"): (1, 50.0, 50.0),
        ("training", None, "measured"): (2, 0.5, 0.125),
    }
    status = ledger.status(CAMPAIGN)
    assert status.core_hours_left == pytest.approx(sum(each.core_hours for each in rest))
    assert status.seconds_left == pytest.approx(3600 * sum(each.wall_hours for each in rest)), (
        "one job runs at a time"
    )
    (crystals,) = [group for group in status.groups if group.subset == "crystal"]
    assert (crystals.planned, crystals.core_hours_left) == (6, pytest.approx(6 / 3600))


def test_measured_relaxations_replace_the_assumed_ones(ledger: GlassDatabase) -> None:
    ledger.mongo["outputs"].insert_one(done(2500.0, subset="dft_minimized"))
    (relaxations,) = [
        each for each in ledger.remaining_cost(CAMPAIGN) if each.subset == "dft_minimized"
    ]
    assert (relaxations.n, relaxations.basis) == (3, "measured")
    assert 3600 * relaxations.core_hours == pytest.approx(3 * 2500.0)


def test_the_command_shows_costs_and_forecast(ledger: GlassDatabase, tmp_path: Path) -> None:
    ledger.settings.write(tmp_path / "mgflows.yaml")
    arguments = [CAMPAIGN, "--directory", str(tmp_path)]
    shown = json.loads(
        CliRunner().invoke(cost_command, [*arguments, "--json"], catch_exceptions=False).output,
        parse_constant=pytest.fail,
    )
    assert 3600 * shown["core_hours"] == pytest.approx(60.75)
    assert 3600 * shown["core_hours_left"] == pytest.approx(1000.0 + 120.0 + 7200.0 + 6.0 + 50.5)
    assert shown["core_hours_total"] == pytest.approx(
        shown["core_hours"] + shown["core_hours_left"]
    )
    assert {each["subset"]: each["basis"] for each in shown["remaining"]}[
        "dft_minimized"
    ] == "pilots"
    output = CliRunner().invoke(cost_command, arguments, catch_exceptions=False).output
    assert "0.0169 core hours spent on node0.25, node0.5, node12, node36, node4, node8" in " ".join(
        output.split()
    )
    assert "forecast: 2.33 to come, 2.34 in total" in " ".join(output.split())
    assert "guess" in output
    # A campaign that has ended has no forecast.
    ledger.mongo["planned"].delete_many({})
    ledger.mongo["fireworks"].delete_many({})
    output = CliRunner().invoke(cost_command, arguments, catch_exceptions=False).output
    assert "nothing to come" in " ".join(output.split())
    assert "guess" not in output
