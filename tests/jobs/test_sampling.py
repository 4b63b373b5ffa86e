from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mgflows import Alloy
from mgflows.errors import InputError
from mgflows.flows.sampling import SamplingFlowMaker
from mgflows.flows.tags import set_campaign
from mgflows.jobs.clock import SupercoolingMaker, SurrogateMDMaker
from mgflows.jobs.onset import OnsetMaker
from mgflows.jobs.sampling import SwapMonteCarloMaker
from mgflows.schemas.labels import atoms_from_structure
from mgflows.schemas.sampling import (
    OnsetDocument,
    SampleDocument,
    SampleSetDocument,
    SupercoolingDocument,
    SurrogateCoolingDocument,
)
from mgflows.structures.order import analyse_order
from mgflows.structures.similarity import compare_structures
from mgflows.surrogate import LennardJones

ALLOY = Alloy.cuzral(n_atoms=113)


def _positions(sample):
    return SampleDocument.model_validate(sample).structure.cart_coords


def test_a_sample_records_its_origin(run):
    sample = SampleDocument.model_validate(
        run(SwapMonteCarloMaker().make(ALLOY, n_sweeps=300, seed=5))
    )
    assert sample.structure.composition.as_dict() == {"Cu": 52.0, "Zr": 52.0, "Al": 9.0}
    assert sample.e_is < sample.energy_lj
    assert sample.e_is_reduced == pytest.approx(sample.e_is / 0.739)
    assert sample.reduced_cooling_rate == pytest.approx(10.0 / 300)
    assert sample.pressure_lj > 100.0, "the surrogate's liquid is strongly compressed"
    assert set(sample.acceptance) >= {"displacement Cu", "displacement Zr", "displacement Al"}
    hot, cold = (sample.acceptance["displacement Cu"].accepted_fraction[index] for index in (0, -1))
    assert hot > cold
    assert not sample.ordered
    assert sample.provenance.seed == 5


@pytest.mark.parametrize(
    ("n_atoms", "counts"),
    [(13, {"Cu": 6.0, "Zr": 6.0, "Al": 1.0}), (24, {"Cu": 11.0, "Zr": 11.0, "Al": 2.0})],
)
def test_small_cells_are_cooled_dated_and_compared(run, n_atoms, counts):
    alloy = Alloy.cuzral(n_atoms)
    sample = SampleDocument.model_validate(
        run(SwapMonteCarloMaker().make(alloy, n_sweeps=2000, seed=5))
    )
    assert sample.structure.composition.as_dict() == counts
    relaxed = atoms_from_structure(sample.inherent_structure)
    assert LennardJones.cuzral().energy(relaxed) / n_atoms == pytest.approx(sample.e_is, abs=1e-10)
    # A repeated cell has the same order.
    order = analyse_order(relaxed.repeat((2, 1, 2))).as_dict()
    for name in (
        "q6_solid_fraction",
        "cna_555_fraction",
        "frank_kasper_fraction",
        "mean_coordination",
    ):
        assert getattr(sample.order, name) == pytest.approx(order[name], abs=1e-9), name
    similarity = compare_structures(atoms_from_structure(sample.structure), relaxed)
    assert 0.0 < similarity.delta_cb <= 1.0
    cooling = SurrogateCoolingDocument.model_validate(
        run(SurrogateMDMaker().make(alloy, time=2.0, seeds=[1, 2]))
    )
    assert len(cooling.e_is_reduced) == 2
    clock = run(
        SupercoolingMaker().make(
            samples=[sample],
            families=["mc-2e3-000"],
            coolings=[
                cooling.model_copy(
                    update={
                        "time_reduced": time,
                        "e_is_reduced": [e - time / 100 for e in cooling.e_is_reduced],
                        "ordered": [False] * 2,
                    }
                )
                for time in (2.0, 20.0, 60.0)
            ],
        )
    )
    assert np.isfinite(SupercoolingDocument.model_validate(clock).families["mc-2e3-000"])


def test_a_cooling_that_runs_out_of_time_hands_over_and_ends_the_same(run, store):
    """Several jobs give bitwise the sample of an uninterrupted run."""
    whole = run(SwapMonteCarloMaker().make(ALLOY, n_sweeps=40_000, seed=7))
    job = SwapMonteCarloMaker(wall_time=0.3).make(ALLOY, n_sweeps=40_000, seed=7)
    pieces = run(job)
    handed_over = store.count({"uuid": job.uuid}) - 1
    assert handed_over >= 1
    assert np.array_equal(_positions(pieces), _positions(whole))
    assert pieces["acceptance"] == whole["acceptance"]


def test_a_job_started_again_in_its_directory_resumes(run, tmp_path, monkeypatch):
    whole = run(SwapMonteCarloMaker().make(ALLOY, n_sweeps=20_000, seed=9))
    maker = SwapMonteCarloMaker(wall_time=0.2)
    checkpoint = tmp_path / "checkpoint-swap-monte-carlo.npz"
    assert maker._cool(ALLOY, 20_000, 9, checkpoint) is None, "the wall time was over"
    assert checkpoint.exists()
    monkeypatch.chdir(tmp_path)
    sample = SwapMonteCarloMaker()._cool(ALLOY, 20_000, 9, checkpoint)
    assert np.array_equal(sample.structure.cart_coords, _positions(whole))


def test_a_set_is_the_samples_of_its_seeds_whatever_the_number_of_processes(run):
    single = [run(SwapMonteCarloMaker().make(ALLOY, n_sweeps=200, seed=seed)) for seed in (1, 2)]
    families = ["a", "b"]
    for n_processes in (1, 2):
        several = SampleSetDocument.model_validate(
            run(SwapMonteCarloMaker(n_processes=n_processes).make_set(ALLOY, 200, [1, 2], families))
        )
        assert several.families == families
        for one, other in zip(single, several.samples, strict=True):
            assert np.array_equal(_positions(one), other.structure.cart_coords)


SEEDS = list(range(101, 118))
"""A batch of sixteen, and one that is cooled by itself."""


def _set(run, maker, n_sweeps=400):
    families = [str(seed) for seed in SEEDS]
    return SampleSetDocument.model_validate(
        run(maker.make_set(ALLOY, n_sweeps, SEEDS, families))
    ).samples


def _same(ones, others):
    for one, other in zip(ones, others, strict=True):
        assert np.array_equal(one.structure.cart_coords, other.structure.cart_coords)
        assert one.e_is == other.e_is
        assert one.acceptance == other.acceptance


def test_a_set_is_cooled_in_replicas_for_any_number_of_processes(run):
    samples = _set(run, SwapMonteCarloMaker())
    _same(samples, _set(run, SwapMonteCarloMaker(n_processes=2)))
    assert [sample.provenance.seed for sample in samples] == SEEDS
    assert [sample.replicas for sample in samples] == 16 * [16] + [1]
    assert samples[3].provenance.settings["seeds"] == SEEDS[:16]
    assert len({sample.e_is for sample in samples}) == 17
    lj = LennardJones.cuzral()
    for sample in (samples[3], samples[15]):
        relaxed = atoms_from_structure(sample.inherent_structure)
        assert lj.energy(relaxed) / 113 == pytest.approx(sample.e_is, abs=1e-10)
        assert lj.energy(atoms_from_structure(sample.structure)) / 113 == pytest.approx(
            sample.energy_lj, abs=1e-5
        )
    # The last one is the sample of its seed, cooled by itself in double precision.
    alone = run(SwapMonteCarloMaker().make(ALLOY, n_sweeps=400, seed=SEEDS[-1]))
    assert np.array_equal(_positions(alone), samples[-1].structure.cart_coords)
    singles = _set(run, SwapMonteCarloMaker(replicas=False), n_sweeps=20)
    assert {sample.replicas for sample in singles} == {1}


def test_a_set_that_runs_out_of_time_hands_over_and_ends_the_same(run, store):
    maker = SwapMonteCarloMaker(equilibration_sweeps=50)
    whole = _set(run, maker, n_sweeps=4_000)
    families = [str(seed) for seed in SEEDS]
    job = replace(maker, wall_time=0.4).make_set(ALLOY, 4_000, SEEDS, families)
    pieces = SampleSetDocument.model_validate(run(job))
    assert store.count({"uuid": job.uuid}) - 1 >= 1, "the job handed over at least once"
    _same(whole, pieces.samples)

    # In processes: they stop at once, and the next job continues from their checkpoints.
    make_set = SwapMonteCarloMaker.make_set.original
    stopped = make_set(replace(maker, wall_time=0.0, n_processes=2), ALLOY, 4_000, SEEDS, families)
    assert stopped.replace.function_kwargs["checkpoint"] == str(Path.cwd())
    assert len(list(Path.cwd().glob("checkpoint-swap-monte-carlo-*.npz"))) == 2
    resumed = make_set(maker, ALLOY, 4_000, SEEDS, families, checkpoint=str(Path.cwd()))
    _same(whole, resumed.samples)
    assert not list(Path.cwd().glob("checkpoint-*"))


def test_the_clock_dates_every_sample(run):
    """Molecular dynamics and Monte Carlo of one small system; batched and single coolings alike."""
    flow = SamplingFlowMaker(
        samples=((300, 3), (4_000, 3)),
        coolings=((3.0, 3), (30.0, 3), (100.0, 3)),
        batched_sweeps=1_000,
        onset_maker=None,
        seed=1,
    ).make(ALLOY)
    set_campaign(flow, "c")
    clock = SupercoolingDocument.model_validate(run(flow))
    assert set(clock.families) == set(flow.output.samples)
    short, long = clock.groups
    assert (short.n_sweeps, long.n_sweeps) == (300, 4_000)
    assert short.n_samples == long.n_samples == 3
    assert long.e_is_reduced < short.e_is_reduced
    assert long.log10_time > short.log10_time
    assert short.log10_time_low <= short.log10_time <= short.log10_time_high
    # t* of the consistent table with the mass of Zr: 2.932 A sqrt(91.224 u / 0.739 eV).
    assert clock.seconds_per_reduced_time == pytest.approx(3.3164e-13, rel=1e-4)


def test_the_onset_counts_decades(run, store):
    """Five temperatures: the consistent table supercools from T* = 2.1."""
    onset = OnsetDocument.model_validate(
        run(
            OnsetMaker(
                reduced_temperatures=(10.0, 6.5, 4.0, 2.4, 1.9), n_runs=2, longest_time=100.0
            ).make(Alloy.cuzral(), seed=3)
        )
    )
    assert onset.reduced_temperature == pytest.approx(2.1, abs=0.35)
    assert onset.e_is is not None
    sample = SwapMonteCarloMaker()._cool(ALLOY, 100, 1)
    documents = [
        SurrogateCoolingDocument(
            time_reduced=time,
            e_is_reduced=[energy, energy - 0.02],
            seeds=[1, 2],
            ordered=[False, False],
            surrogate=sample.surrogate,
            provenance=sample.provenance,
        )
        for time, energy in ((10.0, -1.6), (100.0, -1.7), (1000.0, -1.8))
    ]
    clock = SupercoolingMaker().make([sample], ["a"], documents, onset).run(store).output
    (group,) = clock.groups
    # The law is e = -1.51 - 0.1 log10 t*: both times follow by hand.
    log_onset = (onset.e_is / 0.739 + 1.51) / -0.1
    assert group.decades_above_onset == pytest.approx(
        (group.e_is_reduced + 1.51) / -0.1 - log_onset, abs=1e-6
    )
    assert group.log10_seconds == pytest.approx(group.log10_time + np.log10(3.3164e-13), abs=1e-3)


def test_ordered_runs_and_failed_samples_are_left_out(store):
    cooling = SurrogateMDMaker().make(ALLOY, 10.0, [1, 2]).run(store).output
    assert isinstance(cooling, SurrogateCoolingDocument)
    documents = [
        cooling.model_copy(
            update={"time_reduced": time, "e_is_reduced": energies, "ordered": [False, False, True]}
        )
        for time, energies in (
            (10.0, [-1.60, -1.62, -9.0]),
            (100.0, [-1.70, -1.72, -9.0]),
            (1000.0, [-1.80, -1.82, -9.0]),
        )
    ]
    sample = SwapMonteCarloMaker()._cool(ALLOY, 100, 1)
    clock = SupercoolingMaker().make([sample, None], ["a", "b"], documents).run(store).output
    assert set(clock.families) == {"a"}
    assert clock.clock.slope == pytest.approx(-0.1, abs=1e-9)
    assert clock.dynamics["10"] == [-1.60, -1.62]
    all_ordered = [each.model_copy(update={"ordered": [True] * 3}) for each in documents]
    with pytest.raises(InputError, match="ended ordered"):
        SupercoolingMaker().make([sample], ["a"], all_ordered).run(store)
