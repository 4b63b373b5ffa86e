"""Swap Monte Carlo of replicas in the lanes of a SIMD register, for many samples of one alloy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from ase import Atoms

from mgflows.errors import InputError
from mgflows.surrogate.insertion import random_configuration
from mgflows.surrogate.kernels import all_pairs
from mgflows.surrogate.kernels.layouts import Layout, Replicas, lay_out
from mgflows.surrogate.lennard_jones import LennardJones
from mgflows.surrogate.swap_monte_carlo import SwapMonteCarlo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mgflows.alloy import Alloy

__all__ = ["SwapMonteCarloReplicas"]


class SwapMonteCarloReplicas(SwapMonteCarlo):
    """Samplers of one alloy and schedule on one core, one in each lane of a SIMD register.

    The methods are those of :class:`SwapMonteCarlo`. :meth:`run` returns one column of energies per
    replica. ``energy_per_atom`` and the energies in the history and snapshots of a cooling are
    means over the replicas; counts of moves are sums. Snapshots hold (n_replicas, n, 3) positions.

    Parameters
    ----------
    lj
        The surrogate.
    starts
        Start configurations of the same atoms in the same box, one per lane: 16 in float32, 8 in
        float64.
    seed
        Seed of the random numbers, of which each replica has its own stream; or one seed per
        replica, all of which seed the choice of the atoms that they share.
    exchange_pairs, max_displacement, swap_fraction, dtype
        As in :class:`SwapMonteCarlo`.

    Raises
    ------
    InputError
        As in :class:`SwapMonteCarlo`, and for a wrong number of starts or starts that differ in
        atoms or box.

    Notes
    -----
    All replicas select the same atom, or pair of atoms, for a move; displacements and acceptance
    are drawn for each replica.
    """

    def __init__(
        self,
        lj: LennardJones,
        starts: Sequence[Atoms],
        seed: int | Sequence[int],
        *,
        exchange_pairs: Sequence[tuple[str, str]] | None = None,
        max_displacement: float = 0.15,
        swap_fraction: float = 0.2,
        dtype: Literal["float64", "float32"] = "float32",
    ) -> None:
        super().__init__(
            lj,
            starts[0],
            int(seed) if isinstance(seed, (int, np.integer)) else _combined(seed),
            exchange_pairs=exchange_pairs,
            max_displacement=max_displacement,
            swap_fraction=swap_fraction,
            dtype=dtype,
            method="all_pairs",
        )
        self._check_number(len(starts), dtype)
        systems: list[Layout] = []
        for start in starts:
            if start.get_chemical_symbols() != starts[0].get_chemical_symbols() or np.any(
                start.cell.array != starts[0].cell.array
            ):
                raise InputError(
                    "the replicas differ in their atoms or their box",
                    hint="give configurations of the same atoms in the same box",
                )
            system = lay_out(
                lj,
                lj.reduced_configuration(start),
                self._order,
                max_displacement,
                dtype,
                "all_pairs",
            )
            systems.append(system)
        if isinstance(seed, (int, np.integer)):
            streams = range(1, len(starts) + 1)
            states = [all_pairs.seed_random_state(int(seed), stream) for stream in streams]
        else:
            states = [all_pairs.seed_random_state(own, 1) for own in _checked(seed, len(starts))]
        self._replicas = self._lay_out_replicas(systems, np.array(states))
        self._system = self._replicas

    @classmethod
    def from_alloy(
        cls, lj: LennardJones, alloy: Alloy, seed: int | Sequence[int], **settings: Any
    ) -> Self:
        """Start from atoms inserted at random in the alloy's box, independently per replica.

        Parameters
        ----------
        lj, alloy, seed
            Surrogate, composition with number of atoms and density, and seed of insertion and
            sampling; a sequence has one seed per replica.
        settings
            As in :class:`SwapMonteCarloReplicas`.
        """
        lanes = Replicas.lanes(settings.get("dtype", "float32"))
        seeds = (
            np.random.SeedSequence(seed).generate_state(lanes).tolist()
            if isinstance(seed, (int, np.integer))
            else _checked(seed, lanes)
        )
        return cls(lj, [random_configuration(lj, alloy, own) for own in seeds], seed, **settings)

    @property
    def energies_per_atom(self) -> NDArray[np.float64]:
        """(n_replicas,) reduced potential energies per atom."""
        return self._replicas.configuration.total / self.n_atoms

    @property
    def replicas(self) -> list[Atoms]:
        """The current configurations in A, in the order of the atoms given."""
        return [
            Atoms(numbers=self._template.numbers, positions=own, cell=self._template.cell, pbc=True)
            for own in self._positions()
        ]

    @property
    def atoms(self) -> Atoms:
        """The current configuration of the first replica."""
        return self.replicas[0]

    @classmethod
    def _rebuild(cls, arrays: dict[str, NDArray[Any]], values: dict[str, Any]) -> Self:
        return cls(
            LennardJones.from_dict(values["lj"]),
            [
                Atoms(numbers=arrays["numbers"], positions=own, cell=arrays["cell"], pbc=True)
                for own in arrays["positions"]
            ],
            seed=0,
            exchange_pairs=[(a, b) for a, b in values["exchange_pairs"]],
            max_displacement=values["max_displacement"],
            swap_fraction=values["swap_fraction"],
            dtype=values["dtype"],
        )

    @property
    def _method(self) -> str:
        return "replicas"

    @property
    def _energy_shape(self) -> tuple[int, ...]:
        return self._replicas.configuration.total.shape

    @property
    def _chunk(self) -> int:
        return max(1, super()._chunk // Replicas.lanes(self.dtype))

    @staticmethod
    def _check_number(n_replicas: int, dtype: str) -> None:
        """Raise an error for a number of replicas that cannot run side by side."""
        lanes = Replicas.lanes(dtype)
        if n_replicas != lanes:
            raise InputError(
                f"{n_replicas} replicas are given but {dtype} needs {lanes}, one per lane",
                hint=f"give {lanes} start configurations",
            )

    @staticmethod
    def _lay_out_replicas(systems: list[Layout], random_states: NDArray[np.uint64]) -> Layout:
        return Replicas(systems, np.ascontiguousarray(random_states.T))


def _checked(seeds: Sequence[int], lanes: int) -> list[int]:
    if len(seeds) != lanes:
        raise InputError(
            f"{len(seeds)} seeds are given for {lanes} replicas", hint=f"give one or {lanes} seeds"
        )
    return list(seeds)


def _combined(seeds: Sequence[int]) -> int:
    """Return a seed that depends on all of several seeds and their order."""
    return int(np.random.SeedSequence(list(seeds)).generate_state(1, np.uint64)[0])
