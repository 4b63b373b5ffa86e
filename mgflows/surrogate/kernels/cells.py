"""Compiled kernels of the swap Monte Carlo sampler for large boxes, by cells.

The moves and the stored energies are those of :mod:`mgflows.surrogate.kernels.all_pairs`. The box
is divided into cells at least as wide as the largest cutoff plus one displacement, so that the
neighbours of an atom, before and after a move, lie in its cell and the 26 around it. Every cell has
a fixed number of *slots* in the arrays, filled from the first; a row runs over the slots of the
cells within the cutoff, in whole vectors and without a neighbour list to maintain.

A displacement into a full cell is rejected. This samples the canonical ensemble of all
configurations without an overfull cell; the number of slots is six standard deviations of an ideal
gas above the mean, so that no cell of a liquid comes close to full.
"""

from __future__ import annotations

import math
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
    inline,
    low_below,
    metropolis_threshold,
    random_bits,
    to_lattice,
)
from mgflows.surrogate.kernels.simd import REGISTER_BYTES, replace_row, row_energy

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "CellConfiguration",
    "Grid",
    "cells_along",
    "prepare_cells",
    "recompute_energies_in_cells",
    "run_sweeps_in_cells",
]

_compile = njit(**OPTIONS)
_LATTICE_BITS = 32


class Grid(NamedTuple):
    """Pair tables and cells; lengths are in lattice units along x.

    Parameters
    ----------
    sigma_squared, four_epsilon
        (n_species, n_species) ``sigma_ab^2`` and ``4 epsilon_ab``.
    constants
        As in :class:`mgflows.surrogate.kernels.all_pairs.Table`.
    reach_squared
        (n_species,) squared largest cutoff of the species plus one displacement.
    shape
        (3,) cells along the edges, at least three.
    width_squared
        (3,) squared edges of a cell.
    neighbours
        (n_cells, 27) each cell and those around it: offsets -1, 0, 1 along x, then y, then z, the
        last running fastest.
    """

    sigma_squared: NDArray[np.floating]
    four_epsilon: NDArray[np.floating]
    constants: NDArray[np.floating]
    reach_squared: NDArray[np.float64]
    shape: NDArray[np.int64]
    width_squared: NDArray[np.float64]
    neighbours: NDArray[np.int64]


class CellConfiguration(NamedTuple):
    """Positions, parameters and energies of the atoms, by slots.

    Parameters
    ----------
    positions
        (3, n_slots) lattice coordinates.
    sigma_squared, four_epsilon
        (n_species, n_slots) parameters of each species with the atom in the slot; zero for empty
        slots.
    energy
        (n_slots,) energy of the atom with all others.
    atom
        (n_slots,) index of the atom in the slot.
    slot
        (n,) slot of the atom; atoms are grouped by species.
    species
        (n,) species index of each atom.
    occupation
        (n_cells,) atoms in each cell.
    trial_i, trial_k, blocks_i, blocks_k
        Scratch: the pair energies that the one or two atoms of a trial move would have, and the
        blocks of slots that they are for.
    total
        (1,) potential energy, every pair counted once.
    sweeps
        (1,) sweeps done so far.
    """

    positions: NDArray[np.int32]
    sigma_squared: NDArray[np.floating]
    four_epsilon: NDArray[np.floating]
    energy: NDArray[np.floating]
    atom: NDArray[np.int64]
    slot: NDArray[np.int64]
    species: NDArray[np.int64]
    occupation: NDArray[np.int64]
    trial_i: NDArray[np.floating]
    trial_k: NDArray[np.floating]
    blocks_i: NDArray[np.int64]
    blocks_k: NDArray[np.int64]
    total: NDArray[np.float64]
    sweeps: NDArray[np.int64]


def cells_along(
    box: NDArray[np.float64], largest_cutoff: float, max_displacement: float
) -> NDArray[np.int64]:
    """Return the number of cells along each edge; the method needs at least three along all."""
    return np.floor(
        box / ((largest_cutoff + 0.5 * math.sqrt(3.0) * max_displacement) * (1.0 + 1e-6))
    ).astype(np.int64)


def prepare_cells(
    sigma: NDArray[np.float64],
    epsilon: NDArray[np.float64],
    cutoff_factor: float,
    positions: NDArray[np.float64],
    types: NDArray[np.int64],
    box: NDArray[np.float64],
    max_displacement: float,
    dtype: np.dtype[np.floating],
) -> tuple[Grid, CellConfiguration]:
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
    max_displacement
        Reduced edge of the cube of a displacement.
    dtype
        Precision of the kernels.

    Returns
    -------
    The grid, and the configuration without its energies: see :func:`recompute_energies_in_cells`.
    """
    n_atoms, n_species = len(types), len(sigma)
    present = np.unique(types)
    cutoff = cutoff_factor * sigma[:, present].max(axis=1)
    shape = cells_along(box, cutoff[present].max(), max_displacement)
    n_cells = int(shape.prod())
    lattice = to_lattice(positions, box)
    coordinates = (lattice.view(np.uint32).astype(np.int64) * shape) >> _LATTICE_BITS
    cell = np.ravel_multi_index(tuple(coordinates.T), tuple(shape))
    count = np.bincount(cell, minlength=n_cells)
    mean = n_atoms / n_cells
    lanes = REGISTER_BYTES // dtype.itemsize
    capacity = -(-max(int(count.max()), math.ceil(mean + 6.0 * math.sqrt(mean))) // lanes) * lanes

    order = np.argsort(cell, kind="stable")
    rank = np.arange(n_atoms) - np.searchsorted(cell[order], cell[order])
    slot = np.empty(n_atoms, dtype=np.int64)
    slot[order] = cell[order] * capacity + rank
    unit = LATTICE / box[0]
    weights = np.array([1.0, (box[1] / box[0]) ** 2, (box[2] / box[0]) ** 2])
    cut = cutoff_factor**-2
    around = np.array(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij")).reshape(3, 27)
    cells = np.array(np.unravel_index(np.arange(n_cells), tuple(shape)))
    grid = Grid(
        sigma_squared=((sigma * unit) ** 2).astype(dtype),
        four_epsilon=(4.0 * epsilon).astype(dtype),
        constants=np.array([*weights[1:], cut, cut**6 - cut**3], dtype),
        # Larger by one millionth, because displacements are rounded to the lattice.
        reach_squared=((cutoff + 0.5 * math.sqrt(3.0) * max_displacement) * unit * (1.0 + 1e-6))
        ** 2,
        shape=shape,
        width_squared=(LATTICE / shape) ** 2 * weights,
        neighbours=np.ravel_multi_index(
            tuple(cells[:, :, None] + around[:, None, :]), tuple(shape), mode="wrap"
        ),
    )
    n_slots, n_row = n_cells * capacity, 28 * capacity
    configuration = CellConfiguration(
        positions=np.zeros((3, n_slots), np.int32),
        sigma_squared=np.zeros((n_species, n_slots), dtype),
        four_epsilon=np.zeros((n_species, n_slots), dtype),
        energy=np.zeros(n_slots, dtype),
        atom=np.full(n_slots, -1, dtype=np.int64),
        slot=slot,
        species=types.astype(np.int64),
        occupation=count.astype(np.int64),
        trial_i=np.zeros(n_row, dtype),
        trial_k=np.zeros(n_row, dtype),
        blocks_i=np.zeros(n_row // lanes, dtype=np.int64),
        blocks_k=np.zeros(n_row // lanes, dtype=np.int64),
        total=np.zeros(1),
        sweeps=np.zeros(1, dtype=np.int64),
    )
    configuration.positions[:, slot] = lattice.T
    configuration.sigma_squared[:, slot] = grid.sigma_squared[:, types]
    configuration.four_epsilon[:, slot] = grid.four_epsilon[:, types]
    configuration.atom[slot] = np.arange(n_atoms)
    return grid, configuration


@inline
def _cell_coordinate(coordinate, n_cells):  # type: ignore[no-untyped-def]
    """Cell, and the fraction of its width, where a lattice coordinate lies."""
    scaled = np.int64(np.uint32(coordinate)) * n_cells
    cell = scaled >> _LATTICE_BITS
    return cell, (scaled - (cell << _LATTICE_BITS)) / LATTICE


@inline
def _cell_at(point, shape):  # type: ignore[no-untyped-def]
    """Cell that holds a lattice point."""
    cell_x = (np.int64(np.uint32(point[0])) * shape[0]) >> _LATTICE_BITS
    cell_y = (np.int64(np.uint32(point[1])) * shape[1]) >> _LATTICE_BITS
    cell_z = (np.int64(np.uint32(point[2])) * shape[2]) >> _LATTICE_BITS
    return (cell_x * shape[1] + cell_y) * shape[2] + cell_z


@inline
def _gaps(fraction, width_squared):  # type: ignore[no-untyped-def]
    """Squared distances to the previous, the own and the next cell along one axis."""
    return (
        fraction * fraction * width_squared,
        0.0,
        (1.0 - fraction) * (1.0 - fraction) * width_squared,
    )


@inline
def _blocks_near(point, reach_squared, count, capacity, lanes, grid, blocks):  # type: ignore[no-untyped-def]
    """Write where the occupied vectors of slots begin in the cells within reach of a point.

    Returns
    -------
    Number of occupied vectors.
    """
    shape, width_squared, neighbours = grid.shape, grid.width_squared, grid.neighbours
    cell_x, fraction_x = _cell_coordinate(point[0], shape[0])
    cell_y, fraction_y = _cell_coordinate(point[1], shape[1])
    cell_z, fraction_z = _cell_coordinate(point[2], shape[2])
    home = (cell_x * shape[1] + cell_y) * shape[2] + cell_z
    # Every block is written, and the next one overwrites it if it is empty or out of reach: a
    # branch would be unpredictable.
    n = 0
    side = 0
    for gap_x in _gaps(fraction_x, width_squared[0]):
        for gap_y in _gaps(fraction_y, width_squared[1]):
            for gap_z in _gaps(fraction_z, width_squared[2]):
                cell = neighbours[home, side]
                side += 1
                occupied = count[cell] * (gap_x + gap_y + gap_z <= reach_squared)
                for first in range(0, capacity, lanes):
                    blocks[n] = cell * capacity + first
                    n += first < occupied
    return n


@inline
def _put(source, target, positions, sigma_squared, four_epsilon, energy, atom, slot):  # type: ignore[no-untyped-def]
    """Copy the atom of one slot to another."""
    for axis in range(3):
        positions[axis, target] = positions[axis, source]
    for species in range(sigma_squared.shape[0]):
        sigma_squared[species, target] = sigma_squared[species, source]
        four_epsilon[species, target] = four_epsilon[species, source]
    energy[target] = energy[source]
    atom[target] = atom[source]
    slot[atom[target]] = target


@inline
def _change_cell(  # type: ignore[no-untyped-def]
    s, cell, capacity, positions, sigma_squared, four_epsilon, energy, atom, slot, count
):
    """Move an atom to the first free slot of another cell.

    The last atom of its old cell fills the gap.
    """
    _put(
        s, cell * capacity + count[cell], positions, sigma_squared, four_epsilon, energy, atom, slot
    )
    count[cell] += 1
    left = s // capacity
    last = left * capacity + count[left] - 1
    if last != s:
        _put(last, s, positions, sigma_squared, four_epsilon, energy, atom, slot)
    for species in range(sigma_squared.shape[0]):
        sigma_squared[species, last] = 0
        four_epsilon[species, last] = 0
    energy[last] = 0
    atom[last] = -1
    count[left] -= 1


@inline
def _displace(bits, configuration, grid, proposals, counters, temperature, state, capacity, lanes):  # type: ignore[no-untyped-def]
    """Try to move one atom to a point of the cube around it; return the change of the energy."""
    positions, energy = configuration.positions, configuration.energy
    trial, blocks = configuration.trial_i, configuration.blocks_i
    sigma_squared, four_epsilon = configuration.sigma_squared, configuration.four_epsilon
    pairs = sigma_squared, four_epsilon, grid.constants
    count = configuration.occupation
    i = low_below(bits, configuration.species.size)
    a = configuration.species[i]
    s = configuration.slot[i]
    counters.displacements[0, a] += 1
    old = positions[0, s], positions[1, s], positions[2, s]
    new = displaced(old, proposals.reach, state)
    threshold = metropolis_threshold(temperature, state)
    n_blocks = _blocks_near(old, grid.reach_squared[a], count, capacity, lanes, grid, blocks)
    new_energy = row_energy(positions, new, a, (s,), pairs, blocks, n_blocks, trial)
    delta = float(new_energy) - float(energy[s])
    cell = _cell_at(new, grid.shape)
    stays = cell == s // capacity
    accepted = delta < threshold and (stays or count[cell] < capacity)
    if accepted:
        replace_row(positions, old, a, (), pairs, blocks, n_blocks, trial, energy)
        positions[0, s], positions[1, s], positions[2, s] = new
        energy[s] = new_energy
        counters.displacements[1, a] += 1
        if not stays:
            _change_cell(
                s,
                cell,
                capacity,
                positions,
                sigma_squared,
                four_epsilon,
                energy,
                configuration.atom,
                configuration.slot,
                count,
            )
    return delta if accepted else 0.0


@inline
def _exchange(bits, configuration, grid, proposals, counters, temperature, state, capacity, lanes):  # type: ignore[no-untyped-def]
    """Try to swap the slots, that is the positions, of two atoms of different species.

    Returns
    -------
    The change of the energy.
    """
    positions, energy = configuration.positions, configuration.energy
    atom, slot, count = configuration.atom, configuration.slot, configuration.occupation
    sigma_squared, four_epsilon = configuration.sigma_squared, configuration.four_epsilon
    trial_i, trial_k = configuration.trial_i, configuration.trial_k
    blocks_i, blocks_k = configuration.blocks_i, configuration.blocks_k
    constants = grid.constants
    pairs = sigma_squared, four_epsilon, constants
    pair = chosen_pair(bits, proposals.exchange_cumulative)
    a, b = proposals.exchange_pairs[pair, 0], proposals.exchange_pairs[pair, 1]
    first = proposals.first
    bits = random_bits(state)
    i = first[a] + high_below(bits, first[a + 1] - first[a])
    k = first[b] + low_below(bits, first[b + 1] - first[b])
    counters.exchanges[0, pair] += 1
    threshold = metropolis_threshold(temperature, state)
    s, t = slot[i], slot[k]
    at_i = positions[0, s], positions[1, s], positions[2, s]
    at_k = positions[0, t], positions[1, t], positions[2, t]
    real = constants.dtype.type
    dx = real(np.int32(at_i[0] - at_k[0]))
    dy = real(np.int32(at_i[1] - at_k[1]))
    dz = real(np.int32(at_i[2] - at_k[2]))
    squared = dx * dx + dy * dy * constants[0] + dz * dz * constants[1]
    ratio = max(grid.sigma_squared[a, b] / squared, constants[2])
    cubed = ratio * ratio * ratio
    mutual = grid.four_epsilon[a, b] * (cubed * (cubed - real(1.0)) - constants[3])
    reach_squared = max(grid.reach_squared[a], grid.reach_squared[b])
    n_i = _blocks_near(at_k, reach_squared, count, capacity, lanes, grid, blocks_i)
    n_k = _blocks_near(at_i, reach_squared, count, capacity, lanes, grid, blocks_k)
    new_i = row_energy(positions, at_k, a, (s, t), pairs, blocks_i, n_i, trial_i)
    new_k = row_energy(positions, at_i, b, (s, t), pairs, blocks_k, n_k, trial_k)
    delta = float(new_i) + float(new_k) - float(energy[s] - mutual) - float(energy[t] - mutual)
    accepted = delta < threshold
    if accepted:
        replace_row(positions, at_k, b, (), pairs, blocks_i, n_i, trial_i, energy)
        replace_row(positions, at_i, a, (), pairs, blocks_k, n_k, trial_k, energy)
        for table in (sigma_squared, four_epsilon):
            for species in range(table.shape[0]):
                table[species, s], table[species, t] = table[species, t], table[species, s]
        energy[t], energy[s] = new_i + mutual, new_k + mutual
        atom[t], atom[s] = i, k
        slot[i], slot[k] = t, s
        counters.exchanges[1, pair] += 1
    return delta if accepted else 0.0


@_compile
def recompute_energies_in_cells(configuration, grid):  # type: ignore[no-untyped-def]
    """Compute the energy of every atom, and the total, from scratch."""
    positions, energy = configuration.positions, configuration.energy
    trial, blocks = configuration.trial_i, configuration.blocks_i
    pairs = configuration.sigma_squared, configuration.four_epsilon, grid.constants
    count = configuration.occupation
    capacity = positions.shape[1] // count.size
    lanes = trial.size // blocks.size
    total = 0.0
    for i in range(configuration.species.size):
        a, s = configuration.species[i], configuration.slot[i]
        point = positions[0, s], positions[1, s], positions[2, s]
        n_blocks = _blocks_near(point, grid.reach_squared[a], count, capacity, lanes, grid, blocks)
        energy[s] = row_energy(positions, point, a, (s,), pairs, blocks, n_blocks, trial)
        total += 0.5 * energy[s]
    configuration.total[0] = total


@_compile
def run_sweeps_in_cells(  # type: ignore[no-untyped-def]
    configuration, grid, proposals, counters, temperatures, refresh_interval, energies, state
):
    """Run one sweep, that is N trial moves, at each temperature.

    The parameters are those of :func:`mgflows.surrogate.kernels.all_pairs.run_sweeps`.
    """
    capacity = configuration.positions.shape[1] // configuration.occupation.size
    lanes = configuration.trial_i.size // configuration.blocks_i.size
    exchanges = int(proposals.swap_fraction * 2**32)
    for sweep in range(temperatures.size):
        temperature = temperatures[sweep]
        change = 0.0
        for _ in range(configuration.species.size):
            bits = random_bits(state)
            if high_half(bits) < exchanges:
                change += _exchange(
                    bits,
                    configuration,
                    grid,
                    proposals,
                    counters,
                    temperature,
                    state,
                    capacity,
                    lanes,
                )
            else:
                change += _displace(
                    bits,
                    configuration,
                    grid,
                    proposals,
                    counters,
                    temperature,
                    state,
                    capacity,
                    lanes,
                )
        configuration.total[0] += change
        configuration.sweeps[0] += 1
        if configuration.sweeps[0] <= 100 or configuration.sweeps[0] % refresh_interval == 0:
            recompute_energies_in_cells(configuration, grid)
        energies[sweep] = configuration.total[0]
