"""Labelled frames: summaries from a query, and atoms on demand."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mgflows.jobs.store import complete_summaries, iterate_frames
from mgflows.schemas.frames import FrameRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ase import Atoms
    from jobflow import JobStore

    from mgflows.schemas.training import DatasetFrame

__all__ = ["Clock", "FrameRecord", "iterate_atoms", "load_atoms", "records_of"]


@dataclass(frozen=True)
class Clock:
    """Effective times of the families of one campaign.

    Attributes
    ----------
    families
        log10 of the effective time in t* by family.
    seconds_per_reduced_time
        t* in s.
    """

    families: Mapping[str, float] = field(default_factory=dict)
    seconds_per_reduced_time: float = math.nan


def records_of(
    store: JobStore, document: Mapping[str, Any], clock: Clock, *, complete: bool
) -> list[FrameRecord]:
    """Return the frames of one stored label document.

    Parameters
    ----------
    store
        The documents.
    document
        The document, with ``uuid``, ``metadata.mgflows``, ``output.summaries`` and
        ``output.fingerprint_digest``.
    clock
        Effective times of its campaign.
    complete
        Compute values missing in summaries of version 0.1 from the frames.
    """
    tags, output = document["metadata"]["mgflows"], document["output"]
    summaries = output["summaries"]
    if complete and not all(summary.get("formula") for summary in summaries):
        summaries = [
            summary.model_dump()
            for summary in complete_summaries(store, document["uuid"], document)
        ]
    records = []
    for number, summary in enumerate(summaries):
        family = summary.get("family") or tags.get("family", "")
        log10_time = clock.families.get(family)
        place = {
            "campaign": tags.get("campaign", ""),
            "subset": tags["subset"],
            "family": family,
            "log10_time": log10_time,
            "seconds": None
            if log10_time is None or math.isnan(clock.seconds_per_reduced_time)
            else 10.0**log10_time * clock.seconds_per_reduced_time,
            "fingerprint_digest": output["fingerprint_digest"],
            "uuid": document["uuid"],
            "number": number,
        }
        records.append(FrameRecord.model_validate({**summary, **place}))
    return records


def load_atoms(store: JobStore, frames: Iterable[FrameRecord | DatasetFrame]) -> list[Atoms]:
    """Load frames as ASE atoms with single-point results.

    Parameters
    ----------
    store
        The documents.
    frames
        Frames of a query or of a dataset.

    Returns
    -------
    list of Atoms
        In the order of the frames; ``info`` has frame_id, subset, family and, where known, campaign
        and log10_time.

    Raises
    ------
    ChangedLabelError
        If a label is not the one that is listed, because its job ran again and gave another result.
    """
    atoms = dict(iterate_atoms(store, frames))
    return [atoms[position] for position in range(len(atoms))]


def iterate_atoms(
    store: JobStore, frames: Iterable[FrameRecord | DatasetFrame]
) -> Iterator[tuple[int, Atoms]]:
    """Yield position and atoms of frames, one label document in memory at a time.

    Parameters
    ----------
    store, frames
        As for :func:`load_atoms`; frames come document by document, with their position in the
        list.
    """
    for position, entry, frame in iterate_frames(store, frames):
        info: dict[str, Any] = {"frame_id": entry.frame_id}
        if isinstance(entry, FrameRecord):
            info["campaign"] = entry.campaign
        info |= {"subset": entry.subset, "family": entry.family}
        if entry.log10_time is not None:
            info["log10_time"] = entry.log10_time
        yield position, frame.to_atoms(**info)
