"""Figures of a report as separate files of a journal column's width, with their data."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from mgflows.errors import InputError
from mgflows.files import atomic_write, write_text
from mgflows.report.figure_data import figure_data
from mgflows.report.page import report_sections
from mgflows.report.style import drawn
from mgflows.text import files_exist

if TYPE_CHECKING:
    from pathlib import Path

    from mgflows.report.content import Panel
    from mgflows.report.data import ReportData

__all__ = ["FigureFormat", "parse_width", "write_figures"]

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
            f"{files_exist(existing)} already",
            hint="choose another --output or overwrite with --force",
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
