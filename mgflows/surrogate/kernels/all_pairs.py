"""Compiled kernels of the swap Monte Carlo sampler: the Metropolis algorithm over all pairs.

Everything is in Lennard-Jones units. The algorithm is the standard one (N. Metropolis et al., J.
Chem. Phys. 21, 1087 (1953), doi:10.1063/1.1699114, with the exchanges of A. Ninarello et al., Phys.
Rev. X 7, 021039 (2017), doi:10.1103/PhysRevX.7.021039). It is fast for three reasons:

- Atoms are grouped by species, and an exchange swaps *positions*. The parameters of one species
  against every atom are therefore constant rows of a table, and the loop over partners is
  unit-stride arithmetic without a branch.
- With ``s = max(sigma^2 / r^2, sigma^2 / r_cut^2)`` the truncated and shifted potential is
  ``4 eps (s^6 - s^3 - shift)`` everywhere: beyond the cutoff it is exactly zero. Padding atoms
  have ``sigma = epsilon = 0``.
- The energy of every atom is stored, so a rejected displacement costs one loop over the atoms and a
  rejected exchange two.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mgflows.compilation import njit
from mgflows.surrogate.kernels.simd import REGISTER_BYTES, replace_row, row_energy

__all__ = [
    "Configuration",
    "Counters",
    "Proposals",
    "RandomState",
    "Table",
    "from_lattice",
    "new_counters",
    "prepare",
    "recompute_energies",
    "run_sweeps",
    "seed_random_state",
    "to_lattice",
]

RandomState = NDArray[np.uint64]
"""State of the xoshiro256++ generator: four 64-bit words."""
LATTICE = 2.0**32
"""Lattice points along an edge of the box."""
_LANES = REGISTER_BYTES // 4
"""Arrays are padded to whole vectors of the smallest type."""

# Divisions do not test for zero (numpy's error model). Nothing is allocated here, so reference
# counting, which would cost more than the physics, is switched off; passing arrays to a function
# that is not inlined would cost as much.
OPTIONS = {"nogil": True, "error_model": "numpy", "_nrt": False}
_compile = njit(**OPTIONS)
inline = njit(**OPTIONS, forceinline=True)


class Table(NamedTuple):
    """Pair parameters of each species against every atom.

    Lengths are in lattice units along x, that is edge / 2^32.

    Parameters
    ----------
    sigma_squared, four_epsilon
        (n_species, n_padded) ``sigma_ab^2`` and ``4 epsilon_ab``, with ``b`` the species of the
        atom in that column.
    constants
        (4,) squared ratios of the edges y and z to x; ``c = sigma_ab^2 / r_cut^2``, the same for
        every pair; ``c^6 - c^3``.
    blocks
        Where the vectors of atoms begin.
    """

    sigma_squared: NDArray[np.floating]
    four_epsilon: NDArray[np.floating]
    constants: NDArray[np.floating]
    blocks: NDArray[np.int64]


class Configuration(NamedTuple):
    """Positions and energies of the atoms, grouped by species.

    Parameters
    ----------
    positions
        (3, n_padded) lattice coordinates: the fraction of the box edge times 2^32, as a wrapping
        32-bit integer.
    species
        (n,) species index of each atom.
    energy
        (n_padded,) energy of each atom with all others: every pair is counted in both of its atoms.
    trial_i, trial_k
        (n_padded,) scratch: the pair energies that the one or two atoms of a trial move would have.
    total
        (1,) potential energy, every pair counted once.
    sweeps
        (1,) sweeps done so far.
    """

    positions: NDArray[np.int32]
    species: NDArray[np.int64]
    energy: NDArray[np.floating]
    trial_i: NDArray[np.floating]
    trial_k: NDArray[np.floating]
    total: NDArray[np.float64]
    sweeps: NDArray[np.int64]


class Proposals(NamedTuple):
    """Parameters of the trial moves.

    Parameters
    ----------
    reach
        (3,) half the edges of the cube around the atom in which its new position is uniform, in
        lattice units over 2^21.
    swap_fraction
        Probability that a move is an exchange.
    exchange_pairs
        (n_pairs, 2) species that may exchange positions.
    exchange_cumulative
        (n_pairs,) cumulative probability of each pair of species: proportional to the number of
        such pairs of atoms.
    first
        (n_species + 1,) first atom of each species; the last entry is the number of atoms.
    """

    reach: NDArray[np.float64]
    swap_fraction: float
    exchange_pairs: NDArray[np.int64]
    exchange_cumulative: NDArray[np.float64]
    first: NDArray[np.int64]


class Counters(NamedTuple):
    """Moves attempted (first row) and accepted (second row).

    Parameters
    ----------
    displacements
        (2, n_species).
    exchanges
        (2, n_pairs).
    """

    displacements: NDArray[np.int64]
    exchanges: NDArray[np.int64]


def new_counters(n_species: int, n_pairs: int) -> Counters:
    """Return counters at zero."""
    return Counters(
        np.zeros((2, n_species), dtype=np.int64), np.zeros((2, n_pairs), dtype=np.int64)
    )


def prepare(
    sigma: NDArray[np.float64],
    epsilon: NDArray[np.float64],
    cutoff_factor: float,
    positions: NDArray[np.float64],
    types: NDArray[np.int64],
    box: NDArray[np.float64],
    dtype: np.dtype[np.floating],
) -> tuple[Table, Configuration]:
    """Lay out pair tables and atoms for the kernels.

    Parameters
    ----------
    sigma, epsilon
        (n_species, n_species) reduced pair tables.
    cutoff_factor
        Cutoff of a pair in units of its sigma.
    positions, types
        (n, 3) reduced positions in the box and (n,) ascending species.
    box
        (3,) reduced edges.
    dtype
        Precision of the kernels.

    Returns
    -------
    The tables, and the configuration without its energies: see :func:`recompute_energies`.
    """
    n_atoms, n_species = len(types), len(sigma)
    n_padded = -(-n_atoms // _LANES) * _LANES
    sigma_squared, four_epsilon = (np.zeros((n_species, n_padded), dtype) for _ in range(2))
    sigma_squared[:, :n_atoms] = ((sigma / box[0] * LATTICE) ** 2)[:, types]
    four_epsilon[:, :n_atoms] = 4.0 * epsilon[:, types]
    cut = cutoff_factor**-2
    constants = np.array(
        [(box[1] / box[0]) ** 2, (box[2] / box[0]) ** 2, cut, cut**6 - cut**3], dtype
    )
    lattice = np.zeros((3, n_padded), dtype=np.int32)
    lattice[:, :n_atoms] = to_lattice(positions, box).T
    configuration = Configuration(
        positions=lattice,
        species=types.astype(np.int64),
        energy=np.zeros(n_padded, dtype),
        trial_i=np.zeros(n_padded, dtype),
        trial_k=np.zeros(n_padded, dtype),
        total=np.zeros(1),
        sweeps=np.zeros(1, dtype=np.int64),
    )
    return Table(
        sigma_squared,
        four_epsilon,
        constants,
        np.arange(0, n_padded, REGISTER_BYTES // dtype.itemsize),
    ), configuration


def to_lattice(positions: NDArray[np.float64], box: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return (n, 3) positions as lattice coordinates."""
    fraction = positions / box
    return (
        np.round((fraction - np.floor(fraction)) * LATTICE)
        .astype(np.int64)
        .astype(np.uint32)
        .view(np.int32)
    )


def from_lattice(lattice: NDArray[np.int32], box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, 3) lattice coordinates as positions in the box."""
    return np.ascontiguousarray(lattice).view(np.uint32) / LATTICE * box


def seed_random_state(seed: int, stream: int = 0) -> RandomState:
    """Return the first state for a seed and a stream; streams of one seed are independent.

    They come from numpy's SeedSequence.
    """
    return np.random.SeedSequence([seed, stream]).generate_state(4, np.uint64).astype(np.uint64)


@inline
def random_bits(state):  # type: ignore[no-untyped-def]
    """Return 64 random bits from xoshiro256++.

    D. Blackman and S. Vigna, ACM Trans. Math. Softw. 47, 36 (2021).
    """
    sum_ = state[0] + state[3]
    result = ((sum_ << np.uint64(23)) | (sum_ >> np.uint64(41))) + state[0]
    t = state[1] << np.uint64(17)
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= t
    state[3] = (state[3] << np.uint64(45)) | (state[3] >> np.uint64(19))
    return result


@inline
def random_number(state):  # type: ignore[no-untyped-def]
    """Uniform number in [0, 1) of 53 bits."""
    return (random_bits(state) >> np.uint64(11)) * 2.0**-53


@inline
def high_half(bits):  # type: ignore[no-untyped-def]
    """Uniform integer below 2^32: the high half of random bits."""
    return np.int64(bits >> np.uint64(32))


@inline
def high_below(bits, n):  # type: ignore[no-untyped-def]
    """Uniform integer below n, from the high half of random bits."""
    return (high_half(bits) * n) >> 32


@inline
def low_below(bits, n):  # type: ignore[no-untyped-def]
    """Uniform integer below n, from the low half of random bits."""
    return (np.int64(bits & np.uint64(0xFFFFFFFF)) * n) >> 32


@inline
def chosen_pair(bits, cumulative):  # type: ignore[no-untyped-def]
    """Pair of species to exchange, from the low half of random bits.

    Branch-free, because the branch would be unpredictable.
    """
    share = np.int64(bits & np.uint64(0xFFFFFFFF)) * 2.0**-32
    pair = 0
    for limit in cumulative[:-1]:
        pair += share >= limit
    return pair


@inline
def displaced(point, reach, state):  # type: ignore[no-untyped-def]
    """Lattice point displaced within the cube; it wraps as the box does.

    Each edge has 2^21 steps, symmetric about zero.
    """
    bits = random_bits(state)
    step_x = 2 * np.int64(bits >> np.uint64(43)) - 0x1FFFFF
    step_y = 2 * np.int64((bits >> np.uint64(22)) & np.uint64(0x1FFFFF)) - 0x1FFFFF
    step_z = 2 * np.int64((bits >> np.uint64(1)) & np.uint64(0x1FFFFF)) - 0x1FFFFF
    return (
        np.int32(point[0] + int(step_x * reach[0])),
        np.int32(point[1] + int(step_y * reach[1])),
        np.int32(point[2] + int(step_z * reach[2])),
    )


@inline
def metropolis_threshold(temperature, state):  # type: ignore[no-untyped-def]
    """Threshold of the energy below which a move is accepted.

    ``delta < -T ln(u)`` with ``u`` uniform is Metropolis' ``u < exp(-delta / T)``. Unlike the
    exponential, it can be computed before the energies are known.
    """
    return -temperature * math.log(random_number(state))


@inline
def _displace(  # type: ignore[no-untyped-def]
    bits, positions, species, energy, trial, table, proposals, counters, temperature, state
):
    """Try to move one atom to a point of the cube around it; return the change of the energy."""
    pairs = table.sigma_squared, table.four_epsilon, table.constants
    blocks = table.blocks
    i = low_below(bits, species.size)
    a = species[i]
    counters.displacements[0, a] += 1
    old = positions[0, i], positions[1, i], positions[2, i]
    new = displaced(old, proposals.reach, state)
    threshold = metropolis_threshold(temperature, state)
    new_energy = row_energy(positions, new, a, (i,), pairs, blocks, blocks.size, trial)
    delta = float(new_energy) - float(energy[i])
    accepted = delta < threshold
    if accepted:
        replace_row(positions, old, a, (), pairs, blocks, blocks.size, trial, energy)
        positions[0, i], positions[1, i], positions[2, i] = new
        energy[i] = new_energy
        counters.displacements[1, a] += 1
    return delta if accepted else 0.0


@inline
def _pair_energy(i, k, positions, species, table):  # type: ignore[no-untyped-def]
    """Energy of two atoms with each other."""
    constants = table.constants
    real = constants.dtype.type
    dx = real(np.int32(positions[0, i] - positions[0, k]))
    dy = real(np.int32(positions[1, i] - positions[1, k]))
    dz = real(np.int32(positions[2, i] - positions[2, k]))
    squared = dx * dx + dy * dy * constants[0] + dz * dz * constants[1]
    s = max(table.sigma_squared[species[i], k] / squared, constants[2])
    s3 = s * s * s
    return table.four_epsilon[species[i], k] * (s3 * (s3 - real(1.0)) - constants[3])


@inline
def _exchange(  # type: ignore[no-untyped-def]
    bits,
    positions,
    species,
    energy,
    trial_i,
    trial_k,
    table,
    proposals,
    counters,
    temperature,
    state,
):
    """Try to swap the positions of two atoms of different species; return the change of the energy.

    Every pair of atoms whose species may exchange is equally likely, so the proposal is symmetric.
    The energy of the two with each other does not change.
    """
    pairs = table.sigma_squared, table.four_epsilon, table.constants
    blocks = table.blocks
    pair = chosen_pair(bits, proposals.exchange_cumulative)
    a, b = proposals.exchange_pairs[pair, 0], proposals.exchange_pairs[pair, 1]
    first = proposals.first
    bits = random_bits(state)
    i = first[a] + high_below(bits, first[a + 1] - first[a])
    k = first[b] + low_below(bits, first[b + 1] - first[b])
    counters.exchanges[0, pair] += 1
    threshold = metropolis_threshold(temperature, state)
    mutual = _pair_energy(i, k, positions, species, table)
    at_i = positions[0, i], positions[1, i], positions[2, i]
    at_k = positions[0, k], positions[1, k], positions[2, k]
    new_i = row_energy(positions, at_k, a, (i, k), pairs, blocks, blocks.size, trial_i)
    new_k = row_energy(positions, at_i, b, (i, k), pairs, blocks, blocks.size, trial_k)
    delta = float(new_i) + float(new_k) - float(energy[i] - mutual) - float(energy[k] - mutual)
    accepted = delta < threshold
    if accepted:
        replace_row(positions, at_i, a, (), pairs, blocks, blocks.size, trial_i, energy)
        replace_row(positions, at_k, b, (), pairs, blocks, blocks.size, trial_k, energy)
        positions[0, i], positions[1, i], positions[2, i] = at_k
        positions[0, k], positions[1, k], positions[2, k] = at_i
        energy[i], energy[k] = new_i + mutual, new_k + mutual
        counters.exchanges[1, pair] += 1
    return delta if accepted else 0.0


@_compile
def recompute_energies(configuration, table):  # type: ignore[no-untyped-def]
    """Compute the energy of every atom, and the total, from scratch."""
    positions, energy, trial = configuration.positions, configuration.energy, configuration.trial_i
    pairs = table.sigma_squared, table.four_epsilon, table.constants
    blocks = table.blocks
    total = 0.0
    for i in range(configuration.species.size):
        point = positions[0, i], positions[1, i], positions[2, i]
        a = configuration.species[i]
        energy[i] = row_energy(positions, point, a, (i,), pairs, blocks, blocks.size, trial)
        total += 0.5 * energy[i]
    configuration.total[0] = total


@_compile
def run_sweeps(  # type: ignore[no-untyped-def]
    configuration, table, proposals, counters, temperatures, refresh_interval, energies, state
):
    """Run one sweep, that is N trial moves, at each temperature.

    Parameters
    ----------
    temperatures
        (n_sweeps,) reduced temperature of each sweep.
    refresh_interval
        Number of sweeps after which the energies of the atoms are recomputed. They are also
        recomputed after each of the first hundred sweeps, because overlaps in the initial
        configuration leave large rounding errors. Sweeps are counted from the sampler's first one,
        so that an interrupted run gives the same results.
    energies
        (n_sweeps,) receives the total energy after each sweep.
    """
    positions, species, energy = (
        configuration.positions,
        configuration.species,
        configuration.energy,
    )
    trial_i, trial_k = configuration.trial_i, configuration.trial_k
    exchanges = int(proposals.swap_fraction * 2**32)
    for sweep in range(temperatures.size):
        temperature = temperatures[sweep]
        change = 0.0
        for _ in range(species.size):
            bits = random_bits(state)
            if high_half(bits) < exchanges:
                change += _exchange(
                    bits,
                    positions,
                    species,
                    energy,
                    trial_i,
                    trial_k,
                    table,
                    proposals,
                    counters,
                    temperature,
                    state,
                )
            else:
                change += _displace(
                    bits,
                    positions,
                    species,
                    energy,
                    trial_i,
                    table,
                    proposals,
                    counters,
                    temperature,
                    state,
                )
        configuration.total[0] += change
        configuration.sweeps[0] += 1
        if configuration.sweeps[0] <= 100 or configuration.sweeps[0] % refresh_interval == 0:
            recompute_energies(configuration, table)
        energies[sweep] = configuration.total[0]
