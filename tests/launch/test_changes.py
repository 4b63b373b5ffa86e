"""Changes of a finished campaign: extended, trained and validated again, renamed and deleted.

One small campaign runs to its end in a real MongoDB, with real workers; the tests change it one
after the other, in the order of this file.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from ase.io import write
from click.testing import CliRunner

from mgflows.cli.main import cli
from mgflows.database import GlassDatabase
from mgflows.errors import InputError
from mgflows.flows.campaign_settings import encode_settings
from mgflows.flows.feedback import FeedbackFlowMaker
from mgflows.flows.scales import SCALES, stand_in_campaign
from mgflows.launch import submit_campaign, worker
from mgflows.launch.changes import Extension, extend, label, retrain, revalidate
from mgflows.launch.removal import campaign_contents, delete_campaign, rename_campaign
from mgflows.report import ReportData
from mgflows.settings import Settings
from tests.helpers.small_campaign import without_acceptance

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.mongo]

NAME = "changed"


@pytest.fixture(scope="module")
def settings(mongod, tmp_path_factory) -> Iterator[Settings]:
    from pymongo import MongoClient

    directory = tmp_path_factory.mktemp("changes")
    settings = Settings(
        directory=directory,
        mongodb_uri=mongod.uri,
        database_name=f"test_{uuid.uuid4().hex[:12]}",
        n_workers=1,
        ping_seconds=1.0,
    )
    yield settings
    with MongoClient(mongod.uri) as client:
        client.drop_database(settings.database_name)


@pytest.fixture(scope="module")
def database(settings) -> GlassDatabase:
    scale = replace(
        SCALES["tiny"],
        name="changes",
        samples=((200, 8),),
        coolings=((10.0, 2), (30.0, 2), (100.0, 2)),
        relaxed_fraction=0.25,
        n_heated=1,
        n_crystals=1,
        heating_steps=4,
        training_steps=(40, 40),
    )
    maker = replace(stand_in_campaign(scale, name=NAME), feedback_maker=None, validation_maker=None)
    submit_campaign(without_acceptance(maker), settings)
    worker.work(settings)
    database = GlassDatabase(settings)
    assert database.status(NAME).succeeded, database.status(NAME).failures
    return database


def test_more_samples_are_numbered_labelled_and_trained_on(database, settings):
    before = database.dataset(database.datasets(NAME)[-1].dataset_id)
    families = set(database.samples(NAME))
    submission = extend(database, NAME, Extension(samples=((200, 4), (400, 1)), n_heated=1))
    assert submission.is_new
    worker.work(settings)
    status = database.status(NAME)
    assert status.succeeded, status.failures

    added = set(database.samples(NAME)) - families
    assert added == {f"mc-2e2-{number:03d}" for number in range(8, 12)} | {"mc-4e2-000"}
    assert set(database.supercooling(NAME).families) == families | added
    after = database.dataset(database.datasets(NAME)[-1].dataset_id)
    sides = {frame.frame_id: frame.test for frame in after.frames}
    assert all(sides[frame.frame_id] == frame.test for frame in before.frames)
    assert added <= {frame.family for frame in after.frames}
    assert len({f.family for f in after.frames if f.subset == "aimd"}) > len(
        {f.family for f in before.frames if f.subset == "aimd"}
    )
    best = database.best_potential(NAME)
    assert (best.generation, best.dataset_id) == (1, after.dataset_id)
    (change,) = database.campaign(NAME).history
    assert (change.action, change.part) == ("extend", submission.part)
    assert change.details["samples"] == [[200, 4], [400, 1]]
    report = ReportData.from_database(database, NAME)
    assert report.best_potential.potential_id == best.potential_id
    assert len(report.samples) == 13


def test_the_same_training_again_adds_nothing(database, settings, monkeypatch):
    monkeypatch.setattr(Settings, "load", classmethod(lambda cls, directory=None: settings))
    command = ["retrain", NAME, "--steps", "60", "--neuron", "10", "--seed", "3"]
    done = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert "1 job submitted" in done.output
    worker.work(settings)
    potential = database.best_potential(NAME)
    assert potential.parameters.neuron == 10
    assert potential.trainer.settings["steps"] == 60
    assert potential.dataset_id == database.datasets(NAME)[-1].dataset_id
    again = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert "nothing was added" in again.output
    with pytest.raises(InputError, match="there is no dataset 'zzz'"):
        retrain(database, NAME, dataset="zzz")


def test_errors_are_stored_by_frame_and_agree_with_the_potential(database, monkeypatch, settings):
    import numpy as np

    from mgflows.nep import predict

    potential = database.best_potential(NAME)
    worst = database.worst_frames(potential.potential_id, number=5)
    errors = [error.force for _, error in worst]
    assert errors == sorted(errors, reverse=True)
    atoms = database.load([frame for frame, _ in worst])
    predicted = predict(potential.nep_txt, atoms)
    for number, (_, error) in enumerate(worst):
        difference = predicted.forces[number] - atoms[number].get_forces()
        assert error.force == pytest.approx(1e3 * np.sqrt(np.mean(difference**2)), rel=1e-6)
    # The same without the stored values, as for a potential of an earlier version.
    empty = potential.model_copy(update={"parity": {}})
    monkeypatch.setattr(type(database), "potential", lambda self, identifier: empty)
    recomputed = database.frame_errors(potential.potential_id, [frame for frame, _ in worst])
    for frame, error in worst:
        for kind in ("energy", "force", "largest_force", "virial"):
            assert getattr(recomputed[frame.frame_id], kind) == pytest.approx(
                getattr(error, kind), rel=1e-6
            )
    table = database.table([frame for frame, _ in worst], potential.potential_id)
    assert list(table["force_error"]) == pytest.approx(errors)


def test_frames_are_listed_filtered_and_written(database, settings, tmp_path, monkeypatch):
    import json

    monkeypatch.setattr(Settings, "load", classmethod(lambda cls, directory=None: settings))

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(cli, ["frames", NAME, *arguments], catch_exceptions=False)
        return done.output

    potential = database.best_potential(NAME).potential_id
    rows = json.loads(run("--worst-forces", "3", "--potential", potential[:8], "--json"))
    assert len(rows) == 3
    assert rows[0]["force_error"] >= rows[2]["force_error"]
    assert json.loads(run("--worst-forces", "3", "--potential", "best", "--json")) == rows
    last = database.potentials(NAME)[-1].potential_id
    first = json.loads(run("--potential", "last", "--limit", "2", "--json"))
    whole = json.loads(run("--potential", last, "--json"))
    assert [row["frame_id"] for row in first] == [row["frame_id"] for row in whole[:2]]
    assert [row["energy_error"] for row in first] == pytest.approx(
        [row["energy_error"] for row in whole[:2]]
    )
    n = len(database.frames(NAME))
    assert f"{n} frames, 2 shown; more with --limit" in run("--limit", "2")
    table = tmp_path / "frames.csv"
    assert "wrote" in run("--subset", "distorted", "--pressure", ":100", "--csv", str(table))
    assert table.read_text().startswith("frame_id,")
    assert "no frame matches" in run("--composition", "Ni=0.1:")
    assert json.loads(run("--time", "1:s", "--json")) == [], "no glass of a second"


def test_many_structures_are_submitted_in_batches(database, monkeypatch):
    monkeypatch.setattr("mgflows.launch.changes._LABEL_BATCH", 2)
    (glass,) = database.load(database.frames(NAME, subset="dft_minimized")[:1])
    glasses = [glass.copy() for _ in range(3)]
    for seed, each in enumerate(glasses):
        each.rattle(0.02, seed=seed)
    assert label(database, NAME, glasses, subset="many").n_added == 3
    query = {"spec.mgflows.subset": "many"}
    families = database.mongo["fireworks"].distinct("spec.mgflows.family", query)
    assert len(families) == 3
    assert label(database, NAME, glasses, subset="many").n_added == 0
    with pytest.raises(InputError, match="3 structures and 2 families"):
        label(database, NAME, glasses, families=["a", "b"])
    database.mongo["fireworks"].update_many(query, {"$set": {"state": "DEFUSED"}})


def test_structures_of_a_file_are_labelled_by_the_method_of_the_campaign(
    database, settings, tmp_path
):
    (glass,) = database.load(database.frames(NAME, subset="dft_minimized")[:1])
    strange = glass.copy()
    strange.symbols[0] = "Pu"
    before = database.mongo["fireworks"].count_documents({})
    with pytest.raises(InputError, match="cannot label Pu"):
        label(database, NAME, [glass, strange])
    assert database.mongo["fireworks"].count_documents({}) == before
    glass.rattle(0.02, seed=1)
    write(tmp_path / "mine.xyz", [glass], format="extxyz")
    label(database, NAME, [glass], subset="mine")
    worker.work(settings)
    (record,) = database.frames(NAME, subset="mine")
    assert record.fingerprint_digest == database.frames(NAME)[0].fingerprint_digest
    assert database.campaign(NAME).history[-1].details == {"structures": 1, "subset": "mine"}
    extended = database.freeze(database.frames(NAME))
    assert "mine" in extended.counts


def test_a_potential_is_validated_again(database, settings):
    submission = revalidate(database, NAME)
    assert (submission.n_added, submission.n_planned) == (1, 0)
    # A suite takes a minute; the job itself is tested in tests/jobs.
    job = database.mongo["fireworks"].find_one({"name": "validate"})
    assert job["state"] == "READY"
    found = campaign_contents(database.mongo, NAME)
    assert found.n_unfinished == 1
    with pytest.raises(InputError, match="1 jobs of the campaign 'changed' have not ended"):
        rename_campaign(settings, NAME, "other")
    database.mongo["fireworks"].update_one({"name": "validate"}, {"$set": {"state": "DEFUSED"}})


def test_further_quenches_are_numbered_after_those_of_the_campaign(
    database, settings, monkeypatch, tmp_path
):
    monkeypatch.setattr(Settings, "load", classmethod(lambda cls, directory=None: settings))
    campaigns, query = database.mongo["campaigns"], {"campaign": NAME}
    with pytest.raises(InputError, match="has no feedback stage"):
        extend(database, NAME, Extension(cooling_rates=(2000.0,)))
    # As if the campaign had one quench at this rate: its potential is too poor for a real one.
    feedback = FeedbackFlowMaker(cooling_rates=(2000.0,), n_glasses=1)
    campaigns.update_one(query, {"$set": {"settings.feedback_maker": encode_settings(feedback)}})
    command = ["extend", NAME, "--rate", "2000", "--glasses", "2", "--no-training"]
    for first in (1, 3):
        done = CliRunner().invoke(cli, command, catch_exceptions=False)
        # Two quenches with their labels.
        assert "4 jobs submitted" in done.output
        names = database.mongo["fireworks"].distinct("name", {"name": {"$regex": "^quench"}})
        assert names[-2:] == [
            f"quench quench-2000K-ps-{number:02d}" for number in (first, first + 1)
        ]
    job = database.mongo["fireworks"].find_one({"name": names[-1]})["spec"]["_tasks"][0]["job"]
    assert job["function_args"][3] == 2000.0
    potential = database.best_potential(NAME).potential_id
    stored = database.mongo["outputs"].find_one({"uuid": job["function_args"][1]["uuid"]})
    assert stored["output"]["potential_id"] == potential
    assert database.campaign(NAME).history[-1].details["cooling_rates"] == [2000.0]
    database.mongo["fireworks"].update_many(
        {"name": {"$regex": "quench-2000K-ps"}}, {"$set": {"state": "DEFUSED"}}
    )


def test_a_renamed_campaign_keeps_everything(database, settings):
    frames, potentials = len(database.frames(NAME)), len(database.potentials(NAME))
    rename_campaign(settings, NAME, "renamed")
    assert [campaign.campaign for campaign in database.campaigns()] == ["renamed"]
    assert len(database.frames("renamed")) == frames
    assert len(database.potentials("renamed")) == potentials
    assert {p.campaign for p in database.potentials("renamed")} == {"renamed"}
    assert database.campaign("renamed").history[-1].details == {"old": NAME, "new": "renamed"}
    assert database.status("renamed").completed > 0
    dataset = database.dataset(database.datasets("renamed")[-1].dataset_id)
    assert len(database.load(dataset.frames[:3])) == 3
    with pytest.raises(InputError, match="there is no campaign"):
        rename_campaign(settings, NAME, "again")


def test_a_campaign_is_deleted_with_all_its_arrays(database, settings, monkeypatch, tmp_path):
    monkeypatch.setattr(Settings, "load", classmethod(lambda cls, directory=None: settings))
    refused = CliRunner().invoke(cli, ["delete", "renamed"], input="n\n")
    assert "LabelDocument" in refused.output
    assert database.campaigns()
    borrowed = database.frames("renamed")[:30]
    path = tmp_path / "other.xyz"
    write(path, database.load(borrowed[:4]), format="extxyz")
    database.import_frames([path], "other", "the same")
    database.freeze(borrowed, "other")
    with pytest.raises(InputError, match="datasets of other list labels of the campaign"):
        delete_campaign(settings, "renamed")
    done = CliRunner().invoke(cli, ["delete", "renamed", "--yes", "--force"])
    assert "is deleted" in done.output, done.output
    delete_campaign(settings, "other")
    for name in ("outputs", "outputs_blobs.files", "outputs_blobs.chunks", "fireworks"):
        assert database.mongo[name].count_documents({}) == 0, name
    for name in ("workflows", "launches", "planned", "plans", "campaigns"):
        assert database.mongo[name].count_documents({}) == 0, name
