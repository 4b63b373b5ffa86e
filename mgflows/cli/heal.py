"""``mgflows heal``: what died, what hangs and what failed, and how it goes on."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mgflows.cli.options import directory_option, json_option, print_json
from mgflows.errors import ErrorCategory

if TYPE_CHECKING:
    from pathlib import Path

    from mgflows.database.failures import Failure
    from mgflows.recovery.steps import Recovery

_EVERYTHING = "all"
CATEGORIES = tuple(category.value for category in ErrorCategory)


@click.command()
@click.argument("campaign", required=False)
@click.option(
    "--yes", "do_it", is_flag=True, help="Do it; without this heal only says what it would do."
)
@click.option(
    "--retry",
    type=click.Choice([*CATEGORIES, _EVERYTHING]),
    multiple=True,
    help="Run jobs again that failed by themselves: those whose error is of this category. May be given several times.",
)
@directory_option
@json_option
@click.pass_context
def heal(
    context: click.Context,
    campaign: str | None,
    do_it: bool,
    retry: tuple[str, ...],
    directory: Path | None,
    as_json: bool,
) -> None:
    """Bring back what crashes, kills and walltimes left behind, of CAMPAIGN or all.

    Found are lost runs (the worker is dead: its process, the queue or its silence tell), stuck reservations, jobs that have ended without being
    told, stale locks, fireworks in no workflow, and jobs that failed, by category of error. A job that lives is never touched.

    Exits with 0 if nothing is left to do, with 1 if there is: something to heal (without --yes), a failed job, or one of which nobody here can
    say whether it lives.
    """
    from mgflows.recovery.repairs import plan_recovery, recover
    from mgflows.settings import Settings

    chosen: bool | frozenset[ErrorCategory] = _EVERYTHING in retry or frozenset(
        ErrorCategory(name) for name in retry
    )
    repair = recover if do_it else plan_recovery
    found = repair(Settings.load(directory), campaign, retry=chosen, restore=True)
    if as_json:
        print_json(_as_json(found, do_it))
    else:
        _show(found, do_it)
    unsolved = found.failures or found.unclear or found.stalled
    context.exit(1 if unsolved or (found.steps and not do_it) else 0)


def _as_json(found: Recovery, done: bool) -> dict[str, Any]:
    steps = [
        {
            "action": step.action,
            "problem": step.problem,
            "fireworks": list(step.fireworks),
            "name": step.name,
            "reason": step.reason,
        }
        for step in found.steps
    ]
    failures = [asdict(failure) | {"hint": failure.category.hint} for failure in found.failures]
    return {
        "done": done,
        "steps": steps,
        "failures": failures,
        "running": found.running,
        "unclear": found.unclear,
        "stalled": found.stalled,
    }


def _show(found: Recovery, done: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    words = {
        "rerun": "rerun",
        "set aside": "marked as failed",
        "finish": "end recorded",
        "unlock": "unlocked",
        "remove": "removed",
        "restore": "inserted again",
    }
    # Not narrower than its words need: reasons are what this is for.
    console = Console()
    if found.steps:
        table = Table(
            "problem",
            "job",
            "name",
            "reason",
            "done" if done else "would be done",
            box=box.SIMPLE_HEAD,
        )
        for step in found.steps:
            table.add_row(
                step.problem,
                _numbers(step.fireworks),
                step.name,
                Text(step.reason),
                words[step.action],
            )
        console.print(table)
    else:
        console.print("nothing to repair")
    for fw_id, reason in found.unclear.items():
        console.print(
            f"[yellow]unclear[/] job {fw_id} is left alone:",
            Text(reason),
            soft_wrap=True,
            highlight=False,
        )
    for fw_id, reason in found.stalled.items():
        console.print(
            f"[yellow]hanging[/] job {fw_id}:", Text(reason), soft_wrap=True, highlight=False
        )
    for category, failures in _by_category(found.failures).items():
        console.print(
            f"[red]{len(failures)} failed[/] {category} ({category.meaning}); jobs {_numbers(tuple(f.fw_id for f in failures))}",
            soft_wrap=True,
            highlight=False,
        )
        console.print(Text(f"    {failures[-1].name}: {failures[-1].reason}"), soft_wrap=True)
        console.print(
            f"    → {category.hint}: mgflows heal --retry {category} --yes",
            soft_wrap=True,
            highlight=False,
        )
    if found.running:
        console.print(f"{len(found.running)} jobs run and are left alone", highlight=False)
    if found.steps and not done:
        console.print("nothing was changed; to do it: add --yes", highlight=False)


def _by_category(failures: list[Failure]) -> dict[ErrorCategory, list[Failure]]:
    groups: dict[ErrorCategory, list[Failure]] = defaultdict(list)
    for failure in failures:
        groups[failure.category].append(failure)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def _numbers(ids: tuple[int, ...], longest: int = 6) -> str:
    shown = ", ".join(map(str, ids[:longest]))
    return shown + (f" and {len(ids) - longest} more" if len(ids) > longest else "")
