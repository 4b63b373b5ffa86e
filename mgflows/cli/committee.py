"""``mgflows committee``: estimated errors without labels, and selection of frames to label."""

from __future__ import annotations

import math
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mgflows.cli.options import FiniteFloat, Interrupted, directory_option, json_option, print_json
from mgflows.cli.paths import (
    check_output,
    check_output_directory,
    force_option,
    read_dataset,
    read_structures,
)
from mgflows.cli.tables import make_console, make_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mgflows.nep.committee import Calibration
    from mgflows.nep.selection import SelectionStrategy
    from mgflows.nep.targets import GroupErrors

_UNITS = {"energy": "meV/atom", "force": "meV/Å", "virial": "meV/atom"}
_folder = click.Path(file_okay=False, path_type=Path)
_file = click.Path(dir_okay=False, path_type=Path)


@click.group()
def committee() -> None:
    """Estimate errors with several NEPs and select frames to label."""


@committee.command()
@click.argument("source")
@click.option(
    "--members", type=click.IntRange(min=2), default=4, show_default=True, help="Potentials."
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=7000,
    show_default=True,
    help="Steps of each training.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed.")
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads."
)
@click.option(
    "--potential",
    type=_file,
    default=None,
    help="nep.txt whose errors are to be estimated  [default: the mean of the committee].",
)
@click.option(
    "--output",
    type=_folder,
    default=Path("committee"),
    show_default=True,
    help="Directory of the committee.",
)
@force_option
@directory_option
@json_option
def train(
    source: str,
    members: int,
    steps: int,
    seed: int,
    threads: int,
    potential: Path | None,
    output: Path,
    force: bool,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Train a committee on SOURCE and calibrate it with the test frames.

    SOURCE is a folder with train.xyz and test.xyz or the ID of a dataset. Each member is trained on
    families drawn with replacement. An interrupted run resumes with the same command.
    """
    from mgflows.nep import NepParameters, NepTrainer
    from mgflows.nep.calculator import potential_text, read_potential
    from mgflows.nep.committee import train_committee
    from mgflows.nep.targets import certificate

    check_output_directory(output)
    frames, test = read_dataset(source, directory)
    species = sorted({symbol for frame in frames for symbol in frame.get_chemical_symbols()})
    if potential is not None:
        read_potential(potential_text(potential), species)
    trainer = NepTrainer(steps=steps, n_threads=threads)
    if force:
        # Frames that are refused must not cost the committee that they would replace.
        with tempfile.TemporaryDirectory() as scratch:
            trainer.prepare(scratch, NepParameters(tuple(species)), frames)
        for member in output.glob("member_*/nep.in"):
            shutil.rmtree(member.parent)
    log = make_console(stderr=True)
    try:
        trained = train_committee(
            output,
            NepParameters(tuple(species)),
            frames,
            n_members=members,
            trainer=trainer,
            seed=seed,
            progress=lambda member, state: log.print(
                f"member {member}: step {state.step} of {state.n_steps}", style="dim"
            ),
        )
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"interrupted; the trainings are kept in {output}, and the same command resumes"
        ) from error
    trained = trained.calibrated(test, potential=potential, seed=seed)
    trained.save(output)
    assert trained.calibration is not None
    groups = []
    if any("log10_time" in frame.info for frame in test):
        groups = certificate(test, potential=potential, committee=trained, seed=seed)
    if as_json:
        print_json(
            {
                "directory": str(output),
                "calibration": asdict(trained.calibration),
                "decades": [asdict(group) for group in groups],
            }
        )
        return
    _print(trained.calibration)
    if groups:
        _print_decades(groups)
    make_console().print(f"wrote {output}", markup=False)


def _print(calibration: Calibration) -> None:
    console = make_console()
    for quantity, scale in calibration.scales.items():
        bins = calibration.reliability[quantity]
        console.print(
            f"{quantity}: error = {scale.value:.2f} ± {scale.error:.2f} times the spread; rank "
            f"correlation {calibration.rank_correlation[quantity]:.2f}",
            highlight=False,
        )
        rows = [
            (f"{1e3 * each.predicted:.3g}", f"{1e3 * each.observed:.3g}", str(each.count))
            for each in bins
        ]
        unit = _UNITS[quantity]
        titles = (
            f"estimated {unit}",
            f"found {unit}",
            "atoms" if quantity == "force" else "frames",
        )
        console.print(make_table(titles, rows, numbers=titles))
    console.print(
        f"calibrated with {calibration.n_frames} test frames of {calibration.n_families} families",
        style="dim",
    )


def _print_decades(groups: Sequence[GroupErrors]) -> None:
    """Errors by decade of effective time, with estimates from the other decades."""
    titles = ("frames", "energy meV/atom", "estimated", "force meV/Å", "estimated ")
    rows = [
        (
            each.group,
            str(each.n_frames),
            _with(each.energy, each.energy_error),
            _with(each.energy_estimate, None),
            _with(each.force, each.force_error),
            _with(each.force_estimate, None),
        )
        for each in groups
    ]
    make_console().print(make_table(("effective time t*", *titles), rows, numbers=titles))


def _with(value: float | None, error: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" + ("" if error is None else f" ± {error:.2g}")


@committee.command()
@click.argument("folder", type=_folder)
@click.argument("structures", type=_file)
@click.option(
    "-n",
    "--number",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Structures to select.",
)
@click.option(
    "--strategy",
    type=click.Choice(["committee", "farthest", "random"]),
    default="committee",
    show_default=True,
    help="How structures are selected.",
)
@click.option(
    "--lower",
    type=FiniteFloat(min=0.0),
    default=0.0,
    show_default=True,
    help="Force error in eV/Å below which a structure needs no label.",
)
@click.option(
    "--upper",
    type=FiniteFloat(min=0.0, min_open=True),
    default=None,
    help="Force error of an atom in eV/Å above which a structure is discarded  [default: none].",
)
@click.option(
    "--known",
    type=_file,
    default=None,
    help="Extended XYZ of labelled structures to keep a distance from, such as train.xyz.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed.")
@click.option(
    "--output",
    type=_file,
    default=Path("selected.xyz"),
    show_default=True,
    help="Extended XYZ file of the selected structures.",
)
@force_option
@json_option
def select(
    folder: Path,
    structures: Path,
    number: int,
    strategy: SelectionStrategy,
    lower: float,
    upper: float | None,
    known: Path | None,
    seed: int,
    output: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Select those of STRUCTURES whose labels improve the committee in FOLDER most.

    STRUCTURES is a file of any format that ASE reads. The selected structures differ from each
    other and have large errors, estimated without labels.
    """
    from ase.io import write

    from mgflows.nep.committee import Committee
    from mgflows.nep.selection import SelectionSettings, SpreadWindow, select_frames

    window = SpreadWindow(lower, math.inf if upper is None else upper)
    members = Committee.load(folder)
    candidates = read_structures(structures)
    check_output(output, force=force)
    selection = select_frames(
        candidates,
        number,
        SelectionSettings(strategy, window, seed),
        committee=members,
        known=read_structures(known) if known is not None else (),
    )
    chosen = []
    for index in selection.chosen:
        atoms = candidates[index].copy()
        atoms.info["force_error"] = float(selection.force_errors[index])
        chosen.append(atoms)
    if chosen:
        write(output, chosen, format="extxyz")
    if as_json:
        print_json(
            {
                "calibrated": members.calibration is not None,
                "force_errors": selection.force_errors,
                "chosen": selection.chosen,
                "discarded": selection.discarded,
                "known": selection.known,
            }
        )
        return
    console = make_console()
    unit = "meV/Å" if members.calibration is not None else "meV/Å (spread, not calibrated)"
    console.print(
        make_table(
            ("structure", f"force error {unit}"),
            [(str(i), f"{1e3 * selection.force_errors[i]:.1f}") for i in selection.chosen],
            numbers=("structure", f"force error {unit}"),
        )
    )
    for index, reason in selection.discarded.items():
        console.print(f"structure {index} is discarded: {reason}", style="yellow", markup=False)
    console.print(
        f"{len(selection.chosen)} of {len(candidates)} structures selected, "
        f"{len(selection.known)} known well enough, {len(selection.discarded)} discarded"
    )
    if chosen:
        console.print(f"wrote {output}", markup=False)
