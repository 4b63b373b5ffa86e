"""Label jobs: a structure goes in, a document with energy, forces, stress and the method comes out.

The contract: a label Maker has ``make(structure) -> Job`` whose output is a :class:`~mgflows.schemas.labels.LabelDocument`. Everything behind
it (datasets, training, validation) knows only that document, so a label Maker for another code is all it takes to use another code.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jobflow import Maker, job

from mgflows.errors import InputError
from mgflows.schemas.labels import Frame, LabelDocument, LabelError, LabelSetDocument, MethodFingerprint, atoms_from_structure
from mgflows.schemas.provenance import record_provenance

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from pymatgen.core import Structure

__all__ = ["AseLabelMaker", "AseMethod", "AseRelaxMaker"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AseMethod:
    """Any ASE calculator, named so that a document can store it and another machine can build it.

    Parameters
    ----------
    calculator
        Import path of a calculator class or of a function that returns a calculator, such as ``"ase.calculators.emt.EMT"``.
    kwargs
        Keyword arguments for it; plain JSON values only.
    is_dft
        Whether the labels are density-functional results. Decides what reports call them.
    description
        One line for reports.
    details
        Import path of a function that takes the same keyword arguments and returns, as a dictionary, what else decides the labels: parameters
        the calculator has built in, say.

    Notes
    -----
    The fingerprint holds the import path, the version of the package, the keyword arguments, the sha256 of every file they name, and the details.
    """

    calculator: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    is_dft: bool = False
    description: str = ""
    details: str = ""

    @classmethod
    def stand_in(cls, species: tuple[str, ...] = ("Cu", "Zr", "Al")) -> AseMethod:
        """The embedded-atom stand-in for DFT that mgflows builds itself."""
        return cls(
            calculator="mgflows.eam.stand_in_calculator",
            kwargs={"species": list(species)},
            description="stand-in EAM (Zhou-Johnson-Wadley 2004 elements, refitted cross pairs), not DFT",
            details="mgflows.eam.stand_in_fingerprint",
        )

    def build(self) -> Calculator:
        """A new calculator.

        Raises
        ------
        InputError
            If the import path leads nowhere.
        """
        return _import(self.calculator)(**self.kwargs)

    def fingerprint(self) -> MethodFingerprint:
        """What decides the labels of this method.

        Raises
        ------
        InputError
            If the calculator cannot be imported, or does not know the species it is asked for.
        """
        _import(self.calculator)
        settings = {key: _file_digest(value) or value for key, value in self.kwargs.items()}
        if self.details:
            settings["details"] = _import(self.details)(**self.kwargs)
        package = self.calculator.partition(".")[0]
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            version = "unknown"
        return MethodFingerprint(
            code=f"ase:{self.calculator}",
            version=version,
            settings=settings,
            is_dft=self.is_dft,
            description=self.description or f"{self.calculator} through ASE",
        )


@dataclass
class AseLabelMaker(Maker):
    """Label structures with an ASE calculator: one energy, force and stress evaluation each.

    Parameters
    ----------
    name
        Name of the jobs.
    method
        The calculator; the stand-in EAM by default.
    """

    name: str = "label"
    method: AseMethod = field(default_factory=AseMethod.stand_in)

    @job(output_schema=LabelDocument)
    def make(self, structure: Structure) -> LabelDocument:
        """Label one structure."""
        with record_provenance(settings=_method_settings(self.method)) as provenance:
            atoms = _prepare(structure)
            atoms.calc = self.method.build()
            atoms.get_stress()
        return LabelDocument.from_atoms(atoms, self.method.fingerprint(), provenance)

    @job(data="frames", output_schema=LabelSetDocument)
    def make_set(self, structures: list[Structure] | None, names: list[str] | None = None) -> LabelSetDocument:
        """Label many structures in one job, for methods so cheap that a job each would cost more than the label.

        A member that cannot be labelled is left out and named with the reason in ``failed``.
        """
        if structures is None:
            raise InputError("there are no structures because the job that should have made them failed; mend that one and rerun both")
        names = names or [str(number) for number in range(len(structures))]
        frames, failed = [], []
        with record_provenance(settings=_method_settings(self.method)) as provenance:
            calculator = self.method.build()
            for name, structure in zip(names, structures, strict=True):
                atoms = _prepare(structure)
                atoms.calc = calculator
                try:
                    frames.append(Frame.from_atoms(atoms, name))
                except LabelError as error:
                    logger.warning("%s left out: %s", name, error)
                    failed.append(f"{name}: {error}")
        return LabelSetDocument.from_frames(frames, self.method.fingerprint(), provenance, failed=failed)


@dataclass
class AseRelaxMaker(Maker):
    """Relax a structure with an ASE calculator and label what comes out.

    Parameters
    ----------
    name
        Name of the jobs.
    method
        The calculator; the stand-in EAM by default.
    relax_cell
        Relax volume and shape of the cell with the positions (the paper's full relaxation, Methods, "DFT Calculations").
    force_tolerance
        Largest force in eV/A at which to stop; the paper's 1e-2.
    stress_tolerance
        Largest component of the stress in GPa at which to stop.
    max_steps
        Steps after which a relaxation counts as failed.
    """

    name: str = "relax"
    method: AseMethod = field(default_factory=AseMethod.stand_in)
    relax_cell: bool = True
    force_tolerance: float = 1e-2
    stress_tolerance: float = 0.05
    max_steps: int = 2000

    @job(output_schema=LabelDocument)
    def make(self, structure: Structure) -> LabelDocument:
        """Relax one structure.

        ``relaxation`` of the document holds the number of steps, the energy before (eV per atom) and the summary of
        :func:`mgflows.structures.similarity.compare_structures`: displacements (A), the rigid shift and the deformation of the cell that were taken
        out of them, and the preserved fractions of bonds.

        Raises
        ------
        LabelError
            If the relaxation does not converge within ``max_steps``: an unconverged relaxation must not become a frame.
        """
        from mgflows.structures.relaxation import relax
        from mgflows.structures.similarity import compare_structures

        settings = _method_settings(self.method) | {
            "relax_cell": self.relax_cell,
            "force_tolerance": self.force_tolerance,
            "stress_tolerance": self.stress_tolerance,
        }
        with record_provenance(settings=settings) as provenance:
            initial = _prepare(structure)
            outcome = relax(
                initial,
                self.method.build(),
                relax_cell=self.relax_cell,
                force_tolerance=self.force_tolerance,
                stress_tolerance=self.stress_tolerance,
                max_steps=self.max_steps,
            )
            if not outcome.converged:
                raise LabelError(
                    f"the relaxation of {initial.get_chemical_formula()} has a force of {outcome.largest_force:.3g} eV/A left after "
                    f"{outcome.n_steps} steps; raise max_steps or look whether the structure is sound"
                )
            similarity = compare_structures(initial, outcome.atoms)
        relaxation = {
            "n_steps": outcome.n_steps,
            "largest_force": outcome.largest_force,
            "energy_per_atom_before": outcome.energy_before / len(initial),
            **similarity.as_dict(),
        }
        return LabelDocument.from_atoms(outcome.atoms, self.method.fingerprint(), provenance, relaxation=relaxation)


def _prepare(structure: Structure | None) -> Atoms:
    """Atoms grouped by species: VASP's input order, and with it that of every other label."""
    atoms = atoms_from_structure(structure)
    return atoms[np.argsort(atoms.numbers, kind="stable")]


def _method_settings(method: AseMethod) -> dict[str, Any]:
    return {"calculator": method.calculator, "kwargs": method.kwargs}


def _import(path: str) -> Callable[..., Any]:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"the calculator {path!r} cannot be imported ({error}); give an import path such as 'ase.calculators.emt.EMT' "
            "and install its package where the job runs"
        ) from error


def _file_digest(value: Any) -> str | None:
    """Sha256 of the file a keyword argument names, so that an edited file is another method."""
    if not isinstance(value, str) or not Path(value).is_file():
        return None
    return f"sha256:{hashlib.sha256(Path(value).read_bytes()).hexdigest()}"
