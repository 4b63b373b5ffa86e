"""Run campaigns on this machine: a few workers as processes, watched together with the private MongoDB server."""

from __future__ import annotations

import logging
import os
import queue
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from pymongo.errors import ConnectionFailure

from mgflows.connections import open_database
from mgflows.database.progress import Progress, read_progress
from mgflows.errors import ServiceError
from mgflows.launch.campaigns import advance
from mgflows.launch.worker import ExitCode
from mgflows.machine.mongod import PrivateMongod
from mgflows.recovery.repairs import Recovery, recover

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pymongo.database import Database

    from mgflows.settings import Settings

logger = logging.getLogger(__name__)

_WATCH_SECONDS = 0.5
_LOOK_SECONDS = 10.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class LocalLauncher:
    """Workers on this machine.

    Parameters
    ----------
    settings
        Where the database is and where the workers' files go; a private MongoDB server is started, and restarted if it dies.
    n_workers
        Jobs at the same time, one thread each; `settings.n_workers` by default.
    campaign
        Only jobs of this campaign; all by default.
    max_restarts
        So many times each may the server and a worker crash before the launcher gives up.
    stop_seconds
        How long workers have to end in good order, s.
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
        self._recovered = -_LOOK_SECONDS
        self._n_crashes = 0
        self._advanced: tuple[int, int] | None = None
        self._stopped: dict[str, int] = {}

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.pid for worker in self._workers]

    def run(self, poll_seconds: float = 1.0) -> Iterator[Progress]:
        """Run jobs until none can run any more, starting with those that an earlier run was interrupted in.

        The workers end in good order when the generator is closed, as it is when an exception (such as Ctrl-C) leaves the loop over it: their
        jobs are READY again. Call it from the main thread: workers end with the thread that started them.

        Parameters
        ----------
        poll_seconds
            Time between snapshots, s.

        Yields
        ------
        Progress
            The last one is of the end; jobs that failed, and those that wait for them, are left.

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
            if self._database is not None:
                self._database.client.close()
                self._database = None

    def recover(self, *, retry: bool = False) -> Recovery:
        """Make runnable again what was interrupted, see `mgflows.recovery.repairs.recover`; `retry` includes jobs that failed."""
        found = recover(self.settings, self.campaign, retry=retry)
        self._recovered = time.monotonic()
        if found.rerun:
            self._say(f"{len(found.rerun)} interrupted jobs run again")
        return found

    def stop(self) -> None:
        """End the workers in good order, and kill those that do not end."""
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
        self._workers.clear()

    def _progress(self) -> Progress:
        if self._database is None:
            self._database = open_database(self.settings)
        progress = read_progress(self._database, self.campaign)
        messages = []
        while not self._messages.empty():
            messages.append(self._messages.get())
        return replace(progress, messages=tuple(messages))

    def _has_work(self, progress: Progress) -> bool:
        # Nothing to take is either the end, or a dead worker (of ours or another launcher's) still has something.
        return (
            progress.states.get("READY", 0) > 0
            or self.recover().changed
            or progress.n_active > 0
            or self._advance()
        )

    def _advance(self) -> bool:
        """Submit what can run now of what is planned; whether there was something."""
        added = False
        for each in advance(self.settings, self.campaign):
            added |= each.n_added > 0
            for reason, n in each.stopped.items():
                if self._stopped.get(reason) != n:
                    self._say(f"{n} planned jobs of {each.campaign} do not go on: {reason}")
                self._stopped[reason] = n
        return added

    def _look_for_lost(self, progress: Progress) -> None:
        """Look now and then whether what idle workers wait for is still being done by somebody."""
        idle = progress.n_active > 0 and not progress.states.get("READY", 0)
        if idle and time.monotonic() - self._recovered > _LOOK_SECONDS:
            self.recover()

    def _tolerate(self, error: Exception) -> None:
        """Wait a moment if the database is away and has not been for too long; raise everything else."""
        if self._server_error is not None:
            raise self._server_error
        if not isinstance(error, ConnectionFailure) and not isinstance(
            error.__cause__, ConnectionFailure
        ):
            raise error
        self._away_since = self._away_since or time.monotonic()
        if time.monotonic() - self._away_since > self.settings.outage_seconds:
            raise error
        logger.warning("the database is away, waiting for it")
        time.sleep(1.0)

    def _watch_server(self) -> threading.Thread | None:
        """Start the private server, and a thread that starts it again if it dies.

        A thread, because whoever loops over `run` may be waiting for an answer of the server meanwhile.
        """
        if self._server is None:
            return None
        self._server.start()
        self._stopping.clear()
        watch = threading.Thread(target=self._keep_server, args=(self._server,), daemon=True)
        watch.start()
        return watch

    def _keep_server(self, server: PrivateMongod) -> None:
        n_restarts = 0
        while not self._stopping.wait(_WATCH_SECONDS):
            if server.pid() is not None:
                continue
            n_restarts += 1
            try:
                if n_restarts > self.max_restarts:
                    raise ServiceError(
                        f"the MongoDB server died {n_restarts} times; look at {server.log}"
                    )
                server.start()
            except ServiceError as error:
                self._server_error = error
                return
            self._say(
                f"the MongoDB server had died and was started again ({n_restarts} of at most {self.max_restarts} times)"
            )

    def _notice_ended_workers(self) -> None:
        for worker, log in list(self._workers.items()):
            code = worker.poll()
            if code is None:
                continue
            del self._workers[worker]
            if code in (ExitCode.BROKEN_ENVIRONMENT, ExitCode.UNUSABLE):
                raise ServiceError(f"a worker cannot run jobs: {_last_line(log)}; its log is {log}")
            if code in (ExitCode.DONE, ExitCode.SOME_FAILED, ExitCode.TOLD_TO_STOP):
                continue
            self._n_crashes += 1
            if self._n_crashes > self.max_restarts:
                raise ServiceError(
                    f"workers crashed {self._n_crashes} times, the last one with: {_last_line(log)}; its log is {log}"
                )
            self._say(
                f"a worker died ({'signal ' + str(-code) if code < 0 else 'exit code ' + str(code)}), its job runs again"
            )
            self.recover()

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
                # A session of its own: Ctrl-C in the terminal reaches the launcher, which ends its workers one by one.
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
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
