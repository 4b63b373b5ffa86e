"""Damage of the database: lost outputs, incomplete arrays, missing indexes and counters.

The checks read indexes and counts, and can be repeated often. Changed values are found when they
are read (:mod:`mgflows.checked_stores`): by jobs, and by `changed_outputs`, which reads a sample or
all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mgflows.database.planned import batches
from mgflows.errors import DamagedDataError
from mgflows.schemas.campaign import PLANNED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobflow import JobStore
    from pymongo.database import Database

__all__ = [
    "INDEXES",
    "DamagedJob",
    "LostLaunch",
    "LostOutput",
    "changed_outputs",
    "damaged_jobs",
    "lost_launches",
    "lost_outputs",
    "missing_indexes",
    "wrong_counters",
]

TASK = "{{mgflows.launch.firetask.JobTask}}"
"""FireWorks' name of the task of every job."""
_UNIQUE_SUBMISSION = {
    "unique": True,
    "partialFilterExpression": {"metadata.submission": {"$exists": True}},
}
INDEXES: tuple[tuple[str, list[tuple[str, int]], dict[str, Any]], ...] = (
    ("fireworks", [("spec.mgflows.campaign", 1), ("spec.group", 1), ("state", 1)], {}),
    ("fireworks", [("spec.submission", 1)], {"sparse": True}),
    ("fireworks", [("spec.job_uuid", 1), ("state", 1), ("fw_id", 1)], {}),
    # Few jobs have another task than that of mgflows.
    ("fireworks", [("spec._tasks._fw_name", 1)], {}),
    # One workflow per submission, also if several processes submit at once.
    ("workflows", [("metadata.submission", 1)], _UNIQUE_SUBMISSION),
    # One output per job: the second of two writers is refused.
    ("outputs", [("uuid", 1), ("index", 1)], {"unique": True}),
    ("outputs", [("metadata.launch_id", 1)], {"sparse": True}),
    ("outputs", [("metadata.blobs", 1)], {"sparse": True}),
    (
        "outputs",
        [
            ("metadata.mgflows.campaign", 1),
            ("metadata.mgflows.stage", 1),
            ("metadata.mgflows.subset", 1),
        ],
        {},
    ),
    ("outputs_blobs.files", [("metadata.blob_uuid", 1)], {}),
)
"""Collection, keys and options of the indexes beside those of FireWorks."""


@dataclass(frozen=True)
class LostOutput:
    """A completed job whose result cannot be read any more.

    Attributes
    ----------
    fw_id, name
        Its firework.
    reason
        What is missing.
    """

    fw_id: int
    name: str
    reason: str


@dataclass(frozen=True)
class LostLaunch:
    """An ended job whose launch was deleted.

    FireWorks derives the state of a job from its launches: without them it can count as not run.

    Attributes
    ----------
    fw_id, name, state
        Its firework.
    launch_id
        The launch.
    """

    fw_id: int
    name: str
    state: str
    launch_id: int


@dataclass(frozen=True)
class DamagedJob:
    """A waiting job that no worker can read, because its firework was edited.

    Attributes
    ----------
    fw_id, name
        Its firework.
    spec
        The spec with which it was submitted; None if the plan of its campaign does not hold it.
    """

    fw_id: int
    name: str
    spec: dict[str, Any] | None


def damaged_jobs(database: Database, campaign: str | None = None) -> list[DamagedJob]:
    """Waiting jobs whose task was removed or replaced in the database.

    A worker that takes one stops, since its machine may lack the job's modules.

    Parameters
    ----------
    database
        The database.
    campaign
        Only this campaign; all by default.
    """
    query: dict[str, Any] = {
        "state": {"$in": ["READY", "WAITING"]},
        "spec.submission": {"$exists": True},
        "spec._tasks._fw_name": {"$ne": TASK},
    }
    if campaign is not None:
        query["spec.mgflows.campaign"] = campaign
    damaged = []
    for firework in database["fireworks"].find(query, ["fw_id", "name", "spec"]):
        spec = _planned_spec(database, firework["spec"])
        # Another task may be what was submitted.
        if spec is None or spec["_tasks"] != firework["spec"].get("_tasks"):
            damaged.append(DamagedJob(firework["fw_id"], firework.get("name", ""), spec))
    return sorted(damaged, key=lambda job: job.fw_id)


def _planned_spec(database: Database, spec: dict[str, Any]) -> dict[str, Any] | None:
    """The spec of a job in the plan of its campaign, with its submission; None without it."""
    job, submission = spec.get("job_uuid"), spec["submission"]
    query = {"jobs": job, "workflow": {"$exists": True}}
    for piece in database[PLANNED].find(query, ["workflow.fireworks"]):
        for firework in piece["workflow"]["fireworks"]:
            if firework["spec"].get("job_uuid") == job:
                return {**firework["spec"], "submission": submission}
    return None


def lost_launches(database: Database, campaign: str | None = None) -> list[LostLaunch]:
    """Ended jobs whose current launch was deleted.

    Parameters
    ----------
    database
        The database.
    campaign
        Only this campaign; all by default.
    """
    # Both are read from FireWorks' indexes.
    known = {row["_id"] for row in _values(database, "launches", "launch_id")}
    lost = sorted(
        row["_id"]
        for row in _values(database, "fireworks", "launches")
        if row["_id"] is not None and row["_id"] not in known
    )
    query: dict[str, Any] = {"state": {"$in": ["COMPLETED", "FIZZLED"]}}
    if campaign is not None:
        query["spec.mgflows.campaign"] = campaign
    return [
        LostLaunch(row["fw_id"], row["name"], row["state"], row["launches"][-1])
        for some in batches(lost)
        for row in database["fireworks"].find(
            {**query, "launches": {"$in": some}}, ["fw_id", "name", "state", "launches"]
        )
        if row["launches"][-1] in some
    ]


def _values(database: Database, collection: str, field: str) -> Iterator[dict[str, Any]]:
    """The distinct values of a field, read in batches (`distinct` is limited to 16 MB)."""
    return database[collection].aggregate(
        [
            {"$project": {"_id": 0, field: 1}},
            {"$unwind": f"${field}"},
            {"$group": {"_id": f"${field}"}},
        ]
    )


def changed_outputs(store: JobStore, n: int | None = None) -> tuple[list[tuple[str, str]], int]:
    """Compare stored outputs and their arrays with their checksums.

    Parameters
    ----------
    store
        The JobStore of :func:`mgflows.connections.open_job_store`, connected.
    n
        Number of outputs to read, chosen at random; all by default.

    Returns
    -------
    changed : list of (str, str)
        Uuid of the job of each output that differs, and the reason.
    n_read : int
        Number of outputs that were read. Those of version 0.1 have no checksum and do not count.
    """
    outputs = store.docs_store._collection
    steps: list[dict[str, Any]] = [{"$match": {"metadata.sha256": {"$exists": True}}}]
    if n is not None:
        # Before the match: a random sample of a whole collection needs no scan.
        steps.insert(0, {"$sample": {"size": n}})
    steps.append({"$project": {"_id": 0, "uuid": 1, "index": 1, "metadata.blobs": 1}})
    changed, n_read = [], 0
    for row in outputs.aggregate(steps):
        n_read += 1
        key = {"uuid": row["uuid"], "index": row["index"]}
        try:
            store.docs_store.query_one(key)
            if blobs := row["metadata"].get("blobs"):
                for arrays in store.additional_stores.values():
                    for _ in arrays.query({"blob_uuid": {"$in": blobs}}):
                        pass
        except DamagedDataError as error:
            changed.append((row["uuid"], error.message))
    return changed, n_read


def lost_outputs(database: Database, campaign: str | None = None) -> list[LostOutput]:
    """Completed jobs without an output, or with arrays that are missing or incomplete.

    Parameters
    ----------
    database
        The database.
    campaign
        Only this campaign; all by default.
    """
    fields = {"_id": 0, "spec.job_uuid": 1, "fw_id": 1, "state": 1}
    by_state = [("spec.job_uuid", 1), ("state", 1), ("fw_id", 1)]
    completed = database["fireworks"].find({"state": "COMPLETED"}, fields)
    stored = database["outputs"].find({}, {"_id": 0, "uuid": 1, "index": 1})
    # Both are read from their indexes alone.
    if not missing_indexes(database):
        completed, stored = completed.hint(by_state), stored.hint([("uuid", 1), ("index", 1)])
    firework_of = {
        row["spec"]["job_uuid"]: row["fw_id"] for row in completed if "job_uuid" in row["spec"]
    }
    present = {row["uuid"] for row in stored}
    reasons = {
        fw_id: "its output is missing" for uuid, fw_id in firework_of.items() if uuid not in present
    }
    for uuid, number in _jobs_without_arrays(database).items():
        if uuid in firework_of:
            reasons[firework_of[uuid]] = (
                f"{number} {'array' if number == 1 else 'arrays'} of its output "
                f"{'is' if number == 1 else 'are'} missing or incomplete"
            )
    lost: list[LostOutput] = []
    for some in batches(sorted(reasons)):
        query: dict[str, Any] = {"fw_id": {"$in": some}}
        if campaign is not None:
            query["spec.mgflows.campaign"] = campaign
        lost += [
            LostOutput(row["fw_id"], row["name"], reasons[row["fw_id"]])
            for row in database["fireworks"].find(query, ["fw_id", "name"]).sort("fw_id", 1)
        ]
    return lost


def _jobs_without_arrays(database: Database) -> dict[str, int]:
    """Uuid of the jobs with missing or incomplete arrays, and the number of these."""
    chunks = database["outputs_blobs.chunks"]
    index = [("files_id", 1), ("n", 1)]
    if not any(each["key"] == index for each in chunks.index_information().values()):
        # Without their index it takes too long to count them.
        return {}
    numbers = {
        row["_id"]: row["n"]
        for row in chunks.aggregate(
            [{"$group": {"_id": "$files_id", "n": {"$sum": 1}}}], hint=dict(index)
        )
    }
    fields = ["metadata.blob_uuid", "length", "chunkSize"]
    complete = {
        file["metadata"].get("blob_uuid")
        for file in database["outputs_blobs.files"].find({"metadata": {"$ne": None}}, fields)
        if numbers.get(file["_id"], 0) == -(-file["length"] // file["chunkSize"])
    }
    found = {}
    with_arrays = {"metadata.blobs": {"$gt": ""}}
    for row in database["outputs"].find(with_arrays, ["uuid", "metadata.blobs"]):
        if number := sum(blob not in complete for blob in row["metadata"]["blobs"]):
            found[row["uuid"]] = number
    return found


def missing_indexes(database: Database) -> list[str]:
    """The indexes that do not exist, as ``collection: fields``."""
    present: dict[str, list[tuple[list[tuple[str, int]], bool]]] = {}
    for collection in {name for name, _, _ in INDEXES}:
        present[collection] = [
            (list(index["key"]), bool(index.get("unique")))
            for index in database[collection].index_information().values()
        ]
    return [
        f"{collection}: {', '.join(field for field, _ in keys)}"
        for collection, keys, options in INDEXES
        if (keys, bool(options.get("unique"))) not in present[collection]
    ]


def wrong_counters(database: Database) -> dict[str, int]:
    """FireWorks' counters that are missing or too small, with the smallest valid values.

    With a counter that is too small, a new firework or launch gets the id of an existing one.
    """
    stored = database["fw_id_assigner"].find_one({}) or {}
    needed = {}
    for counter, collections in (
        ("next_fw_id", [("fireworks", "fw_id")]),
        ("next_launch_id", [("launches", "launch_id"), ("outputs", "metadata.launch_id")]),
    ):
        least = 1
        for collection, field in collections:
            last = database[collection].find_one({field: {"$gt": 0}}, [field], sort=[(field, -1)])
            if last is not None:
                value = last["metadata"]["launch_id"] if "." in field else last[field]
                least = max(least, int(value) + 1)
        if stored.get(counter, 0) < least:
            needed[counter] = least
    return needed
