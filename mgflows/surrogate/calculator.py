"""The surrogate as an ASE calculator, exact for cells of any size, periodic or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from mgflows.errors import InputError
from mgflows.geometry import SHORTEST_DISTANCE, check_distances, check_geometry, compact_cell
from mgflows.surrogate.kernels.any_cell import image_sum

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

__all__ = ["LennardJonesCalculator", "LennardJonesResult", "PairParameters", "evaluate"]


class PairParameters(Protocol):
    """The parameters of :class:`mgflows.surrogate.LennardJones` for the sum over pairs."""

    @property
    def sigma(self) -> NDArray[np.float64]:
        """(n_species, n_species) in A."""

    @property
    def epsilon(self) -> NDArray[np.float64]:
        """(n_species, n_species) in eV."""

    @property
    def cutoff_factor(self) -> float:
        """Cutoff of each pair over its sigma."""

    @property
    def cutoff(self) -> NDArray[np.float64]:
        """(n_species, n_species) in A."""

    def types(self, atoms: Atoms) -> NDArray[np.int64]:
        """Indices of the species of the atoms."""


@dataclass(frozen=True)
class LennardJonesResult:
    """Energies, forces and virial of one configuration.

    Parameters
    ----------
    energies
        (n,) energies of the atoms in eV.
    forces
        (n, 3) forces in eV/A.
    virial
        (3, 3) virial in eV per cell, positive when compressed.
    """

    energies: NDArray[np.float64]
    forces: NDArray[np.float64]
    virial: NDArray[np.float64]

    @property
    def energy(self) -> float:
        """Potential energy in eV."""
        return float(self.energies.sum())


def evaluate(lj: PairParameters, atoms: Atoms) -> LennardJonesResult:
    """Energies, forces and virial of a configuration in any cell, by an explicit sum over images.

    Raises
    ------
    InputError
        For a species without parameters, a periodic direction without a cell vector, positions or
        cell vectors that are not finite, or coincident atoms.
    """
    types = lj.types(atoms)
    positions = np.ascontiguousarray(atoms.positions, dtype=float)
    check_geometry(atoms, "the configuration")
    periodic = np.array(atoms.pbc, dtype=np.bool_)
    if np.any(periodic & ~atoms.cell.any(axis=1)):
        raise InputError(
            "the configuration is periodic along a cell vector of zero length",
            hint="set the cell, or pbc=False along that direction",
        )
    cell = compact_cell(atoms) if periodic.all() else atoms.cell.complete().array
    cell = np.ascontiguousarray(cell, dtype=float)
    inverse = np.ascontiguousarray(np.linalg.inv(cell))
    heights = 1.0 / np.linalg.norm(inverse, axis=0)
    largest = float(lj.cutoff.max())
    # More bins than atoms would only add empty bins.
    most = max(1, int(len(atoms) ** (1.0 / 3.0)) + 1)
    n_bins = np.clip((heights / largest).astype(np.int64), 1, most)
    reach = np.ceil(largest * n_bins / heights).astype(np.int64)
    reach[~periodic] = np.minimum(reach[~periodic], n_bins[~periodic] - 1)
    energies, forces, virial = image_sum(
        positions,
        types,
        cell,
        inverse,
        periodic,
        n_bins,
        reach,
        lj.sigma,
        lj.epsilon,
        float(lj.cutoff_factor),
        SHORTEST_DISTANCE,
    )
    if not np.isfinite(energies).all():
        check_distances(atoms, "the configuration")
        raise InputError(
            "the energy of the configuration is not finite",
            hint="check the distances between its atoms",
        )
    return LennardJonesResult(energies, forces, virial)


class LennardJonesCalculator(Calculator):
    """The truncated and shifted Lennard-Jones mixture for ASE.

    Parameters
    ----------
    lj
        The pair tables.

    Notes
    -----
    Energies are in eV, forces in eV/A and stresses in eV/A^3 with the ASE sign (positive when
    stretched). The stress is only available for cells that are periodic in three directions.
    """

    implemented_properties: ClassVar[list[str]] = [
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
    ]

    def __init__(self, lj: PairParameters) -> None:
        super().__init__()
        self.lj = lj

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill ``results`` for the atoms."""
        super().calculate(atoms, properties, system_changes)
        result = evaluate(self.lj, self.atoms)
        results: dict[str, Any] = {
            "energy": result.energy,
            "free_energy": result.energy,
            "energies": result.energies,
            "forces": result.forces,
        }
        if np.all(self.atoms.pbc):
            stress = -result.virial / self.atoms.get_volume()
            results["stress"] = stress.flat[[0, 4, 8, 5, 2, 1]]
        self.results = results
