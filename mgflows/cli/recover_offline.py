"""``mgflows recover-offline``: store the results of jobs that ran without a connection."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mgflows.cli.options import directory_option, json_option, print_json
from mgflows.cli.tables import make_console
from mgflows.text import plural

if TYPE_CHECKING:
    from pathlib import Path


@click.command("recover-offline")
@directory_option
@json_option
@click.pass_context
def recover_offline(context: click.Context, directory: Path | None, as_json: bool) -> None:
    """Store the results of jobs that ran on nodes without a path to the database.

    Run it where the database and the launch directories can be reached, for example from cron.
    Several calls may run at once.

    The exit code is 1 if jobs failed or their launch directory cannot be read.
    """
    from mgflows.launch.offline import recover_offline as recover
    from mgflows.settings import Settings

    found = recover(Settings.load(directory))
    if as_json:
        print_json(asdict(found))
    else:
        console = make_console()
        for number, what in (
            (len(found.completed), "completed"),
            (len(found.failed), "failed (mgflows heal shows why)"),
            (len(found.interrupted), "interrupted: READY again"),
            (len(found.running), "not finished"),
            (len(found.superseded), "given to another launch meanwhile: result not stored"),
        ):
            if number:
                console.print(f"{plural(number, 'job')} {what}")
        for fw_id, reason in found.unreadable.items():
            console.print(
                f"job {fw_id} cannot be read from here ({reason}); run this command where its "
                "launch directory is, or run the job again with: "
                f"lpad rerun_fws -i {fw_id}",
                style="yellow",
                markup=False,
            )
        if not any(asdict(found).values()):
            console.print("no job runs offline")
    context.exit(1 if found.failed or found.unreadable else 0)
