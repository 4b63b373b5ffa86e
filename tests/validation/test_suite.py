from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from ase.constraints import FixAtoms

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
def test_a_model_ten_percent_too_strong_shows_in_every_quantity(quick):
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
def test_result_is_json_and_states_how_it_is_scaled_down(quick):
    result, stages = quick
    document = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert set(document) == {"protocol", "summary", "curves"}
    assert "paper: 80 samples of 1500 atoms" in document["protocol"]
    assert "one glass of 48 atoms, relaxed" in document["protocol"]
    assert document["summary"]["model"]["n_shear"] == 1
    assert len(document["curves"]["model"]["radial_distribution"]["xray"]) == 200
    assert np.shape(document["curves"]["model"]["stiffness"]) == (1, 6, 6)
    assert stages[-1][1:] == (10, 10)
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
    assert result.model.elastic == {}
    assert result.energies == {"model": [0.0]}
    assert len(result.dimers) == 3
    json.dumps(result.as_dict(), allow_nan=False)


@pytest.mark.faults
def test_one_bad_glass_costs_only_its_own_results(disordered, monkeypatch):
    monkeypatch.setitem(
        SUITES,
        "tiny",
        replace(SUITES["tiny"], n_elastic=3, n_shear=3, hold_time=0.02, n_frames=2),
    )
    bad = disordered.copy()
    bad.positions[0] = bad.positions[1]
    for position in (0, 1, 2):
        glasses = [disordered, disordered]
        glasses.insert(position, bad)
        result = run_suite(lennard_jones("Cu", "Zr"), glasses, suite="tiny")
        summary = result.summary()["model"]
        good = [index for index in range(3) if index != position]
        assert list(result.model.elastic) == good
        assert [curve["glass"] for curve in result.model.curves()["shear"]] == good
        assert (summary["n_elastic"], summary["n_shear"]) == (2, 2)
        assert f"model: elastic constants, glass {position + 1}" in result.failures
        assert f"model: quasi-static shear, glass {position + 1}" in result.failures
        assert summary["density"] is not None


@pytest.mark.faults
def test_a_potential_that_evaporates_is_a_failure(disordered, monkeypatch):
    """A glass under forces a tenth as strong boils at 2000 K: no viscosity of a gas is reported."""
    monkeypatch.setitem(SUITES, "tiny", replace(TINY, melt_hold_time=2.0, melt_time=0.5))
    result = run_suite(lennard_jones("Cu", "Zr", epsilon=0.04), [disordered], suite="tiny")
    assert "evaporates" in result.failures["model: melt"]
    assert result.model.viscosity is None
    assert result.model.melt is None
    assert "model: viscosity" in result.failures
    assert result.model.elastic


def test_a_melt_of_another_density_than_the_reference_is_a_failure(disordered, monkeypatch):
    settings = replace(SUITES["tiny"], melt_hold_time=0.3, melt_time=0.3)
    monkeypatch.setitem(SUITES, "tiny", settings)
    result = run_suite(
        lennard_jones("Cu", "Zr", sigma=2.15),
        [disordered],
        lennard_jones("Cu", "Zr"),
        suite="tiny",
    )
    assert "against the reference" in result.failures["model: melt"]


def test_constraints_are_ignored(disordered, monkeypatch):
    monkeypatch.setitem(SUITES, "tiny", replace(SUITES["tiny"], hold_time=0.02, n_frames=2))
    fixed = disordered.copy()
    fixed.set_constraint(FixAtoms(range(30)))
    free, constrained = (
        run_suite(lennard_jones("Cu", "Zr"), [glass], suite="tiny").summary()["model"]
        for glass in (disordered, fixed)
    )
    assert constrained["shear_modulus"] == pytest.approx(free["shear_modulus"], rel=1e-3)
    assert constrained["shear_modulus_aqs"] == pytest.approx(free["shear_modulus_aqs"], rel=1e-3)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda atoms: atoms.positions.__setitem__((3, 0), np.nan), "atom 3 .* not finite"),
        (lambda atoms: atoms.positions.__setitem__((3, 0), np.inf), "atom 3 .* not finite"),
        (lambda atoms: atoms.set_cell(np.full((3, 3), np.nan)), "cell vector that is not finite"),
        (lambda atoms: atoms.set_cell([1.0, 1.0, 0.0]), "volume 0"),
        (lambda atoms: atoms.__delitem__(slice(None)), "no atoms"),
        (lambda atoms: atoms.__delitem__(slice(5, None)), "has 5 atoms, fewer than 15"),
    ],
)
def test_structures_that_are_not_finite_are_refused(damage, message):
    atoms = disordered_atoms()
    damage(atoms)
    with pytest.raises(InputError, match=f"glass 2 .*{message}"):
        run_suite(IdealGas(), [disordered_atoms(), atoms])


def test_bad_input_is_refused():
    atoms = disordered_atoms()
    with pytest.raises(InputError, match="suite 'slow' is unknown"):
        run_suite(IdealGas(), [atoms], suite="slow")
    with pytest.raises(InputError, match="no glass"):
        run_suite(IdealGas(), [])
    atoms.pbc = False
    with pytest.raises(InputError, match="periodic"):
        run_suite(IdealGas(), [atoms])
