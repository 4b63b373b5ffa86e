"""The trainer of mgflows with the directory interface that all trainers share."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

import mgflows
from mgflows.errors import InputError, MgflowsError
from mgflows.files import read_text
from mgflows.nep.base import keep_results
from mgflows.nep.calculator import potential_text, validate_nep_text
from mgflows.nep.results import read_loss
from mgflows.nep.trainers import Trainer, TrainingProgress, TrainingResult
from mgflows.nep.training.checkpoint import read_checkpoint
from mgflows.nep.training.data import FrameSet
from mgflows.nep.training.files import CHECKPOINT, SETTINGS, inputs_digest, is_continued
from mgflows.nep.training.loss import LossWeights
from mgflows.nep.training.model import NepModel
from mgflows.nep.training.settings import TrainingSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms

    from mgflows.nep.parameters import Dialect, NepParameters

__all__ = ["NepTrainer", "TrainingPausedError"]

logger = logging.getLogger(__name__)

_LARGEST_RATE = 1.0


class TrainingPausedError(MgflowsError):
    """A training stopped at its wall time; the same directory continues it.

    Attributes
    ----------
    step, n_steps
        Steps done and requested.
    directory
        Directory of the training.
    """

    def __init__(self, directory: Path, step: int, n_steps: int) -> None:
        super().__init__(
            f"the training in {directory} stopped at its wall time after step {step} of {n_steps}",
            hint="train in the same directory again to continue it",
        )
        self.directory = directory
        self.step = step
        self.n_steps = n_steps


@dataclass(frozen=True, kw_only=True)
class NepTrainer(Trainer):
    """The trainer of mgflows: exact gradients in numba and SOAP, on CPU cores.

    It needs neither torch nor a compiler. docs/how_to/training.md lists its errors and times. On
    the same machine, the same seed gives a bitwise identical potential for any number of threads
    and interruptions, unless the functions are compiled again in between.

    Parameters
    ----------
    steps, batch, learning_rate
        Steps of the optimiser, frames per step, and the first and last learning rate of the cosine
        schedule. They replace ``generation``, ``batch`` and ``learning_rate`` of the parameters.
    loss_weights
        Weights of energy, force and virial in the loss of :mod:`mgflows.nep.training.loss`. They
        replace ``lambda_e``, ``lambda_f`` and ``lambda_v`` of the parameters, whose defaults are
        those of the paper's evolution strategy.
    seed
        Seed of the initial parameters and the batches.
    reports
        Lines of ``loss.out``. Each costs an evaluation of all test frames.
    n_threads
        Threads. Batches of 8 and more keep many cores busy; more threads than free cores are slow.
    wall_time
        Seconds after which the training saves itself and stops with :class:`TrainingPausedError`.
    settings
        Optimiser, weights of subsets, memory, checkpoints.
    """

    starts_from_potential: ClassVar[bool] = True
    needs_stress: ClassVar[bool] = False

    steps: int = 7000
    batch: int = 2
    learning_rate: tuple[float, float] = (2e-2, 1e-4)
    loss_weights: LossWeights = field(default_factory=LossWeights)
    seed: int = 42
    reports: int = 10
    n_threads: int = 1
    wall_time: float | None = None
    settings: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        # A trainer that was stored comes back with plain values in place of its parts.
        if isinstance(self.loss_weights, dict):
            object.__setattr__(self, "loss_weights", LossWeights(**_plain(self.loss_weights)))
        if isinstance(self.settings, dict):
            object.__setattr__(self, "settings", TrainingSettings(**_plain(self.settings)))
        if np.shape(self.learning_rate) != (2,):
            raise InputError(
                f"learning_rate is {self.learning_rate!r} but must be two numbers: the first and "
                "the last rate",
                hint="give, for example, learning_rate=(2e-2, 1e-4)",
            )
        object.__setattr__(self, "learning_rate", tuple(self.learning_rate))
        for rate in self.learning_rate:
            if not 0.0 < rate <= _LARGEST_RATE:
                raise InputError(
                    f"a learning rate is {rate:g} but must be positive and at most "
                    f"{_LARGEST_RATE:g}",
                    hint="give a smaller one: a step changes a parameter by about this much",
                )
        for name in ("steps", "batch", "reports", "n_threads"):
            value = getattr(self, name)
            if value < 1:
                raise InputError(f"{name} is {value} but must be at least 1")
        if self.wall_time is not None and not self.wall_time > 0.0:
            raise InputError(f"wall_time is {self.wall_time:g} s but must be positive or None")

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
        """Check the frames and write ``nep.in``, ``training.json``, ``train.xyz`` and ``test.xyz``.

        See :meth:`mgflows.nep.trainers.Trainer.prepare`. The initial potential may have further
        species, which are left out.

        Raises
        ------
        InputError
            For frames that cannot be trained on (values that are not finite or in other units,
            coinciding atoms, energies of different zeros), or a potential of another architecture;
            nothing is written then.
        """
        complete = self._complete(parameters, seed)
        FrameSet.check(train, complete, self.settings.subset_weights, test)
        settings = Path(directory, SETTINGS)
        if (
            not replace_results
            and settings.exists()
            and read_text(settings) != self.settings.to_text()
        ):
            keep_results(settings.parent)
        directory = super().prepare(
            directory,
            parameters,
            train,
            test,
            seed=seed,
            initial_potential=initial_potential,
            replace_results=replace_results,
        )
        settings.write_text(self.settings.to_text(), encoding="utf-8")
        if not self._can_restore(directory, complete):
            # A finished training whose checkpoint is damaged; one without a checkpoint starts over.
            if not replace_results and _last_step(directory) >= complete.generation:
                keep_results(directory)
            for name in (CHECKPOINT, "nep.txt", "loss.out", "training.log"):
                (directory / name).unlink(missing_ok=True)
        return directory

    def train(
        self, directory: str | Path, progress: Callable[[TrainingProgress], None] | None = None
    ) -> TrainingResult:
        """Train in a prepared directory and wait for it.

        See :meth:`mgflows.nep.trainers.Trainer.train`.

        Raises
        ------
        TrainingPausedError
            When the wall time is over; the state is saved.
        """
        result = super().train(directory, progress)
        step = self._steps_done(result.directory, result.parameters)
        if step < result.parameters.generation:
            raise TrainingPausedError(result.directory, step, result.parameters.generation)
        return result

    def check_installation(self) -> None:
        """Nothing to check: the trainer is part of mgflows."""

    @property
    def _dialect(self) -> Dialect:
        return "neppo"

    def _complete(self, parameters: NepParameters, seed: int | None) -> NepParameters:
        return replace(
            parameters,
            generation=self.steps,
            batch=self.batch,
            learning_rate=(self.learning_rate[0], self.learning_rate[1]),
            lambda_e=self.loss_weights.energy,
            lambda_f=self.loss_weights.force,
            lambda_v=self.loss_weights.virial,
            seed=self.seed if seed is None else seed,
            output_interval=-(-self.steps // self.reports),
        )

    def _check_initial(self, parameters: NepParameters, text: str) -> str:
        NepModel.reduced(text, parameters)
        return text

    def _name(self, directory: Path) -> str:  # noqa: ARG002
        return f"mgflows {mgflows.__version__}"

    def _is_restartable(self, directory: Path, parameters: NepParameters) -> bool:
        return self._can_restore(directory, parameters)

    def _can_restore(self, directory: Path, parameters: NepParameters) -> bool:
        if not (directory / CHECKPOINT).exists():
            return False
        try:
            meta, _ = read_checkpoint(directory / CHECKPOINT)
        except InputError as error:
            logger.warning("the interrupted training in %s starts over: %s", directory, error)
            return False
        return is_continued(meta, inputs_digest(directory), parameters)

    def _steps_done(self, directory: Path, parameters: NepParameters) -> int:
        for path in directory.glob(f".{CHECKPOINT}.*"):
            path.unlink()  # of a process that was killed while it wrote
        if not self._can_restore(directory, parameters):
            for name in (CHECKPOINT, "loss.out"):
                (directory / name).unlink(missing_ok=True)
            return 0
        meta, _ = read_checkpoint(directory / CHECKPOINT)
        if meta["finished_generation"] == parameters.generation and _has_results(
            directory, int(meta["step"])
        ):
            return parameters.generation
        return min(int(meta["step"]), parameters.generation - 1)

    def _command(self, directory: Path, first_step: int) -> list[str]:  # noqa: ARG002
        command = [sys.executable, "-m", "mgflows.nep.training", "--threads", str(self.n_threads)]
        if self.wall_time is not None:
            command += ["--wall-time", str(self.wall_time)]
        return command

    def _environment(self) -> dict[str, str]:
        # The linear algebra of the optimiser is too small to gain from threads.
        return {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def _last_step(directory: Path) -> int:
    """Step of the last line of ``loss.out``; 0 without one."""
    try:
        return int(read_loss(directory / "loss.out").step[-1])
    except (InputError, IndexError):
        return 0


def _has_results(directory: Path, last_step: int) -> bool:
    """Whether the results are intact; otherwise the checkpoint gives them again."""
    try:
        validate_nep_text(potential_text(directory / "nep.txt"))
        loss = read_loss(directory / "loss.out")
    except InputError as error:
        logger.warning("the results in %s are written again: %s", directory, error)
        return False
    return bool(len(loss.step) and loss.step[-1] == last_step)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if not name.startswith("@")}
