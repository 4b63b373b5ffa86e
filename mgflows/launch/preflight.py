"""What a worker makes sure of before it takes its first job: a broken machine must not turn a queue of good jobs into failures."""

from __future__ import annotations

import logging
import shutil
import uuid
from typing import TYPE_CHECKING

import mgflows
from mgflows.connections import open_database, open_job_store
from mgflows.errors import ServiceError
from mgflows.launch.checks import Finding, Verdict
from mgflows.launch.programs import check_programs
from mgflows.schemas.campaign import CAMPAIGNS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pymongo.database import Database

    from mgflows.settings import Settings

__all__ = ["check_free_space", "check_job_store", "preflight"]

logger = logging.getLogger(__name__)

# Whether a label needs a program depends on its method, which only the job knows; a potential cannot be trained or run without one.
_NEEDS_PROGRAMS = ("training", "md")


def preflight(
    settings: Settings, campaign: str | None = None, categories: Sequence[str] = ()
) -> None:
    """Check this machine for a worker: versions, JobStore, free space, and the programs of its categories.

    That the classes of a job can be imported is checked when it is taken (:class:`mgflows.launch.launchpad.WorkerLaunchPad`), since only then is
    it known which they are.

    Parameters
    ----------
    settings
        The worker's settings.
    campaign
        The campaign it works for; all that have a job to take by default.
    categories
        Categories of its jobs; without any it is taken for a machine that has what its jobs need.

    Raises
    ------
    ServiceError
        If something is not as it must be; says what, and how to mend it.
    """
    database = open_database(settings)
    try:
        _check_versions(database, campaign)
    finally:
        database.client.close()
    check_free_space(settings, settings.directory)
    findings = [check_job_store(settings)]
    for category in set(categories) & set(_NEEDS_PROGRAMS):
        findings += check_programs(settings, category)
    for finding in findings:
        if finding.verdict is Verdict.ERROR:
            raise ServiceError(
                f"this machine cannot work: {finding.check}: {finding.reason}; {finding.hint}"
            )


def check_free_space(settings: Settings, directory: Path) -> None:
    """Raise ServiceError if there is too little space where a worker writes."""
    free = shutil.disk_usage(directory).free / 1e9
    if free < settings.minimum_free_gb:
        raise ServiceError(
            f"{directory} has {free:.2f} GB of free space and a worker wants {settings.minimum_free_gb:g}; free some, or lower minimum_free_gb"
        )


def check_job_store(settings: Settings) -> Finding:
    """Write a document and an array, read them back, and remove them."""
    from pymongo.errors import PyMongoError

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
        store.additional_stores["data"].remove_docs({"job_uuid": name})
        store.remove_docs({"uuid": name})
    except PyMongoError as error:
        return Finding(
            "job store",
            Verdict.ERROR,
            f"a document cannot be written and read: {error}",
            "give the database's user the role readWrite",
        )
    finally:
        store.close()
    if values != [1.0, 2.0]:
        return Finding(
            "job store",
            Verdict.ERROR,
            f"[1.0, 2.0] came back as {values}",
            "check the server's disk and version",
        )
    return Finding("job store", Verdict.OK, "documents and arrays are written and read")


def _check_versions(database: Database, campaign: str | None) -> None:
    """Refuse campaigns of another version of mgflows: the same settings may mean something else there."""
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
                f"the campaign {document['campaign']} was submitted with mgflows {document['mgflows_version']} and this worker has "
                f"{mgflows.__version__}; install that version here, or work for other campaigns with --campaign"
            )
