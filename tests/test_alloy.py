from __future__ import annotations

import pytest

from mgflows import Alloy
from mgflows.errors import InputError


def test_the_papers_alloy_has_its_box_and_its_atoms():
    alloy = Alloy.cuzral()
    assert alloy.counts == {"Cu": 69, "Zr": 69, "Al": 12}
    # Paper, Methods: side length 12.9 A; in more digits 12.92751458 A, and 8.457 g/cm3.
    assert alloy.box_length == pytest.approx(12.92751458, abs=1e-7)
    assert alloy.mass_density == pytest.approx(8.457, abs=1e-3)
    assert alloy.symbols == ["Cu"] * 69 + ["Zr"] * 69 + ["Al"] * 12


@pytest.mark.parametrize("n_atoms", [7, 13, 100, 151, 1000])
def test_counts_add_up_and_stay_within_one_of_the_exact_numbers(n_atoms: int):
    alloy = Alloy(
        {"Zr": 0.41, "Ti": 0.14, "Cu": 0.125, "Ni": 0.1, "Be": 0.225},
        n_atoms=n_atoms,
        number_density=0.06,
    )
    assert sum(alloy.counts.values()) == n_atoms
    assert all(abs(alloy.counts[s] - f * n_atoms) < 1.0 for s, f in alloy.composition.items())


def test_the_three_ways_to_state_a_density_agree():
    by_box = Alloy.from_formula("Cu46Zr46Al8", box_length=12.92751458)
    by_mass = Alloy.from_formula("Cu46Zr46Al8", mass_density=by_box.mass_density)
    by_number = Alloy.from_formula("Cu46Zr46Al8", number_density=by_box.number_density)
    assert by_mass.box_length == pytest.approx(by_box.box_length, rel=1e-12)
    assert by_number.box_length == pytest.approx(by_box.box_length, rel=1e-12)


def test_a_dictionary_gives_back_the_alloy():
    alloy = Alloy.from_formula("Zr52.5Cu17.9Ni14.6Al10Ti5", mass_density=6.7)
    assert Alloy.from_dict(alloy.as_dict()) == alloy


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"composition": {"Cu": 0.5, "Xx": 0.5}}, ["'Xx'", "element"]),
        ({"composition": {"Cu": 0.5, "Zr": 0.4}}, ["0.9", "one"]),
        ({"composition": {"Cu": 1.5, "Zr": -0.5}}, ["Cu", "1.5"]),
        ({"composition": {}}, ["empty"]),
        ({"composition": {"Cu": 0.999, "Zr": 0.001}}, ["Zr", "n_atoms"]),
        ({"number_density": -1.0}, ["-1", "positive"]),
        ({"n_atoms": 1}, ["1 atoms", "2 species"]),
        ({"n_atoms": 150.0}, ["150.0", "integer"]),
        ({"composition": {"Cu": "0.5", "Zr": "0.5"}}, ["'0.5'", "number"]),
        ({"composition": [("Cu", 1.0)]}, ["not a dictionary"]),
        ({"glass_mass_density": 7100.0}, ["7100", "7.1"]),
    ],
)
def test_bad_alloys_are_refused_with_value_and_remedy(arguments: dict, words: list[str]):
    good = {"composition": {"Cu": 0.5, "Zr": 0.5}, "n_atoms": 100, "number_density": 0.06}
    with pytest.raises(InputError) as error:
        Alloy(**(good | arguments))
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    ("formula", "density", "word"),
    [
        ("cu50zr50", {"number_density": 0.06}, "cannot be read"),
        ("Cu50Cu50", {"number_density": 0.06}, "twice"),
        ("Cu50Zr50", {}, "exactly one"),
        ("Cu50Zr50", {"number_density": 0.06, "box_length": 12.0}, "exactly one"),
        ("Qq50Zr50", {"mass_density": 6.0}, "element"),
        ("Cu50Zr50", {"box_length": 0.0}, "positive"),
        ("Cu50Zr50", {"box_length": float("inf")}, "box_length is inf"),
        ("Cu50Zr50", {"mass_density": -7.0}, "mass_density is -7.0"),
        ("Cu50Zr50", {"mass_density": "7"}, "mass_density is '7'"),
    ],
)
def test_bad_formulas_are_refused(formula: str, density: dict, word: str):
    with pytest.raises(InputError, match=word):
        Alloy.from_formula(formula, **density)
