"""The Lennard-Jones surrogate: pair tables, units and the input checks for the kernels."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mgflows import units
from mgflows.errors import InputError
from mgflows.geometry import check_distances, check_geometry
from mgflows.surrogate.pair_tables import read_pair_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

    from mgflows.alloy import Alloy
    from mgflows.surrogate.calculator import LennardJonesCalculator

__all__ = ["LennardJones", "ReducedConfiguration"]

_FEWEST_ATOMS = 8
_CUZRAL_SIGMA = {"Cu": 2.338, "Zr": 2.932, "Al": 2.620}
_CUZRAL_EPSILON = {
    "consistent": {"Cu": 0.409, "Zr": 0.739, "Al": 0.392},
    "printed": {"Cu": 0.739, "Zr": 0.409, "Al": 0.392},
}
_PAPER_COMPOSITION = {"Cu": 0.46, "Zr": 0.46, "Al": 0.08}
_PAPER_REDUCED_DENSITY = 1.75
"""Atoms per cubed diameter of Zr (Methods, "Lennard-Jones surrogate model")."""


@dataclass(frozen=True)
class ReducedConfiguration:
    """A periodic orthorhombic configuration in Lennard-Jones units.

    Parameters
    ----------
    positions
        (n, 3) positions in units of ``length_unit``, wrapped into the box.
    box
        (3,) edges of the box in units of ``length_unit``.
    types
        (n,) indices into ``LennardJones.species``.
    images
        (n_images, 3) shifts of the nearest image of a partner, in box edges, that may bring it
        within the largest cutoff. The first is zero, the nearest image itself; it is the only one
        where every edge is at least twice that cutoff.
    """

    positions: NDArray[np.float64]
    box: NDArray[np.float64]
    types: NDArray[np.int64]
    images: NDArray[np.int64]

    @property
    def nearest_image_suffices(self) -> bool:
        """Whether each pair interacts through one image at most, and no atom with its own."""
        return len(self.images) == 1


@dataclass(frozen=True, eq=False)
class LennardJones:
    """A truncated and shifted Lennard-Jones mixture.

    Paper, Methods, "Lennard-Jones surrogate model":
    ``u(r) = 4 eps [(sigma/r)^12 - (sigma/r)^6 - f^-12 + f^-6]`` for ``r < f sigma`` and zero
    beyond. The cutoff factor ``f`` is the same for every pair of species. The energy is continuous
    at the cutoff; the force jumps to zero there.

    Parameters
    ----------
    species
        Element symbols; their order is the order of the tables.
    sigma
        (n, n) symmetric pair diameters in A.
    epsilon
        (n, n) symmetric well depths in eV.
    cutoff_factor
        The cutoff of a pair in units of its ``sigma``.
    reference
        The species whose ``sigma`` and ``epsilon`` are the units of length and energy; the largest
        species by default.

    Raises
    ------
    InputError
        For tables of the wrong shape, asymmetric tables or values that are not positive.
    """

    species: tuple[str, ...]
    sigma: NDArray[np.float64]
    epsilon: NDArray[np.float64]
    cutoff_factor: float = 2.0
    reference: str = ""

    def __post_init__(self) -> None:
        species = tuple(self.species)
        if not species or len(set(species)) != len(species):
            raise InputError(
                f"the species are {list(species)} but must be one or more distinct elements",
                hint="name each element once",
            )
        object.__setattr__(self, "species", species)
        for name, unit in (("sigma", "A"), ("epsilon", "eV")):
            table = np.array(getattr(self, name), dtype=float)
            if table.shape != (len(species), len(species)):
                raise InputError(
                    f"{name} has the shape {table.shape} but {len(species)} species need "
                    f"{(len(species),) * 2}",
                    hint="give one row per species",
                )
            if not (np.all(np.isfinite(table)) and np.all(table > 0.0)):
                raise InputError(
                    f"{name} has the smallest value {table.min():g} {unit} but every pair needs "
                    "a positive and finite value",
                    hint="correct the table",
                )
            if not np.allclose(table, table.T, rtol=1e-12, atol=0.0):
                raise InputError(
                    f"{name} is not symmetric, so a pair of species has two values",
                    hint="give the same value for (a, b) and (b, a)",
                )
            table = (table + table.T) / 2.0
            table.flags.writeable = False
            object.__setattr__(self, name, table)
        if not (math.isfinite(self.cutoff_factor) and self.cutoff_factor > 2.0 ** (1.0 / 6.0)):
            raise InputError(
                f"the cutoff factor is {self.cutoff_factor:g} but must lie beyond the minimum of "
                "the pair energy, 1.1225",
                hint="give 2 or more",
            )
        if not self.reference:
            object.__setattr__(self, "reference", species[int(np.argmax(np.diag(self.sigma)))])
        if self.reference not in species:
            raise InputError(
                f"the reference species {self.reference!r} is not one of {list(species)}",
                hint="name one of them",
            )

    @classmethod
    def cuzral(cls, table: Literal["consistent", "printed"] = "consistent") -> LennardJones:
        """Return the paper's Cu-Zr-Al surrogate.

        It has Lorentz-Berthelot mixing, cutoffs at 2 sigma and the units of Zr.

        Parameters
        ----------
        table
            ``"consistent"``: eps_Zr = 0.739 eV and eps_Cu = 0.409 eV, which follow the cohesive
            energies and give the onset of supercooling that the paper reports. ``"printed"``: the
            two values as printed in the paper's Methods, that is, exchanged. The evidence is in
            ``docs/concepts/surrogate.md``.
        """
        if table not in _CUZRAL_EPSILON:
            raise InputError(
                f"the table {table!r} does not exist", hint="choose 'consistent' or 'printed'"
            )
        return cls.from_species(_CUZRAL_SIGMA, _CUZRAL_EPSILON[table], reference="Zr")

    @classmethod
    def from_species(
        cls,
        sigma: Mapping[str, float],
        epsilon: Mapping[str, float],
        *,
        pairs: Mapping[tuple[str, str], tuple[float, float]] | None = None,
        cutoff_factor: float = 2.0,
        reference: str = "",
    ) -> LennardJones:
        """Mix pair tables from one diameter and one well depth per species.

        These are the Lorentz-Berthelot rules,
        ``sigma_ab = (sigma_a + sigma_b) / 2`` and ``eps_ab = sqrt(eps_a eps_b)`` (paper, Methods).

        Parameters
        ----------
        sigma, epsilon
            Diameters in A and well depths in eV by symbol; both name the same species.
        pairs
            Explicit ``(sigma, epsilon)`` of unlike pairs, which replace the mixed values.
        cutoff_factor, reference
            As in :class:`LennardJones`.
        """
        if set(sigma) != set(epsilon):
            raise InputError(
                f"sigma names {sorted(sigma)} but epsilon names {sorted(epsilon)}",
                hint="give both for every species",
            )
        species = tuple(sigma)
        diameters = np.array([sigma[symbol] for symbol in species], dtype=float)
        depths = np.array([epsilon[symbol] for symbol in species], dtype=float)
        if np.any(depths <= 0.0) or np.any(diameters <= 0.0):
            raise InputError(
                f"sigma {dict(sigma)} and epsilon {dict(epsilon)} must be positive",
                hint="give A and eV",
            )
        sigma_table = (diameters[:, None] + diameters[None, :]) / 2.0
        epsilon_table = np.sqrt(depths[:, None] * depths[None, :])
        for (a, b), (pair_sigma, pair_epsilon) in (pairs or {}).items():
            unknown = {a, b} - set(species)
            if unknown:
                raise InputError(
                    f"the pair {a}-{b} names {sorted(unknown)[0]}, not one of {list(species)}",
                    hint="leave the pair out or add the species",
                )
            i, j = species.index(a), species.index(b)
            sigma_table[i, j] = sigma_table[j, i] = pair_sigma
            epsilon_table[i, j] = epsilon_table[j, i] = pair_epsilon
        return cls(
            species, sigma_table, epsilon_table, cutoff_factor=cutoff_factor, reference=reference
        )

    @classmethod
    def from_elements(
        cls, symbols: Sequence[str], *, cutoff_factor: float = 2.0, reference: str = ""
    ) -> LennardJones:
        """Estimate the surrogate of any alloy of metals and metalloids from its elements.

        The parameters of metals follow from lattice constants and cohesive energies, with
        Lorentz-Berthelot mixing; the rule and its sources are in
        :mod:`mgflows.surrogate.elements`. It gives the paper's parameters of Cu, Zr and Al within
        2 %. B, C, Si, P and Ge have covalent radii and wells from enthalpies of mixing, see
        :mod:`mgflows.surrogate.metalloids`. The exchanges that such an alloy accepts are
        measured by :func:`mgflows.surrogate.exchanges.measure_exchanges`.

        Parameters
        ----------
        symbols
            Element symbols, in the order of the tables.
        cutoff_factor, reference
            As in :class:`LennardJones`.

        Raises
        ------
        InputError
            For an element without data, or no metal among them.

        Examples
        --------
        >>> LennardJones.from_elements(["Pd", "Ni", "P"]).sigma[2].round(2).tolist()
        [2.24, 2.12, 2.4]
        """
        from mgflows.surrogate.elements import lennard_jones_parameters
        from mgflows.surrogate.metalloids import METALLOIDS, metalloid_parameters

        if isinstance(symbols, str):
            raise InputError(
                f"the elements are the string {symbols!r}", hint='give a list such as ["Cu", "Zr"]'
            )
        if len(set(symbols)) != len(symbols):
            raise InputError(
                f"the elements {list(symbols)} contain a duplicate", hint="name each once"
            )
        if not symbols:
            raise InputError("there are no elements", hint='give a list such as ["Cu", "Zr"]')
        sigma, epsilon = lennard_jones_parameters([s for s in symbols if s not in METALLOIDS])
        pairs = metalloid_parameters(
            [symbol for symbol in symbols if symbol in METALLOIDS],
            {metal: (sigma[metal], epsilon[metal]) for metal in sigma},
        )
        # The units are those of a metal.
        reference = reference or max(sigma, key=lambda metal: sigma[metal])
        for symbol in set(symbols) - set(sigma):
            sigma[symbol], epsilon[symbol] = pairs[symbol, symbol]
        return cls.from_species(
            {symbol: sigma[symbol] for symbol in symbols},
            {symbol: epsilon[symbol] for symbol in symbols},
            pairs=pairs,
            cutoff_factor=cutoff_factor,
            reference=reference,
        )

    @classmethod
    def from_yaml(cls, path: Path | str) -> LennardJones:
        """Read a pair table from a YAML file.

        The format is that of :func:`mgflows.surrogate.pair_tables.read_pair_table`.
        """
        table = read_pair_table(path)
        return cls.from_species(
            table.sigma,
            table.epsilon,
            pairs=table.pairs,
            cutoff_factor=table.cutoff_factor,
            reference=table.reference,
        )

    @classmethod
    def for_species(
        cls, species: Iterable[str], table: Literal["consistent", "printed"] = "consistent"
    ) -> LennardJones:
        """Return the surrogate that mgflows uses for an alloy unless another is given.

        Parameters
        ----------
        species
            Element symbols.
        table
            Which table of Cu-Zr-Al, see :meth:`cuzral`.

        Returns
        -------
        The paper's table for alloys of Cu, Zr and Al, and :meth:`from_elements` for all others.

        Examples
        --------
        >>> LennardJones.for_species(["Cu", "Zr"]).reference
        'Zr'
        >>> LennardJones.for_species(["Ni", "Nb"]).species
        ('Ni', 'Nb')
        """
        symbols = list(species)
        if set(symbols) <= set(_CUZRAL_SIGMA):
            return cls.cuzral(table)
        return cls.from_elements(symbols)

    def number_density(self, composition: Mapping[str, float]) -> float:
        """Return the default density of the surrogate for a composition, in atoms per A^3.

        The mean cubed diameter of the atoms fills the same fraction of the box as in the paper's
        Cu46Zr46Al8, ``n <sigma^3> = 1.313``: the paper's ``n sigma_ZrZr^3 = 1.75`` (Methods,
        "Lennard-Jones surrogate model") for that alloy, and about 1.2 times the density of the
        elements' crystals for any other.

        Parameters
        ----------
        composition
            Fractions or amounts by symbol.

        Raises
        ------
        InputError
            For a species that the table lacks.
        """
        unknown = [symbol for symbol in composition if symbol not in self.species]
        if unknown:
            raise InputError(
                f"the composition names {', '.join(unknown)} but the table only has "
                f"{', '.join(self.species)}",
                hint="add the species to the table",
            )
        diameters = {s: self.sigma[i, i] for i, s in enumerate(self.species)}
        paper = _mean_cube(_CUZRAL_SIGMA, _PAPER_COMPOSITION) / _CUZRAL_SIGMA["Zr"] ** 3
        return _PAPER_REDUCED_DENSITY * paper / _mean_cube(diameters, composition)

    def exchanges_of(
        self, species: Sequence[str], pairs: Sequence[tuple[str, str]] | None = None
    ) -> tuple[tuple[str, str], ...]:
        """Return the exchanges that swap Monte Carlo tries in an alloy of some species.

        They are those of ``pairs`` whose species are both given. By default they are the pairs
        adjacent in diameter among the given species; none for a single species.
        The diameter of a species is its mean over all pairs with the given species. With
        Lorentz-Berthelot mixing this is the order of the species' own diameters; the own
        diameter of a metalloid only keeps metalloids apart and is not used for the order.

        Raises
        ------
        InputError
            For a species that the table lacks, or a pair of equal species.
        """
        self._check_species(species)
        if pairs is not None:
            for pair in pairs:
                if len(set(pair)) != 2 or not set(pair) <= set(self.species):
                    raise InputError(
                        f"{tuple(pair)} is not a pair of different species among "
                        f"{list(self.species)}",
                        hint="give pairs such as ('Cu', 'Al')",
                    )
            unique = {frozenset(pair): (pair[0], pair[1]) for pair in pairs}
            return tuple(pair for pair in unique.values() if set(pair) <= set(species))
        present = [symbol for symbol in self.species if symbol in set(species)]
        index = [self.species.index(symbol) for symbol in present]
        diameters = self.sigma[np.ix_(index, index)].mean(axis=1)
        order = np.argsort(diameters, kind="stable")
        return tuple(itertools.pairwise(present[number] for number in order))

    def unmixed_pairs(self, species: Sequence[str]) -> dict[tuple[str, str], tuple[float, float]]:
        """Return sigma (A) and epsilon (eV) of the pairs that Lorentz-Berthelot mixing misses.

        Parameters
        ----------
        species
            Only pairs of these species are returned.

        Raises
        ------
        InputError
            For a species that the table lacks.
        """
        self._check_species(species)
        found = {}
        for a, b in itertools.combinations(species, 2):
            i, j = self.species.index(a), self.species.index(b)
            given = float(self.sigma[i, j]), float(self.epsilon[i, j])
            diameter = (self.sigma[i, i] + self.sigma[j, j]) / 2.0
            depth = np.sqrt(self.epsilon[i, i] * self.epsilon[j, j])
            if not np.allclose(given, (diameter, depth)):
                found[a, b] = given
        return found

    def _check_species(self, species: Iterable[str]) -> None:
        unknown = sorted(set(species) - set(self.species))
        if unknown:
            raise InputError(
                f"{', '.join(unknown)} is not in the table of {', '.join(self.species)}",
                hint="add the species to the table",
            )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LennardJones) and self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash(
            (
                self.species,
                self.sigma.tobytes(),
                self.epsilon.tobytes(),
                self.cutoff_factor,
                self.reference,
            )
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the parameters as plain Python values, with the class keys of monty."""
        return {
            "@module": type(self).__module__,
            "@class": type(self).__name__,
            "species": list(self.species),
            "sigma": self.sigma.tolist(),
            "epsilon": self.epsilon.tolist(),
            "cutoff_factor": self.cutoff_factor,
            "reference": self.reference,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LennardJones:
        """Invert :meth:`as_dict`."""
        return cls(
            tuple(data["species"]),
            np.array(data["sigma"]),
            np.array(data["epsilon"]),
            cutoff_factor=data["cutoff_factor"],
            reference=data["reference"],
        )

    @property
    def length_unit(self) -> float:
        """The reference diameter in A: a reduced length times this is in A."""
        i = self.species.index(self.reference)
        return float(self.sigma[i, i])

    @property
    def energy_unit(self) -> float:
        """The reference well depth in eV: a reduced energy times this is in eV."""
        i = self.species.index(self.reference)
        return float(self.epsilon[i, i])

    @property
    def temperature_unit(self) -> float:
        """The reference well depth over k_B, in K.

        Temperatures of the surrogate are not those of the alloy: use with care.
        """
        return units.lj_temperature_unit(self.energy_unit)

    @property
    def pressure_unit(self) -> float:
        """The unit of pressure in GPa."""
        return units.lj_pressure_unit(self.length_unit, self.energy_unit)

    def time_unit(self, mass: float | None = None) -> float:
        """Return the unit of time in fs.

        Parameters
        ----------
        mass
            Mass unit in u; by default the standard atomic weight of the reference species, as in
            the paper.
        """
        if mass is None:
            from ase.data import atomic_masses, atomic_numbers

            mass = float(atomic_masses[atomic_numbers[self.reference]])
        return units.lj_time_unit(self.length_unit, self.energy_unit, mass)

    @property
    def cutoff(self) -> NDArray[np.float64]:
        """(n, n) cutoffs in A."""
        return self.cutoff_factor * self.sigma

    @property
    def reduced_sigma(self) -> NDArray[np.float64]:
        """(n, n) diameters in units of ``length_unit``."""
        return self.sigma / self.length_unit

    @property
    def reduced_epsilon(self) -> NDArray[np.float64]:
        """(n, n) well depths in units of ``energy_unit``."""
        return self.epsilon / self.energy_unit

    @property
    def exchange_pairs(self) -> tuple[tuple[str, str], ...]:
        """The exchanges that swap Monte Carlo tries by default.

        They are the pairs of species adjacent in diameter, from the smallest up. For Cu-Zr-Al these
        are Cu-Al and Al-Zr, the ladder of the paper (Methods, "Sampling PEL with swap-Monte
        Carlo").
        """
        return self.exchanges_of(self.species)

    def check_box(self, alloy: Alloy) -> str | None:
        """Describe the consequences of a box below twice the largest cutoff.

        Returns
        -------
        A note for the user; None if every edge is at least twice the largest cutoff.

        Raises
        ------
        InputError
            For a species that the table lacks, and for fewer than eight atoms. Their box is less
            than two mean atomic distances wide, so an atom has the same neighbour on either side.
        """
        length = alloy.box_length
        if alloy.n_atoms < _FEWEST_ATOMS:
            raise InputError(
                f"{alloy.n_atoms} atoms make a box of {length:.2f} A, less than two mean atomic "
                "distances wide, so an atom has the same neighbour on either side and the box "
                "is a crystal, not a glass",
                hint=f"take at least {_FEWEST_ATOMS} atoms",
            )
        self._check_species(alloy.species)
        present = [self.species.index(symbol) for symbol in alloy.species]
        needed = 2.0 * float(self.cutoff[np.ix_(present, present)].max())
        if length >= needed:
            return None
        return (
            f"the box of {alloy.n_atoms} atoms is {length:.2f} A wide, less than twice the "
            f"surrogate's largest cutoff ({needed:.2f} A): its energies are sums "
            "over periodic images, which is exact but slower, and atoms interact with their own "
            "images; "
            f"{int(alloy.number_density * needed**3) + 1} atoms at this density would not"
        )

    def types(self, atoms: Atoms) -> NDArray[np.int64]:
        """Return the (n,) indices into :attr:`species` of the atoms.

        Raises
        ------
        InputError
            If an atom is of a species that the table lacks, or if there are no atoms.
        """
        symbols = atoms.get_chemical_symbols()
        unknown = sorted(set(symbols) - set(self.species))
        if unknown:
            raise InputError(
                f"the configuration contains {', '.join(unknown)} but the table only has "
                f"{', '.join(self.species)}",
                hint="add the species to the table",
            )
        if not symbols:
            raise InputError("the configuration has no atoms", hint="give at least one")
        index = {symbol: number for number, symbol in enumerate(self.species)}
        return np.array([index[symbol] for symbol in symbols], dtype=np.int64)

    def reduced_configuration(self, atoms: Atoms) -> ReducedConfiguration:
        """Return the atoms in reduced units, in the order given.

        The result includes the periodic images that the kernels must visit.

        Raises
        ------
        InputError
            If the cell is not a fully periodic orthorhombic box along the axes (:meth:`calculator`
            accepts any cell), a position is not finite, or two atoms are at the same place.
        """
        types = self.types(atoms)
        check_geometry(atoms, "the configuration")
        cell = atoms.cell.array
        edges = np.diag(cell)
        if (
            not np.all(atoms.pbc)
            or np.any(np.abs(cell - np.diag(edges)) > 1e-10 * np.abs(cell).max())
            or np.any(edges <= 0.0)
        ):
            raise InputError(
                "the cell is not a periodic orthorhombic box along x, y, z",
                hint="use such a box, or LennardJones.calculator() for any cell",
            )
        check_distances(atoms, "the configuration")
        box = np.ascontiguousarray(edges / self.length_unit)
        positions = atoms.positions / self.length_unit
        present = np.unique(types)
        images = _images_within(
            float(self.cutoff[np.ix_(present, present)].max()) / self.length_unit, box
        )
        return ReducedConfiguration(
            np.ascontiguousarray(positions - box * np.floor(positions / box)), box, types, images
        )

    def energy(self, atoms: Atoms) -> float:
        """Return the potential energy in eV of a configuration; any cell, periodic or not."""
        from mgflows.surrogate.calculator import evaluate

        return evaluate(self, atoms).energy

    def calculator(self) -> LennardJonesCalculator:
        """Return an ASE calculator: eV, eV/A, stress in eV/A^3 with the ASE sign; any cell."""
        from mgflows.surrogate.calculator import LennardJonesCalculator

        return LennardJonesCalculator(self)


def _images_within(cutoff: float, box: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the (n_images, 3) shifts, zero first, of images that can lie within the cutoff.

    The nearest image is at most half an edge away along each axis. Shifted by n edges, it is at
    least ``|n| - 1/2`` edges away.
    """
    most = np.ceil(cutoff / box + 0.5).astype(int)
    shifts = np.array(list(itertools.product(*(range(-m, m + 1) for m in most))), dtype=np.int64)
    closest = np.maximum(np.abs(shifts) - 0.5, 0.0) * box
    shifts = shifts[(closest**2).sum(axis=1) < cutoff**2]
    return np.ascontiguousarray(shifts[np.argsort(np.abs(shifts).sum(axis=1), kind="stable")])


def _mean_cube(diameters: Mapping[str, float], composition: Mapping[str, float]) -> float:
    total = sum(composition.values())
    return sum(part * diameters[symbol] ** 3 for symbol, part in composition.items()) / total
