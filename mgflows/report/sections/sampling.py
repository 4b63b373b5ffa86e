"""Sections on the surrogate: changes by relaxation, and the time scales of supercooling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mgflows.report import style
from mgflows.report.content import (
    Panel,
    Section,
    Table,
    scaled_down,
    slope_with_error,
    with_error,
)
from mgflows.report.figures import sampling as figures
from mgflows.report.statistics import mean_and_error
from mgflows.surrogate.correlation import measure_fitness
from mgflows.text import format_hours, plural

if TYPE_CHECKING:
    from mgflows.report.data import ReportData
    from mgflows.schemas.fitness import FitnessDocument, SimilarityDocument
    from mgflows.surrogate.correlation import RateFitness, SurrogateFitness

PAPER_SWEEPS = "10⁴ to 10⁹ sweeps"
"""Cooling lengths of the paper (section II, "Effectiveness of LJ-surrogate model")."""


def similarity(data: ReportData) -> Section:
    """Figs. 1b and S1: how much relaxation changes the surrogate's structures."""
    section = Section("similarity", "Relaxation", "Changes by relaxation")
    if not data.relaxations:
        section.missing.append(
            "No sample has been relaxed by the label method yet, so displacements and Δ_CB are "
            "missing."
        )
        return section
    displacements = np.concatenate([r.displacements for r in data.relaxations])
    own, own_error = mean_and_error([100.0 * r.delta_cb for r in data.relaxations])
    affine, affine_error = mean_and_error([100.0 * r.delta_cb_affine for r in data.relaxations])
    expansion = 100.0 * (np.mean([np.cbrt(r.relative_volume) for r in data.relaxations]) - 1.0)
    section.paragraphs.append(
        f"{plural(len(data.relaxations), 'sample')} of the surrogate "
        f"{'was' if len(data.relaxations) == 1 else 'were'} relaxed by the label method, including "
        f"the cell. All lengths changed by {expansion:+.1f}%; in addition, the median displacement "
        f"of the atoms is {np.median(displacements):.2f} Å and the 95th percentile "
        f"{np.quantile(displacements, 0.95):.2f} Å. Of the bonds shorter than 4 Å, "
        f"{with_error(own, own_error)}% remain shorter than 4 Å in the relaxed cell, and "
        f"{with_error(affine, affine_error)}% after the affine change of the cell is removed; "
        "the paper reports more than 98% with DFT."
    )
    note = (
        f"{plural(len(data.relaxations), 'sample')}; the paper relaxes 10% of the samples cooled "
        f"in {PAPER_SWEEPS}"
    )
    section.panels.append(
        Panel(
            "displacements",
            "Fig. 1b",
            "Displacements on relaxation",
            style.Drawing(
                lambda figure: figures.draw_displacements(figure, data.relaxations), "displacements"
            ),
            "Smoothed distribution of the displacements of the atoms during relaxation, without "
            "the rigid shift and the affine change of the cell, by cooling length. Inset: Δ_CB, "
            "the fraction of bonds kept, with each structure in its own cell (filled) and both "
            f"in the same cell (open); standard errors over samples. {scaled_down(note)}",
        )
    )
    if data.similarity is not None:
        section.tables.append(_similarity_table(data.similarity))
    points = data.energy_records
    if points and any(r.energy_lj is not None for r in data.relaxations):
        drop, error = mean_and_error([r.energy_before - r.energy_after for r in data.relaxations])
        section.paragraphs.append(
            f"The relaxation lowers the label energy by {with_error(drop, error, 2)} eV/atom."
        )
        section.panels.append(
            Panel(
                "relaxation",
                "Fig. S1",
                "Energies before and after relaxation",
                style.Drawing(
                    lambda figure: figures.draw_relaxation_energies(
                        figure, points, data.relaxations, data.method_name
                    ),
                    "relaxation",
                ),
                "Label energies of the samples before and after relaxation, connected by arrows, "
                f"against the surrogate energy of the sample. {scaled_down(note)}",
            )
        )
    return section


def supercooling(data: ReportData) -> Section:
    """Figs. 2a and 2b: supercooling of the samples, and surrogate against label energies."""
    section = Section(
        "supercooling", "Supercooling", "Supercooling, and surrogate against label energies"
    )
    _add_clock(section, data)
    _add_correlation(section, data)
    return section


def _add_clock(section: Section, data: ReportData) -> None:
    clock, document = data.clock, data.supercooling
    if clock is None or document is None:
        section.missing.append(
            "The supercooling clock has not been fitted yet: molecular-dynamics coolings or "
            "samples are incomplete."
        )
        return
    low, high = clock.log10_window
    groups = sorted(document.groups, key=lambda group: group.n_sweeps)
    text = (
        "The inherent-structure energy decreases by "
        f"{with_error(-clock.slope, clock.slope_error, 3)} ε per decade of molecular-dynamics "
        f"cooling time (fit window t* = {10.0**low:.0f} to {10.0**high:.0f})."
    )
    if groups:
        deepest = groups[-1]
        seconds = deepest.log10_time + np.log10(document.seconds_per_reduced_time)
        text += (
            " On the extrapolated law the slowest swap Monte Carlo coolings "
            f"({style.scientific(deepest.n_sweeps)} sweeps) correspond to "
            f"log₁₀ t* = {deepest.log10_time:.1f} (68% interval {deepest.log10_time_low:.1f} to "
            f"{deepest.log10_time_high:.1f}), about 10{_signed_superscript(seconds)} s"
        )
        if clock.log10_onset_time is not None:
            decades = deepest.log10_time - clock.log10_onset_time
            text += f", {decades:.1f} decades beyond the onset of supercooling"
        longest_time = max(time for time, _ in clock.energies)
        text += f". Molecular dynamics extends to log₁₀ t* = {np.log10(longest_time):.1f}."
    section.paragraphs.append(text)
    n_ordered = sum(sample.ordered for _, sample in data.samples)
    if n_ordered:
        section.paragraphs.append(
            f"{plural(n_ordered, 'sample')} of {len(data.samples)} ended ordered (crystal or "
            "Frank–Kasper phase) and excluded from the clock."
        )
    longest = max((sample.n_sweeps for _, sample in data.samples), default=0)
    shorter = (
        f"coolings up to {style.scientific(longest)} sweeps; the paper has {PAPER_SWEEPS}"
        if longest
        else ""
    )
    section.panels.append(
        Panel(
            "clock",
            "Fig. 2a",
            "The supercooling clock",
            style.Drawing(
                lambda figure: figures.draw_supercooling(
                    figure, clock, document.groups, document.seconds_per_reduced_time
                ),
                "clock",
                height=3.8,
            ),
            "Inherent-structure energy against cooling time: molecular dynamics (squares, "
            "standard errors), the logarithmic law fitted inside the shaded window and "
            "extrapolated (dashed, with its 68% interval), and swap Monte Carlo samples at their "
            f"effective times (68% intervals of the extrapolation). {scaled_down(shorter)}",
        )
    )


def _add_correlation(section: Section, data: ReportData) -> None:
    points = data.energy_records
    if not points:
        section.missing.append(
            "No surrogate sample has a label yet, so surrogate energies cannot be compared with "
            "label energies."
        )
        return
    fitness = measure_fitness(data.labelled_samples)
    fit = fitness.fit
    if fit is not None:
        section.paragraphs.append(
            f"Over {plural(fit.n_points, 'snapshot')} the label energy depends on the surrogate "
            f"energy with a slope of {slope_with_error(fit.slope, fit.slope_error)} and "
            f"R² = {fit.r2:.2f}. At the surrogate's density the label pressure is "
            f"{with_error(fitness.pressure, fitness.pressure_std)} GPa (standard deviation)."
        )
    if data.gate is not None:
        section.paragraphs.append(_verdict(data.gate))
    section.tables.append(_fitness_table(fitness))
    section.panels.append(
        Panel(
            "correlation",
            "Fig. 2b",
            "Surrogate and label energies",
            style.Drawing(
                lambda figure: figures.draw_energy_correlation(figure, points, data.method_name),
                "correlation",
                height=3.8,
            ),
            "Energy per atom of each snapshot by the label method against that by the surrogate, "
            "coloured by cooling length; the dashed line is a least-squares fit. "
            f"{scaled_down(plural(len(points), 'sample'))}",
        )
    )


def _verdict(gate: FitnessDocument) -> str:
    cost = gate.cost
    return (
        f"The gate after the first {plural(gate.n_samples, 'label')} was "
        f"{'open' if gate.passed else 'closed'}: {gate.reason}. These labels took "
        f"{cost.core_seconds_each:.3g} s of processor time each; at this cost the "
        f"{sum(cost.evaluations.values())} evaluations of glasses behind the gate take at most "
        f"{format_hours(cost.core_hours_left)} core hours."
    )


def _fitness_table(fitness: SurrogateFitness) -> Table:
    rows: list[tuple[str, RateFitness | SurrogateFitness]] = [
        (style.scientific(rate.n_sweeps), rate) for rate in fitness.rates
    ]
    return Table(
        title="Label energy against surrogate energy",
        header=["cooling (sweeps)", "samples", "slope", "R²", "pressure (GPa)"],
        rows=[
            [
                name,
                str(row.n_samples),
                slope_with_error(row.fit.slope, row.fit.slope_error) if row.fit else "–",
                f"{row.fit.r2:.2f}" if row.fit else "–",
                f"{row.pressure:.1f}",
            ]
            for name, row in [*rows, ("all", fitness)]
        ],
        note="Within one cooling length the range of energies is small and the slope uncertain.",
        emphasised_rows=(len(rows),),
    )


def _similarity_table(similarity: SimilarityDocument) -> Table:
    def fraction(value: float, error: float | None) -> str:
        return with_error(100.0 * value, np.nan if error is None else 100.0 * error)

    shift = similarity.overall.rigid_shift
    removed = (
        f"a rigid shift ({shift:.2f} Å on average)" if shift is not None else "the rigid shift"
    )
    return Table(
        title="Changes by relaxation, by cooling length",
        header=[
            "cooling (sweeps)",
            "samples",
            "median displacement (Å)",
            "95th percentile (Å)",
            "bonds kept (%)",
            "in the same cell (%)",
            "lengths (%)",
        ],
        rows=[
            [
                style.scientific(rate.n_sweeps) if rate.n_sweeps else "all",
                str(rate.n_samples),
                f"{rate.median_displacement:.3f}",
                f"{rate.percentile_95:.3f}",
                fraction(rate.delta_cb, rate.delta_cb_error),
                fraction(rate.delta_cb_affine, rate.delta_cb_affine_error),
                f"{100.0 * rate.linear_expansion:+.1f}",
            ]
            for rate in (*similarity.rates, similarity.overall)
        ],
        note=f"Removed from the displacements: {removed} and the affine change of the cell: of its "
        f"lengths (last column) and of its shape ({100.0 * similarity.overall.distortion:.1f}%).",
        emphasised_rows=(len(similarity.rates),),
    )


def _signed_superscript(exponent: float) -> str:
    return style.power_of_ten(exponent)[2:]
