from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mgflows import Alloy
from mgflows.errors import InputError, MgflowsError
from mgflows.surrogate import SurrogateMolecularDynamics, SwapMonteCarlo, find_inherent_structure
from tests.helpers.lammps_reference import run_lammps
from tests.helpers.surrogate_samples import random_atoms


def test_same_seed_same_bits_and_another_seed_another_run(consistent, liquid):
    runs = [SurrogateMolecularDynamics(consistent, liquid, seed=seed) for seed in (3, 3, 4)]
    energies = [md.run(0.4, 2.0, sample_every=20) for md in runs]
    np.testing.assert_array_equal(energies[0], energies[1])
    assert not np.allclose(energies[0], energies[2])


@pytest.mark.parametrize("largest_all_pairs", [600, 10])
def test_a_cooling_cut_in_pieces_is_bitwise_the_uninterrupted_one(
    consistent, liquid, tmp_path, monkeypatch, largest_all_pairs
):
    import mgflows.surrogate.kernels.forces as forces

    monkeypatch.setattr(forces, "_LARGEST_ALL_PAIRS", largest_all_pairs)
    whole = SurrogateMolecularDynamics(consistent, liquid, seed=3)
    whole.cool(4.0, equilibration_time=0.4)
    path = tmp_path / "run.npz"
    part = SurrogateMolecularDynamics(consistent, liquid, seed=3)

    class KilledError(Exception):
        pass

    def kill(done: int, total: int) -> None:
        raise KilledError

    import mgflows.surrogate.molecular_dynamics as module

    monkeypatch.setattr(module, "_CHUNK", 333)
    with pytest.raises(KilledError):
        part.cool(4.0, equilibration_time=0.4, progress=kill)
    part.save(path)
    again = SurrogateMolecularDynamics.load(path)
    assert again.cooling is not None
    assert again.cooling.n_done == 333
    assert not again.resume(checkpoint=path, wall_time=0.0).finished
    again = SurrogateMolecularDynamics.load(path)
    assert again.cooling.n_done == 666
    assert again.resume(checkpoint=path, checkpoint_interval=0.0).finished
    np.testing.assert_array_equal(again.reduced_positions, whole.reduced_positions)
    np.testing.assert_array_equal(again.reduced_velocities, whole.reduced_velocities)
    assert (
        SurrogateMolecularDynamics.load(path).reduced_time
        == whole.reduced_time
        == pytest.approx(4.4)
    )


@pytest.mark.physics
def test_energy_is_conserved_to_second_order_in_the_timestep(consistent, liquid):
    # Compared with the start of the same trajectory over a short time, before the errors from the
    # force jumps at the cutoff accumulate.
    errors = []
    for timestep in (0.004, 0.002, 0.001):
        md = SurrogateMolecularDynamics(consistent, liquid, seed=5, reduced_timestep=timestep)
        md.draw_velocities(3.0)
        start = md.reduced_potential_energy + md.reduced_kinetic_energy
        deviations = []
        for _ in range(25):
            md.run(0.02, None, sample_every=round(0.02 / timestep))
            deviations.append(md.reduced_potential_energy + md.reduced_kinetic_energy - start)
        errors.append(np.std(deviations))
    assert errors[0] < 6e-3
    assert errors[0] / errors[2] > 5.0
    assert np.abs(md.reduced_velocities.sum(axis=0)).max() < 1e-10


@pytest.mark.physics
def test_kinetic_energy_is_distributed_canonically(consistent, liquid):
    # 2K/T is chi-squared with 3n - 3 degrees of freedom; samples every 2.5 thermostat times are
    # nearly independent.
    md = SurrogateMolecularDynamics(
        consistent, liquid, seed=8, reduced_timestep=0.002, reduced_thermostat_time=0.1
    )
    md.run(2.0, 3.0)
    twice_kinetic = []
    for _ in range(400):
        md.run(0.25, 3.0, sample_every=125)
        twice_kinetic.append(2 * 150 * md.reduced_kinetic_energy / 3.0)
    twice_kinetic = np.array(twice_kinetic)
    assert stats.kstest(twice_kinetic, stats.chi2(447).cdf).pvalue > 1e-3
    assert twice_kinetic.var(ddof=1) == pytest.approx(2 * 447, rel=0.25)


@pytest.mark.physics
def test_ideal_gas_limit_of_the_thermostat(consistent):
    # Two distant atoms: no forces, three degrees of freedom, so that the thermostat alone must give
    # a chi-squared distribution.
    from ase import Atoms

    atoms = Atoms("Zr2", positions=[[0, 0, 0], [20, 20, 20]], cell=[40, 40, 40], pbc=True)
    md = SurrogateMolecularDynamics(consistent, atoms, seed=2, reduced_thermostat_time=0.004)
    values = []
    for _ in range(3000):
        # Held in place, the atoms never meet.
        md.run(0.04, 1.0, sample_every=10)
        values.append(4 * md.reduced_kinetic_energy)
        md._positions[:, :] = atoms.positions.T / consistent.length_unit
    assert stats.kstest(values, stats.chi2(3).cdf).pvalue > 1e-3


def test_unstable_dynamics_raise_a_clear_error(consistent, liquid):
    md = SurrogateMolecularDynamics(consistent, liquid, seed=1)
    md.draw_velocities(1.0)
    md._positions[:, 0] = md._positions[:, 1]
    with pytest.raises(MgflowsError, match="unstable"):
        md.run(1.0, None)


def test_overlapping_atoms_are_relaxed_before_the_dynamics(consistent):
    md = SurrogateMolecularDynamics(consistent, random_atoms(seed=9), seed=1)
    energies = md.run(2.0, 2.5)
    assert np.all(np.isfinite(energies))
    assert 1.5 < md.reduced_kinetic_temperature < 3.6


@pytest.mark.physics
def test_cooling_reaches_the_known_inherent_energies(consistent):
    # -1.798(15) at t* = 30 (30 seeds, another implementation); eight seeds here have an error near
    # 0.02.
    energies = []
    for seed in range(8):
        md = SurrogateMolecularDynamics(consistent, random_atoms(seed=seed), seed=seed)
        md.cool(30.0)
        # In so fast a ramp, 1/3 per time unit, the kinetic energy lags by about the thermostat's
        # time.
        assert md.reduced_kinetic_temperature < 0.5
        energies.append(find_inherent_structure(md.atoms, consistent)[1] / consistent.energy_unit)
    assert np.mean(energies) == pytest.approx(-1.80, abs=0.075)


@pytest.mark.physics
def test_list_and_all_pairs_give_the_same_trajectory(consistent, liquid, monkeypatch):
    import mgflows.surrogate.kernels.forces as forces

    all_pairs = SurrogateMolecularDynamics(consistent, liquid, seed=1)
    monkeypatch.setattr(forces, "_LARGEST_ALL_PAIRS", 10)
    listed = SurrogateMolecularDynamics(consistent, liquid, seed=1)
    for md in (all_pairs, listed):
        md.run(0.8, 3.0)
    np.testing.assert_allclose(listed.reduced_positions, all_pairs.reduced_positions, atol=1e-7)


def test_trajectory_is_unwrapped_and_starts_now(consistent, liquid):
    md = SurrogateMolecularDynamics(consistent, liquid, seed=1)
    frames = md.trajectory(np.array([0.004, 0.1, 2.0]), 8.0)
    assert frames.shape == (4, 150, 3)
    assert md.reduced_time == pytest.approx(2.0)
    # Momentum is conserved, so the centre of mass of the unwrapped positions does not move.
    np.testing.assert_allclose(
        frames.mean(axis=1), np.broadcast_to(frames[0].mean(axis=0), (4, 3)), atol=1e-12
    )
    assert np.all(np.diff(np.mean(np.sum((frames - frames[0]) ** 2, axis=2), axis=1)) > 0)


def test_bad_settings_raise(consistent, liquid, tmp_path):
    with pytest.raises(InputError, match=r"0\.01"):
        SurrogateMolecularDynamics(consistent, liquid, 1, reduced_timestep=0.01)
    md = SurrogateMolecularDynamics(consistent, liquid, 1)
    with pytest.raises(InputError, match="no velocities"):
        md.run(1.0, None)
    with pytest.raises(InputError, match="positive"):
        md.cool(10.0, reduced_temperature_low=0.0)
    with pytest.raises(InputError, match="at least one timestep"):
        md.run(-1.0, 2.0)
    with pytest.raises(InputError, match="no cooling to resume"):
        md.resume()
    with pytest.raises(InputError, match="must increase"):
        md.trajectory(np.array([1.0, 0.5]), 2.0)
    with pytest.raises(InputError, match="checkpoint"):
        SurrogateMolecularDynamics.load(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", values=np.array('{"format": 0}'))
    with pytest.raises(InputError, match="not a checkpoint of molecular dynamics"):
        SurrogateMolecularDynamics.load(tmp_path / "other.npz")


@pytest.mark.needs("lammps")
@pytest.mark.physics
def test_mean_potential_energy_equals_that_of_lammps(consistent, liquid):
    # Different integrators and random numbers, but the same ensemble, at T* = 4, where 150 atoms
    # are a simple liquid.
    md = SurrogateMolecularDynamics(consistent, liquid, seed=6)
    md.run(10.0, 4.0)
    ours = md.run(150.0, 4.0, sample_every=25)
    configuration = consistent.reduced_configuration(md.atoms)
    reference = run_lammps(
        consistent,
        configuration.positions,
        configuration.box,
        configuration.types,
        dynamics=37_500,
        temperature=4.0,
    )
    theirs = reference.potential_energies

    def block_error(values):
        blocks = values[: len(values) // 25 * 25].reshape(25, -1).mean(axis=1)
        return blocks.std(ddof=1) / 5.0

    error = np.hypot(block_error(ours), block_error(theirs))
    assert error < 0.06
    assert ours.mean() == pytest.approx(theirs.mean(), abs=3 * error)


@pytest.mark.physics
def test_mean_energy_extrapolated_in_the_timestep_equals_that_of_monte_carlo(consistent):
    # Velocity Verlet samples a slightly different ensemble, with an error of second order in the
    # timestep; Monte Carlo has no timestep.
    mc = SwapMonteCarlo.from_alloy(consistent, Alloy.cuzral(), seed=1)
    mc.equilibrate()
    mc.run(1000, 5.0)

    def mean_and_error(values):
        blocks = values[: len(values) // 20 * 20].reshape(20, -1).mean(axis=1)
        return blocks.mean(), blocks.std(ddof=1) / np.sqrt(20)

    expected, error = mean_and_error(mc.run(20_000, 5.0, sample_every=5))
    means, errors = [], []
    for timestep in (0.004, 0.002):
        md = SurrogateMolecularDynamics(consistent, mc.atoms, seed=1, reduced_timestep=timestep)
        md.run(5.0, 5.0)
        mean, statistical = mean_and_error(md.run(400.0, 5.0, sample_every=round(0.1 / timestep)))
        means.append(mean)
        errors.append(statistical)
    extrapolated = (4 * means[1] - means[0]) / 3
    error = np.sqrt(error**2 + (16 * errors[1] ** 2 + errors[0] ** 2) / 9)
    assert error < 0.06
    assert extrapolated == pytest.approx(expected, abs=3 * error)
