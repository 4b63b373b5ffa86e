from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from mgflows import Alloy
from mgflows.errors import InputError
from mgflows.surrogate import LennardJones
from mgflows.surrogate.elements import CRYSTALS, crystal_number_density

pytestmark = pytest.mark.physics


def test_the_rule_reproduces_the_parameters_of_the_paper(consistent):
    estimate = LennardJones.from_elements(["Cu", "Zr", "Al"])
    np.testing.assert_allclose(np.diag(estimate.sigma), np.diag(consistent.sigma), rtol=0.005)
    np.testing.assert_allclose(np.diag(estimate.epsilon), np.diag(consistent.epsilon), rtol=0.02)
    # The printed table cannot come from it: its cohesive energy of copper would be 6.4 eV.
    printed = LennardJones.cuzral(table="printed")
    assert np.diag(printed.epsilon)[0] / np.diag(estimate.epsilon)[0] > 1.8


@pytest.mark.parametrize("symbol", ["Cu", "Zr", "Mo"])
def test_the_lennard_jones_crystal_has_the_volume_and_energy_it_was_made_from(symbol):
    # With a cutoff of 8 sigma the sum over images is the lattice sum except for a tail of half a
    # percent.
    lj = LennardJones.from_elements([symbol], cutoff_factor=8.0)
    volume = CRYSTALS[symbol].volume
    energies = []
    for scale in (0.99, 1.0, 1.01):
        atoms = bulk(symbol, "fcc", a=(4 * volume) ** (1 / 3) * scale)
        energies.append(lj.energy(atoms))
    assert energies[1] == pytest.approx(-CRYSTALS[symbol].cohesive_energy, rel=0.02)
    assert energies[1] == min(energies)
    vertex = (
        0.5 * (energies[0] - energies[2]) / (energies[0] - 2 * energies[1] + energies[2]) * 0.01
    )
    assert abs(vertex) < 0.002


@pytest.mark.parametrize("symbol", sorted(set(CRYSTALS) - {"Mn"}))
def test_volumes_agree_with_the_table_of_ase(symbol):
    # ASE's reference states come from another compilation; Be and La differ by 1 to 2 %, the others
    # by less.
    atoms = bulk(symbol)
    assert CRYSTALS[symbol].volume == pytest.approx(atoms.get_volume() / len(atoms), rel=0.02)


def test_volume_of_manganese():
    # Density of alpha-Mn: 7.47 g/cm^3.
    assert 54.938 * 1.66053907 / CRYSTALS["Mn"].volume == pytest.approx(7.47, rel=0.01)


def test_density_from_crystals():
    alloy = Alloy.cuzral()
    assert crystal_number_density(alloy.composition, 1.212) == pytest.approx(
        alloy.number_density, rel=0.002
    )
    assert crystal_number_density({"Cu": 1.0}) == pytest.approx(4 / 3.61**3)


def test_unknown_elements_raise():
    with pytest.raises(InputError, match="no crystal data for 'P'"):
        LennardJones.from_elements(["Pd", "P"])
    with pytest.raises(InputError, match="one twice"):
        LennardJones.from_elements(["Cu", "Cu"])
