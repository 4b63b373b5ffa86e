"""Energy changes of an exchange of two unlike atoms, computed from their neighbours alone.

In :mod:`mgflows.nep.training.basis` the descriptor of an atom is linear algebra on the sums of
basis functions over its neighbours of each species. If a neighbour changes its species, its term
moves from one sum to another; the distances do not change. An exchange therefore changes the site
energies of the two atoms and their neighbours only, independently of the size of the cell.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mgflows.compilation import njit
from mgflows.nep.training.basis import radial_functions
from mgflows.nep.training.harmonics import solid_harmonics
from mgflows.nep.training.kernels import invariants, sum_harmonics
from mgflows.nep.training.neighbours import list_neighbours
from mgflows.nep.training.zbl import pair_energy

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mgflows.nep.training.model import Shape

__all__ = ["ExchangeKernels", "Model", "Places", "compile_exchanges"]


class Model(NamedTuple):
    """The potential.

    Attributes
    ----------
    flat, scaler
        As in :class:`~mgflows.nep.training.model.NepModel`.
    cutoffs
        (2,) radial and angular cutoff, A.
    charges, inner, outer
        ZBL repulsion, see :func:`~mgflows.nep.training.zbl.pair_cutoffs`.
    """

    flat: NDArray[np.float32]
    scaler: NDArray[np.float32]
    cutoffs: NDArray[np.float64]
    charges: NDArray[np.float64]
    inner: NDArray[np.float64]
    outer: NDArray[np.float64]


class Places(NamedTuple):
    """The sites of a structure, the quantities that depend on them, and their present atoms.

    Attributes
    ----------
    species
        (n,) species of the atom at each site.
    first, neighbour, distance
        (n + 1,) range of the neighbours of each site, and (m,) the neighbouring sites and their
        distances in A.
    radial
        (m, k_radial) radial functions.
    angular_edge
        (m,) position of the neighbour in the next two arrays; -1 beyond the angular cutoff.
    angular, harmonics
        (m', k_angular) radial functions and (m', n_components) harmonics.
    radial_sums, angular_sums
        (n, n_species * k_radial) and (n, n_species * k_angular, n_components).
    descriptors
        (n, dimension) unscaled.
    energies
        (n,) site energies in eV, without ZBL.
    """

    species: NDArray[np.int32]
    first: NDArray[np.int64]
    neighbour: NDArray[np.int64]
    distance: NDArray[np.float64]
    radial: NDArray[np.float64]
    angular_edge: NDArray[np.int64]
    angular: NDArray[np.float64]
    harmonics: NDArray[np.float32]
    radial_sums: NDArray[np.float64]
    angular_sums: NDArray[np.float64]
    descriptors: NDArray[np.float64]
    energies: NDArray[np.float64]


class ExchangeKernels(NamedTuple):
    """Compiled functions for one shape of the model.

    Attributes
    ----------
    survey
        The :class:`Places` of a structure.
    exchange
        Metropolis trials of exchanges.
    """

    survey: Callable[..., Places]
    exchange: Callable[..., float]


@lru_cache
def compile_exchanges(shape: Shape) -> ExchangeKernels:
    """Compile the functions for these sizes; the code is cached on disk."""
    n_species, n_radial, n_angular, k_radial, k_angular, l_max = shape[:6]
    has_four_body, has_five_body, n_neurons = bool(shape[6]), bool(shape[7]), shape[8]
    n_components, dimension = shape.n_components, shape.dimension
    t_radial, t_angular = n_species * k_radial, n_species * k_angular
    at_angular = n_species * n_radial * t_radial
    at_hidden = at_angular + n_species * n_angular * t_angular
    at_threshold = at_hidden + n_species * n_neurons * dimension
    at_output = at_threshold + n_species * n_neurons
    at_shift = at_output + n_species * n_neurons
    degrees = np.repeat(np.arange(1, l_max + 1), 2 * np.arange(1, l_max + 1) + 1)
    parity = np.where(degrees % 2, -1.0, 1.0)

    @njit(nogil=True, fastmath=True)
    def site_energy(
        kind: int,
        descriptor: NDArray[np.float64],
        flat: NDArray[np.float32],
        scaler: NDArray[np.float32],
        scaled: NDArray[np.float64],
    ) -> float:
        """Energy of an atom in eV."""
        hidden = flat[at_hidden:at_threshold].reshape((n_species, n_neurons, dimension))[kind]
        threshold = flat[at_threshold:at_output].reshape((n_species, n_neurons))[kind]
        output = flat[at_output:at_shift].reshape((n_species, n_neurons))[kind]
        any_dimension = len(descriptor)
        for d in range(any_dimension):
            scaled[d] = descriptor[d] * scaler[d]
        energy = 0.0
        for m in range(n_neurons):
            z = 0.0
            for d in range(any_dimension):
                z += hidden[m, d] * scaled[d]
            energy += output[m] * math.tanh(z - threshold[m])
        return energy

    @njit(nogil=True, fastmath=True)
    def describe(
        kind: int,
        radial_sums: NDArray[np.float64],
        angular_sums: NDArray[np.float64],
        flat: NDArray[np.float32],
        s: NDArray[np.float64],
        q: NDArray[np.float64],
    ) -> None:
        """Unscaled descriptor of an atom."""
        radial = flat[:at_angular].reshape((n_species, n_radial, t_radial))[kind]
        angular = flat[at_angular:at_hidden].reshape((n_species, n_angular, t_angular))[kind]
        sum_harmonics(angular, angular_sums, s, n_angular, t_angular, n_components)
        invariants(
            radial, radial_sums, s, q, n_radial, n_angular, t_radial, l_max,
            has_four_body, has_five_body,
        )  # fmt: skip

    @njit(nogil=True, fastmath=True)
    def survey(
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
        species: NDArray[np.int32],
        model: Model,
    ) -> Places:
        n = len(positions)
        first = np.empty(n + 1, np.int64)
        cutoffs = model.cutoffs
        none = np.empty(0, np.int64), np.empty((0, 3))
        list_neighbours(positions, cell, cutoffs[0], first, none[0], none[1])
        m = first[n]
        index, vector = np.empty(m, np.int64), np.empty((m, 3))
        list_neighbours(positions, cell, cutoffs[0], first, index, vector)
        distance = np.empty(m)
        angular_edge = np.full(m, -1, np.int64)
        near = 0
        for e in range(m):
            distance[e] = math.sqrt(vector[e, 0] ** 2 + vector[e, 1] ** 2 + vector[e, 2] ** 2)
            if distance[e] < cutoffs[1]:
                angular_edge[e] = near
                near += 1
        radial, angular = np.empty((m, k_radial)), np.empty((near, k_angular))
        harmonics = np.empty((near, n_components), np.float32)
        radial_sums = np.zeros((n, t_radial))
        angular_sums = np.zeros((n, t_angular, n_components))
        descriptors, energies = np.empty((n, dimension)), np.empty(n)
        slopes = np.empty(max(k_radial, k_angular))
        legendre = np.zeros((l_max + 1, l_max + 2), np.float32)
        harmonic_slopes = np.empty((3, n_components), np.float32)
        s, scaled = np.empty((n_angular, n_components)), np.empty(dimension)
        for i in range(n):
            for e in range(first[i], first[i + 1]):
                kind, r = species[index[e]], distance[e]
                radial_functions(r, cutoffs[0], k_radial, radial[e], slopes)
                for k in range(k_radial):
                    radial_sums[i, kind * k_radial + k] += radial[e, k]
                a = angular_edge[e]
                if a < 0:
                    continue
                radial_functions(r, cutoffs[1], k_angular, angular[a], slopes)
                solid_harmonics(
                    np.float32(vector[e, 0] / r), np.float32(vector[e, 1] / r),
                    np.float32(vector[e, 2] / r), l_max, legendre, harmonics[a], harmonic_slopes,
                )  # fmt: skip
                for k in range(k_angular):
                    for c in range(n_components):
                        angular_sums[i, kind * k_angular + k, c] += angular[a, k] * harmonics[a, c]
            describe(species[i], radial_sums[i], angular_sums[i], model.flat, s, descriptors[i])
            energies[i] = site_energy(species[i], descriptors[i], model.flat, model.scaler, scaled)
        return Places(
            species.copy(), first, index, distance, radial, angular_edge, angular, harmonics,
            radial_sums, angular_sums, descriptors, energies,
        )  # fmt: skip

    @njit(nogil=True, fastmath=True)
    def exchange(
        trials: NDArray[np.float64],
        inverse_temperature: float,
        pairs: NDArray[np.int64],
        members: NDArray[np.int64],
        n_members: NDArray[np.int64],
        model: Model,
        places: Places,
        place_of: NDArray[np.int64],
        counts: NDArray[np.int64],
    ) -> float:
        """Try exchanges one after the other and return the change of the energy in eV.

        Parameters
        ----------
        trials
            (n_trials, 4) numbers in [0, 1): they choose the pair of species and its two atoms,
            and decide on acceptance.
        inverse_temperature
            1/eV.
        pairs
            (n_pairs, 2) unlike species.
        members, n_members
            (n_species, n) atoms of each species, and (n_species,) their numbers.
        model, places
            The potential and the structure; ``places`` is updated.
        place_of
            (n_atoms,) site of each atom, updated.
        counts
            (n_pairs, 2) attempted and accepted exchanges, updated.
        """
        species, first = places.species, places.first
        flat, scaler = model.flat, model.scaler
        charges, inner, outer = model.charges, model.inner, model.outer
        radial_all = flat[:at_angular].reshape((n_species, n_radial, t_radial))
        reach = outer.max()
        n = len(species)
        most = 0
        for i in range(n):
            most = max(most, first[i + 1] - first[i])
        room = min(n, 2 * (most + 1))
        slot_of = np.full(n, -1, np.int64)
        touched, has_angular = np.empty(room, np.int64), np.empty(room, np.bool_)
        new_radial = np.empty((room, t_radial))
        new_angular = np.empty((room, t_angular, n_components))
        new_descriptor, new_energy = np.empty((room, dimension)), np.empty(room)
        s, scaled = np.empty((n_angular, n_components)), np.empty(dimension)
        total = 0.0
        for trial in range(len(trials)):
            pair = int(trials[trial, 0] * len(pairs))
            a, b = pairs[pair, 0], pairs[pair, 1]
            atom_a = members[a, int(trials[trial, 1] * n_members[a])]
            atom_b = members[b, int(trials[trial, 2] * n_members[b])]
            place_a, place_b = place_of[atom_a], place_of[atom_b]
            counts[pair, 0] += 1
            n_touched = 0
            change = 0.0
            for side in range(2):
                place, other = (place_a, place_b) if side == 0 else (place_b, place_a)
                old, new = (a, b) if side == 0 else (b, a)
                if slot_of[place] < 0:
                    slot_of[place] = n_touched
                    touched[n_touched] = place
                    new_radial[n_touched] = places.radial_sums[place]
                    has_angular[n_touched] = False
                    n_touched += 1
                if not has_angular[slot_of[place]]:
                    new_angular[slot_of[place]] = places.angular_sums[place]
                    has_angular[slot_of[place]] = True
                for e in range(first[place], first[place + 1]):
                    neighbour = places.neighbour[e]
                    slot = slot_of[neighbour]
                    if slot < 0:
                        slot = n_touched
                        slot_of[neighbour] = slot
                        touched[slot] = neighbour
                        new_radial[slot] = places.radial_sums[neighbour]
                        has_angular[slot] = False
                        n_touched += 1
                    for k in range(k_radial):
                        new_radial[slot, old * k_radial + k] -= places.radial[e, k]
                        new_radial[slot, new * k_radial + k] += places.radial[e, k]
                    at = places.angular_edge[e]
                    if at >= 0:
                        if not has_angular[slot]:
                            new_angular[slot] = places.angular_sums[neighbour]
                            has_angular[slot] = True
                        for k in range(k_angular):
                            for c in range(n_components):
                                # Seen from the neighbour, odd harmonics change their sign.
                                term = places.angular[at, k] * places.harmonics[at, c] * parity[c]
                                new_angular[slot, old * k_angular + k, c] -= term
                                new_angular[slot, new * k_angular + k, c] += term
                    r = places.distance[e]
                    if r < reach and neighbour != other:
                        if neighbour == place:
                            # An image of the atom itself; every such pair occurs twice.
                            before, after, weight = old, new, 0.5
                        else:
                            before = after = species[neighbour]
                            weight = 1.0
                        change += weight * (
                            pair_energy(
                                r, charges[new], charges[after], inner[new, after],
                                outer[new, after],
                            )[0]
                            - pair_energy(
                                r, charges[old], charges[before], inner[old, before],
                                outer[old, before],
                            )[0]
                        )  # fmt: skip
            species[place_a], species[place_b] = b, a
            for slot in range(n_touched):
                place = touched[slot]
                kind = species[place]
                if has_angular[slot]:
                    describe(
                        kind, new_radial[slot], new_angular[slot], flat, s, new_descriptor[slot]
                    )
                else:
                    new_descriptor[slot] = places.descriptors[place]
                    for m in range(n_radial):
                        sum_ = 0.0
                        for k in range(t_radial):
                            sum_ += radial_all[kind, m, k] * new_radial[slot, k]
                        new_descriptor[slot, m] = sum_
                new_energy[slot] = site_energy(kind, new_descriptor[slot], flat, scaler, scaled)
                change += new_energy[slot] - places.energies[place]
            accepted = change <= 0.0 or trials[trial, 3] < math.exp(-change * inverse_temperature)
            if accepted:
                counts[pair, 1] += 1
                total += change
                place_of[atom_a], place_of[atom_b] = place_b, place_a
            else:
                species[place_a], species[place_b] = a, b
            for slot in range(n_touched):
                place = touched[slot]
                slot_of[place] = -1
                if accepted:
                    places.radial_sums[place] = new_radial[slot]
                    if has_angular[slot]:
                        places.angular_sums[place] = new_angular[slot]
                    places.descriptors[place] = new_descriptor[slot]
                    places.energies[place] = new_energy[slot]
        return total

    return ExchangeKernels(survey, exchange)
