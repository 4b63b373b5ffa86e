"""The Python examples of the README run in order, on a database."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pymongo.database import Database

    from mgflows.settings import Settings

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.mongo
@pytest.mark.slow
def test_the_examples_of_the_readme(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("glass", "quickstart"):
        (tmp_path / name).mkdir()
        settings.write(tmp_path / name / "mgflows.yaml")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), names)
    assert database.fireworks.count_documents({"state": "READY"}) > 50
    assert (names["deep"], names["atoms"], names["potentials"]) == ([], [], [])
    assert names["campaign"].label_maker.label_maker.method.n_ranks == 32
