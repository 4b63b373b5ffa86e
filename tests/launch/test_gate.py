"""Campaigns of several alloys behind their gates, on a real MongoDB with real workers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from mgflows import Alloy, CampaignMaker
from mgflows.cli.fitness import fitness as fitness_command
from mgflows.connections import open_database
from mgflows.database import GlassDatabase
from mgflows.errors import InputError
from mgflows.flows.labels import LabelFlowMaker
from mgflows.flows.sampling import SamplingFlowMaker
from mgflows.jobs.fitness import FitnessMaker
from mgflows.jobs.labels import AseLabelMaker, AseMethod, AseRelaxMaker
from mgflows.jobs.sampling import SwapMonteCarloMaker
from mgflows.launch import Advance, advance, submit_campaign, worker
from mgflows.report import ReportData
from mgflows.report.page import render_report
from mgflows.surrogate.correlation import FitnessLimits

if TYPE_CHECKING:
    from pathlib import Path

    from mgflows.settings import Settings

pytestmark = pytest.mark.mongo

EMT = AseMethod("ase.calculators.emt.EMT", description="effective medium theory")
ALLOYS = [
    Alloy({"Ni": 0.6, "Al": 0.4}, n_atoms=110, number_density=0.08),
    # Five components that are not in the paper: the surrogate comes from their crystals.
    Alloy(
        {"Pd": 0.3, "Ni": 0.3, "Cu": 0.2, "Pt": 0.1, "Al": 0.1}, n_atoms=110, number_density=0.08
    ),
]
N_SAMPLES = 10


def campaign(limits: FitnessLimits) -> CampaignMaker:
    """Samples and labels; later stages do not run here."""
    return CampaignMaker(
        name="gated",
        sampling_maker=SamplingFlowMaker(
            samples=((30, N_SAMPLES // 2), (300, N_SAMPLES // 2)),
            coolings=(),
            batched_sweeps=30,
            monte_carlo_maker=SwapMonteCarloMaker(equilibration_sweeps=50),
        ),
        label_maker=LabelFlowMaker(
            label_maker=AseLabelMaker(method=EMT),
            relax_maker=AseRelaxMaker(method=EMT, force_tolerance=2.0, stress_tolerance=10.0),
            heating_maker=None,
            volume_maker=None,
            elastic_maker=None,
            crystal_maker=None,
            relaxed_fraction=0.2,
            n_held_out=0,
            n_crystals=0,
            fitness_maker=FitnessMaker(n_pilots=4, minimum_labels=3, limits=limits),
        ),
        feedback_maker=None,
        validation_maker=None,
    )


def run(settings: Settings) -> list[Advance]:
    """Run everything up to the training; the state of the campaigns then."""
    fireworks, categories = open_database(settings)["fireworks"], ("sampling", "dft")
    while True:
        for category in categories:
            worker.work(settings, category=category)
        went_on = advance(settings)
        # Workers advance, too, and leave jobs of other categories.
        if not fireworks.count_documents({"state": "READY", "spec._category": {"$in": categories}}):
            return went_on


def labels(database: GlassDatabase, name: str) -> int:
    return len(database.frames(name, subset="lj_surrogate"))


def test_campaigns_of_several_alloys_pass_their_gates(settings: Settings, tmp_path: Path) -> None:
    makers = campaign(FitnessLimits(minimum_slope=-1e3, minimum_r2=-1.0, pressure=None)).for_alloys(
        ALLOYS
    )
    submit_campaign(makers, settings)
    run(settings)
    database = GlassDatabase(settings)
    settings.write(tmp_path / "mgflows.yaml")
    for maker in makers:
        gate = database.gate(maker.name)
        assert gate is not None
        assert gate.passed
        assert gate.n_samples == 4
        assert labels(database, maker.name) == N_SAMPLES
        record = database.fitness(maker.name)
        assert record.n_samples == N_SAMPLES, "the record is of all labels, the gate of the first"
        assert [rate.n_samples for rate in record.rates] == [N_SAMPLES // 2] * 2
        similarity = database.similarity(maker.name)
        assert similarity is not None
        assert similarity.overall.n_samples == 2

        result = CliRunner().invoke(
            fitness_command,
            [maker.name, "--directory", str(tmp_path), "--json"],
            catch_exceptions=False,
        )
        shown = json.loads(result.output, parse_constant=pytest.fail)
        assert shown["fitness"] == record.model_dump()
        assert shown["gate"]["passed"] is True
        printed = (
            CliRunner()
            .invoke(
                fitness_command, [maker.name, "--directory", str(tmp_path)], catch_exceptions=False
            )
            .output
        )
        assert "gate open: over 4 samples" in printed

        data = ReportData.from_database(database, maker.name)
        assert [sample.energy_label for sample in data.labelled_samples] == [
            frame.energy_per_atom
            for family, _ in data.samples
            for frame in database.frames(maker.name, subset="lj_surrogate", family=family)
        ]
        page = render_report(data)
        assert "Label energy against surrogate energy" in page
        assert "Changes by relaxation, by cooling length" in page
        assert "was open" in page


def test_a_closed_gate_stops_one_campaign_and_can_be_overruled(settings: Settings) -> None:
    good, bad = campaign(
        FitnessLimits(minimum_slope=-1e3, minimum_r2=-1.0, pressure=None)
    ).for_alloys(ALLOYS)
    fitness_maker = FitnessMaker(
        n_pilots=4,
        minimum_labels=3,
        limits=FitnessLimits(minimum_slope=50.0, minimum_r2=-1.0, pressure=None),
    )
    bad = replace(bad, label_maker=replace(bad.label_maker, fitness_maker=fitness_maker))
    submit_campaign([good, bad], settings)
    stands = {each.campaign: each for each in run(settings)}
    database = GlassDatabase(settings)
    assert labels(database, good.name) == N_SAMPLES
    assert labels(database, bad.name) == 4
    gate = database.gate(bad.name)
    assert gate is not None
    assert not gate.passed
    (reason,) = [reason for reason in stands[bad.name].stopped if "gate" in reason]
    assert reason == f"the gate is closed: {gate.reason}"
    assert "must change by more than 50" in reason
    assert reason in database.status(bad.name).stopped

    rest = {
        each.subset: each
        for each in database.remaining_cost(bad.name)
        if each.stage == "labels" and each.subset
    }
    (pilots,) = [each for each in database.cost(bad.name) if each.subset == "lj_surrogate"]
    assert (rest["lj_surrogate"].n, rest["lj_surrogate"].basis) == (N_SAMPLES - 4, "measured")
    assert rest["lj_surrogate"].core_hours == pytest.approx(
        (N_SAMPLES - 4) * pilots.mean_core_seconds / 3600.0
    )
    # No relaxation is finished yet: its steps are assumed, at the cost of a pilot label.
    assert (rest["dft_minimized"].n, rest["dft_minimized"].basis) == (2, "pilots")
    assert rest["dft_minimized"].core_hours == pytest.approx(
        2 * fitness_maker.relaxation_steps * pilots.mean_core_seconds / 3600.0
    )

    assert advance(settings, bad.name, accept_gate=True)[0].n_added > 0
    run(settings)
    assert labels(database, bad.name) == N_SAMPLES
    assert {each.stage for each in database.remaining_cost(bad.name)} == {"training"}


def test_before_the_first_label_there_is_no_judgement(settings: Settings) -> None:
    maker = campaign(FitnessLimits()).for_alloys(ALLOYS[:1])[0]
    submit_campaign(maker, settings)
    database = GlassDatabase(settings)
    with pytest.raises(InputError, match="no sample of the surrogate has a label yet"):
        database.fitness(maker.name)
    assert database.gate(maker.name) is None
    assert database.similarity(maker.name) is None
