"""Structures typical of the use of a NEP: a skewed glass, a crystal of two atoms, a close pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

if TYPE_CHECKING:
    from collections.abc import Callable


def label(atoms: Atoms, rng: np.random.Generator, *, stress: bool = True) -> Atoms:
    """Random labels of the size of real ones."""
    results = {
        "energy": float(rng.normal(-5.0, 0.1)) * len(atoms),
        "forces": rng.normal(0.0, 1.0, (len(atoms), 3)),
    }
    if stress:
        results["stress"] = rng.normal(0.0, 0.05, 6)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


@pytest.fixture(scope="session")
def structures() -> list[Atoms]:
    rng = np.random.default_rng(5)
    glass = bulk("Cu", "bcc", a=3.1, cubic=True).repeat(3)
    glass.symbols[:] = rng.permutation(["Cu"] * 25 + ["Zr"] * 25 + ["Al"] * 4)
    glass.set_cell(glass.cell.array @ (np.eye(3) + rng.normal(0.0, 0.05, (3, 3))), scale_atoms=True)
    glass.rattle(0.2, rng=rng)
    # A cell far thinner than the cutoff, whose atoms are neighbours of their own images.
    crystal = bulk("Zr", "hcp", a=3.2, c=5.1)
    crystal.symbols[1] = "Cu"
    crystal.rattle(0.1, rng=rng)
    pair = Atoms(
        "CuZr", positions=[[0.0, 0.0, 0.0], [0.9, 0.6, 0.4]], cell=[9.0, 8.0, 30.0], pbc=True
    )
    return [label(atoms, rng) for atoms in (glass, crystal, pair)]


@pytest.fixture(scope="session")
def add_labels() -> Callable[..., Atoms]:
    return label
