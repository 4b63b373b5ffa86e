"""Commands that change an existing campaign: ``extend``, ``retrain``, ``revalidate``, ``label``."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from mgflows.cli.options import (
    FiniteFloat,
    campaign_argument,
    complete_campaigns,
    complete_datasets,
    complete_potentials,
    directory_option,
    json_option,
    only_campaign,
    open_database,
    potential_id,
    print_json,
)
from mgflows.cli.paths import read_structures
from mgflows.errors import InputError
from mgflows.text import plural

if TYPE_CHECKING:
    from mgflows.database import GlassDatabase
    from mgflows.jobs.training import TrainingMaker
    from mgflows.launch.campaigns import Submission

SUITES = ("tiny", "quick", "standard")
"""Names of :data:`mgflows.validation.suite.SUITES`, repeated so that --help stays fast."""


@click.command()
@campaign_argument(required=True)
@click.option(
    "--samples",
    multiple=True,
    metavar="SWEEPS:N",
    help="N further samples, cooled in this number of sweeps, such as 1e6:10; repeatable.",
)
@click.option("--heat", "n_heated", type=click.IntRange(0), default=0, help="Heat N more samples.")
@click.option(
    "--rate",
    "rates",
    multiple=True,
    type=FiniteFloat(),
    help="Quench at this rate in K/ps; repeatable.",
)
@click.option("--glasses", type=click.IntRange(1), default=1, help="Glasses for each rate.")
@click.option("--no-training", is_flag=True, help="Only add labels.")
@click.option("--no-validation", is_flag=True, help="Do not validate the new potential.")
@directory_option
@json_option
def extend(
    campaign: str,
    samples: tuple[str, ...],
    n_heated: int,
    rates: tuple[float, ...],
    glasses: int,
    no_training: bool,
    no_validation: bool,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Add samples, heated samples or quenches to CAMPAIGN, and train on all labels.

    Each call adds the same amount again.
    """
    from mgflows.launch.changes import Extension
    from mgflows.launch.changes import extend as extend_campaign

    database = open_database(directory)
    campaign = only_campaign(database, campaign)
    extension = Extension(
        samples=tuple(_samples(each) for each in samples),
        n_heated=n_heated,
        cooling_rates=rates,
        n_glasses=glasses,
        train=not no_training,
        validate=not no_validation,
    )
    _show(extend_campaign(database, campaign, extension), as_json)


@click.command()
@campaign_argument(required=True)
@click.option(
    "--dataset",
    shell_complete=complete_datasets,
    help="Dataset to train on  [default: the last one].",
)
@click.option("--split", type=click.Choice(["family", "paper"]), help="Split of the dataset.")
@click.option("--trainer", type=click.Choice(["own", "neppo", "gpumd"]), help="Trainer.")
@click.option("--steps", type=click.IntRange(1), help="Steps of the optimiser.")
@click.option("--batch", type=click.IntRange(1), help="Frames per step.")
@click.option("--neuron", type=click.IntRange(1), help="Neurons of the hidden layer.")
@click.option("--cutoff", nargs=2, type=FiniteFloat(), help="Radial and angular cutoff in Å.")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the training.")
@click.option(
    "--from",
    "start_from",
    metavar="ID|best|last",
    shell_complete=complete_potentials,
    help="Start from this potential.",
)
@directory_option
@json_option
def retrain(
    campaign: str,
    dataset: str | None,
    split: str | None,
    trainer: str | None,
    steps: int | None,
    batch: int | None,
    neuron: int | None,
    cutoff: tuple[float, float] | None,
    seed: int | None,
    start_from: str | None,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Train another potential for CAMPAIGN; settings not given are those of its last training."""
    from mgflows.launch.changes import default_training
    from mgflows.launch.changes import retrain as retrain_campaign

    database = open_database(directory)
    name = only_campaign(database, campaign)
    maker = _training(
        default_training(database, name),
        database,
        name,
        dataset,
        trainer,
        {"steps": steps, "batch": batch},
        {"neuron": neuron, "cutoff": cutoff},
    )
    if split is not None:
        maker = replace(maker, split=cast("Literal['family', 'paper']", split))
    if seed is not None:
        maker = replace(maker, seed=seed)
    if start_from is not None:
        start_from = potential_id(database, name, start_from)
    _show(
        retrain_campaign(database, name, dataset=dataset, maker=maker, start_from=start_from),
        as_json,
    )


@click.command()
@campaign_argument(required=True)
@click.option(
    "--potential",
    metavar="ID|best|last",
    shell_complete=complete_potentials,
    help="Potential to validate  [default: the best one].",
)
@click.option(
    "--suite",
    type=click.Choice(SUITES),
    help="Suite of the validation  [default: that of the campaign].",
)
@click.option(
    "--structures",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Glasses to validate on  [default: the relaxed samples].",
)
@directory_option
@json_option
def revalidate(
    campaign: str,
    potential: str | None,
    suite: str | None,
    structures: Path | None,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Validate a potential of CAMPAIGN again, for example with another suite."""
    from mgflows.launch.changes import default_validation
    from mgflows.launch.changes import revalidate as revalidate_campaign

    database = open_database(directory)
    name = only_campaign(database, campaign)
    maker = default_validation(database, name)
    if suite is not None:
        maker = replace(maker, suite=suite)
    _show(
        revalidate_campaign(
            database,
            name,
            potential=None if potential is None else potential_id(database, name, potential),
            maker=maker,
            structures=None if structures is None else read_structures(structures),
        ),
        as_json,
    )


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--campaign",
    required=True,
    shell_complete=complete_campaigns,
    help="Campaign whose method labels the structures.",
)
@click.option("--subset", default="added", show_default=True, help="Subset of the frames.")
@directory_option
@json_option
def label(file: Path, campaign: str, subset: str, directory: Path | None, as_json: bool) -> None:
    """Label the structures in FILE, of any format that ASE reads, with the campaign's method."""
    from mgflows.launch.changes import label as label_structures

    structures = read_structures(file)
    database = open_database(directory)
    name = only_campaign(database, campaign)
    _show(label_structures(database, name, structures, subset=subset), as_json)


@click.command()
@campaign_argument(required=True)
@click.argument("name")
@directory_option
@json_option
def rename(campaign: str, name: str, directory: Path | None, as_json: bool) -> None:
    """Rename CAMPAIGN to NAME, when all its jobs have ended."""
    from mgflows.launch.removal import rename_campaign

    database = open_database(directory)
    rename_campaign(database.settings, campaign, name)
    if as_json:
        print_json({"campaign": name, "renamed_from": campaign})
    else:
        click.echo(f"the campaign {campaign} is now {name}")


@click.command()
@campaign_argument(required=True)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--force", is_flag=True, help="Also if datasets of other campaigns use its labels.")
@directory_option
@json_option
def delete(campaign: str, yes: bool, force: bool, directory: Path | None, as_json: bool) -> None:
    """Delete CAMPAIGN with its labels, datasets, potentials and jobs, after confirmation.

    --json needs --yes.
    """
    from mgflows.launch.removal import campaign_contents, delete_campaign

    if as_json and not yes:
        raise InputError("--json does not prompt", hint="add --yes to delete the campaign")
    database = open_database(directory)
    found = campaign_contents(database.mongo, campaign)
    if not as_json:
        for kind, number in found.documents.items():
            click.echo(f"{number:8d}  {kind}")
        click.echo(f"{found.n_fireworks:8d}  jobs in the LaunchPad, {found.n_planned} planned")
        if found.used_by:
            click.echo(f"its labels are used by datasets of {', '.join(found.used_by)}")
    if not yes:
        click.confirm(f"delete all of this from {database.settings.shown_uri}?", abort=True)
    delete_campaign(database.settings, campaign, force=force)
    if as_json:
        print_json({"deleted": campaign, **asdict(found)})
    else:
        click.echo(f"the campaign {campaign} is deleted")


def _samples(text: str) -> tuple[int, int]:
    sweeps, separator, number = text.partition(":")
    try:
        if not separator or float(sweeps) % 1:
            raise ValueError
        return int(float(sweeps)), int(number)
    except ValueError:
        raise InputError(
            f"--samples {text} is not SWEEPS:N", hint="such as 1000000:10 or 1e6:10"
        ) from None


def _training(
    maker: TrainingMaker,
    database: GlassDatabase,
    campaign: str,
    dataset: str | None,
    trainer: str | None,
    of_trainer: dict[str, Any],
    of_model: dict[str, Any],
) -> TrainingMaker:
    """Replace those settings of a training that are given."""
    from mgflows.launch.changes import dataset_of
    from mgflows.nep import GpumdTrainer, NepParameters, NeppoTrainer, NepTrainer

    if trainer is not None:
        kinds = {"own": NepTrainer, "neppo": NeppoTrainer, "gpumd": GpumdTrainer}
        maker = replace(maker, trainer=kinds[trainer]())
    given = {name: value for name, value in of_trainer.items() if value is not None}
    if given and isinstance(maker.trainer, GpumdTrainer):
        of_model = of_model | {"generation": given.get("steps"), "batch": given.get("batch")}
    elif given:
        maker = replace(maker, trainer=replace(maker.trainer, **given))
    changed = {name: value for name, value in of_model.items() if value is not None}
    if changed:
        species = tuple(dataset_of(database, campaign, dataset).species)
        parameters = maker.parameters or NepParameters(species=species)
        maker = replace(maker, parameters=replace(parameters, **changed))
    return maker


def _show(submission: Submission, as_json: bool) -> None:
    if as_json:
        print_json(vars(submission))
        return
    if not submission.is_new and not submission.n_added:
        click.echo(f"nothing was added: {submission.part} was submitted before")
        return
    click.echo(
        f"{submission.part}: {plural(submission.n_added, 'job')} submitted, "
        f"{submission.n_planned} planned; run them with: mgflows worker"
    )
