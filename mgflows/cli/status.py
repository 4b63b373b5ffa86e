"""``mgflows status``: the progress of campaigns."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mgflows.cli.options import (
    FiniteFloat,
    campaign_argument,
    directory_option,
    json_option,
    only_submission,
    open_database,
    print_json,
)
from mgflows.cli.tables import make_console, make_table
from mgflows.text import format_hours, plural
from mgflows.units import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from rich.console import RenderableType
    from rich.table import Table

    from mgflows.database import CampaignStatus, GlassDatabase
    from mgflows.database.rounds import RoundSummary
    from mgflows.schemas.campaign import CampaignDocument

_SHOWN_RUNNING = 10
_SHOWN_FAILURES = 5
_COUNTS = {"running": "run", "waiting": "wait", "failed": "fail", "planned": "plan"}
"""Fields of a group of jobs to the titles of their columns."""
_SUMMARY = (
    "total",
    "completed",
    "planned",
    "core_hours",
    "core_hours_left",
    "finished",
    "succeeded",
)


@click.command()
@campaign_argument()
@click.option(
    "--watch",
    is_flag=True,
    help="Update until the campaign ends; Ctrl-C stops watching, not the campaign.",
)
@click.option(
    "--every",
    default=5.0,
    show_default=True,
    type=FiniteFloat(min=0.5),
    help="Seconds between two updates of --watch.",
)
@directory_option
@json_option
def status(
    campaign: str | None, watch: bool, every: float, directory: Path | None, as_json: bool
) -> None:
    """Show the progress of CAMPAIGN: jobs by stage and subset, core hours, time left, failures.

    Without CAMPAIGN, several campaigns get one line each. `--watch --json` prints one JSON object
    per line and update.
    """
    database = open_database(directory)
    names = [each.campaign for each in database.campaigns()]
    several = campaign is None and len(names) > 1
    if not several:
        names = [only_submission(database, campaign)]

    def look() -> tuple[dict[str, CampaignStatus], bool]:
        states = {name: database.status(name) for name in names}
        return states, all(state.finished for state in states.values())

    def plain(states: dict[str, CampaignStatus]) -> dict[str, Any]:
        found = {name: _as_json(database, name, state) for name, state in states.items()}
        return found if several else found[names[0]]

    def display(states: dict[str, CampaignStatus]) -> RenderableType:
        return _overview(states) if several else _details(database, names[0], states[names[0]])

    if not watch:
        states, _ = look()
        if as_json:
            print_json(plain(states))
        else:
            make_console().print(display(states))
    elif as_json:
        _repeat(look, lambda states: print_json(plain(states), indent=None), every)
    else:
        _watch(look, display, every)


def _watch(
    look: Callable[[], tuple[dict[str, CampaignStatus], bool]],
    display: Callable[[dict[str, CampaignStatus]], RenderableType],
    every: float,
) -> None:
    """Redraw on a terminal; otherwise print when something has changed."""
    from rich.live import Live

    console = make_console()
    if not console.is_terminal:
        shown: list[dict[str, CampaignStatus]] = []

        def print_change(states: dict[str, CampaignStatus]) -> None:
            if not shown or [s.groups for s in shown[-1].values()] != [
                s.groups for s in states.values()
            ]:
                console.print(display(states))
            shown[:] = [states]

        _repeat(look, print_change, every)
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
        _repeat(look, lambda states: live.update(display(states), refresh=True), every)


def _repeat(
    look: Callable[[], tuple[dict[str, CampaignStatus], bool]],
    show: Callable[[dict[str, CampaignStatus]], None],
    every: float,
) -> None:
    with suppress(KeyboardInterrupt):
        while True:
            states, finished = look()
            show(states)
            if finished:
                return
            time.sleep(every)


def _as_json(database: GlassDatabase, name: str, state: CampaignStatus) -> dict[str, Any]:
    groups = [asdict(group) | {"total": group.total} for group in state.groups]
    summary = {key: getattr(state, key) for key in _SUMMARY}
    document = _document(database, name)
    described = {
        key: "" if document is None else getattr(document, key)
        for key in ("scaled_down", "teacher")
    }
    return asdict(state) | {"groups": groups, **summary, **described}


def _document(database: GlassDatabase, name: str) -> CampaignDocument | None:
    """The campaign's document; jobs that were submitted alone, such as a comparison, have none."""
    return next((each for each in database.campaigns() if each.campaign == name), None)


def _overview(states: dict[str, CampaignStatus]) -> Table:
    counts = ("completed", *_COUNTS)
    return make_table(
        ("campaign", "done", *_COUNTS.values(), "core h"),
        (
            (
                name,
                *(str(sum(getattr(group, key) for group in state.groups)) for key in counts),
                format_hours(state.core_hours),
            )
            for name, state in states.items()
        ),
        numbers=("done", *_COUNTS.values(), "core h"),
    )


def _details(database: GlassDatabase, name: str, state: CampaignStatus) -> RenderableType:
    from rich.console import Group
    from rich.padding import Padding
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    document = _document(database, name)
    left = f"{format_hours(state.core_hours_left)} to come"
    if state.seconds_left:
        running = plural(state.states.get("RUNNING", 0), "job")
        left += f", about {duration(state.seconds_left)} with {running} at a time"
    spent = format_hours(state.core_hours)
    lines: list[RenderableType] = [
        Text.assemble(
            (name, "bold"),
            "" if document is None else f"  {document.alloy.name}, labels: {document.method}",
        ),
        _group_table(state),
        Padding(
            ProgressBar(total=max(state.total, 1), completed=state.completed, width=60),
            expand=False,
        ),
        Text(
            f"{state.completed} of {plural(state.total, 'job')} done; {spent} core hours spent, "
            f"{left}"
        ),
    ]
    if state.rounds:
        lines += [
            _round_table(state.rounds),
            Text(f"round {state.rounds[-1].round}: {state.rounds[-1].reason}"),
        ]
    lines += [
        Text(f"running {job}", style="cyan", no_wrap=True, overflow="ellipsis")
        for job in state.progress[:_SHOWN_RUNNING]
    ]
    lines += [
        Text.assemble(("blocked ", "yellow"), f"{plural(number, 'job')}: {reason}")
        for reason, number in state.stopped.items()
    ]
    lines += [
        Text.assemble(("failed ", "red"), f"{job}: {reason}")
        for job, reason in state.failures[-_SHOWN_FAILURES:]
    ]
    if (more := len(state.failures) - _SHOWN_FAILURES) > 0:
        lines.append(Text(f"and {more} more; list them by category with: mgflows heal", "dim"))
    if document is not None and document.teacher:
        lines.append(Text(f"first labelled by a teacher: {document.teacher}", style="dim"))
    if document is not None and document.scaled_down:
        lines.append(Text(document.scaled_down, style="dim"))
    return Group(*lines)


def _group_table(state: CampaignStatus) -> Table:
    from rich.text import Text

    styles = {"running": "cyan", "failed": "red"}
    shown = [key for key in _COUNTS if any(getattr(group, key) for group in state.groups)]
    numbers = ("done", *(_COUNTS[key] for key in shown), "core h", "to come")
    return make_table(
        ("jobs", *numbers),
        (
            (
                "/".join(filter(None, (group.stage or "other", group.subset))),
                f"{group.completed}/{group.total}",
                *(Text(str(getattr(group, key) or ""), style=styles.get(key, "")) for key in shown),
                _unless_zero(group.core_hours),
                _unless_zero(group.core_hours_left),
            )
            for group in state.groups
        ),
        numbers=numbers,
    )


def _round_table(rounds: Sequence[RoundSummary]) -> Table:
    """Labels, errors and cost of the rounds of active learning."""
    titles = ("labels", "test meV/atom", "test meV/Å", "candidates meV/Å", "spread x", "CPU h")
    return make_table(
        ("round", *titles, "then"),
        (
            (
                str(each.round),
                str(each.n_labels),
                _largest(each.test_energy),
                _largest(each.test_force),
                f"{each.force_error:.3g}"
                + ("" if each.force_error_error is None else f" ± {each.force_error_error:.2g}"),
                f"{each.scale:.2f}",
                format_hours(each.cpu_seconds / 3600.0),
                each.outcome,
            )
            for each in rounds
        ),
        numbers=titles,
    )


def _largest(errors: Mapping[str, float]) -> str:
    """The largest error with its subset."""
    if not errors:
        return ""
    subset = max(errors, key=lambda name: errors[name])
    return f"{errors[subset]:.3g} {subset}"


def _unless_zero(hours: float) -> str:
    return format_hours(hours) if hours else ""
