"""Compile functions with numba, with a cache on disk that is never stale and never blocks a run.

``numba.njit(cache=True)`` compares the file of a function with its cache and nothing else: after an
edit of a function that it calls from another file, the old machine code keeps running. It also
raises an error where neither the package nor the home directory can be written. :func:`njit`
compares all Python files of the package folder, and falls back to a private temporary folder or to
no cache. Processes that start together, such as the workers of a campaign, compile each function
once: the others wait for the first and load its code.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import inspect
import logging
import os
import pickle
import stat
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numba
from numba.core import caching
from numba.misc.appdirs import AppDirs

from mgflows.files import digest_of_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["cache_folder", "njit"]

logger = logging.getLogger(__name__)

_DAMAGED = (
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    KeyError,
    OSError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)
"""Exceptions that reading a damaged file of compiled code may raise."""
_LONGEST_WAIT = 120.0
"""s after which a function that another process compiles is compiled here as well."""
_POLL_SECONDS = 0.05


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles a function and keeps the result on disk.

    Parameters
    ----------
    options
        As for :func:`numba.njit`, except ``cache``.

    Notes
    -----
    The cache is discarded when any Python file in the folder of the function changes: keep kernels
    that depend on each other in one folder.

    Examples
    --------
    >>> @njit(error_model="numpy")
    ... def inverse(x):
    ...     return 1.0 / x
    >>> float(inverse(4.0))
    0.25
    """

    def compile_function(function: Callable[..., Any]) -> Any:
        compiled = numba.njit(**options)(function)
        folder = Path(inspect.getfile(function)).parent
        if not numba.config.DISABLE_JIT and cache_folder(folder) is not None:
            compiled._cache = cache = _Cache(function)
            compiled._compiler.compile = cache.unlocking_on_error(compiled._compiler.compile)
        return compiled

    return compile_function


@functools.cache
def cache_folder(sources: Path) -> Path | None:
    """Return the folder that holds the compiled code of a folder of Python files.

    This is the first writable one of: a folder in ``NUMBA_CACHE_DIR``, if that is set; the
    ``__pycache__`` of the Python files; the user's cache directory; a folder in the temporary
    directory that belongs to this user alone. None if there is none.
    """
    if not sources.is_dir():
        return None
    for folder, is_private in _candidates(sources):
        try:
            if is_private:
                _make_private(folder.parent)
                logger.info("compiled code is kept in %s", folder)
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            logger.debug("compiled code cannot be kept in %s: %s", folder, error)
        else:
            return folder
    logger.warning(
        "there is no writable folder for compiled code, so that every process compiles it again; "
        "set NUMBA_CACHE_DIR to a writable folder"
    )
    return None


def _candidates(sources: Path) -> Iterator[tuple[Path, bool]]:
    """Yield possible cache folders, and whether others could have made them."""
    name = f"{sources.name}-{digest_of_text(str(sources.resolve()))}"
    if numba.config.CACHE_DIR:
        yield Path(numba.config.CACHE_DIR) / name, False
    yield sources / "__pycache__", False
    user = Path(AppDirs("mgflows", appauthor=False).user_cache_dir)
    if user.is_absolute():
        yield user / "numba" / name, False
    try:
        temporary = Path(tempfile.gettempdir())
    except OSError:
        return
    yield temporary / f"mgflows-numba-{os.getuid()}" / name, True


def _make_private(folder: Path) -> None:
    """Make a folder in which no other user can place machine code."""
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"{folder} is not a private folder of this user")


@functools.cache
def _digest_of_sources(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


class _Locator(caching._CacheLocator):
    """Location of the compiled code of one function, and a stamp of its sources."""

    def __init__(self, function: Any, file: str) -> None:
        self._sources = Path(file).parent
        self._line = function.__code__.co_firstlineno

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> _Locator:
        return cls(py_func, py_file)

    def ensure_cache_path(self) -> None:
        """Leave the folder as :func:`cache_folder` made it."""

    def get_cache_path(self) -> str:
        return str(cache_folder(self._sources))

    def get_source_stamp(self) -> str:
        return _digest_of_sources(self._sources)

    def get_disambiguator(self) -> str:
        return str(self._line)


class _CacheContent(caching.CompileResultCacheImpl):
    _locator_classes = (_Locator,)


class _Cache(caching.FunctionCache):
    """A cache that skips files that cannot be read or written, and locks while it compiles."""

    _impl_class = _CacheContent

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        self._lock: IO[bytes] | None = None

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Load compiled code; None if this process is to compile it."""
        found = self._load(sig, target_context)
        if found is None and self._lock is None:
            self._acquire()
            # Another process may have compiled it since the first attempt.
            found = self._load(sig, target_context)
            if found is not None:
                self._release()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except _DAMAGED:
            # The index is damaged, or the disk full.
            try:
                self.flush()
                super().save_overload(sig, data)
            except OSError as error:
                logger.info("compiled code cannot be kept in %s: %s", self.cache_path, error)
                self.disable()
        finally:
            self._release()

    def unlocking_on_error(self, compile_function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that compiles and, if that fails, releases the lock."""

        def compile_or_release(*arguments: Any) -> Any:
            try:
                return compile_function(*arguments)
            except BaseException:
                self._release()
                raise

        return compile_or_release

    def _load(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except _DAMAGED as error:
            logger.info("compiled code in %s cannot be read: %s", self.cache_path, error)
            return None

    def _acquire(self) -> None:
        """Wait until no other process compiles this function, for at most `_LONGEST_WAIT`."""
        path = Path(self.cache_path) / f"{self._impl.filename_base}.lock"
        deadline = time.monotonic() + _LONGEST_WAIT
        lock: IO[bytes] | None = None
        try:
            lock = path.open("ab")
            while not _has_locked(lock) and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
        except OSError as error:
            logger.debug("%s cannot be locked: %s", path, error)
        self._lock = lock

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _has_locked(stream: IO[bytes]) -> bool:
    """Lock a file for this process, unless another process has; it ends with the process."""
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
