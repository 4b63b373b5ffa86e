"""``mgflows check`` on potentials that were really trained."""

from __future__ import annotations

import json

import pytest

from mgflows.cli.main import main
from mgflows.nep import write_frames
from tests.helpers.stand_in_frames import bad_potential, frames, good_potential

FAST = ("--time", "0.3")


@pytest.fixture
def run(capsys):
    def run(*arguments) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        with pytest.raises(SystemExit) as end:
            main(["check", *map(str, arguments)])
        captured = capsys.readouterr()
        return end.value.code, captured.out, " ".join(captured.err.split())

    return run


@pytest.mark.physics
def test_a_good_and_a_bad_potential(tmp_path, run):
    (tmp_path / "good.txt").write_text(good_potential())
    (tmp_path / "bad.txt").write_text(bad_potential())
    write_frames(tmp_path / "train.xyz", frames(0))
    write_frames(tmp_path / "test.xyz", frames(1))
    options = ("--test", tmp_path / "test.xyz", "--label-with", "stand-in", *FAST)
    code, output, _ = run(
        tmp_path / "good.txt",
        *options,
        "--train",
        tmp_path / "train.xyz",
        "--trajectory",
        tmp_path / "train.xyz",
        "--json",
    )
    result = json.loads(output)
    assert (code, result["passed"], result["reason"]) == (0, True, "")
    assert result["species"] == ["Cu", "Zr"]
    assert result["checks"][-1]["name"] == "later dynamics in range"
    assert result["checks"][-1]["value"] == 0.0
    assert {check["outcome"] for check in result["checks"]} <= {"passed", "warning"}
    assert result["worst_frames"][0]["family"] == "quench-1"

    code, output, _ = run(tmp_path / "bad.txt", *options)
    assert code == 1
    assert "not accepted" in output
    assert "failed" in output


@pytest.mark.faults
def test_wrong_input_is_one_clear_error(tmp_path, run):
    (tmp_path / "nep.txt").write_text(bad_potential())
    code, _, error = run(tmp_path / "nep.txt", "--glasses", tmp_path / "none.xyz")
    assert code == 2
    assert "none.xyz" in error
    atoms = frames(0)[0].copy()
    atoms.symbols[:] = "Al"
    atoms.write(tmp_path / "al.xyz")
    code, _, error = run(tmp_path / "nep.txt", "--glasses", tmp_path / "al.xyz")
    assert code == 2
    assert "contains Al, but the potential is for Cu, Zr" in error
