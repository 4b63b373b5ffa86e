"""Monte Carlo exchanges of unlike atoms between steps of molecular dynamics.

With exchanges a liquid crosses barriers much faster than by diffusion: together with a thermostat
they sample the canonical ensemble and reach deeper glasses than dynamics alone (Berthier et al., J.
Stat. Mech. 2019, 064004, doi:10.1088/1742-5468/ab1910). Two atoms of different elements exchange
positions and keep their velocities, so that the kinetic energy is unchanged and the Metropolis rule
uses the change of the potential energy.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mgflows import units
from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from numpy.typing import NDArray

    from mgflows.md.potentials import Potential

__all__ = ["CalculatorExchanges", "ExchangeSettings", "Exchanges", "exchanges_for"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExchangeSettings:
    """Frequency of trial exchanges.

    Parameters
    ----------
    interval
        fs between two blocks of trials.
    trials_per_atom
        Trials of a block, per atom of the cell.
    pairs
        Pairs of elements that are exchanged, each tried equally often; None: all unlike pairs.

    Raises
    ------
    InputError
        For an interval or a number of trials that is not positive, or a pair of like elements.
    """

    interval: float = 100.0
    trials_per_atom: float = 1.0
    pairs: tuple[tuple[str, str], ...] | None = None

    def __post_init__(self) -> None:
        for name, value in (("interval", self.interval), ("trials_per_atom", self.trials_per_atom)):
            if not (np.isfinite(value) and value > 0.0):
                raise InputError(
                    f"the {name} of exchanges is {value:g} but must be positive",
                    hint="an interval of 100 fs and 1 trial per atom are usual",
                )
        if self.pairs is None:
            return
        # JSON, in which settings are stored, makes lists of tuples.
        object.__setattr__(self, "pairs", tuple((str(a), str(b)) for a, b in self.pairs))
        if not self.pairs or any(a == b for a, b in self.pairs):
            raise InputError(
                f"the pairs of elements {self.pairs} cannot be exchanged",
                hint="name pairs of different elements, such as (('Cu', 'Al'), ('Zr', 'Al'))",
            )

    def pairs_of(self, symbols: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """The pairs that are exchanged in a structure.

        Raises
        ------
        InputError
            If the structure has only one element, or lacks an element of a pair.
        """
        present = tuple(dict.fromkeys(symbols))
        if self.pairs is None:
            if len(present) < 2:
                raise InputError(
                    f"a structure of {', '.join(present)} alone has nothing to exchange",
                    hint="run it without exchanges",
                )
            return tuple(itertools.combinations(present, 2))
        missing = sorted({symbol for pair in self.pairs for symbol in pair} - set(present))
        if missing:
            raise InputError(
                f"{', '.join(missing)} of the pairs to exchange is not in the structure",
                hint=f"it has {', '.join(present)}",
            )
        return self.pairs

    def steps(self, timestep: float) -> int:
        """Steps of ``timestep`` fs between two blocks, at least one."""
        return max(round(self.interval / timestep), 1)

    def n_trials(self, n_atoms: int) -> int:
        """Trials of a block, at least one."""
        return max(round(self.trials_per_atom * n_atoms), 1)


class Exchanges(Protocol):
    """Exchanges under one potential, for structures of the same atoms in the same order."""

    def run(
        self,
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
        trials: NDArray[np.float64],
        *,
        temperature: float,
        pairs: Sequence[tuple[str, str]],
        counts: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], float]:
        """As :meth:`mgflows.nep.exchanges.NepExchanges.run`."""


class CalculatorExchanges:
    """Exchanges under any ASE calculator; every trial evaluates the whole structure.

    Parameters
    ----------
    atoms
        Structure with a calculator.
    """

    def __init__(self, atoms: Atoms) -> None:
        self._atoms = atoms.copy()
        self._atoms.calc = atoms.calc
        symbols = np.array(atoms.get_chemical_symbols())
        self._members = {symbol: np.flatnonzero(symbols == symbol) for symbol in set(symbols)}

    def run(
        self,
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
        trials: NDArray[np.float64],
        *,
        temperature: float,
        pairs: Sequence[tuple[str, str]],
        counts: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], float]:
        """As :meth:`mgflows.nep.exchanges.NepExchanges.run`."""
        order = np.arange(len(positions))
        self._atoms.set_cell(cell)
        before = start = self._energy(positions)
        for first, second, third, last in trials:
            pair = int(first * len(pairs))
            one, other = (self._members[symbol] for symbol in pairs[pair])
            i, j = one[int(second * len(one))], other[int(third * len(other))]
            counts[pair, 0] += 1
            order[[i, j]] = order[[j, i]]
            after = self._energy(positions[order])
            change = after - before
            if change <= 0.0 or last < np.exp(-change / (units.BOLTZMANN * temperature)):
                counts[pair, 1] += 1
                before = after
            else:
                order[[i, j]] = order[[j, i]]
        return order, before - start

    def _energy(self, positions: NDArray[np.float64]) -> float:
        self._atoms.positions = positions
        return float(self._atoms.get_potential_energy())


def exchanges_for(potential: Potential, atoms: Atoms) -> Exchanges:
    """Return the fastest implementation of exchanges for a potential.

    Parameters
    ----------
    potential
        For a NEP, local energy differences are used if the implementation in mgflows can evaluate
        it.
    atoms
        Structure with a calculator of this potential.
    """
    from mgflows.md.potentials import NepPotential

    if isinstance(potential, NepPotential):
        from mgflows.nep.exchanges import NepExchanges

        try:
            return NepExchanges(potential.text, atoms.get_chemical_symbols())
        except InputError as error:
            logger.info("exchanges evaluate the whole structure: %s", error)
    return CalculatorExchanges(atoms)
