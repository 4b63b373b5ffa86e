"""Molecular dynamics as a source of labels: heating from 0 to 2000 K, every step a frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobflow import Maker, job

from mgflows.jobs.labels import AseMethod
from mgflows.jobs.progress import JobProgress
from mgflows.schemas.labels import Frame, LabelSetDocument, atoms_from_structure
from mgflows.schemas.provenance import record_provenance

if TYPE_CHECKING:
    from pymatgen.core import Structure

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
        The calculator; the stand-in EAM by default. With anything but a density functional the trajectory is molecular dynamics, not ab initio.
    temperature_end
        K of the thermostat at the last step; the atoms lag behind it.
    n_steps
        Number of steps, each a frame.
    timestep
        fs.
    """

    name: str = "heat"
    method: AseMethod = field(default_factory=AseMethod.stand_in)
    temperature_end: float = 2000.0
    n_steps: int = 120
    timestep: float = 1.0

    @job(data="frames", output_schema=LabelSetDocument)
    def make(self, structure: Structure, seed: int) -> LabelSetDocument:
        """Heat one structure; the seed decides velocities and noise."""
        from mgflows.validation.quench import heat

        settings = {"temperature_end": self.temperature_end, "n_steps": self.n_steps, "timestep": self.timestep}
        with record_provenance(seed=seed, settings=settings) as provenance:
            result = heat(
                atoms_from_structure(structure),
                self.method.build(),
                temperature_end=self.temperature_end,
                n_steps=self.n_steps,
                timestep=self.timestep,
                seed=seed,
                progress=JobProgress("steps"),
            )
            frames = [Frame.from_atoms(atoms, f"step {number}") for number, atoms in enumerate(result.frames, start=1)]
        trajectory = settings | {"ensemble": "NPT Langevin, 0 GPa", "temperature": result.trace.temperature.tolist()}
        return LabelSetDocument.from_frames(frames, self.method.fingerprint(), provenance, trajectory=trajectory)
