from __future__ import annotations

import multiprocessing
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mgflows.eam.stand_in import stand_in_calculator, stand_in_model, stand_in_setfl
from mgflows.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from mgflows.eam.calculator import EmbeddedAtomCalculator


@pytest.fixture(scope="module")
def calculator() -> EmbeddedAtomCalculator:
    return stand_in_calculator()


def sheared_alloy(
    repeat: tuple[int, int, int] = (2, 2, 2), seed: int = 0, volume: float = 16.5
) -> Atoms:
    """A rattled, sheared bcc lattice with random species."""
    generator = np.random.default_rng(seed)
    atoms = bulk("Cu", "bcc", a=(2.0 * volume) ** (1.0 / 3.0), cubic=True).repeat(repeat)
    atoms.symbols = generator.choice(["Cu", "Zr", "Al"], size=len(atoms))
    atoms.set_cell(
        atoms.cell[:] @ (np.eye(3) + generator.uniform(-0.15, 0.15, (3, 3))), scale_atoms=True
    )
    atoms.positions += generator.normal(scale=0.1, size=(len(atoms), 3))
    return atoms


@pytest.mark.physics
def test_forces_are_minus_the_gradient_of_the_energy(calculator: EmbeddedAtomCalculator) -> None:
    atoms = sheared_alloy()
    atoms.calc = calculator
    forces = atoms.get_forces()
    assert np.abs(forces.sum(axis=0)).max() < 1e-8
    step = 1e-4
    for atom, axis in [(0, 0), (3, 1), (7, 2), (15, 0)]:
        energies = []
        for sign in (1.0, -1.0):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            moved.calc = calculator
            energies.append(moved.get_potential_energy())
        assert forces[atom, axis] == pytest.approx(
            -(energies[0] - energies[1]) / (2.0 * step), abs=2e-5
        )


@pytest.mark.physics
def test_stress_is_the_strain_derivative_of_the_energy(calculator: EmbeddedAtomCalculator) -> None:
    atoms = sheared_alloy(seed=1)
    atoms.calc = calculator
    stress = atoms.get_stress(voigt=False)
    step = 1e-5
    for i in range(3):
        for j in range(3):
            energies = []
            for sign in (1.0, -1.0):
                strain = np.eye(3)
                strain[i, j] += sign * step
                strained = atoms.copy()
                strained.set_cell(atoms.cell[:] @ strain, scale_atoms=True)
                strained.calc = calculator
                energies.append(strained.get_potential_energy())
            assert stress[i, j] == pytest.approx(
                (energies[0] - energies[1]) / (2.0 * step) / atoms.get_volume(), abs=2e-6
            )


@pytest.mark.physics
def test_a_compressed_crystal_has_negative_stress(calculator: EmbeddedAtomCalculator) -> None:
    copper = bulk("Cu", a=3.5)
    copper.calc = calculator
    assert (copper.get_stress()[:3] < -0.01).all()
    stretched = bulk("Cu", a=3.7)
    stretched.calc = calculator
    assert (stretched.get_stress()[:3] > 0.01).all()


@pytest.mark.physics
def test_one_calculator_evaluates_any_structure_and_agrees_with_matscipy_and_the_functions(
    calculator: EmbeddedAtomCalculator, tmp_path: Path
) -> None:
    from matscipy.calculators.eam import EAM

    matscipy = EAM(str(stand_in_setfl(tmp_path / "stand_in.eam.alloy")))
    model = stand_in_model()
    repeats = [
        (1, 1, 1),
        (3, 3, 3),
        (1, 1, 1),
        (2, 1, 3),
        (1, 1, 1),
        (5, 5, 3),
        (2, 2, 2),
        (2, 2, 2),
    ]
    structures = [
        sheared_alloy(repeat, seed, volume=14.0 + seed) for seed, repeat in enumerate(repeats)
    ]
    structures += [
        bulk("Zr", "hcp", a=3.2, c=5.2),
        bulk("Al"),
        bulk("CuZr", "cesiumchloride", a=3.27),
    ]
    structures[1].positions += 100.0
    left_handed = sheared_alloy(seed=9)
    left_handed.set_cell(left_handed.cell[[1, 0, 2]], scale_atoms=True)
    assert np.linalg.det(left_handed.cell) < 0.0
    for atoms in [*structures, left_handed]:
        results = []
        for evaluator in (calculator, matscipy):
            copy = atoms.copy()
            copy.calc = evaluator
            results.append(
                (copy.get_potential_energy() / len(atoms), copy.get_forces(), copy.get_stress())
            )
        (energy, forces, stress), (other_energy, other_forces, other_stress) = results
        assert energy == pytest.approx(other_energy, abs=1e-8)
        np.testing.assert_allclose(forces, other_forces, atol=2e-6)
        np.testing.assert_allclose(stress, other_stress, atol=1e-7)
        if len(atoms) < 20:
            assert energy == pytest.approx(model.energy(atoms) / len(atoms), abs=1e-8)


def test_free_energy_is_the_energy_and_nothing_else_is_offered(
    calculator: EmbeddedAtomCalculator,
) -> None:
    atoms = bulk("Cu")
    atoms.calc = calculator
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    assert set(calculator.results) == {"energy", "free_energy", "forces", "stress"}


def test_a_dimer_in_a_box(calculator: EmbeddedAtomCalculator) -> None:
    for periodic in (True, False):
        dimer = Atoms("CuZr", positions=[[0, 0, 0], [2.5, 0, 0]], pbc=periodic)
        dimer.center(vacuum=10.0)
        dimer.calc = calculator
        assert dimer.get_potential_energy() == pytest.approx(
            stand_in_model().energy(dimer), abs=1e-6
        )


def test_wrong_structures_are_refused(calculator: EmbeddedAtomCalculator) -> None:
    with pytest.raises(InputError, match="has Ni but this embedded-atom model has only Cu, Zr, Al"):
        calculator.get_potential_energy(bulk("CuNi", "cesiumchloride", a=3.0))
    with pytest.raises(InputError, match="no three-dimensional cell"):
        calculator.get_potential_energy(Atoms("Cu"))


def _energies(seed: int) -> list[float]:
    calculator = stand_in_calculator()
    return [
        calculator.get_potential_energy(sheared_alloy(seed=seed + offset)) for offset in range(3)
    ]


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_two_processes_at_once(calculator: EmbeddedAtomCalculator, start_method: str) -> None:
    # This process has LAMMPS running already, as a worker that forks would.
    expected = [
        [calculator.get_potential_energy(sheared_alloy(seed=seed + offset)) for offset in range(3)]
        for seed in (0, 10)
    ]
    with multiprocessing.get_context(start_method).Pool(2) as pool:
        np.testing.assert_allclose(pool.map(_energies, [0, 10]), expected, rtol=1e-12)


def test_no_file_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    stand_in_calculator().get_potential_energy(bulk("Cu"))
    assert list(tmp_path.iterdir()) == []


def test_a_glass_is_labelled_within_milliseconds(calculator: EmbeddedAtomCalculator) -> None:
    durations = []
    for seed in range(10):
        atoms = sheared_alloy((5, 5, 3), seed)
        start = time.process_time()
        calculator.get_potential_energy(atoms)
        durations.append(time.process_time() - start)
    # About 2 ms; ten times that would mean that LAMMPS starts again for each structure.
    assert min(durations) < 0.02
