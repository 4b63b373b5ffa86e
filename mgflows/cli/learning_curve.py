"""``mgflows learning-curve``: test errors against the number of training frames."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mgflows.cli.options import (
    FiniteFloat,
    Interrupted,
    directory_option,
    json_option,
    number_list,
    print_json,
)
from mgflows.cli.paths import check_output_directory, read_dataset
from mgflows.cli.tables import make_console, make_table
from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ase import Atoms

    from mgflows.nep.learning_curve import ErrorName, LearningCurve


@click.command(name="learning-curve")
@click.argument("source")
@click.option(
    "--fractions",
    default="0.05,0.1,0.2,0.4,0.7,1",
    show_default=True,
    callback=number_list,
    help="Fractions of the families to train on.",
)
@click.option(
    "--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Curves to average."
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=7000,
    show_default=True,
    help="Steps of each training.",
)
@click.option("--target-energy", type=FiniteFloat(), default=None, help="Target error in meV/atom.")
@click.option("--target-force", type=FiniteFloat(), default=None, help="Target error in meV/Å.")
@click.option("--target-virial", type=FiniteFloat(), default=None, help="Target error in meV/atom.")
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads."
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("learning-curve"),
    show_default=True,
    help="Directory that keeps finished trainings.",
)
@directory_option
@json_option
def learning_curve(
    source: str,
    fractions: list[float],
    seeds: int,
    steps: int,
    target_energy: float | None,
    target_force: float | None,
    target_virial: float | None,
    threads: int,
    output: Path,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Train on fractions of SOURCE; estimate the number of frames for a test error.

    SOURCE is a folder with train.xyz and test.xyz or the ID of a dataset. The training frames are
    taken family by family; the test frames stay the same. An interrupted run keeps its finished
    trainings; the same command resumes it.
    """
    from mgflows.nep import NepParameters, NepTrainer
    from mgflows.nep.learning_curve import learning_curve as measure

    wanted: dict[ErrorName, float | None] = {
        "energy": target_energy,
        "force": target_force,
        "virial": target_virial,
    }
    targets = {name: value for name, value in wanted.items() if value is not None}
    for name, value in targets.items():
        if not value > 0.0:
            raise InputError(f"--target-{name} is {value:g} but must be positive")
    check_output_directory(output)
    train, test = read_dataset(source, directory)
    _check_targets(targets, train, test, fractions)
    species = sorted({symbol for frame in train for symbol in frame.get_chemical_symbols()})
    log = make_console(stderr=True)
    try:
        curve = measure(
            output,
            NepParameters(tuple(species)),
            train,
            test,
            fractions=fractions,
            seeds=range(seeds),
            trainer=NepTrainer(steps=steps, reports=1, n_threads=threads),
            progress=lambda point: log.print(
                f"seed {point.seed}, {point.n_frames} frames: {point.energy:.2f} meV/atom, "
                f"{point.force:.1f} meV/Å, {point.virial:.1f} meV/atom",
                style="dim",
            ),
        )
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"interrupted; finished trainings are kept in {output}, and the same command resumes"
        ) from error
    forecasts = [curve.forecast(name, target) for name, target in targets.items()]
    if as_json:
        print_json(
            {
                "n_test_frames": curve.n_test_frames,
                "points": [asdict(point) for point in curve.points],
                "forecasts": [asdict(forecast) for forecast in forecasts],
            }
        )
        return
    _print(curve)
    console = make_console()
    for forecast in forecasts:
        console.print(f"{forecast.quantity}: {forecast.verdict}", soft_wrap=True, markup=False)


def _check_targets(
    targets: Mapping[ErrorName, float],
    train: Sequence[Atoms],
    test: Sequence[Atoms],
    fractions: Sequence[float],
) -> None:
    """Raise InputError, before hours of training, if no forecast could be made."""
    from mgflows.nep.learning_curve import nested_sets

    if "virial" in targets and not any(
        frame.calc is not None and "stress" in frame.calc.results for frame in test
    ):
        raise InputError(
            "--target-virial needs test frames with stresses, and there are none",
            hint="leave it out",
        )
    if targets and (n_sizes := len(nested_sets(train, fractions, 0))) < 3:
        raise InputError(
            f"the forecast for a target needs three sizes, but the fractions give {n_sizes}",
            hint="give more --fractions, or frames of more families",
        )


def _print(curve: LearningCurve) -> None:
    console = make_console()
    columns = {name: curve.mean(name) for name in ("energy", "force", "virial")}
    rows = []
    for index, size in enumerate(curve.sizes):
        cells = [f"{columns['energy'][0][index]:.0f}", str(size)]
        for _, means, errors in columns.values():
            scatter = f" ± {errors[index]:.2g}" if errors[index] == errors[index] else ""
            cells.append(f"{means[index]:.3g}{scatter}")
        rows.append(cells)
    titles = ("frames", "families", "E meV/atom", "F meV/Å", "W meV/atom")
    console.print(make_table(titles, rows, numbers=titles))
    console.print(
        f"root mean square errors of {curve.n_test_frames} test frames, mean and standard error "
        "over the seeds",
        style="dim",
    )
