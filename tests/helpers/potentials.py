"""NEP files with random parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

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
