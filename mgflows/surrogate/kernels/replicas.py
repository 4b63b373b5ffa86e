"""Compiled kernel for independent replicas, one in each lane of a SIMD register.

The algorithm and the moves are those of :mod:`mgflows.surrogate.kernels.all_pairs`. All replicas
move the same atom, or exchange the same two, but share nothing else: each has its own displacement
and its own random number for acceptance, so that each is a Markov chain that obeys detailed
balance. The atom has the same species in all replicas, so pair parameters are scalars: nothing has
to be padded, masked or summed over lanes, and no branch depends on the outcome. The energies of the
atoms are not stored, because some replica accepts in nearly every move.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from mgflows.compilation import njit
from mgflows.surrogate.kernels.all_pairs import (
    OPTIONS,
    chosen_pair,
    high_below,
    high_half,
    inline,
    low_below,
    random_bits,
)
from mgflows.surrogate.kernels.simd import (
    FAST,
    INDEX,
    Vectors,
    loop,
    shape_of_well,
    squared_distance,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["ReplicaConfiguration", "run_replica_sweeps"]

_compile = njit(**OPTIONS)


class ReplicaConfiguration(NamedTuple):
    """Positions of the atoms, grouped by species, in all replicas.

    Parameters
    ----------
    positions
        (3, n, lanes) lattice coordinates.
    species
        (n,) species index of each atom.
    old, new
        (3, lanes) scratch: old and new position of the atom of a trial move; for an exchange, the
        positions of the two atoms.
    change, accepted, bits
        (lanes,) scratch: change of the energy, whether the move is accepted, random bits.
    total
        (lanes,) potential energies.
    random_states
        (4, lanes) states of xoshiro256++, one per replica.
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


@intrinsic
def _add_row(  # type: ignore[no-untyped-def]
    typing,  # noqa: ARG001
    positions, old, new, species, start, stop, table, change,
):  # fmt: skip
    """Add, in each replica, the change of the energy with a range of atoms as one atom moves.

    Parameters
    ----------
    positions
        (3, n, lanes) lattice positions.
    old, new
        (3, lanes) old and new position of the atom.
    species
        Its species.
    start, stop
        The range of atoms, ``stop`` excluded; it may be empty.
    table
        ``sigma_squared`` and ``four_epsilon``, (n_species, n), and ``constants`` as in
        :class:`mgflows.surrogate.kernels.all_pairs.Table`.
    change
        (lanes,) change of the energy; incremented in place.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        b = builder
        positions, old, new, species, start, stop, table, change = (
            unpack(context, b, kind, value)
            for kind, value in zip(signature.args, arguments, strict=True)
        )
        v = Vectors(b, context.get_value_type(signature.args[-1].dtype))
        zero = ir.Constant(INDEX, 0)
        n_atoms = b.sub(stop, start)
        before = v.load(change, zero, v.reals)
        some, end = b.append_basic_block("replicas"), b.append_basic_block("replicas.end")
        b.cbranch(b.icmp_signed(">", n_atoms, zero), some, end)
        b.position_at_end(some)
        pair = _pair_change(v, positions, old, new, species, start, table)
        (after,) = loop(
            b, n_atoms, [before], lambda k, carried: [b.fadd(carried[0], pair(k), flags=FAST)]
        )
        v.store(after, change, zero)
        b.branch(end)
        b.position_at_end(end)
        return context.get_dummy_value()

    return types.void(positions, old, new, species, start, stop, table, change), generate


def _pair_change(
    v: Vectors,
    positions: Any,
    old: Any,
    new: Any,
    species: ir.Value,
    start: ir.Value,
    table: list[Any],
) -> Callable[[ir.Value], ir.Value]:
    """Return a function that emits the energy change with the ``k``-th atom from ``start``."""
    b = v.builder
    sigma_squared, four_epsilon, constants = table
    length, lanes = b.extract_value(positions.shape, 1), ir.Constant(INDEX, v.lanes)
    *weights, ratio_cut = (v.splat_element(constants, n) for n in range(3))
    point_before, point_after = (
        [v.load(place, ir.Constant(INDEX, axis * v.lanes), v.integers) for axis in range(3)]
        for place in (old, new)
    )

    def emit(k: ir.Value) -> ir.Value:
        j = b.add(start, k)
        in_table = b.add(b.mul(species, length), j)
        pair_sigma = v.splat_element(sigma_squared, in_table)
        pair_epsilon = v.splat_element(four_epsilon, in_table)
        rows = [b.add(b.mul(length, ir.Constant(INDEX, axis)), j) for axis in range(3)]
        partner = [v.load(positions, b.mul(lanes, row), v.integers) for row in rows]

        def energy(point: list[ir.Value]) -> ir.Value:
            squared = squared_distance(v, partner, point, weights)
            return shape_of_well(v, pair_sigma, squared, ratio_cut)

        # The shift is the same before and after.
        difference = b.fsub(energy(point_after), energy(point_before), flags=FAST)
        return b.fmul(difference, pair_epsilon, flags=FAST)

    return emit


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
def _decide(configuration, temperature):  # type: ignore[no-untyped-def]
    """Accept or reject in every replica; return how many accept."""
    bits, change, total = configuration.bits, configuration.change, configuration.total
    accepted = configuration.accepted
    _draw(configuration.random_states, bits)
    n = 0
    for lane in range(bits.size):
        threshold = -temperature * math.log((bits[lane] >> np.uint64(11)) * 2.0**-53)
        accepted[lane] = change[lane] < threshold
        total[lane] += change[lane] if accepted[lane] else 0.0
        n += accepted[lane]
    return n


@inline
def _displace(bits, configuration, table, proposals, counters, temperature):  # type: ignore[no-untyped-def]
    """Try to move one atom, in each replica to its own random point in the cube around it."""
    positions, change = configuration.positions, configuration.change
    old, new = configuration.old, configuration.new
    pairs = table.sigma_squared, table.four_epsilon, table.constants
    n_atoms, lanes = configuration.species.size, change.size
    i = low_below(bits, n_atoms)
    a = configuration.species[i]
    _draw(configuration.random_states, configuration.bits)
    for lane in range(lanes):
        own = configuration.bits[lane]
        step_x = 2 * np.int64(own >> np.uint64(43)) - 0x1FFFFF
        step_y = 2 * np.int64((own >> np.uint64(22)) & np.uint64(0x1FFFFF)) - 0x1FFFFF
        step_z = 2 * np.int64((own >> np.uint64(1)) & np.uint64(0x1FFFFF)) - 0x1FFFFF
        for axis in range(3):
            old[axis, lane] = positions[axis, i, lane]
        new[0, lane] = np.int32(old[0, lane] + int(step_x * proposals.reach[0]))
        new[1, lane] = np.int32(old[1, lane] + int(step_y * proposals.reach[1]))
        new[2, lane] = np.int32(old[2, lane] + int(step_z * proposals.reach[2]))
        change[lane] = 0
    _add_row(positions, old, new, a, 0, i, pairs, change)
    _add_row(positions, old, new, a, i + 1, n_atoms, pairs, change)
    counters.displacements[0, a] += lanes
    counters.displacements[1, a] += _decide(configuration, temperature)
    for axis in range(3):
        for lane in range(lanes):
            accepted = configuration.accepted[lane]
            positions[axis, i, lane] = new[axis, lane] if accepted else old[axis, lane]


@inline
def _exchange(bits, configuration, table, proposals, counters, temperature, state):  # type: ignore[no-untyped-def]
    """Try to swap, in each replica, the positions of the same two atoms of different species."""
    positions, change = configuration.positions, configuration.change
    old, new = configuration.old, configuration.new
    pairs = table.sigma_squared, table.four_epsilon, table.constants
    first = proposals.first
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
        _add_row(positions, old, new, a, start, stop, pairs, change)
        _add_row(positions, new, old, b, start, stop, pairs, change)
    counters.exchanges[0, pair] += lanes
    counters.exchanges[1, pair] += _decide(configuration, temperature)
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
        Random state for the choice of atoms, which the replicas share.
    """
    exchanges = int(proposals.swap_fraction * 2**32)
    for sweep in range(temperatures.size):
        for _ in range(configuration.species.size):
            bits = random_bits(state)
            if high_half(bits) < exchanges:
                _exchange(
                    bits, configuration, table, proposals, counters, temperatures[sweep], state
                )
            else:
                _displace(bits, configuration, table, proposals, counters, temperatures[sweep])
        configuration.sweeps[0] += 1
        for lane in range(configuration.total.size):
            energies[sweep, lane] = configuration.total[lane]
