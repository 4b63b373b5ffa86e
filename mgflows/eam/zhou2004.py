"""The embedded-atom model of Zhou, Johnson and Wadley, Phys. Rev. B 69, 144113 (2004).

doi:10.1103/PhysRevB.69.144113. Sixteen fcc, bcc and hcp metals in one analytic form, with Johnson's
mixing rule for unlike pairs (Phys. Rev. B 39, 12554 (1989)). The elements are fitted to their
crystals. Nothing is fitted to alloys, whose formation energies can be far off.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np

from mgflows.eam.model import EmbeddedAtomModel, pair_key
from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["CUTOFF", "ZhouElement", "johnson_pair", "zhou_element", "zhou_elements", "zhou_model"]

CUTOFF = 8.0
"""A. The functions decay as exp(-beta r / r_e) r^-20 and do not vanish at any finite distance.

At 8 A no density is above 4e-7 of its value at r_e.
"""


@dataclass(frozen=True)
class ZhouElement:
    """The functions of one element: equations 1, 2 and 4 of the paper, names as in its Table III.

    Parameters
    ----------
    structure
        Ground state: "fcc", "bcc" or "hcp".
    r_e
        Nearest-neighbour distance of the ground state in A.
    f_e, rho_e, rho_s
        Electron density at r_e, and the densities that scale the embedding function, in a common
        arbitrary unit.
    alpha, beta, kappa, lam
        Decay and cutoff parameters of attraction, repulsion and density, dimensionless.
    A, B
        Strengths of repulsion and attraction in eV.
    F_n
        Cubic of the embedding function below rho_n, in eV.
    F
        Cubic between rho_n and rho_0, in eV.
    eta, F_e
        Exponent, and strength in eV, of the embedding function above rho_0.
    rho_n_over_rho_e
        0.85, except for Pt.
    """

    structure: str
    r_e: float
    f_e: float
    rho_e: float
    rho_s: float
    alpha: float
    beta: float
    A: float
    B: float
    kappa: float
    lam: float
    F_n: tuple[float, float, float, float]
    F: tuple[float, float, float, float]
    eta: float
    F_e: float
    rho_n_over_rho_e: float = 0.85

    @property
    def lattice_constant(self) -> float:
        """Cubic lattice constant, or a of the hexagonal cell, in A, from r_e."""
        return (
            self.r_e
            * {"fcc": math.sqrt(2.0), "bcc": 2.0 / math.sqrt(3.0), "hcp": 1.0}[self.structure]
        )

    def density(self, r: NDArray[np.float64]) -> NDArray[np.float64]:
        """Electron density f at distances `r` in A.

        A decaying exponential with the paper's cutoff factor.
        """
        x = np.asarray(r, dtype=float) / self.r_e
        return self.f_e * np.exp(-self.beta * (x - 1.0)) / (1.0 + (x - self.lam) ** 20)

    def pair(self, r: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pair energy phi in eV at distances ``r`` in A."""
        x = np.asarray(r, dtype=float) / self.r_e
        repulsion = self.A * np.exp(-self.alpha * (x - 1.0)) / (1.0 + (x - self.kappa) ** 20)
        return repulsion - self.B * np.exp(-self.beta * (x - 1.0)) / (1.0 + (x - self.lam) ** 20)

    def embedding(self, rho: NDArray[np.float64]) -> NDArray[np.float64]:
        """Embedding energy F in eV at electron densities `rho`.

        Two cubics and a power law, joined at rho_n and rho_0 = 1.15 rho_e.
        """
        rho = np.asarray(rho, dtype=float)
        rho_n, rho_0 = self.rho_n_over_rho_e * self.rho_e, 1.15 * self.rho_e
        low = np.polynomial.polynomial.polyval(rho / rho_n - 1.0, self.F_n)
        middle = np.polynomial.polynomial.polyval(rho / self.rho_e - 1.0, self.F)
        # The power law is singular at rho = 0, where it is not used.
        scaled = np.maximum(rho, rho_0) / self.rho_s
        high = self.F_e * (1.0 - self.eta * np.log(scaled)) * scaled**self.eta
        return np.select([rho < rho_n, rho < rho_0], [low, middle], high)


@cache
def zhou_elements() -> dict[str, ZhouElement]:
    """The sixteen elements of the paper's Table III, by symbol (``zhou2004.json``).

    Pt joins its two cubics at 0.25 rho_e: at the 0.85 rho_e of the others they differ by 2.6 eV.
    """
    table = json.loads(
        resources.files(__package__).joinpath("zhou2004.json").read_text(encoding="utf-8")
    )
    return {
        symbol: ZhouElement(**{**row, "F_n": tuple(row["F_n"]), "F": tuple(row["F"])})
        for symbol, row in table.items()
    }


def johnson_pair(
    first: ZhouElement, second: ZhouElement, r: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Pair energy in eV of two unlike atoms (equation 3 of the paper).

    Each element's own pair energy, weighted with the ratio of their densities.
    """
    density_ratio = second.density(r) / first.density(r)
    return 0.5 * (density_ratio * first.pair(r) + second.pair(r) / density_ratio)


def zhou_model(species: Sequence[str]) -> EmbeddedAtomModel:
    """The published model for `species`, with Johnson's mixing rule between them.

    Raises
    ------
    InputError
        For an element that the paper lacks.
    """
    elements = {symbol: zhou_element(symbol) for symbol in species}
    pairs = {
        pair_key(first, second): (elements[first], elements[second])
        for first, second in combinations_with_replacement(elements, 2)
    }
    return EmbeddedAtomModel(
        species=tuple(elements),
        embedding={symbol: element.embedding for symbol, element in elements.items()},
        density={symbol: element.density for symbol, element in elements.items()},
        pair={
            key: first.pair if first is second else partial(johnson_pair, first, second)
            for key, (first, second) in pairs.items()
        },
        reference_crystals={
            symbol: (element.structure, element.lattice_constant)
            for symbol, element in elements.items()
        },
        cutoff=CUTOFF,
    )


def zhou_element(symbol: str) -> ZhouElement:
    """One element of :func:`zhou_elements`.

    Raises
    ------
    InputError
        If the paper lacks it.
    """
    elements = zhou_elements()
    if symbol not in elements:
        raise InputError(
            f"the embedded-atom model of Zhou et al. (2004) has no {symbol!r}",
            hint=f"choose from {', '.join(elements)}",
        )
    return elements[symbol]
