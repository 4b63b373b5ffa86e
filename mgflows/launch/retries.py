"""Writes that wait out a database which is away: a crashed or restarting server costs a worker time, never a result.

pymongo waits for a server before it sends something, and repeats a read whose connection broke; a write whose connection broke it
repeats only on replica sets. Here every repeated write gives the same result as one (keyed upserts, ids that may be skipped).
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


def patiently(action: Callable[[], T], seconds: float) -> T:
    """Do something with the database, again and again while its connection breaks.

    Parameters
    ----------
    action
        What to do; doing it twice must be the same as doing it once.
    seconds
        For how long to try.

    Raises
    ------
    pymongo.errors.AutoReconnect
        If the database stays away.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return action()
        except AutoReconnect as error:
            if time.monotonic() > deadline:
                raise
            logger.warning("the database is away (%s), waiting for it", str(error)[:200])
            time.sleep(_PAUSE_SECONDS)


class PatientRows:
    """The documents of a query, all read before the first is given out: a broken cursor cannot be continued.

    Parameters
    ----------
    read
        Makes the pymongo cursor.
    seconds
        How long an outage may last.
    """

    def __init__(self, read: Callable[[], Cursor], seconds: float) -> None:
        self._read = read
        self._seconds = seconds

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Read the documents."""
        return iter(patiently(lambda: list(self._read()), self._seconds))

    def __getattr__(self, name: str) -> Callable[..., PatientRows]:
        """Refine the query as pymongo's cursors do: sort, limit, and so on."""
        return lambda *args, **kwargs: PatientRows(
            lambda: getattr(self._read(), name)(*args, **kwargs), self._seconds
        )


class PatientCollection:
    """A pymongo collection whose reads and writes wait out an outage.

    Parameters
    ----------
    collection
        The collection.
    seconds
        How long an outage may last.
    """

    def __init__(self, collection: Collection, seconds: float) -> None:
        self._collection = collection
        self._seconds = seconds

    def find(self, *args: Any, **kwargs: Any) -> PatientRows:
        """Query documents."""
        return PatientRows(lambda: self._collection.find(*args, **kwargs), self._seconds)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the collection's own, made patient where it can be repeated."""
        attribute = getattr(self._collection, name)
        if name not in _REPEATED:
            return attribute

        @functools.wraps(attribute)
        def repeated(*args: Any, **kwargs: Any) -> Any:
            return patiently(lambda: attribute(*args, **kwargs), self._seconds)

        return repeated


class PatientJobStore(JobStore):
    """A JobStore whose reads and writes wait out an outage.

    Parameters
    ----------
    store
        The store to read and write.
    seconds
        How long an outage may last.
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
        """Write documents, and what belongs in the additional stores."""
        patiently(lambda: JobStore.update(self, docs, key=key, save=save), self._seconds)

    def query(self, *args: Any, **kwargs: Any) -> Any:
        """Read documents, all before the first is returned: a broken cursor cannot be continued."""
        return iter(patiently(lambda: list(JobStore.query(self, *args, **kwargs)), self._seconds))
