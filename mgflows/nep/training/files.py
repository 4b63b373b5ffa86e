"""The directory of a training: its files, and a training in it."""

from __future__ import annotations

import hashlib
import logging
import resource
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mgflows.errors import ServiceError
from mgflows.files import read_text, sha256_of_file, write_text
from mgflows.nep.frames import iter_frames
from mgflows.nep.parameters import NepParameters
from mgflows.nep.training.checkpoint import read_checkpoint, write_checkpoint
from mgflows.nep.training.loss_file import loss_text
from mgflows.nep.training.settings import TrainingSettings
from mgflows.nep.training.training import Training, seconds_left

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = [
    "CHECKPOINT",
    "INITIAL",
    "SETTINGS",
    "inputs_digest",
    "is_continued",
    "train_in_directory",
]

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.npz"
SETTINGS = "training.json"
INITIAL = "nep_initial.txt"
_FRAMES = ("train.xyz", "test.xyz")
_NEUTRAL = ("cache", "checkpoint_interval")
"""Settings that do not change the result."""


def inputs_digest(directory: Path) -> str:
    """Hash of all inputs of the training except the numbers of steps and reports."""
    digest = hashlib.sha256()
    for name in (*_FRAMES, INITIAL):
        path = directory / name
        digest.update(f"{name} {path.exists()}\n".encode())
        if path.exists():
            digest.update(bytes.fromhex(sha256_of_file(path)))
    for line in read_text(directory / "nep.in").splitlines():
        if line.split()[:1] not in (["generation"], ["output_interval"]):
            digest.update(" ".join(line.split()).encode() + b"\n")
    settings = vars(_settings(directory)).items()
    digest.update(repr([(k, v) for k, v in settings if k not in _NEUTRAL]).encode())
    return digest.hexdigest()


def is_continued(meta: dict[str, Any], digest: str, parameters: NepParameters) -> bool:
    """Whether a checkpoint is of a training with these inputs and at most as many steps."""
    steps = meta.get("generation", meta["schedule"]["end"])
    return bool(meta["inputs"] == digest and steps <= parameters.generation)


def _settings(directory: Path) -> TrainingSettings:
    path = directory / SETTINGS
    if not path.exists():
        return TrainingSettings()
    return TrainingSettings.from_text(path.read_text(encoding="utf-8"))


def train_in_directory(
    directory: Path,
    *,
    n_threads: int = 1,
    wall_time: float | None = None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> bool:
    """Start or continue the training in a directory.

    Parameters
    ----------
    directory
        Contains ``nep.in``, ``train.xyz`` and optionally ``test.xyz``, ``training.json`` and
        ``nep_initial.txt``. ``nep.txt``, ``loss.out`` and ``checkpoint.npz`` are written to it.
    n_threads
        Threads; the result does not depend on them.
    wall_time
        Seconds after which the training saves itself and stops.
    stop_requested
        Called after every step; if it returns True, the training stops in the same way.

    Returns
    -------
    finished
        False if the training stopped before its last step.

    Raises
    ------
    ServiceError
        If the potential of the last step cannot be written.
    """
    start = time.monotonic()
    parameters = NepParameters.from_text(read_text(directory / "nep.in"))
    settings = _settings(directory)
    train, test = (
        iter_frames(directory / name) if (directory / name).exists() else None for name in _FRAMES
    )
    initial = directory / INITIAL
    training = Training(
        train or (),
        test,
        parameters,
        settings,
        initial.read_text(encoding="utf-8") if initial.exists() else None,
        n_threads,
        directory,
    )
    digest = inputs_digest(directory)
    if (directory / CHECKPOINT).exists():
        meta, arrays = read_checkpoint(directory / CHECKPOINT)
        if is_continued(meta, digest, parameters):
            training.restore(meta, arrays)
            logger.info("the training continues after step %d", training.step)
            if training.is_finished and training.step < parameters.generation:
                logger.info(
                    "the training had ended at step %d, where its loss had stopped decreasing; "
                    "more steps do not continue it", training.step,
                )  # fmt: skip

    files = _Files(directory, training, parameters, digest)
    logger.info(
        "%d training and %d test frames, %d steps of %d frames, seed %s; set-up took %.1f s "
        "and at most %.0f MiB",
        *training.n_frames, parameters.generation, parameters.batch, parameters.seed,
        time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )  # fmt: skip
    first_step, loop_start = training.step, time.monotonic()
    last_save = loop_start
    while not training.is_finished:
        row = training.advance()
        now = time.monotonic()
        stopping = stop_requested() or (wall_time is not None and now - start >= wall_time)
        if row is not None:
            logger.info(
                "step %d of %d: loss %.4g, test RMSE %.2f meV/atom, %.1f meV/A, %.1f meV/atom; "
                "%.0f s left", row.step, training.n_steps, row.total, 1e3 * row.energy_test,
                1e3 * row.force_test, 1e3 * row.virial_test,
                seconds_left(row.step, first_step, training.n_steps, loop_start),
            )  # fmt: skip
        if training.is_finished:
            break
        if row is not None or stopping or now - last_save >= settings.checkpoint_interval:
            files.save(delivered=False)
            last_save = time.monotonic()
        # After the checkpoint: where there is a potential, the training can be continued.
        if row is not None or stopping:
            files.write_results()
        if stopping:
            logger.info("the training stops after step %d and can be continued", training.step)
            return False
    files.write_results()
    files.save(delivered=True)
    error, typical = training.force_errors
    if error > typical:
        logger.warning(
            "the potential is of no use: its force errors, %.4g meV/A, are larger than the forces, "
            "%.4g meV/A; give more steps or a smaller learning rate", 1e3 * error, 1e3 * typical,
        )  # fmt: skip
    return True


@dataclass(frozen=True)
class _Files:
    """Files that a training writes into its directory."""

    directory: Path
    training: Training
    parameters: NepParameters
    digest: str

    def save(self, *, delivered: bool) -> None:
        """Write the checkpoint; `delivered`: the results of this step are written."""
        training = self.training
        meta, arrays = training.state()
        meta["inputs"] = self.digest
        meta["generation"] = self.parameters.generation
        is_finished = training.is_finished and delivered
        meta["finished_generation"] = self.parameters.generation if is_finished else None
        try:
            write_checkpoint(self.directory / CHECKPOINT, meta, arrays)
        except OSError as error:
            # The last checkpoint is intact; the training may still finish.
            logger.warning("the checkpoint of step %d cannot be written: %s", training.step, error)

    def write_results(self) -> None:
        """Write potential and loss, which must succeed after the last step only."""
        training = self.training
        try:
            write_text(self.directory / "nep.txt", training.potential())
            write_text(
                self.directory / "loss.out",
                loss_text(training.rows, self.parameters.output_interval),
            )
        except OSError as error:
            if training.is_finished:
                self.save(delivered=False)
                raise ServiceError(
                    f"the trained potential cannot be written to {self.directory}: {error}",
                    hint="free some space and train in the same directory again",
                ) from error
            logger.warning("the report of step %d cannot be written: %s", training.step, error)
