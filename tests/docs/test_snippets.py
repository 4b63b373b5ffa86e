"""Snippets of the pages that are no tutorials run, on one small finished campaign.

Tutorials and the Python of the README are run by modules of their own.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import pytest
import yaml
from ase.io import write
from click.testing import CliRunner

from mgflows.cli.main import cli
from mgflows.connections import open_database
from mgflows.database import GlassDatabase
from mgflows.database.export import write_dataset
from mgflows.eam import stand_in_setfl
from mgflows.machine import PrivateMongod
from mgflows.nep import Committee, read_frames, write_frames
from mgflows.settings import Settings
from mgflows.surrogate import LennardJones
from mgflows.validation.experiments import load_curves, load_experiments
from tests.helpers.snippets import (
    INSTEAD,
    NOT_CODE,
    NOT_FOLLOWED,
    NOT_RUN,
    PRELUDES,
    PYTHON_NOT_RUN,
    ROOT,
    SHELLS,
    Snippet,
    commands,
    snippets,
)
from tests.helpers.stored_campaign import load_stored_campaign

if TYPE_CHECKING:
    from collections.abc import Iterator

QUICKSTART = "Cu46Zr46Al8-small"
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if page.parent.name not in ("tutorials", "images") and snippets(page)
]
FOLLOWED = [page for page in PAGES if page.relative_to(ROOT).as_posix() not in NOT_FOLLOWED]
FINDS_PROBLEMS = ("doctor", "heal", "validate")
"""Commands whose exit code is 1 if they find a problem."""
NEEDS_SHELL = re.compile(r"[|<>&;$~]")
"""What only a shell understands."""


@pytest.fixture(scope="module")
def workspace(mongod: PrivateMongod) -> Iterator[Path]:
    """A directory with a finished campaign in ``quickstart``, and the files that pages name."""
    folder = Path(tempfile.mkdtemp(prefix="mgt"))
    settings = Settings(
        directory=folder / "quickstart",
        mongodb_uri=mongod.uri,
        database_name=f"test_{uuid.uuid4().hex[:12]}",
    )
    settings.directory.mkdir()
    settings.write(settings.directory / "mgflows.yaml")
    mongo = open_database(settings)
    load_stored_campaign(mongo)
    mongo.campaigns.update_one({}, {"$set": {"campaign": QUICKSTART}})
    for path in ("metadata.mgflows.campaign", "output.campaign"):
        mongo.outputs.update_many({path: {"$exists": True}}, {"$set": {path: QUICKSTART}})
    mongo.fireworks.update_many({}, {"$set": {"spec.mgflows.campaign": QUICKSTART}})
    database = GlassDatabase(settings)
    potential = database.best_potential(QUICKSTART)
    write_dataset(database, potential.dataset_id, "family", folder / "quickstart")
    for place in ("quickstart/nep.txt", "nep.txt", "UNEP-v1.nep.txt"):
        (folder / place).write_text(potential.nep_txt)
    write_files(folder, [potential.nep_txt, database.potentials(QUICKSTART)[0].nep_txt])
    yield folder
    mongo.client.drop_database(settings.database_name)


def write_files(folder: Path, potentials: list[str]) -> None:
    """Write the files that pages take from elsewhere: structures, tables, a curve, a committee."""
    frames = read_frames(folder / "quickstart" / "test.xyz")
    relaxed = [atoms for atoms in frames if atoms.info["subset"] == "dft_minimized"]
    trained = read_frames(folder / "quickstart" / "train.xyz")
    crystal = min((atoms for atoms in trained if atoms.info["subset"] == "crystal"), key=len)
    for name, chosen in (
        ("glass.xyz", relaxed[:1]),
        ("glasses.xyz", relaxed[:2]),
        ("sample.xyz", [atoms for atoms in frames if atoms.info["subset"] == "lj_surrogate"][:1]),
        ("candidates.xyz", frames[:20]),
        ("cell.xyz", [crystal]),
        ("cuzr.xyz", [crystal]),
    ):
        write(folder / name, chosen, format="extxyz")
    glasses = [atoms for atoms in frames + trained if atoms.info["subset"] != "crystal"]
    write_frames(folder / "all.xyz", glasses[::4])
    for name in ("CuZrAl.eam.alloy", "ZrCuAl2011.eam.alloy"):
        stand_in_setfl(folder / name)
    for name in ("FOLDER", "QUICKSTART", "glass"):
        (folder / name).symlink_to("quickstart")
    r = 0.05 * np.arange(1, 301)
    np.savetxt(folder / "our_diffraction.dat", np.column_stack([r, 1.0 - np.exp(-((r / 2) ** 8))]))
    Committee(potentials).calibrated(frames[::6]).save(folder / "committee")


@pytest.fixture(autouse=True)
def folder(workspace: Path, mongod: PrivateMongod, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of its own for each page, with the files of the workspace."""
    here = Path(tempfile.mkdtemp(dir=workspace, prefix="p"))
    for path in workspace.iterdir():
        if path.name in ("quickstart", "committee") or path.is_symlink():
            (here / path.name).symlink_to(path)
        elif path.is_file():
            shutil.copy(path, here)
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("MGFLOWS_DIRECTORY", str(workspace / "quickstart"))
    monkeypatch.setenv("MONGODB_URI", mongod.uri)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    return here


def run_command(line: str) -> None:
    """Run a command line; commands of mgflows without importing everything again."""
    if not line.startswith("mgflows ") or NEEDS_SHELL.search(line):
        command = ["bash", "-euo", "pipefail", "-c", line]
        # readline sets COLUMNS in the environment of C, which subprocesses inherit otherwise.
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=120, env=dict(os.environ)
        )
        code, output = done.returncode, done.stdout + done.stderr
    else:
        words = shlex.split(line)[1:]
        result = CliRunner().invoke(cli, words, catch_exceptions=False)
        code, output = result.exit_code, result.output
    found = code == 1 and any(f"mgflows {word}" in line for word in FINDS_PROBLEMS)
    assert code == 0 or found, f"{line}\nended with {code}: {output}"


def parse_command(line: str) -> None:
    """Parse the options and values of a command of mgflows."""
    words = shlex.split(re.sub(r"^\S+=\S+ ", "", line))[1:]
    command: click.Command = cli
    while isinstance(command, click.Group):
        name = words.pop(0)
        found = command.get_command(click.Context(command), name)
        assert found is not None, line
        command = found
    command.make_context("mgflows", words)


def read_yaml(text: str, path: Path) -> None:
    """Read YAML as the program does that it is for."""
    content = yaml.safe_load(text)
    path.write_text(text)
    if isinstance(content, list):
        known = len(load_experiments(None)) + len(load_curves(None))
        assert len(load_experiments(path)) + len(load_curves(path)) == known + len(content)
    elif "species" in content:
        assert LennardJones.from_yaml(path).species == tuple(content["species"])
    else:
        # An unknown name would be refused.
        assert set(content) <= Settings.read(path).model_fields_set


def read_mongosh(text: str, database: Any) -> None:
    """Run ``db.COLLECTION.aggregate([...])`` of MongoDB's shell."""
    collection, pipeline = re.fullmatch(
        r"db\.(\w+)\.aggregate\((.*)\)\s*", text, re.DOTALL
    ).groups()
    stages = json.loads(re.sub(r"([{,]\s*)([$\w]+):", r'\1"\2":', pipeline))
    stages[0]["$match"]["metadata.mgflows.campaign"] = QUICKSTART
    rows = list(database[collection].aggregate(stages))
    assert {row["_id"] for row in rows} >= {"aimd", "lj_surrogate"}


def reason_not_to_run(line: str) -> str | None:
    return next((reason for start, reason in NOT_RUN.items() if line.startswith(start)), None)


def is_code(snippet: Snippet) -> bool:
    return not any(snippet.text.startswith(start) for start in NOT_CODE.get(snippet.page, ()))


@pytest.mark.slow
@pytest.mark.mongo
@pytest.mark.needs("lammps")
@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_snippet_of_a_page_runs(page: Path, folder: Path) -> None:
    name = page.relative_to(ROOT).as_posix()
    database = GlassDatabase(directory=folder / "quickstart")
    names: dict[str, Any] = {"__name__": "__main__", "database": database, "name": QUICKSTART}
    names["GPUMD"] = f"{sys.executable} {ROOT / 'tests' / 'helpers' / 'gpumd_stand_in.py'}"
    try:
        exec(PRELUDES.get(name, ""), names)
        for snippet in filter(is_code, snippets(page)):
            text = snippet.text
            for part, other in INSTEAD.get(name, {}).items():
                text = text.replace(part, other)
            run_snippet(snippet, text, names)
    finally:
        if (folder / "private").exists():
            PrivateMongod.from_settings(Settings.load(folder / "private")).stop()


def run_snippet(snippet: Snippet, text: str, names: dict[str, Any]) -> None:
    """Run a snippet whose text has been adapted."""
    if snippet.language == "python":
        # With the lines of the page in tracebacks.
        code = compile("\n" * (snippet.line - 1) + text, snippet.page, "exec")
        if snippet.page != "README.md" and not text.startswith(tuple(PYTHON_NOT_RUN)):
            exec(code, names)
    elif snippet.language == "yaml" or re.match(r"\w+: ", text):
        read_yaml(text, Path.cwd() / f"snippet-{snippet.line}.yaml")
    elif snippet.language == "javascript":
        read_mongosh(text, names["database"].mongo)
    else:
        assert snippet.language in (*SHELLS, "indented", ""), snippet
        changed = Snippet(snippet.page, snippet.line, snippet.language, text)
        for before, line in zip(commands(snippet), commands(changed), strict=True):
            if reason_not_to_run(before) is None:
                run_command(line)
            elif re.match(r"(\w+=\S+ )?mgflows ", line) and "&&" not in line:
                parse_command(line)


def test_what_is_not_run_or_replaced_is_in_the_pages() -> None:
    """The tables of exceptions hold nothing that the pages no longer contain."""
    found = [snippet for page in PAGES for snippet in snippets(page)]
    lines = [line for snippet in found for line in commands(snippet)]
    for start in NOT_RUN:
        assert any(line.startswith(start) for line in lines), start
    assert set(NOT_FOLLOWED) <= {page.relative_to(ROOT).as_posix() for page in PAGES}
    for start in PYTHON_NOT_RUN:
        assert any(s.language == "python" and s.text.startswith(start) for s in found), start
    for page, starts in NOT_CODE.items():
        for start in starts:
            assert any(s.page == page and s.text.startswith(start) for s in found), (page, start)
    for page, parts in INSTEAD.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        assert all(part in text for part in parts), page
