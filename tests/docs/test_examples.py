"""The examples of the documentation run, from the command line, as a reader would run them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.io import read

from mgflows.nep import write_frames
from tests.helpers.emt_frames import emt_frames

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
TINY = Path(__file__).parents[1] / "data" / "tiny_nep.txt"


def run(name: str, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
@pytest.mark.physics
def test_supercooling_clock(tmp_path):
    run("supercooling_clock.py", str(tmp_path), "--quick")
    results = {
        result["table"]: result
        for result in json.loads((tmp_path / "supercooling_clock.json").read_text())["results"]
    }
    # Even the rough version tells the tables apart by their onset.
    assert results["consistent"]["onset"]["reduced_temperature"] == pytest.approx(2.09, abs=0.25)
    assert results["printed"]["onset"]["low"] > 2.8
    assert "Table printed" in (tmp_path / "supercooling_clock.md").read_text()
    assert (tmp_path / "supercooling_clock.svg").read_text().startswith("<?xml")
    # A second run finds its stages done.
    assert run("supercooling_clock.py", str(tmp_path), "--quick").count("kept from before") == 14
    # Glasses cooled one by one are counted with the replicas.
    settings = ("--quick", "--table", "consistent", "--one-by-one-from", "3000")
    run("supercooling_clock.py", str(tmp_path), *settings)
    table = (tmp_path / "supercooling_clock.md").read_text()
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| paper | 3000 ")]
    assert [row[3] for row in rows] == ["32", "16"]


@pytest.mark.slow
@pytest.mark.physics
def test_lj_tables(tmp_path):
    run("lj_tables.py", str(tmp_path), "--quick")
    results = json.loads((tmp_path / "lj_tables.json").read_text())["results"]
    assert [(result["table"], result["label"]) for result in results] == [
        ("consistent", "stand-in"),
        ("printed", "stand-in"),
    ]
    for result in results:
        points = result["points"]
        assert len(points) == 8
        fit, line = (
            result["fitness"]["fit"],
            np.polyfit([p["energy_lj"] for p in points], [p["energy_label"] for p in points], 1),
        )
        assert [fit["slope"], fit["intercept"]] == pytest.approx(line)
        # With either table, lower surrogate energies are lower label energies, and the surrogate is
        # far too dense.
        assert fit["slope"] > 0.0
        assert 20.0 < result["fitness"]["pressure"] < 60.0
        assert result["similarity"]["cell"]["None"]["linear_expansion"] > 0.04
        assert result["similarity"]["fixed"]["None"]["linear_expansion"] == pytest.approx(
            0.0, abs=1e-9
        )
    assert "| stand-in | printed | all | 8 |" in (tmp_path / "lj_tables.md").read_text()
    assert (tmp_path / "lj_tables.svg").read_text().startswith("<?xml")


def test_high_entropy(tmp_path):
    output = run("high_entropy.py", str(tmp_path), "--sweeps", "1000", "--samples", "2")
    assert "every species is reached" in output
    glasses = read(tmp_path / "high_entropy.extxyz", ":")
    assert len(glasses) == 4
    assert glasses[0].symbols.formula.count() == {"Zr": 30, "Cu": 30, "Ni": 30, "Al": 30, "Ti": 30}
    with_exchanges, without = (
        np.mean([glass.info["e_is"] for glass in glasses[:2]]),
        np.mean([glass.info["e_is"] for glass in glasses[2:]]),
    )
    assert with_exchanges < without


@pytest.mark.slow
@pytest.mark.physics
def test_validation_choices():
    output = run("validation_choices.py", "--glasses", "1")
    tables = [table.splitlines() for table in output.strip().split("\n\n")]
    relaxations, elastic, shear = ([row.split("|")[1:-1] for row in table[2:]] for table in tables)
    assert [int(row[0]) for row in relaxations] == [150, 1200]
    assert all(float(row[3]) <= 1.001e-4 for row in relaxations)
    moduli = {row[0].strip(): [float(x) for x in row[1].split(",")] for row in elastic}
    # The linear regime, and the too large stiffness of clamped ions.
    assert moduli["strain 0.001"][1] == pytest.approx(moduli["strain 0.004"][1], rel=0.02)
    assert moduli["clamped ions"][1] > 1.5 * moduli["strain 0.002"][1]
    assert [float(x) for x in shear[0][1].split(",")] == pytest.approx(
        3 * [moduli["strain 0.002"][1]], rel=0.4
    )


@pytest.mark.slow
def test_active_learning(tmp_path):
    frames = emt_frames()
    write_frames(tmp_path / "train.xyz", frames[:16])
    write_frames(tmp_path / "test.xyz", frames[16:])
    output = run("active_learning.py", str(tmp_path), str(tmp_path / "results"), "--quick")
    results = json.loads((tmp_path / "results/active_learning.json").read_text())["results"]
    labels = {name: [] for name in ("committee", "farthest", "random")}
    for row in results:
        labels[row["strategy"]].append((row["labels"], row["force"]))
    assert {tuple(n for n, _ in rows) for rows in labels.values()} == {(6, 10)}
    # All begin with the same frames.
    assert len({rows[0][1] for rows in labels.values()}) == 1
    assert "| 10 | committee |" in output
    assert (tmp_path / "results/active_learning.svg").read_text().startswith("<?xml")


@pytest.mark.slow
def test_trainer_settings_on_made_data(tmp_path) -> None:
    run("training_data.py", str(tmp_path / "small"), "--kind", "small", "--potential", str(TINY))
    command = [
        "trainer_settings.py", str(tmp_path / "small"), "--seeds", "1", "--steps", "20",
        "--only", "defaults", "--results", str(tmp_path / "results.jsonl"),
    ]  # fmt: skip
    table = run(*command)
    assert "102 training and 30 test frames" in table
    row = table.splitlines()[-1]
    assert row.startswith("| defaults | ")
    # A second run measures nothing.
    assert run(*command).splitlines()[-1] == row
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1
