"""``mgflows validate --submit`` on a real database: a worker, failed samples, later samples."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from ase.build import bulk
from ase.io import write

from mgflows.cli.main import main
from mgflows.connections import open_job_store
from mgflows.database.validations import validation_progress
from mgflows.eam import stand_in_setfl
from mgflows.errors import InputError
from mgflows.flows.comparison import ComparisonFlowMaker
from mgflows.launch import submit_validation
from mgflows.launch.advancing import PLANS
from mgflows.md.potentials import EamPotential, StandInPotential
from mgflows.report.comparison import render_comparison
from mgflows.schemas.comparison import ComparisonDocument
from mgflows.schemas.fields import without_class_keys
from mgflows.validation.plan import PROTOCOLS
from tests.helpers.workers import run_worker

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms
    from pymongo.database import Database

    from mgflows.md.potentials import Potential
    from mgflows.settings import Settings

SHORT = """
import sys
from dataclasses import replace
from mgflows.launch import worker
from mgflows.validation.plan import PROTOCOLS
melts = dict(melt_temperatures=(2000.0,), n_melts=1, n_melts_most=3, melt_time=1.0)
short = dict(n_glasses=0, n_quenches=0, equilibration_time=0.05, hot_time=0.05, drift_time=0.02)
PROTOCOLS["tiny"] = replace(PROTOCOLS["tiny"], **short, **melts, melt_error=1e-6)
"""
"""Makes the suite tiny one of at most three melts, which never converge."""


pytestmark = [pytest.mark.mongo, pytest.mark.slow]


def compared(settings: Settings) -> ComparisonDocument:
    """The newest comparison in the store."""
    store = open_job_store(settings)
    store.connect()
    found = store.query({"output.@class": ComparisonDocument.__name__}, load=True)
    documents = [ComparisonDocument.model_validate(without_class_keys(d["output"])) for d in found]
    return max(documents, key=lambda document: document.provenance.created_at)


def test_a_submitted_validation_runs_fails_in_part_and_grows(
    settings: Settings, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.write(tmp_path / "mgflows.yaml")
    atoms = bulk("Cu", "fcc", a=3.9, cubic=True).repeat(2)
    atoms.symbols[::2] = "Zr"
    atoms.rattle(0.2, seed=1)
    write(tmp_path / "glass.xyz", atoms)
    table = stand_in_setfl(tmp_path / "model.eam.alloy")
    command = ["validate", "stand-in", "--against", f"eam:table={table}", "--suite", "tiny"]
    command += ["--glasses", str(tmp_path / "glass.xyz"), "--submit", "peers", "-C", str(tmp_path)]

    def submit(*more: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as end:
            main([*command, *more])
        assert (end.value.code or 0) == code
        return " ".join("".join(capsys.readouterr()).split())

    submit()
    states = [fw["state"] for fw in database.fireworks.find({}, {"state": 1})]
    assert sorted(states) == ["READY"] * 6
    # A file that the workers do not find: the samples of the other potential are averaged.
    table.rename(tmp_path / "away")
    assert "4 jobs done, 3 failed" in run_worker(settings, check=None).stderr
    states = [fw["state"] for fw in database.fireworks.find({}, {"state": 1})]
    assert sorted(states) == ["COMPLETED"] * 4 + ["FIZZLED"] * 3
    first = compared(settings)
    assert [(m.name, m.n_done, m.n_planned) for m in first.models] == [
        ("stand-in", 3, 3),
        ("table", 0, 3),
    ]
    (samples, reason), count = first.models[1].failures.items()
    assert samples == "soundness 1, glass 1 and quench 1"
    assert "model.eam.alloy cannot be read" in reason
    assert count == ("samples", "3 of 3 samples have no result")
    page = render_comparison(first.comparison(), "peers")
    assert "table: soundness 1, glass 1 and quench 1 failed" in page.lower()
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

    assert "peers has these samples already" in submit("--add-from", "1")
    comment, rest = table.read_text().split("\n", 1)
    table.write_text(f"{comment} changed\n{rest}")
    refused = submit("--add-from", "2", code=2)
    assert "samples of another potential with the name table" in refused


def test_a_further_potential_is_compared_with_the_earlier_ones(
    settings: Settings, tmp_path: Path
) -> None:
    glass = bulk("Cu", "fcc", a=3.9, cubic=True).repeat(2)
    glass.symbols[::2] = "Zr"
    glass.rattle(0.2, seed=1)
    stand_in_setfl(tmp_path / "table.eam.alloy")
    table = EamPotential(tmp_path / "table.eam.alloy")
    maker = ComparisonFlowMaker.of_suite("peers", "tiny")

    def is_new(*potentials: Potential) -> bool:
        return submit_validation(maker, potentials, [glass], settings).is_new

    assert is_new(StandInPotential())
    assert not is_new(StandInPotential())
    with pytest.raises(InputError, match="of stand-in already, but not of table"):
        is_new(StandInPotential(), table)
    assert is_new(table)
    assert not is_new(table)
    run_worker(settings)
    compared_names = {model.name for model in compared(settings).models}
    assert compared_names == {"stand-in", "table.eam.alloy"}


def test_other_glasses_under_the_same_name_are_refused(
    settings: Settings, database: Database
) -> None:
    def glasses(seed: int) -> list[Atoms]:
        found = []
        for number in range(2):
            atoms = bulk("Cu", "fcc", a=3.9, cubic=True).repeat(2)
            atoms.symbols[::2] = "Zr"
            atoms.rattle(0.2, seed=seed + number)
            found.append(atoms)
        return found

    def submit(given: list[Atoms], first: int = 1) -> int:
        maker = ComparisonFlowMaker.of_suite("peers", "tiny", first=first)
        submission = submit_validation(maker, [StandInPotential()], given, settings)
        return submission.n_added + submission.n_planned

    one, other = glasses(1), glasses(10)
    assert submit(one, first=0) == 4
    # None of the samples has run.
    with pytest.raises(InputError, match="its glass 1 is not the given one") as error:
        submit(other)
    assert error.value.message == (
        "the validation peers has other glasses: its glass 1 is not the given one (Cu16Zr16), nor "
        "is 1 more"
    )
    assert error.value.hint == (
        "give the glasses of peers in their order, or give this validation another name"
    )
    with pytest.raises(InputError, match=r"its glass 2 is not the given one \(Cu16Zr16\);"):
        submit([one[0], other[0]])
    assert database[PLANS].count_documents({}) == 1
    # Samples know their glass without the plan, to which earlier versions did not add the glasses.
    run_worker(settings)
    database[PLANS].update_many({}, {"$unset": {"glasses": ""}})
    with pytest.raises(InputError, match="its glass 1 is not the given one"):
        submit(other)
    assert submit(one[:1]) == 2
    run_worker(settings)
    assert compared(settings).models[0].estimates["density"].n_samples == 2
    # Samples of earlier versions have no digest.
    database.outputs.update_many({}, {"$unset": {"output.glass_digest": ""}})
    database[PLANS].update_many({}, {"$unset": {"glasses": ""}})
    assert submit(other, first=2) == 2


def test_melts_are_added_until_the_limit(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mgflows.validation.plan.PROTOCOLS", dict(PROTOCOLS))
    exec(SHORT, {})
    atoms = bulk("Cu", "fcc", a=4.05, cubic=True).repeat(2)
    atoms.symbols[::2] = "Zr"
    atoms.rattle(0.2, seed=1)
    table = stand_in_setfl(tmp_path / "model.eam.alloy")
    potentials = [StandInPotential(), EamPotential(table, "table")]
    submit_validation(ComparisonFlowMaker.of_suite("peers", "tiny"), potentials, [atoms], settings)
    table.unlink()
    path = settings.write(tmp_path / "mgflows.yaml")
    command = [sys.executable, "-c", f"{SHORT}\nsys.exit(worker.main())", "--settings", str(path)]
    subprocess.run(command, capture_output=True, timeout=120, check=False)
    fireworks = list(database.fireworks.find({}, ["name", "state", "spec"]))
    states = {fw["name"]: fw["state"] for fw in fireworks}
    assert states == {
        "stand-in soundness 1": "COMPLETED",
        "table soundness 1": "FIZZLED",
        "table melt 2000 K 1": "FIZZLED",
        "compare": "COMPLETED",
        # None of the potential without a viscosity.
        **{f"stand-in melt 2000 K {number}": "COMPLETED" for number in (1, 2, 3)},
    }
    assert [fw["name"] for fw in fireworks].count("compare") == 3
    assert {fw["spec"]["_category"] for fw in fireworks} == {"md"}
    groups = validation_progress(database, "peers").groups
    assert [(g.potential, g.kind, g.total) for g in groups if g.completed > 1] == [
        ("stand-in", "melt 2000 K", 3),
        ("", "compare", 3),
    ]
    last = compared(settings)
    one, other = last.models
    assert (one.n_done, one.n_planned) == (4, 4)
    estimate = one.estimates["viscosity 2000 K"]
    assert estimate.n_samples == 3
    assert "; 3 of at most 3 runs; " in estimate.verdict
    # The reasons of the first collector are in the last document.
    assert "model.eam.alloy cannot be read" in other.failures["soundness 1 and melt 2000 K 1"]
