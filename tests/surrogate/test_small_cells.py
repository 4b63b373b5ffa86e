"""Compare cells below twice the cutoff with the same cells repeated until they are large.

In such a cell an atom interacts with several images of another atom and with images of its own.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ase import Atoms
from scipy.stats import chi2

from mgflows import Alloy, units
from mgflows.errors import InputError
from mgflows.surrogate import (
    LennardJones,
    SurrogateMolecularDynamics,
    SwapMonteCarlo,
    SwapMonteCarloReplicas,
    find_inherent_structure,
    swap_monte_carlo,
)
from mgflows.surrogate.kernels.forces import (
    all_pairs_forces,
    fire,
    image_forces,
    minimum_image_energy,
    potential_energy,
    reduced_interaction,
)
from tests.helpers.lammps_reference import run_lammps

_REPEATS = (3, 3, 3)


@pytest.fixture(scope="module")
def lj() -> LennardJones:
    return LennardJones.cuzral()


def melt(
    lj: LennardJones,
    n_atoms: int,
    shape: tuple[float, float, float] = (1.0, 1.0, 1.0),
    seed: int = 3,
) -> Atoms:
    """A liquid at T* = 4 with shuffled species; ``shape`` is the ratio of the box edges."""
    start = SwapMonteCarlo.from_alloy(lj, Alloy.cuzral(n_atoms), seed)
    atoms = start.atoms
    atoms.set_cell(atoms.cell.array * np.array(shape) / np.prod(shape) ** (1 / 3), scale_atoms=True)
    liquid = SwapMonteCarlo(lj, atoms, seed)
    liquid.equilibrate(100)
    liquid.run(100, 4.0)
    return liquid.atoms[np.random.default_rng(0).permutation(n_atoms)]


def state(sampler: SwapMonteCarlo) -> tuple[bytes, ...]:
    return (
        *(array.tobytes() for array in sampler._system.arrays().values()),
        sampler._random_state.tobytes(),
    )


def mean_and_error(samples: np.ndarray, n_blocks: int = 20) -> tuple[float, float]:
    means = np.array([block.mean() for block in np.array_split(samples, n_blocks)])
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(n_blocks))


def test_images_are_those_that_some_point_of_the_cell_can_reach(lj: LennardJones) -> None:
    atoms = melt(lj, 13)
    images = lj.reduced_configuration(atoms).images
    assert images.shape == (27, 3)
    assert (images[0] == 0).all()
    assert {tuple(image) for image in images} == {tuple(-image) for image in images}
    assert len(lj.reduced_configuration(melt(lj, 24)).images) == 19
    assert lj.reduced_configuration(melt(lj, 120)).nearest_image_suffices


@pytest.mark.physics
@pytest.mark.parametrize(
    ("n_atoms", "shape"),
    [(2, (1, 1, 1)), (13, (1, 1, 1)), (24, (1, 1, 1)), (24, (0.8, 1.0, 1.4)), (60, (1, 1, 1))],
)
def test_energy_forces_and_virial_are_those_of_the_repeated_cell(
    lj: LennardJones, n_atoms: int, shape: tuple[float, float, float]
) -> None:
    atoms = (
        melt(lj, n_atoms, shape)
        if n_atoms > 2
        else Atoms("CuZr", [[0, 0, 0], [1.9, 1.5, 0.1]], cell=[4.1, 4.2, 4.3], pbc=True)
    )
    large = atoms.repeat(_REPEATS)
    repeated = lj.reduced_configuration(large)
    assert repeated.nearest_image_suffices
    assert not lj.reduced_configuration(atoms).nearest_image_suffices
    interaction, positions = (
        reduced_interaction(lj, repeated),
        np.ascontiguousarray(repeated.positions.T),
    )
    forces = np.empty_like(positions)
    all_pairs_forces(positions, interaction, forces)
    expected_energy = minimum_image_energy(positions, interaction) / 27

    own = lj.reduced_configuration(atoms)
    own_interaction, own_positions = (
        reduced_interaction(lj, own),
        np.ascontiguousarray(own.positions.T),
    )
    own_forces = np.empty_like(own_positions)
    image_forces(own_positions, own_interaction, own_forces)
    scale = np.abs(forces).max()
    np.testing.assert_allclose(own_forces, forces[:, :n_atoms], rtol=1e-10, atol=1e-12 * scale)
    assert potential_energy(own_positions, own_interaction) == pytest.approx(
        expected_energy, rel=1e-11
    )
    sampler = SwapMonteCarlo(lj, atoms, seed=1)
    assert sampler._method == "images"
    # Positions of the sampler are whole steps of 2e-10 of the edge.
    assert sampler.energy_per_atom * n_atoms == pytest.approx(expected_energy, rel=1e-6)

    # The virial of the repeated cell with the nearest image, directly from its definition.
    separation = repeated.positions[:, None] - repeated.positions[None]
    separation -= repeated.box * np.round(separation / repeated.box)
    r2 = (separation**2).sum(axis=-1)
    np.fill_diagonal(r2, np.inf)
    pairs = np.ix_(repeated.types, repeated.types)
    x3 = (lj.reduced_sigma[pairs] ** 2 / r2) ** 3
    force_over_r = np.where(
        r2 < (2 * lj.reduced_sigma[pairs]) ** 2,
        24 * lj.reduced_epsilon[pairs] * x3 * (2 * x3 - 1) / r2,
        0.0,
    )
    virial = 0.5 * np.einsum("ij,ijd,ije->de", force_over_r, separation, separation) / 27
    atoms.calc = lj.calculator()
    stress = atoms.get_stress(voigt=False) * atoms.get_volume() / lj.energy_unit
    np.testing.assert_allclose(-stress, virial, rtol=1e-9, atol=1e-9 * np.abs(virial).max())
    assert atoms.get_potential_energy() / lj.energy_unit == pytest.approx(
        expected_energy, rel=1e-11
    )


@pytest.mark.needs("lammps")
@pytest.mark.physics
def test_energy_forces_and_pressure_are_those_of_lammps(lj: LennardJones) -> None:
    atoms = melt(lj, 13)
    own = lj.reduced_configuration(atoms)
    reference = run_lammps(lj, own.positions, own.box, own.types)
    interaction, positions = reduced_interaction(lj, own), np.ascontiguousarray(own.positions.T)
    forces = np.empty_like(positions)
    image_forces(positions, interaction, forces)
    assert potential_energy(positions, interaction) / 13 == pytest.approx(
        reference.energy, rel=1e-11
    )
    np.testing.assert_allclose(forces.T, reference.forces, rtol=1e-9, atol=1e-9)
    atoms.calc = lj.calculator()
    pressure = -atoms.get_stress() * lj.length_unit**3 / lj.energy_unit
    np.testing.assert_allclose(pressure, reference.pressure, rtol=1e-9, atol=1e-8)


@pytest.mark.physics
def test_forces_and_virial_are_derivatives_of_the_energy(lj: LennardJones) -> None:
    atoms = melt(lj, 13)
    own = lj.reduced_configuration(atoms)
    interaction, positions = reduced_interaction(lj, own), np.ascontiguousarray(own.positions.T)
    forces = np.empty_like(positions)
    image_forces(positions, interaction, forces)
    step = 1e-5
    for d, i in itertools.product(range(3), (0, 5, 12)):
        energies = []
        for sign in (1, -1):
            moved = positions.copy()
            moved[d, i] += sign * step
            energies.append(potential_energy(moved, interaction))
        assert (energies[1] - energies[0]) / (2 * step) == pytest.approx(
            forces[d, i], rel=1e-5, abs=1e-3
        )
    # A uniform expansion moves the images of an atom too, so its energy with its images contributes
    # to the pressure.
    energies = []
    for sign in (1, -1):
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array * (1 + sign * step), scale_atoms=True)
        energies.append(SwapMonteCarlo(lj, strained, seed=1).energy_per_atom * 13 * lj.energy_unit)
    expected = (
        (energies[1] - energies[0]) / (2 * step) / (3 * atoms.get_volume()) * units.EV_PER_A3_IN_GPA
    )
    assert SwapMonteCarlo(lj, atoms, seed=1).pressure(1e-9) == pytest.approx(expected, rel=1e-4)


@pytest.mark.physics
def test_an_inherent_structure_is_that_of_the_repeated_cell(lj: LennardJones) -> None:
    atoms = melt(lj, 24)
    relaxed, e_is = find_inherent_structure(atoms, lj)
    relaxed.calc = lj.calculator()
    assert relaxed.get_potential_energy() / 24 == pytest.approx(e_is, abs=1e-12)
    assert (
        np.linalg.norm(relaxed.get_forces(), axis=1).max() * lj.length_unit / lj.energy_unit
        < 1.5e-8
    )
    # Starts near the minimum: identical copies stay identical in a kernel that has no images.
    near = relaxed.copy()
    near.rattle(0.02, seed=1)
    repeated = lj.reduced_configuration(near.repeat(_REPEATS))
    positions, interaction = (
        np.ascontiguousarray(repeated.positions.T),
        reduced_interaction(lj, repeated),
    )
    fire(positions, interaction, 1e-6, 10_000)
    _, again = find_inherent_structure(near, lj)
    assert again / lj.energy_unit == pytest.approx(
        minimum_image_energy(positions, interaction) / len(repeated.types), abs=1e-10
    )


def test_in_a_large_box_images_and_all_pairs_give_the_same_run(lj: LennardJones) -> None:
    start = SwapMonteCarlo.from_alloy(lj, Alloy.cuzral(), seed=5)
    start.equilibrate(100)
    runs = [
        SwapMonteCarlo(lj, start.atoms, seed=7, method=method) for method in ("all_pairs", "images")
    ]
    energies = [run.run(30, 3.0) for run in runs]
    np.testing.assert_allclose(*energies, rtol=1e-9)
    assert runs[0].displacements == runs[1].displacements
    assert runs[0].exchanges == runs[1].exchanges
    assert runs[0].exchanges["Cu", "Al"][1] > 0
    np.testing.assert_array_equal(runs[0].atoms.positions, runs[1].atoms.positions)


@pytest.mark.physics
@pytest.mark.parametrize("shape", [(1.0, 1.0, 1.0), (0.8, 1.0, 1.4)])
def test_the_running_energy_is_that_of_the_calculator(
    monkeypatch: pytest.MonkeyPatch, lj: LennardJones, shape: tuple[float, float, float]
) -> None:
    monkeypatch.setitem(swap_monte_carlo._REFRESH_INTERVAL, "float64", 10**9)
    sampler = SwapMonteCarlo(lj, melt(lj, 24, shape), seed=3)
    sampler.run(5000, 4.0)
    assert min(accepted for _, accepted in sampler.exchanges.values()) > 50
    assert sampler.energy_per_atom == pytest.approx(
        lj.energy(sampler.atoms) / 24 / lj.energy_unit, rel=1e-9
    )


@pytest.mark.physics
def test_exchanges_visit_every_arrangement_with_boltzmann_weights_in_detailed_balance(
    lj: LennardJones,
) -> None:
    # A box of 5.8 A: most pairs have several images within reach, and all atoms interact with their
    # own.
    temperature, symbols, edge = 3.0, ["Cu", "Cu", "Zr", "Zr", "Al"], 5.8
    sites = np.array(
        [[0.1, 0.2, 0.1], [2.9, 0.0, 2.6], [0.3, 3.0, 2.9], [2.8, 2.9, 0.2], [5.0, 2.6, 4.9]]
    )
    arrangements = sorted(set(itertools.permutations(symbols)))
    number = {arrangement: index for index, arrangement in enumerate(arrangements)}
    # The energy of the repeated cell, computed without images.
    energies = np.array(
        [
            lj.energy(Atoms(own, sites, cell=[edge] * 3, pbc=True).repeat(_REPEATS))
            / 27
            / lj.energy_unit
            for own in arrangements
        ]
    )
    weights = np.exp(-(energies - energies.min()) / temperature)
    expected = weights / weights.sum()
    kept = expected * 2000 > 5
    assert kept.sum() >= 15
    assert expected[kept].max() / expected[kept].min() > 20

    sampler = SwapMonteCarlo(
        lj,
        Atoms(symbols, sites, cell=[edge] * 3, pbc=True),
        seed=1,
        exchange_pairs=[("Cu", "Al"), ("Al", "Zr"), ("Cu", "Zr")],
    )
    n_samples = 20_000
    visited = np.empty(n_samples, dtype=int)
    for sample in range(n_samples):
        sampler.run(1, temperature, swap_fraction=1.0)
        nearest = np.argmin(
            ((sampler.atoms.positions[:, None] - sites[None]) ** 2).sum(axis=-1), axis=1
        )
        at_site = np.empty(5, dtype=object)
        at_site[nearest] = symbols
        visited[sample] = number[tuple(at_site)]
    thinned = np.bincount(visited[::10], minlength=len(arrangements))
    counts = np.append(thinned[kept], thinned[~kept].sum())
    shares = np.append(expected[kept], expected[~kept].sum()) * thinned.sum()
    statistic = ((counts - shares) ** 2 / shares).sum()
    assert statistic < chi2.ppf(0.999, kept.sum())
    flux = np.zeros((len(arrangements),) * 2)
    np.add.at(flux, (visited[:-1], visited[1:]), 1)
    upper = np.triu_indices(len(arrangements), 1)
    there, back = flux[upper], flux.T[upper]
    often = there + back >= 20
    assert often.sum() > 20
    assert ((there - back)[often] ** 2 / (there + back)[often]).sum() < chi2.ppf(0.999, often.sum())


@pytest.mark.physics
def test_two_atoms_have_the_energy_of_the_configuration_integral(lj: LennardJones) -> None:
    # The integral over all positions of one atom relative to the other, in a box of 1.9 sigma, by a
    # grid.
    temperature, edge = 2.0, 1.9 * lj.length_unit
    n_grid = 40
    points = (
        (
            np.stack(np.meshgrid(*[np.arange(n_grid)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
            + 0.5
        )
        / n_grid
        * edge
    )
    shifts = np.array(list(itertools.product(range(-3, 4), repeat=3))) * edge

    def energy(a: int, b: int, r2: np.ndarray) -> np.ndarray:
        x3 = (lj.sigma[a, b] ** 2 / r2) ** 3
        cut = lj.cutoff_factor**-6
        u = 4 * lj.epsilon[a, b] * (x3 * x3 - x3 - cut * cut + cut)
        return np.where(r2 < lj.cutoff[a, b] ** 2, u, 0.0) / lj.energy_unit

    copper, zirconium = lj.species.index("Cu"), lj.species.index("Zr")
    between = energy(copper, zirconium, ((points[:, None] + shifts[None]) ** 2).sum(axis=-1)).sum(
        axis=1
    )
    distances = (shifts[np.any(shifts != 0.0, axis=1)] ** 2).sum(axis=1)
    total = between + 0.5 * sum(energy(own, own, distances).sum() for own in (copper, zirconium))
    weights = np.exp(-(total - total.min()) / temperature)
    expected = float((weights * total).sum() / weights.sum())
    atoms = Atoms("CuZr", [[0, 0, 0], [edge / 2] * 3], cell=[edge] * 3, pbc=True)
    sampler = SwapMonteCarlo(lj, atoms, seed=2, max_displacement=0.6)
    mean, error = mean_and_error(2.0 * sampler.run(400_000, temperature))
    assert error < 0.01
    assert mean == pytest.approx(expected, abs=4 * error)


@pytest.mark.physics
def test_dynamics_conserve_energy_and_agree_with_monte_carlo(lj: LennardJones) -> None:
    atoms = melt(lj, 24)
    md = SurrogateMolecularDynamics(lj, atoms, seed=1, reduced_timestep=0.001)
    md.run(2.0, 4.0)
    before = md.reduced_potential_energy + md.reduced_kinetic_energy
    assert md.reduced_potential_energy * lj.energy_unit == pytest.approx(
        lj.energy(md.atoms) / 24, rel=1e-9
    )
    md.run(5.0, None)
    assert md.reduced_potential_energy + md.reduced_kinetic_energy == pytest.approx(
        before, abs=0.02
    )

    dynamics = SurrogateMolecularDynamics(lj, atoms, seed=1, reduced_timestep=0.002)
    dynamics.run(5.0, 5.0)
    mean, error = mean_and_error(dynamics.run(300.0, 5.0, sample_every=50))
    sampler = SwapMonteCarlo(lj, atoms, seed=1)
    sampler.run(500, 5.0)
    expected, other = mean_and_error(sampler.run(20_000, 5.0))
    assert np.hypot(error, other) < 0.1
    assert mean == pytest.approx(expected, abs=3.5 * np.hypot(error, other))


@pytest.mark.parametrize("n_atoms", [13, 24])
def test_a_cooling_is_the_same_for_the_same_seed_and_across_a_restart(
    lj: LennardJones, n_atoms: int, tmp_path
) -> None:
    path = tmp_path / "state.npz"
    runs = []
    for _ in range(2):
        sampler = SwapMonteCarlo.from_alloy(lj, Alloy.cuzral(n_atoms), seed=5)
        sampler.equilibrate(50)
        runs.append(sampler)
    runs[0].save(path)
    for run in runs:
        assert run.cool(1500).finished
    assert state(runs[0]) == state(runs[1])
    pieces = SwapMonteCarlo.load(path)
    assert not pieces.cool(1500, checkpoint=path, wall_time=0.0).finished
    pieces = SwapMonteCarlo.load(path)
    assert pieces._method == "images"
    assert pieces.resume().finished
    assert state(pieces) == state(runs[0])
    relaxed, e_is = find_inherent_structure(pieces.atoms, lj)
    assert e_is <= lj.energy(pieces.atoms) / n_atoms
    assert relaxed.get_chemical_symbols() == pieces.atoms.get_chemical_symbols()

    md = SurrogateMolecularDynamics(lj, pieces.atoms, seed=2)
    md.run(0.4, 3.0)
    md.save(path)
    md.run(0.4, 3.0)
    other = SurrogateMolecularDynamics.load(path)
    other.run(0.4, 3.0)
    assert other.reduced_positions.tobytes() == md.reduced_positions.tobytes()


def test_unsupported_methods_in_a_small_cell_raise(lj: LennardJones) -> None:
    atoms = melt(lj, 24)
    with pytest.raises(
        InputError, match=r"7\.018 A is below twice the largest cutoff.*method='auto'"
    ):
        SwapMonteCarlo(lj, atoms, seed=1, method="all_pairs")
    with pytest.raises(InputError, match="use SwapMonteCarlo"):
        SwapMonteCarloReplicas(lj, [atoms] * 16, seed=1)
    with pytest.raises(InputError, match="three cells"):
        SwapMonteCarlo(lj, atoms, seed=1, method="cells")
    with pytest.raises(InputError, match=r"7 atoms make a box of 4\.65 A.*at least 8 atoms"):
        lj.check_box(Alloy.from_formula("CuZr", n_atoms=7, number_density=0.0694))
    note = lj.check_box(Alloy.cuzral(24))
    assert note is not None
    assert "24 atoms is 7.02 A wide" in note
    assert "113 atoms" in note
    assert lj.check_box(Alloy.cuzral(113)) is None
