"""Trainers of other programs: neppo's gradient descent and GPUMD's evolution strategy."""

from __future__ import annotations

import importlib.metadata
import logging
import math
import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mgflows.errors import InputError, MissingDependencyError, ServiceError, install_command
from mgflows.nep.base import INITIAL_FILE, WHOLE_FILE, Trainer, TrainingProgress, TrainingResult
from mgflows.nep.calculator import potential_text, validate_nep_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from mgflows.nep.parameters import Dialect, NepParameters

__all__ = ["GpumdTrainer", "NeppoTrainer", "Trainer", "TrainingProgress", "TrainingResult"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class NeppoTrainer(Trainer):
    """neppo: AdamW on one CPU core or on a CUDA device.

    It reaches in minutes the errors for which the evolution strategy takes hours.

    An interrupted training resumes from the last report with the scheduled learning rate; AdamW's
    moments start from zero. A warm start keeps the scaling of the descriptor of the initial
    potential.

    Parameters
    ----------
    steps, batch, learning_rate
        Steps of AdamW, frames per step, and the first and last learning rate of the cosine
        schedule. They replace ``generation``, ``batch`` and ``learning_rate`` of the parameters,
        which mean something else for GPUMD. The defaults suit a CPU core, where small batches learn
        more per second (docs/how_to/training.md); on a GPU batches of 32 and more are faster.
    seed
        Seed of the initial parameters and the batches. The same seed gives the same potential on
        the same machine; on a GPU it is only known to give the same errors within a few percent.
    reports
        Lines of ``loss.out``. Each costs an evaluation of all frames, about as much as a third of
        an epoch of training.
    device
        Torch's name of the device: ``cpu``, ``cuda``, ``cuda:1``.
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
                "than the parameters",
                hint="use its own settings, or train without an initial potential",
            )
        return text

    def check_installation(self) -> None:
        """Look for neppo and torch."""
        for module in ("neppo", "torch"):
            if find_spec(module) is None:
                raise MissingDependencyError(
                    f"{module} is needed for training a potential but is not installed",
                    hint=f"install it with: {install_command('neppo')}",
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
        elif (directory / INITIAL_FILE).exists():
            command += ["--initial-potential", INITIAL_FILE]
        return command

    def _environment(self) -> dict[str, str]:
        return {"OMP_NUM_THREADS": str(self.n_threads), "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True, kw_only=True)
class GpumdTrainer(Trainer):
    """GPUMD's ``nep``: the separable natural evolution strategy of the paper, on GPUs.

    The executable is the user's own.

    An interrupted training resumes from ``nep.restart`` for the remaining generations. It cannot
    start from a potential, because the strategy also needs the variances, which only
    ``nep.restart`` contains.

    Parameters
    ----------
    command
        The executable with its arguments, such as ``srun -n 1 /opt/gpumd/nep``. None: ``nep``, and
        in a job ``nep_command`` of its worker's settings.
    takes_seed
        Whether this ``nep`` has the keyword ``seed`` (since late 2026); others stop with
        an error. The summation order on a GPU still varies.
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
            "GPUMD's nep cannot start from a potential",
            hint="leave out the initial potential, or use the neppo trainer",
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
        # nep counts from zero after a restart, so that only the remaining steps are requested; the
        # full settings are kept in case this run is also killed.
        (directory / WHOLE_FILE).write_text(parameters.to_text("gpumd"), encoding="utf-8")
        (directory / "nep.in").write_text(
            replace(parameters, generation=parameters.generation - first_step).to_text("gpumd"),
            encoding="utf-8",
        )
        try:
            return super()._run(directory, parameters, first_step, progress)
        finally:
            os.replace(directory / WHOLE_FILE, directory / "nep.in")
