from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mgflows import units
from mgflows.errors import InputError, PotentialFailureError
from mgflows.md.langevin import LangevinNPT, NPTSettings
from tests.helpers.calculators import IdealGas, lennard_jones


@pytest.mark.physics
def test_ideal_gas_has_the_volume_of_the_ideal_gas_law():
    """<V> = (N + 1) k T / P in the NPT ensemble, independent of friction and cell mass."""
    n_atoms, temperature, pressure = 64, 1000.0, 2.0
    expected = (n_atoms + 1) * units.BOLTZMANN * temperature / units.gpa_to_ev_per_a3(pressure)
    edge = expected ** (1 / 3)
    atoms = Atoms(
        f"Cu{n_atoms}",
        np.random.default_rng(0).uniform(0, edge, (n_atoms, 3)),
        cell=[edge] * 3,
        pbc=True,
        calculator=IdealGas(),
    )
    dynamics = LangevinNPT(
        atoms,
        NPTSettings(friction=20.0, lattice_friction=20.0, lattice_period=100.0, pressure=pressure),
        isotropic=True,
        seed=1,
    )
    volumes, temperatures = [], []
    for step in range(12_000):
        dynamics.step(temperature)
        if step > 1000:
            volumes.append(atoms.get_volume())
            temperatures.append(dynamics.temperature)
    assert np.mean(temperatures) == pytest.approx(temperature, rel=0.01)
    assert np.mean(volumes) == pytest.approx(expected, rel=0.03)
    # Var(V) = (N + 1) (kT / P)^2: the fluctuations of the ensemble, which a Berendsen barostat
    # would suppress.
    assert np.std(volumes) == pytest.approx(expected / np.sqrt(n_atoms + 1), rel=0.2)


@pytest.mark.physics
def test_equipartition_and_zero_pressure_of_a_crystal_with_a_flexible_cell():
    atoms = bulk("Cu", "fcc", a=3.65, cubic=True).repeat((2, 2, 2))
    atoms.calc = lennard_jones("Cu")
    dynamics = LangevinNPT(
        atoms, NPTSettings(friction=20.0, lattice_friction=20.0, lattice_period=100.0), seed=2
    )
    kinetic, pressures = [], []
    for step in range(3000):
        dynamics.step(300.0)
        if step >= 500:
            kinetic.append(dynamics.temperature)
            pressures.append(dynamics.pressure)
    assert np.mean(kinetic) == pytest.approx(300.0, rel=0.03)
    assert np.mean(pressures) == pytest.approx(0.0, abs=0.15)
    assert np.ptp(atoms.cell.angles()) > 1e-3, "the shape of the cell must fluctuate"


def test_isotropic_keeps_the_shape():
    atoms = bulk("Cu", "fcc", a=3.65).repeat((2, 2, 2))
    atoms.calc = lennard_jones("Cu")
    before = atoms.cell.array / np.cbrt(atoms.get_volume())
    dynamics = LangevinNPT(
        atoms,
        NPTSettings(timestep=4.0, friction=10.0, lattice_friction=10.0),
        isotropic=True,
        seed=2,
    )
    for _ in range(50):
        dynamics.step(600.0)
    np.testing.assert_allclose(atoms.cell.array / np.cbrt(atoms.get_volume()), before, atol=1e-10)


@pytest.mark.faults
def test_runaway_cell_is_reported():
    atoms = Atoms("Cu4", np.zeros((4, 3)), cell=[5, 5, 5], pbc=True, calculator=IdealGas())
    atoms.set_velocities(np.full((4, 3), 5.0))
    dynamics = LangevinNPT(
        atoms, NPTSettings(friction=1.0, lattice_friction=1.0, lattice_period=20.0), seed=0
    )

    def run():
        for _ in range(500):
            dynamics.step(5000.0)

    with pytest.raises(PotentialFailureError, match="volume"):
        run()


def test_bad_settings_are_refused():
    atoms = bulk("Cu", "fcc", a=3.6)
    atoms.calc = lennard_jones("Cu")
    with pytest.raises(InputError, match="timestep is 0"):
        NPTSettings(timestep=0.0)
    with pytest.raises(InputError, match="pressure is nan"):
        NPTSettings(pressure=np.nan)
    atoms.pbc = (True, True, False)
    with pytest.raises(InputError, match="periodic"):
        LangevinNPT(atoms, NPTSettings(), seed=0)
