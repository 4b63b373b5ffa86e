"""``mgflows bench training`` on a CPU; with a GPU and GPUMD in test_gpu.py."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from mgflows.bench.training import benchmark
from mgflows.cli.bench import bench
from mgflows.errors import InputError, ServiceError
from mgflows.nep import NepTrainer, read_frames, write_frames


@pytest.fixture
def folder(tmp_path, emt_frames):
    write_frames(tmp_path / "train.xyz", emt_frames[:4])
    write_frames(tmp_path / "test.xyz", emt_frames[20:])
    return tmp_path


def test_speed_and_errors_of_each_batch(folder) -> None:
    options = [
        "training",
        str(folder),
        "--device",
        "cpu",
        "--batch",
        "2",
        "--batch",
        "3",
        "--steps",
        "8",
        "--json",
    ]
    rows = json.loads(CliRunner().invoke(bench, options, catch_exceptions=False).stdout)
    for trainer in ("NepTrainer", "NeppoTrainer"):
        chosen = [row for row in rows if row["trainer"] == trainer]
        assert [(row["batch"], row["steps"], row["n_train"], row["n_test"]) for row in chosen] == [
            (2, 8, 4, 4),
            (3, 8, 4, 4),
        ]
    assert all(row["hardware"] and row["seconds"] > 0.0 for row in rows)
    assert all(np.isfinite([row["energy"], row["force"], row["virial"]]).all() for row in rows)


def test_the_efficiency_of_threads(folder) -> None:
    options = ["training", str(folder), "--threads", "2", "--batch", "2", "--steps", "10"]
    done = CliRunner().invoke(bench, [*options, "--json"], catch_exceptions=False)
    (row,) = json.loads(done.stdout)
    sizes = [len(frame) for frame in read_frames(folder / "train.xyz")]
    assert (row["batch"], row["n_threads"], row["n_atoms"]) == (2, 2, max(sizes))
    assert row["efficiency"] == pytest.approx(row["one"] / row["several"] / 2.0)
    assert row["one"] > 0.0


@pytest.mark.slow
def test_equal_cpu_time_and_the_errors_of_each_subset(folder, caplog) -> None:
    frames = read_frames(folder / "test.xyz")
    for number, frame in enumerate(frames):
        frame.info["subset"] = ("aimd", "distorted")[number % 2]
    write_frames(folder / "test.xyz", frames)
    trainer = NepTrainer(reports=4)
    rows = list(benchmark(folder, [trainer], folder / "runs", cpu_seconds=8.0))
    assert rows[0]["steps"] > 100
    assert rows[0]["cpu_seconds"] == pytest.approx(8.0, rel=0.5)
    for row in rows:
        assert row["subsets"].keys() == {"aimd", "distorted"}
        squares = [row["subsets"][name]["energy"] ** 2 for name in ("aimd", "distorted")]
        assert row["energy"] ** 2 == pytest.approx(np.mean(squares))
    with pytest.raises(InputError, match=r"NepTrainer needs .* CPU s before its first step"):
        list(benchmark(folder, [trainer], folder / "more", cpu_seconds=0.1))
    with pytest.raises(InputError, match="before its first step"):
        list(benchmark(folder, [trainer] * 2, folder / "both", cpu_seconds=0.1))
    assert caplog.text.count("NepTrainer is left out: NepTrainer needs") == 1


def test_a_missing_trainer_is_reported_before_anything_runs(folder, tmp_path) -> None:
    options = [
        "training",
        str(folder),
        "--device",
        "cpu",
        "--nep",
        "no-such-nep",
        "--directory",
        str(tmp_path),
    ]
    result = CliRunner().invoke(bench, options)
    assert isinstance(result.exception, ServiceError)
    assert "'no-such-nep' is not found" in str(result.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test.xyz", "train.xyz"]
