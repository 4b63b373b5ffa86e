"""Replicas in the lanes of a register against one sampler at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from mgflows import Alloy
from mgflows.errors import InputError
from mgflows.surrogate import LennardJones, SwapMonteCarlo
from mgflows.surrogate.replicas import SwapMonteCarloReplicas
from tests.helpers.replicas import check_averages

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def lj() -> LennardJones:
    return LennardJones.cuzral()


@pytest.mark.parametrize(
    ("dtype", "lanes", "tolerance"), [("float32", 16, 1e-4), ("float64", 8, 1e-10)]
)
def test_energies_are_those_of_the_configurations(
    lj: LennardJones, dtype: str, lanes: int, tolerance: float
) -> None:
    sampler = SwapMonteCarloReplicas.from_alloy(lj, Alloy.cuzral(), seed=1, dtype=dtype)
    samples = sampler.run(370, 5.0, sample_every=10)
    assert samples.shape == (37, lanes)
    np.testing.assert_array_equal(samples[-1], sampler.energies_per_atom)
    expected = [lj.energy(atoms) / 150 / lj.energy_unit for atoms in sampler.replicas]
    np.testing.assert_allclose(sampler.energies_per_atom, expected, atol=tolerance)
    assert len(set(expected)) == lanes
    assert sampler.energy_per_atom == pytest.approx(np.mean(expected), abs=tolerance)
    assert sampler.replicas[3].get_chemical_symbols() == Alloy.cuzral().symbols
    attempted, accepted = np.sum(list(sampler.exchanges.values()), axis=0)
    assert 0.1 < accepted / attempted < 0.5
    assert (
        attempted + sum(tried for tried, _ in sampler.displacements.values()) == 370 * 150 * lanes
    )


@pytest.mark.physics
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_means_and_fluctuations_are_those_of_single_samplers(lj: LennardJones, dtype: str) -> None:
    replicas = SwapMonteCarloReplicas.from_alloy(lj, Alloy.cuzral(), seed=2, dtype=dtype)
    check_averages(replicas, lj)


@pytest.mark.physics
def test_replicas_are_independent(lj: LennardJones) -> None:
    sampler = SwapMonteCarloReplicas.from_alloy(lj, Alloy.cuzral(), seed=3)
    sampler.equilibrate(300)
    sampler.run(500, 8.0)
    correlation = np.corrcoef(sampler.run(6000, 8.0, sample_every=100).T)[np.triu_indices(16, 1)]
    # 120 pairs of 60 nearly independent samples: 0.13 each by chance, 0.012 in the mean.
    assert abs(correlation.mean()) < 0.05


def test_cooling_and_restart_are_bitwise(lj: LennardJones, tmp_path: Path) -> None:
    path = tmp_path / "replicas.npz"
    whole = SwapMonteCarloReplicas.from_alloy(lj, Alloy.cuzral(), seed=4)
    whole.run(90, 10.0)
    whole.save(path)
    cooling = whole.cool(400, n_snapshots=2)
    pieces = SwapMonteCarloReplicas.load(path)
    assert not pieces.cool(400, n_snapshots=2, wall_time=0.0, checkpoint=path).finished
    pieces = SwapMonteCarloReplicas.load(path)
    assert pieces.cooling is not None
    pieces._advance(pieces.cooling.schedule.temperatures(0, 4), 0.2)
    pieces.save(path)
    pieces = SwapMonteCarloReplicas.load(path)
    assert pieces.resume().finished
    for name, array in whole._system.arrays().items():
        np.testing.assert_array_equal(pieces._system.arrays()[name], array, err_msg=name)
    assert cooling.snapshots[1].positions.shape == (16, 150, 3)
    assert whole.energies_per_atom.max() < 1.0
    with pytest.raises(InputError, match="not a checkpoint"):
        SwapMonteCarlo.load(path)


def test_inconsistent_starts_raise(lj: LennardJones) -> None:
    starts = SwapMonteCarloReplicas.from_alloy(lj, Alloy.cuzral(), seed=1).replicas
    with pytest.raises(InputError, match="15 replicas"):
        SwapMonteCarloReplicas(lj, starts[:15], seed=1)
    starts[3].symbols[0] = "Al"
    with pytest.raises(InputError, match="differ"):
        SwapMonteCarloReplicas(lj, starts, seed=1)
