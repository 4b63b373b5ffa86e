"""Fast calculators with known results, and a structure without symmetry."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.data import atomic_numbers

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms


def lennard_jones(
    *symbols: str, epsilon: float = 0.4, sigma: float = 2.34, cutoff: float = 5.85
) -> Calculator:
    """Pair potential, equal for all species, smooth to the second derivative at the cutoff."""
    from matscipy.calculators.pair_potential import LennardJonesQuadratic, PairPotential

    numbers = [atomic_numbers[symbol] for symbol in symbols]
    return PairPotential(
        {(a, b): LennardJonesQuadratic(epsilon, sigma, cutoff) for a in numbers for b in numbers}
    )


def lennard_jones_of(symbols: list[str]) -> Calculator:
    """:func:`lennard_jones` with arguments that JSON can hold."""
    return lennard_jones(*symbols)


def disordered_atoms() -> Atoms:
    """48 atoms at random positions with a minimum distance."""
    atoms = bulk("Cu", "bcc", a=3.0, cubic=True).repeat((3, 2, 4))
    atoms.symbols[::2] = "Zr"
    atoms.rattle(1.0, seed=3)
    return atoms


class IdealGas(Calculator):
    """No interaction: the pressure is purely kinetic."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms=None, properties=None, system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.results = {
            "energy": 0.0,
            "forces": np.zeros((len(self.atoms), 3)),
            "stress": np.zeros(6),
        }


class DimerEnergy(Calculator):
    """Energy of two atoms as a given function of their distance."""

    implemented_properties = ("energy",)

    def __init__(self, function: Callable[[float], float]) -> None:
        super().__init__()
        self.function = function

    def calculate(self, atoms=None, properties=None, system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": self.function(self.atoms.get_distance(0, 1))}


class Noise(Calculator):
    """Forces that no minimisation can satisfy."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self) -> None:
        super().__init__()
        self.generator = np.random.default_rng(0)

    def calculate(self, atoms=None, properties=None, system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.results = {
            "energy": self.generator.normal(),
            "forces": self.generator.normal(size=(len(self.atoms), 3)),
            "stress": np.zeros(6),
        }


def talkative() -> Calculator:
    """A calculator that prints when it is built, as some with neural networks do."""
    sys.stdout.write("ready\n")
    return lennard_jones("Cu", "Zr")
