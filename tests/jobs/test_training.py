from __future__ import annotations

import pytest
from ase.build import bulk
from jobflow import Flow

from mgflows.flows.tags import set_campaign, tag
from mgflows.jobs.dataset import DatasetInputs, DatasetMaker
from mgflows.jobs.labels import AseLabelMaker
from mgflows.jobs.training import TrainingMaker
from mgflows.nep import NepParameters, NepTrainer
from mgflows.schemas.labels import structure_from_atoms
from mgflows.schemas.training import PotentialDocument


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
    parameters = NepParameters(
        ("Cu", "Al"), cutoff=(4.0, 4.0), n_max=(2, 2), basis_size=(2, 2), l_max=(2, 0, 0), neuron=4
    )
    training = TrainingMaker(trainer=trainer, parameters=parameters, seed=3).make(dataset.output)
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
