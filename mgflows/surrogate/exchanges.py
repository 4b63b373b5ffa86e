"""Acceptance of the exchanges of unlike atoms in a liquid, measured in a short run.

Exchanges speed up swap Monte Carlo only if they are accepted, which is likely for species adjacent
in diameter (paper, Methods, "Sampling PEL with swap-Monte Carlo"). The acceptance depends on well
depths and density as much as on diameters, so it is measured rather than estimated by a rule.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mgflows.errors import InputError

if TYPE_CHECKING:
    from mgflows.alloy import Alloy
    from mgflows.surrogate.lennard_jones import LennardJones

__all__ = ["ExchangeReport", "measure_exchanges"]


@dataclass(frozen=True)
class ExchangeReport:
    """Measured acceptance of the exchanges of every pair of species.

    Parameters
    ----------
    reduced_temperature
        Temperature of the liquid.
    acceptance
        Accepted fraction of the exchanges of each pair of species.
    accepted_pairs
        The pairs above the threshold, the highest acceptance first, for
        ``SwapMonteCarlo(exchange_pairs=...)``.
    connected
        Whether the accepted pairs connect every species with every other, directly or through
        others. If not, identities are not exchanged between some species.
    """

    reduced_temperature: float
    acceptance: dict[tuple[str, str], float]
    accepted_pairs: tuple[tuple[str, str], ...]
    connected: bool

    def __str__(self) -> str:
        lines = [f"exchanges at T* = {self.reduced_temperature:g}:"]
        for (a, b), fraction in sorted(self.acceptance.items(), key=lambda item: -item[1]):
            lines.append(
                f"  {a}-{b}: "
                f"{fraction:8.2%}{'' if (a, b) in self.accepted_pairs else '  (rejected)'}"
            )
        lines.append(
            "every species is reached"
            if self.connected
            else "not every species is reached; an element of intermediate size would connect them"
        )
        return "\n".join(lines)


def measure_exchanges(
    lj: LennardJones,
    alloy: Alloy,
    *,
    reduced_temperature: float = 2.0,
    threshold: float = 0.005,
    n_sweeps: int = 1000,
    seed: int = 0,
) -> ExchangeReport:
    """Try all exchanges in a liquid and count which are accepted.

    Parameters
    ----------
    lj, alloy
        The surrogate and the alloy.
    reduced_temperature
        Temperature; 2.0 is near the onset of supercooling of Cu-Zr-Al. Colder liquids accept less.
    threshold
        Smallest accepted fraction at which exchanges of a pair are used.
    n_sweeps
        Sweeps of equilibration, and also of the measurement.
    seed
        Seed of the run.
    """
    from mgflows.surrogate.swap_monte_carlo import SwapMonteCarlo

    pairs = tuple(itertools.combinations(alloy.species, 2))
    if not pairs:
        raise InputError(
            f"{alloy.name} has one species, so there is nothing to exchange",
            hint="set swap_fraction=0",
        )
    mc = SwapMonteCarlo.from_alloy(lj, alloy, seed, exchange_pairs=pairs)
    mc.equilibrate(min(n_sweeps, 200), 10.01)
    mc.run(n_sweeps, reduced_temperature, swap_fraction=0.2)
    mc.reset_counters()
    mc.run(n_sweeps, reduced_temperature, swap_fraction=0.5)
    acceptance = {
        pair: accepted / max(attempted, 1) for pair, (attempted, accepted) in mc.exchanges.items()
    }
    accepted = tuple(
        sorted(
            (pair for pair, fraction in acceptance.items() if fraction >= threshold),
            key=lambda pair: -acceptance[pair],
        )
    )
    reached = {alloy.species[0]}
    for _ in alloy.species:
        reached |= {symbol for pair in accepted if reached & set(pair) for symbol in pair}
    return ExchangeReport(
        float(reduced_temperature), acceptance, accepted, reached == set(alloy.species)
    )
