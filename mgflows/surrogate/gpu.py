"""Swap Monte Carlo of many replicas on an NVIDIA GPU.

Nothing else in mgflows depends on a GPU. Without one, or without a CUDA toolkit that numba finds,
:func:`require_gpu` names what is missing; :class:`~mgflows.surrogate.SwapMonteCarloReplicas` runs
on the processor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mgflows.errors import InputError, MissingDependencyError
from mgflows.surrogate.insertion import random_configuration
from mgflows.surrogate.kernels.layouts import GpuReplicas, Layout
from mgflows.surrogate.replicas import SwapMonteCarloReplicas

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from numpy.typing import NDArray

    from mgflows.alloy import Alloy
    from mgflows.surrogate.lennard_jones import LennardJones

__all__ = ["SwapMonteCarloGpu", "require_gpu"]

_MOST_ATOMS = 1000
"""Every move visits all atoms, and the positions of a replica share the memory of one block."""
_MOVES_PER_CHUNK = 100_000
"""Moves of a replica between two checks of the time and signals: well below a second."""


def require_gpu() -> None:
    """Raise an error unless numba can run kernels on a GPU.

    Raises
    ------
    MissingDependencyError
        If numba finds no driver, no GPU or no CUDA toolkit.
    """
    from numba import cuda

    if not cuda.is_available():
        raise MissingDependencyError(
            "numba finds no NVIDIA GPU with a driver and a CUDA toolkit",
            hint="install them and set CUDA_HOME, or use SwapMonteCarloReplicas on the processor",
        )


class SwapMonteCarloGpu(SwapMonteCarloReplicas):
    """Samplers of one alloy and schedule on a GPU, one in each block of threads.

    The methods are those of :class:`~mgflows.surrogate.SwapMonteCarloReplicas`. The number of
    replicas is free; a GPU needs thousands of them to be used fully. The replicas share nothing:
    each moves atoms of its own choice.

    Parameters
    ----------
    lj
        The surrogate.
    starts
        Start configurations of the same atoms in the same box, one per replica.
    seed
        Seed of the random numbers, of which each replica has its own stream; or one seed per
        replica.
    settings
        ``exchange_pairs``, ``max_displacement``, ``swap_fraction`` and ``dtype`` (``"float32"`` by
        default), as in :class:`~mgflows.surrogate.SwapMonteCarlo`.

    Raises
    ------
    MissingDependencyError
        If there is no GPU.
    InputError
        As in :class:`~mgflows.surrogate.SwapMonteCarloReplicas`, and for more than 1000 atoms.
    """

    def __init__(
        self, lj: LennardJones, starts: Sequence[Atoms], seed: int | Sequence[int], **settings: Any
    ) -> None:
        require_gpu()
        if not starts:
            raise InputError("no start configurations are given", hint="give one per replica")
        if len(starts[0]) > _MOST_ATOMS:
            raise InputError(
                f"{len(starts[0])} atoms are given but a replica on a GPU has at most "
                f"{_MOST_ATOMS}",
                hint="use SwapMonteCarlo, which is faster for large systems",
            )
        super().__init__(lj, starts, seed, **settings)

    @classmethod
    def from_alloy(
        cls, lj: LennardJones, alloy: Alloy, seed: int | Sequence[int], **settings: Any
    ) -> Self:
        """Start from atoms inserted at random in the alloy's box, independently per replica.

        Parameters
        ----------
        lj, alloy
            Surrogate, and composition with number of atoms and density.
        seed
            One seed per replica, or a single seed with ``n_replicas``.
        settings
            ``n_replicas`` (4096 by default), and the settings of the class.
        """
        require_gpu()
        n_replicas = settings.pop("n_replicas", 4096)
        seeds = (
            np.random.SeedSequence(seed).generate_state(n_replicas).tolist()
            if isinstance(seed, (int, np.integer))
            else list(seed)
        )
        return cls(lj, [random_configuration(lj, alloy, own) for own in seeds], seed, **settings)

    @property
    def _method(self) -> str:
        return "gpu"

    @property
    def _chunk(self) -> int:
        return max(1, _MOVES_PER_CHUNK // self.n_atoms)

    @staticmethod
    def _check_number(n_replicas: int, dtype: str) -> None:
        """Accept any number."""

    @staticmethod
    def _lay_out_replicas(systems: list[Layout], random_states: NDArray[np.uint64]) -> Layout:
        return GpuReplicas(systems, random_states)
