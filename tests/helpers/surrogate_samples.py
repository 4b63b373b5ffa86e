"""Initial configurations of several tests."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from mgflows import Alloy


def random_atoms(n: int = 150, seed: int = 0) -> Atoms:
    """Cu46Zr46Al8 at the paper's density with random positions."""
    alloy = Alloy.cuzral(n)
    positions = np.random.default_rng(seed).random((n, 3)) * alloy.box_length
    return Atoms(alloy.symbols, positions=positions, cell=[alloy.box_length] * 3, pbc=True)
