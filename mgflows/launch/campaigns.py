"""Submit campaigns, and go on with them: each workflow is given to the workers as soon as what it needs is there.

A campaign is planned as a whole when it is submitted (:mod:`mgflows.launch.plan`) and its workflows are kept in the collection `planned`, compiled: a
later version of mgflows does not change what was planned. :func:`advance` moves those whose inputs have come into the LaunchPad. It holds no state of its own:
whoever calls it, wherever, however often, and killed at any point, the next call goes on.
"""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from mgflows.connections import check_database, open_database, open_launchpad
from mgflows.errors import InputError
from mgflows.launch.plan import MAX_FIREWORKS, jobs_of, plan_pieces
from mgflows.launch.workflows import as_flow, compile_piece, insert_once, prepare_database
from mgflows.schemas.campaign import CAMPAIGNS, PLANNED, CampaignDocument

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fireworks import LaunchPad
    from jobflow import Flow, Job
    from pymongo.database import Database

    from mgflows.flows.campaign import CampaignMaker
    from mgflows.settings import Settings

__all__ = ["Advance", "Submission", "advance", "register_campaign", "submit", "submit_campaign"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PLANS = "plans"

MINIMUM_FRACTION = 0.5
"""A job that may go on without some of its inputs does so if at least this fraction is there."""

_ACTIVE = ("READY", "RESERVED", "RUNNING")
_BATCH = 50
"""Workflows inserted at once."""


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
        Fireworks that this submission put into the LaunchPad: 0 if all that can run now was there.
    n_planned
        Jobs that wait for outputs of others, until `advance`.
    is_new
        Whether this submission planned the campaign (or this part of it); otherwise it was there.
    """

    campaign: str
    part: str
    n_added: int
    n_planned: int
    is_new: bool


@dataclass(frozen=True)
class Advance:
    """How a campaign went on.

    Attributes
    ----------
    campaign
        Its name.
    n_added
        Fireworks that came into the LaunchPad.
    n_planned
        Jobs that still wait.
    stopped
        Why some of them will not go on by themselves: a gate that did not pass, or inputs that failed. Reason to number of jobs.
    """

    campaign: str
    n_added: int
    n_planned: int
    stopped: dict[str, int]


def submit_campaign(
    maker: CampaignMaker | Sequence[CampaignMaker], settings: Settings
) -> list[Submission]:
    """Submit a campaign, or several, unless they are there already.

    Parameters
    ----------
    maker
        The campaign or campaigns; see :meth:`mgflows.flows.campaign.CampaignMaker.for_alloys`.
    settings
        Says where the database is.

    Returns
    -------
    list of Submission
        One for each campaign.

    Raises
    ------
    InputError
        If a campaign of the same name and other settings is there, two of the given ones have the same name, or one cannot work.
    ServiceError
        If the database does not answer.
    """
    makers = [maker] if not isinstance(maker, Sequence) else list(maker)
    for name, number in Counter(each.name for each in makers).items():
        if number > 1:
            raise InputError(
                f"{number} of the campaigns have the name {name!r}; give each a name of its own"
            )
    database = open_database(settings)
    try:
        submissions = []
        for each in makers:
            # Everything that can be wrong is found before anything is stored.
            flow = each.make()
            register_campaign(database, each.document(flow))
            submissions.append(submit(flow, settings, minimum_fraction=each.minimum_fraction))
        return submissions
    finally:
        database.client.close()


def register_campaign(database: Database, document: CampaignDocument) -> CampaignDocument:
    """Store a campaign, once; the stored document if it is there already.

    Parameters
    ----------
    database
        The pymongo database.
    document
        The campaign.

    Raises
    ------
    InputError
        If a campaign of this name but of other settings is there.
    """
    collection = database[CAMPAIGNS]
    collection.create_index("campaign", unique=True)
    collection.update_one(
        {"campaign": document.campaign}, {"$setOnInsert": document.model_dump()}, upsert=True
    )
    stored = CampaignDocument.model_validate(
        collection.find_one({"campaign": document.campaign}, {"_id": 0})
    )
    if stored.settings_digest != document.settings_digest:
        raise InputError(
            f"a campaign {document.campaign!r} of other settings exists since {stored.created_at} (settings {stored.settings_digest}, not "
            f"{document.settings_digest}); give the new one another name"
        )
    return stored


def submit(
    flow: Flow | Job | Sequence[Flow | Job],
    settings: Settings,
    *,
    part: str = "all",
    minimum_fraction: float = MINIMUM_FRACTION,
    max_fireworks: int = MAX_FIREWORKS,
) -> Submission:
    """Plan a flow and put what can run now into the LaunchPad, unless it is there already.

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
    minimum_fraction
        Jobs that may run without some of their inputs do so if at least this fraction of them is there.
    max_fireworks
        The most connected fireworks of one workflow.

    Raises
    ------
    InputError
        If the jobs name several campaigns, refer to outputs that are neither in the flow nor in the database, or carry too much input.
    ServiceError
        If the database does not answer.
    """
    first = flow[0] if isinstance(flow, Sequence) else flow
    flow = as_flow(flow, allow_external_references=True)
    campaign = _campaign_of(flow) or first.uuid
    check_database(settings)
    launchpad = open_launchpad(settings)
    try:
        prepare_database(launchpad)
        _prepare_plans(launchpad.db)
        key = f"{campaign}/{part}"
        is_new = False
        if launchpad.db[_PLANS].find_one({"_id": key}) is None:
            elsewhere = _check_external_references(flow, launchpad)
            is_new = _store_plan(
                launchpad.db, key, campaign, flow, minimum_fraction, max_fireworks, elsewhere
            )
        try:
            n_added, n_planned, _ = _advance(launchpad, campaign, accept_gate=False)
        except InputError:
            if is_new:
                launchpad.db[_PLANS].delete_one({"_id": key})
                launchpad.db[PLANNED].delete_many({"key": key})
            raise
    finally:
        launchpad.connection.close()
    logger.info(
        "campaign %s, %s: %d fireworks added, %d planned", campaign, part, n_added, n_planned
    )
    return Submission(campaign, part, n_added, n_planned, is_new)


def advance(
    settings: Settings,
    campaign: str | None = None,
    *,
    accept_gate: bool = False,
    wait_seconds: float = 5.0,
) -> list[Advance]:
    """Give the workers every planned workflow whose inputs are there.

    A workflow waits until each of its inputs is there or has failed. It goes on without failed ones if its jobs can and enough are there
    (the campaign's minimum); it stops, with a reason, otherwise, and behind a gate that did not pass. When failed jobs are run again, it goes on.

    Safe to call from anywhere at any time, also from several places at once.

    Parameters
    ----------
    settings
        Says where the database is.
    campaign
        Only this campaign; all that have something planned by default.
    accept_gate
        Go on although a gate did not pass. It is remembered.
    wait_seconds
        How long to wait for a database that does not answer, s.

    Returns
    -------
    list of Advance
        One for each campaign that had something planned.

    Raises
    ------
    ServiceError
        If the database does not answer.
    """
    check_database(settings, wait_seconds)
    launchpad = open_launchpad(settings, wait_seconds)
    try:
        names = (
            [campaign]
            if campaign
            else sorted(launchpad.db[PLANNED].distinct("campaign", {"state": {"$ne": "submitted"}}))
        )
        return [
            Advance(name, *_advance(launchpad, name, accept_gate=accept_gate)) for name in names
        ]
    finally:
        launchpad.connection.close()


def _prepare_plans(database: Database) -> None:
    planned = database[PLANNED]
    # The first also counts what is planned, for displays.
    planned.create_index([("campaign", 1), ("state", 1)])
    planned.create_index("key")
    planned.create_index("jobs")
    planned.create_index("waits_for")


def _campaign_of(flow: Flow) -> str | None:
    campaigns = {job.metadata.get("mgflows", {}).get("campaign") for job, _ in jobs_of(flow)}
    if len(campaigns) > 1:
        raise InputError(
            f"the jobs belong to several campaigns ({', '.join(sorted(map(str, campaigns)))}); submit one campaign at a time"
        )
    return campaigns.pop()


def _check_external_references(flow: Flow, launchpad: LaunchPad) -> set[str]:
    """Uuids of the outputs of others that the flow refers to; all are there, or there will be one from a job that is submitted or planned."""
    known = set(flow.job_uuids)
    elsewhere: set[str] = set()
    for job, _ in jobs_of(flow):
        for uuid_ in set(job.input_uuids) - known:
            if launchpad.db["outputs"].find_one({"uuid": uuid_}, {"_id": 1}) is None:
                raise InputError(
                    f"the job {job.name!r} needs the output of job {uuid_}, which is neither in this flow nor in the database; "
                    "submit it when that job is done"
                )
            known.add(uuid_)
            elsewhere.add(uuid_)
    return elsewhere


def _store_plan(
    database: Database,
    key: str,
    campaign: str,
    flow: Flow,
    minimum_fraction: float,
    max_fireworks: int,
    there: set[str],
) -> bool:
    """Write the plan down, all of it or nothing; False if somebody else was faster."""
    plan = uuid.uuid4().hex
    planned = database[PLANNED]

    def documents() -> Any:
        for number, piece in enumerate(plan_pieces(flow, max_fireworks)):
            waits_for = sorted(piece.inputs - there)
            yield {
                "_id": f"{key}/{plan}/{number}",
                "key": key,
                "plan": plan,
                "number": number,
                "campaign": campaign,
                "state": "draft",
                "reason": "",
                "stopped": False,
                "groups": piece.groups,
                "jobs": piece.uuids,
                "waits_for": waits_for,
                "n_inputs": len(waits_for),
                "required": sorted(piece.required - there),
                "minimum_fraction": minimum_fraction,
                "gate": piece.gate,
                "workflow": compile_piece(piece, flow.name),
            }

    from pymongo.errors import DocumentTooLarge, DuplicateKeyError, OperationFailure

    try:
        for batch in _batches(documents(), _BATCH):
            planned.insert_many(batch)
        # From here on the plan counts.
        database[_PLANS].insert_one({"_id": key, "plan": plan, "campaign": campaign})
    except BaseException as error:
        planned.delete_many({"key": key, "plan": plan})
        if isinstance(error, DuplicateKeyError):
            return False
        if isinstance(error, DocumentTooLarge | OperationFailure):
            raise InputError(
                f"a job of {flow.name!r} carries more than 16 MB of input ({error}); let it read arrays from an earlier job's output"
            ) from error
        raise
    return True


def _advance(
    launchpad: LaunchPad, campaign: str, *, accept_gate: bool
) -> tuple[int, int, dict[str, int]]:
    """Add what can run; number of fireworks added, number of jobs that still wait, and why some wait for ever."""
    database = launchpad.db
    planned = database[PLANNED]
    for plan in database[_PLANS].find({"campaign": campaign}):
        planned.update_many(
            {"key": plan["_id"], "plan": plan["plan"], "state": "draft"},
            {"$set": {"state": "planned"}},
        )
        # Left by a submission that was killed, or not as fast.
        planned.delete_many({"key": plan["_id"], "plan": {"$ne": plan["plan"]}})
    open_ = {"campaign": campaign, "state": "planned"}
    if accept_gate:
        planned.update_many(open_, {"$set": {"gate": None}})

    wanted = [
        row["_id"]
        for row in planned.aggregate(
            [{"$match": open_}, {"$unwind": "$waits_for"}, {"$group": {"_id": "$waits_for"}}]
        )
    ]
    done, failed = _settled(launchpad, wanted)
    for some in _batches(sorted(done), 1000):
        planned.update_many(
            {**open_, "waits_for": {"$in": some}}, {"$pull": {"waits_for": {"$in": some}}}
        )

    verdicts: dict[str, str] = {}
    ready: list[str] = []
    n_waiting, stopped = 0, Counter[str]()
    fields = [
        "jobs",
        "waits_for",
        "n_inputs",
        "required",
        "minimum_fraction",
        "gate",
        "reason",
        "number",
    ]
    # In the order of the plan, so that what failed is known before those are looked at that wait for it.
    for piece in planned.find(open_, fields).sort("number", 1):
        reason, for_ever = _why_wait(piece, failed)
        if not reason and piece["gate"]:
            if piece["gate"] not in verdicts:
                verdicts[piece["gate"]] = _verdict(launchpad, piece["gate"], failed)
            reason = verdicts[piece["gate"]]
            for_ever = not reason.startswith("waits")
        if not reason:
            ready.append(piece["_id"])
            continue
        n_waiting += len(piece["jobs"])
        if for_ever:
            stopped[reason] += len(piece["jobs"])
            failed |= set(piece["jobs"])
        if reason != piece["reason"]:
            planned.update_one(
                {"_id": piece["_id"]}, {"$set": {"reason": reason, "stopped": for_ever}}
            )

    n_added = 0
    for some in _batches(ready, _BATCH):
        # Somebody else may have submitted (and so emptied) some meanwhile.
        found = planned.find({"_id": {"$in": some}, "state": "planned"}, ["workflow"])
        n_added += insert_once(launchpad, [(piece["_id"], piece["workflow"]) for piece in found])
        planned.update_many(
            {"_id": {"$in": some}},
            {
                "$set": {"state": "submitted", "reason": "", "stopped": False},
                "$unset": {"workflow": "", "required": ""},
            },
        )
    return n_added, n_waiting, dict(stopped)


def _settled(launchpad: LaunchPad, wanted: list[str]) -> tuple[set[str], set[str]]:
    """Of the jobs asked for: those whose output is there, and those that failed or will never run."""
    states = _states(launchpad, wanted)
    # A job that replaced itself has several fireworks, of which the last one has its output. FireWorks writes the end of the first and the next ones
    # under the workflow's lock, but one by one: only a look after the lock is gone sees all of them.
    done = [job for job, found in states.items() if {state for _, state in found} <= {"COMPLETED"}]
    locked: set[int] = set()
    for some in _batches([fw_id for job in done for fw_id, _ in states[job]], 1000):
        locked |= {
            node
            for workflow in launchpad.workflows.find(
                {"nodes": {"$in": some}, "locked": True}, ["nodes"]
            )
            for node in workflow["nodes"]
        }
    states |= _states(launchpad, done)
    there, failed, unclear = set(), set(), []
    for job, found in states.items():
        kinds = {state for _, state in found}
        if kinds <= {"COMPLETED"}:
            if not any(fw_id in locked for fw_id, _ in found):
                there.add(job)
        elif kinds & {"FIZZLED", "DEFUSED", "ARCHIVED"} and not kinds & set(_ACTIVE):
            failed.add(job)
        else:
            unclear.append(job)
    # One that waits in a workflow where something failed, and nothing runs any more, waits for ever.
    job_of = {fw_id: job for job in unclear for fw_id, state in states[job] if state == "WAITING"}
    for some in _batches(list(job_of), 1000):
        query = {"nodes": {"$in": some}, "state": {"$in": ["FIZZLED", "DEFUSED"]}}
        for workflow in launchpad.workflows.find(query, ["nodes", "fw_states"]):
            if not set(workflow["fw_states"].values()) & set(_ACTIVE):
                failed |= {job_of[node] for node in workflow["nodes"] if node in job_of}
    return there, failed


def _states(launchpad: LaunchPad, wanted: Sequence[str]) -> dict[str, list[tuple[int, str]]]:
    """Number and state of the fireworks of each job, as far as there are any."""
    states: dict[str, list[tuple[int, str]]] = {}
    for some in _batches(wanted, 1000):
        query = {"spec.job_uuid": {"$in": some}}
        for firework in launchpad.fireworks.find(
            query, {"_id": 0, "spec.job_uuid": 1, "state": 1, "fw_id": 1}
        ):
            states.setdefault(firework["spec"]["job_uuid"], []).append(
                (firework["fw_id"], firework["state"])
            )
    return states


def _why_wait(piece: dict[str, Any], failed: set[str]) -> tuple[str, bool]:
    """Why a planned workflow cannot be submitted now (empty if it can), and whether that is for ever."""
    left = set(piece["waits_for"])
    lost = left & failed
    if needed := lost & set(piece["required"]):
        return f"{len(needed)} of the jobs it needs failed or do not go on", True
    if left - lost:
        return f"waits for {len(left - lost)} of {piece['n_inputs']} jobs", False
    there = piece["n_inputs"] - len(lost)
    if lost and there < max(piece["minimum_fraction"] * piece["n_inputs"], 1):
        return (
            f"{len(lost)} of {piece['n_inputs']} jobs before it failed or do not go on, and at least {piece['minimum_fraction']:.0%} must be there",
            True,
        )
    return "", False


def _verdict(launchpad: LaunchPad, gate: str, failed: set[str]) -> str:
    """Empty if a gate lets jobs pass; otherwise why not."""
    if gate in failed or _settled(launchpad, [gate])[1]:
        return "the gate before it failed"
    found = launchpad.db["outputs"].find_one(
        {"uuid": gate}, ["output.passed", "output.reason"], sort=[("index", -1)]
    )
    if found is None:
        return "waits for the gate before it"
    output = found.get("output") or {}
    return (
        ""
        if output.get("passed")
        else f"the gate before it is closed: {output.get('reason') or 'no reason given'}"
    )


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of at most `size`."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
