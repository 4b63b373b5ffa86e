"""Every geometry that ASE accepts is labelled, or refused in one sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore
from monty.json import MontyEncoder
from pymatgen.core import Lattice, Molecule, Structure

from mgflows.errors import ErrorCategory, InputError, LabelError, StructureError
from mgflows.geometry import right_handed
from mgflows.jobs.heating import AseHeatingMaker
from mgflows.jobs.labels import AseLabelMaker, AseRelaxMaker, prepare
from mgflows.jobs.vasp import VaspLabelMaker, VaspRelaxMaker
from mgflows.methods.ase import AseMethod
from mgflows.methods.base import check_geometry
from mgflows.methods.cp2k import Cp2kMethod
from mgflows.methods.espresso import EspressoMethod
from mgflows.methods.gpaw import GpawMethod
from mgflows.methods.vasp.method import VaspMethod
from mgflows.schemas.labels import structure_from_atoms, symmetric_stress


def label(structure, method=None):
    maker = AseLabelMaker(method=method or AseMethod.stand_in())
    return AseLabelMaker.make.original(maker, structure)


class TestPrepare:
    def test_selective_dynamics_without_values_is_ignored(self):
        structure = Structure(
            Lattice.cubic(4.0),
            ["Zr", "Cu"],
            [[0, 0, 0], [0.5, 0.5, 0.5]],
            site_properties={"selective_dynamics": [None, [True] * 3]},
        )
        atoms = prepare(structure)
        assert atoms.get_chemical_symbols() == ["Cu", "Zr"]
        assert atoms.positions.tolist() == [[2.0, 2.0, 2.0], [0.0, 0.0, 0.0]]
        assert not atoms.constraints

    def test_oxidation_states_and_isotopes_are_elements(self):
        structure = Structure(Lattice.cubic(4.0), ["Cu2+", "D"], [[0, 0, 0], [0.5, 0.5, 0.5]])
        assert prepare(structure).numbers.tolist() == [1, 29]

    def test_atoms_are_taken_as_they_are(self, pair):
        pair.set_constraint(FixAtoms([0]))
        pair.set_tags([3, 4])
        atoms = prepare(pair)
        assert atoms.positions == pytest.approx(pair.positions)
        assert not atoms.constraints
        assert not atoms.has("tags")
        assert label(pair).energy == pytest.approx(label(prepare(pair)).energy)

    @pytest.mark.parametrize(
        ("structure", "words"),
        [
            (Molecule(["Cu", "Zr"], [[0, 0, 0], [2.5, 0, 0]]), "is a molecule without a cell"),
            (Structure(Lattice.cubic(4.0), ["Cu", "X"], [[0, 0, 0], [0.5] * 3]), "dummy species X"),
            ("cell.xyz", "a str is not a structure"),
            (None, "the upstream job failed"),
        ],
    )
    def test_objects_that_are_not_structures_are_refused(self, structure, words):
        with pytest.raises(InputError, match=words) as caught:
            prepare(structure)
        assert caught.value.hint


class TestJobs:
    """Atoms become a structure when the job is made, because a database cannot store them."""

    @pytest.mark.parametrize(
        "maker", [AseLabelMaker(), AseRelaxMaker(), VaspLabelMaker(), VaspRelaxMaker()]
    )
    def test_atoms_become_a_structure_that_can_be_stored(self, maker, pair):
        (argument,) = maker.make(pair).function_args
        assert isinstance(argument, Structure)
        assert argument.cart_coords == pytest.approx(pair.positions)
        (argument,) = maker.make(structure=pair).function_kwargs.values()
        assert isinstance(argument, Structure)
        json.dumps(maker.make(pair), cls=MontyEncoder)

    def test_they_are_labelled(self, pair, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        job = AseLabelMaker().make(pair)
        responses = run_locally(job, log=False)
        assert responses[job.uuid][1].output.energy == pytest.approx(label(pair).energy)
        heating = AseHeatingMaker(n_steps=2).make(pair, seed=1)
        document = run_locally(heating, store=memory(), log=False)[heating.uuid][1].output
        assert document.n_frames == 2
        labels = AseLabelMaker().make_set([pair, pair])
        document = run_locally(labels, store=memory(), log=False)[labels.uuid][1].output
        assert document.n_frames == 2

    @pytest.mark.parametrize(
        ("structure", "words"),
        [
            (Molecule(["Cu"], [[0, 0, 0]]), "is a molecule without a cell"),
            (Atoms("Cu", cell=[9.0] * 3), "not periodic along a, b, c"),
            ("cell.xyz", "a str is not a structure"),
        ],
    )
    def test_objects_that_are_not_structures_make_no_job(self, structure, words):
        for make in (AseLabelMaker().make, VaspRelaxMaker().make):
            with pytest.raises(InputError, match=words):
                make(structure)
        with pytest.raises(InputError, match=words):
            AseHeatingMaker().make(structure, seed=1)

    def test_references_and_structures_pass(self, pair):
        first = AseRelaxMaker().make(structure_from_atoms(pair))
        assert AseLabelMaker().make(first.output.structure).function_args == (
            first.output.structure,
        )


def memory():
    return JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})


REFUSED = {
    "no atoms": (Atoms(cell=[3.0] * 3, pbc=True), "has no atoms"),
    "no cell": (Atoms("CuZr", positions=[[0, 0, 0], [2.5, 0, 0]], pbc=True), "no volume"),
    "flat cell": (Atoms("Cu", cell=[[3, 0, 0], [0, 3, 0], [3, 3, 0]], pbc=True), "no volume"),
    "slab": (Atoms("Cu", cell=[3.0, 3.0, 9.0], pbc=(True, True, False)), "not periodic along c"),
    "cluster": (Atoms("Cu", cell=[9.0] * 3), "not periodic along a, b, c"),
    "position": (Atoms("Cu", positions=[[np.nan, 0, 0]], cell=[3.6] * 3, pbc=True), "positions"),
    "cell": (Atoms("Cu", cell=[np.inf, 3.0, 3.0], pbc=True), "lattice vectors"),
    "copy": (
        Atoms("Cu2", positions=[[0, 0, 0], [3.6, 0, 0]], cell=[3.6] * 3, pbc=True),
        r"atoms 0 and 1 of Cu2 are 0\.000 A apart",
    ),
    "own image": (Atoms("Cu", cell=[0.4, 3.6, 3.6], pbc=True), r"are 0\.400 A apart"),
    "dummy": (
        Atoms("CuX", positions=[[0, 0, 0], [1.8] * 3], cell=[3.6] * 3, pbc=True),
        "atom 1 of CuX is a dummy atom",
    ),
    "skew": (
        Atoms("Cu", cell=[[3.6, 0, 0], [3600.0, 3.6, 0], [0, -3600.0, 3.6]], pbc=True),
        "nearly in one plane",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize(
    "method",
    [AseMethod.stand_in(), GpawMethod(), EspressoMethod(), Cp2kMethod(), VaspMethod()],
    ids=["ase", "gpaw", "espresso", "cp2k", "vasp"],
)
def test_what_cannot_be_labelled_is_refused_by_every_method(case, method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    atoms, words = REFUSED[case]
    with pytest.raises(StructureError, match=words) as caught:
        method.build(atoms)
    assert caught.value.hint
    assert caught.value.category is ErrorCategory.INPUT
    with pytest.raises(StructureError, match=words):
        label(atoms, method)
    assert not list(tmp_path.iterdir()), "nothing was started"


def shifted(pair):
    atoms = pair.copy()
    atoms.positions += 7.0 * pair.cell.array[0] - 3.0 * pair.cell.array[2]
    return atoms


def with_cell(pair, matrix):
    atoms = pair.copy()
    atoms.set_cell(np.array(matrix) @ pair.cell.array)
    return atoms


EQUIVALENT = {
    "left-handed": lambda pair: with_cell(pair, [[0, 1, 0], [1, 0, 0], [0, 0, 1]]),
    "negative": lambda pair: with_cell(pair, -np.eye(3)),
    "skewed": lambda pair: with_cell(pair, [[1, 0, 0], [3, 1, 0], [0, -2, 1]]),
    "outside the cell": shifted,
}


@pytest.mark.physics
@pytest.mark.parametrize("name", EQUIVALENT)
@pytest.mark.parametrize("calculator", ["stand-in", "EMT"])
def test_another_cell_of_the_same_crystal_has_the_same_label(pair, name, calculator):
    method = AseMethod.stand_in()
    if calculator == "EMT":
        method = AseMethod("ase.calculators.emt.EMT")
        pair.symbols[1] = "Al"
    expected, found = (label(each, method) for each in (pair, EQUIVALENT[name](pair)))
    assert np.linalg.norm(expected.forces) > 0.05
    assert found.energy == pytest.approx(expected.energy, abs=1e-8)
    assert np.array(found.forces) == pytest.approx(np.array(expected.forces), abs=1e-7)
    assert np.array(found.stress) == pytest.approx(np.array(expected.stress), abs=1e-9)
    assert np.linalg.det(found.structure.lattice.matrix) > 0.0


def test_a_right_handed_cell_stays(pair):
    assert right_handed(pair).cell.array.tolist() == pair.cell.array.tolist()
    left = with_cell(pair, -np.eye(3))
    assert right_handed(left).cell.array.tolist() == pair.cell.array.tolist()
    assert right_handed(left).positions.tolist() == left.positions.tolist()


def test_primitive_and_long_cells_are_accepted():
    for atoms in (bulk("Cu"), bulk("Zr"), Atoms("Cu", cell=[80.0, 2.5, 2.5], pbc=True)):
        check_geometry(atoms)
        assert label(atoms).energy < 0.0


class TestStress:
    def test_rounding_passes_as_the_mean(self):
        stress = np.array([[0.1, 0.02, 0.0], [0.02, 0.1, 0.0], [0.0, 0.0, 0.1]])
        rounded = stress + np.array([[0, 1e-5, 0], [-1e-5, 0, 0], [0, 0, 0]])
        assert symmetric_stress(rounded) == pytest.approx([0.1, 0.1, 0.1, 0.0, 0.0, 0.02])
        assert symmetric_stress([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).tolist() == [1, 2, 3, 4, 5, 6]

    def test_real_asymmetry_is_refused(self):
        with pytest.raises(LabelError, match=r"not symmetric: .* differ by 1\.6 GPa"):
            symmetric_stress([[0.1, 0.01, 0.0], [0.0, 0.1, 0.0], [0.0, 0.0, 0.1]])

    def test_another_shape_is_refused(self):
        with pytest.raises(LabelError, match=r"shape \(9,\)"):
            symmetric_stress(np.zeros(9))

    def test_the_pressure_of_overlapping_atoms_is_not_a_label(self):
        with pytest.raises(LabelError, match=r"the pressure of 14586 GPa is beyond 1000"):
            label(Atoms("Cu", cell=[1.2] * 3, pbc=True))
