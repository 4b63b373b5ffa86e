"""Figures of several potentials, with experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mgflows.report import style

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from mgflows.report.records import Clock
    from mgflows.schemas.sampling import EffectiveTimeRecord
    from mgflows.schemas.training import ErrorStatistics
    from mgflows.validation.averages import ModelResults
    from mgflows.validation.comparison import Comparison

_COLORS = (style.MLIP, "#c2410c", "#0f9d76", "#3a7bc8", "#ce9600", "#b5485d")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_MODULI = {"E": "young_modulus", "B": "bulk_modulus", "G": "shear_modulus"}


def draw_distribution(figure: Figure, result: Comparison) -> None:
    """Fig. 4a: X-ray weighted g(r) with the standard error over samples as a shaded band."""
    axes = style.single_axes(figure, "distance r (Å)", "X-ray g(r)")
    onset = 10.0
    for model, color, _ in _styled(result):
        g = model.curves.get("radial distribution")
        if g is None:
            continue
        r, xray = np.array(g["distance"]), np.array(g["xray"])
        axes.plot(r, xray, color=color, linewidth=1.2, label=model.name)
        if "xray_error" in g:
            error = np.array(g["xray_error"])
            axes.fill_between(
                r,
                xray - error,
                xray + error,
                color=color,
                alpha=0.25,
                linewidth=0,
                label=style.unlisted(f"{model.name}, standard error"),
            )
        onset = min(onset, float(r[int(np.argmax(xray > 0.02))]))
    style.draw_measured(axes, result.measured("radial_distribution"))
    axes.axhline(1.0, color=style.MUTED, linewidth=0.6)
    axes.set_xlim(max(onset - 0.3, 0.0), 10.0)
    axes.set_ylim(bottom=0.0)
    axes.legend(loc="upper right")


def draw_structure_factor(figure: Figure, result: Comparison) -> None:
    """X-ray weighted structure factor."""
    axes = style.single_axes(figure, "q (1/Å)", "X-ray S(q)")
    for model, color, _ in _styled(result):
        if factor := model.curves.get("structure factor"):
            axes.plot(factor["q"], factor["xray"], color=color, linewidth=1.2, label=model.name)
    style.draw_measured(axes, result.measured("structure_factor"))
    axes.axhline(1.0, color=style.MUTED, linewidth=0.6)
    axes.legend(loc="upper right")


def draw_moduli(figure: Figure, result: Comparison) -> None:
    """Fig. 4b: elastic moduli with experiment."""
    axes = style.single_axes(figure, "", "modulus (GPa)")
    n = len(result.models)
    width = 0.8 / n
    for number, (model, color, _) in enumerate(_styled(result)):
        label = model.name
        for place, quantity in enumerate(_MODULI.values()):
            if estimate := model.estimates.get(quantity):
                axes.bar(
                    place + (number - (n - 1) / 2.0) * width,
                    estimate.value,
                    width=0.92 * width,
                    yerr=estimate.error,
                    color=color,
                    ecolor=style.INK,
                    label=label,
                )
                label = style.unlisted(model.name)
    label = "experiment"
    for place, quantity in enumerate(_MODULI.values()):
        for experiment in result.experiments:
            if experiment.quantity == quantity:
                axes.plot(
                    [place - 0.45, place + 0.45],
                    [experiment.value] * 2,
                    color=style.INK,
                    linestyle=(0, (4, 2)),
                    linewidth=1.0,
                    label=label,
                )
                label = style.unlisted("experiment")
    axes.set_xticks(range(len(_MODULI)), list(_MODULI))
    axes.set_xlabel("quantity", visible=False)
    axes.grid(visible=False, axis="x")
    _legend_above(figure, axes, n_columns=2)


def draw_viscosity(figure: Figure, result: Comparison) -> None:
    """Fig. 5a: viscosity over temperature; experiment as open diamonds."""
    axes = style.single_axes(figure, "temperature (K)", "viscosity (mPa s)")
    for model, color, marker in _styled(result):
        found = _over_temperature(model, "viscosity")
        if len(found):
            axes.errorbar(
                found[:, 0],
                found[:, 1],
                yerr=found[:, 2],
                fmt=f"{marker}-",
                color=color,
                label=model.name,
            )
    for number, experiment in enumerate(
        each for each in result.experiments if each.quantity == "viscosity" and each.temperature
    ):
        axes.plot(
            float(experiment.temperature or 0.0),
            experiment.value,
            "D",
            color=style.INK,
            markerfacecolor="none",
            label=style.unlisted("experiment") if number else "experiment",
        )
    axes.set_ylim(bottom=0.0)
    axes.legend(loc="upper right")


def draw_relaxation_times(figure: Figure, result: Comparison) -> None:
    """Alpha relaxation times of the melts over temperature."""
    axes = style.single_axes(figure, "temperature (K)", "alpha relaxation time (ps)")
    values = []
    for model, color, marker in _styled(result):
        found = _over_temperature(model, "relaxation_time")
        if len(found):
            values += found[:, 1].tolist()
            axes.errorbar(
                found[:, 0],
                found[:, 1],
                yerr=found[:, 2],
                fmt=f"{marker}-",
                color=color,
                label=model.name,
            )
    if max(values) > 10.0 * min(values):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0.0)
    axes.legend(loc="upper right")


def draw_heat_capacity(figure: Figure, result: Comparison) -> None:
    """Fig. 5b: heat capacity along the coolings."""
    axes = style.single_axes(figure, "temperature (K)", "heat capacity (J/(mol K))")
    for model, color, marker in _styled(result):
        if curve := model.curves.get("heat capacity"):
            axes.errorbar(
                curve["temperature"],
                curve["heat_capacity"],
                yerr=np.nan_to_num(curve["error"]),
                fmt=f"{marker}-",
                color=color,
                label=model.name,
            )
    axes.legend(loc="best")


def draw_cooling(figure: Figure, result: Comparison) -> None:
    """Volume along the coolings, whose kink is the glass transition."""
    axes = style.single_axes(figure, "temperature (K)", "volume (Å³ per atom)")
    for model, color, _ in _styled(result):
        if curve := model.curves.get("cooling"):
            axes.plot(curve["temperature"], curve["volume"], color=color, label=model.name)
        kink = model.estimates.get("glass_transition_volume")
        if kink is not None:
            axes.axvline(
                kink.value,
                color=color,
                linewidth=0.8,
                linestyle=(0, (4, 2)),
                label=style.unlisted(f"{model.name}, glass transition"),
            )
    axes.legend(loc="upper left")


def draw_shear_moduli(figure: Figure, result: Comparison) -> None:
    """Fig. 6a: shear modulus over the label energy of each glass, or over the potential's own."""
    own = not _has_labels(result)
    axes = style.single_axes(
        figure, f"{'own' if own else 'label'} energy (eV/atom)", "shear modulus G (GPa)"
    )
    for model, color, marker in _styled(result):
        if energies := model.curves.get("energies"):
            x = np.array(energies["energy" if own else "label"], dtype=float)
            y = np.array(energies["shear_modulus"], dtype=float)
            axes.plot(x, y, marker, color=color, label=model.name)
    axes.margins(y=0.2)
    axes.legend(loc="best")


def draw_landscape(figure: Figure, result: Comparison) -> None:
    """Fig. 6b: energies of the glasses without their mean offset against the label energies."""
    axes = style.single_axes(figure, "label energy (eV/atom)", "energy minus offset (eV/atom)")
    for model, color, marker in _styled(result):
        if energies := model.curves.get("energies"):
            x, y = (np.array(energies[name], dtype=float) for name in ("label", "energy"))
            chosen = np.isfinite(x)
            if chosen.any():
                offset = float((y - x)[chosen].mean())
                axes.plot(
                    x[chosen],
                    y[chosen] - offset,
                    marker,
                    color=color,
                    label=f"{model.name} ({offset:+.2f} eV)",
                )
    low, high = axes.get_xlim()
    axes.plot(
        [low, high], [low, high], color=style.MUTED, linewidth=0.9, zorder=0, label=style.GUIDE
    )
    axes.legend(loc="upper left")


def draw_displacements(figure: Figure, result: Comparison) -> None:
    """Fig. 1b: displacements of the atoms of given glasses that a potential relaxes."""
    axes = style.single_axes(figure, "displacement (Å)", "probability density (1/Å)")
    right = 0.1
    for model, color, _ in _styled(result):
        if curve := model.curves.get("displacements"):
            distance, density = np.array(curve["distance"]), np.array(curve["density"])
            kept = model.estimates.get("delta_cb")
            label = model.name if kept is None else f"{model.name} (Δ_CB {kept.value:.3f})"
            axes.plot(distance, density, color=color, label=label, drawstyle="steps-mid")
            most = np.cumsum(density) / max(float(np.sum(density)), 1e-12)
            right = max(right, float(distance[int(np.argmax(most > 0.99))]) + 0.1)
    axes.set_xlim(0.0, right)
    axes.set_ylim(bottom=0.0)
    axes.legend(loc="upper right")


def draw_stress_strain(figure: Figure, result: Comparison) -> None:
    """Quasi-static shear beyond the largest stress, with the mean yield point."""
    axes = style.single_axes(figure, "shear strain", "shear stress (GPa)")
    for model, color, marker in _styled(result):
        if curve := model.curves.get("stress-strain"):
            axes.plot(curve["strain"], curve["stress"], color=color, label=model.name)
        strain, stress = (model.estimates.get(name) for name in ("yield_strain", "yield_stress"))
        if strain is not None and stress is not None:
            axes.errorbar(
                strain.value,
                stress.value,
                xerr=strain.error,
                yerr=stress.error,
                fmt=marker,
                color=color,
                markeredgecolor=style.INK,
                ecolor=style.INK,
                label=style.unlisted(f"{model.name}, mean yield point"),
            )
    axes.set_xlim(left=0.0)
    axes.set_ylim(bottom=0.0)
    axes.legend(loc="lower right")


def draw_cold_curves(figure: Figure, result: Comparison) -> None:
    """Energy of a glass scaled to 0.7 to 1.3 times its volume."""
    axes = style.single_axes(figure, "volume over that of the glass", "energy (eV/atom)")
    for model, color, _ in _styled(result):
        if curve := model.curves.get("cold"):
            energy = np.array(curve["energy"])
            axes.plot(curve["ratio"], energy - energy.min(), color=color, label=model.name)
    axes.legend(loc="best")


def draw_clocks(
    figure: Figure, clocks: Mapping[str, tuple[Clock, Sequence[EffectiveTimeRecord]]]
) -> None:
    """Fig. 2a of several campaigns: log laws, and the samples at their effective times.

    Parameters
    ----------
    figure
        Empty figure.
    clocks
        Campaign to its clock and its cooling lengths. Energies are in units of each campaign's
        own reference species.
    """
    axes = style.single_axes(
        figure, "log₁₀ cooling time (t*)", "inherent-structure energy per atom (ε)"
    )
    for number, (name, (clock, groups)) in enumerate(clocks.items()):
        color, marker = _COLORS[number % len(_COLORS)], _MARKERS[number % len(_MARKERS)]
        points = np.array([(group.log10_time, group.e_is_reduced) for group in groups])
        ends = np.array([clock.log10_window[0], *(group.log10_time for group in groups)])
        span = np.array([ends.min(), max(float(ends.max()), clock.log10_window[1])])
        axes.plot(span, clock.energy_at(span), color=color, linewidth=1.0, label=name)
        if len(points):
            axes.errorbar(
                points[:, 0],
                points[:, 1],
                xerr=[
                    [max(g.log10_time - g.log10_time_low, 0.0) for g in groups],
                    [max(g.log10_time_high - g.log10_time, 0.0) for g in groups],
                ],
                fmt=marker,
                color=color,
                linewidth=0.9,
                label=style.unlisted(f"{name}, samples"),
            )
    axes.legend(loc="upper right")


def draw_test_errors(figure: Figure, errors: Mapping[str, Mapping[str, ErrorStatistics]]) -> None:
    """Test errors of several potentials by subset.

    Parameters
    ----------
    figure
        Empty figure.
    errors
        Potential to subset (or ``all``) to its test errors.
    """
    subsets = [*style.known_subsets([s for table in errors.values() for s in table]), "all"]
    panels = figure.subplots(1, 2, sharey=True)
    n = len(errors)
    for axes, (attribute, label) in zip(
        panels,
        (("energy_rmse", "energy RMSE\n(meV/atom)"), ("force_rmse", "force RMSE\n(meV/Å)")),
        strict=True,
    ):
        for number, (name, table) in enumerate(errors.items()):
            rows = [row for row, subset in enumerate(subsets) if subset in table]
            axes.plot(
                [getattr(table[subsets[row]], attribute) for row in rows],
                np.array(rows) + 0.5 * (number - (n - 1) / 2.0) / n,
                _MARKERS[number % len(_MARKERS)],
                color=_COLORS[number % len(_COLORS)],
                label=name,
            )
        right = axes.get_xlim()[1]
        axes.set_xlim(-0.03 * right, 1.05 * right)
        style.name_panel(axes, label.partition("\n")[0], y="subset")
        axes.set_xlabel(label)
        axes.grid(visible=False, axis="y")
    panels[0].set_yticks(
        range(len(subsets)),
        [style.subset_style(s).label if s != "all" else "all test frames" for s in subsets],
    )
    panels[0].invert_yaxis()
    _legend_above(figure, panels[0], n_columns=max(min(n, 3), 1))


def _legend_above(figure: Figure, axes: Axes, n_columns: int) -> None:
    """Where bars or points fill the panel up to its top."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=n_columns)


def _over_temperature(model: ModelResults, quantity: str) -> NDArray[np.float64]:
    """(n, 3) temperature, value and error, zero where it is unknown."""
    found = sorted(
        (estimate.temperature, estimate.value, estimate.error or 0.0)
        for key, estimate in model.estimates.items()
        if key.startswith(f"{quantity} ") and estimate.temperature is not None
    )
    return np.array(found)


def _has_labels(result: Comparison) -> bool:
    return any(
        np.isfinite(model.curves.get("energies", {}).get("label", [])).any()
        for model in result.models
    )


def _styled(result: Comparison) -> list[tuple[ModelResults, str, str]]:
    n = len(_COLORS)
    return [(model, _COLORS[k % n], _MARKERS[k % n]) for k, model in enumerate(result.models)]
