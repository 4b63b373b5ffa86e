"""Errors against the number of frames."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from mgflows.errors import InputError
from mgflows.nep import NepTrainer
from mgflows.nep.learning_curve import LearningCurve, LearningPoint, learning_curve, nested_sets

TRAINER = NepTrainer(steps=60, reports=1)


def made_up(law, seeds=5, sizes=(4, 8, 16, 32, 64), noise=0.05) -> LearningCurve:
    """A curve with ten frames per family and errors of a known law."""
    rng = np.random.default_rng(2)
    points = []
    for seed in range(seeds):
        for size in sizes:
            error = law(10 * size) * math.exp(rng.normal(0.0, noise))
            points.append(LearningPoint(seed, 10 * size, size, error, 20 * error, 4 * error, 1.0))
    return LearningCurve(tuple(points), 100)


@pytest.mark.physics
def test_a_power_law_is_recovered_and_extrapolated() -> None:
    curve = made_up(lambda n: 40.0 * n**-0.5)
    forecast = curve.forecast("energy", 40.0 * 1600**-0.5)
    assert not forecast.is_reached
    assert abs(forecast.exponent - 0.5) < 3.0 * forecast.exponent_error < 0.2
    assert forecast.low < 1600 < forecast.high
    assert forecast.n_frames == pytest.approx(1600, rel=0.15)
    assert "of this kind are needed" in forecast.verdict


def test_a_reached_target_reports_how_many_frames_were_enough() -> None:
    forecast = made_up(lambda n: 40.0 * n**-0.5, noise=0.0).forecast("force", 20 * 40.0 * 150**-0.5)
    assert forecast.is_reached
    assert forecast.n_frames == pytest.approx(150, rel=1e-6)
    assert "160 frames are enough" in forecast.verdict


def test_errors_that_do_not_fall_are_not_extrapolated() -> None:
    forecast = made_up(lambda n: 5.0 + 0.0 * n).forecast("energy", 1.0)
    assert math.isinf(forecast.n_frames)
    assert "do not help" in forecast.verdict


def test_errors_without_a_label_and_errors_of_zero() -> None:
    """Without stresses there are no virial errors; this is not an error that does not fall."""
    curve = made_up(lambda n: 40.0 * n**-0.5)
    unknown = LearningCurve(tuple(replace(each, virial=math.nan) for each in curve.points), 100)
    with pytest.raises(InputError, match="the virial errors of the test frames are not known"):
        unknown.forecast("virial", 1.0)
    none = LearningCurve(tuple(replace(each, energy=0.0) for each in curve.points), 100)
    assert none.forecast("energy", 1.0).is_reached


def test_nothing_is_extrapolated_beyond_ten_times_the_largest_set() -> None:
    forecast = made_up(lambda n: 40.0 * n**-0.5).forecast("energy", 0.1)
    assert math.isinf(forecast.n_frames)
    assert forecast.verdict.startswith("more than 6400 frames")


def test_means_and_standard_errors() -> None:
    points = [LearningPoint(seed, 10, 1, e, e, e, 1.0) for seed, e in enumerate((1.0, 2.0, 3.0))]
    n_frames, means, errors = LearningCurve(tuple(points), 5).mean("force")
    assert (n_frames[0], means[0]) == (10, 2.0)
    assert errors[0] == pytest.approx(1.0 / math.sqrt(3.0))


def test_sets_are_nested_and_of_whole_families(emt_frames) -> None:
    sets = nested_sets(emt_frames, [0.2, 0.5, 1.0], seed=3)
    assert [size for size, _ in sets] == [1, 3, 6]
    names = [{frame.info["family"] for frame in frames} for _, frames in sets]
    assert names[0] < names[1] < names[2]
    assert [len(frames) for _, frames in sets] == [4, 12, 24]
    assert nested_sets(emt_frames, [0.2], 4)[0][1] != sets[0][1]
    with pytest.raises(InputError, match=r"1\.5 must lie in"):
        nested_sets(emt_frames, [1.5], 0)


def test_a_curve_is_measured_resumed_and_tied_to_its_data(
    tmp_path, emt_frames, small_parameters
) -> None:
    train, test = emt_frames[:16], emt_frames[16:]
    arguments = {"fractions": (0.25, 1.0), "trainer": TRAINER}
    seen: list[LearningPoint] = []
    curve = learning_curve(
        tmp_path, small_parameters, train, test, seeds=[0], progress=seen.append, **arguments
    )
    assert [point.n_frames for point in curve.points] == [4, 16]
    assert list(curve.points) == seen
    assert curve.n_test_frames == 8
    assert all(np.isfinite([p.energy, p.force, p.virial]).all() for p in curve.points)
    (tmp_path / "training").rename(tmp_path / "gone")
    again = learning_curve(tmp_path, small_parameters, train, test, seeds=[0], **arguments)
    assert again == curve
    assert not (tmp_path / "training").exists()
    with pytest.raises(InputError, match="other frames or settings"):
        learning_curve(tmp_path, small_parameters, train[:12], test, seeds=[0], **arguments)
    with pytest.raises(InputError, match="power law needs three"):
        curve.forecast("force", 10.0)


def test_wrong_input_is_named(tmp_path, emt_frames, small_parameters) -> None:
    with pytest.raises(InputError, match="in the training and in the test frames"):
        learning_curve(tmp_path, small_parameters, emt_frames[:6], emt_frames[6:])
    with pytest.raises(InputError, match="no seed"):
        learning_curve(tmp_path, small_parameters, emt_frames[:4], emt_frames[4:], seeds=[])
    (tmp_path / "points.json").write_text("{")
    with pytest.raises(InputError, match="remove it to start"):
        learning_curve(tmp_path, small_parameters, emt_frames[:4], emt_frames[4:])
    with pytest.raises(InputError, match="must be positive"):
        made_up(lambda n: 1.0 / n).forecast("energy", -1.0)
