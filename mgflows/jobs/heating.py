"""Molecular dynamics as a source of labels: heating from 0 to 2000 K, every step a frame.

A check shows whether the stresses of a trajectory contain the kinetic part.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jobflow import JobConfig, Maker, job

from mgflows import units
from mgflows.errors import InputError
from mgflows.jobs.labels import calculator_of, prepare
from mgflows.jobs.progress import JobProgress
from mgflows.jobs.store import current_store, load_label
from mgflows.jobs.structures import structure_job
from mgflows.methods.ase import AseMethod
from mgflows.schemas.frames import Frame
from mgflows.schemas.labels import LabelDocument, LabelError, Trajectory, TrajectoryCheckDocument
from mgflows.schemas.provenance import maker_settings, record_provenance

if TYPE_CHECKING:
    from jobflow import JobStore, OutputReference
    from pymatgen.core import Structure

    from mgflows.methods.base import LabelMethod

__all__ = ["AseHeatingMaker", "TrajectoryCheckMaker"]

_CHECKPOINT = "checkpoint-heating.npz"


@dataclass
class AseHeatingMaker(Maker):
    """Heat a structure at zero pressure with an ASE calculator and keep every step as a frame.

    An interrupted trajectory resumes from its last steps in the next launch.

    The paper's ab initio molecular dynamics (section II, subset v; Methods, "DFT Calculations"):
    NPT Langevin dynamics, 1 fs, about 120 steps from 0 to 2000 K, friction 20/ps on the atoms and
    5/ps on the lattice.

    Parameters
    ----------
    name
        Name of the jobs.
    method
        The calculator and its settings; the stand-in EAM by default. The trajectory is ab initio
        only with a density functional.
    temperature_end
        K of the thermostat at the last step; the atoms lag behind it.
    n_steps
        Number of steps; each is a frame.
    timestep
        fs.
    """

    name: str = "heat"
    method: LabelMethod = field(default_factory=AseMethod.stand_in)
    temperature_end: float = 2000.0
    n_steps: int = 120
    timestep: float = 1.0

    @structure_job(data="frames", output_schema=LabelDocument)
    def make(self, structure: Structure, seed: int) -> LabelDocument:
        """Heat one structure; the seed determines velocities and noise."""
        from mgflows.md.quench import AIMD_SETTINGS, HeatingRamp, heat

        with record_provenance(
            seed=seed, settings=maker_settings(self), n_cores=self.method.n_cores
        ) as provenance:
            atoms = prepare(structure)
            with calculator_of(self.method, atoms) as calculator:
                result = heat(
                    atoms,
                    calculator,
                    HeatingRamp(temperature_end=self.temperature_end, n_steps=self.n_steps),
                    npt=replace(AIMD_SETTINGS, timestep=self.timestep),
                    seed=seed,
                    checkpoint=Path.cwd() / _CHECKPOINT,
                    progress=JobProgress("steps"),
                )
            frames, failed = [], []
            for number, labelled in enumerate(result.frames, start=1):
                try:
                    frames.append(Frame.from_atoms(labelled, step=number))
                except LabelError as error:
                    failed.append(f"step {number}: {error}")
        trajectory = Trajectory(
            ensemble="NPT Langevin, 0 GPa",
            timestep=self.timestep,
            n_steps=self.n_steps,
            temperature_end=self.temperature_end,
            temperature=result.trace.temperature.tolist(),
        )
        fingerprint = self.method.fingerprint(sorted(set(atoms.symbols)))
        return LabelDocument.from_frames(
            frames, fingerprint, provenance, failed=failed, trajectory=trajectory
        )


@dataclass
class TrajectoryCheckMaker(Maker):
    """Compare the last frame of a trajectory with a single point of the same structure.

    A stress of molecular dynamics may contain the kinetic part ``N k T / V``, which is not a
    property of a structure and must not be trained on. Codes differ in this respect, and some
    differ from their own manual. At the end of the paper's heating it is about 1 GPa, far more than
    any other difference between the two calculations.

    Parameters
    ----------
    name
        Name of the job.
    largest_fraction
        Largest difference of the two pressures, as a fraction of the kinetic pressure.
    """

    name: str = "check trajectory"
    largest_fraction: float = 0.5

    @job(
        output_schema=TrajectoryCheckDocument,
        config=JobConfig(resolve_references=False, expose_store=True),
    )
    def make(self, trajectory: OutputReference, label: OutputReference) -> TrajectoryCheckDocument:
        """Compare the last frame of a trajectory with its own label.

        Parameters
        ----------
        trajectory
            Output of a heating job.
        label
            Output of the job that labelled its last ``structure``.

        Raises
        ------
        InputError
            If one of the two failed.
        """
        store = current_store()
        with record_provenance(
            settings=maker_settings(self),
            parents=[trajectory.uuid, label.uuid],
        ) as provenance:
            heated, single_point = (
                _load(store, reference, what)
                for reference, what in (
                    (trajectory, "the trajectory"),
                    (label, "the label of its last frame"),
                )
            )
            last, again = heated.frames[-1], single_point.frames[0]
            if heated.trajectory is None or last.step is None:
                raise InputError(
                    f"the frames of {trajectory.uuid} are not steps of molecular dynamics",
                    hint="give the output of a heating job",
                )
            temperature = heated.trajectory.temperature_at(last.step)
            difference = last.pressure - again.pressure
            kinetic = float(
                units.ev_per_a3_to_gpa(
                    len(last.numbers) * units.BOLTZMANN * temperature / last.volume
                )
            )
            forces = np.array(last.forces) - np.array(again.forces)
        holds = difference > self.largest_fraction * kinetic
        return TrajectoryCheckDocument(
            passed=not holds,
            reason=(
                f"the pressure of the last frame differs by {difference:+.3f} GPa from that of a "
                f"single point, and its kinetic part is {kinetic:.3f} GPa: the stresses of the "
                "trajectory "
                + ("contain it and must not be trained on" if holds else "do not contain it")
            ),
            pressure_difference=difference,
            kinetic_pressure=kinetic,
            energy_difference=last.energy_per_atom - again.energy_per_atom,
            force_difference=float(np.sqrt(np.mean(forces**2))),
            temperature=temperature,
            provenance=provenance,
        )


def _load(store: JobStore, reference: OutputReference, what: str) -> LabelDocument:
    try:
        return load_label(store, reference.uuid)
    except InputError as error:
        raise InputError(
            f"{what} has no output: its job failed", hint="fix that job and rerun both"
        ) from error
