"""Running a campaign of a folder: progress while it runs, and a summary at its end."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgflows.cli.options import Interrupted
from mgflows.text import plural
from mgflows.units import duration

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from mgflows.database.forecast import Forecast
    from mgflows.database.progress import Progress
    from mgflows.machine.local_campaign import LocalCampaign

__all__ = ["describe_submission", "print_summary", "run_campaign"]

_JOBS_PER_LINE = 10


def describe_submission(run: LocalCampaign) -> str:
    """One sentence on the database, the jobs and the workers."""
    submission = run.submission
    state = (
        f"{plural(submission.n_added + submission.n_planned, 'job')} planned, "
        f"{submission.n_added} of them can run now"
        if submission.is_new
        else "resuming the campaign submitted before"
    )
    workers = plural(run.settings.n_workers, "worker")
    return f"MongoDB answers at {run.settings.shown_uri}; {state}; {workers}."


def run_campaign(run: LocalCampaign, console: Console, *, retry: bool) -> None:
    """Run the campaign to its end and show its progress."""
    from rich.live import Live

    from mgflows.database.forecast import forecast
    from mgflows.machine import LocalLauncher
    from mgflows.machine.local_campaign import add_wall_seconds

    launcher = LocalLauncher(run.settings, campaign=run.document.campaign)
    if retry:
        launcher.recover(retry=True)
    started = time.monotonic()
    printed = (-1, -1)
    try:
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            for progress in launcher.run():
                for message in progress.messages:
                    console.print(message, style="yellow", markup=False)
                outlook = forecast(
                    run.database.mongo, run.document.campaign, run.settings.n_workers
                )
                elapsed = time.monotonic() - started
                state = (progress.n_done // _JOBS_PER_LINE, progress.n_failed)
                if console.is_terminal:
                    live.update(_display(progress, outlook, run.document.planned, elapsed))
                elif state != printed:
                    printed = state
                    console.print(
                        _line(progress, outlook, run.document.planned),
                        markup=False,
                        soft_wrap=True,
                    )
    except KeyboardInterrupt:
        raise Interrupted("interrupted; run the same command again to resume") from None
    finally:
        add_wall_seconds(run.directory, time.monotonic() - started)


def _line(progress: Progress, outlook: Forecast, planned: dict[str, int]) -> str:
    """Progress for a log."""
    total = max(sum(planned.values()), progress.n_total)
    running = ", ".join(job.name for job in outlook.running) or "no job"
    return f"{progress.n_done}/{total} jobs done{_left(outlook)}; running: {running}"


def _display(
    progress: Progress, outlook: Forecast, planned: dict[str, int], elapsed: float
) -> RenderableType:
    """Progress for a terminal."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for stage, total in planned.items():
        counts = progress.stages.get(stage, {})
        done, running = counts.get("COMPLETED", 0), counts.get("RUNNING", 0)
        state = Text(f"{running} running" if running else "", style="cyan")
        if failed := counts.get("FIZZLED", 0):
            state.append(f"  {failed} failed", style="red")
        bar = ProgressBar(total=total, completed=done, width=36)
        table.add_row(stage, bar, f"{done}/{total}", state)
    lines: list[RenderableType] = [table]
    lines += [
        Text(f"  {job.text}", style="dim", no_wrap=True, overflow="ellipsis")
        for job in outlook.running
    ]
    lines.append(Text(f"{duration(elapsed)} elapsed{_left(outlook)}"))
    return Group(*lines)


def _left(outlook: Forecast) -> str:
    return "" if outlook.seconds_left is None else f", about {duration(outlook.seconds_left)} left"


def print_summary(console: Console, directory: Path, summary: dict[str, Any]) -> None:
    """Print what ran, the test errors, the files, and commands to continue with."""
    from rich.table import Table
    from rich.text import Text

    here = Path.cwd()
    shown = directory.relative_to(here) if directory.is_relative_to(here) else directory
    option = f"--directory {shlex.quote(str(shown))}"
    states = ", ".join(f"{count} {state.lower()}" for state, count in summary["fireworks"].items())
    errors = summary["test_rmse"]
    rows = {
        "campaign": f"{summary['campaign']}: {states}",
        "time": duration(summary["wall_seconds"]),
        "frames": ", ".join(f"{subset} {count}" for subset, count in summary["n_frames"].items()),
        "acceptance": _acceptance(summary.get("acceptance")),
        "test errors": (
            f"{errors['energy_mev_per_atom']:.2f} meV/atom, "
            f"{errors['force_mev_per_angstrom']:.0f} meV/Å, "
            f"virial {errors['virial_mev_per_atom']:.1f} meV/atom (RMSE against "
            f"{summary['method'].partition(' (')[0]}, {summary['n_test']} frames of unseen "
            "families)"
        ),
        "potential": f"{shown / 'nep.txt'} ({summary['potential_id']})",
        "report": str(shown / "report.html"),
        "database": f"{summary['mongodb_uri']} (stop it with: mgflows db stop {option})",
    }
    if "teacher" in summary:
        rows["teacher"] = f"{summary['teacher']}, which labelled first"
    if "student_instead_of" in summary:
        rows["teacher"] = f"{summary['teacher']}: all labels of this potential"
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for label, value in rows.items():
        table.add_row(label, Text(value))
    console.print(table)
    for reason, number in summary.get("stopped", {}).items():
        console.print(Text.assemble(("blocked ", "yellow"), f"{plural(number, 'job')}: {reason}"))
    for failure in summary.get("failures", []):
        console.print(Text.assemble(("failed ", "red"), failure))
    if "student_instead_of" in summary:
        console.print(
            f"There is no potential of the campaign yet, only the student of its teacher: none of "
            f"its labels is of the method {summary['student_instead_of']}.",
            style="red",
            markup=False,
        )
    console.print("[bold]Next[/]")
    for command in (
        f"mgflows status {option}",
        f"mgflows potentials {option}",
        f"mgflows export {summary['dataset_id']} {option} --output frames",
    ):
        console.print(f"  {command}", markup=False, soft_wrap=True)


def _acceptance(record: dict[str, Any] | None) -> str:
    if record is None:
        return "not tested"
    if not record["passed"]:
        return f"FAILED: {record['reason']}"
    outcomes = [check["outcome"] for check in record["checks"]]
    warnings = outcomes.count("warning")
    return f"passed ({plural(outcomes.count('passed'), 'test')}" + (
        f", {plural(warnings, 'warning')})" if warnings else ")"
    )
