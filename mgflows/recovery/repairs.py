"""Repair of the states that dead workers leave in the database, with the reason of each repair.

A killed worker leaves its firework RUNNING or RESERVED, and perhaps a locked, half-written
workflow. :mod:`mgflows.recovery.diagnosis` determines whether a job still runs; running jobs are
left alone. `plan_recovery` finds the problems, and `recover` repairs them.

A job that keeps killing its worker (by a segmentation fault or lack of memory) is set aside after
`max_worker_deaths` deaths in a row, so that it does not stop all others.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgflows.connections import check_database
from mgflows.database.failures import ErrorCategory, Failure, read_failures
from mgflows.database.integrity import (
    damaged_jobs,
    lost_launches,
    lost_outputs,
    missing_indexes,
    wrong_counters,
)
from mgflows.database.planned import deleted_jobs
from mgflows.database.progress import require_campaign
from mgflows.launch.campaigns import restore_deleted
from mgflows.launch.launchpad import LOCK_HOLDER, RetryingLaunchPad, configure_fireworks
from mgflows.launch.offline import active_runs, read_record, recover_offline
from mgflows.launch.processes import server_time
from mgflows.launch.workflows import prepare_database
from mgflows.recovery.diagnosis import (
    GRACE_SECONDS,
    SUBMISSION_SECONDS,
    ProcessState,
    batch_job_of,
    diagnose,
    has_ended,
    is_dead,
    last_launch,
    parse_time,
    stall_reason,
)
from mgflows.recovery.queues import Queues
from mgflows.recovery.steps import Action, Recovery, Step
from mgflows.schemas.campaign import PLANNED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from fireworks import LaunchPad

    from mgflows.recovery.diagnosis import Diagnosis
    from mgflows.settings import Settings

__all__ = ["plan_recovery", "recover"]

logger = logging.getLogger(__name__)

_HELD = ["RUNNING", "RESERVED"]
_FIELDS = {"fw_id": 1, "name": 1, "state": 1, "launches": 1, "updated_on": 1}
_FROM_OUTSIDE = "ended_from_outside"
_SET_ASIDE = "set_aside"
_STARTED = "started_offline"
_SPEC = "spec"
_LOST_RUN = "lost run"


def recover(
    settings: Settings,
    campaign: str | None = None,
    *,
    retry: bool | Collection[ErrorCategory] = False,
    restore: bool = False,
) -> Recovery:
    """Rerun all jobs that were stopped by an interruption, a crash or a kill.

    Parameters
    ----------
    settings
        Settings that name the database.
    campaign
        Only this campaign; all by default.
    retry
        Error categories of failed jobs that are also rerun; True for all failed jobs, False for
        none.
    restore
        Whether jobs that were deleted from the LaunchPad are inserted again.

    Raises
    ------
    InputError
        If there is no such campaign.
    ServiceError
        If the database does not answer.
    """
    found = _look(settings, campaign, retry, restore, apply=True)
    for fw_id, reason in found.rerun.items():
        logger.info("firework %d will be rerun: %s", fw_id, reason)
    for fw_id, reason in found.set_aside.items():
        logger.warning("firework %d is set aside: %s", fw_id, reason)
    return found


def plan_recovery(
    settings: Settings,
    campaign: str | None = None,
    *,
    retry: bool | Collection[ErrorCategory] = False,
    restore: bool = True,
) -> Recovery:
    """Return the repairs that :func:`recover` would make now, without making them.

    Parameters
    ----------
    settings, campaign, retry, restore
        As for :func:`recover`.

    Raises
    ------
    InputError
        If there is no such campaign.
    ServiceError
        If the database does not answer.
    """
    return _look(settings, campaign, retry, restore, apply=False)


def _look(
    settings: Settings,
    campaign: str | None,
    retry: bool | Collection[ErrorCategory],
    restore: bool,
    apply: bool,
) -> Recovery:
    configure_fireworks(settings.ping_seconds)
    found = Recovery()
    with _launchpad(settings) as launchpad:
        if campaign is not None:
            require_campaign(launchpad.db, campaign)
        search = _Search(launchpad, settings, campaign, found)
        looks = [search.broken_workflows, search.lost, search.orphans]
        # In this order, because a repair may reveal a problem that the next one finds.
        if restore:
            looks = [search.unprepared, search.damaged, search.lost_launches, *looks]
            looks += [search.lost_outputs, search.deleted]
        for look in looks:
            for step in look():
                if not apply or _apply(launchpad, step, settings):
                    found.steps.append(step)
        planned = {*found.rerun, *found.set_aside}
        for failure in read_failures(launchpad.db, campaign):
            chance = _second_chance(failure, retry)
            if chance is None or failure.fw_id in found.set_aside:
                found.failures.append(failure)
            elif failure.fw_id not in planned and (
                not apply or _apply(launchpad, chance, settings)
            ):
                found.steps.append(chance)
    return found


@contextmanager
def _launchpad(settings: Settings) -> Iterator[LaunchPad]:
    check_database(settings)
    launchpad = RetryingLaunchPad(settings, seconds=5.0)
    try:
        yield launchpad
    finally:
        launchpad.connection.close()


class _Search:
    """Search for the problems of one campaign, or of all; does not write to the database."""

    def __init__(
        self, launchpad: LaunchPad, settings: Settings, campaign: str | None, found: Recovery
    ) -> None:
        self.launchpad = launchpad
        self.settings = settings
        self.campaign = campaign
        self.fireworks_query = {"spec.mgflows.campaign": campaign} if campaign else {}
        self.workflows_query = {"metadata.mgflows.campaign": campaign} if campaign else {}
        self.found = found

    def broken_workflows(self) -> Iterator[Step]:
        """Workflows that are locked by a dead process or incompletely written."""
        launchpad, queues = self.launchpad, Queues(self.settings.scheduler)
        removed: set[int] = set()
        unfinished = {**self.workflows_query, "state": {"$ne": "COMPLETED"}}
        unnamed = {
            row["_id"]
            for row in launchpad.workflows.find(
                {**unfinished, "locked": True, LOCK_HOLDER: None}, {"_id": 1}
            )
        }
        if unnamed:
            time.sleep(GRACE_SECONDS)
        for _id in self._suspicious_workflows(unfinished):
            workflow = launchpad.workflows.find_one({"_id": _id})
            if workflow is None:
                continue
            fireworks = list(
                launchpad.fireworks.find({"fw_id": {"$in": workflow["nodes"]}}, _FIELDS)
            )
            locked, holder = "locked" in workflow, workflow.get(LOCK_HOLDER)
            if not (locked and holder and is_dead(holder, queues)):
                # A live holder, a recent lock or a running job: its process may be writing.
                held = [
                    firework
                    for firework in fireworks
                    if firework["state"] in _HELD and not has_ended(launchpad, firework)
                ]
                if (locked and _id not in unnamed) or any(
                    diagnose(launchpad, firework, queues).state is not ProcessState.LOST
                    for firework in held
                ):
                    continue
            half_written = tuple(
                firework["fw_id"] for firework in fireworks if _is_unrecorded(workflow, firework)
            )
            if not locked and not half_written:
                continue
            unlinked = [
                fw_id
                for fw_id in _unlinked(launchpad, {"spec.submission": {"$exists": False}})
                if fw_id not in removed
            ]
            if unlinked:
                # Fireworks of a submission are linked or removed by it.
                removed.update(unlinked)
                yield Step(
                    Action.REMOVE,
                    "orphan",
                    tuple(unlinked),
                    workflow["name"],
                    "the worker that added them died before it linked them",
                    {"state": {"$in": ["READY", "WAITING"]}},
                )
            process = f"process {holder['pid']} on {holder['host']}" if holder else "a worker"
            yield Step(
                Action.UNLOCK,
                "stale lock" if locked else "half written",
                half_written,
                workflow["name"],
                f"{process} died while writing the workflow"
                if locked
                else "the end of a job was recorded only in part",
                {"_id": _id, "locked": locked, LOCK_HOLDER: holder},
            )

    def _suspicious_workflows(self, unfinished: dict[str, Any]) -> list[Any]:
        """Ids of the workflows that are locked or whose states differ from their fireworks'."""
        launchpad = self.launchpad
        ended = {
            row["fw_id"]: row
            for row in launchpad.fireworks.find(
                {**self.fireworks_query, "state": {"$in": ["COMPLETED", "FIZZLED"]}},
                {"_id": 0, "fw_id": 1, "state": 1},
            )
        }
        fields = {"nodes": 1, "fw_states": 1, "locked": 1}
        return [
            workflow["_id"]
            for workflow in launchpad.workflows.find(unfinished, fields)
            if "locked" in workflow
            or any(
                _is_unrecorded(workflow, ended[fw_id])
                for fw_id in workflow["nodes"]
                if fw_id in ended
            )
        ]

    def lost(self) -> Iterator[Step]:
        """Fireworks that no worker runs any more, and those that ended without being recorded."""
        launchpad, queues = self.launchpad, Queues(self.settings.scheduler)
        fireworks = list(
            launchpad.fireworks.find(
                {**self.fireworks_query, "state": {"$in": _HELD}}, _FIELDS
            ).sort("fw_id", 1)
        )
        queues.look_up(
            job
            for firework in fireworks
            if (job := batch_job_of(last_launch(launchpad, firework))) is not None
        )
        if taken := [
            firework for firework in fireworks if self._was_never_started(firework, queues)
        ]:
            # The clock that wrote their time is not known: those that do not change now are lost.
            time.sleep(GRACE_SECONDS)
            unchanged = {
                firework["fw_id"]
                for firework in taken
                if launchpad.fireworks.find_one(
                    {key: firework[key] for key in ("fw_id", "state", "launches", "updated_on")},
                    {"_id": 1},
                )
                is not None
            }
            moved = {firework["fw_id"] for firework in taken} - unchanged
            fireworks = [firework for firework in fireworks if firework["fw_id"] not in moved]
            self.found.running += sorted(moved)
        offline = {run["fw_id"] for run in active_runs(launchpad)} if fireworks else set()
        for firework in fireworks:
            fw_id, name = firework["fw_id"], firework["name"]
            seen: dict[str, Any] = {
                "fw_id": fw_id,
                "state": firework["state"],
                "launches": firework["launches"],
            }
            if has_ended(launchpad, firework) and self._has_workflow(fw_id):
                reason = f"it is {firework['state']}, but its launch has ended"
                yield Step(Action.FINISH, "inconsistent", (fw_id,), name, reason, seen)
                continue
            diagnosis = diagnose(launchpad, firework, queues)
            if diagnosis.state is ProcessState.LOST and fw_id in offline:
                record = self._offline_record(firework)
                if record is None:
                    self.found.running.append(fw_id)
                    continue
                if "fwaction" in record:
                    reason = "it has ended offline, and its result is not in the database"
                    yield Step(Action.COLLECT, "offline result", (fw_id,), name, reason, seen)
                    continue
                if "started_on" in record:
                    seen[_STARTED] = True
            if diagnosis.state is ProcessState.LOST:
                if not self._has_workflow(fw_id):
                    reason = f"it is in no workflow, and {diagnosis.reason}"
                    yield Step(Action.REMOVE, "orphan", (fw_id,), name, reason, seen)
                else:
                    yield self._lost_run(firework, diagnosis, seen)
                continue
            self.found.running.append(fw_id)
            if diagnosis.state is ProcessState.UNCLEAR:
                self.found.unclear[fw_id] = diagnosis.reason
            elif stall := stall_reason(launchpad, firework, self.settings.stall_seconds):
                self.found.stalled[fw_id] = stall

    def _offline_record(self, firework: dict[str, Any]) -> dict[str, Any] | None:
        """FireWorks' record of an offline run; None, and reported, if it cannot be read."""
        launch = last_launch(self.launchpad, firework)
        try:
            return read_record(Path(launch["launch_dir"])) if launch is not None else {}
        except OSError as error:
            self.found.unclear[firework["fw_id"]] = (
                f"it was submitted to run offline, and {error.filename} cannot be read from here "
                f"({error.strerror}); run mgflows heal where it can, or run it again with: "
                f"lpad rerun_fws -i {firework['fw_id']}"
            )
            return None

    def _has_workflow(self, fw_id: int) -> bool:
        return self.launchpad.workflows.find_one({"nodes": fw_id}, {"_id": 1}) is not None

    def _lost_run(
        self, firework: dict[str, Any], diagnosis: Diagnosis, seen: dict[str, Any]
    ) -> Step:
        """Rerun a lost job, or set it aside if it keeps killing its worker."""
        fw_id, name = firework["fw_id"], firework["name"]
        if firework["state"] == "RESERVED" and not seen.get(_STARTED):
            problem = "stuck reservation" if firework["launches"] else _LOST_RUN
            return Step(Action.RERUN, problem, (fw_id,), name, diagnosis.reason, seen)
        if diagnosis.from_outside:
            seen = {**seen, _FROM_OUTSIDE: True}
        elif (number := 1 + _deaths(self.launchpad, fw_id)) >= self.settings.max_worker_deaths:
            times = "once" if number == 1 else f"{number} times in a row"
            reason = f"its worker died {times} while running it; the last time {diagnosis.reason}"
            return Step(Action.SET_ASIDE, "kills its worker", (fw_id,), name, reason, seen)
        return Step(Action.RERUN, _LOST_RUN, (fw_id,), name, diagnosis.reason, seen)

    def _was_never_started(self, firework: dict[str, Any], queues: Queues) -> bool:
        """Whether a process took a firework and seems to have died before there was a launch."""
        return (
            last_launch(self.launchpad, firework) is None
            and diagnose(self.launchpad, firework, queues).state is ProcessState.LOST
        )

    def orphans(self) -> Iterator[Step]:
        """Waiting fireworks in no workflow, too old to be part of a running submission."""
        before = server_time(self.launchpad.connection) - timedelta(seconds=SUBMISSION_SECONDS)
        unlinked = set(_unlinked(self.launchpad, self.fireworks_query))
        old = [
            firework
            for firework in self.launchpad.fireworks.find(
                {"fw_id": {"$in": sorted(unlinked.difference(self.found.removed))}}, _FIELDS
            )
            if parse_time(firework["updated_on"]) < before
        ]
        if not old:
            return
        # The clock that wrote their time may be slow: a worker may just be linking them.
        time.sleep(GRACE_SECONDS)
        unlinked.intersection_update(_unlinked(self.launchpad, self.fireworks_query))
        for firework in old:
            if (fw_id := firework["fw_id"]) in unlinked:
                yield Step(
                    Action.REMOVE,
                    "orphan",
                    (fw_id,),
                    firework["name"],
                    "it is in no workflow, so that no worker can finish it",
                    {"fw_id": fw_id, "state": firework["state"], "launches": firework["launches"]},
                )

    def unprepared(self) -> Iterator[Step]:
        """Missing indexes and wrong counters, without which jobs could be lost or run twice."""
        database = self.launchpad.db
        if database["fireworks"].estimated_document_count() == 0:
            return
        if indexes := missing_indexes(database):
            reason = f"missing: {'; '.join(indexes)}"
            yield Step(Action.PREPARE, "missing index", (), database.name, reason)
        if counters := wrong_counters(database):
            text = ", ".join(f"{name} (at least {least})" for name, least in counters.items())
            reason = f"missing or too small: {text}"
            yield Step(Action.PREPARE, "wrong counter", (), database.name, reason)

    def damaged(self) -> Iterator[Step]:
        """Waiting jobs whose task was removed or replaced, so that no worker can read them."""
        for job in damaged_jobs(self.launchpad.db, self.campaign):
            if job.spec is None:
                self.found.unclear[job.fw_id] = (
                    "its task was removed or replaced in the database, and the plan of its "
                    f"campaign does not hold it; remove it with: lpad delete_wflows -i {job.fw_id}"
                )
                continue
            reason = "its task was removed or replaced in the database"
            seen = {"fw_id": job.fw_id, "state": {"$in": ["READY", "WAITING"]}, _SPEC: job.spec}
            yield Step(Action.RESTORE, "damaged job", (job.fw_id,), job.name, reason, seen)

    def lost_outputs(self) -> Iterator[Step]:
        """Completed jobs whose output or arrays were deleted."""
        planned = {*self.found.rerun}
        for lost in lost_outputs(self.launchpad.db, self.campaign):
            if lost.fw_id not in planned:
                seen = {"fw_id": lost.fw_id, "state": "COMPLETED"}
                yield Step(Action.RERUN, "lost output", (lost.fw_id,), lost.name, lost.reason, seen)

    def lost_launches(self) -> Iterator[Step]:
        """Ended jobs whose launch was deleted, from which FireWorks derives their state."""
        for lost in lost_launches(self.launchpad.db, self.campaign):
            reason = f"its launch {lost.launch_id} was deleted"
            seen = {"fw_id": lost.fw_id, "state": lost.state, "launches": lost.launch_id}
            yield Step(Action.RECORD, "lost launch", (lost.fw_id,), lost.name, reason, seen)

    def deleted(self) -> Iterator[Step]:
        """Campaigns with submitted jobs that were deleted from the LaunchPad."""
        names = (
            [self.campaign]
            if self.campaign
            else sorted(self.launchpad.db[PLANNED].distinct("campaign", {"state": "submitted"}))
        )
        for name in names:
            if number := len(deleted_jobs(self.launchpad.db, name)):
                reason = (
                    f"{number} {'job was' if number == 1 else 'jobs were'} deleted from the "
                    "LaunchPad (lpad delete_wflows or reset) before they had an output"
                )
                yield Step(Action.RESTORE, "deleted", (), name, reason, {"campaign": name})


def _is_unrecorded(workflow: dict[str, Any], firework: dict[str, Any]) -> bool:
    """Whether the end of a firework is missing in its workflow."""
    return (
        firework["state"] in ("COMPLETED", "FIZZLED")
        and workflow["fw_states"].get(str(firework["fw_id"])) != firework["state"]
    )


def _deaths(launchpad: LaunchPad, fw_id: int) -> int:
    """Number of consecutive deaths of the worker of a firework, up to its current launch."""
    fields = {"state": 1, "lost": 1, _FROM_OUTSIDE: 1, _SET_ASIDE: 1}
    launches = launchpad.launches.find({"fw_id": fw_id}, fields).sort("launch_id", -1)
    number = 0
    for launch in launches:
        if launch["state"] in _HELD or launch.get(_FROM_OUTSIDE):
            continue
        if "lost" not in launch or launch.get(_SET_ASIDE):
            break
        number += 1
    return number


def _unlinked(launchpad: LaunchPad, query: dict[str, Any]) -> list[int]:
    """Fireworks that no worker has taken and that are in no workflow."""
    free = {
        row["fw_id"]
        for row in launchpad.fireworks.find(
            {**query, "state": {"$in": ["READY", "WAITING"]}}, {"_id": 0, "fw_id": 1}
        )
    }
    if not free:
        return []
    for workflow in launchpad.workflows.find({"state": {"$ne": "COMPLETED"}}, {"nodes": 1}):
        free.difference_update(workflow["nodes"])
    return sorted(
        fw_id
        for fw_id in free
        if launchpad.workflows.find_one({"nodes": fw_id}, {"_id": 1}) is None
    )


def _second_chance(failure: Failure, retry: bool | Collection[ErrorCategory]) -> Step | None:
    """The rerun of a failed job; None if it is left as it is."""
    seen = {"fw_id": failure.fw_id, "state": "FIZZLED"}
    if failure.interruption is not None:
        reason = f"it was interrupted: {failure.interruption}"
        return Step(Action.RERUN, "interrupted", (failure.fw_id,), failure.name, reason, seen)
    if retry is True or (not isinstance(retry, bool) and failure.category in retry):
        problem = f"failed ({failure.category})"
        reason = f"retry requested after: {failure.reason}"
        return Step(Action.RERUN, problem, (failure.fw_id,), failure.name, reason, seen)
    return None


def _apply(launchpad: LaunchPad, step: Step, settings: Settings) -> bool:
    """Do a step unless its initial state has changed; return whether it was done."""
    if step.action is Action.COLLECT:
        collected = recover_offline(settings, step.fireworks)
        return bool(collected.completed or collected.failed or collected.interrupted)
    if step.action is Action.UNLOCK:
        return _unlock(launchpad, step)
    if step.action is Action.PREPARE:
        prepare_database(launchpad)
        return True
    if step.action is Action.RESTORE and not step.fireworks:
        return restore_deleted(launchpad, step.seen["campaign"]) > 0
    if step.action is Action.REMOVE:
        removed = launchpad.fireworks.delete_many(
            {**step.seen, "fw_id": {"$in": list(step.fireworks)}}
        )
        return bool(removed.deleted_count)
    (fw_id,) = step.fireworks
    seen = {key: step.seen[key] for key in step.seen.keys() - {_FROM_OUTSIDE, _STARTED, _SPEC}}
    # A worker may have finished, or another process repaired this, in the meantime.
    if launchpad.fireworks.find_one(seen, {"_id": 1}) is None:
        return False
    if step.action is Action.RESTORE:
        changed = launchpad.fireworks.update_one(seen, {"$set": {"spec": step.seen[_SPEC]}})
        return bool(changed.modified_count)
    if step.action is Action.RECORD:
        return _record_launch(launchpad, step)
    if step.action is Action.FINISH:
        launchpad._refresh_wf(fw_id)
        return True
    if step.action is Action.SET_ASIDE:
        return _set_aside(launchpad, step)
    launchpad.rerun_fw(fw_id)
    if step.problem == _LOST_RUN and not step.seen.get(_FROM_OUTSIDE):
        # Moved to the end of the queue, so that the others run before it can kill its worker again.
        now = server_time(launchpad.connection).replace(tzinfo=None).isoformat()
        launchpad.fireworks.update_one({"fw_id": fw_id}, {"$set": {"created_on": now}})
    launchpad.launches.update_many(
        {"launch_id": {"$in": step.seen.get("launches", [])}, "state": {"$in": _HELD}},
        {
            "$set": {
                "state": "FIZZLED",
                "lost": step.reason,
                _FROM_OUTSIDE: bool(step.seen.get(_FROM_OUTSIDE))
                or (step.seen.get("state") == "RESERVED" and not step.seen.get(_STARTED)),
            }
        },
    )
    return True


def _record_launch(launchpad: LaunchPad, step: Step) -> bool:
    """Insert a launch that was deleted, with the state of its firework."""
    from fireworks import FWAction
    from fireworks.core.firework import Launch

    launch_id, state = step.seen["launches"], step.seen["state"]
    action = FWAction(stored_data={"_message": step.reason})
    if state == "FIZZLED":
        action.stored_data["_exception"] = {"_stacktrace": f"LostLaunch: {step.reason}"}
    launch = Launch(state, "", launch_id=launch_id, fw_id=step.fireworks[0], action=action)
    inserted = launchpad.launches.update_one(
        {"launch_id": launch_id}, {"$setOnInsert": launch.to_db_dict()}, upsert=True
    )
    return inserted.upserted_id is not None


def _set_aside(launchpad: LaunchPad, step: Step) -> bool:
    """Mark a firework FIZZLED, with the reason where FireWorks stores exceptions."""
    from fireworks import FWAction

    if not step.seen["launches"]:
        return False
    launch_id = step.seen["launches"][-1]
    exception = {
        "_stacktrace": f"WorkerDied: {step.reason}",
        "_details": {"error": "WorkerDied", "message": step.reason},
    }
    action = FWAction(stored_data={"_message": step.reason, "_exception": exception}, exit=True)
    launchpad.complete_launch(launch_id, action, "FIZZLED")
    launchpad.launches.update_one(
        {"launch_id": launch_id}, {"$set": {"lost": step.reason, _SET_ASIDE: True}}
    )
    return True


def _unlock(launchpad: LaunchPad, step: Step) -> bool:
    # Only the lock that was found: another process may have repaired it in the meantime.
    lock = {"_id": step.seen["_id"], LOCK_HOLDER: step.seen[LOCK_HOLDER]}
    if launchpad.workflows.find_one(lock, {"_id": 1}) is None:
        return False
    # FireWorks updates the children of a firework when its state changes, so it is set again.
    launchpad.fireworks.update_many(
        {"fw_id": {"$in": list(step.fireworks)}}, {"$set": {"state": "RUNNING"}}
    )
    launchpad.workflows.update_one(lock, {"$unset": {"locked": "", LOCK_HOLDER: ""}})
    for fw_id in step.fireworks:
        launchpad._refresh_wf(fw_id)
    return True
