"""Figures show the numbers of their data."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from mgflows.report import records, style
from mgflows.report.figures import sampling, training, validation
from mgflows.schemas.validation import HeatCapacityCurve, RadialDistributionCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mgflows.report import ReportData


@pytest.fixture
def figure() -> Figure:
    return Figure()


def lines(axes: Axes) -> list[np.ndarray]:
    """(n, 2) points of each line that has any."""
    return [line.get_xydata() for line in axes.lines if len(line.get_xydata())]


def has_line(axes: Axes, points: np.ndarray) -> bool:
    return any(line.shape == points.shape and np.allclose(line, points) for line in lines(axes))


def test_supercooling(figure: Figure, full: ReportData) -> None:
    clock = full.clock
    assert clock is not None
    assert full.supercooling is not None
    sampling.draw_supercooling(figure, clock, full.supercooling.groups, 1e-12)
    axes = figure.axes[0]
    points = np.array([(np.log10(time), np.mean(values)) for time, values in clock.energies])
    assert has_line(axes, points)
    for group in full.supercooling.groups:
        assert has_line(axes, np.array([[group.log10_time, group.e_is_reduced]]))
    # t_on solves -3.28 = -3.2 - 0.166 log10 t.
    assert has_line(axes, np.array([[0.08 / 0.166, 0.0], [0.08 / 0.166, 1.0]]))
    assert has_line(axes, np.array([[x, -3.2 - 0.166 * x] for x in np.log10([30.0, 3000.0])]))
    seconds = axes.child_axes[0]
    figure.draw_without_rendering()
    assert seconds.get_xlim() == pytest.approx(np.add(axes.get_xlim(), -12.0))


def test_interval_of_the_law() -> None:
    clock = records.Clock(
        -1.0,
        0.1,
        0.0,
        np.array([[0.0, slope] for slope in np.linspace(-2.0, 0.0, 101)]),
        (1.0, 2.0),
        None,
        [],
    )
    assert clock.interval_at([0.0, 10.0]) == pytest.approx(np.array([[0.0, -16.8], [0.0, -3.2]]))


def test_displacements_are_densities(figure: Figure, full: ReportData) -> None:
    sampling.draw_displacements(figure, full.relaxations)
    axes = figure.axes[0]
    areas = [np.trapezoid(line[:, 1], line[:, 0]) for line in lines(axes)]
    assert areas == pytest.approx([1.0] * 3, abs=0.02)
    # Three Gaussian components of 0.13 A: the most probable magnitude is sqrt(2) times that.
    assert np.mean([line[np.argmax(line[:, 1]), 0] for line in lines(axes)]) == pytest.approx(
        0.184, abs=0.03
    )
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["10³", "10⁴", "10⁵"]
    inset = axes.child_axes[0]
    shown = sorted(y for line in lines(inset) for y in line[:, 1] if len(line) == 3)
    expected = [
        100.0 * np.mean([getattr(r, name) for r in full.relaxations if r.n_sweeps == n])
        for n in (1_000, 10_000, 100_000)
        for name in ("delta_cb", "delta_cb_affine")
    ]
    assert set(np.round(expected, 9)) <= set(np.round(shown, 9))


def test_a_sample_that_does_not_move(figure: Figure, full: ReportData) -> None:
    still = [replace(full.relaxations[0], displacements=[0.0] * 150)]
    sampling.draw_displacements(figure, still)
    (line,) = lines(figure.axes[0])
    assert np.isfinite(line).all()


def test_energies_and_their_fit(figure: Figure, full: ReportData) -> None:
    points = [(1000, x, 2.0 + 0.5 * x) for x in (-3.0, -2.0, -1.0)]
    sampling.draw_energy_correlation(figure, points, "DFT")
    axes = figure.axes[0]
    assert has_line(axes, np.array([[-3.0, 0.5], [-1.0, 1.5]]))
    assert "R² = 1.00\nslope 0.50" in [text.get_text() for text in axes.texts]
    assert "e(DFT)" in axes.get_ylabel()


def test_composition_bars_are_counts(figure: Figure) -> None:
    training.draw_composition(figure, {"aimd": (30, 10), "crystal": (4, 1)})
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [30, 10, 4, 1]
    assert [text.get_text() for text in axes.texts] == ["40  (89%)", "5  (11%)"]
    assert axes.patches[0].get_facecolor()[:3] == pytest.approx(
        tuple(int(style.SUBSET_STYLES["aimd"].color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    )


def test_parity_shows_every_frame_in_the_colour_of_its_subset(
    figure: Figure, full: ReportData
) -> None:
    best = full.best_potential
    assert best is not None
    parity = best.parity
    training.draw_energy_parity(figure, parity)
    axes = figure.axes[0]
    for subset, look in style.SUBSET_STYLES.items():
        points = [
            line
            for line in axes.lines
            if line.get_color() == look.color and line.get_marker() == look.marker
        ]
        n = sum(len(line.get_xydata()) for line in points)
        assert n == best.errors["train"][subset].n_frames + best.errors["test"][subset].n_frames
    assert axes.get_xlim() == axes.get_ylim()


def test_virial_parity_shows_six_components(figure: Figure, full: ReportData) -> None:
    best = full.best_potential
    assert best is not None
    parity = best.parity
    training.draw_virial_parity(figure, parity)
    n = sum(
        len(line.get_xydata())
        for line in figure.axes[0].lines
        if line.get_marker() not in ("", "None", None)
    )
    assert n == 6 * (best.n_train + best.n_test)


def test_force_density_counts_every_component(figure: Figure, full: ReportData) -> None:
    best = full.best_potential
    assert best is not None
    parity = best.parity
    training.draw_force_parity(figure, parity)
    for axes, side in zip(figure.axes, ("train", "test"), strict=True):
        (density,) = [
            collection for collection in axes.collections if isinstance(collection, PolyCollection)
        ]
        # A few outliers lie outside the range shown.
        assert (
            0.999 * len(parity[side].force.reference)
            <= np.sum(density.get_array())
            <= len(parity[side].force.reference)
        )


def test_missing_columns_of_the_loss_are_not_drawn(figure: Figure) -> None:
    training.draw_loss(
        figure,
        {
            "step": [1.0, 2.0],
            "total": [3.0, 1.0],
            "energy_train": [None, 0.1],
            "virial_train": [None, None],
        },
    )
    for axes in figure.axes:
        assert len(lines(axes)) == 1
        assert axes.get_yscale() == "log"


def test_a_loss_continues_that_of_the_training_before(figure: Figure) -> None:
    first = {"step": [10.0, 20.0], "total": [4.0, 2.0], "l1": [0.5, 0.4], "l2": [0.0, 0.0]}
    then = {"step": [5.0, 10.0], "total": [3.0, 1.0], "l1": [0.3, 0.2], "l2": [0.0, 0.0]}
    training.draw_loss(figure, first, then)
    axes = figure.axes[0]
    assert has_line(axes, np.array([[10.0, 4.0], [20.0, 2.0]]))
    assert has_line(axes, np.array([[25.0, 3.0], [30.0, 1.0]]))
    assert has_line(axes, np.array([[25.0, 0.3], [30.0, 0.2]]))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    # The terms that are zero throughout are left out.
    assert labels == ["total", "L1 term", "dotted: test"]


def test_residuals_are_predictions_less_labels(figure: Figure, full: ReportData) -> None:
    best = full.best_potential
    assert best is not None
    training.draw_energy_parity(figure, best.parity)
    large, residuals = figure.axes[:2]
    table = best.parity["train"]
    chosen = np.array(table.subset) == "aimd"
    reference, predicted = (
        np.array(values)[chosen] for values in (table.energy.reference, table.energy.predicted)
    )
    assert has_line(residuals, np.column_stack([reference, 1e3 * (predicted - reference)]))
    # Crystals are outside the large axes where they are outside the range of the glasses.
    glasses = np.array(table.energy.reference)[np.array(table.subset) != "crystal"]
    low, high = large.get_xlim()
    assert low < glasses.min() < glasses.max() < high
    assert residuals.get_xlim() == large.get_xlim()


def test_parity_by_side_shows_all_values(figure: Figure, full: ReportData) -> None:
    best = full.best_potential
    assert best is not None
    training.draw_parity_by_side(figure, best.parity)
    n = [sum(len(line.get_xydata()) for line in axes.lines[1:]) for axes in figure.axes]
    forces = sum(len(table.force.reference) for table in best.parity.values())
    frames = best.n_train + best.n_test
    assert n == [frames, forces, 6 * frames]


def test_elastic_bars(figure: Figure) -> None:
    values = {"E": (60.0, 2.0), "B": (110.0, float("nan")), "G": (20.0, 1.0), "ν": (0.4, 0.01)}
    validation.draw_elasticity(
        figure, records.Elasticity({"model": values, "reference": values}, 3)
    )
    moduli, ratio = figure.axes
    heights = sorted(bar.get_height() for bar in moduli.patches)
    assert heights == [20.0, 20.0, 60.0, 60.0, 110.0, 110.0]
    assert [bar.get_height() for bar in ratio.patches] == [0.4, 0.4]


def test_measured_moduli_are_dashed_lines(figure: Figure) -> None:
    values = {"E": (60.0, 2.0), "B": (110.0, 3.0), "G": (20.0, 1.0), "ν": (0.4, 0.01)}
    validation.draw_elasticity(
        figure, records.Elasticity({"model": values}, 3), {"E": [96.4, 93.7], "G": [34.3]}
    )
    heights = sorted(
        line.get_ydata()[0]
        for line in figure.axes[0].lines
        if line.get_color() == style.FORCE and len(line.get_ydata())
    )
    assert heights == [34.3, 93.7, 96.4]


def test_viscosity(figure: Figure) -> None:
    validation.draw_viscosity(figure, {"model": (25.0, 2.0)}, 1500.0, [(1400.0, 9.8)])
    axes = figure.axes[0]
    assert has_line(axes, np.array([[1500.0, 25.0]]))
    assert has_line(axes, np.array([[1400.0, 9.8]]))


def test_the_x_ray_weighted_function_is_drawn(figure: Figure) -> None:
    curve = RadialDistributionCurve(
        distance=[2.0, 3.0], total=[0.0, 1.0], xray=[0.1, 1.2], partial={}
    )
    validation.draw_radial_distribution(figure, {"model": curve})
    assert has_line(figure.axes[0], np.array([[2.0, 0.1], [3.0, 1.2]]))
    assert figure.axes[0].get_ylabel() == "X-ray g(r)"


def test_the_reference_has_its_own_name(figure: Figure) -> None:
    curve = RadialDistributionCurve(distance=[2.0, 3.0], total=[0.0, 1.0], partial={})
    both = {"model": curve, "reference": curve}
    validation.draw_radial_distribution(figure, both, "stand-in EAM")
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["trained potential", "stand-in EAM"]


def test_a_hole_in_a_dimer_is_marked(figure: Figure, full: ReportData) -> None:
    assert full.validation is not None
    dimers = records.dimers_of(full.validation)
    validation.draw_dimers(figure, dimers)
    marked = {
        axes.texts[0].get_text(): [
            line.get_xdata()[0] for line in axes.lines if line.get_marker() == "v"
        ]
        for axes in figure.axes
        if axes.get_visible()
    }
    assert {pair: where for pair, where in marked.items() if where} == {"Al–Al": [1.7]}


def test_landscape_compares_energies_on_equal_axes(figure: Figure) -> None:
    reference = np.array([-5.1, -5.0, -4.9])
    validation.draw_landscape(figure, reference, reference + 0.01, "stand-in")
    axes = figure.axes[0]
    assert has_line(axes, np.column_stack([reference, reference + 0.01]))
    assert axes.get_xlim() == axes.get_ylim()


def test_heat_capacity(figure: Figure) -> None:
    curve = HeatCapacityCurve(
        temperature=[400.0, 900.0], heat_capacity=[26.0, 41.0], error=[1.0, None]
    )
    validation.draw_heat_capacity(figure, {"model": curve})
    assert has_line(figure.axes[0], np.array([[400.0, 26.0], [900.0, 41.0]]))
