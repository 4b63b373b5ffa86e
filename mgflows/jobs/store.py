"""Data that jobs read from the JobStore directly.

Dataset and training jobs look up many documents but need few fields of each, or need the arrays of
one document at a time. They therefore take references unresolved and read the store, so that
jobflow does not load every array of a campaign into memory at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from jobflow import CURRENT_JOB, JobStore
from jobflow.core.schemas import JobStoreDocument
from monty.json import jsanitize

from mgflows.errors import InputError
from mgflows.jobs.worker import store_to_read
from mgflows.schemas.frames import Frame, FrameRecord, FrameSummary
from mgflows.schemas.labels import LabelDocument
from mgflows.surrogate.correlation import LabelledSample

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from jobflow import OutputReference
    from pydantic import BaseModel

    from mgflows.schemas.sampling import SampleDocument
    from mgflows.schemas.training import DatasetFrame

__all__ = [
    "ChangedLabelError",
    "complete_summaries",
    "current_store",
    "iterate_frames",
    "join_labels",
    "listed_frame",
    "load_frames",
    "load_label",
    "read_samples",
    "read_summaries",
    "samples_by_family",
    "store_output",
]

EntryType = TypeVar("EntryType", bound="FrameRecord | DatasetFrame")

_SAME_VALUES = {"energy_per_atom": 1e-6, "pressure": 1e-4, "maximum_force": 1e-4}
"""Largest differences of one stored label, read twice: eV, GPa, eV/A."""


class ChangedLabelError(InputError):
    """A label is not the one that a dataset or a query lists."""


def current_store() -> JobStore:
    """Return the JobStore that the running job, with ``expose_store=True``, reads outputs from."""
    return store_to_read(CURRENT_JOB.store)


def store_output(
    store: JobStore, uuid: str, name: str, output: BaseModel, tags: Mapping[str, str]
) -> None:
    """Store a document that no job made, as a job stores its output; ``frames`` go to GridFS.

    The document is stored after its arrays: an interruption leaves no document without them, which
    would hide that its frames are missing.

    Parameters
    ----------
    store
        The documents.
    uuid
        Its id; a document of the same id is replaced.
    name
        Name of the job or function that made it.
    output
        The document.
    tags
        Its ``metadata.mgflows``: campaign, stage and others.
    """
    document = JobStoreDocument(
        uuid=uuid,
        index=1,
        output=jsanitize(output, strict=True, enum_values=True, allow_bson=True),
        completed_at=datetime.now().isoformat(),
        metadata={"mgflows": dict(tags)},
        hosts=[],
        name=name,
    )
    key = ["uuid", "index"]
    arrays = _ArrayStores(store)
    arrays.update(document, key=key, save={"data": ["frames"]})
    store.docs_store.update(arrays.docs_store.documents, key=key)


class _ArrayStores(JobStore):
    """Stores the arrays of documents only; jobflow's store stores the documents first."""

    docs_store: Any

    def __init__(self, store: JobStore) -> None:
        self.docs_store = _HeldDocuments()
        self.additional_stores = store.additional_stores


class _HeldDocuments:
    """Keeps documents, which refer to their arrays, instead of storing them."""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []

    def update(self, documents: list[dict[str, Any]], key: list[str]) -> None:  # noqa: ARG002
        """Keep documents."""
        self.documents += documents


def read_summaries(
    store: JobStore, references: Iterable[OutputReference], fields: list[str]
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Yield (uuid, document) for each reference, in order, without reading additional stores.

    The document contains ``uuid``, ``metadata`` and the requested fields of the output; it is None
    where the job has no output because it failed.
    """
    uuids = [reference.uuid for reference in references]
    properties = ["uuid", "index", "metadata", *(f"output.{name}" for name in fields)]
    found: dict[str, dict[str, Any]] = {}
    for document in store.docs_store.query({"uuid": {"$in": uuids}}, properties):
        known = found.get(document["uuid"])
        if document.get("output") and (known is None or document["index"] > known["index"]):
            found[document["uuid"]] = document
    for uuid in uuids:
        yield uuid, found.get(uuid)


def read_samples(
    store: JobStore, references: Iterable[OutputReference], fields: list[str]
) -> dict[str, dict[str, Any]]:
    """Return the requested fields of each sample by family, without the samples whose job failed.

    Samples may have been cooled alone or in a set.
    """
    # Members of a set have one document, which is read once.
    unique = {reference.uuid: reference for reference in references}
    properties = [*fields, "families", *(f"samples.{name}" for name in fields)]
    documents = (document for _, document in read_summaries(store, unique.values(), properties))
    return samples_by_family(document for document in documents if document is not None)


def samples_by_family(documents: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the samples of stored documents, of single samples or of sets, by family."""
    samples: dict[str, dict[str, Any]] = {}
    for document in documents:
        output = document["output"]
        if "families" in output:
            samples |= dict(zip(output["families"], output["samples"], strict=True))
        else:
            samples[document["metadata"]["mgflows"]["family"]] = output
    return samples


def join_labels(
    samples: Mapping[str, Mapping[str, Any] | SampleDocument],
    labels: Mapping[str, Mapping[str, Any] | FrameSummary],
) -> list[LabelledSample]:
    """Join samples with the labels of the same structures, shortest cooling first.

    Parameters
    ----------
    samples
        ``n_sweeps``, ``energy_lj`` and ``e_is`` of each sample by family.
    labels
        ``energy_per_atom`` and ``pressure`` of its label by family; others are ignored.
    """

    def get(record: Mapping[str, Any] | SampleDocument | FrameSummary, name: str) -> Any:
        return record[name] if isinstance(record, dict) else getattr(record, name)

    joined = [
        LabelledSample(
            family=family,
            n_sweeps=get(sample, "n_sweeps"),
            energy_lj=get(sample, "energy_lj"),
            e_is=get(sample, "e_is"),
            energy_label=get(labels[family], "energy_per_atom"),
            pressure=get(labels[family], "pressure"),
        )
        for family, sample in samples.items()
        if family in labels
    ]
    return sorted(joined, key=lambda sample: (sample.n_sweeps, sample.family))


def load_label(store: JobStore, uuid: str) -> LabelDocument:
    """Return one label document with its frames.

    Raises
    ------
    InputError
        If the job has no output any more.
    """
    try:
        output = store.get_output(uuid, load=True)
    except ValueError as error:
        raise InputError(
            f"the label {uuid} is not in the database",
            hint="restore it from a backup, or make a dataset without it",
        ) from error
    return LabelDocument.model_validate(output)


@dataclass(frozen=True)
class StoredFrames:
    """The frames of one label document.

    Attributes
    ----------
    frames, summaries
        As in :class:`~mgflows.schemas.labels.LabelDocument`.
    """

    frames: list[Frame]
    summaries: list[FrameSummary]


def load_frames(store: JobStore, uuid: str) -> StoredFrames:
    """Return the frames of one label document, three times as fast as the whole document.

    Raises
    ------
    InputError
        If the job has no output any more.
    """
    document = store.docs_store.query_one(
        {"uuid": uuid}, ["output.frames", "output.summaries"], sort={"index": -1}
    )
    output = (document or {}).get("output") or {}
    reference = output.get("frames")
    if output.get("summaries") and isinstance(reference, list) and all(map(_is_inline, reference)):
        return StoredFrames(
            [Frame.model_validate(each) for each in reference],
            [FrameSummary.model_validate(each) for each in output["summaries"]],
        )
    if not isinstance(reference, dict) or "blob_uuid" not in reference:
        # One of an earlier version.
        label = load_label(store, uuid)
        return StoredFrames(label.frames, label.summaries)
    blob = store.additional_stores[reference["store"]].query_one(
        {"blob_uuid": reference["blob_uuid"]}, ["blob_uuid", "data"]
    )
    if blob is None:
        raise InputError(
            f"the arrays of the label {uuid} are not in the database",
            hint="restore it from a backup, or make a dataset without it",
        )
    return StoredFrames(
        [Frame.model_validate(each) for each in blob["data"]],
        [FrameSummary.model_validate(each) for each in output["summaries"]],
    )


def _is_inline(frame: Any) -> bool:
    """Whether a frame is in the document itself, as that of a single label is."""
    return isinstance(frame, dict) and isinstance(frame.get("numbers"), list)


def iterate_frames(
    store: JobStore, entries: Iterable[EntryType]
) -> Iterator[tuple[int, EntryType, Frame]]:
    """Yield position, entry and frame of listed frames, one label document in memory at a time.

    Frames come document by document; the position is that in the list.

    Parameters
    ----------
    store
        The documents.
    entries
        Frames of a dataset or a query.

    Raises
    ------
    ChangedLabelError
        If a label is not the one that is listed, because its job ran again and gave another result.
    """
    by_uuid: dict[str, list[tuple[int, EntryType]]] = {}
    for position, entry in enumerate(entries):
        by_uuid.setdefault(entry.uuid, []).append((position, entry))
    for uuid, members in by_uuid.items():
        stored = load_frames(store, uuid)
        for position, entry in members:
            yield position, entry, listed_frame(stored, entry.number, entry.frame_id, uuid)


def complete_summaries(
    store: JobStore, uuid: str, document: Mapping[str, Any]
) -> list[FrameSummary]:
    """Return the summaries of a label document.

    Those of earlier versions have no hash of the structure or no formula yet; both are computed
    from the frames.
    """
    summaries = [FrameSummary.model_validate(each) for each in document["output"]["summaries"]]
    if all(summary.structure_id and summary.formula for summary in summaries):
        return summaries
    added = []
    for summary, frame in zip(summaries, load_label(store, uuid).frames, strict=True):
        found = FrameSummary.from_frame(frame)
        missing = {
            name: getattr(found, name)
            for name in ("structure_id", "formula", "volume")
            if not getattr(summary, name)
        }
        added.append(summary.model_copy(update=missing))
    return added


def listed_frame(
    label: LabelDocument | StoredFrames, number: int, frame_id: str, uuid: str
) -> Frame:
    """Return one frame of a label document, if it is the frame that was listed.

    Parameters
    ----------
    label
        The document.
    number, frame_id
        Position of the frame and its hash, as listed by a dataset or a query.
    uuid
        The label job, for the message.

    Raises
    ------
    ChangedLabelError
        If the frame has another hash: the label job ran again and gave another result.
    """
    frame = label.frames[number] if number < len(label.frames) else None
    if frame is not None and (frame.frame_id == frame_id or _is_same(label, number, frame_id)):
        return frame
    found = "missing" if frame is None else frame.frame_id
    raise ChangedLabelError(
        f"the label {uuid} has changed: frame {number} is {found} but {frame_id} is listed",
        hint="the label job ran again and gave another result; make a new dataset of the current "
        "labels, or restore the label from a backup",
    )


def _is_same(label: LabelDocument | StoredFrames, number: int, frame_id: str) -> bool:
    """Compare values of labels of version 0.1, whose coordinates may round differently."""
    stored, found = label.summaries[number], FrameSummary.from_frame(label.frames[number])
    return (
        not stored.structure_id
        and stored.frame_id == frame_id
        and all(
            abs(getattr(stored, name) - getattr(found, name)) < tolerance
            for name, tolerance in _SAME_VALUES.items()
        )
    )
