from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from jobflow import Flow, run_locally

from mgflows.errors import InputError
from mgflows.jobs.heating import AseHeatingMaker, TrajectoryCheckMaker
from mgflows.jobs.labels import AseLabelMaker, AseMethod, AseRelaxMaker
from mgflows.jobs.strain import DeformationMaker
from mgflows.schemas.labels import (
    LabelDocument,
    TrajectoryCheckDocument,
    structure_from_atoms,
)
from mgflows.structures.strain import elastic_deformations


@pytest.fixture
def atoms():
    atoms = bulk("Cu", cubic=True) * 2
    atoms.symbols[::5] = "Al"
    atoms.rattle(0.05, seed=2)
    return atoms


def test_a_label_is_the_calculators_result_grouped_by_species(run, method, atoms):
    output = run(AseLabelMaker(method=method).make(structure_from_atoms(atoms)))
    label = LabelDocument.model_validate(output)
    atoms.calc = EMT()
    assert label.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    numbers = label.structure.atomic_numbers
    assert list(numbers) == sorted(numbers)
    order = np.argsort(atoms.numbers, kind="stable")
    assert np.array(label.forces) == pytest.approx(atoms.get_forces()[order])
    assert label.fingerprint.description == "effective medium theory"
    assert not label.fingerprint.is_dft
    assert label.provenance.cpu_seconds > 0.0


def test_a_set_labels_each_member_and_names_what_it_left_out(run, method, atoms):
    overlapping = atoms.copy()
    overlapping.positions[1] = overlapping.positions[0] + 0.1
    close = atoms.copy()
    close.positions[1] = close.positions[0] + 0.5
    structures = [structure_from_atoms(each) for each in (atoms, overlapping, close)]
    output = LabelDocument.model_validate(
        run(AseLabelMaker(method=method).make_set(structures, ["good", "bad", "close"]))
    )
    assert output.n_frames == len(output.frames) == 1
    assert output.summaries[0].name == "good"
    assert output.failed[0].startswith("bad: atoms 0 and 1 of")
    assert output.failed[1].startswith("close: a force of")


def test_single_and_set_labels_give_the_same_frame(run, store, method, atoms):
    structure = structure_from_atoms(atoms)
    maker = AseLabelMaker(method=method)
    single, several = maker.make(structure), maker.make_set([structure])
    run(Flow([single, several]))
    outputs = [store.get_output(job.uuid, load=True) for job in (single, several)]
    assert outputs[0]["summaries"][0]["frame_id"] == outputs[1]["summaries"][0]["frame_id"]
    assert outputs[0]["fingerprint_digest"] == outputs[1]["fingerprint_digest"]


@pytest.mark.physics
def test_a_relaxation_ends_in_the_minimum_of_the_crystal(run, method):
    """EMT's copper has a = 3.589 A (Jacobsen, Stoltze, Norskov 1996): found by a scan here."""
    spacings = np.linspace(3.5, 3.7, 201)
    energies = []
    for spacing in spacings:
        crystal = bulk("Cu", a=spacing, cubic=True)
        crystal.calc = EMT()
        energies.append(crystal.get_potential_energy())
    expected = spacings[int(np.argmin(energies))]
    strained = bulk("Cu", a=3.75, cubic=True)
    strained.set_cell(
        strained.cell.array @ (np.eye(3) + [[0.02, 0.01, 0], [0.01, -0.03, 0], [0, 0, 0.01]]),
        scale_atoms=True,
    )
    output = LabelDocument.model_validate(
        run(AseRelaxMaker(method=method).make(structure_from_atoms(strained)))
    )
    assert output.structure.volume ** (1 / 3) == pytest.approx(expected, abs=2e-3)
    assert abs(output.pressure) < 0.05
    assert output.relaxation.similarity.relative_volume == pytest.approx(
        output.structure.volume / strained.get_volume()
    )
    assert output.energy_per_atom < output.relaxation.energy_per_atom_before


def test_an_unconverged_relaxation_is_not_a_label(run, method, atoms):
    assert (
        run(
            AseRelaxMaker(method=method, max_steps=2).make(structure_from_atoms(atoms)),
            ensure_success=False,
        )
        is None
    )


def test_strained_copies_are_known_before_they_exist(run, store, method, atoms):
    maker = DeformationMaker(kind="elastic")
    deformed = maker.make(structure_from_atoms(atoms))
    labels = AseLabelMaker(method=method).make_set(
        deformed.output.structures, [d.name for d in maker.deformations]
    )
    output = LabelDocument.model_validate(run(Flow([deformed, labels])))
    assert output.n_frames == len(elastic_deformations()) == 36
    assert [summary.name for summary in output.summaries] == [
        d.name for d in elastic_deformations()
    ]
    with pytest.raises(InputError, match="'twist'"):
        DeformationMaker(kind="twist")


def test_heating_keeps_every_step_and_repeats_itself(run, method, atoms):
    maker = AseHeatingMaker(method=method, n_steps=12)
    first = LabelDocument.model_validate(run(maker.make(structure_from_atoms(atoms), seed=5)))
    again = LabelDocument.model_validate(run(maker.make(structure_from_atoms(atoms), seed=5)))
    other = LabelDocument.model_validate(run(maker.make(structure_from_atoms(atoms), seed=6)))
    assert first.n_frames == 12
    ids = [
        [summary.frame_id for summary in document.summaries] for document in (first, again, other)
    ]
    assert ids[0] == ids[1] != ids[2]
    # Each frame is the label of its own positions.
    frame = first.frames[-1].to_atoms()
    expected = frame.get_potential_energy()
    frame.calc = EMT()
    assert frame.get_potential_energy() == pytest.approx(expected, abs=1e-8)


def test_heating_resumes_from_the_previous_launch(store, method, atoms, tmp_path, monkeypatch):
    steps = []

    def heat(interrupt):
        def progress(step, _total):
            steps.append(step)
            if interrupt and step == 8:
                raise KeyboardInterrupt

        monkeypatch.setattr("mgflows.jobs.heating.JobProgress", lambda _unit: progress)
        job = AseHeatingMaker(method=method, n_steps=12).make(structure_from_atoms(atoms), seed=5)
        run_locally(job, store=store, log=False)
        return LabelDocument.model_validate(store.get_output(job.uuid, load=True))

    monkeypatch.setattr("mgflows.checkpoints._SECONDS_BETWEEN_WRITES", 0.0)
    whole = heat(interrupt=False)
    with pytest.raises(KeyboardInterrupt):
        heat(interrupt=True)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-heating.npz"]
    steps.clear()
    resumed = heat(interrupt=False)
    assert steps == [8, 9, 10, 11, 12]
    assert [frame.frame_id for frame in resumed.summaries] == [
        frame.frame_id for frame in whole.summaries
    ]
    assert resumed.trajectory == whole.trajectory


@pytest.mark.parametrize(
    ("calculator", "passed"),
    [("ase.calculators.emt.EMT", True), ("tests.helpers.kinetic_emt.KineticEMT", False)],
)
def test_stresses_with_the_kinetic_part_are_detected(run, store, atoms, calculator, passed):
    heating = AseHeatingMaker(method=AseMethod(calculator), n_steps=40).make(
        structure_from_atoms(atoms), seed=1
    )
    label = AseLabelMaker(method=AseMethod(calculator)).make(heating.output.structure)
    check = TrajectoryCheckMaker().make(heating.output, label.output)
    document = TrajectoryCheckDocument.model_validate(run(Flow([heating, label, check])))
    assert document.passed is passed
    assert document.temperature > 100.0
    assert document.kinetic_pressure > 0.1
    assert document.pressure_difference == pytest.approx(
        0.0 if passed else document.kinetic_pressure, rel=0.05, abs=1e-6
    )
    assert abs(document.energy_difference) < 1e-8
    assert document.force_difference < 1e-8


def test_a_job_whose_parent_failed_fails_with_a_reason(run, store, method, atoms):
    from mgflows.flows.tags import tag

    relax = AseRelaxMaker(method=method, max_steps=1).make(structure_from_atoms(atoms))
    label = tag(
        AseLabelMaker(method=method).make(relax.output.structure),
        stage="labels",
        category="dft",
        after_failure=True,
    )
    with pytest.raises(InputError, match="the upstream job failed"):
        label.run(store)


class TestMethod:
    def test_fingerprints_depend_on_the_content_of_files(self, tmp_path):
        table = tmp_path / "table"
        table.write_text("one")
        method = AseMethod("ase.calculators.emt.EMT", {"label": str(table)})
        before = method.fingerprint().digest
        table.write_text("two")
        assert method.fingerprint().digest != before

    def test_the_stand_in_is_described_as_one(self):
        fingerprint = AseMethod.stand_in().fingerprint()
        assert "not DFT" in fingerprint.description
        assert not fingerprint.is_dft
        assert len(fingerprint.settings["details"]["sha256"]) == 64

    @pytest.mark.parametrize("path", ["no.such.module", "ase.calculators.emt.NoSuchClass", "EMT"])
    def test_a_wrong_import_path_is_named(self, path):
        with pytest.raises(InputError, match="import path such as"):
            AseMethod(path).build()
