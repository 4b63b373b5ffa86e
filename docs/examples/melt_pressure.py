"""Density of a NEP's melt compared with a density functional that is too slow for a melt itself.

    python docs/examples/melt_pressure.py WORK DIRECTORY --gpaw 400 --seeds 3

trains on the train.xyz of DIRECTORY with the default settings and each seed, and holds the largest
test frame at 2000 K and 0 GPa for 10 ps. Frames of the second half are labelled; the mean pressure
of the labels above that of the NEP, divided by the bulk modulus of the NEP's melt, is the relative
difference of the two densities to first order. The bulk modulus comes from a second run at 5 GPa.
``--labels nep.txt`` labels with a NEP instead: docs/examples/trainer_settings.py measures the
density of its melt directly, which checks the first order.

Potentials and labels are kept in WORK; the same command resumes.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import PotentialFailureError
from mgflows.md import protocols
from mgflows.md.langevin import NPTSettings
from mgflows.md.quench import hold
from mgflows.methods.gpaw import GpawMethod
from mgflows.nep import NepParameters, NepTrainer, nep_calculator, read_frames, write_frames
from mgflows.units import pressure_from_stress

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms
    from ase.calculators.calculator import Calculator

GAMMA = 0.69
"""Spacing of k-points in 1/A: the Gamma point alone in cells wider than 6.1 A."""
COMPRESSED = 5.0
"""GPa."""


def trained(folder: Path, directory: Path, seed: int, steps: int) -> Path:
    """The nep.txt of a training with the default settings; resumes."""
    train, test = (read_frames(directory / name) for name in ("train.xyz", "test.xyz"))
    species = sorted({symbol for frame in train for symbol in frame.get_chemical_symbols()})
    trainer = NepTrainer(steps=steps, reports=1)
    parameters = NepParameters(tuple(species), zbl=1.8)
    trainer.train(trainer.prepare(folder, parameters, train, test, seed=seed))
    return folder / "nep.txt"


def melts(
    glass: Atoms, calculator: Calculator, time: float, n_frames: int
) -> tuple[list[Atoms], float]:
    """Frames of the second half at 0 GPa, and the bulk modulus in GPa."""
    stages = protocols.hold(2000.0, 0.5 * time, equilibration_time=0.5 * time, n_frames=n_frames)
    free, compressed = (
        hold(glass, calculator, stages, npt=NPTSettings(pressure=pressure), seed=3)
        for pressure in (0.0, COMPRESSED)
    )
    ratio = free.trace.volume.mean() / compressed.trace.volume.mean()
    return free.frames, COMPRESSED / float(np.log(ratio))


def labelled_pressures(
    frames: list[Atoms], path: Path, build: Callable[[Atoms], Calculator]
) -> list[float]:
    """Pressures of the labels in GPa; labels that are in the file already are kept."""
    done = read_frames(path) if path.exists() else []
    for frame in frames[len(done) :]:
        copy = frame.copy()
        copy.info = {}  # that of the glass
        copy.calc = build(copy)
        copy.get_potential_energy()
        copy.get_stress()
        copy.get_forces()
        done.append(copy)
        write_frames(path, done)
    return [pressure_from_stress(frame.get_stress()) for frame in read_frames(path)]


def main() -> None:
    """Read the command line, train, melt, label and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("directory", type=Path, help="with train.xyz and test.xyz")
    labels = parser.add_mutually_exclusive_group(required=True)
    labels.add_argument("--gpaw", type=float, metavar="CUTOFF", help="label with GPAW; eV")
    labels.add_argument("--labels", type=Path, help="a nep.txt that labels")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--time", type=float, default=10.0, help="ps")
    parser.add_argument("--frames", type=int, default=4, help="labelled per seed")
    options = parser.parse_args()
    directory = options.directory.absolute()
    glass = max(read_frames(directory / "test.xyz"), key=len)
    labels_of = None if options.labels is None else nep_calculator(options.labels.absolute())
    method = GpawMethod(cutoff=options.gpaw or 400.0, k_spacing=GAMMA)
    options.work.mkdir(parents=True, exist_ok=True)
    os.chdir(options.work)  # GPAW writes its log there.
    print(f"{glass.get_chemical_formula()}, {options.time:g} ps at 2000 K and 0 GPa\n")
    print("| seed | bulk modulus (GPa) | excess pressure of the labels (GPa) | density |")
    print("|---|---|---|---|", flush=True)
    for seed in range(options.seeds):
        folder = Path(f"seed-{seed}").absolute()
        calculator = nep_calculator(trained(folder, directory, seed, options.steps))
        try:
            frames, modulus = melts(glass, calculator, options.time, options.frames)
        except PotentialFailureError:
            print(f"| {seed} | the melt flies apart | | |", flush=True)
            continue
        pressures = labelled_pressures(
            frames,
            folder / "labels.xyz",
            lambda atoms: labels_of or method.build(atoms),
        )
        excess = []
        for frame, pressure in zip(frames, pressures, strict=True):
            frame.calc = calculator
            excess.append(pressure - pressure_from_stress(frame.get_stress()))
        mean, error = np.mean(excess), np.std(excess, ddof=1) / np.sqrt(len(excess))
        print(
            f"| {seed} | {modulus:.0f} | {mean:+.2f} ± {error:.2f} "
            f"| {100.0 * mean / modulus:+.1f} ± {100.0 * error / modulus:.1f} % |",
            flush=True,
        )


if __name__ == "__main__":
    main()
