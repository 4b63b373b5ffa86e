from __future__ import annotations

from pathlib import Path

import pytest

from mgflows.bench.molecular_dynamics import benchmark
from mgflows.errors import InputError
from mgflows.md.potentials import CalculatorPotential, NepPotential, StandInPotential

NEP = NepPotential(Path(__file__).parents[1] / "data" / "tiny_nep.txt")


def test_engines_are_measured_beside_their_references():
    result = benchmark([NEP, StandInPotential()], [40], 0.03)
    rows = result["measurements"]
    assert [row["engine"] for row in rows] == [
        *("nep-adapters alone", "mgflows ase", "mgflows lammps fix external"),
        *("LAMMPS alone", "mgflows lammps eam/alloy", "mgflows ase"),
    ]
    assert [row["ratio"] for row in rows][::3] == [1.0, 1.0]
    for row in rows:
        assert row["microseconds"] * 1e-6 * 40 * row["steps_per_second"] == pytest.approx(1.0)
    assert [row["method"] for row in result["exchanges"]] == [
        *("whole structure", "local"),
        "whole structure",
    ]
    assert all(row["microseconds"] > 0.0 for row in result["exchanges"])


def test_a_calculator_has_no_reference():
    with pytest.raises(InputError, match="EMT has no reference"):
        benchmark([CalculatorPotential("ase.calculators.emt:EMT")], [40], 0.01)
