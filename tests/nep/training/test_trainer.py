"""The trainer behind the directory interface: interruptions, threads, files."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from mgflows.errors import InputError, ServiceError
from mgflows.nep import NepTrainer, parity, read_loss, write_frames
from mgflows.nep.training import LossWeights, TrainingPausedError, TrainingSettings
from mgflows.nep.training.checkpoint import read_checkpoint
from mgflows.nep.training.files import CHECKPOINT, train_in_directory

TRAINER = NepTrainer(steps=200, batch=4, reports=4, seed=1)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, emt_frames, small_parameters):
    progress = []
    directory = TRAINER.prepare(
        tmp_path_factory.mktemp("nep"), small_parameters, emt_frames[:20], emt_frames[20:]
    )
    return TRAINER.train(directory, progress.append), progress


def test_what_a_training_leaves(trained, emt_frames) -> None:
    result, progress = trained
    assert (result.directory / "nep.txt").read_text() == result.nep_txt
    assert result.trainer_version.startswith("mgflows ")
    assert (result.parameters.generation, result.parameters.batch, result.parameters.lambda_e) == (
        200,
        4,
        0.01,
    )
    assert [report.step for report in progress] == [50, 100, 150, 200]
    np.testing.assert_array_equal(result.loss.step, [50, 100, 150, 200])
    assert progress[-1].force_test == result.loss.force_test[-1] < progress[0].force_test
    errors = parity(result.nep_txt, emt_frames[20:]).overall
    assert errors.force_rmse == pytest.approx(1e3 * result.loss.force_test[-1], rel=1e-3)
    assert "step 200 of 200" in (result.directory / "training.log").read_text()
    assert result.cpu_seconds > 0.0


@pytest.mark.faults
def test_a_second_training_in_the_directory_is_refused(
    tmp_path, emt_frames, small_parameters
) -> None:
    """It would replace the inputs of the first and report the potential of the first as its own."""
    trainer = replace(TRAINER, steps=50, reports=1)
    arguments = (tmp_path, small_parameters, emt_frames[:20], emt_frames[20:])
    refusals = []

    def start_another(_: object) -> None:
        for start in (
            lambda: replace(trainer, seed=2).prepare(*arguments),
            lambda: trainer.train(tmp_path),
        ):
            with pytest.raises(InputError, match="another process is training in") as refused:
                start()
            refusals.append(refused.value.hint)

    result = trainer.train(trainer.prepare(*arguments), start_another)
    assert refusals == ["wait until it ends, or train in another directory"] * 2
    assert result.parameters.seed == 1
    # The lock ends with the training.
    assert trainer.train(trainer.prepare(*arguments)).nep_txt == result.nep_txt


def test_the_loss_file_is_that_of_gpumd(trained) -> None:
    lines = (trained[0].directory / "loss.out").read_text().splitlines()
    assert lines[2].split()[:5] == ["#", "columns", "generation", "total", "l1"]
    assert [len(line.split()) for line in lines[3:]] == [10] * 4


def test_a_finished_training_is_not_repeated_but_can_be_lengthened(
    trained, emt_frames, small_parameters
) -> None:
    result, _ = trained
    TRAINER.prepare(result.directory, small_parameters, emt_frames[:20], emt_frames[20:])
    again = TRAINER.train(result.directory)
    assert (again.nep_txt, again.cpu_seconds) == (result.nep_txt, 0.0)


def test_fewer_steps_start_over(tmp_path, emt_frames, small_parameters) -> None:
    train = emt_frames[:3]
    directory = NepTrainer(steps=20, reports=2).prepare(tmp_path, small_parameters, train)
    longer = NepTrainer(steps=20, reports=2).train(directory)
    short = NepTrainer(steps=10, reports=2)
    for by_hand in (False, True):
        if by_hand:
            text = (directory / "nep.in").read_text()
            (directory / "nep.in").write_text(re.sub(r"(generation\s+)20", r"\g<1>10", text))
        else:
            short.prepare(directory, small_parameters, train)
        result = short.train(directory)
        assert result.first_step == 0
        assert result.loss.step.tolist() == ([10] if by_hand else [5, 10])
        assert result.nep_txt != longer.nep_txt
        NepTrainer(steps=20, reports=2).prepare(directory, small_parameters, train)
        NepTrainer(steps=20, reports=2).train(directory)


def test_damaged_results_are_written_again(tmp_path, emt_frames, small_parameters) -> None:
    trainer = NepTrainer(steps=10, reports=2)
    directory = trainer.prepare(tmp_path, small_parameters, emt_frames[:3])
    whole = trainer.train(directory)
    for name in ("nep.txt", "loss.out"):
        text = (directory / name).read_text()
        for damaged in (text[: len(text) // 2], None):
            if damaged is None:
                (directory / name).unlink()
            else:
                (directory / name).write_text(damaged)
            again = trainer.train(directory)
            assert again.nep_txt == whole.nep_txt
            assert (directory / name).read_text() == text


def test_more_steps_after_a_plateau_say_that_nothing_is_done(
    tmp_path, emt_frames, small_parameters
) -> None:
    trainer = NepTrainer(
        steps=40, reports=1, learning_rate=(1e-9, 1e-9), settings=TrainingSettings(plateau=5)
    )
    directory = trainer.prepare(tmp_path, small_parameters, emt_frames[:3])
    first = trainer.train(directory)
    more = replace(trainer, steps=60)
    more.prepare(tmp_path, small_parameters, emt_frames[:3])
    assert more.train(directory).nep_txt == first.nep_txt
    assert "more steps do not continue it" in (directory / "training.log").read_text()


def test_a_useless_potential_is_named_in_the_log(tmp_path, emt_frames, small_parameters) -> None:
    trainer = NepTrainer(steps=20, reports=1, learning_rate=(1.0, 1.0))
    directory = trainer.prepare(tmp_path, small_parameters, emt_frames[:3])
    trainer.train(directory)
    assert "the potential is of no use" in (directory / "training.log").read_text()


def test_files_that_no_training_wrote_are_kept(tmp_path, emt_frames, small_parameters) -> None:
    trainer = NepTrainer(steps=10)
    write_frames(tmp_path / "train.xyz", emt_frames[:3])
    text = (tmp_path / "train.xyz").read_text()
    # The same frames, as after an interrupted preparation.
    trainer.prepare(tmp_path, small_parameters, emt_frames[:3])
    (tmp_path / "nep.in").unlink()
    with pytest.raises(InputError, match=r"has a train.xyz that mgflows did not write, .* another"):
        trainer.prepare(tmp_path, small_parameters, emt_frames[:2])
    # A folder of GPUMD, with settings written by hand.
    settings = f"# by hand\n{small_parameters.to_text()}"
    (tmp_path / "nep.in").write_text(settings)
    with pytest.raises(InputError, match=r"has a nep.in that mgflows did not write, .* another"):
        trainer.prepare(tmp_path, small_parameters, emt_frames[:2])
    assert (tmp_path / "nep.in").read_text() == settings
    assert (tmp_path / "train.xyz").read_text() == text
    file = tmp_path / "file"
    file.write_text("")
    for place in (file, file / "below"):
        with pytest.raises(ServiceError, match="cannot be prepared in"):
            trainer.prepare(place, small_parameters, emt_frames[:2])


def test_results_are_only_replaced_if_that_is_allowed(
    tmp_path, emt_frames, small_parameters
) -> None:
    trainer = NepTrainer(steps=10, reports=1)
    directory = trainer.prepare(tmp_path, small_parameters, emt_frames[:3])
    result = trainer.train(directory)
    kept = {path.name: path.read_bytes() for path in directory.iterdir()}
    for other, frames in (
        (trainer, emt_frames[:2]),
        (replace(trainer, steps=5), emt_frames[:3]),
        (replace(trainer, settings=TrainingSettings(plateau=5)), emt_frames[:3]),
    ):
        for missing in ("", "nep.txt"):
            # An interrupted training has no potential, but a state.
            (directory / missing).unlink() if missing else None
            with pytest.raises(InputError, match="on other frames or with other settings"):
                other.prepare(directory, small_parameters, frames, replace_results=False)
            (directory / "nep.txt").write_bytes(kept["nep.txt"])
        assert {path.name: path.read_bytes() for path in directory.iterdir()} == kept
    trainer.prepare(directory, small_parameters, emt_frames[:3], replace_results=False)
    assert trainer.train(directory).nep_txt == result.nep_txt
    trainer.prepare(directory, small_parameters, emt_frames[:2])
    assert not (directory / "nep.txt").exists()


def test_no_frames_are_refused(tmp_path, small_parameters) -> None:
    with pytest.raises(InputError, match="no frames to train on"):
        NepTrainer().prepare(tmp_path, small_parameters, ())


@pytest.mark.slow
def test_threads_do_not_change_the_result(tmp_path, trained, emt_frames, small_parameters) -> None:
    trainer = replace(TRAINER, n_threads=2)
    result = trainer.train(
        trainer.prepare(tmp_path, small_parameters, emt_frames[:20], emt_frames[20:])
    )
    assert result.nep_txt == trained[0].nep_txt


@pytest.mark.slow
@pytest.mark.faults
def test_a_training_killed_several_times_is_bitwise_the_uninterrupted_one(
    tmp_path, trained, emt_frames, small_parameters
) -> None:
    trainer = replace(TRAINER, settings=TrainingSettings(checkpoint_interval=0.0))
    directory = trainer.prepare(tmp_path, small_parameters, emt_frames[:20], emt_frames[20:])
    done = -1
    for wanted in (10, 60, 130):
        child = subprocess.Popen(
            [sys.executable, "-m", "mgflows.nep.training"],
            cwd=directory,
        )
        end = time.monotonic() + 120
        while not (
            (directory / CHECKPOINT).exists()
            and read_checkpoint(directory / CHECKPOINT)[0]["step"] >= wanted
        ):
            assert time.monotonic() < end
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.wait()
        step = read_checkpoint(directory / CHECKPOINT)[0]["step"]
        assert done < step < 200
        done = step
    result = trainer.train(directory)
    assert result.first_step == done
    assert result.nep_txt == trained[0].nep_txt
    assert (directory / "loss.out").read_text() == (trained[0].directory / "loss.out").read_text()


@pytest.mark.faults
def test_wall_time_and_signals_save_the_state(tmp_path, emt_frames, small_parameters) -> None:
    trainer = NepTrainer(steps=100_000, batch=1, reports=10, wall_time=3.0)
    directory = trainer.prepare(tmp_path, small_parameters, emt_frames[:4], emt_frames[20:])
    with pytest.raises(
        TrainingPausedError, match=r"stopped at its wall time after step \d+ of 100000"
    ) as paused:
        trainer.train(directory)
    assert read_checkpoint(directory / CHECKPOINT)[0]["step"] == paused.value.step > 0
    assert (directory / "nep.txt").exists()
    child = subprocess.Popen(
        [sys.executable, "-m", "mgflows.nep.training"],
        cwd=directory,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    with child.stdout as lines:
        assert any(line.startswith("the training continues after step") for line in lines)
        child.terminate()
        assert child.wait(timeout=60) == 0
    assert read_checkpoint(directory / CHECKPOINT)[0]["step"] > paused.value.step


@pytest.mark.faults
def test_a_full_disk_costs_nothing(
    tmp_path, emt_frames, small_parameters, monkeypatch, caplog
) -> None:
    directory = replace(TRAINER, steps=20, reports=2).prepare(
        tmp_path, small_parameters, emt_frames[:4]
    )

    def fail(path, meta, arrays) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mgflows.nep.training.files.write_checkpoint", fail)
    assert train_in_directory(directory)
    assert "the checkpoint of step 10 cannot be written: [Errno 28] No space left" in caplog.text
    assert parity((directory / "nep.txt").read_text(), emt_frames[:4]).overall.force_rmse > 0.0


@pytest.mark.faults
def test_a_full_disk_at_the_end_loses_nothing(
    tmp_path, emt_frames, small_parameters, monkeypatch, caplog
) -> None:
    trainer = replace(TRAINER, steps=20, reports=2)
    directory = trainer.prepare(tmp_path, small_parameters, emt_frames[:4])
    whole = trainer.prepare(tmp_path / "whole", small_parameters, emt_frames[:4])
    assert train_in_directory(whole)

    def fail(path, text) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("mgflows.nep.training.files.write_text", fail)
        with pytest.raises(ServiceError, match=r"cannot be written .*; free some space and train"):
            train_in_directory(directory)
    assert "the report of step 10 cannot be written" in caplog.text
    # All steps are done, but a new run must deliver the potential.
    assert trainer._steps_done(directory, trainer._complete(small_parameters, None)) == 19
    assert train_in_directory(directory)
    assert (directory / "nep.txt").read_text() == (whole / "nep.txt").read_text()


def test_other_inputs_start_over(tmp_path, emt_frames, small_parameters) -> None:
    short = NepTrainer(steps=10, reports=1)
    directory = short.prepare(tmp_path, small_parameters, emt_frames[:3], emt_frames[3:4])
    short.train(directory)
    outputs = [directory / name for name in (CHECKPOINT, "nep.txt", "loss.out", "training.log")]
    assert all(path.exists() for path in outputs)
    short.prepare(tmp_path, small_parameters, emt_frames[:3], emt_frames[3:4])
    assert all(path.exists() for path in outputs)
    changed = replace(short, settings=TrainingSettings(optimiser="adam"))
    changed.prepare(tmp_path, small_parameters, emt_frames[:3], emt_frames[3:4])
    assert not any(path.exists() for path in outputs)
    changed.train(directory)
    changed.prepare(tmp_path, small_parameters, emt_frames[:2], emt_frames[3:4])
    assert not any(path.exists() for path in outputs)
    # An incomplete checkpoint, which an atomic write never leaves.
    changed.train(directory)
    (directory / CHECKPOINT).write_bytes(b"PK")
    assert changed.train(directory).first_step == 0


def test_wrong_input_is_refused_before_anything_is_written(
    tmp_path, emt_frames, small_parameters, tiny_potential
) -> None:
    directory = tmp_path / "run"
    broken = emt_frames[0].copy()
    broken.calc = type(emt_frames[0].calc)(broken, **emt_frames[0].calc.results)
    broken.positions[1] = broken.positions[0]
    with pytest.raises(InputError, match="two atoms 0 A apart"):
        TRAINER.prepare(directory, small_parameters, [broken])
    with pytest.raises(InputError, match="another architecture"):
        TRAINER.prepare(
            directory,
            replace(small_parameters, neuron=11),
            emt_frames[:2],
            initial_potential=tiny_potential,
        )
    with pytest.raises(
        InputError, match="training frame 1 and test frame 0 are the same structure"
    ):
        TRAINER.prepare(directory, small_parameters, emt_frames[:2], emt_frames[1:3])
    assert not directory.exists()
    with pytest.raises(InputError, match="steps is 0"):
        NepTrainer(steps=0)
    with pytest.raises(InputError, match="wall_time is -1 s"):
        NepTrainer(wall_time=-1.0)
    for rate, message in ((0.02, "must be two numbers"), ((50.0, 1.0), "at most 1")):
        with pytest.raises(InputError, match=message):
            NepTrainer(learning_rate=rate)
    for weights in ((0.0, 0.0, 0.0), (-1.0, 1.0, 1.0)):
        with pytest.raises(InputError, match="the weights of energy, force and virial are"):
            LossWeights(*weights)
    with pytest.raises(InputError, match=r"plateau is 1\.5"):
        TrainingSettings(plateau=1.5)


@pytest.mark.faults
def test_a_failing_training_states_the_reason(tmp_path, emt_frames, small_parameters) -> None:
    directory = TRAINER.prepare(tmp_path, small_parameters, emt_frames[:2])
    (directory / "train.xyz").write_text("3\n\nCu 0 0 0\n")
    with pytest.raises(
        ServiceError, match=r"failed with exit status 1; training.log ends with: .*lines are left"
    ):
        TRAINER.train(directory)


@pytest.mark.physics
def test_a_warm_start_continues_from_the_potential(
    tmp_path, trained, emt_frames, small_parameters
) -> None:
    still = NepTrainer(steps=1, learning_rate=(1e-12, 1e-12))
    directory = still.prepare(
        tmp_path,
        small_parameters,
        emt_frames[:20],
        emt_frames[20:],
        initial_potential=trained[0].nep_txt,
    )
    result = still.train(directory)
    assert result.loss.force_test[-1] == pytest.approx(trained[0].loss.force_test[-1], rel=1e-4)
    assert result.loss.energy_test[-1] == pytest.approx(trained[0].loss.energy_test[-1], rel=1e-2)


def test_read_loss_identifies_the_file(trained) -> None:
    loss = read_loss(trained[0].directory / "loss.out")
    assert np.all(np.diff(loss.total) < 0.0)
