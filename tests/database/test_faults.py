"""Queries after a rerun of a label, with user-defined subsets, and with several potentials."""

from __future__ import annotations

import pytest

from mgflows.errors import InputError
from mgflows.jobs.store import ChangedLabelError
from mgflows.jobs.training import materialise
from mgflows.report.data import ReportData
from mgflows.schemas.training import DatasetDocument
from tests.helpers.stored_campaign import CAMPAIGN as STORED
from tests.helpers.stored_campaign import load_stored_campaign

pytestmark = pytest.mark.mongo
CAMPAIGN = "test-campaign"


def _change_energy(database, uuid: str) -> None:
    """Store another result under the same uuid, as a rerun of the label job does."""
    output = database.store.get_output(uuid, load=True)
    document = database.store.query_one({"uuid": uuid}, load=True)
    for frame, summary in zip(output["frames"], output["summaries"], strict=True):
        frame["energy"] += 0.4
        summary["energy_per_atom"] += 0.1
    document["output"] = output
    document.pop("_id", None)
    database.store.update(document, key=["uuid", "index"], save={"data": ["frames"]})


def test_a_frozen_dataset_refuses_a_label_that_has_changed(glass_database):
    (listed,) = glass_database.datasets(CAMPAIGN)
    dataset = glass_database.dataset(listed.dataset_id)
    frame = dataset.frames[0]
    assert len(glass_database.load([frame])) == 1
    _change_energy(glass_database, frame.uuid)
    with pytest.raises(ChangedLabelError, match=rf"{frame.uuid} has changed.*{frame.frame_id}"):
        glass_database.load([frame])
    with pytest.raises(ChangedLabelError, match="make a new dataset"):
        materialise(
            glass_database.store, DatasetDocument.model_validate(dataset.model_dump()), "family"
        )
    others = [each for each in dataset.frames if each.uuid != frame.uuid]
    assert len(glass_database.load(others)) == len(others)


def test_a_label_that_was_deleted_is_named(glass_database):
    (listed,) = glass_database.datasets(CAMPAIGN)
    frame = glass_database.dataset(listed.dataset_id).frames[0]
    glass_database.mongo.outputs.delete_one({"uuid": frame.uuid})
    with pytest.raises(InputError, match=f"{frame.uuid} is not in the database"):
        glass_database.load([frame])


def test_frames_of_an_own_subset_are_found_and_reported(glass_database):
    update = {"$set": {"metadata.mgflows.subset": "my-own"}}
    criteria = {"metadata.mgflows.subset": "distorted", "metadata.mgflows.family": "mc-0"}
    glass_database.mongo.outputs.update_many(criteria, update)
    frames = glass_database.frames(CAMPAIGN)
    assert [frame.subset for frame in frames[-3:]] == ["my-own"] * 3
    assert len(glass_database.frames(CAMPAIGN, subset="my-own")) == 3
    assert ReportData.from_database(glass_database, CAMPAIGN).frames == frames
    with pytest.raises(InputError, match=r"the subset 'my_own' does not exist; .*my-own"):
        glass_database.frames(CAMPAIGN, subset="my_own")


def test_the_best_potential_is_not_the_comparison(settings, glass_database):
    load_stored_campaign(glass_database.mongo)
    best = glass_database.best_potential(STORED)
    assert (best.split, best.generation) == ("family", 1)
    assert best.parity
    assert glass_database.best_potential(STORED, split="paper").split == "paper"
    # Independent of the order in which trainings end and of the clocks of their workers.
    glass_database.mongo.outputs.update_one(
        {"output.potential_id": best.potential_id}, {"$set": {"completed_at": "1999-01-01"}}
    )
    assert glass_database.best_potential(STORED).potential_id == best.potential_id
    created = [p.provenance.created_at for p in glass_database.potentials(STORED)]
    assert created == sorted(created)


def test_a_campaign_without_a_potential_has_no_best_one(glass_database):
    with pytest.raises(InputError, match=f"{CAMPAIGN!r} has no potential yet; .*mgflows status"):
        glass_database.best_potential(CAMPAIGN)
