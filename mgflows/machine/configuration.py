"""Configuration files of FireWorks, jobflow and atomate2, rendered from one ``mgflows.yaml``.

They are not edited by hand: after a change of ``mgflows.yaml`` they are rendered again
(``mgflows init --directory DIR``).
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mgflows.connections import client_options
from mgflows.errors import InputError, ServiceError
from mgflows.files import write_text
from mgflows.launch.launchpad import EXPIRATION_PINGS, LOCK_SECONDS
from mgflows.launch.queue_adapter import QueueAdapter, comment
from mgflows.settings import FILE_NAME
from mgflows.text import listed

if TYPE_CHECKING:
    from mgflows.settings import Resources, Settings

__all__ = ["refuse_foreign_files", "render", "write_configuration"]

_NOTICE = f"# Rendered from {FILE_NAME} by `mgflows init`; edit that and run it again.\n"
_LOGS = "queue_logs"
_HINT = "choose a directory that is yours and has space"
_Q_TYPES = {"slurm": "SLURM", "pbs": "PBS", "sge": "SGE", "lsf": "LoadSharingFacility"}
"""FireWorks' names of the batch systems."""
_SIGNAL_SECONDS = 120
"""Time in s before the end of the walltime at which a job is signalled."""
_LAST_START = 0.9
"""A packed worker takes no new job after this fraction of its walltime."""


class _PlainDumper(yaml.SafeDumper):
    """YAML without references: equal parts are written out."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Never refer to an earlier part."""
        return True


def render(settings: Settings, folder: Path, python: str) -> dict[str, str]:
    """Render the configuration files of a folder.

    Parameters
    ----------
    settings
        The settings, as they are in the folder's ``mgflows.yaml``.
    folder
        Absolute path of the folder on the cluster, the same on all nodes.
    python
        Absolute path of the Python that has mgflows.

    Returns
    -------
    dict
        File name to content: ``my_launchpad.yaml``, ``my_fworker_<category>.yaml``,
        ``FW_config.yaml``, ``jobflow.yaml``, ``atomate2.yaml``, ``env.sh``, and, with a scheduler,
        ``my_qadapter_<category>.yaml``.
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


def refuse_foreign_files(folder: Path) -> None:
    """Make sure that a folder without ``mgflows.yaml`` has no files that would be overwritten.

    Raises
    ------
    InputError
        If it has, such as the configuration of another project that uses FireWorks.
    """
    names = ("my_launchpad.yaml", "FW_config.yaml", "jobflow.yaml", "atomate2.yaml", "env.sh")
    found = [
        name
        for name in names
        if (path := folder / name).is_file()
        and _NOTICE.partition(";")[0] not in path.read_text(encoding="utf-8", errors="replace")
    ]
    if found:
        raise InputError(
            f"{folder} has no {FILE_NAME}, but {listed(found)}, which would be overwritten",
            hint="choose another --directory or overwrite with --force",
        )


def write_configuration(settings: Settings, folder: Path, python: str) -> list[Path]:
    """Write the rendered files atomically, readable by the owner only: some hold the password.

    Raises
    ------
    ServiceError
        If a file cannot be written.
    """
    paths = []
    try:
        # qlaunch does not create it, and waits indefinitely without it.
        (folder / _LOGS).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ServiceError(f"{folder} cannot be written: {error.strerror}", hint=_HINT) from error
    for name, text in render(settings, folder, python).items():
        path = folder / name
        try:
            write_text(path, text, permissions=0o600)
        except OSError as error:
            raise ServiceError(f"{path} cannot be written: {error.strerror}", hint=_HINT) from error
        paths.append(path)
    return paths


def _launchpad(settings: Settings) -> dict[str, Any]:
    # FireWorks also requires the name of the database in uri_mode.
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
        # Short: the default of 5 s per submission adds up to hours for thousands of jobs.
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
    # exec: the batch system's signal must reach the worker, not a waiting shell.
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
    # FireWorks' reservation mode requires the word `singleshot` and appends --fw_id.
    worker += (
        ["singleshot"]
        if resources.reserve
        else ["rapidfire", "--timeout", f"{_LAST_START * resources.walltime_seconds:.0f}"]
    )
    if resources.offline:
        worker.append("--offline")
    lines = [
        *_directives(scheduler, category, resources),
        *resources.setup,
        f"source {shlex.quote(str(folder / 'env.sh'))}",
    ]
    common = {
        "_fw_name": QueueAdapter._fw_name,
        "_fw_q_type": _Q_TYPES[scheduler],
        "rocket_launch": shlex.join(worker),
        "walltime": resources.walltime,
        "queue": resources.queue,
        "account": resources.account,
        "job_name": f"mgflows-{category}",
        "logdir": str(folder / _LOGS),
        "pre_rocket": "\n".join(lines),
        "post_rocket": None,
        "_category": category,
        "_settings": str(folder / FILE_NAME),
    }
    if scheduler == "pbs":
        return common | {"nnodes": resources.nodes, "ppnode": resources.cores}
    if scheduler == "sge":
        return common
    if scheduler == "lsf":
        hours, minutes = divmod(-(-resources.walltime_seconds // 60), 60)
        walltime = f"{hours}:{minutes:02d}"
        return common | {"ntasks": resources.nodes * resources.cores, "walltime": walltime}
    return common | {
        "nodes": resources.nodes,
        "ntasks_per_node": resources.cores,
        "gpus_per_node": resources.gpus or None,
        "mem": "".join(map(str, _memory(resources.memory))) if resources.memory else None,
        "qos": resources.qos,
        "constraint": resources.constraint,
        "signal": f"B:USR1@{_SIGNAL_SECONDS}",
    }


def _directives(scheduler: str, category: str, resources: Resources) -> list[str]:
    """Lines for the batch system that FireWorks' templates do not have; they come first."""
    if scheduler == "slurm":
        return [f"#SBATCH --comment={comment(category)}"]
    if scheduler == "sge":
        return _sge_directives(resources)
    if scheduler == "lsf":
        return _lsf_directives(resources)
    if resources.memory is None:
        return []
    # `mem` is the memory of the whole job; the template has only `pmem`, that of one process.
    amount, unit = _memory(resources.memory)
    return [f"#PBS -l mem={resources.nodes * amount}{unit.lower()}b"]


def _sge_directives(resources: Resources) -> list[str]:
    """Walltime, slots and memory (qsub(1), queue_conf(5)); the soft limit sends SIGUSR1."""
    seconds = resources.walltime_seconds
    lines = ["#$ -S /bin/bash", f"#$ -l h_rt={seconds},s_rt={max(1, seconds - _SIGNAL_SECONDS)}"]
    slots = resources.nodes * resources.cores
    if slots > 1 and not any(line.startswith("#$ -pe") for line in resources.setup):
        lines.append(f"#$ -pe smp {slots}")
    if resources.memory is not None:
        # h_vmem is a limit of each slot.
        amount, unit = _memory(resources.memory)
        kilobytes = amount * 1024 ** "KMGT".index(unit)
        lines.append(f"#$ -l h_vmem={-(-kilobytes // resources.cores)}K")
    return lines


def _lsf_directives(resources: Resources) -> list[str]:
    """Shell, account, nodes, GPUs, memory and an early signal (bsub(1))."""
    lines = ["#BSUB -L /bin/bash", f"#BSUB -wa USR1 -wt {_SIGNAL_SECONDS // 60}"]
    if resources.account is not None:
        lines.append(f"#BSUB -P {resources.account}")
    if resources.nodes > 1:
        lines.append(f'#BSUB -R "span[ptile={resources.cores}]"')
    if resources.gpus:
        lines.append(f'#BSUB -gpu "num={resources.gpus}"')
    if resources.memory is not None:
        amount, unit = _memory(resources.memory)
        # Both are per host.
        lines += [f'#BSUB -R "rusage[mem={amount}{unit}B]"', f"#BSUB -M {amount}{unit}B"]
    return lines


def _memory(memory: str) -> tuple[int, str]:
    """Amount and unit (K, M, G or T) of a memory size; M without a unit, as in Slurm."""
    found = re.fullmatch(r"(\d+)\s?([KMGT]?)B?", memory, re.IGNORECASE)
    if found is None:
        raise InputError(f"the memory {memory!r} is not a size", hint="write it as 8G or 500M")
    return int(found.group(1)), found.group(2).upper() or "M"


def _environment(folder: Path, python: str) -> str:
    variables = {
        "MGFLOWS_CONFIG": folder / FILE_NAME,
        "FW_CONFIG_FILE": folder / "FW_config.yaml",
        "JOBFLOW_CONFIG_FILE": folder / "jobflow.yaml",
        "ATOMATE2_CONFIG_FILE": folder / "atomate2.yaml",
    }
    lines = [
        "# Source this in every shell and batch job that uses these campaigns.",
        _NOTICE.rstrip(),
    ]
    lines += [f"export {name}={shlex.quote(str(value))}" for name, value in variables.items()]
    # One core per process unless a code sets more: threads would compete with MPI ranks and with
    # packed workers.
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
