"""Figures as files, and their data."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from matplotlib.text import Text

from mgflows.errors import InputError
from mgflows.report.export import figure_data, parse_width, write_figures
from mgflows.report.page import report_sections
from mgflows.report.style import drawn


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
        left.set(xlabel="time (ps)", ylabel="E (eV)")
        left.plot([0.0, 1.0], [2.0, 3.0], label="model")
        left.axhline(0.0)
        left.errorbar([5.0], [6.0], yerr=[0.25], xerr=[0.5], label="label", fmt="o")
        right.bar([1.0, 2.0], [10.0, 20.0], label="moduli")
        right.scatter([7.0, 8.0], [9.0, 10.0], label="points")

    rows = rows_of(draw)
    assert [row["panel"] for row in rows] == ["1"] * 3 + ["2"] * 4
    assert {row["x_label"] for row in rows[:3]} == {"time (ps)"}
    found = {
        (row["series"], float(row["x"]), float(row["y"]), row["x_error"], row["y_error"])
        for row in rows
    }
    assert found == {
        ("model", 0.0, 2.0, "", ""),
        ("model", 1.0, 3.0, "", ""),
        ("label", 5.0, 6.0, "0.5", "0.25"),
        ("moduli", 1.0, 10.0, "", ""),
        ("moduli", 2.0, 20.0, "", ""),
        ("points", 7.0, 9.0, "", ""),
        ("points", 8.0, 10.0, "", ""),
    }


def test_maps_have_a_value_per_cell() -> None:
    values = np.arange(6.0).reshape(2, 3)
    rows = rows_of(lambda figure: figure.add_subplot().pcolormesh([0, 1, 2, 3], [0, 1, 2], values))
    assert [(float(r["x"]), float(r["y"]), float(r["value"])) for r in rows][:4] == [
        (0.5, 0.5, 0.0),
        (1.5, 0.5, 1.0),
        (2.5, 0.5, 2.0),
        (0.5, 1.5, 3.0),
    ]


def test_every_figure_of_a_report_is_written_with_its_data(full, tmp_path) -> None:
    panels = [panel for section in report_sections(full) for panel in section.panels]
    paths = write_figures(full, tmp_path, form="svg", width=86.0 / 25.4, with_data=True)
    assert len(paths) == 2 * len(panels) == 2 * len({panel.drawing.name for panel in panels})
    for panel in panels:
        svg = (tmp_path / f"{panel.drawing.name}.svg").read_text()
        assert 'width="243.' in svg
        assert "var(--" not in svg
        lines = (tmp_path / f"{panel.drawing.name}.csv").read_text().splitlines()
        assert lines[0].startswith("# ")
        assert len(lines) > 3, panel.drawing.name
    with pytest.raises(InputError, match="exist already"):
        write_figures(full, tmp_path, form="svg")
    before = (tmp_path / "clock.svg").read_bytes()
    write_figures(full, tmp_path, form="svg", width=86.0 / 25.4, overwrite=True)
    assert (tmp_path / "clock.svg").read_bytes() == before


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
