"""CP2K's inputs, recorded outputs, and the errors raised before anything runs; without CP2K."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import constants

from mgflows import units
from mgflows.database.failures import classify
from mgflows.errors import ErrorCategory, InputError
from mgflows.jobs.labels import AseLabelMaker
from mgflows.methods.cp2k import Cp2kMethod
from mgflows.schemas.labels import LabelError, structure_from_atoms

pytestmark = pytest.mark.filterwarnings("ignore:Unable to validate")

SETTINGS = {
    "cutoff": 150 * units.RYDBERG,
    "relative_cutoff": 30 * units.RYDBERG,
    "basis": "SZV-MOLOPT-SR-GTH",
    "precision": 1e-6,
}


@pytest.fixture
def data(tmp_path):
    """Files with the headlines of CP2K's and invented numbers."""
    folder = tmp_path / "share"
    folder.mkdir()
    (folder / "GTH_POTENTIALS").write_text(
        "#PBE\nCu GTH-PBE-q11 GTH-PBE\n 1 0 10\n 0.5 0\n#\n"
        "Zr GTH-PBE-q12 GTH-PBE\n 4 2 6\n 0.4 0\n#\n"
    )
    (folder / "BASIS_MOLOPT").write_text(
        " Cu SZV-MOLOPT-SR-GTH SZV-q11\n 1\n 2 0 2\n Zr SZV-MOLOPT-SR-GTH SZV-q12\n 1\n 2 0 3\n"
    )
    return folder


@pytest.fixture
def method(data):
    return Cp2kMethod(**SETTINGS, k_spacing=1.0, data_directory=str(data))


def label(method, atoms):
    return AseLabelMaker.make.original(AseLabelMaker(method=method), structure_from_atoms(atoms))


@pytest.mark.parametrize("mesh", [(2, 2, 2), (3, 2, 1), (4, 4, 4), (1, 1, 1)])
def test_the_input_has_the_settings(pair, mesh):
    method = Cp2kMethod()
    text = str(
        method.input_set(2, mesh, ["Cu", "Zr"])
        .get_input_set(structure_from_atoms(pair), optional_files=False)
        .cp2k_input
    )

    def value(key):
        return re.search(rf"(?m)^\s*{key} (\S+)", text)[1]

    assert float(value("CUTOFF")) == pytest.approx(600.0)
    assert float(value("REL_CUTOFF")) == pytest.approx(60.0)
    assert float(value("ELEC_TEMP")) == pytest.approx(0.1 * constants.e / constants.k)
    assert (value("UKS"), value("ADDED_MOS"), value("MAX_SCF"), value("STRESS_TENSOR")) == (
        "False",
        "10",
        "80",
        "ANALYTICAL",
    )
    assert value("BASIS_SET_FILE_NAME") == "BASIS_MOLOPT"
    assert value("POTENTIAL_FILE_NAME") == "GTH_POTENTIALS"
    assert text.count("BASIS_SET DZVP-MOLOPT-SR-GTH") == text.count("POTENTIAL GTH-PBE") == 2
    assert "&PBE" in text
    assert "&OT" not in text
    assert [
        line.split()[0]
        for line in re.search(r"&COORD\n(.*?)&END", text, re.DOTALL)[1].strip().splitlines()
    ] == ["Cu_1", "Zr_1"]
    points = np.array(re.findall(r"KPOINT (\S+) (\S+) (\S+) (\d+)", text), dtype=float)
    if mesh == (1, 1, 1):
        assert "KPOINTS" not in text, "Gamma alone has a code of its own in CP2K"
        return
    # Each point of the mesh once, k and -k together.
    assert points[:, 3].sum() == np.prod(mesh)
    both = np.concatenate([points[:, :3], -points[points[:, 3] == 2][:, :3]])
    wanted = np.stack(np.meshgrid(*(np.arange(n) / n for n in mesh), indexing="ij"), -1).reshape(
        -1, 3
    )
    assert {tuple(np.round(point % 1.0, 6) % 1.0) for point in both} == {
        tuple(np.round(point, 6)) for point in wanted
    }


def test_building_inputs_does_not_change_atomate2s_defaults(pair):
    from atomate2.cp2k.sets.base import _BASE_CP2K_SET

    before = str(_BASE_CP2K_SET)
    Cp2kMethod().input_set(2, (2, 2, 2), ["Cu", "Zr"]).get_input_set(
        structure_from_atoms(pair), optional_files=False
    )
    assert str(_BASE_CP2K_SET) == before


def test_ranks_and_threads(data):
    method = Cp2kMethod(n_ranks=2, n_threads=3, data_directory=str(data))
    assert (
        method.full_command == f"mpirun -n 2 env OMP_NUM_THREADS=3 CP2K_DATA_DIR={data} cp2k.psmp"
    )
    assert method.n_cores == 6


def test_a_recorded_calculation_becomes_its_label(program, recorded, method, pair):
    output = recorded("cp2k/converged.out")
    program("cp2k.psmp", f"touch CP2K-RESTART.kp; cat {output}")
    document = label(method, pair)
    text = output.read_text()
    hartree, bohr = (
        constants.physical_constants["Hartree energy in eV"][0],
        constants.physical_constants["Bohr radius"][0] * 1e10,
    )
    energy = float(re.search(r"Total FORCE_EVAL \( QS \) energy \[a\.u\.\]:\s+(\S+)", text)[1])
    rows = re.search(r"ATOMIC FORCES in(.*?)SUM OF", text, re.DOTALL)[1]
    forces = np.array(
        [line.split()[3:] for line in rows.splitlines() if re.match(r"\s+\d", line)], dtype=float
    )
    trace = float(re.search(r"STRESS\| 1/3 Trace\s+(\S+)", text)[1])
    assert document.energy == pytest.approx(energy * hartree, rel=1e-8)
    assert np.array(document.forces) == pytest.approx(forces * hartree / bohr, rel=1e-6, abs=1e-9)
    assert document.pressure == pytest.approx(trace, rel=1e-6), "positive when compressed, in GPa"
    # CP2K's total energy has the entropic term in it: it is the free energy.
    terms = (
        r"(?m)^\s+(?:Overlap energy|Self energy|Core Hamiltonian|Hartree|Exchange-correlation"
        r"|Electronic entropic)[^\d-]*(-?\d+\.\d+)$"
    )
    assert sum(map(float, re.findall(terms, text))) == pytest.approx(energy, abs=1e-5)
    quality = document.quality
    assert (
        quality.free_energy,
        quality.scf_converged,
        quality.k_mesh,
        quality.k_mesh_requested,
    ) == (True, True, (2, 2, 2), (2, 2, 2))
    assert quality.cutoff == pytest.approx(quality.cutoff_requested)
    assert document.fingerprint.version == "2023.1"
    assert document.fingerprint.potentials["Zr"].startswith("GTH-PBE SZV-MOLOPT-SR-GTH sha256:")
    assert not list(Path("cp2k").glob("CP2K-RESTART*"))


def test_electrons_that_do_not_converge_are_tried_again_and_never_become_a_label(
    program, recorded, method, pair
):
    program(
        "cp2k.psmp",
        f'grep -E " *(ALPHA|MAX_SCF) " cp2k.inp >> tries; cat {recorded("cp2k/unconverged.out")}',
    )
    with pytest.raises(
        LabelError, match=r"did not converge in 6 steps; its files are in .*cp2k"
    ) as caught:
        label(method, pair)
    assert classify(f"LabelError: {caught.value}") is ErrorCategory.NOT_CONVERGED
    assert Path("cp2k/tries").read_text().split() == [
        "MAX_SCF",
        "80",
        "ALPHA",
        "0.3",
        "MAX_SCF",
        "160",
        "ALPHA",
        "0.1",
    ]


@pytest.mark.parametrize(
    ("commands", "words", "category"),
    [
        (
            "kill -9 $$",
            "killed by signal 9, as happens when a machine is out of memory",
            ErrorCategory.OUT_OF_MEMORY,
        ),
        (
            r"printf ' * [ABORT] *\n *  \\___/   The basis set is not there. *\n'; exit 1",
            "The basis set is not there.",
            None,
        ),
        ("exit 0", "no energy", None),
    ],
)
def test_a_program_that_ends_badly_fails_in_one_sentence(
    program, method, pair, commands, words, category
):
    program("cp2k.psmp", commands)
    with pytest.raises(LabelError) as caught:
        label(method, pair)
    assert words in str(caught.value)
    assert "its files are in" in str(caught.value)
    assert category is None or classify(f"LabelError: {caught.value}") is category


def test_what_is_missing_is_named_before_anything_runs(program, data, pair):
    program("cp2k.psmp", "exit 0")
    with pytest.raises(InputError, match="the program cp2k9 was not found") as caught:
        label(Cp2kMethod(command="cp2k9", data_directory=str(data)), pair)
    assert classify(f"InputError: {caught.value}") is ErrorCategory.MISSING_EXECUTABLE
    with pytest.raises(InputError, match="TZVP of Cu was not found in"):
        label(Cp2kMethod(basis="TZVP", data_directory=str(data)), pair)
    with pytest.raises(InputError, match="GTH-BLYP of Cu was not found in"):
        label(
            Cp2kMethod(functional="BLYP", basis=SETTINGS["basis"], data_directory=str(data)), pair
        )
    with pytest.raises(
        InputError, match="GTH_POTENTIALS, CP2K's pseudopotential file, was not found in /nowhere"
    ) as caught:
        label(Cp2kMethod(data_directory="/nowhere"), pair)
    assert classify(f"InputError: {caught.value}") is ErrorCategory.MISSING_FILE
    assert not list(Path().iterdir()), "nothing was started"


def test_a_changed_potential_is_another_fingerprint(method, data):
    before = method.potential("Cu")
    changed = data.parent / "changed"
    data.rename(changed)
    (changed / "GTH_POTENTIALS").write_text(
        (changed / "GTH_POTENTIALS").read_text().replace("0.5 0", "0.6 0")
    )
    other = Cp2kMethod(**SETTINGS, data_directory=str(changed))
    assert other.potential("Cu") != before
    assert "potential of Cu" in " ".join(
        method.fingerprint()
        .model_copy(update={"potentials": {"Cu": before}})
        .differences(other.fingerprint(["Cu"]))
    )


@pytest.mark.parametrize(
    "wrong", [{"functional": "PBEsol"}, {"cutoff": -1.0}, {"max_scf_steps": 0}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Cp2kMethod(**wrong)


def test_a_launcher_of_another_mpi_is_detected(program, recorded, method, pair):
    """It starts the program several times, each on one rank, and all write the same files."""
    program("cp2k.psmp", f"cat {recorded('cp2k/converged.out')}")
    program("othermpirun", 'shift 2; exec "$@"')
    with pytest.raises(
        LabelError, match="it ran on 1 rank, not on 2: othermpirun belongs to another MPI"
    ):
        label(replace(method, n_ranks=2, launcher="othermpirun -n {n_ranks}"), pair)
