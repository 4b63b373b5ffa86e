"""``mgflows frames`` and ``mgflows dataset``: labelled frames, and datasets made of them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mgflows.cli.filters import filter_options, select_frames
from mgflows.cli.options import (
    FiniteFloat,
    campaign_argument,
    complete_campaigns,
    complete_datasets,
    complete_potentials,
    directory_option,
    json_option,
    known_campaign,
    open_database,
    potential_id,
    print_json,
)
from mgflows.cli.paths import check_output, force_option
from mgflows.cli.tables import make_console, make_table, print_table
from mgflows.errors import InputError
from mgflows.files import atomic_write
from mgflows.text import plural, rounded

if TYPE_CHECKING:
    from mgflows.database import FrameRecord, GlassDatabase
    from mgflows.database.frame_errors import FrameError
    from mgflows.schemas.training import DatasetDocument

_SHOWN = 50
"""Frames in a table without --limit."""


@click.command()
@campaign_argument()
@filter_options
@click.option(
    "--potential",
    metavar="ID|best|last",
    shell_complete=complete_potentials,
    help="Add the errors of this potential: its id or first digits, the best one of the campaign "
    "(the one to use), or the last one trained.",
)
@click.option("--worst-forces", type=click.IntRange(1), help="Only the N worst force errors.")
@click.option("--worst-energies", type=click.IntRange(1), help="Only the N worst energy errors.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    help=f"Only the first N frames  [default: {_SHOWN} on the terminal, all with --csv or --json].",
)
@click.option(
    "--csv",
    "table",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write all columns to this file.",
)
@force_option
@directory_option
@json_option
def frames(
    campaign: str | None,
    potential: str | None,
    worst_forces: int | None,
    worst_energies: int | None,
    limit: int | None,
    table: Path | None,
    force: bool,
    directory: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """List the labelled frames of CAMPAIGN, or of all, that match the options.

    A window is MIN:MAX; either end may be missing: --pressure 10: selects compressed frames.
    """
    if (worst_forces or worst_energies) and potential is None:
        raise InputError(
            "the worst frames are those of a potential",
            hint="name it, such as --potential best",
        )
    if worst_forces and worst_energies:
        raise InputError(
            "--worst-forces and --worst-energies are both given", hint="give one of them"
        )
    if table is not None:
        check_output(table, force=force, option="--csv")
    database = open_database(directory)
    if potential is not None:
        potential = potential_id(database, campaign, potential)
    found = select_frames(database, known_campaign(database, campaign), options)
    n_found = len(found)
    if not (worst_forces or worst_energies):
        found = found[:limit]
    errors: dict[str, FrameError] = {}
    if potential is not None:
        number = worst_forces or worst_energies
        if number is None:
            errors = database.frame_errors(potential, found)
        else:
            worst = database.worst_frames(
                potential, found, number=number, by="force" if worst_forces else "energy"
            )
            found = [frame for frame, _ in worst]
            errors = {error.frame_id: error for _, error in worst}
            n_found, found = len(found), found[:limit]
    rows = [_row(frame, errors.get(frame.frame_id)) for frame in found]
    if table is not None:
        _write_csv(table, rows)
    if as_json:
        print_json(rows)
    elif table is not None:
        click.echo(f"wrote {plural(len(rows), 'frame')} to {table}")
    else:
        _print_frames(found[: limit or _SHOWN], errors, n_found, limited=limit is not None)


def _row(frame: FrameRecord, error: FrameError | None) -> dict[str, Any]:
    row = {**frame.model_dump(), "density": frame.density}
    if error is not None:
        row |= {
            "energy_error": error.energy,
            "force_error": error.force,
            "largest_force_error": error.largest_force,
            "virial_error": error.virial,
        }
    return row


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with atomic_write(path) as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]) if rows else ["frame_id"])
        writer.writeheader()
        writer.writerows(rows)


def _print_frames(
    found: list[FrameRecord], errors: dict[str, FrameError], n_found: int, *, limited: bool
) -> None:
    console = make_console()
    if not found:
        console.print("no frame matches")
        return
    numbers = ("E", "F max", "P", "g/cm³", *(("dE", "dF") if errors else ()))
    columns = ("frame", "subset", "family", "name", "cell", *numbers)
    rows = []
    for frame in found:
        row = [
            frame.frame_id[:10],
            frame.subset,
            frame.family,
            frame.name,
            frame.formula,
            f"{frame.energy_per_atom:.4f}",
            f"{frame.maximum_force:.2f}",
            f"{frame.pressure:.2f}",
            f"{frame.density:.2f}",
        ]
        if errors:
            error = errors[frame.frame_id]
            row += [rounded(error.energy), rounded(error.force)]
        rows.append(tuple(row))
    print_table(
        console, columns, rows, numbers=numbers, optional=("name", "g/cm³", "P", "F max", "cell")
    )
    legend = "E: energy in eV/atom; F max: largest force in eV/Å; P: pressure in GPa"
    if errors:
        legend += "; dE: error of the energy in meV/atom; dF: RMSE of the forces in meV/Å"
    console.print(legend, style="dim")
    if n_found > len(found):
        everything = "" if limited else ", all with --csv or --json"
        console.print(
            f"{plural(n_found, 'frame')}, {len(found)} shown; more with --limit{everything}"
        )


@click.group()
def dataset() -> None:
    """Freeze frames into datasets, and merge, subtract or split datasets."""


def _split_options(function: Any) -> Any:
    for option in (
        click.option(
            "--test-fraction",
            type=FiniteFloat(0.0, 1.0),
            default=0.2,
            show_default=True,
            help="Fraction of test frames.",
        ),
        click.option(
            "--seed",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="Seed of the splits.",
        ),
        click.option(
            "--hold-out", multiple=True, metavar="FAMILY", help="Test on this family; repeatable."
        ),
    ):
        function = option(function)
    return function


@dataset.command("freeze")
@campaign_argument(required=True)
@filter_options
@_split_options
@click.option("--include-ordered", is_flag=True, help="Keep samples that crystallised.")
@click.option(
    "--keep",
    metavar="DATASET",
    shell_complete=complete_datasets,
    help="Frames of this dataset keep their side of the splits.",
)
@click.option(
    "--accept-methods",
    is_flag=True,
    help="Declare that labels of different methods are the same; the dataset records what differs.",
)
@directory_option
@json_option
def freeze(
    campaign: str,
    test_fraction: float,
    seed: int,
    hold_out: tuple[str, ...],
    include_ordered: bool,
    keep: str | None,
    accept_methods: bool,
    directory: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Freeze the frames of CAMPAIGN that match the options into a dataset."""
    from mgflows.jobs.freezing import FreezeSettings

    database = open_database(directory)
    found = select_frames(database, known_campaign(database, campaign), options)
    settings = FreezeSettings(test_fraction, seed, include_ordered, hold_out)
    kept = database.dataset(keep) if keep else None
    _show(
        database.freeze(
            found, campaign, settings=settings, keep=kept, accept_methods=accept_methods
        ),
        as_json,
    )


@dataset.command("merge")
@click.argument(
    "identifiers",
    metavar="DATASET...",
    nargs=-1,
    required=True,
    shell_complete=complete_datasets,
)
@click.option(
    "--campaign",
    shell_complete=complete_campaigns,
    help="Campaign of the union  [default: that of the datasets].",
)
@click.option("--new-split", is_flag=True, help="Divide all frames again.")
@click.option("--accept-methods", is_flag=True, help="As for freeze.")
@directory_option
@json_option
def merge(
    identifiers: tuple[str, ...],
    campaign: str | None,
    new_split: bool,
    accept_methods: bool,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Freeze the union of DATASET...; a structure in several of them enters once."""
    database = open_database(directory)
    merged = database.merge(
        [database.dataset(each) for each in identifiers],
        campaign,
        keep_splits=not new_split,
        accept_methods=accept_methods,
    )
    _show(merged, as_json)


@dataset.command("subtract")
@click.argument("identifier", metavar="DATASET", shell_complete=complete_datasets)
@click.argument(
    "others", metavar="OTHER...", nargs=-1, required=True, shell_complete=complete_datasets
)
@directory_option
@json_option
def subtract(
    identifier: str, others: tuple[str, ...], directory: Path | None, as_json: bool
) -> None:
    """Freeze DATASET without the structures of other datasets; the sides of the splits stay."""
    database = open_database(directory)
    left_out = [frame for each in others for frame in database.dataset(each).frames]
    _show(database.subtract(database.dataset(identifier), left_out), as_json)


@dataset.command("split")
@click.argument("identifier", metavar="DATASET", shell_complete=complete_datasets)
@_split_options
@directory_option
@json_option
def split(
    identifier: str,
    test_fraction: float,
    seed: int,
    hold_out: tuple[str, ...],
    directory: Path | None,
    as_json: bool,
) -> None:
    """Freeze the frames of DATASET with other splits."""
    from mgflows.jobs.freezing import FreezeSettings

    database: GlassDatabase = open_database(directory)
    settings = FreezeSettings(test_fraction, seed, held_out_families=hold_out)
    _show(database.split(database.dataset(identifier), settings), as_json)


def _show(found: DatasetDocument, as_json: bool) -> None:
    if as_json:
        print_json(found.model_dump(exclude={"frames"}))
        return
    console = make_console()
    console.print(
        f"dataset [bold]{found.dataset_id}[/] of campaign {found.campaign}: "
        f"{plural(found.n_frames, 'frame')}"
    )
    titles = ("frames", "families", "family_test", "paper_test")
    rows = [
        (subset, *(str(counts[title]) for title in titles))
        for subset, counts in found.counts.items()
    ]
    console.print(
        make_table(("subset", "frames", "families", "test (family)", "test (paper)"), rows)
    )
    if found.relabelled:
        console.print(
            f"{plural(len(found.relabelled), 'frame')} left out: further labels of a structure"
        )
    for difference in found.mixed_methods:
        console.print(f"declared the same: {difference}", style="yellow", markup=False)
