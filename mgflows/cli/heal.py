"""``mgflows heal``: find and recover lost, hanging and failed jobs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mgflows.cli.options import campaign_argument, directory_option, json_option, print_json
from mgflows.cli.tables import make_console, make_table
from mgflows.errors import ErrorCategory
from mgflows.text import plural

if TYPE_CHECKING:
    from pathlib import Path

    from mgflows.database.failures import Failure
    from mgflows.recovery.steps import Recovery

_EVERYTHING = "all"
CATEGORIES = tuple(category.value for category in ErrorCategory)


@click.command()
@campaign_argument()
@click.option(
    "--yes", "do_it", is_flag=True, help="Apply the repairs; without it they are only listed."
)
@click.option(
    "--retry",
    type=click.Choice([*CATEGORIES, _EVERYTHING]),
    multiple=True,
    metavar="CATEGORY",
    help="Also rerun failed jobs whose error is of this category; repeatable. Categories: "
    f"{', '.join((*CATEGORIES, _EVERYTHING))}.",
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
    """Recover jobs lost in crashes, kills and walltimes, of CAMPAIGN or of all campaigns.

    Finds lost runs (the worker is dead according to its process, its batch job or missing
    heartbeats), stuck reservations, results of offline jobs, finished jobs whose end was not
    recorded, stale locks, deleted jobs, fireworks in no workflow, and failed jobs by error
    category. Running jobs are never touched.

    The exit code is 0 if nothing is left to do; otherwise 1: repairs to apply (without --yes),
    failed jobs, hanging jobs, or jobs whose state cannot be determined from here.
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


_DONE = {
    "rerun": "rerun",
    "set aside": "marked as failed",
    "finish": "end recorded",
    "unlock": "unlocked",
    "remove": "removed",
    "restore": "inserted again",
    "prepare": "created",
    "collect": "result stored",
    "record": "recorded",
}


def _show(found: Recovery, done: bool) -> None:
    from rich.text import Text

    console = make_console()
    if found.steps:
        columns = ("problem", "job", "name", "reason", "done" if done else "would be")
        rows = [
            (step.problem, _numbers(step.fireworks), step.name, step.reason, _DONE[step.action])
            for step in found.steps
        ]
        console.print(make_table(columns, rows))
    else:
        console.print("nothing to repair")
    for fw_id, reason in found.unclear.items():
        console.print(
            Text.assemble(("unclear ", "yellow"), f"job {fw_id} is left alone: {reason}"),
            soft_wrap=True,
        )
    for fw_id, reason in found.stalled.items():
        console.print(
            Text.assemble(("hanging ", "yellow"), f"job {fw_id}: {reason}"), soft_wrap=True
        )
    for category, failures in _by_category(found.failures).items():
        jobs = _numbers(tuple(failure.fw_id for failure in failures))
        lines = (
            Text.assemble(
                (f"{len(failures)} failed ", "red"),
                f"{category} ({category.meaning}): {jobs}",
            ),
            f"    {failures[-1].name}: {failures[-1].reason}",
            f"    → {category.hint}: mgflows heal --retry {category} --yes",
        )
        for line in lines:
            console.print(line, soft_wrap=True, markup=False)
    if found.running:
        console.print(f"{plural(len(found.running), 'running job')} left alone")
    if found.steps and not done:
        console.print("nothing was changed; apply the repairs with --yes")


def _by_category(failures: list[Failure]) -> dict[ErrorCategory, list[Failure]]:
    groups: dict[ErrorCategory, list[Failure]] = defaultdict(list)
    for failure in failures:
        groups[failure.category].append(failure)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def _numbers(ids: tuple[int, ...], longest: int = 6) -> str:
    shown = ", ".join(map(str, ids[:longest]))
    return shown + (f" and {len(ids) - longest} more" if len(ids) > longest else "")
