from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from pymatgen.analysis.elasticity.elastic import ElasticTensor
from pymatgen.analysis.elasticity.strain import Deformation as PymatgenDeformation
from pymatgen.analysis.elasticity.strain import Strain, convert_strain_to_deformation
from pymatgen.io.ase import AseAtomsAdaptor

from mgflows.errors import InputError
from mgflows.structures.strain import (
    ELASTIC_DIRECTIONS,
    apply_deformation,
    crystal_deformations,
    deformation_tables,
    elastic_deformations,
    strain_from_voigt,
    volume_deformations,
)


@pytest.fixture
def triclinic():
    atoms = bulk("Zr", "hcp", a=3.2, c=5.1).repeat((2, 1, 1))
    atoms.rattle(0.1, seed=1)
    return atoms


def test_counts_of_the_paper():
    assert len(volume_deformations()) == 6
    assert len(elastic_deformations()) == 36
    assert len(crystal_deformations()) == 6 + 18
    for deformations in (elastic_deformations(), crystal_deformations()):
        assert len({deformation.name for deformation in deformations}) == len(deformations)
        assert len({deformation.matrix.tobytes() for deformation in deformations}) == len(
            deformations
        )


def test_volume_deformations_scale_every_length(triclinic):
    by_name = {deformation.name: deformation for deformation in volume_deformations()}
    expanded = apply_deformation(triclinic, by_name["volume+0.1"])
    assert expanded.get_volume() / triclinic.get_volume() == pytest.approx(1.1**3, rel=1e-12)
    np.testing.assert_allclose(expanded.cell.lengths(), 1.1 * triclinic.cell.lengths())
    np.testing.assert_allclose(expanded.cell.angles(), triclinic.cell.angles())
    compressed = apply_deformation(triclinic, by_name["volume-0.05"])
    np.testing.assert_allclose(compressed.get_distance(0, 3), 0.95 * triclinic.get_distance(0, 3))


def test_c44_is_a_pure_yz_shear_of_the_stated_size():
    (deformation,) = [d for d in elastic_deformations() if d.name == "C44+0.008"]
    np.testing.assert_array_equal(deformation.matrix, [[1, 0, 0], [0, 1, 0.008], [0, 0.008, 1]])


def test_c12_strains_both_directions_equally():
    (deformation,) = [d for d in elastic_deformations() if d.name == "C12-0.004"]
    np.testing.assert_array_equal(deformation.matrix, np.diag([0.996, 0.996, 1.0]))


def test_green_lagrange_strain_as_pymatgen_defines_it():
    for component, direction in ELASTIC_DIRECTIONS.items():
        strain = 0.008 * strain_from_voigt(direction)
        np.testing.assert_allclose(
            strain, Strain.from_voigt(0.008 * np.array(direction)), atol=1e-15
        )
        (deformation,) = [d for d in elastic_deformations() if d.name == f"{component}+0.008"]
        green_lagrange = np.array(PymatgenDeformation(deformation.matrix).green_lagrange_strain)
        np.testing.assert_allclose(green_lagrange, strain + strain @ strain / 2, atol=1e-15)
        assert np.abs(green_lagrange - strain).max() <= 3.2001e-5


def test_a_general_deformation_acts_as_in_pymatgen(triclinic):
    gradient = np.eye(3) + np.random.default_rng(0).uniform(-0.05, 0.05, (3, 3))
    ours = apply_deformation(triclinic, gradient)
    theirs = PymatgenDeformation(gradient).apply_to_structure(
        AseAtomsAdaptor.get_structure(triclinic)
    )
    np.testing.assert_allclose(ours.cell.array, theirs.lattice.matrix, atol=1e-12)
    np.testing.assert_allclose(
        ours.get_scaled_positions(wrap=False),
        triclinic.get_scaled_positions(wrap=False),
        atol=1e-12,
    )
    np.testing.assert_allclose(ours.positions[3], gradient @ triclinic.positions[3], atol=1e-12)


def test_every_default_deformation_is_the_one_without_rotation_and_acts_as_in_pymatgen(triclinic):
    structure = AseAtomsAdaptor.get_structure(triclinic)
    for deformation in (*volume_deformations(), *elastic_deformations()):
        theirs = PymatgenDeformation(deformation.matrix)
        np.testing.assert_allclose(
            convert_strain_to_deformation(theirs.green_lagrange_strain, "symmetric"),
            deformation.matrix,
            atol=1e-14,
        )
        strained = theirs.apply_to_structure(structure)
        ours = apply_deformation(triclinic, deformation)
        np.testing.assert_allclose(ours.cell.array, strained.lattice.matrix, atol=1e-12)
        np.testing.assert_allclose(
            ours.positions,
            ours.cell.cartesian_positions(triclinic.get_scaled_positions(wrap=False)),
            atol=1e-12,
        )
        difference = strained.frac_coords - structure.frac_coords
        np.testing.assert_allclose(difference - np.round(difference), 0.0, atol=1e-12)


def test_energies_of_the_directions_are_those_of_the_documentation():
    stiffness = np.random.default_rng(0).uniform(50.0, 150.0, (6, 6))
    tensor = ElasticTensor.from_voigt(stiffness + stiffness.T)
    c = tensor.voigt
    magnitude = 0.008
    expected = {
        "C11": c[0, 0],
        "C12": c[0, 0] + 2 * c[0, 1] + c[1, 1],
        "C13": c[0, 0] + 2 * c[0, 2] + c[2, 2],
        "C22": c[1, 1],
        "C23": c[1, 1] + 2 * c[1, 2] + c[2, 2],
        "C33": c[2, 2],
        "C44": 4 * c[3, 3],
        "C55": 4 * c[4, 4],
        "C66": 4 * c[5, 5],
    }
    assert expected.keys() == ELASTIC_DIRECTIONS.keys()
    for component, combination in expected.items():
        (deformation,) = [d for d in elastic_deformations() if d.name == f"{component}+0.008"]
        energy = tensor.energy_density(
            Strain(deformation.matrix - np.eye(3)), convert_GPa_to_eV=False
        )
        assert energy == pytest.approx(0.5 * magnitude**2 * combination, rel=1e-10)


def test_the_documentation_has_the_matrices():
    rows = deformation_tables().splitlines()
    page = (Path(__file__).parents[2] / "docs" / "reference" / "strains.md").read_text()
    assert sum(row.startswith(("| volume", "| C")) for row in rows) == 9 + 6 + 36
    assert all(row in page for row in rows), "update them with: python -m mgflows.structures.strain"
    assert "| C44+0.008 | 1 0 0 | 0 1 0.008 | 0 0.008 1 | 0.999936 | yes |" in rows
    assert "| C12 | e_xx = m, e_yy = m | m²/2 (C11 + 2 C12 + C22) |" in rows


def test_original_is_untouched_and_velocities_are_dropped(triclinic):
    triclinic.set_velocities(np.ones((len(triclinic), 3)))
    before = triclinic.positions.copy()
    deformed = apply_deformation(triclinic, volume_deformations()[0])
    assert not deformed.has("momenta")
    assert triclinic.has("momenta")
    np.testing.assert_array_equal(triclinic.positions, before)


@pytest.mark.parametrize("matrix", [np.diag([1.0, 1.0, -1.0]), np.zeros((3, 3)), np.eye(2)])
def test_impossible_deformations_are_refused(triclinic, matrix):
    with pytest.raises(InputError, match="deformation"):
        apply_deformation(triclinic, matrix)


@pytest.mark.parametrize("magnitude", [0.0, -0.01, 1.5])
def test_magnitudes_outside_zero_to_one_are_refused(magnitude):
    with pytest.raises(InputError, match="magnitude"):
        volume_deformations((magnitude,))
    with pytest.raises(InputError, match="magnitude"):
        elastic_deformations((magnitude,))
