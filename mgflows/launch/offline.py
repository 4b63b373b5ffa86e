"""FireWorks' offline mode: jobs on nodes from which the database cannot be reached.

``qlaunch -r`` reserves a job on a machine with a connection and writes ``FW.json`` into its launch
directory. `write_inputs` adds the outputs that the job reads. On the node the job reads these and
writes its own output to a file. `recover_offline` stores the output, and FireWorks' record of how
the job ended, in the database.

The reservation is decisive: if the job was given to another launch in the meantime, the result is
not stored.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bson
from fireworks import Firework, FWAction
from fireworks.core import rocket
from jobflow import JobStore
from monty.io import zopen
from pymongo.errors import DocumentTooLarge

from mgflows.checked_stores import blob_ids
from mgflows.connections import check_database, open_job_store
from mgflows.errors import InputError, ServiceError, clean_text
from mgflows.files import atomic_write
from mgflows.launch.batch_system import SUBMITTED_TO
from mgflows.launch.interruption import StopRequest
from mgflows.launch.launchpad import WorkerLaunchPad
from mgflows.launch.outputs import LaunchJobStore, SupersededError
from mgflows.launch.retries import RetryingJobStore

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from fireworks import LaunchPad
    from jobflow import Job

    from mgflows.settings import Settings

__all__ = [
    "OfflineRecovery",
    "OfflineRun",
    "active_runs",
    "read_record",
    "recover_offline",
    "repair_offline_mode",
    "write_inputs",
]

logger = logging.getLogger(__name__)

FIREWORK, RECORD, PING = "FW.json", "FW_offline.json", "FW_ping.json"
"""Files of FireWorks in a launch directory."""
INPUTS, OUTPUT = "offline_inputs.bson", "offline_output.bson"
_LARGEST_DOCUMENT = 16 * 1024**2
_ACTIVE = {"completed": False, "deprecated": False}
_HELD = ["RESERVED", "RUNNING"]


def write_inputs(settings: Settings, launchpad: LaunchPad, directory: Path) -> None:
    """Write the outputs that the job of a launch directory reads to a file in it.

    These are the outputs to which its arguments refer, directly or through other outputs. For a job
    that reads the store itself they are also those that its inputs list under ``uuid``, such as the
    labels of a dataset.

    Parameters
    ----------
    settings
        Settings that name the database.
    launchpad
        FireWorks' LaunchPad in it.
    directory
        The launch directory, with FireWorks' ``FW.json`` and ``FW_offline.json``.

    Raises
    ------
    DamagedDataError
        If an input was changed after it was stored.
    OSError
        If the file cannot be written.
    """
    firework = Firework.from_file(str(directory / FIREWORK))
    job: Job = firework.tasks[0]["job"]
    earlier = launchpad.launches.find(
        {"fw_id": firework.fw_id, "state": {"$ne": "RESERVED"}},
        {"_id": 0, "launch_id": 1, "state": 1, "launch_dir": 1},
    )
    store = open_job_store(settings)
    store.connect()
    try:
        with atomic_write(directory / INPUTS, "wb") as stream:
            launches = sorted(earlier, key=lambda launch: launch["launch_id"])
            stream.write(bson.encode({"launches": launches}))
            for name, document in _inputs(store, job):
                document.pop("_id", None)
                stream.write(bson.encode({"store": name, "document": document}))
    finally:
        store.close()


def _inputs(store: JobStore, job: Job) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Ids of the outputs that a job reads (with None), and of their arrays (with their store)."""
    from jobflow.core.reference import find_and_get_references

    wanted, seen = set(job.input_uuids), set()
    is_first = True
    while wanted:
        found: set[str] = set()
        for document in list(store.docs_store.query({"uuid": {"$in": sorted(wanted)}})):
            yield None, document
            output = document.get("output")
            found |= {each.uuid for each in find_and_get_references(output)}
            arrays = list(_arrays(store, output))
            yield from arrays
            if job.config.expose_store and is_first:
                found |= _listed([output, [array for _, array in arrays]])
        seen |= wanted
        wanted, is_first = found - seen, False


def _arrays(store: JobStore, output: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if ids := blob_ids(output):
        for name, arrays in store.additional_stores.items():
            for document in arrays.query({"blob_uuid": {"$in": ids}}):
                yield name, document


def _listed(value: Any) -> set[str]:
    """Value under the key ``uuid`` in an output."""
    if isinstance(value, dict):
        own = {value["uuid"]} if isinstance(value.get("uuid"), str) else set()
        return own.union(*map(_listed, value.values()))
    if isinstance(value, list) and value and not isinstance(value[0], float | int):
        return set().union(*map(_listed, value))
    return set()


class OfflineRun:
    """The run of one job on a node without a connection, in the current directory.

    Attributes
    ----------
    launches
        The earlier launches of the firework.
    store
        A JobStore in memory, with the inputs.
    """

    def __init__(self) -> None:
        from maggma.stores import MemoryStore

        path = Path.cwd() / INPUTS
        try:
            stream = path.open("rb")
        except FileNotFoundError as error:
            raise ServiceError(
                f"the job cannot run offline: {path.name} is missing in its launch directory",
                hint="set `offline: true` for the category in mgflows.yaml, run mgflows init and "
                "submit with qlaunch -r",
            ) from error
        with stream:
            documents = bson.decode_file_iter(stream)
            self.launches: list[dict[str, Any]] = next(documents)["launches"]
            self.store = JobStore(
                MemoryStore(key="uuid"), additional_stores={"data": MemoryStore(key="blob_uuid")}
            )
            self.store.connect()
            for each in documents:
                target = (
                    self.store.docs_store
                    if each["store"] is None
                    else self.store.additional_stores[each["store"]]
                )
                target._collection.insert_one(each["document"])

    def write_output(self, job: Job) -> None:
        """Write the output of the job to a file.

        Raises
        ------
        DocumentTooLarge
            If MongoDB cannot store it.
        """
        key = {"uuid": job.uuid, "index": job.index}
        with atomic_write(Path.cwd() / OUTPUT, "wb") as stream:
            for name, document in self._output(key):
                document.pop("_id", None)
                encoded = bson.encode({"store": name, "document": document})
                if name is None and len(encoded) > _LARGEST_DOCUMENT:
                    raise DocumentTooLarge(f"{len(encoded)} bytes")
                stream.write(encoded)

    def _output(self, key: dict[str, Any]) -> Iterator[tuple[str | None, dict[str, Any]]]:
        document = self.store.docs_store.query_one(key)
        yield None, document
        yield from _arrays(self.store, document["output"])


@dataclass
class OfflineRecovery:
    """Results that `recover_offline` stored.

    Attributes
    ----------
    completed, failed, interrupted
        Fireworks whose end is recorded now. An interrupted one is READY again.
    running
        Fireworks that have not ended, or have not started.
    unreadable
        Fireworks whose launch directory cannot be read, with the reason.
    superseded
        Fireworks that were given to another launch: the result was not stored.
    """

    completed: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    interrupted: list[int] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
    unreadable: dict[int, str] = field(default_factory=dict)
    superseded: list[int] = field(default_factory=list)


def recover_offline(settings: Settings, fw_ids: Collection[int] | None = None) -> OfflineRecovery:
    """Store the results of jobs that ran offline in the database.

    A kill at any point loses nothing: the next call continues. Several calls may run at once.

    Parameters
    ----------
    settings
        Settings that name the database.
    fw_ids
        Only these fireworks; all that were submitted to run offline by default.

    Raises
    ------
    ServiceError
        If the database does not answer.
    """
    check_database(settings)
    # No failure is quick: the jobs did not run on this machine.
    launchpad = WorkerLaunchPad(settings, StopRequest(), quick_seconds=0.0)
    store = RetryingJobStore(open_job_store(settings), settings.outage_seconds)
    store.connect()
    recovery = OfflineRecovery()
    try:
        for run in active_runs(launchpad):
            if fw_ids is None or run["fw_id"] in fw_ids:
                _recover(launchpad, store, run["launch_id"], run["fw_id"], recovery)
    finally:
        store.close()
        launchpad.connection.close()
    return recovery


def repair_offline_mode() -> None:
    """Make FireWorks read its record of an offline run in this process.

    FireWorks 2.1 opens it without a mode, which monty refuses since 2025: ``rlaunch --offline``
    ends with a TypeError.
    """

    def open_text(path: str, mode: str = "rt") -> Any:
        return zopen(path, mode, encoding=None if "b" in mode else "utf-8")

    rocket.zopen = open_text


def active_runs(launchpad: LaunchPad) -> list[dict[str, Any]]:
    """`launch_id` and `fw_id` of the offline runs whose end is not recorded."""
    return list(launchpad.offline_runs.find(_ACTIVE, {"_id": 0, "launch_id": 1, "fw_id": 1}))


def read_record(directory: Path) -> dict[str, Any]:
    """FireWorks' record of an offline run: `started_on` and, at the end, `fwaction` and `state`.

    It is empty if its writer was killed while writing it.

    Raises
    ------
    OSError
        If it cannot be read from here.
    """
    try:
        return json.loads((directory / RECORD).read_text(encoding="utf-8"))
    except ValueError:
        return {}


def _recover(
    launchpad: WorkerLaunchPad,
    store: JobStore,
    launch_id: int,
    fw_id: int,
    recovery: OfflineRecovery,
) -> None:
    present = {"fw_id": fw_id, "launches": launch_id, "state": {"$in": _HELD}}
    launch = launchpad.launches.find_one({"launch_id": launch_id}, {"state": 1, "launch_dir": 1})
    if (
        launch is None
        or launch["state"] not in _HELD
        or launchpad.fireworks.find_one(present, {"_id": 1}) is None
    ):
        recovery.superseded.append(fw_id)
        launchpad.forget_offline(launch_id)
        return
    directory = Path(launch["launch_dir"])
    try:
        record = read_record(directory)
    except OSError as error:
        recovery.unreadable[fw_id] = f"{error.filename}: {error.strerror}"
        return
    if "started_on" in record and launch["state"] == "RESERVED":
        _record_start(launchpad, launch_id, fw_id, record["started_on"])
    if "fwaction" not in record:
        recovery.running.append(fw_id)
        _record_heartbeat(launchpad, launch_id, directory)
        return
    action, state = FWAction.from_dict(record["fwaction"]), record["state"]
    if state == "COMPLETED":
        own = LaunchJobStore(store, launchpad.launches, launch_id, launchpad.outage_seconds)
        try:
            _store_output(own, directory)
            own.confirm({})
        except SupersededError:
            recovery.superseded.append(fw_id)
            launchpad.forget_offline(launch_id)
            return
        except InputError as error:
            action, state = _failure(error), "FIZZLED"
    launchpad.complete_launch(launch_id, action, state)
    _record_end(launchpad, launch_id, state, record.get("completed_on"))
    _remove_files(directory)
    is_ready = launchpad.fireworks.find_one(
        {"fw_id": fw_id, "state": {"$in": ["COMPLETED", "FIZZLED"]}}, {"_id": 1}
    )
    if state == "COMPLETED":
        recovery.completed.append(fw_id)
    else:
        (recovery.failed if is_ready else recovery.interrupted).append(fw_id)


def _store_output(store: LaunchJobStore, directory: Path) -> None:
    """Store the output that a job wrote to a file.

    Raises
    ------
    InputError
        If the file is missing or incomplete.
    """
    try:
        content = (directory / OUTPUT).read_bytes()
        records = list(bson.decode_iter(content))
        documents = [each["document"] for each in records if each["store"] is None]
        if not documents:
            raise ValueError("it is empty")
    except (OSError, ValueError, bson.errors.InvalidBSON) as error:
        raise InputError(
            f"the output of the job, {directory / OUTPUT}, cannot be read "
            f"({clean_text(str(error), 200)})",
            hint="compute the job again with: mgflows heal --retry all --yes",
        ) from error
    arrays: dict[str, list[dict[str, Any]]] = {}
    for each in records:
        if each["store"] is not None:
            arrays.setdefault(each["store"], []).append(each["document"])
    store.adopt(documents, arrays)


def _failure(error: InputError) -> FWAction:
    message = str(error)
    exception = {
        "_stacktrace": f"{type(error).__name__}: {message}",
        "_details": {"error": type(error).__name__, "message": message},
    }
    return FWAction(stored_data={"_message": message, "_exception": exception}, exit=True)


def _record_start(launchpad: LaunchPad, launch_id: int, fw_id: int, started_on: str) -> None:
    """Make a reserved launch RUNNING; its batch job remains known, with its cluster."""
    from fireworks.utilities.fw_serializers import reconstitute_dates

    found = launchpad.launches.find_one({"launch_id": launch_id})
    launch = launchpad.get_launch_by_id(launch_id)
    launch.state = "RUNNING"
    for entry in launch.state_history:
        if entry["state"] == "RUNNING":
            entry["created_on"] = reconstitute_dates(started_on)
    document = launch.to_db_dict()
    submitted_to = found.get(SUBMITTED_TO)
    numbers = [
        entry["reservation_id"]
        for entry in found["state_history"]
        if entry.get("reservation_id") is not None
    ]
    if numbers and document.get("fworker"):
        job = {"id": str(numbers[-1]), **(submitted_to or {"host": found.get("host")})}
        document["fworker"]["env"] = {**document["fworker"].get("env", {}), "batch_job": job}
    launchpad.launches.find_one_and_replace({"launch_id": launch_id, "state": "RESERVED"}, document)
    launchpad.fireworks.update_one(
        {"fw_id": fw_id, "launches": launch_id, "state": "RESERVED"}, {"$set": {"state": "RUNNING"}}
    )
    launchpad._refresh_wf(fw_id)


def _record_heartbeat(launchpad: LaunchPad, launch_id: int, directory: Path) -> None:
    with suppress(OSError, ValueError, KeyError):
        ping = json.loads((directory / PING).read_text(encoding="utf-8"))
        launchpad.ping_launch(launch_id, ptime=ping["ping_time"])


def _record_end(launchpad: LaunchPad, launch_id: int, state: str, when: str | None) -> None:
    if when is not None:
        launchpad.launches.update_one(
            {"launch_id": launch_id},
            {"$set": {"state_history.$[entry].created_on": when}},
            array_filters=[{"entry.state": state}],
        )
    launchpad.offline_runs.update_many({"launch_id": launch_id}, {"$set": {"completed": True}})


def _remove_files(directory: Path) -> None:
    for name in (INPUTS, OUTPUT):
        with suppress(OSError):
            (directory / name).unlink(missing_ok=True)
