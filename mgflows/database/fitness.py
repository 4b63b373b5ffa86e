"""The labelled samples of a campaign with their labels, without loading any structure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mgflows.jobs.store import join_labels, samples_by_family
from mgflows.schemas.sampling import SampleDocument, SampleSetDocument

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jobflow import JobStore

    from mgflows.schemas.frames import FrameRecord
    from mgflows.surrogate.correlation import LabelledSample

__all__ = ["labelled_samples"]

_FIELDS = ("n_sweeps", "energy_lj", "e_is")


def labelled_samples(
    store: JobStore, campaign: str, frames: Iterable[FrameRecord]
) -> list[LabelledSample]:
    """Join samples with the labels of the same structures, shortest cooling first.

    Parameters
    ----------
    store
        The documents.
    campaign
        Name of the campaign.
    frames
        Labelled frames of the campaign; those of the subset `lj_surrogate` are used.
    """
    criteria: dict[str, Any] = {
        "metadata.mgflows.campaign": campaign,
        "output.@class": {"$in": [SampleDocument.__name__, SampleSetDocument.__name__]},
    }
    properties = [
        "metadata.mgflows.family",
        "output.families",
        *(f"output{path}.{name}" for path in ("", ".samples") for name in _FIELDS),
    ]
    samples = samples_by_family(store.docs_store.query(criteria, properties))
    labels = {frame.family: frame for frame in frames if frame.subset == "lj_surrogate"}
    return join_labels(samples, labels)
