"""The live view of a stored campaign, with a failed job and a running one."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
import threading
import uuid
import zipfile
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
from jobflow import Flow
from matplotlib import image

from mgflows.connections import open_database
from mgflows.database import GlassDatabase
from mgflows.eam import stand_in_setfl
from mgflows.errors import InputError, ServiceError
from mgflows.flows.comparison import ComparisonFlowMaker
from mgflows.jobs.progress import JobProgress
from mgflows.launch import submit
from mgflows.md.potentials import EamPotential
from mgflows.report.web import downloads, reports
from mgflows.report.web.access import is_loopback
from mgflows.report.web.app import create_app
from mgflows.report.web.server import open_server
from mgflows.schemas.comparison import ValidationSampleDocument
from mgflows.schemas.provenance import record_provenance
from mgflows.settings import Settings
from tests.helpers import jobs
from tests.helpers.browser import browse
from tests.helpers.calculators import disordered_atoms
from tests.helpers.stored_campaign import CAMPAIGN, load_stored_campaign
from tests.helpers.workers import run_worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask.testing import FlaskClient

    from mgflows.machine.mongod import PrivateMongod

pytestmark = pytest.mark.mongo

SECRET = "hunter2-hunter2"
REASON = f"mongodb://glass:{SECRET}@node7:27017/ does not answer <now>"
TOKEN = "correct-horse-battery-staple"
HOME = f"/campaigns/{CAMPAIGN}/"
VALIDATION = "against-eam"


class Links(HTMLParser):
    """Addresses that a page names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for key, value in attributes if key in ("href", "src")]


@pytest.fixture(scope="module")
def site(mongod: PrivateMongod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a database with the stored campaign, a failed job and a running one."""
    settings = Settings(
        directory=tmp_path_factory.mktemp("site"),
        mongodb_uri=mongod.uri,
        database_name=f"test_{uuid.uuid4().hex[:12]}",
        max_quick_failures=20,
    )
    mongo = open_database(settings)
    load_stored_campaign(mongo)
    journal = str(settings.directory / "journal")
    flow = Flow([jobs.fail(journal, "bad", REASON), jobs.add(journal, "slow", 1.0, 2.0)])
    flow.update_metadata(
        {"mgflows": {"campaign": CAMPAIGN, "stage": "labels", "subset": "distorted"}}
    )
    submit(flow, settings, part="more")
    submit_validation(settings)
    run_worker(settings, check=None)
    interrupt_validation(settings, mongo)
    # The other job has ended: put it back to where it was while it ran.
    running = fw_id_of(mongo, "add")
    launch = mongo.launches.find_one({"fw_id": running})
    assert launch is not None
    JobProgress("steps", Path(launch["launch_dir"]))(300, 1000, "25 meV/Å")
    for collection in (mongo.fireworks, mongo.launches):
        collection.update_one({"fw_id": running}, {"$set": {"state": "RUNNING"}})
    yield settings
    mongo.client.drop_database(settings.database_name)


def submit_validation(settings: Settings) -> None:
    """Submit a validation whose potential is no longer there when its jobs run."""
    table = stand_in_setfl(settings.directory / "peer.eam.alloy")
    maker = ComparisonFlowMaker.of_suite(VALIDATION, "tiny")
    submit(
        maker.make([EamPotential(table, label="peer")], [disordered_atoms()]), settings, part="1"
    )
    table.unlink()


def interrupt_validation(settings: Settings, mongo: Any) -> None:
    """Give two of the failed samples the state of a running and of an incomplete one."""
    failed, running, done = (
        mongo.fireworks.find_one({"name": f"peer {kind} 1"})
        for kind in ("glass", "quench", "soundness")
    )
    assert failed["state"] == "FIZZLED"
    launch = mongo.launches.find_one({"fw_id": running["fw_id"]})
    JobProgress("steps", Path(launch["launch_dir"]))(5, 20, "")
    for firework, state in ((running, "RUNNING"), (done, "COMPLETED")):
        mongo.fireworks.update_one({"fw_id": firework["fw_id"]}, {"$set": {"state": state}})
    with record_provenance() as provenance:
        pass
    sample = ValidationSampleDocument(
        validation=VALIDATION, potential="peer", potential_digest="0", suite="tiny",
        kind="soundness", index=0, n_atoms=48, composition={"Cu": 0.5, "Zr": 0.5}, engine="ase",
        values={}, failures={"dimers": "Cu-Zr attracts below 1.5 A"}, seed=1, provenance=provenance,
    )  # fmt: skip
    stored = sample.model_dump() | {"@class": type(sample).__name__}
    mongo.outputs.insert_one(
        {"uuid": "sample", "index": 1, "output": stored}
        | {"metadata": {"mgflows": {"campaign": VALIDATION, "stage": "validation"}}}
    )


def fw_id_of(mongo: Any, name: str) -> int:
    return mongo.fireworks.find_one({"name": name})["fw_id"]


@pytest.fixture
def database(site: Settings) -> GlassDatabase:
    return GlassDatabase(site)


@pytest.fixture
def client(database: GlassDatabase) -> FlaskClient:
    return create_app(database).test_client()


def text_of(client: FlaskClient, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, (address, answer.text)
    return re.sub(r"\s+", " ", answer.text)


def test_every_link_works_shows_no_password_and_changes_nothing(
    client: FlaskClient, database: GlassDatabase
) -> None:
    before = database.mongo.command("dbHash")["md5"]
    todo, seen = ["/"], set()
    while todo:
        address = todo.pop().partition("#")[0]
        # Of the structures of a kind, and of the archives of a format, one is enough.
        kind = re.sub(r"(structure(\.xyz)?\?kind=\w+&key=).*", r"\1", address)
        kind = re.sub(r"\w+/([\w-]+\.zip)$", r"ID/\1", kind)
        if kind in seen or address.startswith("data:") or not address:
            continue
        seen.add(kind)
        if kind.startswith("/datasets/ID/"):
            continue  # these take seconds each
        answer = client.get(address)
        assert answer.status_code == 200, address
        assert SECRET.encode() not in answer.data, address
        if answer.mimetype == "text/html":
            found = Links(answer.text).found
            assert not [link for link in found if "://" in link], address
            todo += found if not address.endswith("/report") else []
    assert database.mongo.command("dbHash")["md5"] == before
    potential = database.best_potential(CAMPAIGN)
    expected = {
        HOME,
        f"{HOME}report",
        f"{HOME}structures?kind=aimd",
        f"{HOME}structure?kind=samples&key=",
        f"{HOME}structure.xyz?kind=mlip_feedback&key=",
        f"{HOME}jobs/{fw_id_of(database.mongo, 'fail')}",
        f"/validations/{VALIDATION}/",
        f"/validations/{VALIDATION}/jobs/{fw_id_of(database.mongo, 'peer glass 1')}",
        f"/potentials/{potential.potential_id}/",
        f"/datasets/{potential.dataset_id}/",
        "/potentials/ID/lammps.zip",
        "/datasets/ID/deepmd-family.zip",
        "/static/3Dmol-min.js",
    }
    assert expected <= seen


def test_a_campaign_at_a_glance(client: FlaskClient, database: GlassDatabase) -> None:
    overview = text_of(client, "/")
    assert "<b>59</b> of 61 jobs done" in overview
    assert '<span class="bad">1 failed</span>' in overview
    page = text_of(client, HOME)
    row = page[page.index(">distorted<") :].partition("</tr>")[0]
    assert 'aria-label="' in row
    assert re.search(r"\d+ completed, 1 running, 1 failed", row)
    assert "300 of 1,000 steps 25 meV/Å" in page
    assert "Stand-in EAM, not DFT." in page
    assert "ValueError: mongodb://glass:***@node7:27017/ does not answer &lt;now&gt;" in page
    spent = sum(each.core_hours for each in database.cost(CAMPAIGN))
    assert f"{3600 * spent / 60:.0f}"[:1] in page
    assert '<meta http-equiv="refresh" content="10">' in page


def test_a_failed_job_has_its_reason_and_logs(client: FlaskClient, database: GlassDatabase) -> None:
    page = text_of(client, f"{HOME}jobs/{fw_id_of(database.mongo, 'fail')}")
    assert "Traceback (most recent call last)" in page
    assert "raise ValueError(message)" in page
    assert "fizzled" in page
    assert "adding 1.0 and 2.0" in text_of(client, f"{HOME}jobs/{fw_id_of(database.mongo, 'add')}")


def test_a_validation_shows_its_samples_and_why_some_failed(
    client: FlaskClient, database: GlassDatabase
) -> None:
    assert "<b>1</b> of 4 jobs done" in text_of(client, "/comparisons")
    page = text_of(client, f"/validations/{VALIDATION}/")
    rows = {
        kind: page[page.index(f'<td class="text">{kind}</td>') :].partition("</tr>")[0]
        for kind in ("soundness", "glass", "quench", "not submitted yet")
    }
    assert 'aria-label="1 completed"' in rows["soundness"]
    assert 'aria-label="1 failed"' in rows["glass"]
    assert 'aria-label="1 running"' in rows["quench"]
    # The average of the samples does not start.
    assert 'aria-label="1 planned"' in rows["not submitted yet"]
    assert "3 of 3 upstream jobs failed" in page
    assert "5 of 20 steps" in page
    assert re.search(r"peer glass 1</a>.{0,200}peer\.eam\.alloy", page)
    assert "Cu-Zr attracts below 1.5 A" in page
    assert '<meta http-equiv="refresh" content="10">' in page
    glass = fw_id_of(database.mongo, "peer glass 1")
    page = text_of(client, f"/validations/{VALIDATION}/jobs/{glass}")
    assert "Traceback (most recent call last)" in page
    assert f'href="/validations/{VALIDATION}/"' in page
    answer = client.get("/validations/nope/")
    assert answer.status_code == 404
    assert f"the validations are: {VALIDATION}; submit one with" in answer.text


def test_a_job_of_another_campaign_is_not_found(client: FlaskClient) -> None:
    answer = client.get(f"{HOME}jobs/999999")
    assert answer.status_code == 404
    assert "has no job 999999; list its jobs with: mgflows status" in answer.text


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/campaigns/nope/", "the campaigns are: "),
        ("/campaigns/nope/report", "the campaigns are: "),
        (f"{HOME}structures?kind=nope", "it has samples, lj_surrogate"),
        (f"{HOME}structure?kind=aimd&key=nope", "choose one in the list"),
        (f"{HOME}structure?kind=aimd", "the address names no structure"),
        ("/datasets/nope/", "there is no dataset"),
        ("/potentials/nope/", "there is no potential"),
        ("/potentials/nope/nep.txt", "list them with: mgflows potentials"),
        ("/nope", "Error 404"),
    ],
)
def test_what_does_not_exist_is_explained(client: FlaskClient, address: str, words: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 404
    assert words in answer.text.replace("&#39;", "'")


def test_downloads_are_the_documents(
    client: FlaskClient, database: GlassDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    potential = database.best_potential(CAMPAIGN)
    answer = client.get(f"/potentials/{potential.potential_id}/nep.txt")
    assert answer.text == potential.nep_txt
    archive = client.get(f"/datasets/{potential.dataset_id}/extxyz-family.zip")
    with zipfile.ZipFile(io.BytesIO(archive.data)) as files:
        assert files.namelist() == ["DATASHEET.md", "test.xyz", "train.xyz"]
        n = sum(files.read(name).count(b"Lattice=") for name in ("test.xyz", "train.xyz"))
    assert n == database.dataset(potential.dataset_id).n_frames
    # The download begins before a frame is read.
    monkeypatch.setattr(downloads, "write_dataset", lambda *_, **__: pytest.fail("read too early"))
    pieces = downloads.dataset_archive(database, potential.dataset_id, "extxyz", "family")
    assert b"DATASHEET.md" in next(pieces)
    answer = client.get(f"/datasets/{potential.dataset_id}/nope-family.zip")
    assert answer.status_code == 404
    assert "choose one of extxyz, mace, ase-db, deepmd" in answer.text


def test_a_report_is_rendered_again_only_when_jobs_have_ended(
    database: GlassDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = []
    monkeypatch.setattr(reports, "render_report", lambda data: rendered.append(data) or "page")
    shown = reports.Reports(database)
    assert [shown.html(CAMPAIGN) for _ in range(3)] == ["page"] * 3
    assert len(rendered) == 1
    database.mongo.outputs.insert_one({"metadata": {"mgflows": {"campaign": CAMPAIGN}}, "x": 1})
    try:
        shown.html(CAMPAIGN)
        assert len(rendered) == 1
        monkeypatch.setattr(reports, "_SECONDS_BETWEEN_RENDERINGS", 0.0)
        shown.html(CAMPAIGN)
        assert len(rendered) == 2
    finally:
        database.mongo.outputs.delete_one({"x": 1})


def test_a_database_that_does_not_answer_is_explained(
    database: GlassDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pymongo.errors import ServerSelectionTimeoutError

    def fail(*_: object) -> None:
        raise ServerSelectionTimeoutError(REASON)

    monkeypatch.setattr(database, "campaigns", fail)
    answer = create_app(database).test_client().get("/")
    assert answer.status_code == 503
    assert "the database does not answer; check it with: mgflows doctor" in answer.text


def test_without_a_token_only_this_machine_is_named(client: FlaskClient) -> None:
    for host in ("localhost:8765", "127.0.0.1:1", "[::1]:8765", "LOCALHOST"):
        assert client.get("/", headers={"Host": host}).status_code == 200, host
    for host in ("attacker.example", "127.0.0.1.attacker.example:8765", "10.0.0.7:8765"):
        answer = client.get("/", headers={"Host": host})
        assert answer.status_code == 403, host
        assert CAMPAIGN not in answer.text


def test_a_token_opens_every_page_and_leaves_the_address(database: GlassDatabase) -> None:
    app = create_app(database, TOKEN)
    stranger = app.test_client()
    for address in ("/", HOME, f"{HOME}report", "/style.css", "/static/viewer.js", "/nope"):
        answer = stranger.get(address)
        assert answer.status_code == 401, address
        assert CAMPAIGN not in answer.text
    assert stranger.get("/?token=wrong").status_code == 403
    assert stranger.get("/", headers={"Cookie": f"mgflows={TOKEN}"}).status_code == 401
    answer = stranger.get("/", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    friend = app.test_client()
    answer = friend.get(f"{HOME}structures?kind=aimd&token={TOKEN}")
    assert (answer.status_code, answer.location) == (302, f"{HOME}structures?kind=aimd")
    assert TOKEN not in answer.headers["Set-Cookie"]
    assert "HttpOnly" in answer.headers["Set-Cookie"]
    assert friend.get(answer.location).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_written(client: FlaskClient, method: str) -> None:
    for address in ("/", HOME, f"{HOME}report", "/datasets"):
        assert client.open(address, method=method).status_code == 405


def test_browsers_are_forbidden_to_load_from_elsewhere(client: FlaskClient) -> None:
    for address in ("/", f"{HOME}structures", "/nope"):
        policy = client.get(address).headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy


def test_only_this_machine_reaches_a_loopback_address() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.1.2.3", "node7", "")))


def test_a_reachable_address_has_a_token(database: GlassDatabase) -> None:
    view = open_server(database, "0.0.0.0", 0)
    view.close()
    assert re.fullmatch(r"http://0\.0\.0\.0:\d+/\?token=[\w-]{32}", view.address)
    with pytest.raises(InputError, match="must have at least 16"):
        open_server(database, token="short")


def test_an_address_in_use_is_an_error(database: GlassDatabase) -> None:
    view = open_server(database, port=0)
    port = int(view.address.rsplit(":", 1)[1].strip("/"))
    try:
        with pytest.raises(ServiceError, match=f"port {port}: Address already in use; choose"):
            open_server(database, port=port)
    finally:
        view.close()


def test_the_command_serves_until_it_is_interrupted(site: Settings) -> None:
    command = [sys.executable, "-m", "mgflows", "serve", "--port", "0"]
    site.write(site.directory / "mgflows.yaml")
    server = subprocess.Popen(
        [*command, "-C", str(site.directory)], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        assert "read-only; Ctrl-C stops it" in server.stdout.readline()
        address = server.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        with urlopen(address, timeout=60) as answer:
            assert CAMPAIGN in answer.read().decode()
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=60) == 0
    finally:
        server.kill()
        server.wait()


@contextmanager
def serving(database: GlassDatabase) -> Iterator[str]:
    view = open_server(database, port=0)
    thread = threading.Thread(target=view.run, daemon=True)
    thread.start()
    try:
        yield view.address.rstrip("/")
    finally:
        view.close()


def colours(picture: Path, left: float, right: float, top: float, bottom: float) -> int:
    """Number of colours in a part of a picture; the borders are fractions of its size."""
    pixels = (255 * image.imread(picture)[..., :3]).astype(int)
    rows, columns = pixels.shape[:2]
    part = pixels[int(top * rows) : int(bottom * rows), int(left * columns) : int(right * columns)]
    return len({tuple(pixel) for pixel in part.reshape(-1, 3)[::7]})


@pytest.mark.slow
@pytest.mark.needs("chromium")
def test_pages_load_in_a_browser_without_errors(database: GlassDatabase, tmp_path: Path) -> None:
    frame = next(f for f in database.frames(CAMPAIGN) if f.subset == "aimd")
    with serving(database) as address:
        for page, name in (
            ("/", CAMPAIGN),
            (HOME, CAMPAIGN),
            (f"/validations/{VALIDATION}/", VALIDATION),
        ):
            document, picture = browse(f"{address}{page}", tmp_path)
            assert name in document
            assert colours(picture, 0, 1, 0, 1) > 20
        document, picture = browse(
            f"{address}{HOME}structure?kind=aimd&key={frame.frame_id}", tmp_path, 900
        )
        assert f'data-atoms="{frame.n_atoms}"' in document
        # Shaded spheres have hundreds of colours; text on its background a few.
        assert colours(picture, 0.1, 0.6, 0.25, 0.75) > 500
        document, picture = browse(f"{address}{HOME}report", tmp_path, 6000)
        figures = re.findall(r"<figure\b.*?</figure>", document, re.DOTALL)
        assert len(figures) >= 10
        assert all(figure.count("<path") + figure.count("<use") > 10 for figure in figures)
        assert colours(picture, 0, 1, 0.1, 1) > 100
