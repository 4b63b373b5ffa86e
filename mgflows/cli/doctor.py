"""``mgflows doctor``: checks of this machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mgflows.cli.options import directory_option, json_option, print_json
from mgflows.cli.tables import make_console
from mgflows.settings import CATEGORIES

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.option(
    "--category",
    type=click.Choice(CATEGORIES),
    help="Require what workers for such jobs need  [default: check everything].",
)
@click.option(
    "--deep",
    is_flag=True,
    help="Compare every stored output and array with its checksum; without this option 20 are "
    "compared.",
)
@directory_option
@json_option
@click.pass_context
def doctor(
    context: click.Context,
    category: str | None,
    deep: bool,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Check packages, configuration, programs, batch system, database and disk of this machine.

    Each line shows ✓ (ok), - (optional) or ✗ (must be fixed), and how to fix it. The exit code is
    1 if something must be fixed.
    """
    from rich.text import Text

    from mgflows.machine.doctor import Verdict, examine

    findings = examine(directory, category, deep=deep)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        marks = {
            Verdict.OK: ("✓", "green"),
            Verdict.WARNING: ("-", "yellow"),
            Verdict.ERROR: ("✗", "red"),
        }
        console = make_console()
        for finding in findings:
            line = Text.assemble(marks[finding.verdict], f" {finding.check}: {finding.reason}")
            console.print(line, soft_wrap=True)
            if finding.hint:
                console.print(f"    → {finding.hint}", soft_wrap=True, markup=False)
    context.exit(1 if any(finding.verdict is Verdict.ERROR for finding in findings) else 0)
