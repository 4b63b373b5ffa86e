from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.io import read

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-m", "mgflows", "sample", "Cu46Zr46Al8", "--atoms", "113"]


def sample(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=folder, capture_output=True, text=True)


def test_a_path_that_cannot_be_written_is_refused_before_anything_is_cooled(tmp_path: Path) -> None:
    (tmp_path / "there.xyz").write_text("kept")
    for output, words in (("there.xyz", "--force"), ("missing/a.xyz", "mkdir")):
        done = sample(tmp_path, "--output", output, "--sweeps", "1000000000")
        assert done.returncode == 2
        assert words in done.stderr
        assert "cooling" not in done.stderr
    assert (tmp_path / "there.xyz").read_text() == "kept"
    assert sample(tmp_path, "--output", "there.xyz", "--sweeps", "10", "--force").returncode == 0
    assert len(read(tmp_path / "there.xyz", ":")) == 1


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_finished_glasses_survive_an_interruption(tmp_path: Path, how: signal.Signals) -> None:
    settings = ["--sweeps", "3000", "--samples", "200"]
    partial = tmp_path / "glasses.xyz.partial"
    process = subprocess.Popen(
        [*COMMAND, *settings], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        # A shell that starts this in the background may have it ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while not partial.exists() or partial.read_text().count("Lattice") < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(how)
    process.communicate()
    assert process.returncode == (130 if how is signal.SIGINT else -9)
    kept = partial.read_text().count("Lattice")
    # Other settings would mix different glasses.
    other = sample(tmp_path, "--sweeps", "20")
    assert other.returncode == 2
    assert "other settings" in other.stderr
    done = sample(tmp_path, "--sweeps", "3000", "--samples", str(kept + 1))
    assert done.returncode == 0, done.stderr
    assert f"{kept} of {kept + 1} glasses are read" in " ".join(done.stderr.split())
    assert not partial.exists()
    frames = read(tmp_path / "glasses.xyz", ":")
    assert [atoms.info["stream"] for atoms in frames] == list(range(kept + 1))
    assert (
        sample(tmp_path, "--sweeps", "3000", "--samples", "1", "--output", "a.xyz").returncode == 0
    )
    (again,) = read(tmp_path / "a.xyz", ":")
    np.testing.assert_array_equal(again.positions, frames[0].positions)
    assert "settings" not in frames[0].info


def test_density_and_exchanges_are_those_of_the_alloy(tmp_path: Path) -> None:
    for formula, density, exchanges in (
        ("Cu46Zr46Al8", "8.46", "Cu-Al, Al-Zr"),
        ("Zr90Cu10", "8.05", "Cu-Zr"),
        ("Cu50Al50", "6.42", "Cu-Al"),
    ):
        command = [sys.executable, "-m", "mgflows", "sample", formula, "--sweeps", "10", "--force"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert f"{density} g/cm3, exchanges: {exchanges}" in done.stderr
    command += ["--reduced-density", "1.75"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    # The largest species present is Al: 1.75 / (2.620 A)^3.
    assert "7.31 g/cm3" in done.stderr
