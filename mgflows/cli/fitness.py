"""``mgflows fitness``: is the surrogate of a campaign worth its labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mgflows.cli.options import (
    directory_option,
    json_option,
    only_campaign,
    open_database,
    print_json,
)

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
@click.argument("campaign", required=False)
@directory_option
@json_option
def fitness(campaign: str | None, directory: Path | None, as_json: bool) -> None:
    """Show how well the surrogate of CAMPAIGN foretells its labels, what these cost, and whether the gate is open.

    Slope and R2 are of the label energy against the surrogate energy of the same structure, over all labels that are there. The gate judged the first
    of them; `mgflows advance CAMPAIGN --accept-gate` goes on behind a closed one.
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

    from rich.console import Console

    console = Console()
    console.print(_fitness_table(record))
    inherent = f"; against e_IS: {_line(record.fit_inherent)}" if record.fit_inherent else ""
    deviation = f" +- {record.pressure_std:.1f}" if record.pressure_std is not None else ""
    console.print(
        f"{record.n_samples} samples: {_line(record.fit)}{inherent}; label pressure {record.pressure:+.1f}{deviation} GPa",
        highlight=False,
    )
    console.print(_verdict(gate), highlight=False)
    if similarity is not None:
        console.print(_similarity_table(similarity))


def _fitness_table(record: FitnessRecord) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for title in ("sweeps", "samples", "e(LJ) eV/atom", "e(label) eV/atom", "slope", "R2", "GPa"):
        table.add_column(title, justify="right")
    for rate in record.rates:
        slope = f"{rate.fit.slope:.2f} +- {rate.fit.slope_error:.2f}" if rate.fit else ""
        r2 = f"{rate.fit.r2:.2f}" if rate.fit and rate.fit.r2 is not None else ""
        table.add_row(
            f"{rate.n_sweeps:g}",
            str(rate.n_samples),
            f"{rate.energy_lj:.3f}",
            f"{rate.energy_label:.3f}",
            slope,
            r2,
            f"{rate.pressure:+.1f}",
        )
    return table


def _similarity_table(similarity: SimilarityDocument) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title="what relaxation changes", title_justify="left")
    for title in (
        "sweeps",
        "relaxed",
        "median A",
        "95 % A",
        "bonds kept %",
        "in the same cell %",
        "lengths %",
    ):
        table.add_column(title, justify="right")
    for rate in (*similarity.rates, similarity.overall):
        table.add_row(
            f"{rate.n_sweeps:g}" if rate.n_sweeps else "all",
            str(rate.n_samples),
            f"{rate.median_displacement:.3f}",
            f"{rate.percentile_95:.3f}",
            f"{100 * rate.delta_cb:.1f}",
            f"{100 * rate.delta_cb_affine:.1f}",
            f"{100 * rate.linear_expansion:+.1f}",
        )
    return table


def _line(fit: FitRecord | None) -> str:
    if fit is None:
        return "too few for a line"
    r2 = f", R2 = {fit.r2:.2f}" if fit.r2 is not None else ""
    return f"slope {fit.slope:.2f} +- {fit.slope_error:.2f}{r2}"


def _verdict(gate: FitnessDocument | None) -> str:
    if gate is None:
        return "no gate, or it waits for its labels"
    cost = gate.cost
    return (
        f"gate {'open' if gate.passed else 'closed'}: {gate.reason}\n"
        f"{cost.n_labels} pilot labels took {cost.core_seconds_each:.3g} core s each; by that measure the {sum(cost.evaluations.values())} "
        f"evaluations behind the gate take {cost.core_hours_left:.3g} core hours at most"
    )
