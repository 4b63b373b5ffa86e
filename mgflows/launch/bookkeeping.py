"""Take and complete simple jobs with few round trips to the database.

FireWorks reads and writes each document of a job several times: about 45 round trips, 2 s per job
at a latency of 50 ms. For a job that FireWorks would only move from READY to RUNNING to COMPLETED,
these functions make the same changes in four round trips each. Everything else is left to
FireWorks: reservations, failures, dynamic jobs, and workflows in which a job failed.

The order of the writes is FireWorks': after a kill at any point the state is one that
:mod:`mgflows.recovery` repairs.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fireworks import Firework
from fireworks.core.firework import Launch
from pymongo import ASCENDING, DESCENDING, UpdateMany, UpdateOne

from mgflows.launch.retries import with_retries

if TYPE_CHECKING:
    from fireworks import FWAction, FWorker, LaunchPad

__all__ = ["complete", "give_back", "heartbeat", "is_simple", "read", "start", "take"]

_ACTIVE = {"WAITING", "READY", "RESERVED", "RUNNING", "COMPLETED"}
HEARTBEAT = "heartbeat"
"""Key of a launch: time of the last heartbeat, by the server's clock."""
LAST_CHANGE = "last_change"
"""Key of a launch: last heartbeat before which a file in its directory had changed, by the server's
clock. The times of files are those of other clocks: of the node, or of a file server."""
_ORDER = [("spec._priority", DESCENDING), ("created_on", ASCENDING)]


def take(launchpad: LaunchPad, query: dict[str, Any]) -> tuple[dict[str, Any], int] | None:
    """Take the next job of a query; return its previous document and the id of the new launch.

    None if there is no job. A job with a launch that is not archived is left to FireWorks.
    """
    launch_id = launchpad.get_new_launch_id()
    again = False

    def once() -> dict[str, Any] | None:
        nonlocal again
        # The answer to a first attempt may have been lost with the connection.
        if again and (found := fireworks.find_one({"launches": launch_id, "state": "RUNNING"})):
            return found
        again = True
        return fireworks.find_one_and_update(
            {**query, "state": "READY", "launches": [], "spec._dupefinder": None},
            {
                "$set": {"state": "RUNNING", "updated_on": datetime.now(UTC)},
                "$push": {"launches": launch_id},
            },
            sort=_ORDER,
        )

    fireworks = launchpad.fireworks.plain
    document = with_retries(once, launchpad.outage_seconds)
    return None if document is None else (document, launch_id)


def give_back(launchpad: LaunchPad, fw_id: int, launch_id: int) -> None:
    """Make a job READY again that was taken and has not started."""
    launchpad.fireworks.update_one(
        {"fw_id": fw_id, "state": "RUNNING", "launches": [launch_id]},
        {"$set": {"state": "READY", "launches": []}},
    )


def read(document: dict[str, Any]) -> Firework:
    """The firework of a document that `take` returned; its earlier launches are left out."""
    return Firework.from_dict({**document, "launches": [], "archived_launches": []})


def start(
    launchpad: LaunchPad,
    firework: Firework,
    launch_id: int,
    fworker: FWorker,
    launch_dir: str,
) -> Launch:
    """Record the launch of a job that was taken."""
    fw_id = firework.fw_id
    launch = Launch("RUNNING", launch_dir, fworker, launch_id=launch_id, fw_id=fw_id)
    launchpad.launches.find_one_and_replace(
        {"launch_id": launch_id}, launch.to_db_dict(), upsert=True
    )
    running = {"$in": ["$state", ["READY", "RESERVED"]]}
    done = launchpad.workflows.update_one(
        {"nodes": fw_id, "locked": {"$exists": False}},
        [
            {
                "$set": {
                    f"fw_states.{fw_id}": "RUNNING",
                    "state": {"$cond": [running, "RUNNING", "$state"]},
                    "updated_on": datetime.now(UTC),
                }
            }
        ],
    )
    if not done.matched_count:
        launchpad._refresh_wf(fw_id)
    return launch


def is_simple(action: FWAction | None) -> bool:
    """Whether the result of a job changes only states."""
    return action is not None and not any(
        (
            action.detours,
            action.additions,
            action.update_spec,
            action.mod_spec,
            action.defuse_children,
            action.defuse_workflow,
            action.exit,
        )
    )


def complete(launchpad: LaunchPad, launch: Launch, action: FWAction) -> bool:
    """Record the end of a job; False if it was given to another launch in the meantime."""
    fw_id = launch.fw_id
    launch.state = "COMPLETED"
    launch.action = action
    mine = {"launch_id": launch.launch_id}
    replaced = launchpad.launches.find_one_and_replace(
        {**mine, "state": "RUNNING"}, launch.to_db_dict()
    )
    if replaced is None:
        # Another worker has the job, or the answer to a first attempt was lost.
        stored = launchpad.launches.find_one(mine, {"state": 1})
        if stored is None or stored["state"] != "COMPLETED":
            return False
    workflow = launchpad.workflows.find_one_and_update(
        {"nodes": fw_id, "locked": {"$exists": False}}, {"$set": {"locked": True}}
    )
    if workflow is None or not set(workflow["fw_states"].values()) <= _ACTIVE:
        if workflow is not None:
            launchpad.workflows.find_one_and_update({"nodes": fw_id}, {"$unset": {"locked": ""}})
        launchpad._refresh_wf(fw_id)
        return True
    states = {**workflow["fw_states"], str(fw_id): "COMPLETED"}
    ready = [
        child
        for child in workflow["links"].get(str(fw_id), [])
        if states[str(child)] == "WAITING"
        and all(
            states[str(parent)] == "COMPLETED"
            for parent in workflow["parent_links"].get(str(child), [])
        )
    ]
    now = datetime.now(UTC)
    changes: list[UpdateOne | UpdateMany] = [
        UpdateOne({"fw_id": fw_id}, {"$set": {"state": "COMPLETED", "updated_on": now.isoformat()}})
    ]
    if ready:
        changes.append(
            UpdateMany(
                {"fw_id": {"$in": ready}, "state": "WAITING"},
                {"$set": {"state": "READY", "updated_on": now.isoformat()}},
            )
        )
    with_retries(lambda: launchpad.fireworks.plain.bulk_write(changes), launchpad.outage_seconds)
    states |= {str(child): "READY" for child in ready}
    leaves = [name for name, children in workflow["links"].items() if not children]
    is_done = all(states[name] == "COMPLETED" for name in leaves)
    launchpad.workflows.unlock(
        workflow["_id"],
        {
            **{f"fw_states.{name}": states[str(name)] for name in (fw_id, *ready)},
            "state": "COMPLETED" if is_done else "RUNNING",
            "updated_on": now,
        },
    )
    return True


def heartbeat(launchpad: LaunchPad, launch_id: int, *, changed: bool) -> None:
    """Record a heartbeat of a running launch, and whether files in its directory have changed."""
    launchpad.launches.update_one(
        {"launch_id": launch_id, "state": "RUNNING"},
        {
            "$set": {"state_history.$[entry].updated_on": datetime.now(UTC).isoformat()},
            "$currentDate": {HEARTBEAT: True} | ({LAST_CHANGE: True} if changed else {}),
        },
        array_filters=[{"entry.state": "RUNNING"}],
    )
