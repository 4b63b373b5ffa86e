"""Athermal quasi-static shear: strain in small steps, minimise after each (paper, section III, "Shear and energetics").

Maloney and Lemaitre, Phys. Rev. E 74, 016118 (2006), doi:10.1103/PhysRevE.74.016118.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from mgflows import units
from mgflows.errors import InputError
from mgflows.structures.strain import apply_deformation
from mgflows.validation.elasticity import relax_to_zero_stress
from mgflows.validation.minimise import FORCE_TOLERANCE, minimise_positions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from numpy.typing import NDArray

__all__ = ["ShearCurve", "ShearResult", "athermal_quasistatic_shear"]

Direction = Literal["xy", "xz", "yz", "yx", "zx", "zy"]
_AXES = {"x": 0, "y": 1, "z": 2}


@dataclass(frozen=True, eq=False)
class ShearCurve:
    """Stress against strain along one direction.

    Parameters
    ----------
    direction
        ``"xy"``: displacements along x that grow with y.
    strain
        (n,) engineering shear strain, from 0.
    stress
        (n,) shear stress in GPa, ASE sign: positive against a positive strain.
    energy
        (n,) eV per atom.
    shear_modulus
        Slope of the stress within the fit window, in GPa.
    """

    direction: str
    strain: NDArray[np.float64]
    stress: NDArray[np.float64]
    energy: NDArray[np.float64]
    shear_modulus: float


@dataclass(frozen=True, eq=False)
class ShearResult:
    """Shear modulus of one structure.

    Parameters
    ----------
    curves
        One per direction.
    shear_modulus
        Mean over the directions in GPa.
    shear_modulus_error
        Standard error of that mean; nan for one direction.
    fit_window
        Strains between which the slope was taken.
    """

    curves: tuple[ShearCurve, ...]
    shear_modulus: float
    shear_modulus_error: float
    fit_window: tuple[float, float]


def athermal_quasistatic_shear(
    atoms: Atoms,
    calculator: Calculator,
    *,
    directions: Sequence[Direction] = ("xy",),
    strain_step: float = 5e-4,
    strain_max: float = 6e-3,
    fit_window: tuple[float, float] = (0.004, 0.006),
    relax_reference: bool = True,
    force_tolerance: float = FORCE_TOLERANCE,
    progress: Callable[[int, int], None] | None = None,
) -> ShearResult:
    """Simple shear ``F = 1 + strain a b`` in steps, positions remapped affinely and minimised at every step, at constant volume.

    Parameters
    ----------
    atoms
        Any periodic structure; not changed.
    calculator
        Any ASE calculator with forces and stress.
    directions
        Which planes to shear; all start from the same reference. A small glass is anisotropic: average over several.
    strain_step, strain_max
        Engineering strains; the paper's fit needs 0.006.
    fit_window
        Strains of the linear fit, both included (paper: 0.004 to 0.006). A rearrangement inside it lowers the slope, as it does in the paper.
    relax_reference
        First relax cell and ions to zero stress.
    force_tolerance
        eV/A, of all minimisations.
    progress
        Called with (steps done, steps in all).

    Raises
    ------
    InputError
        For an unknown direction, a step that is not positive, or a window with fewer than two strains in it.
    PotentialFailureError
        If a minimisation does not converge.
    """
    if not 0.0 < strain_step <= strain_max:
        raise InputError(
            f"the strain step is {strain_step:g} but must be positive and at most strain_max, {strain_max:g}; the usual step is 5e-4"
        )
    n_steps = round(strain_max / strain_step)
    strain = np.arange(n_steps + 1, dtype=np.float64) * strain_step
    half_step = strain_step / 2.0
    in_window = (strain > fit_window[0] - half_step) & (strain < fit_window[1] + half_step)
    if in_window.sum() < 2:
        raise InputError(
            f"{in_window.sum()} strains lie in the fit window {fit_window[0]:g} to {fit_window[1]:g}; raise strain_max or take smaller steps"
        )
    for direction in directions:
        if len(direction) != 2 or not set(direction) <= set(_AXES) or direction[0] == direction[1]:
            raise InputError(
                f"the shear direction {direction!r} is unknown; give two different axes such as 'xy'"
            )

    reference = (
        relax_to_zero_stress(atoms, calculator, force_tolerance)
        if relax_reference
        else atoms.copy()
    )
    curves = []
    for number, direction in enumerate(directions):
        along, gradient = _AXES[direction[0]], _AXES[direction[1]]
        increment = np.eye(3)
        increment[along, gradient] = strain_step
        sheared = reference.copy()
        stress, energy = np.empty(n_steps + 1), np.empty(n_steps + 1)
        for step in range(n_steps + 1):
            if step:
                sheared = apply_deformation(sheared, increment)
            sheared.calc = calculator
            if step or not relax_reference:
                minimise_positions(sheared, force_tolerance)
            stress[step] = units.ev_per_a3_to_gpa(sheared.get_stress(voigt=False)[along, gradient])
            energy[step] = sheared.get_potential_energy() / len(sheared)
            if progress:
                progress(number * (n_steps + 1) + step + 1, len(directions) * (n_steps + 1))
        slope = np.polyfit(strain[in_window], stress[in_window], 1)[0]
        curves.append(ShearCurve(direction, strain, stress, energy, float(slope)))
    moduli = np.array([curve.shear_modulus for curve in curves])
    error = moduli.std(ddof=1) / np.sqrt(len(moduli)) if len(moduli) > 1 else np.nan
    return ShearResult(tuple(curves), float(moduli.mean()), float(error), fit_window)
