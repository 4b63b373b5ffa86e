"""Programs that print recorded outputs of the real ones: two atoms of strained B2 CuZr."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ase import Atoms

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def pair() -> Atoms:
    return Atoms(
        "CuZr", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.52)], cell=[3.26, 3.26, 3.3], pbc=True
    )


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[[str], Path]:
    """A recorded output, unpacked."""

    def unpack(name: str) -> Path:
        path = tmp_path / name.replace("/", "_")
        path.write_bytes(gzip.decompress((DATA / f"{name}.gz").read_bytes()))
        return path

    return unpack


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Put a program made of shell commands on PATH, and work in a separate directory."""
    folder = tmp_path / "bin"
    folder.mkdir()
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("PATH", str(folder), prepend=":")

    def write(name: str, commands: str) -> None:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{commands}\n")
        path.chmod(0o755)

    return write
