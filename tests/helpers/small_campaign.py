"""The smallest campaign with every kind of job, up to a validated potential.

For tests of how campaigns run, not of their results. Its potentials are not tested for acceptance,
which tests/launch/test_acceptance_gate.py does: after 150 steps none would pass.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mgflows.flows.scales import SCALES, stand_in_campaign

if TYPE_CHECKING:
    from mgflows.flows.campaign import CampaignMaker
    from mgflows.flows.training import TrainingFlowMaker


def smallest_campaign(name: str = "smallest") -> CampaignMaker:
    scale = replace(
        SCALES["tiny"],
        name="smallest",
        samples=((200, 6),),
        coolings=((10.0, 1), (30.0, 1), (100.0, 1)),
        n_crystals=1,
        heating_steps=12,
        training_steps=(150, 60),
        quench_rates=(4000.0,),
        quench_equilibration=0.05,
    )
    return without_acceptance(stand_in_campaign(scale, name=name))


def without_acceptance(campaign: CampaignMaker) -> CampaignMaker:
    """Leave the acceptance tests of the trainings out."""

    def stage(maker: TrainingFlowMaker) -> TrainingFlowMaker:
        return replace(maker, training_maker=replace(maker.training_maker, acceptance=None))

    return replace(
        campaign,
        training_maker=stage(campaign.training_maker),
        retraining_maker=stage(campaign.retraining_maker),
    )
