"""``mgflows validate``: properties of a glass under potentials, compared with experiment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mgflows.cli import comparison
from mgflows.cli.glasses import (
    check_species,
    common_species,
    reference_calculator,
    sample_glasses,
)
from mgflows.cli.options import (
    NameOrOther,
    directory_option,
    experiments_option,
    json_option,
    print_json,
)
from mgflows.cli.paths import check_output, force_option, read_structures
from mgflows.cli.tables import make_console, make_table
from mgflows.errors import InputError
from mgflows.text import plural

if TYPE_CHECKING:
    from ase import Atoms

    from mgflows.nep.calculator import Device

SUITES = ("tiny", "quick", "standard", "paper")
"""Names in :data:`mgflows.validation.plan.PROTOCOLS`, repeated so that --help stays fast."""
_ROWS = (
    ("density (g/cm3, 300 K)", "density", "density_error"),
    ("density (g/cm3, melt at 2000 K)", "melt_density", "melt_density_error"),
    ("bulk modulus B (GPa)", "bulk_modulus", "bulk_modulus_std"),
    ("shear modulus G (GPa)", "shear_modulus", "shear_modulus_std"),
    ("Young's modulus E (GPa)", "young_modulus", "young_modulus_std"),
    ("Poisson's ratio", "poisson_ratio", "poisson_ratio_std"),
    ("G from quasi-static shear (GPa)", "shear_modulus_aqs", "shear_modulus_aqs_std"),
    ("viscosity (mPa s)", "viscosity", "viscosity_error"),
)
"""Title, and keys of value and uncertainty in the summary."""


@click.command()
@click.argument("potential")
@click.option(
    "--suite",
    type=click.Choice(SUITES),
    default="quick",
    show_default=True,
    help="Quantities to measure, and the effort.",
)
@click.option(
    "--glasses",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Structures to validate on, in any format that ASE reads.",
)
@click.option(
    "--formula",
    default=None,
    help="Alloy of the glasses that are sampled if no file is given  [default: Cu46Zr46Al8 or "
    "equal parts].",
)
@click.option(
    "--reference",
    type=NameOrOther(["stand-in"], "FILE"),
    default=None,
    help="Another nep.txt to compare with, or 'stand-in'.",
)
@click.option(
    "--against",
    multiple=True,
    help="Another potential: nep:FILE, eam:FILE, calculator:MODULE:CLASS or stand-in; repeatable. "
    "nep:NAME=FILE names it in the tables.",
)
@experiments_option
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Samples measured at the same time.",
)
@click.option(
    "--samples",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Keep finished samples here; the same command measures only those that are missing.",
)
@click.option(
    "--finished",
    is_flag=True,
    help="With --samples: average the samples finished so far and measure none.",
)
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), help="HTML file of the comparison."
)
@force_option
@click.option("--forecast", is_flag=True, help="Print samples and cost of the suite, and stop.")
@click.option("--submit", "submission", metavar="NAME", help="Submit the samples as jobs.")
@click.option(
    "--add-from",
    "first",
    type=click.IntRange(min=0),
    default=0,
    help="With --submit: add samples to NAME, which already has this number of each kind.",
)
@directory_option
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Device that evaluates the potentials.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of every random choice.",
)
@json_option
@click.pass_context
def validate(
    context: click.Context,
    potential: str,
    suite: str,
    glasses: Path | None,
    formula: str | None,
    reference: str | None,
    against: tuple[str, ...],
    experiments: Path | None,
    processes: int,
    samples: Path | None,
    finished: bool,
    report: Path | None,
    force: bool,
    forecast: bool,
    submission: str | None,
    first: int,
    directory: Path | None,
    device: Device,
    seed: int,
    as_json: bool,
) -> None:
    """Validate POTENTIAL, a nep.txt or any potential that --against accepts.

    Measures structure, elastic constants, quasi-static shear, dimers and, by suite, the melt.
    Without --glasses, three glasses are sampled with swap Monte Carlo on the Lennard-Jones
    surrogate and relaxed with the potential. The exit code is 1 if the potential fails for a
    quantity or a result is unphysical; attractive dimers of a peer are warnings.

    With --against, --experiments, --forecast, --submit, --report, --samples or --processes, with
    the suite paper, and for potentials other than a nep.txt, the suite is measured as independent
    samples, which are averaged for each potential and shown beside experiment.
    """
    from mgflows.validation.experiments import load_experiments

    if report is not None:
        check_output(report, force=force, option="--report")
    common = _Common(potential, suite, glasses, formula, seed, device)
    if (
        against
        or forecast
        or submission
        or report
        or samples
        or finished
        or experiments
        or first
        or processes > 1
        or suite == "paper"
        or potential == "stand-in"
        or (":" in potential and not Path(potential).exists())
    ):
        if reference is not None:
            raise InputError(
                f"--reference {reference} belongs to the validation of one NEP",
                hint="use --against for several potentials",
            )
        if finished and samples is None:
            raise InputError("--finished needs --samples", hint="name the folder of the samples")
        if first and submission is None:
            raise InputError(f"--add-from {first} needs --submit", hint="name the validation")
        local = {
            "--report": report,
            "--samples": samples,
            "--finished": finished,
            "--processes": processes > 1,
        }
        if submission and (given := [option for option, value in local.items() if value]):
            raise InputError(
                f"{given[0]} is for a validation on this machine, not for --submit",
                hint=f"leave it out; the result is shown by: mgflows report {submission}",
            )
        # Invalid entries are refused before anything runs.
        load_experiments(experiments)
        request = replace(_comparison(common, against, first), experiments=experiments)
        if forecast:
            comparison.print_forecast(request, as_json=as_json)
        elif submission is not None:
            comparison.submit_comparison(submission, request, directory, as_json=as_json)
        else:
            passed = comparison.compare_locally(
                request,
                n_processes=processes,
                samples=samples,
                finished_only=finished,
                report=report,
                as_json=as_json,
            )
            context.exit(0 if passed else 1)
        return
    _validate(context, common, reference, as_json=as_json)


@dataclass(frozen=True)
class _Common:
    """Options of both kinds of validation."""

    potential: str
    suite: str
    glasses: Path | None
    formula: str | None
    seed: int
    device: Device


def _comparison(
    common: _Common, against: tuple[str, ...], first: int
) -> comparison.ComparisonRequest:
    """The comparison of several potentials, whose glasses are sampled where none are given."""
    potentials = comparison.potentials_of(common.potential, against, common.device)
    if common.glasses is not None:
        structures = read_structures(common.glasses)
    else:
        known = [p.species for p in potentials if p.species is not None]
        if not known and common.formula is None:
            raise InputError(
                f"the elements of {potentials[0].name} are not known",
                hint="give --glasses or --formula",
            )
        shared = tuple(s for s in (known or [()])[0] if all(s in other for other in known))
        if known and not shared:
            raise InputError(
                f"{' and '.join(p.name for p in potentials)} have no species in common",
                hint="give other potentials",
            )

        def check(atoms: Atoms) -> None:
            for each in potentials:
                each.check_usable(atoms)

        structures = sample_glasses(shared if known else None, common.formula, common.seed, check)
    return comparison.ComparisonRequest(potentials, structures, common.suite, common.seed, first)


def _validate(
    context: click.Context, common: _Common, reference: str | None, *, as_json: bool
) -> None:
    """Validate one NEP, beside at most one reference."""
    from rich.progress import Progress

    from mgflows.nep.calculator import nep_calculator, potential_text, read_potential
    from mgflows.validation.suite import run_suite

    potential = Path(common.potential)
    species = read_potential(potential_text(potential)).species
    known = common_species(species, reference)
    if common.glasses is not None:
        structures = _read(common.glasses, species)
    else:
        structures = sample_glasses(known, common.formula, common.seed)
    calculator = nep_calculator(potential, common.device)
    other = reference_calculator(reference, structures, common.device)

    console = make_console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("validating", total=None)

        def show(stage: str, done: int, total: int) -> None:
            progress.update(task, description=stage, completed=done, total=total)

        result = run_suite(
            calculator, structures, other, suite=common.suite, seed=common.seed, progress=show
        )
    if as_json:
        print_json(
            {
                "potential": str(potential),
                "species": list(species),
                "protocol": result.protocol,
                "scaled_down": True,
                **result.summary(),
                "curves": result.curves(),
            }
        )
    else:
        _print(
            result.summary(),
            result.protocol,
            [curve.verdict for curve in result.dimers.values() if not curve.repulsive],
        )
    context.exit(1 if result.failures else 0)


def _read(path: Path, species: tuple[str, ...]) -> list[Atoms]:
    structures = read_structures(path)
    check_species(structures, species, path)
    return structures


def _print(summary: dict[str, Any], protocol: str, holes: list[str]) -> None:
    models = ("model", "reference") if summary["reference"] else ("model",)
    rows = [
        (title, *(_cell(summary[model].get(key), summary[model].get(error)) for model in models))
        for title, key, error in _ROWS
    ]
    console = make_console()
    measured = [row for row in rows if any(cell != "-" for cell in row[1:])]
    console.print(make_table(("property", *models), measured, numbers=models))
    for model in models:
        if events := summary[model]["n_shear_events"]:
            console.print(
                f"{model}: {plural(events, 'plastic event')} during the shear excluded from G"
            )
        if summary[model].get("viscosity_converged") is False:
            console.print(f"{model}: the viscosity is not converged; longer runs are needed")
    if "dimers" not in summary["failures"]:
        for verdict in holes or ["all pairs are repulsive at short range"]:
            console.print(verdict, markup=False)
    for stage, reason in summary["failures"].items():
        console.print(f"{stage} failed: {reason}", style="red", markup=False)
    console.print(protocol, style="dim", markup=False)


def _cell(value: float | None, error: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" + (f" +- {error:.2g}" if error else "")
