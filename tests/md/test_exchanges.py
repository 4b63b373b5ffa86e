"""Molecular dynamics with Monte Carlo exchanges of unlike atoms."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from scipy import stats

from mgflows import units
from mgflows.errors import InputError, PotentialFailureError
from mgflows.md import protocols
from mgflows.md.engines import AseEngine, RunPausedError
from mgflows.md.exchanges import CalculatorExchanges, ExchangeSettings, exchanges_for
from mgflows.md.langevin import NPTSettings
from mgflows.md.potentials import CalculatorPotential, NepPotential
from mgflows.nep.calculator import nep_calculator
from mgflows.nep.exchanges import NepExchanges
from mgflows.validation.statistics import mean_error
from tests.helpers.potentials import random_potential

NEP = NepPotential(Path(__file__).parents[1] / "data" / "tiny_nep.txt")
EMT_POTENTIAL = CalculatorPotential("ase.calculators.emt:EMT")


@pytest.fixture
def alloy() -> Atoms:
    atoms = bulk("Cu", cubic=True, a=3.8).repeat(2)
    atoms.symbols[::2] = "Ag"
    atoms.rattle(0.1, seed=1)
    return atoms


@pytest.mark.physics
@pytest.mark.parametrize(
    ("n_atoms", "size", "l_max"), [(45, 10.0, "4 2 1"), (12, 5.5, "4 2 1"), (15, 7.0, "3 0 0")]
)
def test_local_energy_differences_are_those_of_nep_adapters(n_atoms, size, l_max) -> None:
    """Small cells too, in which an atom is its own neighbour, and pairs within the ZBL."""
    text = random_potential(["Zr", "Cu", "Al", "Ni"], l_max=l_max, seed=3)
    rng = np.random.default_rng(4)
    symbols = ["Cu", "Zr", "Al"] * (n_atoms // 3)
    cell = np.diag([size, 1.1 * size, 0.95 * size]) + rng.normal(scale=0.3, size=(3, 3))
    atoms = Atoms(symbols, rng.random((n_atoms, 3)) @ cell, cell=cell, pbc=True)
    atoms.calc = nep_calculator(text)
    counts = np.zeros((3, 2), dtype=np.int64)
    start = atoms.get_potential_energy()
    order, change = NepExchanges(text, symbols).run(
        atoms.positions,
        cell,
        rng.random((300, 4)),
        temperature=1e5,
        pairs=[("Cu", "Zr"), ("Cu", "Al"), ("Zr", "Al")],
        counts=counts,
    )
    atoms.positions = atoms.positions[order]
    assert abs(change) > 1.0
    assert atoms.get_potential_energy() - start == pytest.approx(change, abs=1e-5)
    assert counts[:, 0].sum() == 300
    assert (counts[:, 1] > 0).all()
    assert (counts[:, 1] < counts[:, 0]).all()
    assert sorted(order) == list(range(n_atoms))


@pytest.mark.physics
@pytest.mark.parametrize("kind", ["nep", "calculator"])
def test_arrangements_follow_boltzmann(kind) -> None:
    """Detailed balance: all 30 ways to place three elements on five places are enumerated."""
    symbols = ["Cu", "Cu", "Zr", "Zr", "Al"]
    rng = np.random.default_rng(8)
    cell = np.diag([6.0, 6.5, 7.0])
    positions = rng.random((5, 3)) @ cell
    text = random_potential(["Cu", "Zr", "Al"], l_max="4 2 1", seed=5)
    atoms = Atoms(symbols, positions, cell=cell, pbc=True, calculator=nep_calculator(text))
    energies = {}
    for order in itertools.permutations(range(5)):
        atoms.positions = positions[list(order)]
        key = (frozenset(order[:2]), frozenset(order[2:4]), order[4])
        if key not in energies:
            energies[key] = atoms.get_potential_energy()
    assert len(energies) == 30
    temperature = 0.8 * float(np.std(list(energies.values()))) / units.BOLTZMANN
    weights = np.exp(
        -(np.array(list(energies.values())) - min(energies.values()))
        / (units.BOLTZMANN * temperature)
    )
    exchanges = NepExchanges(text, symbols) if kind == "nep" else CalculatorExchanges(atoms)
    pairs = [("Cu", "Zr"), ("Cu", "Al"), ("Zr", "Al")]
    n_samples, trials = (4000, 20) if kind == "nep" else (600, 12)
    found = dict.fromkeys(energies, 0)
    place = np.arange(5)
    for _ in range(n_samples):
        order, _ = exchanges.run(
            positions[place],
            cell,
            rng.random((trials, 4)),
            temperature=temperature,
            pairs=pairs,
            counts=np.zeros((3, 2), dtype=np.int64),
        )
        place = place[order]
        found[(frozenset(place[:2]), frozenset(place[2:4]), place[4])] += 1
    expected = n_samples * weights / weights.sum()
    likely = expected > 5.0
    observed = np.array(list(found.values()))
    statistic = np.sum((observed - expected)[likely] ** 2 / expected[likely])
    assert likely.sum() >= 8
    assert stats.chi2.sf(statistic, likely.sum() - 1) > 1e-3
    # Exchanges that are always accepted would give all arrangements equally often.
    flat = np.full(30, n_samples / 30)
    assert np.sum((observed - flat) ** 2 / flat) > 10 * stats.chi2.isf(1e-3, 29)


@pytest.mark.physics
@pytest.mark.parametrize("ensemble", ["nvt", "npt"])
def test_a_hot_liquid_has_the_averages_of_dynamics_alone(ensemble) -> None:
    """Where dynamics alone is ergodic, exchanges change nothing.

    At 2500 K this is not so: the ordered crystal of the same cell survives 40 ps without exchanges.
    """
    melt = bulk("Cu", "bcc", cubic=True, a=3.4).repeat((3, 2, 2))
    melt.symbols[:] = np.random.default_rng(0).permutation(["Cu"] * 8 + ["Zr"] * 12 + ["Al"] * 4)
    means = []
    for exchanges in (None, ExchangeSettings(interval=20.0)):
        stages = protocols.hold(
            5000.0, 3.0, equilibration_time=0.5, ensemble=ensemble, n_frames=0, sample_every=5
        )
        engine = AseEngine(NEP, exchanges=exchanges)
        run = engine.run(melt, stages, npt=NPTSettings(timestep=1.0, pressure=10.0), seed=3)
        trace = run.trace(1)
        series = [trace.potential_energy, trace.pressure, trace.volume]
        means.append([(values.mean(), mean_error(values)) for values in series])
        if exchanges:
            trials, accepted = run.exchanges.sum(axis=0)
            assert trials == 175 * len(melt)
            assert 0.05 * trials < accepted < trials
    for (one, error), (other, other_error) in zip(*means, strict=True):
        assert one == pytest.approx(other, abs=4.0 * np.hypot(error, other_error) + 1e-9)


def test_an_interrupted_run_continues_bitwise(alloy, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("mgflows.md.engines.base.Session.atom_steps", 320)
    alloy.symbols[alloy.symbols == "Ag"] = "Zr"
    engine = AseEngine(NEP, exchanges=ExchangeSettings(interval=14.0))
    stages = protocols.quench(
        temperature_high=1500.0, temperature_low=1000.0, cooling_rate=5e3, equilibration_time=0.1
    )
    whole = engine.run(alloy, stages, seed=5)
    checkpoint = tmp_path / "run.npz"
    with pytest.raises(RunPausedError):
        engine.run(alloy, stages, seed=5, checkpoint=checkpoint, wall_time=0.0)
    resumed = engine.run(alloy, stages, seed=5, checkpoint=checkpoint)
    np.testing.assert_array_equal(resumed.atoms.positions, whole.atoms.positions)
    np.testing.assert_array_equal(resumed.atoms.get_momenta(), whole.atoms.get_momenta())
    np.testing.assert_array_equal(resumed.exchanges, whole.exchanges)
    assert whole.exchanges[0, 1] > 0
    assert list(whole.atoms.symbols) == list(alloy.symbols)


def test_exchanges_keep_velocities_and_energy(alloy) -> None:
    """Nothing but positions changes, and the forces are those of the new positions."""
    from mgflows.md.langevin import LangevinNPT

    alloy.calc = EMT()
    alloy.set_momenta(np.random.default_rng(1).normal(size=(len(alloy), 3)))
    dynamics = LangevinNPT(alloy, NPTSettings(), isotropic=True, seed=1)
    before = alloy.copy()
    order = np.arange(len(alloy))
    order[[0, 1]] = 1, 0
    dynamics.rearrange(order)
    np.testing.assert_array_equal(alloy.positions[0], before.positions[1])
    np.testing.assert_array_equal(alloy.get_momenta(), before.get_momenta())
    before.positions = before.positions[order]
    before.calc = EMT()
    np.testing.assert_allclose(dynamics.evaluation.forces, before.get_forces(), atol=1e-12)


def test_a_potential_that_differs_from_the_calculator_is_detected(alloy, monkeypatch) -> None:
    class Wrong(CalculatorExchanges):
        def run(self, *args, **kwargs):
            order, change = super().run(*args, **kwargs)
            return order, change + 0.1

    monkeypatch.setattr("mgflows.md.engines.ase.exchanges_for", lambda _, atoms: Wrong(atoms))
    engine = AseEngine(EMT_POTENTIAL, exchanges=ExchangeSettings(interval=4.0))
    with pytest.raises(PotentialFailureError, match="differs from that of the calculator"):
        engine.run(alloy, protocols.hold(2000.0, 0.1, equilibration_time=0.0), seed=1)


def test_a_nep_of_another_architecture_evaluates_the_whole_structure(alloy, monkeypatch) -> None:
    def refuse(*_):
        raise InputError("another architecture")

    monkeypatch.setattr("mgflows.nep.exchanges.NepModel.from_text", refuse)
    alloy.symbols[:] = ["Cu", "Zr"] * 16
    alloy.calc = NEP.calculator()
    assert isinstance(exchanges_for(NEP, alloy), CalculatorExchanges)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"interval": 0.0}, "interval of exchanges is 0 but must be positive"),
        ({"trials_per_atom": float("nan")}, "trials_per_atom of exchanges is nan"),
        ({"pairs": (("Cu", "Cu"),)}, "cannot be exchanged"),
        ({"pairs": ()}, "cannot be exchanged"),
    ],
)
def test_settings_that_make_no_exchanges_are_refused(values, message) -> None:
    with pytest.raises(InputError, match=message):
        ExchangeSettings(**values)


def test_exchanges_that_are_not_possible_are_refused(alloy) -> None:
    def run(atoms, stages, **settings):
        AseEngine(EMT_POTENTIAL, exchanges=ExchangeSettings(**settings)).run(atoms, stages, seed=1)

    hold = protocols.hold(300.0, 0.1)
    with pytest.raises(InputError, match="not possible at constant energy"):
        run(alloy, protocols.nve(0.1, 300.0))
    with pytest.raises(InputError, match="Au of the pairs to exchange is not in the structure"):
        run(alloy, hold, pairs=(("Cu", "Au"),))
    alloy.symbols[:] = "Cu"
    with pytest.raises(InputError, match="Cu alone has nothing to exchange"):
        run(alloy, hold)
