"""Is a short training better with the crystals from the start, or after the glasses?

On the data of a finished quickstart.

    python docs/examples/staged_training.py --directory quickstart

Four trainings of about a minute and a half on one core each, and 2 ps of molecular dynamics with
each potential; prints the table of docs/how_to/training.md.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mgflows.database import GlassDatabase
from mgflows.errors import PotentialFailureError
from mgflows.jobs.training import materialise
from mgflows.md import protocols
from mgflows.md.quench import hold
from mgflows.nep import NepParameters, NeppoTrainer, nep_calculator, parity
from mgflows.schemas.labels import atoms_from_structure

if TYPE_CHECKING:
    from ase import Atoms

# Name, whether crystals are trained on, frames a step, steps, first learning rate, and the row
# whose potential is the start.
ROWS = (
    ("all frames", True, 2, 2500, 0.02, None),
    ("all frames", True, 4, 1500, 0.03, None),
    ("without crystals", False, 2, 2500, 0.02, None),
    ("then all frames", True, 4, 1500, 0.01, 2),
)


def holds_together(nep_txt: str, glass: Atoms, time: float) -> bool:
    """Whether a glass keeps its volume within a factor of 1.5 for a time in ps at 2000 K, 0 GPa."""
    stages = protocols.hold(2000.0, time, equilibration_time=time / 4.0)
    try:
        trace = hold(glass, nep_calculator(nep_txt), stages, seed=3).trace
    except PotentialFailureError:
        return False
    return bool(trace.volume[-1] < 1.5 * glass.get_volume() / len(glass))


def main() -> None:
    """Train, test and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path("quickstart"),
        help="directory of a finished quickstart",
    )
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="multiplies the numbers of steps and the 2 ps; for tests",
    )
    options = parser.parse_args()
    database = GlassDatabase(directory=options.directory)
    dataset = database.dataset(database.potentials()[-1].dataset_id)
    train, test = materialise(database.store, dataset, "family")
    glasses = [atoms for atoms in train if atoms.info["subset"] != "crystal"]
    glass = atoms_from_structure(list(database.relaxations().values())[-1].structure)
    print(
        f"{len(train)} training frames, {len(train) - len(glasses)} of them of crystals; "
        f"{len(test)} test frames\n"
    )
    print(
        "| training | E (meV/atom) | F (meV/Å) | W (meV/atom) | glasses at ±1, 5, 10 %, E | "
        "2 ps at 2000 K and 0 GPa | CPU s |"
    )
    print("|---|---|---|---|---|---|---|")
    potentials: list[str] = []
    for name, crystals, batch, steps, rate, start in ROWS:
        steps = max(10, round(options.scale * steps))
        trainer = NeppoTrainer(steps=steps, batch=batch, learning_rate=(rate, 1e-4), reports=1)
        with tempfile.TemporaryDirectory() as directory:
            initial = None if start is None else potentials[start]
            parameters = NepParameters(species=tuple(dataset.species))
            trainer.prepare(
                directory,
                parameters,
                train if crystals else glasses,
                test,
                seed=1,
                initial_potential=initial,
            )
            result = trainer.train(directory)
        potentials.append(result.nep_txt)
        errors = parity(result.nep_txt, test).overall
        strained = parity(
            result.nep_txt,
            [atoms for atoms in train if atoms.info["subset"] == "expanded_compressed"],
        ).overall
        holds = holds_together(result.nep_txt, glass, max(0.1, options.scale * 2.0))
        state = "holds" if holds else "flies apart"
        numbers = (
            f"{errors.energy_rmse:.1f}",
            f"{errors.force_rmse:.0f}",
            f"{errors.virial_rmse:.0f}",
            f"{strained.energy_rmse:.0f}",
        )
        print(
            f"| {name}, batch {batch} x {steps}, {rate:g} | {' | '.join(numbers)} | {state} | "
            f"{result.cpu_seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
