"""The firetask that runs one jobflow job.

It does what jobflow's own does, and beyond it: it refuses a store that forgets, lets dynamic jobs refer to earlier outputs, keeps a finished
result when its worker dies before FireWorks knows, and leaves what the job printed in its launch directory.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fireworks import FWAction, explicit_serialize
from jobflow.managers.fireworks import JobFiretask
from pymongo.errors import ConnectionFailure, DocumentTooLarge, OperationFailure

from mgflows.errors import InputError, ServiceError
from mgflows.jobs.progress import CHECKPOINTS
from mgflows.launch.interruption import Interrupted, stop_request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobflow import Flow, Job, JobStore, Response

logger = logging.getLogger(__name__)

STDOUT, STDERR = "job.out", "job.err"
_TOO_LARGE = 10334
"""MongoDB's code for a document that is too large."""


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
            If the process is told to stop, or the database stays away.
        """
        with _printing_to_files():
            try:
                return self._run()
            except BaseException:
                # FireWorks stores it in the database; whoever looks into the launch directory wants it too, if there is space for it.
                with suppress(OSError):
                    traceback.print_exc()
                raise

    def _run(self) -> FWAction:
        from jobflow import SETTINGS

        job: Job = self["job"]
        store: JobStore = SETTINGS.JOB_STORE
        refuse_forgetful_store(store)
        store.connect()
        if (action := self._finished_before(job, store)) is not None:
            logger.info(
                "the output of %s was already stored by a launch that died before it could say so",
                job.name,
            )
            return action
        if hasattr(self, "fw_id"):
            job.metadata.update({"fw_id": self.fw_id})
            self._take_over_checkpoints()
        try:
            with stop_request.job():
                response = job.run(store=store)
        except (DocumentTooLarge, OperationFailure) as error:
            if isinstance(error, DocumentTooLarge) or error.code == _TOO_LARGE:
                raise InputError(
                    f"the output of {job.name!r} does not fit into a document of 16 MB; let the job declare its arrays for the additional store "
                    "(@job(data=[...])), or write files and return their paths"
                ) from error
            raise
        except ConnectionFailure as error:
            raise Interrupted(f"the database went away and did not come back: {error}") from error
        action = self._action(response)
        self._remember(action)
        return action

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

    def _workflow(self, flow: Flow | Job) -> Any:
        from mgflows.launch.plan import MAX_FIREWORKS
        from mgflows.launch.workflows import to_workflow

        workflow = to_workflow(flow, allow_external_references=True)
        if hasattr(self, "fw_id"):
            present = self.launchpad.workflows.find_one({"nodes": self.fw_id}, {"nodes": 1})
            total = len(workflow.id_fw) + (len(present["nodes"]) if present else 0)
            if total > MAX_FIREWORKS:
                raise ServiceError(
                    f"{len(workflow.id_fw)} new jobs would make this a workflow of {total} fireworks, more than the {MAX_FIREWORKS} that "
                    "FireWorks handles well; let each job do a larger share"
                )
        return workflow

    def _finished_before(self, job: Job, store: JobStore) -> FWAction | None:
        """What an earlier launch of this firework would have told FireWorks, if it stored its output and died before it could."""
        if not hasattr(self, "fw_id"):
            return None
        launches = list(
            self.launchpad.launches.find({"fw_id": self.fw_id}, {"state": 1, "finished": 1})
        )
        # A firework that was completed and is run again was asked to compute again.
        if any(launch["state"] == "COMPLETED" for launch in launches):
            return None
        finished = [launch["finished"] for launch in launches if "finished" in launch]
        if (
            finished
            and store.query_one({"uuid": job.uuid, "index": job.index}, properties=["uuid"])
            is not None
        ):
            return FWAction.from_dict(finished[-1])
        return None

    def _take_over_checkpoints(self) -> None:
        """Copy what an earlier launch of this firework left to go on from, if it is the same job and its directory can be seen from here."""
        here = Path.cwd()
        earlier = self.launchpad.launches.find(
            {"fw_id": self.fw_id}, {"launch_dir": 1, "state": 1}
        ).sort("launch_id", -1)
        for launch in earlier:
            # One that was completed and runs again was asked to compute again.
            if launch["state"] == "COMPLETED":
                return
            directory = Path(launch["launch_dir"])
            if directory == here or not directory.is_dir():
                continue
            found = sorted(path for pattern in CHECKPOINTS for path in directory.glob(pattern))
            for path in found:
                _copy(path, here / path.name)
            if found:
                logger.info(
                    "going on from %s of %s", ", ".join(path.name for path in found), directory
                )
                return

    def _remember(self, action: FWAction) -> None:
        """Note on the launch that the output is stored; FireWorks writes the launch anew, without the note, when it completes it."""
        if not hasattr(self, "fw_id"):
            return
        try:
            self.launchpad.launches.find_one_and_update(
                {"fw_id": self.fw_id, "state": "RUNNING"},
                {"$set": {"finished": action.to_dict()}},
                sort=[("launch_id", -1)],
            )
        except (DocumentTooLarge, OperationFailure) as error:
            logger.info(
                "a crash in the next moments would cost this result, its follow-up jobs are too large to note: %s",
                error,
            )


def refuse_forgetful_store(store: JobStore) -> None:
    """Raise ServiceError if a part of a JobStore is in memory (or a file that is read into it): other processes would not see it."""
    from maggma.stores import MemoryStore

    # jobflow's default makes up a store in memory for every name it is asked for.
    forgetful = getattr(store.additional_stores, "default_factory", None) is not None
    forgetful |= any(
        isinstance(part, MemoryStore)
        for part in (store.docs_store, *store.additional_stores.values())
    )
    if forgetful:
        raise ServiceError(
            "the JobStore of this worker is in memory, all results would be lost; start workers with `python -m mgflows.launch.worker`, "
            "or set JOBFLOW_CONFIG_FILE to a jobflow.yaml with a MongoStore"
        )


def _copy(source: Path, target: Path) -> None:
    """Copy a file or folder so that there is all of it or none: this launch may be killed, too."""
    partial = target.with_name(f".{target.name}.partial")
    if source.is_dir():
        shutil.copytree(source, partial)
    else:
        shutil.copy2(source, partial)
    partial.replace(target)


@contextmanager
def _printing_to_files() -> Iterator[None]:
    """Send file descriptors 1 and 2, and so also what child processes print, to files in the current directory."""
    saved = []
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        for descriptor, name in ((1, STDOUT), (2, STDERR)):
            saved.append((descriptor, os.dup(descriptor)))
            with open(name, "ab") as stream:
                os.dup2(stream.fileno(), descriptor)
        yield
    finally:
        lost = []
        for descriptor, text, name in ((1, sys.stdout, STDOUT), (2, sys.stderr, STDERR)):
            try:
                text.flush()
            except OSError as error:
                lost.append(f"{name}: {error.strerror}")
                # What a full disk did not take must not go where the worker itself prints.
                with open(os.devnull, "wb") as nowhere:
                    os.dup2(nowhere.fileno(), descriptor)
                text.flush()
        for descriptor, original in saved:
            os.dup2(original, descriptor)
            os.close(original)
        if lost:
            logger.warning("a part of what the job printed is lost (%s)", ", ".join(lost))
