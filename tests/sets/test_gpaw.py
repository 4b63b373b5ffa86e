from __future__ import annotations

import os
import stat
import sys

import numpy as np
import pytest
from ase import Atoms

from mgflows.errors import InputError, MissingDependencyError
from mgflows.schemas.labels import Frame, LabelError
from mgflows.schemas.quality import objections
from mgflows.sets import gpaw as sets_gpaw
from mgflows.sets.gpaw import GpawMethod

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
@pytest.mark.slow
def test_a_calculation_is_the_same_on_two_ranks(atoms):
    results = []
    for method in (COARSE, GpawMethod(cutoff=300.0, k_spacing=1.0, n_ranks=2)):
        calculator = method.build(atoms)
        atoms.calc = calculator
        frame = Frame.from_atoms(atoms)
        report = method.report(calculator)
        calculator.close()
        assert objections(frame, report, atoms) == []
        assert report.k_mesh == (2, 2, 2)
        assert report.cutoff == pytest.approx(300.0)
        assert report.corrections == []
        results.append(frame)
    one, two = results
    assert two.energy == pytest.approx(one.energy, abs=1e-6)
    assert np.array(two.forces) == pytest.approx(np.array(one.forces), abs=1e-5)
    assert np.array(two.stress) == pytest.approx(np.array(one.stress), abs=1e-6)
    # The free energy, which forces and stress derive from, is not ASE's energy, which is extrapolated to zero smearing.
    assert calculator.results["energy"] - one.energy == pytest.approx(0.0556, abs=1e-3)


@pytest.mark.dft
@pytest.mark.slow
def test_what_does_not_converge_is_tried_once_more_and_then_no_label(atoms):
    calculator = GpawMethod(cutoff=250.0, k_spacing=2.0, max_iterations=2).build(atoms)
    with pytest.raises(LabelError, match=r"self-consistency did not converge in 2 steps, nor with smaller mixing in 4 .*gpaw\.txt"):
        calculator.calculate(atoms)
    calculator.close()


class TestBeforeAnythingRuns:
    def test_a_value_that_cannot_work_is_named(self):
        with pytest.raises(InputError, match="cutoff is -1"):
            GpawMethod(cutoff=-1.0)
        with pytest.raises(InputError, match="'B3LYP' is not one of PBE"):
            GpawMethod(functional="B3LYP")

    def test_an_element_without_a_data_set_is_named_with_the_mend(self, atoms):
        atoms.symbols[1] = "Ac"
        with pytest.raises(InputError, match=r"no PAW data set Ac\.PBE of Ac .*pip install gpaw-data"):
            COARSE.build(atoms)
        with pytest.raises(InputError, match=r"Ac\.PBE"):
            COARSE.fingerprint(["Cu", "Ac"])

    def test_a_missing_package_is_named_with_its_extra(self, atoms, monkeypatch):
        monkeypatch.setitem(sys.modules, "gpaw", None)
        with pytest.raises(MissingDependencyError, match=r"mgflows\[gpaw\]"):
            COARSE.build(atoms)

    def test_a_missing_launcher_is_named(self, atoms):
        with pytest.raises(InputError, match="program no-such-mpiexec of mpi_command"):
            GpawMethod(n_ranks=2, mpi_command="no-such-mpiexec -n {n_ranks}").build(atoms)

    def test_the_fingerprint_holds_what_decides_a_label_and_nothing_else(self):
        one = COARSE.fingerprint(["Cu", "Zr"])
        assert one.is_dft
        assert one.potentials.keys() == {"Cu", "Zr"}
        assert one.potentials["Cu"].startswith("Cu.PBE.gz sha256:")
        # How it is computed is not what is computed.
        assert one.digest == GpawMethod(cutoff=300, k_spacing=1, n_ranks=4, n_threads=2).fingerprint(["Cu", "Zr"]).digest
        assert one.differences(GpawMethod(cutoff=400.0, k_spacing=1.0).fingerprint()) == ["cutoff: 300.0 against 400.0"]


class TestProcessesThatFail:
    """The program that runs GPAW is replaced by others, as a machine replaces it."""

    def test_one_that_is_killed(self, atoms, tmp_path):
        killed = program(tmp_path / "killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
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
        with pytest.raises(LabelError, match=r"2 ranks .* each process sees 1: this launcher does not belong"):
            calculator.calculate(atoms)

    def test_the_launcher_is_that_of_the_library_gpaw_is_linked_to(self):
        assert os.access(sets_gpaw._launcher(), os.X_OK)
