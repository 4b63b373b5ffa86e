"""Tutorials run from top to bottom in a clean directory, as a reader would run them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.calculators.emt import EMT

from mgflows.connections import open_database
from mgflows.flows.tags import all_jobs
from mgflows.machine import PrivateMongod
from mgflows.settings import Settings
from tests.helpers.stored_campaign import load_stored_campaign

if TYPE_CHECKING:
    from pymongo.database import Database

QUICKSTART = "Cu46Zr46Al8-small"
DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def follow(page: Path) -> dict[str, object]:
    """Run the blocks of a page in order; the names that its Python blocks define."""
    names: dict[str, object] = {"__name__": "__main__"}
    for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "sh":
            subprocess.run(["bash", "-euo", "pipefail", "-c", text], check=True)
        else:
            exec(compile(text, page.name, "exec"), names)
    return names


@pytest.fixture(autouse=True)
def _clean_directory(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")


@pytest.mark.slow
def test_sample_a_glass() -> None:
    names = follow(DOCS / "tutorials" / "first_glass.md")
    assert len(names["glasses"]) == 2
    fast, slow = (np.array(names["energies"][n]) for n in (100, 10_000))
    assert 0.05 < fast.mean() - slow.mean() < 0.4
    assert slow.max() < fast.min()
    assert 2.3 < names["peak"] < 3.0


@pytest.mark.slow
@pytest.mark.mongo
@pytest.mark.timeout(1200)
def test_your_alloy(tmp_path) -> None:
    try:
        names = follow(DOCS / "tutorials" / "your_alloy.md")
    finally:
        PrivateMongod.from_settings(Settings.load(tmp_path / "zr")).stop()
    summary = names["summary"]
    assert summary["fireworks"].keys() == {"COMPLETED"}
    assert "Johnson" in summary["method"]
    assert summary["scaled_down"] is True
    assert summary["potential_id"] == names["potential"].potential_id
    assert names["potential"].nep_txt.startswith("nep4_zbl 3 Zr Cu Ni")
    assert (tmp_path / "zr" / "report.html").stat().st_size > 0
    # Relaxations expand the samples by about a fifth.
    assert len(names["densities"]) == 3
    assert all(6.5 < density < 8.2 for density in names["densities"])


@pytest.mark.slow
@pytest.mark.mongo
@pytest.mark.timeout(1200)
def test_your_data(short_directory, monkeypatch) -> None:
    # The socket of a database needs a short path.
    monkeypatch.chdir(short_directory)
    try:
        names = follow(DOCS / "tutorials" / "your_data.md")
    finally:
        PrivateMongod.from_settings(Settings.load(short_directory / "data")).stop()
    assert names["dataset"].n_frames == 24
    assert names["dataset"].counts["glass"]["frames"] == 12
    assert names["potential"].parameters.neuron == 10
    assert len(names["table"]) == 24
    assert (short_directory / "export" / "train.xyz").read_text().count("REF_energy") > 10


@pytest.fixture
def quickstart(settings: Settings, database: Database, tmp_path: Path) -> None:
    """The directory ``quickstart``, as a small quickstart leaves it, but with a stored campaign."""
    settings.write(tmp_path / "quickstart" / "mgflows.yaml")
    load_stored_campaign(database)
    database.campaigns.update_one({}, {"$set": {"campaign": QUICKSTART}})
    for path in ("metadata.mgflows.campaign", "output.campaign"):
        database.outputs.update_many({path: {"$exists": True}}, {"$set": {path: QUICKSTART}})
    database.fireworks.update_many({}, {"$set": {"spec.mgflows.campaign": QUICKSTART}})


@pytest.mark.slow
@pytest.mark.mongo
@pytest.mark.needs("lammps")
@pytest.mark.usefixtures("quickstart")
def test_use_the_potential(tmp_path) -> None:
    names = follow(DOCS / "tutorials" / "use_the_potential.md")
    assert abs(names["error"]) < 100
    assert 5.5 < names["density"] < 9.0
    assert (tmp_path / "lammps" / "glass.data").exists()
    assert "npt_scr 2000 300" in (tmp_path / "gpumd" / "run.in").read_text()


@pytest.mark.slow
@pytest.mark.mongo
@pytest.mark.usefixtures("quickstart")
def test_active_learning(tmp_path) -> None:
    names = follow(DOCS / "tutorials" / "active_learning.md")
    assert len(names["candidates"]) == 5
    assert len(names["selected"]) == 2
    assert all(atoms.info["family"] == "melt" for atoms in names["selected"])
    # Two of five thermal configurations are now known: their errors fall at once.
    assert names["after"].force_rmse < names["before"].force_rmse
    stages = [job.metadata["mgflows"]["stage"] for job in all_jobs(names["flow"])]
    assert stages.count("feedback") > 0
    assert names["campaign"].label_budget == 100


@pytest.mark.slow
@pytest.mark.mongo
@pytest.mark.usefixtures("quickstart")
def test_ask_the_database(tmp_path) -> None:
    names = follow(DOCS / "tutorials" / "ask_the_database.md")
    assert len(names["frames"]) == 15
    assert names["fit"].r2 == pytest.approx(0.95, abs=0.01)
    assert names["dataset"].n_frames == 359
    assert names["counts"]["validation"] == 1
    assert len((tmp_path / "distorted.csv").read_text().splitlines()) == 73


@pytest.mark.slow
@pytest.mark.mongo
def test_your_labels(short_directory, monkeypatch) -> None:
    monkeypatch.chdir(short_directory)
    try:
        names = follow(DOCS / "tutorials" / "your_labels.md")
    finally:
        PrivateMongod.from_settings(Settings.load(short_directory / "gpaw")).stop()
    calculator = EMT()
    cell = names["cell"].copy()
    cell.calc = calculator
    assert names["label"].energy == pytest.approx(cell.get_potential_energy(), abs=1e-9)
    assert names["label"].fingerprint.description == "effective medium theory"
    assert names["campaign"].label_maker.label_maker.method == names["gpaw"]


@pytest.mark.slow
@pytest.mark.mongo
def test_laptop_to_cluster(settings, short_directory, monkeypatch) -> None:
    monkeypatch.chdir(short_directory)
    monkeypatch.setenv("MONGODB_URI", settings.mongodb_uri.get_secret_value())
    # The page uses the default name; the server is shared by the tests.
    monkeypatch.setenv("MGFLOWS_DATABASE_NAME", settings.database_name)
    try:
        follow(DOCS / "tutorials" / "laptop_to_cluster.md")
    finally:
        PrivateMongod.from_settings(Settings.load(short_directory / "cuzr")).stop()
    database = open_database(settings)
    assert database.fireworks.count_documents({"state": "READY"}) > 5
    written = Settings.read(short_directory / "config" / "mgflows.yaml")
    assert written.resources["dft"].cores == 64
    assert "cpu" in (short_directory / "config" / "my_qadapter_sampling.yaml").read_text()


def test_every_tutorial_has_a_test() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")
    for page in (DOCS / "tutorials").glob("*.md"):
        assert f'"{page.name}"' in tested, page.name
