"""VASP's Makers on outputs of real runs, and with a stand-in program that has VASP's files."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ase.build import bulk
from ase.io.vasp import read_vasp_xml
from custodian.custodian import MaxCorrectionsPerJobError
from pymatgen.core import SETTINGS, Structure
from pymatgen.io.vasp import Incar, Vasprun

from mgflows.database.failures import classify
from mgflows.errors import ErrorCategory, InputError, MissingFileError, NotConvergedError
from mgflows.jobs.labels import AseLabelMaker, AseMethod, AseRelaxMaker
from mgflows.jobs.vasp import VaspHeatingMaker, VaspLabelMaker, VaspRelaxMaker
from mgflows.launch.interruption import Interrupted
from mgflows.methods.vasp.method import VaspMethod
from mgflows.methods.vasp.outputs import VaspRun
from mgflows.schemas.labels import (
    LabelDocument,
    LabelError,
    atoms_from_structure,
    structure_from_atoms,
)
from tests.helpers import vasp_stand_in

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parent.parent / "data" / "vasp"
SILICON = VaspMethod(
    incar={
        "GGA": "PS",
        "ENCUT": 250,
        "EDIFF": 2e-6,
        "ISMEAR": 0,
        "SIGMA": 0.05,
        "ISPIN": 2,
        "ISYM": None,
        "PREC": "Normal",
    },
    k_spacing=0.288,
)
"""Settings of aiida-vasp's runs."""
OLD_SILICON = VaspMethod(
    incar={
        "GGA": None,
        "ENCUT": 300,
        "ISMEAR": 0,
        "SIGMA": 0.05,
        "ISPIN": None,
        "ISYM": None,
        "LREAL": "Auto",
    },
    k_spacing=0.5,
)
FAST = {"custodian_kwargs": {"polling_time_step": 0.1}}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a command vasp_std and POTCARs."""
    vasp_stand_in.write_potcars(tmp_path / "potcars")
    command = vasp_stand_in.write_command(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", str(tmp_path / "potcars"))


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Structure]:
    """Replace VASP by a program that leaves the files of a real run; return its input structure."""

    def replay(name: str) -> Structure:
        def run_vasp(**_: Any) -> None:
            for path in (DATA / name).glob("*.gz"):
                Path(path.stem).write_bytes(gzip.decompress(path.read_bytes()))

        monkeypatch.setattr("atomate2.vasp.jobs.base.run_vasp", run_vasp)
        return Structure.from_str(
            gzip.decompress((DATA / name / "POSCAR.gz").read_bytes()).decode(), fmt="poscar"
        )

    return replay


@pytest.fixture
def behave(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replace VASP by the stand-in in this process, without custodian."""

    def behave(behaviour: str = "") -> None:
        monkeypatch.setattr(
            "atomate2.vasp.jobs.base.run_vasp", lambda **_: vasp_stand_in.run(Path.cwd(), behaviour)
        )

    return behave


@pytest.fixture
def structure() -> Structure:
    """Eight atoms in mixed order, far from equilibrium."""
    atoms = bulk("Cu", a=3.8, cubic=True) * (2, 1, 1)
    atoms.symbols[[0, 3]] = "Zr"
    atoms.symbols[5] = "Al"
    atoms.rattle(0.05, seed=1)
    return structure_from_atoms(atoms)


def unpacked(name: str, directory: Path) -> Path:
    directory.mkdir()
    for path in (DATA / name).glob("*.gz"):
        (directory / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    return directory


def made(maker: Any, *arguments: Any) -> Any:
    """The document, made in this process: errors arrive as they are raised."""
    return maker.make.original(maker, *arguments)


class TestRealOutputs:
    def test_a_single_point_is_read_as_pymatgen_and_ase_read_it(
        self, run: Any, replay: Any, tmp_path: Path
    ) -> None:
        label = LabelDocument.model_validate(
            run(VaspLabelMaker(method=SILICON).make(replay("single-point")))
        )
        directory = unpacked("single-point", tmp_path / "there")
        by_pymatgen = Vasprun(directory / "vasprun.xml", parse_potcar_file=False).ionic_steps[-1]
        by_ase = read_vasp_xml(str(directory / "vasprun.xml"))
        atoms = list(by_ase)[-1]
        assert label.energy == pytest.approx(by_pymatgen["e_fr_energy"], abs=1e-8)
        assert label.energy == pytest.approx(
            atoms.get_potential_energy(force_consistent=True), abs=1e-6
        )
        assert np.array(label.forces) == pytest.approx(np.array(by_pymatgen["forces"]), abs=1e-8)
        assert np.array(label.forces) == pytest.approx(atoms.get_forces(), abs=1e-8)
        expected = atoms.get_stress(voigt=False)
        assert np.abs(expected).max() > 1e-3
        assert np.array(label.stress) == pytest.approx(expected, rel=1e-6, abs=1e-9)
        assert label.pressure == pytest.approx(np.trace(by_pymatgen["stress"]) / 30.0, rel=1e-6), (
            "kbar, positive when compressed"
        )
        assert label.fingerprint.version.startswith("6.")
        assert label.fingerprint.potentials["Si"].startswith("PBE_54 Si sha256:")
        assert label.quality.k_mesh == (7, 7, 7)
        assert not label.quality.not_checked or label.quality.not_checked == ["ionic convergence"]

    def test_a_relaxation_is_read_step_by_step(self, tmp_path: Path) -> None:
        directory = unpacked("relaxation", tmp_path / "there")
        relaxation = VaspRun.from_directory(directory, SILICON)
        relaxation.check()
        expected = Vasprun(directory / "vasprun.xml", parse_potcar_file=False)
        assert len(relaxation.steps) == len(expected.ionic_steps) == 3
        for number, step in enumerate(expected.ionic_steps):
            atoms = relaxation.atoms(number)
            assert atoms.get_potential_energy(force_consistent=True) == pytest.approx(
                step["e_fr_energy"], abs=1e-8
            )
            assert atoms.get_volume() == pytest.approx(step["structure"].volume, rel=1e-7)
            assert relaxation.scf_converged(number)

    def test_another_functional_is_not_a_label(self, replay: Any) -> None:
        with pytest.raises(
            LabelError,
            match=r"ran with other settings than those requested: GGA is (?i:PS) and not PE; "
            r".*ISMEAR is 0 and not 1",
        ) as caught:
            made(
                VaspLabelMaker(method=VaspMethod(k_spacing=0.288, incar={"ENCUT": 250})),
                replay("single-point"),
            )
        assert f"its files are in {Path.cwd()}" in str(caught.value)
        assert classify(f"mgflows.schemas.labels.LabelError: {caught.value}") is ErrorCategory.INPUT

    def test_unconverged_electrons_are_no_label(self, replay: Any) -> None:
        with pytest.raises(
            LabelError, match="self-consistency did not converge after 8 steps"
        ) as caught:
            made(VaspLabelMaker(method=OLD_SILICON), replay("elec-unconverged"))
        assert (
            classify(f"mgflows.schemas.labels.LabelError: {caught.value}")
            is ErrorCategory.NOT_CONVERGED
        )

    def test_an_unconverged_relaxation_is_not_a_label(self, replay: Any) -> None:
        with pytest.raises(
            LabelError,
            match=r"a force of 2\.\d+ eV/A left after 5 steps.*its files are in .*relax_1",
        ):
            made(VaspRelaxMaker(method=OLD_SILICON, max_steps=5), replay("ionic-unconverged"))

    def test_a_relaxation_that_was_stopped_is_not_a_label(self, replay: Any) -> None:
        """Fewer steps than NSW, which pymatgen regards as converged."""
        with pytest.raises(LabelError, match="a force of 2"):
            made(VaspRelaxMaker(method=OLD_SILICON, max_steps=500), replay("ionic-unconverged"))

    def test_a_run_that_was_cut_off_is_not_a_label(self, replay: Any, tmp_path: Path) -> None:
        with pytest.raises(LabelError, match=r"VASP gave no usable result .*its files are in"):
            made(VaspLabelMaker(method=OLD_SILICON), replay("unfinished"))
        with pytest.raises(LabelError, match="as those of a run that was cut off"):
            VaspRun.from_directory(unpacked("unfinished", tmp_path / "there"), OLD_SILICON)

    def test_a_shifted_mesh_and_additional_tags_are_found(self, tmp_path: Path) -> None:
        directory = unpacked("elec-unconverged", tmp_path / "there")
        with (directory / "INCAR").open("a") as stream:
            stream.write("\nIVDW = 12\nPSTRESS = 10\n")
        with pytest.raises(
            LabelError,
            match=r"Monkhorst and not Gamma-centred; IVDW is 12 and was not requested; "
            r"PSTRESS is 10.* and not 0",
        ):
            VaspRun.from_directory(directory, OLD_SILICON).check()


class TestStandIn:
    def test_a_label_is_the_numbers_of_the_program(
        self, run: Any, behave: Any, structure: Structure
    ) -> None:
        behave()
        label = LabelDocument.model_validate(run(VaspLabelMaker().make(structure)))
        expected = LabelDocument.model_validate(
            run(AseLabelMaker(method=AseMethod.stand_in()).make(structure))
        )
        assert label.energy == pytest.approx(expected.energy, abs=1e-6), (
            "neither of the two other energies in vasprun.xml"
        )
        assert label.stress == pytest.approx(np.array(expected.stress), abs=1e-7)
        assert [site.specie.symbol for site in label.structure] == ["Zr"] * 2 + ["Al"] + ["Cu"] * 5
        mine, theirs = (each.structure.atomic_numbers for each in (label, expected))
        order = np.argsort(mine, kind="stable")
        assert np.array(label.forces)[order] == pytest.approx(np.array(expected.forces), abs=1e-6)
        assert np.array(mine)[order].tolist() == list(theirs)
        assert label.fingerprint.is_dft
        assert label.fingerprint.version == vasp_stand_in.VERSION

    def test_the_method_alone_is_an_ase_calculator_with_the_same_label(
        self, behave: Any, structure: Structure
    ) -> None:
        behave()
        expected = made(VaspLabelMaker(), structure)
        # Other order and handedness: the same crystal.
        atoms = atoms_from_structure(structure)[::-1]
        atoms.set_cell(-atoms.cell.array)
        label = made(AseLabelMaker(method=VaspMethod()), structure_from_atoms(atoms))
        assert label.energy == pytest.approx(expected.energy, abs=1e-6)
        assert label.stress == pytest.approx(np.array(expected.stress), abs=1e-7)
        assert label.fingerprint.differences(expected.fingerprint) == []
        assert label.quality.k_mesh == expected.quality.k_mesh
        # VASP writes positions wrapped into the cell.
        forces = [
            sorted(
                zip((each.structure.frac_coords.round(4) % 1.0).tolist(), each.forces, strict=True)
            )
            for each in (label, expected)
        ]
        assert [place for place, _ in forces[0]] == [place for place, _ in forces[1]]
        assert np.array([force for _, force in forces[0]]) == pytest.approx(
            np.array([force for _, force in forces[1]]), abs=1e-6
        )

    def test_electrons_that_do_not_converge_are_no_label_of_the_calculator(
        self, behave: Any, structure: Structure
    ) -> None:
        behave("never")
        with pytest.raises(NotConvergedError, match=r"after 200 steps; .*files are in .*vasp"):
            made(AseLabelMaker(method=VaspMethod()), structure)

    def test_a_relaxed_structure_has_the_label_that_a_single_point_gives(
        self, run: Any, behave: Any, structure: Structure
    ) -> None:
        behave()
        maker = VaspRelaxMaker(force_tolerance=2e-3)
        relaxed = LabelDocument.model_validate(run(maker.make(structure)))
        again = LabelDocument.model_validate(run(VaspLabelMaker().make(relaxed.structure)))
        assert relaxed.energy == pytest.approx(again.energy, abs=1e-6)
        assert relaxed.fingerprint.differences(again.fingerprint) == []
        ase = LabelDocument.model_validate(
            run(AseRelaxMaker(method=AseMethod.stand_in()).make(structure))
        )
        assert relaxed.relaxation is not None
        assert ase.relaxation is not None
        assert relaxed.relaxation.similarity is not None
        assert relaxed.relaxation.energy_per_atom_before == pytest.approx(
            ase.relaxation.energy_per_atom_before, abs=1e-6
        )
        assert relaxed.relaxation.largest_force < 2e-3
        assert relaxed.quality.ionic_converged

    def test_heating_keeps_every_step_that_converged(
        self, run: Any, behave: Any, structure: Structure
    ) -> None:
        behave("stutter")
        maker = VaspHeatingMaker(n_steps=4)
        heated = LabelDocument.model_validate(run(maker.make(structure, seed=900_000_007)))
        assert [summary.name for summary in heated.summaries] == ["step 1", "step 3", "step 4"]
        assert heated.failed[0].startswith(
            "step 2: the electronic self-consistency did not converge after 200 steps"
        )
        assert heated.trajectory is not None
        assert heated.trajectory.random_seed == 7
        assert len(heated.trajectory.temperature) == 4
        assert heated.fingerprint.settings == VaspMethod().fingerprint().settings
        (incar,) = Path.cwd().glob("job_*/INCAR*")
        assert "RANDOM_SEED = 7 0 0" in str(Incar.from_file(incar))

    @pytest.mark.parametrize(
        ("behaviour", "words"),
        [
            ("never", "did not converge after 200 steps"),
            ("cut", "gave no usable result"),
            ("coarse", "SIGMA is 0.2 and not 0.1"),
        ],
    )
    def test_a_failure_is_one_sentence(
        self, behave: Any, structure: Structure, behaviour: str, words: str
    ) -> None:
        behave(behaviour)
        with pytest.raises(LabelError, match=words) as caught:
            made(VaspLabelMaker(), structure)
        assert str(Path.cwd()) in str(caught.value)

    def test_the_error_names_what_custodian_tried(
        self, monkeypatch: pytest.MonkeyPatch, structure: Structure
    ) -> None:
        def run_vasp(**_: Any) -> None:
            vasp_stand_in.run(Path.cwd(), "never")
            correction = {
                "errors": ["Unconverged"],
                "actions": [{"dict": "INCAR", "action": {"_set": {"ALGO": "All"}}}],
            }
            Path("custodian.json").write_text(
                json.dumps([{"job": {}, "corrections": [correction]}])
            )
            raise MaxCorrectionsPerJobError("Max errors per job reached: 5.", True, 5, None)

        monkeypatch.setattr("atomate2.vasp.jobs.base.run_vasp", run_vasp)
        with pytest.raises(
            LabelError,
            match="did not converge after 200 steps, also not with Unconverged: INCAR ALGO = All",
        ) as caught:
            made(VaspLabelMaker(), structure)
        assert (
            classify(f"mgflows.schemas.labels.LabelError: {caught.value}")
            is ErrorCategory.NOT_CONVERGED
        )

    def test_a_heating_that_stopped_early_is_not_a_label(
        self, monkeypatch: pytest.MonkeyPatch, structure: Structure
    ) -> None:
        def run_vasp(**_: Any) -> None:
            incar = Incar.from_file("INCAR")
            Incar(incar | {"NSW": 2}).write_file("INCAR")
            vasp_stand_in.run(Path.cwd())

        monkeypatch.setattr("atomate2.vasp.jobs.base.run_vasp", run_vasp)
        with pytest.raises(LabelError, match="VASP did 2 of 4 steps"):
            made(VaspHeatingMaker(n_steps=4), structure, 1)


class TestProcess:
    """atomate2 and custodian start a program, as they start VASP."""

    def test_a_retry_with_another_algorithm_is_recorded_and_leaves_the_method_alone(
        self, run: Any, monkeypatch: pytest.MonkeyPatch, structure: Structure
    ) -> None:
        monkeypatch.setenv("STAND_IN_VASP", "slow")
        label = LabelDocument.model_validate(
            run(VaspLabelMaker(run_vasp_kwargs=FAST).make(structure))
        )
        assert label.quality.corrections == ["Unconverged: INCAR ALGO = All, ISEARCH = 1"]
        assert label.fingerprint.settings == VaspMethod().fingerprint().settings
        assert (
            label.fingerprint.potentials == VaspMethod().fingerprint(["Al", "Cu", "Zr"]).potentials
        ), "the files that ran are those on the machine"

    def test_a_crash_is_an_error_that_names_the_files(
        self, monkeypatch: pytest.MonkeyPatch, structure: Structure
    ) -> None:
        monkeypatch.setenv("STAND_IN_VASP", "dead")
        with pytest.raises(LabelError, match="VASP gave no usable result") as caught:
            made(VaspLabelMaker(run_vasp_kwargs=FAST), structure)
        assert str(Path.cwd()) in str(caught.value)
        assert "segmentation fault" in Path("std_err.txt").read_text()

    def test_an_interrupted_job_leaves_no_program_behind(
        self, monkeypatch: pytest.MonkeyPatch, structure: Structure
    ) -> None:
        started = []

        def run_vasp(**_: Any) -> None:
            # As custodian starts it: in a separate session.
            started.append(subprocess.Popen(["sleep", "600"], start_new_session=True))
            raise Interrupted("the walltime is over")

        monkeypatch.setattr("atomate2.vasp.jobs.base.run_vasp", run_vasp)
        with pytest.raises(Interrupted):
            made(VaspLabelMaker(), structure)
        assert started[0].wait(timeout=10) == -signal.SIGTERM


class TestBeforeAnythingRuns:
    def test_a_missing_command_is_named(self, structure: Structure) -> None:
        with pytest.raises(
            InputError,
            match=r"the command no_such_vasp was not found.*vasp_command in mgflows.yaml",
        ) as caught:
            made(VaspLabelMaker(run_vasp_kwargs={"vasp_cmd": "no_such_vasp -v"}), structure)
        assert (
            classify(f"mgflows.errors.InputError: {caught.value}")
            is ErrorCategory.MISSING_EXECUTABLE
        )
        assert not Path("INCAR").exists()

    def test_the_method_alone_names_what_is_missing(
        self, tmp_path: Path, structure: Structure
    ) -> None:
        VaspMethod().check_species(["Cu", "Zr"])
        next(tmp_path.glob("potcars/*/POTCAR.Zr_sv")).unlink()
        for check in (
            lambda: VaspMethod().check_species(["Cu", "Zr"]),
            lambda: VaspMethod().build(atoms_from_structure(structure)),
        ):
            with pytest.raises(MissingFileError, match=r"no POTCAR of Zr \(PBE_54: Zr_sv\)"):
                check()

    def test_missing_potcars_are_named(self, tmp_path: Path, structure: Structure) -> None:
        next(tmp_path.glob("potcars/*/POTCAR.Zr_sv")).unlink()
        with pytest.raises(
            InputError, match=r"no POTCAR of Zr \(PBE_54: Zr_sv\) was found; PMG_VASP_PSP_DIR is"
        ) as caught:
            made(VaspLabelMaker(), structure)
        assert classify(f"mgflows.errors.InputError: {caught.value}") is ErrorCategory.MISSING_FILE
        assert not Path("INCAR").exists()

    def test_settings_of_atomate2_that_change_labels_are_refused(
        self, monkeypatch: pytest.MonkeyPatch, structure: Structure
    ) -> None:
        import atomate2

        monkeypatch.setattr(atomate2.SETTINGS, "VASP_INCAR_UPDATES", {"NCORE": 4, "ISMEAR": 0})
        with pytest.raises(
            InputError, match="VASP_INCAR_UPDATES in atomate2's settings changes ISMEAR"
        ):
            made(VaspLabelMaker(), structure)

    def test_an_edited_potcar_is_another_method(self, tmp_path: Path) -> None:
        before = VaspMethod().fingerprint(["Cu", "Zr"])
        (path,) = tmp_path.glob("potcars/*/POTCAR.Zr_sv")
        path.write_text(path.read_text().replace("   1.0\n", "   2.0\n"))
        (phrase,) = before.differences(VaspMethod().fingerprint(["Cu", "Zr"]))
        assert phrase.startswith("potential of Zr: 'PBE_54 Zr_sv sha256:")
        shutil.rmtree(tmp_path / "potcars")
        assert VaspMethod().fingerprint(["Zr"]).potentials == {"Zr": "PBE_54 Zr_sv"}
