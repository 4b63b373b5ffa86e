from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest
from bson import json_util
from jobflow import Flow
from jobflow.core.reference import OutputReference

from mgflows.database.progress import campaign_progress
from mgflows.errors import InputError, ServiceError
from mgflows.launch.campaigns import submit
from mgflows.launch.workflows import to_workflows
from mgflows.settings import Settings
from tests.helpers import jobs
from tests.helpers.workers import run_worker

if TYPE_CHECKING:
    from pymongo.database import Database

    from mgflows.machine.mongod import PrivateMongod


def campaign(name: str = "c1", n: int = 3) -> Flow:
    """n additions and their sum, with new uuids at each call."""
    parts = [jobs.add("journal", f"a{i}", float(i), 1.0) for i in range(n)]
    flow = Flow([*parts, jobs.total("journal", "total", [part.output for part in parts])])
    flow.update_metadata({"mgflows": {"campaign": name, "stage": "sampling", "subset": "aimd"}})
    return flow


def test_specs_hold_the_keys_for_queries_and_routing() -> None:
    flow = campaign()
    flow.jobs[0].update_config({"manager_config": {"_category": "sampling", "_priority": 3}})
    (workflow,) = to_workflows(flow)
    specs = {firework.name + str(i): firework.spec for i, firework in enumerate(workflow.fws)}
    assert all(
        spec["mgflows"] == {"campaign": "c1", "stage": "sampling", "subset": "aimd"}
        for spec in specs.values()
    )
    (routed,) = [spec for spec in specs.values() if "_category" in spec]
    assert (routed["_category"], routed["_priority"]) == ("sampling", 3)
    assert all("store" not in task for firework in workflow.fws for task in firework.tasks)
    assert len(workflow.root_fw_ids) == 3
    assert len(workflow.leaf_fw_ids) == 1


def test_collectors_may_run_after_failures() -> None:
    first = jobs.add("journal", "first", 1.0, 1.0)
    (workflow,) = to_workflows(Flow([first, jobs.collect("journal", "c", [first.output])]))
    assert [firework.spec.get("_allow_fizzled_parents") for firework in workflow.fws] == [
        None,
        True,
    ]


def test_families_and_stages_are_workflows_of_their_own() -> None:
    first = [jobs.add("journal", f"a{i}", float(i), 1.0) for i in range(2)]
    second = [jobs.add("journal", f"b{i}", parent.output, 1.0) for i, parent in enumerate(first)]
    third = [jobs.add("journal", f"c{i}", parent.output, 1.0) for i, parent in enumerate(second)]
    last = jobs.total("journal", "total", [job.output for job in third])
    for family, stages in enumerate(zip(first, second, third, strict=True)):
        for job, stage in zip(stages, ("sampling", "labels", "labels"), strict=True):
            job.update_metadata({"mgflows": {"stage": stage, "family": f"family-{family}"}})
    workflows = to_workflows(Flow([*first, *second, *third, last]))
    assert sorted(len(workflow.fws) for workflow in workflows) == [1, 1, 1, 2, 2]
    assert [firework.name for firework in workflows[-1].fws] == ["total"]


def test_independent_jobs_share_workflows() -> None:
    workflows = to_workflows(
        Flow([jobs.add("journal", f"a{i}", float(i), 1.0) for i in range(250)])
    )
    assert [len(workflow.fws) for workflow in workflows] == [100, 100, 50]


def test_a_piece_that_is_too_large_is_refused_with_figures() -> None:
    with pytest.raises(
        InputError,
        match=r"has 21 connected jobs .* one workflow holds at most 20; give them families",
    ):
        to_workflows(campaign(n=20), max_fireworks=20)


def test_external_references_are_refused_unless_allowed() -> None:
    job = jobs.add("journal", "x", OutputReference("00000000-0000-0000-0000-000000000000"), 1.0)
    with pytest.raises(InputError, match="the flow is not complete"):
        to_workflows(job)
    assert len(to_workflows(job, allow_external_references=True)) == 1


@pytest.mark.mongo
def test_submitting_again_adds_nothing(settings: Settings, database: Database) -> None:
    first = submit(campaign(), settings)
    again = submit(campaign(), settings)
    assert (first.n_added, first.is_new, again.n_added, again.is_new) == (4, True, 0, False)
    assert database.fireworks.count_documents({}) == 4
    assert database.workflows.count_documents({}) == 1
    assert submit(campaign("c2"), settings).n_added == 4
    assert submit(campaign(), settings, part="more").n_added == 4


@pytest.mark.mongo
def test_submitting_from_several_places_at_once_adds_one(
    settings: Settings, database: Database
) -> None:
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(submit(campaign(n=8), settings)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(result.n_added for result in results) == 9
    assert sum(result.is_new for result in results) == 1
    assert database.fireworks.count_documents({}) == 9
    assert database.fireworks.count_documents({"state": "READY"}) == 8
    assert (
        database.planned.count_documents({"state": "submitted"})
        == database.planned.count_documents({})
        == 1
    )


@pytest.mark.mongo
def test_external_references_must_be_in_the_database(
    settings: Settings, database: Database
) -> None:
    uuid = "00000000-0000-0000-0000-000000000000"
    job = jobs.add("journal", "x", OutputReference(uuid), 1.0)
    with pytest.raises(
        InputError, match=r"needs the output of job 00000000.*submit it when that job is done"
    ):
        submit(job, settings)
    assert database.fireworks.count_documents({}) == 0
    database.outputs.insert_one({"uuid": uuid, "index": 1, "output": 3.0})
    assert submit(job, settings).n_added == 1


@pytest.mark.mongo
def test_too_much_input_leaves_nothing_behind(settings: Settings, database: Database) -> None:
    job = jobs.add("journal", "x" * 17_000_000, 1.0, 1.0)
    with pytest.raises(InputError, match="more than 16 MB of input"):
        submit(Flow([jobs.add("journal", "small", 1.0, 1.0), job]), settings)
    assert database.fireworks.count_documents({}) == 0


@pytest.mark.mongo
def test_several_campaigns_at_once_are_refused(settings: Settings) -> None:
    with pytest.raises(InputError, match="several campaigns"):
        submit([campaign("c1"), campaign("c2")], settings)


def test_a_database_that_is_down_is_reported_before_anything_is_done() -> None:
    with pytest.raises(ServiceError, match="does not answer"):
        submit(campaign(), Settings(mongodb_uri="mongodb://127.0.0.1:9/"))


@pytest.mark.mongo
def test_no_password_gets_into_the_database(
    mongod: PrivateMongod, settings: Settings, database: Database
) -> None:
    database.command("createUser", "me", pwd="very-secret-word", roles=["dbOwner"])
    host = mongod.uri.removeprefix("mongodb://")
    secret = settings.model_copy()
    secret.mongodb_uri = Settings(
        mongodb_uri=f"mongodb://me:very-secret-word@{host}/?authSource={settings.database_name}"
    ).mongodb_uri
    flow = campaign()
    flow.append_name(" x")
    submit(flow, secret)
    run_worker(secret, check=None)
    assert database.launches.count_documents({}) > 0
    for name in database.list_collection_names():
        for document in database[name].find():
            assert "very-secret-word" not in json.dumps(document, default=json_util.default)
    database.command("dropUser", "me")


@pytest.mark.mongo
def test_progress_is_counted_correctly_in_an_index(settings: Settings, database: Database) -> None:
    submit([campaign(n=5), campaign(n=2)], settings)
    database.fireworks.update_many(
        {"name": "add", "fw_id": {"$lte": 3}}, {"$set": {"state": "COMPLETED"}}
    )
    counts: dict[str, int] = {}
    for firework in database.fireworks.find():
        counts[firework["state"]] = counts.get(firework["state"], 0) + 1
    assert campaign_progress(database, "c1").groups == {("sampling", "aimd"): counts}
    assert campaign_progress(database).groups == {("sampling", "aimd"): counts}
    query = {"spec.mgflows.campaign": "c1", "spec.group": "sampling/aimd", "state": "READY"}
    plan = database.command(
        "explain", {"count": "fireworks", "query": query}, verbosity="executionStats"
    )
    assert plan["executionStats"]["totalDocsExamined"] == 0
