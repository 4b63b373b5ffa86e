"""``mgflows new``: write the folder of a campaign and show its plan, without submitting it."""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mgflows.cli.options import FiniteFloat, NameOrOther, json_option, print_json
from mgflows.cli.paths import check_output, force_option
from mgflows.cli.tables import make_console, make_table
from mgflows.errors import MgflowsError
from mgflows.text import format_hours, listed, plural

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from mgflows.alloy import Alloy
    from mgflows.flows.campaign import CampaignMaker
    from mgflows.machine.new_campaign import StageCost
    from mgflows.surrogate import LennardJones

LABELS = ("stand-in", "gpaw", "espresso", "cp2k", "vasp")
"""Names in :data:`mgflows.machine.new_campaign.LABELS`, repeated so that --help stays fast."""
_PAPER_LABEL_HOURS = 113
"""Core hours of one label with VASP (paper, Methods, "DFT Calculations")."""
_EXPENSIVE = 10.0
"""Core hours of a stage above which a note is printed."""
_USUAL_EXCESS = (0.1, 0.35)
"""Range of the relative excess density of the samples over the glass without a note; 0.21 in the
paper."""
_NOTED_DIFFERENCE = 0.15
"""Relative difference from the default density that is pointed out."""


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
@click.option(
    "--glass-density",
    type=FiniteFloat(min=0.0, min_open=True),
    default=None,
    help="Measured density of the glass in g/cm^3, to compare with.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed.")
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
    scale: str,
    n_atoms: int | None,
    mass_density: float | None,
    glass_density: float | None,
    seed: int,
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
    from mgflows.machine.new_campaign import (
        CAMPAIGN_FILE,
        CampaignRequest,
        alloy_for,
        load_campaign,
        stage_costs,
        write_campaign,
    )
    from mgflows.settings import FILE_NAME, Settings
    from mgflows.surrogate import LennardJones

    n_atoms = n_atoms or (120 if scale == "tiny" else 150)
    species = Alloy.from_formula(formula, n_atoms=n_atoms, number_density=1.0).species
    lj = LennardJones.for_species(species)
    alloy = alloy_for(formula, lj, n_atoms, mass_density)
    directory = (directory or Path(formula)).absolute()
    path = directory / CAMPAIGN_FILE
    check_output(path, force=force)
    request = CampaignRequest(formula, alloy.number_density, n_atoms, labels, scale, seed)
    try:
        write_campaign(directory, request)
        campaign = load_campaign(directory)
        costs = stage_costs(campaign)
    except BaseException as error:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            directory.rmdir()
        # The user did not write the file: report only the cause of its failure.
        if isinstance(error.__cause__, MgflowsError):
            raise error.__cause__ from None
        raise
    if not (directory / FILE_NAME).exists():
        Settings(directory=directory).write(directory / FILE_NAME)
    facts = _facts(alloy, lj, campaign, glass_density)
    facts["database"], problem = _start_database(directory) if with_database else (None, "")
    if as_json:
        print_json(
            {
                "campaign": campaign.name,
                "file": str(path),
                **facts,
                "cost": list(map(asdict, costs)),
            }
        )
        return
    _print(make_console(), facts, costs, labels)
    shown = shlex.quote(str(_relative(directory)))
    console = make_console()
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
        "exchanges": ["-".join(pair) for pair in lj.exchanges_of(alloy.species)],
        "density": {
            "samples": alloy.mass_density,
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
        "labels": getattr(getattr(method, "method", None), "description", method.name),
        "note": lj.check_box(alloy),
    }


def _print(console: Console, facts: dict[str, Any], costs: list[StageCost], labels: str) -> None:
    parameters = [
        (symbol, f"{values['sigma']:.3f}", f"{values['epsilon']:.3f}")
        for symbol, values in facts["surrogate"].items()
    ]
    numbers = ("sigma Å", "epsilon eV")
    console.print(make_table(("surrogate", *numbers), parameters, numbers=numbers))
    console.print(
        f"parameters: {_rule(facts['surrogate'])}; exchanges: "
        f"{', '.join(facts['exchanges']) or 'none'}",
        markup=False,
        soft_wrap=True,
    )
    density = facts["density"]
    console.print(_density(density), markup=False, soft_wrap=True)
    difference = density["samples"] / density["default"] - 1.0
    if abs(difference) > _NOTED_DIFFERENCE:
        console.print(
            f"the samples are {abs(difference):.0%} {_comparative(difference)} than the default "
            f"for this composition ({density['default']:.2f} g/cm3), which is about a fifth denser "
            "than the crystals of the elements (change --mass-density)",
            style="yellow",
            soft_wrap=True,
        )
    if density["glass"]:
        excess = density["samples"] / density["glass"] - 1.0
        low, high = _USUAL_EXCESS
        if not low <= excess <= high:
            console.print(
                f"the samples are {abs(excess):.0%} {_comparative(excess)} "
                "than the glass; the paper's are 21 % denser (change --mass-density)",
                style="yellow",
                soft_wrap=True,
            )
    crystals = facts["crystals"]
    console.print(
        f"crystals: {crystals['n']} shipped, {crystals['with_all_elements']} with all elements "
        "(more: mgflows crystals)"
    )
    console.print(f"labels: {facts['labels']}", markup=False, soft_wrap=True)
    if labels == "stand-in":
        console.print("the stand-in is a demonstration, not DFT", style="yellow")
    if facts["note"]:
        console.print(facts["note"], style="yellow", markup=False, soft_wrap=True)
    stages = [
        (
            cost.stage,
            str(cost.n_jobs),
            format_hours(cost.core_hours),
            str(cost.n_unknown or ""),
        )
        for cost in costs
    ]
    columns = ("jobs", "core h", "not estimated")
    console.print(make_table(("stage", *columns), stages, numbers=columns))
    for cost in costs:
        if cost.core_hours > _EXPENSIVE:
            console.print(
                f"{cost.stage} needs about {cost.core_hours:.0f} core hours; "
                "change its lengths in campaign.py",
                style="yellow",
            )
    if labels in LABELS[1:]:
        n_labels = sum(cost.n_unknown for cost in costs)
        console.print(
            f"{plural(n_labels, 'job')} with DFT: in the paper, with VASP, one label of 150 atoms "
            f"took {_PAPER_LABEL_HOURS} core hours, a relaxation 23 and a heating 97 times as long",
            style="yellow",
            soft_wrap=True,
        )
    if any(cost.n_unknown for cost in costs):
        console.print(
            "labels and other jobs without an estimate are forecast by `mgflows cost` once the "
            "first have run",
            style="dim",
            soft_wrap=True,
        )


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


def _density(density: dict[str, float | None]) -> str:
    elements, glass = density["elements"], density["glass"]
    text = f"density: {density['samples']:.2f} g/cm3 in the samples"
    if elements:
        text += f", {density['samples'] / elements:.2f} times the mixed elements ({elements:.2f})"  # type: ignore[operator]
    if glass:
        text += f", {density['samples'] / glass:.2f} times the glass ({glass:.2f})"  # type: ignore[operator]
    return text


def _relative(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
