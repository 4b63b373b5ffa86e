from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.io import read

from mgflows.database.export import write_dataset
from mgflows.database.queries import FrameFilter
from mgflows.errors import InputError
from mgflows.launch.campaigns import register_campaign
from mgflows.schemas.sampling import SupercoolingDocument

pytestmark = pytest.mark.mongo

CAMPAIGN = "test-campaign"


def test_frames_are_found_by_their_properties(glass_database):
    assert len(glass_database.frames()) == 30
    assert len(glass_database.frames(subset="distorted")) == 15
    assert len(glass_database.frames(subset=["distorted", "lj_surrogate"], family="mc-3")) == 6
    assert len(glass_database.frames(CAMPAIGN)) == 30
    with pytest.raises(InputError, match="there is no campaign 'another'"):
        glass_database.frames("another")
    digest = glass_database.frames()[0].fingerprint_digest
    assert len(glass_database.frames(fingerprint=digest)) == 30


def test_frames_are_found_by_effective_time(glass_database):
    assert glass_database.frames(effective_time_min=1.0) == [], "no clock, no time"
    clock = {
        "output": {
            "@class": SupercoolingDocument.__name__,
            "families": {f"mc-{number}": 2.0 * number for number in range(5)},
        },
        "uuid": "clock",
        "index": 1,
        "metadata": {"mgflows": {"campaign": CAMPAIGN, "stage": "sampling"}},
    }
    glass_database.mongo["outputs"].insert_one(clock)
    assert {frame.family for frame in glass_database.frames(effective_time_min=1e4)} == {
        "mc-2",
        "mc-3",
        "mc-4",
    }
    assert {
        frame.family
        for frame in glass_database.frames(effective_time_min=1e3, effective_time_max=1e7)
    } == {"mc-2", "mc-3"}
    assert glass_database.frames(family="mc-3")[0].log10_time == 6.0
    loaded = glass_database.load(glass_database.frames(family="mc-3", subset="distorted"))
    assert loaded[0].info["log10_time"] == 6.0


def test_loaded_frames_are_the_labels(glass_database):
    records = glass_database.frames(subset="lj_surrogate")
    atoms = glass_database.load(reversed(records))
    assert [each.info["frame_id"] for each in atoms] == [
        record.frame_id for record in reversed(records)
    ]
    for each, record in zip(atoms, reversed(records), strict=True):
        labelled = each.get_potential_energy(), each.get_forces(), each.get_stress()
        each.calc = EMT()
        assert labelled[0] == pytest.approx(each.get_potential_energy(), abs=1e-9)
        assert labelled[0] / len(each) == pytest.approx(record.energy_per_atom)
        assert labelled[1] == pytest.approx(each.get_forces(), abs=1e-9)
        assert labelled[2] == pytest.approx(each.get_stress(), abs=1e-9)


def test_datasets_load_their_frames_on_request_only(glass_database):
    (listed,) = glass_database.datasets()
    assert listed.n_frames == 30
    assert listed.frames == []
    dataset = glass_database.dataset(listed.dataset_id[:6])
    assert len(dataset.frames) == 30
    assert {frame.family for frame in dataset.frames if frame.test["family"]} >= {"mc-4"}
    with pytest.raises(InputError, match="there is no dataset 'zzzz'"):
        glass_database.dataset("zzzz")


def test_an_exported_dataset_is_read_back_by_ase(glass_database, tmp_path):
    (listed,) = glass_database.datasets()
    train, test, _ = write_dataset(glass_database, listed.dataset_id, "family", tmp_path / "frames")
    frames = [*read(train, ":"), *read(test, ":")]
    assert len(frames) == 30
    energies = {record.frame_id: record.energy_per_atom for record in glass_database.frames()}
    for atoms in frames:
        assert atoms.get_potential_energy() / len(atoms) == pytest.approx(
            energies[atoms.info["frame_id"]], abs=1e-6
        )
        assert np.isfinite(atoms.get_forces()).all()


def test_a_campaign_is_stored_once_and_another_of_its_name_is_refused(
    glass_database, campaign_document
):
    later = campaign_document.model_copy(update={"created_at": "2027-01-01T00:00:00+00:00"})
    assert register_campaign(glass_database.mongo, later).created_at == campaign_document.created_at
    other = campaign_document.model_copy(
        update={"settings": {"scale": "large"}, "settings_digest": "another"}
    )
    with pytest.raises(
        InputError, match=r'of other settings exists.*\(scale: "test", now "large"\); give the new'
    ):
        register_campaign(glass_database.mongo, other)
    assert [campaign.campaign for campaign in glass_database.campaigns()] == [CAMPAIGN]


def test_impossible_queries_are_refused(glass_database):
    with pytest.raises(InputError, match="'lj' does not exist; the subsets are lj_surrogate"):
        glass_database.frames(subset="lj")
    with pytest.raises(InputError, match="effective_time_min is -1"):
        glass_database.frames(effective_time_min=-1.0)
    with pytest.raises(
        InputError, match=r"no campaign 'nothing'.*the campaigns are: test-campaign"
    ):
        glass_database.campaign("nothing")
    for query in ("frames", "datasets", "potentials", "samples", "quenches", "validations"):
        with pytest.raises(InputError, match=r"no campaign 'nothing'.*its campaigns: test-"):
            getattr(glass_database, query)("nothing")
    with pytest.raises(
        InputError, match=r"the family 'nobody' does not exist; the families are .*mc-4"
    ):
        glass_database.frames(family="nobody")
    with pytest.raises(InputError, match="'nobody' does not exist in the campaign 'test-campaign'"):
        glass_database.frames(CAMPAIGN, family="nobody", where=FrameFilter(energy=(0.0, None)))
    with pytest.raises(InputError, match=r"no frame has a method .* '12'.*digests are"):
        glass_database.frames(fingerprint="12")
    with pytest.raises(InputError, match="there is no element 'Xx'"):
        FrameFilter(elements=("Xx",))
    with pytest.raises(InputError, match="there is no potential 'zzzz'"):
        glass_database.validations(potential_id="zzzz")


def test_status_and_cost_agree_with_the_documents(glass_database):
    documents = [
        d
        for d in glass_database.mongo["outputs"].find()
        if isinstance(d.get("output"), dict) and "provenance" in d["output"]
    ]
    seconds, kinds = 0.0, set()
    for document in documents:
        seconds += document["output"]["provenance"]["cpu_seconds"]
        tags = document["metadata"]["mgflows"]
        kinds.add((tags["stage"], tags.get("subset")))
    costs = glass_database.cost(CAMPAIGN)
    assert {(cost.stage, cost.subset) for cost in costs} == kinds
    assert sum(cost.n for cost in costs) == len(documents) > 0
    assert sum(cost.core_hours for cost in costs) == pytest.approx(seconds / 3600.0)
    status = glass_database.status(CAMPAIGN)
    assert (status.total, status.finished) == (0, False), (
        "these documents come from jobflow's local manager: there are no fireworks"
    )


def test_empty_queries_have_empty_results(glass_database):
    assert glass_database.potentials() == []
    assert glass_database.validations() == []
    assert glass_database.samples() == {}
    assert glass_database.supercooling(CAMPAIGN) is None
