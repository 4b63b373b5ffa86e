"""Averages of replicas against those of single samplers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mgflows import Alloy
from mgflows.surrogate import SwapMonteCarlo

if TYPE_CHECKING:
    from mgflows.surrogate import LennardJones
    from mgflows.surrogate.replicas import SwapMonteCarloReplicas

__all__ = ["check_averages"]


def check_averages(replicas: SwapMonteCarloReplicas, lj: LennardJones) -> None:
    """Compare means and fluctuations of the energy of the default alloy with eight samplers."""
    replicas.equilibrate(300)
    together = replicas.run(4000, 5.0)[1000:]
    alone = []
    for seed in range(8):
        sampler = SwapMonteCarlo.from_alloy(lj, Alloy.cuzral(), seed=seed)
        sampler.equilibrate(300)
        alone.append(sampler.run(4000, 5.0)[1000:])
    for moment in (np.mean, np.std):
        a, b = moment(together, axis=0), moment(np.array(alone).T, axis=0)
        error = np.hypot(a.std(ddof=1) / np.sqrt(len(a)), b.std(ddof=1) / np.sqrt(len(b)))
        assert abs(a.mean() - b.mean()) < 4.0 * error
        assert error < 0.1 * abs(b.mean())
