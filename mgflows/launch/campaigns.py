"""Submit campaigns and advance them: each workflow starts as soon as its inputs are available.

A campaign is planned as a whole when it is submitted (:mod:`mgflows.launch.plan`). Its workflows
are kept in the collection ``planned``, compiled: a later version of mgflows does not change them.
:func:`advance` moves those whose inputs have arrived into the LaunchPad. It keeps no state:
it may be called from anywhere, at any time, and after a kill at any point the next call continues.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mgflows.connections import check_database, open_database, open_launchpad
from mgflows.database.campaigns import store_campaign
from mgflows.database.planned import batches, deleted_jobs
from mgflows.database.progress import require_campaign
from mgflows.errors import InputError
from mgflows.flows.campaign_settings import differing_settings
from mgflows.launch.advancing import (
    PLANS,
    WORKFLOWS_AT_ONCE,
    advance_campaign,
    small_batches,
)
from mgflows.launch.plan import MAX_FIREWORKS, jobs_of, plan_pieces
from mgflows.launch.workflows import as_flow, compile_piece, insert_once, prepare_database
from mgflows.schemas.campaign import PLANNED, CampaignDocument

if TYPE_CHECKING:
    from fireworks import LaunchPad
    from jobflow import Flow, Job
    from pymongo.database import Database

    from mgflows.flows.campaign import CampaignMaker
    from mgflows.settings import Settings

__all__ = [
    "Advance",
    "Submission",
    "advance",
    "register_campaign",
    "restore_deleted",
    "submit",
    "submit_campaign",
]

logger = logging.getLogger(__name__)

MINIMUM_FRACTION = 0.5
"""A job that tolerates missing inputs starts if at least this fraction of them is available."""

_SHOWN = 5
"""Number of differing settings that an error names."""


@dataclass(frozen=True)
class Submission:
    """The result of a submission.

    Attributes
    ----------
    campaign
        The campaign, or the flow's uuid if the jobs name no campaign.
    part
        The part of the campaign.
    n_added
        Fireworks that this submission put into the LaunchPad: 0 if all that can run now are there.
    n_planned
        Jobs that wait for outputs of others, until `advance`.
    is_new
        Whether this submission planned the campaign (or this part of it).
    """

    campaign: str
    part: str
    n_added: int
    n_planned: int
    is_new: bool


@dataclass(frozen=True)
class Advance:
    """The result of advancing a campaign.

    Attributes
    ----------
    campaign
        Name of the campaign.
    n_added
        Fireworks that were put into the LaunchPad.
    n_planned
        Jobs that still wait.
    stopped
        Reason to number of jobs that will not start: a closed gate, or inputs that failed or were
        deleted.
    """

    campaign: str
    n_added: int
    n_planned: int
    stopped: dict[str, int]


def submit_campaign(
    maker: CampaignMaker | Sequence[CampaignMaker], settings: Settings
) -> list[Submission]:
    """Submit one campaign or several; a campaign that is already in the database is continued.

    Parameters
    ----------
    maker
        The campaign or campaigns; see :meth:`mgflows.flows.campaign.CampaignMaker.for_alloys`.
    settings
        Settings that name the database.

    Returns
    -------
    list of Submission
        One for each campaign.

    Raises
    ------
    InputError
        If a campaign of the same name and other settings exists, two of the given ones have the
        same name, or one cannot work.
    ServiceError
        If the database does not answer.
    """
    makers = [maker] if not isinstance(maker, Sequence) else list(maker)
    for name, number in Counter(each.name for each in makers).items():
        if number > 1:
            raise InputError(
                f"{number} of the campaigns have the name {name!r}", hint="rename them"
            )
    database = open_database(settings)
    try:
        submissions = []
        for each in makers:
            # All errors are found before anything is stored.
            flow = each.make()
            register_campaign(database, each.document(flow))
            submissions.append(submit(flow, settings, minimum_fraction=each.minimum_fraction))
        return submissions
    finally:
        database.client.close()


def register_campaign(database: Database, document: CampaignDocument) -> CampaignDocument:
    """Store a campaign once; return the stored document.

    Parameters
    ----------
    database
        The pymongo database.
    document
        The campaign.

    Raises
    ------
    InputError
        If a campaign of this name but of other settings exists; the message has those that differ.
    """
    stored = store_campaign(database, document)
    if stored.settings_digest == document.settings_digest:
        return stored
    # Digests also differ where an earlier version encoded the same settings in another way.
    if found := differing_settings(stored.settings, document.settings):
        more = f"; {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise InputError(
            f"a campaign {document.campaign!r} of other settings exists since {stored.created_at}, "
            f"submitted by mgflows {stored.mgflows_version} ({'; '.join(found[:_SHOWN])}{more})",
            hint="give the new one another name, continue the stored one with: mgflows advance "
            f"{document.campaign}, or change it with: mgflows extend, retrain, revalidate",
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
    """Plan a flow and put the jobs that can run now into the LaunchPad.

    A submission is identified by the campaign in the jobs' metadata and by `part`: submitting the
    same part of the same campaign again adds nothing, even from a new flow object, from two places
    at once, or after a submission that was killed before its end; fireworks that were deleted in
    the meantime are restored. Jobs without a campaign are identified by their flow's uuid.

    Parameters
    ----------
    flow
        A jobflow Flow or Job, or several. References to outputs in the JobStore are allowed.
    settings
        Settings that name the database.
    part
        Name of this part of the campaign.
    minimum_fraction
        Jobs that tolerate missing inputs start if at least this fraction of them is available.
    max_fireworks
        Largest number of connected fireworks in one workflow.

    Raises
    ------
    InputError
        If the jobs name several campaigns, refer to outputs that are neither in the flow nor in the
        database, or carry too much input.
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
        if launchpad.db[PLANS].find_one({"_id": key}) is None:
            elsewhere = _check_external_references(flow, launchpad)
            is_new = _store_plan(
                launchpad.db, key, campaign, flow, minimum_fraction, max_fireworks, elsewhere
            )
        try:
            n_restored = 0 if is_new else restore_deleted(launchpad, campaign)
            n_added, n_planned, _ = advance_campaign(launchpad, campaign, accept_gate=False)
            n_added += n_restored
        except InputError:
            if is_new:
                launchpad.db[PLANS].delete_one({"_id": key})
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
    """Put every planned workflow whose inputs are available into the LaunchPad.

    A workflow waits until each of its inputs is available or has failed. It starts without failed
    ones if its jobs tolerate that and enough inputs are available (the campaign's minimum);
    otherwise, and behind a closed gate, it stops with a reason. It continues when failed jobs are
    rerun.

    Safe to call from anywhere at any time, also from several places at once.

    Parameters
    ----------
    settings
        Settings that name the database.
    campaign
        Only this campaign; by default all with planned jobs.
    accept_gate
        Continue in spite of closed gates: of the surrogate's fitness, or of a potential that failed
        its acceptance tests. This is stored; gates whose verdict is pending are not opened.
    wait_seconds
        Longest wait for the database, s.

    Returns
    -------
    list of Advance
        One for each campaign with planned jobs.

    Raises
    ------
    InputError
        If there is no such campaign.
    ServiceError
        If the database does not answer.
    """
    check_database(settings, wait_seconds)
    launchpad = open_launchpad(settings, wait_seconds)
    try:
        if campaign:
            require_campaign(launchpad.db, campaign)
        names = (
            [campaign]
            if campaign
            else sorted(launchpad.db[PLANNED].distinct("campaign", {"state": {"$ne": "submitted"}}))
        )
        return [
            Advance(name, *advance_campaign(launchpad, name, accept_gate=accept_gate))
            for name in names
        ]
    finally:
        launchpad.connection.close()


def restore_deleted(launchpad: LaunchPad, campaign: str) -> int:
    """Insert submitted jobs again that were deleted from the LaunchPad without an output.

    Jobs whose output is stored are not run again. Safe to call from several places at once.

    Parameters
    ----------
    launchpad
        The LaunchPad.
    campaign
        Name of the campaign.

    Returns
    -------
    int
        Number of fireworks that were added. Plans of mgflows 0.1 do not keep submitted workflows,
        so that their jobs cannot be restored.
    """
    deleted = deleted_jobs(launchpad.db, campaign)
    pieces = sorted({piece for found in deleted.values() for piece in found})
    if pieces:
        # After `lpad reset` the indexes are missing as well.
        prepare_database(launchpad)
    n_added = 0
    for some in batches(pieces, WORKFLOWS_AT_ONCE):
        workflows = []
        for piece in launchpad.db[PLANNED].find({"_id": {"$in": some}}, ["workflow"]):
            if "workflow" in piece:
                key = f"{piece['_id']}/restored"
                earlier = launchpad.workflows.count_documents(
                    {"metadata.submission": {"$regex": f"^{re.escape(key)}"}}
                )
                part = _part_of(piece["workflow"], set(deleted))
                workflows.append((f"{key}{earlier}", part))
        n_added += insert_once(launchpad, workflows)
    return n_added


def _part_of(workflow: dict[str, Any], jobs: set[str]) -> dict[str, Any]:
    """The part of a compiled workflow that contains some of its jobs, numbered from 0."""
    kept = [fw for fw in workflow["fireworks"] if fw["spec"]["job_uuid"] in jobs]
    position = {firework["fw_id"]: number for number, firework in enumerate(kept)}
    links = {
        str(position[int(parent)]): [position[child] for child in children if child in position]
        for parent, children in workflow["links"].items()
        if int(parent) in position
    }
    return {
        **workflow,
        "fireworks": [{**fw, "fw_id": position[fw["fw_id"]]} for fw in kept],
        "links": links,
    }


def _prepare_plans(database: Database) -> None:
    planned = database[PLANNED]
    # The first is also used to count planned jobs for displays.
    planned.create_index([("campaign", 1), ("state", 1)])
    planned.create_index("key")
    planned.create_index("jobs")
    planned.create_index("waits_for")


def _campaign_of(flow: Flow) -> str | None:
    campaigns = {job.metadata.get("mgflows", {}).get("campaign") for job, _ in jobs_of(flow)}
    if len(campaigns) > 1:
        raise InputError(
            f"the jobs belong to several campaigns ({', '.join(sorted(map(str, campaigns)))})",
            hint="submit one campaign at a time",
        )
    return campaigns.pop()


def _check_external_references(flow: Flow, launchpad: LaunchPad) -> set[str]:
    """Uuids of the stored outputs of other flows that the flow refers to."""
    known = set(flow.job_uuids)
    elsewhere: set[str] = set()
    for job, _ in jobs_of(flow):
        for uuid_ in set(job.input_uuids) - known:
            if launchpad.db["outputs"].find_one({"uuid": uuid_}, {"_id": 1}) is None:
                raise InputError(
                    f"the job {job.name!r} needs the output of job {uuid_}, which is neither in "
                    "this flow nor in the database",
                    hint="submit it when that job is done",
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
    available: set[str],
) -> bool:
    """Store the plan, completely or not at all; False if another process stored it first."""
    plan = uuid.uuid4().hex
    planned = database[PLANNED]

    def documents() -> Any:
        for number, piece in enumerate(plan_pieces(flow, max_fireworks)):
            waits_for = sorted(piece.inputs - available)
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
                "required": sorted(piece.required - available),
                "minimum_fraction": minimum_fraction,
                "gate": piece.gate,
                "workflow": compile_piece(piece, flow.name),
            }

    from pymongo.errors import DocumentTooLarge, DuplicateKeyError, OperationFailure

    try:
        for batch in small_batches(documents(), lambda document: len(document["jobs"])):
            planned.insert_many(batch)
        # From here on the plan is valid.
        database[PLANS].insert_one({"_id": key, "plan": plan, "campaign": campaign})
    except BaseException as error:
        planned.delete_many({"key": key, "plan": plan})
        if isinstance(error, DuplicateKeyError):
            return False
        if isinstance(error, DocumentTooLarge | OperationFailure):
            raise InputError(
                f"a job of {flow.name!r} carries more than 16 MB of input ({error})",
                hint="let it read arrays from an earlier job's output",
            ) from error
        raise
    return True
