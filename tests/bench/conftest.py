"""Frames for the benchmarks of trainers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers import emt_frames as frames

if TYPE_CHECKING:
    from ase import Atoms


@pytest.fixture(scope="session")
def emt_frames() -> list[Atoms]:
    return frames.emt_frames()
