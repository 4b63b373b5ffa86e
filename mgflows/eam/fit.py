"""The fit of the stand-in: three unlike pairs from the formation energies and volumes of crystals.

The three cubic crystals have no internal degrees of freedom, and each adds one pair to those
already fitted. The fit is therefore three times two equations in two unknowns: at the target volume
the energy is the target energy and the pressure is zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mgflows.eam.stand_in import CrossPair, stand_in_model
from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ase import Atoms
    from numpy.typing import NDArray

    from mgflows.eam.model import EmbeddedAtomModel

__all__ = [
    "TARGETS",
    "CrystalTarget",
    "ElementGroundState",
    "fit_cross_pairs",
    "formation_energy",
    "relax_cubic",
    "relax_element",
]

_VOLUME_STEP = 1e-3
"""Relative step in volume for the pressure, from energies on both sides."""


@dataclass(frozen=True)
class CrystalTarget:
    """Target energy and volume of one crystal.

    Parameters
    ----------
    name
        Composition and Strukturbericht symbol.
    pair
        The unlike pair that is fitted to it.
    symbols, scaled_positions
        The primitive or simple cubic cell.
    cell
        Its vectors for a cubic lattice constant of one, (3, 3).
    formation_energy
        eV/atom, from the elements in their ground states.
    volume
        A^3/atom.
    """

    name: str
    pair: tuple[str, str]
    symbols: str
    scaled_positions: tuple[tuple[float, float, float], ...]
    cell: tuple[tuple[float, float, float], ...]
    formation_energy: float
    volume: float

    def atoms(self, volume: float | None = None) -> Atoms:
        """The crystal at ``volume`` in A^3/atom, by default that of the target."""
        from ase import Atoms

        atoms = Atoms(
            self.symbols, cell=self.cell, scaled_positions=self.scaled_positions, pbc=True
        )
        return _with_volume(atoms, self.volume if volume is None else volume)


_CUBIC = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_FACE_CENTRED = ((0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0))

TARGETS: tuple[CrystalTarget, ...] = (
    CrystalTarget(
        "CuZr B2", ("Cu", "Zr"), "CuZr", ((0.0, 0.0, 0.0), (0.5, 0.5, 0.5)), _CUBIC, -0.12, 17.48
    ),
    CrystalTarget(
        "ZrAl3 L1_2",
        ("Al", "Zr"),
        "ZrAl3",
        ((0.0, 0.0, 0.0), (0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0)),
        _CUBIC,
        -0.52,
        17.36,
    ),
    CrystalTarget(
        "AlCu2Zr L2_1",
        ("Al", "Cu"),
        "AlZrCu2",
        ((0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), (0.75, 0.75, 0.75)),
        _FACE_CENTRED,
        -0.31,
        15.48,
    ),
)
"""Formation energies and volumes near those of the UNEP-v1 potential, in the order of the fit.

UNEP-v1 (Song et al., Nat. Commun. 15, 10208 (2024)) was fitted to PBE. AlCu2Zr has all three pairs.
The targets make the stand-in a reasonable alloy, not an accurate one.
"""


@dataclass(frozen=True)
class ElementGroundState:
    """A relaxed element.

    Parameters
    ----------
    energy
        eV/atom.
    volume
        A^3/atom.
    a, c
        Lattice constants in A; equal for cubic crystals.
    """

    energy: float
    volume: float
    a: float
    c: float


def fit_cross_pairs(targets: Sequence[CrystalTarget] = TARGETS) -> dict[tuple[str, str], CrossPair]:
    """Fit scale and stretch of each unlike pair to the target crystals.

    Each target crystal has its target formation energy and zero pressure at its target volume.

    Parameters
    ----------
    targets
        The crystals, in an order in which each adds one pair.

    Raises
    ------
    InputError
        If no scale and stretch near one give a target.
    """
    symbols = {symbol for target in targets for symbol in target.atoms().get_chemical_symbols()}
    references = {
        symbol: relax_element(stand_in_model([symbol]), symbol).energy for symbol in sorted(symbols)
    }
    fitted: dict[tuple[str, str], CrossPair] = {}
    for target in targets:
        fitted[target.pair] = _fit_pair(target, fitted, references)
    return fitted


def _fit_pair(
    target: CrystalTarget,
    known: Mapping[tuple[str, str], CrossPair],
    references: Mapping[str, float],
) -> CrossPair:
    from scipy.optimize import root

    crystals = [
        target.atoms(target.volume * (1.0 + step)) for step in (-_VOLUME_STEP, 0.0, _VOLUME_STEP)
    ]
    symbols = crystals[0].get_chemical_symbols()

    def energies(parameters: NDArray[np.float64]) -> list[float]:
        scale, stretch = parameters.tolist()
        model = stand_in_model(
            sorted(set(symbols)), cross_pairs={**known, target.pair: CrossPair(scale, stretch)}
        )
        return [model.energy(crystal) / len(crystal) for crystal in crystals]

    def deviation(parameters: NDArray[np.float64]) -> list[float]:
        smaller, at_target, larger = energies(parameters)
        return [
            formation_energy(at_target, symbols, references) - target.formation_energy,
            (larger - smaller) / (2.0 * _VOLUME_STEP),
        ]

    solution = root(deviation, [1.0, 1.0], tol=1e-10)
    smaller, at_target, larger = energies(solution.x)
    # The pressure is also zero at the top of a barrier.
    if not (solution.success and min(smaller, larger) > at_target):
        raise InputError(
            f"no pair function gives {target.name} {target.formation_energy:g} eV/atom at "
            f"{target.volume:g} A^3/atom",
            hint="change the target, or use a crystal that Johnson's rule describes better",
        )
    return CrossPair(*solution.x.tolist())


def formation_energy(
    energy: float, symbols: Sequence[str], references: Mapping[str, float]
) -> float:
    """Formation energy in eV/atom.

    Parameters
    ----------
    energy
        Energy of the crystal, eV/atom.
    symbols
        Its atoms.
    references
        Energies of the elements, eV/atom.
    """
    return energy - float(np.mean([references[symbol] for symbol in symbols]))


def relax_cubic(model: EmbeddedAtomModel, atoms: Atoms) -> tuple[float, float]:
    """Lowest energy (eV/atom) under isotropic compression of `atoms`, and its volume (A^3/atom)."""
    from scipy.optimize import minimize_scalar

    start = atoms.get_volume() / len(atoms)
    result = minimize_scalar(
        lambda volume: model.energy(_with_volume(atoms, volume)) / len(atoms),
        bounds=(0.8 * start, 1.25 * start),
        method="bounded",
    )
    return float(result.fun), float(result.x)


def relax_element(model: EmbeddedAtomModel, symbol: str) -> ElementGroundState:
    """The ground-state crystal of one element, with its lattice constants relaxed."""
    from ase.build import bulk
    from scipy.optimize import minimize

    structure, a = model.reference_crystals[symbol]
    if structure != "hcp":
        crystal = bulk(symbol, structure, a=a)
        energy, volume = relax_cubic(model, crystal)
        a *= (volume * len(crystal) / crystal.get_volume()) ** (1.0 / 3.0)
        return ElementGroundState(energy, volume, float(a), float(a))
    ideal = np.sqrt(8.0 / 3.0)
    result = minimize(
        lambda x: model.energy(bulk(symbol, "hcp", a=x[0], c=x[1])) / 2.0,
        [a, ideal * a],
        method="Nelder-Mead",
        options={"xatol": 1e-5, "fatol": 1e-10},
    )
    a, c = result.x.tolist()
    return ElementGroundState(float(result.fun), float(np.sqrt(3.0) / 4.0 * a * a * c), a, c)


def _with_volume(atoms: Atoms, volume: float) -> Atoms:
    scaled = atoms.copy()
    scaled.set_cell(
        atoms.cell * (volume * len(atoms) / atoms.get_volume()) ** (1.0 / 3.0), scale_atoms=True
    )
    return scaled
