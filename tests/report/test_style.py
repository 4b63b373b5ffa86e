from __future__ import annotations

import itertools
import re
import subprocess
import sys
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest

from mgflows.errors import MissingDependencyError
from mgflows.report import style
from mgflows.schemas.training import SUBSETS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Machado, Oliveira and Fernandes, IEEE Trans. Vis. Comput. Graph. 15, 1291 (2009), severity 1.0,
# for linear RGB.
COLOUR_BLINDNESS = {
    "none": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
LIGHT, DARK = "#fcfbf8", "#15171a"


def linear(color: str) -> np.ndarray:
    channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255.0
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def cielab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    x = to_xyz @ np.clip(rgb, 0.0, 1.0) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16.0 / 116.0)
    return np.array([116.0 * f[1] - 16.0, 500.0 * (f[0] - f[1]), 200.0 * (f[1] - f[2])])


def contrast(one: str, other: str) -> float:
    luminances = sorted(linear(color) @ [0.2126, 0.7152, 0.0722] for color in (one, other))
    return (luminances[1] + 0.05) / (luminances[0] + 0.05)


@pytest.mark.parametrize("kind", COLOUR_BLINDNESS)
def test_subsets_can_be_distinguished(kind: str) -> None:
    seen = [
        cielab(COLOUR_BLINDNESS[kind] @ linear(look.color)) for look in style.SUBSET_STYLES.values()
    ]
    # CIE76: 2.3 is just noticeable; the markers differ as well.
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 10.0


def test_every_subset_has_its_own_style() -> None:
    assert tuple(style.SUBSET_STYLES) == SUBSETS
    assert len({look.marker for look in style.SUBSET_STYLES.values()}) == len(SUBSETS)


@pytest.mark.parametrize("ground", [LIGHT, DARK])
def test_data_colours_have_contrast_on_both_backgrounds(ground: str) -> None:
    colors = [
        *(look.color for look in style.SUBSET_STYLES.values()),
        *style.cooling_colors(5),
        style.MLIP,
        style.FORCE,
        style.VIRIAL,
    ]
    assert min(contrast(color, ground) for color in colors) > 2.3


def draw(figure: Figure) -> None:
    axes = style.single_axes(figure, "x (Å)", "y (eV)")
    axes.plot([0.0, 1.0], [0.0, 1.0], color=style.MUTED, label="line")
    axes.plot(
        [0.2, 0.4],
        [0.5, 0.1],
        "o",
        color=style.MLIP,
        markerfacecolor=style.SURFACE,
        rasterized=True,
    )
    axes.plot([0.6], [0.6], "o", color=style.INK, markerfacecolor=style.SURFACE)
    axes.fill_between([0.0, 1.0], [0.0, 0.5], color=style.GRID, clip_on=True)
    axes.legend()


def test_a_copied_svg_keeps_its_colours_and_the_page_replaces_them() -> None:
    svg = style.render(draw, "some-figure")
    ET.fromstring(svg)
    assert "var(" not in svg
    rules = style.theme_rules()
    for color, variable in (
        (style.INK, "--ink"),
        (style.MUTED, "--muted"),
        (style.GRID, "--grid"),
        (style.SURFACE, "--surface"),
    ):
        used = [what for what in ("fill", "stroke") if f"{what}: {color}" in svg]
        assert used, color
        for what in used:
            rule = f'.plot [style*="{what}: {color}"] {{ {what}: var({variable}) !important; }}'
            assert rule in rules
        # No other way of writing a colour, which the rules would not find.
        assert svg.count(color) == sum(svg.count(f"{what}: {color}") for what in used)
    assert "DejaVu" not in svg
    assert "'Segoe UI', Roboto" in svg
    assert not re.search(r"<svg[^>]*\swidth=", svg)
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    assert all(name.startswith("some-figure-") for name in ids)
    references = re.findall(r'(?:url\(#|href="#)([^")]+)', svg)
    assert references
    assert set(references) <= set(ids)


def test_alternative_text_names_axes_ranges_and_series() -> None:
    svg = style.render(draw, "f")
    (label,) = re.findall(r'^<svg role="img" aria-label="([^"]+)"', svg)
    assert label == ("y (eV) from -0.06 to 1.06 against x (Å) from -0.04 to 1.04; series: line.")


def test_the_same_figure_is_the_same_text() -> None:
    assert style.render(draw, "a") == style.render(draw, "a")


def test_rendering_keeps_the_settings_of_the_user() -> None:
    before = dict(mpl.rcParams)
    with mpl.rc_context({"font.size": 31.0, "axes.grid": False}):
        style.render(draw, "b")
        assert mpl.rcParams["font.size"] == 31.0
    assert dict(mpl.rcParams) == before


def test_a_matplotlibrc_does_not_change_the_figures() -> None:
    plain = style.render(draw, "c")
    with mpl.rc_context(
        {"font.size": 31.0, "lines.linewidth": 9.0, "svg.fonttype": "path", "savefig.dpi": 20}
    ):
        assert style.render(draw, "c") == plain


def test_no_pyplot_state() -> None:
    code = (
        "import sys; from mgflows.report import style; "
        "style.render(lambda f: f.add_subplot(), 'd'); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[report\]"):
        style.render(draw, "e")


@pytest.mark.parametrize(
    ("value", "text"), [(1e4, "10⁴"), (3e4, "3×10⁴"), (1.0, "10⁰"), (2e-5, "2×10⁻⁵")]
)
def test_scientific(value: float, text: str) -> None:
    assert style.scientific(value) == text
