"""Rings of common neighbours in a glass; compiled, and imported where it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mgflows.compilation import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ring_sizes"]

_MOST_RING_MEMBERS = 32


@njit()
def ring_sizes(starts: NDArray[np.int64], neighbours: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each bond the number of common neighbours if these form one closed ring, else zero.

    These are the bonds 555, 666, ... of common-neighbour analysis.

    Parameters
    ----------
    starts, neighbours
        (n + 1,) and (n_bonds,): the neighbours of atom i are ``neighbours[starts[i]:starts[i +
        1]]``, every bond from both sides.
    """
    rings = np.zeros(len(neighbours), dtype=np.int64)
    common = np.empty(_MOST_RING_MEMBERS, dtype=np.int64)
    adjacent = np.zeros((_MOST_RING_MEMBERS, _MOST_RING_MEMBERS), dtype=np.bool_)
    for i in range(len(starts) - 1):
        for bond in range(starts[i], starts[i + 1]):
            j = neighbours[bond]
            n = 0
            for a in range(starts[i], starts[i + 1]):
                for b in range(starts[j], starts[j + 1]):
                    if neighbours[a] == neighbours[b] and n < _MOST_RING_MEMBERS:
                        common[n] = neighbours[a]
                        n += 1
            closed = n >= 3
            for a in range(n):
                degree = 0
                for b in range(n):
                    adjacent[a, b] = False
                    for c in range(starts[common[a]], starts[common[a] + 1]):
                        if neighbours[c] == common[b]:
                            adjacent[a, b] = True
                    degree += adjacent[a, b]
                closed = closed and degree == 2
            if not closed:
                continue
            # Every member has two partners: one ring, if a walk visits all before it returns.
            previous, here, length = -1, 0, 0
            while True:
                for b in range(n):
                    if adjacent[here, b] and b != previous:
                        previous, here = here, b
                        break
                length += 1
                if here == 0:
                    break
            if length == n:
                rings[bond] = n
    return rings
