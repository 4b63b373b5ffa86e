"""The training loop in memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mgflows.errors import InputError, ServiceError
from mgflows.nep import NepParameters, parity, predict
from mgflows.nep.training.model import NepModel
from mgflows.nep.training.settings import TrainingSettings
from mgflows.nep.training.training import Training


@pytest.fixture(scope="session")
def parameters(small_parameters) -> NepParameters:
    return replace(
        small_parameters,
        generation=600,
        batch=4,
        learning_rate=(2e-2, 1e-4),
        lambda_e=0.01,
        lambda_v=0.03,
        seed=3,
        output_interval=200,
    )


def run(training: Training) -> Training:
    while not training.is_finished:
        training.advance()
    return training


def errors(training: Training, frames):
    return parity(training.potential(), frames).overall


@pytest.fixture(scope="session")
def trained(emt_frames, parameters) -> Training:
    return run(Training(emt_frames[:20], emt_frames[20:], parameters, TrainingSettings()))


@pytest.mark.physics
def test_a_potential_learns_emt(trained, emt_frames) -> None:
    typical = 1e3 * np.sqrt(
        np.mean([np.mean(frame.get_forces() ** 2) for frame in emt_frames[20:]])
    )
    result = errors(trained, emt_frames[20:])
    assert result.force_rmse < 0.1 * typical
    assert result.energy_rmse < 10.0


def test_the_last_report_has_the_errors_of_the_potential(trained, emt_frames) -> None:
    row, result = trained.rows[-1], errors(trained, emt_frames[20:])
    assert result.energy_rmse == pytest.approx(1e3 * row.energy_test, rel=1e-3)
    assert result.force_rmse == pytest.approx(1e3 * row.force_test, rel=1e-3)
    assert result.virial_rmse == pytest.approx(1e3 * row.virial_test, rel=1e-3)
    assert [row.step for row in trained.rows] == [200, 400, 600]


@pytest.mark.parametrize("settings", [{"cache": 0.0}, {"cache": 0.002}])
def test_memory_does_not_change_the_result(trained, emt_frames, parameters, settings) -> None:
    again = run(
        Training(emt_frames[:20], emt_frames[20:], parameters, TrainingSettings(**settings))
    )
    assert again.potential() == trained.potential()


def test_adam_averaging_clipping_and_norms_train_too(emt_frames, parameters) -> None:
    chosen = TrainingSettings(optimiser="adam", averaging=0.9, gradient_clip=100.0)
    training = run(
        Training(emt_frames[:20], [], replace(parameters, lambda_1=1e-3, lambda_2=1e-3), chosen)
    )
    assert np.isnan(training.rows[-1].force_test)
    assert training.rows[-1].l1 > 0.0 < training.rows[-1].l2
    assert training.rows[-1].force_train < 0.5 * training.rows[0].force_train
    assert errors(training, emt_frames[20:]).force_r2 > 0.5


def test_a_step_that_is_not_finite_is_taken_back(
    emt_frames, parameters, monkeypatch, caplog
) -> None:
    training = Training(emt_frames[:20], emt_frames[20:], parameters, TrainingSettings())
    gradient = training._evaluator.gradient

    def break_it(flat, loss):
        result = gradient(flat, loss)
        if training.step in (350, 351):
            result[7] = np.nan
        return result

    monkeypatch.setattr(training._evaluator, "gradient", break_it)
    run(training)
    assert "step 350 is not finite" in caplog.text
    assert "0.25 of the learning rate" in caplog.text
    assert errors(training, emt_frames[20:]).force_r2 > 0.95


def test_a_training_that_always_diverges_ends(emt_frames, parameters, monkeypatch) -> None:
    training = Training(emt_frames[:4], [], parameters, TrainingSettings())
    monkeypatch.setattr(
        training._evaluator, "gradient", lambda flat, loss: np.full(len(flat), np.inf)
    )
    with pytest.raises(ServiceError, match=r"diverged 20 times.*smaller learning rate"):
        run(training)


def test_a_plateau_ends_the_training_early(emt_frames, parameters) -> None:
    training = Training(
        emt_frames[:4],
        [],
        replace(parameters, learning_rate=(1e-9, 1e-9), generation=3000),
        TrainingSettings(plateau=50),
    )
    run(training)
    assert 100 <= training.step < 300
    assert training.rows[-1].step == training.step


@pytest.mark.physics
def test_total_energies_are_learned_as_well_as_cohesive_energies(
    emt_frames, parameters, trained
) -> None:
    shifted = []
    for frame in emt_frames:
        copy = frame.copy()
        copy.calc = type(frame.calc)(copy, **frame.calc.results)
        copy.calc.results["energy"] += -45000.0 * frame.symbols.count(
            "Cu"
        ) - 6600.0 * frame.symbols.count("Al")
        # Other ratios, or the elements could not be told apart.
        shifted.append(copy)
    for frame in shifted[::3]:
        del frame.calc.results["stress"]
    with_more_copper = shifted[0].copy()
    with_more_copper.symbols[:] = "Cu"
    results = dict(shifted[0].calc.results)
    results["energy"] = -45000.0 * len(with_more_copper)
    with_more_copper.calc = type(shifted[0].calc)(with_more_copper, **results)
    with_more_copper.info["weight"] = 0.01
    training = run(Training([*shifted[:20], with_more_copper], [], parameters, TrainingSettings()))
    energies = predict(training.potential(), shifted[20:]).energies
    labels = np.array([frame.calc.results["energy"] / len(frame) for frame in shifted[20:]])
    assert np.sqrt(np.mean((energies - labels) ** 2)) < 0.01
    forces = predict(training.potential(), emt_frames[20:]).forces
    square = np.mean(
        [
            np.mean((f - frame.get_forces()) ** 2)
            for f, frame in zip(forces, emt_frames[20:], strict=True)
        ]
    )
    assert 1e3 * np.sqrt(square) < 2.0 * errors(trained, emt_frames[20:]).force_rmse


def test_weights_determine_what_is_learned(emt_frames, parameters) -> None:
    train = [frame.copy() for frame in emt_frames[:20]]
    for copy, frame in zip(train, emt_frames, strict=False):
        copy.calc = frame.calc
    weights = TrainingSettings(subset_weights={"distorted": 0.0})
    training = run(Training(train, [], parameters, weights))
    used = set(training._usable.tolist())
    assert used == {
        index for index, frame in enumerate(train) if frame.info["subset"] != "distorted"
    }
    with pytest.raises(InputError, match="weight 0"):
        Training(
            train, [], parameters, TrainingSettings(subset_weights={"distorted": 0.0, "aimd": 0.0})
        )


@pytest.mark.physics
def test_fine_tuning_starts_from_the_potential_and_finds_its_zero(
    emt_frames, parameters, trained
) -> None:
    shifted = []
    for frame in emt_frames[:6]:
        copy = frame.copy()
        copy.calc = type(frame.calc)(copy, **frame.calc.results)
        copy.calc.results["energy"] += 3.0 * len(frame)
        shifted.append(copy)
    still = replace(parameters, generation=1, learning_rate=(1e-12, 1e-12))
    training = run(
        Training(shifted[:4], shifted[4:], still, TrainingSettings(), trained.potential())
    )
    assert errors(training, shifted[4:]).energy_rmse < 10.0
    scaler = NepModel.from_text(trained.potential()).scaler
    np.testing.assert_array_equal(NepModel.from_text(training.potential()).scaler, scaler)


@pytest.mark.physics
def test_fine_tuning_leaves_out_unused_elements(emt_frames, parameters, caplog) -> None:
    whole = NepModel.random(
        replace(parameters, species=("Ag", "Al", "Cu", "Ni")), np.random.default_rng(1)
    )
    whole.scaler[:] = 0.01
    still = replace(parameters, generation=1, learning_rate=(1e-12, 1e-12))
    with caplog.at_level("INFO"):
        training = run(Training(emt_frames[:4], [], still, TrainingSettings(), whole.to_text()))
    assert "its parameters for Ag, Ni are left out" in caplog.text
    forces = [
        predict(text, emt_frames[:2]).forces for text in (whole.to_text(), training.potential())
    ]
    np.testing.assert_allclose(forces[0], forces[1], atol=1e-6)


@pytest.mark.physics
def test_a_student_with_separate_elements_takes_labels_of_another_zero_per_element(
    emt_frames, parameters
) -> None:
    """As the student of a teacher does, which continues with labels of CP2K."""
    still = replace(parameters, generation=1, learning_rate=(1e-12, 1e-12))
    student = Training(emt_frames[:6], [], still, TrainingSettings(energy_reference=True))
    own = predict(student.potential(), emt_frames[:6])
    zeros = dict(zip(parameters.species, (-1306.0, -1285.0, -57.0), strict=False))
    labels = []
    for number, frame in enumerate(emt_frames[:6]):
        copy = frame.copy()
        energy = own.energies[number] * len(frame) + sum(zeros[symbol] for symbol in frame.symbols)
        copy.calc = type(frame.calc)(
            copy, energy=energy, forces=own.forces[number], stress=frame.get_stress()
        )
        labels.append(copy)
    continued = Training(labels, labels, still, TrainingSettings(), student.potential())
    row = run(continued).rows[-1]
    assert row.energy_test < 1e-3
    assert row.force_test < 1e-4


def test_energies_of_another_zero_per_element_are_refused_in_fine_tuning(
    emt_frames, parameters, trained
) -> None:
    frames = []
    for number, frame in enumerate(emt_frames[:6]):
        copy = frame.copy()
        copy.symbols[: 4 * number] = "Cu"
        copy.calc = type(frame.calc)(copy, **frame.calc.results)
        copy.calc.results["energy"] += -40.0 * copy.symbols.count("Cu")
        frames.append(copy)
    with pytest.raises(
        InputError,
        match=r"differ from those of the initial potential by .* depending on the element",
    ):
        Training(frames, [], parameters, TrainingSettings(), trained.potential())
