"""Fixtures for everybody.

`mongod`     a real MongoDB server for the whole test session (a private one, on a socket in a short temporary folder); the session's server
             is shared: a test that stops or kills a server starts a `PrivateMongod` of its own in `short_directory`.
`settings`   settings with a database of their own on that server and a folder of their own, n_workers = 2; the database is dropped afterwards.
`database`   the pymongo database of `settings`.

Tests that use them are marked `mongo`.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mgflows.connections import open_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from mgflows.machine.mongod import PrivateMongod
    from mgflows.settings import Settings


@pytest.fixture
def short_directory() -> Iterator[Path]:
    # pytest's own temporary folders have long names, and a socket's path may have 107 characters.
    path = Path(tempfile.mkdtemp(prefix="mgt"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def mongod() -> Iterator[PrivateMongod]:
    from mgflows.machine.mongod import PrivateMongod

    path = Path(tempfile.mkdtemp(prefix="mgt"))
    server = PrivateMongod(path, cache_gb=0.25)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def settings(mongod: PrivateMongod, tmp_path: Path) -> Iterator[Settings]:
    from pymongo import MongoClient

    from mgflows.settings import Settings

    settings = Settings(
        directory=tmp_path,
        mongodb_uri=mongod.uri,
        database_name=f"test_{uuid.uuid4().hex[:12]}",
        n_workers=2,
        ping_seconds=1.0,
        outage_seconds=60.0,
    )
    yield settings
    with MongoClient(mongod.uri) as client:
        client.drop_database(settings.database_name)


@pytest.fixture
def database(settings: Settings) -> Database:
    return open_database(settings)
