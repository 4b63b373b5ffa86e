"""Molecular dynamics as a source of labels: heating from 0 to 2000 K, every step a frame, and a check of what their stresses hold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jobflow import JobConfig, Maker, job

from mgflows import units
from mgflows.errors import InputError
from mgflows.jobs.labels import calculator_of, method_settings, prepare
from mgflows.jobs.progress import JobProgress
from mgflows.jobs.store import current_store, load_frames, read_summaries
from mgflows.methods.ase import AseMethod
from mgflows.schemas.labels import Frame, LabelError, LabelSetDocument, TrajectoryCheckDocument
from mgflows.schemas.provenance import record_provenance

if TYPE_CHECKING:
    from jobflow import OutputReference
    from pymatgen.core import Structure

    from mgflows.methods.base import LabelMethod

__all__ = ["AseHeatingMaker", "TrajectoryCheckMaker"]

_CHECKPOINT = "checkpoint-heating.npz"


@dataclass
class AseHeatingMaker(Maker):
    """Heat a structure at zero pressure with an ASE calculator and keep every step as a frame.

    A trajectory that was interrupted goes on from its last steps in the next launch.

    The paper's ab initio molecular dynamics (section II, subset v; Methods, "DFT Calculations"): NPT Langevin dynamics, 1 fs, about 120 steps
    from 0 to 2000 K, friction 20/ps on the atoms and 5/ps on the lattice.

    Parameters
    ----------
    name
        Name of the jobs.
    method
        The calculator and its settings; the stand-in EAM by default. With anything but a density functional the trajectory is molecular dynamics, not ab initio.
    temperature_end
        K of the thermostat at the last step; the atoms lag behind it.
    n_steps
        Number of steps, each a frame.
    timestep
        fs.
    """

    name: str = "heat"
    method: LabelMethod = field(default_factory=AseMethod.stand_in)
    temperature_end: float = 2000.0
    n_steps: int = 120
    timestep: float = 1.0

    @job(data="frames", output_schema=LabelSetDocument)
    def make(self, structure: Structure, seed: int) -> LabelSetDocument:
        """Heat one structure; the seed decides velocities and noise."""
        from mgflows.md.quench import AIMD_SETTINGS, heat

        protocol = {
            "temperature_end": self.temperature_end,
            "n_steps": self.n_steps,
            "timestep": self.timestep,
        }
        settings = method_settings(self.method) | protocol
        with record_provenance(
            seed=seed, settings=settings, n_cores=self.method.n_cores
        ) as provenance:
            atoms = prepare(structure)
            with calculator_of(self.method, atoms) as calculator:
                result = heat(
                    atoms,
                    calculator,
                    temperature_end=self.temperature_end,
                    n_steps=self.n_steps,
                    npt=replace(AIMD_SETTINGS, timestep=self.timestep),
                    seed=seed,
                    checkpoint=Path.cwd() / _CHECKPOINT,
                    progress=JobProgress("steps"),
                )
            frames, failed = [], []
            for number, labelled in enumerate(result.frames, start=1):
                try:
                    frames.append(Frame.from_atoms(labelled, f"step {number}"))
                except LabelError as error:
                    failed.append(f"step {number}: {error}")
        trajectory = protocol | {
            "ensemble": "NPT Langevin, 0 GPa",
            "temperature": result.trace.temperature.tolist(),
        }
        fingerprint = self.method.fingerprint(sorted(set(atoms.symbols)))
        return LabelSetDocument.from_frames(
            frames, fingerprint, provenance, failed=failed, trajectory=trajectory
        )


@dataclass
class TrajectoryCheckMaker(Maker):
    """Compare the last frame of a trajectory with a single point of the same structure.

    A stress of molecular dynamics may hold the kinetic part ``N k T / V``, which is no property of a structure and must not be trained on; codes do not
    agree on it, nor always with their own manual. At the end of the paper's heating it is about 1 GPa, far more than anything else that
    differs between the two calculations.

    Parameters
    ----------
    name
        Name of the job.
    largest_fraction
        Largest part of the kinetic pressure that the difference of the two pressures may be.
    """

    name: str = "check trajectory"
    largest_fraction: float = 0.5

    @job(
        output_schema=TrajectoryCheckDocument,
        config=JobConfig(resolve_references=False, expose_store=True),
    )
    def make(self, trajectory: OutputReference, label: OutputReference) -> TrajectoryCheckDocument:
        """Compare.

        Parameters
        ----------
        trajectory
            Output of a heating job.
        label
            Output of the job that labelled its ``last_structure``.

        Raises
        ------
        InputError
            If one of the two failed.
        """
        store = current_store()
        with record_provenance(
            settings={"largest_fraction": self.largest_fraction},
            parents=[trajectory.uuid, label.uuid],
        ) as provenance:
            found = dict(
                read_summaries(store, [trajectory, label], ["n_frames", "energy", "trajectory"])
            )
            for reference, what in (
                (trajectory, "the trajectory"),
                (label, "the label of its last frame"),
            ):
                if found[reference.uuid] is None:
                    raise InputError(
                        f"{what} has no output because its job failed; mend that one and rerun both"
                    )
            last, again = load_frames(store, trajectory.uuid)[-1], load_frames(store, label.uuid)[0]
            document = found[trajectory.uuid]
            step = int(last.name.rpartition(" ")[2])
            temperature = (
                float(document["output"]["trajectory"]["temperature"][step - 1])
                if document
                else float("nan")
            )
            difference = units.pressure_from_stress(last.stress) - units.pressure_from_stress(
                again.stress
            )
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
                f"the pressure of the last frame is {difference:+.3f} GPa from that of a single point, and its kinetic part is {kinetic:.3f} GPa: "
                + (
                    "the stresses of the trajectory hold it and cannot be trained on"
                    if holds
                    else "the stresses of the trajectory do not hold it"
                )
            ),
            pressure_difference=difference,
            kinetic_pressure=kinetic,
            energy_difference=last.energy_per_atom - again.energy_per_atom,
            force_difference=float(np.sqrt(np.mean(forces**2))),
            temperature=temperature,
            provenance=provenance,
        )
