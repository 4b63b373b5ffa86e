"""Compiled kernels of the swap Monte Carlo sampler for boxes below twice the largest cutoff.

They sum over every image of every partner.

The moves, their proposals and their random numbers are those of
:mod:`mgflows.surrogate.kernels.all_pairs`, so that both give the same run in a box where the
nearest image suffices. Everything is in Lennard-Jones units, and in double precision. The
differences are:

- A pair of atoms has ``sum_n u(|d + n L|)`` over the shifts n, which is the same for both atoms
  because the sum contains -n for every n. An exchange of positions therefore does not change the
  energy of the two with each other, as in a large box.
- An atom has ``1/2 sum_{n != 0} u(|n L|)`` with its own images, which move with it. This depends on
  its species and the box only, so that neither kind of move changes it: it enters the total energy,
  but no energy difference.

Only the total energy is stored between moves: the boxes are so small that a move costs only a few
hundred pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mgflows.compilation import njit
from mgflows.surrogate.kernels.all_pairs import (
    LATTICE,
    OPTIONS,
    chosen_pair,
    displaced,
    high_below,
    high_half,
    low_below,
    metropolis_threshold,
    random_bits,
    to_lattice,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "ImageConfiguration",
    "ImageTable",
    "prepare_images",
    "recompute_energy_of_images",
    "run_sweeps_over_images",
]

_compile = njit(**OPTIONS)
# Sums over images may be reordered, which vectorisation requires; an overlap keeps its infinite
# energy and is rejected.
_inline_sum = njit(**OPTIONS, forceinline=True, fastmath={"reassoc", "contract", "nsz"})
_inline = njit(**OPTIONS, forceinline=True)


class ImageTable(NamedTuple):
    """Input of the kernels other than the positions.

    Parameters
    ----------
    sigma_squared, four_epsilon
        (n_species, n_species) ``sigma_ab^2`` and ``4 epsilon_ab``.
    cut, shift
        ``c = sigma_ab^2 / r_cut^2``, the same for every pair, and ``c^6 - c^3``.
    spacing
        (3,) edges of the box over 2^32.
    translations
        (3, n_images) shifts of the nearest image of a partner to the images within reach, zero
        first.
    own_images
        Energy of all atoms with their own images.
    """

    sigma_squared: NDArray[np.float64]
    four_epsilon: NDArray[np.float64]
    cut: float
    shift: float
    spacing: NDArray[np.float64]
    translations: NDArray[np.float64]
    own_images: float


class ImageConfiguration(NamedTuple):
    """Positions of the atoms, grouped by species, and their energy.

    Parameters
    ----------
    positions
        (3, n) lattice coordinates, see :class:`mgflows.surrogate.kernels.all_pairs.Configuration`.
    species
        (n,) species index of each atom.
    total
        (1,) potential energy.
    sweeps
        (1,) sweeps done so far.
    """

    positions: NDArray[np.int32]
    species: NDArray[np.int64]
    total: NDArray[np.float64]
    sweeps: NDArray[np.int64]


def prepare_images(
    sigma: NDArray[np.float64],
    epsilon: NDArray[np.float64],
    cutoff_factor: float,
    positions: NDArray[np.float64],
    types: NDArray[np.int64],
    box: NDArray[np.float64],
    images: NDArray[np.int64],
) -> tuple[ImageTable, ImageConfiguration]:
    """Lay out pair tables and atoms for the kernels.

    Parameters
    ----------
    sigma, epsilon, cutoff_factor, positions, types, box
        As in :func:`mgflows.surrogate.kernels.all_pairs.prepare`.
    images
        (n_images, 3) shifts in edges, zero first.

    Returns
    -------
    The table, and the configuration without its energy: see :func:`recompute_energy_of_images`.
    """
    cut = cutoff_factor**-2
    shift = cut**6 - cut**3
    translations = np.ascontiguousarray((images * box).T)
    distance_squared = (translations[:, 1:] ** 2).sum(axis=0)
    s3 = np.maximum(np.diag(sigma)[:, None] ** 2 / distance_squared, cut) ** 3
    own = 0.5 * 4.0 * np.diag(epsilon) * (s3 * (s3 - 1.0) - shift).sum(axis=1)
    table = ImageTable(
        sigma_squared=sigma**2,
        four_epsilon=4.0 * epsilon,
        cut=cut,
        shift=shift,
        spacing=box / LATTICE,
        translations=translations,
        own_images=float(own[types].sum()),
    )
    configuration = ImageConfiguration(
        positions=np.ascontiguousarray(to_lattice(positions, box).T),
        species=types.astype(np.int64),
        total=np.zeros(1),
        sweeps=np.zeros(1, dtype=np.int64),
    )
    return table, configuration


@_inline_sum
def _energy_at(point, a, i, k, positions, species, table):  # type: ignore[no-untyped-def]
    """Energy of an atom of species a at a point with all images of all atoms but i and k."""
    translations, spacing, cut = table.translations, table.spacing, table.cut
    shift_x, shift_y, shift_z = translations[0], translations[1], translations[2]
    energy = 0.0
    for j in range(species.size):
        if j in (i, k):
            continue
        nearest_x = float(np.int32(point[0] - positions[0, j])) * spacing[0]
        nearest_y = float(np.int32(point[1] - positions[1, j])) * spacing[1]
        nearest_z = float(np.int32(point[2] - positions[2, j])) * spacing[2]
        sigma_squared = table.sigma_squared[a, species[j]]
        of_pair = 0.0
        for m in range(shift_x.size):
            dx = nearest_x + shift_x[m]
            dy = nearest_y + shift_y[m]
            dz = nearest_z + shift_z[m]
            s = max(sigma_squared / (dx * dx + dy * dy + dz * dz), cut)
            s3 = s * s * s
            of_pair += s3 * (s3 - 1.0) - table.shift
        energy += table.four_epsilon[a, species[j]] * of_pair
    return energy


@_inline
def _displace(bits, positions, species, table, proposals, counters, temperature, state):  # type: ignore[no-untyped-def]
    """Try to move one atom to a point of the cube around it; return the change of the energy."""
    i = low_below(bits, species.size)
    a = species[i]
    counters.displacements[0, a] += 1
    old = positions[0, i], positions[1, i], positions[2, i]
    new = displaced(old, proposals.reach, state)
    threshold = metropolis_threshold(temperature, state)
    delta = _energy_at(new, a, i, i, positions, species, table)
    delta -= _energy_at(old, a, i, i, positions, species, table)
    accepted = delta < threshold
    if accepted:
        positions[0, i], positions[1, i], positions[2, i] = new
        counters.displacements[1, a] += 1
    return delta if accepted else 0.0


@_inline
def _exchange(bits, positions, species, table, proposals, counters, temperature, state):  # type: ignore[no-untyped-def]
    """Try to swap two atoms of different species; return the change of the energy."""
    pair = chosen_pair(bits, proposals.exchange_cumulative)
    a, b = proposals.exchange_pairs[pair, 0], proposals.exchange_pairs[pair, 1]
    first = proposals.first
    bits = random_bits(state)
    i = first[a] + high_below(bits, first[a + 1] - first[a])
    k = first[b] + low_below(bits, first[b + 1] - first[b])
    counters.exchanges[0, pair] += 1
    threshold = metropolis_threshold(temperature, state)
    at_i = positions[0, i], positions[1, i], positions[2, i]
    at_k = positions[0, k], positions[1, k], positions[2, k]
    delta = _energy_at(at_k, a, i, k, positions, species, table)
    delta += _energy_at(at_i, b, i, k, positions, species, table)
    before = _energy_at(at_i, a, i, k, positions, species, table)
    before += _energy_at(at_k, b, i, k, positions, species, table)
    delta -= before
    accepted = delta < threshold
    if accepted:
        positions[0, i], positions[1, i], positions[2, i] = at_k
        positions[0, k], positions[1, k], positions[2, k] = at_i
        counters.exchanges[1, pair] += 1
    return delta if accepted else 0.0


@_compile
def recompute_energy_of_images(configuration, table):  # type: ignore[no-untyped-def]
    """Compute the total energy from scratch."""
    positions, species = configuration.positions, configuration.species
    total = table.own_images
    for i in range(species.size):
        point = positions[0, i], positions[1, i], positions[2, i]
        total += 0.5 * _energy_at(point, species[i], i, i, positions, species, table)
    configuration.total[0] = total


@_compile
def run_sweeps_over_images(  # type: ignore[no-untyped-def]
    configuration, table, proposals, counters, temperatures, refresh_interval, energies, state
):
    """Run one sweep, that is N trial moves, at each temperature.

    The parameters are those of :func:`mgflows.surrogate.kernels.all_pairs.run_sweeps`.
    """
    positions, species = configuration.positions, configuration.species
    exchanges = int(proposals.swap_fraction * 2**32)
    for sweep in range(temperatures.size):
        temperature = temperatures[sweep]
        change = 0.0
        for _ in range(species.size):
            bits = random_bits(state)
            if high_half(bits) < exchanges:
                change += _exchange(
                    bits, positions, species, table, proposals, counters, temperature, state
                )
            else:
                change += _displace(
                    bits, positions, species, table, proposals, counters, temperature, state
                )
        configuration.total[0] += change
        configuration.sweeps[0] += 1
        if configuration.sweeps[0] <= 100 or configuration.sweeps[0] % refresh_interval == 0:
            recompute_energy_of_images(configuration, table)
        energies[sweep] = configuration.total[0]
