"""Run campaigns on this machine: worker processes, supervised together with the private MongoDB."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from pymongo.errors import ConnectionFailure, PyMongoError

from mgflows.connections import open_database
from mgflows.database.progress import Progress, campaign_progress
from mgflows.errors import ServiceError, clean_text
from mgflows.launch.campaigns import advance
from mgflows.launch.worker import ExitCode
from mgflows.machine.mongod import PrivateMongod
from mgflows.recovery.diagnosis import ENDED_BY_LAUNCHER, WORKER_EXIT
from mgflows.recovery.repairs import recover

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pymongo.database import Database

    from mgflows.recovery.steps import Recovery
    from mgflows.settings import Settings

logger = logging.getLogger(__name__)

_WATCH_SECONDS = 0.5
_LOOK_SECONDS = 10.0
_LOG_CHARACTERS = 10_000
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class LocalLauncher:
    """Workers on this machine.

    Parameters
    ----------
    settings
        Settings that name the database and the directory of the workers' files; a private MongoDB
        server is started, and restarted if it crashes; if it is stopped on request, the launcher
        ends.
    n_workers
        Number of jobs at the same time, one thread each; `settings.n_workers` by default.
    campaign
        Only jobs of this campaign; all by default.
    max_restarts
        Number of crashes of the server, and of workers without a running job, after which the
        launcher stops. A job that crashes its worker is set aside (`settings.max_worker_deaths`).
    stop_seconds
        Time for workers to end cleanly, s.
    """

    def __init__(
        self,
        settings: Settings,
        n_workers: int | None = None,
        campaign: str | None = None,
        max_restarts: int = 5,
        stop_seconds: float = 30.0,
    ) -> None:
        self.settings = settings
        self.n_workers = n_workers or settings.n_workers
        self.campaign = campaign
        self.max_restarts = max_restarts
        self.stop_seconds = stop_seconds
        self._server = PrivateMongod.from_settings(settings) if settings.is_private else None
        self._workers: dict[subprocess.Popen[bytes], Path] = {}
        self._messages: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._database: Database | None = None
        self._away_since: float | None = None
        self._server_error: ServiceError | None = None
        self._stopping = threading.Event()
        self._in_use = ExitStack()
        self._recovered = -_LOOK_SECONDS
        self._n_crashes = 0
        self._advanced: tuple[int, int] | None = None
        self._stopped: dict[str, int] = {}

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.pid for worker in self._workers]

    def run(self, poll_seconds: float = 1.0) -> Iterator[Progress]:
        """Run jobs until no more can run, beginning with those of an interrupted earlier run.

        The workers end cleanly when the generator is closed, as happens when an exception
        (such as Ctrl-C) leaves the loop over it: their jobs are READY again. Call it from the main
        thread: workers end with the thread that started them.

        Parameters
        ----------
        poll_seconds
            Time between snapshots, s.

        Yields
        ------
        Progress
            The last one is the final state; failed jobs, and those that wait for them, remain.

        Raises
        ------
        ServiceError
            If the server or the workers keep crashing, or this machine cannot run the jobs.
        """
        watch = self._watch_server()
        try:
            self.recover()
            while True:
                try:
                    self._notice_ended_workers()
                    progress = self._progress()
                    self._look_for_lost(progress)
                    if (progress.n_done, progress.n_failed) != self._advanced and self._advance():
                        progress = self._progress()
                    self._advanced = (progress.n_done, progress.n_failed)
                    finished = not self._workers and not self._has_work(progress)
                except (ConnectionFailure, ServiceError) as error:
                    self._tolerate(error)
                    continue
                self._away_since = None
                yield progress
                if finished:
                    return
                self._start_workers(progress)
                time.sleep(poll_seconds)
        finally:
            self.stop()
            self._stopping.set()
            if watch is not None:
                watch.join()
            self._in_use.close()
            if self._database is not None:
                self._database.client.close()
                self._database = None

    def recover(self, *, retry: bool = False) -> Recovery:
        """Rerun interrupted jobs, see `mgflows.recovery.recover`; `retry` includes failed jobs."""
        found = recover(self.settings, self.campaign, retry=retry)
        self._recovered = time.monotonic()
        if found.rerun:
            self._say(f"{len(found.rerun)} interrupted jobs are rerun")
        for fw_id, reason in found.set_aside.items():
            self._say(f"job {fw_id} is set aside: {reason}")
        return found

    def stop(self) -> None:
        """End the workers cleanly; kill those that do not end in time."""
        if not self._workers:
            return
        for worker in self._workers:
            worker.terminate()
        deadline = time.monotonic() + self.stop_seconds
        for worker in self._workers:
            try:
                worker.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                logger.warning(
                    "worker %d does not end within %g s and is killed",
                    worker.pid,
                    self.stop_seconds,
                )
                worker.kill()
                worker.wait()
                self._note_end(worker, "killed by its launcher", by_launcher=True)
        self._workers.clear()

    def _progress(self) -> Progress:
        if self._database is None:
            self._database = open_database(self.settings)
        progress = campaign_progress(self._database, self.campaign)
        messages = []
        while not self._messages.empty():
            messages.append(self._messages.get())
        return replace(progress, messages=tuple(messages))

    def _has_work(self, progress: Progress) -> bool:
        # Without READY jobs this is the end, unless a dead worker of any launcher holds a job.
        return (
            progress.states.get("READY", 0) > 0
            or self.recover().changed
            or progress.n_active > 0
            or self._advance()
        )

    def _advance(self) -> bool:
        """Submit the planned jobs that can run now; return whether there were any."""
        added = False
        for each in advance(self.settings, self.campaign):
            added |= each.n_added > 0
            for reason, n in each.stopped.items():
                if self._stopped.get(reason) != n:
                    self._say(f"{n} planned jobs of {each.campaign} are blocked: {reason}")
                self._stopped[reason] = n
        return added

    def _look_for_lost(self, progress: Progress) -> None:
        """Check periodically that the jobs for which idle workers wait are still running."""
        idle = progress.n_active > 0 and not progress.states.get("READY", 0)
        if idle and time.monotonic() - self._recovered > _LOOK_SECONDS:
            self.recover()

    def _tolerate(self, error: Exception) -> None:
        """Wait for an unavailable database, up to the longest outage; raise all other errors."""
        if self._server_error is not None:
            raise self._server_error
        if not isinstance(error, ConnectionFailure) and not isinstance(
            error.__cause__, ConnectionFailure
        ):
            raise error
        self._away_since = self._away_since or time.monotonic()
        if time.monotonic() - self._away_since > self.settings.outage_seconds:
            raise error
        logger.warning("the database is unavailable, waiting for it")
        time.sleep(1.0)

    def _watch_server(self) -> threading.Thread | None:
        """Start the private server, and a thread that restarts it if it crashes.

        It is a thread because the loop over `run` may be waiting for the server.
        """
        if self._server is None:
            return None
        self._server.start()
        self._in_use.enter_context(self._server.in_use())
        self._stopping.clear()
        watch = threading.Thread(target=self._keep_server, args=(self._server,), daemon=True)
        watch.start()
        return watch

    def _keep_server(self, server: PrivateMongod) -> None:
        n_restarts = 0
        while not self._stopping.wait(_WATCH_SECONDS):
            if server.pid() is not None:
                continue
            if server.was_stopped:
                self._server_error = ServiceError(
                    "the MongoDB server was stopped by `mgflows db stop --force`",
                    hint="run the same command again to resume",
                )
                return
            n_restarts += 1
            try:
                if n_restarts > self.max_restarts:
                    raise ServiceError(
                        f"the MongoDB server died {n_restarts} times", hint=f"see {server.log}"
                    )
                server.start()
            except ServiceError as error:
                self._server_error = error
                return
            self._say(
                "the MongoDB server had died and was restarted "
                f"({n_restarts} of at most {self.max_restarts} times)"
            )

    def _notice_ended_workers(self) -> None:
        for worker, log in list(self._workers.items()):
            code = worker.poll()
            if code is None:
                continue
            del self._workers[worker]
            if code in (ExitCode.BROKEN_ENVIRONMENT, ExitCode.UNUSABLE):
                raise ServiceError(
                    f"a worker cannot run jobs: {_last_line(log)}", hint=f"its log is {log}"
                )
            if code in (ExitCode.DONE, ExitCode.SOME_FAILED, ExitCode.STOPPED):
                continue
            end = f"signal {-code}" if code < 0 else f"exit code {code}"
            self._note_end(worker, end)
            found = self.recover()
            if found.rerun or found.set_aside:
                # The job counts its deaths itself, and is set aside after some.
                self._say(f"a worker died ({end}) while running a job")
                continue
            self._n_crashes += 1
            if self._n_crashes > self.max_restarts:
                raise ServiceError(
                    f"workers crashed {self._n_crashes} times without running a job, the last one "
                    f"with: {_last_line(log)}",
                    hint=f"its log is {log}",
                )
            self._say(f"a worker died ({end})")

    def _note_end(
        self, worker: subprocess.Popen[bytes], end: str, *, by_launcher: bool = False
    ) -> None:
        """Record on the launch of a dead worker how it ended, as the reason of a recovery."""
        with contextlib.suppress(ServiceError, PyMongoError):
            database = open_database(self.settings)
            try:
                database["launches"].update_many(
                    {
                        "state": "RUNNING",
                        "fworker.env.pid": worker.pid,
                        "fworker.env.host": socket.gethostname(),
                    },
                    {"$set": {WORKER_EXIT: end, ENDED_BY_LAUNCHER: by_launcher}},
                )
            finally:
                database.client.close()

    def _start_workers(self, progress: Progress) -> None:
        if not progress.states.get("READY", 0):
            return
        folder = self.settings.directory / "workers"
        file = self.settings.write(folder / "settings.yaml")
        while len(self._workers) < self.n_workers:
            log = (
                folder
                / f"{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}-{len(list(folder.iterdir()))}.log"
            )
            command = [
                "env",
                *(f"{name}=1" for name in _THREADS),
                sys.executable,
                "-u",
                "-m",
                "mgflows.launch.worker",
            ]
            command += ["--settings", str(file), "--parent", str(os.getpid())]
            command += ["--campaign", self.campaign] if self.campaign else []
            with log.open("wb") as stream:
                # A separate session: Ctrl-C in the terminal reaches only the launcher, which ends
                # its workers one by one.
                worker = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    start_new_session=True,
                )
            self._workers[worker] = log
            logger.info("started worker %d", worker.pid)

    def _say(self, message: str) -> None:
        logger.info("%s", message)
        self._messages.put(message)


def _last_line(log: Path) -> str:
    lines = (
        log.read_text(encoding="utf-8", errors="replace")[-_LOG_CHARACTERS:].strip().splitlines()
    )
    return clean_text(lines[-1], 1000) if lines else "no output"
