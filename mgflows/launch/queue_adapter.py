"""FireWorks' queue adapter for shared clusters, named by the rendered ``my_qadapter_*.yaml``.

In addition to FireWorks' CommonAdapter,

- ``-m`` of ``qlaunch`` counts the batch jobs of the category only (Slurm), not all jobs of the user
  in the partition, so that many label jobs do not keep sampling jobs from being submitted;
- submissions wait longer after each worker that could not run jobs, and stop at
  `max_unusable_workers` of these;
- a reservation names the cluster of its batch job;
- in offline mode the inputs of the job are written into its launch directory;
- a firework whose classes ``qlaunch``'s Python cannot import is left READY for others, where
  FireWorks would mark it FIZZLED.
"""

from __future__ import annotations

import getpass
import logging
import subprocess
import sys
import time
from functools import partialmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fireworks import LaunchPad
from fireworks.user_objects.queue_adapters.common_adapter import CommonAdapter

from mgflows.connections import open_database, open_launchpad
from mgflows.errors import MgflowsError
from mgflows.launch.backoff import UnusableWorkers, unusable_workers
from mgflows.launch.batch_system import RESERVED_AT, SUBMITTED_TO, cluster_name
from mgflows.launch.offline import write_inputs
from mgflows.settings import Settings

if TYPE_CHECKING:
    from fireworks import Firework, FWorker

__all__ = ["QueueAdapter"]

logger = logging.getLogger(__name__)

_ANSWER_SECONDS = 60.0


class QueueAdapter(CommonAdapter):
    """A queue adapter with two more keys than FireWorks' CommonAdapter.

    ``_category`` is the category of the jobs and ``_settings`` the path of the ``mgflows.yaml``
    that names the database.
    """

    _fw_name = "{{mgflows.launch.queue_adapter.QueueAdapter}}"

    @classmethod
    def from_dict(cls, m_dict: dict[str, Any]) -> QueueAdapter:
        """Create an adapter from the content of its file."""
        _adapt_launchpad({"SLURM": "slurm", "PBS": "pbs"}.get(m_dict["_fw_q_type"]))
        return super().from_dict(m_dict)

    def get_njobs_in_queue(self, username: str | None = None, shell: bool = False) -> int | None:
        """Number of waiting and running batch jobs of this category; None if Slurm fails."""
        if self.q_type != "SLURM" or "_category" not in self:
            return super().get_njobs_in_queue(username, shell)
        # The rendered batch script sets the comment, because reservations have their own names.
        command = ["squeue", "-h", "-o", "%k", "-u", username or getpass.getuser()]
        try:
            answer = subprocess.run(
                command,
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
                timeout=_ANSWER_SECONDS,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            logger.warning("squeue failed: %s", error)
            return None
        return answer.stdout.split().count(comment(self["_category"]))

    def submit_to_queue(self, script_file: str) -> str | None:
        """Submit a batch job, unless workers of this category currently cannot run jobs."""
        if "_settings" in self:
            if not self._wait_until_usable():
                return None
            if "--offline" in self.get("rocket_launch", ""):
                self._write_inputs()
        return super().submit_to_queue(script_file)

    def _write_inputs(self) -> None:
        """Write the inputs of the job of the current directory, for nodes without the database."""
        settings = Settings.read(Path(self["_settings"]))
        launchpad = open_launchpad(settings)
        try:
            write_inputs(settings, launchpad, Path.cwd())
        finally:
            launchpad.connection.close()

    def _wait_until_usable(self) -> bool:
        """Wait after workers that could not run jobs; False if there are too many of them."""
        category = self["_category"]
        try:
            settings = Settings.read(Path(self["_settings"]))
            database = open_database(settings)
        except MgflowsError as error:
            sys.stderr.write(f"no batch job is submitted: {error}\n")
            return False
        try:
            found = unusable_workers(database, category)
        finally:
            database.client.close()
        if found.number >= settings.max_unusable_workers:
            sys.stderr.write(f"{stop_notice(found, category)}\n")
            return False
        if found.wait_seconds:
            logger.warning(
                "%d workers of %s could not run jobs (%s): waiting %.0f s",
                found.number,
                category,
                found.reason,
                found.wait_seconds,
            )
            time.sleep(found.wait_seconds)
        return True


def comment(category: str) -> str:
    """The Slurm comment of the batch jobs of a category."""
    return f"mgflows-{category}"


def stop_notice(found: UnusableWorkers, category: str) -> str:
    """Why no batch job of a category is submitted."""
    until = f"{found.until:%H:%M} UTC" if found.until else "half an hour"
    return (
        f"no batch job is submitted: the last {found.number} workers for {category} could not run "
        f"jobs, the last one on {found.host}: {found.reason}; fix that and start qlaunch again "
        f"after {until}, or at once when `mgflows worker --category {category}` has run a job"
    )


def _adapt_launchpad(system: str | None) -> None:
    """Change FireWorks' own LaunchPad, which ``qlaunch`` creates, in this process.

    Fireworks that cannot be imported stay READY, and reservations have the time of the server and
    name their cluster.
    """
    LaunchPad.run_exists = _run_exists
    LaunchPad.get_fw_by_id = _get_fw_by_id
    LaunchPad.reserve_fw = _reserve_fw
    LaunchPad.set_reservation_id = partialmethod(_set_reservation_id, system=system)


def _run_exists(self: LaunchPad, fworker: FWorker | None = None) -> bool:
    """Whether there is a job for a worker; its classes are not imported for this."""
    query = {**(fworker.query if fworker else {}), "state": "READY"}
    return self.fireworks.find_one(query, {"_id": 1}) is not None


_READ = LaunchPad.get_fw_by_id
_RESERVE = LaunchPad.reserve_fw
_SET_RESERVATION = LaunchPad.set_reservation_id


def _reserve_fw(
    self: LaunchPad, *arguments: Any, **options: Any
) -> tuple[Firework, int] | tuple[None, None]:
    """Reserve a firework, and record when, by the server's clock."""
    firework, launch_id = _RESERVE(self, *arguments, **options)
    if launch_id is not None:
        self.launches.update_one(
            {"launch_id": launch_id, "state": "RESERVED"}, {"$currentDate": {RESERVED_AT: True}}
        )
    return firework, launch_id


def _set_reservation_id(
    self: LaunchPad, launch_id: int, reservation_id: str, system: str | None
) -> None:
    """Record the batch job of a reservation, and its cluster."""
    _SET_RESERVATION(self, launch_id, reservation_id)
    self.launches.update_one(
        {"launch_id": launch_id, "state": "RESERVED"},
        {"$set": {SUBMITTED_TO: {"scheduler": system, "cluster": cluster_name(system)}}},
    )


def _get_fw_by_id(self: LaunchPad, fw_id: int) -> Firework:
    """Read a firework; end the process if its classes cannot be imported here."""
    try:
        return _READ(self, fw_id)
    except Exception as error:
        self.fireworks.update_one(
            {"fw_id": fw_id, "state": "RESERVED", "launches": []}, {"$set": {"state": "READY"}}
        )
        raise SystemExit(
            f"firework {fw_id} cannot be read by {sys.executable} "
            f"({type(error).__name__}: {error}); it is left to others: run qlaunch with a Python "
            "that has its modules, or select your campaign with `query` in my_fworker.yaml"
        ) from error
