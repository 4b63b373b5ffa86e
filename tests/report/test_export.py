"""Figures as files, and their data."""

from __future__ import annotations

import csv
import io
import itertools
from functools import partial

import numpy as np
import pytest
from matplotlib.text import Text

from mgflows.errors import InputError
from mgflows.report import style
from mgflows.report.comparison import comparison_panels
from mgflows.report.export import parse_width, write_figures
from mgflows.report.figure_data import figure_data
from mgflows.report.figures.comparison import draw_clocks, draw_test_errors
from mgflows.report.page import report_sections
from mgflows.report.style import drawn
from mgflows.validation.averages import Estimate, ModelResults
from mgflows.validation.comparison import Comparison
from mgflows.validation.experiments import load_experiments


def rows_of(draw) -> list[dict[str, str]]:
    with drawn(draw, "test", 5.0, 3.5) as figure:
        text = figure_data(figure, "Fig. 1")
    comment, _, table = text.partition("\n")
    assert comment == "# Fig. 1"
    return list(csv.DictReader(io.StringIO(table)))


def test_widths() -> None:
    assert parse_width("8.6cm") == pytest.approx(86.0 / 25.4)
    assert parse_width(" 86 mm ") == pytest.approx(86.0 / 25.4)
    assert parse_width("245pt") == pytest.approx(245.0 / 72.0)
    assert parse_width("3.4in") == 3.4
    for text, words in (("8.6", "cannot be read"), ("1cm", "must lie between"), ("9 m", "cannot")):
        with pytest.raises(InputError, match=words):
            parse_width(text)


def test_lines_error_bars_bars_and_points_become_rows() -> None:
    def draw(figure) -> None:
        left, right = figure.subplots(1, 2)
        style.name_panel(left, "energies")
        left.set(xlabel="time (ps)", ylabel="E (eV)")
        left.plot([0.0, 1.0], [2.0, 3.0], label="model")
        left.plot([0.0, 9.0], [0.0, 9.0], label=style.GUIDE)
        left.axhline(0.0)
        left.axvline(4.0, label=style.unlisted("onset"))
        left.errorbar([5.0], [6.0], yerr=[0.25], xerr=[0.5], label="label", fmt="o")
        left.fill_between([1.0, 2.0], [2.0, 3.0], [3.0, 5.0], label="band")
        style.name_panel(right, "moduli", x="quantity", y="modulus\n(GPa)")
        right.bar([-0.2, 0.8], [10.0, 20.0], yerr=[1.0, 2.0], label="bars")
        right.barh([0.0], [3.0], left=[4.0], label="stacked")
        right.scatter([0.1, 1.1], [9.0, 10.0], label="points")
        right.plot([-0.4, 0.4], [7.0, 7.0], label=style.unlisted("experiment"))
        right.set_xticks([0, 1], ["B", "G"])

    time, energy, quantity, modulus = "time (ps)", "E (eV)", "quantity", "modulus (GPa)"
    found = [{key: value for key, value in row.items() if value} for row in rows_of(draw)]
    left, right = ({"panel": name} for name in ("energies", "moduli"))
    assert found == [
        left
        | {"series": "label", time: "5.0", energy: "6.0"}
        | {f"error of {time}": "0.5", f"error of {energy}": "0.25"},
        left | {"series": "model", time: "0.0", energy: "2.0"},
        left | {"series": "model", time: "1.0", energy: "3.0"},
        left | {"series": "onset", time: "4.0"},
        left | {"series": "band", time: "1.0", energy: "2.5", f"error of {energy}": "0.5"},
        left | {"series": "band", time: "2.0", energy: "4.0", f"error of {energy}": "1.0"},
        right | {"series": "bars", quantity: "B", modulus: "10.0", f"error of {modulus}": "1.0"},
        right | {"series": "bars", quantity: "G", modulus: "20.0", f"error of {modulus}": "2.0"},
        # Lengths of bars count, not where they end.
        right | {"series": "stacked", quantity: "G", modulus: "0.0"},
        right | {"series": "experiment", quantity: "B", modulus: "7.0"},
        right | {"series": "points", quantity: "B", modulus: "9.0"},
        right | {"series": "points", quantity: "G", modulus: "10.0"},
    ]


def test_maps_have_a_value_per_cell() -> None:
    values = np.arange(6.0).reshape(2, 3)
    rows = rows_of(lambda figure: figure.add_subplot().pcolormesh([0, 1, 2, 3], [0, 1, 2], values))
    assert [(float(r["x"]), float(r["y"]), float(r["value"])) for r in rows][:4] == [
        (0.5, 0.5, 0.0),
        (1.5, 0.5, 1.0),
        (2.5, 0.5, 2.0),
        (0.5, 1.5, 3.0),
    ]


def check_that_the_data_stand_alone(text: str) -> None:
    """Every panel and series has a name, every column a unit, and no two series coincide."""
    table = csv.DictReader(io.StringIO(text.partition("\n")[2]))
    rows = list(table)
    assert rows
    for row in rows:
        assert row["panel"]
        assert row["series"]
        assert "$" not in row["series"]
    panels = {row["panel"] for row in rows}
    assert len(panels) == 1 or not any(panel.isdecimal() for panel in panels)
    without_unit = {"panel", "series", "value", "quantity", "subset", "frames", "loss"}
    without_unit |= {"training step", "Poisson's ratio", "partial g(r)", "X-ray g(r)", "g(r)"}
    without_unit |= {"volume over that of the glass", "shear strain"}
    for name in table.fieldnames or ():
        name = name.removeprefix("error of ")
        assert name in without_unit or name.endswith(")"), name
        assert name not in ("x", "y")
    # A series is drawn at once: it does not continue behind another one of its panel.
    places = [key for key, _ in itertools.groupby((row["panel"], row["series"]) for row in rows)]
    if {"quantity", "subset"}.isdisjoint(table.fieldnames or ()):
        assert len(places) == len(set(places))


def test_every_figure_of_a_report_is_written_with_its_data(full, tmp_path) -> None:
    panels = [panel for section in report_sections(full) for panel in section.panels]
    paths = write_figures(full, tmp_path, form="svg", width=86.0 / 25.4, with_data=True)
    assert len(paths) == 2 * len(panels) == 2 * len({panel.drawing.name for panel in panels})
    for panel in panels:
        svg = (tmp_path / f"{panel.drawing.name}.svg").read_text()
        assert 'width="243.' in svg
        assert "var(--" not in svg
        data = (tmp_path / f"{panel.drawing.name}.csv").read_text()
        assert data.startswith("# ")
        assert len(data.splitlines()) > 3, panel.drawing.name
        check_that_the_data_stand_alone(data)
    with pytest.raises(InputError, match=r"displacements\.svg and \d+ more files exist") as caught:
        write_figures(full, tmp_path, form="svg")
    assert "already; choose another --output or overwrite with --force" in str(caught.value)
    before = (tmp_path / "clock.svg").read_bytes()
    write_figures(full, tmp_path, form="svg", width=86.0 / 25.4, overwrite=True)
    assert (tmp_path / "clock.svg").read_bytes() == before


def test_the_data_of_comparisons_stand_alone(full) -> None:
    points = {"x": [300.0, 900.0, 1500.0], "y": [1.0, 3.0, 2.0], "error": [0.1, 0.2, 0.1]}
    x, y, error = points.values()
    curves = {
        "radial distribution": {"distance": x, "xray": y, "xray_error": error},
        "structure factor": {"q": x, "xray": y},
        "heat capacity": {"temperature": x, "heat_capacity": y, "error": error},
        "cooling": {"temperature": x, "volume": y},
        "energies": {"energy": y, "label": x, "shear_modulus": y},
        "displacements": {"distance": x, "density": y},
        "stress-strain": {"strain": x, "stress": y},
        "cold": {"ratio": x, "energy": y},
    }
    names = ("bulk_modulus", "shear_modulus", "glass_transition_volume", "energy_slope")
    names += ("delta_cb", "yield_strain", "yield_stress")
    estimates = {name: Estimate(900.0, 0.1, 4) for name in names} | {
        f"{name} {t:g} K": Estimate(5.0, 0.5, 2, temperature=t)
        for name in ("viscosity", "relaxation_time")
        for t in (1400.0, 1650.0)
    }
    models = [ModelResults(name, estimates, curves) for name in ("a", "b")]
    experiments = load_experiments()
    panels = comparison_panels(Comparison("quick", {"Cu": 1.0}, models, experiments))
    assert len(panels) == 12
    errors = dict.fromkeys(("a", "b"), full.best_potential.errors["test"])
    clocks = dict.fromkeys(("a", "b"), (full.clock, full.supercooling.groups))
    draws = [panel.drawing.draw for panel in panels]
    draws += [partial(draw_test_errors, errors=errors), partial(draw_clocks, clocks=clocks)]
    for draw in draws:
        with drawn(draw, "test", 5.0, 3.5) as figure:
            check_that_the_data_stand_alone(figure_data(figure, "Fig. 1"))


@pytest.mark.parametrize(("form", "magic"), [("pdf", b"%PDF"), ("png", b"\x89PNG")])
def test_formats(full, tmp_path, form, magic) -> None:
    for path in write_figures(full, tmp_path, form=form):
        assert path.read_bytes().startswith(magic)


def test_texts_of_narrow_figures_are_large_enough_for_journals(full) -> None:
    panels = [panel for section in report_sections(full) for panel in section.panels]
    for panel in panels:
        with drawn(panel.drawing.draw, panel.name, 3.39, 2.4, 0.8) as figure:
            sizes = [
                text.get_fontsize()
                for text in figure.findobj(Text)
                if text.get_visible() and text.get_text().strip()
            ]
        assert min(sizes) >= 6.0, panel.name
