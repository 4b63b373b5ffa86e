"""Compare the structures of the two protocols of swap Monte Carlo at the same energy.

    python docs/examples/protocol_structure.py

cools Cu46Zr46Al8 (150 atoms, consistent table) 64 times by each protocol, with as many sweeps as
give the same inherent-structure energy (docs/concepts/surrogate.md), and compares energies, order
parameters and g(r) of the inherent structures. p is the probability of a difference at least as
large between samples of one population: a Kolmogorov-Smirnov test for numbers, and for g(r) a
permutation test of the mean absolute difference of the mean curves from 2 to 6.4 A. Two CPU
minutes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mgflows.alloy import Alloy
from mgflows.structures.order import analyse_order
from mgflows.surrogate import LennardJones
from mgflows.surrogate.glasses import GlassProtocol, ProtocolName, sample_replicas
from mgflows.validation.rdf import radial_distribution

BATCH = 16
ORDER = (
    *("cna_555_fraction", "frank_kasper_fraction", "icosahedral_fraction", "mean_coordination"),
    *("structure_factor_max", "q6_solid_fraction"),
)
RANGE = (2.0, 6.4)


@dataclass
class Population:
    """Inherent structures of one protocol: (n,) numbers and (n, n_bins) curves, by name."""

    numbers: dict[str, np.ndarray]
    curves: dict[str, np.ndarray]


def cool(protocol: ProtocolName, n_sweeps: int, n_samples: int, seed: int) -> Population:
    """Cool and analyse samples."""
    lj, alloy = LennardJones.cuzral(), Alloy.cuzral()
    recipe = GlassProtocol.of(protocol, lj, alloy, n_sweeps)
    seeds = np.random.SeedSequence(seed).generate_state(n_samples).tolist()
    glasses = []
    for start in range(0, n_samples, BATCH):
        glasses += sample_replicas(lj, alloy, recipe, seeds[start : start + BATCH]) or []
    orders = [analyse_order(glass.inherent_structure) for glass in glasses]
    numbers = {name: np.array([getattr(order, name) for order in orders]) for name in ORDER}
    # The reduced unit is the depth of the Zr-Zr well.
    energies = np.array([glass.e_is for glass in glasses]) / lj.energy_unit
    curves = [
        radial_distribution(glass.inherent_structure, distance_max=RANGE[1], n_bins=64)
        for glass in glasses
    ]
    chosen = curves[0].distance > RANGE[0]
    pairs = {"total": np.array([curve.total[chosen] for curve in curves])}
    for pair in curves[0].partial:
        pairs[pair] = np.array([curve.partial[pair][chosen] for curve in curves])
    return Population({"e_IS": energies} | numbers, pairs)


def permutation(one: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> tuple[float, ...]:
    """Difference of the mean curves, its mean between random halves, and the p-value."""
    both, n = np.concatenate([one, other]), len(one)

    def difference(order: np.ndarray) -> float:
        return float(np.abs(both[order[:n]].mean(0) - both[order[n:]].mean(0)).mean())

    found = difference(np.arange(len(both)))
    random = np.array([difference(rng.permutation(len(both))) for _ in range(2000)])
    return found, float(random.mean()), (1.0 + np.sum(random >= found)) / (1.0 + len(random))


def main() -> None:
    """Compare and print the tables of docs/concepts/surrogate.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--efficient", type=int, default=10_000, help="sweeps")
    parser.add_argument("--paper", type=int, default=59_000, help="sweeps")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    paper = cool("paper", options.paper, options.samples, options.seed)
    efficient = cool("efficient", options.efficient, options.samples, options.seed + 1)
    print(f"| | paper, {options.paper:g} sweeps | efficient, {options.efficient:g} | p |")
    print("|---|---|---|---|")
    for name, one in paper.numbers.items():
        other = efficient.numbers[name]
        p_value = stats.ks_2samp(one, other).pvalue
        values = (f"{x.mean():.3f} ± {x.std(ddof=1) / len(x) ** 0.5:.3f}" for x in (one, other))
        print(f"| {name} | {' | '.join(values)} | {p_value:.3f} |")
    print("\n| g(r) | difference | of random halves | p |")
    print("|---|---|---|---|")
    rng = np.random.default_rng(options.seed)
    for pair, one in paper.curves.items():
        found, random, p_value = permutation(one, efficient.curves[pair], rng)
        print(f"| {pair} | {found:.3f} | {random:.3f} | {p_value:.3f} |")


if __name__ == "__main__":
    main()
