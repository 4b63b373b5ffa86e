"""``mgflows sample``: glasses of any alloy, and nothing else. No database, no workflow packages."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from ase import Atoms

    from mgflows.alloy import Alloy
    from mgflows.surrogate import LennardJones


@click.command()
@click.argument("formula")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("glasses.xyz"),
    show_default=True,
    help="Extended XYZ file.",
)
@click.option(
    "--sweeps",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Length of each cooling in sweeps of N moves.",
)
@click.option(
    "--samples", type=click.IntRange(min=1), default=1, show_default=True, help="Number of glasses."
)
@click.option(
    "--atoms",
    "n_atoms",
    type=click.IntRange(min=1),
    default=150,
    show_default=True,
    help="Atoms in each.",
)
@click.option(
    "--reduced-density",
    type=float,
    default=1.75,
    show_default=True,
    help="Atoms per cubed diameter of the largest species.",
)
@click.option(
    "--mass-density", type=float, default=None, help="g/cm^3, instead of the reduced density."
)
@click.option(
    "--glass-density",
    type=float,
    default=None,
    help="Measured density of the glass, g/cm^3: says how far the samples are from it.",
)
@click.option(
    "--table",
    type=click.Choice(["consistent", "printed"]),
    default="consistent",
    show_default=True,
    help="Which Cu-Zr-Al table.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Seed; sample i uses stream i of it, whatever the number of workers.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Samples cooled at the same time.",
)
@click.option("--inherent", is_flag=True, help="Write minimised structures instead of snapshots.")
def sample(
    formula: str,
    output: Path,
    sweeps: int,
    samples: int,
    n_atoms: int,
    reduced_density: float,
    mass_density: float | None,
    glass_density: float | None,
    table: Literal["consistent", "printed"],
    seed: int,
    workers: int,
    inherent: bool,
) -> None:
    """Cool glasses of FORMULA (such as Cu46Zr46Al8) with swap Monte Carlo and write them as extended XYZ.

    Each frame has the surrogate's energy and forces, e_is (eV per atom), the number of sweeps, its seed and its order parameters.
    """
    from ase.io import write
    from rich.console import Console
    from rich.progress import Progress

    from mgflows.alloy import Alloy
    from mgflows.surrogate import LennardJones
    from mgflows.units import pressure_from_stress

    console = Console(stderr=True)
    # The density needs the surrogate's diameter, and the surrogate the species: any density does for the first look.
    species = Alloy.from_formula(formula, n_atoms=n_atoms, number_density=1.0).species
    lj = LennardJones.for_species(species, table)
    density = (
        {"mass_density": mass_density}
        if mass_density
        else {"number_density": reduced_density / lj.length_unit**3}
    )
    alloy = Alloy.from_formula(formula, n_atoms=n_atoms, **density)
    if note := lj.check_box(alloy):
        console.print(f"[yellow]{note}[/]", highlight=False)
    console.print(
        f"{samples} x {alloy.formula}, {n_atoms} atoms, {alloy.mass_density:.2f} g/cm3, exchanges {', '.join('-'.join(p) for p in lj.exchange_pairs)}",
        highlight=False,
    )
    frames: dict[int, Atoms] = {}
    with (
        Progress(console=console) as progress,
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
    ):
        task = progress.add_task("cooling", total=samples)
        futures = {
            pool.submit(_cool, lj, alloy, sweeps, seed, stream, inherent): stream
            for stream in range(samples)
        }
        for future in as_completed(futures):
            frames[futures[future]] = future.result()
            progress.advance(task)
    if glass_density:
        difference = alloy.mass_density / glass_density - 1.0
        pressure = pressure_from_stress(frames[0].get_stress())
        if abs(difference) > 0.05:
            console.print(
                f"[yellow]the samples are {abs(difference):.0%} {'denser' if difference > 0 else 'less dense'} than the glass; "
                f"their virial pressure is {pressure:.0f} GPa[/]",
                highlight=False,
            )
    write(output, [frames[stream] for stream in range(samples)], format="extxyz")
    console.print(f"wrote {output}", highlight=False)


def _cool(
    lj: LennardJones, alloy: Alloy, sweeps: int, seed: int, stream: int, inherent: bool
) -> Atoms:
    """One glass, with everything a frame should say about itself."""
    from mgflows.structures.order import analyse_order
    from mgflows.surrogate import SwapMonteCarlo, find_inherent_structure

    sampler = SwapMonteCarlo.from_alloy(lj, alloy, seed, stream=stream)
    sampler.equilibrate()
    sampler.cool(sweeps)
    relaxed, e_is = find_inherent_structure(sampler.atoms, lj)
    order = analyse_order(relaxed)
    atoms = relaxed if inherent else sampler.atoms
    atoms.calc = lj.calculator()
    atoms.get_forces()
    atoms.get_stress()
    atoms.info |= {
        "e_is": e_is,
        "n_sweeps": sweeps,
        "seed": seed,
        "stream": stream,
        "ordered": order.ordered,
        "q6_solid_fraction": order.q6_solid_fraction,
        "cna_555_fraction": order.cna_555_fraction,
        "frank_kasper_fraction": order.frank_kasper_fraction,
    }
    return atoms
