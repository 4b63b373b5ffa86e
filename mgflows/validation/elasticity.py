"""Elastic constants of a glass at 0 K with relaxed ions, and their isotropic averages.

Paper, section III, "Elastic properties".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mgflows import units
from mgflows.errors import InputError, PotentialFailureError
from mgflows.geometry import check_geometry
from mgflows.structures.relaxation import minimise_positions
from mgflows.structures.relaxation import relax as relax_structure
from mgflows.structures.strain import apply_deformation, strain_from_voigt
from mgflows.validation.statistics import finite_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "FORCE_TOLERANCE",
    "ElasticModuli",
    "ElasticResult",
    "elastic_constants",
    "isotropic_moduli",
    "relax_to_zero_stress",
    "zero_stress_reference",
]

FORCE_TOLERANCE = 1e-4
"""eV/A. Non-affine forces after a strain of 2e-3 are about 1e-2 eV/A. The shear modulus of a
150-atom glass is 3 % too high with a tolerance of 1e-3 eV/A and within 0.3 % of its limit with 1e-4
(docs/concepts/validation.md)."""
_STRESS_TOLERANCE = 0.01
"""GPa left in the reference cell; the constants inherit an error of about this size."""
_WANTED_NONLINEARITY, _LARGEST_NONLINEARITY = 0.03, 0.1
"""Fraction of the largest constant of a column. Anharmonicity contributes 0.5 to 1 % at a strain of
2e-3 in Cu-Zr-Al glasses and vanishes with the strain; a rearrangement contributes more."""
_SMALLEST_STRAIN = 2.5e-4
"""Smallest strain. Below it the force tolerance affects the constants."""
_LARGEST_DISSIPATION = 0.1
"""Fraction of the elastic energy of a strained cell. Anharmonicity contributes up to 1 %."""
_LARGEST_ASYMMETRY = 0.03
"""Largest difference in A between the magnitudes of the non-affine displacements under opposite
strains. Atoms that rearrange move by at least 0.1 A."""


@dataclass(frozen=True)
class ElasticModuli:
    """Isotropic averages of a stiffness: Voigt, Reuss and Hill.

    Hill, Proc. Phys. Soc. A 65, 349 (1952), doi:10.1088/0370-1298/65/5/307.

    Parameters
    ----------
    bulk_modulus, shear_modulus
        Hill averages in GPa: the mean of Voigt's and Reuss's.
    young_modulus
        ``9 B G / (3 B + G)`` in GPa.
    poisson_ratio
        ``(3 B - 2 G) / (6 B + 2 G)``.
    bulk_modulus_voigt, bulk_modulus_reuss, shear_modulus_voigt, shear_modulus_reuss
        The bounds, in GPa.
    """

    bulk_modulus: float
    shear_modulus: float
    young_modulus: float
    poisson_ratio: float
    bulk_modulus_voigt: float
    bulk_modulus_reuss: float
    shear_modulus_voigt: float
    shear_modulus_reuss: float


@dataclass(frozen=True, eq=False)
class ElasticResult:
    """Elastic constants of one structure.

    Parameters
    ----------
    stiffness
        (6, 6) symmetric, GPa; Voigt order xx, yy, zz, yz, xz, xy with engineering shears.
    moduli
        Isotropic averages.
    asymmetry
        Largest ``|C_ij - C_ji|`` before symmetrising, in GPa: the numerical error, apart from
        residual stress.
    nonlinearity
        Largest ``|stress(+) + stress(-) - 2 stress(0)| / (2 strain)`` in GPa: anharmonicity, and
        rearrangements of atoms that the smaller strains did not avoid.
    strains
        (6,) Voigt strains used. Smaller than requested where atoms rearranged under the
        requested strain.
    atoms
        The relaxed reference, without calculator.
    residual_stress
        Largest component of its stress in GPa.
    """

    stiffness: NDArray[np.float64]
    moduli: ElasticModuli
    asymmetry: float
    nonlinearity: float
    atoms: Atoms
    residual_stress: float
    strains: NDArray[np.float64]


def isotropic_moduli(stiffness: ArrayLike) -> ElasticModuli:
    """Voigt-Reuss-Hill averages of a (6, 6) stiffness in GPa.

    Raises
    ------
    InputError
        If the stiffness is not (6, 6), not finite or not positive definite: the structure is
        unstable and has no moduli.
    """
    c = np.asarray(stiffness, dtype=float)
    if c.shape != (6, 6):
        raise InputError(
            f"the stiffness has the shape {c.shape}", hint="give the (6, 6) matrix in Voigt order"
        )
    finite_array(c, "elements of the stiffness")
    lowest = np.linalg.eigvalsh((c + c.T) / 2).min()
    if not lowest > 0.0:
        raise InputError(
            f"the stiffness has the eigenvalue {lowest:.3g} GPa, so the structure is unstable",
            hint="relax it further before measuring",
        )
    s = np.linalg.inv(c)
    bulk_voigt, shear_voigt = (
        np.sum(c[:3, :3]) / 9.0,
        (_axial(c) + 3.0 * np.trace(c[3:, 3:])) / 15.0,
    )
    bulk_reuss, shear_reuss = (
        1.0 / np.sum(s[:3, :3]),
        15.0 / (4.0 * _axial(s) + 3.0 * np.trace(s[3:, 3:])),
    )
    bulk, shear = (bulk_voigt + bulk_reuss) / 2.0, (shear_voigt + shear_reuss) / 2.0
    return ElasticModuli(
        bulk_modulus=float(bulk),
        shear_modulus=float(shear),
        young_modulus=float(9.0 * bulk * shear / (3.0 * bulk + shear)),
        poisson_ratio=float((3.0 * bulk - 2.0 * shear) / (6.0 * bulk + 2.0 * shear)),
        bulk_modulus_voigt=float(bulk_voigt),
        bulk_modulus_reuss=float(bulk_reuss),
        shear_modulus_voigt=float(shear_voigt),
        shear_modulus_reuss=float(shear_reuss),
    )


def elastic_constants(
    atoms: Atoms,
    calculator: Calculator,
    *,
    strain: float = 2e-3,
    relax_reference: bool = True,
    relax_ions: bool = True,
    force_tolerance: float = FORCE_TOLERANCE,
    progress: Callable[[int, int], None] | None = None,
) -> ElasticResult:
    """Stiffness from central differences of the stress over the six Voigt strains.

    ``C_ij = (stress_i(+strain_j) - stress_i(-strain_j)) / (2 strain)`` for the symmetric gradients
    ``F = 1 + strain``, with the ions of each cell relaxed. With unrelaxed ions a glass would
    seem twice as stiff in shear, because its atoms do not follow the strain affinely. The mirrored
    displacements under ``+strain`` are the start of the relaxation under ``-strain``, so that
    twelve minimisations cost about as much as nine.

    If the stresses of the two cells are not symmetric about the reference, atoms rearranged and
    the difference is not an elastic constant: the strain is then halved until the stresses are
    symmetric. Rearrangements under both signs leave the stresses symmetric. They are detected from
    energy that the work of the stress does not account for, or from non-affine displacements that
    are not opposite, and the strain is halved as well.

    matscipy's ``measure_triclinic_elastic_constants`` gives the same numbers (a test) from
    eighteen minimisations; it neither relaxes the cell nor reports the residuals below.

    Parameters
    ----------
    atoms
        Any periodic structure; not changed. Constraints are not obeyed.
    calculator
        Any ASE calculator with forces and stress.
    strain
        Voigt strain of the differences (engineering strain for shears). 1e-3 to 4e-3: below, the
        tolerance of the minimisation shows; above, glasses rearrange.
    relax_reference
        First relax cell and ions to zero stress.
    relax_ions
        Relax the ions of the strained cells; False gives the clamped (affine, infinite-frequency)
        constants.
    force_tolerance
        eV/A, of all minimisations.
    progress
        Called with (cells done, cells in all).

    Raises
    ------
    InputError
        For a strain outside (0, 0.05), or a structure that is not finite or not stable.
    PotentialFailureError
        If a minimisation does not converge, or atoms rearrange at every strain tried.
    """
    if not 0.0 < strain < 0.05:
        raise InputError(
            f"the strain is {strain:g} but must lie between 0 and 0.05", hint="2e-3 suits glasses"
        )
    reference = zero_stress_reference(atoms, calculator, force_tolerance, relax=relax_reference)
    stress_reference = reference.get_stress()

    strains = np.full(6, float(strain))
    columns = []
    for component in range(6):
        column, strains[component] = _smallest_curvature(
            reference,
            stress_reference,
            calculator,
            component,
            strain,
            force_tolerance if relax_ions else None,
        )
        columns.append(column)
        if progress:
            progress(2 * component + 2, 12)

    stiffness = units.ev_per_a3_to_gpa(np.array([each.constants for each in columns]).T)
    symmetric = (stiffness + stiffness.T) / 2.0
    nonlinearity = max(each.curvature for each in columns)
    reference.calc = None
    return ElasticResult(
        stiffness=symmetric,
        moduli=isotropic_moduli(symmetric),
        asymmetry=float(np.abs(stiffness - stiffness.T).max()),
        nonlinearity=float(units.ev_per_a3_to_gpa(nonlinearity)),
        atoms=reference,
        residual_stress=float(units.ev_per_a3_to_gpa(np.abs(stress_reference).max())),
        strains=strains,
    )


@dataclass(frozen=True, eq=False)
class _Column:
    """One column of the stiffness, its curvature (both eV/A^3), and whether atoms rearranged."""

    constants: NDArray[np.float64]
    curvature: float
    rearranged: bool

    @property
    def nonlinearity(self) -> float:
        """Curvature in units of the largest constant."""
        largest = float(np.abs(self.constants).max())
        return self.curvature / largest if largest > 0.0 else 0.0


def _smallest_curvature(
    reference: Atoms,
    stress_reference: NDArray[np.float64],
    calculator: Calculator,
    component: int,
    strain: float,
    force_tolerance: float | None,
) -> tuple[_Column, float]:
    """Column of the stiffness and its strain, halved until the stresses are symmetric."""
    size = chosen = float(strain)
    best = _column(reference, stress_reference, calculator, component, size, force_tolerance)
    while (best.rearranged or best.nonlinearity > _WANTED_NONLINEARITY) and size > _SMALLEST_STRAIN:
        size /= 2.0
        other = _column(reference, stress_reference, calculator, component, size, force_tolerance)
        if (other.rearranged, other.curvature) < (best.rearranged, best.curvature):
            best, chosen = other, size
    if best.rearranged or best.nonlinearity > _LARGEST_NONLINEARITY:
        raise PotentialFailureError(
            f"atoms rearrange under every strain of component {component + 1} from {strain:g} "
            f"down to {size:g}: the structure has no elastic constants",
            hint="anneal the structure, or lower force_tolerance",
        )
    return best, chosen


def _column(
    reference: Atoms,
    stress_reference: NDArray[np.float64],
    calculator: Calculator,
    component: int,
    size: float,
    force_tolerance: float | None,
) -> _Column:
    """Central difference of the stress for one Voigt strain.

    The stress of the reference is given; ions are clamped without a tolerance of the forces.
    """
    deformation = size * strain_from_voigt(np.eye(6)[component])
    stretched, squeezed = (
        apply_deformation(reference, np.eye(3) + sign * deformation) for sign in (1.0, -1.0)
    )
    stretched.calc = squeezed.calc = calculator
    asymmetry = 0.0
    if force_tolerance is not None:
        affine = stretched.positions.copy(), squeezed.positions.copy()
        minimise_positions(stretched, force_tolerance)
        squeezed.positions -= stretched.positions - affine[0]
    stress_stretched = stretched.get_stress()
    dissipated = _dissipated(reference, stretched, deformation)
    if force_tolerance is not None:
        minimise_positions(squeezed, force_tolerance)
        moved = stretched.positions - affine[0] + squeezed.positions - affine[1]
        asymmetry = float(np.linalg.norm(moved, axis=1).max())
    stress_squeezed = squeezed.get_stress()
    dissipated = max(dissipated, _dissipated(reference, squeezed, -deformation), key=abs)
    curvature = np.abs(stress_stretched + stress_squeezed - 2.0 * stress_reference).max()
    constants = (stress_stretched - stress_squeezed) / (2.0 * size)
    elastic = reference.get_volume() * np.abs(constants).max() * size**2 / 2.0
    return _Column(
        constants,
        float(curvature / (2.0 * size)),
        force_tolerance is not None
        and (abs(dissipated) > _LARGEST_DISSIPATION * elastic or asymmetry > _LARGEST_ASYMMETRY),
    )


def _dissipated(reference: Atoms, strained: Atoms, deformation: NDArray[np.float64]) -> float:
    """Work of the stress during a strain minus the energy that is stored, eV.

    ``dE = V stress : (dF / F)``, here by the trapezoidal rule: zero up to the third order of an
    elastic strain.
    """
    rates = [
        atoms.get_volume() * np.sum(atoms.get_stress(voigt=False) * (deformation @ inverse))
        for atoms, inverse in (
            (reference, np.eye(3)),
            (strained, np.linalg.inv(np.eye(3) + deformation)),
        )
    ]
    stored = strained.get_potential_energy() - reference.get_potential_energy()
    return float(np.mean(rates) - stored)


def relax_to_zero_stress(
    atoms: Atoms,
    calculator: Calculator,
    force_tolerance: float = FORCE_TOLERANCE,
    max_steps: int | None = None,
) -> Atoms:
    """Return a copy with cell and ions relaxed to 0.01 GPa and ``force_tolerance`` (eV/A).

    The copy has the calculator attached. Constraints are removed first.

    Raises
    ------
    InputError
        If the structure is not finite or not periodic.
    PotentialFailureError
        If the relaxation does not converge within ``max_steps``
        (:func:`mgflows.structures.relaxation.step_budget` by default).
    """
    relaxation = relax_structure(
        atoms,
        calculator,
        force_tolerance=force_tolerance,
        stress_tolerance=_STRESS_TOLERANCE,
        max_steps=max_steps,
    )
    if not relaxation.converged:
        raise PotentialFailureError(
            f"the relaxation is not converged after {relaxation.n_steps} steps: "
            f"{relaxation.largest_force:.2g} eV/A and {relaxation.largest_stress:.2g} GPa are left",
            hint="raise max_steps; if it does not help, the potential is not smooth here",
        )
    return relaxation.atoms


def zero_stress_reference(
    atoms: Atoms, calculator: Calculator, force_tolerance: float, *, relax: bool
) -> Atoms:
    """Return the structure without constraints and with a calculator.

    It is relaxed by :func:`relax_to_zero_stress` if ``relax`` is true, and left as it is otherwise.
    """
    check_geometry(atoms, periodic=True)
    if relax:
        return relax_to_zero_stress(atoms, calculator, force_tolerance)
    reference = atoms.copy()
    reference.set_constraint()
    reference.calc = calculator
    return reference


def _axial(matrix: NDArray[np.float64]) -> float:
    """``M11 + M22 + M33 - M12 - M13 - M23``: the axial part of both shear averages."""
    return float(np.trace(matrix[:3, :3]) - matrix[0, 1] - matrix[0, 2] - matrix[1, 2])
