"""``mgflows report``: the figures of one campaign in one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mgflows.cli.options import (
    complete_campaigns,
    directory_option,
    experiments_option,
    json_option,
    only_campaign,
    open_database,
    print_json,
)
from mgflows.cli.paths import check_output, force_option

if TYPE_CHECKING:
    from mgflows.database import GlassDatabase

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
@experiments_option
@force_option
@json_option
def report(
    names: tuple[str, ...],
    directory: Path | None,
    output: Path,
    experiments: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write the HTML report of CAMPAIGN (optional if there is only one).

    Several campaigns, or ids of potentials, are put side by side. The name of a validation that was
    submitted gives the page of its potentials. The report is one file and needs no network.
    """
    from mgflows.report import ReportData, is_report, write_report

    database = open_database(directory)
    may_replace = force or is_report(output)
    if len(names) > 1:
        from mgflows.report.side_by_side import read_entries, write_side_by_side

        entries = read_entries(database, names, experiments)
        check_output(output, force=may_replace)
        path = write_side_by_side(entries, output)
        what: dict[str, Any] = {"compared": [entry.name for entry in entries]}
    elif names and _is_validation(database, names[0]):
        from mgflows.report.comparison import write_comparison

        check_output(output, force=may_replace)
        path = write_comparison(
            database.comparison(names[0]).comparison().with_measured(experiments), output
        )
        what = {"validation": names[0]}
    else:
        name = only_campaign(database, names[0] if names else None)
        check_output(output, force=may_replace)
        path = write_report(ReportData.from_database(database, name, experiments), output)
        what = {"campaign": name}
    if as_json:
        print_json({**what, "report": str(path), "bytes": path.stat().st_size})
        return
    click.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")


def _is_validation(database: GlassDatabase, name: str) -> bool:
    """Whether a name is that of a stored comparison and of no campaign."""
    return name in {each.validation for each in database.comparisons()} and name not in {
        each.campaign for each in database.campaigns()
    }
