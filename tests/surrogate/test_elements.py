from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.data import atomic_numbers, covalent_radii
from ase.neighborlist import neighbor_list
from ase.spacegroup import crystal

from mgflows import Alloy
from mgflows.errors import InputError
from mgflows.surrogate import LennardJones
from mgflows.surrogate.elements import (
    COHESIVE_ENERGY,
    CRYSTALS,
    NEIGHBOUR_DISTANCE,
    crystal_number_density,
)
from mgflows.surrogate.metalloids import METALLOIDS, MIXING_ENTHALPIES

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


def test_covalent_radii_are_those_of_ase():
    # ASE's come from the same compilation.
    for symbol, metalloid in METALLOIDS.items():
        assert metalloid.covalent_radius == covalent_radii[atomic_numbers[symbol]], symbol
        assert set(MIXING_ENTHALPIES[symbol]) == set(CRYSTALS), symbol


def _nearest(atoms, a, b):
    i, j, distance = neighbor_list("ijd", atoms, 4.0)
    numbers = atoms.numbers
    return distance[(numbers[i] == atomic_numbers[a]) & (numbers[j] == atomic_numbers[b])].min()


@pytest.mark.parametrize(
    ("metal", "metalloid", "compound"),
    [
        # Fe2B (C16) and Fe3C (D0_11): P. Villars and L. D. Calvert, Pearson's Handbook of
        # Crystallographic Data for Intermetallic Phases, 2nd edition (1991).
        (
            "Fe",
            "B",
            crystal(
                ("Fe", "B"),
                [(0.1661, 0.6661, 0.0), (0.0, 0.0, 0.25)],
                spacegroup=140,
                cellpar=[5.110, 5.110, 4.249, 90, 90, 90],
            ),
        ),
        (
            "Fe",
            "C",
            crystal(
                ("Fe", "Fe", "C"),
                [(0.1816, 0.0666, 0.8374), (0.0367, 0.25, 0.3402), (0.877, 0.25, 0.944)],
                spacegroup=62,
                cellpar=[5.092, 6.741, 4.527, 90, 90, 90],
            ),
        ),
    ],
)
def test_metalloids_are_as_far_from_metals_as_in_compounds(metal, metalloid, compound):
    lj = LennardJones.from_elements([metal, metalloid])
    assert lj.sigma[0, 1] * NEIGHBOUR_DISTANCE == pytest.approx(
        _nearest(compound, metal, metalloid), rel=0.06
    )


@pytest.mark.parametrize(("metal", "metalloid"), [("Ni", "P"), ("Pd", "Si"), ("Fe", "B")])
def test_a_random_lennard_jones_crystal_has_the_enthalpy_of_mixing(metal, metalloid):
    # On one lattice of equal atoms, so that only the wells count, and with the well that belongs to
    # the cohesive energy of the metalloid.
    given = LennardJones.from_elements([metal, metalloid])
    own = METALLOIDS[metalloid].cohesive_energy / COHESIVE_ENERGY
    lj = LennardJones.from_species(
        {metal: 2.5, metalloid: 2.5},
        {metal: given.epsilon[0, 0], metalloid: own},
        pairs={(metal, metalloid): (2.5, given.epsilon[0, 1])},
        cutoff_factor=4.0,
    )

    def energy(symbols):
        atoms = bulk("Cu", "fcc", a=2.5 * NEIGHBOUR_DISTANCE * np.sqrt(2.0), cubic=True)
        atoms = atoms.repeat(4)
        atoms.symbols = symbols
        return lj.energy(atoms) / len(atoms)

    random = np.random.default_rng(0)
    mixed = np.mean(
        [energy(random.permutation(128 * [metal] + 128 * [metalloid])) for _ in range(4)]
    )
    pure = (energy(256 * [metal]) + energy(256 * [metalloid])) / 2.0
    expected = MIXING_ENTHALPIES[metalloid][metal] * 1e3 / 96485.33
    assert mixed - pure == pytest.approx(expected, rel=0.06)


def test_an_alloy_with_metalloids_keeps_the_order_of_the_elements():
    lj = LennardJones.from_elements(["P", "Pd", "B", "Ni"])
    assert lj.species == ("P", "Pd", "B", "Ni")
    assert lj.reference == "Pd"
    pairs = LennardJones.from_elements(["Pd", "P"])
    assert lj.epsilon[1, 0] == pairs.epsilon[0, 1]
    # Metals attract metalloids most, and metalloids each other least and at a larger distance.
    assert lj.epsilon[0, 1] > lj.epsilon[1, 1] > lj.epsilon[0, 0]
    assert lj.epsilon[0, 2] < min(lj.epsilon[1, 0], lj.epsilon[3, 2])
    assert lj.sigma[0, 0] == pytest.approx(1.1 * (lj.sigma[0, 1] + lj.sigma[0, 3]) / 2.0)
    assert lj.sigma[0, 2] == pytest.approx((lj.sigma[0, 0] + lj.sigma[2, 2]) / 2.0)
    # The ladder of exchanges follows the distances to other species.
    assert lj.exchanges_of(["P", "Pd", "Ni"]) == (("P", "Ni"), ("Ni", "Pd"))
    with pytest.raises(InputError, match="without a metal"):
        LennardJones.from_elements(["Si", "B"])


def test_unknown_elements_raise():
    with pytest.raises(InputError, match="no crystal data for 'S'"):
        LennardJones.from_elements(["Pd", "S"])
    with pytest.raises(InputError, match=r"or use one of Be, .*Pb, B, C, Si, P, Ge"):
        LennardJones.from_elements(["Ga"])
    for elements in ([], "CuZr"):
        with pytest.raises(InputError, match="give a list such as"):
            LennardJones.from_elements(elements)
    with pytest.raises(InputError, match="contain a duplicate"):
        LennardJones.from_elements(["Cu", "Cu"])
