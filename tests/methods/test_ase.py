"""Named ASE calculators: files, elements and errors of other packages."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from monty.json import MontyDecoder, MontyEncoder

from mgflows import Alloy, CampaignMaker
from mgflows.errors import ErrorCategory, InputError, LabelError, MissingFileError
from mgflows.flows.labels import LabelFlowMaker
from mgflows.jobs.labels import AseLabelMaker
from mgflows.methods.ase import AseMethod
from mgflows.methods.base import check_species
from mgflows.methods.cp2k import Cp2kMethod
from mgflows.methods.espresso import EspressoMethod
from mgflows.methods.gpaw import GpawMethod
from mgflows.methods.vasp.method import VaspMethod
from mgflows.schemas.labels import LabelDocument, structure_from_atoms

MODEL = Path(__file__).parents[1] / "data" / "tiny_nep.txt"
NEP = "calorine.calculators.CPUNEP"
EMT = "ase.calculators.emt.EMT"
ODD = "tests.helpers.odd_calculators.OddCalculator"


def label(method, atoms):
    maker = AseLabelMaker(method=method)
    return AseLabelMaker.make.original(maker, structure_from_atoms(atoms))


class TestFiles:
    def test_a_relative_path_works_from_the_directory_of_a_job(self, tmp_path, monkeypatch, pair):
        """As in the section on foundation models of docs/how_to/label_contract.md."""
        monkeypatch.chdir(tmp_path)
        shutil.copy(MODEL, "UNEP-v1.txt")
        method = AseMethod(NEP, kwargs={"model_filename": "UNEP-v1.txt"})
        digest = hashlib.sha256(MODEL.read_bytes()).hexdigest()
        assert method.kwargs == {"model_filename": str(tmp_path / "UNEP-v1.txt")}
        assert method.files == {str(tmp_path / "UNEP-v1.txt"): digest}
        assert method.description == f"{NEP} through ASE"
        (tmp_path / "launch").mkdir()
        monkeypatch.chdir(tmp_path / "launch")
        stored = json.loads(json.dumps(AseLabelMaker(method=method), cls=MontyEncoder))
        maker = MontyDecoder().process_decoded(stored)
        assert maker.method == method
        document = label(maker.method, pair)
        assert document.fingerprint.settings["model_filename"] == f"sha256:{digest}"

    def test_a_file_that_is_missing_or_edited_on_the_worker_is_named(self, tmp_path, pair):
        model = tmp_path / "nep.txt"
        shutil.copy(MODEL, model)
        method = AseMethod(NEP, kwargs={"model_filename": str(model)})
        model.write_text(model.read_text() + "\n")
        with pytest.raises(InputError, match=r"nep\.txt of calorine.* has changed"):
            label(method, pair)
        assert replace(method).files == method.files, "a copy keeps what was recorded"
        model.unlink()
        with pytest.raises(
            MissingFileError, match=r"nep\.txt of calorine.* was not found"
        ) as caught:
            label(method, pair)
        assert caught.value.category is ErrorCategory.MISSING_FILE

    def test_a_file_that_never_existed_is_named_before_anything_runs(self, pair):
        method = AseMethod(NEP, kwargs={"model_filename": "nowhere/nep.txt"})
        with pytest.raises(MissingFileError, match="absolute path, which every worker"):
            method.build(pair)
        with pytest.raises(MissingFileError, match=r"nowhere/nep\.txt"):
            check_species(method, ["Cu"])

    def test_files_in_lists_are_found_and_names_are_left_alone(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("one.pt").write_text("1")
        Path("small").write_text("2")
        method = AseMethod("some.Calculator", {"models": ["one.pt"], "size": "small", "n": 3})
        assert method.kwargs == {"models": [str(tmp_path / "one.pt")], "size": "small", "n": 3}
        assert AseMethod("some.Calculator", {"model": Path("one.pt")}).kwargs == {
            "model": str(tmp_path / "one.pt")
        }

    def test_directories_and_programs_of_codes_become_absolute(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "pw.x").touch()
        espresso = EspressoMethod(pseudo_directory="upf", command="bin/pw.x -nd 4")
        assert espresso.pseudo_directory == str(tmp_path / "upf")
        assert espresso.command == f"{tmp_path}/bin/pw.x -nd 4"
        assert EspressoMethod().command == "pw.x"
        assert Cp2kMethod(data_directory="share").data_directory == str(tmp_path / "share")


def test_keyword_arguments_that_cannot_be_stored_are_refused():
    with pytest.raises(InputError, match="not plain JSON values"):
        AseMethod(EMT, {"function": print})


def test_keyword_arguments_that_do_not_fit_are_named(pair):
    with pytest.raises(InputError, match=r"cannot be built \(TypeError: "):
        AseMethod(NEP, {"model_file": str(MODEL)}).build(pair)


class TestElements:
    @pytest.mark.parametrize(
        "method",
        [AseMethod.stand_in(), AseMethod(EMT), AseMethod(EMT, elements=("Cu", "Al"))],
        ids=["details", "trial", "given"],
    )
    def test_a_calculator_without_an_element_is_named(self, method):
        check_species(method, ["Cu", "Al"])
        with pytest.raises(InputError, match=r"(cannot label|structure of) Ti"):
            check_species(method, ["Cu", "Al", "Ti"])

    def test_given_elements_skip_the_trial(self):
        check_species(AseMethod("not.installed.Calculator", elements=("Cu",)), ["Cu"])
        with pytest.raises(InputError, match="cannot be imported"):
            check_species(AseMethod("not.installed.Calculator"), ["Cu"])

    @pytest.mark.parametrize("method", [EspressoMethod(), Cp2kMethod(), GpawMethod(), VaspMethod()])
    def test_strings_that_are_not_elements_are_refused_by_every_method(self, method):
        with pytest.raises(InputError, match="'X', 'Cu2' is not a chemical element"):
            check_species(method, ["Cu", "X", "Cu2"])

    def test_codes_without_a_potential_are_refused_where_there_are_others(self, tmp_path):
        (tmp_path / "Cu.UPF").write_text('<PP_HEADER functional="PBE"/>')
        here = EspressoMethod(pseudo_directory=str(tmp_path))
        here.check_species(["Cu"])
        with pytest.raises(MissingFileError, match="of Ni was not found"):
            here.check_species(["Cu", "Ni"])
        # A machine that only submits has none.
        EspressoMethod(pseudo_directory="/nowhere").check_species(["Ni"])
        Cp2kMethod(data_directory="/nowhere").check_species(["Ni"])

    def test_a_campaign_is_refused_before_anything_runs(self):
        alloy = Alloy.from_formula("Zr46Cu30Ni14Al10", mass_density=8.23)
        with pytest.raises(InputError, match=r"label_maker\.label_maker .* cannot label Ni"):
            CampaignMaker(alloy=alloy).make()
        labels = LabelFlowMaker().labelled_by(AseMethod(EMT))
        with pytest.raises(InputError, match="No EMT-potential for Zr"):
            CampaignMaker(label_maker=labels).make()


class TestResults:
    @pytest.mark.parametrize(
        ("kind", "words"),
        [
            ("nan", "the forces of CuZr is not finite"),
            ("short", r"forces of shape \(1, 3\), not one energy and \(2, 3\)"),
            ("asymmetric", "the stress is not symmetric"),
            ("no stress", "PropertyNotImplementedError: .*stress"),
            ("fails", "RuntimeError: CUDA error: invalid device ordinal"),
        ],
    )
    def test_results_that_are_not_labels_are_refused_in_one_sentence(self, pair, kind, words):
        method = AseMethod(ODD, {"kind": kind}, description="odd")
        with pytest.raises(LabelError, match=words) as caught:
            label(method, pair)
        assert "\n" not in str(caught.value)

    def test_a_member_of_a_set_that_fails_is_left_out(self, pair):
        maker = AseLabelMaker(method=AseMethod(EMT))
        good = pair.copy()
        good.symbols[1] = "Al"
        structures = [structure_from_atoms(each) for each in (good, pair)]
        document = AseLabelMaker.make_set.original(maker, structures, ["good", "bad"])
        assert isinstance(document, LabelDocument)
        assert document.n_frames == 1
        assert document.failed[0].startswith(f"bad: {EMT} through ASE failed on CuZr (NotImpl")
