"""Compiled kernel for independent replicas, one in each lane of a SIMD register: the Metropolis algorithm over all pairs.

The moves are those of :mod:`mgflows.surrogate.kernels.all_pairs`. The replicas share which atom, or which two, a move is about, and nothing else: the
displacement, and the random number that decides, are each replica's own, so that each is by itself a Markov chain in detailed balance.
No energies of atoms are kept, because some replica accepts nearly every time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numba
import numpy as np

from mgflows.surrogate.kernels.all_pairs import (
    OPTIONS,
    chosen_pair,
    high_below,
    inline,
    low_below,
    random_bits,
)
from mgflows.surrogate.kernels.replica_simd import add_replica_row

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ReplicaConfiguration", "run_replica_sweeps"]

_compile = numba.njit(**OPTIONS)


class ReplicaConfiguration(NamedTuple):
    """Positions of the atoms, grouped by species, in all replicas.

    Parameters
    ----------
    positions
        (3, n, lanes) lattice coordinates.
    species
        (n,) species index of each atom.
    old, new
        (3, lanes) scratch: where the atom of a trial move is and would be; for an exchange, where the two atoms are.
    change, accepted, bits
        (lanes,) scratch: change of the energy, whether the move is accepted, random bits.
    total
        (lanes,) potential energies.
    random_states
        (4, lanes) states of xoshiro256++, one a replica.
    sweeps
        (1,) sweeps done so far.
    """

    positions: NDArray[np.int32]
    species: NDArray[np.int64]
    old: NDArray[np.int32]
    new: NDArray[np.int32]
    change: NDArray[np.floating]
    accepted: NDArray[np.int64]
    bits: NDArray[np.uint64]
    total: NDArray[np.float64]
    random_states: NDArray[np.uint64]
    sweeps: NDArray[np.int64]


@inline
def _draw(states, bits):  # type: ignore[no-untyped-def]
    """Write 64 random bits for every replica."""
    for lane in range(bits.size):
        sum_ = states[0, lane] + states[3, lane]
        bits[lane] = ((sum_ << np.uint64(23)) | (sum_ >> np.uint64(41))) + states[0, lane]
        t = states[1, lane] << np.uint64(17)
        states[2, lane] ^= states[0, lane]
        states[3, lane] ^= states[1, lane]
        states[1, lane] ^= states[2, lane]
        states[0, lane] ^= states[3, lane]
        states[2, lane] ^= t
        states[3, lane] = (states[3, lane] << np.uint64(45)) | (states[3, lane] >> np.uint64(19))


@inline
def _settle(configuration, temperature):  # type: ignore[no-untyped-def]
    """Metropolis in every replica; return how many accept. Rejected moves get a change of zero."""
    bits, change, total, accepted = (
        configuration.bits,
        configuration.change,
        configuration.total,
        configuration.accepted,
    )
    _draw(configuration.random_states, bits)
    n = 0
    for lane in range(bits.size):
        borrowed = -temperature * math.log((bits[lane] >> np.uint64(11)) * 2.0**-53)
        accepted[lane] = change[lane] < borrowed
        total[lane] += change[lane] if accepted[lane] else 0.0
        n += accepted[lane]
    return n


@inline
def _displace(bits, configuration, table, proposals, counters, temperature):  # type: ignore[no-untyped-def]
    """Try to move one atom, in each replica to a point of its own in the cube around it."""
    positions, old, new, change = (
        configuration.positions,
        configuration.old,
        configuration.new,
        configuration.change,
    )
    n_atoms, lanes = configuration.species.size, change.size
    i = low_below(bits, n_atoms)
    a = configuration.species[i]
    _draw(configuration.random_states, configuration.bits)
    for lane in range(lanes):
        own = configuration.bits[lane]
        step_x = 2 * np.int64(own >> np.uint64(43)) - 0x1FFFFF
        step_y = 2 * np.int64((own >> np.uint64(22)) & np.uint64(0x1FFFFF)) - 0x1FFFFF
        step_z = 2 * np.int64((own >> np.uint64(1)) & np.uint64(0x1FFFFF)) - 0x1FFFFF
        old[0, lane], old[1, lane], old[2, lane] = (
            positions[0, i, lane],
            positions[1, i, lane],
            positions[2, i, lane],
        )
        new[0, lane] = np.int32(old[0, lane] + int(step_x * proposals.reach[0]))
        new[1, lane] = np.int32(old[1, lane] + int(step_y * proposals.reach[1]))
        new[2, lane] = np.int32(old[2, lane] + int(step_z * proposals.reach[2]))
        change[lane] = 0
    add_replica_row(
        positions,
        old,
        new,
        a,
        0,
        i,
        table.sigma_squared,
        table.four_epsilon,
        table.constants,
        change,
    )
    add_replica_row(
        positions,
        old,
        new,
        a,
        i + 1,
        n_atoms,
        table.sigma_squared,
        table.four_epsilon,
        table.constants,
        change,
    )
    counters.displacements[0, a] += lanes
    counters.displacements[1, a] += _settle(configuration, temperature)
    for axis in range(3):
        for lane in range(lanes):
            positions[axis, i, lane] = (
                new[axis, lane] if configuration.accepted[lane] else old[axis, lane]
            )


@inline
def _exchange(bits, configuration, table, proposals, counters, temperature, state):  # type: ignore[no-untyped-def]
    """Try to swap, in each replica, the positions of the same two atoms of different species."""
    positions, first, change = configuration.positions, proposals.first, configuration.change
    old, new = configuration.old, configuration.new
    n_atoms, lanes = configuration.species.size, change.size
    pair = chosen_pair(bits, proposals.exchange_cumulative)
    a, b = proposals.exchange_pairs[pair, 0], proposals.exchange_pairs[pair, 1]
    bits = random_bits(state)
    i = first[a] + high_below(bits, first[a + 1] - first[a])
    k = first[b] + low_below(bits, first[b + 1] - first[b])
    for axis in range(3):
        for lane in range(lanes):
            old[axis, lane], new[axis, lane] = positions[axis, i, lane], positions[axis, k, lane]
    for lane in range(lanes):
        change[lane] = 0
    low, high = min(i, k), max(i, k)
    for start, stop in ((0, low), (low + 1, high), (high + 1, n_atoms)):
        add_replica_row(
            positions,
            old,
            new,
            a,
            start,
            stop,
            table.sigma_squared,
            table.four_epsilon,
            table.constants,
            change,
        )
        add_replica_row(
            positions,
            new,
            old,
            b,
            start,
            stop,
            table.sigma_squared,
            table.four_epsilon,
            table.constants,
            change,
        )
    counters.exchanges[0, pair] += lanes
    counters.exchanges[1, pair] += _settle(configuration, temperature)
    for axis in range(3):
        for lane in range(lanes):
            accepted = configuration.accepted[lane]
            positions[axis, i, lane] = new[axis, lane] if accepted else old[axis, lane]
            positions[axis, k, lane] = old[axis, lane] if accepted else new[axis, lane]


@_compile
def run_replica_sweeps(configuration, table, proposals, counters, temperatures, energies, state):  # type: ignore[no-untyped-def]
    """Run one sweep, that is N trial moves in every replica, at each temperature.

    Parameters
    ----------
    temperatures
        (n_sweeps,) reduced temperature of each sweep.
    energies
        (n_sweeps, lanes) receives the total energies after each sweep.
    state
        Random state of what the replicas share: which atoms move.
    """
    exchanges = int(proposals.swap_fraction * 2**32)
    for sweep in range(temperatures.size):
        for _ in range(configuration.species.size):
            bits = random_bits(state)
            if high_below(bits, 2**32) < exchanges:
                _exchange(
                    bits, configuration, table, proposals, counters, temperatures[sweep], state
                )
            else:
                _displace(bits, configuration, table, proposals, counters, temperatures[sweep])
        configuration.sweeps[0] += 1
        for lane in range(configuration.total.size):
            energies[sweep, lane] = configuration.total[lane]
