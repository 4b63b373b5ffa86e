"""A worker on a node from which the database cannot be reached, except through an SSH tunnel."""

from __future__ import annotations

import getpass
import os
import shlex
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from pymongo import MongoClient

from mgflows.launch import submit
from mgflows.launch.worker import ExitCode
from mgflows.settings import Settings
from tests.helpers import jobs
from tests.helpers.jobs import ran
from tests.helpers.requirements import no_network

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.mongo, pytest.mark.needs("sshd", "network namespace")]

PROXY = """
import os, socket, sys, threading
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
def forward(source, target):
    while data := os.read(source, 65536):
        while data:
            data = data[os.write(target, data):]
    os._exit(0)
threading.Thread(target=forward, args=(0, connection.fileno())).start()
forward(connection.fileno(), 1)
"""
"""The client's way to the SSH server: a socket file, since its namespace has no network."""


@pytest.fixture
def login_node(short_directory: Path) -> Iterator[list[str]]:
    """An SSH server; yields the options of a client that connects to it."""
    folder = short_directory
    for name in ("host", "user"):
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(key, check=True)
    (folder / "sshd_config").write_text(
        f"HostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\nStrictModes no\n"
        "UsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n"
    )
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "ssh.sock"))
    listener.listen()
    sessions = []

    def serve() -> None:
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            command = ["/usr/sbin/sshd", "-i", "-e", "-f", str(folder / "sshd_config")]
            with connection:
                sessions.append(
                    subprocess.Popen(
                        command, stdin=connection, stdout=connection, stderr=subprocess.DEVNULL
                    )
                )

    threading.Thread(target=serve, daemon=True).start()
    (folder / "proxy.py").write_text(PROXY)
    proxy = shlex.join([sys.executable, str(folder / "proxy.py"), str(folder / "ssh.sock")])
    options = {
        "ProxyCommand": proxy,
        "IdentityFile": str(folder / "user"),
        "UserKnownHostsFile": str(folder / "known"),
        "StrictHostKeyChecking": "no",
        # In the namespace of the client any user is root.
        "User": getpass.getuser(),
    }
    yield [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for session in sessions:
        session.terminate()
        session.wait()


def test_a_worker_without_a_route_to_the_database_uses_a_tunnel(
    tcp_server: int, login_node: list[str], short_directory: Path, tmp_path: Path
) -> None:
    here = Settings(directory=tmp_path, mongodb_uri=f"mongodb://127.0.0.1:{tcp_server}/")
    submit([jobs.add(str(tmp_path / "journal"), name, 1.0, 2.0) for name in "ab"], here)
    worker = [sys.executable, "-m", "mgflows.launch.worker", "--settings"]

    # Without the tunnel the worker ends at once and no job is touched.
    direct = shlex.join([*worker, str(here.write(tmp_path / "direct" / "mgflows.yaml"))])
    done = subprocess.run([*no_network(), "sh", "-c", direct], capture_output=True, text=True)
    assert done.returncode == ExitCode.UNUSABLE
    assert "does not answer" in done.stderr
    assert not ran(tmp_path / "journal")

    # docs/how_to/clusters.md, "Nodes without a path to the database".
    forwarded = short_directory / "mongod.sock"
    uri = f"mongodb://{str(forwarded).replace('/', '%2F')}/"
    there = Settings(directory=tmp_path, mongodb_uri=uri)
    path = there.write(tmp_path / "tunnel" / "mgflows.yaml")
    tunnel = ["ssh", "-f", "-N", "-o", "ExitOnForwardFailure=yes", *login_node]
    tunnel += ["-L", f"{forwarded}:127.0.0.1:{tcp_server}", "login1"]
    script = f"{shlex.join(tunnel)} && exec {shlex.join([*worker, str(path)])}"
    done = subprocess.run(
        [*no_network(), "sh", "-c", script],
        stdout=subprocess.DEVNULL,
        stderr=(log := (tmp_path / "log").open("wb")),
        timeout=120,
    )
    log.close()
    assert done.returncode == ExitCode.DONE, (tmp_path / "log").read_text()
    assert ran(tmp_path / "journal") == ["a", "b"]
    database = MongoClient("127.0.0.1", tcp_server)[here.database_name]
    assert database.fireworks.distinct("state") == ["COMPLETED"]
    assert database.outputs.count_documents({}) == 2
