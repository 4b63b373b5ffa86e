"""Speed and accuracy of the trainers, as ``mgflows bench training`` measures them."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from mgflows.bench.swap_monte_carlo import processor
from mgflows.errors import InputError
from mgflows.nep import GpumdTrainer, NepParameters, parity, read_frames

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mgflows.nep import Trainer, TrainingProgress

__all__ = ["benchmark", "graphics_processor"]


def benchmark(
    frames: Path, trainers: list[Trainer], directory: Path, *, generation: int = 1000
) -> Iterator[dict[str, Any]]:
    """Train the paper's model on the same frames with several trainers, one after the other.

    Parameters
    ----------
    frames
        Directory with ``train.xyz`` and ``test.xyz``, such as ``mgflows export`` writes.
    trainers
        The trainers.
    directory
        Directory of the trainings.
    generation
        Generations of GPUMD's trainer; neppo's number of steps is its own setting.

    Yields
    ------
    dict
        ``trainer``, ``version``, ``device``, ``hardware``, ``batch``, ``steps``, ``n_train``,
        ``n_test``; ``seconds`` of wall time, with start, neighbour lists and reports;
        ``cpu_seconds``; ``seconds_per_step`` between the first and the last report; ``energy``
        (meV/atom), ``force`` (meV/A) and ``virial`` (meV/atom): RMSEs of the test frames by
        :func:`mgflows.nep.parity`.

    Raises
    ------
    InputError
        If a file is missing or cannot be read.
    ServiceError, MissingDependencyError
        If one of the trainers is not installed; then nothing runs.
    """
    for trainer in trainers:
        trainer.check_installation()
    train, test = (read_frames(frames / name) for name in ("train.xyz", "test.xyz"))
    if not train or not test:
        raise InputError(
            f"train.xyz or test.xyz in {frames} holds no frame",
            hint="export a dataset with: mgflows export DATASET",
        )
    species = tuple(
        dict.fromkeys(symbol for frame in train for symbol in frame.get_chemical_symbols())
    )
    # GPUMD writes its potential only with its reports, so the last generation must be one.
    n_reports = next(number for number in (4, 3, 2, 1) if generation % number == 0)
    parameters = NepParameters(
        species=species, generation=generation, output_interval=generation // n_reports
    )
    for number, trainer in enumerate(trainers):
        reports: list[TrainingProgress] = []
        result = trainer.train(
            trainer.prepare(directory / str(number), parameters, train, test), reports.append
        )
        errors = parity(result.nep_txt, test).overall
        first, last = reports[0], reports[-1]
        device = "cuda" if isinstance(trainer, GpumdTrainer) else getattr(trainer, "device", "cpu")
        yield {
            "trainer": type(trainer).__name__,
            "version": result.trainer_version,
            "device": device,
            "hardware": processor() if device == "cpu" else graphics_processor(),
            "batch": min(result.parameters.batch, len(train)),
            "steps": result.parameters.generation,
            "n_train": len(train),
            "n_test": len(test),
            "seconds": result.wall_seconds,
            "cpu_seconds": result.cpu_seconds,
            "seconds_per_step": (last.seconds - first.seconds) / (last.step - first.step)
            if last.step > first.step
            else None,
            "energy": errors.energy_rmse,
            "force": errors.force_rmse,
            "virial": errors.virial_rmse,
        }


def graphics_processor() -> str:
    """Name of the first GPU according to ``nvidia-smi``; empty without one."""
    if shutil.which("nvidia-smi") is None:
        return ""
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False, timeout=60)
    return answer.stdout.strip().partition("\n")[0] if answer.returncode == 0 else ""
