"""Acceptance of potentials that were really trained: a good one, a bad one, one with a hole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mgflows.eam import stand_in_calculator
from mgflows.errors import InputError
from mgflows.md import protocols
from mgflows.md.quench import hold
from mgflows.nep import checks, nep_calculator, parity, predict
from mgflows.schemas.acceptance import AcceptanceRecord
from mgflows.validation.acceptance import (
    AcceptanceFrames,
    AcceptanceResult,
    AcceptanceSettings,
    accept_potential,
    choose_glasses,
)
from mgflows.validation.dimers import dimer_curves
from tests.helpers.stand_in_frames import SPECIES, bad_potential, frames, good_potential

pytestmark = pytest.mark.physics

SETTINGS = AcceptanceSettings(melt_time=0.6, n_glasses=1, n_frames=10)


def outcomes(result: AcceptanceResult) -> dict[str, str]:
    return {check.name: check.outcome for check in result.checks}


def test_a_good_potential_is_accepted():
    known, test = frames(0), frames(1)
    result = accept_potential(
        good_potential(),
        choose_glasses(test),
        settings=SETTINGS,
        reference=stand_in_calculator(SPECIES),
        frames=AcceptanceFrames(known, test),
    )
    assert result.passed, result.reason
    assert result.reason == ""
    found = {check.name: check for check in result.checks}
    assert not [name for name, outcome in outcomes(result).items() if outcome == "skipped"]
    assert {"dimer Cu-Cu", "dimer Cu-Zr", "dimer Zr-Zr"} <= set(found)

    # The same numbers, from the public functions.
    glass = next(frame for frame in test if frame.info["subset"] == "dft_minimized")
    runs = [
        hold(
            glass,
            calculator,
            protocols.hold(2000.0, 0.6, equilibration_time=0.0, n_frames=10),
            seed=0,
        )
        for calculator in (nep_calculator(good_potential()), stand_in_calculator(SPECIES))
    ]
    volumes = [run.trace.volume[len(run.trace.volume) // 2 :].mean() for run in runs]
    assert found["melt density"].value == pytest.approx(volumes[1] / volumes[0], rel=1e-6)
    own = runs[0].frames
    predicted = predict(good_potential(), own)
    energies, forces = [], []
    for frame in own:
        frame.calc = stand_in_calculator(SPECIES)
        energies.append(frame.get_potential_energy() / len(frame))
        forces.append(frame.get_forces())
    assert found["melt energy error"].value == pytest.approx(
        1e3 * np.sqrt(np.mean((predicted.energies - energies) ** 2)), rel=1e-4
    )
    assert found["melt force error"].value == pytest.approx(
        1e3 * np.sqrt(np.mean((np.array(predicted.forces) - forces) ** 2)), rel=1e-4
    )

    record = AcceptanceRecord.from_result(result, SETTINGS, "stand-in")
    again = AcceptanceRecord.model_validate_json(record.model_dump_json())
    assert again == record
    assert again.passed
    assert again.settings == SETTINGS


def test_a_potential_of_few_frames_is_refused_with_the_reason():
    test = frames(1)
    result = accept_potential(
        bad_potential(),
        choose_glasses(test),
        settings=SETTINGS,
        reference=stand_in_calculator(SPECIES),
        frames=AcceptanceFrames(frames(0)[-4:], test),
    )
    assert not result.passed
    failed = {check.name for check in result.checks if check.outcome == "failed"}
    assert failed & {"melt density", "melt energy error", "melt force error"}
    assert "2000 K" in result.reason


def test_a_hole_is_found_and_named():
    """Without its ZBL part the potential attracts where it has no frames; its melt still holds."""
    header, zbl, *rest = good_potential().splitlines()
    assert zbl.startswith("zbl")
    without = "\n".join([header.replace("nep4_zbl", "nep4"), *rest]) + "\n"
    result = accept_potential(without, choose_glasses(frames(1)), settings=SETTINGS)
    holes = {
        f"dimer {pair}": curve
        for pair, curve in dimer_curves(nep_calculator(without), SPECIES).items()
        if not curve.safe
    }
    assert holes
    assert {check.name for check in result.checks if check.outcome == "failed"} == set(holes)
    for name, curve in holes.items():
        check = next(check for check in result.checks if check.name == name)
        assert check.value == pytest.approx(curve.barrier)
        assert (check.smallest, check.unit) == (5.0, "eV")
        assert curve.verdict in result.reason
    assert outcomes(result)["melt energy error"] == "skipped"

    barrier = min(check.value for check in result.checks if check.name in holes)
    lenient = replace(SETTINGS, smallest_barrier=barrier - 0.1, melt_time=0.02)
    assert accept_potential(without, choose_glasses(frames(1)), settings=lenient).passed


def test_programs_that_disagree_are_found(monkeypatch):
    some = frames(1)[:2]
    assert {check.outcome for check in checks.agreement_checks(good_potential(), some)} == {
        "passed"
    }
    program, ours = checks.predict_independently(good_potential(), some)
    assert "evaluator of mgflows" in program
    expected = predict(good_potential(), some)
    np.testing.assert_allclose(ours.energies, expected.energies, rtol=1e-6)
    np.testing.assert_allclose(ours.forces, expected.forces, atol=1e-4)
    np.testing.assert_allclose(ours.stresses, expected.stresses, atol=1e-6)

    # Another file, as a program would see it that reads a line wrongly.
    monkeypatch.setattr(checks, "predict", lambda _, frames: predict(bad_potential(), frames))
    assert {check.outcome for check in checks.agreement_checks(good_potential(), some)} == {
        "failed"
    }


def test_the_worst_frames_are_named():
    test = [frame.copy() for frame in frames(1)[:6]]
    for index, frame in enumerate(test):
        frame.info["frame_id"] = f"number-{index}"
        frame.calc = frames(1)[index].calc
    spoilt = frames(1)[4].calc.results | {"forces": frames(1)[4].get_forces() + 2.0}
    test[4].calc = type(test[4].calc)(test[4], **spoilt)
    table = parity(good_potential(), test)
    worst = checks.worst_frames(table, test, number=1)
    assert worst[0].frame_id == "number-4"
    assert worst[0].force_rmse == pytest.approx(2000.0, rel=0.05)


def test_descriptors_outside_the_training_frames_are_counted():
    melt, cold = frames(0)[:12], frames(1)[-5:]
    inside = checks.out_of_range_check(good_potential(), [*melt, *cold], melt, "of the melt")
    assert (inside.outcome, inside.value) == ("passed", 0.0)
    outside = checks.out_of_range_check(good_potential(), cold[:1], melt, "of the melt")
    assert outside.outcome == "warning"
    assert outside.value > 0.5
    fraction = checks.out_of_range_fraction(good_potential(), cold[:1], melt)
    assert fraction == outside.value
    with pytest.raises(InputError, match="no simulated frames"):
        checks.out_of_range_fraction(good_potential(), melt, [])


def test_glasses_are_chosen_by_depth():
    both = [*frames(0), *frames(1)]
    chosen = choose_glasses(both)
    assert [frame.info["subset"] for frame in chosen] == ["dft_minimized"] * 2
    depths = [frame.get_potential_energy() for frame in chosen]
    assert depths == sorted(depths)
    strained = [frame for frame in frames(0) if frame.info["subset"] == "expanded_compressed"]
    pressures = [abs(np.trace(frame.get_stress(voigt=False))) for frame in strained]
    assert choose_glasses(strained) == [strained[int(np.argmin(pressures))]]


def test_impossible_settings_are_refused():
    with pytest.raises(InputError, match="melt_time is 0 but must be positive"):
        AcceptanceSettings(melt_time=0.0)
    with pytest.raises(InputError, match="no glass to test"):
        accept_potential(good_potential(), [])
