"""A teacher labels everything, and the method of the campaign what the students do not know."""

from __future__ import annotations

import pytest
from jobflow import Flow, JobStore, job, run_locally
from maggma.stores import MemoryStore

from mgflows import Alloy, CampaignMaker
from mgflows.errors import InputError
from mgflows.flows.active_learning import ActiveLearningFlowMaker
from mgflows.flows.labels import LabelFlowMaker
from mgflows.flows.outputs import SamplingOutput
from mgflows.flows.tags import all_jobs, set_campaign, tag
from mgflows.flows.teacher import TeacherFlowMaker
from mgflows.flows.training import DatasetInputs, TrainingFlowMaker
from mgflows.jobs.committee import CommitteeMemberMaker
from mgflows.jobs.labels import AseLabelMaker, AseMethod
from mgflows.jobs.teacher import TeacherChoiceMaker
from mgflows.jobs.training import TrainingMaker
from mgflows.methods.gpaw import GpawMethod
from mgflows.nep import NepTrainer
from mgflows.schemas.labels import structure_from_atoms
from mgflows.schemas.teacher import TeacherChoiceDocument
from mgflows.schemas.training import DatasetDocument, PotentialDocument
from tests.helpers.stand_in_frames import PARAMETERS, SPECIES, frames

ALLOY = Alloy({"Cu": 0.5, "Zr": 0.5}, n_atoms=54, number_density=0.05)
TEACHER = AseMethod(
    calculator="tests.helpers.calculators.lennard_jones_of",
    kwargs={"symbols": list(SPECIES)},
    description="a Lennard-Jones teacher",
)
METHOD = AseMethod.stand_in(SPECIES)


@job
def sample(structure):
    """A sample as far as labels and datasets use it."""
    return {"structure": structure, "ordered": False}


def trainings() -> TrainingFlowMaker:
    return TrainingFlowMaker(
        training_maker=TrainingMaker(
            trainer=NepTrainer(steps=100, reports=1),
            parameters=PARAMETERS,
            acceptance=None,
            teacher=TEACHER.description,
        )
    )


@pytest.mark.slow
def test_the_method_labels_what_students_and_teacher_disagree_about(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    samples = {}
    for number, frame in enumerate(frames(0)[:36:3]):
        family = f"mc-{number:02d}"
        made = tag(sample(structure_from_atoms(frame)), stage="sampling", category="sampling")
        made.metadata["mgflows"]["family"] = family
        samples[family] = made
    glasses = SamplingOutput(
        samples={family: made.output for family, made in samples.items()},
        n_sweeps=dict.fromkeys(samples, 100),
    )
    labels = LabelFlowMaker(
        label_maker=AseLabelMaker(method=METHOD),
        relax_maker=None,
        heating_maker=None,
        relaxed_fraction=0.0,
        n_held_out=0,
        n_crystals=0,
    )
    taught = TeacherFlowMaker(
        method=TEACHER,
        choice_maker=TeacherChoiceMaker(n_labels=5),
        n_members=2,
        committee_maker=CommitteeMemberMaker(
            trainer=NepTrainer(steps=60, reports=1), parameters=PARAMETERS
        ),
        label_maker=labels.label_maker,
    ).make(ALLOY, "taught", glasses, labels, trainings())
    training = trainings().make(
        ALLOY,
        "taught",
        DatasetInputs(
            labels=[], samples=list(glasses.samples.values()), chosen=[taught.output.chosen]
        ),
        start=taught.output.student,
    )
    flow = Flow([*samples.values(), taught, training])
    set_campaign(flow, "taught")
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    run_locally(flow, store=store, create_folders=True, log=False, raise_immediately=True)

    datasets = {
        each["output"]["dataset_id"]: DatasetDocument.model_validate(each["output"])
        for each in store.query({"output.@class": "DatasetDocument"}, load=True)
    }
    student, trained = (
        PotentialDocument.model_validate(store.get_output(reference.uuid, load=True))
        for reference in (taught.output.student, training.output.potential)
    )
    first, last = datasets[student.dataset_id], datasets[trained.dataset_id]
    # The teacher's frames are named as such, and none of them is in the last dataset.
    assert set(first.counts) == {"teacher/lj_surrogate"}
    assert first.n_frames == 12
    assert first.fingerprint.description == "a Lennard-Jones teacher"
    assert set(last.counts) == {"lj_surrogate"}
    assert last.n_frames == 5
    assert last.fingerprint.description == METHOD.description
    assert trained.started_from == student.potential_id
    assert trained.teacher == "a Lennard-Jones teacher"
    assert trained.method == METHOD.description

    # The largest disagreements were chosen, and test families of the student stay so.
    (choice,) = store.query({"output.@class": "TeacherChoiceDocument"}, load=True)
    choice = TeacherChoiceDocument.model_validate(choice["output"])
    assert choice.chosen_disagreement > 0.0
    assert len(choice.structures) == 5
    test = {entry.family for entry in first.frames if entry.test["family"]}
    for entry in last.frames:
        assert entry.test["family"] == (entry.family in test)
    assert sum(frame.is_test for frame in choice.chosen) == 1


def test_a_teacher_that_teaches_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="the teacher of campaign Cu46Zr46Al8 has no method"):
        CampaignMaker(teacher=TeacherFlowMaker()).make()
    with pytest.raises(InputError, match="is the method of the campaign itself"):
        CampaignMaker(teacher=TeacherFlowMaker(method=AseMethod.stand_in())).make()
    with pytest.raises(InputError, match="n_labels is 2"):
        TeacherChoiceMaker(n_labels=2)


def test_a_campaign_with_a_teacher_labels_with_its_own_method_afterwards() -> None:
    teacher = TeacherFlowMaker(method=AseMethod.stand_in())
    campaign = CampaignMaker(
        teacher=teacher, active_learning_maker=ActiveLearningFlowMaker()
    ).labelled_by(GpawMethod())
    flow = campaign.make()
    document = campaign.document(flow)
    assert document.teacher == teacher.description
    assert "PBE" in document.method
    jobs = all_jobs(flow)
    by_gpaw = [each for each in jobs if isinstance(getattr(each.maker, "method", None), GpawMethod)]
    assert by_gpaw == [], "all labels by the method are chosen at run time"
    subsets = {each.metadata["mgflows"].get("subset") for each in jobs} - {None}
    assert "teacher/aimd" in subsets
    assert all(subset.startswith("teacher/") for subset in subsets)
    (chooser,) = [each for each in jobs if each.name == "label what was chosen"]
    assert isinstance(chooser.maker.label_maker.method, GpawMethod)
    (dataset,) = [each for each in jobs if each.name == "dataset 0"]
    assert [each.uuid for each in dataset.function_args[2].chosen] == [chooser.uuid]
    # Labels of the method may have another zero for each element than those of the teacher.
    (student,) = [each for each in jobs if each.name == "teacher: train"]
    assert student.maker.trainer.settings.energy_reference is True
    assert len({each.name for each in jobs}) == len(jobs)
