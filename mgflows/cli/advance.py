"""``mgflows advance``: submit planned jobs whose inputs are available."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mgflows.cli.options import (
    campaign_argument,
    directory_option,
    json_option,
    known_campaign,
    open_database,
    print_json,
)
from mgflows.cli.tables import make_console
from mgflows.errors import InputError
from mgflows.text import plural

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@campaign_argument()
@click.option(
    "--accept-gate",
    is_flag=True,
    help="Continue although a gate, such as that of the surrogate's fitness, did not pass.",
)
@directory_option
@json_option
def advance(campaign: str | None, accept_gate: bool, directory: Path | None, as_json: bool) -> None:
    """Submit the planned jobs of CAMPAIGN, or of all, whose inputs are available.

    Workers do this automatically when they run out of jobs. If the next jobs belong to another
    category, run it from cron. Several calls may run at once.
    """
    from mgflows.launch import advance as advance_campaigns

    if accept_gate and campaign is None:
        raise InputError(
            "--accept-gate needs a campaign", hint="name the one whose gate you accept"
        )
    database = open_database(directory)
    name = known_campaign(database, campaign)
    advanced = advance_campaigns(database.settings, name, accept_gate=accept_gate)
    if as_json:
        print_json([asdict(each) for each in advanced])
        return
    console = make_console()
    if not advanced:
        console.print("nothing is planned: everything was submitted")
    for each in advanced:
        console.print(
            f"[bold]{each.campaign}[/]: {plural(each.n_added, 'job')} submitted, "
            f"{each.n_planned} still planned"
        )
        for reason, number in each.stopped.items():
            console.print(f"  {plural(number, 'job')} blocked: {reason}", style="red", markup=False)
