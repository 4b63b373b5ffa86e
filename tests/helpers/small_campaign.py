"""The smallest campaign with every kind of job, up to a validated potential.

For tests of how campaigns run, not of their results.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mgflows.flows.scales import SCALES, stand_in_campaign

if TYPE_CHECKING:
    from mgflows.flows.campaign import CampaignMaker


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
        acceptance_melt=(1, 0.02),
    )
    # 150 steps make no good potential.
    return replace(stand_in_campaign(scale, name=name), continue_with_failed_potential=True)
