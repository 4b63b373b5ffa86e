"""``mgflows doctor``: whether this machine is ready."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mgflows.cli.options import directory_option, json_option, print_json

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@directory_option
@json_option
@click.pass_context
def doctor(context: click.Context, directory: Path | None, as_json: bool) -> None:
    """Check this machine: packages, database, disk. Exits with 1 if something needs mending.

    A tick is good, a dash is something that one can do without, a cross needs mending; the arrow says how.
    """
    from mgflows.launch.doctor import Verdict, examine

    findings = examine(directory)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        marks = {Verdict.GOOD: ("✓", "green"), Verdict.MISSING: ("-", "yellow"), Verdict.BAD: ("✗", "red")}
        for finding in findings:
            mark, colour = marks[finding.verdict]
            click.echo(f"{click.style(mark, fg=colour)} {finding.check}: {finding.reason}")
            if finding.mend:
                click.echo(f"    → {finding.mend}")
    context.exit(1 if any(finding.verdict is Verdict.BAD for finding in findings) else 0)
