"""The Lennard-Jones world: sampling, inherent structures and the supercooling clock, on numpy and numba alone.

The names below are imported on first use, because the kernels bring numba with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mgflows.surrogate.inherent_structure import find_inherent_structure, find_inherent_structures
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

_HOME = {
    "LennardJones": "lennard_jones",
    "SupercoolingClock": "supercooling",
    "SurrogateMolecularDynamics": "molecular_dynamics",
    "SwapMonteCarlo": "swap_monte_carlo",
    "SwapMonteCarloReplicas": "replicas",
    "find_inherent_structure": "inherent_structure",
    "find_inherent_structures": "inherent_structure",
    "fit_supercooling_clock": "supercooling",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(f"mgflows.surrogate.{_HOME[name]}"), name)
    raise AttributeError(f"module 'mgflows.surrogate' has no attribute {name!r}")
