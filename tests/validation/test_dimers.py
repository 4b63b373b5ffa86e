from __future__ import annotations

import numpy as np
import pytest

from mgflows.errors import InputError
from mgflows.validation.dimers import dimer_curves
from tests.helpers.calculators import DimerEnergy, lennard_jones


@pytest.mark.physics
def test_lennard_jones_dimers():
    curves = dimer_curves(
        lennard_jones("Cu", "Zr", epsilon=0.4, sigma=2.2, cutoff=8.0), ("Cu", "Zr")
    )
    assert list(curves) == ["Cu-Cu", "Cu-Zr", "Zr-Zr"]
    curve = curves["Cu-Zr"]
    assert curve.repulsive
    assert curve.hole is None
    assert curve.hole_depth == 0.0
    lowest = np.argmin(curve.energy)
    assert curve.distance[lowest] == pytest.approx(2.2 * 2 ** (1 / 6), abs=0.05)
    assert curve.energy[lowest] == pytest.approx(-0.4, rel=0.05)


@pytest.mark.physics
def test_a_hole_is_located_and_measured():
    def collapsing(r):
        return 2.0 * np.exp(-(r - 2.0)) - 5.0 * np.exp(-(((r - 1.2) / 0.15) ** 2))

    curve = dimer_curves(DimerEnergy(collapsing), ("Cu",), n_points=521)["Cu-Cu"]
    assert not curve.repulsive
    assert curve.hole == pytest.approx(1.2, abs=0.03)
    inner = np.linspace(1.2, 2.0, 1000)
    assert curve.hole_depth == pytest.approx(
        max(map(collapsing, inner)) - min(map(collapsing, inner)), rel=0.02
    )


@pytest.mark.physics
def test_attraction_at_contact_is_a_hole_at_the_smallest_distance():
    curve = dimer_curves(DimerEnergy(lambda r: r), ("Cu",))["Cu-Cu"]
    assert curve.hole == pytest.approx(0.8)
    assert curve.hole_depth == pytest.approx(1.2, abs=0.05)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="must be positive and rise"):
        dimer_curves(DimerEnergy(float), ("Cu",), distance_min=3.0)
    with pytest.raises(InputError, match="half the box"):
        dimer_curves(DimerEnergy(float), ("Cu",), box_length=8.0)
