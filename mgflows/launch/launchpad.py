"""FireWorks' LaunchPad as a worker of mgflows needs it: patient, interruptible, and with a sense for a broken machine."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fireworks import LaunchPad
from fireworks.core import launchpad as fireworks_launchpad
from fireworks.core import rocket as fireworks_rocket

from mgflows.connections import launchpad_options
from mgflows.database.failures import interruption_reason
from mgflows.errors import ServiceError
from mgflows.launch.preflight import check_free_space
from mgflows.launch.processes import identity
from mgflows.launch.retries import PatientCollection, patiently

if TYPE_CHECKING:
    from collections.abc import Callable

    from fireworks import Firework, FWAction, FWorker
    from pymongo.collection import Collection

    from mgflows.launch.interruption import StopRequest
    from mgflows.settings import Settings

logger = logging.getLogger(__name__)

# A lock that is held for a minute belongs to a worker that died: at most 1000 fireworks are rewritten under it.
LOCK_SECONDS = 60
EXPIRATION_PINGS = 5
LOCK_HOLDER = "locked_by"
_PERIODIC_SECONDS = 30.0


class WorkerStopped(BaseException):
    """A worker takes no more jobs; the message says why."""


class EnoughJobs(WorkerStopped):
    """A worker took as many jobs as it was told to."""


class BrokenEnvironment(WorkerStopped):
    """A worker cannot run jobs that others perhaps can."""


class _Workflows(PatientCollection):
    """The collection of workflows, where a lock also says who holds it.

    FireWorks locks with a bare ``locked: true``. With a name on it, a lock is known to be left behind when its holder died, and a
    worker that got it but no answer, because the server crashed just then, does not wait for itself.
    """

    def __init__(self, collection: Collection, seconds: float, holder: dict[str, Any]) -> None:
        super().__init__(collection, seconds)
        self._holder = holder

    def find_one_and_update(
        self, query: dict[str, Any], update: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Lock, or unlock, as FireWorks' WFLock does."""
        if update == {"$set": {"locked": True}}:
            update = {"$set": {"locked": True, LOCK_HOLDER: self._holder}}
            if "locked" in query:
                query = {
                    "nodes": query["nodes"],
                    "$or": [{"locked": query["locked"]}, {LOCK_HOLDER: self._holder}],
                }
        elif update == {"$unset": {"locked": ""}}:
            update = {"$unset": {"locked": "", LOCK_HOLDER: ""}}
        return patiently(lambda: self._collection.find_one_and_update(query, update), self._seconds)

    def find_one_and_replace(
        self, query: dict[str, Any], document: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Write a workflow anew, and keep the lock."""
        if "locked" in document:
            document = {**document, LOCK_HOLDER: self._holder}
        return patiently(
            lambda: self._collection.find_one_and_replace(query, document), self._seconds
        )


class PatientLaunchPad(LaunchPad):
    """A LaunchPad that waits out an outage of the database and whose locks say who holds them.

    Parameters
    ----------
    settings
        Where the database is.
    seconds
        How long an outage may last, s.
    """

    def __init__(self, settings: Settings, seconds: float) -> None:
        super().__init__(**launchpad_options(settings, seconds))
        for name in ("fireworks", "launches", "fw_id_assigner"):
            setattr(self, name, PatientCollection(getattr(self, name), seconds))
        self.workflows = _Workflows(self.db.workflows, seconds, identity())


class WorkerLaunchPad(PatientLaunchPad):
    """The LaunchPad of one worker.

    - An interrupted job goes back to READY, without its children ever seeing it fail, and its launch keeps the reason.
    - A worker that was told to stop takes no new job.
    - Between two jobs it calls `periodic_callback`, if half a minute has passed: others may wait for what it then submits.
    - A worker whose jobs fail one after the other at once, or that cannot even import them, stops instead of failing the whole queue.

    Parameters
    ----------
    settings
        Where the database is, and how long to wait for it.
    stop
        This process's request to stop.
    quick_seconds
        A failure is quick if the job had run for less, s; after `settings.max_quick_failures` of them in a row the worker stops.
    max_jobs
        The worker takes no more jobs than this; 0: any number.
    timeout
        It takes no job after this time, s.
    """

    def __init__(
        self,
        settings: Settings,
        stop: StopRequest,
        quick_seconds: float = 5.0,
        max_jobs: int = 0,
        timeout: float | None = None,
    ) -> None:
        super().__init__(settings, settings.outage_seconds)
        self.stop = stop
        self.settings = settings
        self.quick_seconds = quick_seconds
        self.max_jobs = max_jobs
        self.n_failed = 0
        self._n_taken = 0
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self.periodic_callback: Callable[[], object] | None = None
        self._last_time = time.monotonic()
        self._n_quick_failures = 0
        self._started = time.monotonic()

    def run_exists(self, fworker: FWorker | None = None) -> bool:
        """Whether there is a job for this worker."""
        self._leave_if_asked()
        return super().run_exists(fworker)

    def checkout_fw(self, *args: Any, **kwargs: Any) -> tuple[Firework | None, int | None]:
        """Take a job."""
        self._leave_if_asked()
        if (
            self.periodic_callback is not None
            and time.monotonic() - self._last_time > _PERIODIC_SECONDS
        ):
            self.periodic_callback()
            self._last_time = time.monotonic()
        # Here the process is in the directory of the launch, which may be on another disk than the rest.
        self._stop_without_space(Path.cwd())
        self._started = time.monotonic()
        firework, launch_id = super().checkout_fw(*args, **kwargs)
        self._n_taken += firework is not None
        return firework, launch_id

    def get_fw_by_id(self, fw_id: int) -> Firework:
        """Read a firework; one that this machine cannot read is left for others.

        Raises
        ------
        BrokenEnvironment
            If its classes or functions cannot be imported here; FireWorks would mark all jobs FIZZLED, one after the other.
        """
        try:
            return super().get_fw_by_id(fw_id)
        except Exception as error:
            self.fireworks.update_one(
                {"fw_id": fw_id, "state": "RESERVED", "launches": []}, {"$set": {"state": "READY"}}
            )
            self.stop.ask(
                f"firework {fw_id} cannot be read on this machine ({type(error).__name__}: {error})"
            )
            raise BrokenEnvironment(self.stop.reason) from error

    def complete_launch(
        self, launch_id: int, action: FWAction | None = None, state: str = "COMPLETED"
    ) -> dict[str, Any]:
        """Write down how a job ended."""
        if (
            state == "FIZZLED"
            and action is not None
            and (reason := interruption_reason(action.stored_data))
        ):
            logger.warning(
                "launch %s was interrupted (%s): its firework can run again", launch_id, reason
            )
            return self._give_back(launch_id, action)
        launch = super().complete_launch(launch_id, action, state)
        self._watch_for_quick_failures(state)
        return launch

    def _give_back(self, launch_id: int, action: FWAction) -> dict[str, Any]:
        launch = self.get_launch_by_id(launch_id)
        earlier = {
            "fw_id": launch.fw_id,
            "action.stored_data._exception._details.interrupted": True,
        }
        if self.launches.count_documents(earlier) + 1 >= self.settings.max_interruptions:
            details = action.stored_data["_exception"]
            message = (
                f"it was interrupted {self.settings.max_interruptions} times, the last time by {interruption_reason(action.stored_data)}; give it a "
                "longer walltime, or let it write checkpoints, and run it again with: mgflows heal"
            )
            details["_stacktrace"] = (
                f"{details.get('_stacktrace', '')}\nmgflows.errors.ServiceError: {message}"
            )
            details["_details"] = None
            return super().complete_launch(launch_id, action, "FIZZLED")
        launch.state = "FIZZLED"
        launch.action = action
        self.launches.find_one_and_replace(
            {"launch_id": launch_id}, launch.to_db_dict(), upsert=True
        )
        self.rerun_fw(launch.fw_id)
        return launch.to_dict()

    def _watch_for_quick_failures(self, state: str) -> None:
        if state != "FIZZLED":
            self._n_quick_failures = 0
            return
        self.n_failed += 1
        quick = time.monotonic() - self._started < self.quick_seconds
        self._n_quick_failures = self._n_quick_failures + 1 if quick else 0
        if self._n_quick_failures >= self.settings.max_quick_failures:
            self.stop.ask(
                f"{self._n_quick_failures} jobs in a row failed within {self.quick_seconds:g} s each; look into the last launch directory"
            )
            raise BrokenEnvironment(self.stop.reason)

    def _leave_if_asked(self) -> None:
        if self.stop.reason is not None:
            raise WorkerStopped(self.stop.reason)
        if self.max_jobs and self._n_taken >= self.max_jobs:
            raise EnoughJobs(f"it ran {self._n_taken} jobs, as it was told to")
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise EnoughJobs("its time is over")
        self._stop_without_space(self.settings.directory)

    def _stop_without_space(self, directory: Path) -> None:
        try:
            check_free_space(self.settings, directory)
        except ServiceError as error:
            raise BrokenEnvironment(str(error)) from error


def configure_fireworks(ping_seconds: float) -> None:
    """Set what FireWorks otherwise reads from its configuration files, of which the first one found wins over the one meant.

    FireWorks copies these constants into its modules and into one signature when it is imported, so they are set there.

    Parameters
    ----------
    ping_seconds
        How often a running job says that it is alive, s.
    """
    fireworks_rocket.PING_TIME_SECS = ping_seconds
    # FW.json repeats the whole firework in each launch directory.
    fireworks_rocket.PRINT_FW_JSON = False
    fireworks_rocket.ROCKET_STREAM_LOGLEVEL = "WARNING"
    fireworks_launchpad.SORT_FWS = "FIFO"
    fireworks_launchpad.WFLock.__init__.__defaults__ = (LOCK_SECONDS, True)
