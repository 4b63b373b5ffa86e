"""``mgflows sample``: glasses of any alloy, without a database or workflow packages."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from ase import Atoms
    from rich.console import Console

    from mgflows.alloy import Alloy
    from mgflows.surrogate import LennardJones

_CLOSE = 0.15
"""Relative difference from the default density above which a note is printed."""


@click.command()
@click.argument("formula")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("glasses.xyz"),
    show_default=True,
    help="Extended XYZ file.",
)
@click.option("--force", is_flag=True, help="Overwrite the output file.")
@click.option(
    "--sweeps",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Length of each cooling run in sweeps of N moves.",
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
    help="Atoms per glass.",
)
@click.option(
    "--reduced-density",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    help="Atoms per cubed diameter of the largest species of the alloy. "
    "By default the mean atomic volume decides, as compressed as in the paper.",
)
@click.option(
    "--mass-density",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    help="Density in g/cm^3, instead of the reduced density.",
)
@click.option(
    "--glass-density",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    help="Measured density of the glass in g/cm^3; its difference from the samples is reported.",
)
@click.option(
    "--table",
    type=click.Choice(["consistent", "printed"]),
    default="consistent",
    show_default=True,
    help="Which table of Cu-Zr-Al to use.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed; sample i uses its stream i, so that the number of workers changes nothing.",
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
    force: bool,
    sweeps: int,
    samples: int,
    n_atoms: int,
    reduced_density: float | None,
    mass_density: float | None,
    glass_density: float | None,
    table: Literal["consistent", "printed"],
    seed: int,
    workers: int,
    inherent: bool,
) -> None:
    """Cool glasses of FORMULA (such as Cu46Zr46Al8) with swap Monte Carlo.

    Each frame of the extended XYZ file has the surrogate's energy and forces, e_is (eV per atom),
    the number of sweeps, its seed and its order parameters. Finished glasses are kept in
    OUTPUT.partial; after an interruption, the same command cools only the missing ones.
    """
    from rich.console import Console
    from rich.progress import Progress

    from mgflows.surrogate import LennardJones

    console = Console(stderr=True)
    _check_output(output, force)
    lj = LennardJones.for_species(_composition(formula, n_atoms), table=table)
    alloy = _alloy(formula, n_atoms, lj, reduced_density, mass_density)
    if note := lj.check_box(alloy):
        console.print(f"[yellow]{note}[/]", highlight=False)
    exchanges = ", ".join("-".join(pair) for pair in lj.exchanges_of(alloy.species))
    console.print(
        f"{samples} x {alloy.formula}, {n_atoms} atoms, {alloy.mass_density:.2f} g/cm3, "
        f"exchanges: {exchanges or 'none'}",
        highlight=False,
    )
    excess = alloy.number_density / lj.number_density(alloy.composition) - 1.0
    if abs(excess) > _CLOSE:
        console.print(
            f"[yellow]the samples are {abs(excess):.0%} {'denser' if excess > 0 else 'less dense'} "
            "than the default for this composition[/]",
            highlight=False,
        )
    partial = output.with_name(f"{output.name}.partial")
    settings = f"{alloy.as_dict()} {lj.as_dict()} {sweeps} {seed} {inherent}"
    frames = _read_partial(partial, settings)
    missing = [stream for stream in range(samples) if stream not in frames]
    if len(missing) < samples:
        console.print(f"{samples - len(missing)} of {samples} glasses are read from {partial}")
    try:
        with (
            Progress(console=console) as progress,
            ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
        ):
            task = progress.add_task("cooling", total=samples, completed=samples - len(missing))
            futures = {
                pool.submit(_cool, lj, alloy, sweeps, seed, stream, inherent): stream
                for stream in missing
            }
            try:
                for future in as_completed(futures):
                    frames[futures[future]] = future.result()
                    _append(partial, frames[futures[future]], settings)
                    progress.advance(task)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    except KeyboardInterrupt:
        console.print(
            f"interrupted: {len(frames)} of {samples} glasses are in {partial}; "
            "run the same command to continue",
            highlight=False,
        )
        raise click.exceptions.Exit(130) from None
    if glass_density:
        _compare_density(console, frames[0], alloy, glass_density)
    _write(output, [frames[stream] for stream in range(samples)])
    partial.unlink(missing_ok=True)
    console.print(f"wrote {output}", highlight=False)


def _composition(formula: str, n_atoms: int) -> dict[str, float]:
    from mgflows.alloy import Alloy

    # Any density serves to read the formula; that of the samples needs the surrogate.
    return Alloy.from_formula(formula, n_atoms=n_atoms, number_density=1.0).composition


def _alloy(
    formula: str,
    n_atoms: int,
    lj: LennardJones,
    reduced_density: float | None,
    mass_density: float | None,
) -> Alloy:
    from mgflows.alloy import Alloy
    from mgflows.errors import InputError

    if reduced_density is not None and mass_density is not None:
        raise InputError(
            "both --reduced-density and --mass-density are given", hint="give one of them"
        )
    if mass_density is not None:
        return Alloy.from_formula(formula, n_atoms=n_atoms, mass_density=mass_density)
    composition = _composition(formula, n_atoms)
    density = lj.number_density(composition)
    if reduced_density is not None:
        diameters = [lj.sigma[(lj.species.index(symbol),) * 2] for symbol in composition]
        density = reduced_density / max(diameters) ** 3
    return Alloy.from_formula(formula, n_atoms=n_atoms, number_density=density)


def _check_output(output: Path, force: bool) -> None:
    """Refuse, before anything is cooled, a path that cannot be written."""
    from mgflows.errors import InputError

    if output.exists() and not force:
        raise InputError(f"{output} exists", hint="give another --output, or --force to overwrite")
    folder = output.absolute().parent
    if not folder.is_dir():
        raise InputError(f"the folder {folder} does not exist", hint=f"mkdir -p {folder}")
    if not os.access(folder, os.W_OK):
        raise InputError(f"the folder {folder} cannot be written to", hint="give another --output")


def _read_partial(partial: Path, settings: str) -> dict[int, Atoms]:
    """Glasses that an interrupted run with the same settings left, by stream."""
    from ase.io import iread

    from mgflows.errors import InputError

    frames: dict[int, Atoms] = {}
    if not partial.exists():
        return frames
    try:
        for atoms in iread(partial, format="extxyz"):
            if atoms.info.pop("settings", None) != _digest(settings):
                raise InputError(
                    f"{partial} has glasses of an interrupted run with other settings",
                    hint=f"repeat that command to finish it, or remove {partial}",
                )
            frames[int(atoms.info["stream"])] = atoms
    except (ValueError, OSError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        # The last glass was being written when the run was killed: the others are whole.
        _write(partial, list(frames.values()), settings)
    return frames


def _append(partial: Path, atoms: Atoms, settings: str) -> None:
    from ase.io import write

    kept = _with_settings(atoms, settings)
    with partial.open("a") as stream:
        write(stream, kept, format="extxyz")
        stream.flush()
        os.fsync(stream.fileno())


def _write(path: Path, frames: list[Atoms], settings: str | None = None) -> None:
    from ase.io import write

    from mgflows.files import atomic_write

    kept = [_with_settings(atoms, settings) if settings else atoms for atoms in frames]
    with atomic_write(path) as stream:
        if kept:
            write(stream, kept, format="extxyz")


def _with_settings(atoms: Atoms, settings: str) -> Atoms:
    kept = atoms.copy()
    kept.calc = atoms.calc
    kept.info["settings"] = _digest(settings)
    return kept


def _digest(settings: str) -> str:
    from mgflows.files import digest_of_text

    # A letter first: digits alone would be read back as a number.
    return f"d{digest_of_text(settings)}"


def _compare_density(console: Console, atoms: Atoms, alloy: Alloy, glass_density: float) -> None:
    from mgflows.units import pressure_from_stress

    difference = alloy.mass_density / glass_density - 1.0
    if abs(difference) > 0.05:
        pressure = pressure_from_stress(atoms.get_stress())
        console.print(
            f"[yellow]the samples are {abs(difference):.0%} "
            f"{'denser' if difference > 0 else 'less dense'} than the glass; "
            f"their virial pressure is {pressure:.0f} GPa[/]",
            highlight=False,
        )


def _cool(
    lj: LennardJones, alloy: Alloy, sweeps: int, seed: int, stream: int, inherent: bool
) -> Atoms:
    """One glass with its surrogate energy, forces and stress and the settings that made it."""
    from ase.calculators.singlepoint import SinglePointCalculator

    from mgflows.structures.order import analyse_order
    from mgflows.surrogate import SwapMonteCarlo, find_inherent_structure

    sampler = SwapMonteCarlo.from_alloy(lj, alloy, seed, stream=stream)
    sampler.equilibrate()
    sampler.cool(sweeps)
    relaxed, e_is = find_inherent_structure(sampler.atoms, lj)
    order = analyse_order(relaxed)
    atoms = relaxed if inherent else sampler.atoms
    atoms.calc = lj.calculator()
    atoms.calc = SinglePointCalculator(
        atoms,
        energy=atoms.get_potential_energy(),
        forces=atoms.get_forces(),
        stress=atoms.get_stress(),
    )
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
