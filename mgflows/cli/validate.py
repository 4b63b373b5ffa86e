"""``mgflows validate``: properties of a glass under a NEP, without a database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mgflows.cli.glasses import (
    check_species,
    common_species,
    reference_calculator,
    sample_glasses,
)
from mgflows.cli.options import json_option, print_json
from mgflows.cli.paths import read_structures
from mgflows.cli.tables import make_console, make_table
from mgflows.text import plural

if TYPE_CHECKING:
    from ase import Atoms

    from mgflows.nep.calculator import Device

SUITES = ("tiny", "quick", "standard")
"""Names in :data:`mgflows.validation.suite.SUITES`, repeated so that --help stays fast."""
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
@click.argument("potential", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--suite",
    type=click.Choice(SUITES),
    default="quick",
    show_default=True,
    help="Which quantities, and the effort.",
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
    help="Alloy to sample glasses of if no file is given [default: Cu46Zr46Al8 or equal parts].",
)
@click.option("--reference", default=None, help="Another nep.txt to compare with, or 'stand-in'.")
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Device that evaluates the potentials.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of every random choice.")
@json_option
@click.pass_context
def validate(
    context: click.Context,
    potential: Path,
    suite: str,
    glasses: Path | None,
    formula: str | None,
    reference: str | None,
    device: Device,
    seed: int,
    as_json: bool,
) -> None:
    """Validate the NEP in the file POTENTIAL.

    Measures structure, elastic constants, quasi-static shear, dimers and, by suite, the melt.
    Without --glasses, three glasses are sampled with swap Monte Carlo on the Lennard-Jones
    surrogate; the potential relaxes them itself. The exit code is 1 if the potential failed at a
    quantity or a result is unphysical.
    """
    from rich.progress import Progress

    from mgflows.nep.calculator import nep_calculator, potential_text, read_potential
    from mgflows.validation.suite import run_suite

    species = read_potential(potential_text(potential)).species
    known = common_species(species, reference)
    structures = _read(glasses, species) if glasses else sample_glasses(known, formula, seed)
    calculator = nep_calculator(potential, device)
    other = reference_calculator(reference, structures, device)

    console = make_console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("validating", total=None)

        def show(stage: str, done: int, total: int) -> None:
            progress.update(task, description=stage, completed=done, total=total)

        result = run_suite(calculator, structures, other, suite=suite, seed=seed, progress=show)
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
