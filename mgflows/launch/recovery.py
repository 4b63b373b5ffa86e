"""Bring back what dead workers left behind: never a job that lives, always with the reason.

A worker that is killed leaves its firework RUNNING (or RESERVED), perhaps a workflow locked and half rewritten. Who was a worker is on its
launch (`processes.identity`); where this machine cannot look whether it lives, its pings decide.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from mgflows.launch.interruption import interruption_reason
from mgflows.launch.launchpad import EXPIRATION_PINGS, LOCK_HOLDER, PatientLaunchPad, configure_fireworks
from mgflows.launch.processes import is_known_dead

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fireworks import LaunchPad

    from mgflows.settings import Settings

logger = logging.getLogger(__name__)

# Between taking a firework and writing down who took it, a worker makes two writes; between the last write of a workflow and unlocking
# it, one. What lasts longer than this is left behind.
_GRACE_SECONDS = 5.0
_HELD = ["RUNNING", "RESERVED"]
_FIELDS = {"fw_id": 1, "state": 1, "launches": 1, "updated_on": 1}


@dataclass(frozen=True)
class Failure:
    """A job that failed.

    Attributes
    ----------
    fw_id, name
        Its firework.
    reason
        The error, in words.
    launch_directory
        Where it ran; None if it did not come so far.
    """

    fw_id: int
    name: str
    reason: str
    launch_directory: str | None


@dataclass
class Recovery:
    """What was found and done.

    Attributes
    ----------
    rerun
        Fireworks that may run again, each with the reason.
    completed
        Fireworks whose end was known but not written everywhere.
    unlocked
        Workflows whose lock a dead worker held.
    removed
        Fireworks in no workflow, left by a worker that died while it added them.
    failures
        Jobs that failed by themselves and were left so.
    running
        Fireworks whose worker lives, or cannot be asked and was heard of lately.
    """

    rerun: dict[int, str] = field(default_factory=dict)
    completed: list[int] = field(default_factory=list)
    unlocked: int = 0
    removed: list[int] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    running: list[int] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether there was anything to do."""
        return bool(self.rerun or self.completed or self.unlocked or self.removed)


def recover(settings: Settings, campaign: str | None = None, *, retry: bool = False) -> Recovery:
    """Make everything runnable again that an interruption, a crash or a kill stopped.

    Parameters
    ----------
    settings
        Where the database is.
    campaign
        Only this campaign; all by default.
    retry
        Whether jobs that failed by themselves run again, too.

    Raises
    ------
    ServiceError
        If the database does not answer.
    """
    configure_fireworks(settings.ping_seconds)
    found = Recovery()
    query = {"spec.mgflows.campaign": campaign} if campaign else {}
    with _launchpad(settings) as launchpad:
        _mend_workflows(launchpad, {"metadata.mgflows.campaign": campaign} if campaign else {}, found)
        _bring_back_lost(launchpad, query, found)
        _look_at_failed(launchpad, query, found, retry)
    for fw_id, reason in found.rerun.items():
        logger.info("firework %d can run again: %s", fw_id, reason)
    return found


def list_failures(settings: Settings, campaign: str | None = None) -> list[Failure]:
    """List the jobs that failed, each with its error in words; changes nothing."""
    found = Recovery()
    query = {"spec.mgflows.campaign": campaign} if campaign else {}
    with _launchpad(settings) as launchpad:
        _look_at_failed(launchpad, query, found, retry=False, interrupted_too=False)
    return found.failures


@contextmanager
def _launchpad(settings: Settings) -> Iterator[LaunchPad]:
    settings.check_database()
    launchpad = PatientLaunchPad(settings, seconds=5.0)
    try:
        yield launchpad
    finally:
        launchpad.connection.close()


def why_lost(launchpad: LaunchPad, firework: dict[str, Any]) -> str | None:
    """Why nobody runs a RUNNING or RESERVED firework any more; None if somebody does, or may, or its launch has ended.

    Parameters
    ----------
    launchpad
        Where its launches are.
    firework
        Its document, at least `fw_id`, `launches` and `updated_on`.
    """
    launch = launchpad.launches.find_one({"fw_id": firework["fw_id"]}, {"action": 0, "finished": 0}, sort=[("launch_id", -1)])
    if launch is None or launch["launch_id"] not in firework["launches"]:
        # Reserved, and its launch is not written yet, or never will be.
        return "its worker died while it took it" if _now() - _time(firework["updated_on"]) > timedelta(seconds=_GRACE_SECONDS) else None
    who = (launch.get("fworker") or {}).get("env") or {}
    # Reserved for a queue, or run by a program that does not say who it is: not ours to judge.
    if launch["state"] != "RUNNING" or "pid" not in who:
        return None
    dead = is_known_dead(who)
    if dead is not None:
        return f"its worker (process {who['pid']}) died" if dead else None
    heard = _time(next(entry["updated_on"] for entry in reversed(launch["state_history"]) if entry["state"] == "RUNNING"))
    if _now() - heard > timedelta(seconds=EXPIRATION_PINGS * who["ping_seconds"]):
        return f"nothing was heard from its worker on {who['host']} since {heard:%Y-%m-%d %H:%M:%S} UTC"
    return None


def _bring_back_lost(launchpad: LaunchPad, query: dict[str, Any], found: Recovery) -> None:
    for firework in launchpad.fireworks.find({**query, "state": {"$in": _HELD}}, _FIELDS).sort("fw_id", 1):
        fw_id = firework["fw_id"]
        if _ended(launchpad, firework):
            launchpad._refresh_wf(fw_id)
            found.completed.append(fw_id)
            continue
        reason = why_lost(launchpad, firework)
        if reason is None:
            found.running.append(fw_id)
        elif launchpad.workflows.find_one({"nodes": fw_id}, {"_id": 1}) is None:
            launchpad.fireworks.delete_one({"fw_id": fw_id})
            found.removed.append(fw_id)
        else:
            launchpad.rerun_fw(fw_id)
            launchpad.launches.update_many(
                {"launch_id": {"$in": firework["launches"]}, "state": "RUNNING"}, {"$set": {"state": "FIZZLED", "lost": reason}}
            )
            found.rerun[fw_id] = reason


def _ended(launchpad: LaunchPad, firework: dict[str, Any]) -> bool:
    """Whether a firework that counts as running has a launch that was COMPLETED or FIZZLED, and nobody told the firework."""
    launches = list(launchpad.launches.find({"launch_id": {"$in": firework["launches"]}}, {"state": 1}))
    return bool(launches) and all(launch["state"] in ("COMPLETED", "FIZZLED") for launch in launches)


def _mend_workflows(launchpad: LaunchPad, query: dict[str, Any], found: Recovery) -> None:
    """Unlock workflows whose lock nobody holds, and finish what was being written under it."""
    open_workflows = {**query, "state": {"$ne": "COMPLETED"}}
    nameless = {workflow["_id"] for workflow in launchpad.workflows.find({**open_workflows, "locked": True, LOCK_HOLDER: None}, {"_id": 1})}
    if nameless:
        time.sleep(_GRACE_SECONDS)
    for workflow in launchpad.workflows.find(open_workflows):
        fireworks = list(launchpad.fireworks.find({"fw_id": {"$in": workflow["nodes"]}}, _FIELDS))
        locked, holder = "locked" in workflow, workflow.get(LOCK_HOLDER)
        if not (locked and holder and is_known_dead(holder)):
            # A live holder, a lock that is new, or work that goes on: whoever it is may be writing.
            held = [firework for firework in fireworks if firework["state"] in _HELD and not _ended(launchpad, firework)]
            if (locked and workflow["_id"] not in nameless) or any(why_lost(launchpad, firework) is None for firework in held):
                continue
        states = workflow["fw_states"]
        half_written = [
            f["fw_id"] for f in fireworks if f["state"] in ("COMPLETED", "FIZZLED") and states.get(str(f["fw_id"])) != f["state"]
        ]
        if not locked and not half_written:
            continue
        # What follows from the end of a job is derived when its state changes, so it has to change again.
        launchpad.fireworks.update_many({"fw_id": {"$in": half_written}}, {"$set": {"state": "RUNNING"}})
        _remove_unlinked(launchpad, found)
        # Only the lock that was judged: somebody else may have mended this one meanwhile.
        judged = {"_id": workflow["_id"], LOCK_HOLDER: holder}
        launchpad.workflows.update_one(judged, {"$unset": {"locked": "", LOCK_HOLDER: ""}})
        for fw_id in half_written:
            launchpad._refresh_wf(fw_id)
        found.unlocked += locked
        found.completed += half_written


def _remove_unlinked(launchpad: LaunchPad, found: Recovery) -> None:
    """Delete follow-up fireworks that no workflow names, because the worker that added them died before it linked them."""
    pipeline = [
        # Those with a submission were submitted, and are linked (or cleaned) by `submit`.
        {"$match": {"state": {"$in": ["READY", "WAITING"]}, "spec.submission": {"$exists": False}}},
        {"$lookup": {"from": "workflows", "localField": "fw_id", "foreignField": "nodes", "as": "workflow"}},
        {"$match": {"workflow": {"$size": 0}}},
        {"$project": {"fw_id": 1}},
    ]
    unlinked = [row["fw_id"] for row in launchpad.fireworks.aggregate(pipeline)]
    launchpad.fireworks.delete_many({"fw_id": {"$in": unlinked}})
    found.removed += unlinked


def _look_at_failed(launchpad: LaunchPad, query: dict[str, Any], found: Recovery, retry: bool, interrupted_too: bool = True) -> None:
    for firework in launchpad.fireworks.find({**query, "state": "FIZZLED"}).sort("fw_id", 1):
        fw_id = firework["fw_id"]
        launch = launchpad.launches.find_one({"launch_id": {"$in": firework["launches"]}}, sort=[("launch_id", -1)])
        stored = ((launch or {}).get("action") or {}).get("stored_data")
        interrupted = interruption_reason(stored)
        if interrupted and interrupted_too:
            launchpad.rerun_fw(fw_id)
            found.rerun[fw_id] = f"it was interrupted: {interrupted}"
            continue
        failure = Failure(fw_id, firework["name"], _reason(stored, firework["spec"]), launch["launch_dir"] if launch else None)
        if retry:
            launchpad.rerun_fw(fw_id)
            found.rerun[fw_id] = f"to be tried again after: {failure.reason}"
        else:
            found.failures.append(failure)


def _reason(stored: dict[str, Any] | None, spec: dict[str, Any]) -> str:
    """Return the last line of the traceback, which has the error's type and message."""
    trace = ((stored or {}).get("_exception") or {}).get("_stacktrace") or (spec.get("_exception_details") or {}).get("_stacktrace") or ""
    lines = [line for line in trace.splitlines() if line and not line.startswith((" ", "Traceback"))]
    return lines[-1] if lines else "no reason was stored; look into the launch directory"


def _now() -> datetime:
    return datetime.now(UTC)


def _time(value: datetime | str) -> datetime:
    """Read a time as FireWorks stores it: sometimes a date, sometimes its ISO text, always UTC."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
