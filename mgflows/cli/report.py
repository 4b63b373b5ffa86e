"""``mgflows report``: the figures of one campaign in one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mgflows.cli.options import (
    complete_campaigns,
    directory_option,
    json_option,
    only_campaign,
    open_database,
    print_json,
)
from mgflows.cli.paths import check_output, force_option

__all__ = ["report"]


@click.command()
@click.argument("names", metavar="[CAMPAIGN]...", nargs=-1, shell_complete=complete_campaigns)
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
    names: tuple[str, ...], directory: Path | None, output: Path, force: bool, as_json: bool
) -> None:
    """Write the HTML report of CAMPAIGN, or of the only one.

    Several campaigns, or ids of potentials, are shown side by side. The report is one file and
    needs no network.
    """
    from mgflows.report import ReportData, is_report, write_report

    database = open_database(directory)
    may_replace = force or is_report(output)
    if len(names) > 1:
        from mgflows.report.side_by_side import read_entries, write_side_by_side

        entries = read_entries(database, names)
        check_output(output, force=may_replace)
        path = write_side_by_side(entries, output)
        what: dict[str, Any] = {"compared": [entry.name for entry in entries]}
    else:
        name = only_campaign(database, names[0] if names else None)
        check_output(output, force=may_replace)
        path = write_report(ReportData.from_database(database, name), output)
        what = {"campaign": name}
    if as_json:
        print_json({**what, "report": str(path), "bytes": path.stat().st_size})
        return
    click.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
