"""A campaign stored by version 0.1 stays readable, with its references and fireworks."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from jobflow import OutputReference
from monty.json import MontyDecoder

from mgflows.database import GlassDatabase
from mgflows.errors import InputError
from mgflows.flows.campaign import CampaignMaker
from mgflows.flows.scales import stand_in_campaign
from mgflows.jobs.maker import update_arguments
from mgflows.launch.campaigns import submit_campaign
from mgflows.report.data import ReportData
from mgflows.schemas.training import SUBSETS
from tests.helpers.stored_campaign import CAMPAIGN, load_stored_campaign
from tests.helpers.workers import run_worker

pytestmark = pytest.mark.mongo


@pytest.fixture
def stored(settings) -> GlassDatabase:
    database = GlassDatabase(settings)
    load_stored_campaign(database.mongo)
    return database


def test_samples_clock_and_frames_are_read(stored):
    samples = stored.samples(CAMPAIGN)
    assert len(samples) == 15
    assert samples["mc-1e5-000"].n_sweeps == 100_000
    assert stored.sample_families(CAMPAIGN) == sorted(samples)
    assert len(stored.supercooling(CAMPAIGN).groups) == 3

    frames = stored.frames(CAMPAIGN)
    assert {frame.subset for frame in frames} == set(SUBSETS)
    assert sum(frame.subset == "lj_surrogate" for frame in frames) == 15
    (frame,) = stored.frames(CAMPAIGN, subset="lj_surrogate", family="mc-1e5-000")
    (atoms,) = stored.load([frame])
    assert atoms.get_potential_energy() / len(atoms) == pytest.approx(frame.energy_per_atom)
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() == pytest.approx(
        frame.maximum_force, abs=1e-4
    )
    assert frame.log10_time == pytest.approx(stored.supercooling(CAMPAIGN).families["mc-1e5-000"])


def test_every_frame_of_a_dataset_is_loaded(stored):
    first, last = stored.datasets(CAMPAIGN)
    dataset = stored.dataset(last.dataset_id)
    assert len(dataset.frames) == dataset.n_frames > first.n_frames
    atoms = stored.load(dataset.frames)
    assert [a.info["frame_id"] for a in atoms] == [f.frame_id for f in dataset.frames]
    energies = [a.get_potential_energy() / len(a) for a in atoms]
    assert energies == pytest.approx([f.energy_per_atom for f in dataset.frames])


def test_potentials_quenches_and_validations_are_read(stored):
    potentials = stored.potentials(CAMPAIGN)
    assert sorted((p.generation, p.split) for p in potentials) == [
        (0, "family"),
        (0, "paper"),
        (1, "family"),
        (1, "paper"),
    ]
    loaded = stored.potential(potentials[-1].potential_id)
    assert loaded.nep_txt.startswith("nep4_zbl 3 ")
    assert loaded.errors["test"]["all"].energy_rmse > 0.0
    assert len(stored.quenches(CAMPAIGN)) == 2
    (validation,) = stored.validations(CAMPAIGN)
    assert validation.potential_id in {p.potential_id for p in potentials}


def test_relaxations_and_similarity_are_read(stored):
    relaxed = stored.relaxations(CAMPAIGN)
    assert len(relaxed) == 3
    assert stored.similarity(CAMPAIGN).families == list(relaxed) or set(
        stored.similarity(CAMPAIGN).families
    ) == set(relaxed)


def test_status_cost_and_report_are_read(stored):
    status = stored.status(CAMPAIGN)
    assert status.states == {"COMPLETED": 59}
    assert sum(cost.n for cost in stored.cost(CAMPAIGN)) > 50
    data = ReportData.from_database(stored, CAMPAIGN)
    assert data.is_stand_in
    assert data.is_dft is False
    assert len(data.relaxations) == 3
    assert data.clock is not None


def test_output_references_are_resolved(stored):
    document = stored.store.query_one({"output.@class": "LabelDocument"}, ["uuid"])
    reference = OutputReference(document["uuid"], (("a", "structure"),))
    structure = reference.resolve(stored.store)
    assert len(structure) > 0
    potential = stored.store.query_one({"output.@class": "PotentialDocument"}, ["uuid"])
    assert OutputReference(potential["uuid"]).resolve(stored.store).nep_txt


def test_every_stored_document_becomes_its_model_again(stored):
    for document in stored.store.query({}, load=True):
        output = MontyDecoder().process_decoded(document["output"])
        assert type(output).__module__.startswith("mgflows."), document["name"]


def test_every_stored_firework_becomes_a_job_again(stored):
    for firework in stored.mongo.fireworks.find():
        (task,) = firework["spec"]["_tasks"]
        job = MontyDecoder().process_decoded(task["job"])
        assert job.uuid == firework["spec"]["job_uuid"]
        assert type(job.maker).__module__.startswith("mgflows.")


def test_the_arguments_of_every_stored_firework_fit_and_its_references_are_resolved(stored):
    for firework in stored.mongo.fireworks.find():
        job = MontyDecoder().process_decoded(firework["spec"]["_tasks"][0]["job"])
        update_arguments(job)
        if job.config.resolve_references:
            job = job.resolve_args(stored.store)
        bound = inspect.signature(job.function).bind(*job.function_args, **job.function_kwargs)
        # Numbers, structures and documents, not what is left of an unknown class.
        assert all(
            not (isinstance(value, dict) and "@class" in value)
            for value in bound.arguments.values()
        ), firework["name"]


def test_waiting_fireworks_with_retired_arguments_run(stored, settings):
    names = ["dataset 1", "validate"]
    fireworks = [stored.mongo.fireworks.find_one({"name": name}) for name in names]
    uuids = [firework["spec"]["job_uuid"] for firework in fireworks]
    dataset_id = stored.store.get_output(uuids[0])["dataset_id"]
    stored.mongo.outputs.delete_many({"uuid": {"$in": uuids}})
    stored.mongo.launches.delete_many({})
    stored.mongo.fireworks.update_many(
        {"name": {"$in": names}}, {"$set": {"state": "READY", "launches": []}}
    )
    # One glass of the three, to save time.
    glasses = "spec._tasks.0.job.function_args.1"
    stored.mongo.fireworks.update_one(
        {"name": "validate"}, {"$push": {glasses: {"$each": [], "$slice": 1}}}
    )

    run_worker(settings)
    found = stored.mongo.fireworks.find({"name": {"$in": names}})
    assert {firework["state"] for firework in found} == {"COMPLETED"}
    dataset, validation = (stored.store.get_output(uuid) for uuid in uuids)
    # The hash of the same frames and splits.
    assert dataset["dataset_id"] == dataset_id
    assert validation["summary"]["failures"] == {}


def test_the_settings_of_a_campaign_become_its_maker_again(stored):
    document = stored.campaign(CAMPAIGN)
    maker = MontyDecoder().process_decoded(document.settings)
    assert isinstance(maker, CampaignMaker)
    assert maker.name == CAMPAIGN
    assert len(maker.make().jobs) > 4


def test_the_unchanged_campaign_is_continued_when_it_is_submitted_again(stored, settings):
    maker = MontyDecoder().process_decoded(stored.campaign(CAMPAIGN).settings)
    # Encoded by this version, the same settings have another digest.
    digest = maker.document(maker.make()).settings_digest
    assert digest != stored.campaign(CAMPAIGN).settings_digest
    (submission,) = submit_campaign(maker, settings)
    assert (submission.n_added, submission.n_planned, submission.is_new) == (0, 0, False)
    assert stored.status(CAMPAIGN).states == {"COMPLETED": 59}


def test_a_campaign_whose_defaults_changed_is_refused_with_the_settings_that_differ(
    stored, settings
):
    with pytest.raises(
        InputError,
        match=r"submitted by mgflows 0\.1\.0 .*trainer: NeppoTrainer, now NepTrainer.*"
        r"continue the stored one with: mgflows advance Cu46Zr46Al8-tiny",
    ):
        submit_campaign(stand_in_campaign("tiny"), settings)
    assert stored.status(CAMPAIGN).states == {"COMPLETED": 59}
