"""Real runs of Quantum ESPRESSO, CP2K and GPAW: two atoms, settings far from converged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mgflows import units
from mgflows.jobs.heating import AseHeatingMaker
from mgflows.jobs.labels import AseLabelMaker, AseRelaxMaker
from mgflows.launch.checks import Verdict
from mgflows.launch.programs import _cp2k, _espresso
from mgflows.methods.cp2k import Cp2kMethod, read_output
from mgflows.methods.espresso import EspressoMethod
from mgflows.methods.gpaw import GpawMethod
from mgflows.schemas.labels import LabelError, atoms_from_structure, structure_from_atoms

pytestmark = pytest.mark.dft

CP2K = Cp2kMethod(
    cutoff=150 * units.RYDBERG,
    relative_cutoff=30 * units.RYDBERG,
    basis="SZV-MOLOPT-SR-GTH",
    k_spacing=1.0,
    precision=1e-6,
    scf_tolerance=1e-5,
)
ESPRESSO = EspressoMethod(cutoff=40 * units.RYDBERG, k_spacing=1.0)


@pytest.fixture(autouse=True)
def _own_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def label(maker, atoms):
    return type(maker).make.original(maker, structure_from_atoms(atoms))


@pytest.mark.needs("espresso", "openmpi")
@pytest.mark.parametrize("ranks", [1, 2])
def test_espresso_labels_what_it_recorded(pair, recorded, ranks):
    """On one rank, and on two that share the k-points.

    Debian links pw.x with Open MPI; the mpirun of a Python package belongs to another library.
    """
    from ase.io import read

    launcher = "mpirun.openmpi --allow-run-as-root --oversubscribe -n {n_ranks}"
    method = EspressoMethod(
        cutoff=40 * units.RYDBERG, k_spacing=1.0, n_ranks=ranks, n_pools=ranks, launcher=launcher
    )
    document = label(AseLabelMaker(method=method), pair)
    before = read(recorded("espresso/converged.pwo"), format="espresso-out")
    assert document.energy == pytest.approx(before.get_potential_energy(), abs=2e-3)
    assert np.array(document.forces) == pytest.approx(before.get_forces(), abs=0.01)
    assert np.array(document.stress) == pytest.approx(before.get_stress(voigt=False), abs=2e-3)
    assert document.quality.checked[-1] == "composition and structure"
    assert document.fingerprint.version not in ("", "unknown")
    assert document.fingerprint.potentials["Zr"].startswith("Zr.UPF sha256:")
    assert f"{ranks} processors" in Path("espresso/espresso.pwo").read_text()


@pytest.mark.needs("espresso")
def test_espresso_that_does_not_converge_gives_no_label(pair):
    method = EspressoMethod(cutoff=20 * units.RYDBERG, k_spacing=2.0, max_scf_steps=1)
    with pytest.raises(LabelError, match="did not converge in 2 steps"):
        label(AseLabelMaker(method=method), pair)


@pytest.mark.needs("cp2k")
def test_cp2k_labels_what_it_recorded(pair, recorded):
    document = label(AseLabelMaker(method=CP2K), pair)
    before, _ = read_output(recorded("cp2k/converged.out"), 2)
    assert document.energy == pytest.approx(before["energy"], abs=2e-3)
    assert np.array(document.forces) == pytest.approx(before["forces"], abs=0.01)
    assert units.tensor_to_voigt(document.stress) == pytest.approx(before["stress"], abs=2e-3)
    assert document.quality.k_mesh == (2, 2, 2)
    assert document.fingerprint.version not in ("", "unknown")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label_maker", "relax_maker", "heating_maker", "method"),
    [
        pytest.param(
            AseLabelMaker,
            AseRelaxMaker,
            AseHeatingMaker,
            code,
            id=name,
            marks=pytest.mark.needs(name),
        )
        for name, code in (("espresso", ESPRESSO), ("cp2k", CP2K))
    ],
)
def test_a_pair_is_relaxed_and_heated(pair, label_maker, relax_maker, heating_maker, method):
    """Each step starts from the last one; a new single point of the last frame agrees."""
    before = label(label_maker(method=method), pair)
    relaxed = label(relax_maker(method=method, relax_cell=False, force_tolerance=0.02), pair)
    assert (
        np.linalg.norm(relaxed.forces, axis=1).max()
        < 0.02
        < np.linalg.norm(before.forces, axis=1).max()
    )
    assert relaxed.energy < before.energy
    heating = heating_maker(method=method, n_steps=2)
    trajectory = heating_maker.make.original(heating, relaxed.structure, 1)
    assert [frame.name for frame in trajectory.frames] == ["step 1", "step 2"]
    assert trajectory.trajectory.temperature[-1] > 0.0
    last, again = (
        trajectory.frames[-1],
        label(label_maker(method=method), atoms_from_structure(trajectory.structure)),
    )
    assert last.energy == pytest.approx(again.energy, abs=2e-4)
    assert np.array(last.forces) == pytest.approx(np.array(again.forces), abs=5e-3)
    assert units.pressure_from_stress(last.stress) == pytest.approx(
        units.pressure_from_stress(again.stress), abs=0.05
    )


@pytest.mark.needs("espresso", "cp2k")
def test_the_doctor_finds_the_codes_that_just_ran():
    from mgflows.settings import Settings

    assert _cp2k().verdict is Verdict.OK
    assert _espresso(Settings()).verdict is Verdict.OK


@pytest.mark.slow
@pytest.mark.physics
@pytest.mark.parametrize(
    "method",
    [
        pytest.param(ESPRESSO, id="espresso", marks=pytest.mark.needs("espresso")),
        pytest.param(CP2K, id="cp2k", marks=pytest.mark.needs("cp2k")),
        pytest.param(
            GpawMethod(cutoff=300.0, k_spacing=1.0), id="gpaw", marks=pytest.mark.needs("gpaw")
        ),
    ],
)
def test_a_left_handed_cell_has_the_label_of_the_right_handed_one(pair, method):
    """Exchanged lattice vectors span the same lattice.

    The vectors of the right-handed cell are permuted, too: CP2K has other grids for cells along the
    axes, which differ by 0.04 eV/A at these settings.
    """
    pair.set_cell(pair.cell.array @ np.diag([1.0, 1.02, 1.0]), scale_atoms=True)
    left, right = pair.copy(), pair.copy()
    left.set_cell(pair.cell.array[[1, 0, 2]])
    right.set_cell(pair.cell.array[[1, 2, 0]])
    assert np.linalg.det(left.cell.array) < 0.0 < np.linalg.det(right.cell.array)
    expected, found = (
        AseLabelMaker.make.original(AseLabelMaker(method=method), each) for each in (right, left)
    )
    assert found.energy == pytest.approx(expected.energy, abs=1e-4)
    assert np.array(found.forces) == pytest.approx(np.array(expected.forces), abs=2e-3)
    assert found.pressure == pytest.approx(expected.pressure, abs=0.02)
