"""Relaxation of positions and cell under any ASE calculator."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mgflows import units
from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from ase.optimize.optimize import Optimizer

__all__ = ["Relaxation", "relax"]

logger = logging.getLogger(__name__)

_NEAR_FORCE, _NEAR_STRESS = 0.3, 3.0
"""eV/A and GPa below which the landscape is taken for quadratic."""
_LBFGS = {"alpha": 20.0, "maxstep": 0.1, "memory": 30}
"""A curvature of 20 eV/A^2, softer than ASE's 70 as metals are, halves the calls; a memory beyond 30 costs time and saves none."""
_SECONDS_BETWEEN_CHECKPOINTS = 10.0


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
    checkpoint: Path | None = None,
    progress: Callable[[int, int, str], None] | None = None,
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
        Give up after so many steps, those before an interruption included.
    checkpoint
        File that is written at most every ten seconds, and removed when the relaxation has converged. If it is there from a relaxation of the same atoms
        that was interrupted, this one goes on from it: from its last positions and cell, without the memory of the minimiser.
    progress
        Called with (steps done, steps at most, a word on the forces) at every step.

    Raises
    ------
    InputError
        If a tolerance or the number of steps is not positive.
    """
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE, LBFGS

    for name, value in (
        ("force_tolerance", force_tolerance),
        ("stress_tolerance", stress_tolerance),
        ("max_steps", max_steps),
    ):
        if not value > 0:
            raise InputError(f"{name} is {value:g} but must be positive")
    relaxed = atoms.copy()
    start = _digest(relaxed)
    before = _resume(checkpoint, relaxed)
    relaxed.calc = calculator
    energy = float(relaxed.get_potential_energy())
    n_before, energy_before = before or (0, float(calculator.results.get("free_energy", energy)))
    saved = time.monotonic()

    def residuals() -> tuple[float, float]:
        force = float(np.linalg.norm(relaxed.get_forces(), axis=1).max())
        stress = (
            float(np.abs(units.ev_per_a3_to_gpa(relaxed.get_stress())).max()) if relax_cell else 0.0
        )
        return force, stress

    def descend(dynamics: Optimizer, force_goal: float, stress_goal: float, done: int) -> int:
        nonlocal saved
        # ASE's own loop asks three times a step for the forces on the cell, whose matrix logarithm costs as much as a fast potential.
        for n_steps in range(done, max_steps):
            force, stress = residuals()
            if progress:
                progress(
                    n_steps,
                    max_steps,
                    f"{force:.3g} eV/A" + (f", {stress:.3g} GPa" if relax_cell else ""),
                )
            if checkpoint and time.monotonic() - saved >= _SECONDS_BETWEEN_CHECKPOINTS:
                saved = time.monotonic()
                _save(checkpoint, start, relaxed, n_steps, energy_before)
            if force <= force_goal and stress <= stress_goal:
                return n_steps
            dynamics.step()
        return max_steps

    target = FrechetCellFilter(relaxed) if relax_cell else relaxed
    # FIRE first: from a compressed glass the first steps are far from quadratic, and there LBFGS can jump into another basin.
    n_steps = descend(
        FIRE(target, logfile=None),
        max(force_tolerance, _NEAR_FORCE),
        max(stress_tolerance, _NEAR_STRESS),
        n_before,
    )
    target = FrechetCellFilter(relaxed) if relax_cell else relaxed
    n_steps = descend(
        LBFGS(target, logfile=None, **_LBFGS), force_tolerance, stress_tolerance, n_steps
    )
    force, stress = residuals()
    converged = force <= force_tolerance and stress <= stress_tolerance
    if checkpoint and converged:
        checkpoint.unlink(missing_ok=True)
    return Relaxation(
        atoms=relaxed,
        energy_before=energy_before,
        n_steps=n_steps,
        largest_force=force,
        largest_stress=stress,
        converged=converged,
    )


def _digest(atoms: Atoms) -> str:
    """Which atoms a relaxation began with: others of the same composition may be relaxed in the same directory."""
    values = (
        atoms.numbers,
        np.round(atoms.positions, 6) + 0.0,
        np.round(atoms.cell.array, 6) + 0.0,
    )
    return hashlib.sha256(
        b"".join(np.ascontiguousarray(value).tobytes() for value in values)
    ).hexdigest()


def _save(checkpoint: Path, start: str, atoms: Atoms, n_steps: int, energy_before: float) -> None:
    state = {
        "start": start,
        "positions": atoms.positions.tolist(),
        "cell": atoms.cell.tolist(),
        "n_steps": n_steps,
        "energy_before": energy_before,
    }
    partial = checkpoint.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(state))
    partial.replace(checkpoint)


def _resume(checkpoint: Path | None, atoms: Atoms) -> tuple[int, float] | None:
    """Move the atoms to where an interrupted relaxation left them; return its steps and the energy it began with, or None if there was none."""
    if checkpoint is None or not checkpoint.is_file():
        return None
    try:
        state = json.loads(checkpoint.read_text())
        if state["start"] != _digest(atoms):
            logger.warning("%s is of other atoms; the relaxation begins anew", checkpoint)
            return None
        atoms.set_cell(state["cell"])
        atoms.positions = state["positions"]
        return int(state["n_steps"]), float(state["energy_before"])
    except (ValueError, KeyError, OSError) as error:
        logger.warning("%s cannot be read (%s); the relaxation begins anew", checkpoint, error)
        return None
