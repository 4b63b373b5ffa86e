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

    from mgflows.nep.parameters import NepParameters

__all__ = ["pair_cutoffs", "repulsion"]

_COULOMB = 14.399645
"""e^2/(4 pi epsilon_0) in eV A, with the digits that NEP codes use."""
_AMPLITUDES = np.array([0.18175, 0.50986, 0.28022, 0.02817])
_EXPONENTS = np.array([3.1998, 0.94229, 0.4029, 0.20162])
"""Universal screening function: Ziegler, Biersack, Littmark, The Stopping and Range of Ions in
Solids (Pergamon, 1985), with the digits that NEP codes use."""
_INVERSE_LENGTH = 2.134563
"""One over the screening length 0.46848 A."""
# fmt: off
_RADII = np.array([
    0.32, 0.46, 1.20, 0.94, 0.77, 0.75, 0.71, 0.63, 0.64, 0.67, 1.40, 1.25,
    1.13, 1.04, 1.10, 1.02, 0.99, 0.96, 1.76, 1.54, 1.33, 1.22, 1.21, 1.10,
    1.07, 1.04, 1.00, 0.99, 1.01, 1.09, 1.12, 1.09, 1.15, 1.10, 1.14, 1.17,
    1.89, 1.67, 1.47, 1.39, 1.32, 1.24, 1.15, 1.13, 1.13, 1.08, 1.15, 1.23,
    1.28, 1.26, 1.26, 1.23, 1.32, 1.31, 2.09, 1.76, 1.62, 1.47, 1.58, 1.57,
    1.56, 1.55, 1.51, 1.52, 1.51, 1.50, 1.49, 1.49, 1.48, 1.53, 1.46, 1.37,
    1.31, 1.23, 1.18, 1.16, 1.11, 1.12, 1.13, 1.32, 1.30, 1.30, 1.36, 1.31,
    1.38, 1.42, 2.01, 1.81, 1.67, 1.58, 1.52, 1.53, 1.54, 1.55,
])
# fmt: on
"""Covalent radii of H to Pu in A, of DFT-D3: Grimme et al., J. Chem. Phys. 132, 154104 (2010),
doi:10.1063/1.3382344. NEP codes scale them by 4/3, as the dispersion correction does."""
_RADIUS_SCALE = 4.0 / 3.0


def pair_cutoffs(
    parameters: NepParameters,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Nuclear charges, and the inner and outer cutoffs of all pairs of species.

    With a ``zbl_factor``, the outer cutoff is this factor times the sum of the covalent radii where
    that is shorter, and the inner cutoff is zero, as in nep-adapters and calorine. Otherwise the
    inner cutoff is half of the outer one. Without ZBL all cutoffs are zero.

    Returns
    -------
    charges
        (n_species,)
    inner, outer
        (n_species, n_species) in A.
    """
    from ase.data import atomic_numbers

    numbers = np.array([atomic_numbers[symbol] for symbol in parameters.species])
    outer = np.full((len(numbers), len(numbers)), parameters.zbl or 0.0)
    inner = 0.5 * outer
    if parameters.zbl is not None and parameters.zbl_factor is not None:
        # To the six digits that NEP codes use.
        radii = np.array([float(f"{_RADIUS_SCALE * r:.6g}") for r in _RADII[numbers - 1]])
        outer = np.minimum(outer, parameters.zbl_factor * (radii[:, None] + radii))
        inner = np.zeros_like(outer)
    return numbers.astype(np.float64), inner, outer


@njit()
def pair_energy(
    distance: float, charge_i: float, charge_j: float, inner: float, outer: float
) -> tuple[float, float]:
    """Energy (eV) and derivative (eV/A) of one pair, switched off between the cutoffs."""
    if distance >= outer:
        return 0.0, 0.0
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
    species: NDArray[np.int32],
    closest: NDArray[np.float64],
    charges: NDArray[np.float64],
    inner: NDArray[np.float64],
    outer: NDArray[np.float64],
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
    species
        (n,) index of the species.
    closest
        (n_frames,) smallest distance in A; frames beyond the largest cutoff are skipped.
    charges, inner, outer
        Of species and pairs of species, see :func:`pair_cutoffs`.

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
    cutoff = outer.max()
    energies = np.zeros(n_frames)
    forces = np.zeros((len(positions), 3))
    virials = np.zeros((n_frames, 6))
    for frame in range(n_frames):
        if closest[frame] >= cutoff:
            continue
        start, end = offsets[frame], offsets[frame + 1]
        part = positions[start:end]
        first = np.empty(len(part) + 1, np.int64)
        list_neighbours(part, cells[frame], cutoff, first, np.empty(0, np.int64), np.empty((0, 3)))
        index = np.empty(first[-1], np.int64)
        vector = np.empty((first[-1], 3))
        list_neighbours(part, cells[frame], cutoff, first, index, vector)
        for i in range(len(part)):
            for edge in range(first[i], first[i + 1]):
                j = index[edge]
                x, y, z = vector[edge, 0], vector[edge, 1], vector[edge, 2]
                r = math.sqrt(x * x + y * y + z * z)
                a, b = species[start + i], species[start + j]
                energy, slope = pair_energy(r, charges[a], charges[b], inner[a, b], outer[a, b])
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
