"""Both trainers on a real GPU: neppo's on CUDA, and GPUMD's ``nep`` where it is on PATH.

The errors that a trainer reports are compared with the potential it wrote, evaluated on the CPU by
nep-adapters.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from mgflows.cli.bench import bench
from mgflows.errors import ServiceError
from mgflows.nep import GpumdTrainer, NeppoTrainer, nep_calculator, parity, read_loss, write_frames
from mgflows.settings import Settings
from tests.helpers.processes import children, is_alive, wait_for

pytestmark = pytest.mark.gpu

NEPPO = NeppoTrainer(
    steps=200, batch=4, learning_rate=(1e-2, 1e-4), reports=4, seed=1, device="cuda"
)


@pytest.fixture(scope="session")
def evolution(small_parameters):
    """Settings of a short evolution that ends somewhere."""
    return replace(small_parameters, generation=1000, output_interval=100)


@pytest.fixture(scope="session")
def evolved(tmp_path_factory, emt_frames, evolution):
    """A short training with GPUMD, and the progress it reported."""
    progress = []
    directory = GpumdTrainer().prepare(
        tmp_path_factory.mktemp("evolved"), evolution, emt_frames[:20], emt_frames[20:]
    )
    return GpumdTrainer().train(directory, progress.append), progress


def typical_force(frames) -> float:
    """Root mean square of the force components, meV/A: the error of a zero potential."""
    return 1e3 * float(np.sqrt(np.mean([np.mean(frame.get_forces() ** 2) for frame in frames])))


@pytest.mark.physics
def test_neppo_trained_on_a_gpu_agrees_with_the_cpu(tmp_path, emt_frames, small_parameters) -> None:
    result = NEPPO.train(
        NEPPO.prepare(tmp_path, small_parameters, emt_frames[:20], emt_frames[20:])
    )
    errors = parity(result.nep_txt, emt_frames[20:]).overall
    assert errors.force_rmse < 0.25 * typical_force(emt_frames[20:])
    assert errors.force_rmse == pytest.approx(1e3 * result.loss.force_test[-1], abs=0.2)
    assert errors.energy_rmse == pytest.approx(1e3 * result.loss.energy_test[-1], abs=0.2)
    assert errors.virial_rmse == pytest.approx(1e3 * result.loss.virial_test[-1], abs=0.2)


def test_a_potential_of_the_gpu_is_trained_further_on_the_cpu(
    tmp_path, emt_frames, small_parameters
) -> None:
    train, test = emt_frames[:20], emt_frames[20:]
    result = NEPPO.train(NEPPO.prepare(tmp_path / "gpu", small_parameters, train, test))
    still = NeppoTrainer(steps=1, batch=4, learning_rate=(1e-12, 1e-12))
    warm = still.train(
        still.prepare(
            tmp_path / "cpu", small_parameters, train, test, initial_potential=result.nep_txt
        )
    )
    assert warm.loss.force_test[-1] == pytest.approx(result.loss.force_test[-1], abs=2e-4)


def test_how_far_the_same_seed_gives_the_same_potential(
    tmp_path, emt_frames, small_parameters
) -> None:
    first, second = (
        NEPPO.train(
            NEPPO.prepare(tmp_path / name, small_parameters, emt_frames[:20], emt_frames[20:])
        )
        for name in ("first", "second")
    )
    assert second.loss.force_test[-1] == pytest.approx(first.loss.force_test[-1], rel=0.05)
    assert second.loss.force_test[0] == pytest.approx(first.loss.force_test[0], rel=0.02)


@pytest.mark.physics
def test_a_potential_gives_the_same_on_a_gpu(glass, tiny_potential) -> None:
    results = []
    for device in ("cpu", "cuda"):
        atoms = glass.copy()
        atoms.calc = nep_calculator(tiny_potential, device)
        results.append(
            (atoms.get_potential_energy() / len(atoms), atoms.get_forces(), atoms.get_stress())
        )
    for mine, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(theirs, mine, atol=2e-5)


def test_a_quench_on_a_gpu_records_it(tmp_path, monkeypatch, glass, tiny_potential) -> None:
    from jobflow import JobStore, run_locally
    from maggma.stores import MemoryStore

    from mgflows.jobs.quench import QuenchMaker
    from mgflows.schemas.labels import structure_from_atoms

    monkeypatch.chdir(tmp_path)
    maker = QuenchMaker(temperature_high=600.0, temperature_low=300.0, equilibration_time=0.05)
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    job = maker.make(structure_from_atoms(glass), tiny_potential.read_text(), "tiny", 4000.0, 1)
    with Settings(directory=tmp_path, nep_device="cuda").in_use():
        output = run_locally(job, store=store, create_folders=True, ensure_success=True, log=False)[
            job.uuid
        ][1].output
    assert output.provenance.settings["nep_device"] == "cuda"
    assert 4.0 < output.density < 9.0


@pytest.mark.needs("gpumd")
@pytest.mark.physics
def test_gpumd_learns_and_its_potential_is_read(evolved, emt_frames, evolution) -> None:
    result, progress = evolved
    assert result.trainer_version.startswith("gpumd ")
    assert result.trainer_version[6].isdigit()
    assert result.parameters == evolution
    assert [report.step for report in progress] == list(range(100, 1001, 100))
    np.testing.assert_array_equal(result.loss.step, np.arange(100, 1001, 100))
    errors = parity(result.nep_txt, emt_frames[20:]).overall
    assert errors.force_rmse < 0.6 * typical_force(emt_frames[20:])
    # GPUMD computes in single precision and writes five decimals; the test errors are of the whole
    # test set.
    assert errors.force_rmse == pytest.approx(1e3 * result.loss.force_test[-1], rel=0.01)
    assert errors.energy_rmse == pytest.approx(1e3 * result.loss.energy_test[-1], rel=0.02, abs=0.1)
    assert errors.virial_rmse == pytest.approx(1e3 * result.loss.virial_test[-1], rel=0.02, abs=0.1)


@pytest.mark.needs("gpumd")
def test_a_finished_evolution_is_not_repeated_and_a_longer_one_continues(
    evolved, emt_frames, evolution
) -> None:
    result, _ = evolved
    trainer = GpumdTrainer()
    again = trainer.train(
        trainer.prepare(result.directory, evolution, emt_frames[:20], emt_frames[20:])
    )
    assert (again.nep_txt, again.cpu_seconds) == (result.nep_txt, 0.0)
    longer = trainer.train(
        trainer.prepare(
            result.directory, replace(evolution, generation=1300), emt_frames[:20], emt_frames[20:]
        )
    )
    assert longer.first_step == 1000
    np.testing.assert_array_equal(longer.loss.step, np.arange(100, 1301, 100))
    # Had it started over, the loss would be that of the beginning.
    assert longer.loss.total[10] < 1.2 * longer.loss.total[9] < 0.5 * longer.loss.total[0]


@pytest.mark.needs("gpumd")
@pytest.mark.faults
def test_a_killed_evolution_dies_with_its_parent_and_is_continued(
    tmp_path, emt_frames, evolution
) -> None:
    trainer = GpumdTrainer()
    directory = trainer.prepare(
        tmp_path / "run", replace(evolution, generation=1_000_000), emt_frames[:20], emt_frames[20:]
    )
    script = "import sys; from mgflows.nep import GpumdTrainer; GpumdTrainer().train(sys.argv[1])"
    parent = subprocess.Popen([sys.executable, "-c", script, str(directory)])
    wait_for(
        lambda: (directory / "loss.out").exists() and len(read_loss(directory / "loss.out")) >= 4,
        seconds=120,
    )
    (child,) = children(parent.pid)
    parent.kill()
    parent.wait()
    wait_for(lambda: not is_alive(child), seconds=30)
    before = read_loss(directory / "loss.out")
    done = int(before.step[-1])
    (directory / "nep.in").write_text(
        (directory / "nep.in").read_text().replace("1000000", str(done + 200))
    )
    result = trainer.train(directory)
    assert result.first_step == done
    np.testing.assert_array_equal(result.loss.step[-2:], [done + 100, done + 200])
    assert result.loss.total[-1] < 1.2 * before.total[-1]


@pytest.mark.needs("gpumd")
def test_what_gpumd_refuses_is_reported_in_its_own_words(tmp_path, emt_frames, evolution) -> None:
    directory = GpumdTrainer().prepare(tmp_path, evolution, emt_frames[:4])
    (directory / "train.xyz").write_text("3\n\nCu 0 0 0\n")
    with pytest.raises(ServiceError, match=r"exit status 1; training.log ends with: .*train.xyz"):
        GpumdTrainer().train(directory)


@pytest.mark.needs("gpumd")
def test_the_benchmark_compares_them(tmp_path, emt_frames) -> None:
    write_frames(tmp_path / "train.xyz", emt_frames[:20])
    write_frames(tmp_path / "test.xyz", emt_frames[20:])
    options = [
        "training",
        str(tmp_path),
        "--steps",
        "40",
        "--batch",
        "4",
        "--nep",
        "nep",
        "--generations",
        "40",
        "--json",
    ]
    result = CliRunner().invoke(bench, options, catch_exceptions=False)
    rows = json.loads(result.stdout)
    assert [(row["trainer"], row["device"]) for row in rows] == [
        ("NeppoTrainer", "cpu"),
        ("NeppoTrainer", "cuda"),
        ("GpumdTrainer", "cuda"),
    ]
    assert all(
        row["hardware"] and row["seconds"] > 0.0 and np.isfinite(row["force"]) for row in rows
    )
