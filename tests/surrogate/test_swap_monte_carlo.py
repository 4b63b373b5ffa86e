"""The interface of the sampler: order of atoms, restarts, schedules, refusals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms

from mgflows import Alloy
from mgflows.errors import InputError
from mgflows.surrogate import LennardJones, SwapMonteCarlo
from mgflows.surrogate.cooling import CoolingSchedule
from mgflows.surrogate.insertion import random_configuration

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def lj() -> LennardJones:
    return LennardJones.cuzral()


@pytest.fixture
def sampler(lj: LennardJones) -> SwapMonteCarlo:
    sampler = SwapMonteCarlo.from_alloy(lj, Alloy.cuzral(), seed=5)
    sampler.equilibrate(50)
    return sampler


def state(sampler: SwapMonteCarlo) -> tuple[bytes, ...]:
    return (
        *(array.tobytes() for array in sampler._system.arrays().values()),
        sampler._random_state.tobytes(),
    )


def test_order_and_species_of_the_atoms_are_kept(lj: LennardJones) -> None:
    atoms = random_configuration(lj, Alloy.cuzral(), seed=1)
    shuffled = atoms[np.random.default_rng(0).permutation(len(atoms))]
    shuffled.positions += 30.0
    sampler = SwapMonteCarlo(lj, shuffled, seed=7)
    np.testing.assert_allclose(
        sampler.atoms.get_scaled_positions(), shuffled.get_scaled_positions(), atol=1e-9
    )
    sampler.run(20, 5.0)
    assert sampler.atoms.get_chemical_symbols() == shuffled.get_chemical_symbols()
    assert (sampler.atoms.cell.array == shuffled.cell.array).all()
    assert sampler.exchanges["Cu", "Al"][1] > 0


def test_same_seed_same_run_and_other_streams_differ(lj: LennardJones) -> None:
    atoms = random_configuration(lj, Alloy.cuzral(), seed=1)
    runs = [
        SwapMonteCarlo(lj, atoms, (seed, stream)).run(20, 5.0).tolist()
        for seed, stream in ((7, 0), (7, 0), (8, 0), (7, 1))
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert runs[0] != runs[3]


def test_samples_are_energies_of_the_requested_sweeps(
    sampler: SwapMonteCarlo, tmp_path: Path
) -> None:
    sampler.save(tmp_path / "start.npz")
    every = sampler.run(23, 5.0)
    assert len(every) == 23
    assert every[-1] == sampler.energy_per_atom
    fifth = SwapMonteCarlo.load(tmp_path / "start.npz").run(23, 5.0, sample_every=5)
    assert fifth.tolist() == every[4::5].tolist()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_restart_is_bitwise_the_uninterrupted_run(
    lj: LennardJones, tmp_path: Path, dtype: str
) -> None:
    path = tmp_path / "state.npz"
    sampler = SwapMonteCarlo.from_alloy(lj, Alloy.cuzral(), seed=5, dtype=dtype)
    sampler.run(137, 5.0)
    sampler.save(path)
    sampler.run(1200, 3.0)
    restarted = SwapMonteCarlo.load(path)
    restarted.run(700, 3.0)
    restarted.save(path)
    restarted = SwapMonteCarlo.load(path)
    restarted.run(500, 3.0)
    assert state(restarted) == state(sampler)
    assert restarted.exchanges == sampler.exchanges
    assert restarted.displacements == sampler.displacements


def test_cooling_interrupted_anywhere_is_bitwise_the_same(
    sampler: SwapMonteCarlo, tmp_path: Path
) -> None:
    path = tmp_path / "cooling.npz"
    sampler.save(path)
    whole = sampler.cool(1500, n_snapshots=4, snapshot_grid="log")
    pieces = SwapMonteCarlo.load(path)
    stops = 0
    while not pieces.cool(
        1500, n_snapshots=4, snapshot_grid="log", checkpoint=path, wall_time=0.0
    ).finished:
        pieces = SwapMonteCarlo.load(path)
        # Every call does nothing but save, and a stride of its own length follows by hand.
        pieces._advance(
            pieces.cooling.schedule.temperatures(
                pieces.cooling.sweeps_done, pieces.cooling.next_stop()
            ),
            pieces.swap_fraction,
        )
        stops += 1
    assert stops >= 100
    assert state(pieces) == state(sampler)
    assert pieces.cooling.history.energy_per_atom == whole.history.energy_per_atom
    np.testing.assert_array_equal(
        pieces.cooling.history.exchange_acceptance, whole.history.exchange_acceptance
    )
    assert [s.sweep for s in pieces.cooling.snapshots] == [1, 11, 131, 1500]
    np.testing.assert_array_equal(
        pieces.cooling.snapshots[2].positions, whole.snapshots[2].positions
    )


def test_another_schedule_does_not_continue_an_unfinished_cooling(sampler: SwapMonteCarlo) -> None:
    sampler.cool(1000, wall_time=0.0)
    with pytest.raises(InputError, match="unfinished"):
        sampler.cool(2000)
    assert sampler.resume().finished
    assert sampler.cool(200).finished


_COOL = """
import sys
from mgflows import Alloy
from mgflows.surrogate import LennardJones, SwapMonteCarlo
sampler = SwapMonteCarlo.from_alloy(LennardJones.cuzral(), Alloy.cuzral(), seed=5)
cooling = sampler.cool(
    100_000_000,
    checkpoint=sys.argv[1],
    progress=lambda p: print(p.sweeps_done, flush=True),
)
print("returned", cooling.finished, flush=True)
"""


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signals_leave_a_checkpoint(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "cooling.npz"
    process = subprocess.Popen(
        [sys.executable, "-c", _COOL, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while int(process.stdout.readline()) == 0:
        pass
    os.kill(process.pid, number)
    rest = process.stdout.read()
    assert process.wait() == (-number if number == signal.SIGTERM else 0)
    assert ("returned False" in rest) == (number == signal.SIGUSR1)
    sampler = SwapMonteCarlo.load(path)
    assert sampler.cooling is not None
    assert 0 < sampler.cooling.sweeps_done < 100_000_000
    assert [p.name for p in tmp_path.iterdir()] == ["cooling.npz"]


def test_progress_history_and_temperatures_of_a_cooling(sampler: SwapMonteCarlo) -> None:
    told = []
    cooling = sampler.follow(
        CoolingSchedule(400, 8.0, 0.5, hold_low=100), n_history=10, progress=told.append
    )
    assert cooling.schedule.rate == pytest.approx(7.5 / 400)
    assert told[0].sweeps_done == 0
    assert told[-1][:3] == (500, 500, 0.5)
    assert cooling.history.sweep == list(range(0, 501, 50))
    assert cooling.history.reduced_temperature[0] == 8.0
    assert cooling.history.energy_per_atom[-1] < cooling.history.energy_per_atom[0]
    acceptance = cooling.history.displacement_acceptance
    assert acceptance.shape == (10, 3)
    assert (acceptance[0] > acceptance[-1]).all()


def test_invalid_settings_raise(lj: LennardJones, tmp_path: Path) -> None:
    atoms = random_configuration(lj, Alloy.cuzral(), seed=1)
    tilted = atoms.copy()
    tilted.set_cell(atoms.cell.array + [[0, 0, 0], [1, 0, 0], [0, 0, 0]])
    with pytest.raises(InputError, match="orthorhombic"):
        SwapMonteCarlo(lj, tilted, seed=1)
    for settings, message in (
        ({"swap_fraction": 1.5}, "swap fraction is 1.5"),
        ({"max_displacement": 0.0}, "max_displacement is 0"),
        ({"exchange_pairs": [("Cu", "Cu")]}, "pair of different species"),
        ({"exchange_pairs": [("Cu", "Fe")]}, "pair of different species"),
        ({"dtype": "float16"}, "float16"),
    ):
        with pytest.raises(InputError, match=message):
            SwapMonteCarlo(lj, atoms, seed=1, **settings)
    coinciding = atoms.copy()
    coinciding.positions[3] = coinciding.positions[4]
    with pytest.raises(InputError, match="at the same place"):
        SwapMonteCarlo(lj, coinciding, seed=1)
    with pytest.raises(InputError, match="cannot be read"):
        SwapMonteCarlo.load(tmp_path / "missing.npz")
    for content in (b"PK\x03\x04 torn", b""):
        (tmp_path / "torn.npz").write_bytes(content)
        with pytest.raises(InputError, match="cannot be read"):
            SwapMonteCarlo.load(tmp_path / "torn.npz")


def test_random_atoms_with_overlaps_become_a_liquid(lj: LennardJones) -> None:
    alloy = Alloy.cuzral()
    points = np.random.default_rng(3).uniform(0, alloy.box_length, (150, 3))
    atoms = Atoms(alloy.symbols, points, cell=[alloy.box_length] * 3, pbc=True)
    sampler = SwapMonteCarlo(lj, atoms, seed=1)
    liquid = SwapMonteCarlo.from_alloy(lj, alloy, seed=2)
    liquid.equilibrate(200)
    expected = liquid.run(1000, 5.0)[-600:].mean()
    assert sampler.run(1000, 5.0)[-600:].mean() == pytest.approx(expected, abs=0.8)
    assert sampler.energy_per_atom * 150 * lj.energy_unit == pytest.approx(
        lj.energy(sampler.atoms), rel=1e-9
    )


def test_one_species_is_sampled_without_exchanges(lj: LennardJones) -> None:
    alloy = Alloy.from_formula(
        "Zr", n_atoms=150, number_density=Alloy.cuzral().number_density / 1.5
    )
    sampler = SwapMonteCarlo.from_alloy(lj, alloy, seed=2)
    sampler.run(20, 5.0)
    assert sampler.exchanges == {}
    assert sampler.displacements["Zr"][0] == 20 * 150


def test_exchanges_are_those_of_neighbours_in_diameter_or_those_requested(lj: LennardJones) -> None:
    def pairs(formula: str, **settings: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        alloy = Alloy.from_formula(
            formula, n_atoms=150, number_density=Alloy.cuzral().number_density
        )
        return SwapMonteCarlo.from_alloy(lj, alloy, seed=1, **settings).exchange_pairs

    assert pairs("Cu46Zr46Al8") == (("Cu", "Al"), ("Al", "Zr"))
    assert pairs("Cu50Zr50") == (("Cu", "Zr"),)
    assert pairs("Cu46Zr46Al8", exchange_pairs=[("Zr", "Cu"), ("Cu", "Zr")]) == (("Cu", "Zr"),)
    assert pairs("Cu50Zr50", exchange_pairs=[("Zr", "Al")]) == ()


def test_a_density_unlike_the_glass_is_reported_with_the_pressure(
    sampler: SwapMonteCarlo, caplog: pytest.LogCaptureFixture
) -> None:
    sampler.run(200, 3.0)
    message = sampler.check_density(7.1, 3.0)
    assert message is not None
    assert "8.46 g/cm^3, 19% more than the glass with 7.10" in message
    assert message in caplog.text
    assert sampler.check_density(8.3, 3.0) is None


@pytest.mark.physics
def test_pressure_is_minus_the_volume_derivative_of_the_free_energy(
    sampler: SwapMonteCarlo,
) -> None:
    sampler.run(100, 5.0)
    atoms, lj = sampler.atoms, sampler.lj
    strain = 1e-5
    energies = []
    for sign in (1, -1):
        scaled = atoms.copy()
        scaled.set_cell(atoms.cell * (1 + sign * strain), scale_atoms=True)
        energies.append(lj.energy(scaled))
    virial = -(energies[0] - energies[1]) / (6 * strain * atoms.get_volume())
    ideal = 150 * 5.0 * lj.energy_unit / atoms.get_volume()
    assert sampler.pressure(5.0) == pytest.approx((virial + ideal) * 160.2176634, rel=1e-3)


def test_random_configuration_has_a_smallest_distance(lj: LennardJones) -> None:
    atoms = random_configuration(lj, Alloy.cuzral(), seed=1)
    distance = atoms.get_all_distances(mic=True)
    np.fill_diagonal(distance, np.inf)
    types = lj.types(atoms)
    assert (distance / lj.sigma[np.ix_(types, types)]).min() > 0.6


@pytest.fixture(scope="module")
def large(lj: LennardJones) -> Atoms:
    alloy = Alloy.from_formula(
        "Cu46Zr46Al8", n_atoms=600, number_density=Alloy.cuzral().number_density
    )
    sampler = SwapMonteCarlo.from_alloy(lj, alloy, seed=4)
    sampler.equilibrate(50)
    return sampler.atoms


@pytest.mark.physics
@pytest.mark.parametrize("stretch", [(1.0, 1.0, 1.0), (1.0, 1.3, 1.7)])
def test_cells_give_the_same_trajectory_as_all_pairs(
    lj: LennardJones, large: Atoms, stretch: tuple[float, ...]
) -> None:
    atoms = large.copy()
    atoms.set_cell(atoms.cell.lengths() * stretch, scale_atoms=True)
    samplers = [
        SwapMonteCarlo(lj, atoms, seed=3, method=method, max_displacement=0.3)
        for method in ("all_pairs", "cells")
    ]
    energies = [sampler.run(30, 5.0) for sampler in samplers]
    np.testing.assert_allclose(energies[0], energies[1], rtol=1e-9)
    np.testing.assert_array_equal(samplers[0].atoms.positions, samplers[1].atoms.positions)
    assert samplers[0].exchanges == samplers[1].exchanges


def test_cells_restart_bitwise_and_stay_consistent(
    lj: LennardJones, large: Atoms, tmp_path: Path
) -> None:
    sampler = SwapMonteCarlo(lj, large, seed=3, method="cells", dtype="float32")
    sampler.run(120, 5.0)
    sampler.save(tmp_path / "cells.npz")
    sampler.run(60, 5.0)
    restarted = SwapMonteCarlo.load(tmp_path / "cells.npz")
    restarted.run(60, 5.0)
    assert state(restarted) == state(sampler)
    books = sampler._system.configuration
    assert sorted(books.atom[books.atom >= 0]) == list(range(600))
    assert (books.atom[books.slot] == np.arange(600)).all()
    assert books.occupation.sum() == 600
    assert ((books.four_epsilon > 0).sum(axis=1) == 600).all()


def test_fewer_than_three_cells_raise(lj: LennardJones) -> None:
    atoms = random_configuration(lj, Alloy.cuzral(), seed=1)
    with pytest.raises(InputError, match="three cells"):
        SwapMonteCarlo(lj, atoms, seed=1, method="cells")
    with pytest.raises(InputError, match="does not exist"):
        SwapMonteCarlo(lj, atoms, seed=1, method="lists")
