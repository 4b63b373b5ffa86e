from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mgflows.eam.fit import relax_element
from mgflows.eam.model import pair_key
from mgflows.eam.zhou2004 import CUTOFF, johnson_pair, zhou_element, zhou_elements, zhou_model
from mgflows.errors import InputError

REFERENCE = json.loads((Path(__file__).parent / "zhou2004_reference.json").read_text())

# Fit targets: cohesive energy in eV and lattice constant a in A. For hcp the fit is to the ideal
# crystal, and a is the measured one.
COHESION = {
    "Cu": (3.54, 3.615),
    "Ag": (2.85, 4.090),
    "Au": (3.93, 4.080),
    "Ni": (4.45, 3.520),
    "Pd": (3.91, 3.890),
    "Pt": (5.77, 3.920),
    "Al": (3.58, 4.050),
    "Pb": (2.02, 4.950),
    "Fe": (4.29, 2.866),
    "Mo": (6.81, 3.150),
    "Ta": (8.09, 3.303),
    "W": (8.76, 3.165),
    "Mg": (1.55, 3.21),
    "Co": (4.41, 2.51),
    "Ti": (4.87, 2.95),
    "Zr": (6.36, 3.23),
}


@pytest.mark.physics
@pytest.mark.parametrize("symbol", COHESION)
def test_cohesive_energy_and_lattice_constant(symbol: str) -> None:
    crystal = relax_element(zhou_model([symbol]), symbol)
    energy, a = COHESION[symbol]
    assert crystal.energy == pytest.approx(-energy, abs=5e-4)
    hexagonal = zhou_element(symbol).structure == "hcp"
    assert crystal.a == pytest.approx(a, rel=8e-3 if hexagonal else 3e-4)


def test_zirconium_is_not_ideally_close_packed() -> None:
    zirconium = relax_element(zhou_model(["Zr"]), "Zr")
    assert (zirconium.a, zirconium.c) == (
        pytest.approx(3.208, abs=1e-3),
        pytest.approx(5.203, abs=1e-3),
    )


def test_all_sixteen_elements_are_there() -> None:
    assert set(zhou_elements()) == set(COHESION)


@pytest.mark.parametrize("symbol", COHESION)
def test_embedding_function_is_continuous_where_its_pieces_meet(symbol: str) -> None:
    element = zhou_element(symbol)
    for joint in (element.rho_n_over_rho_e * element.rho_e, 1.15 * element.rho_e):
        below, above = element.embedding(joint * np.array([1.0 - 1e-9, 1.0 + 1e-9]))
        assert above == pytest.approx(below, abs=2e-6)
    assert element.embedding(np.array([0.0]))[0] == pytest.approx(0.0, abs=2e-6)


@pytest.mark.physics
def test_functions_agree_with_an_independent_tabulation() -> None:
    model = zhou_model(["Cu", "Zr", "Al"])
    r, rho = np.array(REFERENCE["r"]), np.array(REFERENCE["rho"])
    for symbol in model.species:
        np.testing.assert_allclose(
            model.embedding[symbol](rho), REFERENCE["embedding"][symbol], rtol=1e-9, atol=1e-12
        )
        np.testing.assert_allclose(
            model.density[symbol](r), REFERENCE["density"][symbol], rtol=1e-9
        )
    assert len(REFERENCE["pair"]) == 6
    for pair, values in REFERENCE["pair"].items():
        np.testing.assert_allclose(model.pair[pair_key(*pair.split("-"))](r), values, rtol=1e-9)


def test_johnson_mixing_is_symmetric_and_leaves_like_pairs_alone() -> None:
    r = np.linspace(2.0, 6.0, 9)
    copper, zirconium = zhou_element("Cu"), zhou_element("Zr")
    np.testing.assert_allclose(
        johnson_pair(copper, zirconium, r), johnson_pair(zirconium, copper, r), rtol=1e-12
    )
    np.testing.assert_allclose(johnson_pair(copper, copper, r), copper.pair(r), rtol=1e-12)


@pytest.mark.parametrize("symbol", COHESION)
def test_nothing_is_left_at_the_cutoff(symbol: str) -> None:
    element = zhou_element(symbol)
    at_cutoff, at_contact = element.density(np.array([CUTOFF, element.r_e]))
    assert at_cutoff < 4e-7 * at_contact


def test_an_element_the_paper_does_not_have() -> None:
    with pytest.raises(InputError, match=r"no 'Hf'; choose from Cu, Ag, "):
        zhou_model(["Cu", "Hf"])
