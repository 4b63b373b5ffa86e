"""Compiled kernel of the ASE calculator: any cell, periodic or not, by bins."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mgflows.compilation import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["image_sum"]


# error_model="numpy" makes a division by zero give infinity; checking for it would cost time in
# every pair.
@njit(error_model="numpy")
def image_sum(
    positions: NDArray[np.float64],
    types: NDArray[np.int64],
    cell: NDArray[np.float64],
    inverse_cell: NDArray[np.float64],
    periodic: NDArray[np.bool_],
    n_bins: NDArray[np.int64],
    reach: NDArray[np.int64],
    sigma: NDArray[np.float64],
    epsilon: NDArray[np.float64],
    cutoff_factor: float,
    shortest: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Energies, forces and virial of any configuration, over all images within the cutoff.

    The cell is divided into ``n_bins`` bins along its vectors, and each atom interacts with atoms
    in the ``reach`` nearest bins on either side. A bin index beyond the cell refers to an image of
    a bin inside it, so a cell much smaller than the cutoff needs no special case.

    Parameters
    ----------
    positions
        (n, 3) Cartesian positions, not necessarily inside the cell.
    types
        (n,) indices into the tables.
    cell, inverse_cell
        (3, 3) cell with one vector per row, and its inverse.
    periodic
        (3,) whether each cell vector repeats.
    n_bins, reach
        (3,) numbers of bins along, and of neighbouring bins to visit on either side of, each
        vector.
    sigma, epsilon
        (m, m) pair tables.
    cutoff_factor
        Cutoff in units of each pair's ``sigma``.
    shortest
        Distance below which atoms count as coincident: their energy is infinite.

    Returns
    -------
    energies, forces, virial
        (n,) energies (half of each pair to either atom), (n, 3) forces, (3, 3) virial: the sum over
        pairs of separation times force, positive when compressed.
    """
    n = positions.shape[0]
    n_cells = n_bins[0] * n_bins[1] * n_bins[2]
    wrapped = np.empty((n, 3))
    bins = np.empty((n, 3), dtype=np.int64)
    first = np.full(n_cells, -1, dtype=np.int64)
    following = np.full(n, -1, dtype=np.int64)
    for i in range(n):
        for d in range(3):
            wrapped[i, d] = positions[i, d]
        for d in range(3):
            fraction = (
                positions[i, 0] * inverse_cell[0, d]
                + positions[i, 1] * inverse_cell[1, d]
                + positions[i, 2] * inverse_cell[2, d]
            )
            if periodic[d]:
                whole = math.floor(fraction)
                fraction -= whole
                for e in range(3):
                    wrapped[i, e] -= whole * cell[d, e]
            # Along a direction that is not periodic, an atom outside the cell belongs to the
            # outermost bin.
            bins[i, d] = min(max(math.floor(fraction * n_bins[d]), 0), n_bins[d] - 1)
        c = (bins[i, 0] * n_bins[1] + bins[i, 1]) * n_bins[2] + bins[i, 2]
        following[i] = first[c]
        first[c] = i

    shift = cutoff_factor**-12 - cutoff_factor**-6
    energies = np.zeros(n)
    forces = np.zeros((n, 3))
    virial = np.zeros((3, 3))
    separation = np.empty(3)
    image = np.empty(3, dtype=np.int64)
    inside = np.empty(3, dtype=np.int64)
    offset = np.empty(3, dtype=np.int64)
    for i in range(n):
        for offset[0] in range(-reach[0], reach[0] + 1):
            for offset[1] in range(-reach[1], reach[1] + 1):
                for offset[2] in range(-reach[2], reach[2] + 1):
                    exists = True
                    for d in range(3):
                        index = bins[i, d] + offset[d]
                        image[d] = index // n_bins[d]
                        inside[d] = index - image[d] * n_bins[d]
                        if image[d] != 0 and not periodic[d]:
                            exists = False
                    if not exists:
                        continue
                    j = first[(inside[0] * n_bins[1] + inside[1]) * n_bins[2] + inside[2]]
                    while j >= 0:
                        itself = j == i and image[0] == 0 and image[1] == 0 and image[2] == 0
                        if not itself:
                            r2 = 0.0
                            for d in range(3):
                                translation = (
                                    image[0] * cell[0, d]
                                    + image[1] * cell[1, d]
                                    + image[2] * cell[2, d]
                                )
                                separation[d] = wrapped[i, d] - wrapped[j, d] - translation
                                r2 += separation[d] * separation[d]
                            s = sigma[types[i], types[j]]
                            if r2 < shortest**2:
                                energies[i] = np.inf
                            elif r2 < (cutoff_factor * s) ** 2:
                                e = epsilon[types[i], types[j]]
                                x3 = (s * s / r2) ** 3
                                energies[i] += 2.0 * e * (x3 * (x3 - 1.0) - shift)
                                force_over_r = 24.0 * e * x3 * (2.0 * x3 - 1.0) / r2
                                for d in range(3):
                                    forces[i, d] += force_over_r * separation[d]
                                    for f in range(3):
                                        virial[d, f] += (
                                            0.5 * force_over_r * separation[d] * separation[f]
                                        )
                        j = following[j]
    return energies, forces, virial
