from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matscipy.calculators.eam.io import read_eam

from mgflows.eam.model import pair_key
from mgflows.eam.setfl import Tabulation, write_setfl
from mgflows.eam.stand_in import stand_in_model

if TYPE_CHECKING:
    from pathlib import Path

SMALL = Tabulation(n_distances=201, n_densities=151)


def test_round_trip(tmp_path: Path) -> None:
    model = stand_in_model(("Zr", "Cu", "Al"))
    path = write_setfl(tmp_path / "model.eam.alloy", model, comment="one\nline only")
    assert path.read_text().splitlines()[0] == "one line only"
    _, parameters, embedding, density, r_phi = read_eam(str(path))
    assert list(parameters.atomic_numbers) == [40, 29, 13]
    assert parameters.cutoff == model.cutoff
    r = np.arange(2001) * parameters.distance_grid_spacing
    rho = np.arange(2501) * parameters.density_grid_spacing
    assert (r[-1], rho[-1]) == (pytest.approx(8.0), pytest.approx(150.0))
    for i, first in enumerate(model.species):
        np.testing.assert_allclose(
            embedding[i], model.embedding[first](rho), rtol=1e-12, atol=1e-12
        )
        np.testing.assert_allclose(density[i], model.density[first](r), rtol=1e-12)
        for j, second in enumerate(model.species):
            np.testing.assert_allclose(
                r_phi[i, j], r * model.pair[pair_key(first, second)](r), rtol=1e-12, atol=1e-12
            )


def test_the_same_bytes_every_time_and_no_other_file(tmp_path: Path) -> None:
    model = stand_in_model()
    first, second = (
        write_setfl(tmp_path / name, model, tabulation=SMALL).read_bytes() for name in ("a", "b")
    )
    assert first == second
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_setfl(tmp_path / "taken", stand_in_model(), tabulation=SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def _write_often(path: Path) -> None:
    for _ in range(10):
        write_setfl(path, stand_in_model(), tabulation=SMALL)


def test_a_reader_never_sees_half_a_file_while_two_processes_write_it(tmp_path: Path) -> None:
    path = tmp_path / "model.eam.alloy"
    whole = write_setfl(path, stand_in_model(), tabulation=SMALL).read_bytes()
    writers = [
        multiprocessing.get_context("spawn").Process(target=_write_often, args=(path,))
        for _ in range(2)
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_bytes() == whole
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
