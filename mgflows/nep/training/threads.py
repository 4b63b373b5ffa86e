"""Sharing compiled work between threads.

The compiled functions release Python's global lock, so that plain threads run them side by side.
OpenMP is not used: its waiting threads occupy cores that other jobs need, and it does not work
after a fork.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["ThreadTeam"]


class ThreadTeam:
    """Threads that share the items of a function call.

    Parameters
    ----------
    n_threads
        Threads, the calling one included.

    Examples
    --------
    >>> a = np.zeros(3)
    >>> ThreadTeam(2).run(lambda items, out: out.__setitem__(items, items**2), 3, a)
    >>> a
    array([0., 1., 4.])
    """

    def __init__(self, n_threads: int = 1) -> None:
        self.n_threads = n_threads
        self._pool = ThreadPoolExecutor(n_threads - 1) if n_threads > 1 else None

    def run(self, function: Callable[..., None], n_items: int, *arguments: Any) -> None:
        """Call ``function(items, *arguments)`` until every item of ``range(n_items)`` is done once.

        The items must be independent of each other: their distribution over the threads varies.
        """
        items: NDArray[np.int64] = np.arange(n_items)
        if self._pool is None or n_items < 2:
            function(items, *arguments)
            return
        shares = [items[k :: self.n_threads].copy() for k in range(self.n_threads)]
        running = [
            self._pool.submit(function, share, *arguments) for share in shares[1:] if len(share)
        ]
        function(shares[0], *arguments)
        for future in running:
            future.result()
