"""Compile jobflow jobs into FireWorks workflows, and put these into a LaunchPad: each once, however often that is tried."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mgflows.errors import InputError
from mgflows.launch.plan import MAX_FIREWORKS, jobs_of, plan_pieces

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fireworks import LaunchPad, Workflow
    from jobflow import Flow, Job

    from mgflows.launch.plan import Piece

__all__ = [
    "as_flow",
    "compile_piece",
    "insert_once",
    "prepare_database",
    "to_workflow",
    "to_workflows",
]

_DUPLICATE = 11000
"""MongoDB's code for a value that a unique index has already."""


def to_workflows(
    flow: Flow | Job | Sequence[Flow | Job],
    *,
    allow_external_references: bool = False,
    max_fireworks: int = MAX_FIREWORKS,
) -> list[Workflow]:
    """Compile a flow into the workflows that :func:`mgflows.launch.submit` makes of it, in an order in which they can run.

    Each firework's spec gets the job's `manager_config` (such as `_category`, `_priority`) and its metadata, so that
    ``spec.mgflows.campaign`` and the like can be queried. No store goes into it.

    Parameters
    ----------
    flow
        A jobflow Flow or Job, or several.
    allow_external_references
        Whether jobs may refer to outputs of jobs that are not in `flow`; they must be in the JobStore when the job runs.
    max_fireworks
        The most connected fireworks of one workflow.

    Raises
    ------
    InputError
        If a job refers to one that is not there, or a workflow would be too large.
    """
    flow = as_flow(flow, allow_external_references)
    return [_compile(piece.jobs, flow.name) for piece in plan_pieces(flow, max_fireworks)]


def to_workflow(flow: Flow | Job, *, allow_external_references: bool = False) -> Workflow:
    """Compile a flow into one workflow, of whatever size and in however many pieces; FireWorks wants that of dynamic jobs.

    Raises
    ------
    InputError
        If a job refers to one that is not there.
    """
    flow = as_flow(flow, allow_external_references)
    return _compile(jobs_of(flow), flow.name)


def compile_piece(piece: Piece, name: str) -> dict[str, Any]:
    """Compile a piece into what `insert_once` takes and MongoDB can keep: the documents of its workflow and fireworks, numbered from 0."""
    workflow = _compile(piece.jobs, name)
    # FireWorks numbers downwards from -1 in the order of creation.
    ordered = sorted(workflow.fws, key=lambda firework: -firework.fw_id)
    position = {firework.fw_id: number for number, firework in enumerate(ordered)}
    links = {
        str(position[parent]): [position[child] for child in children]
        for parent, children in workflow.links.items()
    }
    fireworks = [
        {**firework.to_db_dict(), "fw_id": number, "state": "WAITING"}
        for number, firework in enumerate(ordered)
    ]
    document = workflow.to_db_dict()
    return {
        "fireworks": fireworks,
        "links": links,
        "name": document["name"],
        "metadata": document["metadata"],
    }


def insert_once(launchpad: LaunchPad, workflows: Sequence[tuple[str, dict[str, Any]]]) -> int:
    """Insert compiled workflows, each under a key of which there is only one; the number of fireworks that were added.

    The order makes it safe to be killed anywhere, and to do the same from several places: fireworks that no worker takes (WAITING), then their
    workflows, under a unique index, and only then do the roots become READY. Who comes later finishes, or cleans, what an earlier one left.

    Parameters
    ----------
    launchpad
        Where they go.
    workflows
        (key, what `compile_piece` made) pairs.

    Raises
    ------
    InputError
        If a job carries more than 16 MB of input.
    """
    from pymongo.errors import BulkWriteError, DocumentTooLarge, OperationFailure

    keys = [key for key, _ in workflows]
    present = {
        document["metadata"]["submission"]
        for document in _workflows(launchpad, keys, {"metadata.submission": 1})
    }
    new = [(key, compiled) for key, compiled in workflows if key not in present]
    numbers = sum(len(compiled["fireworks"]) for _, compiled in new)
    next_id = launchpad.get_new_fw_id(quantity=numbers) if numbers else 0
    fireworks: list[dict[str, Any]] = []
    documents: list[dict[str, Any]] = []
    for key, compiled in new:
        numbered, document = _number(key, compiled, next_id)
        next_id += len(numbered)
        fireworks += numbered
        documents.append(document)
    ids = [firework["fw_id"] for firework in fireworks]
    n_added = len(ids)
    try:
        if documents:
            launchpad.fireworks.insert_many(fireworks)
            launchpad.workflows.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        problems = error.details["writeErrors"]
        if any(problem["code"] != _DUPLICATE for problem in problems):
            launchpad.fireworks.delete_many({"fw_id": {"$in": ids}})
            raise
        # Somebody else was faster with these.
        lost = [fw_id for problem in problems for fw_id in documents[problem["index"]]["nodes"]]
        launchpad.fireworks.delete_many({"fw_id": {"$in": lost}})
        n_added -= len(lost)
    except (DocumentTooLarge, OperationFailure) as error:
        launchpad.fireworks.delete_many({"fw_id": {"$in": ids}})
        raise InputError(
            f"a job of {new[0][1]['name']!r} carries more than 16 MB of input ({error}); let it read arrays from an earlier job's output"
        ) from error
    except BaseException:
        launchpad.fireworks.delete_many({"fw_id": {"$in": ids}, "state": "WAITING"})
        launchpad.workflows.delete_many({"nodes": {"$in": ids}})
        raise
    _ready_roots(launchpad, keys)
    return n_added


def prepare_database(launchpad: LaunchPad) -> None:
    """Make FireWorks' counters and all indexes, where they are not there yet. Nothing is ever deleted (``lpad reset`` is never needed)."""
    if launchpad.fw_id_assigner.find_one({}) is None:
        launchpad.fw_id_assigner.update_one(
            {"_id": -1}, {"$setOnInsert": {"next_fw_id": 1, "next_launch_id": 1}}, upsert=True
        )
    launchpad.tuneup()
    launchpad.fireworks.create_index(
        [("spec.mgflows.campaign", 1), ("spec.group", 1), ("state", 1)]
    )
    launchpad.fireworks.create_index("spec.submission", sparse=True)
    launchpad.fireworks.create_index([("spec.job_uuid", 1), ("state", 1), ("fw_id", 1)])
    # One workflow a submission, whoever else submits at the same time.
    launchpad.workflows.create_index(
        "metadata.submission",
        unique=True,
        partialFilterExpression={"metadata.submission": {"$exists": True}},
    )
    outputs = launchpad.db["outputs"]
    outputs.create_index([("uuid", 1), ("index", 1)], unique=True)
    outputs.create_index(
        [
            ("metadata.mgflows.campaign", 1),
            ("metadata.mgflows.stage", 1),
            ("metadata.mgflows.subset", 1),
        ]
    )
    launchpad.db["outputs_blobs.files"].create_index("metadata.blob_uuid")


def as_flow(flow: Flow | Job | Sequence[Flow | Job], allow_external_references: bool) -> Flow:
    """One complete flow of a Flow, a Job or several.

    Raises
    ------
    InputError
        If a job refers to one that is not there.
    """
    from jobflow import Flow
    from jobflow.core.flow import get_flow

    if not isinstance(flow, Flow):
        # A job belongs to one flow for ever, so that the caller's jobs stay free only if their copies are taken.
        jobs = copy.deepcopy(list(flow) if isinstance(flow, Sequence) else [flow])
        flow = Flow(jobs, name=jobs[0].name)
    try:
        return get_flow(flow, allow_external_references=allow_external_references)
    except ValueError as error:
        raise InputError(f"the flow is not complete: {error}") from error


def _compile(jobs: Iterable[tuple[Job, Sequence[str]]], name: str) -> Workflow:
    from fireworks import Firework, Workflow
    from jobflow import OnMissing

    from mgflows.launch.firetask import JobTask

    fireworks: dict[str, Firework] = {}
    campaigns = set()
    for job, parents in jobs:
        # With the first the firetask knows its firework and the LaunchPad; by the second others know whether this output is there.
        spec: dict[str, Any] = {"_add_launchpad_and_fw_id": True, "job_uuid": job.uuid}
        if job.config.on_missing_references != OnMissing.ERROR:
            spec["_allow_fizzled_parents"] = True
        spec.update(job.config.manager_config)
        spec.update(job.metadata)
        tags = job.metadata.get("mgflows", {})
        # One field, always there, so that progress can be counted in an index.
        spec["group"] = f"{tags.get('stage') or ''}/{tags.get('subset') or ''}"
        known = [fireworks[parent] for parent in parents if parent in fireworks]
        fireworks[job.uuid] = Firework(
            [JobTask(job=job)], spec=spec, name=job.name, parents=known or None
        )
        campaigns.add(tags.get("campaign"))
    campaign = campaigns.pop() if len(campaigns) == 1 else None
    return Workflow(
        list(fireworks.values()),
        name=name,
        metadata={"mgflows": {"campaign": campaign}} if campaign else {},
    )


def _number(
    key: str, compiled: dict[str, Any], first: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The documents of a workflow, as FireWorks writes them, with fireworks numbered from `first`."""
    now = datetime.now(UTC).replace(tzinfo=None)
    # FireWorks keeps times of fireworks as text and those of workflows as dates.
    times = {"created_on": now.isoformat(), "updated_on": now.isoformat()}
    fireworks = [
        {
            **firework,
            "fw_id": first + firework["fw_id"],
            "spec": {**firework["spec"], "submission": key},
            **times,
        }
        for firework in compiled["fireworks"]
    ]
    links = {
        str(first + int(parent)): [first + child for child in children]
        for parent, children in compiled["links"].items()
    }
    parent_links: dict[str, list[int]] = {}
    for parent, children in links.items():
        for child in children:
            parent_links.setdefault(str(child), []).append(int(parent))
    states = {
        str(f["fw_id"]): "WAITING" if str(f["fw_id"]) in parent_links else "READY"
        for f in fireworks
    }
    document = {
        "nodes": [firework["fw_id"] for firework in fireworks],
        "links": links,
        "parent_links": parent_links,
        "name": compiled["name"],
        "metadata": {**compiled["metadata"], "submission": key},
        "state": "READY",
        "fw_states": states,
        "created_on": now,
        "updated_on": now,
    }
    return fireworks, document


def _workflows(
    launchpad: LaunchPad, keys: list[str], fields: dict[str, int]
) -> list[dict[str, Any]]:
    return list(launchpad.workflows.find({"metadata.submission": {"$in": keys}}, fields))


def _ready_roots(launchpad: LaunchPad, keys: list[str]) -> None:
    """Let the workers have the fireworks that wait for nobody, and remove those of the same key that an earlier, killed submission left."""
    nodes: list[int] = []
    roots: list[int] = []
    for workflow in _workflows(launchpad, keys, {"nodes": 1, "parent_links": 1}):
        nodes += workflow["nodes"]
        roots += [
            fw_id for fw_id in workflow["nodes"] if str(fw_id) not in workflow["parent_links"]
        ]
    launchpad.fireworks.delete_many(
        {"spec.submission": {"$in": keys}, "fw_id": {"$nin": nodes}, "state": "WAITING"}
    )
    # One that was launched and waits again does so because of a rerun, which is FireWorks' to handle.
    never_launched: dict[str, list] = {"launches": [], "archived_launches": []}
    launchpad.fireworks.update_many(
        {"fw_id": {"$in": roots}, "state": "WAITING", **never_launched},
        {"$set": {"state": "READY"}},
    )
