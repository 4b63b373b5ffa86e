"""Make tests/data/tiny_nep.txt: a small NEP for Cu-Zr-Al, trained on the stand-in, for tests.

    OMP_NUM_THREADS=1 python -m tests.helpers.make_tiny_potential

Trained on melted and cooled 54-atom cells at several densities, in about a minute. The potential
suffices for relaxations and short molecular dynamics only.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin

from mgflows.eam import stand_in_calculator
from mgflows.nep import NepParameters, NeppoTrainer, parity

SPECIES = ("Cu", "Zr", "Al")
PARAMETERS = NepParameters(
    SPECIES, cutoff=(5.0, 4.0), n_max=(4, 3), basis_size=(4, 4), l_max=(4, 0, 0), neuron=10
)
TARGET = Path(__file__).parents[1] / "data" / "tiny_nep.txt"


def melted_frames(seed: int, n_frames: int) -> list[Atoms]:
    """Frames of one trajectory of random Cu25Zr25Al4.

    Melted from a bcc lattice at 14 to 20 A^3/atom and cooled from 2500 K to 300 K.
    """
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", "bcc", a=rng.uniform(3.05, 3.4), cubic=True).repeat(3)
    atoms.symbols[:] = rng.permutation(["Cu"] * 25 + ["Zr"] * 25 + ["Al"] * 4)
    calculator = stand_in_calculator(SPECIES)
    atoms.calc = calculator
    dynamics = Langevin(
        atoms, 2.0 * units.fs, temperature_K=2500.0, friction=0.05 / units.fs, rng=rng, fixcm=False
    )
    dynamics.run(200)
    frames = []
    for number, temperature in enumerate(np.linspace(2500.0, 300.0, n_frames)):
        dynamics.set_temperature(temperature_K=temperature)
        dynamics.run(60)
        frame = atoms.copy()
        frame.set_cell(
            frame.cell.array @ (np.eye(3) + rng.normal(0.0, 0.01, (3, 3))), scale_atoms=True
        )
        frame.calc = calculator
        results = {
            "energy": frame.get_potential_energy(),
            "forces": frame.get_forces(),
            "stress": frame.get_stress(),
        }
        frame.calc = SinglePointCalculator(frame, **results)
        frame.info = {"subset": "aimd", "family": f"melt{seed}", "frame_id": f"melt{seed}-{number}"}
        frames.append(frame)
    return frames


def main() -> None:
    trajectories = [melted_frames(seed, 8) for seed in range(12)]
    test = trajectories.pop() + trajectories.pop()
    train = [frame for trajectory in trajectories for frame in trajectory]
    with tempfile.TemporaryDirectory() as directory:
        trainer = NeppoTrainer(steps=1500, batch=4, learning_rate=(1e-2, 1e-4), seed=1)
        result = trainer.train(trainer.prepare(directory, PARAMETERS, train, test))
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(result.nep_txt, encoding="utf-8")
    errors = parity(result.nep_txt, test).overall
    sys.stdout.write(
        f"{PARAMETERS.number_of_parameters} parameters, {result.cpu_seconds:.0f} CPU s; "
        f"test: {errors.energy_rmse:.1f} meV/atom, "
        f"{errors.force_rmse:.0f} meV/A, {errors.virial_rmse:.0f} meV/atom\n"
    )


if __name__ == "__main__":
    main()
