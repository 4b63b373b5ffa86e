"""Everything that FireWorks, jobflow and atomate2 read, rendered from one ``mgflows.yaml``.

Nobody edits these files: whoever changes ``mgflows.yaml`` renders them again (``mgflows init --directory DIR``).
"""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mgflows.connections import client_options
from mgflows.errors import ServiceError
from mgflows.launch.launchpad import EXPIRATION_PINGS, LOCK_SECONDS
from mgflows.settings import FILE_NAME

if TYPE_CHECKING:
    from mgflows.settings import Resources, Settings

__all__ = ["render", "write_configuration"]

_NOTICE = f"# Rendered from {FILE_NAME} by `mgflows init`; edit that and run it again.\n"
_LOGS = "queue_logs"
_SIGNAL_SECONDS = 120
"""A job hears of the end of its walltime so long before it, and writes its checkpoint."""
_LAST_START = 0.9
"""A packed worker takes no new job after this fraction of its walltime."""


class _PlainDumper(yaml.SafeDumper):
    """YAML that people read: equal parts are written out."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Never refer to a part written before."""
        return True


def render(settings: Settings, folder: Path, python: str) -> dict[str, str]:
    """The configuration files of a folder.

    Parameters
    ----------
    settings
        The settings, as they are in the folder's ``mgflows.yaml``.
    folder
        Absolute path of the folder on the cluster, seen alike from its nodes.
    python
        Absolute path of the Python that has mgflows.

    Returns
    -------
    dict
        File name to content: ``my_launchpad.yaml``, ``my_fworker_<category>.yaml``, ``FW_config.yaml``, ``jobflow.yaml``, ``atomate2.yaml``, ``env.sh``, and, with
        a scheduler, ``my_qadapter_<category>.yaml``.
    """
    files: dict[str, Any] = {
        "my_launchpad.yaml": _launchpad(settings),
        "FW_config.yaml": _fireworks(settings, folder),
        "jobflow.yaml": _jobflow(settings),
        "atomate2.yaml": {"VASP_CMD": settings.vasp_command},
    }
    for category, resources in settings.resources.items():
        files[f"my_fworker_{category}.yaml"] = {
            "name": category,
            "category": category,
            "query": "{}",
            "env": {},
        }
        if settings.scheduler != "none":
            files[f"my_qadapter_{category}.yaml"] = _queue(
                settings.scheduler, category, resources, folder, python
            )
    texts = {
        name: _NOTICE + yaml.dump(content, Dumper=_PlainDumper, sort_keys=False, width=1000)
        for name, content in files.items()
    }
    texts["env.sh"] = _environment(folder, python)
    return dict(sorted(texts.items()))


def write_configuration(settings: Settings, folder: Path, python: str) -> list[Path]:
    """Write what `render` gives, readable by the owner only (some hold the database's password), each file all at once.

    Raises
    ------
    ServiceError
        If a file cannot be written.
    """
    paths = []
    try:
        # qlaunch does not make it, and waits for ever without it.
        (folder / _LOGS).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ServiceError(
            f"{folder} cannot be written: {error.strerror}; choose a directory that is yours and has space"
        ) from error
    for name, text in render(settings, folder, python).items():
        path = folder / name
        try:
            handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
            with os.fdopen(handle, "w") as stream:
                stream.write(text)
            os.replace(temporary, path)
        except OSError as error:
            raise ServiceError(
                f"{path} cannot be written: {error.strerror}; choose a directory that is yours and has space"
            ) from error
        paths.append(path)
    return paths


def _launchpad(settings: Settings) -> dict[str, Any]:
    # In uri_mode FireWorks wants the name of the database nevertheless.
    return {
        "host": settings.uri,
        "uri_mode": True,
        "name": settings.database_name,
        "logdir": None,
        "strm_lvl": "INFO",
        "user_indices": [],
        "wf_user_indices": [],
        "mongoclient_kwargs": client_options(10.0),
    }


def _fireworks(settings: Settings, folder: Path) -> dict[str, Any]:
    ping = settings.ping_seconds
    return {
        "CONFIG_FILE_DIR": str(folder),
        "SORT_FWS": "FIFO",
        "PING_TIME_SECS": ping,
        "RUN_EXPIRATION_SECS": EXPIRATION_PINGS * ping,
        "WFLOCK_EXPIRATION_SECS": LOCK_SECONDS,
        # Short, since sites count submissions themselves and 5 s for each are hours for thousands.
        "QUEUE_UPDATE_INTERVAL": 1,
        "RAPIDFIRE_SLEEP_SECS": 10,
        "RESERVATION_EXPIRATION_SECS": 7 * 86400,
        "PRINT_FW_JSON": False,
    }


def _jobflow(settings: Settings) -> dict[str, Any]:
    common = {
        "uri": settings.uri,
        "database": settings.database_name,
        "mongoclient_kwargs": client_options(settings.outage_seconds),
    }
    return {
        "JOB_STORE": {
            "docs_store": {"type": "MongoStore", "collection_name": "outputs", **common},
            "additional_stores": {
                "data": {"type": "GridFSStore", "collection_name": "outputs_blobs", **common}
            },
        }
    }


def _queue(
    scheduler: str, category: str, resources: Resources, folder: Path, python: str
) -> dict[str, Any]:
    # exec: the batch system's signal reaches the worker, not a shell that waits for it.
    worker = [
        "exec",
        python,
        "-u",
        "-m",
        "mgflows.launch.worker",
        "--settings",
        str(folder / FILE_NAME),
        "--category",
        category,
    ]
    # FireWorks' reservation mode wants the word, and appends --fw_id.
    worker += (
        ["singleshot"]
        if resources.reserve
        else ["rapidfire", "--timeout", f"{_LAST_START * resources.walltime_seconds:.0f}"]
    )
    lines = [*resources.setup, f"source {shlex.quote(str(folder / 'env.sh'))}"]
    common = {
        "_fw_name": "CommonAdapter",
        "_fw_q_type": {"slurm": "SLURM", "pbs": "PBS"}[scheduler],
        "rocket_launch": shlex.join(worker),
        "walltime": resources.walltime,
        "queue": resources.queue,
        "account": resources.account,
        "job_name": f"mgflows-{category}",
        "logdir": str(folder / _LOGS),
        "pre_rocket": "\n".join(lines),
        "post_rocket": None,
    }
    if scheduler == "pbs":
        return common | {
            "nnodes": resources.nodes,
            "ppnode": resources.cores,
            "pmem": resources.memory,
        }
    return common | {
        "nodes": resources.nodes,
        "ntasks_per_node": resources.cores,
        "gpus_per_node": resources.gpus or None,
        "mem": resources.memory,
        "qos": resources.qos,
        "constraint": resources.constraint,
        "signal": f"B:USR1@{_SIGNAL_SECONDS}",
    }


def _environment(folder: Path, python: str) -> str:
    variables = {
        "MGFLOWS_CONFIG": folder / FILE_NAME,
        "FW_CONFIG_FILE": folder / "FW_config.yaml",
        "JOBFLOW_CONFIG_FILE": folder / "jobflow.yaml",
        "ATOMATE2_CONFIG_FILE": folder / "atomate2.yaml",
    }
    lines = [
        "# Source this in every shell, and in batch jobs, that work with these campaigns.",
        _NOTICE.rstrip(),
    ]
    lines += [f"export {name}={shlex.quote(str(value))}" for name, value in variables.items()]
    # One process is one core unless a code says otherwise: threads on top of MPI ranks or of packed workers only get in each other's way.
    lines += [
        f"export {name}=1"
        for name in (
            "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "MKL_NUM_THREADS",
            "NUMBA_NUM_THREADS",
        )
    ]
    lines.append(f"export PATH={shlex.quote(str(Path(python).parent))}:$PATH")
    return "\n".join(lines) + "\n"
