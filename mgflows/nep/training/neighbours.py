"""Neighbours in a periodic cell of any shape and size, images of the atom itself included."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mgflows.compilation import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["count_neighbours", "list_neighbours"]


@njit()
def list_neighbours(
    positions: NDArray[np.float64],
    cell: NDArray[np.float64],
    cutoff: float,
    first: NDArray[np.int64],
    index: NDArray[np.int64],
    vector: NDArray[np.float64],
) -> None:
    """Neighbours of every atom of one frame.

    Parameters
    ----------
    positions
        (n, 3) in A.
    cell
        (3, 3) in A, rows.
    cutoff
        A.
    first
        (n + 1,) result: the neighbours of atom i are ``first[i]`` to ``first[i + 1]``.
    index, vector
        (m,) and (m, 3) results: neighbour and vector to it. Neighbours beyond the m-th are only
        counted.
    """
    n = len(positions)
    inverse = np.linalg.inv(cell)
    fractional = positions @ inverse
    # Cutoff in units of the distances between opposite faces.
    reach = np.empty(3)
    for k in range(3):
        reach[k] = cutoff * math.sqrt(inverse[0, k] ** 2 + inverse[1, k] ** 2 + inverse[2, k] ** 2)
    room = len(index)
    count = 0
    square = cutoff * cutoff
    for i in range(n):
        first[i] = count
        for j in range(n):
            a = fractional[j, 0] - fractional[i, 0]
            b = fractional[j, 1] - fractional[i, 1]
            c = fractional[j, 2] - fractional[i, 2]
            # An image within the cutoff lies within it along each of the three face normals.
            u = a + math.ceil(-reach[0] - a)
            while u <= reach[0]:
                v = b + math.ceil(-reach[1] - b)
                while v <= reach[1]:
                    w = c + math.ceil(-reach[2] - c)
                    while w <= reach[2]:
                        x = u * cell[0, 0] + v * cell[1, 0] + w * cell[2, 0]
                        y = u * cell[0, 1] + v * cell[1, 1] + w * cell[2, 1]
                        z = u * cell[0, 2] + v * cell[1, 2] + w * cell[2, 2]
                        is_itself = i == j and u == 0.0 and v == 0.0 and w == 0.0
                        if x * x + y * y + z * z < square and not is_itself:
                            if count < room:
                                index[count] = j
                                vector[count, 0] = x
                                vector[count, 1] = y
                                vector[count, 2] = z
                            count += 1
                        w += 1.0
                    v += 1.0
                u += 1.0
    first[n] = count


@njit()
def count_neighbours(
    positions: NDArray[np.float64],
    offsets: NDArray[np.int64],
    cells: NDArray[np.float64],
    radial: float,
    angular: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Neighbours within both cutoffs, for many frames.

    Parameters
    ----------
    positions
        (n, 3) of all frames, A.
    offsets
        (n_frames + 1,) first atom of each frame.
    cells
        (n_frames, 3, 3) in A.
    radial, angular
        Cutoffs in A, the larger one first.

    Returns
    -------
    totals
        (n_frames, 2) neighbours of all atoms within the radial and the angular cutoff.
    largest
        (n_frames, 2) most neighbours of one atom.
    closest
        (n_frames,) smallest distance in A; infinite beyond the radial cutoff.
    """
    n_frames = len(cells)
    totals = np.zeros((n_frames, 2), np.int64)
    largest = np.zeros((n_frames, 2), np.int64)
    closest = np.full(n_frames, np.inf)
    room = 0
    index, vector = np.empty(0, np.int64), np.empty((0, 3))
    for frame in range(n_frames):
        part = positions[offsets[frame] : offsets[frame + 1]]
        first = np.empty(len(part) + 1, np.int64)
        list_neighbours(part, cells[frame], radial, first, index, vector)
        if first[-1] > room:
            room = first[-1]
            index, vector = np.empty(room, np.int64), np.empty((room, 3))
            list_neighbours(part, cells[frame], radial, first, index, vector)
        totals[frame, 0] = first[-1]
        for i in range(len(part)):
            near = 0
            for edge in range(first[i], first[i + 1]):
                r = math.sqrt(vector[edge, 0] ** 2 + vector[edge, 1] ** 2 + vector[edge, 2] ** 2)
                closest[frame] = min(closest[frame], r)
                # As the sums do, in the same precision.
                if r < angular:
                    near += 1
            totals[frame, 1] += near
            largest[frame, 0] = max(largest[frame, 0], first[i + 1] - first[i])
            largest[frame, 1] = max(largest[frame, 1], near)
    return totals, largest, closest
