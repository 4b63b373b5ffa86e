"""Compiled kernels of the swap Monte Carlo sampler: the Metropolis algorithm over all pairs.

Everything is in Lennard-Jones units. Three ideas make the loops fast; the physics is the textbook's (N. Metropolis et al., J. Chem.
Phys. 21, 1087 (1953), DOI 10.1063/1.1699114, with the exchanges of A. Ninarello et al., Phys. Rev. X 7, 021039 (2017)):

- Atoms are grouped by species, and an exchange swaps *positions*. The parameters of species ``t`` against every atom are therefore
  constant rows of a table, and the loop over partners is unit-stride arithmetic without a branch.
- With ``s = max(sigma^2 / r^2, sigma^2 / r_cut^2)`` the truncated and shifted potential is ``4 eps (s^6 - s^3 - shift)`` everywhere: the clamped
  term is exactly zero beyond the cutoff.
- The energy of every atom is kept, so a rejected displacement costs one loop over the atoms, a rejected exchange one over two positions.

The arrays are padded to whole SIMD registers with atoms of ``sigma = epsilon = 0``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Configuration",
    "Counters",
    "Proposals",
    "RandomState",
    "Table",
    "new_counters",
    "prepare",
    "recompute_energies",
    "run_sweeps",
    "seed_random_state",
]

RandomState = NDArray[np.uint64]
"""State of the generator xoshiro256+: four 64-bit words."""
PADDING = 16
"""Arrays are padded to a multiple of this: one AVX-512 register of float32, two of float64."""
FAR = 1.0e6
"""Coordinate of padding atoms and of atoms hidden from a loop: further than any cutoff."""

# Divisions must not test for zero (numpy's error model), or nothing vectorises; sums may be reordered, but infinities must survive: an
# overlap has infinite energy and is rejected.
_compile = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})


class Table(NamedTuple):
    """Pair parameters of each species against every atom.

    Parameters
    ----------
    sigma_squared, four_epsilon
        (n_species, n_padded) ``sigma_ab^2`` and ``4 epsilon_ab``, with ``b`` the species of the atom in that column.
    ratio_cut
        ``sigma_ab^2 / r_cut^2``, the same for every pair.
    shift
        ``ratio_cut^6 - ratio_cut^3``: makes the potential zero at its cutoff.
    """

    sigma_squared: NDArray[np.floating]
    four_epsilon: NDArray[np.floating]
    ratio_cut: np.floating
    shift: np.floating


class Configuration(NamedTuple):
    """Positions and energies of the atoms, grouped by species.

    Parameters
    ----------
    x, y, z
        (n_padded,) coordinates in [0, box).
    box
        (3,) edges of the orthorhombic box.
    species
        (n,) species index of each atom.
    first
        (n_species + 1,) first atom of each species; the last entry is the number of atoms.
    energy
        (n_padded,) energy of each atom with all others: every pair counts in both of its atoms.
    trial
        (2, n_padded) scratch: the pair energies that the one or two atoms of a trial move would have.
    total
        (1,) potential energy, every pair counted once.
    sweeps
        (1,) sweeps done so far.
    """

    x: NDArray[np.floating]
    y: NDArray[np.floating]
    z: NDArray[np.floating]
    box: NDArray[np.floating]
    species: NDArray[np.int64]
    first: NDArray[np.int64]
    energy: NDArray[np.floating]
    trial: NDArray[np.floating]
    total: NDArray[np.float64]
    sweeps: NDArray[np.int64]


class Proposals(NamedTuple):
    """How trial moves are drawn.

    Parameters
    ----------
    max_displacement
        Edge of the cube, centred at the atom, in which its new position is uniform.
    swap_fraction
        Probability that a move is an exchange.
    exchange_pairs
        (n_pairs, 2) species that may exchange positions.
    exchange_cumulative
        (n_pairs,) cumulative probability of each pair of species: proportional to the number of such pairs of atoms.
    """

    max_displacement: float
    swap_fraction: float
    exchange_pairs: NDArray[np.int64]
    exchange_cumulative: NDArray[np.float64]


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
    return Counters(np.zeros((2, n_species), dtype=np.int64), np.zeros((2, n_pairs), dtype=np.int64))


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
    n_padded = -(-n_atoms // PADDING) * PADDING
    sigma_squared, four_epsilon = (np.zeros((n_species, n_padded), dtype) for _ in range(2))
    sigma_squared[:, :n_atoms] = (sigma**2)[:, types]
    four_epsilon[:, :n_atoms] = 4.0 * epsilon[:, types]
    ratio_cut = cutoff_factor**-2
    table = Table(sigma_squared, four_epsilon, dtype.type(ratio_cut), dtype.type(ratio_cut**6 - ratio_cut**3))
    padded = np.full((3, n_padded), FAR, dtype)
    padded[:, :n_atoms] = positions.T
    x, y, z = padded
    configuration = Configuration(
        x,
        y,
        z,
        box=box.astype(dtype),
        species=types.astype(np.int64),
        first=np.searchsorted(types, np.arange(n_species + 1)).astype(np.int64),
        energy=np.zeros(n_padded, dtype),
        trial=np.zeros((2, n_padded), dtype),
        total=np.zeros(1),
        sweeps=np.zeros(1, dtype=np.int64),
    )
    return table, configuration


def seed_random_state(seed: int, stream: int = 0) -> RandomState:
    """Return the generator's first state for a seed and a stream; streams of one seed are independent (numpy's SeedSequence)."""
    return np.random.SeedSequence([seed, stream]).generate_state(4, np.uint64).astype(np.uint64)


@_compile
def _random(state):  # type: ignore[no-untyped-def]
    """Uniform number in [0, 1) from xoshiro256+ (D. Blackman and S. Vigna, ACM Trans. Math. Softw. 47, 36 (2021))."""
    result = state[0] + state[3]
    t = state[1] << np.uint64(17)
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= t
    state[3] = (state[3] << np.uint64(45)) | (state[3] >> np.uint64(19))
    return (result >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@_compile
def _energies_at(px, py, pz, x, y, z, box, sigma_squared, four_epsilon, ratio_cut, shift, pair_energy):  # type: ignore[no-untyped-def]
    """Write the energy of an atom at a point with each other atom, and return their sum."""
    lx, ly, lz = box[0], box[1], box[2]
    total = x.dtype.type(0.0)
    for j in range(x.size):
        dx = abs(x[j] - px)
        dy = abs(y[j] - py)
        dz = abs(z[j] - pz)
        dx = min(dx, lx - dx)
        dy = min(dy, ly - dy)
        dz = min(dz, lz - dz)
        s = max(sigma_squared[j] / (dx * dx + dy * dy + dz * dz), ratio_cut)
        s3 = s * s * s
        u = four_epsilon[j] * (s3 * s3 - s3 - shift)
        pair_energy[j] = u
        total += u
    return total


@_compile
def _replace_energies(px, py, pz, x, y, z, box, sigma_squared, four_epsilon, ratio_cut, shift, pair_energy, energy):  # type: ignore[no-untyped-def]
    """Exchange, in the energy of every atom, the pair energy with an atom at a point for the one in ``pair_energy``."""
    lx, ly, lz = box[0], box[1], box[2]
    for j in range(x.size):
        dx = abs(x[j] - px)
        dy = abs(y[j] - py)
        dz = abs(z[j] - pz)
        dx = min(dx, lx - dx)
        dy = min(dy, ly - dy)
        dz = min(dz, lz - dz)
        s = max(sigma_squared[j] / (dx * dx + dy * dy + dz * dz), ratio_cut)
        s3 = s * s * s
        energy[j] += pair_energy[j] - four_epsilon[j] * (s3 * s3 - s3 - shift)


@_compile
def _wrap(coordinate, edge):  # type: ignore[no-untyped-def]
    """Coordinate brought back into the box it left by less than one edge."""
    if coordinate < 0.0:
        return coordinate + edge
    if coordinate >= edge:
        return coordinate - edge
    return coordinate


@_compile
def _accepted(delta, temperature, state):  # type: ignore[no-untyped-def]
    """Metropolis: true with probability ``min(1, exp(-delta / temperature))``."""
    return delta <= 0.0 or _random(state) < math.exp(-delta / temperature)


@_compile
def _displace(configuration, table, proposals, counters, temperature, state):  # type: ignore[no-untyped-def]
    """Try to move one atom to a point of the cube around it; return the change of the energy."""
    x, y, z, box = configuration.x, configuration.y, configuration.z, configuration.box
    energy, trial = configuration.energy, configuration.trial[0]
    real = x.dtype.type
    i = int(_random(state) * configuration.first[-1])
    a = configuration.species[i]
    sigma_squared, four_epsilon = table.sigma_squared[a], table.four_epsilon[a]
    counters.displacements[0, a] += 1
    old_x, old_y, old_z = x[i], y[i], z[i]
    new_x = _wrap(old_x + real((_random(state) - 0.5) * proposals.max_displacement), box[0])
    new_y = _wrap(old_y + real((_random(state) - 0.5) * proposals.max_displacement), box[1])
    new_z = _wrap(old_z + real((_random(state) - 0.5) * proposals.max_displacement), box[2])
    x[i] = real(FAR)
    new = _energies_at(new_x, new_y, new_z, x, y, z, box, sigma_squared, four_epsilon, table.ratio_cut, table.shift, trial)
    delta = float(new) - float(energy[i])
    if not _accepted(delta, temperature, state):
        x[i] = old_x
        return 0.0
    _replace_energies(old_x, old_y, old_z, x, y, z, box, sigma_squared, four_epsilon, table.ratio_cut, table.shift, trial, energy)
    x[i], y[i], z[i], energy[i] = new_x, new_y, new_z, new
    counters.displacements[1, a] += 1
    return delta


@_compile
def _pair_energy(i, k, configuration, table):  # type: ignore[no-untyped-def]
    """Energy of two atoms with each other."""
    x, y, z, box = configuration.x, configuration.y, configuration.z, configuration.box
    dx, dy, dz = abs(x[i] - x[k]), abs(y[i] - y[k]), abs(z[i] - z[k])
    dx, dy, dz = min(dx, box[0] - dx), min(dy, box[1] - dy), min(dz, box[2] - dz)
    a = configuration.species[i]
    s = max(table.sigma_squared[a, k] / (dx * dx + dy * dy + dz * dz), table.ratio_cut)
    s3 = s * s * s
    return table.four_epsilon[a, k] * (s3 * s3 - s3 - table.shift)


@_compile
def _exchange(configuration, table, proposals, counters, temperature, state):  # type: ignore[no-untyped-def]
    """Try to swap the positions of two atoms of different species; return the change of the energy.

    Every pair of atoms whose species may exchange is equally likely, so the proposal is symmetric. The energy of the two with each other
    does not change.
    """
    x, y, z, box, first = configuration.x, configuration.y, configuration.z, configuration.box, configuration.first
    energy, trial_i, trial_k = configuration.energy, configuration.trial[0], configuration.trial[1]
    real = x.dtype.type
    chosen = _random(state)
    pair = 0
    while chosen >= proposals.exchange_cumulative[pair]:
        pair += 1
    a, b = proposals.exchange_pairs[pair, 0], proposals.exchange_pairs[pair, 1]
    i = first[a] + int(_random(state) * (first[a + 1] - first[a]))
    k = first[b] + int(_random(state) * (first[b + 1] - first[b]))
    counters.exchanges[0, pair] += 1
    own = _pair_energy(i, k, configuration, table)
    x_i, y_i, z_i, x_k, y_k, z_k = x[i], y[i], z[i], x[k], y[k], z[k]
    x[i] = x[k] = real(FAR)
    new_i = _energies_at(x_k, y_k, z_k, x, y, z, box, table.sigma_squared[a], table.four_epsilon[a], table.ratio_cut, table.shift, trial_i)
    new_k = _energies_at(x_i, y_i, z_i, x, y, z, box, table.sigma_squared[b], table.four_epsilon[b], table.ratio_cut, table.shift, trial_k)
    delta = float(new_i) + float(new_k) - float(energy[i] - own) - float(energy[k] - own)
    if not _accepted(delta, temperature, state):
        x[i], x[k] = x_i, x_k
        return 0.0
    _replace_energies(
        x_i, y_i, z_i, x, y, z, box, table.sigma_squared[a], table.four_epsilon[a], table.ratio_cut, table.shift, trial_i, energy
    )
    _replace_energies(
        x_k, y_k, z_k, x, y, z, box, table.sigma_squared[b], table.four_epsilon[b], table.ratio_cut, table.shift, trial_k, energy
    )
    x[i], y[i], z[i], energy[i] = x_k, y_k, z_k, new_i + own
    x[k], y[k], z[k], energy[k] = x_i, y_i, z_i, new_k + own
    counters.exchanges[1, pair] += 1
    return delta


@_compile
def recompute_energies(configuration, table):  # type: ignore[no-untyped-def]
    """Compute the energy of every atom, and the total, afresh."""
    x, y, z, box, energy = configuration.x, configuration.y, configuration.z, configuration.box, configuration.energy
    total = 0.0
    for i in range(configuration.first[-1]):
        a = configuration.species[i]
        x_i = x[i]
        x[i] = x.dtype.type(FAR)
        energy[i] = _energies_at(
            x_i,
            y[i],
            z[i],
            x,
            y,
            z,
            box,
            table.sigma_squared[a],
            table.four_epsilon[a],
            table.ratio_cut,
            table.shift,
            configuration.trial[0],
        )
        x[i] = x_i
        total += 0.5 * energy[i]
    configuration.total[0] = total


@_compile
def run_sweeps(configuration, table, proposals, counters, temperatures, refresh_interval, energies, state):  # type: ignore[no-untyped-def]
    """Run one sweep, that is N trial moves, at each temperature.

    Parameters
    ----------
    temperatures
        (n_sweeps,) reduced temperature of each sweep.
    refresh_interval
        The atoms' energies are recomputed after every so many sweeps, and after each of the first hundred: overlaps of the initial
        configuration leave rounding errors of the size of their energy. Counted from the sampler's first sweep, so that a run in
        pieces is the same run.
    energies
        (n_sweeps,) receives the total energy after each sweep.
    """
    n_atoms = configuration.first[-1]
    for sweep in range(temperatures.size):
        temperature = temperatures[sweep]
        change = 0.0
        for _ in range(n_atoms):
            if _random(state) < proposals.swap_fraction:
                change += _exchange(configuration, table, proposals, counters, temperature, state)
            else:
                change += _displace(configuration, table, proposals, counters, temperature, state)
        configuration.total[0] += change
        configuration.sweeps[0] += 1
        if configuration.sweeps[0] <= 100 or configuration.sweeps[0] % refresh_interval == 0:
            recompute_energies(configuration, table)
        energies[sweep] = configuration.total[0]
