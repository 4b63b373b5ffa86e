"""The JobStore of one launch, which refuses the output of a job that was given to another worker.

A worker that is suspended or disconnected for longer than the limit of lost runs may continue after
its job was rerun. Its output must not replace one that later jobs have used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from jobflow import JobStore
from pymongo.errors import DuplicateKeyError

from mgflows.checked_stores import blob_ids, seal
from mgflows.launch.processes import end_if_forked
from mgflows.launch.retries import with_retries

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from maggma.stores import MongoStore
    from pymongo.collection import Collection as MongoCollection

__all__ = ["LAUNCH_ID", "LaunchJobStore", "SupersededError"]

LAUNCH_ID = "launch_id"
"""Key in the metadata of an output: the launch that stored it. Later launches have larger ids."""


class SupersededError(BaseException):
    """The job of this launch was given to another worker.

    It derives from BaseException so that an ``except Exception`` in a job does not catch it.
    """


class LaunchJobStore(JobStore):
    """The worker's JobStore, for one launch.

    Parameters
    ----------
    store
        The worker's JobStore.
    launches
        FireWorks' collection of launches.
    launch_id
        The launch.
    seconds
        Longest outage of the database, s.
    """

    def __init__(
        self, store: JobStore, launches: MongoCollection, launch_id: int, seconds: float = 0.0
    ) -> None:
        super().__init__(
            store.docs_store,
            additional_stores=store.additional_stores,
            save=store.save,
            load=store.load,
        )
        self.docs_store = self._outputs = _Outputs(store.docs_store, launch_id)
        self._store = store
        self._launches = launches
        self._launch_id = launch_id
        self._seconds = seconds
        self._process = os.getpid()

    def update(self, docs: Any, key: list[str] | str | None = None, save: Any = None) -> None:
        """Store outputs, unless a later launch of the job has stored its own.

        Raises
        ------
        SupersededError
            If it has; nothing of this launch stays in the store.
        """
        end_if_forked(self._process)
        with_retries(lambda: self._update(docs, key, save), self._seconds)

    def adopt(
        self, documents: list[dict[str, Any]], arrays: Mapping[str, list[dict[str, Any]]]
    ) -> None:
        """Store outputs and arrays that the job wrote elsewhere; may be repeated.

        Parameters
        ----------
        documents
            The outputs, with references to the arrays.
        arrays
            Name of the additional store to arrays with their ids.

        Raises
        ------
        SupersededError
            As for `update`.
        """
        with_retries(lambda: self._adopt(documents, arrays), self._seconds)

    def confirm(self, notes: dict[str, Any]) -> None:
        """Keep the outputs if the launch still has its job, and add notes to the launch.

        Raises
        ------
        SupersededError
            If the job was given to another launch; the outputs are removed. No job has read them:
            jobs that depend on them start when the launch is completed.
        """
        mine = {"launch_id": self._launch_id, "state": "RUNNING"}
        change = {"$set": {**notes, "output_stored": True}}
        found = with_retries(
            lambda: self._launches.update_one(mine, change).matched_count, self._seconds
        )
        if not found:
            with_retries(self._withdraw, self._seconds)
            raise SupersededError(f"launch {self._launch_id} has lost its job")

    def query(self, *args: Any, **kwargs: Any) -> Iterator[dict[str, Any]]:
        """Read documents, as the worker's JobStore does."""
        return self._store.query(*args, **kwargs)

    def _update(self, docs: Any, key: list[str] | str | None, save: Any) -> None:
        self._outputs.written.clear()
        # Documents are written before their arrays.
        super().update(docs, key=key, save=save)
        self._remove_obsolete()

    def _adopt(
        self, documents: list[dict[str, Any]], arrays: Mapping[str, list[dict[str, Any]]]
    ) -> None:
        self._outputs.written.clear()
        self._outputs.update(documents, key=["uuid", "index"])
        for name, blobs in arrays.items():
            store = self.additional_stores[name]
            ids = [blob["blob_uuid"] for blob in blobs]
            # An earlier attempt may have stored some.
            present = set(store.distinct("blob_uuid", {"blob_uuid": {"$in": ids}}))
            store.update([blob for blob in blobs if blob["blob_uuid"] not in present])
        self._remove_obsolete()

    def _remove_obsolete(self) -> None:
        """Remove the arrays of replaced outputs, or those of this launch if it was superseded."""
        for document, obsolete in self._outputs.written:
            if not self._outputs.is_current(document):
                self._remove_arrays(document)
                raise SupersededError(f"launch {self._launch_id} has lost its job")
            self._remove_arrays(obsolete, kept=blob_ids(document))

    def _withdraw(self) -> None:
        for document, _ in self._outputs.written:
            self._outputs.remove(document)
            self._remove_arrays(document)

    def _remove_arrays(self, document: dict[str, Any] | None, kept: Collection[str] = ()) -> None:
        for uuid in set(blob_ids(document)).difference(kept):
            for store in self.additional_stores.values():
                store.remove_docs({"blob_uuid": uuid})


class _Outputs:
    """A store of documents, in which a launch replaces outputs of earlier launches only.

    Parameters
    ----------
    store
        The store in MongoDB.
    launch_id
        The launch.

    Attributes
    ----------
    written
        The documents that were written, each with the one that it replaced or None.
    """

    def __init__(self, store: MongoStore, launch_id: int) -> None:
        self._store = store
        self._launch_id = launch_id
        self.written: list[tuple[dict[str, Any], dict[str, Any] | None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def update(self, docs: list[dict[str, Any]], key: list[str]) -> None:
        """Insert or replace documents."""
        for document in docs:
            seal(document)
            document["metadata"][LAUNCH_ID] = self._launch_id
            # Without a match the document is inserted, which a unique index refuses.
            earlier = {f"metadata.{LAUNCH_ID}": {"$not": {"$gt": self._launch_id}}}
            try:
                obsolete = self._store._collection.find_one_and_replace(
                    {name: document[name] for name in key} | earlier, document, upsert=True
                )
            except DuplicateKeyError as error:
                raise SupersededError(
                    f"a launch after {self._launch_id} has stored the output"
                ) from error
            self.written.append((document, obsolete))

    def is_current(self, document: dict[str, Any]) -> bool:
        """Whether no later launch has replaced a document; only checked if it has arrays."""
        if not blob_ids(document):
            return True
        return self._store._collection.find_one(self._own(document), {"_id": 1}) is not None

    def remove(self, document: dict[str, Any]) -> None:
        """Remove a document, unless a later launch has replaced it."""
        self._store._collection.delete_one(self._own(document))

    def _own(self, document: dict[str, Any]) -> dict[str, Any]:
        return {
            "uuid": document["uuid"],
            "index": document["index"],
            f"metadata.{LAUNCH_ID}": self._launch_id,
        }
