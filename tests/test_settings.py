from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from mgflows.connections import open_database, open_job_store, open_launchpad
from mgflows.errors import InputError, ServiceError
from mgflows.settings import Settings, materials_project_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("MGFLOWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def put(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mgflows.yaml"
    path.write_text(text)
    return path


def test_the_nearest_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.load().database_name == "mgflows"
    assert Settings.load().directory == tmp_path / "home" / ".mgflows"
    put(tmp_path / "home" / ".config" / "mgflows", "database_name: home")
    assert Settings.load().database_name == "home"
    put(tmp_path / "here", "database_name: here")
    assert Settings.load().database_name == "here"
    put(tmp_path / "variable", "database_name: variable")
    monkeypatch.setenv("MGFLOWS_DIRECTORY", str(tmp_path / "variable"))
    assert Settings.load().database_name == "variable"
    monkeypatch.setenv("MGFLOWS_CONFIG", str(put(tmp_path / "config", "database_name: config")))
    assert Settings.load().database_name == "config"
    put(tmp_path / "given", "database_name: given")
    settings = Settings.load(tmp_path / "given")
    assert settings.database_name == "given"
    assert settings.directory == tmp_path / "given"


def test_a_file_above_the_working_directory_is_found_unless_it_is_another_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path, "database_name: above\ndirectory: .")
    assert Settings.find_file() == path
    assert Settings.load().directory == tmp_path
    put(tmp_path / "here", "database_name: here")
    assert Settings.load().database_name == "here"
    (tmp_path / "here" / "mgflows.yaml").unlink()
    user = os.getuid()
    monkeypatch.setattr("mgflows.settings.os.getuid", lambda: user + 1)
    assert Settings.find_file() is None


def test_variables_override_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "here", "n_workers: 3\nnep_command: gpumd-nep")
    monkeypatch.setenv("MGFLOWS_N_WORKERS", "7")
    assert (Settings.load().n_workers, Settings.load().nep_command) == (7, "gpumd-nep")
    assert Settings.read(path).n_workers == 3


def test_a_written_file_is_read_back_and_private(tmp_path: Path) -> None:
    settings = Settings(
        directory=tmp_path / "a" / "b", mongodb_uri="mongodb://me:secret@host/", n_workers=5
    )
    path = settings.write(tmp_path / "a" / "mgflows.yaml")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Settings.read(path) == settings
    assert [p.name for p in path.parent.iterdir()] == ["mgflows.yaml"]
    moved = tmp_path / "moved"
    (tmp_path / "a").rename(moved)
    assert Settings.read(moved / "mgflows.yaml").directory == moved / "b"


def test_a_password_is_never_shown() -> None:
    settings = Settings(mongodb_uri="mongodb://me:secret@host:1234/?tls=true")
    assert settings.uri == "mongodb://me:secret@host:1234/?tls=true"
    assert settings.shown_uri == "mongodb://me:***@host:1234/?tls=true"
    assert "secret" not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n_worker: 3", r"unknown setting 'n_worker'; did you mean n_workers\?"),
        (
            "n_workers: many",
            "the setting n_workers in .*mgflows.yaml is 'many', which cannot be used",
        ),
        ("n_workers: 0", "the setting n_workers in .* is 0, which cannot be used"),
        ("a: [1", "is not YAML at line"),
        ("n_workers: 2\nn_workers: 3", "cannot be used at line 2: 'n_workers' is given twice"),
        ("just words", "must hold `name: value` lines"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    put(tmp_path / "here", text)
    with pytest.raises(InputError, match=message):
        Settings.load()


def test_a_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MGFLOWS_MONGO_URI", "mongodb://host")
    with pytest.raises(
        InputError, match=r"MGFLOWS_MONGO_URI is not a setting.*did you mean MGFLOWS_MONGODB_URI\?"
    ):
        Settings.load()


def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MGFLOWS_N_WORKERS", "many")
    with pytest.raises(InputError, match="in the variable MGFLOWS_N_WORKERS is 'many'"):
        Settings.load()


def test_a_missing_config_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MGFLOWS_CONFIG", "/nowhere/mgflows.yaml")
    with pytest.raises(InputError, match=r"MGFLOWS_CONFIG names /nowhere/mgflows\.yaml"):
        Settings.load()


def test_an_unwritable_place_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match="cannot be written"):
        Settings().write(tmp_path / "file" / "mgflows.yaml")


def test_a_missing_database_is_reported_with_the_command_that_starts_it(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="mgflows db start --directory"):
        open_database(Settings(directory=tmp_path))


def test_an_absent_server_is_reported_soon(tmp_path: Path) -> None:
    settings = Settings(mongodb_uri="mongodb://me:secret@127.0.0.1:9/")
    with pytest.raises(
        ServiceError, match=r"mongodb://me:\*\*\*@127\.0\.0\.1:9/ does not answer"
    ) as caught:
        open_database(settings, wait_seconds=0.5)
    assert "secret" not in str(caught.value)


def test_importing_mgflows_reads_no_settings() -> None:
    code = (
        "import sys, mgflows\n"
        "sys.exit('pydantic_settings' in sys.modules or 'mgflows.settings' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.mongo
def test_the_stores_share_one_database_with_journalled_writes(settings: Settings) -> None:
    store = open_job_store(settings)
    store.connect()
    document = {
        "uuid": "u",
        "index": 1,
        "output": {"values": [1.0]},
        "metadata": {},
        "hosts": [],
        "name": "n",
        "completed_at": "",
    }
    store.update(document, save={"data": ["values"]})
    assert store.get_output("u", load=True) == {"values": [1.0]}
    database = open_database(settings)
    assert {"outputs", "outputs_blobs.files", "outputs_blobs.chunks"} <= set(
        database.list_collection_names()
    )
    assert database.client.write_concern.document == {"j": True}
    assert store.docs_store._collection.write_concern.document == {"j": True}
    assert open_launchpad(settings).db.client.write_concern.document == {"j": True}


def test_a_named_directory_never_uses_the_database_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in the current directory, or the one of MGFLOWS_CONFIG, is a group's server."""
    text = "mongodb_uri: mongodb://user:secret@production.example:27017/\n"
    put(tmp_path / "here", f"{text}database_name: production\nn_workers: 7\n")
    mine = tmp_path / "mine"
    mine.mkdir()
    settings = Settings.load(mine)
    assert settings.is_private
    assert (settings.directory, settings.database_name) == (mine, "mgflows")
    # Other settings of this machine are kept.
    assert settings.n_workers == 7
    with pytest.raises(ServiceError, match=r"names another server: leave out --directory"):
        open_database(settings)
    assert not Settings.load().is_private
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MGFLOWS_CONFIG", str(tmp_path / "here" / "mgflows.yaml"))
    assert Settings.load(mine).is_private
    # A file in the directory is read alone.
    put(mine, "mongodb_uri: mongodb://mine.example/\n")
    assert Settings.load(mine).uri == "mongodb://mine.example/"
    assert Settings.load(mine).n_workers == 2


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://me:sec/ret@127.0.0.1:27017/",
        "mongodb://me:sec@ret@127.0.0.1:27017/",
        "mongodb://me:sec%ret@127.0.0.1:27017/",
        "mongodb://me:sec:ret@127.0.0.1:27017/",
        "mongodb://me:sec?ret@127.0.0.1:27017/",
        "me:secret@127.0.0.1:27017",
        "mongodb://me:secret@127.0.0.1:port/",
        "mongodb://me:secret@127.0.0.1:99999/",
        "mongodb://me:secret@[::1/",
        "http://me:secret@127.0.0.1/",
        "mongodb://",
        "",
    ],
)
@pytest.mark.parametrize("connect", [open_database, open_job_store, open_launchpad])
def test_a_uri_that_cannot_be_parsed_is_one_sentence_without_the_password(
    uri: str, connect: Callable[[Settings], object]
) -> None:
    with pytest.raises(ServiceError, match=r"the database at .* does not answer") as caught:
        connect(Settings(mongodb_uri=uri))
    assert "must be escaped" in str(caught.value)
    text = "".join(traceback.format_exception(caught.value))
    assert not re.search("sec.?ret", text.replace("secret()", ""))


@contextmanager
def without_root() -> Iterator[None]:
    """Let the mode of a folder count, also where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A folder that this user may not enter."""
    folder = tmp_path / "closed"
    put(folder, "database_name: hidden")
    (folder / "mongodb" / "data").mkdir(parents=True)
    folder.chmod(0)
    with without_root():
        yield folder
    folder.chmod(0o700)


def test_a_folder_of_another_user_is_named_in_one_sentence(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"closed/mgflows\.yaml cannot be reached: Permission"):
        Settings.load(closed)
    with pytest.raises(InputError, match=r"cannot be reached: .*ask the owner"):
        _ = Settings(directory=closed).uri
    monkeypatch.setenv("MGFLOWS_DIRECTORY", str(closed))
    with pytest.raises(InputError, match="cannot be reached"):
        Settings.load()
    monkeypatch.delenv("MGFLOWS_DIRECTORY")
    monkeypatch.setenv("MGFLOWS_CONFIG", str(closed / "mgflows.yaml"))
    with pytest.raises(InputError, match="cannot be reached"):
        Settings.load()


def test_a_home_that_cannot_be_entered_is_skipped(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(closed))
    assert Settings.find_file() is None


def test_the_key_of_the_materials_project_is_a_setting_or_its_own_variable(monkeypatch):
    monkeypatch.delenv("MP_API_KEY", raising=False)
    assert materials_project_key(Settings()) is None
    monkeypatch.setenv("MP_API_KEY", "from its client")
    assert materials_project_key(Settings()) == "from its client"
    monkeypatch.setenv("MGFLOWS_MATERIALS_PROJECT_KEY", "own")
    assert materials_project_key(Settings()) == "own"
    assert "own" not in repr(Settings())


@pytest.mark.parametrize("value", [".inf", "1e999", ".nan"])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "mgflows.yaml").write_text(f"ping_seconds: {value}\n")
    with pytest.raises(InputError, match=r"ping_seconds .* finite number"):
        Settings.load(tmp_path)
