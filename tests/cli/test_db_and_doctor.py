from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from fireworks import Firework, FWorker

from mgflows.cli.db import db
from mgflows.cli.doctor import doctor
from mgflows.connections import open_database, open_launchpad
from mgflows.errors import InputError, ServiceError, install_command
from mgflows.launch import checks as checks_module
from mgflows.machine.mongod import PrivateMongod
from mgflows.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


def run(command: object, *arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


@pytest.mark.mongo
def test_start_status_stop(short_directory: Path) -> None:
    where = ("--directory", str(short_directory))
    assert run(db, "status", *where).exit_code == 1
    started = run(db, "start", *where)
    assert started.exit_code == 0
    assert PrivateMongod(short_directory).uri in started.output
    assert "already running" in run(db, "start", *where).output
    status = run(db, "status", "--json", *where)
    assert status.exit_code == 0
    assert json.loads(status.output)["pid"] == PrivateMongod(short_directory).pid()
    findings = {
        finding["check"]: finding for finding in json.loads(run(doctor, "--json", *where).output)
    }
    assert findings["job store"]["verdict"] == "ok"
    server = PrivateMongod(short_directory)
    with server.in_use():
        refused = run(db, "stop", *where)
        assert isinstance(refused.exception, ServiceError)
        assert "`mgflows run` or `mgflows quickstart` uses the server" in str(refused.exception)
        assert "--force" in refused.exception.hint
        assert server.pid() is not None
    assert "is stopped" in run(db, "stop", *where).output
    with server.in_use():
        run(db, "start", *where)
        stopped = run(db, "stop", "--force", *where).output
        assert "is stopped; the campaign that used it ends" in stopped
    assert "was not running" in run(db, "stop", *where).output


@pytest.mark.mongo
def test_a_server_with_a_running_job_is_not_stopped(short_directory: Path) -> None:
    where = ("--directory", str(short_directory))
    server = PrivateMongod(short_directory)
    settings = Settings(directory=short_directory)
    settings.write(short_directory / "mgflows.yaml")
    server.start()
    try:
        launchpad = open_launchpad(settings)
        launchpad.reset("", require_password=False)
        launchpad.add_wf(Firework([], name="a job"))
        launchpad.checkout_fw(FWorker(), str(short_directory))
        refused = run(db, "stop", *where)
        assert "the server is used by 1 job of a worker" in str(refused.exception)
        assert server.pid() is not None
    finally:
        assert run(db, "stop", "--force", *where).exit_code == 0
    assert server.pid() is None


def test_db_refuses_settings_that_name_a_server(tmp_path: Path) -> None:
    (tmp_path / "mgflows.yaml").write_text("mongodb_uri: mongodb://me:secret@host/")
    result = run(db, "start", "--directory", str(tmp_path))
    assert isinstance(result.exception, InputError)
    assert "secret" not in str(result.exception)


@pytest.mark.mongo
def test_doctor_leaves_nothing_in_the_database(settings: Settings) -> None:
    settings.write(settings.directory / "mgflows.yaml")
    result = run(doctor, "--directory", str(settings.directory))
    assert result.exit_code == 0, result.output
    database = open_database(settings)
    assert all(database[name].count_documents({}) == 0 for name in database.list_collection_names())


@pytest.mark.faults
def test_doctor_reports_faults_and_fixes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        checks_module,
        "installed_version",
        lambda name: None if name in ("nep-adapters", "calorine", "pymongo", "gpaw") else "1.0",
    )
    path = tmp_path / "mgflows.yaml"
    path.write_text("mongodb_uri: mongodb://me:secret@127.0.0.1:9/\nnep_command: no-such-nep")
    path.chmod(0o644)
    result = run(doctor, "--json", "--directory", str(tmp_path))
    assert result.exit_code == 1
    assert "secret" not in result.output
    findings = {finding["check"]: finding for finding in json.loads(result.output)}
    assert {check for check, finding in findings.items() if finding["verdict"] == "error"} == {
        "packages",
        "configuration",
        "database",
    }
    assert findings["configuration"]["hint"] == f"chmod 600 {path}"
    assert findings["packages for training potentials"]["hint"] == install_command("train")
    assert findings["trainer"]["verdict"] == "warning"
    assert all(finding["hint"] for finding in findings.values() if finding["verdict"] != "ok")


def test_doctor_survives_a_bad_configuration(tmp_path: Path) -> None:
    (tmp_path / "mgflows.yaml").write_text("n_worker: 1")
    result = run(doctor, "--directory", str(tmp_path))
    assert result.exit_code == 1
    assert "did you mean n_workers?" in result.output
