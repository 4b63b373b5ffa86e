"""A worker, which runs jobs from the LaunchPad with FireWorks' rapidfire until none is left.

``python -m mgflows.launch.worker --directory DIR`` starts one with the settings that
`Settings.load(DIR)` finds.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import faulthandler
import logging
import math
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mgflows import subprocesses
from mgflows.connections import check_database, open_database, open_job_store
from mgflows.errors import (
    InputError,
    MaskingFormatter,
    MgflowsError,
    ServiceError,
    clean_text,
)
from mgflows.settings import CATEGORIES, Settings, batch_job
from mgflows.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fireworks import FWorker, LaunchPad

# As a program, this module is __main__.
logger = logging.getLogger("mgflows.launch.worker")

SLEEP_SECONDS = 1
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
_RUNNABLE = ("READY", "RESERVED")
"""States in which a worker takes a firework."""
_PAUSE_SECONDS = 60.0
"""A batch job that cannot even report its failure to the database ends after this time."""


class ExitCode(enum.IntEnum):
    """Exit codes of a worker."""

    DONE = 0
    UNUSABLE = 2
    SOME_FAILED = 10
    BROKEN_ENVIRONMENT = 11
    STOPPED = 12


def work(
    settings: Settings,
    campaign: str | None = None,
    category: str | list[str] = "",
    *,
    n_launches: int = 0,
    timeout: float | None = None,
    fw_id: int | None = None,
) -> ExitCode:
    """Run jobs in this process until none is left and none of the planned ones can run.

    Parameters
    ----------
    settings
        Settings that name the database; launch directories are in ``settings.directory/launches``.
    campaign
        Only jobs of this campaign; all by default.
    category
        Only jobs of this category (or these); all by default.
    n_launches
        Stop after this number of jobs; 0: when none is left.
    timeout
        Take no job after this time, s.
    fw_id
        Run only this firework, which was reserved for this worker, in the current directory.

    Returns
    -------
    ExitCode
        Whether jobs failed, or why the worker stopped early.

    Raises
    ------
    InputError
        If `fw_id` names no firework that is READY or RESERVED.
    ServiceError
        If the database does not answer at the start, or this machine cannot run the jobs.
    """
    from mgflows.launch.interruption import stop_request
    from mgflows.launch.launchpad import (
        BrokenEnvironment,
        EnoughJobs,
        WorkerLaunchPad,
        WorkerStopped,
    )

    categories = _categories(category)
    _prepare(settings, campaign, categories)
    launchpad = WorkerLaunchPad(settings, stop_request, max_jobs=n_launches, timeout=timeout)
    _prepare_again(launchpad)
    if fw_id is not None:
        _check_firework(launchpad, fw_id)
    submit_planned = partial(_submit_planned, settings, campaign)
    launchpad.periodic_callback = submit_planned
    worker = _describe(settings, launchpad, campaign, category)
    launches = settings.directory / "launches"
    home = Path.cwd()
    try:
        launches.mkdir(parents=True, exist_ok=True)
        with settings.in_use():
            _run_jobs(launchpad, worker, launches, submit_planned, fw_id)
    except BrokenEnvironment as stopped:
        return _unusable(settings, categories, str(stopped))
    except OSError as error:
        # No job was taken if not even its directory could be made.
        if error.errno not in _UNWRITABLE:
            raise
        return _unusable(
            settings,
            categories,
            f"{launches} cannot be written: {error.strerror}; free some space there or choose "
            "another directory",
        )
    except EnoughJobs as stopped:
        logger.info("this worker stops: %s", stopped)
    except WorkerStopped as stopped:
        logger.warning("this worker stops: %s", stopped)
        return ExitCode.STOPPED
    finally:
        _leave_empty_directory(launches, home)
    if launchpad.n_completed:
        _report_usable(settings, categories)
    failed = f", {launchpad.n_failed} failed" if launchpad.n_failed else ""
    logger.info(
        "%s done%s%s",
        plural(launchpad.n_completed, "job"),
        failed,
        "" if launchpad.n_completed or launchpad.n_failed else ": none is ready for this worker",
    )
    return ExitCode.SOME_FAILED if launchpad.n_failed else ExitCode.DONE


def _prepare(settings: Settings, campaign: str | None, categories: list[str]) -> None:
    """Check database and machine, and set up FireWorks, the signals and the store of outputs."""
    import jobflow

    from mgflows.launch.firetask import refuse_store_in_memory
    from mgflows.launch.interruption import stop_request
    from mgflows.launch.launchpad import configure_fireworks
    from mgflows.launch.preflight import preflight
    from mgflows.launch.retries import RetryingJobStore

    check_database(settings)
    settings.directory.mkdir(parents=True, exist_ok=True)
    try:
        preflight(settings, campaign, categories)
    except ServiceError as error:
        _report_unusable(settings, categories, str(error))
        raise
    configure_fireworks(settings.ping_seconds)
    stop_request.listen()
    store = RetryingJobStore(
        open_job_store(settings, settings.outage_seconds), settings.outage_seconds
    )
    refuse_store_in_memory(store)
    jobflow.SETTINGS.JOB_STORE = store


def _describe(
    settings: Settings, launchpad: LaunchPad, campaign: str | None, category: str | list[str]
) -> FWorker:
    """Return the FireWorks worker under which launches are recorded."""
    from fireworks import FWorker

    from mgflows.launch.processes import clock_ahead, identity

    me = {
        **identity(),
        "ping_seconds": settings.ping_seconds,
        "clock_ahead": clock_ahead(launchpad.connection),
    }
    return FWorker(
        name=f"{me['host']}:{me['pid']}",
        category=category,
        query={"spec.mgflows.campaign": campaign} if campaign else {},
        env=me,
    )


def _submit_planned(settings: Settings, campaign: str | None) -> bool:
    """Submit the planned jobs that can run now; return whether there were any."""
    from mgflows.launch.campaigns import advance
    from mgflows.launch.retries import with_retries

    seconds = settings.outage_seconds
    return any(
        each.n_added
        for each in with_retries(lambda: advance(settings, campaign, wait_seconds=seconds), seconds)
    )


def _run_jobs(
    launchpad: LaunchPad,
    worker: FWorker,
    launches: Path,
    submit_planned: Callable[[], bool],
    fw_id: int | None,
) -> None:
    """Run one firework, or all of this worker until no planned job can follow."""
    from fireworks.core.rocket_launcher import launch_rocket, rapidfire

    if fw_id is not None:
        launch_rocket(launchpad, worker, fw_id=fw_id, strm_lvl="WARNING")
        submit_planned()
        return
    while True:
        rapidfire(
            launchpad,
            worker,
            m_dir=str(launches),
            nlaunches=0,
            sleep_time=SLEEP_SECONDS,
            strm_lvl="WARNING",
        )
        if not submit_planned():
            return


def _unusable(settings: Settings, categories: list[str], reason: str) -> ExitCode:
    """Report that this worker cannot run jobs."""
    logger.error("this worker stops: %s", reason)
    _report_unusable(settings, categories, reason)
    return ExitCode.BROKEN_ENVIRONMENT


def work_offline(settings: Settings, category: str | list[str] = "") -> ExitCode:
    """Run the job that was reserved for the current directory, without a database.

    Parameters
    ----------
    settings
        Settings of the job; the database that they name is not used.
    category
        Category of the job, for which programs are checked.

    Returns
    -------
    ExitCode
        How the job ended; ``mgflows recover-offline`` stores its result.

    Raises
    ------
    ServiceError
        If this machine cannot run the job; it has not started.
    """
    from fireworks import Firework, FWorker
    from fireworks.core.rocket_launcher import launch_rocket

    from mgflows.launch.interruption import stop_request
    from mgflows.launch.launchpad import configure_fireworks
    from mgflows.launch.offline import FIREWORK, RECORD, read_record, repair_offline_mode
    from mgflows.launch.preflight import check_machine
    from mgflows.launch.processes import identity

    here = Path.cwd()
    try:
        Firework.from_file(str(here / FIREWORK))
        read_record(here)
    except FileNotFoundError as error:
        raise ServiceError(
            f"no job was submitted to run offline in {here}: it has no {FIREWORK} or {RECORD}",
            hint="submit jobs with qlaunch -r",
        ) from error
    except Exception as error:
        raise ServiceError(
            f"the job in {here} cannot be read on this machine "
            f"({type(error).__name__}: {clean_text(str(error), 500)})",
            hint="install its modules here",
        ) from error
    check_machine(settings, here, _categories(category))
    configure_fireworks(settings.ping_seconds)
    repair_offline_mode()
    stop_request.listen()
    me = identity()
    worker = FWorker(name=f"{me['host']}:{me['pid']}", category=category, env=me)
    with settings.in_use():
        launch_rocket(None, worker, strm_lvl="WARNING")
    if read_record(here).get("state") == "COMPLETED":
        return ExitCode.DONE
    return ExitCode.STOPPED if stop_request.reason is not None else ExitCode.SOME_FAILED


def _finite(
    context: click.Context,  # noqa: ARG001
    parameter: click.Parameter,  # noqa: ARG001
    value: float | None,
) -> float | None:
    """Refuse nan and inf, which click accepts."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number")
    return value


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("mode", type=click.Choice(["rapidfire", "singleshot"]), default="rapidfire")
@click.option(
    "-C",
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory whose mgflows.yaml names the database.",
)
@click.option(
    "--settings",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The settings file itself, instead of a directory.",
)
@click.option("--campaign", help="Only jobs of this campaign.")
@click.option(
    "--category",
    "categories",
    multiple=True,
    type=click.Choice(CATEGORIES),
    help="Only jobs of this category; repeatable.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.0, min_open=True),
    callback=_finite,
    help="Take no job after this time, s.",
)
@click.option(
    "--fw_id", type=int, help="Run this firework, which was reserved (set by qlaunch -r)."
)
@click.option(
    "--offline",
    is_flag=True,
    help="Run the job that qlaunch -r wrote into the current directory, without the database.",
)
@click.option(
    "--launches",
    type=click.IntRange(min=0),
    default=0,
    help="Stop after this number of jobs  [default: when none is left].",
)
@click.option(
    "--parent",
    type=int,
    help="Process id of the program that started this worker; the worker ends with it.",
)
def worker(
    mode: str,
    directory: Path | None,
    file: Path | None,
    campaign: str | None,
    categories: tuple[str, ...],
    timeout: float | None,
    fw_id: int | None,
    offline: bool,
    launches: int,
    parent: int | None,
) -> int:
    """Run jobs until none is left, and print a line for each.

    rapidfire runs many jobs, singleshot one, as with FireWorks' rlaunch. Several
    workers may run at once, also on several machines.

    Exit codes: 0 done, 2 this machine cannot run the jobs, 10 some jobs failed, 11 the worker
    stopped because its machine is at fault, 12 stopped by a signal.
    """
    _set_up_logging()
    # Also if the parent is killed; it may have ended before the call.
    if parent is not None and not subprocesses.end_with_parent(parent, signal.SIGTERM):
        return ExitCode.STOPPED
    try:
        settings = Settings.read(file) if file else Settings.load(directory)
        if campaign is not None:
            _require_campaign(settings, campaign)
        # A job that crashes leaves its stack in job.err, which is standard error while it runs.
        faulthandler.enable()
        category = categories[0] if len(categories) == 1 else list(categories) or ""
        code = (
            work_offline(settings, category)
            if offline
            else work(
                settings,
                campaign,
                category,
                n_launches=1 if mode == "singleshot" else launches,
                timeout=timeout,
                fw_id=fw_id,
            )
        )
    except MgflowsError as error:
        click.echo(f"error: {error}", err=True)
        code = ExitCode.UNUSABLE
    _end_in_spite_of_threads(code)
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker as a program; see :func:`worker`.

    The exit code is an `ExitCode`. The process ends even if a thread that a job started is still
    running.
    """
    try:
        return int(worker.main(arguments, prog_name="mgflows worker", standalone_mode=False) or 0)
    except click.ClickException as error:
        click.echo(f"error: {error.format_message()}", err=True)
        return error.exit_code


class _Formatter(MaskingFormatter):
    """Lines with the time; warnings and errors are marked as such."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one line."""
        urgent = record.levelno >= logging.WARNING
        record.mark = f"{record.levelname.lower()}: " if urgent else ""
        return super().format(record)


def _set_up_logging() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s  %(mark)s%(message)s", "%Y-%m-%d %H:%M:%S"))
    # FireWorks logs its queries.
    handler.addFilter(
        lambda record: record.name.startswith("mgflows") or record.levelno >= logging.WARNING
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _require_campaign(settings: Settings, campaign: str) -> None:
    from mgflows.database.progress import require_campaign

    database = open_database(settings)
    try:
        require_campaign(database, campaign)
    finally:
        database.client.close()


def _categories(category: str | list[str]) -> list[str]:
    return [category] if isinstance(category, str) and category else list(category)


def _check_firework(launchpad: LaunchPad, fw_id: int) -> None:
    """Raise InputError if there is no such firework or it must not be run."""
    found = launchpad.fireworks.find_one({"fw_id": fw_id}, {"state": 1})
    if found is None:
        raise InputError(
            f"there is no firework {fw_id} in the database",
            hint="list the fireworks with: lpad get_fws -d ids",
        )
    if found["state"] not in _RUNNABLE:
        raise InputError(
            f"the firework {fw_id} is {found['state']} and cannot be run",
            hint=f"run it again with: lpad rerun_fws -i {fw_id}",
        )


def _prepare_again(launchpad: LaunchPad) -> None:
    """Create deleted indexes and counters, which prevent two workers from doing the same work."""
    from pymongo.errors import OperationFailure

    from mgflows.database.integrity import missing_indexes, wrong_counters
    from mgflows.launch.workflows import prepare_database

    database = launchpad.db
    if database["fireworks"].estimated_document_count() == 0:
        return
    missing = missing_indexes(database) + list(wrong_counters(database))
    if not missing:
        return
    logger.warning("the database lacks indexes or counters, which are created: %s", missing)
    try:
        prepare_database(launchpad)
    except OperationFailure as error:
        raise ServiceError(
            f"indexes of the database cannot be created: {clean_text(str(error), 400)}",
            hint="give the database's user the role readWrite, and remove duplicate documents",
        ) from error


def _report_unusable(settings: Settings, categories: list[str], reason: str) -> None:
    """Record in the database that this worker cannot run jobs, for qlaunch."""
    from pymongo.errors import PyMongoError

    from mgflows.launch.backoff import record_unusable

    try:
        database = open_database(settings)
        try:
            record_unusable(database, categories, reason)
        finally:
            database.client.close()
    except (ServiceError, PyMongoError) as error:
        logger.warning("the failure of this worker cannot be recorded: %s", error)
        if batch_job() is not None:
            # qlaunch would submit the next one at once.
            time.sleep(_PAUSE_SECONDS)


def _report_usable(settings: Settings, categories: list[str]) -> None:
    """Record in the database that this worker could run jobs."""
    from pymongo.errors import PyMongoError

    from mgflows.launch.backoff import forget_unusable

    with contextlib.suppress(ServiceError, PyMongoError):
        database = open_database(settings)
        try:
            forget_unusable(database, categories)
        finally:
            database.client.close()


def _end_in_spite_of_threads(code: int) -> None:
    """End the process at once if a thread that a job started would keep it alive."""
    left = [
        thread
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.daemon and thread.is_alive()
    ]
    if not left or threading.current_thread() is not threading.main_thread():
        return
    names = ", ".join(thread.name for thread in left)
    logger.warning("jobs left threads behind (%s); the worker ends without them", names)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _leave_empty_directory(launches: Path, home: Path) -> None:
    """Remove the launch directory of a job that this worker finally did not take."""
    here = Path.cwd()
    os.chdir(home)
    if here.parent == launches.resolve() and not any(here.iterdir()):
        here.rmdir()


if __name__ == "__main__":
    sys.exit(main())
