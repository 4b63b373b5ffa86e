"""The repulsion of Ziegler, Biersack and Littmark (ZBL) between nuclei at short distances.

A NEP adds it to the network (Liu et al., Phys. Rev. B 108, 054312 (2023),
doi:10.1103/PhysRevB.108.054312), so that a trainer subtracts it from the labels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mgflows.compilation import njit
from mgflows.nep.training.neighbours import list_neighbours

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["repulsion"]

_COULOMB = 14.399645
"""e^2/(4 pi epsilon_0) in eV A, with the digits that NEP codes use."""
_AMPLITUDES = np.array([0.18175, 0.50986, 0.28022, 0.02817])
_EXPONENTS = np.array([3.1998, 0.94229, 0.4029, 0.20162])
"""Universal screening function: Ziegler, Biersack, Littmark, The Stopping and Range of Ions in
Solids (Pergamon, 1985), with the digits that NEP codes use."""
_INVERSE_LENGTH = 2.134563
"""One over the screening length 0.46848 A."""


@njit()
def pair_energy(
    distance: float, charge_i: float, charge_j: float, outer: float
) -> tuple[float, float]:
    """Energy (eV) and derivative (eV/A) of one pair, switched off from outer/2 to outer."""
    inner = 0.5 * outer
    inverse_length = (charge_i**0.23 + charge_j**0.23) * _INVERSE_LENGTH
    x = distance * inverse_length
    screening, slope = 0.0, 0.0
    for k in range(4):
        term = _AMPLITUDES[k] * math.exp(-_EXPONENTS[k] * x)
        screening += term
        slope -= _EXPONENTS[k] * inverse_length * term
    coulomb = _COULOMB * charge_i * charge_j / distance
    energy = coulomb * screening
    derivative = coulomb * slope - energy / distance
    if distance <= inner:
        return energy, derivative
    phase = math.pi * (distance - inner) / (outer - inner)
    switch = 0.5 * math.cos(phase) + 0.5
    switch_slope = -0.5 * math.pi / (outer - inner) * math.sin(phase)
    return energy * switch, derivative * switch + energy * switch_slope


@njit()
def repulsion(
    positions: NDArray[np.float64],
    offsets: NDArray[np.int64],
    cells: NDArray[np.float64],
    charges: NDArray[np.float64],
    closest: NDArray[np.float64],
    outer: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The repulsion in many frames.

    Parameters
    ----------
    positions
        (n, 3) of all frames, A.
    offsets
        (n_frames + 1,) first atom of each frame.
    cells
        (n_frames, 3, 3) in A.
    charges
        (n,) nuclear charges.
    closest
        (n_frames,) smallest distance in A; frames beyond the cutoff are skipped.
    outer
        Outer cutoff in A; the inner one is half of it.

    Returns
    -------
    energies
        (n_frames,) eV.
    forces
        (n, 3) eV/A.
    virials
        (n_frames, 6) eV: xx, yy, zz, xy, yz, zx, positive when compressed.
    """
    n_frames = len(cells)
    energies = np.zeros(n_frames)
    forces = np.zeros((len(positions), 3))
    virials = np.zeros((n_frames, 6))
    for frame in range(n_frames):
        if closest[frame] >= outer:
            continue
        start, end = offsets[frame], offsets[frame + 1]
        part = positions[start:end]
        first = np.empty(len(part) + 1, np.int64)
        list_neighbours(part, cells[frame], outer, first, np.empty(0, np.int64), np.empty((0, 3)))
        index = np.empty(first[-1], np.int64)
        vector = np.empty((first[-1], 3))
        list_neighbours(part, cells[frame], outer, first, index, vector)
        for i in range(len(part)):
            for edge in range(first[i], first[i + 1]):
                j = index[edge]
                x, y, z = vector[edge, 0], vector[edge, 1], vector[edge, 2]
                r = math.sqrt(x * x + y * y + z * z)
                energy, slope = pair_energy(r, charges[start + i], charges[start + j], outer)
                # Every pair occurs twice.
                energies[frame] += 0.5 * energy
                gx, gy, gz = slope * x / r, slope * y / r, slope * z / r
                forces[start + i, 0] += gx
                forces[start + i, 1] += gy
                forces[start + i, 2] += gz
                virials[frame, 0] -= 0.5 * x * gx
                virials[frame, 1] -= 0.5 * y * gy
                virials[frame, 2] -= 0.5 * z * gz
                virials[frame, 3] -= 0.5 * x * gy
                virials[frame, 4] -= 0.5 * y * gz
                virials[frame, 5] -= 0.5 * z * gx
    return energies, forces, virials
