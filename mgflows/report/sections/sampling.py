"""Sections on the surrogate: what relaxation changes, and the time scales of supercooling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mgflows.report import style
from mgflows.report.content import Panel, Section, Table, plural, scaled_down, with_error
from mgflows.report.figures import sampling as figures
from mgflows.report.statistics import mean_and_error
from mgflows.surrogate.correlation import measure_fitness

if TYPE_CHECKING:
    from mgflows.report.data import ReportData
    from mgflows.schemas.fitness import FitnessDocument, SimilarityDocument
    from mgflows.surrogate.correlation import RateFitness, SurrogateFitness

PAPER_SWEEPS = "10⁴ to 10⁹ sweeps"
"""Cooling lengths of the paper, section II, "Effectiveness of LJ-surrogate model"."""


def similarity(data: ReportData) -> Section:
    """Figs. 1b and S1: how far relaxation leaves the surrogate's structures as they are."""
    section = Section("similarity", "Relaxation", "What relaxation changes")
    if not data.relaxations:
        section.missing.append(
            "No sample has been relaxed by the labelling method yet, so there are no displacements and no Δ_CB to show."
        )
        return section
    displacements = np.concatenate([r.displacements for r in data.relaxations])
    own, own_error = mean_and_error([100.0 * r.delta_cb for r in data.relaxations])
    affine, affine_error = mean_and_error([100.0 * r.delta_cb_affine for r in data.relaxations])
    expansion = 100.0 * (np.mean([np.cbrt(r.relative_volume) for r in data.relaxations]) - 1.0)
    section.paragraphs.append(
        f"{plural(len(data.relaxations), 'sample')} of the surrogate {'was' if len(data.relaxations) == 1 else 'were'} relaxed by the labelling "
        f"method, cell included. All lengths changed by {expansion:+.1f}%; beyond that, atoms moved {np.median(displacements):.2f} Å in the median "
        f"and {np.quantile(displacements, 0.95):.2f} Å at the 95th percentile. Of the bonds shorter than 4 Å, {with_error(own, own_error)}% "
        f"are still shorter than 4 Å in the relaxed cell, and {with_error(affine, affine_error)}% when the change of the cell is taken out; "
        "the paper reports more than 98% with DFT."
    )
    note = f"{plural(len(data.relaxations), 'sample')}; the paper relaxes 10% of samples cooled in {PAPER_SWEEPS}"
    section.panels.append(
        Panel(
            "displacements",
            "Fig. 1b",
            "Displacements on relaxation",
            style.render(
                lambda figure: figures.draw_displacements(figure, data.relaxations), "displacements"
            ),
            "Smoothed distribution of the displacement of each atom when a sample is relaxed, after removing the rigid shift and the affine change of the cell, by cooling "
            "length. Inset: Δ_CB, the fraction of bonds kept, each structure in its own cell (filled) and in the same cell (open), with standard "
            f"errors over samples. {scaled_down(note)}",
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
                style.render(
                    lambda figure: figures.draw_relaxation_energies(
                        figure, points, data.relaxations, data.method_name
                    ),
                    "relaxation",
                ),
                "Label energies of the samples as they came and of those that were relaxed; arrows join the two. The horizontal position is the "
                f"surrogate energy of the sample. {scaled_down(note)}",
            )
        )
    return section


def supercooling(data: ReportData) -> Section:
    """Figs. 2a and 2b: how deep the samples are, and what the surrogate knows of the label energies."""
    section = Section(
        "supercooling", "Supercooling", "Time scales of supercooling, and the pathway to labels"
    )
    _add_clock(section, data)
    _add_correlation(section, data)
    return section


def _add_clock(section: Section, data: ReportData) -> None:
    clock, document = data.clock, data.supercooling
    if clock is None or document is None:
        section.missing.append(
            "The supercooling clock has not been fitted yet: the molecular-dynamics coolings or the samples are incomplete."
        )
        return
    low, high = clock.log10_window
    groups = sorted(document.groups, key=lambda group: group.n_sweeps)
    text = (
        f"The inherent-structure energy falls by {with_error(-clock.slope, clock.slope_error, 3)} ε per decade of molecular-dynamics cooling time "
        f"(fit window t* = {10.0**low:.0f} to {10.0**high:.0f})."
    )
    if groups:
        deepest = groups[-1]
        seconds = deepest.log10_time + np.log10(document.seconds_per_reduced_time)
        text += (
            f" On the extrapolated law the slowest swap Monte Carlo coolings ({style.scientific(deepest.n_sweeps)} sweeps) correspond to "
            f"log₁₀ t* = {deepest.log10_time:.1f} (68% interval {deepest.log10_time_low:.1f} to {deepest.log10_time_high:.1f}), "
            f"about 10{_signed_superscript(seconds)} s"
        )
        if clock.log10_onset_time is not None:
            text += f", {deepest.log10_time - clock.log10_onset_time:.1f} decades beyond the onset of supercooling"
        text += f". Molecular dynamics itself ended at log₁₀ t* = {np.log10(max(time for time, _ in clock.energies)):.1f}."
    section.paragraphs.append(text)
    n_ordered = sum(sample.ordered for _, sample in data.samples)
    if n_ordered:
        section.paragraphs.append(
            f"{plural(n_ordered, 'sample')} of {len(data.samples)} ended ordered (crystal or Frank–Kasper phase) and took no part in the clock."
        )
    longest = max((sample.n_sweeps for _, sample in data.samples), default=0)
    section.panels.append(
        Panel(
            "clock",
            "Fig. 2a",
            "The supercooling clock",
            style.render(
                lambda figure: figures.draw_supercooling(
                    figure, clock, document.groups, document.seconds_per_reduced_time
                ),
                "clock",
                height=3.8,
            ),
            "Inherent-structure energy against cooling time: molecular dynamics (squares, standard errors), the log law fitted inside the shaded "
            "window and extrapolated (dashed, with its 68% interval), and swap Monte Carlo samples at their effective times (68% intervals of the extrapolation). "
            f"{scaled_down(f'coolings up to {style.scientific(longest)} sweeps; the paper has {PAPER_SWEEPS}' if longest else '')}",
        )
    )


def _add_correlation(section: Section, data: ReportData) -> None:
    points = data.energy_records
    if not points:
        section.missing.append(
            "No surrogate sample has a label yet, so the surrogate's energies cannot be compared with label energies."
        )
        return
    fitness = measure_fitness(data.labelled_samples)
    fit = fitness.fit
    if fit is not None:
        section.paragraphs.append(
            f"Over {plural(fit.n_points, 'snapshot')} the label energy follows the surrogate energy with a slope of {fit.slope:.2f} "
            f"and R² = {fit.r2:.2f}: the surrogate's energy explains {100 * max(fit.r2, 0.0):.0f}% of the variance of the label energies. "
            f"At the surrogate's density the labels find a pressure of {with_error(fitness.pressure, fitness.pressure_std)} GPa (standard deviation)."
        )
    if data.gate is not None:
        section.paragraphs.append(_verdict(data.gate))
    section.tables.append(_fitness_table(fitness))
    section.panels.append(
        Panel(
            "correlation",
            "Fig. 2b",
            "Surrogate and label energies",
            style.render(
                lambda figure: figures.draw_energy_correlation(figure, points, data.method_name),
                "correlation",
                height=3.8,
            ),
            "Energy per atom of each snapshot by the surrogate and by the labelling method, coloured by cooling length; the dashed line is a "
            f"least-squares fit. {scaled_down(plural(len(points), 'sample'))}",
        )
    )


def _verdict(gate: FitnessDocument) -> str:
    cost = gate.cost
    return (
        f"The gate after the first {plural(gate.n_samples, 'label')} was {'open' if gate.passed else 'closed'}: {gate.reason}. These labels took "
        f"{cost.core_seconds_each:.3g} s of processor time each; by that measure the {sum(cost.evaluations.values())} evaluations of glasses behind the gate "
        f"were forecast to take at most {cost.core_hours_left:.3g} core hours."
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
                with_error(row.fit.slope, row.fit.slope_error, 2) if row.fit else "–",
                f"{row.fit.r2:.2f}" if row.fit else "–",
                f"{row.pressure:.1f}",
            ]
            for name, row in [*rows, ("all", fitness)]
        ],
        note="Within one cooling length the energies differ little: there the error of the slope says more than the slope.",
        emphasised_rows=(len(rows),),
    )


def _similarity_table(similarity: SimilarityDocument) -> Table:
    def fraction(value: float, error: float | None) -> str:
        return with_error(100.0 * value, np.nan if error is None else 100.0 * error)

    shift = similarity.overall.rigid_shift
    taken_out = (
        f"a rigid shift ({shift:.2f} Å on average)" if shift is not None else "the rigid shift"
    )
    return Table(
        title="What relaxation changes, by cooling length",
        header=[
            "cooling (sweeps)",
            "samples",
            "median displacement (Å)",
            "95% below (Å)",
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
        note=f"Taken out of the displacements: {taken_out} and the affine change of the cell, its lengths in the last column and its shape "
        f"by {100.0 * similarity.overall.distortion:.1f}%.",
        emphasised_rows=(len(similarity.rates),),
    )


def _signed_superscript(exponent: float) -> str:
    return style.power_of_ten(exponent)[2:]
