"""Labels: energies, forces and virials of structures by one method of any code."""

from __future__ import annotations

import json
from typing import Annotated, Any, Self

from ase import Atoms
from pydantic import BaseModel, Field, model_validator
from pymatgen.core import Element, IMolecule, IStructure, Structure

from mgflows import units
from mgflows.errors import InputError, LabelError
from mgflows.files import digest_of_text
from mgflows.moved import renamed
from mgflows.schemas.fields import AsDict
from mgflows.schemas.frames import MAXIMUM_FORCE, Frame, FrameSummary, symmetric_stress
from mgflows.schemas.provenance import Provenance
from mgflows.schemas.quality import CalculationReport, LabelQuality, violations
from mgflows.structures.similarity import SimilaritySummary

__all__ = [
    "MAXIMUM_FORCE",
    "Frame",
    "FrameSummary",
    "LabelDocument",
    "LabelError",
    "MethodFingerprint",
    "Relaxation",
    "Trajectory",
    "TrajectoryCheckDocument",
    "atoms_from_structure",
    "structure_from_atoms",
    "symmetric_stress",
]

__getattr__ = renamed(__name__)

_STAND_IN = "ase:mgflows.eam.stand_in_calculator"


class MethodFingerprint(BaseModel):
    """All settings that determine a label; the labels of a dataset have the same fingerprint."""

    code: str = Field(
        description="code of the label, such as 'vasp' or 'ase:ase.calculators.emt.EMT'"
    )
    version: str = Field(description="its version")
    settings: dict[str, Any] = Field(
        description="functional, cutoff, k-mesh, smearing: all that determines a label of any "
        "element"
    )
    potentials: dict[str, str] = Field(
        default_factory=dict,
        description="pseudopotential or data set of each element of the label: its name and hash",
    )
    is_dft: bool = Field(
        False, description="false for a stand-in, a classical or a machine-learned potential"
    )
    is_stand_in: bool = Field(
        False, description="true for the embedded-atom model that takes the place of a DFT code"
    )
    description: str = Field("", description="one line for reports")

    @model_validator(mode="before")
    @classmethod
    def _read_version_0_1(cls, values: Any) -> Any:
        """Version 0.1 marked the stand-in by its calculator only."""
        if isinstance(values, dict) and "is_stand_in" not in values:
            return values | {"is_stand_in": values.get("code") == _STAND_IN}
        return values

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of code, version and settings.

        Potentials are left out, since a crystal of one element has fewer of them than a glass;
        :meth:`differences` compares them.
        """
        return digest_of_text(
            json.dumps([self.code, self.version, self.settings], sort_keys=True, default=str)
        )

    def differences(self, other: MethodFingerprint) -> list[str]:
        """Return what differs between two methods, one phrase per field.

        Potentials are compared for the elements that both methods have.
        """
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
        """Return this method with the potentials of both; both must be the same method."""
        return self.model_copy(
            update={"potentials": dict(sorted((self.potentials | other.potentials).items()))}
        )


class Relaxation(BaseModel):
    """Result of a relaxation and its changes of the structure."""

    n_steps: int | None = Field(None, description="ionic steps")
    largest_force: float | None = Field(None, description="largest remaining force, eV/A")
    energy_per_atom_before: float | None = Field(
        None, description="label energy of the initial structure, eV per atom"
    )
    similarity: Annotated[SimilaritySummary, AsDict] | None = Field(
        None, description="displacements and bonds of the relaxed structure against the initial one"
    )

    @model_validator(mode="before")
    @classmethod
    def _read_version_0_1(cls, values: Any) -> Any:
        """Version 0.1 stored the similarity with the other values."""
        if isinstance(values, dict) and "displacements" in values:
            return {**values, "similarity": SimilaritySummary.from_dict(values)}
        return values


class Trajectory(BaseModel):
    """Molecular dynamics whose steps are the frames of a label document."""

    ensemble: str = Field("", description="ensemble and thermostat, such as 'NPT Langevin, 0 GPa'")
    timestep: float | None = Field(None, description="fs")
    n_steps: int | None = Field(None, description="number of steps")
    temperature_end: float | None = Field(None, description="K of the thermostat at the end")
    temperature: list[float] | None = Field(None, description="K of the atoms at each step")
    friction: float | None = Field(None, description="1/ps, of the atoms")
    lattice_friction: float | None = Field(None, description="1/ps, of the lattice")
    cell_mass: float | None = Field(None, description="mass of the barostat, u (VASP's PMASS)")
    random_seed: int | None = Field(None, description="seed given to the code")

    def temperature_at(self, step: int) -> float:
        """Return the temperature in K at a step, counted from 1; nan if it was not recorded."""
        return float("nan") if self.temperature is None else self.temperature[step - 1]


class LabelDocument(BaseModel):
    """One or several structures that one job labelled by one method.

    It is the output of every label Maker.
    """

    structure: Structure | None = Field(
        description="the labelled structure, grouped by species; the last one of several"
    )
    energy: float = Field(description="its force-consistent free energy, eV per cell")
    energy_per_atom: float = Field(description="the same, eV per atom")
    pressure: float = Field(description="its pressure, GPa, positive under compression")
    n_frames: int = Field(description="number of labelled structures")
    summaries: list[FrameSummary] = Field(description="summary of each frame, in their order")
    frames: list[Frame] = Field(
        description="all labelled structures with energies, forces and stresses; those of a set "
        "are stored in the additional store 'data'"
    )
    fingerprint: MethodFingerprint = Field(description="the method")
    fingerprint_digest: str = Field(description="its hash")
    quality: LabelQuality | None = Field(
        None, description="checks made before the label was stored; none for a set"
    )
    failed: list[str] = Field(
        default_factory=list, description="members that could not be labelled, with the reason"
    )
    relaxation: Relaxation | None = Field(None, description="for a relaxed structure")
    trajectory: Trajectory | None = Field(None, description="for steps of molecular dynamics")
    provenance: Provenance

    @model_validator(mode="before")
    @classmethod
    def _read_version_0_1(cls, values: Any) -> Any:
        """Version 0.1 had one model for a single label and another for a set of labels."""
        if not isinstance(values, dict):
            return values
        if "forces" in values:
            return _read_single_label(values)
        return values if "energy" in values else _read_label_set(values)

    @classmethod
    def from_atoms(
        cls,
        atoms: Atoms,
        fingerprint: MethodFingerprint,
        provenance: Provenance,
        *,
        report: CalculationReport | None = None,
        requested: Atoms | None = None,
        relaxation: Relaxation | dict[str, Any] | None = None,
    ) -> Self:
        """Make the document of one label, if it passes the checks.

        Parameters
        ----------
        atoms
            The labelled atoms, grouped by species, with a calculator that has, or can compute,
            energy, forces and stress.
        fingerprint
            The method.
        provenance
            Its origin.
        report
            Report of the code about the calculation.
        requested
            The structure to be labelled.
        relaxation
            For a relaxed structure, how the relaxation ended.

        Raises
        ------
        LabelError
            If a result is not finite, a force is too large, or for each of the
            :func:`~mgflows.schemas.quality.violations`.
        """
        frame = Frame.from_atoms(atoms)
        report = report or CalculationReport()
        if found := violations(frame, report, requested, fixed_cell=relaxation is None):
            raise LabelError(f"{atoms.get_chemical_formula()} has no label: {'; '.join(found)}")
        return cls._from_frames(
            [frame],
            fingerprint,
            provenance,
            structure=structure_from_atoms(atoms),
            quality=LabelQuality.from_report(report, requested=requested is not None),
            relaxation=relaxation,
        )

    @classmethod
    def from_frames(
        cls,
        frames: list[Frame],
        fingerprint: MethodFingerprint,
        provenance: Provenance,
        *,
        failed: list[str] | None = None,
        trajectory: Trajectory | dict[str, Any] | None = None,
        summaries: list[FrameSummary] | None = None,
    ) -> Self:
        """Make the document of several labels.

        Parameters
        ----------
        frames
            The labelled structures.
        fingerprint
            The method of all frames.
        provenance
            Their origin.
        failed
            Members that could not be labelled, with the reason.
        trajectory
            For steps of molecular dynamics.
        summaries
            Summaries of the frames, if their families differ from that of the job.

        Raises
        ------
        LabelError
            If there are no frames.
        """
        if not frames:
            raise LabelError(
                f"no structure could be labelled: {'; '.join(failed or ['the set is empty'])}"
            )
        return cls._from_frames(
            frames,
            fingerprint,
            provenance,
            structure=structure_from_atoms(frames[-1].to_atoms()),
            failed=failed or [],
            trajectory=trajectory,
            summaries=summaries,
        )

    @classmethod
    def _from_frames(
        cls,
        frames: list[Frame],
        fingerprint: MethodFingerprint,
        provenance: Provenance,
        summaries: list[FrameSummary] | None = None,
        **values: Any,
    ) -> Self:
        last = frames[-1]
        return cls(
            energy=last.energy,
            energy_per_atom=last.energy_per_atom,
            pressure=last.pressure,
            n_frames=len(frames),
            summaries=summaries or [FrameSummary.from_frame(frame) for frame in frames],
            frames=frames,
            fingerprint=fingerprint,
            fingerprint_digest=fingerprint.digest,
            provenance=provenance,
            **values,
        )

    @property
    def forces(self) -> list[list[float]]:
        """Forces on the atoms of :attr:`structure`, (n, 3) eV/A."""
        return self.frames[-1].forces

    @property
    def stress(self) -> list[list[float]]:
        """Stress of :attr:`structure`, (3, 3) eV/A^3, positive under tension."""
        return self.frames[-1].stress

    @property
    def virial(self) -> list[list[float]]:
        """Virial of :attr:`structure`, (3, 3) eV per cell, positive under compression."""
        return units.virial_from_stress(self.stress, self.frames[-1].volume).tolist()

    @property
    def last_structure(self) -> Structure | None:
        """The last labelled structure, under the name used by fireworks of version 0.1."""
        return self.structure


class TrajectoryCheckDocument(BaseModel):
    """The last frame of a trajectory against a single point of the same structure.

    It shows whether the stresses of the trajectory contain the kinetic part, which a label must
    not contain.
    """

    passed: bool = Field(
        description="false if the stresses of the trajectory contain the kinetic part"
    )
    reason: str = Field(description="the verdict in words")
    pressure_difference: float = Field(
        description="pressure of the frame minus that of the single point, GPa"
    )
    kinetic_pressure: float = Field(
        description="N k T / V of the frame: the difference expected with the kinetic part, GPa"
    )
    energy_difference: float = Field(
        description="energy of the frame minus that of the single point, eV per atom"
    )
    force_difference: float = Field(
        description="root mean square of the difference of the forces, eV/A"
    )
    temperature: float = Field(description="temperature of the frame, K")
    provenance: Provenance


def structure_from_atoms(atoms: Atoms) -> Structure:
    """Return the pymatgen structure of ASE atoms, without calculator, constraints or tags."""
    return Structure(
        atoms.cell.array, atoms.get_chemical_symbols(), atoms.positions, coords_are_cartesian=True
    )


def atoms_from_structure(structure: Structure | Atoms | None) -> Atoms:
    """Return ASE atoms of a pymatgen structure.

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


def _read_single_label(values: dict[str, Any]) -> dict[str, Any]:
    """Give the LabelDocument of version 0.1, whose arrays were separate fields, its one frame."""
    structure = values["structure"]
    if not isinstance(structure, Structure):
        structure = Structure.from_dict(structure)
    frame = Frame(
        numbers=list(structure.atomic_numbers),
        positions=structure.cart_coords.tolist(),
        cell=structure.lattice.matrix.tolist(),
        energy=values["energy"],
        forces=values["forces"],
        stress=values["stress"],
    )
    return values | {"structure": structure, "frames": [frame], "n_frames": 1}


def _read_label_set(values: dict[str, Any]) -> dict[str, Any]:
    """Give the LabelSetDocument of version 0.1 the values of its last frame."""
    summary, frames = FrameSummary.model_validate(values["summaries"][-1]), values["frames"]
    structure = values.get("last_structure")
    if structure is None and frames:
        structure = structure_from_atoms(Frame.model_validate(frames[-1]).to_atoms())
    return values | {
        "structure": structure,
        "energy": summary.energy_per_atom * summary.n_atoms,
        "energy_per_atom": summary.energy_per_atom,
        "pressure": summary.pressure,
    }
