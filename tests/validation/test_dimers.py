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
    assert curve.barrier is None
    assert curve.safe
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


@pytest.mark.physics
@pytest.mark.parametrize(
    ("height", "safe", "words"), [(7.1, True, "out of reach"), (0.3, False, "can enter it")]
)
def test_the_barrier_separates_harmless_from_dangerous_holes(height, safe, words):
    """A Gaussian wall at 1.7 A in front of a Gaussian hole at 1.3 A."""

    def energy(r):
        return height * np.exp(-(((r - 1.7) / 0.1) ** 2)) - 2.0 * np.exp(-(((r - 1.3) / 0.1) ** 2))

    curve = dimer_curves(DimerEnergy(energy), ("Zr",), n_points=521)["Zr-Zr"]
    assert curve.hole == pytest.approx(1.3, abs=0.02)
    assert curve.barrier == pytest.approx(height, rel=0.01)
    assert curve.hole_depth == pytest.approx(height + 2.0, rel=0.01)
    assert curve.safe is safe
    assert f"barrier of {height:.1f} eV" in curve.verdict
    assert words in curve.verdict


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="must be positive and rise"):
        dimer_curves(DimerEnergy(float), ("Cu",), distance_min=3.0)
    with pytest.raises(InputError, match="half the box"):
        dimer_curves(DimerEnergy(float), ("Cu",), box_length=8.0)
    with pytest.raises(InputError, match="not 0 species and 105 distances"):
        dimer_curves(DimerEnergy(float), ())
