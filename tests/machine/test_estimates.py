"""The measured cost of a label."""

from __future__ import annotations

import pytest

from mgflows.alloy import Alloy
from mgflows.machine import estimates
from mgflows.machine.estimates import label_cost
from mgflows.methods.ase import AseMethod
from tests.helpers import slow_calculators

CALCULATORS = "tests.helpers.slow_calculators"


def alloy(n_atoms: int) -> Alloy:
    return Alloy.from_formula("Cu50Zr50", n_atoms=n_atoms, number_density=0.06)


def method(name: str, seconds: float, smallest: float = 0.0, **settings) -> AseMethod:
    kwargs = {"seconds": seconds, "smallest": smallest}
    return AseMethod(f"{CALCULATORS}.{name}", kwargs, **settings)


@pytest.fixture
def sizes(monkeypatch) -> list[int]:
    """Numbers of atoms of the evaluations in a test."""
    monkeypatch.setattr(slow_calculators, "SIZES", found := [])
    return found


def test_child_processes_count(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    cost = label_cost(method("ChildProcess", 0.15), alloy(20))
    assert cost.is_measured
    assert cost.label >= 0.15
    assert cost.heating_step >= 0.15


def test_waiting_for_another_process_counts_with_its_cores() -> None:
    cost = label_cost(method("Waiting", 0.05, n_cores=4), alloy(20))
    assert cost.is_measured
    assert cost.label >= 0.2


def test_a_fast_calculator_is_measured_on_a_whole_sample(sizes) -> None:
    cost = label_cost(method("Waiting", 0.0), alloy(200))
    assert cost.is_measured
    assert (cost.extrapolated_from, cost.uncertainty) == (None, 1.0)
    assert sorted(set(sizes)) == [27, 64, 150, 200]


def test_a_calculator_that_refuses_small_cells_is_measured_on_a_sample(sizes) -> None:
    assert (27 / 0.06) ** (1 / 3) < 8.0 < (64 / 0.06) ** (1 / 3)
    cost = label_cost(method("Waiting", 0.0, smallest=8.0), alloy(120))
    assert cost.is_measured
    assert set(sizes) == {27, 64, 120}, "27 atoms in the trial, which has a larger box"


def test_a_slow_calculator_is_extrapolated_from_a_small_cell(sizes) -> None:
    seconds = 0.5
    cost = label_cost(method("Waiting", seconds, elements=("Cu", "Zr")), alloy(120))
    assert set(sizes) == {27}
    assert len(sizes) <= 4
    assert not cost.is_measured
    assert (cost.extrapolated_from, cost.uncertainty) == (27, pytest.approx(120 / 27))
    assert cost.label == pytest.approx(seconds * (120 / 27) ** 2, rel=0.5)
    assert "extrapolated from 27 atoms" in cost.basis


def test_a_trial_that_takes_long_is_the_only_evaluation(sizes, monkeypatch) -> None:
    monkeypatch.setattr("mgflows.methods.ase._TRIED", set())
    monkeypatch.setattr(estimates, "_LONG", 0.1)
    cost = label_cost(method("Waiting", 0.21), alloy(120))
    assert sizes == [27]
    assert cost.extrapolated_from == 27
    assert cost.label >= 0.21 * (120 / 27) ** 2


def test_what_takes_long_is_reported(monkeypatch) -> None:
    monkeypatch.setattr("mgflows.methods.ase._TRIED", set())
    monkeypatch.setattr(estimates, "_MOMENT", 0.05)
    said: list[str] = []
    label_cost(method("Waiting", 0.22), alloy(20), said.append)
    description = f"{CALCULATORS}.Waiting through ASE"
    assert said == [
        f"trying {description} on 27 atoms",
        f"measuring a label of 20 atoms with {description}",
    ]
    said.clear()
    monkeypatch.setattr(estimates, "_MOMENT", 10.0)
    label_cost(method("Waiting", 0.0), alloy(20), said.append)
    assert not said
