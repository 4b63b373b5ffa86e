"""``mgflows reproduce``: the figures of a paper, and to what extent they are reproduced."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mgflows.cli.options import (
    complete_campaigns,
    directory_option,
    json_option,
    only_campaign,
    open_database,
    print_json,
)
from mgflows.cli.tables import make_console, print_table
from mgflows.text import rounded

if TYPE_CHECKING:
    from pathlib import Path

    from mgflows.report.reproduction import Figure, Reproduction, Value

PAPERS = ("wadowski2025",)
"""Names in :data:`mgflows.report.reproduction.PAPERS`, repeated so that --help stays fast."""
_STYLES = {"reproduced": "green", "in part": "cyan", "differs": "red"}
_AGREEMENT = {True: "yes", False: "no", None: ""}


@click.command()
@click.argument("paper", type=click.Choice(PAPERS))
@click.option(
    "--campaign",
    shell_complete=complete_campaigns,
    help="Add the values of this campaign  [default: only those stored with mgflows].",
)
@click.option("--figure", help="Only this figure, such as 2a, with sources and protocols.")
@directory_option
@json_option
def reproduce(
    paper: str, campaign: str | None, figure: str | None, directory: Path | None, as_json: bool
) -> None:
    """List the figures of PAPER, what was reproduced and with which protocol.

    A value agrees with a number that the paper prints if it is within two standard errors. In 80
    columns only the status fits: --figure shows protocol, deviation and command of one figure.
    """
    from mgflows.errors import InputError
    from mgflows.report.reproduction import load_reproduction, with_campaign

    found = load_reproduction(paper)
    names = [each.figure for each in found.figures]
    if figure is not None and figure not in names:
        raise InputError(
            f"the paper has no figure {figure!r}", hint=f"its figures are {', '.join(names)}"
        )
    if campaign is not None:
        from mgflows.report import ReportData

        database = open_database(directory)
        name = only_campaign(database, campaign)
        found = with_campaign(found, ReportData.from_database(database, name))
    figures = [each for each in found.figures if figure in (None, each.figure)]
    if as_json:
        print_json(
            {
                **asdict(found),
                "figures": [
                    {
                        **asdict(each),
                        "status": each.status,
                        "values": [_value_as_json(value) for value in each.values],
                    }
                    for each in figures
                ],
            }
        )
    elif figure is None:
        _print(found)
    else:
        _print_figure(figures[0])


def _value_as_json(value: Value) -> dict[str, Any]:
    return {**asdict(value), "deviation": value.deviation, "agrees": value.agrees}


def _print(found: Reproduction) -> None:
    from rich.text import Text

    console = make_console()
    console.print(found.title, style="bold", markup=False)
    console.print(f"{found.authors}; data: {found.data}", markup=False)
    rows = []
    for each in found.figures:
        status = Text(each.status, style=_STYLES.get(each.status, ""))
        values = "; ".join(f"{value.quantity}: {_number(value)}" for value in each.values)
        deviations = "; ".join(
            f"{value.deviation:+.3g}" for value in each.values if value.deviation is not None
        )
        protocols = "; ".join(dict.fromkeys(value.protocol for value in each.values))
        rows.append((each.figure, status, each.shows, values, deviations, protocols, each.command))
    print_table(
        console,
        ("figure", "status", "shows", "values", "deviation", "protocol", "command"),
        rows,
        optional=("protocol", "values", "command", "deviation"),
    )
    counts = {
        status: sum(each.status == status for each in found.figures)
        for status in dict.fromkeys(each.status for each in found.figures)
    }
    console.print(", ".join(f"{number} {status}" for status, number in counts.items()))
    console.print(found.tables)
    if found.campaign is None:
        console.print(
            "--figure shows one in detail; --campaign adds the values of a campaign", style="dim"
        )


def _print_figure(each: Figure) -> None:
    console = make_console()
    console.print(f"Fig. {each.figure}: {each.shows}", style="bold", markup=False)
    console.print(f"status: {each.status}", style=_STYLES.get(each.status, ""))
    for label, text in (
        ("paper", each.paper),
        ("missing", each.missing),
        ("command", each.command),
    ):
        if text:
            console.print(f"{label}: {text}", markup=False, soft_wrap=label == "command")
    if not each.values:
        return
    rows = [
        (
            f"{value.quantity} ({value.unit})" if value.unit else value.quantity,
            _number(value),
            "" if value.paper is None else f"{_RELATIONS[value.relation]}{value.paper:g}",
            rounded(value.deviation),
            _AGREEMENT[value.agrees],
        )
        for value in each.values
    ]
    print_table(
        console,
        ("quantity", "ours", "paper", "deviation", "agrees"),
        rows,
        numbers=("ours", "paper", "deviation"),
    )
    for value in each.values:
        console.print(f"{value.quantity}: {value.protocol}; {value.source}", style="dim")


_RELATIONS = {"equal": "", "at least": ">= ", "at most": "<= "}


def _number(value: Value) -> str:
    error = "" if value.error is None else f" +- {value.error:.2g}"
    return f"{value.value:.4g}{error}"
