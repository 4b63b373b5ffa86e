"""Configuration files of FireWorks and jobflow as these would find them: a forgotten one wins over the one that is meant.

The workers of mgflows read none of them (`launchpad.configure_fireworks`), but FireWorks' own programs do: `lpad`, `rlaunch` and `qlaunch`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mgflows.launch.findings import Finding, Verdict
from mgflows.settings import foreign_variables

if TYPE_CHECKING:
    from mgflows.settings import Settings

__all__ = ["check_fireworks_files", "check_jobflow_store"]

_OWN = "mgflows' workers do not read it, lpad, rlaunch and qlaunch do"


def check_fireworks_files(settings: Settings) -> list[Finding]:
    """Look for the FW_config.yaml and my_launchpad.yaml that FireWorks' own programs would take, in its order.

    The order: the current folder, ``~/.fireworks``, the folder FireWorks is installed in, and only then what ``FW_CONFIG_FILE`` names; for
    my_launchpad.yaml first the `CONFIG_FILE_DIR` of the FW_config.yaml that was taken.
    """
    variables = foreign_variables()
    findings = []
    if store := variables.get("MONGOMOCK_SERVERSTORE_FILE"):
        reason = f"MONGOMOCK_SERVERSTORE_FILE is set ({store}): FireWorks keeps everything in a file that other processes do not see"
        findings.append(Finding("FireWorks database", Verdict.BAD, reason, "unset MONGOMOCK_SERVERSTORE_FILE"))
    folders = _folders()
    found = [path for folder in folders if (path := folder / "FW_config.yaml").is_file()]
    meant = Path(variables["FW_CONFIG_FILE"]).expanduser().absolute() if "FW_CONFIG_FILE" in variables else None
    if meant is not None and not meant.is_file():
        reason = f"FW_CONFIG_FILE names {meant}, which is not a file"
        return [*findings, Finding("FireWorks configuration", Verdict.BAD, reason, "correct or unset FW_CONFIG_FILE")]
    if meant is not None and found and not found[0].samefile(meant):
        reason = f"{found[0]} wins over {meant}, which FW_CONFIG_FILE names"
        return [*findings, Finding("FireWorks configuration", Verdict.BAD, reason, f"mv {found[0]} {found[0]}.unused")]
    taken = found[0] if found else meant
    if taken is None:
        return [
            *findings,
            Finding("FireWorks configuration", Verdict.GOOD, "no FW_config.yaml is in the way"),
            *_launchpad(settings, folders),
        ]
    values = _read(taken)
    if values is None:
        return [*findings, Finding("FireWorks configuration", Verdict.BAD, f"{taken} is not YAML", f"mv {taken} {taken}.unused")]
    directory = values.get("CONFIG_FILE_DIR")
    if directory and not Path(directory).is_dir():
        reason = f"{taken} has CONFIG_FILE_DIR: {directory}, which is not a directory"
        return [*findings, Finding("FireWorks configuration", Verdict.BAD, reason, "correct that line")]
    reason = f"{taken} is used ({_OWN})"
    findings.append(Finding("FireWorks configuration", Verdict.GOOD, reason))
    return findings + _launchpad(settings, [Path(directory), *folders] if directory else folders)


def check_jobflow_store(settings: Settings) -> Finding:
    """Look at the JobStore that jobflow would take by itself, as a plain `rlaunch` does."""
    from jobflow.settings import JobflowSettings
    from maggma.stores import GridFSStore

    from mgflows.errors import ServiceError
    from mgflows.launch.firetask import refuse_forgetful_store

    check = "jobflow's own store"
    file = foreign_variables().get("JOBFLOW_CONFIG_FILE")
    try:
        store = JobflowSettings().JOB_STORE
    except Exception as error:  # noqa: BLE001
        words = " ".join(str(error).split())[:200]
        return Finding(
            check, Verdict.BAD, f"jobflow cannot read its configuration ({words})", f"correct or remove {file or '~/.jobflow.yaml'}"
        )
    mend = "start workers with mgflows, or let JOBFLOW_CONFIG_FILE name a jobflow.yaml of this database"
    try:
        refuse_forgetful_store(store)
    except ServiceError:
        reason = (
            "without mgflows' workers, results would be kept in memory and lost (JOBFLOW_CONFIG_FILE and ~/.jobflow.yaml name no MongoDB)"
        )
        return Finding(check, Verdict.MISSING, reason, mend)
    database = getattr(store.docs_store, "database", None)
    if database != settings.database_name:
        reason = f"{file or '~/.jobflow.yaml'} names the database {database!r}, and mgflows.yaml {settings.database_name!r}"
        return Finding(check, Verdict.BAD, reason, mend)
    data = store.additional_stores.get("data")
    if data is None:
        reason = f"{file or '~/.jobflow.yaml'} has no additional store `data`, without which arrays are not stored"
        return Finding(check, Verdict.BAD, reason, "add a GridFSStore named data to additional_stores")
    if not isinstance(data, GridFSStore):
        reason = f"arrays go to a {type(data).__name__}, where a document may have 16 MB"
        return Finding(check, Verdict.MISSING, reason, "use a GridFSStore for data")
    return Finding(check, Verdict.GOOD, f"{file or '~/.jobflow.yaml'}: {database}, arrays in `data`")


def _launchpad(settings: Settings, folders: list[Path]) -> list[Finding]:
    """The my_launchpad.yaml that lpad and rlaunch would take, if there is one."""
    found = [path for folder in folders if (path := folder / "my_launchpad.yaml").is_file()]
    if not found:
        return []
    values = _read(found[0]) or {}
    name = values.get("name")
    if name != settings.database_name:
        reason = f"{found[0]} names the database {name!r}, and mgflows.yaml {settings.database_name!r} ({_OWN})"
        return [Finding("FireWorks LaunchPad", Verdict.BAD, reason, f"correct it, or: mv {found[0]} {found[0]}.unused")]
    return [Finding("FireWorks LaunchPad", Verdict.GOOD, f"{found[0]}: database {name}")]


def _folders() -> list[Path]:
    """Where FireWorks looks, in its order."""
    import fireworks

    return [Path.cwd(), Path.home() / ".fireworks", Path(fireworks.__file__).parent.parent]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    return values if isinstance(values, dict) else {}
