"""``mgflows datasets``, ``potentials`` and ``export``: the results of campaigns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click

from mgflows.cli.options import (
    POTENTIAL_NAMES,
    campaign_argument,
    complete_results,
    directory_option,
    json_option,
    known_campaign,
    open_database,
    potential_id,
    print_json,
)
from mgflows.cli.paths import force_option
from mgflows.cli.tables import make_console, make_table, print_table
from mgflows.errors import InputError

if TYPE_CHECKING:
    from mgflows.database import GlassDatabase
    from mgflows.database.export import DatasetFormat, PotentialFormat
    from mgflows.schemas.training import Split

Kind = Literal["dataset", "potential"]
_OF_POTENTIALS = ("nep", "gpumd", "lammps")
"""Formats of potentials; the others are of datasets."""
_ACCEPTED = {True: "yes", False: "no", None: "untested"}


@click.command()
@campaign_argument()
@directory_option
@json_option
def datasets(campaign: str | None, directory: Path | None, as_json: bool) -> None:
    """List the datasets of CAMPAIGN, or of all campaigns."""
    database = open_database(directory)
    # Two trainings on the same frames have one dataset.
    listed = database.datasets(known_campaign(database, campaign))
    found = list({(each.campaign, each.dataset_id): each for each in listed}.values())
    if as_json:
        print_json([dataset.model_dump(exclude={"frames"}) for dataset in found])
        return
    console = make_console()
    if not found:
        console.print("there are no datasets yet")
    keys = ("frames", "families", "family_test", "paper_test")
    titles = ("frames", "families", "test (family)", "test (paper)")
    for dataset in found:
        console.print(f"[bold]{dataset.dataset_id}[/]  {dataset.campaign}")
        console.print(f"labels: {dataset.fingerprint.description}", markup=False)
        rows = [
            (subset, *(str(counts[key]) for key in keys))
            for subset, counts in dataset.counts.items()
        ]
        tests = [
            str(sum(counts[key] for counts in dataset.counts.values()))
            for key in ("family_test", "paper_test")
        ]
        total = ("all", str(dataset.n_frames), "", *tests)
        console.print(make_table(("subset", *titles), [*rows, None, total], numbers=titles))


@click.command()
@campaign_argument()
@directory_option
@json_option
def potentials(campaign: str | None, directory: Path | None, as_json: bool) -> None:
    """List the potentials of CAMPAIGN, or of all, with acceptance and errors.

    Test errors are recomputed from nep.txt.
    """
    database = open_database(directory)
    found = database.potentials(known_campaign(database, campaign))
    if as_json:
        print_json(
            [potential.model_dump(exclude={"parity", "nep_txt", "loss"}) for potential in found]
        )
        return
    console = make_console()
    if not found:
        console.print("there are no potentials yet")
        return
    rows = []
    for potential in found:
        errors = potential.errors["test"]["all"]
        rows.append(
            (
                potential.potential_id,
                _ACCEPTED[potential.accepted],
                "student" if potential.is_student else str(potential.generation),
                potential.split,
                f"{errors.energy_rmse:.2f}",
                f"{errors.force_rmse:.0f}",
                f"{errors.virial_rmse:.1f}",
                potential.dataset_id,
                potential.campaign,
            )
        )
    print_table(
        console,
        ("potential", "accepted", "gen.", "split", "E", "F", "W", "dataset", "campaign"),
        rows,
        numbers=("gen.", "E", "F", "W"),
        optional=("campaign", "dataset"),
    )
    console.print(
        "E, F, W: root mean square errors of energy (meV/atom), force (meV/Å) and virial "
        "(meV/atom) over the test set of the potential's split",
        style="dim",
    )
    for teacher in sorted({potential.teacher for potential in found if potential.teacher}):
        console.print(
            f"first trained on labels of a teacher ({teacher}); the student on these alone",
            style="dim",
            markup=False,
        )
    for potential in found:
        if potential.acceptance is not None and not potential.acceptance.passed:
            console.print(
                f"{potential.potential_id} failed its acceptance: {potential.acceptance.reason}",
                style="red",
                markup=False,
            )


@click.command()
@click.argument("identifier", metavar="ID", shell_complete=complete_results)
@click.option(
    "--format",
    "form",
    type=click.Choice(["extxyz", "mace", "ase-db", "deepmd", "nep", "gpumd", "lammps"]),
    default=None,
    help="extxyz, mace, ase-db, deepmd: ID is a dataset; nep, gpumd, lammps: ID is a potential, "
    "and gpumd and lammps write a folder that runs  [default: extxyz or nep, whichever has the "
    "ID].",
)
@click.option(
    "--split",
    type=click.Choice(["family", "paper"]),
    default="family",
    show_default=True,
    help="Split of the dataset into train and test.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Directory of the files  [default: the working directory].",
)
@click.option("--licence", default="", help="Licence of a dataset, for its DATASHEET.md.")
@force_option
@directory_option
@json_option
def export(
    identifier: str,
    form: str | None,
    split: Split,
    output: Path,
    licence: str,
    force: bool,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Write the dataset or the potential with this ID, or its first digits, to files.

    ID may also be the name of a campaign, which means its best potential or, with the format of a
    dataset, the dataset that this potential was trained on; "best" and "last" mean potentials of
    the only campaign in the same way.

    A dataset becomes train.xyz and test.xyz, as GPUMD, neppo, calorine and ASE read them, and a
    DATASHEET.md that describes it; a potential becomes nep.txt and nep.in. Existing files of other
    content are overwritten only with --force.
    """
    from mgflows.database.export import write_dataset, write_potential

    database = open_database(directory)
    is_campaign = identifier in {each.campaign for each in database.campaigns()}
    if is_campaign or identifier in POTENTIAL_NAMES:
        campaign, name = (identifier, "best") if is_campaign else (None, identifier)
        found = database.potential(potential_id(database, campaign, name))
        form = form or "nep"
        identifier = found.potential_id if form in _OF_POTENTIALS else found.dataset_id
    kind = _kind(database, identifier, form)
    if kind == "dataset":
        paths = write_dataset(
            database,
            identifier,
            split,
            output,
            form=cast("DatasetFormat", form or "extxyz"),
            licence=licence,
            overwrite=force,
        )
    else:
        paths = write_potential(
            database,
            identifier,
            output,
            form=cast("PotentialFormat", form or "nep"),
            overwrite=force,
        )
    if as_json:
        print_json({"kind": kind, "files": [str(path) for path in paths]})
        return
    for path in paths:
        click.echo(path)


def _kind(database: GlassDatabase, identifier: str, form: str | None) -> Kind:
    """Whether an identifier, or its first digits, is that of a dataset or of a potential."""
    if form is not None:
        return "potential" if form in _OF_POTENTIALS else "dataset"
    matches: dict[Kind, list[str]] = {
        "dataset": [each.dataset_id for each in database.datasets()],
        "potential": [each.potential_id for each in database.potentials()],
    }
    found = {
        kind: sorted({each for each in ids if each.startswith(identifier)})
        for kind, ids in matches.items()
    }
    kinds = [kind for kind, ids in found.items() if ids]
    if len(kinds) == 1:
        return kinds[0]
    if not kinds:
        raise InputError(
            f"there is no dataset and no potential {identifier!r}",
            hint="list them with: mgflows datasets, mgflows potentials",
        )
    listing = "; ".join(f"{kind}s {', '.join(ids)}" for kind, ids in found.items())
    raise InputError(f"{identifier!r} matches several results ({listing})", hint="give more digits")
