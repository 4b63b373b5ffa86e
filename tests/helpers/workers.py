"""Workers as processes, and the state of the LaunchPad they leave."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from mgflows.settings import Settings


def run_worker(
    settings: Settings, *arguments: str, check: int | None = 0
) -> subprocess.CompletedProcess[str]:
    path = settings.write(settings.directory / "mgflows.yaml")
    done = subprocess.run(
        [sys.executable, "-m", "mgflows.launch.worker", "--settings", str(path), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert check is None or done.returncode == check, done.stderr
    return done


@contextmanager
def working(settings: Settings, n: int = 1) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run `n` workers as processes."""
    path = settings.write(settings.directory / "mgflows.yaml")
    command = [sys.executable, "-m", "mgflows.launch.worker", "--settings", str(path)]
    workers = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(n)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def fw_ids(database: Database) -> dict[str, int]:
    """Name of the job, its second argument, to the id of its firework."""
    return {
        fw["spec"]["_tasks"][0]["job"]["function_args"][1]: fw["fw_id"]
        for fw in database.fireworks.find({}, {"fw_id": 1, "spec": 1})
    }


def everything(database: Database) -> dict[str, list[dict[str, Any]]]:
    return {
        name: list(database[name].find({}, {"_id": 0}))
        for name in ("fireworks", "launches", "workflows")
    }


def elsewhere(database: Database, fw_id: int, **batch: Any) -> None:
    """Change a launch so that its worker seems to run on another machine."""
    changes: dict[str, Any] = {"fworker.env.kernel": "another/pid:[1]", "fworker.env.host": "node7"}
    if batch:
        changes["fworker.env.batch_job"] = {
            "scheduler": "slurm",
            "cluster": "here",
            "restarts": 0,
            **batch,
        }
    database.launches.update_one({"fw_id": fw_id, "state": "RUNNING"}, {"$set": changes})
