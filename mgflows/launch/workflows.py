"""Compile flows into FireWorks workflows and insert them into a LaunchPad, each exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mgflows.database.integrity import INDEXES, wrong_counters
from mgflows.errors import InputError
from mgflows.launch.firetask import as_flow, compile_jobs, to_workflow
from mgflows.launch.plan import MAX_FIREWORKS, plan_pieces
from mgflows.launch.processes import server_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

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
"""MongoDB's code for a duplicate value in a unique index."""


def to_workflows(
    flow: Flow | Job | Sequence[Flow | Job],
    *,
    allow_external_references: bool = False,
    max_fireworks: int = MAX_FIREWORKS,
) -> list[Workflow]:
    """Compile a flow into workflows, in an order in which they can run.

    They are those that :func:`mgflows.launch.submit` inserts. The spec of each firework gets the
    job's `manager_config` (such as `_category`, `_priority`) and its metadata, so that
    ``spec.mgflows.campaign`` and similar keys can be queried. It contains no store.

    Parameters
    ----------
    flow
        A jobflow Flow or Job, or several.
    allow_external_references
        Whether jobs may refer to outputs of jobs that are not in `flow`; these must be in the
        JobStore when the job runs.
    max_fireworks
        Largest number of connected fireworks in one workflow.

    Raises
    ------
    InputError
        If a job refers to a missing job, or a workflow would be too large.
    """
    flow = as_flow(flow, allow_external_references)
    return [compile_jobs(piece.jobs, flow.name) for piece in plan_pieces(flow, max_fireworks)]


def compile_piece(piece: Piece, name: str) -> dict[str, Any]:
    """Compile a piece into the stored form that `insert_once` takes.

    Returns
    -------
    dict
        The documents of the workflow and its fireworks, which are numbered from 0.
    """
    workflow = compile_jobs(piece.jobs, name)
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
    """Insert compiled workflows, each under a unique key.

    The order of the writes makes a kill at any point, and concurrent calls, safe: fireworks that no
    worker takes (WAITING), then their workflows, under a unique index, and then the roots become
    READY. A later call finishes or removes what an earlier one left.

    Parameters
    ----------
    launchpad
        The LaunchPad.
    workflows
        Pairs of a key and the result of `compile_piece`.

    Returns
    -------
    int
        Number of fireworks that were added.

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
    # The age of fireworks that are not in a workflow yet decides whether their submission died.
    now = server_time(launchpad.connection).replace(tzinfo=None)
    fireworks: list[dict[str, Any]] = []
    documents: list[dict[str, Any]] = []
    for key, compiled in new:
        numbered, document = _number(key, compiled, next_id, now)
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
        # Another process inserted these first.
        lost = [fw_id for problem in problems for fw_id in documents[problem["index"]]["nodes"]]
        launchpad.fireworks.delete_many({"fw_id": {"$in": lost}})
        n_added -= len(lost)
    except (DocumentTooLarge, OperationFailure) as error:
        launchpad.fireworks.delete_many({"fw_id": {"$in": ids}})
        raise InputError(
            f"a job of {new[0][1]['name']!r} carries more than 16 MB of input ({error})",
            hint="let it read arrays from an earlier job's output",
        ) from error
    except BaseException:
        launchpad.fireworks.delete_many({"fw_id": {"$in": ids}, "state": "WAITING"})
        launchpad.workflows.delete_many({"nodes": {"$in": ids}})
        raise
    _ready_roots(launchpad, keys)
    return n_added


def prepare_database(launchpad: LaunchPad) -> None:
    """Create FireWorks' counters and all indexes where they are missing or too small.

    Nothing is ever deleted; ``lpad reset`` is never needed.
    """
    launchpad.tuneup()
    for collection, keys, options in INDEXES:
        launchpad.db[collection].create_index(keys, **options)
    for counter, least in wrong_counters(launchpad.db).items():
        # `lpad reset` starts again at 1; later launches have larger ids than stored outputs.
        launchpad.fw_id_assigner.update_one({}, {"$max": {counter: least}}, upsert=True)


def _number(
    key: str, compiled: dict[str, Any], first: int, now: datetime
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The documents of a workflow in FireWorks' form, with fireworks numbered from `first`."""
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
    """Make fireworks without parents READY and remove remains of killed submissions."""
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
    # One that was launched and waits again is part of a rerun, which FireWorks handles.
    never_launched: dict[str, list] = {"launches": [], "archived_launches": []}
    launchpad.fireworks.update_many(
        {"fw_id": {"$in": roots}, "state": "WAITING", **never_launched},
        {"$set": {"state": "READY"}},
    )
