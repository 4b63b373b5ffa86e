"""Try other coolings with the sweeps of the efficient protocol of swap Monte Carlo.

    python docs/examples/cooling_trials.py TRIALS.json

cools Cu46Zr46Al8 (150 atoms, consistent table) by variants of the efficient protocol and prints the
inherent-structure energies as a table. All variants have the same number of sweeps for each sample,
those of discarded samples included, after the same equilibration. Each trial is stored in the JSON
file when it is finished, so that the same command continues after an interruption. Samples of
population annealing with a common ancestor count as one in the error. Three CPU minutes with the
default --sweeps and --samples.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows import Alloy
from mgflows.files import atomic_write
from mgflows.surrogate import (
    LennardJones,
    SwapMonteCarlo,
    SwapMonteCarloReplicas,
    find_inherent_structure,
)
from mgflows.surrogate.glasses import GlassProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms

Trial = tuple[list[float], int]
"""Energies, and how many of them are independent."""

LJ, ALLOY = LennardJones.cuzral(), Alloy.cuzral()
PROTOCOL = GlassProtocol.of("efficient", LJ, ALLOY, 1)
HIGH, LOW = PROTOCOL.reduced_temperature_high, PROTOCOL.reduced_temperature_low
CU_AL, AL_ZR = (("Cu", "Al"),), (("Al", "Zr"),)
BATCH = 16
EXCHANGE_EVERY = 20
"""Sweeps between two exchanges of temperatures in parallel tempering."""

Segments = tuple[tuple[float, float, float], ...]
"""Fraction of the sweeps and first and last temperature of linear pieces of a cooling."""


def minimised(glasses: Sequence[Atoms]) -> Trial:
    found = [find_inherent_structure(atoms, LJ)[1] / LJ.energy_unit for atoms in glasses]
    return found, len(found)


def equilibrated(seed: int, **settings: Any) -> SwapMonteCarloReplicas:
    mc = SwapMonteCarloReplicas.from_alloy(LJ, ALLOY, seed, **settings)
    mc.equilibrate(PROTOCOL.equilibration_sweeps, HIGH)
    return mc


def pieces(
    n_sweeps: int, seed: int, segments: Segments = ((1.0, HIGH, LOW),), **settings: Any
) -> Trial:
    """Cool in linear pieces."""
    mc = equilibrated(seed, **settings)
    for fraction, start, end in segments:
        mc.cool(round(fraction * n_sweeps), start, end)
    return minimised(mc.replicas)


def best_of(n_sweeps: int, seed: int, n_runs: int) -> Trial:
    """Keep the lowest of several short coolings."""
    runs = [pieces(n_sweeps // n_runs, seed + 1000 * run)[0] for run in range(n_runs)]
    return np.min(runs, axis=0).tolist(), BATCH


def population_annealing(n_sweeps: int, seed: int, n_steps: int) -> Trial:
    """Resample the sixteen replicas by their Boltzmann weights at every step of the cooling.

    J. Machta, Phys. Rev. E 82, 026704 (2010), doi:10.1103/PhysRevE.82.026704.
    """
    rng = np.random.default_rng(seed)
    mc = equilibrated(seed)
    ancestors = np.arange(BATCH)
    ends = np.linspace(HIGH, LOW, n_steps + 1)
    for step, (start, end) in enumerate(itertools.pairwise(ends)):
        mc.cool(n_sweeps // n_steps, start, end)
        if step == n_steps - 1:
            break
        following = ends[step + 2]
        # The replicas lag behind the temperature; half a step is a lenient weight.
        exponent = -0.5 * (1.0 / following - 1.0 / end) * mc.energies_per_atom * mc.n_atoms
        weights = np.exp(exponent - exponent.max())
        places = (rng.random() + np.arange(BATCH)) / BATCH
        chosen = np.searchsorted(np.cumsum(weights) / weights.sum(), places)
        chosen = np.minimum(chosen, BATCH - 1)
        ancestors = ancestors[chosen]
        starts = [mc.replicas[number] for number in chosen]
        mc = SwapMonteCarloReplicas(LJ, starts, int(rng.integers(2**31)))
    return minimised(mc.replicas)[0], len(set(ancestors.tolist()))


def parallel_tempering(
    n_sweeps: int, seed: int, lowest: float, highest: float, fraction: float
) -> Trial:
    """Temper sixteen samples for a fraction of the sweeps, then cool each to the end.

    R. H. Swendsen and J.-S. Wang, Phys. Rev. Lett. 57, 2607 (1986),
    doi:10.1103/PhysRevLett.57.2607; samplers exchange their temperatures.
    """
    rng = np.random.default_rng(seed)
    temperatures = np.geomspace(highest, lowest, BATCH)
    starts = equilibrated(seed).replicas
    # Samplers in the order of their temperatures.
    samplers = [
        SwapMonteCarlo(LJ, atoms, (seed, stream), dtype="float32")
        for stream, atoms in enumerate(starts)
    ]
    n_tempered = round(fraction * n_sweeps)
    for round_number in range(n_tempered // EXCHANGE_EVERY):
        for mc, temperature in zip(samplers, temperatures, strict=True):
            mc.run(EXCHANGE_EVERY, temperature)
        for k in range(round_number % 2, BATCH - 1, 2):
            above, below = samplers[k], samplers[k + 1]
            exponent = (1.0 / temperatures[k] - 1.0 / temperatures[k + 1]) * (
                (above.energy_per_atom - below.energy_per_atom) * above.n_atoms
            )
            if np.log(rng.random()) < exponent:
                samplers[k], samplers[k + 1] = below, above
    for mc, temperature in zip(samplers, temperatures, strict=True):
        mc.cool(n_sweeps - n_tempered, temperature, min(LOW, temperature))
    return minimised([mc.atoms for mc in samplers])


TRIALS: dict[str, Callable[[int, int], Trial]] = {
    "efficient": lambda n, seed: pieces(n, seed),
    "efficient, other seeds": lambda n, seed: pieces(n, seed + 500),
    "tempering of T* = 0.6 to 1.6 for 70 %, then cooling": lambda n, seed: parallel_tempering(
        n, seed, 0.6, HIGH, 0.7
    ),
    "tempering of T* = 0.8 to 1.3 for 70 %, then cooling": lambda n, seed: parallel_tempering(
        n, seed, 0.8, 1.3, 0.7
    ),
    "population annealing in 20 steps": lambda n, seed: population_annealing(n, seed, 20),
    "cool, heat to T* = 1.1, cool": lambda n, seed: pieces(
        n, seed, ((0.45, HIGH, 0.7), (0.05, 0.7, 1.1), (0.5, 1.1, LOW))
    ),
    "lowest of 4 coolings of a quarter": lambda n, seed: best_of(n, seed, 4),
    "exchange fraction 0.1": lambda n, seed: pieces(n, seed, swap_fraction=0.1),
    "exchange fraction 0.4": lambda n, seed: pieces(n, seed, swap_fraction=0.4),
    "exchanges of Cu with Zr, too": lambda n, seed: pieces(
        n, seed, exchange_pairs=(*CU_AL, *AL_ZR, ("Cu", "Zr"))
    ),
    "exchanges of Cu with Al only": lambda n, seed: pieces(n, seed, exchange_pairs=CU_AL),
    "exchanges of Al with Zr only": lambda n, seed: pieces(n, seed, exchange_pairs=AL_ZR),
    "no exchanges": lambda n, seed: pieces(n, seed, swap_fraction=0.0),
    "cube of 0.11": lambda n, seed: pieces(n, seed, max_displacement=0.11),
    "cube of 0.2": lambda n, seed: pieces(n, seed, max_displacement=0.2),
}


def main() -> None:
    """Run the trials that are not in the file, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--sweeps", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=32, help="a multiple of 16")
    arguments = parser.parse_args()
    stored = json.loads(arguments.file.read_text()) if arguments.file.exists() else []
    print("| trial | e_IS | standard deviation | independent | difference |\n|---|---|---|---|---|")
    reference = None
    for name, trial in TRIALS.items():
        key = {"trial": name, "sweeps": arguments.sweeps, "samples": arguments.samples}
        found = next((each for each in stored if each.items() >= key.items()), None)
        if found is None:
            start = time.process_time()
            batches = [
                trial(arguments.sweeps, seed) for seed in range(1, arguments.samples // BATCH + 1)
            ]
            found = key | {
                "e_is": [energy for values, _ in batches for energy in values],
                "independent": sum(independent for _, independent in batches),
                "cpu_seconds": time.process_time() - start,
            }
            stored.append(found)
            with atomic_write(arguments.file) as file:
                json.dump(stored, file, indent=1)
        values = np.array(found["e_is"])
        error = values.std(ddof=1) / np.sqrt(found["independent"])
        if reference is None:
            reference = (values.mean(), error)
        change, uncertainty = values.mean() - reference[0], np.hypot(error, reference[1])
        difference = "" if name == "efficient" else f"{change:+.3f} ± {uncertainty:.3f}"
        print(
            f"| {name} | {values.mean():.3f} ± {error:.3f} | {values.std(ddof=1):.3f} | "
            f"{found['independent']} | {difference} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
