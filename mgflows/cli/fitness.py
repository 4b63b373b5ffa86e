"""``mgflows fitness``: how well the surrogate predicts the label energies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mgflows.cli.options import (
    campaign_argument,
    directory_option,
    json_option,
    only_campaign,
    open_database,
    print_json,
)
from mgflows.cli.tables import make_console, make_table
from mgflows.text import format_hours, plural, with_error

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from mgflows.schemas.fitness import (
        FitnessDocument,
        FitnessRecord,
        FitRecord,
        SimilarityDocument,
    )


@click.command()
@campaign_argument()
@directory_option
@json_option
def fitness(campaign: str | None, directory: Path | None, as_json: bool) -> None:
    """Show how well surrogate energies of CAMPAIGN predict label energies, and the cost of labels.

    Slope and R2 are those of the label energy against the surrogate energy of the same structure,
    over all available labels. The gate was evaluated for the first labels only; `mgflows advance
    CAMPAIGN --accept-gate` continues in spite of a closed gate.
    """
    database = open_database(directory)
    name = only_campaign(database, campaign)
    record, gate, similarity = (
        database.fitness(name),
        database.gate(name),
        database.similarity(name),
    )
    if as_json:
        documents = {"fitness": record, "gate": gate, "similarity": similarity}
        print_json(
            {
                "campaign": name,
                **{key: document and document.model_dump() for key, document in documents.items()},
            }
        )
        return

    console = make_console()
    console.print(_fitness_table(record))
    inherent = f"; against e_IS: {_line(record.fit_inherent)}" if record.fit_inherent else ""
    deviation = f" +- {record.pressure_std:.1f}" if record.pressure_std is not None else ""
    console.print(
        f"{plural(record.n_samples, 'sample')}: {_line(record.fit)}{inherent}; "
        f"label pressure {record.pressure:+.1f}{deviation} GPa"
    )
    console.print(_verdict(gate), markup=False)
    if similarity is not None:
        console.print(_similarity_table(similarity))
        console.print(
            "displacements: median and 95th percentile; bonds: kept bonds; cells: kept bonds after "
            "the change of the cell; lengths: expansion of the cell's edges",
            style="dim",
        )


def _fitness_table(record: FitnessRecord) -> Table:
    titles = ("sweeps", "samples", "e(LJ) eV/atom", "e(label) eV/atom", "slope", "R2", "GPa")
    return make_table(
        titles,
        (
            (
                f"{rate.n_sweeps:g}",
                str(rate.n_samples),
                f"{rate.energy_lj:.3f}",
                f"{rate.energy_label:.3f}",
                _slope(rate.fit) if rate.fit else "",
                f"{rate.fit.r2:.2f}" if rate.fit and rate.fit.r2 is not None else "",
                f"{rate.pressure:+.1f}",
            )
            for rate in record.rates
        ),
        numbers=titles,
    )


def _similarity_table(similarity: SimilarityDocument) -> Table:
    titles = ("sweeps", "relaxed", "median Å", "95 % Å", "bonds %", "cells %", "lengths %")
    return make_table(
        titles,
        (
            (
                f"{rate.n_sweeps:g}" if rate.n_sweeps else "all",
                str(rate.n_samples),
                f"{rate.median_displacement:.3f}",
                f"{rate.percentile_95:.3f}",
                f"{100 * rate.delta_cb:.1f}",
                f"{100 * rate.delta_cb_affine:.1f}",
                f"{100 * rate.linear_expansion:+.1f}",
            )
            for rate in (*similarity.rates, similarity.overall)
        ),
        numbers=titles,
        title="changes by relaxation",
    )


def _line(fit: FitRecord | None) -> str:
    if fit is None:
        return "too few samples for a fit"
    r2 = f", R2 = {fit.r2:.2f}" if fit.r2 is not None else ""
    return f"slope {_slope(fit)}{r2}"


def _slope(fit: FitRecord) -> str:
    """The slope and its error; the slope alone if the points are on a line."""
    return with_error(fit.slope, fit.slope_error, "+-")


def _verdict(gate: FitnessDocument | None) -> str:
    if gate is None:
        return "no gate, or it is waiting for its labels"
    cost = gate.cost
    return (
        f"gate {'open' if gate.passed else 'closed'}: {gate.reason}\n"
        f"{plural(cost.n_labels, 'pilot label')} took {cost.core_seconds_each:.3g} core s each; at "
        f"this cost the {sum(cost.evaluations.values())} evaluations behind the gate take at most "
        f"{format_hours(cost.core_hours_left)} core hours"
    )
