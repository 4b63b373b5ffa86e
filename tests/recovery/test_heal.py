"""The command `mgflows heal` on failures of real workers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from jobflow import Flow

from mgflows.cli.heal import heal
from mgflows.database.failures import read_failures
from mgflows.launch import submit
from mgflows.recovery import repairs
from tests.helpers import jobs
from tests.helpers.failing_jobs import break_down
from tests.helpers.workers import everything, fw_ids, run_worker

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.database import Database

    from mgflows.settings import Settings

pytestmark = [pytest.mark.mongo, pytest.mark.faults]


def run_json(settings: Settings, *arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(
        heal, ["--directory", str(settings.directory), "--json", *arguments]
    )
    assert result.output, result.exception
    return result.exit_code, json.loads(result.output)


def test_failed_jobs_are_rerun_by_category(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    broken = [break_down(str(journal), how, how) for how in ("disk", "module", "program")]
    flow = Flow([*broken, jobs.fail(str(journal), "plain", "E < 0")])
    flow.update_metadata({"mgflows": {"campaign": "c1", "stage": "dft"}})
    submit(flow, settings)
    run_worker(settings, check=None)
    ids = fw_ids(database)
    code, found = run_json(settings)
    assert code == 1
    assert {failure["fw_id"]: failure["category"] for failure in found["failures"]} == {
        ids["disk"]: "disk-full",
        ids["module"]: "missing-module",
        # Only its standard error shows the reason.
        ids["program"]: "missing-executable",
        ids["plain"]: "other",
    }
    assert all(failure["hint"] and failure["stage"] == "dft" for failure in found["failures"])
    assert [failure.reason for failure in read_failures(database, "c1")][-1] == "ValueError: E < 0"
    assert read_failures(database, "c2") == []

    shown = CliRunner().invoke(heal, ["c1", "--directory", str(settings.directory)]).output
    assert "1 failed disk-full" in shown
    assert "mgflows heal --retry disk-full --yes" in shown

    (tmp_path / "fixed-disk").touch()
    (tmp_path / "fixed-module").touch()
    before = everything(database)
    code, found = run_json(settings, "--retry", "disk-full")
    assert (code, found["done"], [step["fireworks"] for step in found["steps"]]) == (
        1,
        False,
        [[ids["disk"]]],
    )
    assert everything(database) == before
    code, found = run_json(
        settings, "c1", "--retry", "disk-full", "--retry", "missing-module", "--yes"
    )
    assert (code, found["done"], len(found["steps"]), len(found["failures"])) == (1, True, 2, 2)
    assert {fw["fw_id"] for fw in database.fireworks.find({"state": "READY"})} == {
        ids["disk"],
        ids["module"],
    }
    run_worker(settings)
    assert sorted(jobs.ran(journal)) == sorted(
        ["disk", "disk", "module", "module", "plain", "program"]
    )
    assert {failure["category"] for failure in run_json(settings)[1]["failures"]} == {
        "missing-executable",
        "other",
    }


def test_a_healthy_campaign_needs_no_repair(settings: Settings, tmp_path: Path) -> None:
    submit(jobs.add(str(tmp_path / "journal"), "a", 1.0, 1.0), settings)
    run_worker(settings)
    assert run_json(settings) == (
        0,
        {
            "done": False,
            "steps": [],
            "failures": [],
            "running": [],
            "unclear": {},
            "stalled": {},
        },
    )
    assert (
        "nothing to repair"
        in CliRunner().invoke(heal, ["--directory", str(settings.directory)]).output
    )


def test_a_dry_run_shows_a_table_and_yes_does_it(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repairs, "GRACE_SECONDS", 0.2)
    submit(jobs.add(str(tmp_path / "journal"), "a", 1.0, 1.0), settings)
    settings.write(settings.directory / "mgflows.yaml")
    database.fireworks.update_one(
        {}, {"$set": {"state": "RESERVED", "updated_on": "2026-01-01T00:00:00"}}
    )
    arguments = ["--directory", str(settings.directory)]
    dry = CliRunner().invoke(heal, arguments)
    assert dry.exit_code == 1
    assert "lost run" in dry.output
    assert "nothing was changed; apply the repairs with --yes" in dry.output
    done = CliRunner().invoke(heal, [*arguments, "--yes"])
    assert done.exit_code == 0
    assert database.fireworks.distinct("state") == ["READY"]
