"""Comparisons of potentials: pages, and stored ones in the report and the live view."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

from mgflows.cli.cost import cost
from mgflows.cli.report import report
from mgflows.cli.status import status
from mgflows.database import GlassDatabase
from mgflows.errors import InputError
from mgflows.flows.comparison import ComparisonFlowMaker
from mgflows.jobs.comparison import comparison_document
from mgflows.launch import submit
from mgflows.md.potentials import StandInPotential
from mgflows.report import ReportData, style
from mgflows.report.comparison import (
    comparison_notes,
    quantity_tables,
    typeset,
    write_comparison,
)
from mgflows.report.page import render_report
from mgflows.schemas.comparison import ComparisonDocument, ValidationSampleDocument
from mgflows.validation.averages import Estimate, ModelResults
from mgflows.validation.comparison import Comparison
from mgflows.validation.experiments import experiments_for, load_curves, load_experiments
from mgflows.validation.quantities import QUANTITIES
from tests.helpers.calculators import disordered_atoms
from tests.helpers.stored_campaign import CAMPAIGN, load_stored_campaign

if TYPE_CHECKING:
    from mgflows.schemas.provenance import Provenance
    from mgflows.settings import Settings

COMPOSITION = {"Cu": 0.46, "Zr": 0.46, "Al": 0.08}
R = 0.05 * np.arange(1, 301)


def g_of(peak: float) -> np.ndarray:
    return np.where(R < 2.0, 0.0, 1.0 + 2.0 * np.exp(-(((R - peak) / 0.2) ** 2)))


def comparison(*names: str) -> Comparison:
    """Results of several potentials, of which the second has denser glasses."""
    models = []
    for number, name in enumerate(names):
        g = {"distance": R.tolist(), "xray": g_of(2.75 + 0.05 * number).tolist()}
        moduli = {
            key: Estimate(value + number, 0.5, 4)
            for key, value in (("bulk_modulus", 110.0), ("shear_modulus", 25.0))
        }
        density = Estimate(6.9 + 0.1 * number, 0.01, 4)
        estimates = {"density": density, **moduli}
        models.append(ModelResults(name, estimates, {"radial distribution": g}, n_planned=4))
    return Comparison("quick", COMPOSITION, models, [])


def own_file(folder: Path, **changes: object) -> Path:
    """A file with a measured g(r) of the alloy."""
    curve = folder / "g.dat"
    curve.write_text("# r g\n" + "\n".join(f"{r:.3f}, {g:.5f}" for r, g in zip(R, g_of(2.75))))  # noqa: B905
    entry = {
        "quantity": "radial_distribution",
        "composition": "Cu46Zr46Al8",
        "curve": "g.dat",
        "conditions": {"temperature": 300, "sample": "ribbon"},
        "doi": None,
        "read_in": "our notebook",
        "verified": True,
    }
    path = folder / "own.yaml"
    path.write_text(json.dumps([entry | changes]))
    return path


def document_of(result: Comparison, validation: str, provenance: Provenance) -> ComparisonDocument:
    names = [model.name for model in result.models]
    return comparison_document(validation, result, dict.fromkeys(names, 4), provenance=provenance)


def test_a_document_gives_the_same_comparison_back(full: ReportData, tmp_path: Path) -> None:
    result = comparison("nep", "eam").with_measured(own_file(tmp_path))
    document = document_of(result, "v", full.validation.provenance)
    back = ComparisonDocument.model_validate_json(document.model_dump_json()).comparison()
    assert [asdict(model) for model in back.models] == [
        # None of the samples has a result here, which the document states.
        asdict(replace(model, failures={"samples": "4 of 4 samples have no result"}))
        for model in result.models
    ]
    assert back.experiments == result.experiments
    assert back.measured_curves == result.measured_curves


def test_a_value_from_a_secondary_source_is_marked() -> None:
    result = comparison("nep")
    known = experiments_for(load_experiments(None), COMPOSITION)
    secondary = next(each for each in known if each.quantity == "bulk_modulus")
    assert not secondary.verified
    for experiment, mark in ((secondary, " *"), (replace(secondary, verified=True), "")):
        (table,) = quantity_tables(replace(result, experiments=[experiment]))
        (measured,) = (row[-1] for row in table.rows if row[-1])
        assert measured == f"{experiment.value:g}{mark}"
        assert ("secondary source" in table.note) == bool(mark)
    both = [each for each in known if each.quantity == "young_modulus"]
    result.models[0].estimates["young_modulus"] = Estimate(60.0, 1.0, 4)
    (table,) = quantity_tables(replace(result, experiments=both))
    assert [row[-1] for row in table.rows if row[-1]] == ["93.7 *, 96.4 *"]


def test_titles_of_the_example_in_the_docs_are_those_of_the_tables() -> None:
    page = (Path(__file__).parents[2] / "docs/how_to/validation.md").read_text()
    lines = page[page.index("| quantity | quickstart |") :].split("\n\n")[0].splitlines()[2:]
    cells = [line.split(" | ")[0].lstrip("| ") for line in lines]
    assert len(cells) > 30
    titles = {
        typeset(f"{each.title.split(' <')[0]} ").rstrip(", "): typeset(f"({each.unit})")
        for each in QUANTITIES.values()
    }
    for cell in cells:
        title = max((title for title in titles if cell.startswith(title)), key=len)
        assert cell.endswith(titles[title]) or titles[title] == "()", cell


def test_words_in_cells_are_not_broken_on_a_narrow_window(tmp_path: Path) -> None:
    page = write_comparison(comparison("nep"), tmp_path / "page.html").read_text()
    (rule,) = re.findall(r"\.folding td, \.folding thead th \{(.*?)\}", page)
    # `anywhere` lets columns shrink to one letter; the table scrolls instead.
    assert "white-space: normal" in rule
    assert "anywhere" not in rule


def test_notes_have_titles_instead_of_names() -> None:
    result = comparison("nep")
    open_ = Estimate(5.0, 1.0, 2, temperature=1400.0, verdict="not converged: error 20%")
    result.models[0].estimates["viscosity_helfand 1400 K"] = open_
    result.models[0].estimates["warren_cowley Cu-Zr"] = open_
    assert comparison_notes(result)[1:] == [
        "nep, viscosity, Helfand moment, at 1400 K: not converged: error 20%.",
        "nep, Warren-Cowley parameter Cu-Zr: not converged: error 20%.",
    ]


def test_the_distance_to_a_measured_curve_is_the_mean_difference(tmp_path: Path) -> None:
    result = comparison("nep", "eam").with_measured(own_file(tmp_path))
    inside = (R >= 2.3) & (R <= 10.0)
    expected = np.abs(g_of(2.75) - g_of(2.80))[inside].mean()
    found = [model.estimates["rdf_distance_measured"] for model in result.models]
    assert [each.value for each in found] == pytest.approx([0.0, expected], abs=1e-5)
    assert [each.error for each in found] == [None, None]
    # The error is the mean size of normal noise in the curve.
    noisy = comparison("nep")
    noisy.models[0].curves["radial distribution"]["xray_error"] = [0.1] * len(R)
    (model,) = noisy.with_measured(own_file(tmp_path)).models
    noise = np.abs(np.random.default_rng(0).normal(scale=0.1, size=100_000)).mean()
    assert model.estimates["rdf_distance_measured"].error == pytest.approx(noise, rel=0.01)
    # A curve that ends at 6 A cannot be compared over the paper's range.
    short = {"x": R[:120].tolist(), "y": g_of(2.75)[:120].tolist()}
    other = comparison("nep").with_measured(own_file(tmp_path, curve=short))
    assert "rdf_distance_measured" not in other.models[0].estimates
    # Measured curves of other alloys are left out.
    foreign = comparison("nep").with_measured(own_file(tmp_path, composition="Cu50Zr50"))
    assert foreign.measured_curves == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"curve": "none.dat"}, r"curve of entry 1 .* cannot be read \(No such file"),
        ({"curve": {"x": [1, 2], "y": [1, 1]}}, "has 2 and 2 values, not ten pairs"),
        ({"curve": {"x": [1.0] * 12, "y": [1.0] * 12}}, "does not rise everywhere"),
        ({"curve": {"x": list(range(20)), "y": [0.0] * 20}}, "tends to 0.00, not to one"),
        ({"curve": {"x": [1]}}, "KeyError: 'y'"),
        ({"quantity": "density"}, "unknown quantity 'density'"),
        ({"value": 1.0}, "has the unknown fields value"),
        ({"doi": "internet"}, "does not begin with 10"),
    ],
)
def test_wrong_curves_are_explained(change: dict[str, object], message: str, tmp_path) -> None:
    with pytest.raises(InputError, match=message):
        load_curves(own_file(tmp_path, **change))


def test_the_report_draws_a_measured_curve_and_names_its_source(
    full: ReportData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(style, "draw_measured", lambda _, curves: drawn.append(len(curves)))
    curves = load_curves(own_file(tmp_path))
    text = render_report(replace(full, measured_curves=curves))
    assert drawn == [1]
    assert "Dots: experiment (ribbon; unpublished, read in our notebook)" in text
    # The g(r) of the suite has points every 0.1 A, the measured one every 0.05 A.
    g = full.validation.curves.model.radial_distribution
    r = np.array(g.distance)
    inside = (r >= 2.3) & (r <= 10.0)
    measured = np.interp(r[inside], R, np.round(g_of(2.75), 5))
    expected = np.abs(np.array(g.xray)[inside] - measured).mean()
    assert f"{expected:.3f} with the potential" in text


@pytest.mark.mongo
def test_stored_comparisons_are_shown_side_by_side(
    settings: Settings, full: ReportData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mgflows.report.web.app import create_app

    monkeypatch.setattr(style, "render", lambda *_, **__: "<svg></svg>")
    database = GlassDatabase(settings)
    load_stored_campaign(database.mongo)
    provenance = full.validation.provenance
    text = database.best_potential(CAMPAIGN).nep_txt
    digests = {"ours": hashlib.sha256(text.encode()).hexdigest(), "theirs": "0" * 64}
    for validation, digest in digests.items():
        sample = ValidationSampleDocument(
            validation=validation, potential="nep", potential_digest=digest, suite="quick",
            kind="glass", index=0, n_atoms=150, composition=COMPOSITION, engine="ase", values={},
            seed=1, provenance=provenance,
        )  # fmt: skip
        result = document_of(comparison("nep", "eam"), validation, provenance)
        for number, output in enumerate((sample, result)):
            stored = output.model_dump() | {"@class": type(output).__name__}
            entry = {"uuid": f"{validation}-{number}", "index": 1, "output": stored}
            database.store.update([entry | {"metadata": {}}], key=["uuid", "index"])
    assert [each.validation for each in database.comparisons()] == ["ours", "theirs"]
    assert [each.validation for each in database.comparisons(CAMPAIGN)] == ["ours"]

    page = render_report(ReportData.from_database(database, CAMPAIGN))
    section = page[page.index('id="comparison"') :]
    assert "nep and eam side by side" in section
    assert "6.900 ± 0.010 (4)</td><td>7.000 ± 0.010 (4)" in section
    assert 'id="comparison-1-rdf"' in section
    assert "theirs" not in section

    client = create_app(database).test_client()
    listing = client.get("/comparisons").text
    assert listing.index("theirs") < listing.index(">ours<")
    shown = client.get("/comparisons/ours/").text
    assert "Properties under nep, eam" in shown
    assert 'href="/comparisons/ours/"' in client.get(f"/campaigns/{CAMPAIGN}/").text
    assert client.get("/comparisons/nope/").status_code == 404

    settings.write(settings.directory / "mgflows.yaml")
    output = tmp_path / "page.html"
    arguments = ["ours", "-C", str(settings.directory), "--output", str(output), "--json"]
    done = CliRunner().invoke(report, arguments, catch_exceptions=False)
    assert json.loads(done.output)["validation"] == "ours"
    assert "Properties under nep, eam" in output.read_text()


@pytest.mark.mongo
def test_a_submitted_validation_has_a_status_before_it_has_a_result(
    settings: Settings, tmp_path: Path
) -> None:
    """Two small glasses and an analytic potential; nothing runs."""
    flow = ComparisonFlowMaker.of_suite("peers", "tiny").make(
        [StandInPotential()], [disordered_atoms()]
    )
    submit(flow, settings, part="samples from 1")
    settings.write(settings.directory / "mgflows.yaml")
    for command in (status, cost):
        arguments = ["peers", "-C", str(settings.directory)]
        done = CliRunner().invoke(command, arguments, catch_exceptions=False)
        assert done.exit_code == 0
        assert "validation" in done.output
    database = GlassDatabase(settings)
    with pytest.raises(InputError, match=r"no stored comparison 'peers'.*none yet; submit one"):
        database.comparison("peers")
    with pytest.raises(InputError, match="there is no campaign 'nope'"):
        database.status("nope")


def model(name: str, scale: float) -> ModelResults:
    strain = np.linspace(0.0, 0.2, 201)
    distance = np.linspace(0.01, 0.99, 50)
    return ModelResults(
        name,
        estimates={
            "yield_stress": Estimate(1.5 * scale, 0.1, 4),
            "yield_strain": Estimate(0.1, 0.01, 4),
            "coordination all": Estimate(14.0, 0.1, 4),
            "delta_cb": Estimate(0.985, 0.002, 8),
            "displacement": Estimate(0.1 * scale, 0.01, 8),
            **{
                f"relaxation_time {t:g} K": Estimate(scale * tau, 0.1 * tau, 2, temperature=t)
                for t, tau in ((1400.0, 8.0), (1650.0, 1.0))
            },
        },
        curves={
            "stress-strain": {
                "strain": strain.tolist(),
                "stress": (1.5 * scale * np.tanh(20.0 * strain)).tolist(),
            },
            "displacements": {
                "distance": distance.tolist(),
                "density": (np.exp(-distance / 0.1) * (distance < 0.5)).tolist(),
            },
        },
        n_planned=20,
        n_done=12,
    )


def test_figures_and_table_of_relaxation_yield_and_displacements(tmp_path: Path) -> None:
    result = Comparison(
        "standard", {"Al": 0.08, "Cu": 0.46, "Zr": 0.46}, [model("a", 1.0), model("b", 1.2)], []
    )
    page = write_comparison(result, tmp_path / "page.html").read_text(encoding="utf-8")
    for name in ("stress-strain", "displacements", "relaxation-times"):
        assert f'id="{name}"' in page
    assert "1.50 ± 0.10 (4)" in page
    assert re.sub(r"<[^>]*>|\s", "", page).count("Cu46Zr46Al8") >= 1
    quantities, pairs = page.index("<h2>Quantities</h2>"), page.index("chemical order</h2>")
    assert quantities < page.index("alpha relaxation time") < pairs < page.index("within 4 Å, all")
    assert "a: 12 of 20 samples have a result." in page
