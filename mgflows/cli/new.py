"""``mgflows new``: write the folder of a campaign and show its plan, without submitting it."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mgflows.cli.options import (
    FiniteFloat,
    NameOrOther,
    any_density_option,
    json_option,
    print_json,
)
from mgflows.cli.paths import check_output, force_option
from mgflows.cli.tables import make_console, make_table
from mgflows.errors import MgflowsError
from mgflows.text import format_hours, listed, plural, rounded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console

    from mgflows.alloy import Alloy
    from mgflows.flows.campaign import CampaignMaker
    from mgflows.machine.estimates import LabelCost, StageCost
    from mgflows.surrogate import LennardJones

LABELS = ("stand-in", "gpaw", "espresso", "cp2k", "vasp")
"""Names in :data:`mgflows.machine.new_campaign.LABELS`, repeated so that --help stays fast."""
_EXPENSIVE = 10.0
"""Core hours of a stage above which a note is printed."""
_USUAL_EXCESS = (0.1, 0.35)
"""Range of the relative excess density of the samples over the glass without a note; 0.21 in the
paper."""
_NOTED_DIFFERENCE = 0.15
"""Relative difference from the default density that is pointed out."""


def _json_object(
    context: click.Context,  # noqa: ARG001
    parameter: click.Parameter,  # noqa: ARG001
    value: str | None,
) -> dict[str, Any]:
    """Callback of an option that takes keyword arguments as JSON."""
    try:
        found = json.loads(value or "{}")
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise click.BadParameter(f'{value!r} is not an object such as {{"model": "medium"}}')
    return found


@click.command()
@click.argument("formula")
@click.option(
    "--label-with",
    "labels",
    type=NameOrOther(LABELS, "FILE|IMPORT"),
    default="stand-in",
    show_default=True,
    help="Method of the labels: the stand-in (an embedded-atom model, for demonstrations), a "
    "DFT code, the path of a nep.txt, or the import path of an ASE calculator.",
)
@click.option(
    "--label-arguments",
    metavar="JSON",
    callback=_json_object,
    help='Keyword arguments of that ASE calculator, such as \'{"model": "medium"}\'.',
)
@click.option(
    "--scale",
    type=click.Choice(["tiny", "small", "paper"]),
    default="small",
    show_default=True,
    help="Numbers of the stages.",
)
@click.option(
    "--atoms",
    "n_atoms",
    type=click.IntRange(min=1),
    default=None,
    help="Atoms in a sample  [default: 120 at scale tiny, otherwise 150].",
)
@click.option(
    "--mass-density",
    type=FiniteFloat(min=0.0, min_open=True),
    default=None,
    help="Density of the samples in g/cm^3  [default: from the mean atomic volume, as compressed "
    "as in the paper].",
)
@any_density_option
@click.option(
    "--glass-density",
    type=FiniteFloat(min=0.0, min_open=True),
    default=None,
    help="Measured density of the glass in g/cm^3, to compare with.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed.")
@click.option(
    "--select",
    "selection",
    type=click.Choice(["committee", "farthest", "random"]),
    default=None,
    help="Replace the feedback by rounds of active learning that select structures in this way.",
)
@click.option(
    "--target-force",
    type=FiniteFloat(min=0.0, min_open=True),
    default=None,
    help="Force error in meV/Å at which the rounds end.",
)
@click.option(
    "--target-energy",
    type=FiniteFloat(min=0.0, min_open=True),
    default=None,
    help="Energy error in meV/atom, of every subset, at which the rounds end.",
)
@click.option(
    "--label-budget",
    type=click.IntRange(min=1),
    default=None,
    help="Largest number of labels of all rounds.",
)
@click.option(
    "--rounds",
    "maximum_rounds",
    type=click.IntRange(min=1),
    default=None,
    help="Largest number of rounds  [default: 5].",
)
@click.option(
    "--teacher",
    type=NameOrOther(LABELS, "FILE|IMPORT"),
    default=None,
    help="What labels everything first, as for --label-with; the method of the campaign then "
    "labels only what is uncertain.",
)
@click.option(
    "--teacher-labels",
    type=click.IntRange(min=5),
    default=60,
    show_default=True,
    help="Structures of the teacher that the method of the campaign labels.",
)
@click.option(
    "-C",
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Directory of the campaign  [default: the formula].",
)
@click.option(
    "--database/--no-database",
    "with_database",
    default=True,
    show_default=True,
    help="Start the private MongoDB server of the directory.",
)
@force_option
@json_option
def new(
    formula: str,
    labels: str,
    label_arguments: dict[str, Any],
    scale: str,
    n_atoms: int | None,
    mass_density: float | None,
    any_density: bool,
    glass_density: float | None,
    seed: int,
    selection: str | None,
    target_force: float | None,
    target_energy: float | None,
    label_budget: int | None,
    maximum_rounds: int | None,
    teacher: str | None,
    teacher_labels: int,
    directory: Path | None,
    with_database: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Write the folder of a campaign for the alloy FORMULA, such as Zr46Cu30Ni14Al10.

    The folder contains campaign.py, a short program to edit, and mgflows.yaml with a private
    database, which is started. Prints the surrogate, the density, the crystals and the cost by
    stage. Nothing is submitted: do that with `mgflows run` or `mgflows submit`.
    """
    from mgflows.alloy import Alloy
    from mgflows.machine.estimates import label_cost, stage_costs
    from mgflows.machine.new_campaign import (
        CAMPAIGN_FILE,
        CampaignRequest,
        Rounds,
        Teacher,
        alloy_for,
        check_density,
        load_campaign,
        write_campaign,
    )
    from mgflows.settings import FILE_NAME, Settings
    from mgflows.surrogate import LennardJones

    n_atoms = n_atoms or (120 if scale == "tiny" else 150)
    species = Alloy.from_formula(formula, n_atoms=n_atoms, number_density=1.0).species
    lj = LennardJones.for_species(species)
    alloy = alloy_for(formula, lj, n_atoms, mass_density)
    if not any_density:
        check_density(alloy, lj)
    directory = (directory or Path(formula)).absolute()
    path = directory / CAMPAIGN_FILE
    limits = (target_force, target_energy, label_budget, maximum_rounds)
    # A limit alone asks for rounds as well.
    has_rounds = selection is not None or any(limit is not None for limit in limits)
    request = CampaignRequest(
        formula,
        alloy.number_density,
        n_atoms,
        labels,
        scale,
        seed,
        Rounds(selection or "committee", *limits) if has_rounds else None,
        None if teacher is None else Teacher(teacher, teacher_labels),
        label_arguments,
    )
    with _draft_folder(path, force=force) as folder:
        try:
            draft = write_campaign(folder, request)
            # Some calculators print when they are built, which is no part of --json.
            with contextlib.redirect_stdout(sys.stderr):
                campaign = load_campaign(folder)
                # Calculators that run other programs write files where they run.
                with contextlib.chdir(folder):
                    label = label_cost(campaign.label_maker.label_maker, campaign.alloy, _say)
                    costs = stage_costs(campaign, label, _say)
        except Exception as error:
            # The user did not write the file: report only the cause of its failure.
            cause = error.__cause__ if isinstance(error.__cause__, MgflowsError) else error
            if not isinstance(cause, MgflowsError):
                raise
            hint = (cause.hint or "").replace("(`kwargs`)", "(--label-arguments)")
            raise type(cause)(cause.message, hint=hint) from None
        facts = _facts(alloy, lj, campaign, glass_density)
        if not (directory / FILE_NAME).exists():
            Settings(directory=directory).write(directory / FILE_NAME)
        # An interruption leaves mgflows.yaml, with which a database that runs can be stopped.
        facts["database"], problem = _start_database(directory) if with_database else (None, "")
        # Only now can nothing else fail: an earlier campaign.py has stayed until here.
        os.replace(draft, path)
    if as_json:
        print_json(
            {
                "campaign": campaign.name,
                "file": str(path),
                **facts,
                "label_cost": None if label is None else asdict(label),
                "cost": list(map(asdict, costs)),
            }
        )
        return
    console = make_console()
    warnings = _density_warnings(facts["density"])
    _print(console, facts, labels)
    _print_costs(console, costs, label)
    shown = shlex.quote(str(_relative(directory)))
    if problem:
        console.print(f"the database did not start: {problem}", style="yellow", markup=False)
    elif facts["database"]:
        console.print(
            f"database: MongoDB runs; stop it with: mgflows db stop -C {shown}",
            markup=False,
            soft_wrap=True,
        )
    console.print(f"wrote {_relative(path)}; edit it, then", markup=False)
    if labels in LABELS[1:]:
        console.print("  mgflows doctor --category dft", soft_wrap=True)
        console.print(
            f"  mgflows submit {shown}    # workers on a cluster run the labels; mgflows run here",
            markup=False,
            soft_wrap=True,
        )
    else:
        console.print(f"  mgflows run {shown}", markup=False, soft_wrap=True)
    for warning in warnings:
        console.print(f"before that: {warning}", style="yellow", markup=False, soft_wrap=True)


@contextlib.contextmanager
def _draft_folder(path: Path, *, force: bool) -> Iterator[Path]:
    """A temporary folder beside the campaign's file, for its draft; a failure leaves nothing.

    Folders that were made for it are removed again after a failure, if they are empty.
    """
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        check_output(path, force=force, option="--directory")
        with tempfile.TemporaryDirectory(
            prefix=".new-", dir=path.parent, ignore_cleanup_errors=True
        ) as draft_folder:
            yield Path(draft_folder)
    except BaseException:
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()
        raise


def _say(text: str) -> None:
    """Print to standard error what the command is waiting for."""
    click.echo(f"{text} ...", err=True)


def _start_database(directory: Path) -> tuple[str | None, str]:
    """URI of the database of a folder, started if it is private; none, and why it did not start."""
    from mgflows.machine.mongod import PrivateMongod
    from mgflows.settings import Settings

    try:
        settings = Settings.load(directory)
        if settings.is_private:
            PrivateMongod.from_settings(settings).start()
    except MgflowsError as error:
        return None, str(error)
    return settings.shown_uri, ""


def _facts(
    alloy: Alloy, lj: LennardJones, campaign: CampaignMaker, glass_density: float | None
) -> dict[str, Any]:
    from mgflows.structures.crystals import crystal_prototypes

    method = campaign.label_maker.label_maker
    mean_volume = None
    crystals = crystal_prototypes(alloy.species)
    volumes = {
        crystal.species[0]: crystal.atoms().cell.volume / len(crystal.atoms())
        for crystal in reversed(crystals)
        if len(crystal.species) == 1 and crystal.status != "trial"
    }
    if set(volumes) >= set(alloy.species):
        mean_volume = sum(x * volumes[symbol] for symbol, x in alloy.composition.items())
    return {
        "surrogate": {
            symbol: {
                "sigma": float(lj.sigma[(lj.species.index(symbol),) * 2]),
                "epsilon": float(lj.epsilon[(lj.species.index(symbol),) * 2]),
            }
            for symbol in alloy.species
        },
        "pairs": {
            f"{a}-{b}": {"sigma": sigma, "epsilon": epsilon}
            for (a, b), (sigma, epsilon) in lj.unmixed_pairs(alloy.species).items()
        },
        "exchanges": ["-".join(pair) for pair in lj.exchanges_of(alloy.species)],
        "density": {
            "samples": alloy.mass_density,
            "elements_without_crystal": [
                symbol for symbol in alloy.species if symbol not in volumes
            ],
            "elements": None
            if mean_volume is None
            else alloy.mass_density / (alloy.number_density * mean_volume),
            "glass": glass_density,
            "default": alloy.mass_density
            * lj.number_density(alloy.composition)
            / alloy.number_density,
        },
        "crystals": {
            "n": len(crystals),
            "with_all_elements": sum(
                set(crystal.species) == set(alloy.species) for crystal in crystals
            ),
        },
        "labels": _labels_of(method),
        "teacher": campaign.teacher.description if campaign.teacher else None,
        "note": lj.check_box(alloy),
    }


def _labels_of(maker: Any) -> str:
    """What labels, in one line."""
    method = getattr(maker, "method", maker)
    return getattr(method, "description", "") or str(method.name)


def _print(console: Console, facts: dict[str, Any], labels: str) -> None:
    parameters = [
        (symbol, f"{values['sigma']:.3f}", f"{values['epsilon']:.3f}")
        for symbol, values in (facts["surrogate"] | facts["pairs"]).items()
    ]
    numbers = ("sigma Å", "epsilon eV")
    console.print(make_table(("surrogate", *numbers), parameters, numbers=numbers))
    console.print(
        f"parameters: {_rule(facts['surrogate'])}; exchanges: "
        f"{', '.join(facts['exchanges']) or 'none'}",
        markup=False,
        soft_wrap=True,
    )
    console.print(_density(facts["density"]), markup=False, soft_wrap=True)
    crystals = facts["crystals"]
    console.print(
        f"crystals: {crystals['n']} shipped, {crystals['with_all_elements']} with all elements "
        f"(more: mgflows crystals {''.join(facts['surrogate'])} --provider optimade)",
        markup=False,
        soft_wrap=True,
    )
    console.print(f"labels: {facts['labels']}", markup=False, soft_wrap=True)
    if facts["teacher"]:
        console.print(f"first labels: {facts['teacher']}", markup=False, soft_wrap=True)
    if labels == "stand-in":
        console.print("the stand-in is a demonstration, not DFT", style="yellow")
    if facts["note"]:
        console.print(facts["note"], style="yellow", markup=False, soft_wrap=True)


def _print_costs(console: Console, costs: list[StageCost], label: LabelCost | None) -> None:
    """The estimated cost by stage, and what the estimates are based on."""
    columns: tuple[str, ...] = ("jobs", "core h", "jobs without estimate")
    if not any(cost.n_unknown for cost in costs):
        columns = columns[:2]
    stages = [
        (cost.stage, str(cost.n_jobs), _hours(cost), str(cost.n_unknown or ""))[: len(columns) + 1]
        for cost in costs
    ]
    console.print(make_table(("estimate", *columns), stages, numbers=columns))
    for cost in costs:
        if cost.core_hours is not None and cost.core_hours > _EXPENSIVE:
            console.print(
                f"the stage {cost.stage} needs about {cost.core_hours:.0f} core hours; "
                "change its lengths in campaign.py",
                style="yellow",
            )
    is_of_here = label is not None and (label.is_measured or label.extrapolated_from is not None)
    if label is not None and not is_of_here:
        n_labels = sum(cost.n_labels for cost in costs)
        total = sum(cost.core_hours or 0.0 for cost in costs)
        console.print(
            f"{plural(n_labels, 'label')} with DFT: {label.basis}; that is {total:.0f} core hours "
            "for the campaign",
            style="yellow",
            soft_wrap=True,
        )
    basis = "the core hours are rough estimates"
    if label is None:
        basis += "; labels have none, since their calculator does not run here"
    elif is_of_here:
        basis += f": {label.basis}"
    console.print(
        f"{basis}; `mgflows cost` forecasts from finished jobs once the first have run",
        style="dim",
        soft_wrap=True,
    )


def _hours(cost: StageCost) -> str:
    """The estimate of a stage, a lower limit if jobs have none."""
    if cost.core_hours is None:
        return "not estimated"
    if cost.n_unknown:
        return f"> {rounded(cost.core_hours)}"
    return format_hours(cost.core_hours)


def _density_warnings(density: dict[str, Any]) -> list[str]:
    """What is unusual about the density of the samples."""
    found = []
    difference = density["samples"] / density["default"] - 1.0
    if abs(difference) > _NOTED_DIFFERENCE:
        found.append(
            f"the samples are {abs(difference):.0%} {_comparative(difference)} than the default "
            f"for this composition ({density['default']:.2f} g/cm3), which is a fifth denser "
            "than its elements, as in the paper (change --mass-density)"
        )
    if density["glass"]:
        excess = density["samples"] / density["glass"] - 1.0
        low, high = _USUAL_EXCESS
        if not low <= excess <= high:
            found.append(
                f"the samples are {abs(excess):.0%} {_comparative(excess)} "
                "than the glass; the paper's are 21 % denser (change --mass-density)"
            )
    return found


def _rule(species: Iterable[str]) -> str:
    """Where the parameters of the surrogate come from."""
    from mgflows.surrogate.metalloids import METALLOIDS

    if set(species) <= {"Cu", "Zr", "Al"}:
        return "the paper's table"
    rule = "from lattice constants and cohesive energies of the elements"
    metalloids = [symbol for symbol in species if symbol in METALLOIDS]
    if not metalloids:
        return rule
    return f"{rule}; {listed(metalloids)} from covalent radii and enthalpies of mixing"


def _comparative(difference: float) -> str:
    return "denser" if difference > 0.0 else "less dense"


def _density(density: dict[str, Any]) -> str:
    elements, glass = density["elements"], density["glass"]
    text = f"density: {density['samples']:.2f} g/cm3 in the samples"
    if elements:
        text += f", {density['samples'] / elements:.2f} times the mixed elements ({elements:.2f})"
    if glass:
        text += f", {density['samples'] / glass:.2f} times the glass ({glass:.2f})"
    if missing := density["elements_without_crystal"]:
        text += (
            f"; not compared with the mixed elements, since mgflows has no crystal of "
            f"{listed(missing)} with a density"
        )
    return text


def _relative(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
