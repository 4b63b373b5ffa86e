"""Move planned workflows whose inputs are available into the LaunchPad."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

from mgflows.database.planned import batches, finished_jobs
from mgflows.database.progress import ACTIVE
from mgflows.launch.workflows import insert_once
from mgflows.schemas.campaign import PLANNED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from fireworks import LaunchPad

__all__ = ["PLANS", "WORKFLOWS_AT_ONCE", "advance_campaign", "small_batches"]

T = TypeVar("T")
PLANS = "plans"
"""Collection of the plans of campaigns."""

WORKFLOWS_AT_ONCE = 50
"""Number of workflows that are inserted at once, if they have few jobs."""
_BATCH_JOBS = 200
"""Number of jobs that are inserted at once; one with a structure of 150 atoms takes about 0.5 MB
in memory."""


def advance_campaign(
    launchpad: LaunchPad, campaign: str, *, accept_gate: bool
) -> tuple[int, int, dict[str, int]]:
    """Submit runnable pieces; return counts of added and waiting jobs, and reasons of blocks."""
    database = launchpad.db
    planned = database[PLANNED]
    for plan in database[PLANS].find({"campaign": campaign}):
        planned.update_many(
            {"key": plan["_id"], "plan": plan["plan"], "state": "draft"},
            {"$set": {"state": "planned"}},
        )
        # Left by a killed submission, or by the second of two.
        planned.delete_many({"key": plan["_id"], "plan": {"$ne": plan["plan"]}})
    open_ = {"campaign": campaign, "state": "planned"}
    if accept_gate:
        # Not those whose verdict is still pending.
        gates = [gate for gate in planned.distinct("gate", open_) if gate is not None]
        closed = [gate for gate in gates if _verdict(launchpad, gate, set(), campaign)[1]]
        planned.update_many({**open_, "gate": {"$in": closed}}, {"$set": {"gate": None}})

    wanted = [
        row["_id"]
        for row in planned.aggregate(
            [{"$match": open_}, {"$unwind": "$waits_for"}, {"$group": {"_id": "$waits_for"}}]
        )
    ]
    done, failed, deleted = _settled(launchpad, wanted)
    for some in batches(sorted(done), 1000):
        planned.update_many(
            {**open_, "waits_for": {"$in": some}}, {"$pull": {"waits_for": {"$in": some}}}
        )

    verdicts: dict[str, tuple[str, bool]] = {}
    ready: list[tuple[str, int]] = []
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
    # In the order of the plan: inputs come before the pieces that wait for them.
    for piece in planned.find(open_, fields).sort("number", 1):
        reason, is_blocked = _why_wait(piece, failed, deleted, campaign)
        if not reason and piece["gate"]:
            if piece["gate"] not in verdicts:
                verdicts[piece["gate"]] = _verdict(launchpad, piece["gate"], failed, campaign)
            reason, is_blocked = verdicts[piece["gate"]]
        if not reason:
            ready.append((piece["_id"], len(piece["jobs"])))
            continue
        n_waiting += len(piece["jobs"])
        if is_blocked:
            stopped[reason] += len(piece["jobs"])
            failed |= set(piece["jobs"])
        if reason != piece["reason"]:
            planned.update_one(
                {"_id": piece["_id"]}, {"$set": {"reason": reason, "stopped": is_blocked}}
            )

    n_added = 0
    for batch in small_batches(ready, lambda piece: piece[1]):
        some = [_id for _id, _ in batch]
        # Another process may have submitted some in the meantime.
        found = planned.find({"_id": {"$in": some}, "state": "planned"}, ["workflow"])
        n_added += insert_once(launchpad, [(piece["_id"], piece["workflow"]) for piece in found])
        planned.update_many(
            {"_id": {"$in": some}},
            {"$set": {"state": "submitted", "reason": "", "stopped": False}},
        )
    return n_added, n_waiting, dict(stopped)


def small_batches(items: Iterable[T], n_jobs: Callable[[T], int]) -> Iterator[list[T]]:
    """Return the items in lists that fit in memory."""
    batch: list[T] = []
    total = 0
    for item in items:
        if batch and (len(batch) == WORKFLOWS_AT_ONCE or total + n_jobs(item) > _BATCH_JOBS):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += n_jobs(item)
    if batch:
        yield batch


def _settled(launchpad: LaunchPad, wanted: list[str]) -> tuple[set[str], set[str], set[str]]:
    """Jobs whose output is stored, jobs that failed or are blocked, and deleted jobs."""
    states = _states(launchpad, wanted)
    # A job that replaced itself has several fireworks, of which the last one has its output.
    # FireWorks writes the end of the first and the next ones under the workflow's lock, but one by
    # one: all of them are visible only when the lock is gone.
    done = [job for job, found in states.items() if {state for _, state in found} <= {"COMPLETED"}]
    locked: set[int] = set()
    for some in batches([fw_id for job in done for fw_id, _ in states[job]], 1000):
        locked |= {
            node
            for workflow in launchpad.workflows.find(
                {"nodes": {"$in": some}, "locked": True}, ["nodes"]
            )
            for node in workflow["nodes"]
        }
    states |= _states(launchpad, done)
    stored, failed, unclear = set(), set(), []
    for job, found in states.items():
        kinds = {state for _, state in found}
        if kinds <= {"COMPLETED"}:
            if not any(fw_id in locked for fw_id, _ in found):
                stored.add(job)
        elif kinds & {"FIZZLED", "DEFUSED", "ARCHIVED"} and not kinds & set(ACTIVE):
            failed.add(job)
        else:
            unclear.append(job)
    # One that waits in a workflow where a firework failed and none is active is blocked.
    job_of = {fw_id: job for job in unclear for fw_id, state in states[job] if state == "WAITING"}
    for some in batches(list(job_of), 1000):
        query = {"nodes": {"$in": some}, "state": {"$in": ["FIZZLED", "DEFUSED"]}}
        for workflow in launchpad.workflows.find(query, ["nodes", "fw_states"]):
            if not set(workflow["fw_states"].values()) & set(ACTIVE):
                failed |= {job_of[node] for node in workflow["nodes"] if node in job_of}
    absent = [job for job in wanted if job not in states]
    finished = finished_jobs(launchpad.db, absent)
    absent = [job for job in absent if job not in finished]
    # Fireworks are inserted before a piece becomes `submitted`.
    deleted = {
        job
        for some in batches(absent)
        for piece in launchpad.db[PLANNED].find(
            {"jobs": {"$in": some}, "state": "submitted"}, ["jobs"]
        )
        for job in piece["jobs"]
    } & set(absent)
    # A job that is COMPLETED may have lost its output.
    for jobs in batches(sorted(stored), 1000):
        deleted |= set(jobs) - set(
            launchpad.db["outputs"].distinct("uuid", {"uuid": {"$in": jobs}})
        )
    return (stored | finished) - deleted, failed, deleted


def _states(launchpad: LaunchPad, wanted: Sequence[str]) -> dict[str, list[tuple[int, str]]]:
    """Number and state of the fireworks of each job that has any."""
    states: dict[str, list[tuple[int, str]]] = {}
    for some in batches(wanted, 1000):
        query = {"spec.job_uuid": {"$in": some}}
        for firework in launchpad.fireworks.find(
            query, {"_id": 0, "spec.job_uuid": 1, "state": 1, "fw_id": 1}
        ):
            states.setdefault(firework["spec"]["job_uuid"], []).append(
                (firework["fw_id"], firework["state"])
            )
    return states


def _why_wait(
    piece: dict[str, Any], failed: set[str], deleted: set[str], campaign: str
) -> tuple[str, bool]:
    """Why a planned workflow cannot be submitted yet (or ""), and whether it is blocked."""
    left = set(piece["waits_for"])
    lost, gone = left & failed, left & deleted
    if gone:
        reason = (
            f"{len(gone)} of {piece['n_inputs']} upstream jobs were deleted from the LaunchPad "
            "(lpad delete_wflows or reset) or have lost their output; restore them with: "
            f"mgflows heal {campaign} --yes"
        )
        return reason, True
    if needed := lost & set(piece["required"]):
        return f"{len(needed)} required upstream jobs failed or are blocked", True
    if left - lost:
        return f"waits for {len(left - lost)} of {piece['n_inputs']} jobs", False
    n_available = piece["n_inputs"] - len(lost)
    if lost and n_available < max(piece["minimum_fraction"] * piece["n_inputs"], 1):
        reason = (
            f"{len(lost)} of {piece['n_inputs']} upstream jobs failed or are blocked "
            f"(at least {piece['minimum_fraction']:.0%} required)"
        )
        return reason, True
    return "", False


def _verdict(launchpad: LaunchPad, gate: str, failed: set[str], campaign: str) -> tuple[str, bool]:
    """Why a gate is not open (empty if it is), and whether the jobs behind it are blocked."""
    if gate in failed or _settled(launchpad, [gate])[1]:
        return "the gate job failed", True
    fields = ["output.passed", "output.reason", "output.potential_id", "output.acceptance"]
    found = launchpad.db["outputs"].find_one({"uuid": gate}, fields, sort=[("index", -1)])
    if found is None:
        return "waits for the gate", False
    output = found.get("output") or {}
    if "potential_id" in output:
        acceptance = output.get("acceptance") or {"passed": True}
        if acceptance["passed"]:
            return "", False
        reason = (
            f"the potential {output['potential_id']} failed its acceptance: "
            f"{acceptance['reason']}; train it with other settings or more labels, or continue "
            f"with: mgflows advance {campaign} --accept-gate"
        )
        return reason, True
    if output.get("passed"):
        return "", False
    return f"the gate is closed: {output.get('reason') or 'no reason given'}", True
