"""Records of one job: its launches, the traceback of a failure, and its output."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgflows.database.failures import end_of_file, stored_trace
from mgflows.errors import InputError, clean_text

if TYPE_CHECKING:
    from pymongo.database import Database

__all__ = ["JobLog", "LaunchRecord", "read_job_log"]

_OUTPUTS = ("job.out", "job.err")
_SHOWN_LINES = 100
_LONGEST_TRACE = 20_000
_LAUNCH_FIELDS = (
    "launch_id",
    "state",
    "host",
    "launch_dir",
    "time_start",
    "time_end",
    "action.stored_data._exception",
)


@dataclass(frozen=True)
class LaunchRecord:
    """One launch of a job.

    Attributes
    ----------
    state
        FireWorks state of the launch.
    host, directory
        Where it ran; empty if unknown.
    started, ended
        UTC, ISO 8601; empty if it has not started or ended.
    """

    state: str
    host: str
    directory: str
    started: str
    ended: str


@dataclass(frozen=True)
class JobLog:
    """A job with its launches and logs, without credentials.

    Attributes
    ----------
    fw_id, name, state
        Its firework.
    stage, subset
        Those of its metadata; None if it has none.
    launches
        Oldest first.
    traceback
        Traceback of the last launch; empty if it has not failed.
    outputs
        The last 100 lines of ``job.out`` and ``job.err`` of the last launch, if the files are not
        empty and can be read on this machine.
    """

    fw_id: int
    name: str
    state: str
    stage: str | None
    subset: str | None
    launches: tuple[LaunchRecord, ...]
    traceback: str
    outputs: dict[str, str] = field(default_factory=dict)


def read_job_log(database: Database, campaign: str, fw_id: int) -> JobLog:
    """Read the log of one job of a campaign; changes nothing.

    Parameters
    ----------
    database
        Database of the LaunchPad.
    campaign
        Name of the campaign.
    fw_id
        Id of the firework.

    Raises
    ------
    InputError
        If the campaign has no such job.
    """
    query = {"fw_id": fw_id, "spec.mgflows.campaign": campaign}
    fields = ["name", "state", "launches", "spec.mgflows", "spec._exception_details"]
    firework = database["fireworks"].find_one(query, fields)
    if firework is None:
        raise InputError(
            f"the campaign {campaign!r} has no job {fw_id}",
            hint=f"list its jobs with: mgflows status {campaign}",
        )
    ids = firework.get("launches") or []
    found = database["launches"].find({"launch_id": {"$in": ids}}, list(_LAUNCH_FIELDS))
    by_id = {launch["launch_id"]: launch for launch in found}
    launches = [by_id[each] for each in ids if each in by_id]
    last = launches[-1] if launches else None
    tags = (firework.get("spec") or {}).get("mgflows") or {}
    directory = (last or {}).get("launch_dir")
    return JobLog(
        fw_id=fw_id,
        name=firework.get("name", ""),
        state=firework["state"],
        stage=tags.get("stage"),
        subset=tags.get("subset"),
        launches=tuple(map(_launch_record, launches)),
        traceback=clean_text(stored_trace(firework, last), _LONGEST_TRACE).strip(),
        outputs=_outputs(Path(directory)) if directory else {},
    )


def _launch_record(launch: dict[str, Any]) -> LaunchRecord:
    return LaunchRecord(
        state=launch["state"],
        host=launch.get("host") or "",
        directory=launch.get("launch_dir") or "",
        started=str(launch.get("time_start") or ""),
        ended=str(launch.get("time_end") or ""),
    )


def _outputs(directory: Path) -> dict[str, str]:
    texts = {name: end_of_file(directory / name, _SHOWN_LINES) for name in _OUTPUTS}
    return {name: clean_text(text, _LONGEST_TRACE) for name, text in texts.items() if text.strip()}
