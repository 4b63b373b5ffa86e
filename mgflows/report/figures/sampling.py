"""Figures of the sampling stage: supercooling clock, surrogate energies, relaxation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mgflows.fits import fit_line
from mgflows.report import style
from mgflows.report.content import slope_with_error
from mgflows.report.statistics import mean_and_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from mgflows.report.records import Clock, RelaxationRecord
    from mgflows.schemas.sampling import EffectiveTimeRecord


_NARROWEST_KERNEL = 5e-3
"""A; far below any displacement of interest."""


def draw_displacements(figure: Figure, relaxations: Sequence[RelaxationRecord]) -> None:
    """Fig. 1b: displacements of atoms on relaxation, and (inset) the fraction of bonds kept.

    Parameters
    ----------
    figure
        Empty figure.
    relaxations
        Relaxed samples with displacements in A.
    """
    axes = style.single_axes(figure, "displacement magnitude (Å)", "probability density (Å⁻¹)")
    groups = _by_cooling(relaxations)
    limit = max(
        float(np.quantile(np.concatenate([r.displacements for r in relaxations]), 0.998)),
        4.0 * _NARROWEST_KERNEL,
    )
    distances = np.linspace(0.0, limit, 200)
    highest = 0.0
    for color, (label, members) in zip(
        style.cooling_colors(len(groups)), groups.items(), strict=True
    ):
        density = _radial_density(np.concatenate([r.displacements for r in members]), distances)
        axes.plot(distances, density, color=color, label=label)
        highest = max(highest, float(density.max()))
    axes.set_xlim(0.0, limit)
    axes.set_ylim(0.0, 1.75 * highest)
    axes.legend(title="cooling (sweeps)", loc="upper left", title_fontsize=style.points(8))
    style.name_panel(axes, "displacements")
    _draw_preserved_bonds(axes.inset_axes((0.56, 0.66, 0.43, 0.33)), groups)


def _radial_density(values: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kernel density of magnitudes (Gaussian, Scott's width), reflected at zero."""
    width = max(float(values.std()) * len(values) ** -0.2, _NARROWEST_KERNEL)
    kernels = sum(
        np.exp(-0.5 * ((at[:, None] + sign * values) / width) ** 2) for sign in (-1.0, 1.0)
    )
    return np.asarray(kernels).mean(axis=1) / (width * np.sqrt(2.0 * np.pi))


def _draw_preserved_bonds(axes: Axes, groups: dict[str, list[RelaxationRecord]]) -> None:
    positions = np.arange(len(groups))
    for affine, marker, face, label in (
        (False, "o", style.INK, "own cell"),
        (True, "s", "none", "same cell"),
    ):
        values = [
            mean_and_error([r.delta_cb_affine if affine else r.delta_cb for r in members])
            for members in groups.values()
        ]
        mean, error = np.array(values).T
        if np.isnan(mean).all():
            continue
        offset = 0.12 if affine else -0.12
        axes.errorbar(
            positions + offset,
            100.0 * mean,
            yerr=100.0 * np.nan_to_num(error),
            fmt=marker,
            color=style.INK,
            markerfacecolor=face,
            markersize=style.points(3.5),
            linewidth=0.8,
            label=label,
        )
    axes.set_xticks(positions, list(groups), fontsize=style.points(7))
    axes.tick_params(axis="y", labelsize=style.points(7))
    axes.set_xlim(-0.6, len(groups) - 0.4)
    lower = min(axes.get_ylim()[0], 95.0)
    axes.set_ylim(100.5 - 1.45 * (100.5 - lower), 100.5)
    axes.set_ylabel("bonds kept (%)", fontsize=style.points(7.5))
    style.name_panel(axes, "bonds kept", x="cooling (sweeps)")
    axes.legend(
        fontsize=style.points(7),
        loc="lower center",
        ncols=2,
        handletextpad=0.2,
        columnspacing=0.8,
        borderaxespad=0.1,
    )


def draw_supercooling(
    figure: Figure,
    clock: Clock,
    groups: Sequence[EffectiveTimeRecord],
    seconds_per_reduced_time: float,
) -> None:
    """Fig. 2a: inherent-structure energy against cooling time, extrapolated to the samples.

    Parameters
    ----------
    figure
        Empty figure.
    clock
        The fitted log law with the molecular-dynamics energies it was fitted to.
    groups
        Monte Carlo cooling lengths with their effective times.
    seconds_per_reduced_time
        t* in s, for the upper axis.
    """
    axes = style.single_axes(
        figure, "log₁₀ cooling time (t*)", "inherent-structure energy per atom (ε)"
    )
    times = np.array([time for time, _ in clock.energies])
    ends = [*np.log10(times), *(g.log10_time_high for g in groups)]
    span = np.array(
        [
            min(np.log10(times).min(initial=0.0), clock.log10_onset_time or 0.0) - 0.4,
            max(ends, default=1.0) + 0.6,
        ]
    )
    _draw_law(axes, clock, span)
    _draw_groups(axes, groups, float(span.mean()))
    if clock.log10_onset_time is not None:
        axes.axvline(
            clock.log10_onset_time,
            color=style.ONSET,
            linewidth=1.2,
            label=style.unlisted("onset of supercooling"),
        )
        axes.annotate(
            "onset",
            (clock.log10_onset_time, 0.04),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            color=style.INK,
        )
    axes.set_xlim(*span)
    axes.legend(loc="upper right")
    shift = float(np.log10(seconds_per_reduced_time))
    seconds = axes.secondary_xaxis(
        "top", functions=(lambda x: np.add(x, shift), lambda x: np.subtract(x, shift))
    )
    seconds.set_xlabel("log₁₀ time (s)")


def _draw_law(axes: Axes, clock: Clock, span: NDArray[np.float64]) -> None:
    """The log law with its fit window, its interval and the energies it was fitted to."""
    times = np.array([time for time, _ in clock.energies])
    statistics = np.array([mean_and_error(values) for _, values in clock.energies])
    low, high = clock.log10_window
    axes.axvspan(low, high, color=style.GRID, alpha=0.55, linewidth=0, zorder=0)
    fan = np.linspace(float(span[0]), float(span[1]), 60)
    axes.fill_between(
        fan,
        *clock.interval_at(fan),
        color=style.MUTED,
        alpha=0.18,
        linewidth=0,
        zorder=0.5,
        label=style.unlisted("log law, 68% interval"),
    )
    axes.plot(
        span,
        clock.energy_at(span),
        color=style.MUTED,
        linestyle=(0, (4, 3)),
        linewidth=1.0,
        zorder=1,
        label=style.unlisted("log law, extrapolated"),
    )
    axes.plot(
        [low, high],
        clock.energy_at(np.array([low, high])),
        color=style.INK,
        linewidth=1.6,
        zorder=2,
        label="log law, fit window shaded",
    )
    if len(times):
        axes.errorbar(
            np.log10(times),
            statistics[:, 0],
            yerr=np.nan_to_num(statistics[:, 1]),
            fmt="s",
            color=style.INK,
            markerfacecolor=style.SURFACE,
            linestyle="none",
            zorder=3,
            label="molecular dynamics",
        )


def _draw_groups(axes: Axes, groups: Sequence[EffectiveTimeRecord], middle: float) -> None:
    """The Monte Carlo coolings by length; labels are left of the points after the middle."""
    ordered = sorted(groups, key=lambda group: group.n_sweeps)
    for color, group in zip(style.cooling_colors(len(ordered)), ordered, strict=True):
        interval = [
            [max(group.log10_time - group.log10_time_low, 0.0)],
            [max(group.log10_time_high - group.log10_time, 0.0)],
        ]
        axes.errorbar(
            group.log10_time,
            group.e_is_reduced,
            xerr=interval,
            yerr=float(np.nan_to_num(group.e_is_reduced_error)),
            fmt="o",
            color=color,
            markersize=style.points(6),
            zorder=4,
            label=style.unlisted(f"swap Monte Carlo, {style.scientific(group.n_sweeps)} sweeps"),
        )
        is_late = group.log10_time > middle
        axes.annotate(
            f"{style.scientific(group.n_sweeps)} sweeps",
            (group.log10_time, group.e_is_reduced),
            xytext=(-8, -10) if is_late else (7, 9),
            textcoords="offset points",
            ha="right" if is_late else "left",
            va="center",
            color=style.INK,
        )


def draw_energy_correlation(
    figure: Figure, records: Sequence[tuple[int, float, float]], method: str
) -> None:
    """Fig. 2b: label energy of the snapshots against their surrogate energy, with a fit.

    Parameters
    ----------
    figure
        Empty figure.
    records
        Cooling length in sweeps, surrogate energy and label energy (eV per atom) of each sample.
    method
        Short name of the label method.
    """
    axes = style.single_axes(
        figure, "surrogate energy e(LJ) (eV/atom)", f"label energy e({method}) (eV/atom)"
    )
    lengths = sorted({n_sweeps for n_sweeps, _, _ in records})
    for color, length in zip(style.cooling_colors(len(lengths)), lengths, strict=True):
        members = np.array([(x, y) for n_sweeps, x, y in records if n_sweeps == length])
        axes.plot(
            *members.T,
            "o",
            color=color,
            alpha=0.85,
            markersize=style.points(4.5),
            label=style.scientific(length),
        )
    fit = fit_line([x for _, x, _ in records], [y for _, _, y in records])
    if fit is not None:
        ends = np.array([min(x for _, x, _ in records), max(x for _, x, _ in records)])
        axes.plot(
            ends,
            fit(ends),
            color=style.INK,
            linestyle=(0, (4, 3)),
            linewidth=1.1,
            label=style.unlisted("least-squares fit"),
        )
        style.annotate_corner(
            axes, f"R² = {fit.r2:.2f}\nslope {slope_with_error(fit.slope, fit.slope_error)}"
        )
    axes.legend(title="cooling (sweeps)", loc="upper left", title_fontsize=style.points(8))


def draw_relaxation_energies(
    figure: Figure,
    records: Sequence[tuple[int, float, float]],
    relaxations: Sequence[RelaxationRecord],
    method: str,
) -> None:
    """Fig. S1: label energies before and after relaxation, connected by arrows.

    Parameters
    ----------
    figure
        Empty figure.
    records
        Cooling length, surrogate and label energy (eV per atom) of all samples.
    relaxations
        The relaxed ones.
    method
        Short name of the label method.
    """
    axes = style.single_axes(
        figure, "surrogate energy e(LJ) (eV/atom)", f"label energy e({method}) (eV/atom)"
    )
    before, after = style.subset_style("lj_surrogate"), style.subset_style("dft_minimized")
    axes.plot(
        [x for _, x, _ in records],
        [y for _, _, y in records],
        before.marker,
        color=before.color,
        alpha=0.9,
        label="as sampled",
    )
    located = [
        (r.energy_lj, r.energy_before, r.energy_after)
        for r in relaxations
        if r.energy_lj is not None
    ]
    for energy_lj, energy_before, energy_after in located:
        axes.annotate(
            "",
            (energy_lj, energy_after),
            (energy_lj, energy_before),
            arrowprops={
                "arrowstyle": "-|>",
                "color": style.MUTED,
                "linewidth": 0.7,
                "mutation_scale": 7,
                "shrinkA": 3,
                "shrinkB": 3,
            },
        )
    relaxed_lj, relaxed_energies = [x for x, _, _ in located], [y for _, _, y in located]
    axes.plot(relaxed_lj, relaxed_energies, after.marker, color=after.color, label="relaxed")
    fit = fit_line(relaxed_lj, relaxed_energies)
    if fit is not None:
        style.annotate_corner(
            axes,
            f"{fit.n_points} relaxed: R² = {fit.r2:.2f}, slope "
            f"{slope_with_error(fit.slope, fit.slope_error)}",
            corner="upper left",
        )
    figure.legend(loc="outside upper right", ncols=2)


def _by_cooling(relaxations: Sequence[RelaxationRecord]) -> dict[str, list[RelaxationRecord]]:
    lengths = sorted({r.n_sweeps for r in relaxations if r.n_sweeps is not None})
    groups = {
        style.scientific(length): [r for r in relaxations if r.n_sweeps == length]
        for length in lengths
    }
    unknown = [r for r in relaxations if r.n_sweeps is None]
    return groups | ({"unknown": unknown} if unknown else {})
