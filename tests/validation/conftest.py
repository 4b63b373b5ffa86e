from __future__ import annotations

import pytest

from mgflows.validation.elasticity import relax_to_zero_stress
from tests.helpers.calculators import disordered_atoms, lennard_jones


@pytest.fixture(scope="session")
def disordered():
    """A small disordered alloy relaxed under Lennard-Jones forces: strain moves its ions."""
    return relax_to_zero_stress(disordered_atoms(), lennard_jones("Cu", "Zr"), 3e-5)
