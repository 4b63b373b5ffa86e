"""Crystals of an alloy's elements, from published structures: the start of the ``crystal`` subset.

Compounds are in ``crystals.json``, each with the paper that determined its lattice parameters (a reference that was not checked says so); free Wyckoff coordinates that a paper left open are those
of the prototype. They are starting points: whoever labels them relaxes them first. Elements come from ASE's table of ground states, which is that
of N. W. Ashcroft and N. D. Mermin, Solid State Physics (1976).
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

__all__ = ["Crystal", "Site", "crystal_prototypes"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Site:
    """One Wyckoff position: element, letter with multiplicity, and fractional coordinates of its first atom."""

    symbol: str
    wyckoff: str
    position: tuple[float, float, float]


@dataclass(frozen=True)
class Crystal:
    """A published crystal structure.

    Parameters
    ----------
    name
        Formula and Strukturbericht or Pearson symbol, such as "CuZr B2".
    prototype
        Compound that the structure type is named after, and its Strukturbericht symbol where it has one.
    space_group
        Number in the International Tables.
    lattice
        a, b, c in A and alpha, beta, gamma in degrees, of the conventional cell.
    sites
        Occupied Wyckoff positions in the setting of the International Tables.
    status
        "stable", "high temperature" or "metastable": all of them have been observed.
    source
        Where the lattice parameters were published.
    """

    name: str
    prototype: str
    space_group: int
    lattice: tuple[float, float, float, float, float, float]
    sites: tuple[Site, ...]
    status: str
    source: str

    @property
    def species(self) -> tuple[str, ...]:
        """Its elements, alphabetically."""
        return tuple(sorted({site.symbol for site in self.sites}))

    def atoms(self, *, primitive: bool = False) -> Atoms:
        """The crystal as published.

        Parameters
        ----------
        primitive
            Give the primitive cell instead of the conventional one, along whose axes strains are easier to read.
        """
        from ase.spacegroup import crystal

        atoms = crystal(
            symbols=[site.symbol for site in self.sites],
            basis=[site.position for site in self.sites],
            spacegroup=self.space_group,
            cellpar=list(self.lattice),
            primitive_cell=primitive,
        )
        # ASE leaves its description of the space group behind, which no longer holds once atoms move.
        atoms.info = {"name": self.name}
        del atoms.arrays["spacegroup_kinds"]
        return atoms


def crystal_prototypes(species: Sequence[str]) -> list[Crystal]:
    """All known crystals of an alloy: the ground states of its elements, then the compounds between them.

    Parameters
    ----------
    species
        Element symbols; a compound is given if all its elements are among them.

    Returns
    -------
    list of Crystal
        Elements in the order of ``species``. One whose ground state is not fcc, bcc, hcp or diamond is left out, with a note in the log.

    Raises
    ------
    InputError
        For an unknown element.
    """
    elements = [element for symbol in dict.fromkeys(species) if (element := _element(symbol)) is not None]
    return elements + [compound for compound in _compounds() if set(compound.species) <= set(species)]


@cache
def _compounds() -> tuple[Crystal, ...]:
    entries: list[dict[str, Any]] = json.loads(resources.files(__package__).joinpath("crystals.json").read_text(encoding="utf-8"))
    return tuple(
        Crystal(
            **{
                **entry,
                "lattice": tuple(entry["lattice"]),
                "sites": tuple(Site(symbol, wyckoff, tuple(position)) for symbol, wyckoff, position in entry["sites"]),
            }
        )
        for entry in entries
    )


_ELEMENT_STRUCTURES: dict[str, tuple[str, int, str, tuple[float, float, float]]] = {
    "fcc": ("Cu, A1", 225, "4a", (0.0, 0.0, 0.0)),
    "bcc": ("W, A2", 229, "2a", (0.0, 0.0, 0.0)),
    "hcp": ("Mg, A3", 194, "2c", (1.0 / 3.0, 2.0 / 3.0, 0.25)),
    "diamond": ("C, A4", 227, "8a", (0.0, 0.0, 0.0)),
}


def _element(symbol: str) -> Crystal | None:
    from ase.data import atomic_numbers, reference_states

    if atomic_numbers.get(symbol, 0) < 1:
        raise InputError(f"{symbol!r} is not a chemical element; give symbols as in the periodic table, such as 'Zr'")
    state = reference_states[atomic_numbers[symbol]]
    if state is None or state["symmetry"] not in _ELEMENT_STRUCTURES:
        logger.info("no crystal of elementary %s: its ground state is not fcc, bcc, hcp or diamond", symbol)
        return None
    prototype, space_group, wyckoff, position = _ELEMENT_STRUCTURES[state["symmetry"]]
    a = float(state["a"])
    hexagonal = state["symmetry"] == "hcp"
    return Crystal(
        name=f"{symbol} {prototype.split(', ')[1]}",
        prototype=prototype,
        space_group=space_group,
        lattice=(a, a, a * float(state["c/a"]), 90.0, 90.0, 120.0) if hexagonal else (a, a, a, 90.0, 90.0, 90.0),
        sites=(Site(symbol, wyckoff, position),),
        status="stable",
        source="N. W. Ashcroft, N. D. Mermin, Solid State Physics, Holt, Rinehart and Winston (1976), as tabulated in ase.data.reference_states",
    )
