from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk

from mgflows import units
from mgflows.errors import InputError, PotentialFailureError
from mgflows.md import protocols
from mgflows.md.condensed import elemental_volume, volume_ratio
from mgflows.md.quench import (
    AIMD_SETTINGS,
    HeatingRamp,
    NPTSettings,
    QuenchResult,
    Trace,
    check_glass,
    heat,
    hold,
    quench,
)
from mgflows.structures.relaxation import relax
from tests.helpers.calculators import lennard_jones


@pytest.fixture
def alloy():
    atoms = bulk("Cu", "fcc", a=3.65, cubic=True).repeat((2, 2, 2))
    atoms.symbols[::3] = "Al"
    return atoms


def test_heat_labels_every_step_without_the_kinetic_stress(alloy):
    result = heat(alloy, lennard_jones("Cu", "Al"), HeatingRamp(n_steps=60), seed=4)
    assert len(result.frames) == len(result.trace.time) == 60
    assert result.trace.set_temperature[-1] == 2000.0
    for index in (0, 29, 59):
        frame = result.frames[index]
        fresh = frame.copy()
        fresh.calc = lennard_jones("Cu", "Al")
        assert frame.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), abs=1e-8)
        assert frame.calc.results["free_energy"] == pytest.approx(
            fresh.get_potential_energy(), abs=1e-8
        )
        np.testing.assert_allclose(frame.get_forces(), fresh.get_forces(), atol=1e-8)
        np.testing.assert_allclose(frame.get_stress(), fresh.get_stress(), atol=1e-10)
    last = result.frames[-1]
    kinetic_pressure = float(
        units.ev_per_a3_to_gpa(2 / 3 * last.get_kinetic_energy() / last.get_volume())
    )
    assert kinetic_pressure > 0.5
    label_pressure = units.pressure_from_stress(last.get_stress())
    assert result.trace.pressure[-1] == pytest.approx(label_pressure + kinetic_pressure, abs=1e-6)


@pytest.mark.physics
def test_heat_follows_its_ramp(alloy):
    """With a slow ramp and strong friction the atoms have the temperature of the thermostat."""
    result = heat(
        alloy,
        lennard_jones("Cu", "Al"),
        HeatingRamp(temperature_end=600.0, n_steps=1000),
        npt=replace(AIMD_SETTINGS, timestep=3.0),
        seed=5,
    )
    trace = result.trace
    for window in np.array_split(np.arange(200, 1000), 4):
        lag = 600.0 / 3000.0 * 50.0
        assert trace.temperature[window].mean() == pytest.approx(
            trace.set_temperature[window].mean() - lag, rel=0.1
        )


def test_heat_and_quench_are_repeatable(alloy):
    one, two, other = (
        heat(alloy, lennard_jones("Cu", "Al"), HeatingRamp(n_steps=10), seed=seed)
        for seed in (7, 7, 8)
    )
    np.testing.assert_array_equal(one.frames[-1].positions, two.frames[-1].positions)
    assert np.abs(one.frames[-1].positions - other.frames[-1].positions).max() > 1e-4
    glasses = [
        quench(
            alloy,
            lennard_jones("Cu", "Al"),
            protocols.quench(cooling_rate=2e4, equilibration_time=0.02),
            npt=NPTSettings(timestep=4.0),
            seed=seed,
        ).atoms
        for seed in (7, 7, 8)
    ]
    np.testing.assert_array_equal(glasses[0].positions, glasses[1].positions)
    assert np.abs(glasses[0].positions - glasses[2].positions).max() > 1e-3


def test_interrupted_heating_resumes_bitwise(alloy, tmp_path, monkeypatch):
    monkeypatch.setattr("mgflows.checkpoints._SECONDS_BETWEEN_WRITES", 0.0)
    checkpoint, steps = tmp_path / "heating.npz", []

    def stop(step, _total):
        if step == 7:
            raise KeyboardInterrupt

    whole = heat(alloy, lennard_jones("Cu", "Al"), HeatingRamp(n_steps=12), seed=7)
    with pytest.raises(KeyboardInterrupt):
        heat(
            alloy,
            lennard_jones("Cu", "Al"),
            HeatingRamp(n_steps=12),
            seed=7,
            checkpoint=checkpoint,
            progress=stop,
        )
    # Step 7 was over, but not yet in the file.
    resumed = heat(
        alloy,
        lennard_jones("Cu", "Al"),
        HeatingRamp(n_steps=12),
        seed=7,
        checkpoint=checkpoint,
        progress=lambda step, _total: steps.append(step),
    )
    assert steps == [7, 8, 9, 10, 11, 12]
    assert list(tmp_path.iterdir()) == []
    for one, two in zip(whole.frames, resumed.frames, strict=True):
        assert np.array_equal(one.positions, two.positions)
        assert np.array_equal(one.cell.array, two.cell.array)
        assert np.array_equal(one.get_momenta(), two.get_momenta())
        assert one.calc.results.keys() == two.calc.results.keys()
        assert all(
            np.array_equal(one.calc.results[name], two.calc.results[name])
            for name in one.calc.results
        )
    assert np.array_equal(whole.trace.pressure, resumed.trace.pressure)


@pytest.mark.parametrize("kind", ["of another seed", "broken"])
def test_an_unusable_checkpoint_is_ignored(kind, alloy, tmp_path, monkeypatch):
    monkeypatch.setattr("mgflows.checkpoints._SECONDS_BETWEEN_WRITES", 0.0)
    path, steps = tmp_path / "heating.npz", []

    def stop(step, _total):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        heat(
            alloy,
            lennard_jones("Cu", "Al"),
            HeatingRamp(n_steps=5),
            seed=1,
            checkpoint=path,
            progress=stop,
        )
    if kind == "broken":
        path.write_bytes(path.read_bytes()[:1000])
    result = heat(
        alloy,
        lennard_jones("Cu", "Al"),
        HeatingRamp(n_steps=5),
        seed=2,
        checkpoint=path,
        progress=lambda step, _total: steps.append(step),
    )
    assert steps == [1, 2, 3, 4, 5]
    assert np.array_equal(
        result.trace.pressure,
        heat(alloy, lennard_jones("Cu", "Al"), HeatingRamp(n_steps=5), seed=2).trace.pressure,
    )


def test_quench_cools_from_the_melt_and_holds(alloy):
    steps = []
    result = quench(
        alloy,
        lennard_jones("Cu", "Al"),
        protocols.quench(
            temperature_high=2000.0,
            temperature_low=300.0,
            cooling_rate=1000.0,
            equilibration_time=0.4,
            hold_time=0.4,
            n_frames=5,
            sample_every=5,
        ),
        npt=NPTSettings(timestep=4.0, friction=20.0),
        seed=1,
        progress=lambda done, total: steps.append((done, total)),
    )
    trace = result.trace
    assert steps[-1] == (625, 625)
    assert len(result.frames) == 5
    assert result.cooling.sum() == 85
    assert trace.set_temperature[0] == 2000.0
    assert trace.set_temperature[-1] == 300.0
    np.testing.assert_allclose(np.diff(trace.set_temperature[result.cooling]), -20.0, atol=1e-9)
    assert trace.temperature[trace.time <= 400][10:].mean() == pytest.approx(2000.0, rel=0.15)
    assert trace.temperature[-10:].mean() == pytest.approx(300.0, rel=0.25)
    assert trace.density[-10:].mean() > trace.density[:20].mean()
    np.testing.assert_allclose(result.atoms.cell.angles(), 90.0)
    assert result.atoms.calc is None
    assert result.cooling_rate == pytest.approx(1000.0)
    mean_mass = alloy.get_masses().mean()
    np.testing.assert_allclose(trace.density, units.mass_density(1.0, mean_mass) / trace.volume)


def test_hold_samples_after_its_equilibration(alloy):
    result = hold(
        alloy,
        lennard_jones("Cu", "Al"),
        protocols.hold(400.0, 0.4, equilibration_time=0.2, n_frames=4),
        npt=NPTSettings(timestep=4.0, friction=20.0),
        seed=3,
    )
    assert len(result.frames) == 4
    assert result.frames[-1].get_volume() == result.atoms.get_volume()
    assert result.trace.time[-1] == 400.0
    assert result.trace.temperature.mean() == pytest.approx(400.0, rel=0.2)
    with pytest.raises(InputError, match="positive temperature and time"):
        hold(alloy, lennard_jones("Cu", "Al"), protocols.hold(300.0, 0.0), seed=0)


@pytest.mark.faults
def test_a_melt_that_evaporates_is_a_failure(alloy):
    weak = lennard_jones("Cu", "Al", epsilon=0.03)
    with pytest.raises(PotentialFailureError, match=r"evaporates at \d+ K: .* g/cm3"):
        quench(
            alloy,
            weak,
            protocols.quench(cooling_rate=100.0),
            npt=NPTSettings(timestep=4.0),
            seed=1,
        )
    with pytest.raises(PotentialFailureError, match="evaporates"):
        hold(alloy, weak, protocols.hold(2000.0, 5.0), npt=NPTSettings(timestep=4.0), seed=1)


def test_a_quench_must_end_in_a_glass(alloy):
    calculator = lennard_jones("Cu", "Al")
    glass = relax(alloy, calculator).atoms
    trace = replace(Trace(*np.zeros((8, 10))), time=np.linspace(0.0, 1e4, 10))

    def ended_in(atoms, pressure=0.0):
        return QuenchResult(
            atoms, 1.0, replace(trace, pressure=np.full(10, pressure)), np.ones(10, bool), []
        )

    check_glass(ended_in(glass), calculator)
    expanded, overlapping = glass.copy(), glass.copy()
    expanded.set_cell(1.2 * glass.cell.array, scale_atoms=True)
    overlapping.positions[0] = overlapping.positions[1] + [0.9, 0.0, 0.0]
    with pytest.raises(PotentialFailureError, match=r"density is 3\.\d\d g/cm3"):
        check_glass(ended_in(expanded), calculator)
    with pytest.raises(PotentialFailureError, match=r"0\.90 A apart; the largest force"):
        check_glass(ended_in(overlapping), calculator)
    with pytest.raises(PotentialFailureError, match=r"pressure is -12\.6 GPa"):
        check_glass(ended_in(glass, -12.6), calculator)


def test_volumes_are_compared_with_those_of_the_elements():
    copper = bulk("Cu", "fcc", a=3.615)
    assert volume_ratio(copper) == pytest.approx(1.0, abs=0.01)
    assert elemental_volume(bulk("CuZr", "cesiumchloride", a=3.26)) == pytest.approx(
        (11.81 + 23.28) / 2, abs=0.1
    )


def test_a_drifting_volume_shows(alloy):
    result = hold(alloy, lennard_jones("Cu", "Al"), protocols.hold(300.0, 0.4), seed=3)
    assert abs(result.volume_drift) < 0.02
    trace = replace(result.trace, volume=np.linspace(18.0, 20.0, 40))
    assert replace(result, trace=trace).volume_drift == pytest.approx(0.074, abs=0.005)


def test_start_is_not_changed(alloy):
    before = alloy.copy()
    heat(alloy, lennard_jones("Cu", "Al"), HeatingRamp(n_steps=2), seed=0)
    assert alloy == before
    assert alloy.calc is None


def test_bad_settings_are_refused(alloy):
    with pytest.raises(InputError, match="temperature_high > temperature_low"):
        protocols.quench(temperature_high=300.0, temperature_low=2000.0)
    with pytest.raises(InputError, match="cooling rate"):
        protocols.quench(cooling_rate=-1.0)
    with pytest.raises(InputError, match="1e-300 K/ps but must be 1e-06 to 1e"):
        protocols.quench(cooling_rate=1e-300)
    with pytest.raises(InputError, match=r"not those of a quench.*protocols\.quench"):
        quench(alloy, lennard_jones("Cu", "Al"), protocols.hold(300.0, 1.0), seed=0)
    with pytest.raises(InputError, match="0 steps"):
        heat(alloy, lennard_jones("Cu", "Al"), HeatingRamp(n_steps=0), seed=0)
    with pytest.raises(InputError, match="negative"):
        heat(alloy, lennard_jones("Cu", "Al"), HeatingRamp(temperature_end=-1.0), seed=0)
