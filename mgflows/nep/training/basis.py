"""Radial functions, and their sums over the neighbours of an atom.

The radial functions of a NEP are ``g_n(r) = sum_k c_nk f_k(r)`` with

``f_k(r) = (T_k(2 (r/r_c - 1)^2 - 1) + 1) f_c(r) / 2``,  ``f_c(r) = (1 + cos(pi r/r_c)) / 2``

and the Chebyshev polynomials T_k (Fan et al., Phys. Rev. B 104, 104309 (2021),
doi:10.1103/PhysRevB.104.104309, eqs. 5-8). Positions do not change in a training, so that the sums
of ``f_k`` and ``f_k Y_lm`` over the neighbours of each species are computed once; everything that
depends on parameters is linear algebra on them.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from mgflows.compilation import njit
from mgflows.nep.training.harmonics import n_harmonics, solid_harmonics
from mgflows.nep.training.neighbours import list_neighbours

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mgflows.nep.training.arrays import Basis, Structures

__all__ = ["compile_basis", "radial_functions"]


@numba.njit(fastmath=True, inline="always")
def radial_functions(
    distance: float,
    cutoff: float,
    count: int,
    values: NDArray[np.float64],
    slopes: NDArray[np.float64],
) -> None:
    """Values and derivatives (1/A) of the first ``count`` functions f_k at a distance in A."""
    s = distance / cutoff
    switch = 0.5 * math.cos(math.pi * s) + 0.5
    switch_slope = -0.5 * math.pi * math.sin(math.pi * s) / cutoff
    x = 2.0 * (s - 1.0) * (s - 1.0) - 1.0
    x_slope = 4.0 * (s - 1.0) / cutoff
    before, now, before_slope, now_slope = 1.0, 1.0, 0.0, 0.0
    for k in range(count):
        if k == 1:
            now, now_slope = x, 1.0
        elif k > 1:
            following = 2.0 * x * now - before
            following_slope = 2.0 * now + 2.0 * x * now_slope - before_slope
            before, before_slope = now, now_slope
            now, now_slope = following, following_slope
        values[k] = 0.5 * (now + 1.0) * switch
        slopes[k] = 0.5 * now_slope * x_slope * switch + 0.5 * (now + 1.0) * switch_slope


@lru_cache
def compile_basis(k_radial: int, k_angular: int, l_max: int) -> Callable[..., Any]:
    """Compile the function that computes the constants of many frames; the code is cached on disk.

    Its arguments are the positions in the list of frames to compute, the list of frames, their
    :class:`~mgflows.nep.training.arrays.Structures`, the two cutoffs in A, the first atom, radial
    neighbour and angular neighbour of each frame (n, 3), and the
    :class:`~mgflows.nep.training.arrays.Basis` to write to.
    """
    n_components = n_harmonics(l_max)

    @njit(nogil=True, fastmath=True)
    def fill(
        which: NDArray[np.int64],
        frames: NDArray[np.int64],
        structures: Structures,
        cutoffs: NDArray[np.float64],
        starts: NDArray[np.int64],
        basis: Basis,
    ) -> None:
        offsets, positions, cells = structures.offsets, structures.positions, structures.cells
        species, counts = structures.species, structures.counts
        basis_species = basis.species
        radial_first, radial_last = basis.radial_first, basis.radial_last
        angular_first, angular_last = basis.angular_first, basis.angular_last
        radial_sums, angular_sums = basis.radial_sums, basis.angular_sums
        radial_index, radial_slope = basis.radial_index, basis.radial_slope
        angular_index, angular_value = basis.angular_index, basis.angular_value
        angular_slope = basis.angular_slope
        radial_vector, angular_vector = basis.radial_vector, basis.angular_vector
        for item in which:
            frame = frames[item]
            start, end = offsets[frame], offsets[frame + 1]
            n = end - start
            part = positions[start:end]
            first = np.empty(n + 1, np.int64)
            index = np.empty(counts[frame, 0], np.int64)
            vector = np.empty((counts[frame, 0], 3))
            list_neighbours(part, cells[frame], cutoffs[0], first, index, vector)
            values, slopes = np.empty(max(k_radial, k_angular)), np.empty(max(k_radial, k_angular))
            legendre = np.zeros((l_max + 1, l_max + 2), np.float32)
            harmonics = np.empty(n_components, np.float32)
            harmonic_slopes = np.empty((3, n_components), np.float32)
            atom, edge, short = starts[item]
            for i in range(n):
                a = atom + i
                basis_species[a] = species[start + i]
                radial_sums[a] = 0.0
                angular_sums[a] = 0.0
                radial_first[a] = edge
                angular_first[a] = short
                for e in range(first[i], first[i + 1]):
                    j = index[e]
                    kind = species[start + j]
                    r = math.sqrt(vector[e, 0] ** 2 + vector[e, 1] ** 2 + vector[e, 2] ** 2)
                    radial_functions(r, cutoffs[0], k_radial, values, slopes)
                    radial_index[edge] = j
                    for x in range(3):
                        radial_vector[edge, x] = vector[e, x] / r
                    radial_vector[edge, 3] = r
                    for k in range(k_radial):
                        radial_sums[a, kind * k_radial + k] += np.float32(values[k])
                        radial_slope[edge, k] = slopes[k]
                    edge += 1
                    if r >= cutoffs[1]:
                        continue
                    radial_functions(r, cutoffs[1], k_angular, values, slopes)
                    ux, uy, uz = vector[e, 0] / r, vector[e, 1] / r, vector[e, 2] / r
                    angular_index[short] = j
                    angular_vector[short, 0] = ux
                    angular_vector[short, 1] = uy
                    angular_vector[short, 2] = uz
                    angular_vector[short, 3] = r
                    solid_harmonics(
                        np.float32(ux), np.float32(uy), np.float32(uz), l_max, legendre,
                        harmonics, harmonic_slopes,
                    )  # fmt: skip
                    for k in range(k_angular):
                        value = np.float32(values[k])
                        angular_value[short, k] = value
                        angular_slope[short, k] = slopes[k]
                        for c in range(n_components):
                            angular_sums[a, kind * k_angular + k, c] += value * harmonics[c]
                    short += 1
                radial_last[a] = edge
                angular_last[a] = short

    return fill
