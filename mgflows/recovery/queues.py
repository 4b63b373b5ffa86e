"""The states of batch jobs, from `squeue` (Slurm) or `qstat -f` (PBS Pro, OpenPBS and Torque).

No conclusion is drawn from a queue that does not answer or that belongs to another cluster.
"""

from __future__ import annotations

import enum
import functools
import logging
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mgflows.launch.batch_system import ANSWER_SECONDS, cluster_name, run, scheduler

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["JobState", "QueuedJob", "Queues", "parse_qstat", "parse_squeue", "partitions"]

logger = logging.getLogger(__name__)

_LONGEST_ANSWER = 50_000_000
_CHUNK = 500
"""Number of job ids in one command line."""
_SQUEUE_FORMAT = "JobID:|,State:|,RestartCnt:|"
_UNKNOWN_TO_SQUEUE = "Invalid job id specified"


class JobState(enum.StrEnum):
    """State of a batch job."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True)
class QueuedJob:
    """A job and its state in the queue.

    Attributes
    ----------
    id
        Its id, as the queue prints it.
    state
        Its state.
    word
        The queue's own word for the state.
    restarts
        Number of times it was requeued and started again; None if the queue does not report it.
    """

    id: str
    state: JobState
    word: str
    restarts: int | None = None


# squeue(1), JOB STATE CODES: these may have processes; waiting jobs have none; others have ended.
_SLURM_RUNNING = {
    "RUNNING",
    "COMPLETING",
    "CONFIGURING",
    "SUSPENDED",
    "STOPPED",
    "SIGNALING",
    "STAGE_OUT",
    "RESIZING",
}
_SLURM_WAITING = {
    "PENDING",
    "REQUEUED",
    "REQUEUE_FED",
    "REQUEUE_HOLD",
    "SPECIAL_EXIT",
    "RESV_DEL_HOLD",
}
# qstat(1B) of PBS Pro and Torque. B: array with running members; U, S: suspended jobs.
_PBS_RUNNING = set("REBSU")
_PBS_WAITING = set("QHWTM")


def parse_squeue(text: str) -> dict[str, QueuedJob]:
    """Parse ``squeue --noheader --states=all -O "JobID:|,State:|,RestartCnt:|"``.

    Returns
    -------
    dict
        Job id to job. A pending job array has its own id.
    """
    jobs = {}
    for line in text[:_LONGEST_ANSWER].splitlines():
        fields = [field.strip() for field in line.split("|")]
        if len(fields) < 3 or not fields[0].isdigit():
            continue
        number, word, restarts = fields[:3]
        state = (
            JobState.RUNNING
            if word in _SLURM_RUNNING
            else JobState.WAITING
            if word in _SLURM_WAITING
            else JobState.ENDED
        )
        jobs[number] = QueuedJob(number, state, word, int(restarts) if restarts.isdigit() else None)
    return jobs


def parse_qstat(text: str) -> dict[str, QueuedJob]:
    """Parse ``qstat -f ID ...``.

    The JSON of ``-F json`` is not used: Torque has only the text, and PBS does not escape the jobs'
    environments in its JSON.

    Returns
    -------
    dict
        Job id, such as ``"123.server"``, to job.
    """
    jobs = {}
    for block in re.split(r"^Job Id: *", text[:_LONGEST_ANSWER], flags=re.MULTILINE)[1:]:
        name = block.split(None, 1)[0]
        found = re.search(r"^\s+job_state = (\w)", block, re.MULTILINE)
        if found is None:
            continue
        letter = found.group(1)
        state = (
            JobState.RUNNING
            if letter in _PBS_RUNNING
            else JobState.WAITING
            if letter in _PBS_WAITING
            else JobState.ENDED
        )
        jobs[name] = QueuedJob(name, state, letter)
    return jobs


class Queues:
    """The batch system of this machine, queried once for each job.

    An object is a snapshot. Read the database before creating it, so that every job that the
    database names had been submitted by then.

    Parameters
    ----------
    configured
        `scheduler` of the settings; with ``"none"`` the commands on PATH decide.
    """

    def __init__(self, configured: str = "none") -> None:
        self._configured = configured
        self._found: dict[tuple[str, str], QueuedJob | None] = {}
        self.warnings: list[str] = []

    @functools.cached_property
    def scheduler(self) -> str | None:
        """``"slurm"``, ``"pbs"`` or None: the batch system that can be queried from here."""
        return scheduler(self._configured)

    @functools.cached_property
    def cluster(self) -> str | None:
        """Name of the cluster of this machine; None if it is not known."""
        return cluster_name(self.scheduler)

    def look_up(self, jobs: Iterable[Mapping[str, Any]]) -> None:
        """Query many jobs (see :func:`mgflows.settings.batch_job`) with few commands."""
        numbers = sorted(
            {str(job["id"]) for job in jobs if self._is_ours(job)}
            - {number for _, number in self._found}
        )
        for start in range(0, len(numbers), _CHUNK):
            chunk = numbers[start : start + _CHUNK]
            found = self._query(chunk)
            if found is None:
                continue
            by_number = {name.split(".")[0]: job for name, job in found.items()}
            for number in chunk:
                ended = QueuedJob(number, JobState.ENDED, "not in the queue")
                self._found[(str(self.scheduler), number)] = (
                    found.get(number) or by_number.get(number.split(".")[0]) or ended
                )

    def state(self, job: Mapping[str, Any]) -> QueuedJob | None:
        """State of a job in the queue; None if it cannot be queried from here."""
        if not self._is_ours(job):
            return None
        self.look_up([job])
        return self._found.get((str(self.scheduler), str(job["id"])))

    def _is_ours(self, job: Mapping[str, Any]) -> bool:
        if self.scheduler is None or job.get("scheduler") not in (None, self.scheduler):
            return False
        # Ids are unique on one cluster only.
        if not job.get("cluster"):
            return job.get("host") in (None, socket.gethostname())
        if self.cluster is None:
            # PBS reports only jobs whose id names its own server.
            return self.scheduler == "pbs" and "." in str(job["id"])
        # PBS names its server with or without the domain.
        return str(job["cluster"]).split(".")[0] == self.cluster.split(".")[0]

    def _query(self, numbers: list[str]) -> dict[str, QueuedJob] | None:
        if self.scheduler == "slurm":
            # squeue fails for a single unknown id; of two ids, even equal ones, it omits it.
            command = [
                "squeue",
                "--noheader",
                "--states=all",
                "-O",
                _SQUEUE_FORMAT,
                "--jobs=" + ",".join([*numbers, numbers[-1]]),
            ]
            answer = run(command)
            if answer is not None and (
                answer.returncode == 0 or _UNKNOWN_TO_SQUEUE in answer.stderr
            ):
                return parse_squeue(answer.stdout)
        else:
            answer = run(["qstat", "-f", *numbers])
            # It prints the known jobs, reports each unknown one, and then fails.
            problems = (
                [line for line in answer.stderr.splitlines() if line.strip()]
                if answer is not None
                else []
            )
            harmless = all(re.search(r"Unknown Job Id|Job has finished", line) for line in problems)
            if answer is not None and harmless and (answer.returncode == 0 or problems):
                return parse_qstat(answer.stdout)
        words = (
            (answer.stderr.strip().splitlines() or ["no answer"])[-1]
            if answer is not None
            else f"no answer within {ANSWER_SECONDS:g} s"
        )
        warning = f"{'squeue' if self.scheduler == 'slurm' else 'qstat'} does not answer: {words}"
        if warning not in self.warnings:
            logger.warning("%s", warning)
            self.warnings.append(warning)
        return None


def partitions(system: str) -> list[str] | None:
    """Names of all partitions (Slurm) or queues; None if the batch system does not answer.

    Parameters
    ----------
    system
        ``"slurm"``, ``"pbs"``, ``"sge"`` or ``"lsf"``.
    """
    command = {
        "slurm": ["sinfo", "--noheader", "--all", "-o", "%R"],
        "pbs": ["qstat", "-Q", "-f"],
        "sge": ["qconf", "-sql"],
        "lsf": ["bqueues", "-noheader", "-o", "queue_name"],
    }[system]
    answer = run(command)
    if answer is None or answer.returncode != 0:
        return None
    if system != "pbs":
        return sorted(set(answer.stdout.split()))
    return re.findall(r"^Queue: *(\S+)", answer.stdout, re.MULTILINE)
