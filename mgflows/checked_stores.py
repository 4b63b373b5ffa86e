"""Stores of jobflow that detect changed and incomplete data when they read it.

Every output and every array is stored with its SHA-256. Data that were stored without one, by
version 0.1 or by other programs, are not checked.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import bson
from gridfs import GridOut
from gridfs.errors import GridFSError
from maggma.stores import GridFSStore, MongoStore
from monty.json import jsanitize

from mgflows.errors import DamagedDataError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CheckedArrays", "CheckedOutputs", "blob_ids", "seal"]

_HINT = "compute that job again with: mgflows heal --yes"


def seal(document: dict[str, Any]) -> None:
    """Record the checksum of an output, and the ids of its arrays, in its metadata."""
    metadata = document.setdefault("metadata", {})
    metadata["sha256"] = _digest(document)
    if blobs := blob_ids(document.get("output")):
        metadata["blobs"] = blobs


def blob_ids(value: Any) -> list[str]:
    """Ids of the arrays in additional stores to which an output refers."""
    if isinstance(value, dict):
        if "blob_uuid" in value:
            return [value["blob_uuid"]]
        value = list(value.values())
    return [name for each in value for name in blob_ids(each)] if isinstance(value, list) else []


class CheckedOutputs(MongoStore):
    """A store of outputs, each of which is compared with its checksum when it is read."""

    def update(self, docs: Any, key: list[str] | str | None = None) -> None:
        """Insert or replace outputs, with their checksums."""
        documents = [
            jsanitize(each, allow_bson=True, recursive_msonable=True)
            for each in (docs if isinstance(docs, list) else [docs])
        ]
        for document in documents:
            seal(document)
        super().update(documents, key=key)

    def query(
        self,
        criteria: dict[str, Any] | None = None,
        properties: dict[str, Any] | list[str] | None = None,
        **options: Any,
    ) -> Iterator[dict[str, Any]]:
        """Read outputs.

        Raises
        ------
        DamagedDataError
            If one of them was changed after it was stored.
        """
        # Parts of an output have no checksum.
        is_whole = properties is None or "output" in properties
        if is_whole and properties is not None:
            properties = dict.fromkeys([*properties, "uuid", "index", "metadata.sha256"], 1)
        for document in super().query(criteria, properties, **options):
            expected = document.get("metadata", {}).get("sha256") if is_whole else None
            if expected is not None and _digest(document) != expected:
                raise DamagedDataError(
                    f"the output of job {document['uuid']} was changed after it was stored",
                    hint=_rerun(document["uuid"]),
                )
            yield document


class CheckedArrays(GridFSStore):
    """A store of arrays, each of which is compared with its checksum when it is read."""

    def update(
        self,
        docs: Any,
        key: list[str] | str | None = None,  # noqa: ARG002
        additional_metadata: str | list[str] | None = None,  # noqa: ARG002
    ) -> None:
        """Insert arrays; their ids are unique."""
        for document in docs if isinstance(docs, list) else [docs]:
            data = json.dumps(jsanitize(document, recursive_msonable=True)).encode()
            metadata = {name: value for name, value in document.items() if name != "data"}
            self._collection.put(
                data, metadata=metadata | {"sha256": hashlib.sha256(data).hexdigest()}
            )

    def query(
        self,
        criteria: dict[str, Any] | None = None,
        properties: dict[str, Any] | list[str] | None = None,  # noqa: ARG002
        **options: Any,
    ) -> Iterator[dict[str, Any]]:
        """Read arrays.

        Raises
        ------
        DamagedDataError
            If one is incomplete, was changed after it was stored, or is named by its id and
            missing.
        """
        missing = _named(criteria)
        for file in self._files_store.query(
            criteria=self.transform_criteria(criteria or {}), **options
        ):
            metadata = file.get("metadata") or {}
            missing.discard(metadata.get(self.key))
            yield self._read(file, metadata)
        if missing:
            raise DamagedDataError(f"the array {min(missing)} is missing", hint=_HINT)

    def _read(self, file: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
        hint = _rerun(metadata.get("job_uuid", "UUID"))
        name = f"the array {metadata.get(self.key)} of job {metadata.get('job_uuid', '(unknown)')}"
        try:
            database = self._files_collection.database
            data = GridOut(database[self.collection_name], file_document=file).read()
        except GridFSError as error:
            raise DamagedDataError(f"{name} is incomplete ({error})", hint=hint) from error
        expected = metadata.get("sha256")
        if expected is not None and hashlib.sha256(data).hexdigest() != expected:
            raise DamagedDataError(f"{name} was changed after it was stored", hint=hint)
        try:
            return json.loads(data)
        except ValueError as error:
            raise DamagedDataError(f"{name} cannot be read ({error})", hint=hint) from error


def _rerun(uuid: str) -> str:
    """Hint with the command that computes the output of a job again."""
    query = json.dumps({"spec.job_uuid": uuid})
    return f"compute that job again with: lpad rerun_fws -q '{query}'"


def _digest(document: dict[str, Any]) -> str:
    """SHA-256 of an output as MongoDB stores it, with its uuid and index."""
    content = [document.get(name) for name in ("uuid", "index", "output")]
    return hashlib.sha256(bson.encode({"content": content})).hexdigest()


def _named(criteria: dict[str, Any] | None) -> set[str]:
    """The ids of arrays that a query names."""
    wanted = (criteria or {}).get("blob_uuid")
    if isinstance(wanted, dict):
        return set(wanted.get("$in", ()))
    return {wanted} if isinstance(wanted, str) else set()
