"""``mgflows committee`` and ``mgflows learning-curve`` on small data sets."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase.io import read, write

from mgflows.nep import Committee, write_frames
from tests.helpers.emt_frames import emt_frames


@pytest.fixture
def data(tmp_path):
    frames = emt_frames()
    folder = tmp_path / "data"
    folder.mkdir()
    write_frames(folder / "train.xyz", frames[:16])
    write_frames(folder / "test.xyz", frames[16:])
    return frames


def test_train_a_committee_and_select(run, data, tmp_path) -> None:
    code, out, err = run("committee", "train", "data", "--members", "2", "--steps", "40")
    assert code == 0, err
    assert "force: error =" in out
    assert "8 test frames of 2 families" in out
    rng = np.random.default_rng(0)
    candidates = [frame.copy() for frame in data[:5]]
    for frame in candidates[3:]:
        frame.positions += rng.normal(0.0, 0.2, frame.positions.shape)
    candidates[4].positions[1] = candidates[4].positions[0] + [0.4, 0.0, 0.0]
    write(tmp_path / "candidates.xyz", candidates)
    select = ("committee", "select", "committee", "candidates.xyz")
    _, out, _ = run(*select, "-n", "2", "--json")
    errors = json.loads(out)["force_errors"]
    assert len(errors) == 5
    committee = Committee.load(tmp_path / "committee")
    scale = committee.calibration.scales["force"].value
    largest = scale * committee.predict(candidates).largest_force_spread
    worst = int(np.argmax(largest))
    upper = str(0.99 * largest[worst])
    code, out, err = run(*select, "-n", "2", "--upper", upper, "--force", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["calibrated"] is True
    assert list(result["discarded"]) == [str(worst)]
    selected = read(tmp_path / "selected.xyz", ":")
    assert [atoms.info["force_error"] for atoms in selected] == pytest.approx(
        [errors[index] for index in result["chosen"]]
    )
    code, out, err = run(*select, "-n", "1")
    assert (code, "selected.xyz exists already" in err) == (2, True)
    code, out, err = run(*select, "-n", "1", "--upper", upper, "--force")
    assert "1 of 5 structures selected, 0 known well enough, 1 discarded" in out


def test_a_committee_is_replaced_only_by_force_and_by_frames_that_can_be_trained_on(
    run, data, tmp_path
) -> None:
    command = ("committee", "train", "data", "--members", "2")
    assert run(*command, "--steps", "10")[0] == 0
    member = tmp_path / "committee" / "member_1" / "nep.txt"
    first = member.read_text()
    code, _, err = run(*command, "--steps", "5")
    assert (code, "on other frames or with other settings" in err) == (2, True)
    for frame in data[:16:2]:
        frame.calc.results["energy"] += 110.0 * len(frame)
    write_frames(tmp_path / "data" / "train.xyz", data[:16])
    code, _, err = run(*command, "--steps", "5", "--force")
    assert (code, "away from what its composition explains" in err) == (2, True), err
    assert member.read_text() == first
    for frame in data[:16:2]:
        frame.calc.results["energy"] -= 110.0 * len(frame)
    write_frames(tmp_path / "data" / "train.xyz", data[:16])
    code, _, err = run(*command, "--steps", "5", "--force")
    assert code == 0, err
    assert member.read_text() != first


def test_learning_curve(run, data) -> None:
    command = ("learning-curve", "data", "--steps", "20", "--seeds", "2")
    code, out, err = run(*command, "--fractions", "0.25,0.5,1", "--target-force", "1e6", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert [point["n_frames"] for point in result["points"]] == [4, 8, 16] * 2
    assert result["forecasts"][0]["is_reached"] is True
    code, out, err = run(*command, "--fractions", "0.25,0.5,1", "--target-force", "1e6")
    assert code == 0, err
    assert "is reached: 4 frames are enough" in out
    assert "8 test frames" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("learning-curve", "data", "--target-force", "-3"), "--target-force is -3"),
        (("learning-curve", "data", "--fractions", "all"), "'all' is not a list of numbers"),
        (
            ("learning-curve", "data", "--fractions", "0.5,1", "--target-energy", "1"),
            "needs three sizes, but the fractions give 2",
        ),
        (("learning-curve", "data/train.xyz"), "not a folder with train.xyz and test.xyz"),
        (("committee", "select", "data", "data/train.xyz"), "mgflows committee train"),
        (("committee", "train", "data", "--potential", "none.txt"), "none.txt cannot be read"),
        (("committee", "select", "data", "x", "--lower", "2", "--upper", "1"), "2 to 1 eV/A"),
    ],
)
def test_bad_input_is_an_error(run, data, arguments, words) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert words in err
