"""Compiled kernel for independent replicas on an NVIDIA GPU, one in each block of threads.

The algorithm, the moves and the random numbers are those of
:mod:`mgflows.surrogate.kernels.all_pairs`: in double precision a replica follows the same path as a
single sampler with its seed. Each thread of a block sums the energy change of a trial move over its
share of the atoms, and all threads draw the same random numbers, which costs nothing because they
run in step. Energies of the atoms are not stored. The replicas share nothing, and each moves atoms
of its own choice.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np
from numba import cuda

from mgflows.compilation import njit
from mgflows.surrogate.kernels.all_pairs import (
    OPTIONS,
    chosen_pair,
    displaced,
    high_below,
    high_half,
    low_below,
    metropolis_threshold,
    random_bits,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GpuConfiguration", "make_kernel"]

_FIRST_SWEEPS = 100
"""Sweeps after each of which the energies are recomputed, as in the other kernels."""

_inline = njit(**OPTIONS, forceinline=True)


class GpuConfiguration(NamedTuple):
    """Positions of the atoms, grouped by species, in all replicas.

    Parameters
    ----------
    positions
        (n_replicas, 3, n) lattice coordinates.
    species
        (n,) species index of each atom.
    total
        (n_replicas,) potential energies.
    random_states
        (n_replicas, 4) states of xoshiro256++, one per replica.
    sweeps
        (1,) sweeps done so far.
    """

    positions: NDArray[np.int32]
    species: NDArray[np.int64]
    total: NDArray[np.float64]
    random_states: NDArray[np.uint64]
    sweeps: NDArray[np.int64]


@_inline
def _well(x, y, z, point, sigma_squared, constants):  # type: ignore[no-untyped-def]
    """Shape of the well, ``s^6 - s^3``, between an atom at a lattice point and another."""
    real = constants.dtype.type
    dx = real(np.int32(x - point[0]))
    dy = real(np.int32(y - point[1]))
    dz = real(np.int32(z - point[2]))
    squared = dx * dx + dy * dy * constants[0] + dz * dz * constants[1]
    # Not max(), which numba does not compile for a GPU with two arguments.
    s = sigma_squared / squared
    s = s if s > constants[2] else constants[2]
    s3 = s * s * s
    return s3 * (s3 - real(1.0))


@functools.cache
def make_kernel(n_atoms: int, n_pairs: int, dtype: np.dtype[Any], threads: int) -> Any:
    """Return the kernel for a number of atoms and of pairs of species that may be exchanged.

    ``dtype`` is the precision of the energies, and ``threads`` the number of threads per block, a
    power of two. The kernel runs with one block per replica. Its arguments are ``positions``,
    ``total`` and ``random_states`` of :class:`GpuConfiguration`, changed in place;
    ``displacements`` (n_replicas, 2, n_species) and ``exchanges`` (n_replicas, 2, n_pairs), the
    moves attempted and accepted, incremented; the tables and parameters of the moves of
    :mod:`~mgflows.surrogate.kernels.all_pairs`; ``below``, the probability of an exchange times
    2^32; ``temperatures`` (n_sweeps,); ``done``, the sweeps done before; ``interval``, the sweeps
    between two recomputations of the energies; and ``energies`` (n_sweeps, n_replicas), which
    receives the total energies.
    """
    real = numba.from_dtype(dtype)

    @cuda.jit(device=True)
    def add_up(partial, value, thread):  # type: ignore[no-untyped-def]
        """Sum of the values of all threads, in the first element."""
        partial[thread] = value
        cuda.syncthreads()
        reach = threads // 2
        while reach > 0:
            if thread < reach:
                partial[thread] += partial[thread + reach]
            cuda.syncthreads()
            reach //= 2

    @cuda.jit
    def run(  # type: ignore[no-untyped-def]
        positions, total, random_states, displacements, exchanges, species, sigma_squared,
        four_epsilon, all_constants, all_reach, pairs, all_cumulative, first, below, temperatures,
        done, interval, energies,
    ):  # fmt: skip
        replica, thread = cuda.blockIdx.x, cuda.threadIdx.x
        place = cuda.shared.array((3, n_atoms), numba.int32)
        partial = cuda.shared.array(threads, numba.float64)
        state = cuda.local.array(4, numba.uint64)
        constants = cuda.local.array(4, real)
        reach = cuda.local.array(3, numba.float64)
        cumulative = cuda.local.array(n_pairs, numba.float64)
        for word in range(4):
            state[word] = random_states[replica, word]
            constants[word] = all_constants[word]
        for axis in range(3):
            reach[axis] = all_reach[axis]
        for pair in range(n_pairs):
            cumulative[pair] = all_cumulative[pair]
        for j in range(thread, n_atoms, threads):
            for axis in range(3):
                place[axis, j] = positions[replica, axis, j]
        cuda.syncthreads()
        energy = total[replica]
        for sweep in range(temperatures.size):
            for _ in range(n_atoms):
                part = real(0.0)
                bits = np.uint64(random_bits(state))
                if high_half(bits) < below:
                    pair = chosen_pair(bits, cumulative)
                    a, b = pairs[pair, 0], pairs[pair, 1]
                    bits = np.uint64(random_bits(state))
                    i = first[a] + high_below(bits, first[a + 1] - first[a])
                    k = first[b] + low_below(bits, first[b + 1] - first[b])
                    threshold = metropolis_threshold(temperatures[sweep], state)
                    at_i = place[0, i], place[1, i], place[2, i]
                    at_k = place[0, k], place[1, k], place[2, k]
                    for j in range(thread, n_atoms, threads):
                        if j != i and j != k:
                            x, y, z = place[0, j], place[1, j], place[2, j]
                            sigma_a, sigma_b = sigma_squared[a, j], sigma_squared[b, j]
                            part += four_epsilon[a, j] * (
                                _well(x, y, z, at_k, sigma_a, constants)
                                - _well(x, y, z, at_i, sigma_a, constants)
                            ) + four_epsilon[b, j] * (
                                _well(x, y, z, at_i, sigma_b, constants)
                                - _well(x, y, z, at_k, sigma_b, constants)
                            )
                    add_up(partial, part, thread)
                    change = partial[0]
                    if thread == 0:
                        exchanges[replica, 0, pair] += 1
                        if change < threshold:
                            exchanges[replica, 1, pair] += 1
                            for axis in range(3):
                                place[axis, i], place[axis, k] = at_k[axis], at_i[axis]
                else:
                    i = low_below(bits, n_atoms)
                    a = species[i]
                    old = place[0, i], place[1, i], place[2, i]
                    x, y, z = displaced(old, reach, state)
                    new = np.int32(x), np.int32(y), np.int32(z)
                    threshold = metropolis_threshold(temperatures[sweep], state)
                    for j in range(thread, n_atoms, threads):
                        if j != i:
                            x, y, z = place[0, j], place[1, j], place[2, j]
                            sigma_a = sigma_squared[a, j]
                            part += four_epsilon[a, j] * (
                                _well(x, y, z, new, sigma_a, constants)
                                - _well(x, y, z, old, sigma_a, constants)
                            )
                    add_up(partial, part, thread)
                    change = partial[0]
                    if thread == 0:
                        displacements[replica, 0, a] += 1
                        if change < threshold:
                            displacements[replica, 1, a] += 1
                            for axis in range(3):
                                place[axis, i] = new[axis]
                if change < threshold:
                    energy += change
                cuda.syncthreads()
            count = done + sweep + 1
            if count <= _FIRST_SWEEPS or count % interval == 0:
                part = 0.0
                for j in range(thread, n_atoms, threads):
                    x, y, z = place[0, j], place[1, j], place[2, j]
                    for i in range(j):
                        point = place[0, i], place[1, i], place[2, i]
                        well = _well(x, y, z, point, sigma_squared[species[i], j], constants)
                        part += four_epsilon[species[i], j] * (well - constants[3])
                add_up(partial, part, thread)
                energy = partial[0]
                cuda.syncthreads()
            if thread == 0:
                energies[sweep, replica] = energy
        for j in range(thread, n_atoms, threads):
            for axis in range(3):
                positions[replica, axis, j] = place[axis, j]
        if thread == 0:
            total[replica] = energy
            for word in range(4):
                random_states[replica, word] = state[word]

    return run
