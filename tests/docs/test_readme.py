"""The Python examples of the README run in order, on a database."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers.stored_campaign import load_stored_campaign

if TYPE_CHECKING:
    from pymongo.database import Database

    from mgflows.settings import Settings

QUICKSTART = "Cu46Zr46Al8-small"
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
    # What the quickstart leaves.
    load_stored_campaign(database)
    database.campaigns.update_one({}, {"$set": {"campaign": QUICKSTART}})
    database.outputs.update_many({}, {"$set": {"metadata.mgflows.campaign": QUICKSTART}})
    names: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), names)
    assert database.fireworks.count_documents({"state": "READY"}) > 30
    assert len(names["deep"]) == len(names["atoms"])
    assert (names["potential"].generation, names["potential"].split) == (1, "family")
    assert names["campaign"].label_maker.label_maker.method.n_ranks == 32
