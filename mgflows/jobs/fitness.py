"""Jobs that judge the surrogate by its labels: the gate before the bulk of them, and the similarity of relaxed samples."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jobflow import JobConfig, Maker, OnMissing, job

from mgflows.errors import InputError
from mgflows.jobs.store import current_store, read_samples, read_summaries
from mgflows.schemas.fitness import (
    CostForecast,
    FitnessDocument,
    FitnessRecord,
    SimilarityDocument,
    SimilarityRecord,
)
from mgflows.schemas.labels import MethodFingerprint
from mgflows.schemas.provenance import record_provenance
from mgflows.structures.similarity import SimilaritySummary, average_similarity
from mgflows.surrogate.correlation import FitnessLimits, LabelledSample, measure_fitness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobflow import JobStore, OutputReference

__all__ = ["FitnessMaker", "SimilarityMaker"]

logger = logging.getLogger(__name__)

_COLLECTOR = JobConfig(
    resolve_references=False, expose_store=True, on_missing_references=OnMissing.NONE
)


@dataclass
class FitnessMaker(Maker):
    """Judge the surrogate by the first labels of its samples, and say what the others will cost.

    The output's ``passed`` is a gate: :func:`mgflows.launch.advance` submits the jobs that name this one as their gate only when it is true, and says the
    output's ``reason`` otherwise. ``mgflows advance CAMPAIGN --accept-gate`` goes on all the same. Under jobflow's ``run_locally``, which knows no
    gates, the verdict is stored and nothing is held back.

    Parameters
    ----------
    name
        Name of the job.
    n_pilots
        Labels to judge by, the same number of each cooling length as far as there are so many. A campaign of at most twice as many samples
        has no gate: it would save little.
    minimum_labels
        Fewest labels, of the pilots, with which there is a verdict; with fewer the job fails and says so.
    limits
        What the surrogate must reach.
    relaxation_steps
        Evaluations to count for a relaxation in the forecast: FIRE and LBFGS take 100 to 350 from a sample of the surrogate (docs/costs.md); optimisers of
        other codes differ.
    """

    name: str = "surrogate fitness"
    n_pilots: int = 20
    minimum_labels: int = 10
    limits: FitnessLimits = field(default_factory=FitnessLimits)
    relaxation_steps: int = 250

    def __post_init__(self) -> None:
        if not 3 <= self.minimum_labels <= self.n_pilots:
            raise InputError(
                f"minimum_labels is {self.minimum_labels} and n_pilots {self.n_pilots}; a line needs at least 3 labels, and there are at most n_pilots"
            )

    @job(output_schema=FitnessDocument, config=_COLLECTOR)
    def make(
        self,
        labels: list[OutputReference],
        samples: list[OutputReference],
        evaluations: dict[str, int] | None = None,
        n_relaxations: dict[str, int] | None = None,
    ) -> FitnessDocument:
        """Judge the surrogate.

        Parameters
        ----------
        labels
            Outputs of the pilot label jobs; missing ones are counted, not fatal.
        samples
            Outputs of the jobs that cooled these samples.
        evaluations
            Subset to the number of energy-and-force evaluations that wait behind the gate, relaxations left out.
        n_relaxations
            Subset to the number of relaxations that wait there.

        Raises
        ------
        InputError
            If fewer than ``minimum_labels`` labels are there, or they come from several methods.
        """
        store = current_store()
        with record_provenance(
            settings={"limits": asdict(self.limits)}, parents=[label.uuid for label in labels]
        ) as provenance:
            surrogate = read_samples(store, samples, ["n_sweeps", "energy_lj", "e_is"])
            found = _read_labels(
                store,
                labels,
                ["energy_per_atom", "pressure", *_COST_FIELDS],
                self.minimum_labels,
                "pilot labels",
            )
            points = [
                LabelledSample(
                    family=family,
                    n_sweeps=surrogate[family]["n_sweeps"],
                    energy_lj=surrogate[family]["energy_lj"],
                    e_is=surrogate[family]["e_is"],
                    energy_label=label["energy_per_atom"],
                    pressure=label["pressure"],
                )
                for family, label in found.documents.items()
            ]
            fitness = measure_fitness(points)
            cost = self._forecast(
                [label["provenance"] for label in found.documents.values()],
                evaluations or {},
                n_relaxations or {},
            )
        objections = self.limits.violations(fitness)
        reason = "; ".join(objections) or self.limits.praise(fitness)
        logger.log(
            logging.WARNING if objections else logging.INFO,
            "the gate is %s: %s",
            "closed" if objections else "open",
            reason,
        )
        return FitnessDocument(
            **dict(FitnessRecord.from_fitness(fitness)),
            passed=not objections,
            reason=reason,
            limits=asdict(self.limits),
            n_pilots=len(labels),
            missing=found.missing,
            families=list(found.documents),
            cost=cost,
            fingerprint=found.fingerprint,
            provenance=provenance,
        )

    def _forecast(
        self,
        costs: Sequence[dict[str, Any]],
        evaluations: dict[str, int],
        n_relaxations: dict[str, int],
    ) -> CostForecast:
        core, wall = (
            np.array([cost[key] for cost in costs], dtype=float)
            for key in ("cpu_seconds", "wall_seconds")
        )
        left = {
            subset: evaluations.get(subset, 0)
            + self.relaxation_steps * n_relaxations.get(subset, 0)
            for subset in sorted({*evaluations, *n_relaxations})
        }
        hours = sum(left.values()) / 3600.0
        return CostForecast(
            n_labels=len(costs),
            core_hours=float(core.sum()) / 3600.0,
            wall_hours=float(wall.sum()) / 3600.0,
            core_seconds_each=float(core.mean()),
            wall_seconds_each=float(wall.mean()),
            largest_memory=max(cost["max_rss_mib"] for cost in costs),
            evaluations=left,
            relaxation_steps=self.relaxation_steps,
            core_hours_left=float(core.mean()) * hours,
            wall_hours_left=float(wall.mean()) * hours,
        )


@dataclass
class SimilarityMaker(Maker):
    """Average, by cooling length, what relaxation changed in the samples of the surrogate (paper, Fig. 1b).

    Rigid shift and affine change of the cell are taken out of the displacements (:mod:`mgflows.structures.similarity`); the document states both.

    Parameters
    ----------
    name
        Name of the job.
    """

    name: str = "similarity"

    @job(output_schema=SimilarityDocument, config=_COLLECTOR)
    def make(
        self, relaxed: list[OutputReference], samples: list[OutputReference]
    ) -> SimilarityDocument:
        """Average over the relaxed samples.

        Parameters
        ----------
        relaxed
            Outputs of the relaxations, :class:`~mgflows.schemas.labels.LabelDocument` with ``relaxation``; missing ones are counted, not fatal.
        samples
            Outputs of the jobs that cooled these samples.

        Raises
        ------
        InputError
            If no relaxation is there, or they come from several methods.
        """
        store = current_store()
        with record_provenance(parents=[label.uuid for label in relaxed]) as provenance:
            lengths = {
                family: sample["n_sweeps"]
                for family, sample in read_samples(store, samples, ["n_sweeps"]).items()
            }
            found = _read_labels(store, relaxed, ["relaxation"], 1, "relaxations")
            # A relaxation of another code may say nothing about displacements.
            told = {
                family: label["relaxation"]
                for family, label in found.documents.items()
                if "displacements" in (label.get("relaxation") or {})
            }
            if not told:
                raise InputError(
                    "no relaxation says how far its atoms moved; let its Maker put SimilaritySummary.as_dict() into the label's relaxation"
                )
            changes = {
                family: SimilaritySummary.from_dict(relaxation)
                for family, relaxation in told.items()
            }
            rates = [
                SimilarityRecord.from_average(
                    length,
                    average_similarity(
                        [changes[family] for family in changes if lengths[family] == length]
                    ),
                )
                for length in sorted({lengths[family] for family in changes})
            ]
            overall = SimilarityRecord.from_average(
                None, average_similarity(list(changes.values()))
            )
        return SimilarityDocument(
            rates=rates,
            overall=overall,
            families=list(changes),
            missing=found.missing,
            fingerprint=found.fingerprint,
            provenance=provenance,
        )


_COST_FIELDS = [f"provenance.{name}" for name in ("cpu_seconds", "wall_seconds", "max_rss_mib")]


@dataclass(frozen=True)
class _Labels:
    """Family to its label, as far as the fields asked for; the jobs without an output; the one method of all."""

    documents: dict[str, dict[str, Any]]
    missing: list[str]
    fingerprint: MethodFingerprint


def _read_labels(
    store: JobStore,
    references: Sequence[OutputReference],
    fields: list[str],
    minimum: int,
    what: str,
) -> _Labels:
    documents: dict[str, dict[str, Any]] = {}
    missing: list[str] = []
    methods: dict[str, MethodFingerprint] = {}
    for uuid, document in read_summaries(
        store, references, [*fields, "fingerprint", "fingerprint_digest"]
    ):
        if document is None:
            missing.append(uuid)
            continue
        output = document["output"]
        documents[document["metadata"]["mgflows"]["family"]] = output
        methods.setdefault(
            output["fingerprint_digest"], MethodFingerprint.model_validate(output["fingerprint"])
        )
    if len(documents) < minimum:
        raise InputError(
            f"{len(documents)} of {len(references)} {what} are there and at least {minimum} are needed; run the failed ones again, then this job"
        )
    first, *others = methods.values()
    if others:
        raise InputError(
            f"the {what} come from {len(methods)} methods ({'; '.join(first.differences(others[0]))}); use one for all"
        )
    return _Labels(documents, missing, first)
