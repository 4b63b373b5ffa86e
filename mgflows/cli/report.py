"""``mgflows report``: the figures of one campaign in one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from mgflows.cli.options import (
    directory_option,
    json_option,
    only_campaign,
    open_database,
    print_json,
)
from mgflows.cli.paths import check_output, force_option

__all__ = ["report"]


@click.command()
@click.argument("campaign", required=False)
@directory_option
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="HTML file; an earlier report is replaced.",
)
@force_option
@json_option
def report(
    campaign: str | None, directory: Path | None, output: Path, force: bool, as_json: bool
) -> None:
    """Write the HTML report of CAMPAIGN, or of the only one.

    The report is one file and needs no network.
    """
    from mgflows.report import ReportData, is_report, write_report

    database = open_database(directory)
    name = only_campaign(database, campaign)
    check_output(output, force=force or is_report(output))
    path = write_report(ReportData.from_database(database, name), output)
    if as_json:
        print_json({"campaign": name, "report": str(path), "bytes": path.stat().st_size})
        return
    click.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
