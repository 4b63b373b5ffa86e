from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from mgflows.errors import InputError
from mgflows.methods.convergence import convergence
from tests.helpers.analytic_method import AnalyticMethod


@pytest.fixture
def atoms():
    return bulk("Cu", cubic=True)


def test_the_stress_decides_where_the_forces_are_perfect(atoms):
    series = convergence(atoms, AnalyticMethod(), "cutoff", [800.0, 400.0, 600.0, 300.0])
    assert [point.value for point in series.points] == [300.0, 400.0, 600.0, 800.0]
    expected = 36.0 * (np.exp(-np.array([0.0, 100.0, 300.0, 500.0]) / 50.0) - np.exp(-10.0))
    assert [point.pressure for point in series.points] == pytest.approx(expected, abs=1e-9)
    assert all(point.force == pytest.approx(0.0, abs=1e-12) for point in series.points)
    assert all(point.deviator == pytest.approx(0.0, abs=1e-9) for point in series.points)
    # The total energy is off by 250 meV at 600 eV, equally for every structure, which needs no
    # higher cutoff.
    assert series.points[2].total_energy == pytest.approx(1e5 * (np.exp(-6.0) - np.exp(-10.0)))
    assert series.points[2].energy == pytest.approx(0.0, abs=1e-6)
    assert series.recommended.value == 600.0
    assert series.pressure == pytest.approx(5.0, abs=2e-3)


def test_each_k_mesh_is_tried_once(atoms):
    series = convergence(atoms, AnalyticMethod(), "k_spacing", [1.0, 0.6, 0.55, 0.25, 0.2])
    # 2 pi / 3.61 A = 1.741/A.
    assert [(point.value, point.mesh) for point in series.points] == [
        (1.0, (2,) * 3),
        (0.6, (3,) * 3),
        (0.25, (7,) * 3),
        (0.2, (9,) * 3),
    ]
    assert [point.force for point in series.points] == pytest.approx(
        [1 / 8 - 1 / 729, 1 / 27 - 1 / 729, 1 / 343 - 1 / 729, 0.0]
    )
    assert series.recommended.mesh == (7, 7, 7)
    assert "k-spacing 0.25 1/A, 7x7x7 in this cell" in series.advice


def test_a_series_that_is_too_short_recommends_nothing(atoms):
    series = convergence(atoms, AnalyticMethod(), "cutoff", [300.0, 400.0])
    assert series.recommended is None
    assert "extend the series to finer settings" in series.advice


def test_impossible_series_are_refused(atoms):
    with pytest.raises(InputError, match="no series over 'smearing'"):
        convergence(atoms, AnalyticMethod(), "smearing", [0.1, 0.2])
    with pytest.raises(InputError, match="at least two settings that differ"):
        convergence(atoms, AnalyticMethod(), "k_spacing", [0.6, 0.59])
