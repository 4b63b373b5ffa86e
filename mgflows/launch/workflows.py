"""Compile jobflow flows into FireWorks workflows, and submit them once, however often they are submitted.

A FireWorks workflow is one connected piece of a flow: FireWorks cannot link fireworks of different workflows. Every change of a workflow
rewrites its document under a lock, which takes up to a second at 10^4 fireworks, so that a piece has at most `MAX_FIREWORKS`. A campaign
beyond that is submitted in parts (stages): jobs of a later part refer to outputs of an earlier one, which must be there by then.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mgflows.errors import InputError

if TYPE_CHECKING:
    from fireworks import LaunchPad, Workflow
    from jobflow import Flow, Job

    from mgflows.settings import Settings

logger = logging.getLogger(__name__)

MAX_FIREWORKS = 1000


@dataclass(frozen=True)
class Submission:
    """What a submission did.

    Attributes
    ----------
    campaign
        The campaign, or the flow's uuid where the jobs name no campaign.
    part
        Which part of the campaign.
    n_added
        Fireworks that this submission added: 0 if all were there.
    n_present
        Fireworks of the same part that were there before.
    fw_ids
        All of them.
    """

    campaign: str
    part: str
    n_added: int
    n_present: int
    fw_ids: tuple[int, ...]


def to_workflows(
    flow: Flow | Job | Sequence[Flow | Job], *, allow_external_references: bool = False, max_fireworks: int = MAX_FIREWORKS
) -> list[Workflow]:
    """Compile a flow, one workflow for each connected piece of it.

    Each firework's spec gets the job's `manager_config` (such as `_category`, `_priority`) and its metadata, so that
    ``spec.mgflows.campaign`` and the like can be queried. No store goes into it.

    Parameters
    ----------
    flow
        A jobflow Flow or Job, or several.
    allow_external_references
        Whether jobs may refer to outputs of jobs that are not in `flow`; they must be in the JobStore when the job runs.
    max_fireworks
        The most fireworks of one workflow.

    Returns
    -------
    list of Workflow
        In the order of the flow.

    Raises
    ------
    InputError
        If a job refers to one that is not there, or a piece is too large.
    """
    flow = _as_flow(flow, allow_external_references)
    jobs = [(job, list(parents or [])) for job, parents in flow.iterflow()]
    workflows = []
    for piece in _connected_pieces({job.uuid: parents for job, parents in jobs}):
        if len(piece) > max_fireworks:
            raise InputError(
                f"the flow {flow.name!r} has {len(piece)} connected jobs and one workflow holds at most {max_fireworks}; submit the campaign "
                "stage by stage (submit(..., part=...)), or give each job a larger share"
            )
        workflows.append(_compile([(job, parents) for job, parents in jobs if job.uuid in piece], flow.name))
    return workflows


def to_workflow(flow: Flow | Job, *, allow_external_references: bool = False) -> Workflow:
    """Compile a flow into one workflow, of whatever size and in however many pieces; FireWorks wants that of dynamic jobs.

    Raises
    ------
    InputError
        If a job refers to one that is not there.
    """
    flow = _as_flow(flow, allow_external_references)
    return _compile([(job, list(parents or [])) for job, parents in flow.iterflow()], flow.name)


def submit(
    flow: Flow | Job | Sequence[Flow | Job], settings: Settings, *, part: str = "all", max_fireworks: int = MAX_FIREWORKS
) -> Submission:
    """Put a flow into the LaunchPad, unless it is there already.

    What counts is the campaign that the jobs' metadata name and `part`: submitting the same part of the same campaign again adds nothing,
    even from a flow made anew, from two places at once, or after a submission that was killed half way. Jobs without a campaign
    are known by their flow's uuid.

    Parameters
    ----------
    flow
        A jobflow Flow or Job, or several. References to outputs that are in the JobStore are allowed.
    settings
        Says where the database is.
    part
        Name of this part of the campaign.
    max_fireworks
        The most fireworks of one workflow.

    Raises
    ------
    InputError
        If the jobs name several campaigns, refer to outputs that are neither in the flow nor in the JobStore, or carry too much input.
    ServiceError
        If the database does not answer.
    """
    first = flow[0] if isinstance(flow, Sequence) else flow
    flow = _as_flow(flow, allow_external_references=True)
    campaign = _campaign_of(flow) or first.uuid
    workflows = to_workflows(flow, allow_external_references=True, max_fireworks=max_fireworks)
    settings.check_database()
    launchpad = settings.launchpad()
    present: list[int] = []
    added: list[int] = []
    try:
        prepare_database(launchpad)
        _check_external_references(flow, launchpad)
        keys = [f"{campaign}/{part}/{number}" for number in range(len(workflows))]
        try:
            for key, workflow in zip(keys, workflows, strict=True):
                is_new, ids = _add_once(launchpad, workflow, key)
                (added if is_new else present).extend(ids)
        except InputError:
            launchpad.workflows.delete_many({"metadata.submission": {"$in": keys}, "nodes": {"$in": added}})
            launchpad.fireworks.delete_many({"fw_id": {"$in": added}})
            raise
        _ready_roots(launchpad, keys)
    finally:
        launchpad.connection.close()
    logger.info("campaign %s, %s: %d fireworks added, %d were there", campaign, part, len(added), len(present))
    return Submission(campaign, part, len(added), len(present), tuple(sorted(added + present)))


def prepare_database(launchpad: LaunchPad) -> None:
    """Make FireWorks' counters and all indexes, where they are not there yet. Nothing is ever deleted (``lpad reset`` is never needed)."""
    if launchpad.fw_id_assigner.find_one({}) is None:
        launchpad.fw_id_assigner.update_one({"_id": -1}, {"$setOnInsert": {"next_fw_id": 1, "next_launch_id": 1}}, upsert=True)
    launchpad.tuneup()
    group = [f"spec.mgflows.{name}" for name in ("campaign", "stage", "subset")]
    launchpad.fireworks.create_index([(name, 1) for name in (*group, "state")])
    launchpad.fireworks.create_index("spec.submission", sparse=True)
    # One workflow a submission, whoever else submits at the same time.
    launchpad.workflows.create_index("metadata.submission", unique=True, partialFilterExpression={"metadata.submission": {"$exists": True}})
    outputs = launchpad.db["outputs"]
    outputs.create_index([("uuid", 1), ("index", 1)], unique=True)
    outputs.create_index([("metadata.mgflows.campaign", 1), ("metadata.mgflows.stage", 1), ("metadata.mgflows.subset", 1)])
    launchpad.db["outputs_blobs.files"].create_index("metadata.blob_uuid")


def _as_flow(flow: Flow | Job | Sequence[Flow | Job], allow_external_references: bool) -> Flow:
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


def _compile(jobs: list[tuple[Job, list[str]]], name: str) -> Workflow:
    from fireworks import Firework, Workflow
    from jobflow import OnMissing

    from mgflows.launch.firetask import JobTask

    fireworks: dict[str, Firework] = {}
    for job, parents in jobs:
        # With it the firetask knows its firework and the LaunchPad.
        spec: dict[str, Any] = {"_add_launchpad_and_fw_id": True}
        if job.config.on_missing_references != OnMissing.ERROR:
            spec["_allow_fizzled_parents"] = True
        spec.update(job.config.manager_config)
        spec.update(job.metadata)
        known = [fireworks[parent] for parent in parents if parent in fireworks]
        fireworks[job.uuid] = Firework([JobTask(job=job)], spec=spec, name=job.name, parents=known or None)
    campaigns = {job.metadata["mgflows"]["campaign"] for job, _ in jobs if "campaign" in job.metadata.get("mgflows", {})}
    metadata = {"mgflows": {"campaign": campaigns.pop()}} if len(campaigns) == 1 else {}
    return Workflow(list(fireworks.values()), name=name, metadata=metadata)


def _connected_pieces(parents_of: dict[str, list[str]]) -> list[set[str]]:
    """Split a graph, given by the parents of each node, into its connected components."""
    neighbours: dict[str, set[str]] = {node: set() for node in parents_of}
    for node, parents in parents_of.items():
        for parent in parents:
            if parent in neighbours:
                neighbours[node].add(parent)
                neighbours[parent].add(node)
    pieces: list[set[str]] = []
    seen: set[str] = set()
    for start in neighbours:
        if start in seen:
            continue
        piece, border = {start}, [start]
        while border:
            new = neighbours[border.pop()] - piece
            piece |= new
            border += new
        seen |= piece
        pieces.append(piece)
    return pieces


def _campaign_of(flow: Flow) -> str | None:
    campaigns = {job.metadata.get("mgflows", {}).get("campaign") for job, _ in flow.iterflow()}
    if len(campaigns) > 1:
        raise InputError(f"the jobs belong to several campaigns ({', '.join(sorted(map(str, campaigns)))}); submit one campaign at a time")
    return campaigns.pop()


def _check_external_references(flow: Flow, launchpad: LaunchPad) -> None:
    known = set(flow.job_uuids)
    for job, _ in flow.iterflow():
        for uuid in set(job.input_uuids) - known:
            if launchpad.db["outputs"].find_one({"uuid": uuid}, {"_id": 1}) is None:
                raise InputError(
                    f"the job {job.name!r} needs the output of job {uuid}, which is neither in this flow nor in the database; "
                    "submit it when that job is done"
                )
            known.add(uuid)


def _add_once(launchpad: LaunchPad, workflow: Workflow, key: str) -> tuple[bool, list[int]]:
    """Insert a workflow unless one with this key is there; whether it was inserted, and the ids of its fireworks.

    The order makes it safe to be killed anywhere: fireworks that no worker takes (WAITING), then the workflow, under a unique
    index, and when all are there, the roots become READY. The next submission finishes or cleans what an earlier one left.
    """
    from pymongo.errors import DocumentTooLarge, DuplicateKeyError, OperationFailure

    if (present := _present(launchpad, key)) is not None:
        return False, present

    # FireWorks numbers downwards from -1 in the order of creation.
    ordered = sorted(workflow.id_fw.values(), key=lambda firework: -firework.fw_id)
    first = launchpad.get_new_fw_id(quantity=len(ordered))
    old_new = {}
    for new_id, firework in enumerate(ordered, start=first):
        old_new[firework.fw_id] = new_id
        firework.fw_id = new_id
        firework.spec["submission"] = key
    workflow._reassign_ids(old_new)
    workflow.metadata["submission"] = key
    ids = sorted(workflow.id_fw)
    try:
        launchpad.fireworks.insert_many(firework.to_db_dict() for firework in ordered)
        for fw_id in workflow.root_fw_ids:
            workflow.fw_states[fw_id] = "READY"
        launchpad.workflows.insert_one(workflow.to_db_dict())
    except BaseException as error:
        launchpad.fireworks.delete_many({"fw_id": {"$in": ids}})
        if isinstance(error, DuplicateKeyError):
            return _add_once(launchpad, workflow, key)
        if isinstance(error, DocumentTooLarge | OperationFailure):
            raise InputError(
                f"a job of {workflow.name!r} carries more than 16 MB of input ({error}); let it read arrays from an earlier job's output"
            ) from error
        raise
    _present(launchpad, key)
    return True, ids


def _present(launchpad: LaunchPad, key: str) -> list[int] | None:
    """The fireworks of the workflow with this key, if there is one; those that an earlier submission left outside of it are removed."""
    workflow = launchpad.workflows.find_one({"metadata.submission": key}, {"nodes": 1})
    if workflow is None:
        return None
    launchpad.fireworks.delete_many({"spec.submission": key, "fw_id": {"$nin": workflow["nodes"]}, "state": "WAITING"})
    return sorted(workflow["nodes"])


def _ready_roots(launchpad: LaunchPad, keys: list[str]) -> None:
    """Let the workers have the fireworks that wait for nobody."""
    roots: list[int] = []
    for workflow in launchpad.workflows.find({"metadata.submission": {"$in": keys}}, {"nodes": 1, "parent_links": 1}):
        roots += [fw_id for fw_id in workflow["nodes"] if str(fw_id) not in workflow["parent_links"]]
    # One that was launched and waits again does so because of a rerun, which is FireWorks' to handle.
    never_launched: dict[str, list] = {"launches": [], "archived_launches": []}
    launchpad.fireworks.update_many({"fw_id": {"$in": roots}, "state": "WAITING", **never_launched}, {"$set": {"state": "READY"}})
