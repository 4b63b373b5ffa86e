"""A LaunchPad that retries on outages, stops cleanly and detects broken environments."""

from __future__ import annotations

import itertools
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fireworks import LaunchPad
from fireworks.core import launchpad as fireworks_launchpad
from fireworks.core import rocket as fireworks_rocket

from mgflows.connections import launchpad_options
from mgflows.database.failures import interruption_reason, last_words
from mgflows.errors import ServiceError, clean_text
from mgflows.launch import bookkeeping
from mgflows.launch.interruption import Interrupted
from mgflows.launch.preflight import check_free_space, check_versions
from mgflows.launch.processes import identity
from mgflows.launch.retries import RetryingCollection, with_retries
from mgflows.units import duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from fireworks import Firework, FWAction, FWorker
    from fireworks.core.firework import Launch
    from pymongo.collection import Collection

    from mgflows.launch.interruption import StopRequest
    from mgflows.settings import Settings

logger = logging.getLogger(__name__)

LOCK_SECONDS = 60
"""Age in s of a lock above which its worker is dead: at most 1000 fireworks are rewritten."""
EXPIRATION_PINGS = 5
"""Number of missed heartbeats after which a job is considered lost."""
LOCK_HOLDER = "locked_by"
_PERIODIC_SECONDS = 30.0
_MOST_FILES = 1000


class WorkerStopped(BaseException):
    """A worker takes no more jobs; the message gives the reason."""


class EnoughJobs(WorkerStopped):
    """A worker took the requested number of jobs."""


class BrokenEnvironment(WorkerStopped):
    """A worker cannot run jobs that others may be able to run."""


class _Workflows(RetryingCollection):
    """The collection of workflows; a lock also stores its holder.

    FireWorks locks with a bare ``locked: true``. With the holder, a lock of a dead process can be
    recognised, and a worker that acquired a lock without receiving the answer, because the server
    crashed, does not wait for its own lock.
    """

    def __init__(self, collection: Collection, seconds: float, holder: dict[str, Any]) -> None:
        super().__init__(collection, seconds)
        self._holder = holder

    def find_one_and_update(
        self, query: dict[str, Any], update: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Lock or unlock, for FireWorks' WFLock."""
        if update == {"$set": {"locked": True}}:
            update = {"$set": {"locked": True, LOCK_HOLDER: self._holder}}
            if "locked" in query:
                query = {
                    "nodes": query["nodes"],
                    "$or": [{"locked": query["locked"]}, {LOCK_HOLDER: self._holder}],
                }
        elif update == {"$unset": {"locked": ""}}:
            update = {"$unset": {"locked": "", LOCK_HOLDER: ""}}
        found = with_retries(
            lambda: self._collection.find_one_and_update(query, update), self._seconds
        )
        if found is None and "nodes" in query:
            # FireWorks would wait for a minute for the lock of a workflow that was deleted.
            node = {"nodes": query["nodes"]}
            if with_retries(lambda: self._collection.find_one(node, {"_id": 1}), self._seconds):
                return None
            # FireWorks catches every Exception here, and would mark the firework FIZZLED.
            raise BrokenEnvironment(
                f"firework {query['nodes']} is in no workflow, which was deleted; remove the "
                "firework and insert its job again with: mgflows heal --yes"
            )
        return found

    def find_one_and_replace(
        self, query: dict[str, Any], document: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Rewrite a workflow and keep the lock."""
        if "locked" in document:
            document = {**document, LOCK_HOLDER: self._holder}
        return with_retries(
            lambda: self._collection.find_one_and_replace(query, document), self._seconds
        )

    def unlock(self, _id: Any, changes: dict[str, Any]) -> None:
        """Change a workflow that this process has locked, and unlock it."""
        self.update_one(
            {"_id": _id, LOCK_HOLDER: self._holder},
            {"$set": changes, "$unset": {"locked": "", LOCK_HOLDER: ""}},
        )


class RetryingLaunchPad(LaunchPad):
    """A LaunchPad that waits for an unavailable database and records the holders of locks.

    Parameters
    ----------
    settings
        Settings that name the database.
    seconds
        Longest outage, s.
    """

    def __init__(self, settings: Settings, seconds: float) -> None:
        super().__init__(**launchpad_options(settings, seconds))
        self.outage_seconds = seconds
        for name in ("fireworks", "launches", "fw_id_assigner"):
            setattr(self, name, RetryingCollection(getattr(self, name), seconds))
        self.workflows = _Workflows(self.db.workflows, seconds, identity())

    def get_new_launch_id(self) -> int:
        """Return the next id of a launch.

        Raises
        ------
        ServiceError
            If FireWorks' counter was deleted.
        """
        try:
            return super().get_new_launch_id()
        except ValueError as error:
            raise ServiceError(
                "the counter of launches (fw_id_assigner) is missing",
                hint="create it with: mgflows heal --yes",
            ) from error


class WorkerLaunchPad(RetryingLaunchPad):
    """The LaunchPad of one worker.

    - An interrupted job returns to READY, without its children seeing a failure, and its launch
      keeps the reason.
    - A worker with a request to stop takes no new job.
    - Between two jobs it calls `periodic_callback`, at most every half minute, to submit jobs for
      which other workers may wait.
    - Jobs of campaigns of another version of mgflows are left to other workers.
    - A launch that has lost its job to another worker discards its result with a warning.
    - A worker whose jobs fail one after the other within seconds, or that cannot import them, stops
      instead of making the whole queue fail.
    - With each heartbeat it records whether a file in the launch directory has changed, by which
      hanging jobs are recognised.

    Parameters
    ----------
    settings
        Settings that name the database and the longest outage.
    stop
        This process's request to stop.
    quick_seconds
        A failure is quick if the job ran for less, s; after `settings.max_quick_failures` of them
        in a row the worker stops.
    max_jobs
        Largest number of jobs that the worker takes; 0: no limit.
    timeout
        The worker takes no job after this time, s.
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
        self.n_completed = 0
        self._n_taken = 0
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self.periodic_callback: Callable[[], object] | None = None
        self._last_time = time.monotonic()
        self._n_quick_failures = 0
        self._started = time.monotonic()
        self._versions: dict[str, str] = {}
        self._more_exist = False
        self._launch: Launch | None = None
        self._ended: int | None = None
        self._name = "job"
        self._last_heartbeat = 0.0
        self._files: tuple[int, tuple[float, int]] | None = None
        self.only_launch: dict[str, Any] | None = None

    def run_exists(self, fworker: FWorker | None = None) -> bool:
        """Whether there is a job for this worker."""
        self._stop_if_requested()
        if self._more_exist:
            # A job was just taken; the next attempt to take one shows whether there are more.
            return True
        query = {**(fworker.query if fworker else {}), "state": "READY"}
        while True:
            found = self.fireworks.find_one(query | self._own(), {"spec.mgflows.campaign": 1})
            if found is None or not self._foreign_reason(found["spec"]):
                return found is not None

    def checkout_fw(
        self, fworker: FWorker, launch_dir: str, fw_id: int | None = None, **options: Any
    ) -> tuple[Firework | None, int | None]:
        """Take a job."""
        self._stop_if_requested()
        if (
            self.periodic_callback is not None
            and time.monotonic() - self._last_time > _PERIODIC_SECONDS
        ):
            self.periodic_callback()
            self._last_time = time.monotonic()
        # The process is in the directory of the launch, which may be on another disk.
        self._stop_without_space(Path.cwd())
        self._started = time.monotonic()
        self._launch = self.only_launch = None
        firework, launch_id = None, None
        if fw_id is None and not options:
            firework, launch_id = self._take(fworker, launch_dir)
        if firework is None:
            firework, launch_id = super().checkout_fw(fworker, launch_dir, fw_id, **options)
        self._more_exist = firework is not None
        self._n_taken += firework is not None
        if firework is not None:
            self._name = f"job {firework.fw_id} {firework.name}"
            logger.info("%s starts in %s", self._name, launch_dir)
        return firework, launch_id

    def _take(self, fworker: FWorker, launch_dir: str) -> tuple[Firework, int] | tuple[None, None]:
        """Take a job that was never reserved, with few round trips."""
        while True:
            taken = bookkeeping.take(self, fworker.query | self._own())
            if taken is None:
                return None, None
            document, launch_id = taken
            if self._foreign_reason(document["spec"]):
                bookkeeping.give_back(self, document["fw_id"], launch_id)
                continue
            try:
                firework = bookkeeping.read(document)
            except Exception as error:
                bookkeeping.give_back(self, document["fw_id"], launch_id)
                raise self._unreadable(document["fw_id"], error) from error
            self._launch = bookkeeping.start(self, firework, launch_id, fworker, launch_dir)
            self._last_heartbeat = time.monotonic()
            if not document.get("archived_launches"):
                self.only_launch = {
                    "launch_id": launch_id,
                    "fw_id": firework.fw_id,
                    "state": "RUNNING",
                    "launch_dir": launch_dir,
                    "fworker": {"env": fworker.env},
                }
            return firework, launch_id

    def _unreadable(self, fw_id: int, error: Exception) -> BrokenEnvironment:
        self.stop.request(
            f"firework {fw_id} cannot be read on this machine "
            f"({type(error).__name__}: {clean_text(str(error), 500)}); install the modules of its "
            "job, or run mgflows heal in case the firework was edited"
        )
        return BrokenEnvironment(self.stop.reason)

    def get_fw_by_id(self, fw_id: int) -> Firework:
        """Read a firework; one that this machine cannot read is left for others.

        Raises
        ------
        BrokenEnvironment
            If its classes or functions cannot be imported here; FireWorks would mark all such jobs
            FIZZLED, one after the other.
        """
        try:
            return super().get_fw_by_id(fw_id)
        except Exception as error:
            self._leave(fw_id)
            raise self._unreadable(fw_id, error) from error

    def _get_a_fw_to_run(
        self, query: dict[str, Any] | None = None, fw_id: int | None = None, checkout: bool = True
    ) -> Firework | None:
        """Take a job of a campaign of this version of mgflows."""
        while True:
            firework = super()._get_a_fw_to_run((query or {}) | self._own(), fw_id, checkout)
            if firework is None or not (reason := self._foreign_reason(firework.spec)):
                return firework
            self._leave(firework.fw_id)
            if fw_id:
                for launch in firework.launches:
                    self.cancel_reservation(launch.launch_id)
                raise BrokenEnvironment(reason)

    def _own(self) -> dict[str, Any]:
        """Query for jobs of campaigns that are not known to be of another version."""
        foreign = [name for name, reason in self._versions.items() if reason]
        return {"$nor": [{"spec.mgflows.campaign": {"$in": foreign}}]} if foreign else {}

    def _foreign_reason(self, spec: dict[str, Any]) -> str:
        """Why a job is left to others: its campaign is of another version; empty if it is not."""
        campaign = spec.get("mgflows", {}).get("campaign")
        if campaign is None:
            return ""
        if campaign not in self._versions:
            self._versions[campaign] = ""
            try:
                check_versions(self.db, campaign)
            except ServiceError as error:
                logger.warning("jobs are left to other workers: %s", error)
                self._versions[campaign] = str(error)
        return self._versions[campaign]

    def _leave(self, fw_id: int) -> None:
        """Make a firework READY again that was taken and has not started."""
        self.fireworks.update_one(
            {"fw_id": fw_id, "state": "RESERVED", "launches": []}, {"$set": {"state": "READY"}}
        )

    def complete_launch(
        self, launch_id: int, action: FWAction | None = None, state: str = "COMPLETED"
    ) -> dict[str, Any]:
        """Record how a job ended, unless it was given to another launch in the meantime."""
        launch = self._launch
        if (
            launch is not None
            and launch.launch_id == launch_id
            and state == "COMPLETED"
            and action is not None
            and bookkeeping.is_simple(action)
        ):
            self._launch, self._ended = None, launch_id
            if bookkeeping.complete(self, launch, action):
                self._watch_for_quick_failures(state, action)
            else:
                logger.warning(
                    "launch %s had lost its job to another worker: its result is discarded",
                    launch_id,
                )
            return launch.to_dict()
        current = self.launches.find_one({"launch_id": launch_id}, {"state": 1})
        if current is not None and current["state"] != "RUNNING":
            logger.warning(
                "launch %s had lost its job to another worker: its result is discarded", launch_id
            )
            return self.get_launch_by_id(launch_id).to_dict()
        if (
            state == "FIZZLED"
            and action is not None
            and (reason := interruption_reason(action.stored_data))
        ):
            logger.warning(
                "launch %s was interrupted (%s): its firework will be rerun", launch_id, reason
            )
            return self._give_back(launch_id, action)
        recorded = super().complete_launch(launch_id, action, state)
        self._watch_for_quick_failures(state, action)
        return recorded

    def ping_launch(self, launch_id: int, ptime: Any = None, checkpoint: Any = None) -> None:
        """Record a heartbeat, and whether a file in the launch directory has changed."""
        if launch_id == self._ended:
            return
        own = self._launch
        if own is not None and own.launch_id == launch_id and ptime is None:
            # FireWorks also sends one before each task, one from a thread, and one at the end.
            if time.monotonic() - self._last_heartbeat > self.settings.ping_seconds / 2:
                self._last_heartbeat = time.monotonic()
                changed = self._has_changed(launch_id, own.launch_dir)
                bookkeeping.heartbeat(self, launch_id, changed=changed)
            return
        super().ping_launch(launch_id, ptime, checkpoint)
        launch = self.launches.find_one({"launch_id": launch_id}, {"launch_dir": 1})
        if launch is not None and ptime is None:
            changed = self._has_changed(launch_id, launch["launch_dir"])
            bookkeeping.heartbeat(self, launch_id, changed=changed)

    def _has_changed(self, launch_id: int, directory: str) -> bool:
        """Whether a file in a launch directory has changed since the last heartbeat."""
        files = state_of_files(Path(directory))
        if files is None or self._files == (launch_id, files):
            return False
        self._files = (launch_id, files)
        return True

    def _give_back(self, launch_id: int, action: FWAction) -> dict[str, Any]:
        launch = self.get_launch_by_id(launch_id)
        earlier = {
            "fw_id": launch.fw_id,
            "action.stored_data._exception._details.interrupted": True,
        }
        if self.launches.count_documents(earlier) + 1 >= self.settings.max_interruptions:
            details = action.stored_data["_exception"]
            message = (
                f"it was interrupted {self.settings.max_interruptions} times, the last time by "
                f"{interruption_reason(action.stored_data)}; give it a longer walltime or "
                "more memory, or let it write checkpoints, then: "
                "mgflows heal --retry interrupted --yes"
            )
            details["_stacktrace"] = f"{details.get('_stacktrace', '')}\nInterrupted: {message}"
            # Without `interrupted`, so that it is not rerun automatically.
            details["_details"] = {"error": Interrupted.__name__, "message": message}
            return super().complete_launch(launch_id, action, "FIZZLED")
        launch.state = "FIZZLED"
        launch.action = action
        self.launches.find_one_and_replace(
            {"launch_id": launch_id}, launch.to_db_dict(), upsert=True
        )
        self.rerun_fw(launch.fw_id)
        return launch.to_dict()

    def _watch_for_quick_failures(self, state: str, action: FWAction | None) -> None:
        seconds = duration(time.monotonic() - self._started)
        if state == "FIZZLED":
            stored = (action.stored_data if action else None) or {}
            trace = str((stored.get("_exception") or {}).get("_stacktrace") or "")
            reason = last_words(trace) or "no reason was recorded"
            logger.warning("%s failed after %s: %s", self._name, seconds, reason)
        else:
            logger.info("%s done after %s", self._name, seconds)
        if state != "FIZZLED":
            self._n_quick_failures = 0
            self.n_completed += 1
            return
        self.n_failed += 1
        quick = time.monotonic() - self._started < self.quick_seconds
        self._n_quick_failures = self._n_quick_failures + 1 if quick else 0
        if self._n_quick_failures >= self.settings.max_quick_failures:
            self.stop.request(
                f"{self._n_quick_failures} jobs in a row failed within {self.quick_seconds:g} s "
                "each; look into the last launch directory"
            )
            raise BrokenEnvironment(self.stop.reason)

    def _stop_if_requested(self) -> None:
        if self.stop.reason is not None:
            raise WorkerStopped(self.stop.reason)
        if self.max_jobs and self._n_taken >= self.max_jobs:
            raise EnoughJobs(f"it ran the requested number of jobs ({self._n_taken})")
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise EnoughJobs("its time limit has passed")
        self._stop_without_space(self.settings.directory)

    def _stop_without_space(self, directory: Path) -> None:
        try:
            check_free_space(self.settings, directory)
        except ServiceError as error:
            raise BrokenEnvironment(str(error)) from error


def state_of_files(directory: Path) -> tuple[float, int] | None:
    """Time of the last change and total size of a directory's files; None if it cannot be read.

    The time is that of the file system. At most the first 1000 files are examined.
    """
    newest, size = 0.0, 0
    try:
        for number, path in enumerate(itertools.chain([directory], directory.rglob("*"))):
            if number > _MOST_FILES:
                break
            status = path.lstat()
            newest, size = max(newest, status.st_mtime), size + status.st_size
    except OSError:
        pass
    return (newest, size) if newest else None


def configure_fireworks(ping_seconds: float) -> None:
    """Set what FireWorks otherwise reads from configuration files, which may be the wrong ones.

    FireWorks copies these constants into its modules and into one signature when it is imported, so
    that they are set there.

    Parameters
    ----------
    ping_seconds
        Heartbeat interval of running jobs, s.
    """
    fireworks_rocket.PING_TIME_SECS = ping_seconds
    # FW.json repeats the whole firework in each launch directory.
    fireworks_rocket.PRINT_FW_JSON = False
    fireworks_rocket.ROCKET_STREAM_LOGLEVEL = "WARNING"
    fireworks_launchpad.SORT_FWS = "FIFO"
    fireworks_launchpad.WFLock.__init__.__defaults__ = (LOCK_SECONDS, True)
