"""Monte Carlo exchanges of unlike atoms under a NEP, with local energy differences.

A trial evaluates the site energies of two atoms and their neighbours. The cost does not depend on
the size of the cell, whereas LAMMPS' ``fix atom/swap`` evaluates all atoms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mgflows import units
from mgflows.nep.training.exchange_kernels import Model, compile_exchanges
from mgflows.nep.training.model import NepModel
from mgflows.nep.training.zbl import pair_cutoffs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["NepExchanges"]


class NepExchanges:
    """Exchanges in structures of the same atoms in the same order.

    Parameters
    ----------
    text
        ``nep.txt``.
    symbols
        Element of each atom.

    Raises
    ------
    InputError
        For a potential with another architecture than those of
        :class:`~mgflows.nep.NepTrainer`.
    """

    def __init__(self, text: str, symbols: Sequence[str]) -> None:
        self.species = tuple(dict.fromkeys(symbols))
        model = NepModel.from_text(text, self.species)
        self._model = Model(
            model.flat,
            model.scaler,
            np.array(model.parameters.cutoff, dtype=float),
            *pair_cutoffs(model.parameters),
        )
        self._kernels = compile_exchanges(model.shape)
        kinds = {symbol: kind for kind, symbol in enumerate(self.species)}
        self._kinds = np.array([kinds[symbol] for symbol in symbols], dtype=np.int32)
        self._n_members = np.bincount(self._kinds, minlength=len(self.species))
        self._members = np.zeros((len(self.species), int(self._n_members.max())), dtype=np.int64)
        for kind, n in enumerate(self._n_members):
            self._members[kind, :n] = np.flatnonzero(self._kinds == kind)

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
        """Try exchanges at fixed positions.

        Parameters
        ----------
        positions, cell
            (n, 3) and (3, 3) in A.
        trials
            (n_trials, 4) random numbers in [0, 1): for the pair of species, its two atoms, and
            the acceptance.
        temperature
            K.
        pairs
            Unlike species, each of which is tried with the same probability.
        counts
            (n_pairs, 2) trials and accepted ones, to which these are added.

        Returns
        -------
        order
            (n,): atom i is now at ``positions[order[i]]``.
        change
            Change of the potential energy, eV.
        """
        places = self._kernels.survey(
            np.ascontiguousarray(positions), np.ascontiguousarray(cell), self._kinds, self._model
        )
        order = np.arange(len(positions))
        kinds = np.array([[self.species.index(symbol) for symbol in pair] for pair in pairs])
        change = self._kernels.exchange(
            trials,
            1.0 / (units.BOLTZMANN * temperature),
            kinds,
            self._members,
            self._n_members,
            self._model,
            places,
            order,
            counts,
        )
        return order, float(change)
