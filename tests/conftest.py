"""Fixtures for all tests.

`mongod`
    A real MongoDB server for the whole test session: private, on a socket in a short temporary
    folder. It is shared: a test that stops or kills a server starts its own `PrivateMongod` in
    `short_directory`.
`settings`
    Settings with their own database on that server and their own folder, n_workers = 2; the
    database is dropped afterwards.
`database`
    The pymongo database of `settings`.
`short_directory`
    A temporary folder with a short name.

Tests that use a server are marked `mongo`. Other programs that a test needs are named with
`pytest.mark.needs`; see `tests/helpers/requirements.py`.
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


pytest_plugins = ["tests.helpers.requirements"]


@pytest.fixture
def short_directory() -> Iterator[Path]:
    # A socket's path may have 107 characters; those of pytest's temporary folders are longer.
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
