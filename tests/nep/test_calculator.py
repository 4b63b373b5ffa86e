from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from calorine.calculators import CPUNEP

from mgflows.bench.training import graphics_processor
from mgflows.errors import (
    InputError,
    MissingDependencyError,
    ServiceError,
)
from mgflows.nep import nep_calculator, predict, validate_nep_text
from mgflows.nep.calculator import read_potential
from mgflows.structures.relaxation import relax
from tests.helpers.potentials import random_potential


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


@pytest.mark.parametrize(
    "written", [b"\xef\xbb\xbf%s", b"\r\n%s"], ids=["byte order mark", "blank first line"]
)
def test_files_of_other_editors_give_the_same_potential(
    glass, tiny_potential, tmp_path, written: bytes
) -> None:
    path = tmp_path / "nep.txt"
    text = tiny_potential.read_bytes().replace(b"\n", b"  \r\n")
    path.write_bytes(written % text)
    energies = []
    for potential in (tiny_potential, path):
        atoms = glass.copy()
        atoms.calc = nep_calculator(potential)
        energies.append(atoms.get_potential_energy())
    assert energies[0] == energies[1]


def test_the_repulsion_keeps_two_close_atoms_apart(tiny_potential) -> None:
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
    ("spoil", "message"),
    [
        (lambda lines: [], "line 1 .*nep4_zbl 3 Cu Zr Al"),
        (replaced(1, "nep3_zbl 3 Cu Zr Al"), "line 1 .*only NEP version 4"),
        (replaced(1, "nep4_zbl 3 Cu Zr"), "declares 3 species and lists 2"),
        (replaced(1, "nep4 3 Cu Zr Al"), "line 2 .* 'cutoff'"),
        (replaced(1, "nep4_zbl 3 cu Zr Al"), "species 'cu', which is not an element"),
        (replaced(1, "nep4_zbl 3 Cu Cu Al"), "names Cu twice"),
        (replaced(2, "zbl -1 1.8"), "ZBL cutoffs of the potential are -1 and 1.8 A"),
        (replaced(2, "zbl 1.8 0.9"), "ZBL cutoffs of the potential are 1.8 and 0.9 A"),
        (replaced(2, "zbl 0.9 1.8 0"), "typewise ZBL factor of the potential is 0"),
        (replaced(3, "cutoff 5 4 50"), "line 3 .* 'cutoff'"),
        (replaced(3, "cutoff 5 4"), "line 3 .* 'cutoff'"),
        (replaced(3, "cutoff 5 4 -5 19"), "largest number of neighbours .* is -5"),
        (replaced(4, "n_max 40 3"), "n_max of the potential is 40"),
        (replaced(7, "ANN 11 0"), "architecture has 1165 parameters"),
        (replaced(50, "nan"), "line 50 .* 'nan' .* one finite number"),
        (replaced(51, "1.0 2.0"), "line 51"),
        # Python reads 10.5, C++ reads 1.
        (replaced(52, "1_0.5"), "line 52 .* '1_0.5' .* one finite number"),
        (replaced(52, "١.5"), "line 52 .* one finite number"),
        (lambda lines: lines[:-1], "has 1116 numbers .* 1117 lines"),
    ],
)
def test_the_wrong_line_is_named(tiny_potential, spoil, message) -> None:
    lines = tiny_potential.read_text().splitlines()
    with pytest.raises(InputError, match=message):
        validate_nep_text("\n".join(spoil(lines)) + "\n")


def test_a_file_that_is_cut_within_its_last_number_is_refused(tiny_potential) -> None:
    text = "".join(f"{line}\n" for line in tiny_potential.read_text().splitlines()[:-1])
    last = "1.234567890e+00"
    assert read_potential(text + last).species == ("Cu", "Zr", "Al")
    for kept in (3, 8, 11):
        with pytest.raises(InputError, match=r"is shorter than all others, .* cut off"):
            read_potential(text + last[:kept])


def dialect(name: str, text: str) -> str:
    """The tiny potential in another dialect of NEP4."""
    lines = text.splitlines()
    if name == "typewise":
        lines[1] = "zbl 0.9 1.8 0.7"
    elif name == "flexible":
        lines[1] = "zbl 0 0"
        for pair in range(6):
            values = (0.8 + 0.1 * pair, 1.8, 0.18, 3.2, 0.51, 0.94, 0.28, 0.4, 0.028, 0.2)
            lines += [str(value) for value in values]
    elif name == "species":
        lines[2] = "cutoff 5 4 4.8 3.9 4.6 3.8 43 19"
    return "\n".join(lines) + "\n"


def dense(atoms: Atoms) -> Atoms:
    """Compressed until the repulsion acts between neighbours."""
    atoms = atoms.copy()
    atoms.set_cell(0.82 * atoms.cell.array, scale_atoms=True)
    return atoms


@pytest.mark.physics
@pytest.mark.parametrize("name", ["typewise", "flexible", "species"])
def test_every_dialect_of_nep4_is_evaluated_as_by_calorine(
    name, glass, tiny_potential, tmp_path
) -> None:
    text = dialect(name, tiny_potential.read_text())
    ours, reference, plain = dense(glass), dense(glass), dense(glass)
    (tmp_path / "nep.txt").write_text(text)
    ours.calc, reference.calc = nep_calculator(text), CPUNEP(str(tmp_path / "nep.txt"))
    plain.calc = nep_calculator(tiny_potential)
    assert ours.get_potential_energy() == pytest.approx(reference.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(ours.get_forces(), reference.get_forces(), atol=1e-9)
    assert abs(ours.get_potential_energy() - plain.get_potential_energy()) > 1e-3
    assert predict(text, [ours]).energies[0] * len(ours) == pytest.approx(
        ours.get_potential_energy(), abs=1e-9
    )


def test_the_header_states_the_dialect_and_what_cannot_be_trained(tiny_potential) -> None:
    text = tiny_potential.read_text()
    typewise, flexible, species = (
        read_potential(dialect(name, text)) for name in ("typewise", "flexible", "species")
    )
    assert (typewise.zbl, typewise.zbl_factor) == ((0.9, 1.8), 0.7)
    assert flexible.zbl == (0.0, 0.0)
    assert flexible.number_of_lines == 1117 + 60
    assert species.cutoffs == ((5.0, 4.0), (4.8, 3.9), (4.6, 3.8))
    parameters = validate_nep_text(dialect("typewise", text))
    assert (parameters.zbl, parameters.zbl_factor) == (1.8, 0.7)
    with pytest.raises(InputError, match=r"inner ZBL cutoff that is not half.*does not train"):
        validate_nep_text(text.replace("zbl 0.9 1.8", "zbl 1.2 1.8"))
    for name, reason in (
        ("flexible", "parameters for each pair"),
        ("species", "cutoffs for each species"),
    ):
        with pytest.raises(InputError, match=f"{reason}.*does not train"):
            validate_nep_text(dialect(name, text))
    with pytest.raises(InputError, match=r"has 1117 numbers .* 1177 lines"):
        read_potential(text.replace("zbl 0.9 1.8", "zbl 0 0"))


@pytest.mark.parametrize(
    ("n_max", "l_max"),
    [((4, 4), "4 2 0 1"), ((4, 4), "4 2 1 1 1"), ((4, 4), "8 2 1"), ((3, 3), "1 0 0")],
)
def test_further_invariants_are_counted_as_by_the_calculators(n_max, l_max) -> None:
    atoms = bulk("Cu", "bcc", a=3.0, cubic=True).repeat(3)
    atoms.symbols[::2] = "Zr"
    atoms.calc = nep_calculator(random_potential(("Cu", "Zr"), n_max, l_max))
    assert np.isfinite(atoms.get_potential_energy())


def test_calorine_evaluates_what_is_beyond_nep_adapters(monkeypatch) -> None:
    from mgflows.nep import calculator

    text = random_potential(("Cu", "Zr"), (10, 10))
    assert isinstance(nep_calculator(text), CPUNEP)
    atoms = bulk("Cu", "bcc", a=3.0, cubic=True).repeat(3)
    atoms.symbols[::2] = "Zr"
    atoms.calc = nep_calculator(text)
    assert predict(text, [atoms]).energies[0] * 54 == pytest.approx(atoms.get_potential_energy())
    monkeypatch.setattr(
        calculator, "find_spec", lambda name: None if name == "calorine" else object()
    )
    with pytest.raises(
        MissingDependencyError, match=r"n_max of the potential, 10 and 10, .*calorine"
    ):
        nep_calculator(text)


@pytest.mark.faults
@pytest.mark.parametrize("package", ["nep_adapters", "calorine"])
def test_structures_and_results_that_are_not_finite_are_refused(
    package, glass, tiny_potential, monkeypatch
) -> None:
    """nep-adapters ignores such atoms, does not return, or ends the process."""
    from mgflows.nep import calculator

    monkeypatch.setattr(calculator, "find_spec", lambda name: object() if name == package else None)
    for value in (np.nan, np.inf):
        broken = glass.copy()
        broken.positions[5, 1] = value
        broken.calc = nep_calculator(tiny_potential)
        with pytest.raises(InputError, match=r"atom 5 .* not finite"):
            broken.get_potential_energy()
        with pytest.raises(InputError, match="frame 1 has atom 5"):
            predict(tiny_potential, [glass, broken])
    broken = glass.copy()
    broken.set_cell(np.full((3, 3), np.nan))
    broken.calc = nep_calculator(tiny_potential)
    with pytest.raises(InputError, match="cell vector that is not finite"):
        broken.get_forces()
    together = glass.copy()
    together.positions[0] = together.positions[1]
    together.calc = nep_calculator(tiny_potential)
    with pytest.raises(InputError, match="atoms 0 and 1 at the same place"):
        together.get_forces()
    with pytest.raises(InputError, match="at the same place"):
        relax(together, nep_calculator(tiny_potential))


def test_a_missing_species_is_named(tiny_potential) -> None:
    with pytest.raises(InputError, match="not Ni"):
        validate_nep_text(tiny_potential.read_text(), ("Cu", "Ni"))
    with pytest.raises(InputError, match="cannot be read"):
        nep_calculator("absent.txt")
    calculator = nep_calculator(tiny_potential)
    with pytest.raises(InputError, match="AuNi contains Au, Ni, but the potential is for Cu, Zr"):
        calculator.get_potential_energy(bulk("NiAu", "cesiumchloride", a=3.2))
    pair = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.2]], cell=[400.0] * 3, pbc=True)
    with pytest.raises(InputError, match=r"2 atoms in a cell of 6.4e\+07 A\^3, .* vacuum"):
        calculator.get_potential_energy(pair)
    with pytest.raises(InputError, match="frame 0 has 2 atoms in a cell"):
        predict(tiny_potential, [pair])
    slab = bulk("Cu", cubic=True)
    slab.pbc = (True, True, False)
    with pytest.raises(InputError, match="not periodic in three directions"):
        calculator.get_potential_energy(slab)


def test_a_missing_gpu_is_reported(tiny_potential) -> None:
    with pytest.raises(InputError, match="device is 'gpu' but must be one of: cpu, cuda"):
        nep_calculator(tiny_potential, "gpu")
    if graphics_processor():
        pytest.skip("this machine has a GPU")
    with pytest.raises(
        ServiceError,
        match=r"cannot be evaluated on a GPU here: .*; use the device cpu \(nep_device in",
    ):
        nep_calculator(tiny_potential, "cuda")
