"""What the frames of the feedback stage are worth: the ends of the quenches, or frames along them.

On the frames of a finished quickstart, labelled with the stand-in, for several seeds:

    python docs/examples/feedback_frames.py --directory quickstart --seeds 5

For each seed it trains a potential without feedback frames, quenches three glasses with it, labels
the frames, continues the training with the three ends and with frames along melt and quench, and
compares the test errors and the errors along 2 ps of each potential's own molecular dynamics at
2000 K and 0 GPa, started from two test glasses. Two CPU minutes per seed. Every row is kept in
``feedback_frames.jsonl`` in the directory of ``--work``: an interrupted run resumes. Prints the
table of docs/how_to/training.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows.eam import stand_in_calculator
from mgflows.errors import PotentialFailureError
from mgflows.md import protocols
from mgflows.md.frame_limits import FrameLimits
from mgflows.md.quench import hold, quench
from mgflows.nep import NepParameters, NepTrainer, nep_calculator, parity, read_frames

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from ase import Atoms

ROWS = ("before", "ends", "along")
RATES = (1000.0, 400.0, 200.0)
MELT = 2000.0
N_GLASSES = 2


def train(
    train_set: Sequence[Atoms], test: Sequence[Atoms], seed: int, steps: int, start: str | None
) -> str:
    """Train on frames and return the potential."""
    trainer = NepTrainer(steps=steps, learning_rate=(2e-2 if start is None else 1e-2, 1e-4))
    with tempfile.TemporaryDirectory() as directory:
        trainer.prepare(
            directory,
            NepParameters(species=("Cu", "Zr", "Al")),
            train_set,
            test,
            seed=seed,
            initial_potential=start,
        )
        return trainer.train(directory).nep_txt


def labelled(atoms: Atoms, subset: str) -> Atoms:
    """The structure with the labels of the stand-in."""
    from ase.calculators.singlepoint import SinglePointCalculator

    frame = atoms.copy()
    frame.calc = stand_in_calculator(("Cu", "Zr", "Al"))
    results = {
        "energy": frame.get_potential_energy(),
        "free_energy": frame.get_potential_energy(),
        "forces": frame.get_forces(),
        "stress": frame.get_stress(),
    }
    frame.calc = SinglePointCalculator(frame, **results)
    frame.info = {"subset": subset}
    return frame


def own_dynamics(nep_txt: str, glasses: Sequence[Atoms], seed: int) -> dict[str, Any]:
    """Errors along molecular dynamics with the potential itself."""
    frames, growth = [], []
    for number, glass in enumerate(glasses[:N_GLASSES]):
        try:
            run = hold(
                glass,
                nep_calculator(nep_txt),
                protocols.hold(MELT, 2.0, equilibration_time=0.0, n_frames=20),
                seed=1000 * seed + number,
            )
        except PotentialFailureError:
            growth.append(None)
            continue
        growth.append(run.trace.volume[-1] * len(glass) / glass.get_volume())
        frames += [labelled(frame, "own") for frame in run.frames]
    if not frames:
        return {"energy": None, "force": None, "growth": growth}
    errors = parity(nep_txt, frames).overall
    return {"energy": errors.energy_rmse, "force": errors.force_rmse, "growth": growth}


def quenched(
    nep_txt: str, glasses: Sequence[Atoms], n_frames: int, seed: int
) -> tuple[list[Atoms], list[Atoms]]:
    """The labelled ends of three quenches, and the labelled frames along them."""
    ends, along, limits = [], [], FrameLimits()
    for rate, glass in zip(RATES, glasses, strict=False):
        calculator = nep_calculator(nep_txt)
        result = quench(
            glass,
            calculator,
            protocols.quench(temperature_high=MELT, cooling_rate=rate, n_path_frames=n_frames),
            seed=100 * seed + int(rate),
        )
        for frame in result.path:
            frame.atoms.calc = calculator
            if not limits.violations(frame.atoms):
                along.append(labelled(frame.atoms, "mlip_feedback"))
        ends.append(labelled(result.atoms, "mlip_feedback"))
    return ends, along


def measure(
    base: Sequence[Atoms],
    test: Sequence[Atoms],
    seed: int,
    finished: Collection[str],
    options: argparse.Namespace,
) -> Iterator[dict[str, Any]]:
    """The rows of one seed that are not finished yet."""
    relaxed = {
        side: [frame for frame in frames if frame.info["subset"] == "dft_minimized"]
        for side, frames in (("train", base), ("test", test))
    }
    order = np.random.default_rng(seed).permutation(len(relaxed["train"]))[: len(RATES)]
    starts = [relaxed["train"][k] for k in order]
    first = train(base, test, seed, options.steps, None)
    frames = quenched(first, starts, options.frames, seed)
    for row, new in zip(ROWS, ([], *frames), strict=True):
        if row in finished:
            continue
        nep_txt = train([*base, *new], test, seed, options.retrain, first) if new else first
        errors = parity(nep_txt, test).overall
        yield {
            "seed": seed,
            "row": row,
            "n_new": len(new),
            "test": [errors.energy_rmse, errors.force_rmse, errors.virial_rmse],
            "own": own_dynamics(nep_txt, relaxed["test"], seed),
        }


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table."""
    print(
        "| seed | new frames | test E (meV/atom) | F (meV/Å) | V (meV/atom) | own E (meV/atom) | "
        "own F (meV/Å) | V/V0 |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in sorted(rows, key=lambda row: (row["seed"], ROWS.index(row["row"]))):
        test, own = row["test"], row["own"]
        growth = ", ".join("-" if value is None else f"{value:.2f}" for value in own["growth"])
        errors = ["-" if own[key] is None else f"{own[key]:.1f}" for key in ("energy", "force")]
        print(
            f"| {row['seed']} | {row['row']} ({row['n_new']}) | {test[0]:.2f} | {test[1]:.1f} | "
            f"{test[2]:.1f} | {errors[0]} | {errors[1]} | {growth} |"
        )


def main() -> None:
    """Measure, or resume, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--directory", type=Path, default=Path("quickstart"))
    parser.add_argument("--work", type=Path, default=Path())
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=7000, help="of the first training")
    parser.add_argument("--retrain", type=int, default=7000, help="steps of the second training")
    parser.add_argument("--frames", type=int, default=16, help="along each quench")
    options = parser.parse_args()
    base, test = (
        [
            frame
            for frame in read_frames(options.directory / f"{side}.xyz")
            if frame.info["subset"] != "mlip_feedback"
        ]
        for side in ("train", "test")
    )
    path = options.work / "feedback_frames.jsonl"
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    for seed in range(options.seeds):
        finished = {row["row"] for row in done if row["seed"] == seed}
        if finished >= set(ROWS):
            continue
        for row in measure(base, test, seed, finished, options):
            done.append(row)
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
    show(done)


if __name__ == "__main__":
    main()
