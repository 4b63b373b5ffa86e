"""``mgflows cost``: the cost of a campaign so far, and a forecast."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mgflows.cli.options import (
    campaign_argument,
    directory_option,
    json_option,
    only_submission,
    open_database,
    print_json,
)
from mgflows.cli.tables import make_console, make_table
from mgflows.text import format_hours, rounded

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from mgflows.database.cost import Cost, RemainingCost

_BASES = {
    "pilots": "pilots: from the first labels, with an assumed number of relaxation steps",
    "guess": "guess: nothing similar was measured yet; the estimate of the jobs, 1 s for most "
    "labels",
}


@click.command()
@campaign_argument()
@directory_option
@json_option
def cost(campaign: str | None, directory: Path | None, as_json: bool) -> None:
    """Show the cost of CAMPAIGN by stage and subset, and a forecast of the rest.

    The forecast is based on finished jobs of the same stage and subset or, if there are none, on
    the pilot labels or the estimates of the jobs (docs/how_to/costs.md).
    """
    database = open_database(directory)
    name = only_submission(database, campaign)
    spent, remaining = database.cost(name), database.remaining_cost(name)
    hours = {
        "core_hours": sum(each.core_hours for each in spent),
        "core_hours_left": sum(each.core_hours for each in remaining),
    }
    hours["core_hours_total"] = sum(hours.values())
    if as_json:
        costs = [asdict(each) for each in spent]
        left = [asdict(each) for each in remaining]
        print_json({"campaign": name, "costs": costs, "remaining": left, **hours})
        return
    console = make_console()
    if spent:
        console.print(_cost_table(spent))
    if remaining:
        console.print(_forecast_table(spent, remaining))
    hosts = ", ".join(sorted({host for each in spent for host in each.hosts})) or "no machine yet"
    total = (
        f"forecast: {format_hours(hours['core_hours_left'])} to come, "
        f"{format_hours(hours['core_hours_total'])} in total"
        if remaining
        else "nothing to come"
    )
    console.print(f"{format_hours(hours['core_hours'])} core hours spent on {hosts}; {total}")
    for basis in dict.fromkeys(each.basis for each in remaining):
        if basis in _BASES:
            console.print(_BASES[basis], style="dim")


def _cost_table(spent: list[Cost]) -> Table:
    numbers = ("n", "core h", "wall h", "s each", "cores", "MiB")
    return make_table(
        ("jobs", *numbers),
        (
            (
                _jobs(each.stage, each.subset),
                str(each.n),
                format_hours(each.core_hours),
                format_hours(each.wall_hours),
                rounded(each.mean_core_seconds),
                str(each.largest_cores),
                f"{each.largest_memory:.0f}",
            )
            for each in spent
        ),
        numbers=numbers,
        title="spent",
    )


def _forecast_table(spent: list[Cost], remaining: list[RemainingCost]) -> Table:
    so_far = {(each.stage, each.subset): each.core_hours for each in spent}
    rows = []
    for kind in dict.fromkeys((each.stage, each.subset) for each in remaining):
        parts = [each for each in remaining if (each.stage, each.subset) == kind]
        hours = sum(each.core_hours for each in parts)
        rows.append(
            (
                _jobs(*kind),
                str(sum(each.n for each in parts)),
                format_hours(hours),
                format_hours(so_far.get(kind, 0.0) + hours),
                ", ".join(each.basis for each in parts),
            )
        )
    return make_table(
        ("jobs", "n", "core h", "with those spent", "based on"),
        rows,
        numbers=("n", "core h", "with those spent"),
        title="forecast",
    )


def _jobs(stage: str | None, subset: str | None) -> str:
    return "/".join(filter(None, (stage or "other", subset)))
