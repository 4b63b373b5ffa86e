"""Replicas on a GPU, or in numba's CUDA simulator, against single samplers on the processor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mgflows import Alloy
from mgflows.errors import MissingDependencyError
from mgflows.surrogate import LennardJones
from mgflows.surrogate.gpu import SwapMonteCarloGpu, require_gpu
from tests.helpers.replicas import check_averages

if TYPE_CHECKING:
    from pathlib import Path

# A gas of 10 atoms: the simulator runs each thread of a block as a thread of Python.
SIMULATION = textwrap.dedent(
    """
    import json
    import numpy as np
    from mgflows import Alloy
    from mgflows.surrogate import LennardJones, SwapMonteCarlo
    from mgflows.surrogate.gpu import SwapMonteCarloGpu
    from mgflows.surrogate.kernels.layouts import GpuReplicas

    GpuReplicas.threads = 2
    lj, seeds = LennardJones.cuzral(), [3, 4]
    alloy = Alloy({"Cu": 0.4, "Zr": 0.4, "Al": 0.2}, n_atoms=10, number_density=0.006)
    settings = {"dtype": "float64", "swap_fraction": 0.4}
    together = SwapMonteCarloGpu.from_alloy(lj, alloy, seeds, **settings)
    alone = [
        SwapMonteCarlo(lj, start, (seed, 1), method="all_pairs", **settings)
        for seed, start in zip(seeds, together.replicas)
    ]
    temperatures = (0.8, 0.2)
    energies = [[sampler.run(6, t) for t in temperatures] for sampler in (together, *alone)]
    exchanges = [list(sampler.exchanges.values()) for sampler in (together, *alone)]
    lattices = [sampler._system.lattice.tolist() for sampler in (together, *alone)]
    together.save("gpu.npz")
    continued = [s.run(2, 0.5) for s in (together, SwapMonteCarloGpu.load("gpu.npz"))]
    print(json.dumps({
        "energies": [np.concatenate(each).T.tolist() for each in energies],
        "exchanges": exchanges,
        "lattices": lattices,
        "continued": [each.tolist() for each in continued],
    }))
    """
)


def test_replicas_follow_the_paths_of_single_samplers(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", SIMULATION],
        cwd=tmp_path,
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    together, *alone = found["lattices"]
    assert together == alone
    together, *alone = found["energies"]
    np.testing.assert_allclose(together, alone, rtol=1e-9, atol=1e-12)
    assert len({tuple(each) for each in together}) == 2
    together, *alone = found["exchanges"]
    np.testing.assert_array_equal(together, np.sum(alone, axis=0))
    attempted, accepted = np.sum(together, axis=0)
    assert 0 < accepted < attempted
    assert found["continued"][0] == found["continued"][1]


def test_without_a_gpu_the_error_names_the_alternative() -> None:
    from numba import cuda

    if cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(MissingDependencyError, match="SwapMonteCarloReplicas"):
        require_gpu()


@pytest.mark.gpu
@pytest.mark.physics
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_means_and_fluctuations_on_a_gpu_are_those_of_single_samplers(dtype: str) -> None:
    lj = LennardJones.cuzral()
    replicas = SwapMonteCarloGpu.from_alloy(lj, Alloy.cuzral(), 2, n_replicas=256, dtype=dtype)
    check_averages(replicas, lj)
