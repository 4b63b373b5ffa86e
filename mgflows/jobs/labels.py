"""Label jobs: from a structure to a document with energy, forces, stress and the method.

The contract: a label Maker has ``make(structure) -> Job`` whose output is a
:class:`~mgflows.schemas.labels.LabelDocument`. Datasets, training and validation use only that
document, so that another code needs another label Maker and nothing else.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from jobflow import Maker

from mgflows.errors import InputError, LabelError, MgflowsError, StructureError
from mgflows.geometry import right_handed
from mgflows.jobs.progress import JobProgress
from mgflows.jobs.structures import structure_job
from mgflows.methods.ase import AseMethod
from mgflows.methods.base import check_geometry
from mgflows.schemas.frames import Frame
from mgflows.schemas.labels import LabelDocument, Relaxation, atoms_from_structure
from mgflows.schemas.provenance import maker_settings, record_provenance
from mgflows.schemas.quality import violations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from jobflow import Job
    from pymatgen.core import Structure

    from mgflows.methods.base import LabelMethod

__all__ = ["AseLabelMaker", "AseMethod", "AseRelaxMaker", "LabelsSets"]

logger = logging.getLogger(__name__)

_RELAXATION = "checkpoint-relaxation.npz"


@runtime_checkable
class LabelsSets(Protocol):
    """A label Maker that can label several structures in one job."""

    def make_set(self, structures: Any, names: list[str] | None = None) -> Job:
        """Make a job whose output is a LabelDocument with a frame per structure."""


@dataclass
class AseLabelMaker(Maker):
    """Label structures with an ASE calculator: one energy, force and stress evaluation each.

    Parameters
    ----------
    name
        Name of the jobs.
    method
        The calculator and its settings; the stand-in EAM by default.
    """

    name: str = "label"
    method: LabelMethod = field(default_factory=AseMethod.stand_in)

    @structure_job(output_schema=LabelDocument)
    def make(self, structure: Structure) -> LabelDocument:
        """Label one structure.

        Raises
        ------
        LabelError
            If the label does not pass the checks of :mod:`mgflows.schemas.quality`.
        """
        with record_provenance(
            settings=maker_settings(self), n_cores=self.method.n_cores
        ) as provenance:
            requested = prepare(structure)
            atoms = requested.copy()
            with calculator_of(self.method, atoms) as calculator:
                atoms.calc = calculator
                atoms.get_stress()
                report = self.method.report(calculator)
        return LabelDocument.from_atoms(
            atoms,
            self.method.fingerprint(sorted(set(requested.symbols))),
            provenance,
            report=report,
            requested=requested,
        )

    @structure_job(data="frames", output_schema=LabelDocument)
    def make_set(
        self, structures: list[Structure] | None, names: list[str] | None = None
    ) -> LabelDocument:
        """Label many structures in one job, for methods so fast that one job per label costs more.

        A member that cannot be labelled is left out and listed with the reason in ``failed``.

        Raises
        ------
        InputError
            If there are no structures because an upstream job failed.
        LabelError
            If no member could be labelled.
        """
        if structures is None:
            raise InputError(
                "no input structures: the upstream job failed", hint="fix that job and rerun both"
            )
        names = names or [str(number) for number in range(len(structures))]
        frames, failed = [], []
        species: set[str] = set()
        with record_provenance(
            settings=maker_settings(self), n_cores=self.method.n_cores
        ) as provenance:
            for name, structure in zip(names, structures, strict=True):
                try:
                    requested = prepare(structure)
                    atoms = requested.copy()
                    with calculator_of(self.method, atoms) as calculator:
                        atoms.calc = calculator
                        frame = Frame.from_atoms(atoms, name)
                        if found := violations(frame, self.method.report(calculator), requested):
                            raise LabelError("; ".join(found))
                except (LabelError, StructureError) as error:
                    logger.warning("%s left out: %s", name, error)
                    failed.append(f"{name}: {error}")
                else:
                    frames.append(frame)
                    species.update(requested.symbols)
        return LabelDocument.from_frames(
            frames, self.method.fingerprint(sorted(species)), provenance, failed=failed
        )


@dataclass
class AseRelaxMaker(Maker):
    """Relax a structure with an ASE calculator and label the result.

    Parameters
    ----------
    name
        Name of the jobs.
    method
        The calculator and its settings; the stand-in EAM by default.
    relax_cell
        Relax volume and shape of the cell with the positions (the paper's full relaxation, Methods,
        "DFT Calculations").
    force_tolerance
        Largest force in eV/A at which to stop; the paper's 1e-2.
    stress_tolerance
        Largest component of the stress in GPa at which to stop.
    max_steps
        Steps after which a relaxation counts as failed.
    """

    name: str = "relax"
    method: LabelMethod = field(default_factory=AseMethod.stand_in)
    relax_cell: bool = True
    force_tolerance: float = 1e-2
    stress_tolerance: float = 0.05
    max_steps: int = 2000

    @structure_job(output_schema=LabelDocument)
    def make(self, structure: Structure) -> LabelDocument:
        """Relax one structure; an interrupted relaxation resumes from its last step.

        ``relaxation`` of the document holds the number of steps, the energy before and the result
        of :func:`mgflows.structures.similarity.compare_structures`.

        Raises
        ------
        LabelError
            If the relaxation does not converge within ``max_steps`` (an unconverged relaxation must
            not become a frame), or the label does not pass the checks of
            :mod:`mgflows.schemas.quality`.
        """
        from mgflows.structures.relaxation import relax
        from mgflows.structures.similarity import compare_structures

        with record_provenance(
            settings=maker_settings(self), n_cores=self.method.n_cores
        ) as provenance:
            initial = prepare(structure)
            with calculator_of(self.method, initial) as calculator:
                outcome = relax(
                    initial,
                    calculator,
                    relax_cell=self.relax_cell,
                    force_tolerance=self.force_tolerance,
                    stress_tolerance=self.stress_tolerance,
                    max_steps=self.max_steps,
                    checkpoint=Path.cwd() / _RELAXATION,
                    progress=JobProgress("steps at most"),
                )
                report = self.method.report(calculator)
            if not outcome.converged:
                raise LabelError(
                    f"the relaxation of {initial.get_chemical_formula()} has a force of "
                    f"{outcome.largest_force:.3g} eV/A left after {outcome.n_steps} steps",
                    hint="raise max_steps, or check the structure",
                )
            similarity = compare_structures(initial, outcome.atoms)
        return LabelDocument.from_atoms(
            outcome.atoms,
            self.method.fingerprint(sorted(set(initial.symbols))),
            provenance,
            report=report.model_copy(update={"ionic_converged": True}),
            requested=initial,
            relaxation=Relaxation(
                n_steps=outcome.n_steps,
                largest_force=outcome.largest_force,
                energy_per_atom_before=outcome.energy_before / len(initial),
                similarity=similarity,
            ),
        )


def prepare(structure: Structure | Atoms | None) -> Atoms:
    """Return atoms for a label, with a right-handed cell and grouped by species.

    The order is that of VASP's input, and therefore that of every label.

    Raises
    ------
    InputError
        If the structure cannot be labelled; see
        :func:`~mgflows.schemas.labels.atoms_from_structure` and
        :func:`~mgflows.methods.base.check_geometry`.
    """
    atoms = right_handed(atoms_from_structure(structure))
    check_geometry(atoms)
    return atoms[np.argsort(atoms.numbers, kind="stable")]


@contextmanager
def calculator_of(method: LabelMethod, atoms: Atoms) -> Iterator[Calculator]:
    """Provide a calculator of the method for these atoms, and close it afterwards.

    Raises
    ------
    LabelError
        Replaces errors raised by the calculator's package.
    """
    calculator = method.build(atoms)
    try:
        yield calculator
    except (MgflowsError, OSError, MemoryError, ImportError):
        raise
    except Exception as error:
        reported = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise LabelError(
            f"{method.description} failed on {atoms.get_chemical_formula()} ({reported})"
        ) from error
    finally:
        close = getattr(calculator, "close", None)
        if close is not None:
            close()
