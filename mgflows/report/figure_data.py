"""The data of a figure as CSV, read from what is drawn.

The label of a series is its name (:func:`mgflows.report.style.unlisted` names series that the
legend leaves out), and the label of axes that of the panel
(:func:`mgflows.report.style.name_panel`). Lines across the axes are data if they have a label;
what is labelled :data:`mgflows.report.style.GUIDE` is none.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np

from mgflows.report.style import GUIDE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.collections import PolyCollection
    from matplotlib.container import BarContainer, Container, ErrorbarContainer
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["figure_data"]

_AUTOMATIC = re.compile(r"_(child|container)?\d*|_nolegend_|None|inset_axes|")
"""Labels that matplotlib gives to what has none."""


@dataclass(frozen=True)
class _Point:
    """A drawn point; None where it has no such value."""

    series: str
    x: float | None
    y: float | None
    x_error: float | None = None
    y_error: float | None = None
    value: float | None = None


@dataclass
class _Columns:
    """Cells of a table by column, in the order in which the columns first occur."""

    names: list[str] = field(default_factory=lambda: ["panel", "series"])

    def index(self, name: str) -> int:
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name)


def figure_data(figure: Figure, title: str = "") -> str:
    """Return the data of a figure as CSV: one row per point, with its panel and its series.

    Parameters
    ----------
    figure
        A drawn figure.
    title
        First line, as a comment.

    Notes
    -----
    Columns have the labels of the axes with their units. ``error of ...`` is half the length of
    an error bar, or of a band around its middle. Each cell of a density map is a point with its
    content in ``value``. On axes of names, such as subsets, the name takes the place of a number.
    """
    columns = _Columns()
    rows: list[dict[int, object]] = []
    for number, axes in enumerate(_data_axes(figure), start=1):
        panel = _name(axes) or str(number)
        names = [_axis_name(axes.xaxis, "x"), _axis_name(axes.yaxis, "y")]
        for point in _points(axes):
            row: dict[int, object] = {0: panel, 1: point.series}
            for name, axis, value, error in (
                (names[0], axes.xaxis, point.x, point.x_error),
                (names[1], axes.yaxis, point.y, point.y_error),
            ):
                if value is not None:
                    row[columns.index(name)] = _category(axis, value)
                if error is not None:
                    row[columns.index(f"error of {name}")] = error
            if point.value is not None:
                row[columns.index("value")] = point.value
            # The ends of a short line at one name are one value.
            if not rows or row != rows[-1]:
                rows.append(row)
    buffer = io.StringIO()
    if title:
        buffer.write(f"# {title}\n")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns.names)
    writer.writerows([row.get(k, "") for k in range(len(columns.names))] for row in rows)
    return buffer.getvalue()


def _data_axes(figure: Figure) -> list[Axes]:
    """The axes of a figure, insets included, without enlarged views of others."""
    found: list[Axes] = []
    for axes in figure.axes:
        found += [axes, *cast("list[Axes]", axes.child_axes)]
    return [axes for axes in dict.fromkeys(found) if axes.get_label() != GUIDE]


def _axis_name(axis: Axis, default: str) -> str:
    return axis.get_label_text().replace("\n", " ") or default


def _category(axis: Axis, value: float) -> object:
    """The name at a place of an axis of names, or the number."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter

    locator, formatter = axis.get_major_locator(), axis.get_major_formatter()
    if not isinstance(locator, FixedLocator) or not isinstance(
        formatter, FixedFormatter | FuncFormatter
    ):
        return value
    places = np.asarray(locator())
    nearest = int(np.argmin(np.abs(places - value)))
    return formatter(float(places[nearest]), nearest)


def _points(axes: Axes) -> Iterator[_Point]:
    from matplotlib.container import BarContainer, ErrorbarContainer

    titles = _legend_titles(axes)
    drawn_before: set[int] = set()
    for container in axes.containers:
        if isinstance(container, BarContainer) and container.errorbar is not None:
            drawn_before.add(id(container.errorbar))
    for container in axes.containers:
        name = _name(container, titles)
        if isinstance(container, ErrorbarContainer):
            line, caps, bars = container.lines
            drawn_before |= {id(each) for each in (line, *caps, *bars) if each is not None}
            if line is not None and id(container) not in drawn_before:
                yield from _error_bars(container, name)
        elif isinstance(container, BarContainer):
            yield from _bars(container, name)
    for line in axes.lines:
        if id(line) not in drawn_before and line.get_label() != GUIDE:
            name = _name(line, titles)
            x, y = (np.asarray(values, dtype=float) for values in line.get_data())
            if line.get_transform() == axes.transData:
                for a, b in zip(x, y, strict=True):
                    yield _Point(name, a, b)
            elif name and x[0] == x[-1]:
                yield _Point(name, x[0], None)
            elif name and y[0] == y[-1]:
                yield _Point(name, None, y[0])
    for collection in axes.collections:
        if id(collection) not in drawn_before and collection.get_label() != GUIDE:
            yield from _collection(collection, _name(collection, titles))


def _legend_titles(axes: Axes) -> dict[str, str]:
    """Labels in the legend of axes that has a title, with the title."""
    legend = axes.get_legend()
    title = legend.get_title().get_text() if legend else ""
    return {text.get_text(): title for text in legend.get_texts()} if legend and title else {}


def _name(artist: Artist | Container, titles: dict[str, str] | None = None) -> str:
    """The name of a series or panel; empty if it has none."""
    label = str(artist.get_label())
    if _AUTOMATIC.fullmatch(label):
        return ""
    title = (titles or {}).get(label)
    return (f"{title}: {label}" if title else label.removeprefix("_")).replace("\n", " ")


def _error_bars(container: ErrorbarContainer, name: str) -> Iterator[_Point]:
    x, y = (np.asarray(values, dtype=float) for values in container.lines[0].get_data())
    errors = _half_lengths(container, len(x))
    for index, (a, b) in enumerate(zip(x, y, strict=True)):
        yield _Point(name, a, b, errors["x"][index], errors["y"][index])


def _bars(container: BarContainer, name: str) -> Iterator[_Point]:
    n = len(container.patches)
    errors: dict[str, list[float | None]] = {"x": [None] * n, "y": [None] * n}
    if container.errorbar is not None:
        errors = _half_lengths(container.errorbar, n)
    for index, bar in enumerate(container.patches):
        if container.orientation == "horizontal":
            middle = bar.get_y() + 0.5 * bar.get_height()
            yield _Point(name, bar.get_width(), middle, x_error=errors["x"][index])
        else:
            middle = bar.get_x() + 0.5 * bar.get_width()
            yield _Point(name, middle, bar.get_height(), y_error=errors["y"][index])


def _half_lengths(container: ErrorbarContainer, n: int) -> dict[str, list[float | None]]:
    """Half lengths of the error bars of a container; None where it has none."""
    lengths: dict[str, list[float | None]] = {"x": [None] * n, "y": [None] * n}
    directions = [
        name for name, present in (("x", container.has_xerr), ("y", container.has_yerr)) if present
    ]
    for name, bar in zip(directions, container.lines[2], strict=False):
        column = 0 if name == "x" else 1
        for index, segment in enumerate(bar.get_segments()[:n]):
            if len(segment) == 2:
                lengths[name][index] = abs(segment[1][column] - segment[0][column]) / 2.0
    return lengths


def _collection(collection: Artist, name: str) -> Iterator[_Point]:
    """Points of a scatter plot, of a map, or of a band around a curve."""
    from matplotlib.collections import PathCollection, PolyCollection, QuadMesh

    values: NDArray[np.float64] | None
    if isinstance(collection, QuadMesh):
        corners = np.asarray(collection.get_coordinates())
        places = ((corners[1:, 1:] + corners[:-1, :-1]) / 2.0).reshape(-1, 2)
        values = np.ma.filled(np.ma.asarray(collection.get_array()), np.nan).ravel()
    elif isinstance(collection, PolyCollection) and collection.get_array() is None:
        yield from _band(collection, name)
        return
    elif isinstance(collection, PathCollection | PolyCollection):
        places = np.asarray(collection.get_offsets())
        found = collection.get_array()
        values = None if found is None else np.asarray(found)
    else:
        return
    for index, (a, b) in enumerate(places):
        yield _Point(name, a, b, value=None if values is None else float(values[index]))


def _band(collection: PolyCollection, name: str) -> Iterator[_Point]:
    """Middle and half width of what ``fill_between`` draws."""
    for path in collection.get_paths():
        outline: NDArray[np.float64] = np.asarray(path.vertices)
        # One edge of n points, then the other in reverse, each with its first point repeated.
        n = (len(outline) - 3) // 2
        one, other = outline[1 : n + 1], outline[n + 2 : 2 * n + 2][::-1]
        middles, widths = (one[:, 1] + other[:, 1]) / 2.0, np.abs(one[:, 1] - other[:, 1]) / 2.0
        for x, y, error in zip(one[:, 0], middles, widths, strict=True):
            yield _Point(name, x, y, y_error=error)
