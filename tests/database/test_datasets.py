"""Datasets as queries: frames by windows, frozen, merged, subtracted and split again."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from click.testing import CliRunner

from mgflows import units
from mgflows.cli.main import cli
from mgflows.database.imports import Reading
from mgflows.database.queries import FrameFilter
from mgflows.errors import InputError
from mgflows.jobs.freezing import FreezeSettings, MixedMethodsError
from mgflows.nep.frames import write_frames
from mgflows.schemas.sampling import SupercoolingDocument
from mgflows.schemas.training import DatasetDocument
from mgflows.validation.acceptance import AcceptanceSettings
from tests.helpers.emt_frames import PARAMETERS

pytestmark = pytest.mark.mongo

CAMPAIGN = "test-campaign"


def imported(database, tmp_path, structures, campaign=CAMPAIGN, offset=0.0, subset="mine"):
    """Import the label of effective medium theory, shifted by an energy."""
    frames = []
    for atoms in structures:
        copy = atoms.copy()
        copy.calc = EMT()
        results = {
            "energy": copy.get_potential_energy() + offset,
            "forces": copy.get_forces(),
            "stress": copy.get_stress(),
        }
        copy.calc = SinglePointCalculator(copy, **results)
        copy.info = {}
        frames.append(copy)
    path = tmp_path / "mine.xyz"
    write_frames(path, frames)
    database.import_frames([path], campaign, "EMT of my own", reading=Reading(subset=subset))


def test_windows_select_frames_by_their_properties(glass_database):
    records = glass_database.frames(CAMPAIGN, where=FrameFilter())
    assert len(records) == 30
    middle = float(np.median([record.energy_per_atom for record in records]))
    low = glass_database.frames(where=FrameFilter(energy=(None, middle)))
    high = glass_database.frames(where=FrameFilter(energy=(middle, None)))
    assert len(low) + len(high) == 30
    assert max(r.energy_per_atom for r in low) <= min(r.energy_per_atom for r in high)
    limit = float(np.median([record.maximum_force for record in records]))
    calm = glass_database.frames(where=FrameFilter(force=(None, limit), pressure=(-99.0, 99.0)))
    assert 10 < len(calm) < 20
    assert all(r.maximum_force <= limit and abs(r.pressure) <= 99.0 for r in calm)
    assert len(glass_database.frames(where=FrameFilter(composition={"Al": (0.2, 0.3)}))) == 30
    assert glass_database.frames(where=FrameFilter(composition={"Zr": (0.1, None)})) == []
    assert glass_database.frames(where=FrameFilter(elements=("Cu", "Zr"))) == []
    assert len(glass_database.frames(where=FrameFilter(formula="AlCu3"))) == 30
    with pytest.raises(InputError, match="the window of energy begins at 2 and ends at 1"):
        FrameFilter(energy=(2.0, 1.0))


def test_density_and_time_are_those_of_independent_formulas(glass_database):
    record = glass_database.frames(where=FrameFilter())[0]
    (atoms,) = glass_database.load([record])
    grams = atoms.get_masses().sum() * units.ATOMIC_MASS * 1e3
    assert record.density == pytest.approx(grams / (atoms.get_volume() * 1e-24))
    clock = {
        "output": {
            "@class": SupercoolingDocument.__name__,
            "families": {f"mc-{number}": 2.0 * number for number in range(5)},
            "seconds_per_reduced_time": 4.0e-13,
        },
        "uuid": "clock",
        "index": 1,
        "metadata": {"mgflows": {"campaign": CAMPAIGN, "stage": "sampling"}},
    }
    glass_database.mongo["outputs"].insert_one(clock)
    slow = glass_database.frames(CAMPAIGN, where=FrameFilter(seconds=(1e-6, None)))
    assert {frame.family for frame in slow} == {"mc-4"}, "10^8 t* are 4e-5 s, 10^6 are 4e-7 s"
    assert slow[0].seconds == pytest.approx(4e-5)


def test_summaries_of_earlier_versions_are_completed(glass_database):
    glass_database.mongo["outputs"].update_many(
        {"output.summaries": {"$exists": True}},
        {
            "$unset": {
                "output.summaries.$[].formula": "",
                "output.summaries.$[].volume": "",
                "metadata.sha256": "",
            }
        },
    )
    assert len(glass_database.frames(where=FrameFilter(density=(1.0, 20.0)))) == 30


def test_a_frozen_query_is_the_dataset_of_the_campaign(glass_database):
    (listed,) = glass_database.datasets()
    settings = FreezeSettings(held_out_families=("mc-4",))
    frozen = glass_database.freeze(glass_database.frames(CAMPAIGN), settings=settings)
    assert frozen.dataset_id == listed.dataset_id, "the same frames have the same id"
    assert len(glass_database.datasets()) == 1, "a known dataset is not stored again"

    part = glass_database.freeze(glass_database.frames(CAMPAIGN, subset="distorted"))
    assert part.n_frames == 15
    assert part.dataset_id != listed.dataset_id
    stored = glass_database.dataset(part.dataset_id)
    assert stored.frames == part.frames
    assert stored.campaign == CAMPAIGN
    assert glass_database.campaign(CAMPAIGN).history[-1].details["frames"] == 15


def test_references_are_the_energies_of_the_elements(glass_database):
    dataset = glass_database.freeze(glass_database.frames(CAMPAIGN))
    references = dataset.references
    assert references is not None
    assert not references.is_unique, "all frames have one composition"
    mean = np.mean([frame.energy_per_atom for frame in dataset.frames])
    fitted = 0.75 * references.fitted["Cu"] + 0.25 * references.fitted["Al"]
    assert fitted == pytest.approx(mean)
    spread = np.std([frame.energy_per_atom for frame in dataset.frames])
    assert references.spread == pytest.approx(1e3 * spread)


def test_merge_and_subtract_keep_the_sides_of_the_splits(glass_database):
    whole = glass_database.dataset(glass_database.datasets()[0].dataset_id)
    sides = {frame.frame_id: frame.test for frame in whole.frames}
    short = glass_database.subtract(whole, glass_database.frames(subset="distorted"))
    assert {frame.subset for frame in short.frames} == {"lj_surrogate"}
    assert all(frame.test == sides[frame.frame_id] for frame in short.frames)
    rest = glass_database.subtract(whole, short.frames)
    again = glass_database.merge([short, rest])
    assert again.dataset_id == whole.dataset_id, "parts make the whole"

    other = glass_database.split(rest, FreezeSettings(split_seed=5, test_fraction=0.4))
    assert other.n_frames == rest.n_frames
    with pytest.raises(InputError, match=r"is trained on in one of the datasets .* new split"):
        glass_database.merge([short, other])
    fresh = glass_database.merge([short, other], keep_splits=False)
    assert fresh.n_frames == 30
    for family in {frame.family for frame in fresh.frames}:
        assert len({f.test["family"] for f in fresh.frames if f.family == family}) == 1


def test_methods_never_mix_silently(glass_database, tmp_path):
    structures = [bulk("Cu", cubic=True) for _ in range(2)]
    for number, atoms in enumerate(structures):
        atoms.symbols[0] = "Al"
        atoms.rattle(0.2, seed=1000 + number)
    imported(glass_database, tmp_path, structures)
    frames = glass_database.frames(CAMPAIGN)
    assert len(frames) == 32
    with pytest.raises(MixedMethodsError, match=r"code: .*'imported'"):
        glass_database.freeze(frames)
    mixed = glass_database.freeze(frames, accept_methods=True)
    assert mixed.n_frames == 32
    assert any(each.startswith("code: ") for each in mixed.mixed_methods)


def test_a_structure_labelled_twice_enters_once_when_frozen(glass_database, tmp_path):
    """Otherwise the training would fail after all labels had been computed."""
    records = glass_database.frames(CAMPAIGN)
    structures = glass_database.load(records[:4])
    imported(glass_database, tmp_path, structures, offset=3e-6)
    frozen = glass_database.freeze(glass_database.frames(CAMPAIGN), accept_methods=True)
    assert frozen.n_frames == 30
    assert len(frozen.relabelled) == 4
    loaded = glass_database.load(frozen.frames)
    write_frames(tmp_path / "frozen.xyz", loaded)


def test_a_dataset_frozen_by_hand_trains_and_reports(glass_database, tmp_path, settings):
    from jobflow import Flow, run_locally

    from mgflows.flows.tags import set_campaign, tag
    from mgflows.jobs.training import TrainingMaker
    from mgflows.nep import NepTrainer
    from mgflows.report import ReportData, write_report
    from mgflows.schemas.training import PotentialDocument

    structures = [bulk("Cu", cubic=True) for _ in range(8)]
    for number, atoms in enumerate(structures):
        atoms.symbols[0] = "Al"
        atoms.rattle(0.1, seed=2000 + number)
    imported(glass_database, tmp_path, structures, campaign="foreign", subset="my_melts")
    dataset = glass_database.freeze(glass_database.frames("foreign"))
    parameters = replace(PARAMETERS, species=tuple(dataset.species))
    maker = TrainingMaker(
        trainer=NepTrainer(steps=20, reports=2),
        parameters=parameters,
        acceptance=AcceptanceSettings(melt_time=0.02, n_glasses=1),
    )
    job = tag(maker.make(dataset), stage="training", category="training")
    flow = Flow([job])
    set_campaign(flow, "foreign")
    run_locally(flow, store=glass_database.store, create_folders=True, ensure_success=True)
    (potential,) = glass_database.potentials("foreign")
    assert isinstance(potential, PotentialDocument)
    assert potential.dataset_id == dataset.dataset_id
    assert "my_melts" in potential.errors["test"]
    assert math.isfinite(potential.errors["test"]["all"].force_rmse)
    page = tmp_path / "report.html"
    write_report(ReportData.from_database(glass_database, "foreign"), page)
    assert "my_melts" in page.read_text()


def test_datasets_of_version_0_1_are_read(glass_database):
    values = glass_database.dataset(glass_database.datasets()[0].dataset_id).model_dump()
    for name in ("references", "mixed_methods"):
        del values[name]
    for frame in values["frames"]:
        del frame["structure_id"], frame["formula"]
    old = DatasetDocument.model_validate(values)
    assert glass_database.split(old, FreezeSettings(split_seed=3)).references is None


def test_the_recipes_of_the_documentation_work(glass_database, monkeypatch):
    import re
    from pathlib import Path

    page = Path(__file__).parents[2] / "docs" / "how_to" / "queries.md"
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    # No potential is trained here: tests/launch/test_changes.py queries the worst frames.
    blocks = [block for block in blocks if "worst_frames" not in block]
    assert len(blocks) == 4

    class Clock:
        seconds_per_reduced_time = 4e-13

    names = {"database": glass_database, "name": CAMPAIGN, "clock": Clock()}
    for block in blocks:
        exec(compile(block, page.name, "exec"), names)
    assert names["slow"] == names["same"] == []
    assert len(names["table"]) == 0
    assert len(names["energies"]) == 15
    assert names["hours"]["labels", "distorted"] > 0.0
    pipeline = re.search(
        r"^```javascript\n.*?aggregate\((.*?)\)\n```$", page.read_text(), re.S | re.M
    )
    text = re.sub(r"([{,] ?)([$_a-z]+):", r'\1"\2":', pipeline[1].replace("NAME", CAMPAIGN))
    import json

    rows = list(glass_database.mongo["outputs"].aggregate(json.loads(text)))
    assert {row["_id"]: row["frames"] for row in rows} == {"distorted": 15, "lj_surrogate": 15}


def test_datasets_are_made_on_the_command_line(glass_database, tmp_path):
    """Frozen by a query, subtracted, merged and split again."""
    glass_database.settings.write(tmp_path / "mgflows.yaml")

    def run(*arguments: str) -> dict:
        command = ["dataset", *arguments, "--directory", str(tmp_path), "--json"]
        done = CliRunner().invoke(cli, command)
        assert done.exit_code == 0, done.output
        return json.loads(done.output)

    whole = run("freeze", CAMPAIGN, "--test-fraction", "0.4", "--hold-out", "mc-4")
    part = run("freeze", CAMPAIGN, "--subset", "distorted", "--keep", whole["dataset_id"])
    assert (whole["n_frames"], part["n_frames"]) == (30, 15)
    rest = run("subtract", whole["dataset_id"], part["dataset_id"])
    assert set(rest["counts"]) == {"lj_surrogate"}
    merged = run("merge", part["dataset_id"], rest["dataset_id"])
    stored = glass_database.dataset(whole["dataset_id"])
    again = glass_database.dataset(merged["dataset_id"])
    assert [frame.frame_id for frame in again.frames] == [f.frame_id for f in stored.frames]
    assert [frame.test for frame in again.frames] == [frame.test for frame in stored.frames]
    divided = run("split", whole["dataset_id"], "--seed", "7", "--hold-out", "mc-0")
    assert divided["n_frames"] == 30
    held_out = [
        f for f in glass_database.dataset(divided["dataset_id"]).frames if f.family == "mc-0"
    ]
    assert all(frame.test["family"] for frame in held_out)
