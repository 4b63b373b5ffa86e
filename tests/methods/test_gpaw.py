from __future__ import annotations

import json
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read

from mgflows import units
from mgflows.errors import InputError, MissingDependencyError
from mgflows.methods.gpaw import GpawMethod, mpi_launcher
from mgflows.schemas.labels import Frame, LabelError
from mgflows.schemas.quality import violations

REFERENCES = Path(__file__).parents[1] / "data" / "dft_reference"
COARSE = GpawMethod(cutoff=300.0, k_spacing=1.0)


@pytest.fixture
def atoms():
    return Atoms("CuZr", scaled_positions=[[0, 0, 0], [0.5, 0.48, 0.51]], cell=[3.26] * 3, pbc=True)


@pytest.fixture(autouse=True)
def _own_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def program(path, text):
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.dft
@pytest.mark.needs("gpaw-mpi")
@pytest.mark.slow
def test_a_calculation_is_the_same_on_two_ranks(atoms):
    results = []
    for method in (COARSE, GpawMethod(cutoff=300.0, k_spacing=1.0, n_ranks=2)):
        calculator = method.build(atoms)
        atoms.calc = calculator
        frame = Frame.from_atoms(atoms)
        report = method.report(calculator)
        calculator.close()
        assert violations(frame, report, atoms) == []
        assert report.k_mesh == (2, 2, 2)
        assert report.cutoff == pytest.approx(300.0)
        assert report.corrections == []
        results.append(frame)
    one, two = results
    assert two.energy == pytest.approx(one.energy, abs=1e-6)
    assert np.array(two.forces) == pytest.approx(np.array(one.forces), abs=1e-5)
    assert np.array(two.stress) == pytest.approx(np.array(one.stress), abs=1e-6)
    # Forces and stress are derivatives of the free energy, not of ASE's energy, which is
    # extrapolated to zero smearing.
    assert calculator.results["energy"] - one.energy == pytest.approx(0.0556, abs=1e-3)


@pytest.mark.dft
@pytest.mark.needs("gpaw")
@pytest.mark.slow
def test_a_cell_of_eight_atoms_has_the_stored_label():
    """AlCu3Zr4 at 450 eV and 2x2x4.

    The stored label was made with a script of ASE and GPAW alone, without symmetry and with GPAW's
    default tolerances.
    """
    stored = json.loads((REFERENCES / "gpaw_A_224_450.json").read_text())
    atoms = read(REFERENCES / "A_b2.extxyz")
    calculator = GpawMethod(cutoff=450.0, k_spacing=0.48).build(atoms)
    atoms.calc = calculator
    frame = Frame.from_atoms(atoms)
    calculator.close()
    assert calculator.report.k_mesh == (2, 2, 4)
    assert np.sqrt(np.mean((np.array(frame.forces) - stored["F"]) ** 2)) < 1e-3
    assert units.pressure_from_stress(frame.stress) == pytest.approx(
        units.pressure_from_stress(units.voigt_to_tensor(stored["S"])), abs=0.02
    )
    # The stored energy is extrapolated to zero smearing, a label's is the free energy.
    assert calculator.results["energy"] == pytest.approx(stored["E"], abs=8e-4)
    assert frame.energy < stored["E"] - 0.05


@pytest.mark.dft
@pytest.mark.needs("gpaw")
@pytest.mark.slow
@pytest.mark.physics
def test_the_pressure_is_the_derivative_of_the_free_energy(atoms):
    """At a constant number of plane waves: the cutoff scales with the inverse square of the length.

    At a constant cutoff it is not (P. G. Dacosta et al., J. Phys. C 19, L591 (1986)).
    """

    def label(scale):
        scaled = atoms.copy()
        scaled.set_cell(atoms.cell.array * scale, scale_atoms=True)
        calculator = GpawMethod(cutoff=300.0 / scale**2, k_spacing=1.5).build(scaled)
        scaled.calc = calculator
        frame = Frame.from_atoms(scaled)
        calculator.close()
        return frame

    step = 0.004
    small, middle, large = (label(scale) for scale in (1.0 - step, 1.0, 1.0 + step))
    expected = -(large.energy - small.energy) / (large.volume - small.volume)
    assert units.pressure_from_stress(middle.stress) == pytest.approx(
        units.ev_per_a3_to_gpa(expected), abs=0.1
    )


@pytest.mark.dft
@pytest.mark.needs("gpaw")
@pytest.mark.slow
def test_a_structure_that_leaves_its_symmetry_is_labelled_like_a_new_one(atoms):
    atoms.set_scaled_positions([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])
    method = GpawMethod(cutoff=250.0, k_spacing=1.0)
    frames = []
    calculator = method.build(atoms)
    atoms.calc = calculator
    assert np.abs(atoms.get_forces()).max() < 1e-6
    atoms.positions[1] += [0.03, -0.05, 0.08]
    frames.append(Frame.from_atoms(atoms))
    calculator.close()
    atoms.calc = method.build(atoms)
    frames.append(Frame.from_atoms(atoms))
    atoms.calc.close()
    moved, new = frames
    assert moved.energy == pytest.approx(new.energy, abs=1e-5)
    assert np.array(moved.forces) == pytest.approx(np.array(new.forces), abs=3e-4)
    assert np.array(moved.stress) == pytest.approx(np.array(new.stress), abs=3e-5)


@pytest.mark.dft
@pytest.mark.needs("gpaw")
@pytest.mark.slow
def test_the_second_attempt_changes_the_way_and_not_the_label(atoms):
    labels, reports = [], []
    for method in (
        replace(COARSE, k_spacing=2.0),
        replace(COARSE, k_spacing=2.0, max_iterations=10),
    ):
        calculator = method.build(atoms)
        atoms.calc = calculator
        labels.append(Frame.from_atoms(atoms))
        reports.append(calculator.report)
        calculator.close()
    direct, corrected = labels
    assert reports[0].corrections == []
    assert reports[1].corrections == [
        "not self-consistent after 10 steps: second attempt with mixing 0.005 and up to 20 steps"
    ]
    assert corrected.energy == pytest.approx(direct.energy, abs=1e-5)
    assert np.array(corrected.forces) == pytest.approx(np.array(direct.forces), abs=2e-4)
    assert np.array(corrected.stress) == pytest.approx(np.array(direct.stress), abs=2e-5)


@pytest.mark.dft
@pytest.mark.needs("gpaw")
@pytest.mark.slow
def test_what_does_not_converge_is_tried_once_more_and_then_no_label(atoms):
    calculator = GpawMethod(cutoff=250.0, k_spacing=2.0, max_iterations=2).build(atoms)
    with pytest.raises(
        LabelError,
        match=r"self-consistency did not converge in 2 steps, "
        r"nor with smaller mixing in 4 .*gpaw\.txt",
    ):
        calculator.calculate(atoms)
    calculator.close()


class TestBeforeAnythingRuns:
    def test_a_value_that_cannot_work_is_named(self):
        with pytest.raises(InputError, match="cutoff is -1"):
            GpawMethod(cutoff=-1.0)
        with pytest.raises(InputError, match="'B3LYP' is not one of PBE"):
            GpawMethod(functional="B3LYP")

    @pytest.mark.needs("gpaw")
    def test_an_element_without_a_data_set_is_named_with_the_hint(self, atoms):
        atoms.symbols[1] = "Ac"
        with pytest.raises(
            InputError, match=r"no PAW data set Ac\.PBE of Ac .*pip install gpaw-data"
        ):
            COARSE.build(atoms)
        with pytest.raises(InputError, match=r"Ac\.PBE"):
            COARSE.fingerprint(["Cu", "Ac"])

    def test_a_missing_package_is_named_with_its_extra(self, atoms, monkeypatch):
        monkeypatch.setitem(sys.modules, "gpaw", None)
        with pytest.raises(MissingDependencyError, match=r"pip install .*\[gpaw\]"):
            COARSE.build(atoms)

    @pytest.mark.needs("gpaw")
    def test_a_missing_launcher_is_named(self, atoms):
        with pytest.raises(InputError, match="program no-such-mpiexec of mpi_command"):
            GpawMethod(n_ranks=2, mpi_command="no-such-mpiexec -n {n_ranks}").build(atoms)

    @pytest.mark.needs("gpaw")
    def test_the_fingerprint_has_what_decides_a_label_and_nothing_else(self):
        one = COARSE.fingerprint(["Cu", "Zr"])
        assert one.is_dft
        assert one.potentials.keys() == {"Cu", "Zr"}
        assert one.potentials["Cu"].startswith("Cu.PBE.gz sha256:")
        # Parallel execution does not change the label.
        assert (
            one.digest
            == GpawMethod(cutoff=300, k_spacing=1, n_ranks=4, n_threads=2)
            .fingerprint(["Cu", "Zr"])
            .digest
        )
        assert one.differences(GpawMethod(cutoff=400.0, k_spacing=1.0).fingerprint()) == [
            "cutoff: 300.0 against 400.0"
        ]


@pytest.mark.needs("gpaw")
class TestProcessesThatFail:
    """Other programs take the place of the one that runs GPAW."""

    def test_one_that_is_killed(self, atoms, tmp_path):
        killed = program(
            tmp_path / "killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
        )
        calculator = GpawMethod(mpi_command=killed).build(atoms)
        with pytest.raises(LabelError, match=r"was killed \(SIGKILL\).*out of memory.*gpaw\.txt"):
            calculator.calculate(atoms)

    def test_one_that_ends_with_an_error(self, atoms, tmp_path):
        broken = program(tmp_path / "broken", "raise SystemExit('libfabric is not what it was')")
        calculator = GpawMethod(mpi_command=broken).build(atoms)
        with pytest.raises(LabelError, match="ended with status 1: libfabric is not what it was"):
            calculator.calculate(atoms)

    def test_a_launcher_of_another_mpi(self, atoms, tmp_path):
        alone = program(tmp_path / "alone", "import os, sys; os.execv(sys.argv[1], sys.argv[1:])")
        calculator = GpawMethod(n_ranks=2, mpi_command=alone).build(atoms)
        with pytest.raises(
            LabelError, match=r"2 ranks .* each process sees 1: this launcher does not belong"
        ):
            calculator.calculate(atoms)

    @pytest.mark.needs("gpaw-mpi")
    def test_the_launcher_is_that_of_the_library_gpaw_is_linked_to(self):
        assert os.access(mpi_launcher(), os.X_OK)
