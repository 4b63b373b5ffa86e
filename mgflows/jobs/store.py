"""What jobs read from the JobStore themselves.

Dataset and training jobs look up many documents but need few fields of each, or need their arrays one document at a time. They therefore take
references unresolved and read the store, instead of having jobflow load every array of a campaign into memory at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobflow import CURRENT_JOB
from monty.json import MontyDecoder

from mgflows.schemas.labels import Frame, LabelDocument

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jobflow import JobStore, OutputReference

__all__ = ["current_store", "load_frames", "read_samples", "read_summaries"]


def current_store() -> JobStore:
    """The JobStore of the running job, which must be configured with ``expose_store=True``."""
    return CURRENT_JOB.store


def read_summaries(
    store: JobStore, references: Iterable[OutputReference], fields: list[str]
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Yield (uuid, document) for each reference, in their order, without loading anything from additional stores.

    The document holds ``uuid``, ``metadata`` and the output fields asked for; it is None where the job has no output: it failed.
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
    """Family to the fields asked for of its sample, whether it was cooled alone or in a set; without the samples whose job failed."""
    # Members of a set have one document, which is read once.
    unique = {reference.uuid: reference for reference in references}
    samples: dict[str, dict[str, Any]] = {}
    for _, document in read_summaries(
        store, unique.values(), [*fields, "families", *(f"samples.{name}" for name in fields)]
    ):
        if document is None:
            continue
        output = document["output"]
        if "families" in output:
            samples |= dict(zip(output["families"], output["samples"], strict=True))
        else:
            samples[document["metadata"]["mgflows"]["family"]] = output
    return samples


def load_frames(store: JobStore, uuid: str) -> list[Frame]:
    """The frames of one label document, in the order of its summaries."""
    output = store.get_output(uuid, load=True)
    if "frames" in output:
        return [Frame.model_validate(frame) for frame in output["frames"]]
    document = MontyDecoder().process_decoded(output)
    return LabelDocument.model_validate(document).frames
