"""The file from which an interrupted training continues with bitwise identical results."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows.errors import InputError
from mgflows.files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["read_checkpoint", "write_checkpoint"]

_META = "meta"


def write_checkpoint(path: Path, meta: dict[str, Any], arrays: dict[str, NDArray]) -> None:
    """Write a checkpoint.

    Parameters
    ----------
    path
        The file.
    meta
        Values that JSON can represent, including integers of any length.
    arrays
        Named arrays.
    """
    text = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    with atomic_write(path, "wb") as stream:
        np.savez(stream, **{_META: text}, **arrays)  # type: ignore[arg-type]


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Read a checkpoint.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays.pop(_META).tobytes())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"the checkpoint {path} cannot be read: {error}",
            hint="delete it to train from the start",
        ) from error
    return meta, arrays
