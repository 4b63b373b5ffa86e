"""Files on a full disk: the file is named, and nothing incomplete is left."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from mgflows.files import atomic_write, read_text

if TYPE_CHECKING:
    from pathlib import Path


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "glasses.xyz"
    path.write_text("old")

    def write() -> None:
        with atomic_write(path) as stream:
            stream.write("half of the new")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left") as raised:
        write()
    assert raised.value.filename == str(path)
    assert [each.name for each in tmp_path.iterdir()] == ["glasses.xyz"]
    assert path.read_text() == "old"


def test_text_is_read_without_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mgflows.yaml"
    path.write_bytes(b"\xef\xbb\xbfdirectory: .\n")
    assert read_text(path) == "directory: .\n"
