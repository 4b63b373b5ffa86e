"""Fixtures of the tests on a real Slurm.

`cluster`  a Slurm for the whole test session.
`site`     settings and rendered configuration for that cluster, with a separate database.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mgflows.settings import Settings
from tests.helpers.slurm import ROOT, Cluster, configure, current_user

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    directory = Path(tempfile.mkdtemp(prefix="mgs"))
    slurm = Cluster(directory)
    try:
        slurm.start()
        yield slurm
    finally:
        if slurm.is_up:
            slurm.run("scancel", "-u", current_user(), check=False)
        slurm.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def site(settings: Settings, cluster: Cluster, tmp_path: Path) -> Iterator[Settings]:
    """A configured site: sampling packed in the partition `cpu`, labels reserved, in `large`."""
    resources = {
        # The jobs of the tests are in a module that only this checkout has.
        "sampling": {"queue": "cpu", "walltime": "0:05:00", "setup": [f"export PYTHONPATH={ROOT}"]},
        "dft": {
            "queue": "large",
            "walltime": "0:05:00",
            "cores": 2,
            "reserve": True,
            "setup": [f"export PYTHONPATH={ROOT}"],
        },
    }
    values = {
        "directory": tmp_path,
        "scheduler": "slurm",
        "mongodb_uri": settings.uri,
        "database_name": settings.database_name,
    }
    site = Settings.checked(
        {
            **values,
            "resources": resources,
            "ping_seconds": 1.0,
            "outage_seconds": 60.0,
            "minimum_free_gb": 0.01,
        }
    )
    configure(site)
    yield site
    cluster.run("scancel", "--full", "--partition=cpu", check=False)
    cluster.run("scancel", "--full", "--partition=large", check=False)
    cluster.wait()
