"""Crystals of an alloy's elements without a network: the start of the ``crystal`` subset.

Compounds are in ``crystals.json`` with their sources. Cells and positions are mostly those that
AFLOW lists for the structure type (M. J. Mehl et al., Comput. Mater. Sci. 136, S1 (2017),
doi:10.1016/j.commatsci.2017.01.017, and its parts 2 and 3; read in
``src/DATA/PROTO/legacy_data.json`` of github.com/aflow-org/aflow at 011c4bd). Where no lattice
parameters of the compound itself could be read, those of the structure type are scaled to the
volume of the elements that it is made of (Vegard's rule, for volumes). They are starting points and
are relaxed before they are labelled. Elements come from ASE's table of ground states, which is that
of N. W. Ashcroft and N. D. Mermin, Solid State Physics (1976). docs/how_to/crystals.md has the
table.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

__all__ = ["AnyCrystal", "Crystal", "Site", "choose_crystals", "crystal_prototypes"]

logger = logging.getLogger(__name__)


class AnyCrystal(Protocol):
    """Interface of a crystal from any source."""

    @property
    def name(self) -> str:
        """Unique among the crystals of a campaign."""

    @property
    def identifier(self) -> str:
        """Its name in the source, such as "mp-2210"."""

    @property
    def source(self) -> str:
        """Where it was published."""

    @property
    def status(self) -> str:
        """Either "observed" or "trial"."""

    @property
    def species(self) -> tuple[str, ...]:
        """Its elements, alphabetically."""

    def atoms(self) -> Atoms:
        """The structure, not yet relaxed."""


CrystalType = TypeVar("CrystalType", bound=AnyCrystal)


@dataclass(frozen=True)
class Site:
    """One occupied Wyckoff position.

    Parameters
    ----------
    symbol
        Element.
    wyckoff
        Multiplicity and letter.
    position
        Fractional coordinates of its first atom.
    """

    symbol: str
    wyckoff: str
    position: tuple[float, float, float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "position", tuple(self.position))


@dataclass(frozen=True)
class Crystal:
    """A crystal structure by its symmetry.

    Parameters
    ----------
    name
        Formula and Strukturbericht or Pearson symbol, such as "CuZr B2".
    prototype
        Compound that the structure type is named after, and its Strukturbericht symbol where it has
        one.
    space_group
        Number in the International Tables.
    lattice
        a, b, c in A and alpha, beta, gamma in degrees, of the conventional cell.
    sites
        Occupied Wyckoff positions in the first setting of the International Tables.
    status
        "observed" if a source reports this structure for this compound. "trial" otherwise: the
        structure type is known, and an unstable crystal is useful training data as well.
    source
        Sources of the compound, the prototype and the lattice parameters.
    """

    name: str
    prototype: str
    space_group: int
    lattice: tuple[float, float, float, float, float, float]
    sites: tuple[Site, ...]
    status: str
    source: str

    def __post_init__(self) -> None:
        # JSON returns lists and dictionaries.
        object.__setattr__(self, "lattice", tuple(self.lattice))
        object.__setattr__(
            self,
            "sites",
            tuple(Site(**site) if isinstance(site, dict) else site for site in self.sites),
        )

    @property
    def identifier(self) -> str:
        """Identifier in documents."""
        return f"mgflows:{self.name.replace(' ', '-')}"

    @property
    def species(self) -> tuple[str, ...]:
        """Its elements, alphabetically."""
        return tuple(sorted({site.symbol for site in self.sites}))

    def atoms(self) -> Atoms:
        """The conventional cell before any relaxation."""
        from ase.spacegroup import crystal

        atoms = crystal(
            symbols=[site.symbol for site in self.sites],
            basis=[site.position for site in self.sites],
            spacegroup=self.space_group,
            cellpar=list(self.lattice),
        )
        # ASE attaches its description of the space group, which no longer holds once atoms move.
        atoms.info = {"name": self.name}
        del atoms.arrays["spacegroup_kinds"]
        return atoms


def crystal_prototypes(species: Sequence[str]) -> list[Crystal]:
    """All shipped crystals of an alloy.

    Parameters
    ----------
    species
        Element symbols; a compound is returned if all its elements are among them.

    Returns
    -------
    list of Crystal
        The ground states of the elements in the order of ``species``, then other observed crystals,
        then trial structures: among them fcc, bcc and hcp of each element at the volume per atom of
        its ground state (hcp with the ideal c/a). An element whose ground state is none of these or
        diamond is left out, with a note in the log.

    Raises
    ------
    InputError
        For an unknown element.
    """
    elements = [
        element for symbol in dict.fromkeys(species) if (element := _element(symbol)) is not None
    ]
    others = [variant for element in elements for variant in _variants(element)]
    others += [compound for compound in _compounds() if set(compound.species) <= set(species)]
    return elements + sorted(others, key=lambda crystal: crystal.status != "observed")


def choose_crystals(crystals: Sequence[CrystalType], n_crystals: int | None) -> list[CrystalType]:
    """Select at most `n_crystals` crystals: elements first, then compounds spread over the list.

    Trial structures are selected only if all observed ones are, with one exception: if no observed
    crystal contains all elements, the last one selected is the first trial structure that does.

    Parameters
    ----------
    crystals
        In the order of :func:`crystal_prototypes`.
    n_crystals
        Their number; None selects all.

    Raises
    ------
    InputError
        For a negative number.
    """
    if n_crystals is not None and n_crystals < 0:
        raise InputError(
            f"n_crystals is {n_crystals} but must not be negative", hint="None takes all"
        )
    observed = [crystal for crystal in crystals if crystal.status != "trial"]
    if n_crystals is None or n_crystals >= len(crystals):
        return list(crystals)
    if n_crystals >= len(observed):
        return [*observed, *(crystal for crystal in crystals if crystal.status == "trial")][
            :n_crystals
        ]
    elements = [crystal for crystal in observed if len(crystal.species) == 1][:n_crystals]
    compounds = [crystal for crystal in observed if len(crystal.species) > 1]
    n_species = max(len(crystal.species) for crystal in crystals)
    if all(len(crystal.species) < n_species for crystal in observed):
        compounds.append(next(crystal for crystal in crystals if len(crystal.species) == n_species))
    chosen = np.linspace(0, len(compounds) - 1, n_crystals - len(elements)).round().astype(int)
    return [*elements, *(compounds[position] for position in chosen)]


@cache
def _compounds() -> tuple[Crystal, ...]:
    entries: list[dict[str, Any]] = json.loads(
        resources.files(__package__).joinpath("crystals.json").read_text(encoding="utf-8")
    )
    return tuple(_compound(**entry) for entry in entries)


def _compound(sites: list[Any], source: str, structure: str, scaled: bool, **entry: Any) -> Crystal:
    rule = ", scaled to the volume of the elements" if scaled else ""
    crystal = Crystal(
        **entry,
        sites=tuple(Site(*site) for site in sites),
        source=f"{source}; cell and positions: {structure}{rule}",
    )
    return _scaled(crystal) if scaled else crystal


def _scaled(crystal: Crystal) -> Crystal:
    """Scale a cell to the volume of its elements, at constant shape."""
    atoms = crystal.atoms()
    factor = (
        sum(_atomic_volume(symbol) for symbol in atoms.get_chemical_symbols()) / atoms.get_volume()
    ) ** (1.0 / 3.0)
    a, b, c, *angles = crystal.lattice
    return replace(crystal, lattice=(a * factor, b * factor, c * factor, *angles))


_IDEAL = np.sqrt(8.0 / 3.0)  # c/a of hcp, where all nearest neighbours are equally far
_ELEMENT_STRUCTURES: dict[str, tuple[str, int, str, tuple[float, float, float]]] = {
    "fcc": ("Cu, A1", 225, "4a", (0.0, 0.0, 0.0)),
    "bcc": ("W, A2", 229, "2a", (0.0, 0.0, 0.0)),
    "hcp": ("Mg, A3", 194, "2c", (1.0 / 3.0, 2.0 / 3.0, 0.25)),
    "diamond": ("C, A4", 227, "8a", (0.0, 0.0, 0.0)),
}


def _element(symbol: str) -> Crystal | None:
    from ase.data import atomic_numbers, reference_states

    if atomic_numbers.get(symbol, 0) < 1:
        raise InputError(
            f"{symbol!r} is not a chemical element",
            hint="give symbols as in the periodic table, such as 'Zr'",
        )
    state = reference_states[atomic_numbers[symbol]]
    if state is None or state["symmetry"] not in _ELEMENT_STRUCTURES:
        logger.info(
            "no crystal of elementary %s: its ground state is not fcc, bcc, hcp or diamond", symbol
        )
        return None
    return _elementary(
        symbol,
        state["symmetry"],
        float(state["a"]),
        float(state.get("c/a", 1.0)),
        "observed",
        "N. W. Ashcroft, N. D. Mermin, Solid State Physics, Holt, Rinehart and Winston (1976), "
        "as tabulated in ase.data.reference_states",
    )


def _elementary(
    symbol: str, structure: str, a: float, ratio: float, status: str, source: str
) -> Crystal:
    prototype, space_group, wyckoff, position = _ELEMENT_STRUCTURES[structure]
    return Crystal(
        name=f"{symbol} {prototype.split(', ')[1]}",
        prototype=prototype,
        space_group=space_group,
        lattice=(a, a, a * ratio, 90.0, 90.0, 120.0)
        if structure == "hcp"
        else (a, a, a, 90.0, 90.0, 90.0),
        sites=(Site(symbol, wyckoff, position),),
        status=status,
        source=source,
    )


def _variants(ground_state: Crystal) -> list[Crystal]:
    """The structures among fcc, bcc and hcp that are not the ground state of an element."""
    if ground_state.name.endswith("A4"):
        return []
    (symbol,) = ground_state.species
    source = f"given by symmetry alone; volume per atom of {ground_state.name}"
    variants = [
        _elementary(symbol, structure, 1.0, _IDEAL, "trial", source)
        for structure in ("fcc", "bcc", "hcp")
    ]
    return [_scaled(variant) for variant in variants if variant.name != ground_state.name]


@cache
def _atomic_volume(symbol: str) -> float:
    """Volume per atom of an element's ground state in A^3."""
    ground_state = _element(symbol)
    if ground_state is None:
        raise InputError(
            f"the volume of an atom of {symbol} is not tabulated",
            hint="give the compound its own lattice parameters",
        )
    atoms = ground_state.atoms()
    return float(atoms.get_volume()) / len(atoms)
