"""``mgflows report``: the figures of one campaign in one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["report"]


@click.command()
@click.argument("campaign")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Directory with the mgflows.yaml of the database, such as that of a quickstart.",
)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), default=Path("report.html"), show_default=True, help="The file to write."
)
def report(campaign: str, directory: Path | None, output: Path) -> None:
    """Write the HTML report of CAMPAIGN: one file, no network."""
    from mgflows.database import GlassDatabase
    from mgflows.report import ReportData, write_report

    path = write_report(ReportData.from_database(GlassDatabase(directory=directory), campaign), output)
    click.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
