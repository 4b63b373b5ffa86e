"""``mgflows validate --submit`` on a real database: a worker, failed samples, later samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from ase.build import bulk
from ase.io import write

from mgflows.cli.main import main
from mgflows.connections import open_job_store
from mgflows.eam import stand_in_setfl
from mgflows.schemas.comparison import ComparisonDocument
from mgflows.schemas.fields import without_class_keys
from tests.helpers.workers import run_worker

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.database import Database

    from mgflows.settings import Settings

pytestmark = [pytest.mark.mongo, pytest.mark.slow]


def compared(settings: Settings) -> ComparisonDocument:
    """The newest comparison in the store."""
    store = open_job_store(settings)
    store.connect()
    found = store.query({"output.@class": ComparisonDocument.__name__}, load=True)
    documents = [ComparisonDocument.model_validate(without_class_keys(d["output"])) for d in found]
    return max(documents, key=lambda document: document.provenance.created_at)


def test_a_submitted_validation_runs_fails_in_part_and_grows(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    settings.write(tmp_path / "mgflows.yaml")
    atoms = bulk("Cu", "fcc", a=3.9, cubic=True).repeat(2)
    atoms.symbols[::2] = "Zr"
    atoms.rattle(0.2, seed=1)
    write(tmp_path / "glass.xyz", atoms)
    table = stand_in_setfl(tmp_path / "model.eam.alloy")
    command = ["validate", "stand-in", "--against", f"eam:table={table}", "--suite", "tiny"]
    command += ["--glasses", str(tmp_path / "glass.xyz"), "--submit", "peers", "-C", str(tmp_path)]

    def submit(*more: str) -> None:
        with pytest.raises(SystemExit) as end:
            main([*command, *more])
        assert end.value.code in (0, None)

    submit()
    states = [fw["state"] for fw in database.fireworks.find({}, {"state": 1})]
    assert sorted(states) == ["READY"] * 6
    # A file that the workers do not find: the samples of the other potential are averaged.
    table.rename(tmp_path / "away")
    assert "4 jobs done, 3 failed" in run_worker(settings, check=None).stderr
    states = [fw["state"] for fw in database.fireworks.find({}, {"state": 1})]
    assert sorted(states) == ["COMPLETED"] * 4 + ["FIZZLED"] * 3
    first = compared(settings)
    assert [(m.name, m.n_done, m.n_planned) for m in first.models] == [("stand-in", 3, 3)]
    assert first.models[0].estimates["density"].n_samples == 1

    (tmp_path / "away").rename(table)
    submit("--add-from", "1")
    run_worker(settings)
    second = compared(settings)
    assert [model.name for model in second.models] == ["stand-in", "table"]
    one, same = (model.estimates["density"] for model in second.models)
    assert (one.n_samples, same.n_samples) == (2, 1)
    assert one.value == pytest.approx(same.value, rel=0.05)
    assert "radial distribution" in second.curves["table"]
