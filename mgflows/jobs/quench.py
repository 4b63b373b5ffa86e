"""Glasses quenched with a trained potential: the structures of the feedback stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jobflow import job

from mgflows.jobs.maker import StoredMaker
from mgflows.jobs.progress import JobProgress
from mgflows.jobs.worker import nep_device
from mgflows.schemas.labels import atoms_from_structure, structure_from_atoms
from mgflows.schemas.provenance import maker_settings, record_provenance
from mgflows.schemas.validation import QuenchDocument

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = ["QuenchMaker"]


@dataclass
class QuenchMaker(StoredMaker):
    """Melt and quench with a trained NEP (paper, section II, subset vii).

    Parameters
    ----------
    name
        Name of the jobs.
    temperature_high, temperature_low
        K (paper, section III: 2000 to 300 K).
    equilibration_time
        ps in the melt before cooling.
    timestep
        fs.
    """

    name: str = "quench"
    temperature_high: float = 2000.0
    temperature_low: float = 300.0
    equilibration_time: float = 2.0
    timestep: float = 2.0

    retired: ClassVar[tuple[str, ...]] = ("scaled_down",)

    @job(output_schema=QuenchDocument)
    def make(
        self, structure: Structure, nep_txt: str, potential_id: str, cooling_rate: float, seed: int
    ) -> QuenchDocument:
        """Quench one structure.

        Parameters
        ----------
        structure
            Start; the melt keeps no memory of it.
        nep_txt
            The potential.
        potential_id
            Its hash.
        cooling_rate
            K/ps; the paper's 1000, 100 and 10 K/ns are 1, 0.1 and 0.01 K/ps.
        seed
            Seed of velocities and noise.

        Raises
        ------
        PotentialFailureError
            If the melt evaporates or collapses, or the quench does not end in a glass
            (:func:`mgflows.md.quench.check_glass`): such a structure is not worth a label.
        """
        from mgflows.md.quench import NPTSettings, check_glass, quench
        from mgflows.nep.calculator import nep_calculator

        device = nep_device()
        settings = maker_settings(
            self, potential_id=potential_id, cooling_rate=cooling_rate, nep_device=device
        )
        with record_provenance(
            seed=seed, settings=settings, packages=("nep-adapters", "calorine")
        ) as provenance:
            calculator = nep_calculator(nep_txt, device)
            result = quench(
                atoms_from_structure(structure),
                calculator,
                temperature_high=self.temperature_high,
                temperature_low=self.temperature_low,
                equilibration_time=self.equilibration_time,
                cooling_rate=cooling_rate,
                npt=NPTSettings(timestep=self.timestep),
                seed=seed,
                progress=JobProgress("steps"),
            )
            check_glass(result, calculator)
        trace = result.trace
        return QuenchDocument(
            structure=structure_from_atoms(result.atoms),
            potential_id=potential_id,
            cooling_rate=cooling_rate,
            temperature_high=self.temperature_high,
            temperature_low=self.temperature_low,
            density=float(trace.density[-1]),
            trace={
                "time": trace.time.tolist(),
                "temperature": trace.temperature.tolist(),
                "density": trace.density.tolist(),
                "energy": trace.potential_energy.tolist(),
            },
            provenance=provenance,
        )
