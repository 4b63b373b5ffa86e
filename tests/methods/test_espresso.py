"""Inputs and recorded outputs of pw.x, and the errors raised before anything runs; without pw.x."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.io.espresso import read_espresso_in

from mgflows import units
from mgflows.database.failures import classify
from mgflows.errors import ErrorCategory, InputError
from mgflows.jobs.labels import AseLabelMaker
from mgflows.methods.base import k_mesh
from mgflows.methods.espresso import EspressoMethod, read_report
from mgflows.schemas.labels import LabelError, structure_from_atoms


@pytest.fixture
def pseudopotentials(tmp_path):
    folder = tmp_path / "pseudo"
    folder.mkdir()
    for element in ("Cu", "Zr"):
        (folder / f"{element}.UPF").write_text(
            f'<UPF version="2.0.1">\n<PP_HEADER element="{element}"\n'
            ' functional="SLA-PW-PBX-PBC"\n/>'
        )
    return folder


@pytest.fixture
def method(pseudopotentials):
    return EspressoMethod(
        cutoff=40 * units.RYDBERG, k_spacing=1.0, pseudo_directory=str(pseudopotentials)
    )


def label(method, atoms):
    return AseLabelMaker.make.original(AseLabelMaker(method=method), structure_from_atoms(atoms))


def value(text, key):
    return re.search(rf"(?m)^\s*{key}\s*=\s*'?([^'\s]+)", text)[1]


def test_the_input_has_the_settings(program, method, pair, pseudopotentials):
    program("pw.x", "exit 0")
    calculator = method.build(pair)
    calculator.write_inputfiles(pair, ["energy", "forces", "stress"])
    text = (calculator.directory / "espresso.pwi").read_text()
    assert float(value(text, "ecutwfc")) == pytest.approx(40.0)
    assert float(value(text, "ecutrho")) == pytest.approx(160.0)
    assert float(value(text, "degauss")) == pytest.approx(0.1 / 13.605693123, rel=1e-8)
    assert float(value(text, "conv_thr")) == pytest.approx(2 * 1e-7 / 13.605693123, rel=1e-8)
    assert (value(text, "smearing"), value(text, "nosym"), value(text, "electron_maxstep")) == (
        "fd",
        ".true.",
        "80",
    )
    assert (value(text, "tstress"), value(text, "tprnfor")) == (".true.", ".true.")
    assert Path(value(text, "pseudo_dir")) == pseudopotentials
    assert re.search(r"K_POINTS automatic\n2 2 2\s+0 0 0\n", text)
    written = read_espresso_in(str(calculator.directory / "espresso.pwi"))
    assert written.positions == pytest.approx(pair.positions, abs=1e-9)
    assert written.cell.array == pytest.approx(pair.cell.array, abs=1e-9)


def test_the_default_is_the_papers_mesh_at_90_rydberg():
    assert EspressoMethod().cutoff == pytest.approx(1224.512, abs=1e-3)
    assert k_mesh(12.9275 * np.eye(3), EspressoMethod().k_spacing) == (3, 3, 3)


def test_ranks_threads_and_pools():
    assert EspressoMethod().full_command == "env OMP_NUM_THREADS=1 pw.x"
    parallel = EspressoMethod(n_ranks=4, n_threads=2, n_pools=2)
    assert parallel.full_command == "mpirun -n 4 env OMP_NUM_THREADS=2 pw.x -nk 2"
    assert parallel.n_cores == 8
    assert EspressoMethod(launcher="srun").full_command == "srun env OMP_NUM_THREADS=1 pw.x"
    assert parallel.fingerprint().digest == EspressoMethod().fingerprint().digest, (
        "how it runs does not change the label"
    )


def test_a_recorded_calculation_becomes_its_label(program, recorded, method, pair):
    output = recorded("espresso/converged.pwo")
    program("pw.x", f"cat {output}")
    document = label(method, pair)
    text = output.read_text()
    # Independent of ASE's parser: the numbers in the file, in Ry and bohr.
    energy = float(re.search(r"!    total energy\s+=\s+(\S+) Ry", text)[1])
    forces = np.array(re.findall(r"type +\d+ +force = +(\S+) +(\S+) +(\S+)", text), dtype=float)
    kbar = float(re.search(r"\(kbar\)\s+P=\s*(\S+)", text)[1])
    assert document.energy == pytest.approx(energy * 13.605693123, rel=1e-7)
    assert np.array(document.forces) == pytest.approx(
        forces * 13.605693123 / 0.529177210903, rel=1e-6, abs=1e-7
    )
    assert document.pressure == pytest.approx(kbar / 10.0, rel=1e-4)
    internal, entropy = (
        float(re.search(rf"{name}\s+=\s+(\S+) Ry", text)[1])
        for name in (r"internal energy E=F\+TS", r"\(-TS\)")
    )
    assert energy == pytest.approx(internal + entropy, abs=2e-8), "the label is the free energy"
    quality = document.quality
    assert (quality.scf_converged, quality.k_mesh, quality.k_mesh_requested) == (
        True,
        (2, 2, 2),
        (2, 2, 2),
    )
    assert quality.cutoff == pytest.approx(quality.cutoff_requested)
    assert quality.not_checked == ["ionic convergence"]
    assert document.fingerprint.version == "6.7MaX"
    assert document.fingerprint.is_dft
    assert sorted(document.fingerprint.potentials) == ["Cu", "Zr"]
    assert not Path("espresso/scratch").exists()


def test_electrons_that_do_not_converge_are_tried_again_and_never_become_a_label(
    program, recorded, method, pair
):
    output = recorded("espresso/unconverged.pwo")
    assert read_report(output).scf_converged is False
    # pw.x 6.7 ends with code 2 here.
    program(
        "pw.x",
        'grep -E "mixing_beta|diagonalization|maxstep" espresso.pwi | tr -d " " >> tries; '
        f"cat {output}; exit 2",
    )
    with pytest.raises(
        LabelError, match=r"did not converge in 4 steps .*its files are in .*espresso"
    ) as caught:
        label(method, pair)
    assert classify(f"LabelError: {caught.value}") is ErrorCategory.NOT_CONVERGED
    tries = Path("espresso/tries").read_text().split()
    assert sorted(tries) == sorted(
        ["electron_maxstep=80", "diagonalization='cg'", "electron_maxstep=160", "mixing_beta=0.3"]
    )


def test_a_second_attempt_that_converges_is_recorded(program, recorded, method, pair):
    good, bad = recorded("espresso/converged.pwo"), recorded("espresso/unconverged.pwo")
    program("pw.x", f"if [ -e tried ]; then cat {good}; else touch tried; cat {bad}; exit 2; fi")
    assert label(method, pair).quality.corrections == [
        "mixing_beta: 0.3",
        "diagonalization: cg",
        "electron_maxstep: 160",
    ]


def test_an_output_for_another_mesh_is_not_a_label(program, recorded, method, pair):
    program("pw.x", f"cat {recorded('espresso/converged.pwo')}")
    with pytest.raises(LabelError, match="the k-mesh is 2x2x2 but 4x4x4 was requested"):
        label(
            EspressoMethod(
                cutoff=method.cutoff, k_spacing=0.5, pseudo_directory=method.pseudo_directory
            ),
            pair,
        )


@pytest.mark.parametrize(
    ("commands", "words", "category"),
    [
        (
            "kill -9 $$",
            "killed by signal 9, as happens when a machine is out of memory",
            ErrorCategory.OUT_OF_MEMORY,
        ),
        ("kill -15 $$", "ended by signal 15", None),
        (
            (
                'printf " %%%%%%%%\\n     Error in routine cdiaghg (5):\\n'
                '     problems computing cholesky\\n"; exit 1'
            ),
            "problems computing cholesky",
            None,
        ),
        ("exit 0", "its output is cut off", None),
    ],
)
def test_a_program_that_ends_badly_fails_in_one_sentence(
    program, method, pair, commands, words, category
):
    program("pw.x", commands)
    with pytest.raises(LabelError) as caught:
        label(method, pair)
    assert words in str(caught.value)
    assert "its files are in" in str(caught.value)
    assert category is None or classify(f"LabelError: {caught.value}") is category


def test_what_is_missing_is_named_before_anything_runs(
    program, method, pair, pseudopotentials, monkeypatch
):
    program("pw.x", "exit 0")
    with pytest.raises(InputError, match=r"the program pw9\.x was not found") as caught:
        label(EspressoMethod(command="pw9.x", pseudo_directory=str(pseudopotentials)), pair)
    assert classify(f"InputError: {caught.value}") is ErrorCategory.MISSING_EXECUTABLE
    with pytest.raises(InputError, match="the program nompirun was not found"):
        label(
            EspressoMethod(
                n_ranks=2, launcher="nompirun -n {n_ranks}", pseudo_directory=str(pseudopotentials)
            ),
            pair,
        )
    (pseudopotentials / "Zr_ONCV.upf").write_text("")
    with pytest.raises(
        InputError, match=r"several pseudopotentials of Zr \(Zr\.UPF, Zr_ONCV\.upf\)"
    ):
        label(method, pair)
    for path in pseudopotentials.glob("Zr*"):
        path.unlink()
    with pytest.raises(
        InputError, match=r"pseudopotential file Zr\.UPF of Zr was not found"
    ) as caught:
        label(method, pair)
    assert classify(f"InputError: {caught.value}") is ErrorCategory.MISSING_FILE
    (pseudopotentials / "Zr.UPF").write_text('<PP_HEADER functional="PBESOL"/>')
    with pytest.raises(InputError, match="was made with the functional PBESOL, not with PBE"):
        label(method, pair)
    assert not list(Path().iterdir()), "nothing was started"
    monkeypatch.setenv("ESPRESSO_PSEUDO", "/nowhere")
    with pytest.raises(InputError, match="not found in /nowhere"):
        EspressoMethod().pseudo_file("Cu")


@pytest.mark.parametrize(
    "wrong",
    [
        {"smearing": "cold"},
        {"functional": "SCAN"},
        {"cutoff": 0.0},
        {"density_cutoff": 100.0},
        {"n_ranks": 3, "n_pools": 2},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError, match=next(reversed(wrong))):
        EspressoMethod(**wrong)


def test_a_launcher_of_another_mpi_is_detected(program, recorded, method, pair):
    """It starts the program several times, each on one rank, and all write the same files."""
    program("pw.x", f"cat {recorded('espresso/converged.pwo')}")
    program("othermpirun", 'shift 2; exec "$@"')
    with pytest.raises(
        LabelError, match="it ran on 1 rank, not on 2: othermpirun belongs to another MPI"
    ):
        label(replace(method, n_ranks=2, launcher="othermpirun -n {n_ranks}"), pair)
