"""The firetask that runs one jobflow job, and the compilation of jobs into fireworks of it.

Beyond jobflow's own firetask it refuses a JobStore in memory, lets dynamic jobs refer to earlier
outputs, keeps a finished result when its worker dies before FireWorks has recorded it, resumes from
checkpoints of earlier launches, and leaves the printed output in the launch directory.
"""

from __future__ import annotations

import copy
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bson
from fireworks import Firework, FWAction, Workflow, explicit_serialize
from fireworks.core import rocket
from jobflow.managers.fireworks import JobFiretask
from pymongo.errors import ConnectionFailure, DocumentTooLarge, OperationFailure

from mgflows.checkpoints import checkpoints_kept
from mgflows.database.failures import read_failures
from mgflows.errors import InputError, ServiceError, clean_text, mask_credentials
from mgflows.jobs.maker import update_arguments
from mgflows.jobs.parents import with_failed_parents
from mgflows.launch.interruption import Interrupted, stop_request
from mgflows.launch.job_files import copy_checkpoints, printing_to_files
from mgflows.launch.offline import OfflineRun
from mgflows.launch.outputs import LaunchJobStore, SupersededError
from mgflows.launch.plan import MAX_FIREWORKS, jobs_of
from mgflows.launch.processes import clock_ahead, end_if_forked, identity

if TYPE_CHECKING:
    from jobflow import Flow, Job, JobStore, Response

__all__ = [
    "JobError",
    "JobTask",
    "as_flow",
    "compile_jobs",
    "refuse_store_in_memory",
    "to_workflow",
]

logger = logging.getLogger(__name__)

_TOO_LARGE = 10334
"""MongoDB's code for a document that is too large."""
_LONGEST_TRACEBACK = 100_000
_FIELDS = {"launch_id": 1, "state": 1, "launch_dir": 1, "finished": 1, "fworker.env.pid": 1}


class JobError(Exception):
    """An error of a job whose original text cannot be stored.

    It contains the traceback without credentials, shortened to a bounded length.
    """


@explicit_serialize
class JobTask(JobFiretask):
    """Run one jobflow job and store its output in the worker's JobStore.

    Its only parameter is ``job``, without a store: a store would carry the database's password into
    every firework document.
    """

    required_params = ("job",)

    def run_task(self, fw_spec: dict[str, Any]) -> FWAction:  # noqa: ARG002
        """Run the job; its standard output and error go to files in the launch directory.

        Raises
        ------
        ServiceError
            If the worker's JobStore is in memory.
        Interrupted
            If the process receives a request to stop, or the database remains unavailable.
        SupersededError
            If the job was given to another launch in the meantime.
        JobError
            Replaces an error that cannot be stored: its text contains credentials, is very long or
            is not valid UTF-8, or MongoDB cannot store its ``to_dict``.
        """
        process = os.getpid()
        with printing_to_files():
            try:
                action = self._run()
                end_if_forked(process)
                return action
            except BaseException as error:
                text = traceback.format_exc()
                if os.getpid() != process:
                    with suppress(OSError):
                        sys.stderr.write(text)
                        sys.stderr.flush()
                    end_if_forked(process)
                clean = clean_text(text, _LONGEST_TRACEBACK)
                # FireWorks stores it in the database; this copy is for readers of the directory.
                with suppress(OSError):
                    sys.stderr.write(clean)
                is_storable = clean == text and _can_store_details(error)
                if is_storable or isinstance(error, Interrupted | SupersededError):
                    raise
                raise JobError(clean) from None

    def _run(self) -> FWAction:
        from jobflow import SETTINGS

        job: Job = self["job"]
        if hasattr(self, "fw_id") and self.launchpad is None:
            return self._run_offline(job)
        store: JobStore = SETTINGS.JOB_STORE
        refuse_store_in_memory(store)
        store.connect()
        if not hasattr(self, "fw_id"):
            return self._compute(job, store)
        launches = self._launches()
        if (action := self._finished_before(job, store, launches)) is not None:
            logger.info("the output of %s was stored by an earlier launch and is kept", job.name)
            return action
        job.metadata["fw_id"] = self.fw_id
        self._identify(launches[-1])
        self._take_over_checkpoints(launches[:-1])
        seconds = getattr(self.launchpad, "outage_seconds", 0.0)
        own = LaunchJobStore(store, self.launchpad.launches, launches[-1]["launch_id"], seconds)
        with checkpoints_kept(), with_failed_parents(self._failed_parents):
            action = self._compute(job, own)
            self._remember(action, own)
        return action

    def _run_offline(self, job: Job) -> FWAction:
        """Run the job without a connection; `recover_offline` stores its output later."""
        run = OfflineRun()
        job.metadata["fw_id"] = self.fw_id
        self._take_over_checkpoints(run.launches)
        with checkpoints_kept():
            action = self._compute(job, run.store)
            try:
                run.write_output(job)
            except DocumentTooLarge as error:
                raise _too_large(job) from error
        return action

    def _launches(self) -> list[dict[str, Any]]:
        """The launches of this firework; the last one is the current one."""
        known = getattr(self.launchpad, "only_launch", None)
        if known is not None and known["fw_id"] == self.fw_id:
            return [known]
        found = list(self.launchpad.launches.find({"fw_id": self.fw_id}, _FIELDS))
        return sorted(found, key=lambda launch: launch["launch_id"])

    def _compute(self, job: Job, store: JobStore) -> FWAction:
        """Run the job and store its output."""
        try:
            update_arguments(job)
            with stop_request.job():
                response = job.run(store=store)
        except (DocumentTooLarge, OperationFailure) as error:
            if isinstance(error, DocumentTooLarge) or error.code == _TOO_LARGE:
                raise _too_large(job) from error
            raise
        except ConnectionFailure as error:
            reason = mask_credentials(str(error))
            raise Interrupted(f"the database stayed unavailable: {reason}") from error
        return self._action(response)

    def _action(self, response: Response) -> FWAction:
        detours = [
            self._workflow(new) for new in (response.replace, response.detour) if new is not None
        ]
        additions = [self._workflow(response.addition)] if response.addition is not None else None
        return FWAction(
            stored_data=response.stored_data,
            detours=detours or None,
            additions=additions,
            defuse_workflow=response.stop_jobflow,
            defuse_children=response.stop_children,
        )

    def _workflow(self, flow: Flow | Job) -> Workflow:
        workflow = to_workflow(flow, allow_external_references=True)
        if hasattr(self, "fw_id"):
            present = self.launchpad.workflows.find_one({"nodes": self.fw_id}, {"nodes": 1})
            total = len(workflow.id_fw) + (len(present["nodes"]) if present else 0)
            if total > MAX_FIREWORKS:
                raise ServiceError(
                    f"{len(workflow.id_fw)} new jobs would make this a workflow of {total} "
                    f"fireworks, more than the {MAX_FIREWORKS} that FireWorks handles well",
                    hint="let each job do a larger share",
                )
        return workflow

    def _failed_parents(self) -> dict[str, str]:
        """Name and reason of the failed jobs whose outputs this job refers to."""
        failures = read_failures(self.launchpad.db, job_uuids=self["job"].input_uuids)
        return {failure.name: failure.reason for failure in failures}

    def _finished_before(
        self, job: Job, store: JobStore, launches: list[dict[str, Any]]
    ) -> FWAction | None:
        """The result of an earlier launch that stored its output without FireWorks recording it."""
        # A rerun of a completed firework is a request to compute again.
        if any(launch["state"] == "COMPLETED" for launch in launches):
            return None
        finished = [launch["finished"] for launch in launches if "finished" in launch]
        key = {"uuid": job.uuid, "index": job.index}
        if finished and store.query_one(key, properties=["uuid"]) is not None:
            return FWAction.from_dict(finished[-1])
        return None

    def _identify(self, launch: dict[str, Any]) -> None:
        """Record this process on its launch, if FireWorks' own rlaunch started it.

        Workers of mgflows do so when they take a job; `mgflows heal` needs it to find dead workers.
        """
        if "pid" in ((launch.get("fworker") or {}).get("env") or {}):
            return
        me = {
            **identity(),
            "ping_seconds": rocket.PING_TIME_SECS,
            "clock_ahead": clock_ahead(self.launchpad.connection),
        }
        self.launchpad.launches.update_one(
            {"launch_id": launch["launch_id"], "state": "RUNNING"},
            {"$set": {f"fworker.env.{name}": value for name, value in me.items()}},
        )

    def _take_over_checkpoints(self, earlier: list[dict[str, Any]]) -> None:
        """Copy the checkpoints of the last launch of this firework, if its directory is visible."""
        here = Path.cwd()
        for launch in reversed(earlier):
            # A rerun of a completed firework is a request to compute again.
            if launch["state"] == "COMPLETED":
                return
            directory = Path(launch["launch_dir"])
            if directory == here:
                continue
            try:
                names = copy_checkpoints(directory, here)
            except OSError as error:
                # For example, files of another user that are not readable for the group.
                logger.warning("the checkpoints in %s cannot be used: %s", directory, error)
                continue
            if names:
                logger.info("resuming from %s of %s", ", ".join(names), directory)
                return

    def _remember(self, action: FWAction, store: LaunchJobStore) -> None:
        """Record on the launch that the output is stored; FireWorks removes this on completion."""
        try:
            store.confirm({"finished": action.to_dict()})
        except (DocumentTooLarge, OperationFailure) as error:
            logger.info("the follow-up jobs are too large to record on the launch: %s", error)
            store.confirm({})


def _too_large(job: Job) -> InputError:
    return InputError(
        f"the output of {job.name!r} does not fit into a document of 16 MB",
        hint="let the job declare its arrays for the additional store "
        "(@job(data=[...])), or write files and return their paths",
    )


def _can_store_details(error: BaseException) -> bool:
    """Whether MongoDB can store what FireWorks takes from an error's ``to_dict``, if it has one."""
    if not hasattr(error, "to_dict"):
        return True
    try:
        bson.encode({"details": error.to_dict()})
    except Exception:  # noqa: BLE001
        return False
    return True


def refuse_store_in_memory(store: JobStore) -> None:
    """Raise ServiceError if any part of a JobStore is in memory, where no other process sees it."""
    from maggma.stores import MemoryStore

    # jobflow's default creates a store in memory for every requested name.
    in_memory = getattr(store.additional_stores, "default_factory", None) is not None
    in_memory |= any(
        isinstance(part, MemoryStore)
        for part in (store.docs_store, *store.additional_stores.values())
    )
    if in_memory:
        raise ServiceError(
            "the JobStore of this worker is in memory, all results would be lost",
            hint="start workers with `python -m mgflows.launch.worker`, or set "
            "JOBFLOW_CONFIG_FILE to a jobflow.yaml with a MongoStore",
        )


def to_workflow(flow: Flow | Job, *, allow_external_references: bool = False) -> Workflow:
    """Compile a flow into one workflow of any size; dynamic jobs in FireWorks need this.

    Raises
    ------
    InputError
        If a job refers to a job that is not in the flow.
    """
    flow = as_flow(flow, allow_external_references)
    return compile_jobs(jobs_of(flow), flow.name)


def as_flow(flow: Flow | Job | Sequence[Flow | Job], allow_external_references: bool) -> Flow:
    """Return one complete flow of a Flow, a Job or several.

    Raises
    ------
    InputError
        If a job refers to a job that is not in the flow.
    """
    from jobflow import Flow
    from jobflow.core.flow import get_flow

    if not isinstance(flow, Flow):
        # A job can belong to one flow only: copies leave the caller's jobs free.
        jobs = copy.deepcopy(list(flow) if isinstance(flow, Sequence) else [flow])
        flow = Flow(jobs, name=jobs[0].name)
    try:
        return get_flow(flow, allow_external_references=allow_external_references)
    except ValueError as error:
        raise InputError(
            f"the flow is not complete: {error}", hint="add the jobs whose outputs it refers to"
        ) from error


def compile_jobs(jobs: Iterable[tuple[Job, Sequence[str]]], name: str) -> Workflow:
    """Compile (job, uuids of its parents) pairs, parents first, into a workflow."""
    from jobflow import OnMissing

    fireworks: dict[str, Firework] = {}
    campaigns = set()
    for job, parents in jobs:
        # The first gives the firetask its firework and the LaunchPad; the second is for queries.
        spec: dict[str, Any] = {"_add_launchpad_and_fw_id": True, "job_uuid": job.uuid}
        if job.config.on_missing_references != OnMissing.ERROR:
            spec["_allow_fizzled_parents"] = True
        spec.update(job.config.manager_config)
        spec.update(job.metadata)
        tags = job.metadata.get("mgflows", {})
        # One field that is always present, so that progress can be counted in an index.
        spec["group"] = f"{tags.get('stage') or ''}/{tags.get('subset') or ''}"
        known = [fireworks[parent] for parent in parents if parent in fireworks]
        fireworks[job.uuid] = Firework(
            [JobTask(job=job)], spec=spec, name=job.name, parents=known or None
        )
        campaigns.add(tags.get("campaign"))
    campaign = campaigns.pop() if len(campaigns) == 1 else None
    return Workflow(
        list(fireworks.values()),
        name=name,
        metadata={"mgflows": {"campaign": campaign}} if campaign else {},
    )
