from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from jobflow import Flow

from mgflows import Alloy
from mgflows.errors import InputError
from mgflows.flows.tags import set_campaign, tag
from mgflows.jobs.fitness import FitnessMaker, SimilarityMaker
from mgflows.jobs.labels import AseLabelMaker, AseMethod, AseRelaxMaker
from mgflows.jobs.sampling import SwapMonteCarloMaker
from mgflows.schemas.fitness import FitnessDocument, SimilarityDocument
from mgflows.structures.similarity import SimilaritySummary
from mgflows.surrogate.correlation import FitnessLimits

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobflow import Job, JobStore

ALLOY = Alloy.from_formula("Cu80Al20", n_atoms=120, number_density=0.0694)
LENGTHS = {"short": 30, "long": 300}
N = 4


def _samples() -> tuple[list[Job], dict[str, Any]]:
    """A set of short coolings in one job, long ones in a job each, and family to reference."""
    maker = SwapMonteCarloMaker(equilibration_sweeps=50)
    families = [f"short-{number}" for number in range(N)]
    batch = tag(
        maker.make_set(ALLOY, LENGTHS["short"], list(range(N)), families),
        stage="sampling",
        category="sampling",
    )
    references = {family: batch.output.samples[number] for number, family in enumerate(families)}
    jobs = [batch]
    for number in range(N):
        family = f"long-{number}"
        jobs.append(
            tag(
                maker.make(ALLOY, LENGTHS["long"], number),
                stage="sampling",
                category="sampling",
                family=family,
            )
        )
        references[family] = jobs[-1].output
    return jobs, references


def _labels(method: AseMethod, references: dict[str, Any]) -> list[Job]:
    maker = AseLabelMaker(method=method)
    return [
        tag(
            maker.make(reference.structure),
            stage="labels",
            category="dft",
            subset="lj_surrogate",
            family=family,
            after_failure=True,
        )
        for family, reference in references.items()
    ]


def _flow(*jobs: Job) -> Flow:
    flow = Flow(list(jobs))
    set_campaign(flow, "c")
    return flow


def _outputs(store: JobStore, key: str) -> dict[str, dict[str, Any]]:
    found = store.query({f"output.{key}": {"$exists": True}}, load=True)
    return {document["metadata"]["mgflows"]["family"]: document["output"] for document in found}


def _fitness(
    maker: FitnessMaker, labels: list[Job], references: dict[str, Any], **arguments: Any
) -> Job:
    job = maker.make([label.output for label in labels], list(references.values()), **arguments)
    return tag(job, stage="labels", category="sampling")


def test_the_verdict_is_made_of_the_documents(
    run: Callable[..., Any], store: JobStore, method: AseMethod
) -> None:
    coolings, references = _samples()
    labels = _labels(method, references)
    maker = FitnessMaker(n_pilots=2 * N, minimum_labels=3, relaxation_steps=50)
    job = _fitness(
        maker,
        labels,
        references,
        evaluations={"lj_surrogate": 10, "aimd": 120},
        n_relaxations={"dft_minimized": 3},
    )
    document = FitnessDocument.model_validate(run(_flow(*coolings, *labels, job)))

    found = _outputs(store, "energy_per_atom")
    assert sorted(document.families) == sorted(found) == sorted(references)
    samples = _outputs(store, "e_is")
    batch = store.query_one({"output.families": {"$exists": True}})["output"]
    samples |= dict(zip(batch["families"], batch["samples"], strict=True))
    x, y = (
        [documents[family][key] for family in references]
        for documents, key in ((samples, "energy_lj"), (found, "energy_per_atom"))
    )
    assert document.fit is not None
    assert document.fit.r2 == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)
    assert document.fit.slope == pytest.approx(np.cov(x, y)[0, 1] / np.var(x, ddof=1))
    assert document.pressure == pytest.approx(
        np.mean([label["pressure"] for label in found.values()])
    )
    assert [(rate.n_sweeps, rate.n_samples) for rate in document.rates] == [(30, N), (300, N)]
    seconds = np.mean([label["provenance"]["cpu_seconds"] for label in found.values()])
    assert document.cost.core_seconds_each == pytest.approx(seconds)
    assert document.cost.evaluations == {"lj_surrogate": 10, "aimd": 120, "dft_minimized": 150}
    assert document.cost.core_hours_left == pytest.approx(280 * seconds / 3600.0)
    assert document.fingerprint.description == "effective medium theory"


def test_the_verdict_follows_from_the_limits_and_has_a_reason(
    run: Callable[..., Any], method: AseMethod
) -> None:
    coolings, references = _samples()
    labels = _labels(method, references)
    strict = FitnessMaker(
        n_pilots=2 * N,
        minimum_labels=3,
        limits=FitnessLimits(minimum_slope=1e3, minimum_r2=-1.0, pressure=(0.0, 1e-6)),
    )
    document = FitnessDocument.model_validate(
        run(_flow(*coolings, *labels, _fitness(strict, labels, references)))
    )
    assert not document.passed
    assert (
        "must change by more than 1000; the mean label pressure of the samples is"
        in document.reason
    )


def test_failed_labels_are_counted_until_too_few_are_left(
    run: Callable[..., Any], store: JobStore, method: AseMethod
) -> None:
    coolings, references = _samples()
    labels = _labels(method, references)
    broken = AseLabelMaker(method=AseMethod("no.such.Calculator"))
    for number in range(3):
        family = f"short-{number}"
        label = broken.make(references[family].structure)
        labels[number] = tag(
            label,
            stage="labels",
            category="dft",
            subset="lj_surrogate",
            family=family,
            after_failure=True,
        )
    enough = _fitness(
        FitnessMaker(n_pilots=8, minimum_labels=5, limits=FitnessLimits(minimum_r2=-1.0)),
        labels,
        references,
    )
    short = _fitness(FitnessMaker(n_pilots=8, minimum_labels=6), labels, references)
    run(_flow(*coolings, *labels, enough, short), ensure_success=False)
    document = FitnessDocument.model_validate(store.query_one({"uuid": enough.uuid})["output"])
    assert document.n_samples == 5
    assert document.missing == [label.uuid for label in labels[:3]]
    # A job without a verdict fails, so that it can be run again when the labels are there.
    assert store.query_one({"uuid": short.uuid}) is None
    with pytest.raises(
        InputError, match="5 of 8 pilot labels succeeded, and at least 6 are needed"
    ):
        short.run(store)


def test_relaxed_samples_are_averaged_by_cooling_length(
    run: Callable[..., Any], store: JobStore, method: AseMethod
) -> None:
    coolings, references = _samples()
    chosen = {family: references[family] for family in ("short-0", "short-1", "long-0")}
    maker = AseRelaxMaker(method=method, force_tolerance=1.0, stress_tolerance=5.0)
    relaxed = [
        tag(
            maker.make(reference.structure),
            stage="labels",
            category="dft",
            subset="dft_minimized",
            family=family,
        )
        for family, reference in chosen.items()
    ]
    # A label without displacements, as another code's may be, is left out.
    silent = AseLabelMaker(method=method).make(references["long-1"].structure)
    relaxed.append(
        tag(silent, stage="labels", category="dft", subset="dft_minimized", family="long-1")
    )
    job = SimilarityMaker().make(
        [each.output for each in relaxed], [*chosen.values(), references["long-1"]]
    )
    tag(job, stage="labels", category="sampling")
    document = SimilarityDocument.model_validate(run(_flow(*coolings, *relaxed, job)))
    labels = _outputs(store, "relaxation")
    assert document.families == list(chosen)
    assert [(rate.n_sweeps, rate.n_samples) for rate in document.rates] == [(30, 2), (300, 1)]
    short, long = (
        [
            SimilaritySummary.from_dict(labels[family]["relaxation"]["similarity"])
            for family in chosen
            if family.startswith(length)
        ]
        for length in LENGTHS
    )
    assert document.rates[0].delta_cb == pytest.approx(np.mean([each.delta_cb for each in short]))
    assert document.rates[0].linear_expansion == pytest.approx(
        np.mean([each.relative_volume ** (1 / 3) - 1 for each in short]), abs=1e-6
    )
    assert document.rates[1].mean_displacement == pytest.approx(np.mean(long[0].displacements))
    assert document.rates[1].delta_cb_error is None
    assert document.rates[1].rigid_shift == pytest.approx(np.linalg.norm(long[0].rigid_shift))
    assert sum(document.overall.histogram) == 3 * ALLOY.n_atoms
    assert document.overall.n_samples == 3


def test_labels_of_two_methods_are_refused(
    run: Callable[..., Any], store: JobStore, method: AseMethod
) -> None:
    coolings, references = _samples()
    labels = _labels(method, references)
    other = AseLabelMaker(method=AseMethod("ase.calculators.emt.EMT", kwargs={"asap_cutoff": True}))
    last = f"long-{N - 1}"
    label = other.make(references[last].structure)
    labels[-1] = tag(label, stage="labels", category="dft", subset="lj_surrogate", family=last)
    job = _fitness(FitnessMaker(n_pilots=8, minimum_labels=3), labels, references)
    run(_flow(*coolings, *labels, job), ensure_success=False)
    with pytest.raises(
        InputError, match=r"the pilot labels come from 2 methods \(asap_cutoff: None against True\)"
    ):
        job.run(store)


def test_invalid_settings_are_refused_when_the_maker_is_made() -> None:
    with pytest.raises(InputError, match="minimum_labels is 2 and n_pilots is 20"):
        FitnessMaker(minimum_labels=2)
    with pytest.raises(InputError, match="minimum_labels is 10 and n_pilots is 5"):
        FitnessMaker(n_pilots=5)
