"""``mgflows sample``: glasses of any alloy, without database and workflow packages."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from mgflows.cli.options import (
    FiniteFloat,
    Interrupted,
    any_density_option,
    json_option,
    print_json,
)
from mgflows.cli.paths import check_output, force_option
from mgflows.cli.tables import make_console
from mgflows.errors import InputError
from mgflows.text import plural

if TYPE_CHECKING:
    from rich.console import Console

    from mgflows.alloy import Alloy
    from mgflows.machine.glass_sampling import GlassRequest
    from mgflows.surrogate import LennardJones

_SUFFIXES = (".xyz", ".extxyz")
_DENSITY_TOLERANCE = 0.05
"""Relative difference from the measured density above which a note is printed."""
_NOTED_EXCESS = 0.15
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
@force_option
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
    help="Atoms per glass.",
)
@click.option(
    "--reduced-density",
    type=FiniteFloat(min=0.0, min_open=True),
    default=None,
    help="Atoms per cubed diameter of the largest species of the alloy  [default: from the mean "
    "atomic volume, as compressed as in the paper].",
)
@click.option(
    "--mass-density",
    type=FiniteFloat(min=0.0, min_open=True),
    default=None,
    help="Density in g/cm^3, instead of --reduced-density.",
)
@any_density_option
@click.option(
    "--glass-density",
    type=FiniteFloat(min=0.0, min_open=True),
    default=None,
    help="Measured density of the glass in g/cm^3, to compare with.",
)
@click.option(
    "--table",
    type=click.Choice(["consistent", "printed"]),
    default="consistent",
    show_default=True,
    help="Lennard-Jones parameters of Cu-Zr-Al.",
)
@click.option(
    "--pair-table",
    type=click.Path(dir_okay=False, path_type=Path),
    help="YAML file with Lennard-Jones parameters of your own, instead of --table.",
)
@click.option(
    "--protocol",
    type=click.Choice(["paper", "efficient"]),
    default="paper",
    show_default=True,
    help="Temperature schedule: that of the paper, or from the onset of supercooling, which "
    "takes a fraction of the sweeps for the same depth.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed; glass i uses stream i of it. The glasses do not depend on the number of workers.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=None,
    help="Processes; each cools one glass, or sixteen side by side  [default: all cores].",
)
@click.option("--inherent", is_flag=True, help="Write minimised structures instead of snapshots.")
@json_option
def sample(
    formula: str,
    output: Path,
    force: bool,
    sweeps: int,
    samples: int,
    n_atoms: int,
    reduced_density: float | None,
    mass_density: float | None,
    any_density: bool,
    glass_density: float | None,
    table: Literal["consistent", "printed"],
    pair_table: Path | None,
    protocol: Literal["paper", "efficient"],
    seed: int,
    workers: int | None,
    inherent: bool,
    as_json: bool,
) -> None:
    """Cool glasses of FORMULA, such as Cu46Zr46Al8, with swap Monte Carlo.

    Each frame of the extended XYZ file has the surrogate's energy and forces, e_is (eV per atom),
    the number of sweeps, its seed and its order parameters. An interrupted run keeps its finished
    glasses in the file; the same command resumes it. Batches of sixteen glasses are cooled side by
    side in single precision, which takes less than half the processor time.
    """
    from mgflows.machine.glass_sampling import (
        GlassRequest,
        finished_glasses,
        unfinished_folder,
    )
    from mgflows.machine.new_campaign import check_density
    from mgflows.surrogate import LennardJones
    from mgflows.surrogate.glasses import GlassProtocol

    console = make_console(stderr=True)
    composition = _composition(formula, n_atoms)
    lj = (
        LennardJones.for_species(composition, table=table)
        if pair_table is None
        else LennardJones.from_yaml(pair_table)
    )
    alloy = _alloy(formula, n_atoms, lj, reduced_density, mass_density)
    cooling = GlassProtocol.of(protocol, lj, alloy, sweeps)
    request = GlassRequest(lj, alloy, cooling, samples, seed, inherent)
    note = lj.check_box(alloy)
    if not any_density:
        check_density(alloy, lj)
    if output.suffix.lower() not in _SUFFIXES:
        raise InputError(
            f"the glasses are written as extended XYZ, but {output.name} has the ending of another "
            "format or none",
            hint=f"give an --output that ends in {' or '.join(_SUFFIXES)}",
        )
    folder = unfinished_folder(output)
    if force and folder.exists():
        shutil.rmtree(folder)
    n_finished = finished_glasses(request, output)
    check_output(output, force=force or folder.exists())
    if note:
        console.print(note, style="yellow", markup=False)
    exchanges = ", ".join("-".join(pair) for pair in lj.exchanges_of(alloy.species)) or "none"
    console.print(
        f"{samples} x {alloy.formula}, {plural(n_atoms, 'atom')}, {alloy.mass_density:.2f} g/cm3, "
        f"exchanges: {exchanges}",
        markup=False,
    )
    if len(alloy.species) == 1:
        console.print(
            "a pure element has no exchanges of unlike atoms, and slowly cooled samples of it "
            "crystallise (ordered: true)",
            style="yellow",
        )
    if protocol == "efficient":
        console.print(
            f"cooling from T* = {cooling.reduced_temperature_high:.3g} to "
            f"{cooling.reduced_temperature_low:.3g}"
        )
    excess = alloy.number_density / lj.number_density(alloy.composition) - 1.0
    if abs(excess) > _NOTED_EXCESS:
        console.print(
            f"the samples are {abs(excess):.0%} {_comparative(excess)} than the default for this "
            "composition",
            style="yellow",
        )
    if folder.exists():
        console.print(f"resuming; {plural(n_finished, 'glass')} of {samples} finished before")
    _cool(request, output, workers, console)
    result = _result(output, alloy, glass_density)
    if as_json:
        print_json(result)
        return
    if glass_density:
        _compare_density(result, glass_density, console)
    console.print(f"wrote {output}", markup=False)


def _composition(formula: str, n_atoms: int) -> dict[str, float]:
    from mgflows.alloy import Alloy

    # The default density needs the surrogate; any density is sufficient to read the formula.
    return Alloy.from_formula(formula, n_atoms=n_atoms, number_density=1.0).composition


def _alloy(
    formula: str,
    n_atoms: int,
    lj: LennardJones,
    reduced_density: float | None,
    mass_density: float | None,
) -> Alloy:
    from mgflows.alloy import Alloy

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


def _cool(request: GlassRequest, output: Path, workers: int | None, console: Console) -> None:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    from mgflows.machine.glass_sampling import finished_glasses, sample_glasses
    from mgflows.surrogate.processes import available_cores

    samples = request.n_glasses
    columns = (TextColumn("cooling"), BarColumn(), TaskProgressColumn(), Remaining())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as display:
        task = display.add_task("cooling", total=samples * request.protocol.n_sweeps)
        try:
            sample_glasses(
                request,
                output,
                n_workers=workers or available_cores(),
                progress=lambda sweeps: display.update(task, completed=sweeps),
            )
        except KeyboardInterrupt:
            kept = finished_glasses(request, output)
            where = f" in {output}" if kept else ""
            raise Interrupted(
                f"interrupted with {kept} of {plural(samples, 'glass')} finished{where}; run the "
                "same command again to resume"
            ) from None


def _result(output: Path, alloy: Alloy, glass_density: float | None) -> dict[str, Any]:
    """The result for programs."""
    from ase.io import read

    from mgflows.units import pressure_from_stress

    frames = read(output, index=":", format="extxyz")
    return {
        "output": str(output),
        "formula": alloy.formula,
        "n_atoms": alloy.n_atoms,
        "mass_density": alloy.mass_density,
        "glass_density": glass_density,
        "pressure": pressure_from_stress(frames[0].get_stress()),
        "glasses": [dict(frame.info) for frame in frames],
    }


def _compare_density(result: dict[str, Any], glass_density: float, console: Console) -> None:
    difference = result["mass_density"] / glass_density - 1.0
    if abs(difference) > _DENSITY_TOLERANCE:
        console.print(
            f"the samples are {abs(difference):.0%} {_comparative(difference)} "
            f"than the glass; their virial pressure is {result['pressure']:.0f} GPa",
            style="yellow",
        )


def _comparative(difference: float) -> str:
    return "denser" if difference > 0.0 else "less dense"
