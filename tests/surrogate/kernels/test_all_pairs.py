"""The compiled kernels against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from mgflows.surrogate import LennardJones
from mgflows.surrogate.kernels import all_pairs


def reference_energy(
    lj: LennardJones, positions: np.ndarray, types: np.ndarray, box: np.ndarray
) -> np.ndarray:
    """(n, n) reduced pair energies with the minimum image, straight from the definition."""
    separation = positions[:, None] - positions[None, :]
    separation -= box * np.round(separation / box)
    distance = np.sqrt((separation**2).sum(axis=-1))
    np.fill_diagonal(distance, np.inf)
    sigma, epsilon = (
        lj.reduced_sigma[np.ix_(types, types)],
        lj.reduced_epsilon[np.ix_(types, types)],
    )
    x = (sigma / distance) ** 6
    x_cut = lj.cutoff_factor**-6
    return np.where(
        distance < lj.cutoff_factor * sigma, 4 * epsilon * (x**2 - x - x_cut**2 + x_cut), 0.0
    )


def configuration(
    lj: LennardJones, n: int, box: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Atoms on a shaken simple cubic lattice: disordered, and none too close."""
    generator = np.random.default_rng(seed)
    cells = int(np.ceil(n ** (1 / 3)))
    sites = np.argwhere(np.ones((cells,) * 3))[:n] / cells * box
    types = np.sort(generator.integers(0, len(lj.species), n))
    return (sites + generator.uniform(-0.1, 0.1, (n, 3))) % box, types


@pytest.mark.physics
@pytest.mark.parametrize("box", [(4.4, 4.4, 4.4), (4.2, 5.0, 6.1)])
@pytest.mark.parametrize("n", [1, 2, 16, 37, 150])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_energies_of_atoms_agree_with_the_definition(
    n: int, box: tuple[float, ...], dtype: str, tolerance: float
) -> None:
    lj, edges = LennardJones.cuzral(), np.array(box)
    positions, types = configuration(lj, n, edges, seed=n)
    table, state = all_pairs.prepare(
        lj.reduced_sigma,
        lj.reduced_epsilon,
        lj.cutoff_factor,
        positions,
        types,
        edges,
        np.dtype(dtype),
    )
    all_pairs.recompute_energies(state, table)
    expected = reference_energy(
        lj, all_pairs.from_lattice(state.positions[:, :n].T, edges), types, edges
    )
    np.testing.assert_allclose(
        state.energy[:n], expected.sum(axis=1), rtol=tolerance, atol=tolerance
    )
    assert state.total[0] == pytest.approx(expected.sum() / 2, rel=tolerance, abs=tolerance)


def test_lattice_coordinates_are_positions_to_a_billionth() -> None:
    box = np.array([3.0, 4.0, 5.0])
    positions = np.random.default_rng(0).uniform(-10, 10, (1000, 3))
    back = all_pairs.from_lattice(all_pairs.to_lattice(positions, box), box)
    difference = (back - positions) / box
    assert np.abs(difference - np.round(difference)).max() <= 0.5 / 2**32 * 1.001
    assert back.min() >= 0.0
    assert (back < box).all()


def test_streams_of_a_seed_differ_and_seeds_repeat() -> None:
    assert (all_pairs.seed_random_state(1, 2) == all_pairs.seed_random_state(1, 2)).all()
    states = {
        all_pairs.seed_random_state(seed, stream).tobytes()
        for seed in range(5)
        for stream in range(5)
    }
    assert len(states) == 25


def test_generator_is_xoshiro256_plus_plus_and_uniform() -> None:
    def reference(state: list[int]) -> float:
        mask = 2**64 - 1
        total = (state[0] + state[3]) & mask
        result = ((((total << 23) | (total >> 41)) & mask) + state[0]) & mask
        t = (state[1] << 17) & mask
        state[2] ^= state[0]
        state[3] ^= state[1]
        state[1] ^= state[2]
        state[0] ^= state[3]
        state[2] ^= t
        state[3] = ((state[3] << 45) | (state[3] >> 19)) & mask
        return (result >> 11) / 2**53

    state = all_pairs.seed_random_state(3)
    slow = state.tolist()
    drawn = np.array([all_pairs.random_number(state) for _ in range(20_000)])
    assert drawn[:1000].tolist() == [reference(slow) for _ in range(1000)]
    counts = np.histogram(drawn, bins=20, range=(0, 1))[0]
    # Chi squared with 19 degrees of freedom: the 99.9 % quantile is 43.8.
    assert ((counts - 1000) ** 2 / 1000).sum() < 43.8
