"""The Lennard-Jones surrogate: sampling, inherent structures and the supercooling clock.

Names are imported on first use, because the compiled kernels import numba.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mgflows.lazy import lazy_names

if TYPE_CHECKING:
    from mgflows.surrogate.inherent_structure import (
        find_inherent_structure,
        find_inherent_structures,
    )
    from mgflows.surrogate.lennard_jones import LennardJones
    from mgflows.surrogate.molecular_dynamics import SurrogateMolecularDynamics
    from mgflows.surrogate.replicas import SwapMonteCarloReplicas
    from mgflows.surrogate.supercooling import SupercoolingClock, fit_supercooling_clock
    from mgflows.surrogate.swap_monte_carlo import SwapMonteCarlo

__all__ = [
    "LennardJones",
    "SupercoolingClock",
    "SurrogateMolecularDynamics",
    "SwapMonteCarlo",
    "SwapMonteCarloReplicas",
    "find_inherent_structure",
    "find_inherent_structures",
    "fit_supercooling_clock",
]

__getattr__ = lazy_names(
    __name__,
    {
        "find_inherent_structure": "mgflows.surrogate.inherent_structure",
        "find_inherent_structures": "mgflows.surrogate.inherent_structure",
        "LennardJones": "mgflows.surrogate.lennard_jones",
        "SurrogateMolecularDynamics": "mgflows.surrogate.molecular_dynamics",
        "SwapMonteCarloReplicas": "mgflows.surrogate.replicas",
        "SupercoolingClock": "mgflows.surrogate.supercooling",
        "fit_supercooling_clock": "mgflows.surrogate.supercooling",
        "SwapMonteCarlo": "mgflows.surrogate.swap_monte_carlo",
    },
)
