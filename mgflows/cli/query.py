"""``mgflows status``, ``cost``, ``datasets``, ``potentials`` and ``export``: questions to the database."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mgflows.cli.options import (
    directory_option,
    json_option,
    only_campaign,
    open_database,
    print_json,
)
from mgflows.schemas.training import SUBSETS
from mgflows.units import duration

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from mgflows.database import GlassDatabase
    from mgflows.database.cost import Cost, RemainingCost
    from mgflows.schemas.training import Split

_SHOWN_FAILURES = 5
_SUBSET_WIDTH = max(map(len, SUBSETS))


@click.command()
@click.argument("campaign", required=False)
@click.option(
    "--watch",
    is_flag=True,
    help="Keep looking until it is finished; Ctrl-C ends the looking, not the campaign.",
)
@click.option(
    "--every",
    default=5.0,
    show_default=True,
    type=click.FloatRange(min=0.5),
    help="Seconds between two looks of --watch.",
)
@directory_option
@json_option
def status(
    campaign: str | None, watch: bool, every: float, directory: Path | None, as_json: bool
) -> None:
    """Show how far CAMPAIGN is: jobs by stage and subset, core hours, time left, and failures in words.

    Without CAMPAIGN and with several of them, one line for each.
    """
    database = open_database(directory)
    names = [each.campaign for each in database.campaigns()]
    if campaign is None and len(names) > 1:
        _print_campaigns(database, names, as_json=as_json)
        return
    name = only_campaign(database, campaign)
    if as_json:
        print_json(_as_json(database, name))
        return

    from rich.console import Console
    from rich.live import Live

    console = Console()
    if not watch:
        console.print(_status_display(database, name))
        return
    with Live(console=console, auto_refresh=False) as live, suppress(KeyboardInterrupt):
        while True:
            live.update(_status_display(database, name), refresh=True)
            if database.status(name).finished:
                break
            time.sleep(every)


@click.command()
@click.argument("campaign", required=False)
@directory_option
@json_option
def cost(campaign: str | None, directory: Path | None, as_json: bool) -> None:
    """Show what CAMPAIGN has cost, by stage and subset, and a forecast of what the rest of it will.

    The forecast takes what jobs of the same stage and subset cost that are done; where there are none, the pilot labels or a guess (docs/costs.md).
    """
    database = open_database(directory)
    name = only_campaign(database, campaign)
    spent, remaining = database.cost(name), database.remaining_cost(name)
    hours = {
        "core_hours": sum(each.core_hours for each in spent),
        "core_hours_left": sum(each.core_hours for each in remaining),
    }
    hours["core_hours_total"] = sum(hours.values())
    if as_json:
        print_json(
            {
                "campaign": name,
                "costs": [asdict(each) for each in spent],
                "remaining": [asdict(each) for each in remaining],
                **hours,
            }
        )
        return

    from rich.console import Console

    console = Console()
    if spent:
        console.print(_cost_table(spent))
    if remaining:
        console.print(_forecast_table(spent, remaining))
    hosts = ", ".join(sorted({host for each in spent for host in each.hosts})) or "no machine yet"
    total = (
        f"forecast: {_some(hours['core_hours_left'])} to come, {_some(hours['core_hours_total'])} in total"
        if remaining
        else "nothing to come"
    )
    console.print(
        f"{_some(hours['core_hours'])} core hours spent on {hosts}; {total}", highlight=False
    )
    if any(each.basis == "pilots" for each in remaining):
        console.print(
            "[dim]pilots: from the first labels, with an assumed number of steps for a relaxation[/]"
        )
    if any(each.basis == "guess" for each in remaining):
        console.print(
            "[dim]guess: nothing like it was measured yet; the number is what the jobs say of themselves, a second for most labels[/]"
        )


def _cost_table(spent: list[Cost]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        "stage",
        "subset",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
        title="spent",
        title_justify="left",
    )
    table.columns[1].min_width = _SUBSET_WIDTH
    for title in ("jobs", "core h", "wall h", "s each", "cores", "MiB"):
        table.add_column(title, justify="right")
    for each in spent:
        numbers = (_some(each.core_hours), _some(each.wall_hours), f"{each.mean_core_seconds:.3g}")
        table.add_row(
            each.stage or "",
            each.subset or "",
            str(each.n),
            *numbers,
            str(each.largest_cores),
            f"{each.largest_memory:.0f}",
        )
    return table


def _forecast_table(spent: list[Cost], remaining: list[RemainingCost]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        "stage",
        "subset",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
        title="forecast",
        title_justify="left",
    )
    table.columns[1].min_width = _SUBSET_WIDTH
    for title in ("jobs", "core h", "with those spent"):
        table.add_column(title, justify="right")
    table.add_column("from")
    so_far = {(each.stage, each.subset): each.core_hours for each in spent}
    for kind in dict.fromkeys((each.stage, each.subset) for each in remaining):
        rows = [each for each in remaining if (each.stage, each.subset) == kind]
        hours = sum(each.core_hours for each in rows)
        bases = ", ".join(each.basis for each in rows)
        table.add_row(
            kind[0] or "",
            kind[1] or "",
            str(sum(each.n for each in rows)),
            _some(hours),
            _some(so_far.get(kind, 0.0) + hours),
            bases,
        )
    return table


def _some(hours: float) -> str:
    return f"{hours:.3g}" if hours >= 0.001 or hours == 0.0 else "<0.001"


def _as_json(database: GlassDatabase, name: str) -> dict[str, Any]:
    state = database.status(name)
    groups = [asdict(group) | {"total": group.total} for group in state.groups]
    summary = {
        key: getattr(state, key)
        for key in (
            "total",
            "completed",
            "planned",
            "core_hours",
            "core_hours_left",
            "finished",
            "succeeded",
        )
    }
    return asdict(state) | {
        "groups": groups,
        **summary,
        "scaled_down": database.campaign(name).scaled_down,
    }


def _print_campaigns(database: GlassDatabase, names: list[str], *, as_json: bool) -> None:
    if as_json:
        print_json({name: _as_json(database, name) for name in names})
        return

    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "campaign", "done", "running", "waiting", "failed", "planned", "core h", box=box.SIMPLE_HEAD
    )
    for name in names:
        groups = database.status(name).groups
        counts = [
            sum(getattr(group, key) for group in groups)
            for key in ("completed", "running", "waiting", "failed", "planned")
        ]
        table.add_row(name, *map(str, counts), f"{sum(group.core_hours for group in groups):.3g}")
    Console().print(table)


def _status_display(database: GlassDatabase, name: str) -> RenderableType:
    from rich import box
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    document, state = database.campaign(name), database.status(name)
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("stage", "subset", ""):
        table.add_column(title)
    for title in ("done", "running", "waiting", "failed", "planned", "core h", "to come"):
        table.add_column(title, justify="right")
    stage: str | None = ""
    for group in state.groups:
        table.add_row(
            "" if group.stage == stage else group.stage or "other",
            group.subset or "",
            ProgressBar(total=max(group.total, 1), completed=group.completed, width=20),
            str(group.completed),
            Text(_unless_zero(group.running), style="cyan"),
            _unless_zero(group.waiting),
            Text(_unless_zero(group.failed), style="red"),
            _unless_zero(group.planned),
            _hours(group.core_hours),
            _hours(group.core_hours_left),
        )
        stage = group.stage
    left = f"{state.core_hours_left:.3g} to come"
    if state.seconds_left:
        left += (
            f", about {duration(state.seconds_left)} with {state.states['RUNNING']} jobs at a time"
        )
    lines: list[RenderableType] = [
        Text.assemble((name, "bold"), f"  {document.alloy.name}, labels: {document.method}"),
        table,
        Text(
            f"{state.completed} of {state.total} jobs done; {state.core_hours:.3g} core hours spent, {left}"
        ),
    ]
    lines += [
        Text.assemble(("stopped ", "yellow"), f"{number} planned jobs: {reason}")
        for reason, number in state.stopped.items()
    ]
    lines += [
        Text.assemble(("failed ", "red"), f"{job}: {reason}")
        for job, reason in state.failures[-_SHOWN_FAILURES:]
    ]
    if len(state.failures) > _SHOWN_FAILURES:
        lines.append(
            Text(
                f"and {len(state.failures) - _SHOWN_FAILURES} more; all of them by kind: mgflows heal",
                style="dim",
            )
        )
    if document.scaled_down:
        lines.append(Text(document.scaled_down, style="dim"))
    return Group(*lines)


def _unless_zero(number: int) -> str:
    return str(number) if number else ""


def _hours(hours: float) -> str:
    return "" if hours == 0.0 else "<0.01" if hours < 0.01 else f"{hours:.3g}"


@click.command()
@click.argument("campaign", required=False)
@directory_option
@json_option
def datasets(campaign: str | None, directory: Path | None, as_json: bool) -> None:
    """List the datasets, of CAMPAIGN or all."""
    found = open_database(directory).datasets(campaign)
    if as_json:
        print_json([dataset.model_dump(exclude={"frames"}) for dataset in found])
        return

    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for dataset in found:
        tests = {
            split: sum(counts[f"{split}_test"] for counts in dataset.counts.values())
            for split in ("family", "paper")
        }
        console.print(
            f"[bold]{dataset.dataset_id}[/]  {dataset.campaign}, labels: {dataset.fingerprint.description}",
            highlight=False,
        )
        table = Table(
            "subset", "frames", "families", "test (family)", "test (paper)", box=box.SIMPLE_HEAD
        )
        for subset, counts in dataset.counts.items():
            table.add_row(
                subset,
                *(str(counts[key]) for key in ("frames", "families", "family_test", "paper_test")),
            )
        table.add_section()
        table.add_row("all", str(dataset.n_frames), "", str(tests["family"]), str(tests["paper"]))
        console.print(table)


@click.command()
@click.argument("campaign", required=False)
@directory_option
@json_option
def potentials(campaign: str | None, directory: Path | None, as_json: bool) -> None:
    """List the potentials, of CAMPAIGN or all, with their test errors recomputed from nep.txt."""
    found = open_database(directory).potentials(campaign)
    if as_json:
        print_json(
            [potential.model_dump(exclude={"parity", "nep_txt", "loss"}) for potential in found]
        )
        return

    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "potential",
        "gen.",
        "split",
        "E meV/atom",
        "F meV/A",
        "W meV/atom",
        "campaign",
        box=box.SIMPLE_HEAD,
    )
    table.columns[0].no_wrap = True
    for potential in found:
        errors = potential.errors["test"]["all"]
        numbers = (
            f"{errors.energy_rmse:.2f}",
            f"{errors.force_rmse:.0f}",
            f"{errors.virial_rmse:.1f}",
        )
        table.add_row(
            potential.potential_id,
            str(potential.generation),
            potential.split,
            *numbers,
            potential.campaign,
        )
    console = Console()
    console.print(table)
    console.print(
        "[dim]root mean square errors of energy, force and virial over the test set of the split each was trained on[/]"
    )


@click.command()
@click.argument("what")
@click.option(
    "--format",
    "form",
    type=click.Choice(["extxyz", "nep"]),
    default=None,
    help="extxyz for a dataset (default), nep for a potential.",
)
@click.option(
    "--split",
    type=click.Choice(["family", "paper"]),
    default="family",
    show_default=True,
    help="Which split makes train and test.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where the files go; by default here.",
)
@directory_option
def export(what: str, form: str | None, split: Split, output: Path, directory: Path | None) -> None:
    """Write the dataset or the potential with id WHAT (or its beginning) to files.

    A dataset becomes train.xyz and test.xyz, as GPUMD, neppo, calorine and ASE read them; a potential becomes nep.txt and nep.in.
    """
    from mgflows.database.export import write_dataset, write_potential
    from mgflows.database.glass import UnknownDocumentError

    database = open_database(directory)
    if form == "nep":
        paths = write_potential(database, what, output)
    else:
        try:
            paths = write_dataset(database, what, split, output)
        except UnknownDocumentError:
            if form == "extxyz":
                raise
            paths = write_potential(database, what, output)
    for path in paths:
        click.echo(path)
