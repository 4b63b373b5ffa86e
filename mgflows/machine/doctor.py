"""Checks of this machine; each finding states how to fix it."""

from __future__ import annotations

import json
import platform
import re
import resource
import shutil
import stat
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

import mgflows
from mgflows.connections import check_database, open_database, open_job_store
from mgflows.database.integrity import (
    changed_outputs,
    damaged_jobs,
    lost_launches,
    lost_outputs,
    missing_indexes,
    wrong_counters,
)
from mgflows.database.planned import deleted_jobs
from mgflows.errors import InputError, MgflowsError, install_command
from mgflows.launch import checks as found_here
from mgflows.launch.checks import Finding, Verdict, error_as_finding
from mgflows.launch.preflight import check_job_store
from mgflows.launch.processes import clock_ahead
from mgflows.launch.programs import check_programs
from mgflows.machine.mongod import FIXED_RELEASES, MINIMUM_FREE_BYTES, PrivateMongod, find_mongod
from mgflows.machine.stray_configuration import (
    check_fireworks_files,
    check_jobflow_store,
    check_rendered_files,
)
from mgflows.recovery.queues import Queues, partitions
from mgflows.schemas.campaign import PLANNED
from mgflows.settings import CATEGORIES, Settings
from mgflows.text import plural

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.database import Database

__all__ = ["Finding", "Verdict", "examine"]

_OLDEST_PYTHON = (3, 11)
_ROOMY_BYTES = 5 * 1024**3
# A worker holds about seven connections; mongod accepts up to 80 % of its limit of open files.
_FEW_FILES, _ENOUGH_FILES = 1024, 4096
_SKEW_SECONDS = 5.0
_SAMPLED_OUTPUTS = 20
_SHOWN_UUIDS = 20
# The extras for users; the other extras are for developers or combine these.
_EXTRAS = ("mongod", "train", "md", "report", "gpaw", "vasp")
_PURPOSES = {
    "mongod": "a private database",
    "train": "training potentials",
    "md": "molecular dynamics and fast labels",
    "report": "figures and reports",
    "gpaw": "labels with GPAW",
    "vasp": "labels with VASP",
}
_CATEGORY_EXTRAS = {"sampling": (), "dft": ("gpaw", "vasp"), "training": ("train",), "md": ("md",)}
# Tested series of packages on whose internals mgflows relies (exact versions: constraints.txt).
_TESTED_SERIES = {
    "FireWorks": "2.1",
    "jobflow": "0.4",
    "maggma": "0.77",
    "atomate2": "0.1",
    "pymongo": "4",
}
# Packages whose versions must agree for one machine to read the jobs of another.
_SHARED_PACKAGES = ("jobflow", "FireWorks", "pymatgen", "monty", "atomate2")


def examine(
    directory: Path | str | None = None, category: str | None = None, *, deep: bool = False
) -> list[Finding]:
    """Check this machine.

    Parameters
    ----------
    directory
        Folder of the settings, as for `Settings.load`.
    category
        Only what workers for this category of jobs (``sampling``, ``dft``, ``training`` or ``md``)
        need; everything by default.
    deep
        Whether every stored output is compared with its checksum, instead of a few.

    Returns
    -------
    list of Finding
        In the order in which to fix them.

    Raises
    ------
    InputError
        If there is no such category.
    """
    if category is not None and category not in CATEGORIES:
        raise InputError(
            f"there is no category {category!r}", hint=f"choose one of {', '.join(CATEGORIES)}"
        )
    findings = [_python(), *_packages(category), _series(), _atomate2()]
    try:
        settings = Settings.load(directory)
    except MgflowsError as error:
        return [
            *findings,
            Finding(
                "configuration",
                Verdict.ERROR,
                error.message,
                error.hint or "correct that, then run mgflows doctor again",
            ),
        ]
    findings += [
        _configuration(settings, directory),
        *_rendered(directory),
        *check_fireworks_files(settings),
    ]
    findings.append(check_jobflow_store(settings, Settings.find_file(directory)))
    findings += [_free_space(settings), _open_files(), _mongod(settings)]
    findings += check_programs(settings, category)
    findings += _batch_system(settings, category)
    database = error_as_finding("database", lambda: _database(settings))
    findings.append(database)
    if database.verdict is Verdict.OK:
        findings += _server(settings)
        findings.append(error_as_finding("job store", lambda: check_job_store(settings)))
        findings.append(error_as_finding("checksums", lambda: _checksums(settings, deep=deep)))
    return findings


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info < _OLDEST_PYTHON:
        return Finding(
            "python",
            Verdict.ERROR,
            f"Python {version}",
            f"use Python {'.'.join(map(str, _OLDEST_PYTHON))} or newer",
        )
    return Finding("python", Verdict.OK, f"Python {version}")


def _packages(category: str | None) -> list[Finding]:
    wanted: dict[str, list[str]] = {"": []}
    for requirement in metadata.requires("mgflows") or []:
        extra = re.search(r"extra == ['\"](\w+)['\"]", requirement)
        name = re.match(r"[\w.-]+", requirement)
        if name is not None and name.group() != "mgflows":
            wanted.setdefault(extra.group(1) if extra else "", []).append(name.group())
    findings = []
    extras = _EXTRAS if category is None else _CATEGORY_EXTRAS[category]
    for group in ("", *extras):
        versions = {name: found_here.installed_version(name) for name in wanted.get(group, [])}
        missing = [name for name, version in versions.items() if version is None]
        check = f"packages for {_PURPOSES[group]}" if group else "packages"
        there = ", ".join(
            f"{name} {version}" for name, version in versions.items() if version is not None
        )
        if missing:
            hint = install_command(group)
            reason = f"not installed: {', '.join(missing)}" + (
                f" (installed: {there})" if there else ""
            )
            findings.append(
                Finding(check, Verdict.WARNING if group else Verdict.ERROR, reason, hint)
            )
        else:
            findings.append(Finding(check, Verdict.OK, there))
    return findings


def _series() -> Finding:
    there = {name: found_here.installed_version(name) for name in _TESTED_SERIES}
    other = [
        f"{name} {version} (tested: {_TESTED_SERIES[name]})"
        for name, version in there.items()
        if version is not None and not f"{version}.".startswith(f"{_TESTED_SERIES[name]}.")
    ]
    if other:
        hint = (
            f"{install_command()}, with constraints.txt of the source code; or check them with a "
            "quickstart"
        )
        return Finding(
            "tested versions",
            Verdict.WARNING,
            f"mgflows was not tested with {', '.join(other)}",
            hint,
        )
    return Finding(
        "tested versions",
        Verdict.OK,
        ", ".join(f"{name} {version}" for name, version in there.items() if version),
    )


def _atomate2() -> Finding:
    """atomate2 before 0.1.6 writes a POSCAR in the order of the atoms, with repeated species."""
    check = "order of atoms in VASP inputs"
    version = found_here.installed_version("atomate2")
    numbers = tuple(int(part) for part in re.findall(r"\d+", version or "")[:3])
    if version is not None and numbers < (0, 1, 6):
        reason = (
            f"atomate2 {version} does not sort the atoms by species; mgflows sorts "
            "them before labelling; your own VASP jobs must do the same"
        )
        return Finding(
            check,
            Verdict.WARNING,
            reason,
            "use structure.get_sorted_structure() in your own jobs, or atomate2 0.1.6",
        )
    return Finding(
        check, Verdict.OK, f"atomate2 {version} sorts them" if version else "no atomate2"
    )


def _configuration(settings: Settings, directory: Path | str | None) -> Finding:
    path = Settings.find_file(directory)
    if path is None:
        return Finding(
            "configuration",
            Verdict.OK,
            f"no mgflows.yaml found, using defaults; files go to {settings.directory}",
        )
    mode = stat.S_IMODE(path.stat().st_mode)
    if not settings.is_private and "@" in settings.uri and mode & 0o077:
        return Finding(
            "configuration",
            Verdict.ERROR,
            f"{path} holds a password and other users can read it (mode {mode:o})",
            f"chmod 600 {path}",
        )
    return Finding("configuration", Verdict.OK, str(path))


def _rendered(directory: Path | str | None) -> list[Finding]:
    try:
        return check_rendered_files(Settings.find_file(directory))
    except MgflowsError as error:
        # A private server that was never started has no URI yet.
        return [Finding("rendered configuration", Verdict.ERROR, error.message, error.hint)]


def _free_space(settings: Settings) -> Finding:
    """The smallest free space of the folders for launches and a private database."""
    check = "free space"
    free, where = min(
        (shutil.disk_usage(existing).free, path)
        for path in (
            settings.directory,
            settings.directory / "launches",
            settings.directory / "mongodb",
        )
        if (existing := next(place for place in (path, *path.parents) if place.exists()))
    )
    reason = f"{free / 1024**3:.1f} GiB free for {where}"
    if free < MINIMUM_FREE_BYTES:
        hint = f"free at least {MINIMUM_FREE_BYTES / 1024**3:.0f} GiB, or choose another directory"
        return Finding(check, Verdict.ERROR, reason, hint)
    if free < _ROOMY_BYTES:
        return Finding(
            check, Verdict.WARNING, reason, f"a campaign can need {_ROOMY_BYTES / 1024**3:.0f} GiB"
        )
    return Finding(check, Verdict.OK, reason)


def _open_files() -> Finding:
    check = "open files"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reason = f"soft limit {_limit(soft)}, hard limit {_limit(hard)}"
    if hard != resource.RLIM_INFINITY and hard < _FEW_FILES:
        return Finding(
            check,
            Verdict.ERROR,
            reason,
            f"request a limit (nofile) of {_ENOUGH_FILES} in /etc/security/limits.conf",
        )
    if hard != resource.RLIM_INFINITY and hard < _ENOUGH_FILES:
        return Finding(
            check,
            Verdict.WARNING,
            reason,
            f"enough for about {hard // 9} workers on a private database; request {_ENOUGH_FILES}",
        )
    if soft != resource.RLIM_INFINITY and soft < _FEW_FILES // 4:
        return Finding(check, Verdict.ERROR, reason, f"ulimit -n {_FEW_FILES}")
    return Finding(check, Verdict.OK, reason)


def _limit(number: int) -> str:
    return "unlimited" if number == resource.RLIM_INFINITY else str(number)


def _mongod(settings: Settings) -> Finding:
    if not settings.is_private:
        return Finding("mongod", Verdict.OK, "not needed: the settings name a server")

    def look() -> Finding:
        executable, version = find_mongod(settings.mongod)
        reason = f"{executable}, version {'.'.join(map(str, version))}"
        if _is_flawed(version):
            reason += (
                " (with CVE-2025-14847, which cannot be exploited on a private socket without "
                "compression)"
            )
        return Finding("mongod", Verdict.OK, reason)

    return error_as_finding("mongod", look)


def _is_flawed(version: tuple[int, ...]) -> bool:
    """Whether a MongoDB server is older than its series' first release without CVE-2025-14847."""
    series, patch = version[:2], version[2]
    # Series without a fixed release are older than the newest fixed series.
    return (
        patch < FIXED_RELEASES[series]
        if series in FIXED_RELEASES
        else (3, 6) <= series < max(FIXED_RELEASES)
    )


def _database(settings: Settings) -> Finding:
    if settings.is_private and not PrivateMongod.from_settings(settings).status().running:
        hint = f"mgflows db start --directory {settings.directory}"
        return Finding(
            "database",
            Verdict.WARNING,
            f"the private server in {settings.directory} is not running; quickstart starts it",
            hint,
        )
    check_database(settings)
    return Finding(
        "database", Verdict.OK, f"{settings.shown_uri}, database {settings.database_name}"
    )


def _server(settings: Settings) -> list[Finding]:
    """Check the server: version and compression, clock, disk, other machines, deleted jobs."""
    database = open_database(settings)
    try:
        return [
            _flaw(database),
            _clock(settings, database),
            *_disk(database),
            *_submitters(database),
            *_deleted(database),
            *_integrity(database),
        ]
    finally:
        database.client.close()


def _flaw(database: Database) -> Finding:
    check = "database server"
    parts = re.findall(r"\d+", database.client.server_info()["version"])[:3]
    version, words = tuple(int(part) for part in parts), ".".join(parts)
    # The compressors that the server accepts.
    offered = database.client.admin.command("hello", compression=["zlib", "snappy", "zstd"]).get(
        "compression", []
    )
    if not _is_flawed(version):
        return Finding(check, Verdict.OK, f"MongoDB {words}")
    if "zlib" not in offered:
        return Finding(
            check,
            Verdict.OK,
            f"MongoDB {words} with CVE-2025-14847, which cannot be exploited without zlib",
        )
    reason = (
        f"MongoDB {words} has CVE-2025-14847 and accepts zlib: clients can read its memory without "
        "a password"
    )
    return Finding(
        check,
        Verdict.ERROR,
        reason,
        "update the server, or start it with --networkMessageCompressors snappy,zstd",
    )


def _clock(settings: Settings, database: Database) -> Finding:
    """Compare clocks. `mgflows heal` uses the server's only; FireWorks does not."""
    check = "clock"
    ahead = abs(clock_ahead(database.client))
    reason = f"{ahead:.1f} s off the server's" if ahead > 0.1 else "agrees with the server's"
    if ahead > max(settings.ping_seconds, _SKEW_SECONDS):
        return Finding(
            check,
            Verdict.ERROR,
            f"{reason}: times in the LaunchPad are wrong, and FireWorks' own lpad detect_lostruns "
            "may consider running jobs lost",
            "set the clock (chronyd or timedatectl set-ntp true)",
        )
    if ahead > _SKEW_SECONDS:
        return Finding(
            check, Verdict.WARNING, reason, "set the clock (chronyd or timedatectl set-ntp true)"
        )
    return Finding(check, Verdict.OK, reason)


def _disk(database: Database) -> list[Finding]:
    """The disk of the database; nothing if the server does not report it."""
    numbers = database.command("dbStats")
    if not numbers.get("fsTotalSize"):
        return []
    free = numbers["fsTotalSize"] - numbers["fsUsedSize"]
    reason = (
        f"{free / 1024**3:.1f} GiB free, this database uses "
        f"{numbers['storageSize'] / 1024**3:.2f} GiB"
    )
    if free < MINIMUM_FREE_BYTES:
        return [
            Finding(
                "disk of the database",
                Verdict.ERROR,
                reason,
                "free some there: mongod stops on a full disk",
            )
        ]
    if free < _ROOMY_BYTES:
        return [
            Finding(
                "disk of the database",
                Verdict.WARNING,
                reason,
                f"a campaign can need {_ROOMY_BYTES / 1024**3:.0f} GiB",
            )
        ]
    return [Finding("disk of the database", Verdict.OK, reason)]


def _submitters(database: Database) -> list[Finding]:
    """Compare versions here with those of the last campaign's submitter and of the last worker."""
    check = "versions elsewhere"
    campaign = database["campaigns"].find_one(
        {}, {"campaign": 1, "mgflows_version": 1}, sort=[("created_at", -1)]
    )
    recent = database["outputs"].find({}, {"output.provenance": 1}).sort("_id", -1).limit(50)
    worker: dict[str, Any] = next((p for row in recent if (p := _provenance(row)) is not None), {})
    differences = []
    if campaign is not None and campaign.get("mgflows_version") not in (None, mgflows.__version__):
        differences.append(
            f"the campaign {campaign['campaign']} was submitted with mgflows "
            f"{campaign['mgflows_version']}, this is {mgflows.__version__}"
        )
    theirs = {name.lower(): version for name, version in (worker.get("packages") or {}).items()}
    for name in _SHARED_PACKAGES:
        here = found_here.installed_version(name)
        if name.lower() in theirs and here is not None and theirs[name.lower()] != here:
            differences.append(
                f"{name} {theirs[name.lower()]} on {worker.get('host')}, {here} here"
            )
    if differences:
        hint = f"install the same versions on all machines: {install_command()}"
        return [Finding(check, Verdict.WARNING, "; ".join(differences), hint)]
    if campaign is None and not worker:
        return []
    return [
        Finding(
            check,
            Verdict.OK,
            "the last submission and the last worker had the versions of this machine",
        )
    ]


def _deleted(database: Database) -> list[Finding]:
    """Submitted jobs that were deleted from the LaunchPad; nothing if there are none."""
    findings = []
    for campaign in sorted(database[PLANNED].distinct("campaign", {"state": "submitted"})):
        if number := len(deleted_jobs(database, campaign)):
            reason = (
                f"{number} submitted jobs of {campaign} were deleted from the LaunchPad (lpad "
                "delete_wflows or reset)"
            )
            hint = f"restore them with: mgflows heal {campaign} --yes"
            findings.append(Finding("deleted jobs", Verdict.WARNING, reason, hint))
    return findings


def _integrity(database: Database) -> list[Finding]:
    """Lost outputs and launches, missing indexes, wrong counters; nothing if there are none."""
    if database["fireworks"].estimated_document_count() == 0:
        return []
    findings = []
    if indexes := missing_indexes(database):
        findings.append(("indexes", f"missing: {'; '.join(indexes)}"))
    if counters := wrong_counters(database):
        findings.append(("counters", f"missing or too small: {', '.join(counters)}"))
    if damaged := damaged_jobs(database):
        number = plural(len(damaged), "waiting job")
        first = f"{damaged[0].fw_id} ({damaged[0].name})"
        reason = f"the task of {number} was removed or replaced, first of {first}"
        findings.append(("submitted jobs", reason))
    if launches := lost_launches(database):
        number = plural(len(launches), "ended job")
        first = f"{launches[0].fw_id} ({launches[0].name})"
        findings.append(("launches", f"those of {number} were deleted, the first of {first}"))
    if lost := lost_outputs(database):
        names = ", ".join(f"{each.fw_id} ({each.name}): {each.reason}" for each in lost[:3])
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        findings.append(("stored outputs", f"completed jobs {names}{more}"))
    hint = "repair it with: mgflows heal --yes"
    return [Finding(check, Verdict.ERROR, reason, hint) for check, reason in findings]


def _checksums(settings: Settings, *, deep: bool) -> Finding:
    """Compare stored outputs with their checksums."""
    store = open_job_store(settings)
    store.connect()
    try:
        changed, n_read = changed_outputs(store, None if deep else _SAMPLED_OUTPUTS)
        total = store.docs_store._collection.estimated_document_count()
    finally:
        store.close()
    if changed:
        uuids = [uuid for uuid, _ in changed]
        query = json.dumps({"spec.job_uuid": {"$in": uuids[:_SHOWN_UUIDS]}})
        number = f"{len(changed)} of {n_read} outputs that were read"
        return Finding(
            "checksums",
            Verdict.ERROR,
            f"{number} changed after they were stored: {changed[0][1]}",
            f"compute them again with: lpad rerun_fws -q '{query}'"
            + ("" if deep else "; find others with: mgflows doctor --deep"),
        )
    extent = "" if deep or n_read == total else "; mgflows doctor --deep reads all"
    return Finding(
        "checksums", Verdict.OK, f"{n_read} of {total} outputs agree with their checksums{extent}"
    )


def _provenance(row: dict[str, Any]) -> dict[str, Any] | None:
    output = row.get("output")
    found = output.get("provenance") if isinstance(output, dict) else None
    return found if isinstance(found, dict) else None


def _batch_system(settings: Settings, category: str | None) -> list[Finding]:
    """Check the commands of the batch system and the partitions (queues) of the settings."""
    check = "batch system"
    wanted = None if settings.scheduler == "none" else settings.scheduler
    scheduler = wanted or Queues().scheduler
    if scheduler is None:
        return [Finding(check, Verdict.OK, "no squeue and no qstat; jobs run on this machine")]
    commands = {
        "slurm": ("squeue", "sinfo", "sbatch"),
        "pbs": ("qstat", "qsub"),
        "sge": ("qstat", "qsub", "qconf"),
        "lsf": ("bsub", "bjobs", "bqueues"),
    }[scheduler]
    serious = Verdict.ERROR if wanted else Verdict.WARNING
    missing = [name for name in commands if shutil.which(name) is None]
    if missing:
        hint = (
            "put its programs on PATH (as on login nodes), or set scheduler: none in mgflows.yaml"
        )
        return [
            Finding(
                check,
                serious,
                f"the batch system is {scheduler}, but commands are missing: {', '.join(missing)}",
                hint,
            )
        ]
    names = partitions(scheduler)
    if names is None:
        variable = "SLURM_CONF" if scheduler == "slurm" else "PBS_DEFAULT"
        return [
            Finding(
                check,
                serious,
                f"{scheduler} is installed, but does not answer",
                f"run on a login node, or set {variable}",
            )
        ]
    requested = settings.resources.items() if wanted else ()
    unknown = {
        each: resources.queue
        for each, resources in requested
        if category in (None, each)
        and resources.queue is not None
        and not set(resources.queue.split(",")) <= set(names)
    }
    if unknown:
        words = ", ".join(f"{queue!r} (for {each})" for each, queue in unknown.items())
        hint = (
            f"choose one of {', '.join(names)} for resources in mgflows.yaml, then run mgflows init"
        )
        return [Finding(check, Verdict.ERROR, f"{scheduler} has no partition {words}", hint)]
    return [Finding(check, Verdict.OK, f"{scheduler}, partitions {', '.join(names)}")]
