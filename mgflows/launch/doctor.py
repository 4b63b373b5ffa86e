"""Is this machine ready? Each check says what it found, and if that is not good, what mends it."""

from __future__ import annotations

import enum
import platform
import re
import shutil
import stat
import sys
import uuid
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from mgflows.errors import MgflowsError
from mgflows.launch.mongod import MINIMUM_FREE_BYTES, PrivateMongod, find_mongod
from mgflows.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_OLDEST_PYTHON = (3, 11)
_ROOMY_BYTES = 5 * 1024**3
# What users need; the other extras are for developers, or sums of these.
_EXTRAS = ("mongod", "train", "md", "report", "gpaw", "vasp")
_PURPOSES = {
    "mongod": "a private database",
    "train": "training potentials",
    "md": "molecular dynamics and fast labels",
    "report": "figures and reports",
    "gpaw": "labels with GPAW",
    "vasp": "labels with VASP",
}


class Verdict(enum.StrEnum):
    """How serious a finding is: `MISSING` is what one can do without, `BAD` is not."""

    GOOD = "good"
    MISSING = "missing"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes
    ----------
    check
        What was looked at.
    verdict
        Whether it is good.
    reason
        What was found.
    mend
        What to do about it; empty if it is good.
    """

    check: str
    verdict: Verdict
    reason: str
    mend: str = ""


def examine(directory: Path | str | None = None) -> list[Finding]:
    """Check this machine.

    Parameters
    ----------
    directory
        Folder whose settings to use, as for `Settings.load`.

    Returns
    -------
    list of Finding
        In an order in which to mend them.
    """
    findings = [_python(), *_packages()]
    try:
        settings = Settings.load(directory)
    except MgflowsError as error:
        return [*findings, Finding("configuration", Verdict.BAD, str(error), "correct that, then run mgflows doctor again")]
    findings += [_configuration(settings, directory), _free_space(settings), _mongod(settings), _trainer(settings)]
    database = _judged("database", lambda: _database(settings))
    findings.append(database)
    if database.verdict is Verdict.GOOD:
        findings.append(_judged("job store", lambda: _job_store(settings)))
    return findings


def _judged(check: str, look: Callable[[], Finding]) -> Finding:
    """Turn the error a check raises into a finding; those of mgflows end with the mend."""
    try:
        return look()
    except MgflowsError as error:
        reason, _, mend = str(error).rpartition("; ")
        return Finding(check, Verdict.BAD, reason or mend, mend)


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info < _OLDEST_PYTHON:
        return Finding("python", Verdict.BAD, f"Python {version}", f"use Python {'.'.join(map(str, _OLDEST_PYTHON))} or newer")
    return Finding("python", Verdict.GOOD, f"Python {version}")


def _packages() -> list[Finding]:
    wanted: dict[str, list[str]] = {"": []}
    for requirement in metadata.requires("mgflows") or []:
        extra = re.search(r"extra == ['\"](\w+)['\"]", requirement)
        name = re.match(r"[\w.-]+", requirement)
        if name is not None and name.group() != "mgflows":
            wanted.setdefault(extra.group(1) if extra else "", []).append(name.group())
    findings = []
    for group in ("", *_EXTRAS):
        versions = {name: _version(name) for name in wanted.get(group, [])}
        missing = [name for name, version in versions.items() if version is None]
        check = f"packages for {_PURPOSES[group]}" if group else "packages"
        there = ", ".join(f"{name} {version}" for name, version in versions.items() if version is not None)
        if missing:
            mend = f"pip install 'mgflows[{group}]'" if group else "pip install mgflows"
            reason = f"not installed: {', '.join(missing)}" + (f" (installed: {there})" if there else "")
            findings.append(Finding(check, Verdict.MISSING if group else Verdict.BAD, reason, mend))
        else:
            findings.append(Finding(check, Verdict.GOOD, there))
    return findings


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _configuration(settings: Settings, directory: Path | str | None) -> Finding:
    path = Settings.find_file(directory)
    if path is None:
        return Finding("configuration", Verdict.GOOD, f"no mgflows.yaml, defaults are used; files go to {settings.directory}")
    mode = stat.S_IMODE(path.stat().st_mode)
    if not settings.is_private and "@" in settings.uri and mode & 0o077:
        return Finding(
            "configuration", Verdict.BAD, f"{path} has a password in it and others may read it (mode {mode:o})", f"chmod 600 {path}"
        )
    return Finding("configuration", Verdict.GOOD, str(path))


def _free_space(settings: Settings) -> Finding:
    existing = next(path for path in (settings.directory, *settings.directory.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    reason = f"{free / 1024**3:.1f} GiB free for {settings.directory}"
    if free < MINIMUM_FREE_BYTES:
        return Finding(
            "free space",
            Verdict.BAD,
            reason,
            f"free some, or choose another directory; {MINIMUM_FREE_BYTES / 1024**3:.0f} GiB is the least",
        )
    if free < _ROOMY_BYTES:
        return Finding("free space", Verdict.MISSING, reason, f"a campaign may need {_ROOMY_BYTES / 1024**3:.0f} GiB")
    return Finding("free space", Verdict.GOOD, reason)


def _mongod(settings: Settings) -> Finding:
    if not settings.is_private:
        return Finding("mongod", Verdict.GOOD, "not needed, the settings name a server")

    def look() -> Finding:
        executable, version = find_mongod(settings.mongod)
        return Finding("mongod", Verdict.GOOD, f"{executable}, version {'.'.join(map(str, version))}")

    return _judged("mongod", look)


def _database(settings: Settings) -> Finding:
    if settings.is_private and not PrivateMongod.from_settings(settings).status().running:
        mend = f"mgflows db start --directory {settings.directory}"
        return Finding("database", Verdict.MISSING, f"the private server in {settings.directory} does not run; quickstart starts it", mend)
    settings.check_database()
    return Finding("database", Verdict.GOOD, f"{settings.shown_uri}, database {settings.database_name}")


def _job_store(settings: Settings) -> Finding:
    """Write a document and an array, read them back, and remove them."""
    from pymongo.errors import PyMongoError

    store = settings.job_store()
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
            "job store", Verdict.BAD, f"a document cannot be written and read: {error}", "give the database's user the role readWrite"
        )
    finally:
        store.close()
    if values != [1.0, 2.0]:
        return Finding("job store", Verdict.BAD, f"[1.0, 2.0] came back as {values}", "check the server's disk and version")
    return Finding("job store", Verdict.GOOD, "documents and arrays are written and read")


def _trainer(settings: Settings) -> Finding:
    command = shutil.which(settings.nep_command.split()[0])
    neppo = _version("neppo")
    found = [f"neppo {neppo}"] if neppo else []
    found += [f"GPUMD's nep: {command}"] if command else []
    if not found:
        mend = "pip install 'mgflows[train]', or set nep_command in mgflows.yaml to GPUMD's nep"
        return Finding("trainer", Verdict.MISSING, f"neither neppo nor the command {settings.nep_command!r}", mend)
    return Finding("trainer", Verdict.GOOD, ", ".join(found))
