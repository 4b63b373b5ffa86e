"""Molecular dynamics as a source of labels: heating from 0 to 2000 K, every step a frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobflow import Maker, job

from mgflows.jobs.labels import calculator_of, method_settings, prepare
from mgflows.jobs.progress import JobProgress
from mgflows.schemas.labels import Frame, LabelError, LabelSetDocument
from mgflows.schemas.provenance import record_provenance
from mgflows.sets.ase import AseMethod

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from mgflows.sets.method import LabelMethod

__all__ = ["AseHeatingMaker"]


@dataclass
class AseHeatingMaker(Maker):
    """Heat a structure at zero pressure with an ASE calculator and keep every step as a frame.

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
        from mgflows.validation.quench import heat

        protocol = {"temperature_end": self.temperature_end, "n_steps": self.n_steps, "timestep": self.timestep}
        settings = method_settings(self.method) | protocol
        with record_provenance(seed=seed, settings=settings, n_cores=self.method.n_cores) as provenance:
            atoms = prepare(structure)
            with calculator_of(self.method, atoms) as calculator:
                result = heat(
                    atoms,
                    calculator,
                    temperature_end=self.temperature_end,
                    n_steps=self.n_steps,
                    timestep=self.timestep,
                    seed=seed,
                    progress=JobProgress("steps"),
                )
            frames, failed = [], []
            for number, labelled in enumerate(result.frames, start=1):
                try:
                    frames.append(Frame.from_atoms(labelled, f"step {number}"))
                except LabelError as error:
                    failed.append(f"step {number}: {error}")
        trajectory = protocol | {"ensemble": "NPT Langevin, 0 GPa", "temperature": result.trace.temperature.tolist()}
        fingerprint = self.method.fingerprint(sorted(set(atoms.symbols)))
        return LabelSetDocument.from_frames(frames, fingerprint, provenance, failed=failed, trajectory=trajectory)
