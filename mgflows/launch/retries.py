"""Database access that waits for an unavailable server, so that an outage loses no result.

pymongo waits for a server before it sends a request, and repeats a read whose connection broke; it
repeats a write only on replica sets. Here every repeated write has the same effect as a single one
(keyed upserts, ids that may be skipped).
"""

from __future__ import annotations

import functools
import logging
import time
from typing import TYPE_CHECKING, Any, TypeVar

from jobflow import JobStore
from pymongo.errors import AutoReconnect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.collection import Collection
    from pymongo.cursor import Cursor

logger = logging.getLogger(__name__)

T = TypeVar("T")
_PAUSE_SECONDS = 0.5
_REPEATED = frozenset(
    {
        "count_documents",
        "delete_many",
        "find_one",
        "find_one_and_replace",
        "find_one_and_update",
        "replace_one",
        "update_many",
        "update_one",
    }
)


def with_retries(action: Callable[[], T], seconds: float) -> T:
    """Access the database, and retry while the connection is broken.

    Parameters
    ----------
    action
        The access; two calls must have the same effect as one.
    seconds
        Longest time of retries, s.

    Raises
    ------
    pymongo.errors.AutoReconnect
        If the database remains unavailable.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return action()
        except AutoReconnect as error:
            if time.monotonic() > deadline:
                raise
            logger.warning("the database is unavailable (%s), waiting for it", str(error)[:200])
            time.sleep(_PAUSE_SECONDS)


class RetryingRows:
    """The documents of a query, all read before the first is returned.

    A broken cursor cannot be continued.

    Parameters
    ----------
    read
        Creates the pymongo cursor.
    seconds
        Longest outage, s.
    """

    def __init__(self, read: Callable[[], Cursor], seconds: float) -> None:
        self._read = read
        self._seconds = seconds

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Read the documents."""
        return iter(with_retries(lambda: list(self._read()), self._seconds))

    def __getattr__(self, name: str) -> Callable[..., RetryingRows]:
        """Refine the query like pymongo's cursors: sort, limit, and so on."""
        return lambda *args, **kwargs: RetryingRows(
            lambda: getattr(self._read(), name)(*args, **kwargs), self._seconds
        )


class RetryingCollection:
    """A pymongo collection whose reads and writes wait for an unavailable server.

    Parameters
    ----------
    collection
        The collection.
    seconds
        Longest outage, s.
    """

    def __init__(self, collection: Collection, seconds: float) -> None:
        self._collection = collection
        self._seconds = seconds

    @property
    def plain(self) -> Collection:
        """The collection without retries."""
        return self._collection

    def find(self, *args: Any, **kwargs: Any) -> RetryingRows:
        """Query documents."""
        return RetryingRows(lambda: self._collection.find(*args, **kwargs), self._seconds)

    def __getattr__(self, name: str) -> Any:
        """Return the collection's own attributes; operations that may be repeated are retried."""
        attribute = getattr(self._collection, name)
        if name not in _REPEATED:
            return attribute

        @functools.wraps(attribute)
        def repeated(*args: Any, **kwargs: Any) -> Any:
            return with_retries(lambda: attribute(*args, **kwargs), self._seconds)

        return repeated


class RetryingJobStore(JobStore):
    """A JobStore whose reads and writes wait for an unavailable server.

    Parameters
    ----------
    store
        The store.
    seconds
        Longest outage, s.
    """

    def __init__(self, store: JobStore, seconds: float) -> None:
        super().__init__(
            store.docs_store,
            additional_stores=store.additional_stores,
            save=store.save,
            load=store.load,
        )
        self._seconds = seconds

    def update(self, docs: Any, key: list[str] | str | None = None, save: Any = None) -> None:
        """Write documents and the data of the additional stores."""
        with_retries(lambda: JobStore.update(self, docs, key=key, save=save), self._seconds)

    def query(self, *args: Any, **kwargs: Any) -> Any:
        """Read documents, all before the first is returned (see `RetryingRows`)."""
        return iter(
            with_retries(lambda: list(JobStore.query(self, *args, **kwargs)), self._seconds)
        )
