from __future__ import annotations

import pytest

from mgflows import Alloy
from mgflows.errors import InputError
from mgflows.surrogate import LennardJones
from mgflows.surrogate.elements import crystal_number_density
from mgflows.surrogate.exchanges import measure_exchanges

pytestmark = pytest.mark.physics


def test_aluminium_is_the_bridge_between_copper_and_zirconium():
    # Known from another implementation for the printed table at T* = 2: 0.245, 0.043 and 0.0003.
    report = measure_exchanges(LennardJones.cuzral(table="printed"), Alloy.cuzral())
    assert report.acceptance["Cu", "Al"] == pytest.approx(0.245, abs=0.04)
    assert report.acceptance["Zr", "Al"] == pytest.approx(0.043, abs=0.015)
    assert report.acceptance["Cu", "Zr"] < 0.004
    assert report.accepted_pairs == (("Cu", "Al"), ("Zr", "Al"))
    assert report.connected
    assert "Cu-Zr" in str(report)


def test_without_a_bridge_the_species_are_not_connected():
    alloy = Alloy({"Cu": 0.5, "Zr": 0.5}, n_atoms=150, number_density=Alloy.cuzral().number_density)
    report = measure_exchanges(LennardJones.cuzral(), alloy)
    assert report.accepted_pairs == ()
    assert not report.connected
    assert "an element of intermediate size would connect them" in str(report)


def test_a_five_component_alloy_has_a_ladder():
    elements = ["Zr", "Cu", "Ni", "Al", "Ti"]
    composition = dict.fromkeys(elements, 0.2)
    lj = LennardJones.from_elements(elements)
    assert lj.exchange_pairs == (("Ni", "Cu"), ("Cu", "Al"), ("Al", "Ti"), ("Ti", "Zr"))
    report = measure_exchanges(
        lj,
        Alloy(composition, n_atoms=150, number_density=crystal_number_density(composition, 1.212)),
    )
    assert report.connected
    assert report.accepted_pairs[0] == ("Cu", "Ni")
    # Neighbours in diameter are accepted most, and every one of them.
    assert {frozenset(pair) for pair in lj.exchange_pairs} <= {
        frozenset(pair) for pair in report.accepted_pairs
    }


def test_one_species_has_nothing_to_exchange():
    with pytest.raises(InputError, match="one species"):
        measure_exchanges(
            LennardJones.cuzral(), Alloy({"Cu": 1.0}, n_atoms=150, number_density=0.07)
        )
