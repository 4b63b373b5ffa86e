"""Jobs that evaluate the surrogate with its labels.

The gate before the bulk of the labels, and the similarity of samples and relaxed samples.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jobflow import JobConfig, Maker, OnMissing, job

from mgflows.errors import InputError
from mgflows.jobs.store import current_store, join_labels, read_samples, read_summaries
from mgflows.schemas.fitness import (
    CostForecast,
    FitnessDocument,
    FitnessRecord,
    SimilarityDocument,
    SimilarityRecord,
)
from mgflows.schemas.labels import MethodFingerprint, Relaxation
from mgflows.schemas.provenance import maker_settings, record_provenance
from mgflows.structures.similarity import average_similarity
from mgflows.surrogate.correlation import FitnessLimits, measure_fitness

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
    """Evaluate the surrogate with the first labels, and estimate the cost of the others.

    ``passed`` of the output is a gate: :func:`mgflows.launch.advance` submits the jobs behind it
    only if it is true, and reports ``reason`` otherwise. ``mgflows advance CAMPAIGN --accept-gate``
    overrides it. jobflow's ``run_locally`` has no gates: the verdict is stored and all jobs run.

    Parameters
    ----------
    name
        Name of the job.
    n_pilots
        Labels to use, spread evenly over the cooling lengths. A campaign of at most twice as
        many samples has no gate, which would save little.
    minimum_labels
        Fewest pilot labels for a verdict; with fewer the job fails.
    limits
        Limits that the surrogate must meet.
    relaxation_steps
        Evaluations assumed for a relaxation in the estimate: FIRE and LBFGS take 100 to 350 from a
        sample of the surrogate (docs/how_to/costs.md); optimisers of other codes differ.
    """

    name: str = "surrogate fitness"
    n_pilots: int = 20
    minimum_labels: int = 10
    limits: FitnessLimits = field(default_factory=FitnessLimits)
    relaxation_steps: int = 250

    def __post_init__(self) -> None:
        if not 3 <= self.minimum_labels <= self.n_pilots:
            raise InputError(
                f"minimum_labels is {self.minimum_labels} and n_pilots is {self.n_pilots}",
                hint="give 3 <= minimum_labels <= n_pilots; a line needs at least 3 labels",
            )

    @job(output_schema=FitnessDocument, config=_COLLECTOR)
    def make(
        self,
        labels: list[OutputReference],
        samples: list[OutputReference],
        evaluations: dict[str, int] | None = None,
        n_relaxations: dict[str, int] | None = None,
    ) -> FitnessDocument:
        """Evaluate the surrogate.

        Parameters
        ----------
        labels
            Outputs of the pilot label jobs; missing ones are counted, not fatal.
        samples
            Outputs of the jobs that cooled these samples.
        evaluations
            Number of energy-and-force evaluations behind the gate by subset, without relaxations.
        n_relaxations
            Number of relaxations behind the gate by subset.

        Raises
        ------
        InputError
            If there are fewer than ``minimum_labels`` labels, or labels of several methods.
        """
        store = current_store()
        with record_provenance(
            settings=maker_settings(
                self, evaluations=evaluations or {}, n_relaxations=n_relaxations or {}
            ),
            parents=[label.uuid for label in labels],
        ) as provenance:
            surrogate = read_samples(store, samples, ["n_sweeps", "energy_lj", "e_is"])
            found = _read_labels(
                store,
                labels,
                ["energy_per_atom", "pressure", *_COST_FIELDS],
                self.minimum_labels,
                "pilot labels",
            )
            fitness = measure_fitness(join_labels(surrogate, found.documents))
            cost = CostForecast.from_costs(
                [label["provenance"] for label in found.documents.values()],
                evaluations or {},
                n_relaxations or {},
                self.relaxation_steps,
            )
        violations = self.limits.violations(fitness)
        reason = "; ".join(violations) or self.limits.summary(fitness)
        logger.log(
            logging.WARNING if violations else logging.INFO,
            "the gate is %s: %s",
            "closed" if violations else "open",
            reason,
        )
        return FitnessDocument(
            **dict(FitnessRecord.from_fitness(fitness)),
            passed=not violations,
            reason=reason,
            limits=self.limits,
            n_pilots=len(labels),
            missing=found.missing,
            families=list(found.documents),
            cost=cost,
            fingerprint=found.fingerprint,
            provenance=provenance,
        )


@dataclass
class SimilarityMaker(Maker):
    """Average the changes of the samples of the surrogate on relaxation, by cooling length.

    Paper, Fig. 1b. Rigid shift and affine change of the cell are removed from the displacements
    (:mod:`mgflows.structures.similarity`); the document has both.

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
            Outputs of the relaxations, :class:`~mgflows.schemas.labels.LabelDocument` with
            ``relaxation``; missing ones are counted, not fatal.
        samples
            Outputs of the jobs that cooled these samples.

        Raises
        ------
        InputError
            If there is no relaxation, or relaxations of several methods.
        """
        store = current_store()
        with record_provenance(
            settings=maker_settings(self), parents=[label.uuid for label in relaxed]
        ) as provenance:
            lengths = {
                family: sample["n_sweeps"]
                for family, sample in read_samples(store, samples, ["n_sweeps"]).items()
            }
            found = _read_labels(store, relaxed, ["relaxation"], 1, "relaxations")
            relaxations = {
                family: Relaxation.model_validate(label.get("relaxation") or {})
                for family, label in found.documents.items()
            }
            # Makers of other codes may leave the similarity out.
            changes = {
                family: relaxation.similarity
                for family, relaxation in relaxations.items()
                if relaxation.similarity is not None
            }
            if not changes:
                raise InputError(
                    "no relaxation records how far its atoms moved",
                    hint="give Relaxation(similarity=compare_structures(initial, relaxed)) to the "
                    "LabelDocument in the relaxation Maker",
                )
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
    """Requested fields of each label by family, the jobs without an output, and the method."""

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
            f"{len(documents)} of {len(references)} {what} succeeded, and at least {minimum} are "
            "needed",
            hint="rerun the failed ones, then this job",
        )
    first, *others = methods.values()
    if others:
        raise InputError(
            f"the {what} come from {len(methods)} methods "
            f"({'; '.join(first.differences(others[0]))})",
            hint="use one method for all",
        )
    return _Labels(documents, missing, first)
