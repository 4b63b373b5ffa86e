"""An embedded-atom model: the functions of its elements and pairs, and its energy.

The energy is that of Daw and Baskes (Phys. Rev. B 29, 6443 (1984)),

    E = sum_i F_i(rho_i) + 1/2 sum_{i != j} phi_ij(r_ij),    rho_i = sum_{j != i} f_j(r_ij),

with an electron density f_j that depends on the species of the neighbour only, as in the setfl
format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ase import Atoms
    from numpy.typing import NDArray

    Function = Callable[[NDArray[np.float64]], NDArray[np.float64]]

__all__ = ["EmbeddedAtomModel", "pair_key"]


def pair_key(first: str, second: str) -> tuple[str, str]:
    """The key of a pair function: the two species in alphabetical order."""
    return (first, second) if first <= second else (second, first)


@dataclass(frozen=True, eq=False)
class EmbeddedAtomModel:
    """The functions of an embedded-atom model; two models are equal only if they are one object.

    Parameters
    ----------
    species
        Element symbols in the order of the setfl file.
    embedding
        F(rho) in eV for each species.
    density
        f(r) for each species, r in A, in the (arbitrary) units of ``embedding``'s argument.
    pair
        phi(r) in eV, r in A, for each pair of species; keys from :func:`pair_key`.
    reference_crystals
        Structure ("fcc", "bcc", "hcp") and lattice constant a in A of each element, for the headers
        of setfl files.
    cutoff
        Distance in A beyond which every function is zero.
    """

    species: tuple[str, ...]
    embedding: Mapping[str, Function]
    density: Mapping[str, Function]
    pair: Mapping[tuple[str, str], Function]
    reference_crystals: Mapping[str, tuple[str, float]]
    cutoff: float

    def energy(self, atoms: Atoms) -> float:
        """Potential energy of periodic `atoms` in eV, from the functions themselves.

        Tables and splines are not involved: tests compare the tabulated potential with this
        energy. It is slow for more than a few dozen atoms.
        """
        from ase.neighborlist import neighbor_list

        i, j, distance = neighbor_list("ijd", atoms, self.cutoff)
        symbols = np.array(atoms.get_chemical_symbols())
        present = sorted(set(symbols.tolist()))
        density = np.zeros(len(distance))
        pair = np.zeros(len(distance))
        for second in present:
            of_second = symbols[j] == second
            density[of_second] = self.density[second](distance[of_second])
            for first in present:
                both = of_second & (symbols[i] == first)
                pair[both] = self.pair[pair_key(first, second)](distance[both])
        total_density = np.bincount(i, weights=density, minlength=len(atoms))
        embedding = sum(
            float(self.embedding[symbol](total_density[symbols == symbol]).sum())
            for symbol in present
        )
        return embedding + 0.5 * float(pair.sum())
