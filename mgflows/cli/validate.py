"""``mgflows validate``: what a NEP says about a glass, without a database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mgflows.cli.options import json_option, print_json
from mgflows.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

    from mgflows.nep.calculator import Device

_GLASSES = 3
_SWEEPS = 10_000


@click.command()
@click.argument("potential", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--suite", default="quick", show_default=True, help="Which quantities, and how much of each."
)
@click.option(
    "--glasses",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Structures to validate on; any file ASE reads.",
)
@click.option(
    "--formula",
    default=None,
    help="Alloy to sample glasses of where no file is given; by default Cu46Zr46Al8 or equal parts.",
)
@click.option("--reference", default=None, help="Another nep.txt to compare with, or 'stand-in'.")
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where the potentials are evaluated.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of every random choice.")
@json_option
def validate(
    potential: Path,
    suite: str,
    glasses: Path | None,
    formula: str | None,
    reference: str | None,
    device: Device,
    seed: int,
    as_json: bool,
) -> None:
    """Validate the NEP in the file POTENTIAL: structure, elastic constants, quasi-static shear, dimers.

    Without --glasses, three glasses are made with swap Monte Carlo on the Lennard-Jones surrogate; the potential relaxes them itself.
    """
    from rich.console import Console
    from rich.progress import Progress

    from mgflows.nep.calculator import nep_calculator, potential_text, validate_nep_text
    from mgflows.validation.suite import SUITES, run_suite

    if suite not in SUITES:
        raise InputError(f"the suite {suite!r} is unknown; choose one of {', '.join(SUITES)}")
    species = validate_nep_text(potential_text(potential)).species
    structures = _read(glasses, species) if glasses else _sample(species, formula, seed)
    calculator = nep_calculator(potential, device)
    other = None
    if reference == "stand-in":
        from mgflows.eam import stand_in_calculator

        other = stand_in_calculator(species)
    elif reference:
        other = nep_calculator(Path(reference), device)

    console = Console(stderr=True)
    with Progress(console=console, transient=True) as progress:
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
            }
        )
        return
    _print(result.summary(), result.protocol)


def _read(path: Path, species: tuple[str, ...]) -> list[Atoms]:
    from ase.io import read

    try:
        structures = read(path, index=":")
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as structures ({error}); give a file that ASE reads, such as extended XYZ"
        ) from error
    strange = sorted(
        {symbol for atoms in structures for symbol in atoms.get_chemical_symbols()} - set(species)
    )
    if strange:
        raise InputError(
            f"{path} has {', '.join(strange)}, which the potential ({', '.join(species)}) does not know; give other structures"
        )
    return structures


def _sample(species: tuple[str, ...], formula: str | None, seed: int) -> list[Atoms]:
    from mgflows.alloy import Alloy
    from mgflows.surrogate import LennardJones, SwapMonteCarlo

    if formula is None:
        formula = (
            "Cu46Zr46Al8"
            if set(species) == {"Cu", "Zr", "Al"}
            else "".join(f"{symbol}1" for symbol in species)
        )
    names = Alloy.from_formula(formula, number_density=1.0).species
    if not set(names) <= set(species):
        raise InputError(
            f"the potential knows {', '.join(species)} but {formula} has others too; give another --formula"
        )
    lj = (
        LennardJones.cuzral()
        if set(names) <= {"Cu", "Zr", "Al"}
        else LennardJones.from_elements(names)
    )
    alloy = Alloy.from_formula(formula, number_density=1.75 / lj.length_unit**3)
    glasses = []
    for stream in range(_GLASSES):
        sampler = SwapMonteCarlo.from_alloy(lj, alloy, seed, stream=stream)
        sampler.equilibrate()
        sampler.cool(_SWEEPS)
        glasses.append(sampler.atoms)
    return glasses


def _print(summary: dict[str, Any], protocol: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    rows = [
        ("density (g/cm3, 300 K)", "density", None),
        ("bulk modulus B (GPa)", "bulk_modulus", "bulk_modulus_std"),
        ("shear modulus G (GPa)", "shear_modulus", "shear_modulus_std"),
        ("Young's modulus E (GPa)", "young_modulus", "young_modulus_std"),
        ("Poisson's ratio", "poisson_ratio", "poisson_ratio_std"),
        ("G from quasi-static shear (GPa)", "shear_modulus_aqs", "shear_modulus_aqs_std"),
        ("viscosity (mPa s)", "viscosity", "viscosity_error"),
    ]
    models = ["model"] + (["reference"] if summary["reference"] else [])
    table = Table("", *models, box=box.SIMPLE_HEAD)
    for title, key, error in rows:
        cells = []
        for model in models:
            value, spread = summary[model].get(key), summary[model].get(error) if error else None
            cells.append(
                "-" if value is None else f"{value:.3g}" + (f" +- {spread:.2g}" if spread else "")
            )
        if any(cell != "-" for cell in cells):
            table.add_row(title, *cells)
    console = Console()
    console.print(table)
    holes = [pair for pair, curve in summary["dimers"].items() if not curve["repulsive"]]
    console.print(
        f"[red]attractive hole at short range:[/] {', '.join(holes)}"
        if holes
        else "all pairs repel at short range"
    )
    for stage, reason in summary["failures"].items():
        console.print(f"[red]{stage} failed:[/] {reason}", highlight=False)
    console.print(f"[dim]{protocol}[/]", highlight=False)
