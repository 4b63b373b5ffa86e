"""scripts/install-system-packages, with stand-ins for the system's programs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "install-system-packages"
PROGRAMS = ("g++", "mpicc", "mpirun.openmpi", "slurmctld", "sshd", "chromium", "pw.x", "cp2k")


@pytest.fixture
def machine(tmp_path):
    """Describe a machine and run the script on it."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def program(name: str, commands: str = "exit 0") -> None:
        (folder / name).write_text(f"#!/bin/sh\n{commands}\n")
        (folder / name).chmod(0o755)

    for name in ("sh", "sed", "grep", "env"):
        (folder / name).symlink_to(shutil.which(name))

    def run(
        *arguments: str,
        programs: tuple[str, ...] = PROGRAMS,
        libraries: bool = True,
        user: int = 0,
        apt: bool = True,
        python: str = "exit 0",
        not_packaged: str = "",
    ) -> subprocess.CompletedProcess[str]:
        for name in programs:
            program(name)
        program("python3", python)
        program("find", "echo found" if libraries else "exit 0")
        program("id", f"echo {user}")
        if apt:
            program(
                "apt-cache",
                'case " $MISSING " in *" $2 "*) c="(none)" ;; *) c=1.0 ;; esac; '
                'echo "  Candidate: $c"',
            )
            program("apt-get", f'echo "$DEBIAN_FRONTEND apt-get $*" >> {tmp_path}/calls')
        # /usr/sbin and /usr/share are looked into by their full names.
        return subprocess.run(
            [folder / "sh", SCRIPT, *arguments],
            env={"PATH": str(folder), "CP2K_DATA_DIR": "/data", "MISSING": not_packaged},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    return run


def calls(tmp_path: Path) -> list[str]:
    file = tmp_path / "calls"
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.parametrize("user", [0, 1000])
@pytest.mark.parametrize("arguments", [(), ("--test",)])
def test_a_machine_that_has_everything_is_left_alone(machine, tmp_path, user, arguments) -> None:
    done = machine(*arguments, user=user)
    assert (done.returncode, done.stdout.strip()) == (0, "install-system-packages: nothing to do")
    assert not calls(tmp_path)


def test_root_installs_what_is_missing_and_nothing_else(machine, tmp_path) -> None:
    done = machine(
        "--test", programs=("mpicc", "mpirun.openmpi", "slurmctld", "sshd", "chromium", "cp2k")
    )
    assert done.returncode == 0, done.stderr
    assert [call.split(" ", 1)[1].strip() for call in calls(tmp_path)][-1:] == [
        "apt-get install -y -qq --no-install-recommends g++ quantum-espresso"
    ]
    assert calls(tmp_path)[-1].startswith("noninteractive ")


def test_what_the_distribution_does_not_package_is_left_out_with_a_warning(
    machine, tmp_path
) -> None:
    # Ubuntu has no package of Chromium.
    done = machine(
        "--test", programs=("g++", "mpicc", "slurmctld", "sshd"), not_packaged="chromium"
    )
    assert done.returncode == 0, done.stderr
    assert "there is no package chromium here; tests that need it are skipped" in done.stderr
    assert [call.split(" ", 1)[1].strip() for call in calls(tmp_path)][-1:] == [
        "apt-get install -y -qq --no-install-recommends openmpi-bin quantum-espresso cp2k"
    ]
    done = machine("--test", programs=PROGRAMS[:5] + PROGRAMS[6:], not_packaged="chromium")
    assert done.returncode == 0, done.stderr
    assert calls(tmp_path)[-1].split(" ", 1)[1].strip() == "apt-get update -qq"


def test_codes_of_the_tests_are_installed_for_tests_only(machine, tmp_path) -> None:
    done = machine(programs=("g++",), libraries=False)
    assert done.returncode == 0, done.stderr
    assert calls(tmp_path)[-1].endswith("--no-install-recommends libcurl4")


def test_without_root_missing_codes_are_named_and_the_rest_continues(machine, tmp_path) -> None:
    done = machine(
        "--test",
        programs=("g++", "mpicc", "mpirun.openmpi", "slurmctld", "sshd", "chromium"),
        user=1000,
    )
    assert done.returncode == 0
    assert "missing packages: quantum-espresso cp2k\n" in done.stderr
    assert "ask an administrator to run: apt-get install quantum-espresso cp2k" in done.stderr
    assert "tests that need one of them are skipped" in done.stderr
    assert not calls(tmp_path)


def test_without_root_a_missing_library_ends_it(machine, tmp_path) -> None:
    done = machine(programs=(), libraries=False, user=1000)
    assert done.returncode == 1
    assert "apt-get install libcurl4\n" in done.stderr
    assert not calls(tmp_path)


def test_without_root_a_missing_compiler_ends_the_tests_but_not_the_quickstart(
    machine, tmp_path
) -> None:
    programs = tuple(name for name in PROGRAMS if name != "g++")
    done = machine("--test", programs=programs, user=1000)
    assert done.returncode == 1
    assert "apt-get install g++\n" in done.stderr
    done = machine(programs=programs, user=1000)
    assert (done.returncode, done.stdout.strip()) == (0, "install-system-packages: nothing to do")
    assert not calls(tmp_path)


def test_another_system_is_named_packages_of_debian(machine) -> None:
    done = machine(programs=(), libraries=False, apt=False)
    assert done.returncode == 1
    assert "missing packages: libcurl4\n" in done.stderr
    assert "install their equivalents with your package manager" in done.stderr


def test_an_old_python_is_refused(machine, tmp_path) -> None:
    done = machine(python='[ "$1" = --version ] && echo Python 3.10.12 && exit 0; exit 1')
    assert done.returncode == 1
    assert "python3 is Python 3.10.12, but mgflows needs Python 3.11 or later" in done.stderr
    assert not calls(tmp_path)


def test_help_and_unknown_arguments(machine) -> None:
    assert "scripts/install-system-packages --test" in machine("--help").stdout
    done = machine("--tests")
    assert done.returncode == 2
    assert "unknown argument '--tests'" in done.stderr
