from __future__ import annotations

import importlib
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from mgflows.eam import stand_in_calculator, stand_in_fingerprint, stand_in_model, stand_in_setfl
from mgflows.eam.__main__ import stand_in_table
from mgflows.eam.fit import TARGETS, CrystalTarget, fit_cross_pairs, formation_energy, relax_cubic
from mgflows.eam.stand_in import CROSS_PAIRS, _warn_of_unfitted_pairs
from mgflows.eam.zhou2004 import zhou_model
from mgflows.errors import InputError

REFERENCES = {"Cu": -3.540, "Zr": -6.360, "Al": -3.580}


def test_the_committed_pairs_are_what_the_fit_returns() -> None:
    fitted = fit_cross_pairs()
    assert set(fitted) == set(CROSS_PAIRS)
    for pair, committed in CROSS_PAIRS.items():
        assert (committed.scale, committed.stretch) == (
            pytest.approx(fitted[pair].scale, abs=6e-6),
            pytest.approx(fitted[pair].stretch, abs=6e-6),
        )


@pytest.mark.physics
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_formation_energies_and_volumes(target: CrystalTarget) -> None:
    symbols = target.atoms().get_chemical_symbols()
    energy, volume = relax_cubic(stand_in_model(), target.atoms(volume=1.05 * target.volume))
    assert formation_energy(energy, symbols, REFERENCES) == pytest.approx(
        target.formation_energy, abs=5e-4
    )
    assert volume == pytest.approx(target.volume, abs=0.005)


@pytest.mark.physics
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_calculator_finds_the_crystals_at_rest(target: CrystalTarget) -> None:
    atoms = target.atoms()
    atoms.calc = stand_in_calculator()
    energy = atoms.get_potential_energy() / len(atoms)
    assert formation_energy(energy, atoms.get_chemical_symbols(), REFERENCES) == pytest.approx(
        target.formation_energy, abs=5e-4
    )
    assert np.abs(atoms.get_stress()).max() < 1e-4
    assert np.abs(atoms.get_forces()).max() < 1e-6


@pytest.mark.physics
def test_johnson_mixing_alone_is_far_off() -> None:
    energies = [
        formation_energy(
            relax_cubic(zhou_model(("Cu", "Zr", "Al")), target.atoms())[0],
            target.atoms().get_chemical_symbols(),
            REFERENCES,
        )
        for target in TARGETS
    ]
    assert energies == pytest.approx([-0.777, 0.085, -0.380], abs=2e-3)


def test_elements_are_untouched() -> None:
    for symbol in REFERENCES:
        crystal = bulk(symbol)
        assert stand_in_model().energy(crystal) == pytest.approx(
            zhou_model([symbol]).energy(crystal), abs=1e-12
        )


def test_species_in_any_order_and_subset_give_the_same_energy() -> None:
    crystal = TARGETS[0].atoms()
    energies = [
        stand_in_calculator(species).get_potential_energy(crystal)
        for species in (("Cu", "Zr", "Al"), ("Zr", "Cu"), ("Al", "Zr", "Cu"))
    ]
    assert energies == pytest.approx([energies[0]] * 3, abs=1e-10)


def test_import_path_with_json_arguments() -> None:
    module, _, name = "mgflows.eam.stand_in_calculator".rpartition(".")
    arguments = json.loads('{"species": ["Al", "Cu"], "johnson_mixing": false}')
    calculator = getattr(importlib.import_module(module), name)(**arguments)
    assert calculator.get_potential_energy(bulk("Cu", a=3.615)) == pytest.approx(-3.540, abs=1e-3)


def test_fingerprint() -> None:
    fingerprint = stand_in_fingerprint()
    assert "not DFT" in fingerprint["description"]
    assert set(fingerprint["elements"]) == {"Cu", "Zr", "Al"}
    assert fingerprint["cross_pairs"]["Cu-Zr"] == {"scale": 0.65774, "stretch": 0.94577}
    assert json.loads(json.dumps(fingerprint)) == fingerprint
    assert stand_in_fingerprint(("Al", "Zr", "Cu")) == fingerprint
    assert stand_in_fingerprint(("Zr", "Cu"))["sha256"] != fingerprint["sha256"]


def test_fingerprint_changes_with_a_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    before = stand_in_fingerprint()["sha256"]
    monkeypatch.setattr("mgflows.eam.stand_in.CUTOFF", 7.9)
    assert stand_in_fingerprint()["sha256"] != before


def test_the_setfl_file_names_its_fingerprint(tmp_path: Path) -> None:
    path = stand_in_setfl(tmp_path / "stand_in.eam.alloy", ("Zr", "Al"))
    comment, _, _, species = path.read_text().splitlines()[:4]
    assert "not DFT" in comment
    assert comment.endswith(stand_in_fingerprint(("Zr", "Al"))["sha256"])
    assert species == "2 Zr Al"


def test_other_elements_are_refused_unless_requested(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(
        InputError, match=r"fitted for Cu, Zr, Al and has no Ni, Ti.*johnson_mixing=True"
    ):
        stand_in_calculator(("Zr", "Cu", "Ni", "Ti"))
    _warn_of_unfitted_pairs.cache_clear()
    with caplog.at_level(logging.WARNING):
        calculator = stand_in_calculator(("Zr", "Ni"), johnson_mixing=True)
        stand_in_calculator(("Zr", "Ni"), johnson_mixing=True)
    assert caplog.text.count("Johnson's mixing rule, which is not fitted to alloys") == 1
    assert calculator.get_potential_energy(bulk("Ni", a=3.52)) == pytest.approx(-4.45, abs=1e-3)
    assert stand_in_fingerprint(("Zr", "Ni"), johnson_mixing=True)["cross_pairs"]["Ni-Zr"] == {
        "scale": 1.0,
        "stretch": 1.0,
    }
    with pytest.raises(InputError, match="no 'Hf'"):
        stand_in_calculator(("Zr", "Hf"), johnson_mixing=True)


@pytest.mark.parametrize("species", [(), ("Cu", "Cu")])
def test_invalid_species_are_refused(species: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="name at least one element, and each once"):
        stand_in_model(species)


def test_an_impossible_target_is_refused() -> None:
    impossible = CrystalTarget(
        "CuZr B2", ("Cu", "Zr"), "CuZr", TARGETS[0].scaled_positions, TARGETS[0].cell, 50.0, 17.48
    )
    with pytest.raises(InputError, match="no pair function gives CuZr B2 50 eV/atom"):
        fit_cross_pairs([impossible])


def test_the_documentation_shows_the_table_that_the_command_prints() -> None:
    page = Path(__file__).parents[2] / "docs" / "concepts" / "stand_in.md"
    assert stand_in_table() in page.read_text(encoding="utf-8")
