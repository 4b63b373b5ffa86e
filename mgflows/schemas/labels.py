"""Labels: energies, forces and virials of structures by one method, whatever the code."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from pydantic import BaseModel, Field
from pymatgen.core import Element, IMolecule, IStructure, Structure

from mgflows import units
from mgflows.errors import InputError, LabelError
from mgflows.schemas.provenance import Provenance
from mgflows.schemas.quality import CalculationReport, LabelQuality, violations

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MAXIMUM_FORCE = 100.0
"""A force above this (eV/A) is taken for a failed label; the paper's most compressed frames stay below 20."""


class MethodFingerprint(BaseModel):
    """Everything that decides a label. Frames of different fingerprints never mix in one dataset."""

    code: str = Field(
        description="what computed the label, such as 'vasp' or 'ase:mgflows.eam.stand_in_calculator'"
    )
    version: str = Field(description="its version")
    settings: dict[str, Any] = Field(
        description="functional, cutoff, k-mesh, smearing: all that changes a label, whatever its elements"
    )
    potentials: dict[str, str] = Field(
        default_factory=dict,
        description="pseudopotential or data set of each element that the label has: its name and hash",
    )
    is_dft: bool = Field(
        False, description="false for a stand-in or a classical or machine-learned potential"
    )
    description: str = Field("", description="one line for reports")

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of code, version and settings.

        Potentials are not part of it, since a crystal of one element has fewer of them than a glass; :meth:`differences` compares them.
        """
        text = json.dumps([self.code, self.version, self.settings], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def differences(self, other: MethodFingerprint) -> list[str]:
        """What differs between two methods, one phrase a field; of the potentials those of the elements that both have."""
        mine = {"code": self.code, "version": self.version, **self.settings}
        theirs = {"code": other.code, "version": other.version, **other.settings}
        for element in sorted(self.potentials.keys() & other.potentials.keys()):
            mine[f"potential of {element}"] = self.potentials[element]
            theirs[f"potential of {element}"] = other.potentials[element]
        return [
            f"{key}: {mine.get(key)!r} against {theirs.get(key)!r}"
            for key in sorted(mine | theirs)
            if mine.get(key) != theirs.get(key)
        ]

    def merge(self, other: MethodFingerprint) -> MethodFingerprint:
        """The same method with the potentials of both; only for methods without :meth:`differences`."""
        return self.model_copy(
            update={"potentials": dict(sorted((self.potentials | other.potentials).items()))}
        )


class Frame(BaseModel):
    """One labelled structure in compact form."""

    name: str = Field(
        "", description="which member of its set: a deformation, a time step, or empty"
    )
    numbers: list[int] = Field(description="(n,) atomic numbers")
    positions: list[list[float]] = Field(description="(n, 3) A")
    cell: list[list[float]] = Field(description="(3, 3) lattice vectors in rows, A")
    energy: float = Field(description="force-consistent free energy of the cell, eV")
    forces: list[list[float]] = Field(description="(n, 3) eV/A")
    stress: list[list[float]] = Field(
        description="(3, 3) eV/A^3, positive when stretched, without the ideal-gas part"
    )

    @classmethod
    def from_atoms(cls, atoms: Atoms, name: str = "") -> Self:
        """A frame from atoms with a calculator that has (or can compute) energy, forces and stress.

        Raises
        ------
        LabelError
            If a result is not finite or has another shape, the stress is not symmetric, or a force
            exceeds :data:`MAXIMUM_FORCE`.
        """
        what = f"{atoms.get_chemical_formula()} {name}".strip()
        energies = np.asarray(
            atoms.get_potential_energy(force_consistent=_has_free_energy(atoms)), dtype=float
        )
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
            numbers=atoms.numbers.tolist(),
            positions=atoms.positions.tolist(),
            cell=np.asarray(atoms.cell).tolist(),
            energy=energy,
            forces=forces.tolist(),
            stress=stress.tolist(),
        )

    def to_atoms(self, **info: Any) -> Atoms:
        """ASE atoms with a single-point calculator holding energy, free energy, forces and stress; ``info`` goes to ``atoms.info``."""
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
    def frame_id(self) -> str:
        """Twenty hexadecimal digits: hash of species, cell, positions and label, rounded so that storage does not change it."""
        digest = hashlib.sha256()
        for values, decimals in (
            (self.numbers, 0),
            (self.cell, 6),
            (self.positions, 6),
            ([self.energy], 6),
            (self.forces, 5),
            (self.stress, 8),
        ):
            # Adding zero turns -0.0 into 0.0, which has other bytes.
            digest.update(
                np.ascontiguousarray(
                    np.round(np.asarray(values, dtype=float), decimals) + 0.0
                ).tobytes()
            )
        return digest.hexdigest()[:20]


class FrameSummary(BaseModel):
    """What queries need to know of a frame without loading it."""

    frame_id: str = Field(description="hash of the frame")
    name: str = Field("", description="name of the frame within its set")
    n_atoms: int = Field(description="number of atoms")
    energy_per_atom: float = Field(description="eV per atom")
    pressure: float = Field(description="GPa, positive when compressed")
    maximum_force: float = Field(description="eV/A")

    @classmethod
    def from_frame(cls, frame: Frame) -> Self:
        """The summary of a frame."""
        return cls(
            frame_id=frame.frame_id,
            name=frame.name,
            n_atoms=len(frame.numbers),
            energy_per_atom=frame.energy_per_atom,
            pressure=units.pressure_from_stress(frame.stress),
            maximum_force=float(np.linalg.norm(frame.forces, axis=1).max()),
        )


class LabelDocument(BaseModel):
    """One structure labelled by one method: the contract every label Maker fulfils."""

    structure: Structure = Field(description="the labelled structure, grouped by species")
    energy: float = Field(description="force-consistent free energy, eV per cell")
    energy_per_atom: float = Field(description="the same, eV per atom")
    forces: list[list[float]] = Field(description="(n, 3) eV/A, in the order of the structure")
    stress: list[list[float]] = Field(description="(3, 3) eV/A^3, positive when stretched")
    virial: list[list[float]] = Field(
        description="(3, 3) eV per cell, positive when compressed: -volume times stress"
    )
    pressure: float = Field(description="GPa, positive when compressed")
    summaries: list[FrameSummary] = Field(description="summary of the frame (a list of one)")
    fingerprint: MethodFingerprint = Field(description="the method")
    fingerprint_digest: str = Field(description="its hash")
    quality: LabelQuality = Field(description="what was checked before the label was stored")
    relaxation: dict[str, Any] | None = Field(
        None, description="for a relaxed structure: steps, initial energy, largest force, and so on"
    )
    provenance: Provenance

    @classmethod
    def from_atoms(
        cls,
        atoms: Atoms,
        fingerprint: MethodFingerprint,
        provenance: Provenance,
        *,
        report: CalculationReport | None = None,
        requested: Atoms | None = None,
        relaxation: dict[str, Any] | None = None,
    ) -> Self:
        """A label from atoms with a calculator, if it passes the gate.

        Parameters
        ----------
        atoms
            The labelled atoms, grouped by species, with a calculator that has (or can compute) energy, forces and stress.
        fingerprint
            The method.
        provenance
            Its origin.
        report
            What the code says of the calculation.
        requested
            The structure that was to be labelled.
        relaxation
            For a relaxed structure, what the relaxation did.

        Raises
        ------
        LabelError
            If the result is not finite, a force too large, or for each of the :func:`~mgflows.schemas.quality.violations`.
        """
        frame = Frame.from_atoms(atoms)
        report = report or CalculationReport()
        if found := violations(frame, report, requested, fixed_cell=relaxation is None):
            raise LabelError(f"{atoms.get_chemical_formula()} has no label: {'; '.join(found)}")
        return cls(
            structure=structure_from_atoms(atoms),
            energy=frame.energy,
            energy_per_atom=frame.energy_per_atom,
            forces=frame.forces,
            stress=frame.stress,
            virial=units.virial_from_stress(frame.stress, frame.volume).tolist(),
            pressure=units.pressure_from_stress(frame.stress),
            summaries=[FrameSummary.from_frame(frame)],
            fingerprint=fingerprint,
            fingerprint_digest=fingerprint.digest,
            quality=LabelQuality.from_report(report, requested=requested is not None),
            relaxation=relaxation,
            provenance=provenance,
        )

    @property
    def frames(self) -> list[Frame]:
        """The label as a list of one frame."""
        return [
            Frame(
                numbers=list(self.structure.atomic_numbers),
                positions=self.structure.cart_coords.tolist(),
                cell=self.structure.lattice.matrix.tolist(),
                energy=self.energy,
                forces=self.forces,
                stress=self.stress,
            )
        ]


class LabelSetDocument(BaseModel):
    """Several structures labelled in one job: a strained family, a short trajectory, a batch of cheap labels."""

    n_frames: int = Field(description="number of frames")
    summaries: list[FrameSummary] = Field(
        description="summary of each frame, in the order of the frames"
    )
    fingerprint: MethodFingerprint = Field(description="the method")
    fingerprint_digest: str = Field(description="its hash")
    frames: list[Frame] = Field(description="the frames; stored in the additional store 'data'")
    failed: list[str] = Field(
        default_factory=list, description="members that could not be labelled, with the reason"
    )
    trajectory: dict[str, Any] | None = Field(
        None, description="for molecular dynamics: ensemble, time step and temperatures"
    )
    last_structure: Structure | None = Field(
        None, description="for molecular dynamics: the last frame's structure, to be labelled again"
    )
    provenance: Provenance

    @classmethod
    def from_frames(
        cls,
        frames: list[Frame],
        fingerprint: MethodFingerprint,
        provenance: Provenance,
        *,
        failed: list[str] | None = None,
        trajectory: dict[str, Any] | None = None,
    ) -> Self:
        """A set from its frames."""
        if not frames:
            raise LabelError(
                f"no structure could be labelled: {'; '.join(failed or ['the set is empty'])}"
            )
        return cls(
            n_frames=len(frames),
            summaries=[FrameSummary.from_frame(frame) for frame in frames],
            fingerprint=fingerprint,
            fingerprint_digest=fingerprint.digest,
            frames=frames,
            failed=failed or [],
            trajectory=trajectory,
            last_structure=structure_from_atoms(frames[-1].to_atoms()) if trajectory else None,
            provenance=provenance,
        )


class TrajectoryCheckDocument(BaseModel):
    """The last frame of a trajectory against a single point of the same structure: whether its stresses hold what a label must not hold."""

    passed: bool = Field(
        description="false if the stresses of the trajectory hold the kinetic part"
    )
    reason: str = Field(description="the verdict in words")
    pressure_difference: float = Field(
        description="pressure of the frame less that of the single point, GPa"
    )
    kinetic_pressure: float = Field(
        description="N k T / V of the frame, what the difference would be with the kinetic part, GPa"
    )
    energy_difference: float = Field(
        description="energy of the frame less that of the single point, eV per atom"
    )
    force_difference: float = Field(
        description="root mean square of the difference of the forces, eV/A"
    )
    temperature: float = Field(description="temperature of the frame, K")
    provenance: Provenance


def symmetric_stress(stress: ArrayLike) -> NDArray[np.float64]:
    """Voigt vector of a stress that a code reports.

    Rounding makes the tensors of some codes slightly asymmetric; their mean is taken.

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


def structure_from_atoms(atoms: Atoms) -> Structure:
    """Pymatgen structure of ASE atoms, without calculator, constraints or tags."""
    return Structure(
        atoms.cell.array, atoms.get_chemical_symbols(), atoms.positions, coords_are_cartesian=True
    )


def atoms_from_structure(structure: Structure | Atoms | None) -> Atoms:
    """ASE atoms of a pymatgen structure.

    Only species, positions and lattice are used; ASE atoms are copied, with their own boundary
    conditions and without calculator, constraints or tags.

    Raises
    ------
    InputError
        For partial occupancies, dummy species, a molecule without a cell, another type of object,
        or None, which stands for the output of a job that failed.
    """
    if structure is None:
        raise InputError(
            "no input structure: the upstream job failed", hint="fix it and rerun both"
        )
    if isinstance(structure, Atoms):
        return Atoms(
            numbers=structure.numbers,
            positions=structure.positions,
            cell=structure.cell,
            pbc=structure.pbc,
        )
    if isinstance(structure, IMolecule):
        raise InputError(
            f"{structure.composition.reduced_formula} is a molecule without a cell",
            hint="put it into a box with molecule.get_boxed_structure(a, b, c)",
        )
    if not isinstance(structure, IStructure):
        raise InputError(
            f"a {type(structure).__name__} is not a structure",
            hint="give a pymatgen Structure or ASE Atoms",
        )
    formula = structure.composition.reduced_formula
    if not structure.is_ordered:
        raise InputError(
            f"{formula} has partially occupied sites", hint="give an ordered structure"
        )
    # A species is an element, with or without an oxidation state, or a dummy.
    elements = [getattr(species, "element", species) for species in structure.species]
    dummies = sorted({each.symbol for each in elements if not isinstance(each, Element)})
    if dummies:
        raise InputError(
            f"{formula} has the dummy species {', '.join(dummies)}",
            hint="replace it by an element or remove it",
        )
    return Atoms(
        numbers=[element.Z for element in elements],
        positions=structure.cart_coords,
        cell=structure.lattice.matrix,
        pbc=structure.lattice.pbc,
    )


def _has_free_energy(atoms: Atoms) -> bool:
    return "free_energy" in getattr(
        atoms.calc, "implemented_properties", ()
    ) or "free_energy" in getattr(atoms.calc, "results", {})
