"""Labelled Cu-Al crystals of ASE's effective-medium theory: cheap, with analytic forces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from mgflows.nep import NepParameters

if TYPE_CHECKING:
    from ase import Atoms

PARAMETERS = NepParameters(
    ("Cu", "Al"), cutoff=(5.0, 4.0), n_max=(4, 3), basis_size=(4, 4), l_max=(4, 0, 0), neuron=10
)
"""One small network for all tests on these frames: other shapes would be compiled, too."""


def emt_frame(number: int, subset: str = "aimd", family: str = "melt") -> Atoms:
    rng = np.random.default_rng(number)
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.symbols[rng.choice(len(atoms), 12, replace=False)] = "Al"
    atoms.set_cell(
        atoms.cell.array @ (np.eye(3) * rng.uniform(0.98, 1.05) + rng.normal(0.0, 0.01, (3, 3))),
        scale_atoms=True,
    )
    atoms.rattle(0.1, rng=rng)
    atoms.calc = EMT()
    results = {
        "energy": atoms.get_potential_energy(),
        "forces": atoms.get_forces(),
        "stress": atoms.get_stress(),
    }
    atoms.calc = SinglePointCalculator(atoms, **results)
    atoms.info = {"subset": subset, "family": family, "frame_id": f"emt-{number}"}
    return atoms


def emt_frames() -> list[Atoms]:
    """Twenty-four frames of six families and two subsets."""
    return [
        emt_frame(
            number, subset="distorted" if number % 2 else "aimd", family=f"sample{number // 4}"
        )
        for number in range(24)
    ]
