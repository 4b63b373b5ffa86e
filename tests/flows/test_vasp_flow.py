"""The whole label stage and its dataset with VASP's Makers, under atomate2's ``monkeypatch_vasp``.

atomate2 compares the inputs of every calculation with reference inputs and copies reference outputs
in place of a VASP run. The reference inputs are written here, from the paper's numbers and by
independent arithmetic; the reference outputs have the numbers of the stand-in EAM in VASP's format.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ase.build import bulk
from atomate2.utils.testing.vasp import monkeypatch_vasp
from jobflow import Flow, JobStore, job, run_locally
from maggma.stores import MemoryStore
from pymatgen.core import SETTINGS
from pymatgen.io.vasp import Incar, Kpoints, Poscar

from mgflows import Alloy, CampaignMaker
from mgflows.errors import InputError
from mgflows.flows.feedback import FeedbackFlowMaker
from mgflows.flows.labels import LabelFlowMaker
from mgflows.flows.tags import all_jobs, set_campaign, tag
from mgflows.jobs.dataset import DatasetInputs, DatasetMaker
from mgflows.jobs.store import load_label
from mgflows.jobs.vasp import VaspHeatingMaker, VaspLabelMaker
from mgflows.methods.vasp.method import VaspMethod
from mgflows.schemas.labels import structure_from_atoms
from mgflows.schemas.training import DatasetDocument
from tests.helpers import vasp_stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymatgen.core import Structure

_SHARED = {
    "GGA": "Pe",
    "ENCUT": 450.0,
    "EDIFF": 1e-6,
    "PREC": "Accurate",
    "ISMEAR": 1,
    "SIGMA": 0.1,
    "ISPIN": 1,
    "ISYM": 0,
    "LREAL": False,
    "LASPH": True,
    "ALGO": "Normal",
    "NELM": 200,
    "LMAXMIX": 4,
    "LWAVE": False,
    "LCHARG": False,
    "LAECHG": False,
    "LVTOT": False,
}
_STATIC = _SHARED | {"NSW": 0}
_RELAX = _SHARED | {"NSW": 500, "IBRION": 2, "ISIF": 3, "EDIFFG": -0.01}
_HEAT = _SHARED | {
    "NSW": 3,
    "IBRION": 0,
    "ISIF": 3,
    "MDALGO": 3,
    "POTIM": 1.0,
    "TEBEG": 0.0,
    "TEEND": 2000.0,
    "LANGEVIN_GAMMA_L": 5.0,
    "PMASS": 1000.0,
    "PSTRESS": 0.0,
    "NBLOCK": 1,
    "KBLOCK": 100,
    "NELMIN": 4,
    "MAXMIX": 20,
}


class Reference:
    """The reference folder of the calculation in the current directory, made when requested."""

    def __rtruediv__(self, root: Path) -> Path:
        here = Path.cwd()
        folder = root / "_".join(here.parts[-2:])
        outputs = folder / "outputs"
        shutil.copytree(here, outputs)
        incar = Incar.from_file(here / "INCAR")
        structure = Poscar.from_file(here / "POSCAR").structure
        elements = sorted({site.specie.symbol for site in structure}, key=["Zr", "Al", "Cu"].index)
        expected = self._incar(here.name, incar, len(elements))
        (folder / "inputs").mkdir()
        Incar(expected).write_file(folder / "inputs" / "INCAR")
        # Rounded: 0.162/A, with the factor 2 pi.
        mesh = [
            max(1, int(np.floor(length / 0.162 + 0.5)))
            for length in structure.lattice.reciprocal_lattice.abc
        ]
        Kpoints.gamma_automatic(mesh).write_file(folder / "inputs" / "KPOINTS")
        shutil.copy(here / "POSCAR", folder / "inputs")
        (folder / "inputs" / "POTCAR.spec").write_text(
            "\n".join({"Zr": "Zr_sv"}.get(element, element) for element in elements)
        )
        vasp_stand_in.run(outputs)
        return folder

    def _incar(self, directory: str, incar: dict[str, Any], n_species: int) -> dict[str, Any]:
        if directory.startswith("relax"):
            return _RELAX
        if "TEEND" in incar:
            return _HEAT | {
                "LANGEVIN_GAMMA": [20.0] * n_species,
                "RANDOM_SEED": incar["RANDOM_SEED"],
            }
        return _STATIC


@job
def sample(structure: Structure, n_sweeps: int) -> dict[str, Any]:
    return {"structure": structure, "n_sweeps": n_sweeps, "ordered": False}


@pytest.fixture
def mock_vasp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    vasp_stand_in.write_potcars(tmp_path / "potcars")
    command = vasp_stand_in.write_command(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", str(tmp_path / "potcars"))
    (tmp_path / "references").mkdir()
    (tmp_path / "jobs").mkdir()
    monkeypatch.chdir(tmp_path / "jobs")
    yield from monkeypatch_vasp(monkeypatch, tmp_path / "references")


def glass(seed: int) -> Structure:
    atoms = bulk("Cu", a=3.85, cubic=True) * (2, 2, 1)
    generator = np.random.default_rng(seed)
    symbols = ["Cu"] * 8 + ["Zr"] * 7 + ["Al"]
    generator.shuffle(symbols)
    atoms.set_chemical_symbols(symbols)
    atoms.rattle(0.15, rng=generator)
    return structure_from_atoms(atoms)


def test_samples_become_a_dataset(mock_vasp: Callable[..., None], tmp_path: Path) -> None:
    families = [f"mc-1e{number}" for number in range(2, 6)]
    samples = [
        tag(sample(glass(n), 10**n), stage="sampling", category="sampling", family=f"mc-1e{n}")
        for n in range(2, 6)
    ]
    maker = replace(
        LabelFlowMaker().labelled_by(VaspMethod()),
        heating_maker=VaspHeatingMaker(n_steps=3),
        elastic_maker=None,
        crystal_maker=None,
        relaxed_fraction=0.25,
        n_held_out=1,
        n_crystals=1,
    )
    alloy = Alloy({"Cu": 0.46, "Zr": 0.46, "Al": 0.08}, n_atoms=16, number_density=0.069)
    labels = maker.make(
        alloy,
        {family: each.output for family, each in zip(families, samples, strict=True)},
        n_sweeps={f"mc-1e{n}": 10**n for n in range(2, 6)},
    )
    dataset = tag(
        DatasetMaker().make(
            "vasp",
            ["Cu", "Zr", "Al"],
            DatasetInputs(
                [*labels.output.labels, *labels.output.crystal_labels],
                held_out_families=labels.output.held_out_families,
            ),
        ),
        stage="training",
        category="sampling",
    )
    flow = Flow([*samples, labels, dataset])
    set_campaign(flow, "vasp")
    calculations = [
        each for each in all_jobs(flow) if each.config.manager_config.get("_category") == "dft"
    ]
    mock_vasp({each.name: Reference() for each in calculations})
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    run_locally(flow, store=store, create_folders=True, ensure_success=True, log=False)

    document = DatasetDocument.model_validate(store.get_output(dataset.uuid, load=True))
    counts = {subset: count["frames"] for subset, count in document.counts.items()}
    assert counts == {
        "lj_surrogate": 4,
        "dft_minimized": 2,
        "expanded_compressed": 6,
        "aimd": 6,
        "crystal": 1,
    }
    assert document.missing == []
    assert document.fingerprint.code == "vasp"
    assert document.fingerprint.version == vasp_stand_in.VERSION
    assert document.fingerprint.settings["ENCUT"] == 450
    # Single points, strained and heated cells and a last frame labelled again; two relaxations and
    # a single point per relaxed structure.
    assert len(list((tmp_path / "references").iterdir())) == 4 + 6 + 2 + 1 + 3 * 3
    (frame,) = load_label(store, labels.output.single_points[families[0]].uuid).frames
    assert [site for site in frame.numbers if site == 40] == [40] * 7
    assert frame.numbers[:7] == [40] * 7, "grouped by species, whatever the sample was"


def test_a_campaign_labels_with_vasp_alone() -> None:
    maker = CampaignMaker().labelled_by(VaspMethod())
    flow = maker.make()
    assert maker.document(flow).method == "VASP, PBE, 450 eV, 0.162/A"
    other = VaspLabelMaker(method=VaspMethod(incar={"SIGMA": 0.2}))
    mixed = CampaignMaker(
        label_maker=LabelFlowMaker().labelled_by(VaspMethod()),
        feedback_maker=FeedbackFlowMaker(label_maker=other),
    )
    with pytest.raises(InputError, match=r"SIGMA: 0\.1 against 0\.2"):
        mixed.make()
