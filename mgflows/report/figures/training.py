"""Figures of dataset and training: composition, range, parity, loss and feedback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mgflows.report import style

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from mgflows.database import FrameRecord
    from mgflows.schemas.training import ErrorStatistics, ParityTable

_SIDES = ("train", "test")
_PAIR = ("reference", "predicted")
_SIDE_STYLES = {"train": ("#3a7bc8", "s"), "test": ("#8a5cd1", "^")}
_DOTTED = (0, (2, 1.5))
_LOSS_TERMS: tuple[tuple[str, str, Any, str, str], ...] = (
    ("total", style.INK, "-", "total", "total"),
    ("l1", style.FORCE, "-", "L1 term", "L1 term"),
    ("l2", style.VIRIAL, "-", "L2 term", "L2 term"),
)
_LOSS_ERRORS: tuple[tuple[str, str, Any, str, str], ...] = tuple(
    (f"{name}_{side}", color, dashes, f"{name} ({unit}), {side}", name if side == "train" else "")
    for name, color, unit in (
        ("energy", style.ENERGY, "eV/atom"),
        ("force", style.FORCE, "eV/Å"),
        ("virial", style.VIRIAL, "eV/atom"),
    )
    for side, dashes in (("train", "-"), ("test", _DOTTED))
)
"""Columns of a loss table with colour, dashes, name of the series, and legend if it has one."""


def draw_composition(figure: Figure, counts: Mapping[str, tuple[int, int]]) -> None:
    """Fig. 3a: frames of each subset, with the test frames hatched.

    Parameters
    ----------
    figure
        Empty figure.
    counts
        Subset to its number of training and of test frames.
    """
    axes = style.single_axes(figure, "frames", "")
    subsets = style.known_subsets(list(counts))
    total = sum(sum(pair) for pair in counts.values())
    longest = max(sum(counts[subset]) for subset in subsets)
    for row, subset in enumerate(subsets):
        look, (train, test) = style.subset_style(subset), counts[subset]
        for side, n, left, alpha in (("train", train, 0, 1.0), ("test", test, train, 0.45)):
            axes.barh(
                row,
                n,
                left=left,
                color=look.color,
                alpha=alpha,
                height=0.66,
                label=style.unlisted(side),
            )
        axes.text(
            train + test + 0.015 * longest,
            row,
            f"{train + test}  ({100 * (train + test) / total:.0f}%)",
            va="center",
            color=style.INK,
        )
    axes.set_yticks(range(len(subsets)), [style.subset_style(subset).label for subset in subsets])
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.22 * longest)
    axes.set_ylabel("subset", visible=False)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def draw_range(figure: Figure, frames: Sequence[FrameRecord]) -> None:
    """The range of the dataset: pressure against energy of every frame.

    Parameters
    ----------
    figure
        Empty figure.
    frames
        Labelled frames.
    """
    axes = style.single_axes(figure, "label energy (eV/atom)", "pressure (GPa)")
    for subset in style.known_subsets([frame.subset for frame in frames]):
        look = style.subset_style(subset)
        points = np.array(
            [(frame.energy_per_atom, frame.pressure) for frame in frames if frame.subset == subset]
        )
        axes.plot(
            *points.T,
            look.marker,
            color=look.color,
            alpha=0.85,
            markersize=style.points(3.5),
            markeredgewidth=0,
            rasterized=True,
            label=style.unlisted(look.label),
        )
    _subset_legend(axes, [frame.subset for frame in frames], loc="best")


def draw_energy_parity(figure: Figure, parity: Mapping[str, ParityTable]) -> None:
    """Fig. 3b: predicted against label energies of the glasses, all frames (inset), residuals.

    Test frames are open symbols. Crystals span several eV, a range in which the glasses are a
    single point; the large axes show the range of the other subsets.

    Parameters
    ----------
    figure
        Empty figure.
    parity
        Values in eV per atom.
    """
    parity_axes, residual_axes = figure.subplots(2, 1, height_ratios=(2.2, 1.0))
    sides = {
        side: (
            np.array(parity[side].subset),
            np.array(parity[side].energy.reference),
            np.array(parity[side].energy.predicted),
        )
        for side in _SIDES
        if side in parity
    }
    limits = _glass_range(sides)
    _draw_by_subset(parity_axes, sides)
    parity_axes.set(
        xlim=limits,
        ylim=limits,
        xlabel="label energy (eV/atom)",
        ylabel="energy of the potential (eV/atom)",
    )
    everything = np.concatenate([np.concatenate(values[1:]) for values in sides.values()])
    if np.ptp(everything) > 1.05 * np.ptp(limits):
        inset = parity_axes.inset_axes((0.63, 0.21, 0.36, 0.42))
        _draw_by_subset(inset, sides, legend=False)
        inset.tick_params(labelsize=style.points(6.5))
        inset.locator_params(nbins=4)
        inset.indicate_inset((limits[0], limits[0], np.ptp(limits), np.ptp(limits)), alpha=0.6)
        inset.set_title("all frames", fontsize=style.points(7), pad=2)
        inset.set_label(style.GUIDE)
    _draw_by_subset(
        residual_axes,
        {
            side: (subsets, reference, 1e3 * (predicted - reference))
            for side, (subsets, reference, predicted) in sides.items()
        },
        legend=False,
        diagonal=False,
    )
    inside = np.concatenate(
        [
            1e3 * np.abs(predicted - reference)[(reference > limits[0]) & (reference < limits[1])]
            for _, reference, predicted in sides.values()
        ]
    )
    largest = 1.15 * float(inside.max(initial=1e-3))
    residual_axes.axhline(0.0, color=style.MUTED, linewidth=0.8, zorder=1)
    residual_axes.set(
        xlim=limits,
        ylim=(-largest, largest),
        xlabel="label energy (eV/atom)",
        ylabel="residual (meV/atom)",
    )
    style.name_panel(parity_axes, "energies")
    style.name_panel(residual_axes, "residuals")


def _glass_range(
    sides: Mapping[str, tuple[NDArray[np.str_], NDArray[np.float64], NDArray[np.float64]]],
) -> tuple[float, float]:
    """Range of the energies of all frames except crystals; of all if there are no others."""
    subsets, reference, predicted = (
        np.concatenate(each) for each in zip(*sides.values(), strict=True)
    )
    chosen = subsets != "crystal"
    if not chosen.any():
        chosen = np.ones(len(subsets), dtype=bool)
    values = np.concatenate([reference[chosen], predicted[chosen]])
    margin = 0.03 * float(np.ptp(values)) or 1.0
    return float(values.min()) - margin, float(values.max()) + margin


def draw_parity_by_side(figure: Figure, parity: Mapping[str, ParityTable]) -> None:
    """Figs. S2a-c: energies, force components and virials, for training and for test frames.

    Parameters
    ----------
    figure
        Empty figure.
    parity
        Values in eV per atom and eV/A.
    """
    panels = figure.subplots(1, 3)
    for axes, name, unit in zip(
        panels, ("energy", "force", "virial"), ("eV/atom", "eV/Å", "eV/atom"), strict=True
    ):
        pairs = {
            side: [np.ravel(getattr(getattr(parity[side], name), which)) for which in _PAIR]
            for side in _SIDES
            if side in parity
        }
        values = np.concatenate([np.concatenate(pair) for pair in pairs.values()])
        margin = 0.04 * float(np.ptp(values)) or 1.0
        limits = (float(values.min()) - margin, float(values.max()) + margin)
        axes.plot(limits, limits, color=style.MUTED, linewidth=0.8, zorder=1, label=style.GUIDE)
        for side, pair in pairs.items():
            color, marker = _SIDE_STYLES[side]
            axes.plot(
                *pair,
                marker,
                color=color,
                markersize=style.points(3.4),
                markerfacecolor="none",
                markeredgewidth=0.6,
                rasterized=True,
                label=side,
            )
        axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel=f"label {name}\n({unit})")
        style.name_panel(axes, name, y=f"{name} of the potential ({unit})")
        axes.locator_params(nbins=5)
    figure.supylabel("potential", fontsize=style.points(8.5))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2)


def draw_virial_parity(figure: Figure, parity: Mapping[str, ParityTable]) -> None:
    """Fig. S2d: predicted against label virials, all six components, test frames open.

    Parameters
    ----------
    figure
        Empty figure.
    parity
        Values in eV per atom.
    """
    axes = style.single_axes(figure, "label virial (eV/atom)", "virial of the potential (eV/atom)")
    _draw_by_subset(
        axes,
        {
            side: (
                np.repeat(table.subset, 6),
                np.ravel(table.virial.reference),
                np.ravel(table.virial.predicted),
            )
            for side, table in parity.items()
        },
    )


def draw_force_parity(figure: Figure, parity: Mapping[str, ParityTable]) -> None:
    """Fig. 3c: density of predicted against label force components, for training and test frames.

    Parameters
    ----------
    figure
        Empty figure.
    parity
        Values in eV/A.
    """
    from matplotlib.colors import LogNorm

    sides = [side for side in _SIDES if side in parity]
    forces = {side: parity[side].force for side in sides}
    all_values = np.concatenate([(*f.reference, *f.predicted) for f in forces.values()])
    limit = 1.05 * float(np.quantile(np.abs(all_values), 0.9995))
    panels = figure.subplots(1, len(sides), sharex=True, sharey=True, squeeze=False)[0]
    for axes, side in zip(panels, sides, strict=True):
        reference, predicted = forces[side].reference, forces[side].predicted
        axes.plot(
            [-limit, limit], [-limit, limit], color=style.MUTED, linewidth=0.8, label=style.GUIDE
        )
        # A density saturates less than 40 000 overlapping dots and still shows each outlier.
        axes.hexbin(
            reference,
            predicted,
            gridsize=70,
            extent=(-limit, limit, -limit, limit),
            mincnt=1,
            norm=LogNorm(),
            cmap=style.density_colormap(style.MLIP),
            linewidths=0.1,
            rasterized=True,
            label=style.unlisted("number of force components"),
        )
        style.name_panel(axes, side, y="force of the potential (eV/Å)")
        axes.set(
            xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xlabel="label force (eV/Å)"
        )
        axes.text(0.04, 0.96, side, transform=axes.transAxes, va="top", fontweight="bold")
        style.annotate_corner(axes, f"{len(reference):,} components")
    panels[0].yaxis.label.set_visible(True)


def draw_loss(figure: Figure, *losses: Mapping[str, Sequence[float | None]]) -> None:
    """Fig. 3d: the loss of the training and its regularisation, and the errors.

    Parameters
    ----------
    figure
        Empty figure.
    losses
        Loss tables of trainings that continue each other: column to values, of the columns
        ``step`` and any of ``total``, ``l1``, ``l2``, ``energy_train``, ``force_train``,
        ``virial_train`` and their ``_test``. Terms that are zero throughout are left out.
    """
    terms, errors = figure.subplots(1, 2)
    begin = 0.0
    for number, loss in enumerate(losses):
        steps = begin + np.array(loss["step"], dtype=float)
        for axes, series in ((terms, _LOSS_TERMS), (errors, _LOSS_ERRORS)):
            for column, color, dashes, name, label in series:
                values = np.array(
                    [np.nan if value is None else value for value in loss.get(column, [])],
                    dtype=float,
                )
                if len(values) != len(steps) or not np.nanmax(values, initial=0.0) > 0.0:
                    continue
                axes.plot(
                    steps,
                    np.where(values > 0.0, values, np.nan),
                    color=color,
                    linestyle=dashes,
                    linewidth=1.3,
                    marker="." if len(steps) < 40 else None,
                    markersize=style.points(3.0),
                    label=style.unlisted(
                        f"{name}, training {number + 1}" if len(losses) > 1 else name
                    ),
                )
                if label and number == len(losses) - 1:
                    axes.plot([], [], color=color, linestyle=dashes, linewidth=1.3, label=label)
        begin = float(steps[-1]) if len(steps) else begin
        if number < len(losses) - 1:
            for axes in (terms, errors):
                axes.axvline(begin, color=style.ONSET, linewidth=0.9)
    for axes, label in ((terms, "loss"), (errors, "RMSE (eV/atom, eV/Å)")):
        axes.set(yscale="log", xlabel="training step", ylabel=label)
        axes.yaxis.set_major_formatter(lambda value, _position: f"{value:g}")
        axes.locator_params(axis="x", nbins=5)
        style.name_panel(axes, label.partition(" (")[0])
    errors.plot([], [], color=style.MUTED, linestyle=_DOTTED, linewidth=1.3, label="dotted: test")
    handles, labels = (
        one + other
        for one, other in zip(
            terms.get_legend_handles_labels(), errors.get_legend_handles_labels(), strict=True
        )
    )
    figure.legend(handles, labels, loc="outside upper left", ncols=4, columnspacing=1.0)


def draw_feedback(
    figure: Figure, before: Mapping[str, ErrorStatistics], after: Mapping[str, ErrorStatistics]
) -> None:
    """Test errors per subset before and after the feedback step.

    Parameters
    ----------
    figure
        Empty figure.
    before, after
        Subset (or ``all``) to test errors of the two potentials.
    """
    subsets = [*style.known_subsets([*before, *after]), "all"]
    sides = (
        ("before feedback", style.INK, style.SURFACE),
        ("after", style.MLIP, style.MLIP),
    )
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (attribute, label) in zip(
        panels,
        (("energy_rmse", "energy RMSE\n(meV/atom)"), ("force_rmse", "force RMSE\n(meV/Å)")),
        strict=True,
    ):
        for row, subset in enumerate(subsets):
            values = [
                getattr(table[subset], attribute) if subset in table else None
                for table in (before, after)
            ]
            if None not in values:
                axes.plot(
                    values,
                    [row, row],
                    color=style.MUTED,
                    linewidth=0.9,
                    zorder=1,
                    label=style.GUIDE,
                )
            for value, (name, color, face) in zip(values, sides, strict=True):
                if value is not None:
                    axes.plot(
                        value,
                        row,
                        "o",
                        color=color,
                        markerfacecolor=face,
                        markersize=style.points(5),
                        zorder=2,
                        label=style.unlisted(name),
                    )
        style.name_panel(axes, label.partition("\n")[0], y="subset")
        axes.set_xlabel(label)
        right = axes.get_xlim()[1]
        axes.set_xlim(-0.03 * right, 1.05 * right)
        axes.grid(visible=False, axis="y")
    panels[0].set_yticks(
        range(len(subsets)),
        [style.subset_style(s).label if s != "all" else "all test frames" for s in subsets],
    )
    panels[0].invert_yaxis()
    handles = [
        panels[1].plot([], [], "o", color=color, markerfacecolor=face, label=name)[0]
        for name, color, face in sides
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2)


def _draw_by_subset(
    axes: Axes,
    sides: Mapping[str, tuple[NDArray[np.str_], NDArray[np.float64], NDArray[np.float64]]],
    *,
    legend: bool = True,
    diagonal: bool = True,
) -> None:
    everything = np.concatenate(
        [values for _, reference, predicted in sides.values() for values in (reference, predicted)]
    )
    margin = 0.03 * float(np.ptp(everything)) or 1.0
    limits = (float(everything.min()) - margin, float(everything.max()) + margin)
    if diagonal:
        axes.plot(limits, limits, color=style.MUTED, linewidth=0.8, zorder=1, label=style.GUIDE)
    names = [str(name) for subsets, _, _ in sides.values() for name in np.unique(subsets)]
    for side, (subsets, reference, predicted) in sides.items():
        for subset in style.known_subsets([str(name) for name in np.unique(subsets)]):
            look, chosen = style.subset_style(subset), subsets == subset
            is_test = side == "test"
            axes.plot(
                reference[chosen],
                predicted[chosen],
                look.marker,
                color=look.color,
                markersize=style.points(4.8 if is_test else 3.2),
                markerfacecolor="none" if is_test else look.color,
                markeredgewidth=0.9 if is_test else 0.0,
                alpha=1.0 if is_test else 0.55,
                rasterized=True,
                zorder=3 if is_test else 2,
                label=style.unlisted(f"{look.label}, {side}"),
            )
    axes.set(xlim=limits, ylim=limits)
    if legend:
        _subset_legend(axes, names, loc="upper left")
        style.annotate_corner(axes, "filled: train, open: test")


def _subset_legend(axes: Axes, subsets: Sequence[str], loc: Literal["best", "upper left"]) -> None:
    for subset in style.known_subsets(subsets):
        look = style.subset_style(subset)
        axes.plot([], [], look.marker, color=look.color, markeredgewidth=0, label=look.label)
    axes.legend(loc=loc, handletextpad=0.3, fontsize=style.points(7.5))
