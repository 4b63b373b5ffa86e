"""Whether a job still runs, by its process, its batch job or its heartbeats, in this order.

A worker that is killed leaves its firework RUNNING or RESERVED. Its identity is stored with the
launch (:func:`mgflows.launch.processes.identity`). The best available evidence decides: the
process, if this machine can see it; else the batch job, if this machine can query its queue; and
only for a worker outside of batch jobs, the time since its last heartbeat.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from mgflows.launch.batch_system import RESERVED_AT, SUBMITTED_TO
from mgflows.launch.bookkeeping import HEARTBEAT, LAST_CHANGE
from mgflows.launch.launchpad import EXPIRATION_PINGS
from mgflows.launch.processes import is_known_dead, server_time, was_restarted
from mgflows.recovery.queues import JobState

if TYPE_CHECKING:
    from fireworks import LaunchPad

    from mgflows.recovery.queues import QueuedJob, Queues

__all__ = [
    "ENDED_BY_LAUNCHER",
    "GRACE_SECONDS",
    "SUBMISSION_SECONDS",
    "WORKER_EXIT",
    "Diagnosis",
    "ProcessState",
    "batch_job_of",
    "diagnose",
    "has_ended",
    "is_dead",
    "last_launch",
    "parse_time",
    "stall_reason",
]

GRACE_SECONDS = 5.0
"""Age in s above which an intermediate state was left by a dead worker: a worker makes two writes
between taking a firework and storing its launch, and one between the last write and unlocking a
workflow."""
SUBMISSION_SECONDS = 600.0
"""Between reserving a firework and storing its job id, qlaunch waits for sbatch or qsub; between
adding fireworks and linking them in a workflow there are two writes."""
_UNKNOWN_WORKER_TIMEOUT = 4 * 3600.0
"""FireWorks' limit in s (RUN_EXPIRATION_SECS), for workers without an identity."""

WORKER_EXIT = "worker_exit"
"""Key of a launch: how its worker ended, as noted by the program that started the worker."""
ENDED_BY_LAUNCHER = "ended_by_launcher"
"""Key of a launch: its worker was killed because the launcher was stopped."""
_FROM_OUTSIDE = {"BOOT_FAIL", "CANCELLED", "DEADLINE", "NODE_FAIL", "PREEMPTED", "REVOKED"}
"""States of Slurm jobs (squeue(1), JOB STATE CODES) that their processes did not cause."""


class ProcessState(enum.StrEnum):
    """Whether a job still runs."""

    LIVE = "live"
    LOST = "lost"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class Diagnosis:
    """Whether a job still runs, and the evidence.

    Attributes
    ----------
    state
        `UNCLEAR` is left alone.
    reason
        The evidence.
    from_outside
        Whether a lost job is known not to have caused the death of its worker.
    """

    state: ProcessState
    reason: str
    from_outside: bool = False


def diagnose(launchpad: LaunchPad, firework: dict[str, Any], queues: Queues) -> Diagnosis:
    """Determine whether a RUNNING or RESERVED firework still runs.

    Parameters
    ----------
    launchpad
        The LaunchPad with its launches.
    firework
        Its document, at least `fw_id`, `launches` and `updated_on`.
    queues
        The batch system of this machine; created after `firework` was read.
    """
    launch = last_launch(launchpad, firework)
    if launch is None:
        # Reserved; its launch is not stored yet, or its worker died before storing it.
        age = server_time(launchpad.connection) - parse_time(firework["updated_on"])
        if age > timedelta(seconds=GRACE_SECONDS):
            return Diagnosis(ProcessState.LOST, "its worker died while taking it", True)
        return Diagnosis(ProcessState.LIVE, "a worker is taking it")
    if launch["state"] == "RESERVED":
        return _diagnose_reservation(launch, queues, server_time(launchpad.connection))
    if launch["state"] != "RUNNING":
        return Diagnosis(ProcessState.LIVE, f"its launch is {launch['state']}")
    who = (launch.get("fworker") or {}).get("env") or {}
    from_outside = bool(launch.get(ENDED_BY_LAUNCHER))
    dead = is_known_dead(who)
    if dead:
        cause = f" ({launch[WORKER_EXIT]})" if launch.get(WORKER_EXIT) else ""
        reason = f"its worker (process {who['pid']}) died{cause}"
        return Diagnosis(ProcessState.LOST, reason, from_outside)
    if dead is not None:
        return Diagnosis(ProcessState.LIVE, f"its worker (process {who['pid']}) runs")
    job = batch_job_of(launch)
    found = _diagnose_job(job, queues) if job is not None else None
    if found is not None:
        return found
    heard = _last_heartbeat(launch, who)
    timeout = (
        EXPIRATION_PINGS * who["ping_seconds"] if "ping_seconds" in who else _UNKNOWN_WORKER_TIMEOUT
    )
    where = who.get("host") or launch.get("host") or "another machine"
    since = f"{heard:%Y-%m-%d %H:%M:%S} UTC"
    if server_time(launchpad.connection) - heard <= timedelta(seconds=timeout):
        return Diagnosis(ProcessState.LIVE, f"last heartbeat of its worker on {where}: {since}")
    reason = f"no heartbeat from its worker on {where} since {since}"
    if job is None and was_restarted(who):
        return Diagnosis(ProcessState.LOST, f"{reason}; the machine was restarted", True)
    if job is None:
        return Diagnosis(ProcessState.LOST, reason, from_outside)
    return Diagnosis(
        ProcessState.UNCLEAR,
        f"{reason}, but its job {job['id']}{_place(job)} is in a queue that cannot be queried from "
        "here; run mgflows heal there",
    )


def stall_reason(
    launchpad: LaunchPad, firework: dict[str, Any], stall_seconds: float
) -> str | None:
    """The reason why a running firework seems to hang; None if it does not.

    A job hangs if no file in its launch directory has changed for `stall_seconds`; its worker
    records the time of the last change with each heartbeat.
    """
    launch = last_launch(launchpad, firework)
    if launch is None or launch["state"] != "RUNNING" or launch.get(LAST_CHANGE) is None:
        return None
    changed = parse_time(launch[LAST_CHANGE])
    if server_time(launchpad.connection) - changed <= timedelta(seconds=stall_seconds):
        return None
    who = (launch.get("fworker") or {}).get("env") or {}
    job = batch_job_of(launch)
    remedy = (
        f"cancel job {job['id']}"
        if job is not None
        else f"kill {who.get('pid')} on {who.get('host') or launch.get('host')}"
    )
    return (
        f"no file in {launch['launch_dir']} has changed since {changed:%Y-%m-%d %H:%M:%S} UTC; if "
        f"it hangs, end its worker ({remedy}), then: mgflows heal --yes"
    )


def is_dead(holder: dict[str, Any], queues: Queues) -> bool:
    """Whether the process that holds a lock is known to have ended."""
    dead = is_known_dead(holder)
    if dead is not None or "batch_job" not in holder:
        return bool(dead)
    found = _diagnose_job(holder["batch_job"], queues)
    return found is not None and found.state is ProcessState.LOST


def last_launch(launchpad: LaunchPad, firework: dict[str, Any]) -> dict[str, Any] | None:
    """The present launch of a firework; None if there is none."""
    launch = launchpad.launches.find_one(
        {"fw_id": firework["fw_id"]}, {"action": 0, "finished": 0}, sort=[("launch_id", -1)]
    )
    return launch if launch is not None and launch["launch_id"] in firework["launches"] else None


def batch_job_of(launch: dict[str, Any] | None) -> dict[str, Any] | None:
    """The batch job that a launch runs in or is reserved for; None if none is recorded."""
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
    if not numbers:
        return None
    job = {"id": str(numbers[-1])}
    if launch["state"] == "RUNNING":
        return job
    # Without the name of the cluster, the queue is that of the host that submitted the job.
    return job | (launch.get(SUBMITTED_TO) or {"host": launch.get("host")})


def has_ended(launchpad: LaunchPad, firework: dict[str, Any]) -> bool:
    """Whether all launches of a firework have ended although it counts as running."""
    launches = list(
        launchpad.launches.find({"launch_id": {"$in": firework["launches"]}}, {"state": 1})
    )
    return bool(launches) and all(
        launch["state"] in ("COMPLETED", "FIZZLED") for launch in launches
    )


def parse_time(value: datetime | str) -> datetime:
    """Read a time as FireWorks stores it: a date or its ISO text, always UTC."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _last_heartbeat(launch: dict[str, Any], who: dict[str, Any]) -> datetime:
    """Time of the last heartbeat by the server's clock."""
    if HEARTBEAT in launch:
        return parse_time(launch[HEARTBEAT])
    written = next(
        entry["updated_on"]
        for entry in reversed(launch["state_history"])
        if entry["state"] == "RUNNING"
    )
    return parse_time(written) - timedelta(seconds=who.get("clock_ahead", 0.0))


def _place(job: dict[str, Any]) -> str:
    """Location of the queue of a batch job, as far as it is known."""
    if job.get("cluster"):
        return f" of the cluster {job['cluster']}"
    return f", submitted on {job['host']}" if job.get("host") else ""


def _diagnose_reservation(launch: dict[str, Any], queues: Queues, now: datetime) -> Diagnosis:
    job = batch_job_of(launch)
    if job is None:
        entry = launch["state_history"][-1]
        since = parse_time(
            launch.get(RESERVED_AT) or entry.get("created_on") or entry["updated_on"]
        )
        if now - since > timedelta(seconds=SUBMISSION_SECONDS):
            reason = (
                f"it has been reserved since {since:%Y-%m-%d %H:%M:%S} UTC, but no job was "
                "submitted for it"
            )
            return Diagnosis(ProcessState.LOST, reason, True)
        return Diagnosis(ProcessState.LIVE, "a job is being submitted for it")
    state = queues.state(job)
    if state is None:
        return Diagnosis(
            ProcessState.UNCLEAR,
            f"it is reserved for job {job['id']}{_place(job)}, in a queue that cannot be queried "
            "from here; run mgflows heal there",
        )
    if state.state is JobState.ENDED:
        reason = (
            f"it is reserved for job {job['id']}, which ended ({state.word}) without starting it"
        )
        return Diagnosis(ProcessState.LOST, reason, True)
    return Diagnosis(ProcessState.LIVE, f"job {job['id']} is {state.word}")


def _diagnose_job(job: dict[str, Any], queues: Queues) -> Diagnosis | None:
    """State of a worker's batch job in the queue; None if it cannot be queried."""
    found = queues.state(job)
    if found is None:
        return None
    if found.state is JobState.ENDED:
        reason = f"its job {job['id']} has ended ({found.word})"
        return Diagnosis(ProcessState.LOST, reason, found.word in _FROM_OUTSIDE)
    if found.state is JobState.WAITING:
        reason = f"its job {job['id']} was requeued ({found.word})"
        return Diagnosis(ProcessState.LOST, reason, True)
    if _was_restarted(job, found):
        reason = f"its job {job['id']} was requeued and has started again"
        return Diagnosis(ProcessState.LOST, reason, True)
    return Diagnosis(ProcessState.LIVE, f"job {job['id']} is {found.word}")


def _was_restarted(job: dict[str, Any], found: QueuedJob) -> bool:
    return (
        found.restarts is not None and "restarts" in job and found.restarts > int(job["restarts"])
    )
