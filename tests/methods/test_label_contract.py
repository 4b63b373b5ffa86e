"""The examples of docs/how_to/label_contract.md, run unchanged."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from ase.build import bulk

from mgflows.jobs.labels import AseLabelMaker
from mgflows.schemas.labels import Frame, LabelDocument, structure_from_atoms

PAGE = Path(__file__).parents[2] / "docs" / "how_to" / "label_contract.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture(autouse=True)
def _own_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def crystal():
    """Four atoms, off their sites and under pressure."""
    atoms = bulk("Cu", a=3.5, cubic=True)
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.fixture
def run(monkeypatch):
    """The names that blocks of the page define, as in one module."""

    def run(*blocks):
        module = ModuleType("label_contract_example")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), module.__dict__)
        return module.__dict__

    return run


def made(maker, structure, **kwargs):
    return type(maker).make.original(maker, structure, **kwargs)


def test_each_example_has_about_thirty_lines():
    assert len(BLOCKS) == 4
    assert max(block.count("\n") for block in BLOCKS) <= 35


def test_any_ase_calculator(run, crystal):
    names = run(BLOCKS[0])
    document = made(names["label_maker"], structure_from_atoms(crystal))
    assert isinstance(document, LabelDocument)
    from ase.calculators.emt import EMT

    crystal.calc = EMT(asap_cutoff=True)
    assert document.energy == pytest.approx(crystal.get_potential_energy())
    assert np.array(document.stress) == pytest.approx(crystal.get_stress(voigt=False))
    assert made(names["relax_maker"], structure_from_atoms(crystal)).quality.ionic_converged
    assert made(names["heating_maker"], structure_from_atoms(crystal), seed=3).n_frames == 10


def test_any_atomate2_maker(run, crystal):
    names = run(BLOCKS[1])
    document = made(names["AtomateLabelMaker"](), structure_from_atoms(crystal))
    assert isinstance(document, LabelDocument)
    # The same calculator without atomate2 in between: forces, stress and its sign.
    from ase.calculators.lj import LennardJones

    direct = made(
        names["AtomateLabelMaker"]().maker.__class__(relax_cell=False, steps=1),
        structure_from_atoms(crystal),
    )
    assert direct.output.energy == pytest.approx(document.energy)
    crystal.calc = LennardJones()
    assert document.energy == pytest.approx(crystal.get_potential_energy(), rel=1e-6)
    assert np.array(document.forces) == pytest.approx(crystal.get_forces(), rel=1e-6, abs=1e-9)
    assert np.array(document.stress) == pytest.approx(
        crystal.get_stress(voigt=False), rel=1e-5, abs=1e-9
    )
    assert np.array(document.virial) == pytest.approx(
        -crystal.get_volume() * np.array(document.stress)
    )


def test_frames_of_an_atomate2_trajectory(run, crystal):
    from atomate2.ase.jobs import LennardJonesRelaxMaker

    names = run(BLOCKS[1], BLOCKS[2])
    frames = names["frames_of"](
        made(LennardJonesRelaxMaker(relax_cell=False, steps=3), structure_from_atoms(crystal))
    )
    assert len(frames) >= 2
    assert all(isinstance(frame, Frame) for frame in frames)
    assert names["LabelDocument"] is LabelDocument


def test_a_foundation_model_is_named_as_one(run, crystal):
    shutil.copy(Path(__file__).parents[1] / "data" / "tiny_nep.txt", "UNEP-v1.txt")
    maker = run(BLOCKS[3])["label_maker"]
    assert isinstance(maker, AseLabelMaker)
    document = made(maker, structure_from_atoms(crystal))
    assert not document.fingerprint.is_dft
    assert "not DFT" in document.fingerprint.description
    assert document.fingerprint.settings["model_filename"].startswith("sha256:")
