from __future__ import annotations

import numpy as np
import pytest
import spglib
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from mgflows.errors import InputError
from mgflows.structures.crystals import Crystal, crystal_prototypes

CUZRAL = crystal_prototypes(("Cu", "Zr", "Al"))
ELEMENTS = {"Cu": 11.8, "Zr": 23.3, "Al": 16.6}  # A^3/atom


def by_name(name: str) -> Crystal:
    return next(crystal for crystal in CUZRAL if crystal.name == name)


@pytest.mark.parametrize("crystal", CUZRAL, ids=lambda crystal: crystal.name)
@pytest.mark.parametrize("primitive", [False, True])
def test_space_group_and_wyckoff_positions(crystal: Crystal, primitive: bool) -> None:
    atoms = crystal.atoms(primitive=primitive)
    found = spglib.get_symmetry_dataset((atoms.cell[:], atoms.get_scaled_positions(), atoms.numbers), symprec=1e-3)
    assert found.number == crystal.space_group
    assert len(set(found.crystallographic_orbits)) == len(crystal.sites)
    if not primitive:
        assert len(atoms) == sum(int(site.wyckoff[:-1]) for site in crystal.sites)


@pytest.mark.parametrize("crystal", CUZRAL, ids=lambda crystal: crystal.name)
def test_neighbours_and_volume_are_those_of_a_metal(crystal: Crystal) -> None:
    atoms = crystal.atoms()
    i, j, distance = neighbor_list("ijd", atoms, 5.0)
    touching = covalent_radii[atoms.numbers[i]] + covalent_radii[atoms.numbers[j]]
    assert 0.84 < np.min(distance / touching) < 1.2
    assert set(i) == set(range(len(atoms)))
    mixture = np.mean([ELEMENTS[symbol] for symbol in atoms.get_chemical_symbols()])
    assert 0.85 < atoms.get_volume() / len(atoms) / mixture < 1.05


@pytest.mark.parametrize(
    ("name", "formula", "nearest"),
    [
        ("Cu A1", "Cu4", 3.61 / np.sqrt(2)),
        ("CuZr B2", "CuZr", 3.2562 * np.sqrt(3) / 2),
        ("AlCu2Zr L2_1", "Al4Cu8Zr4", 6.21 * np.sqrt(3) / 4),
        ("Al3Zr L1_2", "Al3Zr", 4.073 / np.sqrt(2)),
        ("Cu5Zr C15b", "Cu20Zr4", 6.87 * np.sqrt(2) / 4),
        ("CuZr2 C11b", "Cu2Zr4", None),
        ("Al2Cu C16", "Al8Cu4", 4.877 / 2),
        ("Al3Zr D0_23", "Al12Zr4", None),
        ("Zr A3", "Zr2", None),
        ("Al A1", "Al4", 4.05 / np.sqrt(2)),
    ],
)
def test_compositions_and_nearest_distances(name: str, formula: str, nearest: float | None) -> None:
    atoms = by_name(name).atoms()
    assert atoms.get_chemical_formula(empirical=False) == formula
    if nearest is not None:
        assert neighbor_list("d", atoms, 4.0).min() == pytest.approx(nearest, rel=1e-6)


def test_every_crystal_names_its_source() -> None:
    assert len({crystal.name for crystal in CUZRAL}) == len(CUZRAL) >= 15
    for crystal in CUZRAL:
        assert any(f"({year})" in crystal.source for year in range(1900, 2027)), crystal.name
        assert crystal.status in {"stable", "high temperature", "metastable"}


def test_a_larger_alloy_holds_the_crystals_of_its_subsets() -> None:
    names = [crystal.name for crystal in crystal_prototypes(("Zr", "Cu", "Ni", "Al", "Ti"))]
    assert names[:5] == ["Zr A3", "Cu A1", "Ni A1", "Al A1", "Ti A3"]
    assert {crystal.name for crystal in CUZRAL} <= set(names)
    binary = crystal_prototypes(("Cu", "Zr"))
    assert {crystal.species for crystal in binary} == {("Cu",), ("Zr",), ("Cu", "Zr")}
    assert len(crystal_prototypes(("Cu", "Cu"))) == 1


def test_elements_without_a_simple_ground_state_are_left_out() -> None:
    assert [crystal.name for crystal in crystal_prototypes(("Pd", "P", "Si"))] == ["Pd A1", "Si A4"]


def test_unknown_element() -> None:
    with pytest.raises(InputError, match="'Xx' is not a chemical element"):
        crystal_prototypes(("Cu", "Xx"))


def test_atoms_carry_nothing_that_breaks_when_they_move() -> None:
    atoms = by_name("Al2Zr C14").atoms()
    assert atoms.info == {"name": "Al2Zr C14"}
    assert set(atoms.arrays) == {"numbers", "positions"}
    assert atoms.pbc.all()
