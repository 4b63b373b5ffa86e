"""Evaluation of forces on arrays, which the integrators call at every step.

ASE's calculators compare the structure with the last one, copy it and convert units at every
call. For a NEP of 150 atoms that costs a third of the evaluation; an integrator changes all
positions at every step and evaluates it on arrays instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from mgflows.errors import PotentialFailureError

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

__all__ = ["Evaluation", "ForceField", "force_field", "volume"]


class Evaluation(NamedTuple):
    """Energy in eV, (n, 3) forces in eV/A and (3, 3) stress in eV/A^3 with ASE's sign.

    The stress is the derivative of the energy: without the kinetic part.
    """

    energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64]


class ForceField(Protocol):
    """Evaluates the current positions and cell of an :class:`~ase.Atoms` object."""

    def __call__(self, atoms: Atoms) -> Evaluation:
        """Evaluate ``atoms``, whose species are always the same."""


def volume(cell: NDArray[np.float64]) -> float:
    """Volume in A^3 of a cell, faster than a determinant."""
    a, b, c = cell.tolist()
    return abs(
        a[0] * (b[1] * c[2] - b[2] * c[1])
        - a[1] * (b[0] * c[2] - b[2] * c[0])
        + a[2] * (b[0] * c[1] - b[1] * c[0])
    )


def force_field(atoms: Atoms) -> ForceField:
    """Return the fastest evaluation of a structure with its calculator.

    Parameters
    ----------
    atoms
        Structure with a calculator. The force field is for structures with the same species in
        the same order.
    """
    model = getattr(atoms.calc, "_calc", None)
    if type(model).__module__.partition(".")[0] == "nep_adapters":
        return _NepArrays(atoms)
    return _through_ase


def _through_ase(atoms: Atoms) -> Evaluation:
    stress = atoms.get_stress(voigt=False, include_ideal_gas=False)
    return _checked(Evaluation(float(atoms.get_potential_energy()), atoms.get_forces(), stress))


_PERIODIC = (True, True, True)


class _NepArrays:
    """nep-adapters on arrays, without ASE's bookkeeping."""

    def __init__(self, atoms: Atoms) -> None:
        assert atoms.calc is not None
        self._model = atoms.calc._calc
        self._types = np.ascontiguousarray(self._model.compose_structures([atoms])[0], np.int32)
        self._counts = np.array([len(atoms)], dtype=np.int32)

    def __call__(self, atoms: Atoms) -> Evaluation:
        positions, cell = atoms.positions, atoms.cell.array
        # The compiled code ignores positions that are not numbers.
        if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
            raise PotentialFailureError(
                "positions are not finite; the potential fails for this structure, or the "
                "timestep is too long",
                hint="shorten the timestep, or train the potential on such structures",
            )
        # A box has the lattice vectors as columns: ax bx cx ay by cy az bz cz.
        energies, forces, virials = self._model.model.calculate(
            self._types, cell.T.reshape(9), positions, self._counts, _PERIODIC
        )
        # Virials of the atoms are positive under compression.
        virial = np.asarray(virials, dtype=float).sum(axis=0).reshape(3, 3)
        stress = (virial + virial.T) * (-0.5 / volume(cell))
        energy = float(np.asarray(energies, dtype=float).sum())
        return _checked(Evaluation(energy, np.asarray(forces, dtype=float), stress))


def _checked(found: Evaluation) -> Evaluation:
    if not (np.isfinite(found.forces).all() and np.isfinite(found.stress).all()):
        raise PotentialFailureError(
            "forces or stress are not finite; the potential fails for this structure, or two "
            "atoms are at the same place",
            hint="check the distances between the atoms",
        )
    return found
