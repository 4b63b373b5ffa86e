"""Training a NEP in a directory, with GPUMD's evolution strategy or with neppo's gradient descent.

All trainers share one interface, the directory: ``prepare`` writes ``nep.in``, ``train.xyz`` and
``test.xyz``, ``train`` runs the trainer there as a separate process and leaves ``nep.txt``,
``loss.out`` and ``training.log``. The same directory can be carried to another machine and run
there by hand.

Which file is the potential: ``nep.txt`` as the trainer leaves it after the last step. neppo also
writes ``nep_best.txt``, the report with the lowest *test* loss; it is left where it is, because a
potential chosen by its test error has no unbiased test error any more, and at the end of the
learning rate schedule the two hardly differ.

Interruptions: ``train`` in a directory with an unfinished training continues it from the last
report; in one with a finished training it returns the result at once. ``prepare`` with the same
frames and settings leaves a directory as it is; with others it removes the old results first.
"""

from __future__ import annotations

import importlib.metadata
import logging
import math
import os
import re
import shlex
import shutil
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mgflows import subprocesses
from mgflows.errors import InputError, MissingDependencyError, ServiceError
from mgflows.files import read_text, write_text
from mgflows.nep.calculator import potential_text, validate_nep_text
from mgflows.nep.frames import find_duplicates, frames_text
from mgflows.nep.parameters import Dialect, NepParameters
from mgflows.nep.results import LossTable, read_loss

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms

__all__ = ["GpumdTrainer", "NeppoTrainer", "Trainer", "TrainingProgress", "TrainingResult"]

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
_INITIAL = "nep_initial.txt"
_WHOLE = "nep.in.whole"
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
        What was requested, as in ``nep.in``.
    loss
        Loss curve of the whole training, over all interruptions.
    directory
        Where it ran.
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
    """What GPUMD and neppo have in common.

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
    ) -> Path:
        """Write ``nep.in``, ``train.xyz`` and ``test.xyz``.

        Parameters
        ----------
        directory
            Made if absent. Results of a training on other frames or with other settings are removed
            from it.
        parameters
            The model; see the trainer for what it takes from there.
        train, test
            Labelled structures (see :mod:`mgflows.nep.frames`); without test frames there are no
            test errors.
        seed
            Takes the place of the trainer's own seed.
        initial_potential
            Path or text of a ``nep.txt`` of the same architecture to start from.

        Returns
        -------
        directory

        Raises
        ------
        InputError
            For frames that cannot be trained on, a frame in both sets, or a potential of another
            architecture; nothing is written then.
        """
        parameters = self._complete(parameters, seed)
        _check_frames(parameters, train, test)
        inputs = {"train.xyz": frames_text(train, needs_stress=self.needs_stress)}
        if test:
            inputs["test.xyz"] = frames_text(test, needs_stress=self.needs_stress)
        if initial_potential is not None:
            inputs[_INITIAL] = self._check_initial(parameters, potential_text(initial_potential))
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        if not _can_continue(directory, parameters, inputs):
            for pattern in (*_OUTPUTS, "train.xyz", "test.xyz", _INITIAL):
                for path in directory.glob(pattern):
                    path.unlink()
        for name, text in (*inputs.items(), ("nep.in", parameters.to_text(self._dialect))):
            write_text(directory / name, text)
        (directory / _WHOLE).unlink(missing_ok=True)
        return directory

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
            If the directory lacks an input file.
        MissingDependencyError
            If neppo is not installed.
        ServiceError
            If the executable is missing, or if the trainer fails: with the last lines of
            ``training.log``.
        """
        directory = Path(directory)
        for name in ("nep.in", "train.xyz"):
            if not (directory / name).is_file():
                raise InputError(f"{directory} has no {name}; call prepare first")
        whole = directory / _WHOLE
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
        """The parameters with what this trainer decides."""

    @abstractmethod
    def _check_initial(self, parameters: NepParameters, text: str) -> str:
        """The potential to start from, if this trainer can."""

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
        """Whether the directory holds what this trainer needs to continue."""

    @abstractmethod
    def _command(self, directory: Path, first_step: int) -> list[str]:
        """What to run in the directory."""

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
            raise ServiceError(
                f"the training in {directory} failed with exit status {exit_code}; training.log "
                f"ends with: {end or '(nothing)'}"
            )
        report()
        return cpu_seconds


@dataclass(frozen=True, kw_only=True)
class NeppoTrainer(Trainer):
    """neppo: AdamW on one CPU core or on a CUDA device.

    It reaches in minutes what takes the evolution strategy hours.

    An interrupted training resumes from the last report with the learning rate that was due;
    AdamW's moments start from zero. A warm start keeps the scaling of the descriptor of the initial
    potential.

    Parameters
    ----------
    steps, batch, learning_rate
        Steps of AdamW, frames per step, and the ends of the cosine schedule of the learning rate.
        They replace ``generation``, ``batch`` and ``learning_rate`` of the parameters, which mean
        something else for GPUMD. The defaults suit a CPU core, where small batches learn more per
        second (docs/how_to/training.md); on a GPU batches of 32 and more are faster.
    seed
        Seed of the initial parameters and the batches. The same seed gives the same potential on
        the same machine; on a GPU it is only known to give the same errors within a few percent.
    reports
        Lines of ``loss.out``. Each costs an evaluation of all frames, about as much as a third of
        an epoch of training.
    device
        As torch calls it: ``cpu``, ``cuda``, ``cuda:1``.
    n_threads
        Threads of torch on the CPU. More than one is many times *slower* when the cores are shared.
    """

    starts_from_potential: ClassVar[bool] = True

    steps: int = 4000
    batch: int = 2
    learning_rate: tuple[float, float] = (2e-2, 1e-4)
    seed: int = 42
    reports: int = 10
    device: str = "cpu"
    n_threads: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "reports", "n_threads"):
            value = getattr(self, name)
            if value < 1:
                raise InputError(f"{name} is {value} but must be at least 1")

    @property
    def _dialect(self) -> Dialect:
        return "neppo"

    def _complete(self, parameters: NepParameters, seed: int | None) -> NepParameters:
        if parameters.force_delta:
            raise InputError(
                f"force_delta is {parameters.force_delta:g}, but neppo does not have this weight",
                hint="set it to 0, or train with NepTrainer or GpumdTrainer",
            )
        return replace(
            parameters,
            generation=self.steps,
            batch=self.batch,
            learning_rate=(self.learning_rate[0], self.learning_rate[1]),
            seed=self.seed if seed is None else seed,
            output_interval=math.ceil(self.steps / self.reports),
        )

    def _check_initial(self, parameters: NepParameters, text: str) -> str:
        if not parameters.same_model(validate_nep_text(text, parameters.species)):
            raise InputError(
                "the initial potential has another architecture or another order of the species "
                "than the parameters; use its own settings, or train without an initial potential"
            )
        return text

    def check_installation(self) -> None:
        """Look for neppo and torch."""
        for module in ("neppo", "torch"):
            if find_spec(module) is None:
                raise MissingDependencyError(
                    f"{module} is needed for training a potential but is not installed",
                    hint="install it with: pip install 'mgflows[train]'",
                )

    def _name(self, directory: Path) -> str:  # noqa: ARG002
        return f"neppo {importlib.metadata.version('neppo')}"

    def _is_restartable(self, directory: Path, parameters: NepParameters) -> bool:
        try:
            validate_nep_text(potential_text(directory / "nep.txt"), parameters.species)
        except InputError as error:
            logger.warning("the interrupted training in %s starts over: %s", directory, error)
            return False
        return True

    def _command(self, directory: Path, first_step: int) -> list[str]:
        command = [
            sys.executable,
            "-m",
            "mgflows.nep.neppo_runner",
            "--device",
            self.device,
            "--first-step",
            str(first_step),
        ]
        if first_step:
            command += ["--initial-potential", "nep.txt"]
        elif (directory / _INITIAL).exists():
            command += ["--initial-potential", _INITIAL]
        return command

    def _environment(self) -> dict[str, str]:
        return {"OMP_NUM_THREADS": str(self.n_threads), "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True, kw_only=True)
class GpumdTrainer(Trainer):
    """GPUMD's ``nep``: the separable natural evolution strategy of the paper, on GPUs.

    The executable is the user's own.

    An interrupted training resumes from ``nep.restart`` for the generations that are left. It
    cannot start from a potential: the strategy needs the variances too, which only ``nep.restart``
    holds.

    Parameters
    ----------
    command
        The executable with its arguments, such as ``srun -n 1 /opt/gpumd/nep``. None: ``nep``, and
        in a job ``nep_command`` of its worker's settings.
    takes_seed
        Whether this ``nep`` has the keyword ``seed`` (since late 2026); others stop at it. The
        summation order on a GPU varies all the same.
    """

    starts_from_potential: ClassVar[bool] = False

    command: str | None = None
    takes_seed: bool = False

    @property
    def _dialect(self) -> Dialect:
        return "gpumd"

    def _complete(self, parameters: NepParameters, seed: int | None) -> NepParameters:
        if parameters.generation % parameters.output_interval:
            raise InputError(
                f"generation is {parameters.generation} but must be a multiple of output_interval, "
                f"{parameters.output_interval}: GPUMD's nep writes its potential at these "
                "intervals only, so that the last generations would be lost"
            )
        return replace(parameters, seed=seed if self.takes_seed else None)

    @property
    def _words(self) -> list[str]:
        return shlex.split("nep" if self.command is None else self.command)

    def _check_initial(self, parameters: NepParameters, text: str) -> str:  # noqa: ARG002
        raise InputError(
            "GPUMD's nep cannot start from a potential; leave out the initial potential, or use "
            "the neppo trainer"
        )

    def check_installation(self) -> None:
        """Look for the executable."""
        words = self._words
        if not words or shutil.which(words[0]) is None:
            raise ServiceError(
                f"GPUMD's executable {shlex.join(words)!r} is not found",
                hint="give its full path (nep_command in mgflows.yaml), or use the neppo trainer, "
                "which needs no GPU",
            )

    def _name(self, directory: Path) -> str:
        log = directory / "training.log"
        match = (
            re.search(r"version\s+(\d[\w.]*)", log.read_text(encoding="utf-8", errors="replace"))
            if log.exists()
            else None
        )
        return f"gpumd {match.group(1) if match else '(version not stated)'}"

    def _is_restartable(self, directory: Path, parameters: NepParameters) -> bool:
        path = directory / "nep.restart"
        if path.exists():
            text = path.read_text(encoding="utf-8")
            # Mean and deviation of every parameter, up to the end of the last line.
            if text.endswith("\n") and len(text.split()) == 2 * parameters.number_of_parameters:
                return True
        logger.warning(
            "the interrupted training in %s starts over: nep.restart is missing or incomplete",
            directory,
        )
        path.unlink(missing_ok=True)
        return False

    def _command(self, directory: Path, first_step: int) -> list[str]:  # noqa: ARG002
        words = self._words
        return [
            str(Path(found).resolve()) if (found := shutil.which(words[0])) else words[0],
            *words[1:],
        ]

    def _environment(self) -> dict[str, str]:
        return {}

    def _run(
        self,
        directory: Path,
        parameters: NepParameters,
        first_step: int,
        progress: Callable[[TrainingProgress], None] | None,
    ) -> float:
        if first_step == 0:
            return super()._run(directory, parameters, first_step, progress)
        # nep counts from zero after a restart, so that only the rest is requested; the
        # whole is kept in case this run is killed, too.
        (directory / _WHOLE).write_text(parameters.to_text("gpumd"), encoding="utf-8")
        (directory / "nep.in").write_text(
            replace(parameters, generation=parameters.generation - first_step).to_text("gpumd"),
            encoding="utf-8",
        )
        try:
            return super()._run(directory, parameters, first_step, progress)
        finally:
            os.replace(directory / _WHOLE, directory / "nep.in")


def _check_frames(parameters: NepParameters, train: Sequence[Atoms], test: Sequence[Atoms]) -> None:
    for index, frame in enumerate([*train, *test]):
        unknown = sorted(set(frame.get_chemical_symbols()) - set(parameters.species))
        if unknown:
            raise InputError(
                f"frame {index} contains {unknown[0]}, which is not among the species "
                f"{', '.join(parameters.species)} of the potential"
            )
    shared = [
        (first, second)
        for first, second in find_duplicates([*train, *test])
        if first < len(train) <= second
    ]
    if shared:
        first, second = shared[0]
        raise InputError(
            f"training frame {first} and test frame {second - len(train)} are the same structure "
            f"({len(shared)} shared frames); a test on training frames is meaningless",
            hint="remove one of the two",
        )


def _can_continue(directory: Path, parameters: NepParameters, inputs: dict[str, str]) -> bool:
    """Whether a directory holds a training on the same frames, settings and start."""
    present = {name for name in ("train.xyz", "test.xyz", _INITIAL) if (directory / name).exists()}
    settings = directory / (_WHOLE if (directory / _WHOLE).exists() else "nep.in")
    if present != set(inputs) or not settings.exists():
        return False
    if any((directory / name).read_text(encoding="utf-8") != text for name, text in inputs.items()):
        return False
    try:
        return NepParameters.from_text(settings.read_text(encoding="utf-8")).can_become(parameters)
    except InputError:
        return False


def _report(
    directory: Path,
    parameters: NepParameters,
    steps: tuple[int, int],
    start: float,
    progress: Callable[[TrainingProgress], None] | None,
) -> int:
    """Report the lines of ``loss.out`` after the second of ``steps``; return the last one.

    The first of ``steps`` is where this run began.
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
