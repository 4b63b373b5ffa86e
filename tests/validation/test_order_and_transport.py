"""Short-range order, glass transition, transport and soundness against known answers."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mgflows import units
from mgflows.errors import InputError, PotentialFailureError
from mgflows.md.engines import AseEngine
from mgflows.md.potentials import CalculatorPotential
from mgflows.validation.rdf import radial_distribution
from mgflows.validation.short_range_order import (
    largest_void,
    neighbour_statistics,
    neutron_weights,
    structure_factor,
    voronoi_indices,
)
from mgflows.validation.soundness import cold_curve, energy_drift
from mgflows.validation.transition import glass_transition, phase_line
from mgflows.validation.transport import (
    alpha_relaxation,
    diffusion_coefficients,
    finite_size_correction,
    fit_arrhenius,
    fit_vogel,
)
from mgflows.validation.viscosity import helfand_viscosity
from tests.helpers.calculators import DimerEnergy, lennard_jones


@pytest.mark.physics
def test_neighbours_and_order_of_b2():
    """CsCl structure: eight unlike neighbours in the first shell, six like ones in the second."""
    atoms = bulk("CuZr", "cesiumchloride", a=3.2, cubic=True).repeat(3)
    first = neighbour_statistics(atoms, 3.0)
    unlike = {"Cu-Zr": 8.0, "Zr-Cu": 8.0}
    assert first.coordination == {"all": 8.0, "Cu-Cu": 0.0, "Zr-Zr": 0.0} | unlike
    assert first.warren_cowley == {"Cu-Cu": 1.0, "Cu-Zr": -1.0, "Zr-Cu": -1.0, "Zr-Zr": 1.0}
    second = neighbour_statistics(atoms, 3.5)
    assert second.coordination["Cu-Cu"] == 6.0
    assert second.warren_cowley["Cu-Zr"] == pytest.approx(1.0 - (8 / 14) / 0.5)


@pytest.mark.physics
def test_voids_of_crystals_and_of_a_vacancy():
    assert largest_void(bulk("Cu", "fcc", a=3.6)) == pytest.approx(1.8)
    assert largest_void(bulk("Fe", "bcc", a=2.9)) == pytest.approx(2.9 * np.sqrt(5.0) / 4.0)
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(3)
    del atoms[40]
    assert largest_void(atoms) == pytest.approx(3.6 / np.sqrt(2.0))


def test_voronoi_cells_of_crystals_and_of_an_icosahedron():
    """bcc: truncated octahedra, six faces of four edges and eight of six."""
    bcc = bulk("Fe", "bcc", a=2.9, cubic=True).repeat(3)
    assert voronoi_indices(bcc) == {"<0 6 0 8>": 1.0}
    assert voronoi_indices(bulk("Fe", "bcc", a=2.9)) == {"<0 6 0 8>": 1.0}, "one atom"
    golden = (1.0 + np.sqrt(5.0)) / 2.0
    corners = [
        point
        for a in (-1.0, 1.0)
        for b in (-golden, golden)
        for point in ((0.0, a, b), (a, b, 0.0), (b, 0.0, a))
    ]
    shell = np.array([[0.0, 0.0, 0.0], *corners]) * 2.7 / np.sqrt(1.0 + golden**2)
    cluster = Atoms("ZrCu12", shell + 5.0, cell=[10.0] * 3, pbc=True)
    assert voronoi_indices(cluster, "Zr") == {"<0 0 12 0>": 1.0}


@pytest.mark.physics
def test_structure_factor_peaks_at_the_reciprocal_lattice():
    """A vibrating fcc crystal scatters first at |(111)|, then at |(200)|."""
    frames = []
    for seed in range(4):
        atoms = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(3)
        atoms.rattle(0.1, seed=seed)
        frames.append(atoms)
    g = radial_distribution(frames, distance_max=15.0, n_bins=600)
    q = np.linspace(0.5, 4.0, 351)
    factor = structure_factor(g, q)
    assert q[np.argmax(factor)] == pytest.approx(2.0 * np.pi * np.sqrt(3.0) / 3.6, abs=0.03)
    assert abs(factor[q < 1.5]).max() < 0.4 * factor.max()


def test_neutron_weights_sum_to_one_and_follow_the_scattering_lengths():
    weights = neutron_weights({"Cu": 0.5, "Zr": 0.5})
    assert sum(weights.values()) == pytest.approx(1.0)
    assert weights["Cu-Cu"] / weights["Zr-Zr"] == pytest.approx((7.718 / 7.16) ** 2)
    assert neutron_weights({"Cu": 0.5, "Og": 0.5}) is None


@pytest.mark.physics
def test_the_kink_of_a_cooling_and_its_error():
    """Two lines that meet at 720 K with correlated noise: errors cover the spread of many runs."""
    temperature = np.linspace(2000.0, 300.0, 3000)
    line = 17.0 + np.where(temperature > 720.0, 1.4e-3, 5e-4) * (temperature - 720.0)
    kinks, errors = [], []
    for seed in range(40):
        noise = np.random.default_rng(seed).normal(size=3000)
        for k in range(1, 3000):
            noise[k] = 0.9 * noise[k - 1] + np.sqrt(1 - 0.81) * noise[k]
        found = glass_transition(temperature, line + 0.05 * noise)
        kinks.append(found.temperature)
        errors.append(found.error)
        assert found.slope_glass == pytest.approx(5e-4, abs=4.0 * found.slope_glass_error)
    assert np.mean(kinks) == pytest.approx(720.0, abs=3.0 * np.std(kinks) / np.sqrt(40))
    assert 0.6 < np.mean(errors) / np.std(kinks, ddof=1) < 1.6
    with pytest.raises(PotentialFailureError, match="do not differ"):
        glass_transition(temperature, 17.0 + 1e-3 * temperature + 0.05 * noise)
    alone = phase_line(temperature, 17.0 + 1e-3 * temperature + 0.05 * noise, below=550.0)
    assert alone.slope == pytest.approx(1e-3, abs=4.0 * alone.slope_error)
    with pytest.raises(InputError, match="below 310 K"):
        glass_transition(temperature[::100], line[::100], glass_below=310.0)


@pytest.mark.physics
def test_the_finite_size_correction_in_si_units():
    """Also for water, 298 K, 0.9 mPa s, 18.6 A: about 0.37e-9 m2/s."""
    expected = 2.837297 * 1.380649e-23 * 1500.0 / (6.0 * np.pi * 4.4e-3 * 20e-10)
    assert finite_size_correction(1500.0, 4.4, 20.0) == pytest.approx(1e9 * expected, rel=1e-6)
    assert finite_size_correction(298.0, 0.9, 18.6) == pytest.approx(0.37, abs=0.01)
    with pytest.raises(InputError, match="the viscosity is 0 but must be positive"):
        finite_size_correction(1500.0, 0.0, 20.0)


@pytest.mark.physics
def test_diffusion_of_random_walks():
    """Steps of variance s^2 per component and interval: D = s^2 / (2 dt), through the boundary."""
    generator = np.random.default_rng(0)
    positions = generator.uniform(0.0, 9.0, (400, 3))
    widths = np.where(np.arange(400) < 200, 0.2, 0.1)[:, None]
    frames = []
    for _ in range(60):
        positions = positions + widths * generator.normal(size=(400, 3))
        atoms = Atoms("Cu200Zr200", positions, cell=[9.0] * 3, pbc=True)
        atoms.wrap()
        frames.append(atoms)
    found = diffusion_coefficients(frames, interval=50.0)
    for symbol, width in (("Cu", 0.2), ("Zr", 0.1)):
        # 1 A^2/fs = 1e-5 m^2/s.
        expected = width**2 / (2.0 * 50.0) * 1e4
        assert found[symbol] == pytest.approx(expected, rel=0.1)
    with pytest.raises(InputError, match="9 frames"):
        diffusion_coefficients(frames[:9], interval=50.0)


@pytest.mark.physics
def test_relaxation_of_random_walks():
    """Steps of variance s^2 per component: F_s = exp(-k^2 s^2 n / 2), through the boundary."""
    generator = np.random.default_rng(1)
    positions, width, wavenumber = generator.uniform(0.0, 9.0, (500, 3)), 0.1, 2.7
    frames = []
    for _ in range(200):
        frames.append(Atoms("Cu500", positions, cell=[9.0] * 3, pbc=True))
        frames[-1].wrap()
        positions = positions + width * generator.normal(size=(500, 3))
    found = alpha_relaxation(frames, interval=50.0, wavenumber=wavenumber)
    rate = wavenumber**2 * width**2 / 2.0
    np.testing.assert_allclose(found.scattering, np.exp(-rate * found.time / 0.05), atol=0.015)
    assert found.tau == pytest.approx(0.05 / rate, rel=0.04)
    assert 0.0 < found.error < 0.1 * found.tau
    assert abs(found.tau - 0.05 / rate) < 4.0 * found.error
    # Too fast and too slow for these frames: no time rather than a wrong one.
    assert np.isnan(alpha_relaxation(frames, 50.0, 20.0).tau)
    assert np.isnan(alpha_relaxation(frames, 50.0, 0.2).tau)
    with pytest.raises(InputError, match="9 frames"):
        alpha_relaxation(frames[:9], 50.0, wavenumber)


@pytest.mark.physics
def test_fits_return_the_laws_they_were_made_from():
    temperature = np.array([1000.0, 1100.0, 1250.0, 1400.0, 1600.0])
    line = fit_arrhenius(temperature, 0.08 * np.exp(0.58 / (units.BOLTZMANN * temperature)))
    assert (line.prefactor, line.energy) == pytest.approx((0.08, 0.58))
    vogel = fit_vogel(temperature, 0.1 * np.exp(5.0 * 500.0 / (temperature - 500.0)))
    assert (vogel.prefactor, vogel.strength, vogel.temperature) == pytest.approx(
        (0.1, 5.0, 500.0), rel=1e-3
    )
    # Quoted errors cover the scatter of noisy values.
    generator = np.random.default_rng(1)
    energies = [
        fit_arrhenius(
            temperature,
            np.exp(0.5 / (units.BOLTZMANN * temperature) + 0.05 * generator.normal(size=5)),
            0.05 * np.exp(0.5 / (units.BOLTZMANN * temperature)),
        )
        for _ in range(200)
    ]
    spread = np.std([fit.energy for fit in energies])
    assert energies[0].energy_error == pytest.approx(spread, rel=0.2)
    with pytest.raises(InputError, match="at least 4"):
        fit_vogel(temperature[:3], temperature[:3])


@pytest.mark.physics
def test_helfand_moment_agrees_with_the_correlation_of_a_known_stress():
    """Ornstein-Uhlenbeck stress: eta = V s^2 tau / kT."""
    generator = np.random.default_rng(3)
    tau, interval, deviation, volume, temperature = 50.0, 4.0, 0.004, 3000.0, 1500.0
    keep = np.exp(-interval / tau)
    runs = np.zeros((4, 20_000, 6))
    for k in range(1, 20_000):
        kick = np.sqrt(1 - keep**2) * deviation * generator.normal(size=(4, 6))
        runs[:, k] = keep * runs[:, k - 1] + kick
    found = helfand_viscosity(
        runs[..., [3, 3, 3, 3, 4, 5]] * [0, 0, 0, 1, 1, 1],
        sample_interval=interval,
        volume=volume,
        temperature=temperature,
        window=(300.0, 900.0),
    )
    pascal = 1.602176634e11  # eV/A^3
    expected = (
        volume
        * 1e-30
        * (deviation * pascal) ** 2
        * tau
        * 1e-15
        / (units.BOLTZMANN * 1.602176634e-19 * temperature)
        * 1e3
    )
    # Two of the five components are zero here.
    assert found == pytest.approx(0.6 * expected, rel=0.1)


def test_cold_curves_of_a_sound_and_of_a_collapsing_potential():
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    curve = cold_curve(atoms, lennard_jones("Cu"))
    assert curve.problem == ""
    assert curve.ratio[[0, -1]].tolist() == [0.7, 1.3]
    falling = cold_curve(
        Atoms("Cu2", [[0, 0, 0], [1, 1, 1]], cell=[4] * 3, pbc=True), DimerEnergy(lambda r: r)
    )
    assert "the end of the curve" in falling.problem
    double = cold_curve(
        Atoms("Cu2", [[0, 0, 0], [1, 1, 1]], cell=[4] * 3, pbc=True),
        DimerEnergy(lambda r: np.cos(40.0 * r) + 2.0 * (r - 1.75) ** 2),
    )
    assert "second minimum" in double.problem


@pytest.mark.physics
def test_a_smooth_potential_conserves_the_energy():
    atoms = bulk("Cu", "fcc", a=3.65, cubic=True).repeat(2)
    engine = AseEngine(CalculatorPotential(instance=lennard_jones("Cu")))
    assert abs(energy_drift(atoms, engine, temperature=300.0, time=0.3, seed=1)) < 0.5


def test_values_without_a_meaning_are_refused():
    glass = bulk("Cu", cubic=True)
    with pytest.raises(InputError, match="Cu4 has no atom of 'Zr'"):
        voronoi_indices(glass, "Zr")
    with pytest.raises(InputError, match="shell is -1 A"):
        neighbour_statistics(glass, -1.0)
    with pytest.raises(InputError, match=r"no g\(r\) of the pair 'Zr-Zr'"):
        structure_factor(radial_distribution(glass), [1.0], {"Zr-Zr": 1.0})
    temperature = np.linspace(300.0, 1500.0, 61)
    with pytest.raises(InputError, match="61 of the 61 values are not finite"):
        glass_transition(temperature, np.full(61, np.nan))
    with pytest.raises(InputError, match="shapes"):
        glass_transition(temperature, temperature[1:])
    apart = np.where(temperature < 800.0, 1e-4, 1.1e-4) * temperature + (temperature > 800.0)
    with pytest.raises(PotentialFailureError, match=r"meet at .* outside the cooling"):
        glass_transition(temperature, apart)
    frames = [glass.copy() for _ in range(10)]
    with pytest.raises(InputError, match="interval of the frames is 0 fs"):
        diffusion_coefficients(frames, 0.0)
    with pytest.raises(InputError, match="wave number is 0"):
        alpha_relaxation(frames, 1.0, 0.0)
    frames[4].positions[0] = np.nan
    with pytest.raises(InputError, match="frame 4 has atom 0"):
        diffusion_coefficients(frames, 1.0)
    with pytest.raises(InputError, match="do not fall with the temperature"):
        fit_vogel([1000.0, 1100.0, 1200.0, 1300.0], [1.0, 2.0, 3.0, 4.0])
    with pytest.raises(InputError, match="2 temperatures with positive values, of 3"):
        fit_arrhenius([1000.0, 1100.0, 1200.0], [1.0, -2.0, 3.0])
    lags = {"sample_interval": 10.0, "volume": 1e4, "temperature": 1500.0}
    with pytest.raises(InputError, match="not within runs of 1000 fs"):
        helfand_viscosity(np.zeros((1, 100, 6)), window=(500.0, 100.0), **lags)
    with pytest.raises(InputError, match="stresses have the shape"):
        helfand_viscosity(np.zeros((100, 6)), window=(100.0, 500.0), **lags)
