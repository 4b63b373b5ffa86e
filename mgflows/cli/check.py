"""``mgflows check``: the acceptance tests of a NEP, without a database."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mgflows.cli.glasses import (
    check_species,
    common_species,
    reference_calculator,
    sample_glasses,
)
from mgflows.cli.options import FiniteFloat, NameOrOther, json_option, print_json
from mgflows.cli.tables import make_console, make_table

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from mgflows.nep.calculator import Device
    from mgflows.nep.checks import Check
    from mgflows.validation.acceptance import (
        AcceptanceFrames,
        AcceptanceResult,
        AcceptanceSettings,
    )

_STYLES = {"passed": "green", "warning": "yellow", "failed": "red", "skipped": "dim"}
_ROOM_TEMPERATURE_GLASSES = 2
_LARGEST_PRESSURE = 3.0
"""GPa under the potential; glasses at higher pressures are relaxed before the comparison."""


@click.command()
@click.argument("potential", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--label-with",
    type=NameOrOther(["stand-in"], "FILE"),
    default=None,
    help="Method of the labels: 'stand-in' or another nep.txt. It runs the same melt and labels "
    "the frames of the melt with the potential.",
)
@click.option(
    "--train",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Training frames (extended XYZ), to measure how far the melt leaves their range.",
)
@click.option(
    "--trajectory",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Frames of later molecular dynamics, in any format that ASE reads: how far they leave the "
    "range of --train.",
)
@click.option(
    "--test",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Test frames (extended XYZ): the worst ones are named, and relaxed glasses among them are "
    "melted.",
)
@click.option(
    "--glasses",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Glasses to melt, in any format that ASE reads  [default: those of --test, or sampled "
    "with swap Monte Carlo].",
)
@click.option(
    "--formula",
    default=None,
    help="Alloy of the glasses that are sampled if no file is given  [default: Cu46Zr46Al8 or "
    "equal parts].",
)
@click.option(
    "--temperature",
    type=FiniteFloat(min=0.0, min_open=True),
    default=2000.0,
    show_default=True,
    help="Temperature of the melt in K.",
)
@click.option(
    "--time",
    "melt_time",
    type=FiniteFloat(min=0.0, min_open=True),
    default=2.0,
    show_default=True,
    help="Length of the melt in ps.",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Device that evaluates the potential.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the dynamics."
)
@json_option
@click.pass_context
def check(
    context: click.Context,
    potential: Path,
    label_with: str | None,
    train: Path | None,
    trajectory: Path | None,
    test: Path | None,
    glasses: Path | None,
    formula: str | None,
    temperature: float,
    melt_time: float,
    device: Device,
    seed: int,
    as_json: bool,
) -> None:
    """Test whether the NEP in the file POTENTIAL may be used for molecular dynamics.

    The tests are a melt at 0 GPa, pairs of atoms at short range, elastic stability, and a second
    program that evaluates the same file; they take 20 s for 150 atoms. A campaign runs the same
    tests after every training. The exit code is 1 if a test failed.
    """
    from mgflows.nep.calculator import potential_text, read_potential
    from mgflows.nep.checks import out_of_range_check
    from mgflows.nep.frames import read_frames
    from mgflows.validation.acceptance import (
        AcceptanceFrames,
        AcceptanceSettings,
        choose_glasses,
    )

    species = read_potential(potential_text(potential)).species
    if trajectory is not None and train is None:
        raise click.UsageError("--trajectory is compared with the frames of --train: give both")
    tested = read_frames(test) if test else []
    known = read_frames(train) if train else []
    visited = _glasses(trajectory, species)
    structures, squeezed = _at_zero_pressure(potential, _glasses(glasses, species), device)
    if not structures and tested:
        check_species(tested, species, test)
        structures = choose_glasses(tested)
    if not structures:
        structures = _relaxed(
            potential, sample_glasses(common_species(species, label_with), formula, seed), device
        )
    settings = AcceptanceSettings(
        melt_temperature=temperature,
        melt_time=melt_time,
        n_glasses=min(_ROOM_TEMPERATURE_GLASSES, len(structures)),
    )
    result = accept(
        potential,
        structures,
        AcceptanceFrames(known, tested),
        settings,
        reference=reference_calculator(label_with, structures, device),
        device=device,
        seed=seed,
    )
    if squeezed is not None:
        result = replace(result, checks=(*result.checks, squeezed))
    if visited:
        later = out_of_range_check(potential, known, visited, f"of {trajectory}")
        later = replace(later, name="later dynamics in range")
        result = replace(result, checks=(*result.checks, later))
    if as_json:
        print_json(
            {
                "potential": str(potential),
                "species": list(species),
                "passed": result.passed,
                "reason": result.reason,
                "checks": [asdict(each) for each in result.checks],
                "worst_frames": [asdict(frame) for frame in result.worst],
                "settings": asdict(settings),
                "cpu_seconds": result.cpu_seconds,
            }
        )
    else:
        print_acceptance(result)
    context.exit(0 if result.passed else 1)


def accept(
    potential: Path,
    glasses: list[Atoms],
    frames: AcceptanceFrames,
    settings: AcceptanceSettings,
    *,
    reference: Calculator | None = None,
    device: Device = "cpu",
    seed: int = 0,
) -> AcceptanceResult:
    """Run the acceptance tests and show which one is running."""
    from mgflows.validation.acceptance import accept_potential

    with make_console(stderr=True).status("testing") as status:
        return accept_potential(
            potential,
            glasses,
            settings=settings,
            reference=reference,
            frames=frames,
            device=device,
            seed=seed,
            progress=lambda name: status.update(f"testing: {name}"),
        )


def _glasses(path: Path | None, species: tuple[str, ...]) -> list[Atoms]:
    from mgflows.cli.paths import read_structures

    if path is None:
        return []
    structures = read_structures(path)
    check_species(structures, species, path)
    return structures


def _relaxed(potential: Path, glasses: list[Atoms], device: Device) -> list[Atoms]:
    """Relax surrogate samples, which are compressed, to zero pressure under the potential."""
    from mgflows.errors import MgflowsError
    from mgflows.nep.calculator import nep_calculator
    from mgflows.validation.elasticity import relax_to_zero_stress

    calculator = nep_calculator(potential, device)
    found = []
    for glass in glasses[:_ROOM_TEMPERATURE_GLASSES]:
        try:
            found.append(relax_to_zero_stress(glass, calculator))
        except MgflowsError:
            # The tests that follow report the reason.
            found.append(glass)
    return found


def _at_zero_pressure(
    potential: Path, glasses: list[Atoms], device: Device
) -> tuple[list[Atoms], Check | None]:
    """Relax glasses of a file that are compressed or expanded, and report it.

    The volume of the melt is compared with theirs.
    """
    from mgflows.geometry import check_bulk
    from mgflows.nep.calculator import nep_calculator
    from mgflows.nep.checks import Check
    from mgflows.units import pressure_from_stress

    calculator = nep_calculator(potential, device)
    pressures = []
    for number, glass in enumerate(glasses, start=1):
        check_bulk(glass, f"glass {number} ({glass.get_chemical_formula()})")
        glass.calc = calculator
        pressures.append(pressure_from_stress(glass.get_stress()))
        glass.calc = None
    largest = max(pressures, key=abs, default=0.0)
    if abs(largest) <= _LARGEST_PRESSURE:
        return glasses, None
    relaxed = _relaxed(potential, glasses, device)
    growths = [
        after.get_volume() / before.get_volume()
        for before, after in zip(glasses, relaxed, strict=False)
    ]
    sentence = (
        f"the given glasses are at up to {largest:+.1f} GPa under this potential; they were "
        f"relaxed first, to {' and '.join(f'{growth:.2f}' for growth in growths)} times their "
        "volumes"
    )
    return relaxed, Check.within(
        "pressure of the glasses",
        largest,
        sentence,
        smallest=-_LARGEST_PRESSURE,
        largest=_LARGEST_PRESSURE,
        unit="GPa",
        otherwise="warning",
    )


def print_acceptance(result: AcceptanceResult) -> None:
    """Print the tests, the worst frames and the verdict."""
    from rich.text import Text

    console = make_console()
    rows = [
        (each.name, Text(each.outcome, style=_STYLES[each.outcome]), _value(each), each.sentence)
        for each in result.checks
    ]
    console.print(make_table(("test", "result", "value", "meaning"), rows, numbers=("value",)))
    for frame in result.worst:
        name = " ".join(filter(None, (frame.subset, frame.family, frame.frame_id)))
        console.print(
            f"worst frames: {name or 'without a name'}: {frame.force_rmse:.0f} meV/Å, "
            f"{frame.energy_error:+.1f} meV/atom",
            style="dim",
            markup=False,
        )
    verdict = "accepted" if result.passed else "not accepted"
    console.print(
        f"{verdict} ({result.cpu_seconds:.0f} CPU s)",
        style="bold green" if result.passed else "bold red",
    )


def _value(each: Check) -> str:
    return "" if each.value is None else f"{each.value:.3g} {each.unit}".strip()
