"""Run the samples of a validation on this machine, in one or several processes."""

from __future__ import annotations

import itertools
import logging
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mgflows.checkpoints import only_process
from mgflows.errors import InputError, MgflowsError
from mgflows.geometry import check_bulk
from mgflows.md.potentials import parse_potential
from mgflows.surrogate.processes import run_in_processes
from mgflows.validation.comparison import Comparison, compare, next_melts
from mgflows.validation.measurement import measure_sample
from mgflows.validation.plan import plan_further_melts, plan_samples, protocol_of
from mgflows.validation.sample_files import SampleFiles
from mgflows.validation.suite_settings import FEWEST_ATOMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ase import Atoms

    from mgflows.md.potentials import Potential
    from mgflows.nep.calculator import Device
    from mgflows.validation.experiments import Experiment, MeasuredCurve
    from mgflows.validation.plan import SampleTask, SuiteProtocol
    from mgflows.validation.sample import Sample

    Progress = Callable[[str, int, int], None]

__all__ = [
    "KeptSamples",
    "References",
    "check_inputs",
    "compare_potentials",
    "composition_of",
    "unique_names",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class References:
    """Values that the potentials are compared with.

    Parameters
    ----------
    label_energies
        Energies in eV per atom of the glasses by the labelling method.
    experiments, measured_curves
        Measured values and curves; those of another composition are left out.
    """

    label_energies: Sequence[float | None] | None = None
    experiments: Sequence[Experiment] = ()
    measured_curves: Sequence[MeasuredCurve] = ()


@dataclass(frozen=True)
class KeptSamples:
    """A folder for finished samples.

    Parameters
    ----------
    folder
        Samples that it holds are not measured again, and the others are added to it.
    finished_only
        Average the samples in the folder and measure none.
    """

    folder: Path
    finished_only: bool = False


def compare_potentials(
    potentials: Sequence[Potential],
    glasses: Sequence[Atoms],
    *,
    suite: str | SuiteProtocol = "quick",
    seed: int = 0,
    references: References | None = None,
    n_processes: int = 1,
    samples: KeptSamples | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Measure the same samples under several potentials and average them.

    Melts whose viscosity is not converged get more runs, up to the suite's limit.

    Parameters
    ----------
    potentials
        Potentials of any kind; with more than one process each needs a specification.
    glasses
        Structures of one composition, the most important ones first.
    suite
        Name or protocol.
    seed
        Seed of all random numbers, the same for every potential.
    references
        Values to compare with.
    n_processes
        Samples measured at the same time.
    samples
        Folder for finished samples.
    progress
        Called with (sample, samples done, samples planned).

    Raises
    ------
    InputError
        For no glass, several compositions, a glass that does not fill a periodic cell, or a
        potential that lacks an element or does not evaluate the first glass; with
        ``finished_only`` if no sample is finished.
    """
    references = references or References()
    finished_only = samples is not None and samples.finished_only
    protocol = protocol_of(suite)
    composition = check_inputs(potentials, glasses, evaluate=not finished_only)
    names = unique_names(potentials)
    given = dict(zip((_text(p) for p in potentials), potentials, strict=True))
    by_text = dict(zip(given, names, strict=True))
    files = None
    if samples is not None:
        labelled = {text: (given[text], name) for text, name in by_text.items()}
        files = SampleFiles(samples.folder, glasses, protocol, labelled)
    planned, further = (
        plan(
            protocol,
            potentials,
            n_glasses=len(glasses),
            glass_atoms=len(glasses[0]),
            seed=seed,
            name_of=_text,
        )
        for plan in (plan_samples, plan_further_melts)
    )
    n_planned = dict.fromkeys(names, 0)
    done: list[tuple[str, SampleTask, Sample | str]] = []
    while planned:
        total = len(done) + len(planned)
        for task in planned:
            n_planned[by_text[task.potential]] += 1
        stored: dict[SampleTask, Sample | str] = {
            task: kept for task in planned if files and (kept := files.read(task))
        }
        open_ = [] if finished_only else [task for task in planned if task not in stored]
        measured = _measured(open_, given, glasses, protocol, n_processes, files)
        for task, sample in itertools.chain(stored.items(), measured):
            done.append((by_text[task.potential], task, sample))
            if progress:
                progress(f"{by_text[task.potential]}: {task.key}", len(done), total)
        if not done and samples is not None:
            raise InputError(
                f"no sample of this validation is finished in {samples.folder}",
                hint="measure some first, with the same potentials, glasses, suite and seed",
            )
        done.sort(key=lambda entry: (names.index(entry[0]), entry[1].index))
        result = compare(
            done,
            suite=suite if isinstance(suite, str) else "own",
            protocol=protocol,
            composition=composition,
            label_energies=references.label_energies,
            experiments=[each for each in references.experiments if each.is_of(composition)],
            measured_curves=[
                each for each in references.measured_curves if each.is_of(composition)
            ],
            names=names,
        )
        for model in result.models:
            model.n_planned = n_planned[model.name]
        planned = next_melts(result, further, protocol, lambda task: by_text[task.potential])
        further = [task for task in further if task not in planned]
        if finished_only and files:
            planned = [task for task in planned if files.path(task).exists()]
    return result


def check_inputs(
    potentials: Sequence[Potential], glasses: Sequence[Atoms], *, evaluate: bool = True
) -> dict[str, float]:
    """Check glasses and potentials before anything is measured.

    Parameters
    ----------
    potentials, glasses
        Those of the validation.
    evaluate
        Evaluate the first glass under every potential.

    Returns
    -------
    dict
        Atomic fractions of the glasses.

    Raises
    ------
    InputError
        For no glass, several compositions, a glass that has too few atoms or does not fill a
        periodic cell, a potential given twice, or one that lacks an element or does not evaluate
        the glass.
    """
    composition = composition_of(glasses)
    for number, glass in enumerate(glasses, start=1):
        name = f"glass {number} ({glass.get_chemical_formula()})"
        check_bulk(glass, name, n_least=FEWEST_ATOMS)
    if len({_text(potential) for potential in potentials}) < len(potentials):
        raise InputError("the same potential is given twice", hint="give each potential once")
    for potential in potentials:
        potential.check_species(list(composition))
        if evaluate:
            potential.check_usable(glasses[0])
    return composition


def composition_of(glasses: Sequence[Atoms]) -> dict[str, float]:
    """Atomic fractions of the glasses.

    Raises
    ------
    InputError
        For no glass, or glasses of different composition.
    """
    if not glasses:
        raise InputError("there is no glass to validate on", hint="give at least one structure")
    found = []
    for glass in glasses:
        symbols = np.array(glass.get_chemical_symbols())
        found.append({str(s): float((symbols == s).mean()) for s in dict.fromkeys(symbols)})
    for number, fractions in enumerate(found[1:], start=2):
        if any(abs(fractions.get(s, 0.0) - found[0].get(s, 0.0)) > 1e-6 for s in found[0]):
            raise InputError(
                f"glass {number} is {glasses[number - 1].get_chemical_formula()} and glass 1 "
                f"{glasses[0].get_chemical_formula()}; a validation is of one composition",
                hint="validate each composition on its own",
            )
    return found[0]


def unique_names(potentials: Sequence[Potential]) -> list[str]:
    """Names of the potentials, numbered where two are equal."""
    names: list[str] = []
    for potential in potentials:
        name, number = potential.name, 2
        while name in names:
            name, number = f"{potential.name} ({number})", number + 1
        names.append(name)
    return names


def _text(potential: Potential) -> str:
    """The specification, or for an object a name that is only valid in this process."""
    try:
        return potential.specification
    except InputError:
        return f"object {id(potential)}"


def _measured(
    tasks: Sequence[SampleTask],
    potentials: dict[str, Potential],
    glasses: Sequence[Atoms],
    protocol: SuiteProtocol,
    n_processes: int,
    files: SampleFiles | None,
) -> Iterator[tuple[SampleTask, Sample | str]]:
    """The samples as they finish; those of a folder are stored, by one process at a time."""
    with ExitStack() as stack:
        checkpoints = {}
        if files is not None and tasks:
            files.folder.mkdir(parents=True, exist_ok=True)
            hint = "average its finished samples with --finished, or choose another folder"
            stack.enter_context(only_process(files.folder, "measuring in", hint=hint))
            checkpoints = {task: files.checkpoint(task) for task in tasks}
        finished: Iterable[tuple[SampleTask, Sample | str]]
        if n_processes == 1:
            finished = _one_by_one(tasks, potentials, glasses, protocol, checkpoints)
        else:
            finished = _in_processes(tasks, potentials, glasses, protocol, n_processes, checkpoints)
        for task, sample in finished:
            if isinstance(sample, str):
                logger.warning("%s failed: %s", task.key, sample)
            elif files is not None:
                files.write(task, sample)
            yield task, sample


def _one_by_one(
    tasks: Sequence[SampleTask],
    potentials: dict[str, Potential],
    glasses: Sequence[Atoms],
    protocol: SuiteProtocol,
    checkpoints: Mapping[SampleTask, Path],
) -> Iterator[tuple[SampleTask, Sample]]:
    # Sample by sample over the potentials: what is finished early can be compared.
    kinds = list(dict.fromkeys(task.kind for task in tasks))
    for task in sorted(tasks, key=lambda task: (kinds.index(task.kind), task.index)):
        potential, checkpoint = potentials[task.potential], checkpoints.get(task)
        yield task, measure_sample(task, potential, glasses, protocol, checkpoint=checkpoint)


def _in_processes(
    tasks: Sequence[SampleTask],
    potentials: dict[str, Potential],
    glasses: Sequence[Atoms],
    protocol: SuiteProtocol,
    n_processes: int,
    checkpoints: Mapping[SampleTask, Path],
) -> Iterator[tuple[SampleTask, Sample | str]]:
    # The longest first, so that the processes finish at about the same time.
    ordered = sorted(tasks, key=lambda task: -task.seconds)
    devices = {text: potential.device for text, potential in potentials.items()}
    measure = partial(
        _in_process, [_plain(glass) for glass in glasses], protocol, devices, checkpoints
    )
    for index, result in run_in_processes(measure, ordered, n_processes):
        yield ordered[index], result


def _in_process(
    glasses: Sequence[Atoms],
    protocol: SuiteProtocol,
    devices: Mapping[str, Device],
    checkpoints: Mapping[SampleTask, Path],
    task: SampleTask,
    progress: Callable[[int], None],  # noqa: ARG001 - a sample has no steps to count
) -> Sample | str:
    """The sample, or the reason why it failed."""
    try:
        potential = parse_potential(task.potential, devices[task.potential])
        checkpoint = checkpoints.get(task)
        return measure_sample(task, potential, glasses, protocol, checkpoint=checkpoint)
    except MgflowsError as error:
        return str(error)


def _plain(atoms: Atoms) -> Atoms:
    copy = atoms.copy()
    copy.calc = None
    return copy
