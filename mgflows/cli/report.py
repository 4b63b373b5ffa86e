"""``mgflows report``: the figures of one campaign in one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from mgflows.cli.options import directory_option, only_campaign, open_database

__all__ = ["report"]


@click.command()
@click.argument("campaign", required=False)
@directory_option
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The file to write.",
)
def report(campaign: str | None, directory: Path | None, output: Path) -> None:
    """Write the HTML report of CAMPAIGN, or of the only one there is: one file, no network."""
    from mgflows.report import ReportData, write_report

    database = open_database(directory)
    path = write_report(
        ReportData.from_database(database, only_campaign(database, campaign)), output
    )
    click.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
