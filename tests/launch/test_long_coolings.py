"""A cooling longer than its wall time hands over to new fireworks, on a real MongoDB."""

from __future__ import annotations

import numpy as np
import pytest

from mgflows import Alloy
from mgflows.connections import open_job_store
from mgflows.flows.sampling import SamplingFlowMaker
from mgflows.flows.tags import set_campaign
from mgflows.jobs.sampling import SwapMonteCarloMaker
from mgflows.launch import submit
from mgflows.machine import LocalLauncher

pytestmark = pytest.mark.mongo


def test_a_long_cooling_continues_in_as_many_fireworks_as_needed(settings, database):
    alloy = Alloy.cuzral(n_atoms=113)
    maker = SamplingFlowMaker(
        samples=((60_000, 1),),
        coolings=(),
        batched_sweeps=0,
        monte_carlo_maker=SwapMonteCarloMaker(wall_time=0.4, equilibration_sweeps=100),
    )
    flow = maker.make(alloy)
    set_campaign(flow, "long")
    assert submit(flow, settings).n_added == 1
    for _ in LocalLauncher(settings, n_workers=1, campaign="long").run():
        pass
    states = [firework["state"] for firework in database["fireworks"].find({})]
    assert len(states) > 1, "the job handed over at least once"
    assert set(states) == {"COMPLETED"}

    # All belong to the campaign, and the last output equals that of the uninterrupted run.
    assert database["fireworks"].count_documents(
        {"spec.mgflows.campaign": "long", "spec.mgflows.family": "mc-6e4-000"}
    ) == len(states)
    (job,) = flow.jobs
    store = open_job_store(settings)
    store.connect()
    sample = store.get_output(job.uuid, load=True)
    whole = SwapMonteCarloMaker(equilibration_sweeps=100)._cool(
        alloy, 60_000, job.function_kwargs["seed"]
    )
    positions = np.array([site["xyz"] for site in sample["structure"]["sites"]])
    assert np.array_equal(positions, whole.structure.cart_coords)
