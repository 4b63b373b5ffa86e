from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from mgflows.errors import InputError, MissingDependencyError, ServiceError
from mgflows.nep import GpumdTrainer, NepParameters, NeppoTrainer, nep_calculator, parity, read_loss
from tests.helpers.processes import children, is_alive, wait_for

TRAINER = NeppoTrainer(steps=120, batch=4, learning_rate=(1e-2, 1e-4), reports=4, seed=1)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, emt_frames, small_parameters):
    """The result of a short training, and the progress it reported."""
    progress = []
    directory = TRAINER.prepare(
        tmp_path_factory.mktemp("trained"), small_parameters, emt_frames[:20], emt_frames[20:]
    )
    return TRAINER.train(directory, progress.append), progress


@pytest.mark.physics
def test_a_potential_learns_the_forces_of_emt(trained, emt_frames) -> None:
    errors = parity(trained[0].nep_txt, emt_frames[20:]).overall
    typical = 1e3 * np.sqrt(
        np.mean([np.mean(frame.get_forces() ** 2) for frame in emt_frames[20:]])
    )
    assert errors.force_rmse < 0.25 * typical
    assert errors.force_r2 > 0.9
    assert errors.energy_rmse < 40.0


def test_what_a_training_leaves(trained, small_parameters) -> None:
    result, progress = trained
    assert (result.directory / "nep.txt").read_text() == result.nep_txt
    assert result.parameters == replace(
        small_parameters,
        generation=120,
        batch=4,
        learning_rate=(1e-2, 1e-4),
        seed=1,
        output_interval=30,
    )
    assert result.trainer_version.startswith("neppo ")
    assert result.first_step == 0
    assert 0.0 < result.cpu_seconds < 120.0
    assert [report.step for report in progress] == [30, 60, 90, 120]
    assert {report.n_steps for report in progress} == {120}
    assert progress[-1].force_test == result.loss.force_test[-1] < progress[0].force_test


def test_the_trainer_s_last_test_errors_are_those_of_the_potential(trained, emt_frames) -> None:
    result, _ = trained
    errors = parity(result.nep_txt, emt_frames[20:]).overall
    assert errors.force_rmse == pytest.approx(1e3 * result.loss.force_test[-1], abs=0.1)
    assert errors.energy_rmse == pytest.approx(1e3 * result.loss.energy_test[-1], abs=0.1)
    assert errors.virial_rmse == pytest.approx(1e3 * result.loss.virial_test[-1], abs=0.1)


def test_the_faster_neighbour_lists_and_reports_change_nothing(tmp_path, glass) -> None:
    # neppo is changed in a separate process, as the trainer does it.
    script = """
import numpy as np, neppo.graph, neppo.trainer, sys
from ase.io import read
from mgflows.nep.neppo_runner import speed_up
atoms = read(sys.argv[1])
arguments = (atoms, ["Cu", "Zr", "Al"], [6.5] * 3, [4.0] * 3)
def edges():
    graph = neppo.graph.get_structure_graph(*arguments)
    rows = np.column_stack([graph.edge_index.T, graph.edge_vectors])
    return graph.n_angular_edges, rows[np.lexsort(rows.round(6).T)]
slow, before = edges(), (neppo.graph.neighbor_list, neppo.trainer.EVALUATION_BATCH_SIZE)
speed_up()
fast, after = edges(), (neppo.graph.neighbor_list, neppo.trainer.EVALUATION_BATCH_SIZE)
assert before[0] is not after[0] and before[1] == 100 and after[1] == 10
assert slow[0] == fast[0] > 0
np.testing.assert_allclose(slow[1], fast[1], atol=1e-12)
"""
    path = tmp_path / "glass.xyz"
    glass.write(path)
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)


def test_a_finished_training_is_not_repeated(trained, emt_frames, small_parameters) -> None:
    result, _ = trained
    before = (result.directory / "nep.txt").stat().st_mtime_ns
    TRAINER.prepare(result.directory, small_parameters, emt_frames[:20], emt_frames[20:])
    again = TRAINER.train(result.directory)
    assert again.nep_txt == result.nep_txt
    assert again.cpu_seconds == 0.0
    assert (result.directory / "nep.txt").stat().st_mtime_ns == before


@pytest.mark.slow
def test_the_same_seed_gives_the_same_potential_and_a_warm_start_starts_from_it(
    tmp_path, trained, emt_frames, small_parameters
) -> None:
    train, test = emt_frames[:20], emt_frames[20:]
    again = TRAINER.train(TRAINER.prepare(tmp_path / "again", small_parameters, train, test))
    assert again.nep_txt == trained[0].nep_txt
    # One step at a vanishing learning rate leaves the potential where it was.
    still = NeppoTrainer(steps=1, batch=4, learning_rate=(1e-12, 1e-12))
    warm = still.train(
        still.prepare(
            tmp_path / "warm", small_parameters, train, test, initial_potential=trained[0].nep_txt
        )
    )
    assert warm.loss.force_test[-1] == pytest.approx(trained[0].loss.force_test[-1], abs=1e-5)
    assert warm.loss.energy_test[-1] == pytest.approx(trained[0].loss.energy_test[-1], abs=1e-5)


@pytest.mark.slow
@pytest.mark.faults
def test_a_killed_training_dies_with_its_parent_and_is_continued(
    tmp_path, emt_frames, small_parameters
) -> None:
    trainer = NeppoTrainer(steps=4000, batch=1, reports=400, seed=1)
    directory = trainer.prepare(tmp_path / "run", small_parameters, emt_frames[:4], emt_frames[20:])
    script = "import sys; from mgflows.nep import NeppoTrainer; NeppoTrainer().train(sys.argv[1])"
    parent = subprocess.Popen([sys.executable, "-c", script, str(directory)])
    wait_for(
        lambda: (directory / "loss.out").exists() and len(read_loss(directory / "loss.out")) >= 2,
        seconds=120,
    )
    (child,) = children(parent.pid)
    parent.kill()
    parent.wait()
    wait_for(lambda: not is_alive(child), seconds=10)
    done = int(read_loss(directory / "loss.out").step[-1])
    assert done < 4000
    # A torn line, as a kill in the middle of a report leaves it.
    with (directory / "loss.out").open("a") as file:
        file.write(f"{done + 10} 0.1 0.")
    # An end that is near, to keep this short.
    (directory / "nep.in").write_text(
        (directory / "nep.in").read_text().replace("4000", str(done + 30))
    )
    result = trainer.train(directory)
    assert result.first_step == done
    np.testing.assert_array_equal(result.loss.step[-3:], [done + 10, done + 20, done + 30])
    assert "lr" in (directory / "training.log").read_text()


@pytest.mark.faults
def test_an_exception_in_the_parent_ends_the_trainer(
    tmp_path, emt_frames, small_parameters
) -> None:
    directory = NeppoTrainer(steps=100_000, batch=1, reports=10_000).prepare(
        tmp_path, small_parameters, emt_frames[:2], emt_frames[2:3]
    )
    seen: list[int] = []
    # A server that other tests share may be there already.
    others = set(children(os.getpid()))

    def interrupt(progress) -> None:
        seen.extend(set(children(os.getpid())) - others)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TRAINER.train(directory, interrupt)
    assert len(seen) == 1
    assert not is_alive(seen[0])


@pytest.mark.faults
def test_a_failing_training_states_the_reason(tmp_path, emt_frames, small_parameters) -> None:
    directory = TRAINER.prepare(tmp_path, small_parameters, emt_frames[:2])
    (directory / "train.xyz").write_text("3\n\nCu 0 0 0\n")
    with pytest.raises(
        ServiceError, match=r"failed with exit status 1; training.log ends with: .*Error"
    ):
        TRAINER.train(directory)


def test_other_inputs_remove_old_results(tmp_path, emt_frames, small_parameters) -> None:
    directory = TRAINER.prepare(tmp_path, small_parameters, emt_frames[:2], emt_frames[2:3])
    stale = [
        directory / name
        for name in ("nep.txt", "nep_best.txt", "loss.out", "force_test.out", "training.log")
    ]

    def touch() -> None:
        for path in stale:
            path.write_text("")

    touch()
    TRAINER.prepare(tmp_path, small_parameters, emt_frames[:2], emt_frames[2:3])
    assert all(path.exists() for path in stale)
    changes = (
        (TRAINER, small_parameters, emt_frames[:3], emt_frames[3:4]),
        (TRAINER, small_parameters, emt_frames[:3], []),
        (TRAINER, replace(small_parameters, neuron=5), emt_frames[:3], []),
        (replace(TRAINER, seed=2), replace(small_parameters, neuron=5), emt_frames[:3], []),
        (
            replace(TRAINER, seed=2, steps=10),
            replace(small_parameters, neuron=5),
            emt_frames[:3],
            [],
        ),
    )
    for trainer, parameters, train, test in changes:
        touch()
        trainer.prepare(tmp_path, parameters, train, test)
        assert not any(path.exists() for path in stale)
        assert (directory / "test.xyz").exists() == bool(test)


def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    tmp_path, emt_frames, small_parameters, tiny_potential
) -> None:
    directory = tmp_path / "run"
    with pytest.raises(
        InputError, match="training frame 1 and test frame 0 are the same structure"
    ):
        TRAINER.prepare(directory, small_parameters, emt_frames[:2], emt_frames[1:3])
    with pytest.raises(InputError, match="contains Al, which is not among the species Cu"):
        TRAINER.prepare(directory, replace(small_parameters, species=("Cu",)), emt_frames[:2])
    with pytest.raises(InputError, match="no frame"):
        TRAINER.prepare(directory, small_parameters, [])
    with pytest.raises(InputError, match="another architecture"):
        TRAINER.prepare(
            directory,
            NepParameters(("Cu", "Zr", "Al")),
            emt_frames[:2],
            initial_potential=tiny_potential,
        )
    with pytest.raises(InputError, match="steps is 0"):
        NeppoTrainer(steps=0)
    assert not directory.exists()
    with pytest.raises(InputError, match=r"no nep\.in"):
        TRAINER.train(tmp_path)


def test_a_missing_neppo_is_reported(tmp_path, emt_frames, small_parameters, monkeypatch) -> None:
    directory = TRAINER.prepare(tmp_path, small_parameters, emt_frames[:2])
    monkeypatch.setattr("mgflows.nep.trainers.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[neppo\]"):
        TRAINER.train(directory)


GPUMD = """\
#!{python}
# The output of GPUMD's nep without its GPU: two reports, or one and a failure if `fail` exists.
import os, sys
settings = dict(line.split(None, 1) for line in open("nep.in"))
print("GPUMD version 4.9.1", os.path.exists("nep.restart"), settings["generation"].strip())
n = int(settings["generation"])
for step in (n // 2, n):
    open("nep.restart", "w").write("0.1 0.1\\n" * {parameters})
    open("loss.out", "a").write(f"{{step}} 1.00 1.00 1.00 0.01 0.10 0.10 0.02 0.20 0.20\\n")
    open("nep.txt", "w").write(open("{potential}").read())
    if os.path.exists("fail"):
        print("the GPU is gone")
        sys.exit(3)
"""


@pytest.fixture
def gpumd(tmp_path, tiny_potential) -> GpumdTrainer:
    executable = tmp_path / "nep executable"
    executable.write_text(
        GPUMD.format(python=sys.executable, parameters=1096, potential=tiny_potential)
    )
    executable.chmod(0o755)
    return GpumdTrainer(command=f"'{executable}'")


@pytest.fixture
def tiny_parameters() -> NepParameters:
    return NepParameters(
        ("Cu", "Zr", "Al"),
        cutoff=(5.0, 4.0),
        n_max=(4, 3),
        basis_size=(4, 4),
        l_max=(4, 0, 0),
        neuron=10,
        generation=1000,
    )


def test_gpumd_is_run_in_the_same_directory(
    tmp_path, gpumd, emt_frames, tiny_parameters, tiny_potential
) -> None:
    directory = gpumd.prepare(
        tmp_path / "run", tiny_parameters, emt_frames[:2], emt_frames[2:4], seed=3
    )
    assert "seed" not in (directory / "nep.in").read_text()
    progress = []
    result = gpumd.train(directory, progress.append)
    assert result.nep_txt == tiny_potential.read_text()
    assert result.trainer_version == "gpumd 4.9.1"
    assert [report.step for report in progress] == [500, 1000]
    assert progress[0].force_test == 0.2
    assert nep_calculator(result.nep_txt) is not None


@pytest.mark.faults
def test_an_interrupted_gpumd_run_requests_only_the_rest(
    tmp_path, gpumd, emt_frames, tiny_parameters
) -> None:
    directory = gpumd.prepare(tmp_path / "run", tiny_parameters, emt_frames[:2], emt_frames[2:4])
    (directory / "fail").touch()
    with pytest.raises(ServiceError, match=r"exit status 3; .*the GPU is gone"):
        gpumd.train(directory)
    with pytest.raises(ServiceError, match="exit status 3"):
        gpumd.train(directory)
    (directory / "fail").unlink()
    gpumd.prepare(directory, tiny_parameters, emt_frames[:2], emt_frames[2:4])
    result = gpumd.train(directory)
    # 500 of 1000, then 250 of the remaining 500, then the last 250 in two reports.
    assert result.first_step == 750
    np.testing.assert_array_equal(result.loss.step, [500, 750, 875, 1000])
    assert "GPUMD version 4.9.1 True 250" in (directory / "training.log").read_text()
    assert NepParameters.from_text((directory / "nep.in").read_text()) == tiny_parameters


@pytest.mark.faults
def test_a_gpumd_run_without_restart_file_starts_over(
    tmp_path, gpumd, emt_frames, tiny_parameters
) -> None:
    directory = gpumd.prepare(tmp_path / "run", tiny_parameters, emt_frames[:2])
    (directory / "loss.out").write_text("400 1 1 1 1 1 1 1 1 1\n")
    # Cut off in the last number, as a kill leaves it.
    (directory / "nep.restart").write_text("0.1 0.1\n" * 1095 + "0.1 0.")
    result = gpumd.train(directory)
    assert result.first_step == 0
    np.testing.assert_array_equal(result.loss.step, [500, 1000])


def test_generations_that_gpumd_would_not_write_are_refused(
    tmp_path, emt_frames, tiny_parameters
) -> None:
    with pytest.raises(
        InputError, match="generation is 1050 but must be a multiple of output_interval, 100"
    ):
        GpumdTrainer().prepare(tmp_path, replace(tiny_parameters, generation=1050), emt_frames[:2])
    assert not list(tmp_path.iterdir())


def test_a_missing_gpumd_or_an_impossible_request_is_reported(
    tmp_path, emt_frames, tiny_parameters, tiny_potential
) -> None:
    trainer = GpumdTrainer(command="nep-not-installed --fast")
    directory = trainer.prepare(tmp_path, tiny_parameters, emt_frames[:2])
    with pytest.raises(ServiceError, match="'nep-not-installed --fast' is not found"):
        trainer.train(directory)
    with pytest.raises(InputError, match="cannot start from a potential"):
        trainer.prepare(tmp_path, tiny_parameters, emt_frames[:2], initial_potential=tiny_potential)
    seeded = GpumdTrainer(takes_seed=True).prepare(
        tmp_path, tiny_parameters, emt_frames[:2], seed=3
    )
    assert NepParameters.from_text((seeded / "nep.in").read_text()).seed == 3


@pytest.mark.faults
def test_a_training_that_ends_without_potential_is_a_failure(
    tmp_path, gpumd, emt_frames, tiny_parameters
) -> None:
    directory = gpumd.prepare(
        tmp_path / "run", replace(tiny_parameters, species=("Cu", "Ni", "Al")), emt_frames[:2]
    )
    with pytest.raises(ServiceError, match=r"without a usable potential: .*not Ni"):
        gpumd.train(directory)


def test_a_process_whose_parent_is_gone_does_not_start(tmp_path) -> None:
    from mgflows import subprocesses

    marker = tmp_path / "started"
    orphan = subprocess.run(
        [sys.executable, subprocesses.__file__, "1", "touch", str(marker)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert orphan.returncode == 1
    assert "has ended" in orphan.stderr
    assert not marker.exists()


def test_neppo_refuses_the_weight_it_does_not_have(tmp_path, emt_frames, small_parameters) -> None:
    parameters = replace(small_parameters, force_delta=0.5)
    with pytest.raises(InputError, match=r"force_delta is 0.5, but neppo .*; set it to 0"):
        NeppoTrainer().prepare(tmp_path, parameters, emt_frames[:2])
    assert not list(tmp_path.iterdir())
