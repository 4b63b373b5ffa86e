"""``mgflows sample``: paths are checked first, and an interrupted run keeps its glasses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.io import read

from mgflows.machine.glass_sampling import unfinished_folder
from tests.helpers.processes import members

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.faults

_HANGUP = signal.SIGHUP
SETTINGS = ("Cu46Zr46Al8", "--atoms", "120", "--samples", "4", "--sweeps", "20000")
SETTINGS += ("--workers", "1")


def _start(output: Path, *settings: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mgflows", "sample", *settings, "--output", str(output)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Shells and ``nohup`` start programs that ignore these.
        preexec_fn=lambda: [signal.signal(n, signal.SIG_DFL) for n in (signal.SIGINT, _HANGUP)],
    )


def _wait_for(output: Path, process: subprocess.Popen[str], n_glasses: int) -> None:
    deadline = time.monotonic() + 300.0
    while len(list(unfinished_folder(output).glob("glass-*.xyz"))) < n_glasses:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_sixteen_glasses_are_cooled_side_by_side(run, tmp_path: Path) -> None:
    settings = ("Cu46Zr46Al8", "--atoms", "120", "--sweeps", "12000", "--samples", "17")
    assert run("sample", *settings, "--output", "one.xyz", "--workers", "1")[0] == 0

    # Killed when the glass that is cooled by itself is finished, but not the other sixteen.
    output = tmp_path / "two.xyz"
    process = _start(output, *settings, "--workers", "2")
    _wait_for(output, process, 1)
    process.kill()
    process.wait()
    assert not (unfinished_folder(output) / "glass-000000.xyz").exists()

    code, _, said = run("sample", *settings, "--output", str(output), "--workers", "2")
    assert code == 0, said
    assert "resuming; 1 glass of 17 finished before" in said
    assert output.read_bytes() == (tmp_path / "one.xyz").read_bytes()
    frames = read(output, ":")
    assert [frame.info["stream"] for frame in frames] == list(range(17))
    assert [frame.info["replicas"] for frame in frames] == 16 * [16] + [1]
    assert len({frame.info["e_is"] for frame in frames}) == 17


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_interrupted_run_keeps_its_glasses_and_resumes(run, tmp_path: Path) -> None:
    assert run("sample", *SETTINGS, "--output", "whole.xyz")[0] == 0
    output = tmp_path / "glasses.xyz"

    # Ctrl-C in a terminal reaches the command and its worker.
    process = _start(output, *SETTINGS)
    _wait_for(output, process, 1)
    os.killpg(process.pid, signal.SIGINT)
    stopped = time.monotonic()
    printed = process.communicate(timeout=60)[1]
    assert time.monotonic() - stopped < 10.0
    assert process.returncode == 130
    assert "Traceback" not in printed
    n_kept = len(read(output, ":"))
    assert f"interrupted with {n_kept} of 4 glasses finished in" in printed
    assert "run the same command again to resume" in printed

    # After kill -9 the finished glasses are in the folder; the worker ends too.
    process = _start(output, *SETTINGS)
    _wait_for(output, process, n_kept + 1)
    process.kill()
    process.wait()

    code, _, printed = run("sample", *SETTINGS, "--output", str(output))
    assert code == 0, printed
    assert "resuming;" in printed
    assert output.read_bytes() == (tmp_path / "whole.xyz").read_bytes()
    assert not unfinished_folder(output).exists()


@pytest.mark.parametrize(
    ("number", "to_all", "started"),
    [
        # While the processes start, and later; to the command alone, and to all as at a logout.
        (signal.SIGINT, True, False),
        (signal.SIGHUP, True, True),
        (signal.SIGTERM, False, True),
    ],
)
def test_a_signal_ends_the_command_and_its_processes(
    tmp_path: Path, number: signal.Signals, to_all: bool, started: bool
) -> None:
    output = tmp_path / "glasses.xyz"
    settings = ("Cu50Zr50", "--samples", "2", "--workers", "2", "--sweeps", "1000000")
    process = _start(output, *settings)
    deadline = time.monotonic() + 120.0
    while not (unfinished_folder(output) / "settings.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    while started and len(members(process.pid)) < 4:
        # The command, its two coolings and the tracker of multiprocessing.
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (os.killpg if to_all else os.kill)(process.pid, number)
    printed = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == 128 + number
    assert printed[1:] == [
        "error: interrupted with 0 of 2 glasses finished; run the same command again to resume"
    ]
    while members(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_unfinished_run_of_other_settings_is_not_mixed_in(run, tmp_path: Path) -> None:
    folder = unfinished_folder(tmp_path / "glasses.xyz")
    folder.mkdir()
    (folder / "settings.json").write_text('{"seed": 7}')
    code, _, printed = run("sample", "Cu50Zr50", "--sweeps", "10")
    assert code == 2
    assert "holds an unfinished run with other settings" in printed
    assert run("sample", "Cu50Zr50", "--sweeps", "10", "--force")[0] == 0
    assert not folder.exists()


def test_an_existing_file_is_overwritten_only_with_force(run, tmp_path: Path) -> None:
    (tmp_path / "glasses.xyz").write_text("three weeks of work")
    code, _, printed = run("sample", "Cu50Zr50", "--sweeps", "10")
    assert code == 2
    assert printed == (
        "error: glasses.xyz exists already; choose another --output or overwrite with --force "
    )
    assert (tmp_path / "glasses.xyz").read_text() == "three weeks of work"
    assert run("sample", "Cu50Zr50", "--sweeps", "10", "--force")[0] == 0
    assert len(read(tmp_path / "glasses.xyz", ":")) == 1


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("file/glasses.xyz", "the directory file cannot be created"),
        ("folder", "folder"),
        ("/proc/1/glasses.xyz", "/proc/1"),
    ],
)
def test_an_unusable_output_is_refused_before_the_cooling(
    run, tmp_path: Path, output: str, words: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    started = time.monotonic()
    code, _, printed = run("sample", "Cu50Zr50", "--sweeps", "1000000000", "--output", output)
    assert code == 2
    assert words in printed
    assert printed.count("error:") == 1
    assert time.monotonic() - started < 30.0


def test_a_missing_directory_is_made(run, tmp_path: Path) -> None:
    output = "a directory/with spaces/glasses.xyz"
    assert run("sample", "Cu50Zr50", "--sweeps", "10", "--output", output)[0] == 0
    assert (tmp_path / output).exists()


def test_json(run, tmp_path: Path) -> None:
    code, out, _ = run("sample", "Cu50Zr50", "--sweeps", "10", "--samples", "2", "--json")
    assert code == 0
    result = json.loads(out)
    assert [glass["stream"] for glass in result["glasses"]] == [0, 1]
    frames = read(tmp_path / "glasses.xyz", ":")
    assert [glass["e_is"] for glass in result["glasses"]] == [f.info["e_is"] for f in frames]


def test_density_and_exchanges_are_those_of_the_alloy(run) -> None:
    settings = ("--sweeps", "10", "--force")
    for formula, density, exchanges in (
        ("Cu46Zr46Al8", "8.46", "Cu-Al, Al-Zr"),
        ("Zr90Cu10", "8.05", "Cu-Zr"),
        ("Cu50Al50", "6.42", "Cu-Al"),
    ):
        code, _, printed = run("sample", formula, *settings)
        assert code == 0
        assert f"{density} g/cm3, exchanges: {exchanges}" in printed
    # The largest species present is Al: 1.75 / (2.620 A)^3.
    assert "7.31 g/cm3" in run("sample", formula, *settings, "--reduced-density", "1.75")[2]
    code, _, printed = run(
        "sample", formula, *settings, "--reduced-density", "1", "--mass-density", "7"
    )
    assert code == 2
    assert "both --reduced-density and --mass-density" in printed


def test_any_alloy_from_a_table_of_the_user(run, tmp_path: Path) -> None:
    (tmp_path / "table.yaml").write_text(
        "species:\n  Pd: {sigma: 2.52, epsilon: 0.45}\n  P: {sigma: 1.96, epsilon: 0.2}\n"
    )
    settings = ("--sweeps", "10", "--pair-table", "table.yaml", "--force", "--mass-density", "10")
    code, _, printed = run("sample", "Pd80P20", *settings)
    assert code == 0
    assert "10.00 g/cm3, exchanges: P-Pd" in printed
    code, _, printed = run("sample", "Pd80Si20", *settings)
    assert code == 2
    assert "Si is not in the table of Pd, P" in printed


def test_the_efficient_protocol_is_deeper_than_the_paper_s(run, tmp_path: Path) -> None:
    energies = {}
    for protocol in ("paper", "efficient"):
        settings = ("--sweeps", "3000", "--samples", "12", "--protocol", protocol, "--force")
        code, _, printed = run("sample", "Cu46Zr46Al8", *settings)
        assert code == 0, printed
        energies[protocol] = [f.info["e_is"] for f in read(tmp_path / "glasses.xyz", ":")]
    # One decade of sweeps is worth 0.25 eV/atom.
    assert np.mean(energies["efficient"]) < np.mean(energies["paper"]) - 0.1
