"""Relaxation of positions and cell under any ASE calculator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mgflows import units
from mgflows.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from ase.optimize.optimize import Optimizer

__all__ = ["Relaxation", "relax"]

_NEAR_FORCE, _NEAR_STRESS = 0.3, 3.0
"""eV/A and GPa below which the landscape is taken for quadratic."""
_LBFGS = {"alpha": 20.0, "maxstep": 0.1, "memory": 30}
"""A curvature of 20 eV/A^2, softer than ASE's 70 as metals are, halves the calls; a memory beyond 30 costs time and saves none."""


@dataclass(frozen=True, eq=False)
class Relaxation:
    """What a relaxation did.

    Parameters
    ----------
    atoms
        The relaxed atoms, in the order given, with the calculator's results attached.
    energy_before
        Energy of the cell at the start in eV, the free energy where the calculator has one.
    n_steps
        Steps taken.
    largest_force
        Largest force on an atom at the end in eV/A.
    largest_stress
        Largest component of the stress at the end in GPa (0 at fixed cell).
    converged
        Whether both are below what was asked for.
    """

    atoms: Atoms
    energy_before: float
    n_steps: int
    largest_force: float
    largest_stress: float
    converged: bool


def relax(
    atoms: Atoms,
    calculator: Calculator,
    *,
    relax_cell: bool = True,
    force_tolerance: float = 1e-2,
    stress_tolerance: float = 0.05,
    max_steps: int = 2000,
) -> Relaxation:
    """Minimise the energy over positions and, if wanted, volume and shape of the cell.

    LBFGS on the logarithm of the deformation gradient (ASE's Frechet cell filter), since the paper's glasses expand by 20 % in volume and
    the filter keeps the gradient consistent however far the cell goes.

    Parameters
    ----------
    atoms
        Start; not changed.
    calculator
        Any ASE calculator with forces and, for ``relax_cell``, stress.
    relax_cell
        Relax the cell at zero pressure.
    force_tolerance
        Largest force in eV/A.
    stress_tolerance
        Largest component of the stress in GPa.
    max_steps
        Give up after so many steps.

    Raises
    ------
    InputError
        If a tolerance or the number of steps is not positive.
    """
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE, LBFGS

    for name, value in (("force_tolerance", force_tolerance), ("stress_tolerance", stress_tolerance), ("max_steps", max_steps)):
        if not value > 0:
            raise InputError(f"{name} is {value:g} but must be positive")
    relaxed = atoms.copy()
    relaxed.calc = calculator
    energy = float(relaxed.get_potential_energy())
    energy_before = float(calculator.results.get("free_energy", energy))

    def residuals() -> tuple[float, float]:
        force = float(np.linalg.norm(relaxed.get_forces(), axis=1).max())
        stress = float(np.abs(units.ev_per_a3_to_gpa(relaxed.get_stress())).max()) if relax_cell else 0.0
        return force, stress

    def descend(dynamics: Optimizer, force_goal: float, stress_goal: float, steps: int) -> int:
        # ASE's own loop asks three times a step for the forces on the cell, whose matrix logarithm costs as much as a fast potential.
        for n in range(steps):
            force, stress = residuals()
            if force <= force_goal and stress <= stress_goal:
                return n
            dynamics.step()
        return steps

    n_steps = 0
    target = FrechetCellFilter(relaxed) if relax_cell else relaxed
    # FIRE first: from a compressed glass the first steps are far from quadratic, and there LBFGS can jump into another basin.
    n_steps += descend(FIRE(target, logfile=None), max(force_tolerance, _NEAR_FORCE), max(stress_tolerance, _NEAR_STRESS), max_steps)
    target = FrechetCellFilter(relaxed) if relax_cell else relaxed
    n_steps += descend(LBFGS(target, logfile=None, **_LBFGS), force_tolerance, stress_tolerance, max_steps - n_steps)
    force, stress = residuals()
    return Relaxation(
        atoms=relaxed,
        energy_before=energy_before,
        n_steps=n_steps,
        largest_force=force,
        largest_stress=stress,
        converged=force <= force_tolerance and stress <= stress_tolerance,
    )
