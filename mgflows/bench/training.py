"""Speed and accuracy of the trainers, as ``mgflows bench training`` measures them."""

from __future__ import annotations

import logging
import shutil
import subprocess
import tempfile
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows.bench.swap_monte_carlo import processor
from mgflows.errors import InputError
from mgflows.nep import (
    GpumdTrainer,
    NepParameters,
    NeppoTrainer,
    NepTrainer,
    parity,
    read_frames,
)
from mgflows.nep.training.settings import TrainingSettings
from mgflows.nep.training.training import Training

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ase import Atoms

    from mgflows.nep import Trainer, TrainingProgress

__all__ = ["benchmark", "graphics_processor", "thread_efficiency"]

logger = logging.getLogger(__name__)

_PILOT_STEPS = 20
"""Steps of the shortest training for measuring the CPU time of a step and of the start."""
_PILOT_SHARE = 0.4
"""Fraction of the CPU time that the steps of the longest of them take, so that the variation of the
start by tenths of a second does not matter."""
_PILOT_GROWTH = 3
_FEWEST_STEPS = 10
_BLOCKS = 10
"""Blocks of steps with one and with several threads in turn, so that both see the same load."""
_QUIET_SHARE = 10.0
"""Percentile of the times of a step that is reported: what other programs delay is above it."""
_FRAMES_PER_BATCH = 4


def benchmark(
    frames: Path,
    trainers: list[Trainer],
    directory: Path,
    *,
    generation: int = 1000,
    cpu_seconds: float | None = None,
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
        Generations of GPUMD's trainer; gradient trainers have their own numbers of steps.
    cpu_seconds
        Give each gradient trainer on the CPU as many steps as it does in this CPU time, start and
        neighbour lists included, found by two short trainings. None: its own number of steps.

    Yields
    ------
    dict
        ``trainer``, ``version``, ``device``, ``hardware``, ``batch``, ``steps``, ``n_train``,
        ``n_test``; ``seconds`` of wall time, with start, neighbour lists and reports;
        ``cpu_seconds``; ``seconds_per_step`` between the first and the last report; ``energy``
        (meV/atom), ``force`` (meV/A) and ``virial`` (meV/atom): RMSEs of the test frames by
        :func:`mgflows.nep.parity`; ``subsets`` with the same three for each subset.

    Raises
    ------
    InputError
        If a file is missing or cannot be read, or if all trainers need more than ``cpu_seconds``
        for a few steps; a part of them is left out with a warning.
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
    too_slow = []
    for number, trainer in enumerate(trainers):
        if cpu_seconds is not None:
            try:
                trainer = _with_budget(trainer, cpu_seconds, parameters, train, test)
            except InputError as error:
                too_slow.append(error)
                if len(too_slow) == len(trainers):
                    raise
                logger.warning("%s is left out: %s", type(trainer).__name__, error.message)
                continue
        reports: list[TrainingProgress] = []
        result = trainer.train(
            trainer.prepare(directory / str(number), parameters, train, test), reports.append
        )
        table = parity(result.nep_txt, test)
        errors = table.overall
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
            "subsets": {
                name: {
                    "energy": part.energy_rmse,
                    "force": part.force_rmse,
                    "virial": part.virial_rmse,
                }
                for name, part in table.by_subset.items()
            },
        }


def thread_efficiency(
    frames: Path, batches: Sequence[int], n_threads: int, steps: int
) -> Iterator[dict[str, Any]]:
    """Time a step of the trainer of mgflows on one and on several threads.

    Parameters
    ----------
    frames
        Directory with ``train.xyz``; the frames with most atoms are used.
    batches
        Frames per step.
    n_threads
        Threads that are compared to one.
    steps
        Steps that are timed for each number of threads.

    Yields
    ------
    dict
        ``batch``, ``n_atoms`` per frame, ``n_threads``; ``one`` and ``several``: wall time of a
        step in seconds, the tenth percentile; ``efficiency``: ``one / (several * n_threads)``.

    Raises
    ------
    InputError
        If ``train.xyz`` is missing or cannot be read.
    """
    largest = 0
    chosen: list[Atoms] = []
    for frame in read_frames(frames / "train.xyz"):
        if len(frame) > largest:
            largest, chosen = len(frame), []
        if len(frame) == largest and len(chosen) < _FRAMES_PER_BATCH * max(batches):
            chosen.append(frame)
    species = tuple(
        dict.fromkeys(symbol for frame in chosen for symbol in frame.get_chemical_symbols())
    )
    block = max(1, steps // _BLOCKS)
    for batch in batches:
        # One step more than is done, so that none is followed by a report.
        n_steps = (_BLOCKS + 1) * block + 1
        parameters = NepParameters(
            species=species, batch=batch, generation=n_steps, output_interval=n_steps, seed=1
        )
        trainings = {
            count: Training(chosen, None, parameters, TrainingSettings(), n_threads=count)
            for count in (1, n_threads)
        }
        times: dict[int, list[float]] = {count: [] for count in trainings}
        for number in range(_BLOCKS + 1):
            for count, training in trainings.items():
                for _ in range(block):
                    start = time.perf_counter()
                    training.advance()
                    if number:  # the first block warms up
                        times[count].append(time.perf_counter() - start)
        one, several = (float(np.percentile(times[n], _QUIET_SHARE)) for n in (1, n_threads))
        yield {
            "batch": min(batch, len(chosen)),
            "n_atoms": largest,
            "n_threads": n_threads,
            "one": one,
            "several": several,
            "efficiency": one / (several * n_threads),
        }


def _with_budget(
    trainer: Trainer,
    cpu_seconds: float,
    parameters: NepParameters,
    train: Sequence[Atoms],
    test: Sequence[Atoms],
) -> Trainer:
    """The trainer with the number of steps that fit into a CPU time."""
    if not isinstance(trainer, (NepTrainer, NeppoTrainer)):
        return trainer
    if isinstance(trainer, NeppoTrainer) and trainer.device != "cpu":
        return trainer

    def cost(steps: int) -> float:
        # As many reports as the training will have: they are part of its cost.
        pilot = replace(trainer, steps=steps)
        with tempfile.TemporaryDirectory(prefix="mgb") as folder:
            pilot.prepare(folder, parameters, train, test)
            return pilot.train(folder).cpu_seconds

    cost(_PILOT_STEPS)  # compiles what is not compiled yet
    shortest = cost(_PILOT_STEPS)
    n_steps, longest = _PILOT_STEPS, shortest
    while longest - shortest < _PILOT_SHARE * cpu_seconds and shortest < cpu_seconds:
        n_steps *= _PILOT_GROWTH
        longest = cost(n_steps)
    per_step = (longest - shortest) / max(n_steps - _PILOT_STEPS, 1)
    start = shortest - _PILOT_STEPS * per_step
    steps = int((cpu_seconds - start) / max(per_step, 1e-6))
    if steps < _FEWEST_STEPS:
        raise InputError(
            f"{type(trainer).__name__} needs {start:.0f} CPU s before its first step, too much for "
            f"a training of {cpu_seconds:g} CPU s",
            hint="give more CPU time, or fewer frames",
        )
    return replace(trainer, steps=steps)


def graphics_processor() -> str:
    """Name of the first GPU according to ``nvidia-smi``; empty without one."""
    if shutil.which("nvidia-smi") is None:
        return ""
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False, timeout=60)
    return answer.stdout.strip().partition("\n")[0] if answer.returncode == 0 else ""
