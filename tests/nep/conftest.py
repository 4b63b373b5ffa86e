"""Frames and parameters for the tests of neuroevolution potentials."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.build import bulk

from tests.helpers import emt_frames as frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms

    from mgflows.nep import NepParameters

TINY_POTENTIAL = Path(__file__).parents[1] / "data" / "tiny_nep.txt"


@pytest.fixture(scope="session")
def make_emt_frame() -> Callable[..., Atoms]:
    return frames.emt_frame


@pytest.fixture(scope="session")
def emt_frames() -> list[Atoms]:
    return frames.emt_frames()


@pytest.fixture(scope="session")
def small_parameters() -> NepParameters:
    return frames.PARAMETERS


@pytest.fixture(scope="session")
def tiny_potential() -> Path:
    return TINY_POTENTIAL


@pytest.fixture
def glass() -> Atoms:
    """A strained, disordered Cu-Zr-Al cell for the tiny potential."""
    rng = np.random.default_rng(3)
    atoms = bulk("Cu", "bcc", a=3.2, cubic=True).repeat(3)
    atoms.symbols[:] = rng.permutation(["Cu"] * 25 + ["Zr"] * 25 + ["Al"] * 4)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0.0, 0.02, (3, 3))), scale_atoms=True)
    atoms.rattle(0.15, rng=rng)
    return atoms
