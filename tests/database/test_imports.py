"""Imports of labels from files of other programs, into a real MongoDB.

The labels are those of ASE's effective medium theory, so that every format can be compared with
the calculator itself; the outputs of VASP are real ones.
"""

from __future__ import annotations

import bz2
import gzip
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write
from click.testing import CliRunner

from mgflows import units
from mgflows.cli.main import cli
from mgflows.database import GlassDatabase
from mgflows.database.imports import Reading, Units
from mgflows.database.imports.sources import read_foreign
from mgflows.errors import InputError
from mgflows.nep.frames import write_frames

pytestmark = pytest.mark.mongo

VASP = Path(__file__).parents[1] / "data" / "vasp"
METHOD = "effective medium theory of ASE"


def labelled(number: int, volume: float = 1.0) -> Atoms:
    """A rattled crystal with a species order that no label has, and its label."""
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[number % 4] = "Al"
    atoms.set_cell(atoms.cell * volume ** (1 / 3), scale_atoms=True)
    atoms.rattle(0.05, seed=number)
    atoms.calc = EMT()
    results = {
        "energy": atoms.get_potential_energy(),
        "forces": atoms.get_forces(),
        "stress": atoms.get_stress(),
    }
    atoms.calc = SinglePointCalculator(atoms, **results)
    atoms.info = {"config_type": "melt" if number % 2 else "glass", "run": f"run-{number // 3}"}
    return atoms


@pytest.fixture(scope="module")
def frames() -> list[Atoms]:
    return [labelled(number) for number in range(9)]


def mace(path: Path, frames: list[Atoms]) -> Path:
    """Frames with MACE's keys, and the energy of another model under ASE's."""
    copies = []
    for atoms in frames:
        copy = atoms.copy()
        copy.info |= {
            "REF_energy": atoms.get_potential_energy(),
            "REF_stress": atoms.get_stress(voigt=False).ravel(),
            "energy": -1.0,
        }
        copy.arrays["REF_forces"] = atoms.get_forces()
        copies.append(copy)
    isolated = Atoms("Cu", cell=[20.0] * 3, pbc=True)
    isolated.info |= {"config_type": "IsolatedAtom", "REF_energy": -0.25}
    isolated.arrays["REF_forces"] = np.zeros((1, 3))
    write(path, [*copies, isolated], format="extxyz")
    return path


def ase_database(path: Path, frames: list[Atoms]) -> Path:
    with connect(path) as database:
        for atoms in frames:
            database.write(atoms, **atoms.info)
    return path


def deepmd(path: Path, frames: list[Atoms]) -> Path:
    """One mixed system, as dpdata writes it: virials are positive when compressed."""
    folder = path / "Al1Cu3" / "set.000"
    folder.mkdir(parents=True)
    elements = ["Cu", "Al"]
    (folder.parent / "type_map.raw").write_text("\n".join(elements) + "\n")
    (folder.parent / "type.raw").write_text("0\n" * 4)
    arrays = {
        "coord": [atoms.positions.ravel() for atoms in frames],
        "box": [atoms.cell.array.ravel() for atoms in frames],
        "energy": [atoms.get_potential_energy() for atoms in frames],
        "force": [atoms.get_forces().ravel() for atoms in frames],
        "virial": [-atoms.cell.volume * atoms.get_stress(voigt=False).ravel() for atoms in frames],
        "real_atom_types": [[elements.index(s) for s in atoms.symbols] for atoms in frames],
    }
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", np.array(values))
    return path


def ase_extxyz(path: Path, frames: list[Atoms]) -> Path:
    write(path, frames, format="extxyz")
    return path


def gpumd(path: Path, frames: list[Atoms]) -> Path:
    write_frames(path, frames)
    return path


WRITERS = {
    "mace.xyz": mace,
    "ase.extxyz": ase_extxyz,
    "gpumd.xyz": gpumd,
    "rows.db": ase_database,
    "deepmd": deepmd,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_labels_of_the_calculator(settings, tmp_path, frames, name):
    path = WRITERS[name](tmp_path / name, frames)
    database = GlassDatabase(settings)
    found = database.import_frames(path, "mine", METHOD)
    assert (found.n_accepted, found.n_new, found.refused) == (9, 9, {})
    loaded = database.load(database.frames("mine"))
    assert len(loaded) == 9
    for atoms in loaded:
        stored = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        atoms.calc = EMT()
        assert stored[0] == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
        assert stored[1] == pytest.approx(atoms.get_forces(), abs=1e-6)
        assert stored[2] == pytest.approx(atoms.get_stress(), abs=1e-7)
        assert list(atoms.numbers) == sorted(atoms.numbers), "grouped by species as own labels"


def test_the_keys_of_the_label_are_found_and_named(settings, tmp_path, frames):
    found = GlassDatabase(settings).import_frames(
        [mace(tmp_path / "mace.xyz", frames)], "mine", METHOD, dry_run=True
    )
    assert found.keys == {
        "energy": {"REF_energy": 9},
        "forces": {"REF_forces": 9},
        "stress": {"REF_stress": 9},
    }
    assert found.isolated_atoms == {"Cu": -0.25}
    assert found.subsets == {"glass": 5, "melt": 4}
    assert found.units["stress"] == "eV/A^3, positive under tension (ASE)"
    assert found.unused_keys == ["energy", "run"]


FRAME = (
    '2\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:forces:R:3 energy=-5.0 {more} '
    'pbc="T T T"\nCu 0 0 0 0.1 0.2 0.3\nZr 1.5 1.5 1.5 -0.1 -0.2 -0.3\n'
)
"""0.01 eV/A^3 under tension is a virial of -0.64 eV in 64 A^3."""


@pytest.mark.parametrize(
    ("more", "keys", "expected"),
    [
        ('stress="0.01 0 0 0 0 0 0 0 0" virial="-0.64 0 0 0 0 0 0 0 0"', {}, 0.01),
        ('stress="-0.01 0 0 0 0 0 0 0 0" virial="-0.64 0 0 0 0 0 0 0 0"', {}, "disagree"),
        (
            'stress="-0.01 0 0 0 0 0 0 0 0" virial="-0.64 0 0 0 0 0 0 0 0"',
            {"virial": "virial"},
            0.01,
        ),
        ("Energy=-5.00", {}, None),
        ("Energy=-6.0", {}, "energy and Energy differ"),
    ],
)
def test_two_values_of_one_label_must_agree(tmp_path, more, keys, expected) -> None:
    path = tmp_path / "frames.xyz"
    path.write_text(FRAME.format(more=more))
    (found,) = read_foreign(path, Reading(keys=keys))
    if isinstance(expected, str):
        assert expected in found.problem
        return
    assert found.problem == ""
    assert found.atoms.get_potential_energy() == -5.0
    if expected is not None:
        assert found.atoms.get_stress()[0] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["", " mine", "two\nlines", "\0", "x" * 101, "-mine"])
def test_names_that_no_command_could_take_are_refused(settings, tmp_path, name):
    with pytest.raises(InputError, match=r"a campaign cannot have the name"):
        GlassDatabase(settings).import_frames(tmp_path / "frames.xyz", name, METHOD)


def test_a_dry_run_stores_nothing_and_a_second_import_adds_nothing(settings, tmp_path, frames):
    database = GlassDatabase(settings)
    first = gpumd(tmp_path / "some.xyz", frames[:5])
    database.import_frames([first], "mine", METHOD, dry_run=True)
    assert database.mongo.list_collection_names() == []

    database.import_frames([first], "mine", METHOD)
    count = database.mongo["outputs"].count_documents({})
    again = database.import_frames([first], "mine", METHOD)
    assert (again.n_new, again.n_known) == (0, 5)
    assert database.mongo["outputs"].count_documents({}) == count
    assert len(database.campaign("mine").history) == 1

    grown = database.import_frames([gpumd(tmp_path / "all.xyz", frames)], "mine", METHOD)
    assert (grown.n_new, grown.n_known) == (4, 5)
    assert len(database.frames("mine")) == 9
    assert [change.details["frames"] for change in database.campaign("mine").history] == [5, 4]


def test_an_interrupted_import_is_completed_by_the_same_import(settings, tmp_path, frames):
    from mgflows.database.imports.importer import Importer

    path = ase_extxyz(tmp_path / "all.xyz", frames)

    class KilledError(Exception):
        pass

    class Interrupted(Importer):
        def _store_labels(self, subset, *arguments):
            super()._store_labels(subset, *arguments)
            raise KilledError

    database = GlassDatabase(settings)
    importer = Interrupted(database.mongo, database.store, [path], campaign="mine", method=METHOD)
    described = importer.survey()
    with pytest.raises(KilledError):
        importer.store_frames(described)
    assert 0 < len(database.frames("mine")) < 9
    database.import_frames([path], "mine", METHOD)
    records = database.frames("mine")
    assert len(records) == len({record.frame_id for record in records}) == 9


@pytest.mark.faults
def test_an_import_that_ends_between_an_array_and_its_document_loses_no_frame(
    settings, tmp_path, frames, monkeypatch
):
    """A document without its arrays would make its frames known, so that no import stores them."""
    path = ase_extxyz(tmp_path / "all.xyz", frames)
    database = GlassDatabase(settings)
    for store in (database.store.docs_store, database.store.additional_stores["data"]):
        with monkeypatch.context() as patch:
            patch.setattr(store, "update", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                database.import_frames([path], "mine", METHOD)
    assert database.frames("mine") == []
    database.import_frames([path], "mine", METHOD)
    assert len(database.load(database.frames("mine"))) == 9


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_subsets_and_families_come_from_any_key(settings, tmp_path, frames):
    database = GlassDatabase(settings)
    path = ase_extxyz(tmp_path / "mine.xyz", frames)
    reading = Reading(subset_key="formula", family_key="run")
    database.import_frames([path], "mine", METHOD, reading=reading)
    records = database.frames("mine")
    assert {record.subset for record in records} == {"AlCu3"}
    assert {record.family for record in records} == {"run-0", "run-1", "run-2"}
    assert len(database.frames("mine", family="run-1")) == 3
    assert len(database.frames("mine", subset="AlCu3")) == 9
    named = database.import_frames(
        [path], "other", METHOD, reading=Reading(subset="my runs = good")
    )
    assert named.subsets == {"my_runs___good": 9}
    with pytest.raises(InputError, match="no key temperature to group by"):
        database.import_frames(
            [path], "third", METHOD, reading=Reading(subset_key="temperature"), dry_run=True
        )


def test_declared_units_and_signs_are_converted(settings, tmp_path, frames):
    converted = []
    for atoms in frames:
        copy = atoms.copy()
        copy.set_cell(atoms.cell / units.BOHR, scale_atoms=True)
        copy.calc = SinglePointCalculator(
            copy,
            energy=atoms.get_potential_energy() / units.HARTREE,
            forces=atoms.get_forces() / units.HARTREE * units.BOHR,
            stress=units.tensor_to_voigt(units.stress_to_vasp(atoms.get_stress(voigt=False))),
        )
        converted.append(copy)
    path = ase_extxyz(tmp_path / "atomic.xyz", converted)
    database = GlassDatabase(settings)
    reading = Reading(units=Units("Hartree", "bohr", "kbar", "compression"))
    found = database.import_frames([path], "mine", METHOD, reading=reading)
    assert found.units["forces"] == "Hartree/bohr"
    expected = {
        round(atoms.get_potential_energy(), 5): units.pressure_from_stress(atoms.get_stress())
        for atoms in frames
    }
    for record in database.frames("mine"):
        energy = round(record.energy_per_atom * record.n_atoms, 5)
        assert record.pressure == pytest.approx(expected[energy], abs=1e-4)
    with pytest.raises(InputError, match="the unit of energy is 'erg'"):
        Units(energy="erg")


def test_a_wrong_sign_of_the_stress_is_noticed(settings, tmp_path):
    frames = [labelled(4 * number, 0.9 + 0.01 * number) for number in range(20)]
    database = GlassDatabase(settings)

    def surveyed(name: str, frames: list[Atoms], sign: str):
        return database.import_frames(
            [ase_extxyz(tmp_path / name, frames)],
            "mine",
            METHOD,
            reading=Reading(units=Units(stress_sign=sign)),  # type: ignore[arg-type]
            dry_run=True,
        )

    surveyed("volumes.xyz", frames, "tension")
    with pytest.raises(InputError, match=r"times the work of the stresses, .* --stress-sign"):
        surveyed("volumes.xyz", frames, "compression")
    # Frames whose atoms have no common order cannot be compared one by one.
    mixed = []
    for number, atoms in enumerate(frames):
        order = [0, *np.roll([1, 2, 3], number)]
        mixed.append(atoms[order])
        results = {**atoms.calc.results, "forces": atoms.get_forces()[order]}
        mixed[-1].calc = SinglePointCalculator(mixed[-1], **results)
    right, wrong = (surveyed("mixed.xyz", mixed, sign) for sign in ("tension", "compression"))
    assert not [warning for warning in right.warnings if "sign of the stress" in warning]
    assert [warning for warning in wrong.warnings if "sign of the stress" in warning]


def test_cells_in_another_unit_and_a_net_force_are_noticed(settings, tmp_path, frames):
    database = GlassDatabase(settings)

    def warnings(name: str, frames) -> str:
        path = ase_extxyz(tmp_path / name, frames)
        return " ".join(database.import_frames([path], "mine", METHOD, dry_run=True).warnings)

    assert "volume" not in (found := warnings("right.xyz", frames))
    assert "add up" not in found
    stresses = [frame.copy() for frame in frames]
    for copy, frame in zip(stresses, frames, strict=True):
        copy.calc = SinglePointCalculator(copy, **{**frame.calc.results, "stress": np.full(6, 1.0)})
    assert "above 160 GPa: the stress is probably in another unit" in warnings("s.xyz", stresses)
    bohr, pushed = (frame.copy() for frame in frames[:2])
    bohr.set_cell(bohr.cell.array / units.BOHR, scale_atoms=True)
    for copy, frame, force in ((bohr, frames[0], 0.0), (pushed, frames[1], 0.02)):
        results = {**frame.calc.results, "forces": frame.get_forces() + force}
        copy.calc = SinglePointCalculator(copy, **results)
    found = warnings("wrong.xyz", [bohr, pushed, *frames[2:]])
    assert "the cells of 1 frame have 6." in found
    assert "forces of 1 frame do not add up to zero (mean force on an atom: up to 0.035" in found


def test_energies_per_atom_are_refused_and_can_be_declared(settings, tmp_path):
    """A trajectory shows them by the work of the forces, cells of two sizes directly."""
    frames = [labelled(0) for _ in range(24)]
    for number, atoms in enumerate(frames):
        # The species order of every cell is that of the first one, and the moves are small.
        atoms.rattle(0.05, seed=50 + number)
        atoms.calc = EMT()
    large = bulk("Cu", cubic=True).repeat((1, 1, 2))
    small = bulk("Cu", cubic=True)
    database = GlassDatabase(settings)

    def imported(name: str, atoms: list[Atoms], *, offset: float, per: str | None = None):
        given = []
        for each in atoms:
            each.calc = EMT()
            energy = each.get_potential_energy() / len(each) + offset
            given.append(each.copy())
            results = {"forces": each.get_forces(), "stress": each.get_stress()}
            given[-1].calc = SinglePointCalculator(given[-1], energy=energy, **results)
        path = ase_extxyz(tmp_path / f"{name}.xyz", given)
        reading = Reading(units=Units(energy_per=per))  # type: ignore[arg-type]
        database.import_frames([path], "mine", METHOD, reading=reading, dry_run=True)
        return database.import_frames([path], name, METHOD, reading=reading)

    with pytest.raises(InputError, match="only if they are energies per atom; add --energy-per"):
        imported("work", frames, offset=0.0)
    sizes = "per atom: Cu has -3.5.* eV in cells of 4 atoms and -3.5.* in cells of 8; add --energy"
    with pytest.raises(InputError, match=sizes):
        imported("sizes", [small, large], offset=-3.5)
    assert database.mongo.list_collection_names() == []
    assert imported("cell", [small, large], offset=-3.5, per="cell").n_new == 2
    cells = []
    for atoms in (small, large):
        cells.append(atoms.copy())
        results = {"forces": atoms.get_forces(), "stress": atoms.get_stress()}
        cells[-1].calc = SinglePointCalculator(cells[-1], energy=-3.5 * len(atoms), **results)
    path = ase_extxyz(tmp_path / "twice.xyz", cells)
    with pytest.raises(InputError, match="the energies are not per atom: multiplied by the"):
        database.import_frames(
            path, "mine", METHOD, reading=Reading(units=Units(energy_per="atom"))
        )
    found = imported("work", frames, offset=0.0, per="atom")
    assert found.units["energy"] == "eV per atom"
    energies = sorted(record.energy_per_atom for record in database.frames("work"))
    assert energies == pytest.approx(sorted(each.get_potential_energy() / 4 for each in frames))


def test_frames_that_fail_the_label_checks_are_refused_with_a_reason(settings, tmp_path, frames):
    overlapping, open_, hot, unlabelled = (labelled(number) for number in range(10, 14))
    results = dict(overlapping.calc.results)
    overlapping.positions[1] = overlapping.positions[0] + 0.1
    overlapping.calc = SinglePointCalculator(overlapping, **results)
    results = dict(open_.calc.results)
    open_.pbc = False
    open_.calc = SinglePointCalculator(open_, **results)
    hot.calc = SinglePointCalculator(hot, **(hot.calc.results | {"forces": np.full((4, 3), 400.0)}))
    unlabelled.calc = SinglePointCalculator(unlabelled, energy=-1.0, forces=unlabelled.get_forces())
    path = ase_extxyz(tmp_path / "bad.xyz", [*frames, overlapping, open_, hot, unlabelled])
    database = GlassDatabase(settings)
    found = database.import_frames([path], "mine", METHOD)
    assert (found.n_read, found.n_new, sum(found.refused.values())) == (13, 9, 4)
    listing = "; ".join(found.examples.values())
    for reason in ("0.17 A apart", "not periodic along a, b, c", "exceeds 100", "no stress"):
        assert reason.replace("0.17 A", "A") in listing.replace("0.173 A", "A")
    with pytest.raises(InputError, match="none of the 1 frames can be imported"):
        database.import_frames(
            [ase_extxyz(tmp_path / "one.xyz", [unlabelled])], "mine", METHOD, dry_run=True
        )


def nomad_archive(path: Path) -> Path:
    """An archive in the layout of NOMAD: the uploaded folders with their raw outputs.

    Among them are a copy, and calculations that failed: unfinished, not converged, not begun.
    """
    calculations = {
        "upload/glass/relaxation-1": "relaxation",
        "upload/glass/deep/copy": "relaxation",
        "upload/glass/static-1": "single-point",
        "upload/broken": "unfinished",
        "upload/broken/electrons": "elec-unconverged",
    }
    run, outcar = (
        gzip.decompress((VASP / "relaxation" / f"{name}.gz").read_bytes())
        for name in ("vasprun.xml", "OUTCAR")
    )
    others = {
        "empty/vasprun.xml": b"",
        "no-step/vasprun.xml": run[: run.index(b"<calculation>")] + b"</modeling>",
        "cut/OUTCAR": outcar[:4000],
        "copy/OUTCAR.bz2": bz2.compress(outcar),
        "inputs/INCAR": b"ENCUT = 250",
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", "[]")
        for folder, source in calculations.items():
            for file in sorted((VASP / source).iterdir()):
                archive.write(file, f"{folder}/{file.name}")
        for name, content in others.items():
            archive.writestr(f"upload/other/{name}", content)
    return path


def test_an_archive_of_raw_vasp_outputs_is_read(settings, tmp_path):
    database = GlassDatabase(settings)
    path = nomad_archive(tmp_path / "nomad.zip")
    found = database.import_frames(
        [path], "silicon", "PBEsol, 250 eV", reading=Reading(subset="paper")
    )
    # The single point is the first step of the relaxation, labelled again. The OUTCAR has fewer
    # digits, so that its frames are others; those of the copied vasprun.xml are the same.
    assert (found.n_read, found.n_accepted, found.n_relabelled) == (15, 7, 3)
    assert found.n_repeated == 3
    assert found.fingerprint.is_dft
    assert found.fingerprint.settings["ENCUT"] == 250.0
    assert found.fingerprint.potentials == {"Si": "PAW_PBE Si 05Jan2001"}
    reasons = " ".join(found.examples.values())
    assert sum(found.refused.values()) == 5
    for words in (
        "upload/broken/vasprun.xml.gz: it cannot be read; it may have been cut off",
        "electrons/vasprun.xml.gz, step 1: the electronic self-consistency did not converge",
        "other/cut/OUTCAR: it cannot be read; it may have been cut off (Incomplete OUTCAR)",
    ):
        assert words in reasons
    assert "5 of 15 frames or calculations are left out" in found.warnings[0]
    last = next(frame for frame in database.frames("silicon") if frame.name == "step 3")
    # OUTCAR: free energy TOTEN = -10.61882724 eV for 2 atoms, 0.02678 kB in each direction.
    assert last.energy_per_atom == pytest.approx(-10.61882724 / 2, abs=1e-8)
    assert last.pressure == pytest.approx(0.002678, abs=1e-6)
    assert {frame.family for frame in database.frames("silicon")} == {
        "upload_glass_deep_copy",
        "upload_glass_static-1",
        "upload_other_copy",
    }
    # The folder of the upload, which contains everything, is no subset.
    by_folder = Reading(subset_key="folder")
    found = database.import_frames([path], "other", "PBEsol", reading=by_folder, dry_run=True)
    assert found.subsets == {"glass": 4, "other": 3}


def test_outcar_and_vasprun_give_the_same_labels(settings, tmp_path):
    database = GlassDatabase(settings)
    for name in ("vasprun.xml", "OUTCAR"):
        folder = tmp_path / name / "run"
        folder.mkdir(parents=True)
        shutil.copy(VASP / "relaxation" / f"{name}.gz", folder)
        database.import_frames([tmp_path / name], name, "PBEsol, 250 eV")
    one, other = (database.load(database.frames(name)) for name in ("vasprun.xml", "OUTCAR"))
    assert len(one) == len(other) == 3
    for first, second in zip(one, other, strict=True):
        assert first.get_potential_energy() == pytest.approx(second.get_potential_energy())
        assert first.get_forces() == pytest.approx(second.get_forces(), abs=1e-5)
        assert first.get_stress() == pytest.approx(second.get_stress(), abs=1e-7)


def test_calculations_of_different_settings_are_not_one_method(settings, tmp_path):
    for source in ("relaxation", "ionic-unconverged"):
        shutil.copytree(VASP / source, tmp_path / "runs" / source)
    with pytest.raises(InputError, match=r"other settings .*ENCUT: 300.0 against 250.0"):
        GlassDatabase(settings).import_frames([tmp_path / "runs"], "mine", "VASP", dry_run=True)
    with pytest.raises(InputError, match="did not converge after 8 steps"):
        GlassDatabase(settings).import_frames([VASP / "elec-unconverged"], "mine", "VASP")


def test_files_that_cannot_be_read_are_named(settings, tmp_path, frames):
    database = GlassDatabase(settings)
    for path, match in (
        (tmp_path / "absent.xyz", "there is no file"),
        (tmp_path, "holds no output of VASP"),
        (Path(__file__), "the format of .* is not known"),
    ):
        with pytest.raises(InputError, match=match):
            database.import_frames([path], "mine", METHOD)
    cut = gpumd(tmp_path / "cut.xyz", frames)
    cut.write_text(cut.read_text()[:-200])
    with pytest.raises(InputError, match="the file is cut off"):
        database.import_frames([cut], "mine", METHOD)
    with pytest.raises(InputError, match="the method of the labels is not declared"):
        database.import_frames([cut], "mine", " ")


def test_the_command_shows_and_then_stores(settings, tmp_path, frames, monkeypatch):
    from mgflows.settings import Settings

    path = mace(tmp_path / "mace.xyz", frames)
    monkeypatch.setattr(Settings, "load", classmethod(lambda cls, directory=None: settings))
    command = ["import", str(path), "--campaign", "mine", "--method", METHOD]
    shown = CliRunner().invoke(cli, [*command, "--dry-run"], catch_exceptions=False)
    assert "REF_forces (9)" in shown.output
    assert "nothing was stored" in shown.output
    stored = CliRunner().invoke(cli, [*command, "--family-by", "run"], catch_exceptions=False)
    assert "stored 9 new frames" in stored.output
    again = CliRunner().invoke(cli, [*command, "--json"], catch_exceptions=False)
    assert json.loads(again.output)["n_known"] == 9
