"""Labelled structures (frames) and their summaries for queries."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_masses, atomic_numbers
from ase.formula import Formula
from ase.symbols import Symbols
from pydantic import BaseModel, Field, model_validator

from mgflows import units
from mgflows.errors import LabelError
from mgflows.files import digest_of_arrays

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["MAXIMUM_FORCE", "Frame", "FrameRecord", "FrameSummary", "symmetric_stress"]

MAXIMUM_FORCE = 100.0
"""Force (eV/A) above which a label has failed; the paper's most compressed frames are below 20."""


class Frame(BaseModel):
    """One labelled structure in compact form."""

    name: str = Field("", description="name within its set, such as a deformation; or empty")
    step: int | None = Field(None, description="number of the time step of a trajectory, from 1")
    numbers: list[int] = Field(description="(n,) atomic numbers")
    positions: list[list[float]] = Field(description="(n, 3) A")
    cell: list[list[float]] = Field(description="(3, 3) lattice vectors in rows, A")
    energy: float = Field(description="force-consistent free energy of the cell, eV")
    forces: list[list[float]] = Field(description="(n, 3) eV/A")
    stress: list[list[float]] = Field(
        description="(3, 3) eV/A^3, positive under tension, without the ideal-gas part"
    )

    @model_validator(mode="before")
    @classmethod
    def _read_version_0_1(cls, values: Any) -> Any:
        """Version 0.1 stored the step of a trajectory as part of the name only."""
        if isinstance(values, dict) and "step" not in values:
            word, _, number = str(values.get("name", "")).partition(" ")
            if word == "step" and number.isdecimal():
                return values | {"step": int(number)}
        return values

    @classmethod
    def from_atoms(cls, atoms: Atoms, name: str = "", step: int | None = None) -> Self:
        """Make a frame of atoms whose calculator has, or can compute, energy, forces and stress.

        Parameters
        ----------
        atoms
            The labelled atoms.
        name
            Name of the frame within its set; by default ``step N`` for a step of a trajectory.
        step
            Number of the time step, from 1.

        Raises
        ------
        LabelError
            If a result is not finite or has another shape, the stress is not symmetric, or a force
            exceeds :data:`MAXIMUM_FORCE`.
        """
        name = name or ("" if step is None else f"step {step}")
        what = f"{atoms.get_chemical_formula()} {name}".strip()
        energies = np.asarray(_free_energy(atoms), dtype=float)
        forces = np.asarray(atoms.get_forces(apply_constraint=False), dtype=float)
        if energies.size != 1 or forces.shape != (len(atoms), 3):
            raise LabelError(
                f"{what} has {energies.size} energies and forces of shape "
                f"{forces.shape}, not one energy and ({len(atoms)}, 3)",
                hint="check the calculator",
            )
        energy = float(energies.reshape(()))
        # Without constraints the stress is that of the calculator, before ASE averages it.
        stress = units.voigt_to_tensor(symmetric_stress(atoms.calc.get_property("stress", atoms)))
        for quantity, value in (("energy", energy), ("forces", forces), ("stress", stress)):
            if not np.all(np.isfinite(value)):
                raise LabelError(
                    f"the {quantity} of {what} is not finite",
                    hint="check the calculation",
                )
        largest = float(np.linalg.norm(forces, axis=1).max(initial=0.0))
        if largest > MAXIMUM_FORCE:
            raise LabelError(
                f"a force of {largest:.0f} eV/A on {what} exceeds "
                f"{MAXIMUM_FORCE:.0f}: atoms overlap",
                hint="check the structure",
            )
        return cls(
            name=name,
            step=step,
            numbers=[int(number) for number in atoms.numbers],
            positions=atoms.positions.tolist(),
            cell=np.asarray(atoms.cell).tolist(),
            energy=energy,
            forces=forces.tolist(),
            stress=stress.tolist(),
        )

    def to_atoms(self, **info: Any) -> Atoms:
        """Return ASE atoms with a single-point calculator; `info` goes to ``atoms.info``."""
        atoms = Atoms(
            numbers=self.numbers,
            positions=self.positions,
            cell=self.cell,
            pbc=True,
            info=dict(info),
        )
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=self.energy,
            free_energy=self.energy,
            forces=np.array(self.forces),
            stress=units.tensor_to_voigt(self.stress),
        )
        return atoms

    @property
    def energy_per_atom(self) -> float:
        """Energy in eV per atom."""
        return self.energy / len(self.numbers)

    @property
    def volume(self) -> float:
        """Volume of the cell in A^3."""
        return float(abs(np.linalg.det(np.array(self.cell))))

    @property
    def pressure(self) -> float:
        """Pressure in GPa, positive under compression."""
        return units.pressure_from_stress(self.stress)

    @property
    def frame_id(self) -> str:
        """Hash of species, cell, positions and label, rounded to be independent of storage."""
        return digest_of_arrays(
            [
                (self.numbers, 0),
                (self.cell, 6),
                (self.positions, 6),
                ([self.energy], 6),
                (self.forces, 5),
                (self.stress, 8),
            ]
        )

    @property
    def structure_id(self) -> str:
        """Hash of species, cell and positions: the same for two labels of one structure."""
        return digest_of_arrays([(self.numbers, 0), (self.cell, 6), (self.positions, 6)])


class FrameSummary(BaseModel, frozen=True):
    """The fields of a frame that queries use, without its arrays."""

    frame_id: str = Field(description="hash of the frame")
    structure_id: str = Field("", description="hash of the structure without its label")
    name: str = Field("", description="name of the frame within its set")
    n_atoms: int = Field(description="number of atoms")
    energy_per_atom: float = Field(description="eV per atom")
    pressure: float = Field(description="GPa, positive under compression")
    maximum_force: float = Field(description="eV/A")
    formula: str = Field("", description="chemical formula of the cell in Hill's order")
    volume: float | None = Field(None, description="volume of the cell, A^3")
    family: str = Field(
        "", description="family of the frame, where the frames of a job have several; or empty"
    )

    @classmethod
    def from_frame(cls, frame: Frame, family: str = "") -> Self:
        """Summarise a frame.

        Parameters
        ----------
        frame
            The labelled structure.
        family
            Its family, if that is not the family of its job.
        """
        return cls(
            frame_id=frame.frame_id,
            structure_id=frame.structure_id,
            name=frame.name,
            n_atoms=len(frame.numbers),
            energy_per_atom=frame.energy_per_atom,
            pressure=frame.pressure,
            maximum_force=float(np.linalg.norm(frame.forces, axis=1).max()),
            formula=Symbols(np.array(frame.numbers)).get_chemical_formula(),
            volume=frame.volume,
            family=family,
        )

    @property
    def composition(self) -> dict[str, int]:
        """Atoms of each element; empty for summaries of version 0.1."""
        return Formula(self.formula).count()

    @property
    def density(self) -> float:
        """Mass density in g/cm^3; nan for summaries of version 0.1."""
        if self.volume is None:
            return math.nan
        mass = sum(
            atomic_masses[atomic_numbers[symbol]] * count
            for symbol, count in self.composition.items()
        )
        return units.mass_density(self.n_atoms / self.volume, mass / self.n_atoms)


class FrameRecord(FrameSummary, frozen=True):
    """The summary of a frame with its place in the database, as queries return it."""

    campaign: str = Field(description="campaign it belongs to, or empty")
    subset: str = Field(description="step of the paper it comes from, or name of an import")
    log10_time: float | None = Field(
        None, description="log10 of the effective time of its family in t*, where it has one"
    )
    seconds: float | None = Field(
        None, description="effective time of its family in s, where it has one"
    )
    fingerprint_digest: str = Field(description="hash of the method")
    uuid: str = Field(description="job whose output holds it")
    number: int = Field(description="position within that output")


def symmetric_stress(stress: ArrayLike) -> NDArray[np.float64]:
    """Return the Voigt vector of a stress that a code reports.

    Rounding makes the tensors of some codes slightly asymmetric; they are symmetrised.

    Parameters
    ----------
    stress
        (3, 3) tensor or (6,) Voigt vector in ASE's order, eV/A^3.

    Raises
    ------
    LabelError
        If the shape is another one, or components that should be equal differ by more than
        0.01 GPa and 0.1 % of the largest component.
    """
    values = np.asarray(stress, dtype=float)
    if values.shape == (6,):
        return values
    if values.shape != (3, 3):
        raise LabelError(f"the stress has shape {values.shape}, not (3, 3) or (6,)")
    off = float(np.abs(values - values.T).max())
    if off > max(units.gpa_to_ev_per_a3(0.01), 1e-3 * float(np.abs(values).max())):
        raise LabelError(
            f"the stress is not symmetric: two components that should be equal differ by "
            f"{units.ev_per_a3_to_gpa(off):.3g} GPa",
            hint="check the calculator",
        )
    return units.tensor_to_voigt(values)


def _free_energy(atoms: Atoms) -> Any:
    """The energy of which the forces are the gradient; of a potential, its only energy."""
    calculator = atoms.calc
    has_one = "free_energy" in getattr(calculator, "results", {})
    if "free_energy" in getattr(calculator, "implemented_properties", ()) or (
        has_one and isinstance(calculator, SinglePointCalculator)
    ):
        return atoms.get_potential_energy(force_consistent=True)
    energy = atoms.get_potential_energy()
    # Some calculators compute a free energy that they do not announce, so that ASE refuses it.
    return getattr(calculator, "results", {}).get("free_energy", energy)
