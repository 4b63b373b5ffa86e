"""The quickstart in its own process: killed, interrupted and restarted."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from mgflows.connections import open_database
from mgflows.database import GlassDatabase
from mgflows.errors import ServiceError
from mgflows.machine import PrivateMongod
from mgflows.settings import Settings

pytestmark = [pytest.mark.mongo, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(1200)]

CAMPAIGN = "Cu46Zr46Al8-tiny"
SUBSETS = {
    "lj_surrogate",
    "dft_minimized",
    "expanded_compressed",
    "distorted",
    "aimd",
    "crystal",
    "mlip_feedback",
}


def _start(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "mgflows",
        "quickstart",
        "--directory",
        str(directory),
        "--scale",
        "tiny",
        *arguments,
    ]
    log = (directory.parent / "quickstart.log").open("a")
    return subprocess.Popen(
        command,
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
        preexec_fn=_restore_sigint,
    )


def _restore_sigint() -> None:
    """Undo SIG_IGN, which a shell sets for programs in the background and children inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _completed(directory: Path) -> int:
    try:
        database = open_database(Settings.load(directory), wait_seconds=0.5)
    except ServiceError:
        return 0
    return database["fireworks"].count_documents({"state": "COMPLETED"})


def _wait_for(directory: Path, process: subprocess.Popen[str], n_completed: int) -> None:
    deadline = time.monotonic() + 300.0
    while _completed(directory) < n_completed:
        assert process.poll() is None, (directory.parent / "quickstart.log").read_text()
        assert time.monotonic() < deadline, f"fewer than {n_completed} jobs done within 300 s"
        time.sleep(0.2)


def _outputs(directory: Path) -> dict[str, str]:
    """Uuid of each label job to the time at which its label was stored."""
    outputs = open_database(Settings.load(directory))["outputs"]
    return {
        document["uuid"]: document["completed_at"]
        for document in outputs.find(
            {"output.summaries": {"$exists": True}}, ["uuid", "completed_at"]
        )
    }


def test_a_killed_and_interrupted_quickstart_resumes_and_repeats_no_job(short_directory):
    directory = short_directory / "q"
    server = PrivateMongod(directory)
    try:
        # kill -9 of the command: its workers end with it, the database keeps running.
        process = _start(directory)
        _wait_for(directory, process, 12)
        process.kill()
        process.wait()
        before = _outputs(directory)
        assert before

        # Ctrl-C: exit code 130, and a sentence.
        process = _start(directory)
        _wait_for(directory, process, 22)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert (
            "interrupted; run the same command again to resume"
            in (directory.parent / "quickstart.log").read_text()
        )

        # kill -9 of the database, then kill -9 of the command before it can restart the database.
        process = _start(directory)
        _wait_for(directory, process, 32)
        pid = server.pid()
        assert pid
        process.send_signal(signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        time.sleep(1.0)
        process.kill()
        process.wait()

        process = _start(directory)
        assert process.wait(timeout=900) == 0, (directory.parent / "quickstart.log").read_text()
        after = _outputs(directory)
        assert {uuid: after[uuid] for uuid in before} == before, (
            "labels stored before the kill are neither lost nor repeated"
        )

        database = GlassDatabase(directory=directory)
        status = database.status(CAMPAIGN)
        assert status.succeeded, status.failures
        outputs = database.mongo["outputs"]
        assert outputs.count_documents({}) == status.total
        assert len(outputs.distinct("uuid")) == status.total
        done = Counter(
            launch["fw_id"]
            for launch in database.mongo["launches"].find({"state": "COMPLETED"}, ["fw_id"])
        )
        assert set(done.values()) == {1}, "every job completed exactly once"
        assert len(done) == status.total
        _check_results(directory, database)

        # A second run reports that the campaign is finished.
        started = time.monotonic()
        process = _start(directory)
        assert process.wait(timeout=60) == 0
        assert "is finished; nothing to do" in (directory.parent / "quickstart.log").read_text()
        assert time.monotonic() - started < 60.0

        _check_commands(directory)
    finally:
        server.stop()


def _check_results(directory: Path, database: GlassDatabase) -> None:
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["campaign"] == CAMPAIGN
    assert set(summary["n_frames"]) == SUBSETS
    assert summary["fireworks"] == {"COMPLETED": database.status(CAMPAIGN).total}
    assert set(summary["test_rmse"]) == {
        "energy_mev_per_atom",
        "force_mev_per_angstrom",
        "virial_mev_per_atom",
    }
    assert summary["scaled_down"] is True
    assert summary["wall_seconds"] > 0
    assert "not DFT" in summary["method"]

    # The files agree with the documents.
    from ase.io import read

    from mgflows.nep.results import parity

    train, test = read(directory / "train.xyz", ":"), read(directory / "test.xyz", ":")
    assert len(train) + len(test) == sum(summary["n_frames"].values())
    for atoms in test:
        atoms.info["subset"] = atoms.info.get("config_type", "")
    errors = parity((directory / "nep.txt").read_text(), test).overall
    assert errors.energy_rmse == pytest.approx(
        summary["test_rmse"]["energy_mev_per_atom"], rel=1e-3
    )
    assert errors.force_rmse == pytest.approx(
        summary["test_rmse"]["force_mev_per_angstrom"], rel=1e-3
    )

    potentials = database.potentials(CAMPAIGN)
    assert sorted((each.generation, each.split) for each in potentials) == [
        (0, "family"),
        (0, "paper"),
        (1, "family"),
        (1, "paper"),
    ]
    by_role = {(each.generation, each.split): each for each in potentials}
    final = by_role[1, "family"]
    assert final.potential_id == summary["potential_id"]
    for split, errors in summary["test_rmse_by_split"].items():
        assert errors["force_mev_per_angstrom"] == pytest.approx(
            by_role[1, split].errors["test"]["all"].force_rmse, abs=0.01
        )
    # Each continues from its own split, because the other one has seen its test set.
    for split in ("family", "paper"):
        assert by_role[1, split].started_from == by_role[0, split].potential_id
    (validation,) = database.validations(CAMPAIGN)
    assert validation.potential_id == final.potential_id
    assert database.campaign(CAMPAIGN).scaled_down
    assert final.scaled_down
    assert database.supercooling(CAMPAIGN).groups

    report = (directory / "report.html").read_text()
    assert not re.search(r"""(?:src|href)\s*=\s*["']https?://""", report), (
        "the report needs no network"
    )
    assert "stand-in" in report


def _check_commands(directory: Path) -> None:
    """The three commands that the summary suggests work."""
    log = (directory.parent / "quickstart.log").read_text()
    commands = re.findall(r"^ {2}mgflows (.+)$", log, re.MULTILINE)[-3:]
    assert [command.split()[0] for command in commands] == ["status", "potentials", "export"]
    for command in commands:
        result = subprocess.run(
            [sys.executable, "-m", "mgflows", *command.split()],
            cwd=directory.parent,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
    assert (directory.parent / "frames" / "train.xyz").exists()

    # The example of docs/how_to/training.md for the data of a quickstart.
    example = Path(__file__).parents[2] / "docs" / "examples" / "staged_training.py"
    command = [sys.executable, str(example), "--directory", str(directory), "--scale", "0.004"]
    result = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("batch") == 4


def test_the_number_of_workers_of_the_settings_is_kept(tmp_path, monkeypatch) -> None:
    from mgflows.machine.local_campaign import number_of_workers

    monkeypatch.chdir(tmp_path)
    cores = min(2, len(os.sched_getaffinity(0)))
    assert number_of_workers(Settings.load(tmp_path / "new"), None) == cores
    (tmp_path / "mgflows.yaml").write_text("n_workers: 7\n")
    assert number_of_workers(Settings.load(tmp_path / "new"), None) == 7
    assert number_of_workers(Settings.load(tmp_path), None) == 7
    assert number_of_workers(Settings.load(tmp_path), 3) == 3
