"""Bring back what dead workers left behind: never a job that lives, always with the reason.

A worker that is killed leaves its firework RUNNING (or RESERVED), perhaps a workflow locked and half rewritten. Who was a worker is on its
launch (`processes.identity`). Whether it lives is decided by what knows best: its process, where this machine can look at it; else the queue
of the batch system that its job is in; and only for a worker in no queue, how long nothing was heard from it.

There is one engine: it looks (`plan_recovery`), and what it would do it does (`recover`).
"""

from __future__ import annotations

import enum
import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from mgflows.connections import check_database, open_database
from mgflows.database.failures import Category, Failure, read_failures
from mgflows.launch.launchpad import (
    EXPIRATION_PINGS,
    LOCK_HOLDER,
    PatientLaunchPad,
    configure_fireworks,
)
from mgflows.launch.processes import clock_ahead, is_known_dead
from mgflows.recovery.queues import JobState, Queues

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from fireworks import LaunchPad

    from mgflows.settings import Settings

__all__ = [
    "Action",
    "Diagnosis",
    "ProcessState",
    "Recovery",
    "Step",
    "list_failures",
    "plan_recovery",
    "recover",
]

logger = logging.getLogger(__name__)

# Between taking a firework and writing down who took it, a worker makes two writes; between the last write of a workflow and unlocking
# it, one. What lasts longer than this is left behind.
_GRACE_SECONDS = 5.0
# Between reserving a firework and writing down its job's id, qlaunch waits for sbatch or qsub; between adding fireworks and naming them in a
# workflow there are two writes. The clocks of two machines may differ by some of it.
_SUBMISSION_SECONDS = 600.0
# FireWorks' own rule (RUN_EXPIRATION_SECS), for workers that do not say who they are: they may ping only once an hour.
_UNKNOWN_WORKER_TIMEOUT = 4 * 3600.0
_HELD = ["RUNNING", "RESERVED"]
_FIELDS = {"fw_id": 1, "name": 1, "state": 1, "launches": 1, "updated_on": 1}


class ProcessState(enum.StrEnum):
    """Whether somebody still runs a job."""

    LIVE = "live"
    LOST = "lost"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class Diagnosis:
    """Whether a job lives, and how that is known.

    Attributes
    ----------
    vitality
        The verdict; `UNCLEAR` is left alone.
    reason
        What it rests on, in words.
    """

    vitality: ProcessState
    reason: str


class Action(enum.StrEnum):
    """What can be done."""

    RERUN = "rerun"
    FINISH = "finish"
    UNLOCK = "unlock"
    REMOVE = "remove"


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes
    ----------
    action
        What is done: `RERUN` makes a firework READY (or WAITING for its parents) again, `FINISH` writes an end that is known everywhere, `UNLOCK`
        opens a workflow and finishes what was being written in it, `REMOVE` deletes fireworks that no workflow names.
    problem
        What is wrong, in a word or two.
    fireworks
        The fireworks it is about.
    name
        Name of the job or workflow.
    reason
        Why it is so.
    seen
        What was read when this was decided; if it has changed meanwhile, nothing is done.
    """

    action: Action
    problem: str
    fireworks: tuple[int, ...]
    name: str
    reason: str
    seen: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass
class Recovery:
    """What was found, and done or to be done.

    Attributes
    ----------
    steps
        Each thing that is done, in order.
    failures
        Jobs that failed by themselves and were left so.
    running
        Fireworks whose worker lives, or cannot be asked and was heard of lately.
    unclear
        Fireworks that are silent, and nobody here can say whether they live, each with the reason; they are left alone.
    """

    steps: list[Step] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
    unclear: dict[int, str] = field(default_factory=dict)

    @property
    def rerun(self) -> dict[int, str]:
        """Fireworks that may run again, each with the reason."""
        return {
            step.fireworks[0]: step.reason for step in self.steps if step.action is Action.RERUN
        }

    @property
    def completed(self) -> list[int]:
        """Fireworks whose end was known but not written everywhere."""
        return [
            fw_id
            for step in self.steps
            if step.action in (Action.FINISH, Action.UNLOCK)
            for fw_id in step.fireworks
        ]

    @property
    def unlocked(self) -> int:
        """Workflows whose lock a dead worker held."""
        return sum(step.action is Action.UNLOCK and step.seen["locked"] for step in self.steps)

    @property
    def removed(self) -> list[int]:
        """Fireworks in no workflow, left by a program that died while it added them."""
        return [
            fw_id for step in self.steps if step.action is Action.REMOVE for fw_id in step.fireworks
        ]

    @property
    def changed(self) -> bool:
        """Whether there was anything to do."""
        return bool(self.steps)


def recover(
    settings: Settings, campaign: str | None = None, *, retry: bool | Collection[Category] = False
) -> Recovery:
    """Make everything runnable again that an interruption, a crash or a kill stopped.

    Parameters
    ----------
    settings
        Where the database is.
    campaign
        Only this campaign; all by default.
    retry
        Which jobs that failed by themselves run again, too: those of some categories, all (True) or none.

    Raises
    ------
    ServiceError
        If the database does not answer.
    """
    found = _look(settings, campaign, retry, apply=True)
    for fw_id, reason in found.rerun.items():
        logger.info("firework %d can run again: %s", fw_id, reason)
    return found


def plan_recovery(
    settings: Settings, campaign: str | None = None, *, retry: bool | Collection[Category] = False
) -> Recovery:
    """Say what :func:`recover` would do now; changes nothing.

    Parameters
    ----------
    settings, campaign, retry
        As for :func:`recover`.

    Raises
    ------
    ServiceError
        If the database does not answer.
    """
    return _look(settings, campaign, retry, apply=False)


def list_failures(settings: Settings, campaign: str | None = None) -> list[Failure]:
    """List the jobs that failed, each with its error in words and its category; changes nothing.

    Parameters
    ----------
    settings
        Where the database is.
    campaign
        Only this campaign; all by default.
    """
    database = open_database(settings)
    try:
        return read_failures(database, campaign)
    finally:
        database.client.close()


def _look(
    settings: Settings, campaign: str | None, retry: bool | Collection[Category], apply: bool
) -> Recovery:
    configure_fireworks(settings.ping_seconds)
    found = Recovery()
    with _launchpad(settings) as launchpad:
        search = _Search(launchpad, campaign, found)
        # One after the other, because what one mends the next may find.
        for look in (search.broken_workflows, search.lost, search.orphans):
            for step in look():
                if not apply or _apply(launchpad, step):
                    found.steps.append(step)
        planned = set(found.rerun)
        for failure in read_failures(launchpad.db, campaign):
            chance = _second_chance(failure, retry)
            if chance is None:
                found.failures.append(failure)
            elif failure.fw_id not in planned and (not apply or _apply(launchpad, chance)):
                found.steps.append(chance)
    return found


@contextmanager
def _launchpad(settings: Settings) -> Iterator[LaunchPad]:
    check_database(settings)
    launchpad = PatientLaunchPad(settings, seconds=5.0)
    try:
        yield launchpad
    finally:
        launchpad.connection.close()


class _Search:
    """Looks for what is wrong in one campaign, or in all; changes nothing."""

    def __init__(self, launchpad: LaunchPad, campaign: str | None, found: Recovery) -> None:
        self.launchpad = launchpad
        self.fireworks_query = {"spec.mgflows.campaign": campaign} if campaign else {}
        self.workflows_query = {"metadata.mgflows.campaign": campaign} if campaign else {}
        self.found = found

    def broken_workflows(self) -> Iterator[Step]:
        """Workflows whose lock nobody holds, or that were left half written."""
        launchpad, queues = self.launchpad, Queues()
        removed: set[int] = set()
        unfinished = {**self.workflows_query, "state": {"$ne": "COMPLETED"}}
        nameless = {
            row["_id"]
            for row in launchpad.workflows.find(
                {**unfinished, "locked": True, LOCK_HOLDER: None}, {"_id": 1}
            )
        }
        if nameless:
            time.sleep(_GRACE_SECONDS)
        for workflow in launchpad.workflows.find(unfinished):
            fireworks = list(
                launchpad.fireworks.find({"fw_id": {"$in": workflow["nodes"]}}, _FIELDS)
            )
            locked, holder = "locked" in workflow, workflow.get(LOCK_HOLDER)
            dead_holder = locked and holder and _is_dead(holder, queues)
            if not dead_holder:
                # A live holder, a lock that is new, or work that goes on: whoever it is may be writing.
                held = [
                    firework
                    for firework in fireworks
                    if firework["state"] in _HELD and not _ended(launchpad, firework)
                ]
                if (locked and workflow["_id"] not in nameless) or any(
                    judge(launchpad, firework, queues).vitality is not ProcessState.LOST
                    for firework in held
                ):
                    continue
            states = workflow["fw_states"]
            half_written = tuple(
                f["fw_id"]
                for f in fireworks
                if f["state"] in ("COMPLETED", "FIZZLED")
                and states.get(str(f["fw_id"])) != f["state"]
            )
            if not locked and not half_written:
                continue
            unlinked = [
                fw_id
                for fw_id in _unlinked(launchpad, {"spec.submission": {"$exists": False}})
                if fw_id not in removed
            ]
            if unlinked:
                # Those with a submission were submitted, and are linked (or cleaned) by it.
                removed.update(unlinked)
                words = "the worker that added them died before it linked them"
                yield Step(
                    Action.REMOVE,
                    "orphan",
                    tuple(unlinked),
                    workflow["name"],
                    words,
                    {"state": {"$in": ["READY", "WAITING"]}},
                )
            who = f"process {holder['pid']} on {holder['host']}" if holder else "a worker"
            reason = (
                f"{who} died while it wrote the workflow"
                if locked
                else "the end of a job was written only in part"
            )
            seen = {"_id": workflow["_id"], "locked": locked, LOCK_HOLDER: holder}
            yield Step(
                Action.UNLOCK,
                "stale lock" if locked else "half written",
                half_written,
                workflow["name"],
                reason,
                seen,
            )

    def lost(self) -> Iterator[Step]:
        """Fireworks that nobody runs any more, and those that have ended without being told."""
        launchpad, queues = self.launchpad, Queues()
        fireworks = list(
            launchpad.fireworks.find(
                {**self.fireworks_query, "state": {"$in": _HELD}}, _FIELDS
            ).sort("fw_id", 1)
        )
        queues.look_up(
            job
            for firework in fireworks
            if (job := _batch_job(_last_launch(launchpad, firework))) is not None
        )
        if taken := [
            firework for firework in fireworks if self._was_never_started(firework, queues)
        ]:
            # The clock of who took it is not known: only what stays so while we wait was left behind.
            time.sleep(_GRACE_SECONDS)
            same = (
                {
                    "fw_id": f["fw_id"],
                    "state": f["state"],
                    "launches": f["launches"],
                    "updated_on": f["updated_on"],
                }
                for f in taken
            )
            left = {
                query["fw_id"]
                for query in same
                if launchpad.fireworks.find_one(query, {"_id": 1}) is not None
            }
            moved = {firework["fw_id"] for firework in taken} - left
            fireworks = [firework for firework in fireworks if firework["fw_id"] not in moved]
            self.found.running += sorted(moved)
        for firework in fireworks:
            fw_id, name = firework["fw_id"], firework["name"]
            seen = {"fw_id": fw_id, "state": firework["state"], "launches": firework["launches"]}
            if _ended(launchpad, firework):
                yield Step(
                    Action.FINISH,
                    "inconsistent",
                    (fw_id,),
                    name,
                    f"it is {firework['state']}, but its launch has ended",
                    seen,
                )
                continue
            judgement = judge(launchpad, firework, queues)
            if judgement.vitality is ProcessState.LIVE:
                self.found.running.append(fw_id)
            elif judgement.vitality is ProcessState.UNCLEAR:
                self.found.running.append(fw_id)
                self.found.unclear[fw_id] = judgement.reason
            elif launchpad.workflows.find_one({"nodes": fw_id}, {"_id": 1}) is None:
                yield Step(
                    Action.REMOVE,
                    "orphan",
                    (fw_id,),
                    name,
                    f"it is in no workflow, and {judgement.reason}",
                    seen,
                )
            else:
                problem = (
                    "stuck reservation"
                    if firework["state"] == "RESERVED" and firework["launches"]
                    else "lost run"
                )
                yield Step(Action.RERUN, problem, (fw_id,), name, judgement.reason, seen)

    def _was_never_started(self, firework: dict[str, Any], queues: Queues) -> bool:
        """Whether somebody took a firework and seems to have died before there was a launch."""
        return (
            _last_launch(self.launchpad, firework) is None
            and judge(self.launchpad, firework, queues).vitality is ProcessState.LOST
        )

    def orphans(self) -> Iterator[Step]:
        """Fireworks that wait, in no workflow, since so long that nobody can be about to add them to one."""
        before = _now(self.launchpad) - timedelta(seconds=_SUBMISSION_SECONDS)
        planned = set(self.found.removed)
        for fw_id in _unlinked(self.launchpad, self.fireworks_query):
            firework = self.launchpad.fireworks.find_one({"fw_id": fw_id}, _FIELDS)
            if (
                firework is not None
                and fw_id not in planned
                and _time(firework["updated_on"]) < before
            ):
                seen = {
                    "fw_id": fw_id,
                    "state": firework["state"],
                    "launches": firework["launches"],
                }
                yield Step(
                    Action.REMOVE,
                    "orphan",
                    (fw_id,),
                    firework["name"],
                    "it is in no workflow, so no worker can finish it",
                    seen,
                )


def judge(launchpad: LaunchPad, firework: dict[str, Any], queues: Queues) -> Diagnosis:
    """Say whether somebody still runs a RUNNING or RESERVED firework.

    Parameters
    ----------
    launchpad
        Where its launches are.
    firework
        Its document, at least `fw_id`, `launches` and `updated_on`.
    queues
        The batch system of this machine; made after `firework` was read.
    """
    launch = _last_launch(launchpad, firework)
    if launch is None:
        # Reserved, and its launch is not written yet, or never will be.
        if _now(launchpad) - _time(firework["updated_on"]) > timedelta(seconds=_GRACE_SECONDS):
            return Diagnosis(ProcessState.LOST, "its worker died while it took it")
        return Diagnosis(ProcessState.LIVE, "a worker is taking it")
    if launch["state"] == "RESERVED":
        return _judge_reservation(launch, queues, _now(launchpad))
    if launch["state"] != "RUNNING":
        return Diagnosis(ProcessState.LIVE, f"its launch is {launch['state']}")
    who = (launch.get("fworker") or {}).get("env") or {}
    dead = is_known_dead(who)
    if dead is not None:
        words = f"its worker (process {who['pid']}) {'died' if dead else 'lives'}"
        return Diagnosis(ProcessState.LOST if dead else ProcessState.LIVE, words)
    job = _batch_job(launch)
    judgement = _judge_job(job, queues) if job is not None else None
    if judgement is not None:
        return judgement
    heard = -timedelta(seconds=who.get("clock_ahead", 0.0)) + _time(
        next(
            entry["updated_on"]
            for entry in reversed(launch["state_history"])
            if entry["state"] == "RUNNING"
        )
    )
    patience = (
        EXPIRATION_PINGS * who["ping_seconds"] if "ping_seconds" in who else _UNKNOWN_WORKER_TIMEOUT
    )
    where = who.get("host") or launch.get("host") or "another machine"
    if _now(launchpad) - heard <= timedelta(seconds=patience):
        return Diagnosis(
            ProcessState.LIVE, f"its worker on {where} was heard at {heard:%Y-%m-%d %H:%M:%S} UTC"
        )
    words = f"nothing was heard from its worker on {where} since {heard:%Y-%m-%d %H:%M:%S} UTC"
    if job is None:
        return Diagnosis(ProcessState.LOST, words)
    return Diagnosis(
        ProcessState.UNCLEAR,
        f"{words}, but its job {job['id']} is in a queue that cannot be asked here; run mgflows heal there",
    )


def _judge_reservation(launch: dict[str, Any], queues: Queues, now: datetime) -> Diagnosis:
    job = _batch_job(launch)
    if job is None:
        since = _time(
            launch["state_history"][-1].get("created_on")
            or launch["state_history"][-1]["updated_on"]
        )
        if now - since > timedelta(seconds=_SUBMISSION_SECONDS):
            return Diagnosis(
                ProcessState.LOST,
                f"it is reserved since {since:%Y-%m-%d %H:%M:%S} UTC, but no job was submitted for it",
            )
        return Diagnosis(ProcessState.LIVE, "a job is being submitted for it")
    state = queues.state(job)
    if state is None:
        return Diagnosis(
            ProcessState.UNCLEAR,
            f"it is reserved for job {job['id']}, in a queue that cannot be asked here; run mgflows heal there",
        )
    if state.state is JobState.ENDED:
        return Diagnosis(
            ProcessState.LOST,
            f"it is reserved for job {job['id']}, which is gone ({state.word}) without having started it",
        )
    return Diagnosis(ProcessState.LIVE, f"job {job['id']} is {state.word}")


def _judge_job(job: dict[str, Any], queues: Queues) -> Diagnosis | None:
    """What the queue says about the job in which a worker runs; None if it says nothing."""
    state = queues.state(job)
    if state is None:
        return None
    if state.state is JobState.ENDED:
        return Diagnosis(ProcessState.LOST, f"its job {job['id']} has ended ({state.word})")
    if state.state is JobState.WAITING:
        return Diagnosis(
            ProcessState.LOST, f"its job {job['id']} was put back into the queue ({state.word})"
        )
    if state.restarts is not None and "restarts" in job and state.restarts > job["restarts"]:
        return Diagnosis(
            ProcessState.LOST,
            f"its job {job['id']} was put back into the queue and has started again since",
        )
    return Diagnosis(ProcessState.LIVE, f"job {job['id']} is {state.word}")


def _is_dead(holder: dict[str, Any], queues: Queues) -> bool:
    """Whether the process that holds a lock is known to have ended."""
    dead = is_known_dead(holder)
    if dead is not None or "batch_job" not in holder:
        return bool(dead)
    judgement = _judge_job(holder["batch_job"], queues)
    return judgement is not None and judgement.vitality is ProcessState.LOST


def _last_launch(launchpad: LaunchPad, firework: dict[str, Any]) -> dict[str, Any] | None:
    """The launch that a firework counts as its present one; None if there is none."""
    launch = launchpad.launches.find_one(
        {"fw_id": firework["fw_id"]}, {"action": 0, "finished": 0}, sort=[("launch_id", -1)]
    )
    return launch if launch is not None and launch["launch_id"] in firework["launches"] else None


def _batch_job(launch: dict[str, Any] | None) -> dict[str, Any] | None:
    """The job of a batch system that a launch runs in, or is reserved for; None if there is none, or nobody wrote it down."""
    if launch is None:
        return None
    who = (launch.get("fworker") or {}).get("env") or {}
    if launch["state"] == "RUNNING" and "batch_job" in who:
        return who["batch_job"]
    numbers = [
        entry["reservation_id"]
        for entry in launch["state_history"]
        if entry.get("reservation_id") is not None
    ]
    return {"id": str(numbers[-1])} if numbers else None


def _ended(launchpad: LaunchPad, firework: dict[str, Any]) -> bool:
    """Whether a firework that counts as running has a launch that was COMPLETED or FIZZLED, and nobody told the firework."""
    launches = list(
        launchpad.launches.find({"launch_id": {"$in": firework["launches"]}}, {"state": 1})
    )
    return bool(launches) and all(
        launch["state"] in ("COMPLETED", "FIZZLED") for launch in launches
    )


def _unlinked(launchpad: LaunchPad, query: dict[str, Any]) -> list[int]:
    """Fireworks that nobody has taken and no workflow names."""
    pipeline: list[dict[str, Any]] = [
        {"$match": {**query, "state": {"$in": ["READY", "WAITING"]}}},
        {
            "$lookup": {
                "from": "workflows",
                "localField": "fw_id",
                "foreignField": "nodes",
                "as": "workflow",
            }
        },
        {"$match": {"workflow": {"$size": 0}}},
        {"$project": {"fw_id": 1}},
    ]
    return sorted(row["fw_id"] for row in launchpad.fireworks.aggregate(pipeline))


def _second_chance(failure: Failure, retry: bool | Collection[Category]) -> Step | None:
    """How a job that failed runs again, if it does."""
    seen = {"fw_id": failure.fw_id, "state": "FIZZLED"}
    if failure.interruption is not None:
        reason = f"it was interrupted: {failure.interruption}"
        return Step(Action.RERUN, "interrupted", (failure.fw_id,), failure.name, reason, seen)
    if retry is True or (not isinstance(retry, bool) and failure.category in retry):
        reason = f"to be tried again after: {failure.reason}"
        return Step(
            Action.RERUN,
            f"failed ({failure.category})",
            (failure.fw_id,),
            failure.name,
            reason,
            seen,
        )
    return None


def _apply(launchpad: LaunchPad, step: Step) -> bool:
    """Do a step, unless what it rests on has changed since; whether it was done."""
    if step.action is Action.UNLOCK:
        return _unlock(launchpad, step)
    if step.action is Action.REMOVE:
        held = launchpad.fireworks.delete_many(
            {**step.seen, "fw_id": {"$in": list(step.fireworks)}}
        )
        return bool(held.deleted_count)
    (fw_id,) = step.fireworks
    # A worker may have ended, or somebody else mended this, between the look and now.
    if launchpad.fireworks.find_one(step.seen, {"_id": 1}) is None:
        return False
    if step.action is Action.FINISH:
        launchpad._refresh_wf(fw_id)
        return True
    launchpad.rerun_fw(fw_id)
    launchpad.launches.update_many(
        {"launch_id": {"$in": step.seen.get("launches", [])}, "state": {"$in": _HELD}},
        {"$set": {"state": "FIZZLED", "lost": step.reason}},
    )
    return True


def _unlock(launchpad: LaunchPad, step: Step) -> bool:
    # Only the lock that was judged: somebody else may have mended this one meanwhile.
    judged = {"_id": step.seen["_id"], LOCK_HOLDER: step.seen[LOCK_HOLDER]}
    if launchpad.workflows.find_one(judged, {"_id": 1}) is None:
        return False
    # What follows from the end of a job is derived when its state changes, so it has to change again.
    launchpad.fireworks.update_many(
        {"fw_id": {"$in": list(step.fireworks)}}, {"$set": {"state": "RUNNING"}}
    )
    launchpad.workflows.update_one(judged, {"$unset": {"locked": "", LOCK_HOLDER: ""}})
    for fw_id in step.fireworks:
        launchpad._refresh_wf(fw_id)
    return True


def _now(launchpad: LaunchPad) -> datetime:
    """Time by the server's clock, the only one that all machines can compare theirs with."""
    return datetime.now(UTC) - timedelta(seconds=clock_ahead(launchpad.connection))


def _time(value: datetime | str) -> datetime:
    """Read a time as FireWorks stores it: sometimes a date, sometimes its ISO text, always UTC."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
