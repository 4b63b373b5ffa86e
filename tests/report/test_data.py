from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from monty.json import jsanitize

from mgflows.cli.report import report
from mgflows.connections import open_database, open_job_store
from mgflows.database import GlassDatabase
from mgflows.errors import InputError
from mgflows.report import ReportData
from mgflows.schemas.labels import Frame, LabelDocument
from mgflows.structures.similarity import compare_structures

if TYPE_CHECKING:
    from pathlib import Path

    from mgflows.settings import Settings

pytestmark = pytest.mark.mongo


class Filler:
    """Put documents into the store as jobs do."""

    def __init__(self, settings: Settings, campaign: str) -> None:
        self.store = open_job_store(settings)
        self.store.connect()
        self.campaign = campaign
        self.count = 0

    def add(
        self, document: Any, *, stage: str, save: dict[str, list[str]] | None = None, **tags: str
    ) -> None:
        self.count += 1
        entry = {
            "uuid": f"job-{self.count:03d}",
            "index": 1,
            "output": jsanitize(document, strict=True, enum_values=True, allow_bson=True),
            "completed_at": f"2026-11-23T10:{self.count // 60:02d}:{self.count % 60:02d}",
            "metadata": {"mgflows": {"campaign": self.campaign, "stage": stage, **tags}},
        }
        self.store.update(entry, key=["uuid", "index"], save=save)


def relaxed_label(full: ReportData) -> LabelDocument:
    from ase.build import bulk
    from ase.calculators.emt import EMT

    atoms = bulk("Cu", cubic=True) * 2
    moved = atoms.copy()
    moved.rattle(0.05, seed=3)
    similarity = compare_structures(atoms, moved)
    moved.calc = EMT()
    dataset = full.dataset
    assert dataset is not None
    return LabelDocument.from_atoms(
        moved,
        dataset.fingerprint,
        dataset.provenance,
        relaxation={
            "energy_per_atom_before": 0.4,
            "relative_volume": 1.0,
            "displacements": similarity.displacements.tolist(),
            "delta_cb": similarity.delta_cb,
            "delta_cb_affine": similarity.delta_cb_affine,
        },
    )


@pytest.fixture
def stored(settings: Settings, full: ReportData) -> Settings:
    name = full.campaign.campaign
    open_database(settings)["campaigns"].insert_one(full.campaign.model_dump())
    filler = Filler(settings, name)
    for family, sample in full.samples:
        filler.add(sample, stage="sampling", family=family)
    filler.add(full.supercooling, stage="sampling")
    label = relaxed_label(full)
    filler.add(label, stage="labels", subset="dft_minimized", family=full.samples[5][0])
    as_sampled = LabelDocument.from_atoms(
        Frame.from_atoms(label.frames[0].to_atoms()).to_atoms(), label.fingerprint, label.provenance
    )
    filler.add(as_sampled, stage="labels", subset="lj_surrogate", family=full.samples[5][0])
    for dataset in full.datasets:
        filler.add(dataset, stage="training", save={"data": ["frames"]})
    for potential in full.potentials:
        filler.add(potential, stage="training", save={"data": ["parity"]})
    for quench in full.quenches:
        filler.add(quench, stage="feedback")
    for validation in full.validations:
        filler.add(validation, stage="validation")
    other = full.campaign.model_copy(update={"campaign": "another"})
    open_database(settings)["campaigns"].insert_one(other.model_dump())
    states = [("sampling", "COMPLETED"), ("labels", "COMPLETED"), ("training", "FIZZLED")]
    open_database(settings)["fireworks"].insert_many(
        [
            {
                "fw_id": i,
                "name": stage,
                "state": state,
                "launches": [],
                "spec": {"mgflows": {"campaign": name, "stage": stage}, "group": f"{stage}/"},
            }
            for i, (stage, state) in enumerate(states)
        ]
    )
    return settings


def test_everything_is_read_from_the_database(stored: Settings, full: ReportData) -> None:
    data = ReportData.from_database(GlassDatabase(stored), full.campaign.campaign)
    assert data.campaign == full.campaign
    assert sorted(data.samples, key=lambda item: item[0]) == sorted(
        full.samples, key=lambda item: item[0]
    )
    assert data.supercooling is not None
    assert full.supercooling is not None
    assert data.supercooling.model_dump() == full.supercooling.model_dump()
    assert [frame.subset for frame in data.frames] == ["lj_surrogate", "dft_minimized"]
    assert data.quenches == full.quenches
    assert data.validations == full.validations
    assert [p.potential_id for p in data.potentials] == [p.potential_id for p in full.potentials]
    assert data.fireworks == {"COMPLETED": 2, "FIZZLED": 1}
    assert [name for name, _ in data.failures] == ["training"]


def test_a_relaxation_is_joined_with_its_sample(stored: Settings, full: ReportData) -> None:
    data = ReportData.from_database(GlassDatabase(stored), full.campaign.campaign)
    family, sample = full.samples[5]
    (record,) = data.relaxations
    assert (record.family, record.n_sweeps, record.energy_lj) == (
        family,
        sample.n_sweeps,
        sample.energy_lj,
    )
    assert record.energy_before == 0.4
    assert len(record.displacements) == 32
    assert data.energy_records == [(sample.n_sweeps, sample.energy_lj, record.energy_after)]


def test_only_the_potential_that_is_shown_has_its_parity_loaded(
    stored: Settings, full: ReportData
) -> None:
    data = ReportData.from_database(GlassDatabase(stored), full.campaign.campaign)
    assert data.best_potential == full.best_potential
    assert [bool(p.parity) for p in data.potentials] == [
        p == full.best_potential for p in full.potentials
    ]


def test_costs_are_summed_over_the_documents(stored: Settings, full: ReportData) -> None:
    data = ReportData.from_database(GlassDatabase(stored), full.campaign.campaign)
    # Each document took 31 s of wall and 30 s of processor time, and all began at the same moment.
    assert [(cost.stage, cost.n_jobs) for cost in data.costs] == [
        ("sampling", 13),
        ("labels", 2),
        ("training", 5),
        ("feedback", 3),
        ("validation", 1),
    ]
    assert data.costs[0].wall_seconds == pytest.approx(13 * 31.0)
    assert data.costs[2].cpu_seconds == pytest.approx(5 * 30.0)
    assert data.wall_seconds == pytest.approx(31.0)


def test_a_campaign_of_which_nothing_has_run(stored: Settings) -> None:
    data = ReportData.from_database(GlassDatabase(stored), "another")
    # Only what does not depend on the campaign: the shipped measured values of its alloy.
    assert {each.quantity for each in data.experiments} >= {"bulk_modulus", "shear_modulus"}
    assert replace(data, experiments=[]) == ReportData(campaign=data.campaign)


def test_an_unknown_campaign_is_refused(stored: Settings) -> None:
    with pytest.raises(InputError, match="quickstart-cuzral, another"):
        ReportData.from_database(GlassDatabase(stored), "cuzrall")


def test_the_command_writes_the_file(stored: Settings, tmp_path: Path) -> None:
    stored.write(tmp_path / "mgflows.yaml")
    output = tmp_path / "out.html"
    result = CliRunner().invoke(
        report,
        ["another", "--directory", str(tmp_path), "--output", str(output)],
        catch_exceptions=False,
    )
    assert result.exit_code == 0
    assert str(output) in result.output
    assert "another" in output.read_text()
