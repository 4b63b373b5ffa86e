"""Several campaigns or potentials on one page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mgflows.database import GlassDatabase
from mgflows.errors import InputError
from mgflows.report import is_report, style
from mgflows.report.side_by_side import Entry, read_entries, write_side_by_side
from tests.helpers.stored_campaign import CAMPAIGN, load_stored_campaign

if TYPE_CHECKING:
    from pathlib import Path

    from mgflows.report import ReportData
    from mgflows.settings import Settings


def row(text: str, title: str) -> list[str]:
    """The cells of a table row."""
    found = re.search(rf'<th scope="row">{re.escape(title)}</th>(.*?)</tr>', text)
    assert found is not None, title
    return re.findall(r"<td>(.*?)</td>", found[1])


@pytest.fixture
def entries(full: ReportData) -> list[Entry]:
    other = replace(
        full,
        campaign=full.campaign.model_copy(
            update={"campaign": "other", "method": "PBE", "scaled_down": ""}
        ),
        potentials=full.potentials[:1],
        validations=[],
    )
    return [Entry.of_campaign(full), Entry.of_campaign(other)]


def test_every_column_has_its_own_numbers(entries: list[Entry], tmp_path: Path) -> None:
    path = write_side_by_side(entries, tmp_path / "page.html")
    text = path.read_text()
    assert is_report(path)
    assert row(text, "potential") == ["c3a82b915e04d7f6", "1f6d9e0b77c2a410"]
    assert row(text, "force RMSE, test (meV/Å)") == ["117", "148"]
    assert row(text, "labels")[1] == "PBE"
    model = entries[0].validation.summary.model
    moduli = row(text, "bulk modulus B (GPa)")
    assert moduli[0].startswith(f"{model.bulk_modulus:.4g}")
    # The shipped measured value of Cu46Zr46Al8; the asterisk marks a secondary source.
    assert moduli[-1] == "116.4 *"
    figures = re.findall(r'<figure id="([\w-]+)"', text)
    assert {"clock", "test-errors", "rdf", "moduli"} <= set(figures)
    notes = text[text.index('id="limits"') : text.index('id="table-1"')]
    assert "The labels are of different methods" in notes
    assert "The datasets differ" in notes
    assert "other has not been validated yet." in notes
    assert "quickstart-cuzral: Atoms of Al–Al (at 1.7 Å) attract each other" in notes


def test_measured_values_are_left_out_for_different_alloys(
    entries: list[Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style, "render", lambda *_, **__: "<svg></svg>")
    campaign = entries[1].data.campaign
    alloy = replace(campaign.alloy, composition={"Cu": 0.5, "Zr": 0.5}, name="Cu50Zr50")
    data = replace(entries[1].data, campaign=campaign.model_copy(update={"alloy": alloy}))
    path = write_side_by_side([entries[0], replace(entries[1], data=data)], tmp_path / "a.html")
    assert row(path.read_text(), "bulk modulus B (GPa)")[-1] == ""
    assert "Cu46Zr46Al8, Cu50Zr50" in path.read_text()


@pytest.mark.mongo
def test_campaigns_and_potentials_are_named(settings: Settings, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from mgflows.cli.report import report

    database = GlassDatabase(settings)
    load_stored_campaign(database.mongo)
    best = database.best_potential(CAMPAIGN)
    others = [p for p in database.potentials(CAMPAIGN) if p.potential_id != best.potential_id]
    chosen = others[0].potential_id
    entries = read_entries(database, [CAMPAIGN, chosen[:8]])
    assert [entry.name for entry in entries] == [CAMPAIGN, chosen]
    assert [entry.potential.potential_id for entry in entries] == [best.potential_id, chosen]
    assert entries[0].data is entries[1].data
    with pytest.raises(InputError, match="is given twice"):
        read_entries(database, [chosen, chosen[:8]])
    with pytest.raises(InputError, match=f"the campaigns are {CAMPAIGN}; list potentials"):
        read_entries(database, [CAMPAIGN, "nope"])
    settings.write(settings.directory / "mgflows.yaml")
    output = tmp_path / "page.html"
    arguments = [CAMPAIGN, chosen[:8], "-C", str(settings.directory), "--output", str(output)]
    done = CliRunner().invoke(report, [*arguments, "--json"], catch_exceptions=False)
    assert json.loads(done.output)["compared"] == [CAMPAIGN, chosen]
    assert chosen in output.read_text()
