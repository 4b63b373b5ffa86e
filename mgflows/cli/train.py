"""``mgflows train``: a NEP from labelled frames, without a database."""

from __future__ import annotations

import string
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from mgflows.cli.check import accept, print_acceptance
from mgflows.cli.options import FiniteFloat, Interrupted, directory_option, json_option, print_json
from mgflows.cli.paths import force_option, read_dataset
from mgflows.cli.tables import make_console, make_table
from mgflows.errors import InputError
from mgflows.text import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from rich.console import Console

    from mgflows.nep.base import Trainer, TrainingProgress
    from mgflows.nep.parameters import NepParameters
    from mgflows.nep.results import ParityTable
    from mgflows.validation.acceptance import AcceptanceResult

TrainerName = Literal["own", "neppo", "gpumd"]

_file = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("source")
@click.option("--test", type=_file, help="Test frames of a SOURCE that is a file.")
@click.option(
    "--test-fraction",
    type=FiniteFloat(min=0.0, max=1.0, max_open=True),
    default=0.2,
    show_default=True,
    help="Fraction of the families of the file SOURCE that are kept as test frames; 0 for none.",
)
@click.option(
    "--trainer",
    type=click.Choice(["own", "neppo", "gpumd"]),
    default="own",
    show_default=True,
    help="Trainer.",
)
@click.option(
    "--steps", type=click.IntRange(1), help="Steps of the optimiser  [default: the trainer's]."
)
@click.option("--batch", type=click.IntRange(1), help="Frames per step  [default: the trainer's].")
@click.option(
    "--neuron", type=click.IntRange(1), help="Neurons of the hidden layer  [default: 30]."
)
@click.option(
    "--cutoff",
    nargs=2,
    type=FiniteFloat(),
    help="Radial and angular cutoff in Å  [default: 6.5 4].",
)
@click.option(
    "--from", "start_from", type=_file, help="nep.txt to start from; its model is trained."
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    help="Seed of the split and the training  [default: 0; none for the nep of GPUMD, which has "
    "had the keyword since late 2026].",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Threads of the own trainer or neppo.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False),
    default="nep",
    show_default=True,
    callback=lambda _context, _parameter, value: _named(value),
    help="Directory of the training.",
)
@force_option
@click.option("--no-check", is_flag=True, help="Do not test the potential in molecular dynamics.")
@directory_option
@json_option
@click.pass_context
def train(
    context: click.Context,
    source: str,
    test: Path | None,
    test_fraction: float,
    trainer: TrainerName,
    steps: int | None,
    batch: int | None,
    neuron: int | None,
    cutoff: tuple[float, float] | None,
    start_from: Path | None,
    seed: int | None,
    threads: int,
    output: Path,
    force: bool,
    no_check: bool,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Train a NEP on the labelled frames of SOURCE.

    SOURCE is an extended XYZ file, the id of a dataset, or a folder with train.xyz and test.xyz; a
    nep.in in the folder defines the model. The potential is then tested as by `mgflows check`; the
    exit code is 1 if a test failed. An interrupted training resumes with the same command.
    """
    from mgflows.nep import GpumdTrainer
    from mgflows.settings import Settings

    _keep_sources(output, Path(source), test, start_from)
    if trainer == "gpumd" and threads > 1:
        raise click.UsageError("--threads is for the trainers own and neppo: gpumd runs on a GPU")
    if trainer == "gpumd" and start_from is not None:
        raise click.UsageError("GPUMD's nep cannot start from a potential; leave out --from")
    frames, tested = _read(source, test, test_fraction, seed or 0, directory)
    log = make_console(stderr=True)
    parameters = _parameters(source, frames, trainer, start_from, log)
    if neuron is not None:
        parameters = replace(parameters, neuron=neuron)
    if cutoff is not None:
        parameters = replace(parameters, cutoff=cutoff)
    chosen, parameters = _trainer(trainer, parameters, steps, batch, seed, threads)
    if isinstance(chosen, GpumdTrainer):
        chosen = replace(chosen, command=Settings.load(directory).nep_command)
    log.print(
        f"{plural(len(frames), 'training frame')} and {plural(len(tested), 'test frame')} of "
        f"{', '.join(parameters.species)}",
        style="dim",
    )
    chosen.check_installation()
    chosen.prepare(
        output,
        parameters,
        frames,
        tested,
        seed=seed if trainer == "gpumd" else seed or 0,
        initial_potential=start_from,
        replace_results=force,
    )
    try:
        result = chosen.train(
            output, lambda state: log.print(_progress(state), style="dim", highlight=False)
        )
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"interrupted; the training is kept in {output}, and the same command resumes"
        ) from error
    potential = output / "nep.txt"
    tables = _errors(potential, frames, tested)
    if not as_json:
        _print_errors(tables)
    accepted = None if no_check else _accept(potential, frames, tested, seed or 0)
    if as_json:
        print_json(
            {
                "potential": str(potential),
                "trainer": result.trainer_version,
                "species": list(parameters.species),
                "cpu_seconds": result.cpu_seconds,
                "errors": {
                    name: {
                        "overall": asdict(table.overall),
                        "by_subset": {
                            subset: asdict(errors) for subset, errors in table.by_subset.items()
                        },
                    }
                    for name, table in tables.items()
                },
                "acceptance": None if accepted is None else asdict(accepted),
            }
        )
    else:
        if accepted is not None:
            print_acceptance(accepted)
        make_console().print(f"wrote {potential}", markup=False)
    context.exit(0 if accepted is None or accepted.passed else 1)


def _named(value: str) -> Path:
    """The folder of --output; an empty name, as of an unset variable, is not the current folder."""
    if not value:
        raise click.BadParameter("an empty name is not a directory; leave the option out for 'nep'")
    return Path(value)


def _keep_sources(output: Path, *sources: Path | None) -> None:
    """Refuse a training that would replace what it reads."""
    for source in sources:
        if source is None:
            continue
        path = source.resolve()
        is_replaced = path.parent == output.resolve() and path.name in _WRITTEN
        if is_replaced or (path.is_dir() and path == output.resolve()):
            raise InputError(
                f"the training in {output} would replace files of {source}",
                hint="give another --output",
            )


_WRITTEN = ("nep.in", "nep.txt", "nep_initial.txt", "train.xyz", "test.xyz")


def _read(
    source: str, test: Path | None, test_fraction: float, seed: int, directory: Path | None
) -> tuple[list[Atoms], list[Atoms]]:
    """Read training and test frames."""
    from mgflows.nep import read_frames, split_frames

    path = Path(source)
    if not path.exists() and (path.suffix or path.name != source or not _is_id(source)):
        raise InputError(
            f"there is no file or folder {source}",
            hint="check the path, or give the id of a dataset",
        )
    if path.is_dir() and not (path / "test.xyz").exists():
        raise InputError(
            f"the folder {source} has no test.xyz",
            hint=f"give {path / 'train.xyz'}, which is then split",
        )
    if not path.is_file():
        if test is not None:
            raise click.UsageError(
                f"--test belongs to a file of frames, but {source} is not a file; a folder has its "
                "own test.xyz, and a dataset its own split"
            )
        return read_dataset(source, directory)
    frames = read_frames(source)
    if test is not None:
        return frames, read_frames(test)
    if test_fraction == 0.0:
        return frames, []
    is_test = split_frames(
        *([str(frame.info.get(name, "")) for frame in frames] for name in _NAMES),
        test_fraction=test_fraction,
        seed=seed,
    )
    return (
        [frame for frame, tested in zip(frames, is_test, strict=True) if not tested],
        [frame for frame, tested in zip(frames, is_test, strict=True) if tested],
    )


_NAMES = ("frame_id", "family", "subset")


def _is_id(source: str) -> bool:
    """Whether a word can be the id of a dataset: hexadecimal digits."""
    return all(letter in string.hexdigits for letter in source)


def _parameters(
    source: str,
    frames: Sequence[Atoms],
    trainer: TrainerName,
    start_from: Path | None,
    log: Console,
) -> NepParameters:
    """Model of the initial potential, of the ``nep.in`` beside the frames, or the paper's."""
    from mgflows.files import read_text
    from mgflows.nep import NepParameters
    from mgflows.nep.calculator import potential_text, validate_nep_text

    species = tuple(sorted({symbol for each in frames for symbol in each.get_chemical_symbols()}))
    settings = Path(source, "nep.in")
    if start_from is not None:
        if settings.is_file():
            log.print(f"the model is that of {start_from}, not of {settings}", markup=False)
        model = validate_nep_text(potential_text(start_from))
        # The trainer of mgflows leaves out other species, the others need all.
        return replace(model, species=species) if trainer == "own" else model
    if not settings.is_file():
        return NepParameters(species)
    try:
        model = NepParameters.from_text(read_text(settings), needs_batch=trainer == "gpumd")
    except InputError as error:
        raise InputError(f"{settings}: {error.message}", hint=error.hint) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{settings} cannot be read ({error})", hint="save it with the encoding UTF-8"
        ) from error
    if trainer != "gpumd":
        log.print(
            f"the model is that of {settings}; steps, batch, rates and weights are those of the "
            "trainer",
            markup=False,
        )
    return model


def _trainer(
    name: TrainerName,
    parameters: NepParameters,
    steps: int | None,
    batch: int | None,
    seed: int | None,
    threads: int,
) -> tuple[Trainer, NepParameters]:
    from mgflows.nep import GpumdTrainer, NeppoTrainer, NepTrainer

    given: dict[str, Any] = {"steps": steps, "batch": batch}
    given = {option: value for option, value in given.items() if value is not None}
    if name == "gpumd":
        if steps is not None:
            # nep writes its potential at these intervals only.
            interval = next(n for n in range(parameters.output_interval, 0, -1) if steps % n == 0)
            given |= {"generation": given.pop("steps"), "output_interval": interval}
        return GpumdTrainer(takes_seed=seed is not None), replace(parameters, **given)
    kind = {"own": NepTrainer, "neppo": NeppoTrainer}[name]
    return kind(**given, seed=seed or 0, n_threads=threads), parameters


def _progress(state: TrainingProgress) -> str:
    left = f", {state.seconds_left:.0f} s left" if state.seconds_left == state.seconds_left else ""
    errors = [
        f"{1e3 * error:.3g} {unit}"
        for error, unit in (
            (state.energy_test, "meV/atom"),
            (state.force_test, "meV/Å"),
            (state.virial_test, "meV/atom"),
        )
        if error == error
    ]
    tested = f"test errors {', '.join(errors)}" if errors else f"loss {state.total:.3g}"
    return f"step {state.step} of {state.n_steps}: {tested}{left}"


def _errors(
    potential: Path, frames: Sequence[Atoms], tested: Sequence[Atoms]
) -> dict[str, ParityTable]:
    from mgflows.nep import parity

    sets = {"training": frames, "test": tested}
    return {
        name: parity(potential, chosen, n_components=0) for name, chosen in sets.items() if chosen
    }


def _print_errors(tables: dict[str, ParityTable]) -> None:
    """Errors of both sets, and of the subsets of the test frames."""
    rows = [(f"{name} frames", table.overall) for name, table in tables.items()]
    if "test" in tables and len(tables["test"].by_subset) > 1:
        rows += [(f"  {subset}", errors) for subset, errors in tables["test"].by_subset.items()]
    titles = ("frames", "E meV/atom", "F meV/Å", "W meV/atom")
    make_console().print(
        make_table(
            ("root mean square errors", *titles),
            [
                (
                    name,
                    str(errors.n_frames),
                    f"{errors.energy_rmse:.3g}",
                    f"{errors.force_rmse:.3g}",
                    "" if errors.virial_rmse != errors.virial_rmse else f"{errors.virial_rmse:.3g}",
                )
                for name, errors in rows
            ],
            numbers=titles,
        )
    )


def _accept(
    potential: Path, frames: list[Atoms], tested: list[Atoms], seed: int
) -> AcceptanceResult:
    from mgflows.validation.acceptance import AcceptanceFrames, AcceptanceSettings, choose_glasses

    glasses = choose_glasses(tested or frames)
    settings = AcceptanceSettings(n_glasses=min(AcceptanceSettings.n_glasses, len(glasses)))
    return accept(potential, glasses, AcceptanceFrames(frames, tested), settings, seed=seed)
