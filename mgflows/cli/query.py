"""``mgflows status``, ``datasets``, ``potentials`` and ``export``: questions to the database."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mgflows.cli.options import directory_option, json_option, only_campaign, open_database, print_json
from mgflows.errors import InputError

if TYPE_CHECKING:
    from mgflows.schemas.training import Split


@click.command()
@click.argument("campaign", required=False)
@directory_option
@json_option
def status(campaign: str | None, directory: Path | None, as_json: bool) -> None:
    """Show how far CAMPAIGN is: jobs by stage, run times and failures in words."""
    database = open_database(directory)
    name = only_campaign(database, campaign)
    document, state = database.campaign(name), database.status(name)
    if as_json:
        print_json(asdict(state) | {"finished": state.finished, "succeeded": state.succeeded, "scaled_down": document.scaled_down})
        return

    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"[bold]{name}[/]  {document.alloy['name']}, labels: {document.method}")
    table = Table("stage", "planned", "done", "running", "waiting", "failed", "job seconds")
    for stage in state.stages:
        numbers = (stage.planned, stage.completed, stage.running, stage.waiting, stage.failed)
        table.add_row(stage.stage, *map(str, numbers), f"{stage.seconds:.0f}")
    console.print(table)
    for job, reason in state.failures:
        console.print(f"[red]failed[/] {job}: {reason}", highlight=False)
    if document.scaled_down:
        console.print(f"[dim]{document.scaled_down}[/]", highlight=False)


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
        tests = {split: sum(counts[f"{split}_test"] for counts in dataset.counts.values()) for split in ("family", "paper")}
        console.print(f"[bold]{dataset.dataset_id}[/]  {dataset.campaign}, labels: {dataset.fingerprint.description}", highlight=False)
        table = Table("subset", "frames", "families", "test (family)", "test (paper)", box=box.SIMPLE_HEAD)
        for subset, counts in dataset.counts.items():
            table.add_row(subset, *(str(counts[key]) for key in ("frames", "families", "family_test", "paper_test")))
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
        print_json([potential.model_dump(exclude={"parity", "nep_txt", "loss"}) for potential in found])
        return

    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table("potential", "gen.", "split", "E meV/atom", "F meV/A", "W meV/atom", "campaign", box=box.SIMPLE_HEAD)
    table.columns[0].no_wrap = True
    for potential in found:
        errors = potential.errors["test"]["all"]
        numbers = (f"{errors.energy_rmse:.2f}", f"{errors.force_rmse:.0f}", f"{errors.virial_rmse:.1f}")
        table.add_row(potential.potential_id, str(potential.generation), potential.split, *numbers, potential.campaign)
    console = Console()
    console.print(table)
    console.print("[dim]root mean square errors of energy, force and virial over the test set of the split each was trained on[/]")


@click.command()
@click.argument("what")
@click.option(
    "--format", "form", type=click.Choice(["extxyz", "nep"]), default=None, help="extxyz for a dataset (default), nep for a potential."
)
@click.option(
    "--split", type=click.Choice(["family", "paper"]), default="family", show_default=True, help="Which split makes train and test."
)
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Where the files go; by default here.")
@directory_option
def export(what: str, form: str | None, split: Split, output: Path, directory: Path | None) -> None:
    """Write the dataset or the potential with id WHAT (or its beginning) to files.

    A dataset becomes train.xyz and test.xyz, as GPUMD, neppo, calorine and ASE read them; a potential becomes nep.txt and nep.in.
    """
    from mgflows.database.export import write_dataset, write_potential

    database = open_database(directory)
    if form == "nep":
        paths = write_potential(database, what, output)
    else:
        try:
            paths = write_dataset(database, what, split, output)
        except InputError:
            if form == "extxyz":
                raise
            paths = write_potential(database, what, output)
    for path in paths:
        click.echo(path)
