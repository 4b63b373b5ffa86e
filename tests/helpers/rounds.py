"""A small campaign with rounds of active learning, and a label Maker that fails once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobflow import Flow

from mgflows import Alloy
from mgflows.flows.active_learning import ActiveLearningFlowMaker
from mgflows.flows.feedback import FeedbackFlowMaker
from mgflows.flows.tags import set_campaign, tag
from mgflows.flows.training import DatasetInputs, TrainingFlowMaker
from mgflows.jobs.committee import CommitteeMemberMaker
from mgflows.jobs.labels import AseLabelMaker, AseMethod
from mgflows.jobs.quench import QuenchMaker
from mgflows.jobs.structures import structure_job
from mgflows.jobs.training import TrainingMaker
from mgflows.nep import NepTrainer
from mgflows.schemas.labels import LabelDocument, structure_from_atoms
from tests.helpers.stand_in_frames import PARAMETERS, SPECIES, frames

if TYPE_CHECKING:
    from mgflows.flows.outputs import TrainingOutput
    from mgflows.jobs.rounds import RoundSettings

ALLOY = Alloy({"Cu": 0.5, "Zr": 0.5}, n_atoms=54, number_density=0.05)
METHOD = AseMethod.stand_in(SPECIES)


@dataclass
class FailingOnceMaker(AseLabelMaker):
    """A label Maker whose first label fails; a file remembers that it did."""

    marker: str = ""

    @structure_job(output_schema=LabelDocument)
    def make(self, structure: Any) -> LabelDocument:
        """Label one structure."""
        if not Path(self.marker).exists():
            Path(self.marker).touch()
            raise RuntimeError("the node is gone")
        return AseLabelMaker.make.original(self, structure)


def trainings(steps: int) -> TrainingFlowMaker:
    return TrainingFlowMaker(
        training_maker=TrainingMaker(
            trainer=NepTrainer(steps=steps, reports=1), parameters=PARAMETERS, acceptance=None
        )
    )


def rounds_maker(settings: RoundSettings, label_maker: AseLabelMaker) -> ActiveLearningFlowMaker:
    return ActiveLearningFlowMaker(
        settings=settings,
        n_candidates=5,
        n_members=2,
        feedback_maker=FeedbackFlowMaker(
            quench_maker=QuenchMaker(equilibration_time=0.2),
            label_maker=label_maker,
            cooling_rates=(8000.0,),
            n_glasses=2,
            label_sets=False,
        ),
        training_maker=trainings(120),
        committee_maker=CommitteeMemberMaker(
            trainer=NepTrainer(steps=100, reports=1), parameters=PARAMETERS
        ),
    )


def first_training(name: str) -> tuple[Flow, DatasetInputs, TrainingOutput]:
    """Labels of three families, one of them for the test, and a training."""
    labels = []
    for family in range(3):
        job = AseLabelMaker(method=METHOD).make_set(
            [structure_from_atoms(frame) for frame in frames(family)[-20:]]
        )
        tag(job, stage="labels", category="dft", subset="dft_minimized", family=f"f{family}")
        labels.append(job)
    inputs = DatasetInputs([job.output for job in labels], held_out_families=["f1"])
    training = trainings(400).make(ALLOY, name, inputs)
    flow = Flow([*labels, training], name=name)
    set_campaign(flow, name)
    return flow, inputs, training.output


def later_rounds(
    name: str,
    inputs: DatasetInputs,
    trained: TrainingOutput,
    settings: RoundSettings,
    label_maker: AseLabelMaker,
) -> Flow:
    """Rounds of active learning, and the training after them."""
    rounds = rounds_maker(settings, label_maker).make(
        ALLOY, name, inputs, trained, [structure_from_atoms(frames(0)[-5])]
    )
    last = trainings(60).make(
        ALLOY,
        name,
        replace(inputs, chosen=[rounds.output]),
        stage="feedback",
        generation=settings.maximum_rounds + 1,
        previous=replace(trained, potential=rounds.output),
        gate=rounds.output.uuid,
    )
    flow = Flow([rounds, last], name=name)
    set_campaign(flow, name)
    return flow
