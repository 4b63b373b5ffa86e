"""Numba kernels: energies and forces of Lennard-Jones mixtures, in whatever units the tables are in.

Two roads. :func:`image_sum` takes any cell and sums every image within the cutoff; the calculator stands on it. The others take the minimum
image in an orthorhombic box with edges of at least twice the cutoff; molecular dynamics and FIRE stand on them. Of these,
:func:`all_pairs_forces` visits every pair, which the processor's vector units make faster than any list for a few hundred atoms, and
:func:`listed_forces` visits the pairs of a Verlet list (Phys. Rev. 159, 98 (1967), doi:10.1103/PhysRev.159.98).

With ``f`` the cutoff factor and ``x = sigma^2/r^2``, a pair has ``u = 4 eps (x^6 - x^3 - f^-12 + f^-6)`` for ``x > f^-2``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mgflows.surrogate.lennard_jones import LennardJones, ReducedConfiguration

# error_model="numpy" lets a division by zero give infinity: the check for it would keep every loop from being vectorised.
_OPTIONS = {"cache": True, "error_model": "numpy"}
# Sums may be reordered, which vector units need, but infinities and NaN keep their meaning.
_VECTOR_OPTIONS = {**_OPTIONS, "fastmath": {"reassoc", "contract", "arcp", "nsz"}}
_SKIN = 0.5
_LARGEST_ALL_PAIRS = 300


@njit(**_OPTIONS)
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
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Energies, forces and virial of any configuration, every periodic image within the cutoff counted.

    The cell is divided into ``n_bins`` bins along its vectors, and an atom sees the ``reach`` nearest bins on either side. A bin index
    beyond the cell stands for an image of the bin inside, so that a cell much smaller than the cutoff needs no special case.

    Parameters
    ----------
    positions
        (n, 3) Cartesian positions, not necessarily inside the cell.
    types
        (n,) indices into the tables.
    cell, inverse_cell
        (3, 3) cell with one vector a row, and its inverse.
    periodic
        (3,) whether each cell vector repeats.
    n_bins, reach
        (3,) numbers of bins along, and of neighbouring bins to visit on either side of, each vector.
    sigma, epsilon
        (m, m) pair tables.
    cutoff_factor
        Cutoff in units of each pair's ``sigma``.

    Returns
    -------
    energies, forces, virial
        (n,) energies (half of each pair to either atom), (n, 3) forces, (3, 3) virial: the sum over pairs of separation
        times force, positive when compressed.
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
            fraction = positions[i, 0] * inverse_cell[0, d] + positions[i, 1] * inverse_cell[1, d] + positions[i, 2] * inverse_cell[2, d]
            if periodic[d]:
                whole = math.floor(fraction)
                fraction -= whole
                for e in range(3):
                    wrapped[i, e] -= whole * cell[d, e]
            # An atom outside a cell that does not repeat belongs to the outermost bin.
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
                                translation = image[0] * cell[0, d] + image[1] * cell[1, d] + image[2] * cell[2, d]
                                separation[d] = wrapped[i, d] - wrapped[j, d] - translation
                                r2 += separation[d] * separation[d]
                            s = sigma[types[i], types[j]]
                            if r2 < (cutoff_factor * s) ** 2:
                                e = epsilon[types[i], types[j]]
                                x3 = (s * s / r2) ** 3
                                energies[i] += 2.0 * e * (x3 * (x3 - 1.0) - shift)
                                force_over_r = 24.0 * e * x3 * (2.0 * x3 - 1.0) / r2
                                for d in range(3):
                                    forces[i, d] += force_over_r * separation[d]
                                    for f in range(3):
                                        virial[d, f] += 0.5 * force_over_r * separation[d] * separation[f]
                        j = following[j]
    return energies, forces, virial


class Interaction(NamedTuple):
    """What the minimum-image kernels need to know besides the positions.

    Parameters
    ----------
    types
        (n,) species of the atoms.
    box
        (3,) edges of the box.
    sigma2, epsilon, cutoff2
        (m, n) squared diameter, well depth and squared cutoff of each species with each atom: rows that a loop over atoms reads in order.
    shift
        Value of ``x^6 - x^3`` at the cutoff.
    skin
        How much further than the cutoffs a Verlet list reaches; zero where all pairs are visited and no list is kept.
    """

    types: NDArray[np.int64]
    box: NDArray[np.float64]
    sigma2: NDArray[np.float64]
    epsilon: NDArray[np.float64]
    cutoff2: NDArray[np.float64]
    shift: float
    skin: float


def reduced_interaction(lj: LennardJones, configuration: ReducedConfiguration) -> Interaction:
    """Gather the tables of a configuration in reduced units; a Verlet list is used above a few hundred atoms (docs/surrogate.md, "Speed")."""
    types = configuration.types
    sigma2 = np.ascontiguousarray((lj.reduced_sigma**2)[:, types])
    return Interaction(
        types=types,
        box=configuration.box,
        sigma2=sigma2,
        epsilon=np.ascontiguousarray(lj.reduced_epsilon[:, types]),
        cutoff2=lj.cutoff_factor**2 * sigma2,
        shift=float(lj.cutoff_factor**-12 - lj.cutoff_factor**-6),
        skin=_SKIN if len(types) > _LARGEST_ALL_PAIRS else 0.0,
    )


@njit(**_VECTOR_OPTIONS)
def all_pairs_forces(positions: NDArray[np.float64], interaction: Interaction, forces: NDArray[np.float64]) -> None:
    """Write the forces on all atoms, visiting every pair once.

    Parameters
    ----------
    positions, forces
        (3, n); the positions need not be wrapped.
    interaction
        The tables.
    """
    n = positions.shape[1]
    lx, ly, lz = interaction.box[0], interaction.box[1], interaction.box[2]
    inverse_lx, inverse_ly, inverse_lz = 1.0 / lx, 1.0 / ly, 1.0 / lz
    x, y, z = positions[0], positions[1], positions[2]
    forces[:] = 0.0
    for i in range(n - 1):
        t = interaction.types[i]
        # Slices of unit stride from i + 1: the form that the compiler turns into vector instructions.
        xj, yj, zj = x[i + 1 :], y[i + 1 :], z[i + 1 :]
        fxj, fyj, fzj = forces[0, i + 1 :], forces[1, i + 1 :], forces[2, i + 1 :]
        sigma2 = interaction.sigma2[t, i + 1 :]
        epsilon = interaction.epsilon[t, i + 1 :]
        cutoff2 = interaction.cutoff2[t, i + 1 :]
        xi, yi, zi = x[i], y[i], z[i]
        fx = fy = fz = 0.0
        for j in range(n - 1 - i):
            dx = xi - xj[j]
            dy = yi - yj[j]
            dz = zi - zj[j]
            dx -= lx * np.rint(dx * inverse_lx)
            dy -= ly * np.rint(dy * inverse_ly)
            dz -= lz * np.rint(dz * inverse_lz)
            r2 = dx * dx + dy * dy + dz * dz
            inverse_r2 = 1.0 / r2
            x1 = sigma2[j] * inverse_r2
            x3 = x1 * x1 * x1
            force_over_r = 24.0 * epsilon[j] * x3 * (2.0 * x3 - 1.0) * inverse_r2
            force_over_r = force_over_r if r2 < cutoff2[j] else 0.0
            fx += force_over_r * dx
            fy += force_over_r * dy
            fz += force_over_r * dz
            fxj[j] -= force_over_r * dx
            fyj[j] -= force_over_r * dy
            fzj[j] -= force_over_r * dz
        forces[0, i] += fx
        forces[1, i] += fy
        forces[2, i] += fz


@njit(**_VECTOR_OPTIONS)
def listed_forces(
    positions: NDArray[np.float64],
    interaction: Interaction,
    starts: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    forces: NDArray[np.float64],
) -> None:
    """Write the forces on all atoms, visiting the pairs of a Verlet list.

    Parameters
    ----------
    positions, forces
        (3, n); the positions need not be wrapped.
    interaction
        The tables.
    starts, neighbours
        (n + 1,) and (n_pairs,): the partners of atom i are ``neighbours[starts[i]:starts[i + 1]]``, each pair once.
    """
    n = positions.shape[1]
    lx, ly, lz = interaction.box[0], interaction.box[1], interaction.box[2]
    inverse_lx, inverse_ly, inverse_lz = 1.0 / lx, 1.0 / ly, 1.0 / lz
    x, y, z = positions[0], positions[1], positions[2]
    forces_x, forces_y, forces_z = forces[0], forces[1], forces[2]
    forces[:] = 0.0
    for i in range(n):
        t = interaction.types[i]
        sigma2, epsilon, cutoff2 = interaction.sigma2[t], interaction.epsilon[t], interaction.cutoff2[t]
        xi, yi, zi = x[i], y[i], z[i]
        fx = fy = fz = 0.0
        for k in range(starts[i], starts[i + 1]):
            j = neighbours[k]
            dx = xi - x[j]
            dy = yi - y[j]
            dz = zi - z[j]
            dx -= lx * np.rint(dx * inverse_lx)
            dy -= ly * np.rint(dy * inverse_ly)
            dz -= lz * np.rint(dz * inverse_lz)
            r2 = dx * dx + dy * dy + dz * dz
            inverse_r2 = 1.0 / r2
            x1 = sigma2[j] * inverse_r2
            x3 = x1 * x1 * x1
            force_over_r = 24.0 * epsilon[j] * x3 * (2.0 * x3 - 1.0) * inverse_r2
            force_over_r = force_over_r if r2 < cutoff2[j] else 0.0
            fx += force_over_r * dx
            fy += force_over_r * dy
            fz += force_over_r * dz
            forces_x[j] -= force_over_r * dx
            forces_y[j] -= force_over_r * dy
            forces_z[j] -= force_over_r * dz
        forces_x[i] += fx
        forces_y[i] += fy
        forces_z[i] += fz


@njit(**_VECTOR_OPTIONS)
def verlet_list(positions: NDArray[np.float64], interaction: Interaction) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """List the pairs closer than their cutoff plus the skin, each once.

    All distances are computed, a row at a time: up to some thousand atoms that costs no more than the force steps between two lists.

    Parameters
    ----------
    positions
        (3, n), not necessarily wrapped.
    interaction
        The tables; without a skin the list is empty.

    Returns
    -------
    starts, neighbours
        As :func:`listed_forces` takes them.
    """
    n = positions.shape[1]
    starts = np.zeros(n + 1, dtype=np.int64)
    if interaction.skin == 0.0:
        return starts, np.empty(0, dtype=np.int32)
    lx, ly, lz = interaction.box[0], interaction.box[1], interaction.box[2]
    inverse_lx, inverse_ly, inverse_lz = 1.0 / lx, 1.0 / ly, 1.0 / lz
    reach2 = (np.sqrt(interaction.cutoff2) + interaction.skin) ** 2
    beyond = np.empty(n)
    neighbours = np.empty(64 * n, dtype=np.int32)
    count = 0
    for i in range(n):
        x, y, z = positions[0, i + 1 :], positions[1, i + 1 :], positions[2, i + 1 :]
        xi, yi, zi = positions[0, i], positions[1, i], positions[2, i]
        row = reach2[interaction.types[i], i + 1 :]
        m = n - 1 - i
        for j in range(m):
            dx = xi - x[j]
            dy = yi - y[j]
            dz = zi - z[j]
            dx -= lx * np.rint(dx * inverse_lx)
            dy -= ly * np.rint(dy * inverse_ly)
            dz -= lz * np.rint(dz * inverse_lz)
            beyond[j] = dx * dx + dy * dy + dz * dz - row[j]
        if count + m > len(neighbours):
            longer = np.empty(2 * (count + m), dtype=np.int32)
            longer[:count] = neighbours[:count]
            neighbours = longer
        for j in range(m):
            neighbours[count] = i + 1 + j
            count += beyond[j] < 0.0
        starts[i + 1] = count
    return starts, neighbours[:count].copy()


@njit(**_VECTOR_OPTIONS)
def largest_displacement(positions: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Largest distance of an atom from its reference position, both (3, n)."""
    largest = 0.0
    for i in range(positions.shape[1]):
        dx = positions[0, i] - reference[0, i]
        dy = positions[1, i] - reference[1, i]
        dz = positions[2, i] - reference[2, i]
        largest = max(largest, dx * dx + dy * dy + dz * dz)
    return math.sqrt(largest)


@njit(**_OPTIONS)
def minimum_image_energy(positions: NDArray[np.float64], interaction: Interaction) -> float:
    """Potential energy of (3, n) positions, every pair visited."""
    n = positions.shape[1]
    energy = 0.0
    for i in range(n - 1):
        t = interaction.types[i]
        for j in range(i + 1, n):
            r2 = 0.0
            for d in range(3):
                separation = positions[d, i] - positions[d, j]
                separation -= interaction.box[d] * np.rint(separation / interaction.box[d])
                r2 += separation * separation
            if r2 < interaction.cutoff2[t, j]:
                x3 = (interaction.sigma2[t, j] / r2) ** 3
                energy += 4.0 * interaction.epsilon[t, j] * (x3 * (x3 - 1.0) - interaction.shift)
    return energy
