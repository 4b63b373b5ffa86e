"""Small file helpers that are needed everywhere: reading, atomic writes and digests."""

from __future__ import annotations

import functools
import hashlib
import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import ArrayLike

__all__ = [
    "atomic_write",
    "digest_of_arrays",
    "digest_of_text",
    "parse_yaml",
    "read_text",
    "replace_texts",
    "sha256_of_file",
    "with_absolute_paths",
    "write_text",
]


@contextmanager
def atomic_write(
    path: Path | str, mode: str = "w", *, permissions: int = 0o666
) -> Iterator[IO[Any]]:
    """Open a temporary file that replaces `path` when the block ends without an error.

    Readers see the old content or the new one, never a part, and a crash leaves the old file. The
    content is on disk before it replaces the file.

    Parameters
    ----------
    path
        The file; its folder is made if it is missing.
    mode
        ``"w"`` for text (UTF-8) or ``"wb"`` for bytes.
    permissions
        Permission bits of the file before the umask, such as ``0o600`` for a file with a password.

    Raises
    ------
    OSError
        If the folder or the file cannot be written, with the name of the file; the temporary file
        is removed.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "summary.json"
    >>> with atomic_write(file) as stream:
    ...     _ = stream.write("{}")
    >>> file.read_text(encoding="utf-8")
    '{}'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, permissions)
    try:
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            # A full disk is noticed while writing, where the system does not name the file.
            error.filename = str(path)
        raise


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML's safe loader takes the last of two entries with one name."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in names:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} is given twice", key.start_mark
                )
            names.add(key.value)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """Parse YAML of plain values, in which no name of a mapping is given twice.

    Raises
    ------
    yaml.YAMLError
        For text that is not YAML, or a name that is given twice.
    """
    return yaml.load(text, _UniqueKeyLoader)


def read_text(path: Path | str) -> str:
    """Read a text file in UTF-8, without the byte order mark that editors of Windows put first.

    Raises
    ------
    OSError
        If the file cannot be read.
    UnicodeDecodeError
        If it is not UTF-8.
    """
    return Path(path).read_text(encoding="utf-8-sig")


def write_text(path: Path | str, text: str, *, permissions: int = 0o666) -> None:
    """Write a text file atomically; the parameters are those of :func:`atomic_write`."""
    with atomic_write(path, permissions=permissions) as stream:
        stream.write(text)


def digest_of_text(*parts: str, length: int = 16) -> str:
    """Hexadecimal SHA-256 digest of texts, cut to `length` digits."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:length]


def digest_of_arrays(arrays: Iterable[tuple[ArrayLike, int]], length: int = 20) -> str:
    """Hexadecimal SHA-256 digest of arrays, each rounded to a number of decimals.

    Rounding makes the digest independent of how the numbers were stored.

    Parameters
    ----------
    arrays
        Pairs of an array and the decimals to which it is rounded.
    length
        Digits of the digest.
    """
    digest = hashlib.sha256()
    for values, decimals in arrays:
        # Adding zero turns -0.0 into 0.0, which has other bytes.
        rounded = np.round(np.asarray(values, dtype=float), decimals) + 0.0
        digest.update(np.ascontiguousarray(rounded).tobytes())
    return digest.hexdigest()[:length]


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 digest of a file; an unchanged file is read once."""
    status = path.stat()
    return _sha256(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, changed: int, size: int) -> str:  # noqa: ARG001
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def with_absolute_paths(kwargs: dict[str, Any]) -> dict[str, Any]:
    """A copy of keyword arguments in which relative paths to existing files are absolute.

    Jobs run in other directories than the one in which their input was written. A text without a
    suffix or a folder, such as ``"small"``, is not taken for a path.

    Parameters
    ----------
    kwargs
        Plain JSON values, nested as deep as needed, and paths.
    """

    def absolute(value: str | Path) -> str:
        path = Path(value).expanduser()
        looks_like_path = isinstance(value, Path) or "/" in value or bool(path.suffix)
        return str(path.absolute()) if looks_like_path and path.is_file() else str(value)

    return dict(replace_texts(kwargs, absolute))


def replace_texts(value: Any, change: Callable[[Any], Any]) -> Any:
    """A copy of a nested value in which `change` was applied to every text and path."""
    if isinstance(value, str | Path):
        return change(value)
    if isinstance(value, dict):
        return {key: replace_texts(member, change) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(replace_texts(member, change) for member in value)
    return value
