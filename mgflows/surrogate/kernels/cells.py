"""Compiled kernels of the swap Monte Carlo sampler for large boxes: the Metropolis algorithm over the atoms of the cells nearby.

The moves, and what is kept, are those of :mod:`mgflows.surrogate.kernels.all_pairs`. The box is divided into cells at least as wide as the largest cutoff
and one displacement together, so that the neighbours of an atom, before and after a move, lie in its cell and the 26 around it. Every
cell has a fixed number of *slots* in the arrays, filled from the first; a row runs over the slots of those cells that come within the
cutoff, whole vectors at a time and without a list of neighbours that would have to be kept up to date.

A displacement into a full cell is rejected. This samples the canonical ensemble of all configurations without an overfull cell; the slots
are so many (six standard deviations of an ideal gas above the mean) that in a liquid none comes near it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

from mgflows.surrogate.kernels.all_pairs import (
    LATTICE,
    OPTIONS,
    chosen_pair,
    displaced,
    high_below,
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
        (n_species,) squared largest cutoff of the species and one displacement together.
    shape
        (3,) cells along the edges, at least three.
    width_squared
        (3,) squared edges of a cell.
    neighbours
        (n_cells, 27) each cell and those around it: offsets -1, 0, 1 along x, then y, then z, the last running fastest.
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
        (n_species, n_slots) parameters of each species with the atom in the slot; zero where there is none.
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
        Scratch: the pair energies that the one or two atoms of a trial move would have, and the blocks of slots that they are for.
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
    """Return how many cells fit along each edge; cells can be used where there are three or more along all of them."""
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
        # A millionth more, because displacements are rounded to the lattice.
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
    """Cell and the fraction of its width at which a lattice coordinate lies."""
    scaled = np.int64(np.uint32(coordinate)) * n_cells
    cell = scaled >> _LATTICE_BITS
    return cell, (scaled - (cell << _LATTICE_BITS)) / LATTICE


@inline
def _cell_at(x, y, z, shape):  # type: ignore[no-untyped-def]
    """Cell that holds a lattice point."""
    cell_x = (np.int64(np.uint32(x)) * shape[0]) >> _LATTICE_BITS
    cell_y = (np.int64(np.uint32(y)) * shape[1]) >> _LATTICE_BITS
    cell_z = (np.int64(np.uint32(z)) * shape[2]) >> _LATTICE_BITS
    return (cell_x * shape[1] + cell_y) * shape[2] + cell_z


@inline
def _blocks_near(  # type: ignore[no-untyped-def]
    x, y, z, reach_squared, count, capacity, lanes, shape, width_squared, neighbours, blocks
):
    """Write where the occupied vectors of slots begin in the cells within reach of a point; return how many there are."""
    cell_x, fraction_x = _cell_coordinate(x, shape[0])
    cell_y, fraction_y = _cell_coordinate(y, shape[1])
    cell_z, fraction_z = _cell_coordinate(z, shape[2])
    home = (cell_x * shape[1] + cell_y) * shape[2] + cell_z
    gaps_x = (
        fraction_x * fraction_x * width_squared[0],
        0.0,
        (1.0 - fraction_x) * (1.0 - fraction_x) * width_squared[0],
    )
    gaps_y = (
        fraction_y * fraction_y * width_squared[1],
        0.0,
        (1.0 - fraction_y) * (1.0 - fraction_y) * width_squared[1],
    )
    gaps_z = (
        fraction_z * fraction_z * width_squared[2],
        0.0,
        (1.0 - fraction_z) * (1.0 - fraction_z) * width_squared[2],
    )
    # Every block is written and the next one overwrites it if it is empty or out of reach: a branch could not be foreseen.
    n = 0
    side = 0
    for gap_x in gaps_x:
        for gap_y in gaps_y:
            for gap_z in gaps_z:
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
    """Move the atom of a slot to the first free slot of another cell, and close the gap it leaves with the last atom of its cell."""
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
    positions, energy, trial, blocks = (
        configuration.positions,
        configuration.energy,
        configuration.trial_i,
        configuration.blocks_i,
    )
    sigma_squared, four_epsilon, constants = (
        configuration.sigma_squared,
        configuration.four_epsilon,
        grid.constants,
    )
    i = low_below(bits, configuration.species.size)
    a = configuration.species[i]
    s = configuration.slot[i]
    counters.displacements[0, a] += 1
    x, y, z = positions[0, s], positions[1, s], positions[2, s]
    new_x, new_y, new_z = displaced(x, y, z, proposals.reach, state)
    borrowed = metropolis_threshold(temperature, state)
    n_blocks = _blocks_near(
        x,
        y,
        z,
        grid.reach_squared[a],
        configuration.occupation,
        capacity,
        lanes,
        grid.shape,
        grid.width_squared,
        grid.neighbours,
        blocks,
    )
    new = row_energy(
        positions,
        new_x,
        new_y,
        new_z,
        a,
        (s,),
        sigma_squared,
        four_epsilon,
        constants,
        blocks,
        n_blocks,
        trial,
    )
    delta = float(new) - float(energy[s])
    cell = _cell_at(new_x, new_y, new_z, grid.shape)
    stays = cell == s // capacity
    accepted = delta < borrowed and (stays or configuration.occupation[cell] < capacity)
    if accepted:
        replace_row(
            positions,
            x,
            y,
            z,
            a,
            (),
            sigma_squared,
            four_epsilon,
            constants,
            blocks,
            n_blocks,
            trial,
            energy,
        )
        positions[0, s], positions[1, s], positions[2, s], energy[s] = new_x, new_y, new_z, new
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
                configuration.occupation,
            )
    return delta if accepted else 0.0


@inline
def _exchange(bits, configuration, grid, proposals, counters, temperature, state, capacity, lanes):  # type: ignore[no-untyped-def]
    """Try to swap the slots, that is the positions, of two atoms of different species; return the change of the energy."""
    positions, energy, atom, slot = (
        configuration.positions,
        configuration.energy,
        configuration.atom,
        configuration.slot,
    )
    sigma_squared, four_epsilon, constants = (
        configuration.sigma_squared,
        configuration.four_epsilon,
        grid.constants,
    )
    trial_i, trial_k, blocks_i, blocks_k = (
        configuration.trial_i,
        configuration.trial_k,
        configuration.blocks_i,
        configuration.blocks_k,
    )
    pair = chosen_pair(bits, proposals.exchange_cumulative)
    a, b = proposals.exchange_pairs[pair, 0], proposals.exchange_pairs[pair, 1]
    first = proposals.first
    bits = random_bits(state)
    i = first[a] + high_below(bits, first[a + 1] - first[a])
    k = first[b] + low_below(bits, first[b + 1] - first[b])
    counters.exchanges[0, pair] += 1
    borrowed = metropolis_threshold(temperature, state)
    s, t = slot[i], slot[k]
    x_i, y_i, z_i = positions[0, s], positions[1, s], positions[2, s]
    x_k, y_k, z_k = positions[0, t], positions[1, t], positions[2, t]
    real = constants.dtype.type
    dx, dy, dz = real(np.int32(x_i - x_k)), real(np.int32(y_i - y_k)), real(np.int32(z_i - z_k))
    ratio = max(
        grid.sigma_squared[a, b] / (dx * dx + dy * dy * constants[0] + dz * dz * constants[1]),
        constants[2],
    )
    cubed = ratio * ratio * ratio
    mutual = grid.four_epsilon[a, b] * (cubed * (cubed - real(1.0)) - constants[3])
    reach_squared = max(grid.reach_squared[a], grid.reach_squared[b])
    n_i = _blocks_near(
        x_k,
        y_k,
        z_k,
        reach_squared,
        configuration.occupation,
        capacity,
        lanes,
        grid.shape,
        grid.width_squared,
        grid.neighbours,
        blocks_i,
    )
    n_k = _blocks_near(
        x_i,
        y_i,
        z_i,
        reach_squared,
        configuration.occupation,
        capacity,
        lanes,
        grid.shape,
        grid.width_squared,
        grid.neighbours,
        blocks_k,
    )
    new_i = row_energy(
        positions,
        x_k,
        y_k,
        z_k,
        a,
        (s, t),
        sigma_squared,
        four_epsilon,
        constants,
        blocks_i,
        n_i,
        trial_i,
    )
    new_k = row_energy(
        positions,
        x_i,
        y_i,
        z_i,
        b,
        (s, t),
        sigma_squared,
        four_epsilon,
        constants,
        blocks_k,
        n_k,
        trial_k,
    )
    delta = float(new_i) + float(new_k) - float(energy[s] - mutual) - float(energy[t] - mutual)
    accepted = delta < borrowed
    if accepted:
        replace_row(
            positions,
            x_k,
            y_k,
            z_k,
            b,
            (),
            sigma_squared,
            four_epsilon,
            constants,
            blocks_i,
            n_i,
            trial_i,
            energy,
        )
        replace_row(
            positions,
            x_i,
            y_i,
            z_i,
            a,
            (),
            sigma_squared,
            four_epsilon,
            constants,
            blocks_k,
            n_k,
            trial_k,
            energy,
        )
        for species in range(sigma_squared.shape[0]):
            sigma_squared[species, s], sigma_squared[species, t] = (
                sigma_squared[species, t],
                sigma_squared[species, s],
            )
            four_epsilon[species, s], four_epsilon[species, t] = (
                four_epsilon[species, t],
                four_epsilon[species, s],
            )
        energy[t], energy[s] = new_i + mutual, new_k + mutual
        atom[t], atom[s] = i, k
        slot[i], slot[k] = t, s
        counters.exchanges[1, pair] += 1
    return delta if accepted else 0.0


@_compile
def recompute_energies_in_cells(configuration, grid):  # type: ignore[no-untyped-def]
    """Compute the energy of every atom, and the total, afresh."""
    positions, energy, trial, blocks = (
        configuration.positions,
        configuration.energy,
        configuration.trial_i,
        configuration.blocks_i,
    )
    capacity = positions.shape[1] // configuration.occupation.size
    lanes = trial.size // blocks.size
    total = 0.0
    for i in range(configuration.species.size):
        a, s = configuration.species[i], configuration.slot[i]
        x, y, z = positions[0, s], positions[1, s], positions[2, s]
        n_blocks = _blocks_near(
            x,
            y,
            z,
            grid.reach_squared[a],
            configuration.occupation,
            capacity,
            lanes,
            grid.shape,
            grid.width_squared,
            grid.neighbours,
            blocks,
        )
        energy[s] = row_energy(
            positions,
            x,
            y,
            z,
            a,
            (s,),
            configuration.sigma_squared,
            configuration.four_epsilon,
            grid.constants,
            blocks,
            n_blocks,
            trial,
        )
        total += 0.5 * energy[s]
    configuration.total[0] = total


@_compile
def run_sweeps_in_cells(  # type: ignore[no-untyped-def]
    configuration, grid, proposals, counters, temperatures, refresh_interval, energies, state
):
    """Run one sweep, that is N trial moves, at each temperature; the parameters are those of :func:`mgflows.surrogate.kernels.all_pairs.run_sweeps`."""
    capacity = configuration.positions.shape[1] // configuration.occupation.size
    lanes = configuration.trial_i.size // configuration.blocks_i.size
    exchanges = int(proposals.swap_fraction * 2**32)
    for sweep in range(temperatures.size):
        temperature = temperatures[sweep]
        change = 0.0
        for _ in range(configuration.species.size):
            bits = random_bits(state)
            if high_below(bits, 2**32) < exchanges:
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
