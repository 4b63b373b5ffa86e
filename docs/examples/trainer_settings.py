"""Measure settings of the trainer of mgflows on several data sets and seeds.

    python docs/examples/trainer_settings.py DIRECTORY... --seeds 3

Every DIRECTORY holds a train.xyz and a test.xyz, such as ``mgflows export``, the quickstart or
docs/examples/training_data.py writes. For each setting the table has the mean (and the largest)
RMSE of the test frames over the seeds, recomputed from nep.txt; the attractive holes inside 2 A
behind a barrier of less than 5 eV, of isolated pairs and of pairs pushed together in a test glass,
over all pairs and seeds; the CPU time; and how often a training returned to an earlier state. With
``--melt 10`` also the largest deviation of the density, in 10 ps at 2000 K and 0 GPa, from that of
the method of the labels: the stand-in, or the NEP of ``--labels``. The largest test frame is
melted, or the first frame of each formula given with ``--glass``.

Every measurement is kept in the file ``--results``; the same command resumes.
docs/how_to/training.md has the tables.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from itertools import combinations_with_replacement
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase.formula import Formula

from mgflows.eam import stand_in_calculator
from mgflows.errors import PotentialFailureError
from mgflows.md import protocols
from mgflows.md.quench import hold
from mgflows.nep import NepParameters, NepTrainer, nep_calculator, parity, read_frames
from mgflows.nep.training import LossWeights, TrainingSettings
from mgflows.validation.dimers import HARMLESS_BARRIER, dimer_curves

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

_INSIDE = 2.0
_PAPER_ZBL = 1.8
_TITLES = ("settings", "E meV/atom", "F meV/A", "V meV/atom", "holes: dimers, in glass")


class Melt(NamedTuple):
    """A glass to be melted, the time in ps, and the volume per atom that the labels give."""

    glass: Atoms
    time: float
    volume: float


class Variant(NamedTuple):
    """A trainer, the outer cutoff of the ZBL repulsion in A, and lambda_1 and lambda_2."""

    trainer: NepTrainer
    zbl: float = _PAPER_ZBL
    regularisation: float | None = None


def variants(steps: int) -> dict[str, Variant]:
    """The settings to compare.

    Each differs from the defaults in the setting that its name states.
    """
    default = NepTrainer(steps=steps, reports=1)
    plain = replace(default, settings=TrainingSettings(core_radius=None))
    adam = replace(default, settings=TrainingSettings(optimiser="adam"))
    trainers = {
        "defaults": default,
        "no core (the paper's short range)": plain,
        "Adam": replace(adam, learning_rate=(1e-2, 1e-4)),
        "weights 0.1, 1, 0.1": replace(default, loss_weights=LossWeights(0.1, 1.0, 0.1)),
        "weights 0.003, 1, 0.1": replace(default, loss_weights=LossWeights(0.003, 1.0, 0.1)),
        "weights 0.01, 1, 0.03": replace(default, loss_weights=LossWeights(0.01, 1.0, 0.03)),
        "weights 0.01, 1, 0.3": replace(default, loss_weights=LossWeights(0.01, 1.0, 0.3)),
        "rate 0.01": replace(default, learning_rate=(1e-2, 1e-4)),
        "rate 0.04": replace(default, learning_rate=(4e-2, 1e-4)),
        "batch 8, a quarter of the steps": replace(default, batch=8, steps=max(1, steps // 4)),
        "averaging 0.99": replace(default, settings=TrainingSettings(averaging=0.99)),
        "energies of the elements": replace(
            default, settings=TrainingSettings(energy_reference=True)
        ),
        "weights 1, 1, 0.1 (the paper's)": replace(
            default, loss_weights=LossWeights(1.0, 1.0, 0.1)
        ),
    }
    chosen = {name: Variant(trainer) for name, trainer in trainers.items()}
    return chosen | {
        "no core, ZBL 2.0": Variant(plain, zbl=2.0),
        "no core, ZBL 2.4": Variant(plain, zbl=2.4),
        "L1 and L2 of 0.2": Variant(default, regularisation=0.2),
        "L1 and L2 of 1": Variant(default, regularisation=1.0),
    }


def measure(
    train: list[Atoms],
    test: list[Atoms],
    variant: Variant,
    seed: int,
    melts: list[Melt],
) -> dict[str, Any]:
    """One training and the melts of its potential."""
    species = sorted({symbol for frame in train for symbol in frame.get_chemical_symbols()})
    with tempfile.TemporaryDirectory() as folder:
        parameters = NepParameters(
            tuple(species),
            zbl=variant.zbl,
            lambda_1=variant.regularisation,
            lambda_2=variant.regularisation,
        )
        trainer = variant.trainer
        result = trainer.train(trainer.prepare(folder, parameters, train, test, seed=seed))
        restores = (Path(folder) / "training.log").read_text().count("is not finite")
    errors = parity(result.nep_txt, test).overall
    calculator = nep_calculator(result.nep_txt)
    curves = dimer_curves(calculator, species, n_points=261, repulsive_below=_INSIDE)
    largest = max(test, key=len)
    row: dict[str, Any] = {
        "errors": [errors.energy_rmse, errors.force_rmse, errors.virial_rmse],
        "cpu_seconds": result.cpu_seconds,
        "restores": restores,
        "dimer_holes": [f"{k} {c.hole:.2f} A" for k, c in curves.items() if not c.safe],
        "glass_holes": holes_in_glass(calculator, largest, species),
    }
    row["volume_ratios"] = {
        melt.glass.get_chemical_formula(): melt_volume(calculator, melt.glass, melt.time)
        / melt.volume
        for melt in melts
    }
    return row


def holes_in_glass(calculator: Calculator, glass: Atoms, species: list[str]) -> list[str]:
    """Pairs with a hole when the closest two atoms of their kind in a glass are pushed together."""
    symbols = np.array(glass.get_chemical_symbols())
    distances = glass.get_all_distances(mic=True)
    np.fill_diagonal(distances, np.inf)
    radii = np.arange(0.8, _INSIDE + 0.41, 0.02)
    found = []
    for first, second in combinations_with_replacement(species, 2):
        is_pair = (symbols[:, None] == first) & (symbols == second)
        np.fill_diagonal(is_pair, False)
        if not is_pair.any():
            continue
        flat = int(np.argmin(np.where(is_pair, distances, np.inf)))
        i, j = divmod(flat, len(glass))
        vector = glass.get_distance(i, j, mic=True, vector=True)
        axis = vector / np.linalg.norm(vector)
        centre = glass.positions[i] + 0.5 * vector
        pushed = glass.copy()
        pushed.calc = calculator
        energy = np.empty(len(radii))
        for number, r in enumerate(radii):
            pushed.positions[[i, j]] = centre - 0.5 * r * axis, centre + 0.5 * r * axis
            energy[number] = pushed.get_potential_energy()
        energy -= energy[-1]
        barrier = np.maximum.accumulate(energy[::-1])[::-1]
        can_enter = (radii <= _INSIDE) & (barrier < HARMLESS_BARRIER)
        fall = np.where(can_enter, barrier - energy, 0.0)
        if fall.max() > 1e-6:
            found.append(f"{first}-{second} {radii[np.argmax(fall)]:.2f} A")
    return found


def melt_volume(calculator: Calculator, glass: Atoms, time: float) -> float:
    """Volume per atom at 2000 K and 0 GPa, mean of the second half; NaN if it flies apart."""
    try:
        volume = hold(glass, calculator, protocols.hold(2000.0, time), seed=3).trace.volume
    except PotentialFailureError:
        return float("nan")
    return float(volume[len(volume) // 2 :].mean())


def glasses_to_melt(frames: list[Atoms], formulas: list[str] | None) -> list[Atoms]:
    """The first frame of each formula, or the largest frame."""
    if not formulas:
        return [max(frames, key=len)]
    first = {frame.get_chemical_formula(): frame for frame in reversed(frames)}
    wanted = [f"{Formula(formula):hill}" for formula in formulas]
    for formula in wanted:
        if formula not in first:
            raise SystemExit(f"no frame has the formula {formula}; there are {', '.join(first)}")
    return [first[formula] for formula in wanted]


def table_row(name: str, rows: list[dict[str, Any]], n_pairs: int, *, melt: bool) -> str:
    """A line of the table."""
    errors = np.array([row["errors"] for row in rows])
    cells = [name]
    cells += [f"{a:.3g} ({b:.3g})" for a, b in zip(errors.mean(0), errors.max(0), strict=True)]
    counts = [sum(len(row[key]) for row in rows) for key in ("dimer_holes", "glass_holes")]
    cells.append(f"{counts[0]}, {counts[1]} of {n_pairs * len(rows)}")
    if melt:
        ratios = np.array([list(row["volume_ratios"].values()) for row in rows])
        change = 100.0 * (1.0 / ratios - 1.0).ravel()
        n_lost = int(np.isnan(ratios).sum())
        worst = change[np.abs(change).argmax()]
        cells.append(f"{n_lost} of {ratios.size} fly apart" if n_lost else f"{worst:+.1f} %")
    cells += [
        f"{np.mean([row['cpu_seconds'] for row in rows]):.0f}",
        str(sum(row["restores"] for row in rows)),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Read the command line, measure what is not measured yet, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directories", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--melt", type=float, help="ps at 2000 K and 0 GPa")
    parser.add_argument("--glass", action="append", help="melt this one; may be repeated")
    parser.add_argument("--labels", type=Path, help="the nep.txt that made the labels")
    parser.add_argument("--only", action="append", help="measure this variant; may be repeated")
    parser.add_argument("--results", type=Path, default=Path("trainer_settings.jsonl"))
    options = parser.parse_args()
    lines = options.results.read_text().splitlines() if options.results.exists() else []
    done = {tuple(key): row for key, row in map(json.loads, lines)}
    for directory in options.directories:
        train, test = (read_frames(directory / name) for name in ("train.xyz", "test.xyz"))
        species = sorted({s for frame in train for s in frame.get_chemical_symbols()})
        n_pairs = len(species) * (len(species) + 1) // 2
        titles = [*_TITLES, *(["melt's density"] if options.melt else []), "CPU s", "restored"]
        print(f"\n{directory}: {len(train)} training and {len(test)} test frames\n")
        print(f"| {' | '.join(titles)} |\n{'|---' * len(titles)}|", flush=True)
        melts: list[Melt] = []
        for name, variant in variants(options.steps).items():
            if options.only and name not in options.only:
                continue
            rows = []
            for seed in range(options.seeds):
                glasses = ",".join(options.glass or [])
                key = (str(directory), name, seed, options.steps, options.melt, glasses)
                if key not in done:
                    if options.melt and not melts:
                        label = (
                            stand_in_calculator(species)
                            if options.labels is None
                            else nep_calculator(options.labels)
                        )
                        melts = [
                            Melt(glass, options.melt, melt_volume(label, glass, options.melt))
                            for glass in glasses_to_melt([*test, *train], options.glass)
                        ]
                    done[key] = measure(train, test, variant, seed, melts)
                    with options.results.open("a") as stream:
                        stream.write(json.dumps([key, done[key]]) + "\n")
                rows.append(done[key])
            print(table_row(name, rows, n_pairs, melt=bool(options.melt)), flush=True)


if __name__ == "__main__":
    main()
