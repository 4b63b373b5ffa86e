"""Checks for stray configuration files of FireWorks and jobflow, which override the intended ones.

The workers of mgflows read none of them (`launchpad.configure_fireworks`), but FireWorks' own
programs do: `lpad`, `rlaunch` and `qlaunch`.
"""

from __future__ import annotations

import shlex
import stat
import sys
from pathlib import Path
from typing import Any

import yaml

from mgflows.launch.checks import Finding, Verdict
from mgflows.machine.configuration import render
from mgflows.settings import Settings, foreign_variables

__all__ = ["check_fireworks_files", "check_jobflow_store", "check_rendered_files"]

_OWN = "read by lpad, rlaunch and qlaunch, not by mgflows' workers"


def check_rendered_files(path: Path | None) -> list[Finding]:
    """Compare the rendered files with the mgflows.yaml they were rendered from.

    Parameters
    ----------
    path
        The mgflows.yaml; without it nothing is compared.
    """
    check = "rendered configuration"
    if path is None:
        return []
    folder = path.parent
    # Without variables: those of this shell are not those of a batch job.
    settings = Settings.read(path)
    present = (folder / "FW_config.yaml").is_file() or (folder / "env.sh").is_file()
    if settings.scheduler == "none" and not present:
        return []
    hint = f"mgflows init --directory {folder}"
    python = _rendered_python(folder) or sys.executable
    expected = render(settings, folder, python)
    missing = [name for name in expected if not (folder / name).is_file()]
    if missing:
        return [Finding(check, Verdict.ERROR, f"{folder} has no {', '.join(missing)}", hint)]
    changed = [
        name
        for name, text in expected.items()
        if (folder / name).read_text(encoding="utf-8") != text
    ]
    if changed:
        reason = (
            f"{', '.join(changed)} in {folder} differs from {path.name}: one of them was edited"
        )
        return [
            Finding(check, Verdict.ERROR, reason, f"put your changes into {path}, then: {hint}")
        ]
    readable = [
        str(folder / name)
        for name in expected
        if stat.S_IMODE((folder / name).stat().st_mode) & 0o077
    ]
    if readable and not settings.is_private and "@" in settings.uri:
        return [
            Finding(
                check,
                Verdict.ERROR,
                "other users can read files with the database's password",
                f"chmod 600 {' '.join(readable)}",
            )
        ]
    if not Path(python).is_file():
        return [
            Finding(
                check,
                Verdict.ERROR,
                f"it starts {python}, which does not exist",
                f"{hint} with the Python that has mgflows",
            )
        ]
    if (
        not Path(python).samefile(sys.executable)
        or Path(python).parent != Path(sys.executable).parent
    ):
        reason = f"it starts {python}, but this is {sys.executable}"
        return [
            Finding(
                check,
                Verdict.WARNING,
                reason,
                f"run doctor with that Python, or with this one: {hint}",
            )
        ]
    return [Finding(check, Verdict.OK, f"{len(expected)} files in {folder} agree with {path.name}")]


def _rendered_python(folder: Path) -> str | None:
    """The Python that the batch jobs start; None if no file names it."""
    for file in sorted(folder.glob("my_qadapter_*.yaml")):
        words = shlex.split(str((_read(file) or {}).get("rocket_launch", "")))
        found = next((word for word in words if Path(word).is_absolute()), None)
        if found:
            return found
    return None


def check_fireworks_files(settings: Settings) -> list[Finding]:
    """Find the FW_config.yaml and my_launchpad.yaml that FireWorks' own programs would use.

    Their order: the current folder, ``~/.fireworks``, the folder of the FireWorks package, and only
    then ``FW_CONFIG_FILE``; for my_launchpad.yaml first the `CONFIG_FILE_DIR` of that
    FW_config.yaml.
    """
    variables = foreign_variables()
    findings = []
    if store := variables.get("MONGOMOCK_SERVERSTORE_FILE"):
        reason = (
            f"MONGOMOCK_SERVERSTORE_FILE is set ({store}): FireWorks keeps everything in a file "
            "that other processes do not see"
        )
        findings.append(
            Finding("FireWorks database", Verdict.ERROR, reason, "unset MONGOMOCK_SERVERSTORE_FILE")
        )
    folders = _folders()
    found = [path for folder in folders if (path := folder / "FW_config.yaml").is_file()]
    meant = (
        Path(variables["FW_CONFIG_FILE"]).expanduser().absolute()
        if "FW_CONFIG_FILE" in variables
        else None
    )
    if meant is not None and not meant.is_file():
        reason = f"FW_CONFIG_FILE names {meant}, which is not a file"
        return [
            *findings,
            Finding(
                "FireWorks configuration", Verdict.ERROR, reason, "correct or unset FW_CONFIG_FILE"
            ),
        ]
    if meant is not None and found and not found[0].samefile(meant):
        reason = f"{found[0]} overrides {meant}, which FW_CONFIG_FILE names"
        return [
            *findings,
            Finding(
                "FireWorks configuration", Verdict.ERROR, reason, f"mv {found[0]} {found[0]}.unused"
            ),
        ]
    taken = found[0] if found else meant
    if taken is None:
        return [
            *findings,
            Finding("FireWorks configuration", Verdict.OK, "no stray FW_config.yaml"),
            *_launchpad(settings, folders),
        ]
    values = _read(taken)
    if values is None:
        return [
            *findings,
            Finding(
                "FireWorks configuration",
                Verdict.ERROR,
                f"{taken} is not YAML",
                f"mv {taken} {taken}.unused",
            ),
        ]
    directory = values.get("CONFIG_FILE_DIR")
    if directory and not Path(directory).is_dir():
        reason = f"{taken} has CONFIG_FILE_DIR: {directory}, which is not a directory"
        return [
            *findings,
            Finding("FireWorks configuration", Verdict.ERROR, reason, "correct that line"),
        ]
    reason = f"{taken} is used ({_OWN})"
    findings.append(Finding("FireWorks configuration", Verdict.OK, reason))
    return findings + _launchpad(settings, [Path(directory), *folders] if directory else folders)


def check_jobflow_store(settings: Settings, path: Path | None = None) -> Finding:
    """Check the JobStore that jobflow uses by default, as in a plain `rlaunch`.

    Parameters
    ----------
    settings
        Settings that name the database.
    path
        Their mgflows.yaml, next to which a jobflow.yaml may have been rendered.
    """
    from jobflow.settings import JobflowSettings
    from maggma.stores import GridFSStore

    from mgflows.errors import ServiceError
    from mgflows.launch.firetask import refuse_store_in_memory

    check = "jobflow's own store"
    file = foreign_variables().get("JOBFLOW_CONFIG_FILE")
    try:
        store = JobflowSettings().JOB_STORE
    except Exception as error:  # noqa: BLE001
        words = " ".join(str(error).split())[:200]
        return Finding(
            check,
            Verdict.ERROR,
            f"jobflow cannot read its configuration ({words})",
            f"correct or remove {file or '~/.jobflow.yaml'}",
        )
    script = path.parent / "env.sh" if path is not None else None
    if script is not None and script.is_file():
        hint = f"source {script}"
    else:
        hint = (
            "start workers with mgflows, or let JOBFLOW_CONFIG_FILE name a jobflow.yaml of this "
            "database"
        )
    try:
        refuse_store_in_memory(store)
    except ServiceError:
        reason = (
            "without mgflows' workers, results would be kept in memory and lost "
            "(JOBFLOW_CONFIG_FILE and ~/.jobflow.yaml name no MongoDB)"
        )
        return Finding(check, Verdict.WARNING, reason, hint)
    database = getattr(store.docs_store, "database", None)
    if database != settings.database_name:
        reason = (
            f"{file or '~/.jobflow.yaml'} names the database {database!r}, and mgflows.yaml "
            f"{settings.database_name!r}"
        )
        return Finding(check, Verdict.ERROR, reason, hint)
    data = store.additional_stores.get("data")
    if data is None:
        reason = (
            f"{file or '~/.jobflow.yaml'} has no additional store `data`, without which arrays "
            "are not stored"
        )
        return Finding(
            check, Verdict.ERROR, reason, "add a GridFSStore named data to additional_stores"
        )
    if not isinstance(data, GridFSStore):
        reason = f"arrays go to a {type(data).__name__}, which is limited to 16 MB per document"
        return Finding(check, Verdict.WARNING, reason, "use a GridFSStore for data")
    return Finding(check, Verdict.OK, f"{file or '~/.jobflow.yaml'}: {database}, arrays in `data`")


def _launchpad(settings: Settings, folders: list[Path]) -> list[Finding]:
    """Check the my_launchpad.yaml that lpad and rlaunch would use, if there is one."""
    found = [path for folder in folders if (path := folder / "my_launchpad.yaml").is_file()]
    if not found:
        return []
    values = _read(found[0]) or {}
    name = values.get("name")
    if name != settings.database_name:
        reason = (
            f"{found[0]} names the database {name!r}, and mgflows.yaml "
            f"{settings.database_name!r} ({_OWN})"
        )
        return [
            Finding(
                "FireWorks LaunchPad",
                Verdict.ERROR,
                reason,
                f"correct it, or: mv {found[0]} {found[0]}.unused",
            )
        ]
    return [Finding("FireWorks LaunchPad", Verdict.OK, f"{found[0]}: database {name}")]


def _folders() -> list[Path]:
    """The folders that FireWorks searches, in its order."""
    import fireworks

    return [Path.cwd(), Path.home() / ".fireworks", Path(fireworks.__file__).parent.parent]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    return values if isinstance(values, dict) else {}
