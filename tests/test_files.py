"""Files on a full disk: the file is named, and nothing incomplete is left."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from mgflows.checkpoints import RunCheckpoint
from mgflows.files import atomic_write, read_text, write_text

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


def test_files_follow_the_umask_and_those_with_a_password_are_private(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        RunCheckpoint(tmp_path / "checkpoint.npz", "run").write(dict, now=True)
        write_text(tmp_path / "report.html", "<html>")
        write_text(tmp_path / "new" / "mgflows.yaml", "mongodb_uri: x", permissions=0o600)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {
        "checkpoint.npz": 0o640,
        "report.html": 0o640,
        "new": 0o750,
        "mgflows.yaml": 0o600,
    }


def test_text_is_read_without_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mgflows.yaml"
    path.write_bytes(b"\xef\xbb\xbfdirectory: .\n")
    assert read_text(path) == "directory: .\n"
