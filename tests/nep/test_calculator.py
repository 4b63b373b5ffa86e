from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from calorine.calculators import CPUNEP

from mgflows.bench.training import graphics_processor
from mgflows.errors import InputError, ServiceError
from mgflows.nep import nep_calculator, validate_nep_text


@pytest.mark.physics
def test_forces_are_the_gradient_of_the_energy(glass, tiny_potential) -> None:
    glass.calc = nep_calculator(tiny_potential)
    forces = glass.get_forces()
    step = 1e-4
    for atom, axis in ((0, 0), (17, 1), (30, 2), (53, 0)):
        energies = []
        for sign in (-1, 1):
            moved = glass.copy()
            moved.positions[atom, axis] += sign * step
            moved.calc = glass.calc
            energies.append(moved.get_potential_energy())
        assert forces[atom, axis] == pytest.approx(
            (energies[0] - energies[1]) / (2 * step), abs=1e-5
        )


@pytest.mark.physics
def test_stress_is_the_strain_derivative_of_the_energy_over_the_volume(
    glass, tiny_potential
) -> None:
    glass.calc = nep_calculator(tiny_potential)
    stress = glass.get_stress(voigt=False)
    step = 1e-5
    for row, column in ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (0, 2)):
        energies = []
        for sign in (-1, 1):
            strain = np.zeros((3, 3))
            strain[row, column] += sign * step / 2
            strain[column, row] += sign * step / 2
            strained = glass.copy()
            strained.set_cell(glass.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            strained.calc = glass.calc
            energies.append(strained.get_potential_energy())
        assert stress[row, column] == pytest.approx(
            (energies[1] - energies[0]) / (2 * step * glass.cell.volume), abs=1e-6
        )


@pytest.mark.physics
def test_a_compressed_glass_has_negative_stress(glass, tiny_potential) -> None:
    glass.set_cell(glass.cell.array * 0.9, scale_atoms=True)
    glass.calc = nep_calculator(tiny_potential)
    assert np.all(glass.get_stress()[:3] < -0.05)


def test_two_independent_codes_agree(glass, tiny_potential) -> None:
    ours, reference = glass.copy(), glass.copy()
    ours.calc, reference.calc = nep_calculator(tiny_potential), CPUNEP(str(tiny_potential))
    assert ours.get_potential_energy() == pytest.approx(reference.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(ours.get_forces(), reference.get_forces(), atol=1e-9)
    np.testing.assert_allclose(ours.get_stress(), reference.get_stress(), atol=1e-9)


def test_calorine_steps_in_where_nep_adapters_is_missing(
    glass, tiny_potential, monkeypatch
) -> None:
    from mgflows.nep import calculator

    monkeypatch.setattr(
        calculator, "find_spec", lambda name: None if name == "nep_adapters" else object()
    )
    glass.calc = nep_calculator(tiny_potential)
    assert isinstance(glass.calc, CPUNEP)
    np.testing.assert_allclose(glass.get_forces().sum(axis=0), 0.0, atol=1e-9)


def test_text_and_path_give_the_same_potential(glass, tiny_potential) -> None:
    energies = []
    for potential in (tiny_potential, str(tiny_potential), tiny_potential.read_text()):
        atoms = glass.copy()
        atoms.calc = nep_calculator(potential)
        energies.append(atoms.get_potential_energy())
    assert len(set(energies)) == 1


def test_the_repulsion_holds_two_close_atoms_apart(tiny_potential) -> None:
    calculator = nep_calculator(tiny_potential)
    for pair in ("Cu2", "CuZr", "ZrAl"):
        energies = []
        for distance in (0.8, 1.0, 1.2):
            dimer = Atoms(pair, positions=[[0, 0, 0], [distance, 0, 0]], cell=[20.0] * 3, pbc=True)
            dimer.calc = calculator
            energies.append(dimer.get_potential_energy())
        assert energies[0] > energies[1] > energies[2] > 10.0


def test_a_valid_potential_states_its_architecture(tiny_potential) -> None:
    header = validate_nep_text(tiny_potential.read_text(), ("Al", "Cu"))
    assert header.species == ("Cu", "Zr", "Al")
    assert (
        header.cutoff,
        header.n_max,
        header.basis_size,
        header.l_max,
        header.neuron,
        header.zbl,
    ) == (
        (5.0, 4.0),
        (4, 3),
        (4, 4),
        (4, 0, 0),
        10,
        1.8,
    )
    assert header.number_of_parameters == 1096


def replaced(number: int, text: str):
    return lambda lines: [*lines[: number - 1], text, *lines[number:]]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda lines: [], "line 1 .*nep4_zbl 3 Cu Zr Al"),
        (replaced(1, "nep3_zbl 3 Cu Zr Al"), "line 1 .*only NEP version 4"),
        (replaced(1, "nep4_zbl 3 Cu Zr"), "announces 3 species and lists 2"),
        (replaced(1, "nep4 3 Cu Zr Al"), "line 2 .* 'cutoff'"),
        (replaced(3, "cutoff 5 4 50"), "line 3 .* 'cutoff'"),
        (replaced(4, "n_max 40 3"), "radial n_max is 40"),
        (replaced(7, "ANN 11 0"), "architecture has 1165 parameters"),
        (replaced(50, "nan"), "line 50 .* 'nan' .* one finite number"),
        (replaced(51, "1.0 2.0"), "line 51"),
        (lambda lines: lines[:-1], "has 1116 numbers .* 1117 lines"),
    ],
)
def test_the_wrong_line_is_named(tiny_potential, spoil, says) -> None:
    lines = tiny_potential.read_text().splitlines()
    with pytest.raises(InputError, match=says):
        validate_nep_text("\n".join(spoil(lines)) + "\n")


def test_a_missing_species_is_named(tiny_potential) -> None:
    with pytest.raises(InputError, match="not Ni"):
        validate_nep_text(tiny_potential.read_text(), ("Cu", "Ni"))
    with pytest.raises(InputError, match="cannot be read"):
        nep_calculator("absent.txt")


def test_a_gpu_that_is_not_there_is_told(tiny_potential) -> None:
    with pytest.raises(InputError, match="device is 'gpu' but must be one of: cpu, cuda"):
        nep_calculator(tiny_potential, "gpu")
    if graphics_processor():
        pytest.skip("this machine has a GPU")
    with pytest.raises(
        ServiceError,
        match=r"cannot be evaluated on a GPU here: .*; take the device cpu \(nep_device in",
    ):
        nep_calculator(tiny_potential, "cuda")
