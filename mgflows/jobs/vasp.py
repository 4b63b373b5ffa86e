"""Makers that label, relax and heat with VASP.

atomate2's Makers run VASP with our inputs. The outputs become the documents of all label Makers.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jobflow import Maker

from mgflows import units
from mgflows.errors import InputError, LabelError, NotConvergedError
from mgflows.jobs.structures import structure_job
from mgflows.methods.vasp.method import VaspMethod
from mgflows.methods.vasp.outputs import VaspRun, naming_files
from mgflows.methods.vasp.run import run_static, run_vasp_maker, sort_structure
from mgflows.schemas.frames import Frame
from mgflows.schemas.labels import (
    LabelDocument,
    Relaxation,
    Trajectory,
    atoms_from_structure,
)
from mgflows.schemas.provenance import maker_settings, record_provenance
from mgflows.schemas.quality import violations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ase import Atoms
    from pymatgen.core import Structure

__all__ = ["VaspHeatingMaker", "VaspLabelMaker", "VaspRelaxMaker"]

logger = logging.getLogger(__name__)

_LARGEST_SEED = 900_000_000
"""The first number of RANDOM_SEED must be below this."""


@dataclass
class VaspLabelMaker(Maker):
    """Label structures with single points of VASP.

    Paper, section II, subset i; Methods, "DFT Calculations".

    Parameters
    ----------
    name
        Name of the jobs.
    method
        The settings.
    run_vasp_kwargs
        Further arguments of :func:`atomate2.vasp.run.run_vasp`, such as ``vasp_cmd`` or
        ``wall_time``. ``handlers`` replaces the list of handlers that do not change labels
        (:func:`mgflows.methods.vasp.inputs.static_handlers`).
    """

    name: str = "label"
    method: VaspMethod = field(default_factory=VaspMethod)
    run_vasp_kwargs: dict[str, Any] = field(default_factory=dict)

    @structure_job(output_schema=LabelDocument)
    def make(self, structure: Structure) -> LabelDocument:
        """Label one structure.

        Raises
        ------
        InputError
            If VASP or the POTCAR of an element is missing; nothing has run then.
        LabelError
            If VASP did not finish or converge, or ran with other settings than requested. The
            message has the directory of its files.
        """
        with record_provenance(
            settings=maker_settings(self), n_cores=self.method.n_cores
        ) as provenance:
            sorted_structure = sort_structure(structure)
            run = run_static(self.method, sorted_structure, self.run_vasp_kwargs)
        with naming_files(run.directory):
            requested = atoms_from_structure(sorted_structure)
            label = LabelDocument.from_atoms(
                run.atoms(),
                run.fingerprint(),
                provenance,
                report=run.report(requested),
                requested=requested,
            )
            run.check()
        return label


@dataclass
class VaspRelaxMaker(Maker):
    """Relax a structure with VASP and label the result.

    Paper, section II, subset ii; Methods, "DFT Calculations".

    VASP keeps the plane waves of the first cell while it relaxes the cell, so that energy and
    stress of the last step have a basis that differs from that of all other labels: a glass that
    expands by 20 % in volume ends at a lower cutoff. Therefore the relaxation is repeated from its
    own result, with the basis of the new cell, and the label is a single point of the relaxed
    structure, with the same inputs as every other single point.

    The calculations run in the directories ``relax_1``, ``relax_2`` and ``static`` of the job.

    Parameters
    ----------
    name
        Name of the jobs.
    method
        The settings.
    relax_cell
        Relax volume and shape of the cell with the positions (ISIF = 3), as the paper does.
    force_tolerance
        Largest force in eV/A at which to stop; the paper's 1e-2.
    max_steps
        Ionic steps of one pass after which a relaxation counts as failed, unless custodian
        continues it.
    n_passes
        Consecutive relaxations; two are atomate2's double relaxation. The paper does not mention a
        second one.
    run_vasp_kwargs
        Further arguments of :func:`atomate2.vasp.run.run_vasp`.
    """

    name: str = "relax"
    method: VaspMethod = field(default_factory=VaspMethod)
    relax_cell: bool = True
    force_tolerance: float = 1e-2
    max_steps: int = 500
    n_passes: int = 2
    run_vasp_kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.n_passes < 1:
            raise InputError(
                f"n_passes is {self.n_passes} but a relaxation needs at least one",
                hint="2 repeats it with the basis of the new cell",
            )

    @structure_job(output_schema=LabelDocument)
    def make(self, structure: Structure) -> LabelDocument:
        """Relax one structure.

        ``relaxation`` of the document has the ionic steps of all passes, the largest remaining
        force (eV/A), the energy before (eV per atom) and the result of
        :func:`mgflows.structures.similarity.compare_structures`.

        Raises
        ------
        InputError
            If VASP or the POTCAR of an element is missing; nothing has run then.
        LabelError
            If a pass or the single point did not finish or converge, or ran with other settings
            than requested.
        """
        from mgflows.structures.similarity import compare_structures

        with record_provenance(
            settings=maker_settings(self), n_cores=self.method.n_cores
        ) as provenance:
            current = sort_structure(structure)
            initial = atoms_from_structure(current)
            passes: list[VaspRun] = []
            for number in range(1, self.n_passes + 1):
                with _in_directory(f"relax_{number}"):
                    passes.append(self._relax(current))
                current = passes[-1].steps[-1].structure
            with _in_directory("static"):
                run = run_static(self.method, current, self.run_vasp_kwargs)
        relaxed = run.atoms()
        relaxation = Relaxation(
            n_steps=sum(len(each.steps) for each in passes),
            largest_force=_largest_force(passes[-1]),
            energy_per_atom_before=passes[0].atoms(0).get_potential_energy(force_consistent=True)
            / len(initial),
            similarity=compare_structures(initial, relaxed),
        )
        with naming_files(run.directory):
            requested = atoms_from_structure(current)
            report = run.report(requested)
            corrections = [phrase for each in (*passes, run) for phrase in each.corrections]
            report = report.model_copy(update={"ionic_converged": True, "corrections": corrections})
            label = LabelDocument.from_atoms(
                relaxed,
                run.fingerprint(),
                provenance,
                report=report,
                requested=requested,
                relaxation=relaxation,
            )
            run.check()
        return label

    def _relax(self, structure: Structure) -> VaspRun:
        """One converged pass."""
        from atomate2.vasp.jobs.core import RelaxMaker

        from mgflows.methods.vasp.inputs import GlassRelaxSetGenerator, relax_handlers

        generator = GlassRelaxSetGenerator(
            method=self.method,
            force_tolerance=self.force_tolerance,
            relax_cell=self.relax_cell,
            max_steps=self.max_steps,
        )
        run = run_vasp_maker(
            RelaxMaker,
            generator,
            self.method,
            structure,
            {"handlers": relax_handlers(), **self.run_vasp_kwargs},
        )
        with naming_files(run.directory):
            if not run.scf_converged():
                raise NotConvergedError(
                    "the electronic self-consistency of the relaxation did not converge after "
                    f"{run.scf_steps()} steps",
                    hint="raise NELM in VaspMethod(incar=...) or check the structure",
                )
            # A stopped run also has fewer steps than NSW: only the forces show that it
            # converged. VASP prints them rounded.
            if (
                len(run.steps) >= self.max_steps
                or _largest_force(run) > 1.01 * self.force_tolerance
            ):
                raise LabelError(
                    f"the relaxation of {structure.composition.reduced_formula} has a force of "
                    f"{_largest_force(run):.3g} eV/A left after {len(run.steps)} steps",
                    hint="raise max_steps or check the structure",
                )
            run.check()
        return run


@dataclass
class VaspHeatingMaker(Maker):
    """Heat a structure with VASP and keep every step as a frame.

    Paper, section II, subset v; Methods, "DFT Calculations": NPT Langevin dynamics at zero
    pressure, 1 fs, about 120 steps from 0 to 2000 K, friction 20/ps on the atoms and 5/ps on the
    lattice. The plane waves and the k-mesh stay those of the first cell. The stress of a step is
    the one in ``vasprun.xml``; the last structure (``structure`` of the document) is labelled
    again to check that the stress does not include the kinetic part of the ions.

    Parameters
    ----------
    name
        Name of the jobs.
    method
        The settings.
    temperature_end
        K of the thermostat at the last step.
    n_steps
        Number of steps; each is a frame.
    timestep
        fs.
    friction, lattice_friction
        1/ps, of the atoms (each species) and of the lattice.
    cell_mass
        PMASS in u; VASP's default, because the paper does not state it.
    run_vasp_kwargs
        Further arguments of :func:`atomate2.vasp.run.run_vasp`.
    """

    name: str = "heat"
    method: VaspMethod = field(default_factory=VaspMethod)
    temperature_end: float = 2000.0
    n_steps: int = 120
    timestep: float = 1.0
    friction: float = 20.0
    lattice_friction: float = 5.0
    cell_mass: float = 1000.0
    run_vasp_kwargs: dict[str, Any] = field(default_factory=dict)

    @structure_job(data="frames", output_schema=LabelDocument)
    def make(self, structure: Structure, seed: int) -> LabelDocument:
        """Heat one structure with a seed for the noise.

        A step whose electrons did not converge is left out and named in ``failed``.

        Raises
        ------
        InputError
            If VASP or the POTCAR of an element is missing; nothing has run then.
        LabelError
            If VASP did not do all steps, or ran with other settings than requested.
        """
        from atomate2.vasp.jobs.md import MDMaker

        from mgflows.methods.vasp.inputs import GlassMDSetGenerator, molecular_dynamics_handlers

        random_seed = seed % _LARGEST_SEED
        with record_provenance(
            seed=seed,
            settings=maker_settings(self, random_seed=random_seed),
            n_cores=self.method.n_cores,
        ) as provenance:
            sorted_structure = sort_structure(structure)
            generator = GlassMDSetGenerator(
                method=self.method,
                end_temp=self.temperature_end,
                nsteps=self.n_steps,
                time_step=self.timestep,
                friction=self.friction,
                lattice_friction=self.lattice_friction,
                cell_mass=self.cell_mass,
                seed=random_seed,
            )
            handlers = {"handlers": molecular_dynamics_handlers(), **self.run_vasp_kwargs}
            # By default atomate2 moves the steps out of the document, without electronic steps.
            run = run_vasp_maker(
                MDMaker, generator, self.method, sorted_structure, handlers, task_document_kwargs={}
            )
        with naming_files(run.directory):
            run.check()
            if len(run.steps) != self.n_steps:
                raise LabelError(
                    f"VASP did {len(run.steps)} of {self.n_steps} steps of molecular dynamics",
                    hint="give the job more time",
                )
            frames, failed = _frames(run, atoms_from_structure(sorted_structure))
            trajectory = Trajectory(
                ensemble="NPT Langevin, 0 GPa",
                timestep=self.timestep,
                n_steps=self.n_steps,
                temperature_end=self.temperature_end,
                temperature=_temperatures(run),
                friction=self.friction,
                lattice_friction=self.lattice_friction,
                cell_mass=self.cell_mass,
                random_seed=random_seed,
            )
            return LabelDocument.from_frames(
                frames, run.fingerprint(), provenance, failed=failed, trajectory=trajectory
            )


@contextlib.contextmanager
def _in_directory(name: str) -> Iterator[None]:
    Path(name).mkdir(exist_ok=True)
    with contextlib.chdir(name):
        yield


def _largest_force(run: VaspRun) -> float:
    return float(np.linalg.norm(run.atoms().get_forces(), axis=1).max())


def _frames(run: VaspRun, requested: Atoms) -> tuple[list[Frame], list[str]]:
    """The steps of molecular dynamics that are labels, and why the others are not."""
    frames, failed = [], []
    for number in range(len(run.steps)):
        try:
            frame = Frame.from_atoms(run.atoms(number), step=number + 1)
            if found := violations(
                frame, run.report(requested, number), requested, fixed_cell=False
            ):
                raise LabelError("; ".join(found))
            frames.append(frame)
        except LabelError as error:
            logger.warning("step %d left out: %s", number + 1, error)
            failed.append(f"step {number + 1}: {error}")
    return frames, failed


def _temperatures(run: VaspRun) -> list[float] | None:
    """K of each step, from the kinetic energy of the ions; None if VASP did not write it."""
    kinetic = [(step.model_extra or {}).get("kinetic") for step in run.steps]
    if any(energy is None for energy in kinetic):
        return None
    n_atoms = len(run.atoms())
    return [
        2.0 * float(energy) / (3.0 * n_atoms * units.BOLTZMANN)
        for energy in kinetic
        if energy is not None
    ]
