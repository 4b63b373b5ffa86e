"""Labelled Cu-Al crystals of ASE's effective-medium theory: cheap, analytic forces, any number of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from mgflows.nep import NepParameters

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms

TINY_POTENTIAL = Path(__file__).parents[1] / "data" / "tiny_nep.txt"


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


@pytest.fixture(scope="session")
def make_emt_frame() -> Callable[..., Atoms]:
    return emt_frame


@pytest.fixture(scope="session")
def emt_frames() -> list[Atoms]:
    return [
        emt_frame(
            number, subset="distorted" if number % 2 else "aimd", family=f"sample{number // 4}"
        )
        for number in range(24)
    ]


@pytest.fixture(scope="session")
def small_parameters() -> NepParameters:
    return NepParameters(
        ("Cu", "Al"), cutoff=(5.0, 4.0), n_max=(4, 3), basis_size=(4, 4), l_max=(4, 0, 0), neuron=10
    )


@pytest.fixture(scope="session")
def tiny_potential() -> Path:
    return TINY_POTENTIAL


@pytest.fixture
def glass() -> Atoms:
    """A strained, disordered Cu-Zr-Al cell for the tiny potential."""
    rng = np.random.default_rng(3)
    atoms = bulk("Cu", "bcc", a=3.2, cubic=True).repeat(3)
    atoms.symbols[:] = rng.permutation(["Cu"] * 25 + ["Zr"] * 25 + ["Al"] * 4)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0.0, 0.02, (3, 3))), scale_atoms=True)
    atoms.rattle(0.15, rng=rng)
    return atoms
