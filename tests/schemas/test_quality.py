"""The gate: each fault is refused with its reason, and a label lists the checks it passed."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from mgflows.schemas.labels import LabelDocument, LabelError, MethodFingerprint
from mgflows.schemas.provenance import record_provenance
from mgflows.schemas.quality import CalculationReport


@pytest.fixture
def atoms():
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[:2] = "Al"
    atoms.rattle(0.05, seed=1)
    atoms.calc = EMT()
    return atoms


def label(atoms, report=None, requested=None, relaxation=None):
    with record_provenance() as provenance:
        pass
    method = MethodFingerprint(code="emt", version="1", settings={})
    return LabelDocument.from_atoms(
        atoms, method, provenance, report=report, requested=requested, relaxation=relaxation
    )


GOOD = CalculationReport(
    free_energy=True,
    scf_converged=True,
    scf_steps=14,
    k_mesh=(3, 3, 3),
    k_mesh_requested=(3, 3, 3),
    cutoff=450.0,
    cutoff_requested=450.0,
)


def test_a_good_label_lists_its_checks(atoms):
    quality = label(atoms, GOOD, atoms.copy()).quality
    assert quality.not_checked == ["ionic convergence"]
    assert {
        "k-mesh",
        "cutoff",
        "electronic convergence",
        "free energy",
        "composition and structure",
    } <= set(quality.checked)
    silent = label(atoms).quality
    assert silent.checked == ["finite energy, forces and stress", "bound on forces"]
    assert "k-mesh" in silent.not_checked


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scf_converged": False}, "did not converge after 14 steps"),
        ({"ionic_converged": False}, "did not reach its tolerances"),
        ({"free_energy": False}, "not the free energy"),
        ({"k_mesh": (3, 3, 4)}, "3x3x4 but 3x3x3"),
        ({"cutoff": 400.0}, "400 eV but 450 eV"),
    ],
)
def test_faults_that_the_code_reports_are_refused(atoms, change, words):
    with pytest.raises(LabelError, match=words):
        label(atoms, GOOD.model_copy(update=change), atoms.copy())


def test_another_structure_than_the_requested_one_is_refused(atoms):
    other = atoms.copy()
    other.symbols[0] = "Cu"
    with pytest.raises(LabelError, match="labelled Al2Cu2 but AlCu3 was requested"):
        label(atoms, requested=other)
    strained = atoms.copy()
    strained.set_cell(atoms.cell * 1.01, scale_atoms=True)
    with pytest.raises(LabelError, match=r"the labelled cell differs by 0\.036 A"):
        label(atoms, requested=strained)
    moved = atoms.copy()
    moved.positions[3] += 0.02
    with pytest.raises(LabelError, match=r"an atom is 0\.035 A"):
        label(atoms, requested=moved)


def test_order_wrapping_and_relaxation_are_no_fault(atoms):
    requested = atoms[[2, 0, 3, 1]]
    requested.positions += np.array([1, -2, 0]) @ atoms.cell.array
    assert "composition and structure" in label(atoms, requested=requested).quality.checked
    strained = atoms.copy()
    strained.set_cell(atoms.cell * 1.05, scale_atoms=True)
    label(atoms, requested=strained, relaxation={"n_steps": 3})
