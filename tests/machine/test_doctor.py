"""Each problem is created for real, and the doctor finds it."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from mgflows.connections import open_database
from mgflows.errors import InputError
from mgflows.launch import processes, programs
from mgflows.launch.checks import Finding, Verdict
from mgflows.machine import doctor
from mgflows.machine.configuration import write_configuration
from mgflows.machine.doctor import examine
from mgflows.machine.mongod import find_mongod
from mgflows.machine.stray_configuration import (
    check_fireworks_files,
    check_jobflow_store,
    check_rendered_files,
)
from mgflows.settings import Settings
from tests.helpers.programs import commands

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

pytestmark = [pytest.mark.mongo, pytest.mark.faults]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and current folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder)
    for name in (
        "FW_CONFIG_FILE",
        "JOBFLOW_CONFIG_FILE",
        "PMG_VASP_PSP_DIR",
        "ATOMATE2_CONFIG_FILE",
        "MONGOMOCK_SERVERSTORE_FILE",
    ):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def uncompressed(short_directory: Path) -> Iterator[Settings]:
    """A server with its default compressors."""
    data, sockets = short_directory / "data", short_directory / "run"
    data.mkdir()
    sockets.mkdir()
    executable, _ = find_mongod()
    socket = sockets / "mongod.sock"
    command = [
        str(executable),
        "--dbpath",
        str(data),
        "--bind_ip",
        str(socket),
        "--unixSocketPrefix",
        str(sockets),
    ]
    server = subprocess.Popen(
        [*command, "--wiredTigerCacheSizeGB", "0.25"], stdout=subprocess.DEVNULL
    )
    settings = Settings(
        directory=short_directory, mongodb_uri=f"mongodb://{str(socket).replace('/', '%2F')}"
    )
    open_database(settings, wait_seconds=30.0).client.close()
    yield settings
    server.terminate()
    server.wait()


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def test_a_stray_configuration_of_fireworks_is_found(
    settings: Settings, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [finding.verdict for finding in check_fireworks_files(settings)] == [Verdict.OK]
    meant = home / "campaign" / "FW_config.yaml"
    forgotten = home / ".fireworks" / "FW_config.yaml"
    for path, seconds in ((meant, 60), (forgotten, 3601)):
        path.parent.mkdir()
        path.write_text(yaml.safe_dump({"PING_TIME_SECS": seconds}))
    monkeypatch.setenv("FW_CONFIG_FILE", str(meant))
    (finding,) = check_fireworks_files(settings)
    assert finding.verdict is Verdict.ERROR
    assert finding.reason == f"{forgotten} overrides {meant}, which FW_CONFIG_FILE names"
    # What FireWorks itself uses.
    code = "from fireworks.fw_config import PING_TIME_SECS; print(PING_TIME_SECS)"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert printed.splitlines()[-1] == "3601"
    subprocess.run(finding.hint, shell=True, check=True)
    assert [finding.verdict for finding in check_fireworks_files(settings)] == [Verdict.OK]
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert printed.splitlines()[-1] == "60"


def test_a_launchpad_of_another_database(settings: Settings, home: Path) -> None:
    (home / ".fireworks").mkdir()
    (home / ".fireworks" / "my_launchpad.yaml").write_text("host: localhost\nname: fireworks\n")
    finding = by_check(check_fireworks_files(settings))["FireWorks LaunchPad"]
    assert finding.verdict is Verdict.ERROR
    assert "names the database 'fireworks'" in finding.reason


def test_the_store_that_jobflow_would_use(
    settings: Settings, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "kept in memory and lost" in check_jobflow_store(settings).reason
    path = home / "jobflow.yaml"
    monkeypatch.setenv("JOBFLOW_CONFIG_FILE", str(path))

    def write(database: str, data: dict | None) -> None:
        docs = {
            "type": "MongoStore",
            "database": database,
            "collection_name": "outputs",
            "uri": "mongodb://localhost",
        }
        path.write_text(
            yaml.safe_dump(
                {
                    "JOB_STORE": {
                        "docs_store": docs,
                        "additional_stores": {"data": data} if data else {"other": docs},
                    }
                }
            )
        )

    blobs = {
        "type": "GridFSStore",
        "database": settings.database_name,
        "collection_name": "outputs_blobs",
        "uri": "mongodb://localhost",
    }
    write(settings.database_name, blobs)
    assert check_jobflow_store(settings).verdict is Verdict.OK
    write("elsewhere", blobs)
    assert "names the database 'elsewhere'" in check_jobflow_store(settings).reason
    write(settings.database_name, None)
    assert "no additional store `data`" in check_jobflow_store(settings).reason
    path.write_text("JOB_STORE: {docs_store: {type: NoSuchStore}}")
    assert check_jobflow_store(settings).verdict is Verdict.ERROR


def test_a_vulnerable_server_that_compresses(uncompressed: Settings, settings: Settings) -> None:
    _, version = find_mongod()
    database = open_database(uncompressed)
    finding = doctor._flaw(database)
    database.client.close()
    assert finding.verdict is (Verdict.ERROR if doctor._is_flawed(version) else Verdict.OK)
    # The private one, of the same version, with compression off.
    database = open_database(settings)
    assert doctor._flaw(database).verdict is Verdict.OK
    database.client.close()


@pytest.mark.parametrize(
    ("version", "flawed"),
    [
        ((6, 0, 5), True),
        ((6, 0, 27), False),
        ((7, 0, 27), True),
        ((8, 2, 3), False),
        ((8, 3, 0), False),
        ((4, 2, 25), True),
        ((7, 3, 4), True),
    ],
)
def test_vulnerable_versions(version: tuple[int, int, int], flawed: bool) -> None:
    assert doctor._is_flawed(version) is flawed


@pytest.mark.parametrize(
    ("ahead", "verdict"), [(0.0, Verdict.OK), (10.0, Verdict.WARNING), (-200.0, Verdict.ERROR)]
)
def test_a_wrong_clock(
    settings: Settings,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    ahead: float,
    verdict: Verdict,
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime.now(UTC) + timedelta(seconds=ahead)

    monkeypatch.setattr(processes, "datetime", Clock)
    assert (
        doctor._clock(settings.model_copy(update={"ping_seconds": 30.0}), database).verdict
        is verdict
    )


def test_too_few_open_files(settings: Settings) -> None:
    code = "from mgflows.machine.doctor import _open_files; print(_open_files().verdict.value)"
    for hard, verdict in ((200, "error"), (2000, "warning")):
        done = subprocess.run(
            ["bash", "-c", f"ulimit -n {hard}; {sys.executable} -c '{code}'"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == verdict


def test_versions_of_the_submitter_and_of_the_workers(
    settings: Settings, database: Database
) -> None:
    assert doctor._submitters(database) == []
    database.campaigns.insert_one(
        {"campaign": "c1", "mgflows_version": "0.0.1", "created_at": "2026-01-01"}
    )
    database.outputs.insert_one(
        {"output": {"provenance": {"host": "node7", "packages": {"jobflow": "0.3.1"}}}}
    )
    (finding,) = doctor._submitters(database)
    assert finding.verdict is Verdict.WARNING
    assert "c1 was submitted with mgflows 0.0.1" in finding.reason
    assert "jobflow 0.3.1 on node7" in finding.reason


def test_disk_of_a_server_elsewhere(database: Database) -> None:
    database.things.insert_one({})
    (finding,) = doctor._disk(database)
    assert finding.verdict is not Verdict.ERROR
    assert "GiB free" in finding.reason


def test_potcars_as_pymatgen_sees_them(
    settings: Settings, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pymatgen.core import SETTINGS

    monkeypatch.delitem(SETTINGS, "PMG_VASP_PSP_DIR", raising=False)
    (finding,) = programs._potcars()
    assert (finding.verdict, finding.reason) == (
        Verdict.WARNING,
        "pymatgen has no PMG_VASP_PSP_DIR",
    )
    folder = home / "potentials"
    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", str(folder))
    assert "not a directory" in programs._potcars()[0].reason
    folder.mkdir()
    assert "none of the folders" in programs._potcars()[0].reason
    (folder / "POT_GGA_PAW_PBE_54").mkdir()
    assert "no POTCAR of Cu" in programs._potcars()[0].reason
    (folder / "POT_GGA_PAW_PBE_54" / "POTCAR.Cu_pv.gz").touch()
    assert programs._potcars()[0].verdict is Verdict.OK


def test_programs_of_a_category(
    settings: Settings, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs.checks, "installed_version", lambda name: None)
    monkeypatch.setenv("PATH", f"{home / 'bin'}:/nowhere")
    found = by_check(programs.check_programs(settings, "dft"))
    assert found["labels"].verdict is Verdict.ERROR
    assert found["mpi"].verdict is Verdict.WARNING
    assert "trainer" not in found
    assert all(finding.hint for finding in found.values() if finding.verdict is not Verdict.OK)
    assert (
        by_check(programs.check_programs(settings, "training"))["trainer"].verdict is Verdict.ERROR
    )
    assert by_check(programs.check_programs(settings))["trainer"].verdict is Verdict.WARNING
    commands(home / "bin", monkeypatch, **{"pw.x": "exit 0", "srun": "exit 0"})
    settings = settings.model_copy(update={"vasp_command": "srun -n 8 vasp_std"})
    found = by_check(programs.check_programs(settings, "dft"))
    assert "labels" not in found
    assert (
        found["labels with VASP"].reason
        == "vasp_std is not found (vasp_command is 'srun -n 8 vasp_std')"
    )
    commands(home / "bin", monkeypatch, vasp_std="exit 0")
    assert (
        "atomate2 would call 'vasp_std'"
        in by_check(programs.check_programs(settings, "dft"))["labels with VASP"].reason
    )
    monkeypatch.setenv("ATOMATE2_VASP_CMD", "srun -n 8 vasp_std")
    assert (
        by_check(programs.check_programs(settings, "dft"))["labels with VASP"].verdict is Verdict.OK
    )


def test_a_requested_gpu_that_is_missing(settings: Settings) -> None:
    from nep_adapters import backend_status

    if backend_status("cuda").available:
        pytest.skip("this machine has a GPU")
    requested = settings.model_copy(update={"nep_device": "cuda"})
    found = by_check(programs.check_programs(requested, "md"))["molecular dynamics"]
    assert found.verdict is Verdict.ERROR
    assert found.reason.startswith("nep_device is cuda, but ")
    assert "set nep_device to cpu" in found.hint
    assert (
        by_check(programs.check_programs(settings, "md"))["molecular dynamics"].verdict
        is Verdict.OK
    )


def test_a_batch_system_that_answers_and_one_that_does_not(
    settings: Settings, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands(
        home / "bin",
        monkeypatch,
        squeue="exit 0",
        sbatch="exit 0",
        sinfo="echo 'Unable to contact slurm controller' >&2; exit 1",
    )
    assert doctor._batch_system(settings, None)[0].verdict is Verdict.WARNING
    values = {
        "directory": settings.directory,
        "scheduler": "slurm",
        "resources": {"dft": {"queue": "big"}, "md": {"queue": "gpu,debug"}},
    }
    cluster = Settings.checked(values)
    assert doctor._batch_system(cluster, None)[0].verdict is Verdict.ERROR
    commands(home / "bin", monkeypatch, sinfo="echo debug; echo gpu; echo debug")
    assert doctor._batch_system(settings, None)[0].reason == "slurm, partitions debug, gpu"
    assert doctor._batch_system(cluster, None)[0].reason == "slurm has no partition 'big' (for dft)"
    assert doctor._batch_system(cluster, "md")[0].verdict is Verdict.OK
    monkeypatch.setenv("PATH", "/nowhere")
    assert (
        "commands are missing: squeue, sinfo, sbatch"
        in doctor._batch_system(cluster, None)[0].reason
    )


def test_rendered_files_that_differ_from_the_settings(settings: Settings, home: Path) -> None:
    folder = home / "cluster"
    folder.mkdir()
    assert check_rendered_files(None) == []
    uri = "mongodb://me:secret@db.example.org/?authSource=mgflows"
    cluster = Settings.checked({"directory": folder, "scheduler": "slurm", "mongodb_uri": uri})
    path = cluster.write(folder / "mgflows.yaml")

    def finding() -> Finding:
        (found,) = check_rendered_files(path)
        assert "secret" not in found.reason + found.hint
        return found

    assert finding().verdict is Verdict.ERROR
    assert finding().hint == f"mgflows init --directory {folder}"
    write_configuration(cluster, folder, sys.executable)
    assert finding().verdict is Verdict.OK, finding()
    file = folder / "jobflow.yaml"
    file.chmod(0o644)
    assert finding().hint == f"chmod 600 {file}"
    file.chmod(0o600)
    path.write_text(path.read_text().replace("ping_seconds: 30.0", "ping_seconds: 60.0"))
    assert "FW_config.yaml in" in finding().reason
    write_configuration(Settings.read(path), folder, "/opt/another/bin/python")
    assert "/opt/another/bin/python, which does not exist" in finding().reason


def test_all_checks_together(settings: Settings) -> None:
    settings.write(settings.directory / "mgflows.yaml")
    found = examine(settings.directory, "sampling")
    assert not [finding for finding in found if finding.verdict is Verdict.ERROR]
    assert {
        "python",
        "packages",
        "FireWorks configuration",
        "jobflow's own store",
        "open files",
        "clock",
        "job store",
    } <= set(by_check(found))
    assert "trainer" not in by_check(found)
    with pytest.raises(InputError, match="choose one of sampling"):
        examine(settings.directory, "cooking")


def test_series_are_those_of_the_constraints() -> None:
    lines = (Path(__file__).parents[2] / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split(";")[0].strip().split("==") for line in lines if "==" in line)
    for name, series in doctor._TESTED_SERIES.items():
        assert f"{pinned[name]}.".startswith(f"{series}."), name


@pytest.mark.needs("gpaw-mpi")
def test_gpaw_is_named_with_its_launcher_and_its_packages(monkeypatch):
    (found,) = [
        finding
        for finding in programs.check_programs(Settings())
        if finding.check == "labels with GPAW"
    ]
    assert found.verdict is Verdict.OK
    assert "mpiexec" in found.reason
    monkeypatch.setattr(programs.checks, "installed_version", lambda name: None)
    (found,) = [
        finding
        for finding in programs.check_programs(Settings())
        if finding.check == "labels with GPAW"
    ]
    assert found.verdict is Verdict.WARNING
    assert "libxc-dev" in found.hint
    assert "[gpaw]'" in found.hint
