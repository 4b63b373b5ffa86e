"""The cache of compiled code is never stale and never blocks a run."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

CALLER = """
from mgflows.compilation import njit
from kernels.called import factor

@njit()
def scaled(x):
    return factor() * x
"""
CALLED = """
from mgflows.compilation import njit

@njit()
def factor():
    return {value}
"""
PROGRAM = """
import logging
logging.basicConfig(level=logging.INFO)
from mgflows.compilation import cache_folder
from kernels.caller import scaled
from pathlib import Path
import kernels
print(scaled(10), len(scaled.stats.cache_hits), cache_folder(Path(kernels.__file__).parent))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of two files, one of which calls the other."""
    folder = tmp_path / "kernels"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "caller.py").write_text(CALLER)
    (folder / "called.py").write_text(CALLED.format(value=2))
    return folder


def run(package: Path, **variables: str) -> tuple[str, str, str, str]:
    """Result, number of cache hits and cache folder of a process, and what it logged."""
    return results(start(package, **variables))


def start(package: Path, **variables: str) -> subprocess.Popen[str]:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(package.parent), os.environ.get("PYTHONPATH", "")]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment.pop("NUMBA_CACHE_DIR", None)
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=environment | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def results(process: subprocess.Popen[str]) -> tuple[str, str, str, str]:
    printed, logged = process.communicate()
    assert process.returncode == 0, logged
    result, hits, folder = printed.split()
    return result, hits, folder, logged


def test_compiled_code_is_kept_and_follows_every_file_of_the_package(package: Path) -> None:
    assert run(package)[:3] == ("20", "0", str(package / "__pycache__"))
    assert run(package)[:3] == ("20", "1", str(package / "__pycache__"))
    (package / "called.py").write_text(CALLED.format(value=3))
    assert run(package)[:2] == ("30", "0")
    assert run(package)[:2] == ("30", "1")


def test_a_function_that_another_process_compiles_is_waited_for(package: Path) -> None:
    cache = Path(run(package)[2])
    (index,) = cache.glob("caller.scaled*.nbi")
    hidden = index.rename(index.with_suffix(".hidden"))
    with index.with_suffix(".lock").open("ab") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        process = start(package)
        opened = Path(f"/proc/{process.pid}/fd")
        while lock.name not in {os.path.realpath(file) for file in opened.iterdir()}:
            assert process.poll() is None
            time.sleep(0.02)
        hidden.rename(index)
    assert results(process)[:2] == ("20", "1")


@pytest.mark.faults
def test_a_package_and_a_home_that_cannot_be_written_do_not_stop_anything(
    package: Path, tmp_path: Path
) -> None:
    # Files where folders should be: also the superuser cannot write there.
    (package / "__pycache__").touch()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    variables = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null", "TMPDIR": str(temporary)}
    result, hits, folder, log = run(package, **variables)
    assert (result, hits) == ("20", "0")
    assert folder.startswith(str(temporary))
    assert f"compiled code is kept in {folder}" in log
    (private,) = temporary.iterdir()
    assert private.stat().st_mode & 0o777 == 0o700
    assert run(package, **variables)[:3] == ("20", "1", folder)
    # Code that others could have written is not run.
    private.chmod(0o777)
    result, hits, folder, log = run(package, **variables)
    assert (result, hits, folder) == ("20", "0", "None")
    assert "set NUMBA_CACHE_DIR to a writable folder" in log
    own = {"NUMBA_CACHE_DIR": str(tmp_path / "own")}
    assert run(package, **variables, **own)[2].startswith(own["NUMBA_CACHE_DIR"])


@pytest.mark.faults
@pytest.mark.parametrize("content", [b"", b"no pickle"])
def test_damaged_files_are_compiled_again(package: Path, content: bytes) -> None:
    run(package)
    for pattern in ("*.nbi", "*.nbc"):
        for file in (package / "__pycache__").glob(pattern):
            file.write_bytes(content)
        result, hits, _, log = run(package)
        assert (result, hits) == ("20", "0")
        assert "cannot be read" in log
        assert run(package)[:2] == ("20", "1")


def test_every_compiled_function_of_the_package_uses_it() -> None:
    import mgflows

    folder = Path(mgflows.__file__).parent
    users = {
        str(file.relative_to(folder))
        for file in folder.rglob("*.py")
        if "cache=True" in file.read_text(encoding="utf-8")
    }
    assert users == {"compilation.py"}, "use mgflows.compilation.njit"
