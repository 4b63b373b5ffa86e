"""A worker: takes jobs from the LaunchPad with FireWorks' rapidfire until none is left.

``python -m mgflows.launch.worker --directory DIR`` runs one with the settings that `Settings.load(DIR)` finds.
"""

from __future__ import annotations

import argparse
import ctypes
import enum
import errno
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mgflows.connections import check_database, open_job_store
from mgflows.errors import MgflowsError, ServiceError
from mgflows.settings import CATEGORIES, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1  # sys/prctl.h
SLEEP_SECONDS = 1
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


class ExitCode(enum.IntEnum):
    """How a worker ended."""

    DONE = 0
    UNUSABLE = 2
    SOME_FAILED = 10
    BROKEN_ENVIRONMENT = 11
    TOLD_TO_STOP = 12


def work(
    settings: Settings,
    campaign: str | None = None,
    category: str | list[str] = "",
    *,
    n_launches: int = 0,
    timeout: float | None = None,
    fw_id: int | None = None,
) -> ExitCode:
    """Run jobs in this process until none is left, and none of those that are planned can run.

    Parameters
    ----------
    settings
        Where the database is; launch directories are made in ``settings.directory/launches``.
    campaign
        Only jobs of this campaign; all by default.
    category
        Only jobs of this category (or these); all by default.
    n_launches
        Stop after so many jobs; 0: when none is left.
    timeout
        Take no job after this time, s.
    fw_id
        Run this firework, which was reserved for this worker, in the current directory, and nothing else.

    Returns
    -------
    ExitCode
        Whether jobs failed, or why the worker stopped before the end.

    Raises
    ------
    ServiceError
        If the database does not answer at the start.
    """
    import jobflow
    from fireworks import FWorker
    from fireworks.core.rocket_launcher import launch_rocket, rapidfire

    from mgflows.launch.campaigns import advance
    from mgflows.launch.firetask import refuse_forgetful_store
    from mgflows.launch.interruption import stop_request
    from mgflows.launch.launchpad import (
        BrokenEnvironment,
        EnoughJobs,
        WorkerLaunchPad,
        WorkerStopped,
        configure_fireworks,
    )
    from mgflows.launch.preflight import preflight
    from mgflows.launch.processes import clock_ahead, identity
    from mgflows.launch.retries import PatientJobStore, patiently

    check_database(settings)
    settings.directory.mkdir(parents=True, exist_ok=True)
    preflight(settings, campaign, [category] if isinstance(category, str) else category)
    configure_fireworks(settings.ping_seconds)
    stop_request.listen()
    store = PatientJobStore(
        open_job_store(settings, settings.outage_seconds), settings.outage_seconds
    )
    refuse_forgetful_store(store)
    jobflow.SETTINGS.JOB_STORE = store
    launchpad = WorkerLaunchPad(settings, stop_request, max_jobs=n_launches, timeout=timeout)
    me = {
        **identity(),
        "ping_seconds": settings.ping_seconds,
        "clock_ahead": clock_ahead(launchpad.connection),
    }
    worker = FWorker(
        name=f"{me['host']}:{me['pid']}",
        category=category,
        query={"spec.mgflows.campaign": campaign} if campaign else {},
        env=me,
    )
    launches = settings.directory / "launches"
    launches.mkdir(parents=True, exist_ok=True)
    home = Path.cwd()

    def go_on() -> bool:
        """Submit what is planned and can run now; whether there was something."""
        seconds = settings.outage_seconds
        return any(
            each.n_added
            for each in patiently(
                lambda: advance(settings, campaign, wait_seconds=seconds), seconds
            )
        )

    launchpad.periodic_callback = go_on
    try:
        with settings.in_use():
            while fw_id is None:
                rapidfire(
                    launchpad,
                    worker,
                    m_dir=str(launches),
                    nlaunches=0,
                    sleep_time=SLEEP_SECONDS,
                    strm_lvl="WARNING",
                )
                if not go_on():
                    break
            else:
                launch_rocket(launchpad, worker, fw_id=fw_id, strm_lvl="WARNING")
                go_on()
    except BrokenEnvironment as stopped:
        logger.error("this worker stops: %s", stopped)
        return ExitCode.BROKEN_ENVIRONMENT
    except OSError as error:
        # No job was taken when not even its directory could be made.
        if error.errno not in _UNWRITABLE:
            raise
        logger.error(
            "this worker stops: %s cannot be written: %s; free some space there or choose another directory",
            launches,
            error.strerror,
        )
        return ExitCode.BROKEN_ENVIRONMENT
    except EnoughJobs as stopped:
        logger.info("this worker stops: %s", stopped)
    except WorkerStopped as stopped:
        logger.warning("this worker stops: %s", stopped)
        return ExitCode.TOLD_TO_STOP
    finally:
        _leave_empty_directory(launches, home)
    return ExitCode.SOME_FAILED if launchpad.n_failed else ExitCode.DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker as a program."""
    parser = argparse.ArgumentParser(
        prog="mgflows worker", description="Run jobs of mgflows until none is left."
    )
    parser.add_argument(
        "mode",
        nargs="?",
        choices=["rapidfire", "singleshot"],
        default="rapidfire",
        help="many jobs (default), or one: the words of rlaunch",
    )
    parser.add_argument(
        "--directory", type=Path, help="directory whose mgflows.yaml says where the database is"
    )
    parser.add_argument(
        "--settings", type=Path, help="the settings file itself, instead of a directory"
    )
    parser.add_argument("--campaign", help="only jobs of this campaign")
    parser.add_argument(
        "--category",
        action="append",
        default=[],
        choices=CATEGORIES,
        help="only jobs of this category; may be repeated",
    )
    parser.add_argument("--timeout", type=float, help="take no job after so many seconds")
    parser.add_argument(
        "--fw_id", type=int, help="run this firework, which was reserved (qlaunch -r says so)"
    )
    parser.add_argument("--launches", type=int, default=0, help="stop after so many jobs")
    parser.add_argument(
        "--parent",
        type=int,
        help="process id of the program that started this worker, with which it ends",
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    if options.parent is not None:
        _end_with_parent(options.parent)
    try:
        settings = (
            Settings.read(options.settings)
            if options.settings
            else Settings.load(options.directory)
        )
        n_launches = 1 if options.mode == "singleshot" else options.launches
        category = options.category[0] if len(options.category) == 1 else options.category or ""
        return work(
            settings,
            options.campaign,
            category,
            n_launches=n_launches,
            timeout=options.timeout,
            fw_id=options.fw_id,
        )
    except MgflowsError as error:
        logger.error("%s", error)
        return ExitCode.UNUSABLE


def _end_with_parent(parent: int) -> None:
    """Get SIGTERM when the parent ends, also when it is killed and can tell nobody."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise ServiceError(f"prctl failed: {os.strerror(ctypes.get_errno())}")
    # It may have ended before it was asked for the signal.
    if os.getppid() != parent:
        raise SystemExit(ExitCode.TOLD_TO_STOP)


def _leave_empty_directory(launches: Path, home: Path) -> None:
    """Remove the launch directory that rapidfire had made for a job that this worker then did not take."""
    here = Path.cwd()
    os.chdir(home)
    if here.parent == launches.resolve() and not any(here.iterdir()):
        here.rmdir()


if __name__ == "__main__":
    sys.exit(main())
