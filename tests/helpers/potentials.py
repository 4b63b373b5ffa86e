"""NEP files with random parameters, and a published table that is not shipped."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence


def random_potential(
    species: Sequence[str],
    n_max: tuple[int, int] = (4, 4),
    l_max: str = "4 2 0",
    seed: int = 0,
) -> str:
    """The text of a NEP4 with ZBL and small random parameters."""
    n_species, neuron, basis = len(species), 5, 4
    numbers = [int(word) for word in l_max.split()]
    invariants = numbers[0] + sum(number > 0 for number in numbers[1:])
    dimension = n_max[0] + 1 + (n_max[1] + 1) * invariants
    networks = n_species * (dimension + 2) * neuron + 1
    functions = (n_max[0] + n_max[1] + 2) * (basis + 1)
    count = networks + n_species**2 * functions
    parameters = np.random.default_rng(seed).normal(scale=0.1, size=count)
    header = [
        f"nep4_zbl {n_species} {' '.join(species)}",
        "zbl 0.9 1.8",
        "cutoff 5 4 80 40",
        f"n_max {n_max[0]} {n_max[1]}",
        f"basis_size {basis} {basis}",
        f"l_max {l_max}",
        f"ANN {neuron} 0",
    ]
    body = [f"{value:.7e}" for value in parameters] + ["1.0"] * dimension
    return "\n".join([*header, *body]) + "\n"


EAM_OF_2011 = "CUZRAL_EAM_2011"
"""Variable that names the file."""
_SHA256 = "12fc74dd298ccdee179d10091e80f6948402af8443d8dda3579aff850b121f8f"


def eam_of_2011() -> Path:
    """The embedded-atom table ZrCuAl2011.eam.alloy of H. W. Sheng; skips the test without it.

    Its file has no licence, so that it cannot be shipped.
    """
    given = os.environ.get(EAM_OF_2011)
    if not given:
        pytest.skip(f"needs ZrCuAl2011.eam.alloy: name the file in the variable {EAM_OF_2011}")
    found = hashlib.sha256(Path(given).read_bytes()).hexdigest()
    assert found == _SHA256, f"{given} is another table"
    return Path(given)
