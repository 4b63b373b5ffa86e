"""The list of the paper's figures is complete, and every stored number is in its source."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from mgflows.cli import reproduce
from mgflows.cli.main import cli
from mgflows.database import GlassDatabase
from mgflows.report import ReportData, reproduction
from mgflows.report.reproduction import Figure, Value, load_reproduction, with_campaign
from mgflows.schemas.comparison import ComparisonDocument, EstimateDocument, ModelDocument
from tests.helpers.stored_campaign import CAMPAIGN, load_stored_campaign

if TYPE_CHECKING:
    from pymongo.database import Database

    from mgflows.settings import Settings

ROOT = Path(__file__).parents[2]
_NUMBER = r"-?\d+(?:\.\d+)?"
FOUND = load_reproduction("wadowski2025")
VALUES = [(figure.figure, value) for figure in FOUND.figures for value in figure.values]
FIGURES = [
    *("1a", "1b", "2a", "2b", "3a", "3b", "3c", "3d"),
    *("4a", "4b", "5a", "5b", "6a", "6b", "S1", "S2"),
]


def test_every_figure_is_listed_once() -> None:
    assert [figure.figure for figure in FOUND.figures] == FIGURES
    assert reproduce.PAPERS == reproduction.PAPERS


@pytest.mark.parametrize(("figure", "value"), VALUES)
def test_stored_values_are_in_their_source(figure: str, value: Value) -> None:
    assert value.excerpt in (ROOT / value.source).read_text(encoding="utf-8")
    assert value.value in [float(number) for number in re.findall(_NUMBER, value.excerpt)]


def test_commands_exist() -> None:
    for figure in FOUND.figures:
        program, *words = figure.command.split() or ["none"]
        if program == "mgflows":
            command = cli.get_command(click.Context(cli), words[0])
            assert command is not None, figure
            options = {option for parameter in command.params for option in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= options
        elif program == "python":
            assert (ROOT / words[0]).is_file(), figure
        else:
            assert figure.schematic, figure


def value(ours: float, error: float | None, paper: float | None, relation="equal") -> Value:
    return Value("q", "", ours, "", "", error, paper, relation)


def test_agreement_is_within_two_standard_errors() -> None:
    assert value(2.13, 0.1, 2.09).agrees is True
    assert value(2.13, 0.01, 2.09).agrees is False
    assert value(2.13, None, 2.09).agrees is None
    assert value(2.13, 0.1, None).agrees is None
    assert value(97.0, 1.0, 98.0, "at least").agrees is True
    assert value(99.9, 0.1, 98.0, "at least").agrees is True
    assert value(90.0, 1.0, 98.0, "at least").agrees is False
    assert value(0.3, 0.01, 0.25, "at most").agrees is False
    assert value(0.1, 0.01, 0.25, "at most").agrees is True


def test_status() -> None:
    good, bad, open_ = value(1.0, 0.1, 1.0), value(2.0, 0.1, 1.0), value(1.0, None, None)
    cases = {
        "schematic": Figure("1", "", schematic=True),
        "not reproduced yet": Figure("1", ""),
        "differs": Figure("1", "", values=(good, bad)),
        "reproduced": Figure("1", "", values=(good,)),
    }
    for status, figure in cases.items():
        assert figure.status == status
    assert Figure("1", "", values=(good,), missing="DFT").status == "in part"
    assert Figure("1", "", values=(good, open_)).status == "in part"


@pytest.mark.mongo
def test_values_of_a_campaign_are_added(settings: Settings, database: Database) -> None:
    load_stored_campaign(database)
    glasses = GlassDatabase(settings)
    data = ReportData.from_database(glasses, CAMPAIGN)
    found = {figure.figure: figure for figure in with_campaign(FOUND, data).figures}
    new = {
        name: {each.quantity: each for each in figure.values if not each.excerpt}
        for name, figure in found.items()
    }
    fit = glasses.fitness(CAMPAIGN).fit
    assert fit is not None
    slope = new["2b"]["slope of e(label) against e(LJ)"]
    assert (slope.value, slope.error) == (fit.slope, fit.slope_error)
    best = glasses.best_potential(CAMPAIGN).errors["test"]["all"]
    assert new["3b"]["test error of the energy"].value == best.energy_rmse
    assert new["3c"]["test error of the forces"].value == best.force_rmse
    assert new["3a"]["frames of aimd"].value == 180
    assert found["1b"].status == "differs"
    assert found["4b"].status == "in part"
    assert "DFT" in found["4b"].missing
    assert "scale 'tiny'" in found["4b"].missing
    # This campaign has measured no viscosity.
    assert "5a" not in {name for name, values in new.items() if values}
    distance = glasses.validations(CAMPAIGN)[-1].summary.rdf_mean_absolute_error
    assert new["4a"]["X-ray g(r): mean distance to the label method"].value == distance
    assert new["3d"]["total loss at the end"].value == data.best_potential.loss["total"][-1]
    # A stand-in never counts as the paper's result.
    assert "reproduced" not in {figure.status for figure in found.values()}


def test_values_of_stored_comparisons_are_added(full: ReportData) -> None:
    document = ComparisonDocument(
        validation="peers",
        suite="standard",
        composition={"Cu": 0.46, "Zr": 0.46, "Al": 0.08},
        models=[
            ModelDocument(
                name="nep",
                estimates={
                    "viscosity 1400 K": EstimateDocument(
                        value=9.8, error=0.4, n_samples=6, temperature=1400.0
                    ),
                    "rdf_distance_measured": EstimateDocument(value=0.12, error=0.01, n_samples=4),
                },
            ),
            ModelDocument(name="eam", estimates={}),
        ],
        provenance=full.validation.provenance,
    )
    found = {
        figure.figure: figure
        for figure in with_campaign(FOUND, replace(full, comparisons=[document])).figures
    }
    viscosity = next(
        each
        for each in found["5a"].values
        if each.quantity.endswith("at 1400 K") and not each.excerpt
    )
    assert (viscosity.value, viscosity.error, viscosity.unit) == (9.8, 0.4, "mPa s")
    assert viscosity.protocol == "nep in validation peers, suite standard, 6 samples"
    # Further from experiment than the paper's potential, by more than two standard errors.
    distance = next(each for each in found["4a"].values if each.paper is not None)
    assert distance.deviation == pytest.approx(0.029)
    assert found["4a"].status == "differs"
