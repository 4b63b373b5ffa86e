"""Long jobs that are killed: the next launch resumes from the checkpoint.

The result is that of an uninterrupted run.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ase.optimize import FIRE, LBFGS
from jobflow import Flow, JobStore
from maggma.stores import MemoryStore

from mgflows import Alloy
from mgflows.checkpoints import checkpoints_kept
from mgflows.connections import open_job_store, open_launchpad
from mgflows.flows.tags import set_campaign, tag
from mgflows.jobs.clock import SurrogateMDMaker
from mgflows.jobs.dataset import DatasetInputs, DatasetMaker
from mgflows.jobs.heating import AseHeatingMaker
from mgflows.jobs.labels import AseMethod, AseRelaxMaker
from mgflows.jobs.sampling import SwapMonteCarloMaker
from mgflows.jobs.training import TrainingMaker
from mgflows.launch import submit
from mgflows.md.langevin import LangevinNPT
from mgflows.nep import NepTrainer
from mgflows.recovery import recover
from mgflows.schemas.labels import structure_from_atoms
from mgflows.surrogate import SurrogateMolecularDynamics, SwapMonteCarlo
from mgflows.validation.acceptance import AcceptanceSettings
from tests.helpers.emt_frames import PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobflow import Job
    from pymatgen.core import Structure
    from pymongo.database import Database

    from mgflows.settings import Settings

pytestmark = [pytest.mark.mongo, pytest.mark.faults]

ALLOY = Alloy.cuzral(n_atoms=113)


def run_and_kill(settings: Settings, pattern: str) -> None:
    """A worker that is killed some time after its job wrote a checkpoint."""
    worker = start(settings)
    deadline = time.monotonic() + 120
    while not list((settings.directory / "launches").glob(f"launcher_*/{pattern}")):
        assert worker.poll() is None, "the job ended before it could be killed; make it longer"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.1)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()


def start(settings: Settings) -> subprocess.Popen[bytes]:
    path = settings.write(settings.directory / "mgflows.yaml")
    return subprocess.Popen(
        [sys.executable, "-m", "mgflows.launch.worker", "--settings", str(path)],
        stderr=subprocess.DEVNULL,
    )


def output_after_a_kill(
    settings: Settings, database: Database, job: Job, pattern: str
) -> dict[str, Any]:
    flow = Flow([tag(job, stage="sampling", category="sampling")])
    set_campaign(flow, "long")
    submit(flow, settings)
    run_and_kill(settings, pattern)
    assert recover(settings).rerun
    assert start(settings).wait(timeout=300) == 0
    (launch,) = database.launches.find({"state": "COMPLETED"})
    assert "resuming from" in (Path(launch["launch_dir"]) / "job.err").read_text()
    store = open_job_store(settings)
    store.connect()
    return store.get_output(job.uuid, load=True)


def test_swap_monte_carlo(settings: Settings, database: Database) -> None:
    maker = SwapMonteCarloMaker(checkpoint_interval=0.3, equilibration_sweeps=100)
    sample = output_after_a_kill(
        settings, database, maker.make(ALLOY, 150_000, 3), "checkpoint-swap-monte-carlo.npz"
    )
    whole = maker._cool(ALLOY, 150_000, 3)
    positions = np.array([site["xyz"] for site in sample["structure"]["sites"]])
    assert np.array_equal(positions, whole.structure.cart_coords)


def test_replicas(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of sixteen, which is killed, and one sample by itself."""
    maker = SwapMonteCarloMaker(checkpoint_interval=0.1, equilibration_sweeps=50)
    seeds = list(range(17))
    arguments = ALLOY, 10_000, seeds, [str(seed) for seed in seeds]
    document = output_after_a_kill(
        settings, database, maker.make_set(*arguments), "checkpoint-swap-monte-carlo-000.npz"
    )
    monkeypatch.chdir(tmp_path)
    whole = SwapMonteCarloMaker.make_set.original(maker, *arguments)
    assert [sample["e_is"] for sample in document["samples"]] == [s.e_is for s in whole.samples]
    assert [sample["replicas"] for sample in document["samples"]] == 16 * [16] + [1]


def test_molecular_dynamics(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobflow import run_locally

    maker = SurrogateMDMaker(checkpoint_interval=0.2, equilibration_sweeps=20)
    # Killed in the second of three runs.
    document = output_after_a_kill(
        settings, database, maker.make(ALLOY, 150.0, [1, 2, 3]), "checkpoint-dynamics-1.npz"
    )
    monkeypatch.chdir(tmp_path)
    job = maker.make(ALLOY, 150.0, [1, 2, 3])
    whole = run_locally(job, store=JobStore(MemoryStore()), create_folders=True, log=False)[
        job.uuid
    ][1].output
    assert document["e_is_reduced"] == whole.e_is_reduced
    assert document["seeds"] == [1, 2, 3]


DIES_BEFORE_STORING = """
import os, signal, sys
from jobflow import JobStore
from mgflows.launch.worker import main
update = JobStore.update
def die(self, docs, key=None, save=None):
    if getattr(docs, "name", None) == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    update(self, docs, key=key, save=save)
JobStore.update = die
sys.exit(main(sys.argv[2:]))
"""
"""A worker that is killed when the named job has computed everything and has stored nothing."""

COMPUTES_NOTHING = """
import sys
from mgflows import subprocesses
from mgflows.launch.worker import main
from mgflows.surrogate import SwapMonteCarlo
def refuse(*_, **__):
    raise AssertionError("this was computed before")
SwapMonteCarlo._advance = subprocesses.run = refuse
sys.exit(main(sys.argv[1:]))
"""
"""A worker that can neither cool nor train."""

EMT = AseMethod("ase.calculators.emt.EMT", description="effective medium theory")


def crystal() -> Structure:
    from ase.build import bulk

    atoms = bulk("Cu", cubic=True) * 2
    atoms.symbols[::5] = "Al"
    atoms.rattle(0.05, seed=2)
    return structure_from_atoms(atoms)


def cooling() -> list[Job]:
    return [SwapMonteCarloMaker(equilibration_sweeps=20).make(ALLOY, 300, 3)]


def training() -> list[Job]:
    """A training on the frames of three heatings."""
    labels = [
        tag(
            AseHeatingMaker(method=EMT, n_steps=6).make(crystal(), seed=seed),
            stage="labels",
            subset="distorted",
            category="dft",
            family=f"family-{seed}",
        )
        for seed in range(3)
    ]
    dataset = DatasetMaker(test_fraction=0.3).make(
        "long", ["Cu", "Al"], DatasetInputs([label.output for label in labels])
    )
    tag(dataset, stage="training", category="sampling")
    maker = TrainingMaker(
        trainer=NepTrainer(steps=6, reports=2),
        parameters=PARAMETERS,
        acceptance=AcceptanceSettings(melt_time=0.02, n_glasses=1),
    )
    return [*labels, dataset, maker.make(dataset.output)]


@pytest.mark.parametrize("jobs", [cooling, training])
def test_a_worker_is_killed_between_the_computation_and_its_end(
    jobs: Callable[[], list[Job]], settings: Settings, database: Database
) -> None:
    path = settings.write(settings.directory / "mgflows.yaml")

    def work(program: str, *arguments: str) -> int:
        command = [sys.executable, "-c", program, *arguments, "--settings", str(path)]
        return subprocess.run(command, check=False, timeout=120).returncode

    made = jobs()
    job = tag(made[-1], stage="training", category="training")
    flow = Flow(made)
    set_campaign(flow, "long")
    submit(flow, settings)
    assert work(DIES_BEFORE_STORING, job.name) == -signal.SIGKILL
    assert recover(settings).rerun
    assert work(COMPUTES_NOTHING) == 0
    stored = open_job_store(settings)
    stored.connect()
    output = stored.get_output(job.uuid, load=True)
    launch = database.launches.find_one({"state": "COMPLETED"}, sort=[("launch_id", -1)])
    assert not list(Path(launch["launch_dir"]).glob("checkpoint-*"))
    # A rerun of the completed job computes everything again, from the beginning.
    again = json.dumps(without_provenance(output))
    stored.remove_docs({"uuid": job.uuid})
    open_launchpad(settings).rerun_fw(launch["fw_id"])
    assert start(settings).wait(timeout=120) == 0
    assert again == json.dumps(without_provenance(stored.get_output(job.uuid, load=True)))


def without_provenance(output: Any) -> Any:
    if isinstance(output, dict):
        volatile = ("provenance", "cpu_seconds")
        return {k: without_provenance(v) for k, v in output.items() if k not in volatile}
    return [without_provenance(v) for v in output] if isinstance(output, list) else output


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("this was computed before")


@pytest.mark.parametrize(
    ("job", "steps"),
    [
        (
            lambda: SurrogateMDMaker(equilibration_sweeps=20).make(ALLOY, 1.0, [1, 2]),
            [(SurrogateMolecularDynamics, "_integrate"), (SwapMonteCarlo, "_advance")],
        ),
        (
            lambda: AseHeatingMaker(method=EMT, n_steps=8).make(crystal(), 5),
            [(LangevinNPT, "step")],
        ),
        (lambda: AseRelaxMaker(method=EMT).make(crystal()), [(FIRE, "step"), (LBFGS, "step")]),
    ],
    ids=["molecular_dynamics", "heating", "relaxation"],
)
def test_a_finished_computation_is_found_again(
    job: Callable[[], Job],
    steps: list[tuple[type, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()

    def run(*, end: bool = False) -> Any:
        made = job()
        with checkpoints_kept():
            made.run(store=store)
            if end:
                raise KeyboardInterrupt
        return without_provenance(store.get_output(made.uuid, load=True))

    with pytest.raises(KeyboardInterrupt):
        run(end=True)
    for owner, name in steps:
        monkeypatch.setattr(owner, name, refuse)
    resumed = run()
    assert not list(tmp_path.glob("checkpoint-*"))
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert resumed == run()
