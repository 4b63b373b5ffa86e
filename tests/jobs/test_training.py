from __future__ import annotations

import pytest
from ase.build import bulk
from jobflow import Flow

from mgflows.flows.tags import set_campaign, tag
from mgflows.jobs.dataset import DatasetInputs, DatasetMaker
from mgflows.jobs.labels import AseLabelMaker
from mgflows.jobs.training import TrainingMaker
from mgflows.nep import NepTrainer
from mgflows.schemas.labels import structure_from_atoms
from mgflows.schemas.training import PotentialDocument
from tests.helpers.emt_frames import PARAMETERS


def _structures(family: int):
    for number in range(2):
        atoms = bulk("Cu", cubic=True) * 2
        atoms.symbols[::4] = "Al"
        atoms.rattle(0.1, seed=10 * family + number)
        yield structure_from_atoms(atoms)


def _flow(method, trainer: NepTrainer) -> Flow:
    labels = [
        tag(
            AseLabelMaker(method=method).make_set(list(_structures(family))),
            stage="labels",
            category="dft",
            subset="lj_surrogate",
            family=f"family-{family}",
        )
        for family in range(4)
    ]
    dataset = DatasetMaker(split_seed=1).make(
        "c", ["Cu", "Al"], DatasetInputs([label.output for label in labels])
    )
    maker = TrainingMaker(trainer=trainer, parameters=PARAMETERS, seed=3, acceptance=None)
    training = maker.make(dataset.output)
    flow = Flow(
        [
            *labels,
            tag(dataset, stage="training", category="sampling"),
            tag(training, stage="training", category="training"),
        ]
    )
    set_campaign(flow, "c")
    return flow


@pytest.mark.slow
def test_a_training_that_runs_out_of_time_hands_over_and_ends_the_same(run, store, method) -> None:
    """Several jobs give bitwise the potential of an uninterrupted training."""
    trainer = NepTrainer(steps=2, reports=1)
    whole = PotentialDocument.model_validate(run(_flow(method, trainer)))
    flow = _flow(method, NepTrainer(steps=2, reports=1, wall_time=1e-3))
    pieces = PotentialDocument.model_validate(run(flow))
    assert store.count({"uuid": flow.jobs[-1].uuid}) == 2
    assert pieces.nep_txt == whole.nep_txt
    assert pieces.loss == whole.loss
