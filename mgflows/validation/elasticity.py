"""Elastic constants of a glass at 0 K with relaxed ions, and their isotropic averages (paper, section III, "Elastic properties")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mgflows import units
from mgflows.errors import InputError, PotentialFailureError
from mgflows.structures.relaxation import relax
from mgflows.structures.strain import apply_deformation, strain_from_voigt
from mgflows.validation.minimise import FORCE_TOLERANCE, minimise_positions

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ElasticModuli",
    "ElasticResult",
    "elastic_constants",
    "isotropic_moduli",
    "relax_to_zero_stress",
]

_STRESS_TOLERANCE = 0.01
"""GPa left in the reference cell; it enters the constants at first order, so that they are good to about that much."""


@dataclass(frozen=True)
class ElasticModuli:
    """Isotropic averages of a stiffness, Voigt-Reuss-Hill (Hill, Proc. Phys. Soc. A 65, 349 (1952), doi:10.1088/0370-1298/65/5/307).

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
        Largest ``|C_ij - C_ji|`` before symmetrising, in GPa: the numerical error, apart from residual stress.
    nonlinearity
        Largest ``|stress(+) + stress(-) - 2 stress(0)| / (2 strain)`` in GPa. Much larger than a few percent of the stiffness means that atoms
        rearranged under the strain: use a smaller one.
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


def isotropic_moduli(stiffness: ArrayLike) -> ElasticModuli:
    """Voigt-Reuss-Hill averages of a (6, 6) stiffness in GPa.

    Raises
    ------
    InputError
        If the stiffness is not (6, 6) or not positive definite: the structure is unstable and has no moduli.
    """
    c = np.asarray(stiffness, dtype=float)
    if c.shape != (6, 6):
        raise InputError(
            f"the stiffness has the shape {c.shape}; give the (6, 6) matrix in Voigt order"
        )
    lowest = np.linalg.eigvalsh((c + c.T) / 2).min()
    if not lowest > 0.0:
        raise InputError(
            f"the stiffness has the eigenvalue {lowest:.3g} GPa, so the structure is unstable; relax it further before measuring"
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
    """Stiffness from central differences of the stress over the six Voigt strains, each cell with its ions relaxed.

    ``C_ij = (stress_i(+strain_j) - stress_i(-strain_j)) / (2 strain)`` for the symmetric gradients ``F = 1 + strain``. Without relaxed ions a
    glass would seem twice as stiff in shear, because its atoms do not follow the strain affinely. The relaxation under ``+strain`` starts
    the one under ``-strain``, mirrored: twelve minimisations at the price of about nine.

    matscipy's ``measure_triclinic_elastic_constants`` gives the same numbers (a test) from eighteen unmirrored ones and neither relaxes the
    cell nor reports the residuals below.

    Parameters
    ----------
    atoms
        Any periodic structure; not changed.
    calculator
        Any ASE calculator with forces and stress.
    strain
        Voigt strain of the differences (engineering strain for shears). 1e-3 to 4e-3: below, the tolerance of the minimisation shows; above,
        glasses rearrange.
    relax_reference
        First relax cell and ions to zero stress.
    relax_ions
        Relax the ions of the strained cells; False gives the clamped (affine, infinite-frequency) constants.
    force_tolerance
        eV/A, of all minimisations.
    progress
        Called with (cells done, cells in all).

    Raises
    ------
    InputError
        For a strain outside (0, 0.05), or a structure that is not stable.
    PotentialFailureError
        If a minimisation does not converge.
    """
    if not 0.0 < strain < 0.05:
        raise InputError(
            f"the strain is {strain:g} but must lie between 0 and 0.05; 2e-3 suits glasses"
        )
    reference = (
        relax_to_zero_stress(atoms, calculator, force_tolerance)
        if relax_reference
        else atoms.copy()
    )
    reference.calc = calculator
    stress_reference = reference.get_stress()

    stiffness, nonlinearity = np.empty((6, 6)), 0.0
    for component, direction in enumerate(np.eye(6)):
        deformation = strain * strain_from_voigt(direction)
        stretched, squeezed = (
            apply_deformation(reference, np.eye(3) + sign * deformation) for sign in (1.0, -1.0)
        )
        stretched.calc = squeezed.calc = calculator
        if relax_ions:
            affine = stretched.positions.copy()
            minimise_positions(stretched, force_tolerance)
            squeezed.positions -= stretched.positions - affine
        stress_stretched = stretched.get_stress()
        if relax_ions:
            minimise_positions(squeezed, force_tolerance)
        stress_squeezed = squeezed.get_stress()
        stiffness[:, component] = (stress_stretched - stress_squeezed) / (2.0 * strain)
        nonlinearity = max(
            nonlinearity,
            float(np.abs(stress_stretched + stress_squeezed - 2.0 * stress_reference).max())
            / (2.0 * strain),
        )
        if progress:
            progress(2 * component + 2, 12)

    stiffness = units.ev_per_a3_to_gpa(stiffness)
    symmetric = (stiffness + stiffness.T) / 2.0
    reference.calc = None
    return ElasticResult(
        stiffness=symmetric,
        moduli=isotropic_moduli(symmetric),
        asymmetry=float(np.abs(stiffness - stiffness.T).max()),
        nonlinearity=float(units.ev_per_a3_to_gpa(nonlinearity)),
        atoms=reference,
        residual_stress=float(units.ev_per_a3_to_gpa(np.abs(stress_reference).max())),
    )


def relax_to_zero_stress(
    atoms: Atoms,
    calculator: Calculator,
    force_tolerance: float = FORCE_TOLERANCE,
    max_steps: int = 1500,
) -> Atoms:
    """A copy with cell and ions relaxed to 0.01 GPa and ``force_tolerance`` (eV/A); it keeps the calculator.

    Raises
    ------
    PotentialFailureError
        If the relaxation does not converge.
    """
    relaxation = relax(
        atoms,
        calculator,
        force_tolerance=force_tolerance,
        stress_tolerance=_STRESS_TOLERANCE,
        max_steps=max_steps,
    )
    if not relaxation.converged:
        raise PotentialFailureError(
            f"the relaxation stopped after {relaxation.n_steps} steps at {relaxation.largest_force:.2g} eV/A and {relaxation.largest_stress:.2g} GPa; "
            "the potential has no smooth minimum near this structure"
        )
    return relaxation.atoms


def _axial(matrix: NDArray[np.float64]) -> float:
    """``M11 + M22 + M33 - M12 - M13 - M23``, what both shear averages take from the axial block."""
    return float(np.trace(matrix[:3, :3]) - matrix[0, 1] - matrix[0, 2] - matrix[1, 2])
