"""The batch system of this machine, and the name of its cluster.

Ids of batch jobs are unique on one cluster only. Several clusters may share a database.
"""

from __future__ import annotations

import logging
import re
import shutil
import subprocess

__all__ = ["ANSWER_SECONDS", "RESERVED_AT", "SUBMITTED_TO", "cluster_name", "run", "scheduler"]

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 30.0
RESERVED_AT = "reserved_at"
"""Key of a reserved launch: when it was reserved, by the database server's clock."""
SUBMITTED_TO = "submitted_to"
"""Key of a reserved launch: `scheduler` and `cluster` of its batch job."""


def scheduler(configured: str = "none") -> str | None:
    """The batch system that can be queried from here: ``"slurm"``, ``"pbs"`` or None.

    Parameters
    ----------
    configured
        `scheduler` of the settings; with ``"none"`` the commands on PATH decide. A machine may have
        the commands of a batch system that it does not use.
    """
    if configured != "none":
        return configured if configured in ("slurm", "pbs") else None
    if shutil.which("squeue"):
        return "slurm"
    # SGE also has a qstat.
    return "pbs" if shutil.which("qstat") and not shutil.which("qconf") else None


def cluster_name(system: str | None) -> str | None:
    """Name of the Slurm cluster, or of the PBS server; None if it is not reported."""
    if system is None:
        return None
    command, pattern = {
        "slurm": (["scontrol", "show", "config"], r"^ClusterName\s*=\s*(\S+)"),
        "pbs": (["qstat", "-B", "-f"], r"^Server: *(\S+)"),
    }[system]
    answer = run(command)
    found = re.search(pattern, answer.stdout, re.MULTILINE) if answer is not None else None
    return found.group(1) if found else None


def run(command: list[str]) -> subprocess.CompletedProcess[str] | None:
    """Run a command of the batch system; None if it is missing or does not answer in time."""
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=ANSWER_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.info("%s: %s", " ".join(command[:3]), error)
        return None
