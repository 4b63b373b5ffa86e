"""A small campaign's documents, made by jobflow's local manager in a real MongoDB."""

from __future__ import annotations

import pytest
from ase.build import bulk
from jobflow import Flow, run_locally

from mgflows.alloy import Alloy
from mgflows.database import GlassDatabase
from mgflows.flows.tags import set_campaign, tag
from mgflows.jobs.dataset import DatasetInputs, DatasetMaker
from mgflows.jobs.labels import AseLabelMaker, AseMethod
from mgflows.launch.campaigns import register_campaign
from mgflows.schemas.campaign import CampaignDocument
from mgflows.schemas.labels import structure_from_atoms

CAMPAIGN = "test-campaign"


@pytest.fixture
def campaign_document() -> CampaignDocument:
    return CampaignDocument(
        campaign=CAMPAIGN,
        alloy=Alloy({"Cu": 0.75, "Al": 0.25}, n_atoms=4, number_density=0.08),
        method="effective medium theory",
        settings={"scale": "test"},
        settings_digest="0123456789abcdef",
        scale="test",
        scaled_down="nothing but a test",
        planned={"labels": 10, "training": 1},
        created_at="2026-01-01T00:00:00+00:00",
        mgflows_version="0",
    )


@pytest.fixture
def glass_database(settings, campaign_document, tmp_path, monkeypatch) -> GlassDatabase:
    monkeypatch.chdir(tmp_path)
    database = GlassDatabase(settings)
    register_campaign(database.mongo, campaign_document)
    maker = AseLabelMaker(
        method=AseMethod("ase.calculators.emt.EMT", description="effective medium theory")
    )
    labels = []
    for number in range(5):
        for subset in ("lj_surrogate", "distorted"):
            structures = []
            for member in range(3):
                atoms = bulk("Cu", cubic=True)
                atoms.symbols[0] = "Al"
                atoms.rattle(0.1, seed=100 * number + 10 * (subset == "distorted") + member)
                structures.append(structure_from_atoms(atoms))
            job = maker.make_set(structures)
            labels.append(
                tag(job, stage="labels", category="dft", subset=subset, family=f"mc-{number}")
            )
    dataset = DatasetMaker().make(
        CAMPAIGN,
        ["Cu", "Al"],
        DatasetInputs([job.output for job in labels], held_out_families=["mc-4"]),
    )
    flow = Flow([*labels, tag(dataset, stage="training", category="sampling")])
    set_campaign(flow, CAMPAIGN)
    run_locally(flow, store=database.store, create_folders=True, ensure_success=True, log=False)
    return database
