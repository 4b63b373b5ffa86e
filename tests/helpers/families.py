"""A small campaign of trivial jobs: samples, their labels and a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobflow import Flow

from mgflows.flows.tags import set_campaign, tag
from tests.helpers import jobs

if TYPE_CHECKING:
    from pathlib import Path

    from jobflow import Job


def families(
    journal: Path, n: int = 4, *, failing: tuple[int, ...] = (), gate: Job | None = None
) -> Flow:
    """n samples, a label of each, and a collector: three stages of a campaign."""
    samples = [
        jobs.fail(str(journal), f"s{i}")
        if i in failing
        else jobs.add(str(journal), f"s{i}", float(i), 0.0)
        for i in range(n)
    ]
    labels = [
        jobs.add(str(journal), f"l{i}", sample.output, 1.0) for i, sample in enumerate(samples)
    ]
    dataset = jobs.collect(str(journal), "dataset", [label.output for label in labels])
    for i, (sample, label) in enumerate(zip(samples, labels, strict=True)):
        sample.name, label.name = f"s{i}", f"l{i}"
        tag(sample, stage="sampling", category="sampling", family=f"f{i}")
        tag(
            label,
            stage="labels",
            category="dft",
            subset="lj_surrogate",
            family=f"f{i}",
            after_failure=True,
            gate=gate and gate.uuid,
        )
    tag(dataset, stage="training", category="sampling")
    flow = Flow([*samples, *labels, dataset, *([gate] if gate else [])])
    set_campaign(flow, "c1")
    return flow
