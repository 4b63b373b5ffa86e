"""Values that a running job takes from the settings of its worker.

Programs and devices depend on the machine on which a job runs, so that they are not fields of
Makers; no other module of the package reads settings. Jobs record the values in their provenance.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal

from mgflows.connections import open_job_store
from mgflows.errors import ServiceError
from mgflows.settings import Settings

if TYPE_CHECKING:
    from jobflow import JobStore

__all__ = ["nep_command", "nep_device", "store_to_read"]

_FILE_STORES = "jobflow_remote."


def nep_device() -> Literal["cpu", "cuda"]:
    """Return the device on which this worker evaluates potentials."""
    return Settings.current().nep_device


def nep_command() -> str:
    """Return the command with which this worker starts GPUMD's ``nep``."""
    return Settings.current().nep_command


def store_to_read(store: JobStore) -> JobStore:
    """Return the JobStore from which a running job can read outputs of earlier jobs.

    It is that of the job, but for a job of jobflow-remote: the file that takes the place of the
    store contains only what the job itself writes. There it is the store of the worker's settings.

    Parameters
    ----------
    store
        The store of the running job.

    Raises
    ------
    ServiceError
        If the worker's settings name no database, or it does not answer.
    """
    if not type(store.docs_store).__module__.startswith(_FILE_STORES):
        return store
    try:
        return _store_of_settings()
    except ServiceError as error:
        raise ServiceError(
            f"this job reads stored outputs, which jobflow-remote does not give to it: {error}",
            hint="run it with a worker of jobflow-remote that reaches the database, and name its "
            "mgflows.yaml in MGFLOWS_CONFIG",
        ) from error


@cache
def _store_of_settings() -> JobStore:
    store = open_job_store(Settings.current())
    try:
        store.connect()
        store.docs_store.count({"uuid": ""})
    except Exception as error:
        raise ServiceError(f"the database does not answer: {error}") from error
    return store
