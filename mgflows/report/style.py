"""One style for all figures, and their conversion to SVG that follows the page's theme.

Lines and text have the colours of the light theme, so that an SVG copied from the page keeps them;
:func:`theme_rules` returns CSS that replaces them by the variables of the page. Colours of data are
the same in the light and the dark theme: each has enough contrast on both backgrounds, and subsets
can be distinguished with the three common kinds of colour blindness.
"""

from __future__ import annotations

import html
import io
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mgflows import errors
from mgflows.schemas.training import subset_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mgflows.validation.experiments import MeasuredCurve

INK = "#0b0c0e"
"""Text and axes; on the page ``var(--ink)``."""
MUTED = "#6b6c6e"
"""Guides and reference lines; on the page ``var(--muted)``."""
GRID = "#dbdcde"
"""Grid lines; on the page ``var(--grid)``."""
SURFACE = "#fbfcfe"
"""Background, for markers with a halo; on the page ``var(--surface)``."""
_PAGE_FONTS = "'Segoe UI', Roboto, 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif"
_MEASURING_FONT = "DejaVu Sans"
"""Font of the layout: part of matplotlib, and wider than the fonts of the page, so that texts do
not overlap there."""
_THEME = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    SURFACE: "var(--surface)",
}

MLIP = "#8a5cd1"
"""Values of the trained potential; those of the reference method use :data:`INK`."""
ENERGY, FORCE, VIRIAL = "#8a5cd1", "#b5485d", "#4d8f3a"
"""Energies, forces and virials in losses."""
ONSET = "#2f7fc1"
"""The onset of supercooling."""
GUIDE = "_guide"
"""Label of lines and axes without data of their own: diagonals, connections, enlarged views."""
_SMALLEST_POINTS = 6.0
_COOLING_RAMP = ("#d98200", "#d1495b", "#8e5bb5", "#2f7fc1")


@dataclass(frozen=True)
class SubsetStyle:
    """Label, colour and marker of one subset in all figures."""

    label: str
    color: str
    marker: str


SUBSET_STYLES: dict[str, SubsetStyle] = {
    "lj_surrogate": SubsetStyle("LJ surrogate", "#3a7bc8", "o"),
    "dft_minimized": SubsetStyle("minimized", "#c2410c", "s"),
    "expanded_compressed": SubsetStyle("expanded / compressed", "#0f9d76", "^"),
    "distorted": SubsetStyle("distorted", "#c973c0", "D"),
    "aimd": SubsetStyle("heated (aimd)", "#ce9600", "v"),
    "crystal": SubsetStyle("crystal", "#7a7f87", "P"),
    "mlip_feedback": SubsetStyle("MLIP feedback", "#33a9d6", "X"),
}
"""Subset to its style, in the order of the paper.

The label of ``dft_minimized`` omits "DFT", because the method may be a stand-in."""

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power_of_ten(exponent: float) -> str:
    """``10⁴`` for 4, as plain text."""
    return f"10{str(round(exponent)).translate(_SUPERSCRIPTS)}"


def scientific(value: float) -> str:
    """``10⁴`` for 1e4 and ``3×10⁴`` for 3e4."""
    mantissa, exponent = f"{value:.0e}".split("e")
    power = power_of_ten(int(exponent))
    return power if mantissa == "1" else f"{mantissa}×{power}"


def cooling_colors(n: int) -> list[str]:
    """Return `n` colours from the fastest (orange) to the slowest (blue) cooling."""
    colors = errors.require("matplotlib.colors", "report", "the figures of the report")
    ramp = colors.LinearSegmentedColormap.from_list("cooling", _COOLING_RAMP)
    return [colors.to_hex(ramp(i / max(n - 1, 1))) for i in range(n)]


def density_colormap(color: str) -> object:
    """A colour map of one colour with increasing opacity, for light and dark backgrounds."""
    colors = errors.require("matplotlib.colors", "report", "the figures of the report")
    return colors.LinearSegmentedColormap.from_list(
        "density", [(*colors.to_rgb(color), alpha) for alpha in (0.10, 0.45, 0.75, 1.0)]
    )


def known_subsets(subsets: Sequence[str]) -> list[str]:
    """Return the subsets that occur, those of the paper first."""
    return sorted(set(subsets) - {"all"}, key=subset_order)


def subset_style(subset: str) -> SubsetStyle:
    """Return the style of a subset; subsets of imported frames share one, under their own names."""
    return SUBSET_STYLES.get(subset) or SubsetStyle(subset, MUTED, "X")


def render(
    draw: Callable[[Figure], None], name: str, *, width: float = 5.0, height: float = 3.5
) -> str:
    """Draw a figure and return it as an SVG element for a page.

    Parameters
    ----------
    draw
        Draws onto a given empty figure.
    name
        Unique on the page; element ids of the SVG begin with it.
    width, height
        Inches at 72 points; the page scales the figure to its column.
    """
    buffer = io.StringIO()
    with drawn(draw, name, width, height) as figure:
        figure.savefig(buffer, format="svg", dpi=170, transparent=True, metadata={"Date": None})
        description = describe(figure)
    return _for_page(buffer.getvalue(), name, description)


def describe(figure: Figure) -> str:
    """Describe a figure in words, as alternative text: axes, ranges and series."""
    sentences = []
    for axes in figure.axes:
        if not axes.get_visible() or not axes.has_data():
            continue
        x, y = (
            f"{label or name} from {_short(limits[0])} to {_short(limits[1])}"
            for name, label, limits in (
                ("horizontally", axes.get_xlabel(), axes.get_xlim()),
                ("vertically", axes.get_ylabel(), sorted(axes.get_ylim())),
            )
        )
        legend = axes.get_legend()
        series = [text.get_text() for text in legend.get_texts()] if legend else []
        named = f"; series: {', '.join(series)}" if series else ""
        panel = f"{axes.get_label()}: " if axes.get_label() else ""
        sentences.append(f"{panel}{y} against {x}{named}.")
    shared = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    if shared:
        sentences.append(f"Series: {', '.join(shared)}.")
    return " ".join(sentences)


def _short(value: float) -> str:
    return f"{value:.3g}"


def theme_rules() -> str:
    """Return CSS rules by which figures follow the theme of the page."""
    return "\n".join(
        f'.plot [style*="{what}: {color}"] {{ {what}: {variable} !important; }}'
        for color, variable in _THEME.items()
        for what in ("fill", "stroke")
    )


@contextmanager
def drawn(
    draw: Callable[[Figure], None], name: str, width: float, height: float, text_size: float = 1.0
) -> Iterator[Figure]:
    """Draw a figure in the style of the report, whatever the user's settings of matplotlib.

    Parameters
    ----------
    draw
        Draws onto a given empty figure.
    name
        Makes the ids in an SVG reproducible.
    width, height
        Inches.
    text_size
        Factor on the sizes of texts and markers.
    """
    matplotlib = errors.require("matplotlib", "report", "the figures of the report")
    figure_module = errors.require("matplotlib.figure", "report", "the figures of the report")
    backend = errors.require("matplotlib.backends.backend_agg", "report", "the figures")
    sizes = {
        key: value * text_size
        for key, value in _PARAMETERS.items()
        if isinstance(value, float | int) and not isinstance(value, bool) and key.endswith("size")
    }
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**_PARAMETERS, **sizes, "svg.hashsalt": name})
        figure = figure_module.Figure(figsize=(width, height), layout="constrained")
        backend.FigureCanvasAgg(figure)
        draw(figure)
        yield figure


@dataclass(frozen=True)
class Drawing:
    """A figure that is drawn on demand: for a page, or into a separate file.

    Parameters
    ----------
    draw, name, width, height
        As for :func:`render`.
    """

    draw: Callable[[Figure], None]
    name: str
    width: float = 5.0
    height: float = 3.5

    def svg(self) -> str:
        """Return an SVG element for a page."""
        return render(self.draw, self.name, width=self.width, height=self.height)


def unlisted(name: str) -> str:
    """Return the label of a series that data files name, and that legends leave out.

    Parameters
    ----------
    name
        Name of the series; complete without the figure.
    """
    return f"_{name}"


def name_panel(axes: Axes, name: str, *, x: str = "", y: str = "") -> None:
    """Name one of several axes for data files and alternative texts.

    Parameters
    ----------
    axes
        Axes of a figure.
    name
        What distinguishes them: a pair of species, a quantity.
    x, y
        Labels with units of axes whose labels are not drawn, because they would repeat those of
        the neighbours.
    """
    axes.set_label(name)
    if x:
        axes.set_xlabel(x, visible=False)
    if y:
        axes.set_ylabel(y, visible=False)


def draw_measured(axes: Axes, curves: Sequence[MeasuredCurve]) -> None:
    """Measured curves as dots."""
    for number, curve in enumerate(curves):
        axes.plot(
            curve.x,
            curve.y,
            ".",
            color=FORCE,
            markersize=points(3.0),
            zorder=4,
            label=unlisted(f"experiment {number + 1}") if number else "experiment",
        )


def points(size: float) -> float:
    """Return the size in points for the figure that is currently drawn.

    Narrow figures have smaller texts and markers (:func:`drawn`), but texts of at least 6 points,
    which journals require.

    Parameters
    ----------
    size
        Points in a figure of the page.
    """
    matplotlib = errors.require("matplotlib", "report", "the figures of the report")
    factor = float(matplotlib.rcParams["font.size"]) / float(str(_PARAMETERS["font.size"]))
    return max(size * factor, min(size, _SMALLEST_POINTS))


def single_axes(figure: Figure, x_label: str, y_label: str) -> Axes:
    """The only axes of a figure, labelled."""
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    # Energies per atom differ in the third decimal: more labels than these collide.
    axes.locator_params(axis="x", nbins=7)
    return axes


def annotate_corner(axes: Axes, text: str, *, corner: str = "lower right") -> None:
    """A short note in a corner of the axes: a fit, an error, a count."""
    vertical, horizontal = corner.split()
    axes.text(
        0.97 if horizontal == "right" else 0.03,
        0.05 if vertical == "lower" else 0.95,
        text,
        transform=axes.transAxes,
        ha=horizontal,
        va="bottom" if vertical == "lower" else "top",
        color=INK,
        linespacing=1.35,
    )


def _for_page(svg: str, name: str, description: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg\b[^>]*?)\swidth="[^"]*pt"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg\b[^>]*?)\sheight="[^"]*pt"', r"\1", svg, count=1)
    label = html.escape(description, quote=True)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" focusable="false" ', 1)
    # Several figures share one page: ids, and what refers to them, must not collide.
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    # The page sets the letters in its own font; matplotlib only measured with another.
    return svg.replace(f"'{_MEASURING_FONT}'", _PAGE_FONTS).strip()


_PARAMETERS: dict[str, object] = {
    "svg.fonttype": "none",
    "font.size": 8.5,
    "font.family": [_MEASURING_FONT],
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.labelsize": 8.5,
    "axes.titlesize": 8.5,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "axes.xmargin": 0.04,
    "axes.ymargin": 0.06,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "lines.solid_capstyle": "round",
    "errorbar.capsize": 2.0,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.handlelength": 1.4,
    "legend.borderaxespad": 0.3,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.constrained_layout.h_pad": 0.03,
}
