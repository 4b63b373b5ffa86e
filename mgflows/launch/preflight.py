"""Checks before the first job of a worker, so that a broken machine does not fail many jobs."""

from __future__ import annotations

import logging
import shutil
import uuid
from typing import TYPE_CHECKING

import mgflows
from mgflows.connections import open_database, open_job_store
from mgflows.database.progress import require_campaign
from mgflows.errors import ServiceError, clean_text
from mgflows.launch.checks import Finding, Verdict
from mgflows.launch.programs import check_programs
from mgflows.schemas.campaign import CAMPAIGNS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pymongo.database import Database

    from mgflows.settings import Settings

__all__ = [
    "check_free_space",
    "check_job_store",
    "check_machine",
    "check_versions",
    "preflight",
]

logger = logging.getLogger(__name__)

# Only the job defines whether a label needs a program; training and dynamics always need one.
_NEEDS_PROGRAMS = ("training", "md")


def preflight(
    settings: Settings, campaign: str | None = None, categories: Sequence[str] = ()
) -> None:
    """Check this machine for a worker: versions, JobStore, free space, and required programs.

    Whether the classes of a job can be imported is checked when the job is taken
    (:class:`mgflows.launch.launchpad.WorkerLaunchPad`), since only then are they known.

    Parameters
    ----------
    settings
        The worker's settings.
    campaign
        The worker's campaign; by default all that have a job to run.
    categories
        Categories of its jobs; programs are checked for these only.

    Raises
    ------
    InputError
        If there is no such campaign.
    ServiceError
        If a check fails.
    """
    database = open_database(settings)
    try:
        if campaign is not None:
            require_campaign(database, campaign)
        check_versions(database, campaign)
    finally:
        database.client.close()
    _refuse_errors([check_job_store(settings)])
    check_machine(settings, settings.directory, categories)


def check_machine(settings: Settings, directory: Path, categories: Sequence[str]) -> None:
    """Raise ServiceError if free space or a program that jobs of some categories need is missing.

    This needs no database.
    """
    check_free_space(settings, directory)
    for category in set(categories) & set(_NEEDS_PROGRAMS):
        _refuse_errors(check_programs(settings, category))


def _refuse_errors(findings: Sequence[Finding]) -> None:
    for finding in findings:
        if finding.verdict is Verdict.ERROR:
            raise ServiceError(
                f"this machine cannot run jobs: {finding.check}: {finding.reason}",
                hint=finding.hint,
            )


def check_free_space(settings: Settings, directory: Path) -> None:
    """Raise ServiceError if less than `minimum_free_gb` is free where a worker writes."""
    free = shutil.disk_usage(directory).free / 1e9
    if free < settings.minimum_free_gb:
        raise ServiceError(
            f"{directory} has {free:.2f} GB of free space and a worker needs "
            f"{settings.minimum_free_gb:g} GB",
            hint="free some, or lower minimum_free_gb",
        )


def check_job_store(settings: Settings) -> Finding:
    """Write a document and an array, read them back, and remove them."""
    from pymongo.errors import PyMongoError

    from mgflows.checked_stores import blob_ids

    store = open_job_store(settings)
    name = f"doctor-{uuid.uuid4()}"
    try:
        store.connect()
        document = {
            "uuid": name,
            "index": 1,
            "output": {"values": [1.0, 2.0]},
            "completed_at": "",
            "metadata": {},
            "hosts": [],
            "name": "doctor",
        }
        store.update(document, save={"data": ["values"]})
        values = store.get_output(name, load=True)["values"]
        (blob,) = blob_ids(store.get_output(name))
        store.additional_stores["data"].remove_docs({"blob_uuid": blob})
        store.remove_docs({"uuid": name})
    except PyMongoError as error:
        return Finding(
            "job store",
            Verdict.ERROR,
            f"a document cannot be written and read: {clean_text(str(error), 400)}",
            "give the database's user the role readWrite",
        )
    finally:
        store.close()
    if values != [1.0, 2.0]:
        return Finding(
            "job store",
            Verdict.ERROR,
            f"[1.0, 2.0] was read back as {values}",
            "check the server's disk and version",
        )
    return Finding("job store", Verdict.OK, "documents and arrays can be written and read")


def check_versions(database: Database, campaign: str | None) -> None:
    """Refuse campaigns of another version of mgflows, in which settings may have other meanings.

    Parameters
    ----------
    database
        The database.
    campaign
        The campaign; None for all that have a job to run.

    Raises
    ------
    ServiceError
        If one of them was submitted with another version.
    """
    names = (
        [campaign]
        if campaign
        else database["fireworks"].distinct("spec.mgflows.campaign", {"state": "READY"})
    )
    for document in database[CAMPAIGNS].find(
        {"campaign": {"$in": names}}, ["campaign", "mgflows_version"]
    ):
        if document["mgflows_version"] != mgflows.__version__:
            raise ServiceError(
                f"the campaign {document['campaign']} was submitted with mgflows "
                f"{document['mgflows_version']} and this worker has {mgflows.__version__}",
                hint="install that version here, or run other campaigns with --campaign",
            )
