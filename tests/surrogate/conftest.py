from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from mgflows.surrogate import LennardJones, SurrogateMolecularDynamics
from tests.helpers.surrogate_samples import random_atoms

if TYPE_CHECKING:
    from ase import Atoms


@pytest.fixture(scope="session")
def consistent() -> LennardJones:
    return LennardJones.cuzral()


@pytest.fixture(scope="session")
def liquid(consistent: LennardJones) -> Atoms:
    """An equilibrated liquid of 150 atoms at T* = 3.

    The species are shuffled, so that no test relies on their order.
    """
    md = SurrogateMolecularDynamics(consistent, random_atoms(), seed=1)
    md.run(5.0, 5.0)
    md.run(5.0, 3.0)
    atoms = md.atoms
    return atoms[np.random.default_rng(0).permutation(len(atoms))]
