"""Campaigns through ``qlaunch`` on a real Slurm, with the files that ``mgflows init`` renders."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mgflows.database import GlassDatabase
from mgflows.flows.tags import all_jobs
from mgflows.launch import advance, submit_campaign
from mgflows.recovery import recover
from tests.helpers import jobs
from tests.helpers.slurm import configure, in_category, qlaunch, submit_jobs, wait_for
from tests.helpers.small_campaign import smallest_campaign

if TYPE_CHECKING:
    from pymongo.database import Database

    from mgflows.settings import Settings
    from tests.helpers.slurm import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.mongo]


def state_of(database: Database, name: str) -> str:
    return database.fireworks.find_one({"name": name}, sort=[("fw_id", -1)])["state"]


def output_of(site: Settings) -> str:
    return "\n".join(path.read_text() for path in (site.directory / "queue").rglob("*.error"))


def test_two_stages_in_two_partitions_packed_and_reserved(
    cluster: Cluster, site: Settings, database: Database
) -> None:
    journal = str(site.directory / "journal")
    samples = [
        in_category(jobs.add(journal, f"s{i}", float(i), 1.0), "sampling", family=f"f{i}")
        for i in range(12)
    ]
    labels = [
        in_category(jobs.add(journal, f"l{i}", s.output, 1.0), "dft", family=f"f{i}")
        for i, s in enumerate(samples[:3])
    ]
    for number, label in enumerate(labels):
        label.name = f"label {number}"
    labels[2].update_config(
        {
            "manager_config": {
                "_category": "dft",
                "_queueadapter": {"walltime": "00:03:00", "job_name": "my-own"},
            }
        }
    )
    submit_jobs(site, *samples, *labels)

    qlaunch(cluster, site, "sampling", "rapidfire", "-m", "2", "--nlaunches", "1")
    cluster.wait()
    assert sorted(jobs.ran(Path(journal))) == sorted(f"s{i}" for i in range(12)), output_of(site)
    # The worker submitted the labels when it ran out of jobs.
    assert database.fireworks.count_documents({"spec._category": "dft", "state": "READY"}) == 3
    before = {job[0] for job in cluster.jobs()}
    qlaunch(cluster, site, "dft", "rapidfire", "-m", "5", "--nlaunches", "3")
    cluster.wait()
    assert database.fireworks.count_documents({"state": "COMPLETED"}) == 15, output_of(site)
    reserved = [job for job in cluster.jobs() if job[0] not in before]
    assert [(job[3], job[2]) for job in reserved] == [("large", "COMPLETED")] * 3
    assert {job[1] for job in reserved} == {"label_0", "label_1", "my-own"}
    launches = database.launches.find(
        {"fw_id": {"$in": [f["fw_id"] for f in database.fireworks.find({"spec._category": "dft"})]}}
    )
    assert {
        launch["state_history"][0]["reservation_id"]
        for launch in launches
        if "reservation_id" in launch["state_history"][0]
    } == {job[0] for job in reserved}


@pytest.mark.faults
def test_two_qlaunch_reserve_each_job_once(
    cluster: Cluster, site: Settings, database: Database
) -> None:
    journal = site.directory / "journal"
    names = [f"l{i}" for i in range(6)]
    submit_jobs(
        site,
        *(
            in_category(jobs.add(str(journal), name, 1.0, 2.0), "dft", family=name)
            for name in names
        ),
    )
    before = {job[0] for job in cluster.jobs()}
    with ThreadPoolExecutor(2) as pool:
        both = [
            pool.submit(qlaunch, cluster, site, "dft", "rapidfire", "-m", "10", "--nlaunches", "3")
            for _ in range(2)
        ]
    printed = "\n".join(each.result() for each in both)
    cluster.wait()
    assert sorted(jobs.ran(journal)) == names, printed + output_of(site)
    assert len({job[0] for job in cluster.jobs()} - before) == 6, printed
    assert database.fireworks.distinct("state") == ["COMPLETED"]


@pytest.mark.faults
@pytest.mark.parametrize("how", ["walltime", "scancel", "preemption"])
def test_an_ended_batch_job_gives_its_work_back(
    cluster: Cluster, site: Settings, database: Database, how: str
) -> None:
    journal = site.directory / "journal"
    submit_jobs(site, in_category(jobs.add(str(journal), "slow", 1.0, 2.0, 600.0), "sampling"))
    qlaunch(cluster, site, "sampling", "singleshot")
    wait_for(cluster, "the job runs", lambda: jobs.ran(journal) == ["slow"])
    ((number, *_),) = cluster.jobs("running")
    if how == "walltime":
        # The early signal that Slurm sends to the batch step before the end of the walltime.
        cluster.run("scancel", "--signal=USR1", "--batch", number)
    elif how == "scancel":
        cluster.run("scancel", number)
    else:
        cluster.run("scancel", "--signal=TERM", "--full", number)
    wait_for(cluster, "the work is back", lambda: state_of(database, "add") == "READY")
    launch = database.launches.find_one({}, sort=[("launch_id", -1)])
    reason = launch["action"]["stored_data"]["_exception"]["_details"]["reason"]
    assert reason.startswith("SIGUSR1" if how == "walltime" else "SIGTERM")
    cluster.wait()


@pytest.mark.faults
@pytest.mark.slow
def test_the_real_end_of_a_walltime(cluster: Cluster, site: Settings, database: Database) -> None:
    """One minute is the shortest walltime of Slurm; its signal comes within it."""
    site.resources["sampling"].walltime = "0:01:00"
    configure(site)
    adapter = site.directory / "my_qadapter_sampling.yaml"
    adapter.write_text(adapter.read_text().replace("B:USR1@120", "B:USR1@20"))
    journal = site.directory / "journal"
    submit_jobs(site, in_category(jobs.add(str(journal), "slow", 1.0, 2.0, 600.0), "sampling"))
    qlaunch(cluster, site, "sampling", "singleshot")
    wait_for(cluster, "the job runs", lambda: jobs.ran(journal) == ["slow"])
    wait_for(cluster, "the work is back", lambda: state_of(database, "add") == "READY")
    cluster.wait()
    reason = database.launches.find_one()["action"]["stored_data"]["_exception"]["_details"][
        "reason"
    ]
    assert reason.startswith("SIGUSR1")


@pytest.mark.faults
def test_a_killed_reservation_is_healed(
    cluster: Cluster, site: Settings, database: Database
) -> None:
    journal = site.directory / "journal"
    submit_jobs(site, in_category(jobs.add(str(journal), "label", 1.0, 2.0), "dft"))
    cluster.run("scontrol", "update", "PartitionName=large", "State=DOWN")
    try:
        qlaunch(cluster, site, "dft", "singleshot")
        assert state_of(database, "add") == "RESERVED"
        ((number, *_),) = cluster.jobs("pending")
        cluster.run("scancel", number)
    finally:
        cluster.run("scontrol", "update", "PartitionName=large", "State=UP")
    cluster.wait()
    folder = str(site.directory)
    mgflows = str(Path(sys.executable).parent / "mgflows")
    shown = cluster.run(mgflows, "heal", "--directory", folder, check=False)
    assert state_of(database, "add") == "RESERVED", shown
    cluster.run(mgflows, "heal", "--directory", folder, "--yes", check=False)
    assert state_of(database, "add") == "READY", shown
    qlaunch(cluster, site, "dft", "singleshot")
    cluster.wait()
    assert jobs.ran(journal) == ["label"]


@pytest.mark.faults
def test_full_scratch_stops_the_worker_and_costs_no_job(
    cluster: Cluster, site: Settings, database: Database
) -> None:
    journal = site.directory / "journal"
    submit_jobs(
        site,
        *[
            in_category(jobs.add(str(journal), f"s{i}", 1.0, 2.0), "sampling", family=f"f{i}")
            for i in range(8)
        ],
    )
    # The batch job's processes cannot write files: every file of a launch directory fails.
    adapter = site.directory / "my_qadapter_sampling.yaml"
    text = adapter.read_text()
    adapter.write_text(text.replace("rocket_launch: exec", "rocket_launch: ulimit -f 0; exec"))
    qlaunch(cluster, site, "sampling", "singleshot")
    cluster.wait()
    states = {f["state"] for f in database.fireworks.find({}, ["state"])}
    assert "COMPLETED" not in states
    assert database.fireworks.count_documents({"state": "READY"}) >= 8 - site.max_quick_failures
    adapter.write_text(text)
    # The job whose failure the worker could not even write is brought back, too.
    recover(site, retry=True)
    assert database.fireworks.count_documents({"state": "READY"}) == 8
    qlaunch(cluster, site, "sampling", "singleshot")
    cluster.wait()
    assert sorted(jobs.ran(journal)) == [f"s{i}" for i in range(8)], output_of(site)
    assert [each.n_planned for each in advance(site)] == []


@pytest.mark.slow
def test_a_campaign_of_every_kind_of_job(
    cluster: Cluster, site: Settings, database: Database
) -> None:
    """A smaller quickstart with only ``qlaunch`` and ``mgflows advance``."""
    for category, resources in site.resources.items():
        resources.queue, resources.cores, resources.gpus, resources.walltime = (
            {"dft": "large"}.get(category, "cpu"),
            1,
            0,
            "0:10:00",
        )
    configure(site)
    maker = smallest_campaign()
    submit_campaign(maker, site)
    for _ in range(15):
        for category, resources in site.resources.items():
            ready = database.fireworks.count_documents(
                {"spec._category": category, "state": "READY"}
            )
            if ready and resources.reserve:
                qlaunch(cluster, site, category, "rapidfire", "-m", "50", "--nlaunches", str(ready))
            elif ready:
                qlaunch(cluster, site, category, "singleshot")
        cluster.wait(300)
        advance(site)
        status = GlassDatabase(site).status(maker.name)
        if status.finished:
            break
    assert status.succeeded, status.failures
    assert status.total == len(all_jobs(maker.make()))
    ran = {job[3] for job in cluster.jobs()}
    assert ran == {"cpu", "large"}
    (potential,) = [
        p
        for p in GlassDatabase(site).potentials(maker.name)
        if p.generation == 1 and p.split == "family"
    ]
    (validation,) = GlassDatabase(site).validations()
    assert validation.potential_id == potential.potential_id
