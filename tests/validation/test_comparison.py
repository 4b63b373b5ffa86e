"""Validations by independent samples: planning, measuring, averaging."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.build import bulk
from pymatgen.core import Structure

from mgflows.checkpoints import only_process
from mgflows.errors import InputError, MissingFileError
from mgflows.md.potentials import (
    CalculatorPotential,
    EamPotential,
    NepPotential,
    StandInPotential,
    parse_potential,
)
from mgflows.schemas.labels import atoms_from_structure, structure_from_atoms
from mgflows.validation.comparison import compare
from mgflows.validation.experiments import Experiment, load_experiments
from mgflows.validation.measurement import glass_digest, measure_sample
from mgflows.validation.plan import PROTOCOLS, SampleTask, SuiteProtocol, forecast, plan_samples
from mgflows.validation.quantities import QUANTITIES
from mgflows.validation.run import (
    KeptSamples,
    References,
    check_inputs,
    compare_potentials,
    unique_names,
)
from mgflows.validation.sample import Sample
from mgflows.validation.sample_files import SampleFiles
from mgflows.validation.shear import ShearCurve, ShearResult
from mgflows.validation.transport import finite_size_correction
from tests.helpers.calculators import lennard_jones
from tests.helpers.potentials import random_potential

if TYPE_CHECKING:
    from mgflows.validation.averages import ModelResults


def pair(epsilon: float) -> CalculatorPotential:
    return CalculatorPotential(instance=lennard_jones("Cu", "Zr", epsilon=epsilon))


def task(kind: str, index: int = 0, temperature: float | None = None) -> SampleTask:
    return SampleTask("model", kind, index, temperature, 0, 0, 0.0)


def test_the_paper_suite_has_the_numbers_of_the_paper():
    tasks = plan_samples("paper", [StandInPotential()], n_glasses=85, glass_atoms=150)
    counts = {kind: n for kind, (n, _) in forecast(tasks).items()}
    assert counts == {"soundness": 1, "glass": 85, "quench": 80, "melt": 120}
    quench = next(each for each in tasks if each.kind == "quench")
    assert quench.n_atoms == 1500
    # 17 ns at 2 fs, and 1.6 us per atom and step.
    assert quench.seconds == pytest.approx(1.6e-6 * 1500 * 8.5e6, rel=0.01)
    assert {each.temperature for each in tasks if each.kind == "melt"} == {
        *(1400.0, 1450.0, 1500.0, 1550.0, 1600.0, 1650.0)
    }
    assert len({(each.kind, each.index, each.temperature) for each in tasks}) == len(tasks)
    assert len({each.seed for each in tasks}) == len(tasks)


def test_added_samples_continue_the_numbers_and_have_other_seeds():
    potentials = [StandInPotential()]
    first, second = (
        plan_samples("standard", potentials, n_glasses=3, glass_atoms=150, first=first)
        for first in (0, 4)
    )
    assert {each.kind for each in second} == {"quench", "melt"}
    assert {each.index for each in second if each.kind == "quench"} == {4, 5, 6, 7}
    assert not {each.seed for each in first} & {each.seed for each in second}


def test_every_potential_gets_the_same_random_numbers():
    tasks = plan_samples(
        "quick",
        [pair(0.4), StandInPotential()],
        n_glasses=2,
        glass_atoms=48,
        name_of=lambda potential: potential.name,
    )
    n = len(tasks) // 2
    assert [each.seed for each in tasks[:n]] == [each.seed for each in tasks[n:]]


@pytest.mark.slow
@pytest.mark.physics
def test_a_potential_ten_percent_too_strong_beside_the_right_one(disordered):
    """Moduli and energies scale with the depth of a pair potential, the structure does not."""
    protocol = replace(
        PROTOCOLS["tiny"],
        n_glasses=3,
        n_quenches=2,
        cooling_rate=2e4,
        equilibration_time=0.1,
        hold_time=0.4,
        hot_time=0.0,
        drift_time=0.02,
        melt_temperatures=(1500.0,),
        n_melts=1,
        melt_time=1.2,
        n_melts_most=1,
    )
    protocol = replace(protocol, hot_time=0.6)
    glasses = [disordered.copy() for _ in range(3)]
    for seed, glass in enumerate(glasses):
        glass.rattle(0.02 * (seed + 1), seed=seed)
    labels = [
        float(
            CalculatorPotential(instance=lennard_jones("Cu", "Zr"))
            .calculator()
            .get_potential_energy(glass)
        )
        / len(glass)
        for glass in glasses
    ]
    seen = []
    measured = Experiment("bulk_modulus", "CuZr", 100.0, None, None, "", "10.1000/x", "-", True)
    result = compare_potentials(
        [pair(0.4), pair(0.44)],
        glasses,
        suite=protocol,
        references=References(labels, [measured]),
        progress=lambda *state: seen.append(state),
    )
    one, other = (model.estimates for model in result.models)
    assert [model.name for model in result.models] == ["PairPotential", "PairPotential (2)"]
    for modulus in ("bulk_modulus", "shear_modulus", "young_modulus"):
        assert one[modulus].n_samples == 3
        assert other[modulus].value == pytest.approx(1.1 * one[modulus].value, rel=0.02)
    assert one["energy_slope"].value == pytest.approx(1.0, rel=1e-6)
    assert other["energy_slope"].value == pytest.approx(1.1, rel=1e-6)
    assert one["density"].n_samples == 2
    assert one["density"].error > 0.0
    assert one["viscosity 1500 K"].temperature == 1500.0
    assert (
        "relaxation_time 1500 K" in one
        or "melt 1500 K 1, alpha relaxation time" in result.models[0].unresolved
    )
    assert "slowest decay resolved" in one["viscosity 1500 K"].verdict
    near = one["coordination all"].value
    assert other["coordination all"].value == pytest.approx(near, abs=1.5)
    assert other["rdf_distance"].error > 0.0
    assert "no error" not in other["rdf_distance"].verdict
    assert seen[-1][1] == seen[-1][2] == len(seen)
    modulus = next(row for row in result.rows() if row[0] == "bulk_modulus")
    assert [each.value for each in modulus[3]] == [100.0]
    json.dumps([asdict(model) for model in result.models])


@pytest.mark.slow
def test_finished_samples_are_kept_and_averaged_at_any_time(disordered, tmp_path, monkeypatch):
    protocol = replace(
        PROTOCOLS["tiny"],
        n_glasses=2,
        n_quenches=0,
        n_yield=1,
        yield_strain=0.12,
        yield_step=2e-3,
        hot_time=0.02,
        drift_time=0.02,
    )
    glasses = [disordered.copy() for _ in range(2)]
    glasses[1].rattle(0.02, seed=1)
    settings = {"suite": protocol, "samples": KeptSamples(tmp_path / "samples")}
    finished = settings | {"samples": KeptSamples(tmp_path / "samples", finished_only=True)}
    with pytest.raises(InputError, match="no sample of this validation is finished"):
        compare_potentials([pair(0.4)], glasses, **finished)

    def stop(sample, done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare_potentials([pair(0.4)], glasses, **settings, progress=stop)
    part = compare_potentials([pair(0.4)], glasses, **finished).models[0]
    assert (part.n_done, part.n_planned) == (3, 4)
    assert part.estimates["bulk_modulus"].n_samples == 2
    # Nothing moves in the relaxed glass; the atoms of the displaced one return to it.
    rattled = glasses[1].positions - glasses[0].positions
    expected = np.linalg.norm(rattled - rattled.mean(axis=0), axis=1).mean() / 2.0
    assert part.estimates["displacement"].value == pytest.approx(expected, rel=0.05)
    assert part.estimates["delta_cb"].value > 0.9
    assert "yield_stress" not in part.estimates

    whole = compare_potentials([pair(0.4)], glasses, **settings).models[0]
    assert whole.estimates["bulk_modulus"] == part.estimates["bulk_modulus"]
    assert whole.estimates["yield_stress"].value == max(whole.curves["stress-strain"]["stress"])
    monkeypatch.setattr("mgflows.validation.run.measure_sample", None)
    again = compare_potentials([pair(0.4)], glasses, **settings).models[0]
    assert json.dumps(asdict(again)) == json.dumps(asdict(whole))
    monkeypatch.undo()
    with only_process(tmp_path / "samples", "measuring in", hint="wait"):
        for file in (tmp_path / "samples").glob("*soundness*.json"):
            file.unlink()
        with pytest.raises(InputError, match=r"another process is measuring in .*samples"):
            compare_potentials([pair(0.4)], glasses, **settings)
        assert compare_potentials([pair(0.4)], glasses, **finished).models[0].n_done == 3
    damaged = next((tmp_path / "samples").glob("*yield*.json"))
    for text in ("{", "{}", "[]", '{"values": 3}'):
        damaged.write_text(text)
        with pytest.raises(InputError, match="is not a sample of a validation"):
            compare_potentials([pair(0.4)], glasses, **settings)


@pytest.mark.faults
def test_missing_and_failed_samples_are_counted_and_left_out():
    good = [Sample(values={"density": value}) for value in (6.9, 7.1)]
    exploded = Sample(failures={"quench": "the structure evaporates at 900 K"})
    samples = [
        ("model", task("quench", index), sample)
        for index, sample in enumerate([good[0], "a worker was killed", exploded, good[1]])
    ]
    result = compare(samples, suite="own", protocol=SuiteProtocol(), composition={"Cu": 1.0})
    (model,) = result.models
    assert model.estimates["density"].value == pytest.approx(7.0)
    assert model.estimates["density"].error == pytest.approx(0.1)
    assert model.estimates["density"].n_samples == 2
    assert (model.n_done, model.n_planned) == (3, 4)
    assert model.failures == {
        "quench 2": "a worker was killed",
        "quench 3": "the structure evaporates at 900 K",
    }


def test_runs_that_differ_more_than_their_segments_determine_the_error_of_the_viscosity():
    time = 4.0 * np.arange(400)
    runs = []
    for strength in (1.0, 1.5):
        noise = np.random.default_rng(3).normal(scale=1e-4, size=(5, len(time)))
        rows = strength * np.exp(-time / 100.0) + noise
        correlation = {f"segment {k}": row.tolist() for k, row in enumerate(rows)}
        values = {"viscosity": np.nan, "melt_volume": 7500.0}
        curves = {"stress correlation": {"time": time.tolist(), **correlation}}
        runs.append(Sample(values=values, curves=curves))
    samples = [("m", task("melt", k, 1500.0), run) for k, run in enumerate(runs)]
    settings = {"suite": "own", "protocol": SuiteProtocol(), "composition": {"Cu": 1.0}}
    found = compare(samples, **settings).models[0].estimates["viscosity 1500 K"]
    # The two values are 0.8 and 1.2 times the mean.
    assert found.error / found.value == pytest.approx(0.2, rel=0.03)
    assert found.verdict.startswith("not converged: error 20%; 2 of at most 20 runs")


def test_what_a_suite_cannot_resolve_is_no_failure_and_no_sample_is_stated():
    fast = Sample(values={"density": 7.0}, unresolved={"glass transition (volume)": "no kink"})
    samples = [("model", task("quench"), fast)]
    settings = {"suite": "own", "protocol": SuiteProtocol(), "composition": {"Cu": 1.0}}
    result = compare(samples, **settings, names=["model", "without samples"])
    assert not result.failures
    assert result.unresolved == {"model: quench 1, glass transition (volume)": "no kink"}
    assert [(model.name, model.n_done) for model in result.models] == [
        ("model", 1),
        ("without samples", 0),
    ]


def test_the_glass_transition_of_a_fast_cooling_is_not_resolved(disordered):
    protocol = replace(PROTOCOLS["tiny"], cooling_rate=500.0, hold_time=0.1, n_frames=2)
    sample = measure_sample(task("quench"), StandInPotential(), [disordered], protocol)
    assert not sample.failures
    assert {"glass transition, volume", "glass transition, enthalpy"} <= set(sample.unresolved)
    assert "density" in sample.values
    # The lines of glass and liquid do not need their intersection.
    for phase in ("glass", "liquid"):
        assert sample.errors[f"thermal_expansion_{phase}"] > 0.0


def test_a_short_melt_has_no_heat_capacity_from_fluctuations(disordered):
    protocol = replace(PROTOCOLS["tiny"], equilibration_time=2.1, melt_time=2.0)
    sample = measure_sample(task("melt", 0, 2000.0), StandInPotential(), [disordered], protocol)
    assert not sample.failures
    reason = sample.unresolved["heat capacity of the melt, fluctuations"]
    assert "too short for the correlation of the enthalpy" in reason
    assert not [name for name in sample.values if name.startswith("heat_capacity")]
    assert sample.values["melt_enthalpy"] < 0.0


def test_samples_of_different_versions_are_pointed_out(tmp_path):
    stored = [Sample(values={"density": 7.0}, version=version) for version in ("0.1.0", "")]
    samples = [("m", task("quench", k), sample) for k, sample in enumerate(stored)]
    settings = {"suite": "own", "protocol": SuiteProtocol(), "composition": {"Cu": 1.0}}
    mixed = compare(samples, **settings).mixed_versions
    assert "different versions of mgflows: 0.1.0 and one that is not recorded" in mixed
    assert not compare(samples[:1], **settings).mixed_versions
    # Files of earlier versions do not record it.
    files = SampleFiles(tmp_path, [bulk("Cu")], SuiteProtocol(), {"model": (pair(0.4), "m")})
    old = {"values": {"density": 7.0}, "cpu_seconds": 1.0}
    files.path(task("quench")).write_text(json.dumps(old))
    assert files.read(task("quench")).version == ""
    files.write(task("quench"), stored[0])
    assert files.read(task("quench")).version == "0.1.0"


def mean_of(title: str, *curves: dict[str, list[float]]) -> ModelResults:
    """The model of samples with one curve each."""
    samples = [("m", task("quench", k), Sample(curves={title: c})) for k, c in enumerate(curves)]
    settings = {"suite": "own", "protocol": SuiteProtocol(), "composition": {"Cu": 1.0}}
    return compare(samples, **settings).models[0]


def heat_capacity(temperature: list[float], value: float, error: float) -> dict[str, list[float]]:
    n = len(temperature)
    return {"temperature": temperature, "heat_capacity": [value] * n, "error": [error] * n}


def test_curves_are_averaged_at_the_abscissae_they_share():
    one, other = (
        heat_capacity(windows, value, 0.5)
        for windows, value in (([400.0, 700.0, 1000.0], 24.0), ([702.0, 1002.0, 1300.0], 30.0))
    )
    model = mean_of("heat capacity", one, other)
    curve = model.curves["heat capacity"]
    assert curve["temperature"] == [701.0, 1001.0]
    assert curve["heat_capacity"] == [27.0, 27.0]
    # The standard error over samples, as of every other quantity.
    assert curve["error"] == pytest.approx([3.0, 3.0])
    assert curve["n_samples"] == [2.0, 2.0]
    assert model.unresolved == {
        "heat capacity curve": "2 points from 400 to 1300 K left out, in fewer than 2 of 2 curves"
    }
    # A third sample with all windows; points of two of the three are kept.
    third = heat_capacity([401.0, 701.0, 1001.0, 1301.0], 27.0, 0.5)
    model = mean_of("heat capacity", one, other, third)
    curve = model.curves["heat capacity"]
    assert curve["n_samples"] == [2.0, 3.0, 3.0, 2.0]
    assert curve["heat_capacity"] == pytest.approx([25.5, 27.0, 27.0, 28.5])
    assert curve["error"] == pytest.approx([1.5, 3.0 / 3**0.5, 3.0 / 3**0.5, 1.5])
    assert model.unresolved == {
        "heat capacity curve": "2 points from 400.5 to 1300 K averaged over 2 of 3 curves"
    }


def test_a_single_curve_has_its_own_error_and_complete_ones_have_no_note():
    one = heat_capacity([400.0, 700.0], 24.0, 0.5)
    model = mean_of("heat capacity", one)
    assert model.curves["heat capacity"] == one | {"n_samples": [1.0, 1.0]}
    assert not model.unresolved
    down = {"temperature": [2000.0, 1000.0, 300.0], "volume": [18.0, 17.0, 16.0]}
    model = mean_of("cooling", down, down | {"volume": [18.2, 17.2, 16.2]})
    assert model.curves["cooling"]["temperature"] == [2000.0, 1000.0, 300.0]
    assert model.curves["cooling"]["volume"] == pytest.approx([18.1, 17.1, 16.1])
    assert not model.unresolved


@pytest.mark.parametrize("title", ["stress-strain", "shear xy"])
def test_curves_that_end_early_are_averaged_as_far_as_most_samples_reach(title):
    strain = (1e-3 * np.arange(101)).tolist()
    curves = [
        {"strain": strain[:n], "stress": [slope * x for x in strain[:n]]}
        for n, slope in ((101, 20.0), (61, 23.0), (81, 26.0))
    ]
    model = mean_of(title, *curves)
    curve = model.curves[title]
    assert curve["strain"] == pytest.approx(strain[:81])
    assert curve["n_samples"] == [3.0] * 61 + [2.0] * 20
    slopes = [23.0] * 61 + [23.0] * 20
    assert curve["stress"] == pytest.approx([g * x for g, x in zip(slopes, strain, strict=False)])
    assert model.unresolved == {
        f"{title} curve": "20 points from 0.081 to 0.1 left out, in fewer than 2 of 3 curves; "
        "20 points from 0.061 to 0.08 averaged over 2 of 3 curves"
    }


def test_curves_without_a_common_abscissa_have_no_mean_but_a_note():
    model = mean_of(
        "heat capacity", heat_capacity([400.0], 24.0, 0.5), heat_capacity([700.0], 25.0, 0.5)
    )
    assert "heat capacity" not in model.curves
    assert model.unresolved["heat capacity curve"].startswith("no curve; 2 points from 400 to 700")


def test_the_error_of_the_radial_distribution_is_that_over_samples():
    r = [2.0, 2.5, 3.0]
    model = mean_of(
        "radial distribution",
        *({"distance": r, "xray": [0.0, g, 1.0], "Cu-Cu": [0.0, g, 1.0]} for g in (2.0, 2.4)),
    )
    g = model.curves["radial distribution"]
    assert g["xray"] == g["Cu-Cu"] == pytest.approx([0.0, 2.2, 1.0])
    assert g["xray_error"] == pytest.approx([0.0, 0.2, 0.0])


def test_melts_whose_stress_was_sampled_at_another_interval_are_left_out():
    def run(interval: float) -> Sample:
        time = interval * np.arange(400)
        noise = np.random.default_rng(3).normal(scale=1e-4, size=(5, len(time)))
        rows = np.exp(-time / 100.0) + noise
        correlation = {f"segment {k}": row.tolist() for k, row in enumerate(rows)}
        values = {"viscosity": np.nan, "melt_volume": 7500.0}
        curves = {"stress correlation": {"time": time.tolist(), **correlation}}
        return Sample(values=values, curves=curves)

    settings = {"suite": "own", "protocol": SuiteProtocol(), "composition": {"Cu": 1.0}}
    runs = [run(4.0), run(2.0), run(4.0)]
    samples = [("m", task("melt", k, 1500.0), each) for k, each in enumerate(runs)]
    model, alone = (
        compare(chosen, **settings).models[0] for chosen in (samples, [samples[0], samples[2]])
    )
    assert model.estimates["viscosity 1500 K"] == alone.estimates["viscosity 1500 K"]
    assert model.unresolved == {
        "viscosity at 1500 K": "1 run left out, whose stress was not sampled every 4 fs"
    }


def test_a_cooling_without_a_heat_capacity_is_noted(disordered):
    protocol = replace(PROTOCOLS["tiny"], cooling_rate=1e5, hold_time=0.1, n_frames=2)
    sample = measure_sample(task("quench"), StandInPotential(), [disordered], protocol)
    assert "heat capacity" not in sample.curves
    assert "fewer than 40" in sample.unresolved["heat capacity along the cooling"]


def test_a_curve_that_ends_after_yield_is_noted(disordered, monkeypatch):
    strain = np.linspace(0.0, 0.1, 11)
    stress = np.where(strain < 0.06, 20.0 * strain, 0.5)
    failure = "the curve ends at a strain of 0.1: the minimisation is not converged"
    curve = ShearCurve("xy", strain, stress, stress, 20.0, failure=failure)
    monkeypatch.setattr(
        "mgflows.validation.glass_samples.athermal_quasistatic_shear",
        lambda *_, **__: ShearResult((curve,), 20.0, np.nan, (0.0, 0.1)),
    )
    sample = measure_sample(task("yield"), pair(0.4), [disordered], PROTOCOLS["tiny"])
    assert sample.values["yield_strain"] == pytest.approx(0.05)
    assert sample.unresolved == {"stress-strain curve": failure}
    assert not sample.failures


def test_the_digest_of_a_glass_survives_the_database_and_names_the_structure(disordered):
    for decimals in (3, 6, 7, 8, 16):
        glass = disordered.copy()
        glass.positions = np.round(glass.positions, decimals)
        if decimals == 7:
            # Exactly between two numbers of six decimals.
            glass.positions = np.round(glass.positions, 6) + 5e-7
        stored = json.loads(json.dumps(structure_from_atoms(glass).as_dict()))
        assert glass_digest(atoms_from_structure(Structure.from_dict(stored))) == glass_digest(
            glass
        )
    moved = disordered.copy()
    moved.positions[0, 0] += 1e-4
    other = disordered.copy()
    other.symbols[0] = "Al"
    assert len({glass_digest(each) for each in (disordered, moved, other)}) == 3


def test_voronoi_indices_have_errors_over_samples():
    indices = [
        {"<0 0 12 0>": 0.1, "<0 2 8 2>": 0.5, "<0 3 6 4>": 0.4},
        {"<0 2 8 2>": 0.7, "<0 3 6 4>": 0.2, "<0 1 10 2>": 0.1},
    ]
    samples = [
        ("m", task("quench", k), Sample(curves={"voronoi": {i: [f] for i, f in each.items()}}))
        for k, each in enumerate(indices)
    ]
    # A sample of an earlier version has the most frequent ones only.
    earlier = Sample(curves={"voronoi": {"<0 2 8 2>": [0.6]}})
    samples += [("old", task("quench"), earlier)]
    settings = {"suite": "own", "protocol": SuiteProtocol(), "composition": {"Cu": 1.0}}
    model, old = compare(samples, **settings).models
    found = {key: (e.value, e.error, e.n_samples) for key, e in model.estimates.items()}
    assert found == {
        "voronoi <0 2 8 2>": (pytest.approx(0.6), pytest.approx(0.1), 2),
        "voronoi <0 3 6 4>": (pytest.approx(0.3), pytest.approx(0.1), 2),
        "voronoi <0 1 10 2>": (pytest.approx(0.05), pytest.approx(0.05), 2),
    }
    assert {key: e.value for key, e in old.estimates.items()} == {"voronoi <0 2 8 2>": 0.6}


def test_diffusion_is_corrected_where_the_viscosity_is_resolved():
    def run(noise: float) -> Sample:
        time = 4.0 * np.arange(400)
        generator = np.random.default_rng(1)
        rows = np.exp(-time / 100.0) + noise * generator.normal(size=(5, len(time)))
        correlation = {f"segment {k}": row.tolist() for k, row in enumerate(rows)}
        values = {"viscosity": np.nan, "melt_volume": 8000.0, "diffusion Cu": 3.0}
        curves = {"stress correlation": {"time": time.tolist(), **correlation}}
        return Sample(values=values, errors={"diffusion Cu": 0.1}, curves=curves)

    settings = {"suite": "own", "protocol": SuiteProtocol(), "composition": {"Cu": 1.0}}
    good = run(1e-4)
    found = compare([("m", task("melt", 0, 1500.0), good)], **settings).models[0].estimates
    corrected, viscosity = found["diffusion_corrected Cu 1500 K"], found["viscosity 1500 K"]
    # The cell has an edge of 20 A.
    shift = finite_size_correction(1500.0, viscosity.value, 20.0)
    assert corrected.value == pytest.approx(3.0 + shift)
    relative = viscosity.error / viscosity.value
    assert corrected.error == pytest.approx(np.hypot(0.1, relative * shift))
    assert corrected.temperature == 1500.0
    oblong = replace(good, values=good.values | {"melt_cubic": 0.0})
    for sample in (oblong, run(4.0)):
        found = compare([("m", task("melt", 0, 1500.0), sample)], **settings).models[0].estimates
        assert "diffusion Cu 1500 K" in found
        assert "diffusion_corrected Cu 1500 K" not in found


@pytest.mark.parametrize("kind", ["fails", "no stress"])
def test_a_calculator_that_fails_is_refused_before_anything_is_measured(kind, disordered):
    odd = parse_potential(
        f'calculator:odd=tests.helpers.odd_calculators:OddCalculator?{{"kind": "{kind}"}}'
    )
    with pytest.raises(InputError, match="odd does not evaluate energy, forces and stress of"):
        check_inputs([pair(0.4), odd], [disordered])
    check_inputs([pair(0.4), odd], [disordered], evaluate=False)
    with pytest.raises(InputError, match="is for Al, but not"):
        check_inputs([StandInPotential(("Al",))], [disordered])


def test_unsafe_dimers_of_a_peer_are_warnings():
    hole = Sample(failures={"dimers": "Cu-Cu has an attractive hole", "cold curve": "falls"})
    hole.values["melt_density"] = 6.2
    samples = [("peer", task("soundness"), hole), ("model", task("soundness"), hole)]
    settings = {"suite": "own", "protocol": SuiteProtocol(), "composition": {"Cu": 1.0}}
    result = compare(samples, **settings, names=["model", "peer"])
    assert [model.name for model in result.models] == ["model", "peer"]
    assert list(result.failures) == [
        "model: soundness 1, dimers",
        "model: soundness 1, cold curve",
        "peer: soundness 1, cold curve",
    ]
    assert result.warnings == {"peer: soundness 1, dimers": "Cu-Cu has an attractive hole"}
    # The melt of these checks has 2000 K.
    assert list(result.models[0].estimates) == ["melt_density 2000 K"]


def test_a_single_sample_has_the_error_over_time_or_none():
    sample = Sample(values={"density": 7.0, "bulk_modulus": 110.0}, errors={"density": 0.01})
    result = compare(
        [("m", task("quench"), sample)],
        suite="own",
        protocol=SuiteProtocol(),
        composition={"Cu": 1.0},
    )
    estimates = result.models[0].estimates
    assert (estimates["density"].error, estimates["density"].verdict) == (0.01, "converged")
    assert estimates["bulk_modulus"].error is None
    assert estimates["bulk_modulus"].verdict == "one sample: no error"


def test_potentials_are_parsed_from_their_specification(tmp_path):
    file = tmp_path / "nep.txt"
    file.write_text(random_potential(("Cu", "Zr")))
    for text in (str(file), f"nep:{file}", f"nep:mine={file}"):
        potential = parse_potential(text)
        assert isinstance(potential, NepPotential)
        assert potential.species == ("Cu", "Zr")
        assert parse_potential(potential.specification).digest == potential.digest
    assert potential.name == "mine"
    found = parse_potential('calculator:ase.calculators.lj:LennardJones?{"sigma": 2.5}')
    assert found.calculator().parameters["sigma"] == 2.5
    assert parse_potential(found.specification) == found
    table = tmp_path / "table"
    table.write_text(StandInPotential().table.text)
    assert parse_potential(f"eam:{table}").species == ("Cu", "Zr", "Al")
    assert unique_names([EamPotential(table), EamPotential(table)]) == ["table", "table (2)"]
    with pytest.raises(MissingFileError, match="cannot be read"):
        parse_potential("eam:nowhere")
    for text, words in (
        ("mace:file", "unknown kind 'mace'"),
        ("calculator:nowhere:Class", "cannot be imported"),
        ("calculator:ase.calculators.lj:LennardJones?{", "not a JSON"),
        ("calculator:ase.calculators.lj:LennardJones?[1]", "not a JSON object .it is a list"),
        ("calculator:tests.helpers.broken_module:Class", "cannot be imported .OSError"),
        ("eam:", "names no file"),
        (f"eam:{file}", "not an embedded-atom table"),
    ):
        with pytest.raises(InputError, match=words):
            parse_potential(text).calculator()
    table.write_text(StandInPotential().table.text[:-4000])
    with pytest.raises(InputError, match="cut off"):
        parse_potential(f"eam:{table}")


def test_a_relative_file_of_a_calculator_works_from_another_directory(tmp_path, monkeypatch):
    (tmp_path / "launch").mkdir()
    (tmp_path / "nep.txt").write_text(random_potential(("Cu", "Zr")))
    text = 'calculator:calorine.calculators:CPUNEP?{"model_filename": "nep.txt"}'
    monkeypatch.chdir(tmp_path)
    potential = parse_potential(text)
    monkeypatch.chdir(tmp_path / "launch")
    same = parse_potential(potential.specification)
    assert same.calculator() is not None
    digest = same.digest
    assert potential.digest == digest
    (tmp_path / "nep.txt").write_text(random_potential(("Cu", "Zr"), seed=1) + "\n")
    assert parse_potential(potential.specification).digest != digest, "of the content"
    with pytest.raises(MissingFileError, match="absolute path"):
        parse_potential(text).calculator()


def test_glasses_of_two_compositions_are_refused(disordered):
    other = disordered.copy()
    other.symbols[0] = "Cu" if other.symbols[0] == "Zr" else "Zr"
    with pytest.raises(InputError, match="one composition"):
        compare_potentials([pair(0.4)], [disordered, other])
    with pytest.raises(InputError, match="suite 'slow' is unknown"):
        compare_potentials([pair(0.4)], [disordered], suite="slow")
    with pytest.raises(InputError, match="no glass"):
        compare_potentials([pair(0.4)], [])
    with pytest.raises(InputError, match=r"glass 1 .Cu. has 1 atom, fewer than 15"):
        compare_potentials([pair(0.4)], [bulk("Cu")])


def test_shipped_experiments_have_sources():
    found = load_experiments()
    assert len(found) >= 10
    assert all(experiment.quantity in QUANTITIES for experiment in found)
    own = [each for each in found if each.is_of({"Cu": 0.46, "Zr": 0.46, "Al": 0.08})]
    assert {each.quantity for each in own} == {
        *("young_modulus", "shear_modulus", "bulk_modulus", "glass_transition")
    }
    assert not any(each.verified for each in own)
    assert all("not verified" in each.source for each in own)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantity": "hardness"}, "unknown quantity 'hardness'"),
        ({"value": "about 7"}, "not a number"),
        ({"value": float("nan")}, "not a number"),
        ({"value": True}, "not a number"),
        ({"error": -0.1}, "is negative"),
        ({"conditions": "as cast"}, "not a mapping"),
        ({"quantity": ["density"]}, "unknown quantity"),
        ({"composition": "Cu."}, "not a formula"),
        ({"doi": "internet"}, "DOI 'internet'"),
        ({"verified": "yes"}, "not true or false"),
        ({"composition": "glass 7"}, "not a formula"),
        ({"colour": "grey"}, "unknown fields colour"),
    ],
)
def test_wrong_entries_of_an_own_file_are_named(change, message, tmp_path):
    entry = {
        "quantity": "density",
        "composition": "Cu50Zr50",
        "value": 7.4,
        "error": 0.01,
        "conditions": {"temperature": 300},
        "doi": "10.1000/182",
        "read_in": "our notebook",
        "verified": True,
    }
    path = tmp_path / "own.yaml"
    path.write_text(json.dumps([entry]))
    assert load_experiments(path)[-1].value == 7.4
    path.write_text(json.dumps([entry | change]))
    with pytest.raises(InputError, match=f"entry 1 of .*own.yaml.*|.*{message}"):
        load_experiments(path)
    with pytest.raises(InputError, match=message):
        load_experiments(path)


def test_coinciding_temperatures_select_the_experiment():
    measured = [
        Experiment("viscosity", "Cu", value, None, t, "", "10.1000/x", "-", True)
        for t, value in ((1400.0, 9.8), (1600.0, 4.0))
    ]
    samples = [
        ("m", task("melt", 0, t), Sample(values={"melt_density": 6.0})) for t in (1400.0, 1600.0)
    ]
    result = compare(
        samples,
        suite="own",
        protocol=SuiteProtocol(),
        composition={"Cu": 1.0},
        experiments=measured,
    )
    assert [each.value for each in result.measured_values("viscosity 1600 K", 1600.0)] == [4.0]
    assert not result.measured_values("viscosity 1500 K", 1500.0)
    assert [row[2][0].temperature for row in result.rows()] == [1400.0, 1600.0]
    assert np.isclose(result.models[0].cpu_hours, 0.0)
