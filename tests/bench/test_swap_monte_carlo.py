"""Speed of the sampler, and the command that compares it with other codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from numba import cuda

from mgflows import Alloy
from mgflows.bench.swap_monte_carlo import CReference, LammpsReference, measure_depth
from mgflows.cli.bench import bench
from mgflows.surrogate import LennardJones, SwapMonteCarlo

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def liquid() -> SwapMonteCarlo:
    sampler = SwapMonteCarlo.from_alloy(LennardJones.cuzral(), Alloy.cuzral(), seed=1)
    sampler.equilibrate(500)
    sampler.run(500, 2.0)
    return sampler


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_sweeps(benchmark: Any, liquid: SwapMonteCarlo, dtype: str) -> None:
    sampler = SwapMonteCarlo(liquid.lj, liquid.atoms, seed=2, dtype=dtype)
    benchmark(sampler.run, 50, 2.0)


@pytest.mark.needs("gcc", "lammps")
@pytest.mark.physics
def test_all_codes_start_from_the_same_energy(liquid: SwapMonteCarlo, tmp_path: Path) -> None:
    lammps = LammpsReference(liquid.lj, liquid.atoms, 2.0)
    assert lammps.energy / 150 == pytest.approx(liquid.energy_per_atom, rel=1e-10)
    lammps.close()
    reference = CReference(liquid.lj, liquid.atoms, "float64", tmp_path)
    reference.run(0, 2.0)
    assert reference.energy / 150 == pytest.approx(liquid.energy_per_atom, rel=1e-6)


@pytest.mark.needs("gcc", "lammps")
@pytest.mark.slow
def test_bench_compares_with_c_and_lammps() -> None:
    result = CliRunner().invoke(bench, ["swap-mc", "--seconds", "1", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    on_gpu = cuda.is_available()
    assert list(found["absent"]) == ([] if on_gpu else ["mgflows_gpu"])
    codes = {(m["code"], m["precision"]) for m in found["measurements"]}
    assert codes == {
        (code, precision)
        for code in ("mgflows", "mgflows_replicas", "c", *(("mgflows_gpu",) if on_gpu else ()))
        for precision in ("float64", "float32")
    } | {
        ("lammps", "float64"),
        ("mgflows_images", "float64"),
    }
    energies = [
        m["energy_per_atom"] for m in found["measurements"] if m["energy_per_atom"] is not None
    ]
    # Short runs of a liquid at T* = 2, where the energy fluctuates slowly by 0.15.
    assert max(energies) - min(energies) < 0.5
    # Their size depends on the machine (docs/reference/performance.md).
    assert all(ratio > 0.0 for ratio in found["ratios"].values())
    assert found["ratios"].keys() >= {
        "mgflows_float64_over_c_float64",
        "mgflows_float64_over_lammps_float64",
    }
    assert found["molecular_dynamics"]["mgflows_over_lammps"] > 0.0


def test_the_efficient_protocol_needs_less_processor_time_for_the_same_depth() -> None:
    result = measure_depth(120, lengths=(300, 1000, 4000))
    assert [row["n_sweeps"] for row in result["rows"]] == 2 * [300, 1000, 4000]
    energies = [row["e_is"] for row in result["rows"]]
    assert energies[:3] == sorted(energies[:3], reverse=True)
    assert result["e_is"] == energies[2]
    # At equal sweeps; seconds are measured, not tested.
    assert all(b < a for a, b in zip(energies[:3], energies[3:], strict=True))
    assert result["seconds"]["efficient"] is None or result["seconds"]["efficient"] > 0.0
