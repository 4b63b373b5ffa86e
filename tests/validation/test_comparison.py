"""Validations by independent samples: planning, measuring, averaging."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from mgflows.errors import InputError, MissingFileError
from mgflows.md.potentials import (
    CalculatorPotential,
    EamPotential,
    NepPotential,
    StandInPotential,
    parse_potential,
)
from mgflows.validation.comparison import QUANTITIES, compare
from mgflows.validation.experiments import Experiment, load_experiments
from mgflows.validation.plan import PROTOCOLS, SampleTask, SuiteProtocol, forecast, plan_samples
from mgflows.validation.run import (
    KeptSamples,
    References,
    compare_potentials,
    unique_names,
)
from mgflows.validation.sample import Sample
from tests.helpers.calculators import lennard_jones
from tests.helpers.potentials import random_potential


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
        or "melt 1500 K 1, alpha relaxation" in result.models[0].failures
    )
    assert "slowest decay resolved" in one["viscosity 1500 K"].verdict
    near = one["coordination all"].value
    assert other["coordination all"].value == pytest.approx(near, abs=1.5)
    assert other["rdf_distance"].error > 0.0
    assert seen[-1][1] == seen[-1][2] == len(seen)
    modulus = next(row for row in result.rows() if row[0].startswith("bulk modulus"))
    assert modulus[3].value == 100.0
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
    damaged = next((tmp_path / "samples").glob("*yield*.json"))
    damaged.write_text("{")
    with pytest.raises(InputError, match="is not a sample of a validation"):
        compare_potentials([pair(0.4)], glasses, **settings)


@pytest.mark.faults
def test_missing_and_failed_samples_are_counted_and_left_out():
    good = [Sample(values={"density": value}) for value in (6.9, 7.1)]
    exploded = Sample(failures={"quench": "the structure evaporates at 900 K"})
    samples = [
        ("model", task("quench", index), sample)
        for index, sample in enumerate([good[0], None, exploded, good[1]])
    ]
    result = compare(samples, suite="own", protocol=SuiteProtocol(), composition={"Cu": 1.0})
    (model,) = result.models
    assert model.estimates["density"].value == pytest.approx(7.0)
    assert model.estimates["density"].error == pytest.approx(0.1)
    assert model.estimates["density"].n_samples == 2
    assert (model.n_done, model.n_planned) == (3, 4)
    assert model.failures == {
        "quench 2": "the sample did not run or ended with an error",
        "quench 3": "the structure evaporates at 900 K",
    }


def test_unsafe_dimers_of_a_peer_are_warnings():
    hole = Sample(failures={"dimers": "Cu-Cu has an attractive hole", "cold curve": "falls"})
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
    assert result.experiment("viscosity 1600 K", 1600.0).value == 4.0
    assert result.experiment("viscosity 1500 K", 1500.0) is None
    assert [row[2][0].temperature for row in result.rows()] == [1400.0, 1600.0]
    assert np.isclose(result.models[0].cpu_hours, 0.0)
