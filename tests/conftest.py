"""Fixtures for all tests.

`mongod`
    A real MongoDB server for the whole test session: private, on a socket in a short temporary
    folder, in memory if there is room. It is shared: a test that stops or kills a server starts its
    own `PrivateMongod` in `short_directory`.
`settings`
    Settings with their own database on that server and their own folder, n_workers = 2; the
    database is dropped afterwards.
`database`
    The pymongo database of `settings`.
`short_directory`
    A temporary folder with a short name.
`tcp_server`
    The port of a MongoDB server that listens on 127.0.0.1 only, without a socket file: it cannot be
    reached from another network namespace.

Tests that use a server are marked `mongo`. Other programs that a test needs are named with
`pytest.mark.needs`; see `tests/helpers/requirements.py`.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
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

# Hundreds of processes import the package: compile its modules once.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell starts programs in the background with SIGINT ignored, and programs that they start
# inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def short_directory() -> Iterator[Path]:
    # A socket's path may have 107 characters; those of pytest's temporary folders are longer.
    path = Path(tempfile.mkdtemp(prefix="mgt"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def _memory() -> Path | None:
    """A file system in memory, on which a journalled write takes microseconds instead of 6 ms."""
    path = Path("/dev/shm")
    is_usable = os.access(path, os.W_OK) and shutil.disk_usage(path).free > 4e9
    return path if is_usable else None


@pytest.fixture(scope="session")
def mongod() -> Iterator[PrivateMongod]:
    from mgflows.machine.mongod import PrivateMongod

    path = Path(tempfile.mkdtemp(prefix="mgt", dir=_memory()))
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


@pytest.fixture
def tcp_server(short_directory: Path) -> Iterator[int]:
    from pymongo import MongoClient

    from mgflows.machine.mongod import find_mongod

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    (short_directory / "data").mkdir()
    command = [str(find_mongod()[0]), "--dbpath", str(short_directory / "data"), "--nounixsocket"]
    command += ["--bind_ip", "127.0.0.1", "--port", str(port), "--wiredTigerCacheSizeGB", "0.25"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    MongoClient("127.0.0.1", port, serverSelectionTimeoutMS=60_000).admin.command("ping")
    yield port
    process.terminate()
    process.wait()
