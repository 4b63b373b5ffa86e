"""``mgflows train``: a potential from files of frames, without a database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from mgflows.nep import NepParameters, parity, read_frames, write_frames
from tests.helpers.emt_frames import emt_frames
from tests.helpers.processes import wait_for


@pytest.fixture
def frames(tmp_path):
    found = emt_frames()
    write_frames(tmp_path / "all.xyz", found)
    return found


def test_a_file_is_split_by_family_and_trained_on(run, frames, tmp_path) -> None:
    command = ("train", "all.xyz", "--steps", "60", "--neuron", "10", "--seed", "3")
    code, out, err = run(*command, "--no-check", "--json")
    assert code == 0, err
    assert "20 training frames and 4 test frames of Al, Cu" in err
    assert "step 60 of 60: test errors" in err
    result = json.loads(out)
    tested = read_frames(tmp_path / "nep" / "test.xyz")
    assert {frame.info["family"] for frame in tested}.isdisjoint(
        frame.info["family"] for frame in read_frames(tmp_path / "nep" / "train.xyz")
    )
    expected = parity(tmp_path / "nep" / "nep.txt", tested).overall
    assert result["errors"]["test"]["overall"]["force_rmse"] == pytest.approx(expected.force_rmse)
    assert sorted(result["errors"]["test"]["by_subset"]) == ["aimd", "distorted"]
    assert result["acceptance"] is None
    # The same command returns the finished training; another is not mixed in.
    assert json.loads(run(*command, "--no-check", "--json")[1])["cpu_seconds"] == 0.0
    potential = (tmp_path / "nep" / "nep.txt").read_text()
    code, _, err = run("train", "all.xyz", "--steps", "40", "--no-check")
    assert code == 2
    assert "nep holds a training on other frames or with other settings" in err
    assert (tmp_path / "nep" / "nep.txt").read_text() == potential
    code, out, err = run("train", "all.xyz", "--steps", "40", "--no-check", "--force")
    assert (code, "wrote nep/nep.txt" in out) == (0, True), err
    assert (tmp_path / "nep" / "nep.txt").read_text() != potential


def test_a_potential_that_fails_the_tests_is_reported(run, frames) -> None:
    code, out, err = run("train", "all.xyz", "--test-fraction", "0", "--steps", "5")
    assert code == 1, err
    assert "24 training frames and 0 test frames" in err
    assert "not accepted" in out
    assert "test frames  " not in out


def test_a_folder_gives_its_model_and_a_potential_its_own(run, frames, tmp_path) -> None:
    folder = tmp_path / "gpumd"
    folder.mkdir()
    write_frames(folder / "train.xyz", frames[:16])
    write_frames(folder / "test.xyz", frames[16:])
    model = NepParameters(("Cu", "Al", "Zr"), neuron=7, cutoff=(5.0, 4.0))
    (folder / "nep.in").write_text(f"# by hand\n{model.to_text()}")
    arguments = ("--steps", "20", "--no-check")
    code, _, err = run("train", "gpumd", *arguments)
    assert code == 0, err
    assert "16 training frames and 8 test frames of Cu, Al, Zr" in err
    assert model.same_model(NepParameters.from_text((tmp_path / "nep" / "nep.in").read_text()))
    # A start from this potential keeps its model and leaves out the third species.
    code, _, err = run("train", "all.xyz", "--from", "nep/nep.txt", "--output", "again", *arguments)
    assert code == 0, err
    started = NepParameters.from_text((tmp_path / "again" / "nep.in").read_text())
    assert (started.species, started.neuron, started.cutoff) == (("Al", "Cu"), 7, (5.0, 4.0))
    code, _, err = run("train", "gpumd", "--output", "gpumd", *arguments)
    assert (code, "would replace files of gpumd" in err) == (2, True)
    (tmp_path / "link.xyz").symlink_to(folder / "train.xyz")
    for source in ("all.xyz", "gpumd/train.xyz", "link.xyz"):
        code, _, err = run("train", source, "--output", "gpumd", "--force", *arguments)
        assert (code, "gpumd" in err) == (2, True), err
        assert len(read_frames(folder / "train.xyz")) == 16
    code, _, err = run("train", "gpumd", "--test", "all.xyz", *arguments)
    assert (code, "--test belongs to a file" in err) == (2, True)
    code, _, err = run("train", "absent.xyz", *arguments)
    assert (code, "there is no file or folder absent.xyz" in err) == (2, True)
    code, _, err = run("train", "all.xyz", "--output", "", *arguments)
    assert (code, "an empty name is not a directory" in err) == (2, True)
    code, _, err = run("train", "all.xyz", "--test", "gpumd/test.xyz", "--output", "x", *arguments)
    assert (code, "8 shared frames" in err) == (2, True)
    assert not (tmp_path / "x").exists()
    (folder / "nep.in").write_bytes(b"type 2 Cu Al # \xff\n")
    code, _, err = run("train", "gpumd", *arguments)
    assert (code, "gpumd/nep.in cannot be read" in err) == (2, True)
    (folder / "test.xyz").unlink()
    code, _, err = run("train", "gpumd", *arguments)
    assert (code, "has no test.xyz; give gpumd/train.xyz" in err) == (2, True)


def test_an_interrupted_training_resumes(run, frames, tmp_path) -> None:
    command = ("train", "all.xyz", "--steps", "1500", "--no-check")
    process = subprocess.Popen(
        [sys.executable, "-m", "mgflows", *command, "--output", "stopped"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for((tmp_path / "stopped" / "loss.out").exists, seconds=120)
    os.killpg(process.pid, signal.SIGINT)
    printed = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "the training is kept in stopped, and the same command resumes" in printed
    assert "Traceback" not in printed
    assert run(*command, "--output", "stopped")[0] == 0
    assert run(*command, "--output", "whole")[0] == 0
    trained = [(tmp_path / name / "nep.txt").read_bytes() for name in ("stopped", "whole")]
    assert trained[0] == trained[1]
