"""The samples of a campaign that have a label, joined with it, without loading any structure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mgflows.schemas.sampling import SampleDocument, SampleSetDocument
from mgflows.surrogate.correlation import LabelledSample

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jobflow import JobStore

    from mgflows.database.frames import FrameRecord

__all__ = ["labelled_samples"]

_FIELDS = ("n_sweeps", "energy_lj", "e_is")


def labelled_samples(
    store: JobStore, campaign: str, frames: Iterable[FrameRecord]
) -> list[LabelledSample]:
    """Join samples with their labels as sampled, shortest cooling first.

    Parameters
    ----------
    store
        The documents.
    campaign
        Its name.
    frames
        Labelled frames of the campaign; those of the subset `lj_surrogate` count.
    """
    labels = {frame.family: frame for frame in frames if frame.subset == "lj_surrogate"}
    criteria: dict[str, Any] = {
        "metadata.mgflows.campaign": campaign,
        "output.@class": {"$in": [SampleDocument.__name__, SampleSetDocument.__name__]},
    }
    properties = [
        "metadata.mgflows.family",
        "output.families",
        *(f"output{path}.{name}" for path in ("", ".samples") for name in _FIELDS),
    ]
    samples: dict[str, dict[str, Any]] = {}
    for document in store.docs_store.query(criteria, properties):
        output = document["output"]
        if "families" in output:
            samples |= dict(zip(output["families"], output["samples"], strict=True))
        else:
            samples[document["metadata"]["mgflows"]["family"]] = output
    joined = [
        LabelledSample(
            family=family,
            energy_label=labels[family].energy_per_atom,
            pressure=labels[family].pressure,
            **{name: sample[name] for name in _FIELDS},
        )
        for family, sample in samples.items()
        if family in labels
    ]
    return sorted(joined, key=lambda sample: (sample.n_sweeps, sample.family))
