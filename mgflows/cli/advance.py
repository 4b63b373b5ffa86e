"""``mgflows advance``: go on with campaigns whose next jobs wait only to be submitted."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mgflows.cli.options import directory_option, json_option, open_database, print_json
from mgflows.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from mgflows.launch import Advance


@click.command()
@click.argument("campaign", required=False)
@click.option(
    "--accept-gate",
    is_flag=True,
    help="Go on although a gate, such as that of the surrogate's fitness, did not pass.",
)
@directory_option
@json_option
def advance(campaign: str | None, accept_gate: bool, directory: Path | None, as_json: bool) -> None:
    """Submit the jobs of CAMPAIGN (or of all campaigns) whose inputs are there.

    Workers do this by themselves when they run dry; where jobs of another category come next, let cron do it. Any number may run at once.
    """
    from mgflows.launch import advance as advance_campaigns

    if accept_gate and campaign is None:
        raise InputError("--accept-gate needs a campaign; name the one whose gate you accept")
    database = open_database(directory)
    name = database.campaign(campaign).campaign if campaign else None
    went_on = advance_campaigns(database.settings, name, accept_gate=accept_gate)
    if as_json:
        print_json([asdict(each) for each in went_on])
        return
    _show(went_on)


def _show(went_on: list[Advance]) -> None:
    from rich.console import Console

    console = Console()
    if not went_on:
        console.print("nothing is planned: everything was submitted")
    for each in went_on:
        console.print(
            f"[bold]{each.campaign}[/]: {each.n_added} jobs submitted, {each.n_planned} wait",
            highlight=False,
        )
        for reason, number in each.stopped.items():
            console.print(f"  [red]{number} do not go on[/]: {reason}", highlight=False)
