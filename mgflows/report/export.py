"""Figures of a report as separate files of a journal column's width, with their data."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from mgflows.errors import InputError
from mgflows.files import atomic_write, write_text
from mgflows.report.page import report_sections
from mgflows.report.style import drawn
from mgflows.text import listed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mgflows.report.content import Panel
    from mgflows.report.data import ReportData

__all__ = ["FigureFormat", "figure_data", "parse_width", "write_figures"]

FigureFormat = Literal["pdf", "png", "svg"]
"""File formats of figures."""

_INCHES = {"cm": 1.0 / 2.54, "mm": 1.0 / 25.4, "in": 1.0, "pt": 1.0 / 72.0}
_WIDTHS = (2.0, 20.0)
"""Allowed widths in inches: labels fit, and the figure fits a page."""
_DESIGN_WIDTH = 5.0
"""Width in inches for which the text sizes are chosen."""
_SMALLEST_TEXT = 0.8
"""Factor on the sizes of texts in narrow figures: 6.8 pt for labels, 6 pt in insets."""
_RESOLUTION = 300
"""Dots per inch of PNG files and of images inside the others."""


def parse_width(text: str) -> float:
    """Read a width such as ``8.6cm``, ``86mm``, ``3.4in`` or ``245pt``; return inches.

    Raises
    ------
    InputError
        For another unit, or a width below 5 or above 50 cm.
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(cm|mm|in|pt)\s*", text)
    if match is None:
        raise InputError(
            f"the width {text!r} cannot be read", hint="give a number and cm, mm, in or pt: 8.6cm"
        )
    width = float(match[1]) * _INCHES[match[2]]
    low, high = _WIDTHS
    if not low <= width <= high:
        raise InputError(
            f"the width {text.strip()} must lie between {2.54 * low:.0f} and {2.54 * high:.0f} cm",
            hint="a column of Physical Review is 8.6cm wide",
        )
    return width


def write_figures(
    data: ReportData,
    directory: Path,
    *,
    form: FigureFormat = "pdf",
    width: float = _DESIGN_WIDTH,
    with_data: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Write every figure of a report to a file, named as on the page.

    Parameters
    ----------
    data
        Content of the report.
    directory
        Folder of the files; made if necessary.
    form
        File format.
    width
        Inches; heights keep the proportions.
    with_data
        Also write the data of each figure as CSV.
    overwrite
        Replace existing files.

    Returns
    -------
    paths
        The files, figure by figure.

    Raises
    ------
    InputError
        If a file exists, or the campaign has nothing to draw yet.
    MissingDependencyError
        If matplotlib is not installed.
    """
    panels = [panel for section in report_sections(data) for panel in section.panels]
    if not panels:
        raise InputError(
            f"campaign {data.campaign.campaign} has no figure yet",
            hint="wait until its first stage is finished: mgflows status",
        )
    endings = [f".{form}", ".csv"] if with_data else [f".{form}"]
    existing = [
        str(path)
        for panel in panels
        for ending in endings
        if (path := directory / f"{panel.drawing.name}{ending}").exists()
    ]
    if existing and not overwrite:
        raise InputError(
            f"{listed(existing)} {'exists' if len(existing) == 1 else 'exist'} already",
            hint="choose another directory, or overwrite with --force (overwrite=True)",
        )
    paths = []
    for panel in panels:
        paths += _write(panel, directory, form, width, with_data=with_data)
    return paths


def _write(
    panel: Panel, directory: Path, form: FigureFormat, width: float, *, with_data: bool
) -> list[Path]:
    drawing = panel.drawing
    height = drawing.height * width / drawing.width
    text_size = min(1.0, max(_SMALLEST_TEXT, width / _DESIGN_WIDTH))
    path = directory / f"{drawing.name}.{form}"
    paths = [path]
    with drawn(drawing.draw, drawing.name, width, height, text_size) as figure:
        import matplotlib as mpl

        mpl.rcParams["pdf.fonttype"] = 42
        dates = {"Date": None} if form == "svg" else {"CreationDate": None} if form == "pdf" else {}
        with atomic_write(path, "wb") as stream:
            figure.savefig(
                stream, format=form, dpi=_RESOLUTION, facecolor="white", metadata={**dates}
            )
        if with_data:
            title = ", ".join(filter(None, (panel.label, panel.title)))
            paths.append(directory / f"{drawing.name}.csv")
            write_text(paths[-1], figure_data(figure, title))
    return paths


def figure_data(figure: Figure, title: str = "") -> str:
    """Return the data of a figure as CSV: one row per point, with the labels of axes and series.

    Parameters
    ----------
    figure
        A drawn figure.
    title
        First line, as a comment.

    Notes
    -----
    ``x_error`` and ``y_error`` are half lengths of error bars. Each cell of an image or a density
    map is a point with its value in ``value``.
    """
    buffer = io.StringIO()
    if title:
        buffer.write(f"# {title}\n")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ("panel", "series", "x_label", "y_label", "x", "y", "x_error", "y_error", "value")
    )
    for number, axes in enumerate(_all_axes(figure), start=1):
        labels = (axes.get_xlabel(), axes.get_ylabel())
        for series, x, y, x_error, y_error, value in _points(axes):
            writer.writerow((number, series, *labels, x, y, x_error, y_error, value))
    return buffer.getvalue()


def _all_axes(figure: Figure) -> list[Axes]:
    """The axes of a figure, insets included."""
    found: list[Axes] = []
    for axes in figure.axes:
        found += [axes, *cast("list[Axes]", axes.child_axes)]
    return list(dict.fromkeys(found))


def _points(axes: Axes) -> Iterator[tuple[str, float, float, object, object, object]]:
    from matplotlib.collections import PathCollection, PolyCollection, QuadMesh
    from matplotlib.container import BarContainer, ErrorbarContainer

    drawn_before = set()
    for container in axes.containers:
        label = _label(container.get_label())
        if isinstance(container, ErrorbarContainer):
            line, caps, bars = container.lines
            drawn_before |= {id(each) for each in (line, *caps, *bars) if each is not None}
            if line is None:
                continue
            x, y = (np.asarray(values) for values in line.get_data())
            errors = _half_lengths(container, len(x))
            for index, (a, b) in enumerate(zip(x, y, strict=True)):
                yield label, a, b, errors["x"][index], errors["y"][index], ""
        elif isinstance(container, BarContainer):
            drawn_before |= {id(patch) for patch in container.patches}
            is_vertical = container.orientation != "horizontal"
            for patch in container.patches:
                a = patch.get_x() + (0.5 * patch.get_width() if is_vertical else patch.get_width())
                b = patch.get_y() + (
                    patch.get_height() if is_vertical else 0.5 * patch.get_height()
                )
                yield label, a, b, "", "", ""
    for line in axes.lines:
        # Lines across the axes are guides.
        if id(line) not in drawn_before and line.get_transform() == axes.transData:
            for a, b in zip(*map(np.asarray, line.get_data()), strict=True):
                yield _label(line.get_label()), a, b, "", "", ""
    for collection in axes.collections:
        if id(collection) in drawn_before:
            continue
        label = _label(collection.get_label())
        values = collection.get_array()
        if isinstance(collection, QuadMesh) and values is not None:
            corners = np.asarray(collection.get_coordinates())
            centres = (corners[1:, 1:] + corners[:-1, :-1]) / 2.0
            offsets, values = centres.reshape(-1, 2), np.ma.filled(values, np.nan).ravel()
        elif isinstance(collection, PathCollection | PolyCollection):
            offsets = np.asarray(collection.get_offsets())
            if len(offsets) < 2 and values is None and isinstance(collection, PolyCollection):
                continue
        else:
            continue
        cells = [] if values is None else list(values)
        for index, (a, b) in enumerate(offsets):
            yield label, a, b, "", "", cells[index] if index < len(cells) else ""


def _half_lengths(container: object, n: int) -> dict[str, list[object]]:
    """Half lengths of the error bars of a container; empty texts where it has none."""
    lengths: dict[str, list[object]] = {"x": [""] * n, "y": [""] * n}
    bars = list(container.lines[2])  # type: ignore[attr-defined]
    directions = [
        name
        for name, present in (("x", container.has_xerr), ("y", container.has_yerr))  # type: ignore[attr-defined]
        if present
    ]
    for name, bar in zip(directions, bars, strict=False):
        column = 0 if name == "x" else 1
        for index, segment in enumerate(bar.get_segments()[:n]):
            if len(segment) == 2:
                lengths[name][index] = abs(segment[1][column] - segment[0][column]) / 2.0
    return lengths


def _label(label: object) -> str:
    """The label of a series; matplotlib's own names begin with an underscore."""
    text = str(label)
    return "" if text.startswith("_") or text == "None" else text.replace("\n", " ")
