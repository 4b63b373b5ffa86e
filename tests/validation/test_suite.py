from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from mgflows.errors import InputError
from mgflows.validation.suite import SUITES, SuiteSettings, run_suite
from tests.helpers.calculators import IdealGas, disordered_atoms, lennard_jones

TINY = SuiteSettings(
    n_elastic=1,
    n_shear=1,
    shear_directions=("xy", "yz"),
    hold_time=0.1,
    n_frames=5,
    cooling_rate=4e3,
    viscosity_temperature=1500.0,
    viscosity_time=0.6,
    melt_time=0.1,
)


@pytest.fixture(scope="module")
def quick(disordered):
    stages = []
    moved = []
    for seed in range(3):
        glass = disordered.copy()
        glass.rattle(0.02 * (seed + 1), seed=seed)
        moved.append(glass)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SUITES, "quick", replace(SUITES["quick"], n_shear=1, hold_time=0.6))
        result = run_suite(
            lennard_jones("Cu", "Zr", epsilon=0.44),
            moved,
            lennard_jones("Cu", "Zr"),
            progress=lambda *state: stages.append(state),
        )
    return result, stages


@pytest.mark.slow
@pytest.mark.physics
def test_a_model_ten_percent_too_strong_is_seen_everywhere(quick):
    """All energies and stresses of a pair potential scale with epsilon, and its structure stays."""
    result, _ = quick
    model, reference = result.summary()["model"], result.summary()["reference"]
    assert result.failures == {}
    for modulus in ("bulk_modulus", "shear_modulus", "young_modulus"):
        assert model[modulus] == pytest.approx(1.1 * reference[modulus], rel=0.02)
    assert model["poisson_ratio"] == pytest.approx(reference["poisson_ratio"], abs=0.005)
    assert model["shear_modulus_aqs"] == pytest.approx(
        1.1 * reference["shear_modulus_aqs"], rel=0.05
    )
    assert result.summary()["energy_slope"] == pytest.approx(1.1, rel=1e-6)
    assert result.summary()["energy_r_squared"] == pytest.approx(1.0)
    assert result.rdf_distance.mean_absolute_error < 0.3
    assert model["density"] == pytest.approx(reference["density"], rel=0.02)
    assert all(curve.repulsive for curve in result.dimers.values())


@pytest.mark.slow
def test_result_is_json_and_says_how_it_is_scaled_down(quick):
    result, stages = quick
    document = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert set(document) == {"protocol", "summary", "curves"}
    assert "paper: 80 samples of 1500 atoms" in document["protocol"]
    assert "one glass of 48 atoms, relaxed" in document["protocol"]
    assert document["summary"]["model"]["n_shear"] == 1
    assert len(document["curves"]["model"]["radial_distribution"]["xray"]) == 200
    assert np.shape(document["curves"]["model"]["stiffness"]) == (1, 6, 6)
    assert stages[-1][1:] == (8, 8)
    assert [done for _, done, _ in stages] == sorted(done for _, done, _ in stages)


@pytest.mark.slow
def test_every_quantity_runs_and_is_repeatable(disordered, monkeypatch):
    monkeypatch.setitem(SUITES, "tiny", TINY)
    one, two = (
        run_suite(lennard_jones("Cu", "Zr"), [disordered], suite="tiny", seed=3) for _ in range(2)
    )
    assert one.failures == {}
    assert one.reference is None
    assert one.rdf_distance is None
    assert one.model.heat_capacity.heat_capacity.shape == (6,)
    assert one.model.viscosity.running_integral.size > 3
    assert len(one.model.shear[0].curves) == 2
    first, second = (
        {key: value for key, value in run.summary().items() if key != "cpu_seconds"}
        for run in (one, two)
    )
    assert first == second
    json.dumps(one.as_dict(), allow_nan=False)


@pytest.mark.faults
def test_a_potential_that_fails_keeps_what_it_can_do(monkeypatch):
    monkeypatch.setitem(SUITES, "tiny", TINY)
    result = run_suite(IdealGas(), [disordered_atoms()], suite="tiny")
    assert "unstable" in result.failures["model: elastic constants"]
    assert result.model.elastic == ()
    assert result.energies == {"model": [0.0]}
    assert len(result.dimers) == 3
    json.dumps(result.as_dict(), allow_nan=False)


def test_bad_input_is_refused():
    atoms = disordered_atoms()
    with pytest.raises(InputError, match="suite 'slow' is unknown"):
        run_suite(IdealGas(), [atoms], suite="slow")
    with pytest.raises(InputError, match="no glass"):
        run_suite(IdealGas(), [])
    atoms.pbc = False
    with pytest.raises(InputError, match="periodic"):
        run_suite(IdealGas(), [atoms])
