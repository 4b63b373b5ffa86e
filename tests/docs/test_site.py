"""The documentation site builds without a warning and contains every page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}


def pages_in(entry: object) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    values = entry.values() if isinstance(entry, dict) else entry
    return [page for value in values for page in pages_in(value)]


@pytest.fixture(scope="module")
def navigation() -> list[dict[str, object]]:
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]


def test_every_page_is_in_the_navigation_once(navigation) -> None:
    listed = pages_in(navigation)
    assert len(listed) == len(set(listed))
    written = {page for page in listed if not page.startswith("reference/api/")}
    assert written == PAGES


def test_every_page_has_a_title_and_text() -> None:
    for page in sorted(PAGES):
        title, _, text = (ROOT / "docs" / page).read_text().partition("\n")
        assert title.startswith("# "), page
        assert len(text.split()) > 30, page


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path, navigation) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for page in pages_in(navigation):
        html = page.removesuffix("index.md").removesuffix(".md") + "/index.html"
        assert (tmp_path / html.lstrip("/")).stat().st_size > 5000, page
    api = (tmp_path / "reference" / "api" / "surrogate" / "index.html").read_text()
    assert 'id="mgflows.surrogate.swap_monte_carlo.SwapMonteCarlo.run"' in api
    commands = (tmp_path / "reference" / "api" / "commands" / "index.html").read_text()
    assert 'id="mgflows-committee-train"' in commands
    assert "--accept-gate" in commands
    found = json.loads((tmp_path / "search" / "search_index.json").read_text())["docs"]
    assert any("supercooling" in entry["text"] for entry in found)
