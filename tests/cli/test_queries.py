"""Commands that query the database: unknown names, and watching."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from jobflow import Flow

from mgflows.alloy import Alloy
from mgflows.connections import open_database
from mgflows.database import CampaignStatus, GlassDatabase, GroupStatus
from mgflows.flows.tags import set_campaign, tag
from mgflows.launch.campaigns import register_campaign, submit
from mgflows.schemas.campaign import CampaignDocument
from tests.helpers import jobs

if TYPE_CHECKING:
    from pathlib import Path

    from mgflows.settings import Settings

COMMANDS = ("status", "cost", "fitness", "datasets", "potentials", "report", "heal", "advance")


@pytest.fixture
def campaigns(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Two campaigns without jobs, in the database that the commands use."""
    use(settings, monkeypatch)
    for name in (names := ("alpha", "beta")):
        register_campaign(
            open_database(settings),
            CampaignDocument(
                campaign=name,
                alloy=Alloy({"Cu": 0.5, "Zr": 0.5}, n_atoms=4, number_density=0.08),
                method="none",
                settings={},
                settings_digest="0" * 16,
                scale="test",
                scaled_down="",
                planned={"labels": 2},
                created_at="2026-01-01T00:00:00+00:00",
                mgflows_version="0",
            ),
        )
    return names


def use(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.mongodb_uri is not None
    monkeypatch.setenv("MGFLOWS_MONGODB_URI", settings.mongodb_uri.get_secret_value())
    monkeypatch.setenv("MGFLOWS_DATABASE_NAME", settings.database_name)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_campaign_is_an_error_without_any_campaign(
    run, settings: Settings, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    use(settings, monkeypatch)
    code, out, said = run(command, "NOPE")
    assert (code, out) == (2, "")
    assert "error: there is no campaign 'NOPE' in the database" in said
    assert "it has no campaigns yet" in said


@pytest.mark.parametrize("name", ["NOPE", "", "a/b", "Zürich", "alph"])
def test_an_unknown_campaign_is_an_error_with_the_list(run, campaigns, name: str) -> None:
    for command in COMMANDS:
        code, out, said = run(command, name)
        assert (code, out) == (2, ""), command
        assert f"there is no campaign {name!r}" in said
        assert "its campaigns: alpha, beta" in said


def test_jobs_submitted_without_a_campaign_document_have_a_status_and_a_cost(
    run, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As after `mgflows validate --submit NAME`, which refers to `mgflows status NAME`."""
    use(settings, monkeypatch)
    job = jobs.add(str(tmp_path / "journal"), "a", 1.0, 2.0)
    flow = Flow([tag(job, stage="validation", category="md")])
    set_campaign(flow, "comparison")
    submit(flow, settings)
    code, out, said = run("status", "comparison", "--json")
    assert code == 0, said
    state = json.loads(out)
    assert (state["total"], state["completed"], state["scaled_down"]) == (1, 0, "")
    code, out, _ = run("status", "comparison")
    assert code == 0
    assert "0 of 1 job done" in out
    assert run("cost", "comparison")[0] == 0


def test_watching_prints_json_until_the_end_also_of_several_campaigns(
    run, campaigns, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = iter([0, 0, 1, 1, 2, 2])

    def status(_: GlassDatabase, campaign: str) -> CampaignStatus:
        n = next(done)
        states = {"COMPLETED": n, "RUNNING": 2 - n}
        group = GroupStatus("labels", "lj_surrogate", n, 2 - n, 0, 0, 0, 0.0, 0.0)
        return CampaignStatus(
            campaign, {k: v for k, v in states.items() if v}, [group], [], [], {}, None
        )

    monkeypatch.setattr(GlassDatabase, "status", status)
    monkeypatch.setattr("mgflows.cli.status.time.sleep", lambda _: None)
    code, out, said = run("status", "--watch", "--json")
    assert code == 0, said
    updates = [json.loads(line) for line in out.splitlines()]
    assert [set(update) for update in updates] == [{"alpha", "beta"}] * 3
    assert [update["beta"]["states"].get("COMPLETED", 0) for update in updates] == [0, 1, 2]
