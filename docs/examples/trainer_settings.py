"""Measure settings of the own trainer on several data sets and seeds.

    python docs/examples/trainer_settings.py DIRECTORY... --seeds 3 --steps 7000

Every DIRECTORY holds a train.xyz and a test.xyz, such as ``mgflows export`` or the quickstart
writes. For each setting the table has the mean and the largest RMSE of the test frames over the
seeds, recomputed from nep.txt, the CPU time, and how often a training returned to an earlier
state. docs/how_to/training.md has the table of the quickstart's data.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from mgflows.nep import NepParameters, NepTrainer, parity, read_frames
from mgflows.nep.training import LossWeights, TrainingSettings


def variants(steps: int) -> dict[str, NepTrainer]:
    """The settings to compare; every one differs from the defaults in what its name says."""
    default = NepTrainer(steps=steps, reports=2)
    adam = replace(default, settings=TrainingSettings(optimiser="adam"))
    return {
        "defaults": default,
        "Adam": replace(adam, learning_rate=(1e-2, 1e-4)),
        "Adam, rate 0.03": replace(adam, learning_rate=(3e-2, 1e-4)),
        "weights 1, 1, 0.1": replace(default, loss_weights=LossWeights(1.0, 1.0, 0.1)),
        "weights 0.1, 1, 0.1": replace(default, loss_weights=LossWeights(0.1, 1.0, 0.1)),
        "weights 0.003, 1, 0.03": replace(default, loss_weights=LossWeights(0.003, 1.0, 0.03)),
        "rate 0.01": replace(default, learning_rate=(1e-2, 1e-4)),
        "rate 0.04": replace(default, learning_rate=(4e-2, 1e-4)),
        "batch 8, a quarter of the steps": replace(default, batch=8, steps=max(1, steps // 4)),
        "averaging 0.99": replace(default, settings=TrainingSettings(averaging=0.99)),
        "energies of the elements": replace(
            default, settings=TrainingSettings(energy_reference=True)
        ),
    }


def measure(directory: Path, trainer: NepTrainer, seeds: int) -> str:
    """A row of the table."""
    train, test = (read_frames(directory / name) for name in ("train.xyz", "test.xyz"))
    symbols = {symbol for frame in train for symbol in frame.get_chemical_symbols()}
    rows, restores = [], 0
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            trainer.prepare(folder, NepParameters(tuple(sorted(symbols))), train, test, seed=seed)
            result = trainer.train(folder)
            restores += (Path(folder) / "training.log").read_text().count("is not finite")
        errors = parity(result.nep_txt, test).overall
        rows.append((errors.energy_rmse, errors.force_rmse, errors.virial_rmse, result.cpu_seconds))
    mean, largest = np.mean(rows, axis=0), np.max(rows, axis=0)
    cells = [f"{a:.3g} ({b:.3g})" for a, b in zip(mean[:3], largest[:3], strict=True)]
    return " | ".join([*cells, f"{mean[3]:.0f}", str(restores)])


def main() -> None:
    """Read the command line and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("directories", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--only", action="append", help="measure this variant; may be repeated")
    options = parser.parse_args()
    for directory in options.directories:
        print(f"\n{directory}\n")
        print("| settings | E meV/atom | F meV/A | V meV/atom | CPU s | restored |")
        print("|---|---|---|---|---|---|", flush=True)
        for name, trainer in variants(options.steps).items():
            if not options.only or name in options.only:
                row = measure(directory, trainer, options.seeds)
                print(f"| {name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
