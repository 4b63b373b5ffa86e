"""Figures of the validation: the potential and its reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mgflows.fits import fit_line
from mgflows.report import style
from mgflows.report.content import slope_with_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from mgflows.report.records import Dimer, Elasticity, Shear
    from mgflows.schemas.validation import (
        HeatCapacityCurve,
        QuenchDocument,
        RadialDistributionCurve,
    )
    from mgflows.validation.experiments import MeasuredCurve

REFERENCE = "reference method"
"""Legend of a reference without a short name."""
_REPULSIVE_BELOW = 2.0
"""Distance in A below which atoms must repel (:mod:`mgflows.validation.dimers`)."""
_SHOWN_FROM = 1.2
"""Distance in A below which only the Ziegler-Biersack-Littmark core acts."""


def draw_radial_distribution(
    figure: Figure,
    distributions: Mapping[str, RadialDistributionCurve],
    reference: str = REFERENCE,
    measured: Sequence[MeasuredCurve] = (),
) -> None:
    """Fig. 4a: radial distribution function of the potential, of the reference and of experiment.

    They are X-ray weighted, as measured by diffraction; documents of version 0.1 only have the
    total one.

    Parameters
    ----------
    figure
        Empty figure.
    distributions
        Functions on a grid in A.
    reference
        Name of the reference in the legend.
    measured
        Measured X-ray weighted functions.
    """
    weighted = is_xray_weighted(distributions)
    axes = style.single_axes(figure, "distance r (Å)", "X-ray g(r)" if weighted else "g(r)")
    for model, curve in distributions.items():
        values = curve.xray if weighted else curve.total
        _draw_curve(axes, curve.distance, values, model, label=_model_name(model, reference))
    end = max(curve.distance[-1] for curve in distributions.values())
    style.draw_measured(axes, measured)
    axes.axhline(1.0, color=style.MUTED, linewidth=0.6)
    _from_first_peak(axes, distributions)
    axes.set_xlim(right=end)
    axes.legend(loc="upper right")


def is_xray_weighted(distributions: Mapping[str, RadialDistributionCurve]) -> bool:
    """Whether all distributions have the X-ray weighted function."""
    return all(len(curve.xray) == len(curve.distance) for curve in distributions.values())


def draw_partials(
    figure: Figure,
    distributions: Mapping[str, RadialDistributionCurve],
    reference: str = REFERENCE,
) -> None:
    """Fig. 4a by pair of species: one small panel for each.

    Parameters
    ----------
    figure
        Empty figure.
    distributions
        Functions on a grid in A.
    reference
        Name of the reference.
    """
    pairs = list(dict.fromkeys(pair for curve in distributions.values() for pair in curve.partial))
    n_columns = 3 if len(pairs) > 4 else 2
    n_rows = -(-len(pairs) // n_columns)
    panels = figure.subplots(n_rows, n_columns, sharex=True, squeeze=False).ravel()
    for axes, pair in zip(panels, pairs, strict=False):
        for model, curve in distributions.items():
            if pair in curve.partial:
                _draw_curve(
                    axes,
                    curve.distance,
                    curve.partial[pair],
                    model,
                    label=style.unlisted(_model_name(model, reference)),
                    linewidth=1.1,
                )
        axes.axhline(1.0, color=style.MUTED, linewidth=0.5)
        axes.text(
            0.95,
            0.93,
            pair.replace("-", "–"),
            transform=axes.transAxes,
            ha="right",
            va="top",
            fontweight="bold",
        )
        _from_first_peak(axes, distributions)
        style.name_panel(axes, pair, x="distance r (Å)", y="partial g(r)")
    for axes in panels[len(pairs) :]:
        axes.set_visible(False)
    figure.supxlabel("distance r (Å)", fontsize=style.points(8.5))
    figure.supylabel("partial g(r)", fontsize=style.points(8.5))
    drawn = {str(line.get_label()): line for axes in panels for line in axes.lines}
    names = [_model_name(model, reference) for model in distributions]
    shown = {name: drawn[style.unlisted(name)] for name in names if style.unlisted(name) in drawn}
    figure.legend(shown.values(), shown, loc="outside upper left", ncols=max(len(shown), 1))


def draw_elasticity(
    figure: Figure,
    elasticity: Elasticity,
    measured: Mapping[str, Sequence[float]] | None = None,
    reference: str = REFERENCE,
) -> None:
    """Fig. 4b: elastic moduli and Poisson's ratio, with standard errors over the samples.

    Parameters
    ----------
    figure
        Empty figure.
    elasticity
        Moduli in GPa.
    measured
        Measured values of E, B, G (GPa) and ν by name.
    reference
        Name of the reference in the legend.
    """
    from matplotlib.patches import Patch

    measured = measured or {}
    moduli, ratio = figure.subplots(1, 2, width_ratios=(3, 1.15))
    models = list(elasticity.moduli)
    for axes, names in ((moduli, ("E", "B", "G")), (ratio, ("ν",))):
        for offset, model in zip(
            np.linspace(-0.19, 0.19, len(models)) if len(models) > 1 else [0.0], models, strict=True
        ):
            color, face = _colors(model)
            for position, name in enumerate(names):
                mean, error = elasticity.moduli[model][name]
                axes.bar(
                    position + offset,
                    mean,
                    yerr=error if np.isfinite(error) else None,
                    width=0.34,
                    color=face,
                    edgecolor=color,
                    linewidth=1.0,
                    error_kw={"ecolor": style.INK, "linewidth": 0.9},
                    label=style.unlisted(_model_name(model, reference)),
                )
                axes.annotate(
                    f"{mean:.2f}" if name == "ν" else f"{mean:.0f}",
                    (position + offset, mean + np.nan_to_num(error)),
                    xytext=(0, 3),
                    textcoords="offset points",
                    ha="center",
                    fontsize=style.points(7.5),
                )
        for position, name in enumerate(names):
            for value in measured.get(name, ()):
                axes.plot(
                    [position - 0.42, position + 0.42],
                    [value, value],
                    color=style.FORCE,
                    linestyle=(0, (4, 2)),
                    linewidth=1.2,
                    label=style.unlisted("experiment"),
                )
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.55, len(names) - 0.45)
        axes.margins(y=0.14)
        axes.set_ylim(bottom=0.0)
        axes.grid(visible=False, axis="x")
        axes.tick_params(axis="x", length=0)
    for axes, name, label in (
        (moduli, "moduli", "modulus (GPa)"),
        (ratio, "Poisson's ratio", "Poisson's ratio"),
    ):
        style.name_panel(axes, name, x="quantity")
        axes.set_ylabel(label)
    handles: list[Artist] = []
    for model in models:
        color, face = _colors(model)
        handles.append(
            Patch(
                facecolor=face, edgecolor=color, linewidth=1.0, label=_model_name(model, reference)
            )
        )
    if measured:
        handles += moduli.plot(
            [], [], color=style.FORCE, linestyle=(0, (4, 2)), linewidth=1.2, label="experiment"
        )
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles))


def draw_viscosity(
    figure: Figure,
    viscosities: Mapping[str, tuple[float, float]],
    temperature: float,
    measured: Sequence[tuple[float, float]] = (),
    reference: str = REFERENCE,
) -> None:
    """Fig. 5a: viscosity of the melt at one temperature, with standard errors.

    Parameters
    ----------
    figure
        Empty figure.
    viscosities
        Value and standard error in mPa s by model.
    temperature
        K.
    measured
        Temperatures (K) and measured viscosities (mPa s).
    reference
        Name of the reference in the legend.
    """
    axes = style.single_axes(figure, "temperature (K)", "viscosity (mPa s)")
    for model, (value, error) in viscosities.items():
        color, face = _colors(model)
        axes.errorbar(
            temperature,
            value,
            yerr=np.nan_to_num(error),
            fmt="o",
            color=color,
            markerfacecolor=face,
            label=_model_name(model, reference),
        )
    if measured:
        axes.plot(*zip(*measured, strict=True), "D", color=style.FORCE, label="experiment")
    axes.margins(x=0.3, y=0.3)
    axes.set_ylim(bottom=0.0)
    axes.legend(loc="best")


def draw_shear_moduli(
    figure: Figure, shear: Sequence[Shear], method: str, reference: str = REFERENCE
) -> None:
    """Fig. 6a: shear modulus from athermal quasistatic shear against the label energy of the glass.

    Parameters
    ----------
    figure
        Empty figure.
    shear
        One entry per sample, with its energy.
    method
        Short name of the labelling method.
    reference
        Name of the reference in the legend.
    """
    axes = style.single_axes(
        figure, f"energy e({method}) of the relaxed glass (eV/atom)", "shear modulus G (GPa)"
    )
    for model in _models(shear):
        color, face = _colors(model)
        points = np.array(
            [
                (s.energy, s.moduli[model])
                for s in shear
                if s.energy is not None and model in s.moduli
            ]
        )
        if len(points):
            axes.plot(
                *points.T,
                "o",
                color=color,
                markerfacecolor=face,
                markersize=style.points(5.5),
                label=_model_name(model, reference) + _slope_of(points),
            )
    axes.margins(y=0.2)
    axes.legend(loc="best")


def _slope_of(points: NDArray[np.float64]) -> str:
    fit = fit_line(*points.T)
    if fit is None:
        return ""
    return f", slope {slope_with_error(fit.slope, fit.slope_error)} GPa/(eV/atom)"


def draw_landscape(
    figure: Figure, reference: NDArray[np.float64], predicted: NDArray[np.float64], method: str
) -> None:
    """Fig. 6b: energy of the potential against the label energy of relaxed glasses.

    Parameters
    ----------
    figure
        Empty figure.
    reference, predicted
        (n,) energies in eV per atom.
    method
        Short name of the labelling method.
    """
    axes = style.single_axes(
        figure, f"label energy e({method}) (eV/atom)", "energy of the potential (eV/atom)"
    )
    both = np.concatenate([reference, predicted])
    margin = 0.08 * float(np.ptp(both)) or 0.01
    limits = (float(both.min()) - margin, float(both.max()) + margin)
    axes.plot(limits, limits, color=style.MUTED, linewidth=0.9, label=style.GUIDE)
    axes.plot(
        reference,
        predicted,
        "o",
        color=style.MLIP,
        markersize=style.points(5.5),
        label=style.unlisted("relaxed glasses"),
    )
    fit = fit_line(reference.tolist(), predicted.tolist())
    if fit is not None:
        ends = np.array([reference.min(), reference.max()])
        axes.plot(
            ends,
            fit(ends),
            color=style.MLIP,
            linestyle=(0, (4, 2)),
            linewidth=1.1,
            label=style.unlisted("least-squares fit"),
        )
        style.annotate_corner(
            axes, f"R² = {fit.r2:.2f}\nslope {slope_with_error(fit.slope, fit.slope_error)}"
        )
    axes.set(xlim=limits, ylim=limits)


def draw_stress_strain(figure: Figure, shear: Sequence[Shear], reference: str = REFERENCE) -> None:
    """Stress-strain curves of athermal quasistatic shear.

    Parameters
    ----------
    figure
        Empty figure.
    shear
        One entry per sample.
    reference
        Name of the reference in the legend.
    """
    axes = style.single_axes(figure, "shear strain (%)", "shear stress (GPa)")
    for model in _models(shear):
        curves = [curve for s in shear for curve in s.curves.get(model, [])]
        for number, (strain, stress) in enumerate(curves):
            name = _model_name(model, reference)
            label = name if number == 0 else style.unlisted(f"{name}, curve {number + 1}")
            _draw_curve(
                axes,
                (100.0 * np.asarray(strain)).tolist(),
                stress,
                model,
                label=label,
                linewidth=1.2,
            )
    axes.legend(loc="upper left")


def draw_dimers(figure: Figure, dimers: Sequence[Dimer]) -> None:
    """Energy of two atoms against their distance; in the shaded range they must repel.

    Parameters
    ----------
    figure
        Empty figure.
    dimers
        Curves in eV over A, one entry per pair of species.
    """
    n_columns = 3 if len(dimers) > 4 else 2
    panels = figure.subplots(
        -(-len(dimers) // n_columns), n_columns, sharex=True, squeeze=False
    ).ravel()
    for axes, dimer in zip(panels, dimers, strict=False):
        axes.axvspan(0.0, _REPULSIVE_BELOW, color=style.GRID, alpha=0.55, linewidth=0)
        axes.axhline(0.0, color=style.MUTED, linewidth=0.5)
        axes.plot(
            dimer.distance,
            dimer.energy,
            color=style.MLIP,
            linewidth=1.3,
            label=style.unlisted("trained potential"),
        )
        if dimer.hole is not None:
            bottom = float(np.interp(dimer.hole, dimer.distance, dimer.energy))
            axes.plot(
                dimer.hole,
                bottom,
                "v",
                color=style.FORCE,
                markersize=style.points(6),
                label=style.unlisted("hole"),
            )
        style.name_panel(axes, dimer.pair, x="distance (Å)", y="energy (eV)")
        depth = max(1.0, -min(dimer.energy))
        barrier = [
            energy
            for distance, energy in zip(dimer.distance, dimer.energy, strict=True)
            if distance >= (dimer.hole or _REPULSIVE_BELOW)
        ]
        axes.set_ylim(
            -1.3 * depth, max(4.0 * depth, 1.3 * max(barrier) if dimer.hole is not None else 0.0)
        )
        axes.set_xlim(_SHOWN_FROM, max(dimer.distance))
        axes.text(
            0.95,
            0.93,
            dimer.pair.replace("-", "–"),
            transform=axes.transAxes,
            ha="right",
            va="top",
            fontweight="bold",
        )
    for axes in panels[len(dimers) :]:
        axes.set_visible(False)
    figure.supxlabel("distance (Å)", fontsize=style.points(8.5))
    figure.supylabel("energy (eV)", fontsize=style.points(8.5))


def draw_heat_capacity(
    figure: Figure,
    heat_capacities: Mapping[str, HeatCapacityCurve],
    reference: str = REFERENCE,
) -> None:
    """Fig. 5b: heat capacity along a cooling.

    Parameters
    ----------
    figure
        Empty figure.
    heat_capacities
        Curves by model.
    reference
        Name of the reference in the legend.
    """
    axes = style.single_axes(figure, "temperature (K)", "heat capacity (J/(mol K))")
    for model, curve in heat_capacities.items():
        color, face = _colors(model)
        errors = np.nan_to_num(np.array(curve.error, dtype=float))
        axes.errorbar(
            curve.temperature,
            curve.heat_capacity,
            yerr=errors,
            fmt="o-",
            color=color,
            markerfacecolor=face,
            label=_model_name(model, reference),
        )
    axes.legend(loc="best")


def draw_quenches(figure: Figure, quenches: Sequence[QuenchDocument]) -> None:
    """Density and energy along the quenches with the potential.

    Parameters
    ----------
    figure
        Empty figure.
    quenches
        Documents with traces.
    """
    density, energy = figure.subplots(1, 2)
    ordered = sorted(quenches, key=lambda q: -q.cooling_rate)
    rates = list(dict.fromkeys(q.cooling_rate for q in ordered))
    for rate, color in zip(rates, style.cooling_colors(len(rates)), strict=True):
        for number, quench in enumerate(q for q in ordered if q.cooling_rate == rate):
            # The equilibration of the melt comes before the highest temperature.
            begin = int(np.argmax(_smoothed(quench.trace.temperature)))
            temperature, densities, energies = (
                _smoothed(column)[begin:]
                for column in (
                    quench.trace.temperature,
                    quench.trace.density,
                    quench.trace.energy,
                )
            )
            name = f"{rate:g} K/ps"
            unlisted = style.unlisted(f"{name}, quench {number + 1}" if number else name)
            density.plot(
                temperature,
                densities,
                color=color,
                linewidth=1.1,
                label=unlisted if number else name,
            )
            energy.plot(temperature, energies, color=color, linewidth=1.1, label=unlisted)
    density.set(label="density", xlabel="temperature (K)", ylabel="density (g/cm³)")
    energy.set(label="energy", xlabel="temperature (K)", ylabel="potential energy (eV/atom)")
    figure.legend(loc="outside upper left", ncols=max(len(rates), 1))


def _smoothed(values: Sequence[float], window: int = 5) -> NDArray[np.float64]:
    """Running mean, because the fluctuations of a small cell exceed the change between samples."""
    array = np.asarray(values, dtype=float)
    if len(array) < 4 * window:
        return array
    return np.convolve(array, np.full(window, 1.0 / window), mode="valid")


def _draw_curve(
    axes: Axes,
    x: Sequence[float],
    y: Sequence[float],
    model: str,
    *,
    label: str | None = None,
    linewidth: float = 1.4,
) -> None:
    """Draw the reference as a broad pale band and the potential as a thin line on top of it."""
    if model == "reference":
        axes.plot(
            x, y, color=style.INK, alpha=0.3, linewidth=2.6 * linewidth, zorder=2, label=label
        )
    else:
        axes.plot(x, y, color=style.MLIP, linewidth=linewidth, zorder=3, label=label)


def _from_first_peak(axes: Axes, distributions: Mapping[str, RadialDistributionCurve]) -> None:
    onset = min(
        curve.distance[int(np.argmax(np.asarray(curve.total) > 0.02))]
        for curve in distributions.values()
    )
    axes.set_xlim(left=max(0.0, onset - 0.3))
    axes.set_ylim(bottom=0.0)


def _colors(model: str) -> tuple[str, str]:
    """Line and face colour of a model."""
    return (style.INK, "none") if model == "reference" else (style.MLIP, style.MLIP)


def _model_name(model: str, reference: str) -> str:
    return reference if model == "reference" else "trained potential"


def _models(shear: Sequence[Shear]) -> list[str]:
    return list(dict.fromkeys(model for s in shear for model in (*s.moduli, *s.curves)))
