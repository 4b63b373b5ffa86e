"""``mgflows serve``: the live view of the campaigns in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mgflows.cli.options import directory_option, experiments_option, open_database

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["serve"]


@click.command()
@directory_option
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen at. If other machines can reach it, requests need a token.",
)
@click.option(
    "--port",
    default=8765,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port; 0 takes a free one.",
)
@click.option(
    "--token",
    help="Token that requests need, at least 16 characters  [default: a random one if --host is "
    "not this machine only].",
)
@experiments_option
def serve(
    directory: Path | None, host: str, port: int, token: str | None, experiments: Path | None
) -> None:
    """Show the campaigns of a database in a browser, until Ctrl-C.

    Progress, running and failed jobs with their logs, costs, reports, comparisons of potentials,
    structures in 3D, datasets and potentials to download. Nothing can be changed
    (docs/how_to/live_view.md).
    """
    from mgflows.report.web.server import open_server

    database = open_database(directory)
    view = open_server(database, host, port, token, experiments)
    click.echo(f"live view of {database.settings.shown_uri}, read-only; Ctrl-C stops it")
    click.echo(view.address)
    try:
        view.run()
    finally:
        view.close()
