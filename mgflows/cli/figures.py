"""``mgflows figures``: each figure of a report as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mgflows.cli.options import (
    campaign_argument,
    directory_option,
    experiments_option,
    json_option,
    only_campaign,
    open_database,
    print_json,
)
from mgflows.cli.paths import check_output_directory, force_option

if TYPE_CHECKING:
    from mgflows.report.export import FigureFormat

__all__ = ["figures"]


@click.command()
@campaign_argument()
@directory_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["pdf", "png", "svg"]),
    default="pdf",
    show_default=True,
    help="File format.",
)
@click.option(
    "--width",
    default="8.6cm",
    show_default=True,
    help="Width with its unit (cm, mm, in, pt); 8.6cm is a column of Physical Review.",
)
@click.option("--csv", "with_data", is_flag=True, help="Also write the data of each figure.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("figures"),
    show_default=True,
    help="Directory of the files.",
)
@experiments_option
@force_option
@json_option
def figures(
    campaign: str | None,
    directory: Path | None,
    form: FigureFormat,
    width: str,
    with_data: bool,
    output: Path,
    experiments: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write each figure of the report of CAMPAIGN (optional if there is only one) to a file."""
    from mgflows.report import ReportData
    from mgflows.report.export import parse_width, write_figures

    inches = parse_width(width)
    check_output_directory(output)
    database = open_database(directory)
    name = only_campaign(database, campaign)
    paths = write_figures(
        ReportData.from_database(database, name, experiments),
        output,
        form=form,
        width=inches,
        with_data=with_data,
        overwrite=force,
    )
    if as_json:
        print_json({"campaign": name, "files": [str(path) for path in paths]})
        return
    for path in paths:
        click.echo(path)
