"""Memory layouts of the atoms for the kernels, and the choice of a method.

All pairs are used in a box of a few hundred atoms, cells in a larger one, and images in a box below
twice the cutoff; replicas occupy the lanes of a register.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from mgflows.errors import InputError
from mgflows.surrogate.kernels import all_pairs, cells, images, replicas
from mgflows.surrogate.kernels.simd import REGISTER_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mgflows.surrogate.lennard_jones import LennardJones, ReducedConfiguration

__all__ = [
    "CROSSOVER",
    "AllPairs",
    "Cells",
    "GpuReplicas",
    "Images",
    "Layout",
    "Method",
    "Replicas",
    "lay_out",
]

Method = Literal["all_pairs", "cells", "images"]
CROSSOVER = {"float64": 1000, "float32": 1500}
"""Number of atoms above which cells are faster, if the box holds enough cells.

Measured: ``docs/reference/performance.md``.
"""


class Layout:
    """Tables and atoms as the kernels of one method take them.

    Parameters
    ----------
    table, configuration
        What the method's ``prepare`` function returns.
    """

    method: ClassVar[Method]
    run_kernel: ClassVar[Callable[..., None]]
    energy_kernel: ClassVar[Callable[..., None]]

    def __init__(self, table: Any, configuration: Any) -> None:
        self.table = table
        self.configuration = configuration

    def recompute_energies(self) -> None:
        """Compute the energies from scratch."""
        self.energy_kernel(self.configuration, self.table)

    def run(self, *arguments: Any) -> None:
        """Run sweeps.

        The arguments are those of :func:`mgflows.surrogate.kernels.all_pairs.run_sweeps` after the
        table.
        """
        self.run_kernel(self.configuration, self.table, *arguments)

    @property
    def lattice(self) -> NDArray[np.int32]:
        """(n, 3) lattice coordinates of the atoms, grouped by species."""
        return self.configuration.positions[:, : self.configuration.species.size].T

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything that changes during a run, for a checkpoint."""
        return self.configuration._asdict()

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Restore the state returned by :meth:`arrays`."""
        self.configuration = type(self.configuration)(
            **{name: np.ascontiguousarray(arrays[name]) for name in self.configuration._fields}
        )


class AllPairs(Layout):
    """Every move visits every atom."""

    method = "all_pairs"
    run_kernel = staticmethod(all_pairs.run_sweeps)
    energy_kernel = staticmethod(all_pairs.recompute_energies)


class Cells(Layout):
    """Every move visits the atoms of the nearby cells."""

    method = "cells"
    run_kernel = staticmethod(cells.run_sweeps_in_cells)
    energy_kernel = staticmethod(cells.recompute_energies_in_cells)

    @property
    def lattice(self) -> NDArray[np.int32]:
        """(n, 3) lattice coordinates of the atoms, grouped by species."""
        return self.configuration.positions[:, self.configuration.slot].T


class Images(Layout):
    """Every move visits every image of every atom within reach.

    Slow; for boxes below twice the cutoff.
    """

    method = "images"
    run_kernel = staticmethod(images.run_sweeps_over_images)
    energy_kernel = staticmethod(images.recompute_energy_of_images)


_REPLICA_REFRESH = 1000
"""Sweeps between two recomputations of the energies; they affect only reported values."""


class Replicas(Layout):
    """Independent systems of the same atoms in the same box, one in each lane of a register.

    Parameters
    ----------
    systems
        One system per lane of the register.
    random_states
        (4, lanes) random state of each replica.
    """

    def __init__(self, systems: list[Layout], random_states: NDArray[np.uint64]) -> None:
        lanes, first = len(systems), systems[0]
        dtype = first.table.constants.dtype
        assert lanes == self.lanes(dtype)
        n_atoms = first.configuration.species.size
        self._replica = first
        table = first.table._replace(
            sigma_squared=np.ascontiguousarray(first.table.sigma_squared[:, :n_atoms]),
            four_epsilon=np.ascontiguousarray(first.table.four_epsilon[:, :n_atoms]),
        )
        configuration = replicas.ReplicaConfiguration(
            positions=np.stack(
                [system.configuration.positions[:, :n_atoms] for system in systems], axis=-1
            ),
            species=first.configuration.species,
            old=np.zeros((3, lanes), np.int32),
            new=np.zeros((3, lanes), np.int32),
            change=np.zeros(lanes, dtype),
            accepted=np.zeros(lanes, np.int64),
            bits=np.zeros(lanes, np.uint64),
            total=np.zeros(lanes),
            random_states=random_states,
            sweeps=np.zeros(1, dtype=np.int64),
        )
        super().__init__(table, configuration)
        self.recompute_energies()

    @staticmethod
    def lanes(dtype: np.dtype[Any] | str) -> int:
        """Return how many replicas a register holds."""
        return REGISTER_BYTES // np.dtype(dtype).itemsize

    def recompute_energies(self) -> None:
        """Compute the energies from scratch."""
        n_atoms = self.configuration.species.size
        for lane in range(self.configuration.total.size):
            self._replica.configuration.positions[:, :n_atoms] = self.configuration.positions[
                :, :, lane
            ]
            self._replica.recompute_energies()
            self.configuration.total[lane] = self._replica.configuration.total[0]

    def run(
        self,
        proposals: all_pairs.Proposals,
        counters: all_pairs.Counters,
        temperatures: NDArray[np.float64],
        refresh_interval: int,  # noqa: ARG002
        energies: NDArray[np.float64],
        random_state: all_pairs.RandomState,
    ) -> None:
        """Run sweeps; the energies have one column per replica."""
        start = 0
        while start < len(temperatures):
            done = int(self.configuration.sweeps[0])
            stop = min(
                len(temperatures),
                start + (1 if done < 100 else _REPLICA_REFRESH - done % _REPLICA_REFRESH),
            )
            replicas.run_replica_sweeps(
                self.configuration,
                self.table,
                proposals,
                counters,
                temperatures[start:stop],
                energies[start:stop],
                random_state,
            )
            if done < 100 or self.configuration.sweeps[0] % _REPLICA_REFRESH == 0:
                self.recompute_energies()
                energies[stop - 1] = self.configuration.total
            start = stop

    @property
    def lattice(self) -> NDArray[np.int32]:
        """(lanes, n, 3) lattice coordinates of the atoms, grouped by species."""
        return self.configuration.positions.T


class GpuReplicas(Layout):
    """Independent systems of the same atoms in the same box, one in each block of threads of a GPU.

    The arrays are in host memory; every run copies them to the GPU and back.

    Parameters
    ----------
    systems
        The systems.
    random_states
        (n_replicas, 4) random state of each replica.

    Attributes
    ----------
    threads
        Threads of a block, a power of two.
    """

    threads: ClassVar[int] = 32

    def __init__(self, systems: list[Layout], random_states: NDArray[np.uint64]) -> None:
        from mgflows.surrogate.kernels import gpu

        first = systems[0]
        n_atoms = first.configuration.species.size
        table = first.table._replace(
            sigma_squared=np.ascontiguousarray(first.table.sigma_squared[:, :n_atoms]),
            four_epsilon=np.ascontiguousarray(first.table.four_epsilon[:, :n_atoms]),
        )
        configuration = gpu.GpuConfiguration(
            positions=np.stack([system.lattice.T for system in systems]),
            species=first.configuration.species,
            total=np.array([system.configuration.total[0] for system in systems]),
            random_states=random_states,
            sweeps=np.zeros(1, dtype=np.int64),
        )
        super().__init__(table, configuration)

    def run(
        self,
        proposals: all_pairs.Proposals,
        counters: all_pairs.Counters,
        temperatures: NDArray[np.float64],
        refresh_interval: int,
        energies: NDArray[np.float64],
        random_state: all_pairs.RandomState,  # noqa: ARG002
    ) -> None:
        """Run sweeps; the energies have one column per replica."""
        from numba import cuda

        from mgflows.surrogate.kernels import gpu

        state = self.configuration
        n_replicas, _, n_atoms = state.positions.shape
        # An array of a kernel has at least one element.
        pairs = proposals.exchange_pairs, proposals.exchange_cumulative
        n_pairs = len(proposals.exchange_pairs)
        if n_pairs == 0:
            pairs = np.zeros((1, 2), dtype=np.int64), np.ones(1)
        kernel = gpu.make_kernel(n_atoms, max(n_pairs, 1), self.table.constants.dtype, self.threads)
        counts = [np.zeros((n_replicas, *each.shape), dtype=np.int64) for each in counters]
        results = [state.positions, state.total, state.random_states, *counts, energies]
        *changed, sampled = map(cuda.to_device, results)
        settings = map(
            cuda.to_device,
            (
                state.species,
                self.table.sigma_squared,
                self.table.four_epsilon,
                self.table.constants,
                proposals.reach,
                *pairs,
                proposals.first,
            ),
        )
        kernel[n_replicas, self.threads](
            *changed,
            *settings,
            int(proposals.swap_fraction * 2**32),
            cuda.to_device(temperatures),
            int(state.sweeps[0]),
            refresh_interval,
            sampled,
        )
        for host, device in zip(results, [*changed, sampled], strict=True):
            device.copy_to_host(host)
        for sums, count in zip(counters, counts, strict=True):
            sums += count.sum(axis=0)
        state.sweeps[0] += len(temperatures)

    @property
    def lattice(self) -> NDArray[np.int32]:
        """(n_replicas, n, 3) lattice coordinates of the atoms, grouped by species."""
        return self.configuration.positions.transpose(0, 2, 1)


def lay_out(
    lj: LennardJones,
    reduced: ReducedConfiguration,
    order: NDArray[np.int64],
    max_displacement: float,
    dtype: str,
    method: Method | Literal["auto"],
) -> Layout:
    """Lay out atoms for the kernels of a method, with their energies.

    Parameters
    ----------
    lj, reduced
        Surrogate and configuration.
    order
        (n,) permutation that groups the atoms by species.
    max_displacement
        Reduced edge of the cube of a displacement.
    dtype
        Precision.
    method
        ``"auto"`` selects images if the box is below twice the largest cutoff, and otherwise the
        faster of the other two.

    Raises
    ------
    InputError
        If the method is all pairs and the box is below twice the largest cutoff, if the method is
        cells and the box is below three of them, or if the method does not exist.
    """
    if method not in ("auto", "all_pairs", "cells", "images"):
        raise InputError(
            f"the method {method!r} does not exist",
            hint="choose 'auto', 'all_pairs', 'cells' or 'images'",
        )
    if method == "all_pairs" and not reduced.nearest_image_suffices:
        raise InputError(
            f"the box edge {reduced.box.min() * lj.length_unit:.4g} A is below "
            "twice the largest cutoff, but all pairs and replicas include only nearest images",
            hint="use SwapMonteCarlo with method='auto', which sums over images, or more atoms",
        )
    arguments = (
        lj.reduced_sigma,
        lj.reduced_epsilon,
        lj.cutoff_factor,
        reduced.positions[order],
        reduced.types[order],
        reduced.box,
    )
    present = np.unique(reduced.types)
    cutoff = float(lj.cutoff_factor * lj.reduced_sigma[np.ix_(present, present)].max())
    fits = bool(np.all(cells.cells_along(reduced.box, cutoff, max_displacement) >= 3))
    if method == "cells" and not fits:
        raise InputError(
            f"the box edge {reduced.box.min():.4g} is below three cells of the largest "
            f"cutoff {cutoff:.4g} plus one displacement, in units of the reference sigma",
            hint="use method='all_pairs'",
        )
    system: Layout
    if method == "images" or (method == "auto" and not reduced.nearest_image_suffices):
        system = Images(*images.prepare_images(*arguments, reduced.images))
    elif method == "cells" or (method == "auto" and fits and len(order) > CROSSOVER[dtype]):
        system = Cells(*cells.prepare_cells(*arguments, max_displacement, np.dtype(dtype)))
    else:
        system = AllPairs(*all_pairs.prepare(*arguments, np.dtype(dtype)))
    system.recompute_energies()
    return system
