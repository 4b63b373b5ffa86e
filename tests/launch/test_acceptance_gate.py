"""A campaign and the acceptance of its potential: real trainings, quenches and workers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from jobflow import Flow

from mgflows import Alloy
from mgflows.cli.results import potentials as potentials_command
from mgflows.database import GlassDatabase
from mgflows.database.status import campaign_status
from mgflows.flows.feedback import FeedbackFlowMaker
from mgflows.flows.tags import set_campaign, tag
from mgflows.flows.training import DatasetInputs, TrainingFlowMaker
from mgflows.jobs.labels import AseLabelMaker, AseMethod
from mgflows.jobs.quench import QuenchMaker
from mgflows.jobs.training import TrainingMaker
from mgflows.launch import advance, submit, worker
from mgflows.nep import NepTrainer
from mgflows.schemas.labels import structure_from_atoms
from mgflows.validation.acceptance import AcceptanceSettings
from tests.helpers.stand_in_frames import PARAMETERS, SPECIES, frames

if TYPE_CHECKING:
    from pathlib import Path

    from mgflows.settings import Settings

pytestmark = [pytest.mark.mongo, pytest.mark.slow]

ALLOY = Alloy({"Cu": 0.5, "Zr": 0.5}, n_atoms=54, number_density=0.05)
N_FRAMES = 6


def campaign(name: str, n_frames: int, steps: int) -> Flow:
    """Labels of two families, a training, and a feedback stage behind its acceptance."""
    method = AseMethod.stand_in(SPECIES)
    label_maker = AseLabelMaker(method=method)
    labels = []
    for family in range(2):
        job = label_maker.make_set(
            [structure_from_atoms(frame) for frame in frames(family)[-n_frames:]]
        )
        tag(job, stage="labels", category="dft", subset="dft_minimized", family=f"f{family}")
        labels.append(job)
    acceptance = AcceptanceSettings(melt_time=0.4, n_glasses=1, n_frames=4)
    training = TrainingFlowMaker(
        training_maker=TrainingMaker(
            trainer=NepTrainer(steps=steps, reports=1),
            parameters=PARAMETERS,
            acceptance=acceptance,
            reference=method,
        )
    ).make(
        ALLOY,
        name,
        DatasetInputs([job.output for job in labels], held_out_families=["f1"]),
    )
    potential = training.output.potential
    feedback = FeedbackFlowMaker(
        quench_maker=QuenchMaker(equilibration_time=0.2, n_frames=N_FRAMES),
        label_maker=label_maker,
        cooling_rates=(4000.0,),
        sampler="swap",
    ).make(potential, [structure_from_atoms(frames(0)[-5])], gate=potential.uuid)
    flow = Flow([*labels, training, feedback], name=name)
    set_campaign(flow, name)
    return flow


def run(settings: Settings) -> None:
    """Run everything that can run; workers advance the campaign."""
    worker.work(settings)
    advance(settings)


def test_a_bad_potential_stops_the_campaign_with_the_reason(
    settings: Settings, tmp_path: Path
) -> None:
    submit(campaign("bad", 5, 60), settings)
    run(settings)
    database = GlassDatabase(settings)
    (potential,) = database.potentials("bad")
    assert potential.accepted is False
    assert potential.acceptance is not None
    assert "2000 K" in potential.acceptance.reason
    status = campaign_status(database.mongo, "bad")
    (reason, number) = next(iter(status.stopped.items()))
    assert number == 2
    assert potential.acceptance.reason in reason
    assert f"the potential {potential.potential_id} failed its acceptance" in reason
    assert "mgflows advance bad --accept-gate" in reason
    assert status.finished
    assert not database.quenches("bad")

    settings.write(tmp_path / "mgflows.yaml")
    arguments = ["--directory", str(tmp_path)]
    shown = CliRunner().invoke(potentials_command, arguments, catch_exceptions=False).output
    assert "failed its acceptance" in shown
    (listed,) = json.loads(CliRunner().invoke(potentials_command, [*arguments, "--json"]).output)
    assert listed["acceptance"]["passed"] is False

    (opened,) = advance(settings, "bad", accept_gate=True)
    assert opened.n_added == 2
    assert opened.stopped == {}


def test_a_good_potential_continues_and_its_frames_are_labelled(settings: Settings) -> None:
    submit(campaign("good", 41, 1500), settings)
    run(settings)
    database = GlassDatabase(settings)
    (potential,) = database.potentials("good")
    assert potential.acceptance is not None
    assert potential.accepted, potential.acceptance.reason
    assert potential.acceptance.reference.startswith("stand-in")
    status = campaign_status(database.mongo, "good")
    assert status.stopped == {}
    assert status.succeeded, status.failures
    (quench,) = database.quenches("good")
    assert quench.refused == []
    assert [count.elements for count in quench.exchanges] == [("Cu", "Zr")]
    assert 0 < quench.exchanges[0].accepted < quench.exchanges[0].trials
    assert quench.times == sorted(quench.times)
    assert quench.temperatures[0] == 2000.0
    assert quench.temperatures[-1] == 300.0
    labelled = database.frames("good", subset="mlip_feedback")
    assert len(labelled) == N_FRAMES
    assert len({frame.family for frame in labelled}) == 1
    assert all(abs(frame.pressure) < 10.0 for frame in labelled)
