"""The alloy of a campaign: species, composition, number of atoms and density."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from mgflows import units
from mgflows.errors import InputError

__all__ = ["Alloy"]

_COMPOSITION_TOLERANCE = 1e-6
_FORMULA = re.compile(r"([A-Z][a-z]?)([0-9]*\.?[0-9]*)")


@dataclass(frozen=True)
class Alloy:
    """A multicomponent alloy in a cubic periodic box.

    Parameters
    ----------
    composition
        Atomic fractions by element symbol; their order is the species order everywhere (NEP types,
        tables, plots).
    n_atoms
        Number of atoms in one sample.
    number_density
        Atoms per A^3 of the *surrogate* samples. The glass itself is less dense: the paper's value
        is 21 % above it.
    name
        Shown in reports; the formula by default.
    glass_mass_density
        Measured density of the glass in g/cm^3, if known: samplers then warn if their samples
        differ from it.

    Raises
    ------
    InputError
        For an unknown element, fractions that do not sum to one, or a species left without an atom.
    """

    composition: dict[str, float]
    n_atoms: int
    number_density: float
    name: str = ""
    glass_mass_density: float | None = None

    def __post_init__(self) -> None:
        from ase.data import atomic_numbers

        if not isinstance(self.composition, Mapping):
            raise InputError(
                f"the composition is {self.composition!r}, not a dictionary",
                hint="give atomic fractions such as {'Cu': 0.46, 'Zr': 0.46, 'Al': 0.08}",
            )
        if not self.composition:
            raise InputError(
                "the composition is empty",
                hint="give atomic fractions such as {'Cu': 0.46, 'Zr': 0.46, 'Al': 0.08}",
            )
        for symbol, fraction in self.composition.items():
            if atomic_numbers.get(symbol, 0) < 1:
                raise InputError(
                    f"{symbol!r} is not a chemical element",
                    hint="give symbols as in the periodic table, such as 'Zr'",
                )
            if not isinstance(fraction, Real) or not 0.0 < fraction <= 1.0:
                raise InputError(
                    f"the fraction of {symbol} is {fraction!r} but must be a number in (0, 1]",
                    hint="leave out elements that are absent",
                )
        total = sum(self.composition.values())
        if abs(total - 1.0) > _COMPOSITION_TOLERANCE:
            raise InputError(
                f"the composition {_formula(self.composition)} sums to {total:g}, not to one",
                hint="give atomic fractions, or use Alloy.from_formula",
            )
        if not isinstance(self.n_atoms, Integral):
            raise InputError(
                f"n_atoms is {self.n_atoms!r} but must be an integer",
                hint="give a number such as 150",
            )
        if self.n_atoms < len(self.composition):
            raise InputError(
                f"{self.n_atoms} atoms cannot hold {len(self.composition)} species",
                hint="raise n_atoms",
            )
        if not isinstance(self.number_density, Real) or not 0.0 < self.number_density < math.inf:
            raise InputError(
                f"the number density is {self.number_density!r} but must be positive",
                hint="typical metals have 0.04 to 0.09 atoms/A^3",
            )
        if self.glass_mass_density is not None and not 0.1 < self.glass_mass_density < 30.0:
            raise InputError(
                f"the glass density is {self.glass_mass_density:g} g/cm^3, but must lie "
                "between 0.1 and 30 g/cm^3",
                hint="give a value such as 7.1, or none",
            )
        empty = [symbol for symbol, count in self.counts.items() if count == 0]
        if empty:
            raise InputError(
                f"{self.n_atoms} atoms leave no atom of {', '.join(empty)}",
                hint="raise n_atoms or the fraction",
            )
        if not self.name:
            object.__setattr__(self, "name", self.formula)

    @classmethod
    def cuzral(cls, n_atoms: int = 150) -> Alloy:
        """Cu46Zr46Al8 at the paper's density.

        rho* = 1.75 sigma_ZrZr^-3 with sigma_ZrZr = 2.932 A (Methods, "Lennard-Jones surrogate
        model").

        For 150 atoms the box is 12.9275 A wide and holds 69 Cu, 69 Zr and 12 Al.
        """
        return cls(
            {"Cu": 0.46, "Zr": 0.46, "Al": 0.08}, n_atoms=n_atoms, number_density=1.75 / 2.932**3
        )

    @classmethod
    def from_formula(
        cls,
        formula: str,
        *,
        n_atoms: int = 150,
        number_density: float | None = None,
        mass_density: float | None = None,
        box_length: float | None = None,
    ) -> Alloy:
        """Make an alloy from a formula such as ``"Cu46Zr46Al8"`` and a density.

        Parameters
        ----------
        formula
            Symbols with amounts in any common unit; they are normalised.
        n_atoms
            Number of atoms in one sample.
        number_density, mass_density, box_length
            Exactly one: atoms per A^3, g/cm^3, or the edge of the cubic box in A.
        """
        parts = _FORMULA.findall(formula)
        if not parts or "".join(symbol + amount for symbol, amount in parts) != formula:
            raise InputError(
                f"the formula {formula!r} cannot be read", hint="write it like 'Cu46Zr46Al8'"
            )
        amounts: dict[str, float] = {}
        for symbol, amount in parts:
            if symbol in amounts:
                raise InputError(
                    f"the formula {formula!r} contains {symbol} twice",
                    hint="give each element once",
                )
            amounts[symbol] = float(amount or 1.0)
        total = sum(amounts.values())
        if total <= 0.0:
            raise InputError(
                f"the amounts of the formula {formula!r} sum to {total:g}",
                hint="give positive amounts, such as 'Cu46Zr46Al8'",
            )
        composition = {symbol: amount / total for symbol, amount in amounts.items()}
        densities = {
            "number_density": number_density,
            "mass_density": mass_density,
            "box_length": box_length,
        }
        given = {name: value for name, value in densities.items() if value is not None}
        if len(given) != 1:
            raise InputError(
                f"{len(given)} densities are given for {formula}",
                hint="give exactly one of number_density, mass_density and box_length",
            )
        for name, value in given.items():
            if not isinstance(value, Real) or not 0.0 < value < math.inf:
                raise InputError(
                    f"{name} is {value!r} but must be a positive number",
                    hint="the paper's box of 150 atoms is 12.93 A wide and has 8.46 g/cm^3",
                )
        if number_density is None:
            if box_length is not None:
                number_density = n_atoms / box_length**3
            else:
                assert mass_density is not None
                number_density = units.number_density(mass_density, _mean_mass(composition))
        return cls(composition, n_atoms=n_atoms, number_density=number_density, name=formula)

    def as_dict(self) -> dict[str, Any]:
        """The alloy as plain Python values, with the keys that monty needs to find the class."""
        return {"@module": type(self).__module__, "@class": type(self).__name__, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Alloy:
        """Invert :meth:`as_dict`."""
        return cls(**{key: value for key, value in data.items() if not key.startswith("@")})

    @property
    def species(self) -> tuple[str, ...]:
        """Element symbols in the order of the composition."""
        return tuple(self.composition)

    @property
    def counts(self) -> dict[str, int]:
        """Number of atoms of each species.

        The composition times ``n_atoms``, rounded by largest remainder so that the sum is exact.
        """
        exact = np.array(list(self.composition.values())) * self.n_atoms
        counts = np.floor(exact + 1e-9).astype(int)
        for index in np.argsort(counts - exact, kind="stable")[: self.n_atoms - int(counts.sum())]:
            counts[index] += 1
        return {symbol: int(count) for symbol, count in zip(self.composition, counts, strict=True)}

    @property
    def symbols(self) -> list[str]:
        """``n_atoms`` element symbols, grouped by species."""
        return [symbol for symbol, count in self.counts.items() for _ in range(count)]

    @property
    def box_length(self) -> float:
        """Edge of the cubic box in A."""
        return float((self.n_atoms / self.number_density) ** (1.0 / 3.0))

    @property
    def mass_density(self) -> float:
        """Density of the surrogate samples in g/cm^3."""
        return units.mass_density(self.number_density, _mean_mass(self.composition))

    @property
    def formula(self) -> str:
        """Formula in atomic percent, such as ``Cu46Zr46Al8``."""
        return _formula(self.composition)


def _formula(composition: dict[str, float]) -> str:
    return "".join(f"{symbol}{100 * fraction:.4g}" for symbol, fraction in composition.items())


def _mean_mass(composition: dict[str, float]) -> float:
    """Mean atomic mass in u, from ASE's table of standard atomic weights."""
    from ase.data import atomic_masses, atomic_numbers

    unknown = [symbol for symbol in composition if atomic_numbers.get(symbol, 0) < 1]
    if unknown:
        raise InputError(
            f"{unknown[0]!r} is not a chemical element",
            hint="give symbols as in the periodic table, such as 'Zr'",
        )
    return float(
        sum(
            fraction * atomic_masses[atomic_numbers[symbol]]
            for symbol, fraction in composition.items()
        )
    )
