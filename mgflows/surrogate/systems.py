"""The atoms as the kernels hold them: all pairs in a small box, cells in a large one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mgflows.errors import InputError
from mgflows.surrogate import cell_kernels, kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mgflows.surrogate.lennard_jones import LennardJones, ReducedConfiguration

__all__ = ["CROSSOVER", "AllPairs", "Cells", "Method", "lay_out"]

Method = Literal["all_pairs", "cells"]
CROSSOVER = {"float64": 1000, "float32": 1300}
"""Number of atoms above which cells are faster, where the box holds enough of them (measured: ``docs/performance.md``)."""


class AllPairs:
    """Every move looks at every atom.

    Parameters
    ----------
    table, configuration
        As :func:`mgflows.surrogate.kernels.prepare` makes them.
    """

    method: Method = "all_pairs"

    def __init__(self, table: kernels.Table, configuration: kernels.Configuration) -> None:
        self.table = table
        self.configuration = configuration

    def recompute_energies(self) -> None:
        """Compute the energies afresh."""
        kernels.recompute_energies(self.configuration, self.table)

    def run(self, *arguments: Any) -> None:
        """Run sweeps; the arguments are those of :func:`mgflows.surrogate.kernels.run_sweeps` after the table."""
        kernels.run_sweeps(self.configuration, self.table, *arguments)

    @property
    def lattice(self) -> NDArray[np.int32]:
        """(n, 3) lattice coordinates of the atoms, grouped by species."""
        return self.configuration.positions[:, : self.configuration.species.size].T

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that changes on the way, for a checkpoint."""
        return self.configuration._asdict()

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go back to what :meth:`arrays` returned."""
        self.configuration = kernels.Configuration(**{name: np.ascontiguousarray(arrays[name]) for name in self.configuration._fields})


class Cells:
    """Every move looks at the atoms of the cells nearby.

    Parameters
    ----------
    grid, configuration
        As :func:`mgflows.surrogate.cell_kernels.prepare_cells` makes them.
    """

    method: Method = "cells"

    def __init__(self, grid: cell_kernels.Grid, configuration: cell_kernels.CellConfiguration) -> None:
        self.grid = grid
        self.configuration = configuration

    def recompute_energies(self) -> None:
        """Compute the energies afresh."""
        cell_kernels.recompute_energies_in_cells(self.configuration, self.grid)

    def run(self, *arguments: Any) -> None:
        """Run sweeps; the arguments are those of :func:`mgflows.surrogate.kernels.run_sweeps` after the table."""
        cell_kernels.run_sweeps_in_cells(self.configuration, self.grid, *arguments)

    @property
    def lattice(self) -> NDArray[np.int32]:
        """(n, 3) lattice coordinates of the atoms, grouped by species."""
        return self.configuration.positions[:, self.configuration.slot].T

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that changes on the way, for a checkpoint."""
        return self.configuration._asdict()

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go back to what :meth:`arrays` returned."""
        self.configuration = cell_kernels.CellConfiguration(
            **{name: np.ascontiguousarray(arrays[name]) for name in self.configuration._fields}
        )


def lay_out(
    lj: LennardJones,
    reduced: ReducedConfiguration,
    order: NDArray[np.int64],
    max_displacement: float,
    dtype: str,
    method: Method | Literal["auto"],
) -> AllPairs | Cells:
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
        ``"auto"`` takes the faster one.

    Raises
    ------
    InputError
        If cells are asked for and the box is below three of them, or the method does not exist.
    """
    if method not in ("auto", "all_pairs", "cells"):
        raise InputError(f"the method {method!r} does not exist; choose 'auto', 'all_pairs' or 'cells'")
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
    fits = bool(np.all(cell_kernels.cells_along(reduced.box, cutoff, max_displacement) >= 3))
    if method == "cells" and not fits:
        raise InputError(
            f"the box edge {reduced.box.min():.4g} is below three cells of the largest cutoff {cutoff:.4g} and one displacement, in units of "
            "the reference sigma; use method='all_pairs'"
        )
    system: AllPairs | Cells
    if method == "cells" or (method == "auto" and fits and len(order) > CROSSOVER[dtype]):
        system = Cells(*cell_kernels.prepare_cells(*arguments, max_displacement, np.dtype(dtype)))
    else:
        system = AllPairs(*kernels.prepare(*arguments, np.dtype(dtype)))
    system.recompute_energies()
    return system
