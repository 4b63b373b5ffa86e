"""Minimisation of positions in a fixed cell, for the many small steps of elasticity and quasi-static shear."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError, PotentialFailureError

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["FORCE_TOLERANCE", "minimise_positions"]

FORCE_TOLERANCE = 1e-4
"""eV/A. Non-affine forces after a strain of 2e-3 are about 1e-2 eV/A; minimised to 1e-3 the shear modulus of a 150-atom glass is still 3 % too
high, to 1e-4 it is within 0.3 % of its limit (docs/validation.md)."""
_INITIAL_CURVATURE = 20.0
"""eV/A^2 of the first step of LBFGS: metals are softer than ASE's 70, and the number of steps halves."""
_MEMORY = 30
"""Steps that LBFGS remembers: with ASE's 100 its bookkeeping costs as much as a fast potential, and saves no step."""
_NEAR_MINIMUM = 0.3
"""eV/A; above it the landscape is not quadratic and FIRE, which cannot jump into another basin, takes the first steps."""


def minimise_positions(
    atoms: Atoms, force_tolerance: float = FORCE_TOLERANCE, max_steps: int = 1000
) -> int:
    """Move the atoms, which hold a calculator, to the minimum nearest to them; the cell stays.

    Parameters
    ----------
    atoms
        Changed in place.
    force_tolerance
        Largest force on an atom in eV/A.
    max_steps
        Give up after so many.

    Returns
    -------
    int
        Steps taken, each one call of the calculator.

    Raises
    ------
    InputError
        For a tolerance that is not positive.
    PotentialFailureError
        If the forces stay above the tolerance.
    """
    from ase.optimize import FIRE, LBFGS

    if not force_tolerance > 0.0:
        raise InputError(
            f"the force tolerance is {force_tolerance:g} eV/A but must be positive; 1e-4 suits elastic constants"
        )
    descent = FIRE(atoms, logfile=None)
    if not descent.run(fmax=max(_NEAR_MINIMUM, force_tolerance), steps=max_steps):
        raise PotentialFailureError(_not_converged(atoms, max_steps, force_tolerance))
    start, energy = atoms.positions.copy(), atoms.get_potential_energy()
    refinement = LBFGS(atoms, logfile=None, alpha=_INITIAL_CURVATURE, memory=_MEMORY, maxstep=0.1)
    converged = refinement.run(fmax=force_tolerance, steps=max_steps)
    n_steps = descent.nsteps + refinement.nsteps
    if not converged or atoms.get_potential_energy() > energy:
        atoms.positions = start
        fallback = FIRE(atoms, logfile=None)
        if not fallback.run(fmax=force_tolerance, steps=max_steps):
            raise PotentialFailureError(_not_converged(atoms, max_steps, force_tolerance))
        n_steps += fallback.nsteps
    return int(n_steps)


def _not_converged(atoms: Atoms, max_steps: int, force_tolerance: float) -> str:
    force = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
    return f"the largest force is {force:.2g} eV/A after {max_steps} steps, not below {force_tolerance:g}; the potential is not smooth here"
