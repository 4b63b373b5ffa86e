"""Tables fit 80 columns or fold, and are complete in a pipe; every encoding works."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import pytest
from rich.console import Console

from mgflows.cli.running import _display, _line, print_summary
from mgflows.cli.status import _group_table, _overview
from mgflows.cli.tables import make_console, make_table, print_table
from mgflows.database import CampaignStatus, GroupStatus
from mgflows.database.forecast import Forecast
from mgflows.database.progress import Progress
from mgflows.schemas.training import SUBSETS

ID = "0123456789abcdef" * 2


def _state(n: int = 1159) -> CampaignStatus:
    groups = [GroupStatus("sampling", None, n, 2, 3, 4, 5, 1234.5, 9876.5)]
    groups += [GroupStatus("labels", subset, n, 2, 30, 4, 500, 0.05, 0.123) for subset in SUBSETS]
    groups.append(GroupStatus("validation", None, 0, 0, 1, 0, 0, 0.0, 12.3))
    return CampaignStatus("Zr46Cu30Ni14Al10-paper", {"RUNNING": 2}, groups, [], [], {}, 3600.0)


def _printed(renderable, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(renderable)
    return console.file.getvalue()


def test_the_status_of_a_large_campaign_fits_80_columns() -> None:
    text = _printed(_group_table(_state()), 80)
    assert all(len(line.rstrip()) <= 80 for line in text.splitlines())
    assert "…" not in text
    for subset in SUBSETS:
        assert re.search(rf"^ ?labels/{subset} +1159/1695 +2 +30 +4 +500 +0.05 +0.123", text, re.M)


def test_the_list_of_campaigns_fits_80_columns() -> None:
    text = _printed(_overview({"Zr46Cu30Ni14Al10-paper": _state()}), 80)
    assert "Zr46Cu30Ni14Al10-paper" in text
    assert "…" not in text


@pytest.mark.parametrize("width", [30, 80, 10_000])
def test_nothing_is_cut(width: int) -> None:
    table = make_table(
        ("id", "F", "reason"), [(ID, 1.5, "[Errno 2] a long reason " * 5)], numbers="F"
    )
    text = _printed(table, width)
    assert "…" not in text
    assert ID in re.sub(r"[\s]", "", text) or width == 30
    letters = re.sub(r"[\s─]", "", text)
    assert sorted(letters) == sorted("idFreason" + ID + "1.5" + "[Errno2]alongreason" * 5)


@pytest.mark.parametrize(("width", "kept"), [(80, "ac"), (60, "ab"), (34, "a")])
def test_columns_are_left_out_in_order_and_named(width: int, kept: str) -> None:
    console = Console(width=width, file=io.StringIO(), highlight=False)
    rows = [("a" * 30, "b" * 20, "c" * 40)]
    print_table(console, "ABC", rows, optional="CB" if kept != "ac" else "BC")
    text = console.file.getvalue()
    assert {each for each in "abc" if each * 20 in text} == set(kept)
    assert (", ".join(reversed("ABC".replace("A", ""))) in text) is (kept == "a")
    assert "not shown" in text
    console = Console(width=200, file=io.StringIO(), highlight=False)
    print_table(console, "ABC", rows, optional="CB")
    assert "not shown" not in console.file.getvalue()


def test_the_time_left_is_shown_on_a_terminal_and_in_a_log() -> None:
    outlook = Forecast(running=(), seconds_left=372.0)
    progress = Progress({("sampling", None): {"COMPLETED": 3, "RUNNING": 2}})
    text = _printed(_display(progress, outlook, {"sampling": 9}, 61.0), 80)
    assert "3/9" in text
    assert "2 running" in text
    assert "1 min 1 s elapsed, about 6 min 12 s left" in text
    assert _line(progress, outlook, {"sampling": 9}) == (
        "3/9 jobs done, about 6 min 12 s left; running: no job"
    )


def test_a_pipe_has_no_width(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    make_console().print(make_table(("id",), [("x" * 300,)]))
    assert "x" * 300 in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "80")
    make_console().print(make_table(("id",), [("x" * 300,)]))
    assert "x" * 300 not in capsys.readouterr().out


def test_lines_in_a_pipe_are_not_padded(monkeypatch: pytest.MonkeyPatch, capsys, tmp_path) -> None:
    summary = {
        "campaign": "c",
        "fireworks": {"COMPLETED": 178},
        "wall_seconds": 60.0,
        "n_frames": {"lj_surrogate": 80, "crystal": 200},
        "test_rmse": dict.fromkeys(
            ("energy_mev_per_atom", "force_mev_per_angstrom", "virial_mev_per_atom"), 1.0
        ),
        "method": "stand-in",
        "n_test": 317,
        "potential_id": "36ebd2a6",
        "dataset_id": "99aa",
        "mongodb_uri": "mongodb://" + 150 * "x",
        "failures": ["label of mc-1e4-000: too many steps"],
    }
    monkeypatch.delenv("COLUMNS", raising=False)
    print_summary(make_console(), tmp_path, summary)
    make_console().print(make_table(("one", "two"), [("a", "b" * 30), ("c", "d")], title="title"))
    lines = capsys.readouterr().out.splitlines()
    student = {"method": "UNEP-v1", "teacher": "UNEP-v1", "student_instead_of": "GPAW"}
    print_summary(make_console(), tmp_path, {**summary, **student})
    text = " ".join(capsys.readouterr().out.split())
    assert "RMSE against UNEP-v1, 317 frames" in text
    assert "only the student of its teacher: none of its labels is of the method GPAW." in text
    assert lines == [line.rstrip() for line in lines]
    for words in (summary["mongodb_uri"], "lj_surrogate 80, crystal 200", "36ebd2a6", "too many"):
        assert any(words in line for line in lines)


@pytest.mark.parametrize("encoding", ["iso8859-1", "ascii"])
def test_terminals_without_unicode(encoding: str, tmp_path) -> None:
    (tmp_path / "mgflows.yaml").write_text("mongodb_uri: mongodb://127.0.0.1:9/")
    for arguments in (["crystals", "Cu", "Zr"], ["doctor"], ["validate", "Å…→.txt"], ["--help"]):
        result = subprocess.run(
            [sys.executable, "-m", "mgflows", *arguments],
            capture_output=True,
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "PYTHONIOENCODING": encoding, **_python_path()},
            timeout=300,
        )
        printed = (result.stdout + result.stderr).decode(encoding, errors="replace")
        assert "Traceback" not in printed, printed
        if arguments == ["doctor"]:
            assert result.returncode == 1
            assert "ok " in printed
            assert "    -> " in printed
        elif arguments[0] == "validate":
            assert result.returncode == 2
            assert ("A..." if encoding == "ascii" else "Å...") + "->.txt" in printed


def _python_path() -> dict[str, str]:
    import os

    return {key: os.environ[key] for key in ("PYTHONPATH", "HOME") if key in os.environ}
