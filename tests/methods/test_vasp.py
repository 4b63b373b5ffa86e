"""The inputs of every VASP calculation against the numbers of the paper, without VASP.

Paper, Methods, "DFT Calculations". No POTCARs are needed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from mgflows.errors import InputError
from mgflows.methods.vasp.inputs import (
    GlassMDSetGenerator,
    GlassRelaxSetGenerator,
    GlassStaticSetGenerator,
    molecular_dynamics_handlers,
    relax_handlers,
    static_handlers,
)
from mgflows.methods.vasp.method import GLASS_INCAR, VaspMethod
from mgflows.methods.vasp.run import sort_structure

GENERATORS = {
    "static": GlassStaticSetGenerator,
    "relax": GlassRelaxSetGenerator,
    "heat": GlassMDSetGenerator,
}


@pytest.fixture(scope="module")
def glass() -> Structure:
    """150 atoms in the paper's box, the species scrambled as swap Monte Carlo leaves them."""
    generator = np.random.default_rng(3)
    species = ["Cu"] * 69 + ["Zr"] * 69 + ["Al"] * 12
    generator.shuffle(species)
    return Structure(Lattice.cubic(12.9275), species, generator.random((150, 3)))


@pytest.fixture(scope="module")
def inputs(glass: Structure) -> dict[str, Any]:
    return {
        name: generator(method=VaspMethod()).get_input_set(sort_structure(glass), potcar_spec=True)
        for name, generator in GENERATORS.items()
    }


@pytest.mark.parametrize("name", GENERATORS)
def test_every_calculation_has_the_papers_functional_cutoff_and_mesh(
    inputs: dict[str, Any], name: str
) -> None:
    incar, kpoints = inputs[name]["INCAR"], inputs[name]["KPOINTS"]
    assert incar["GGA"].upper() == "PE"
    assert incar["ENCUT"] == 450
    assert incar["EDIFF"] == 1e-6
    # 0.162/A in a cell of 12.9 A.
    assert tuple(kpoints.kpts[0]) == (3, 3, 3)
    assert str(kpoints.style) == "Gamma"
    assert "KSPACING" not in incar


@pytest.mark.parametrize("name", GENERATORS)
def test_all_that_decides_a_label_is_written_and_the_same(
    inputs: dict[str, Any], name: str
) -> None:
    incar = inputs[name]["INCAR"]
    for tag, value in GLASS_INCAR.items():
        if value is None or tag in {"GGA", "NELM"}:
            continue
        assert incar[tag] == value, tag
    assert not {"MAGMOM", "LORBIT", "METAGGA", "LDAU", "IVDW", "NELECT"} & set(incar)


def test_a_single_point_takes_no_step(inputs: dict[str, Any]) -> None:
    assert inputs["static"]["INCAR"]["NSW"] == 0


def test_the_relaxation_is_the_papers(inputs: dict[str, Any]) -> None:
    """Positions, volume and shape; 1e-6 eV, 1e-2 eV/A."""
    incar = inputs["relax"]["INCAR"]
    assert (incar["ISIF"], incar["IBRION"], incar["EDIFFG"], incar["NSW"]) == (3, 2, -0.01, 500)


def test_the_heating_is_the_papers(inputs: dict[str, Any]) -> None:
    """1 fs, about 120 steps from 0 to 2000 K, zero pressure.

    Friction of 20/ps for each species and 5/ps for the lattice.
    """
    incar = inputs["heat"]["INCAR"]
    expected = {
        "IBRION": 0,
        "MDALGO": 3,
        "ISIF": 3,
        "POTIM": 1,
        "NSW": 120,
        "TEBEG": 0,
        "TEEND": 2000,
        "LANGEVIN_GAMMA": [20.0] * 3,
        "LANGEVIN_GAMMA_L": 5,
        "PSTRESS": 0,
        "PMASS": 1000,
        "NBLOCK": 1,
    }
    assert {tag: incar[tag] for tag in expected} == expected
    assert "RANDOM_SEED = 0 0 0" in str(incar)


@pytest.mark.parametrize("name", GENERATORS)
def test_scrambled_atoms_are_grouped_by_species(
    inputs: dict[str, Any], glass: Structure, name: str
) -> None:
    poscar = inputs[name]["POSCAR"]
    assert poscar.site_symbols == ["Zr", "Al", "Cu"]
    assert poscar.natoms == [69, 12, 69]
    assert inputs[name]["POTCAR.spec"].split() == ["Zr_sv", "Al", "Cu"]
    # Order within a species is that of the sample.
    of_sample = np.array([site.frac_coords for site in glass if site.specie.symbol == "Al"])
    assert np.allclose(poscar.structure.frac_coords[69:81], of_sample)


def test_overrides_reach_every_calculation_and_the_fingerprint(glass: Structure) -> None:
    method = VaspMethod(
        incar={"SIGMA": 0.2, "NCORE": 4, "LASPH": None}, potcar={"Cu": "Cu_pv"}, k_spacing=0.25
    )
    structure = sort_structure(glass)
    for generator in GENERATORS.values():
        written = generator(method=method).get_input_set(structure, potcar_spec=True)
        assert (written["INCAR"]["SIGMA"], written["INCAR"]["NCORE"]) == (0.2, 4)
        assert "LASPH" not in written["INCAR"]
        assert tuple(written["KPOINTS"].kpts[0]) == (2, 2, 2)
        assert written["POTCAR.spec"].split() == ["Zr_sv", "Al", "Cu_pv"]
    mine, default = method.fingerprint(["Cu"]), VaspMethod().fingerprint(["Cu"])
    assert mine.differences(default) == [
        "LASPH: None against True",
        "SIGMA: 0.2 against 0.1",
        "k_spacing: 0.25 against 0.162",
        "potential of Cu: 'PBE_54 Cu_pv' against 'PBE_54 Cu'",
    ]
    assert VaspMethod(incar={"NCORE": 4}).fingerprint().digest == default.digest, (
        "the number of cores decides no label"
    )


@pytest.mark.parametrize(
    ("incar", "words"),
    [
        ({"KSPACING": 0.162}, "set k_spacing"),
        ({"NSW": 3}, "set it in the Maker"),
        ({"encut": 500}, "written in capitals"),
    ],
)
def test_tags_that_do_not_belong_to_a_method_are_refused(incar: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        VaspMethod(incar=incar)


def test_the_seed_is_written(glass: Structure) -> None:
    written = GlassMDSetGenerator(seed=4711).get_input_set(sort_structure(glass), potcar_spec=True)
    assert "RANDOM_SEED = 4711 0 0" in str(written["INCAR"])


def test_no_handler_can_change_a_label() -> None:
    """In custodian 2025 to 2026 these classes set ISMEAR, SIGMA, the k-mesh or POTIM."""
    changing = {
        "LargeSigmaHandler",
        "IncorrectSmearingHandler",
        "KspacingMetalHandler",
        "MeshSymmetryErrorHandler",
        "PotimErrorHandler",
    }
    for handlers in (static_handlers(), relax_handlers(), molecular_dynamics_handlers()):
        names = {type(handler).__name__ for handler in handlers}
        assert not names & changing
        (errors,) = [
            handler.errors_subset_to_catch
            for handler in handlers
            if type(handler).__name__ == "VaspErrorHandler"
        ]
        assert not {
            "tet",
            "dentet",
            "brmix",
            "zpotrf",
            "triple_product",
            "algo_tet",
            "rot_matrix",
        } & set(errors)
    going_on = {"UnconvergedErrorHandler", "FrozenJobErrorHandler"}
    assert not going_on & {type(handler).__name__ for handler in molecular_dynamics_handlers()}
