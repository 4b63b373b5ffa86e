"""Compare the sampler with enumeration, quadrature and statistical mechanics.

The seeds are fixed, so each test is deterministic; the bounds are four standard errors or the 99.9
% quantile of chi squared.
"""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest
from ase import Atoms
from scipy.integrate import quad
from scipy.stats import chi2

from mgflows import Alloy
from mgflows.surrogate import LennardJones, SwapMonteCarlo, swap_monte_carlo

pytestmark = pytest.mark.physics


def mean_and_error(samples: np.ndarray, n_blocks: int = 20) -> tuple[float, float]:
    """Mean and standard error from the means of blocks much longer than the correlation time."""
    means = np.array([block.mean() for block in np.array_split(samples, n_blocks)])
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(n_blocks))


def agree(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return abs(a[0] - b[0]) < 4.0 * np.hypot(a[1], b[1])


@cache
def liquid(
    reduced_temperature: float,
    swap_fraction: float = 0.2,
    dtype: str = "float64",
    n_sweeps: int = 30_000,
) -> np.ndarray:
    """Reduced energies per atom of the CuZrAl liquid, N = 150, one sample per sweep."""
    sampler = SwapMonteCarlo.from_alloy(LennardJones.cuzral(), Alloy.cuzral(), seed=11, dtype=dtype)
    sampler.equilibrate(300)
    sampler.run(1000, reduced_temperature)
    return sampler.run(n_sweeps, reduced_temperature, swap_fraction=swap_fraction)


def test_exchanges_visit_every_arrangement_with_boltzmann_weights_in_detailed_balance() -> None:
    lj, temperature = LennardJones.cuzral(), 0.6
    symbols = ["Cu", "Cu", "Zr", "Zr", "Al", "Al"]
    corner = 3.0
    sites = corner + 2.9 * np.array(
        [[0, 0, 0], [1, 0.05, 0], [2, 0.1, 0.1], [0.2, 1, 0], [1.1, 1.1, 0.3], [0.6, 0.4, 1]]
    )
    atoms = Atoms(symbols, sites, cell=[14.0] * 3, pbc=True)
    arrangements = sorted(set(itertools.permutations(symbols)))
    number = {arrangement: index for index, arrangement in enumerate(arrangements)}
    energies = [
        lj.energy(Atoms(arrangement, sites, cell=atoms.cell, pbc=True)) / lj.energy_unit
        for arrangement in arrangements
    ]
    weights = np.exp(-(np.array(energies) - min(energies)) / temperature)
    expected = weights / weights.sum()
    assert expected.max() / expected.min() > 20

    sampler = SwapMonteCarlo(lj, atoms, seed=1)
    n_samples = 20_000
    visited = np.empty(n_samples, dtype=int)
    for sample in range(n_samples):
        sampler.run(1, temperature, swap_fraction=1.0)
        nearest = np.argmin(
            ((sampler.atoms.positions[:, None] - sites[None]) ** 2).sum(axis=-1), axis=1
        )
        at_site = np.empty(6, dtype=object)
        at_site[nearest] = symbols
        visited[sample] = number[tuple(at_site)]

    thinned = np.bincount(visited[::10], minlength=90)
    statistic = ((thinned - expected * thinned.sum()) ** 2 / (expected * thinned.sum())).sum()
    assert statistic < chi2.ppf(0.999, 89)
    flux = np.zeros((90, 90))
    np.add.at(flux, (visited[:-1], visited[1:]), 1)
    there, back = flux[np.triu_indices(90, 1)], flux.T[np.triu_indices(90, 1)]
    often = there + back >= 20
    assert often.sum() > 100
    statistic = ((there - back)[often] ** 2 / (there + back)[often]).sum()
    assert statistic < chi2.ppf(0.999, often.sum())


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("method", "edge", "displacement"), [("all_pairs", 4.3, 3.0), ("cells", 6.6, 0.22)]
)
def test_two_atoms_have_the_energy_of_the_configuration_integral(
    dtype: str, method: str, edge: float, displacement: float
) -> None:
    lj, temperature = LennardJones.cuzral(), 0.35
    sigma, epsilon = float(lj.reduced_sigma[0, 1]), float(lj.reduced_epsilon[0, 1])
    cutoff = lj.cutoff_factor * sigma

    def energy(r: float) -> float:
        x, x_cut = (sigma / r) ** 6, lj.cutoff_factor**-6
        return 4.0 * epsilon * (x * x - x - x_cut * x_cut + x_cut)

    bound, _ = quad(
        lambda r: 4 * np.pi * r**2 * np.exp(-energy(r) / temperature), 0.3 * sigma, cutoff
    )
    weighted, _ = quad(
        lambda r: 4 * np.pi * r**2 * energy(r) * np.exp(-energy(r) / temperature),
        0.3 * sigma,
        cutoff,
    )
    expected = weighted / (bound + edge**3 - 4.0 / 3.0 * np.pi * cutoff**3)

    box = edge * lj.length_unit
    atoms = Atoms("CuZr", [[0, 0, 0], [0.3 * box, 0.2 * box, 0]], cell=[box] * 3, pbc=True)
    sampler = SwapMonteCarlo(
        lj, atoms, seed=2, dtype=dtype, method=method, max_displacement=displacement
    )
    n_sweeps = 400_000 if method == "all_pairs" else 3_000_000
    mean, error = mean_and_error(2.0 * sampler.run(n_sweeps, temperature))
    assert error < 0.05 * abs(expected)
    assert agree((mean, error), (expected, 0.0))


def test_exchanges_do_not_change_the_mean_energy_of_a_liquid() -> None:
    assert agree(mean_and_error(liquid(5.0)), mean_and_error(liquid(5.0, swap_fraction=0.0)))


def test_single_precision_is_unbiased_within_the_errors() -> None:
    double, single = mean_and_error(liquid(5.0)), mean_and_error(liquid(5.0, dtype="float32"))
    assert max(double[1], single[1]) < 0.03
    assert agree(double, single)


def test_histograms_of_two_temperatures_differ_by_the_boltzmann_factor() -> None:
    cold, hot = 150 * liquid(5.0), 150 * liquid(5.3)
    expected = 1 / 5.3 - 1 / 5.0
    slopes = []
    for a, b in zip(np.array_split(cold, 10), np.array_split(hot, 10), strict=True):
        edges = np.linspace(*np.quantile(np.concatenate([a, b]), [0.02, 0.98]), 16)
        p, q = (np.histogram(energies, edges)[0] for energies in (a, b))
        used = (p > 20) & (q > 20)
        centre = (edges[1:] + edges[:-1])[used] / 2
        slopes.append(
            np.polyfit(
                centre, np.log(p[used] / q[used]), 1, w=1 / np.sqrt(1 / p[used] + 1 / q[used])
            )[0]
        )
    mean, error = np.mean(slopes), np.std(slopes, ddof=1) / np.sqrt(10)
    assert error < 0.1 * abs(expected)
    assert agree((mean, error), (expected, 0.0))


def test_heat_capacity_is_the_fluctuation_of_the_energy() -> None:
    low, middle, high = (mean_and_error(liquid(temperature)) for temperature in (4.7, 5.0, 5.3))
    slope = ((high[0] - low[0]) / 0.6, np.hypot(high[1], low[1]) / 0.6)
    blocks = np.array_split(liquid(5.0), 20)
    # Deviations from the mean of all blocks: deviations from the mean of a block would miss the
    # slow fluctuations.
    fluctuations = [150 * ((block - middle[0]) ** 2).mean() / 25.0 for block in blocks]
    fluctuation = (np.mean(fluctuations), np.std(fluctuations, ddof=1) / np.sqrt(20))
    assert slope[1] < 0.15 * slope[0]
    assert agree(slope, fluctuation)


@pytest.mark.parametrize(("dtype", "drift"), [("float64", 1e-11), ("float32", 2e-3)])
def test_stored_energies_do_not_drift(
    monkeypatch: pytest.MonkeyPatch, dtype: str, drift: float
) -> None:
    monkeypatch.setitem(swap_monte_carlo._REFRESH_INTERVAL, dtype, 10**9)
    lj = LennardJones.cuzral()
    sampler = SwapMonteCarlo.from_alloy(lj, Alloy.cuzral(), seed=3, dtype=dtype)
    sampler.equilibrate(100)
    sampler.run(100_000, 5.0)
    assert sampler.energy_per_atom == pytest.approx(
        lj.energy(sampler.atoms) / 150 / lj.energy_unit, abs=drift
    )


def test_energy_is_that_of_the_calculator_and_composition_is_kept() -> None:
    lj = LennardJones.cuzral()
    sampler = SwapMonteCarlo.from_alloy(lj, Alloy.cuzral(), seed=3)
    sampler.cool(500)
    assert sampler.exchanges["Cu", "Al"][1] > 100
    atoms = sampler.atoms
    atoms.calc = lj.calculator()
    assert sampler.energy_per_atom == pytest.approx(
        atoms.get_potential_energy() / 150 / lj.energy_unit, rel=1e-12
    )
    assert sorted(atoms.get_chemical_symbols()) == sorted(Alloy.cuzral().symbols)
