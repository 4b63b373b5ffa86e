"""Training a NEP in a directory: the common part of all trainers.

All trainers share one interface, the directory: ``prepare`` writes ``nep.in``, ``train.xyz`` and
``test.xyz``, ``train`` runs the trainer there as a separate process and leaves ``nep.txt``,
``loss.out`` and ``training.log``. The same directory can be carried to another machine and run
there by hand.

The potential is ``nep.txt`` after the last step. neppo also writes ``nep_best.txt``, that of the
report with the lowest *test* loss. It is not used, because a potential chosen by its test error no
longer has an unbiased test error, and at the end of the learning rate schedule the two hardly
differ.

After an interruption, ``train`` in a directory with an unfinished training continues from the last
report; in a directory with a finished training it returns the result at once. ``prepare`` with the
same frames and settings does not change a directory; with others it removes the old results first.
"""

from __future__ import annotations

import errno
import filecmp
import logging
import math
import os
import shutil
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mgflows import subprocesses
from mgflows.checkpoints import LOCK, only_process
from mgflows.errors import InputError, ServiceError
from mgflows.files import read_text, write_text
from mgflows.nep.calculator import potential_text, validate_nep_text
from mgflows.nep.frames import find_duplicates, write_frames
from mgflows.nep.label_units import check_units
from mgflows.nep.parameters import Dialect, NepParameters
from mgflows.nep.results import LossTable, read_loss

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from ase import Atoms

__all__ = ["INITIAL_FILE", "WHOLE_FILE", "Trainer", "TrainingProgress", "TrainingResult"]

logger = logging.getLogger(__name__)

_OUTPUTS = (
    "nep.txt",
    "nep_best.txt",
    "nep_gen*.txt",
    "nep.restart",
    "loss.out",
    "*_train.out",
    "*_test.out",
    "training.log",
    "nep.in.whole",
)
_RESULTS = ("nep.txt", "nep.restart", "checkpoint.npz")
INITIAL_FILE = "nep_initial.txt"
"""Potential that a training starts from."""
WHOLE_FILE = "nep.in.whole"
"""The input of the whole training, while GPUMD's ``nep`` runs the rest of it."""
_SMALLEST_FREE_BYTES = 1 << 16
_LOG_LINES = 15


@dataclass(frozen=True)
class TrainingProgress:
    """A report of the running trainer.

    Attributes
    ----------
    step, n_steps
        Steps (neppo) or generations (GPUMD) done and requested, including those before an
        interruption.
    seconds
        Wall time of this run so far.
    total
        Loss.
    energy_test, force_test, virial_test
        RMSE in eV/atom, eV/A and eV/atom as the trainer reports them; NaN without test frames.
    first_step
        Steps done before this run.
    """

    step: int
    n_steps: int
    seconds: float
    total: float
    energy_test: float
    force_test: float
    virial_test: float
    first_step: int = 0

    @property
    def seconds_left(self) -> float:
        """Estimated seconds left, from the mean speed of this run; NaN before its first step."""
        done = self.step - self.first_step
        return self.seconds / done * (self.n_steps - self.step) if done > 0 else math.nan


@dataclass(frozen=True)
class TrainingResult:
    """A finished training.

    Attributes
    ----------
    nep_txt
        Contents of ``nep.txt``.
    parameters
        The requested parameters, as in ``nep.in``.
    loss
        Loss curve of the whole training, over all interruptions.
    directory
        Directory of the training.
    trainer_version
        Name and version, such as ``neppo 1.0``.
    first_step
        Steps that had been done before this run; 0 for a training without interruption.
    wall_seconds, cpu_seconds
        Cost of this run.
    """

    nep_txt: str
    parameters: NepParameters
    loss: LossTable
    directory: Path
    trainer_version: str
    first_step: int
    wall_seconds: float
    cpu_seconds: float


@dataclass(frozen=True, kw_only=True)
class Trainer(ABC):
    """Common part of the trainers of GPUMD and neppo.

    Attributes
    ----------
    starts_from_potential
        Whether ``prepare`` takes an initial potential.
    needs_stress
        Whether every frame must have a stress.
    """

    starts_from_potential: ClassVar[bool]
    needs_stress: ClassVar[bool] = True

    def prepare(
        self,
        directory: str | Path,
        parameters: NepParameters,
        train: Sequence[Atoms],
        test: Sequence[Atoms] = (),
        *,
        seed: int | None = None,
        initial_potential: str | Path | None = None,
        replace_results: bool = True,
    ) -> Path:
        """Write ``nep.in``, ``train.xyz`` and ``test.xyz``.

        Parameters
        ----------
        directory
            Made if absent.
        parameters
            The model; each trainer documents the fields that it uses.
        train, test
            Labelled structures (see :mod:`mgflows.nep.frames`); without test frames there are no
            test errors.
        seed
            Replaces the trainer's own seed.
        initial_potential
            Path or text of a ``nep.txt`` of the same architecture to start from.
        replace_results
            Whether results of a training on other frames or with other settings are removed from
            the directory; if not, they are refused.

        Returns
        -------
        directory

        Raises
        ------
        InputError
            For frames that cannot be trained on, a frame in both sets, a potential of another
            architecture, a directory in which another process trains, or one with files that are
            not to be replaced; nothing is written then.
        ServiceError
            If the directory cannot be written.
        """
        parameters = self._complete(parameters, seed)
        _check_frames(parameters, train, test)
        initial = (
            None
            if initial_potential is None
            else self._check_initial(parameters, potential_text(initial_potential))
        )
        directory = Path(directory)
        is_new = not directory.exists()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with _alone_in(directory):
                data = train, test, initial
                self._write_inputs(directory, parameters, data, replace_results)
        except BaseException as error:
            if is_new and directory.is_dir():
                (directory / LOCK).unlink(missing_ok=True)
                if not any(directory.iterdir()):
                    directory.rmdir()
            if isinstance(error, OSError):
                raise ServiceError(
                    f"the training cannot be prepared in {directory}: {error.strerror or error}",
                    hint="free some space, or give a directory that you may write to",
                ) from error
            raise
        return directory

    def _write_inputs(
        self,
        directory: Path,
        parameters: NepParameters,
        data: tuple[Sequence[Atoms], Sequence[Atoms], str | None],
        replace_results: bool,
    ) -> None:
        train, test, initial = data
        # Frame by frame, so that the text of many frames is never in memory.
        inputs = {name: directory / f".{name}.new" for name in ("train.xyz", "test.xyz")}
        try:
            write_frames(inputs["train.xyz"], train, needs_stress=self.needs_stress)
            if test:
                write_frames(inputs["test.xyz"], test, needs_stress=self.needs_stress)
            else:
                del inputs["test.xyz"]
            if initial is not None:
                inputs[INITIAL_FILE] = directory / f".{INITIAL_FILE}.new"
                write_text(inputs[INITIAL_FILE], initial)
            _refuse_files_of_others(directory, inputs)
            if not _can_continue(directory, parameters, inputs):
                if not replace_results:
                    keep_results(directory, inputs)
                for pattern in (*_OUTPUTS, "train.xyz", "test.xyz", INITIAL_FILE):
                    for path in directory.glob(pattern):
                        path.unlink()
            for name, path in inputs.items():
                os.replace(path, directory / name)
        except BaseException:
            for path in inputs.values():
                path.unlink(missing_ok=True)
            raise
        write_text(directory / "nep.in", parameters.to_text(self._dialect))
        (directory / WHOLE_FILE).unlink(missing_ok=True)

    def train(
        self, directory: str | Path, progress: Callable[[TrainingProgress], None] | None = None
    ) -> TrainingResult:
        """Run the trainer in a prepared directory and wait for it.

        Parameters
        ----------
        directory
            As written by :meth:`prepare`, or by hand.
        progress
            Called with each line that the trainer adds to ``loss.out``.

        Raises
        ------
        InputError
            If the directory lacks an input file, or another process trains in it.
        MissingDependencyError
            If neppo is not installed.
        ServiceError
            If the executable is missing, or if the trainer fails: with the last lines of
            ``training.log``.
        """
        directory = Path(directory)
        for name in ("nep.in", "train.xyz"):
            if not (directory / name).is_file():
                raise InputError(f"{directory} has no {name}", hint="call prepare first")
        with _alone_in(directory):
            return self._train(directory, progress)

    def _train(
        self, directory: Path, progress: Callable[[TrainingProgress], None] | None
    ) -> TrainingResult:
        whole = directory / WHOLE_FILE
        parameters = NepParameters.from_text(
            read_text(whole if whole.exists() else directory / "nep.in")
        )
        first_step = self._steps_done(directory, parameters)
        start = time.monotonic()
        cpu_seconds = 0.0
        if first_step < parameters.generation:
            self.check_installation()
            if first_step:
                logger.info(
                    "continuing the training in %s after step %d of %d",
                    directory,
                    first_step,
                    parameters.generation,
                )
            cpu_seconds = self._run(directory, parameters, first_step, progress)
        return TrainingResult(
            nep_txt=_trained_potential(directory, parameters),
            parameters=parameters,
            loss=read_loss(directory / "loss.out"),
            directory=directory,
            trainer_version=self._name(directory),
            first_step=first_step,
            wall_seconds=time.monotonic() - start,
            cpu_seconds=cpu_seconds,
        )

    @property
    @abstractmethod
    def _dialect(self) -> Dialect: ...

    @abstractmethod
    def _complete(self, parameters: NepParameters, seed: int | None) -> NepParameters:
        """The parameters, with those that this trainer sets."""

    @abstractmethod
    def _check_initial(self, parameters: NepParameters, text: str) -> str:
        """The potential to start from, if this trainer supports it."""

    @abstractmethod
    def check_installation(self) -> None:
        """Raise if the trainer cannot be run.

        Raises
        ------
        MissingDependencyError
            If neppo or torch is not installed.
        ServiceError
            If GPUMD's executable is not found.
        """

    @abstractmethod
    def _name(self, directory: Path) -> str:
        """Name and version."""

    @abstractmethod
    def _is_restartable(self, directory: Path, parameters: NepParameters) -> bool:
        """Whether the directory contains the files that this trainer needs to continue."""

    @abstractmethod
    def _command(self, directory: Path, first_step: int) -> list[str]:
        """Command to run in the directory."""

    @abstractmethod
    def _environment(self) -> dict[str, str]:
        """Variables for the trainer, besides those of this process."""

    def _steps_done(self, directory: Path, parameters: NepParameters) -> int:
        path = directory / "loss.out"
        if not path.exists():
            return 0
        # The trainers append: a torn last line would be joined to the next header.
        text = path.read_text(encoding="utf-8")
        path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")
        steps = read_loss(path).step
        if len(steps) and self._is_restartable(directory, parameters):
            return int(steps[-1])
        path.unlink()
        return 0

    def _run(
        self,
        directory: Path,
        parameters: NepParameters,
        first_step: int,
        progress: Callable[[TrainingProgress], None] | None,
    ) -> float:
        """Run the trainer to its end, reporting its progress, and return its CPU seconds."""
        start = time.monotonic()
        reported = first_step

        def report() -> None:
            nonlocal reported
            reported = _report(directory, parameters, (first_step, reported), start, progress)

        log = directory / "training.log"
        exit_code, cpu_seconds = subprocesses.run(
            self._command(directory, first_step), directory, log, self._environment(), report
        )
        if exit_code != 0:
            end = " / ".join(
                log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_LOG_LINES:]
            )
            if not end and shutil.disk_usage(directory).free < _SMALLEST_FREE_BYTES:
                # A full disk may also have prevented the last lines of the log.
                raise ServiceError(
                    f"the training in {directory} failed: {os.strerror(errno.ENOSPC)}",
                    hint="free some space and train again; the training resumes",
                )
            raise ServiceError(
                f"the training in {directory} failed with exit status {exit_code}; training.log "
                f"ends with: {end or '(nothing)'}"
            )
        report()
        return cpu_seconds


def _alone_in(directory: Path) -> AbstractContextManager[None]:
    """Refuse a second training in a directory: each would replace the files of the other."""
    return only_process(
        directory, "training in", hint="wait until it ends, or train in another directory"
    )


def _check_frames(parameters: NepParameters, train: Sequence[Atoms], test: Sequence[Atoms]) -> None:
    for index, frame in enumerate(chain(train, test)):
        unknown = sorted(set(frame.get_chemical_symbols()) - set(parameters.species))
        if unknown:
            name = f"frame {index}" if index < len(train) else f"test frame {index - len(train)}"
            raise InputError(
                f"{name} contains {unknown[0]}, which is not among the species "
                f"{', '.join(parameters.species)} of the potential",
                hint="add it to the species, or leave the frame out",
            )
    shared = [
        (first, second)
        for first, second in find_duplicates(chain(train, test))
        if first < len(train) <= second
    ]
    if shared:
        first, second = shared[0]
        raise InputError(
            f"training frame {first} and test frame {second - len(train)} are the same structure "
            f"({len(shared)} shared frames); a test on training frames is meaningless",
            hint="remove one of the two",
        )
    for frames in (train, test):
        check_units(frames)


def _refuse_files_of_others(directory: Path, inputs: dict[str, Path]) -> None:
    """Refuse to replace files that no training of mgflows wrote."""
    if _is_own(directory / "nep.in"):
        return
    for name in ("nep.in", "nep.txt", "train.xyz", "test.xyz", INITIAL_FILE):
        path = directory / name
        # An interrupted preparation leaves the same frames.
        if path.exists() and not (name in inputs and filecmp.cmp(path, inputs[name], False)):
            raise InputError(
                f"{directory} has a {name} that mgflows did not write, and it would be replaced",
                hint="prepare the training in another directory",
            )


def _is_own(settings: Path) -> bool:
    """Whether mgflows wrote a ``nep.in``: one written by hand differs in order or spaces."""
    if not settings.exists():
        return False
    try:
        text = read_text(settings)
        parameters = NepParameters.from_text(text)
    except (InputError, UnicodeDecodeError):
        return False
    return text in {parameters.to_text("gpumd"), parameters.to_text("neppo")}


def keep_results(directory: Path, inputs: Mapping[str, Path] | None = None) -> None:
    """Refuse to remove a potential, the state or the frames of another training.

    Parameters
    ----------
    directory
        The directory of that training.
    inputs
        New files of frames by name; the same frames are not refused.
    """
    for name in (*_RESULTS, *(inputs or {})):
        path = directory / name
        if path.exists() and not (
            inputs and name in inputs and filecmp.cmp(path, inputs[name], False)
        ):
            raise InputError(
                f"{directory} holds a training on other frames or with other settings ({name})",
                hint="train in another directory, or allow that one to be replaced (--force)",
            )


def _can_continue(directory: Path, parameters: NepParameters, inputs: dict[str, Path]) -> bool:
    """Whether a directory contains a training with the same frames, settings and start."""
    present = {
        name for name in ("train.xyz", "test.xyz", INITIAL_FILE) if (directory / name).exists()
    }
    settings = directory / (WHOLE_FILE if (directory / WHOLE_FILE).exists() else "nep.in")
    if present != set(inputs) or not settings.exists():
        return False
    if not all(filecmp.cmp(path, directory / name, False) for name, path in inputs.items()):
        return False
    try:
        return NepParameters.from_text(read_text(settings)).can_become(parameters)
    except (InputError, UnicodeDecodeError):
        return False


def _report(
    directory: Path,
    parameters: NepParameters,
    steps: tuple[int, int],
    start: float,
    progress: Callable[[TrainingProgress], None] | None,
) -> int:
    """Report the lines of ``loss.out`` after the second of ``steps``; return the last one.

    The first of ``steps`` is the start of this run.
    """
    first_step, reported = steps
    path = directory / "loss.out"
    if progress is None or not path.exists():
        return reported
    loss = read_loss(path)
    for index, step in enumerate(loss.step):
        if step > reported:
            progress(
                TrainingProgress(
                    step=int(step),
                    n_steps=parameters.generation,
                    seconds=time.monotonic() - start,
                    total=float(loss.total[index]),
                    energy_test=float(loss.energy_test[index]),
                    force_test=float(loss.force_test[index]),
                    virial_test=float(loss.virial_test[index]),
                    first_step=first_step,
                )
            )
            reported = int(step)
    return reported


def _trained_potential(directory: Path, parameters: NepParameters) -> str:
    try:
        text = potential_text(directory / "nep.txt")
        validate_nep_text(text, parameters.species)
    except InputError as error:
        raise ServiceError(
            f"the training in {directory} ended without a usable potential: {error}"
        ) from error
    return text
