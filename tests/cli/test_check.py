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


@pytest.mark.physics
@pytest.mark.parametrize("scale", [0.85, 1.15])
def test_a_glass_under_pressure_is_relaxed_before_its_melt_is_compared(tmp_path, run, scale):
    """Without relaxation, the melt of a glass at 0.85 of its volume seems to expand by a third."""
    (tmp_path / "good.txt").write_text(good_potential())
    glass = next(frame for frame in frames(0) if frame.info["subset"] == "dft_minimized").copy()
    glass.set_cell(glass.cell.array * scale ** (1 / 3), scale_atoms=True)
    glass.write(tmp_path / "glass.xyz")
    code, output, _ = run(
        tmp_path / "good.txt", "--glasses", tmp_path / "glass.xyz", "--json", *FAST
    )
    result = json.loads(output)
    assert code == 0, result["reason"]
    checks = {check["name"]: check for check in result["checks"]}
    # Liquid Cu-Zr expands by a tenth.
    assert checks["melt density"]["value"] == pytest.approx(1.1, abs=0.07)
    pressure = checks["pressure of the glasses"]
    assert pressure["outcome"] == "warning"
    assert (pressure["value"] > 0.0) is (scale < 1.0)
    growth = float(pressure["sentence"].partition("first, to ")[2].split()[0])
    assert growth == pytest.approx(1.0 / scale, abs=0.03)


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
