from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from mgflows.errors import InputError
from mgflows.validation.landscape import energies_per_atom, energy_correlation
from tests.helpers.calculators import lennard_jones


@pytest.mark.physics
def test_an_exact_line_is_found_overall_and_per_group():
    x = np.linspace(-5.2, -5.0, 12)
    groups = ["slow"] * 6 + ["fast"] * 6
    y = np.where(np.arange(12) < 6, 0.8 * x + 1.0, 1.3 * x + 2.0)
    result = energy_correlation(x, y, groups)
    assert result.by_group["slow"].slope == pytest.approx(0.8)
    assert result.by_group["fast"].intercept == pytest.approx(2.0)
    assert result.by_group["fast"].r2 == pytest.approx(1.0)
    assert result.overall.n_points == 12
    assert 0.0 < result.overall.r2 < 1.0


@pytest.mark.physics
def test_r_squared_is_pearsons():
    generator = np.random.default_rng(0)
    x = generator.normal(size=200)
    y = 0.5 * x + generator.normal(scale=0.3, size=200)
    result = energy_correlation(x, y)
    fit = result.overall
    assert fit.r2 == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)
    assert result.residual == pytest.approx(0.3, rel=0.15)
    assert not energy_correlation(x, y).by_group


def test_groups_of_two_have_no_fit():
    result = energy_correlation(
        [0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.0, 4.0], [1e4, 1e4, 1e4, 1e5, 1e5]
    )
    assert list(result.by_group) == ["10000.0"]


def test_energies_are_per_atom_and_leave_the_structures_alone():
    atoms = bulk("Cu", "fcc", a=3.65)
    energies = energies_per_atom([atoms, atoms.repeat((2, 2, 2))], lennard_jones("Cu"))
    assert energies[0] == pytest.approx(energies[1])
    assert atoms.calc is None


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="do not match"):
        energy_correlation([1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(InputError, match="finite"):
        energy_correlation([1.0, 2.0, np.nan], [1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="1 different"):
        energy_correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])
