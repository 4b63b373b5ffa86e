"""Minimisation of the energy over positions, and optionally the cell, under any ASE calculator."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows import units
from mgflows.checkpoints import RunCheckpoint
from mgflows.errors import InputError, PotentialFailureError
from mgflows.files import digest_of_arrays
from mgflows.geometry import check_distances, check_geometry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from ase.optimize.optimize import Optimizer
    from numpy.typing import NDArray

__all__ = ["RelaxationResult", "minimise_positions", "relax", "step_budget"]

_NEAR_FORCE, _NEAR_STRESS = 0.3, 3.0
"""eV/A and GPa below which the energy landscape is taken as quadratic."""
_CURVATURE = 20.0
"""eV/A^2 per atomic coordinate. Metals are softer than ASE's 70: half as many steps."""
_LARGEST_LBFGS_STEP = 0.1
"""A."""
_SMALL, _SMALL_MEMORY, _LARGE_MEMORY = 400, 30, 100
"""History length of LBFGS for structures of up to 400 atoms, where a longer one saves no steps, and
for larger ones, where it halves their number."""
_CELL_MODULUS = 1.0
"""eV/A^3 (160 GPa), the stiffness of a metal; sets the scale of the cell coordinates."""
_STAGNATION = 300
"""Steps of LBFGS without a smaller residual after which FIRE takes over."""


@dataclass(frozen=True, eq=False)
class RelaxationResult:
    """Result of a relaxation.

    Parameters
    ----------
    atoms
        The relaxed atoms, in the order given, with the calculator's results attached.
    energy_before
        Energy of the cell at the start in eV; the free energy if the calculator has one.
    n_steps
        Steps taken.
    largest_force
        Largest force on an atom at the end in eV/A.
    largest_stress
        Largest component of the stress at the end in GPa (0 at fixed cell).
    converged
        Whether both are within the tolerances.
    """

    atoms: Atoms
    energy_before: float
    n_steps: int
    largest_force: float
    largest_stress: float
    converged: bool


def step_budget(n_atoms: int) -> int:
    """Steps that a relaxation of a glass of ``n_atoms`` may take: 3000, and two per atom.

    Glasses of 150 atoms need 100 to 700 steps to 1e-4 eV/A, those of 1500 atoms 200 to 1500
    (docs/concepts/validation.md).
    """
    return 3000 + 2 * n_atoms


def relax(
    atoms: Atoms,
    calculator: Calculator,
    *,
    relax_cell: bool = True,
    force_tolerance: float = 1e-2,
    stress_tolerance: float = 0.05,
    max_steps: int | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> RelaxationResult:
    """Minimise the energy over positions and, by default, volume and shape of the cell.

    FIRE (Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006), doi:10.1103/PhysRevLett.97.170201)
    brings a strained or compressed structure near a minimum without jumping into another basin;
    LBFGS refines it, and FIRE replaces LBFGS where that stagnates. The cell enters by the
    logarithm of the deformation gradient (ASE's Frechet filter), scaled by ``sqrt(V c / k)`` with
    a typical stiffness c = 1 eV/A^3 and curvature k = 20 eV/A^2, so that cell and atoms have
    similar curvatures at every system size.

    Parameters
    ----------
    atoms
        Start; not changed. Constraints of the structure are ignored, because a constrained minimum
        has neither zero forces nor meaningful elastic constants.
    calculator
        Any ASE calculator with forces and, for ``relax_cell``, stress.
    relax_cell
        Relax the cell at zero pressure.
    force_tolerance
        Largest force in eV/A.
    stress_tolerance
        Largest component of the stress in GPa.
    max_steps
        Largest number of steps, those before an interruption included; :func:`step_budget` if
        None.
    checkpoint
        File (``.npz``) that is written at most every ten seconds and removed when the relaxation
        has converged. If it exists from an interrupted relaxation of the same atoms, the
        relaxation resumes from its last positions and cell, without the history of the minimiser.
    progress
        Called with (steps done, largest number of steps, text with the residuals) at every step.

    Raises
    ------
    InputError
        If a tolerance or the number of steps is not positive, or the structure is not finite.
    PotentialFailureError
        If forces or stress become infinite or undefined.
    """
    if max_steps is None:
        max_steps = step_budget(len(atoms))
    for name, value in (
        ("force_tolerance", force_tolerance),
        ("stress_tolerance", stress_tolerance),
        ("max_steps", max_steps),
    ):
        if not value > 0:
            raise InputError(f"{name} is {value:g} but must be positive")
    check_geometry(atoms, periodic=relax_cell)
    check_distances(atoms)
    relaxed = atoms.copy()
    relaxed.set_constraint()
    saved = RunCheckpoint(checkpoint, _identity(atoms)) if checkpoint else None
    earlier = saved.read() if saved else None
    if earlier:
        relaxed.set_cell(earlier["cell"])
        relaxed.positions = earlier["positions"]
    relaxed.calc = calculator
    energy = float(relaxed.get_potential_energy())
    energy_before = float(calculator.results.get("free_energy", energy))
    n_before = 0
    if earlier:
        n_before, energy_before = int(earlier["n_steps"]), float(earlier["energy_before"])

    def state(n_steps: int) -> dict[str, Any]:
        return {
            "positions": relaxed.positions,
            "cell": relaxed.cell.array,
            "n_steps": n_steps,
            "energy_before": energy_before,
        }

    def report(n_steps: int, force: float, stress: float) -> None:
        if progress:
            text = f"{force:.3g} eV/A" + (f", {stress:.3g} GPa" if relax_cell else "")
            progress(n_steps, max_steps, text)
        if saved:
            saved.write(lambda: state(n_steps))

    descent = _Descent(
        relaxed,
        force_tolerance,
        stress_tolerance if relax_cell else None,
        max_steps,
        n_steps=n_before,
        report=report,
    )
    converged = descent.run()
    force, stress = descent.residuals()
    if saved and converged:
        saved.finish(lambda: state(descent.n_steps))
    return RelaxationResult(
        atoms=relaxed,
        energy_before=energy_before,
        n_steps=descent.n_steps,
        largest_force=force,
        largest_stress=stress,
        converged=converged,
    )


def minimise_positions(
    atoms: Atoms, force_tolerance: float = 1e-4, max_steps: int | None = None
) -> int:
    """Move atoms that have a calculator to the nearest minimum at fixed cell.

    Parameters
    ----------
    atoms
        Changed in place; constraints are removed, as in :func:`relax`.
    force_tolerance
        Largest force on an atom in eV/A.
    max_steps
        Largest number of steps; :func:`step_budget` if None.

    Returns
    -------
    int
        Steps taken.

    Raises
    ------
    InputError
        If the tolerance is not positive.
    PotentialFailureError
        If the forces stay above the tolerance, or are not finite.
    """
    if not force_tolerance > 0.0:
        raise InputError(
            f"the force tolerance is {force_tolerance:g} eV/A but must be positive",
            hint="1e-4 suits elastic constants",
        )
    check_geometry(atoms)
    check_distances(atoms)
    atoms.set_constraint()
    descent = _Descent(atoms, force_tolerance, None, max_steps or step_budget(len(atoms)))
    if not descent.run():
        raise PotentialFailureError(
            f"the largest force is {descent.residuals()[0]:.2g} eV/A after {descent.n_steps} "
            f"steps, above the tolerance of {force_tolerance:g} eV/A",
            hint="raise max_steps; if it does not help, the potential is not smooth here",
        )
    return descent.n_steps


@dataclass(eq=False)
class _Descent:
    """One minimisation: FIRE, LBFGS, and FIRE again where LBFGS fails.

    Parameters
    ----------
    atoms
        Moved in place.
    force_tolerance
        eV/A.
    stress_tolerance
        GPa; None keeps the cell.
    max_steps
        Largest number of steps of all three together.
    n_steps
        Steps taken so far.
    report
        Called with (steps, largest force, largest stress) before every step.
    """

    atoms: Atoms
    force_tolerance: float
    stress_tolerance: float | None
    max_steps: int
    n_steps: int = 0
    report: Callable[[int, float, float], None] | None = None
    _lowest: tuple[float, NDArray[np.float64], NDArray[np.float64]] = field(init=False)

    def run(self) -> bool:
        """Minimise; returns whether the tolerances are met."""
        from ase.optimize import FIRE, LBFGS

        near = (
            max(self.force_tolerance, _NEAR_FORCE),
            max(self.stress_tolerance or 0.0, _NEAR_STRESS),
        )
        goal = (self.force_tolerance, self.stress_tolerance or 0.0)
        if not self._descend(FIRE(self._target(), logfile=None), *near):
            return False
        energy = self._energy()
        self._remember()
        lbfgs = LBFGS(
            self._target(),
            logfile=None,
            alpha=_CURVATURE,
            maxstep=_LARGEST_LBFGS_STEP,
            memory=_SMALL_MEMORY if len(self.atoms) <= _SMALL else _LARGE_MEMORY,
        )
        refined = self._descend(lbfgs, *goal, max_stagnation=_STAGNATION)
        if refined and self._energy() <= energy:
            return True
        _, positions, cell = self._lowest
        self.atoms.set_cell(cell)
        self.atoms.positions = positions
        return self._descend(FIRE(self._target(), logfile=None), *goal)

    def residuals(self) -> tuple[float, float]:
        """Largest force in eV/A and largest stress component in GPa (0 at fixed cell).

        Raises
        ------
        PotentialFailureError
            If one of them is not finite.
        """
        force = float(np.linalg.norm(self.atoms.get_forces(), axis=1).max())
        stress = 0.0
        if self.stress_tolerance is not None:
            stress = float(np.abs(units.ev_per_a3_to_gpa(self.atoms.get_stress())).max())
        if not (np.isfinite(force) and np.isfinite(stress)):
            raise PotentialFailureError(
                "forces or stress are not finite; the potential fails for this structure, or two "
                "atoms are at the same place",
                hint="check the distances between the atoms",
            )
        return force, stress

    def _descend(
        self, optimizer: Optimizer, force_goal: float, stress_goal: float, max_stagnation: int = 0
    ) -> bool:
        """Take steps until the goals are met, the budget is used up or the residual stagnates.

        ASE's own loop is not used: it evaluates the forces on the cell three times per step, and
        their matrix logarithm costs as much as a fast potential.
        """
        best, n_best = np.inf, self.n_steps
        while True:
            force, stress = self.residuals()
            if self.report:
                self.report(self.n_steps, force, stress)
            if force <= force_goal and (self.stress_tolerance is None or stress <= stress_goal):
                return True
            if self.n_steps >= self.max_steps:
                return False
            if max_stagnation:
                residual = max(force / force_goal, stress / stress_goal if stress_goal else 0.0)
                if residual < best:
                    best, n_best = residual, self.n_steps
                elif self.n_steps - n_best > max_stagnation:
                    return False
                self._remember()
            with warnings.catch_warnings():
                # scipy warns of inexact last digits in the logarithm of a matrix close to one.
                warnings.filterwarnings("ignore", message="logm result may be inaccurate")
                optimizer.step()
            self.n_steps += 1

    def _target(self) -> object:
        """The object that ASE's optimizers move: the atoms, or the atoms with the scaled cell."""
        from ase.filters import FrechetCellFilter

        if self.stress_tolerance is None:
            return self.atoms
        factor = np.sqrt(abs(self.atoms.cell.volume) * _CELL_MODULUS / _CURVATURE)
        return FrechetCellFilter(self.atoms, exp_cell_factor=float(factor))

    def _energy(self) -> float:
        return float(self.atoms.get_potential_energy())

    def _remember(self) -> None:
        """Keep the configuration of lowest energy, from which FIRE starts if LBFGS fails."""
        energy = self._energy()
        if not hasattr(self, "_lowest") or energy < self._lowest[0]:
            self._lowest = (energy, self.atoms.positions.copy(), self.atoms.cell.array.copy())


def _identity(atoms: Atoms) -> str:
    """Digest of the start, because other atoms may be relaxed in the same directory."""
    return digest_of_arrays([(atoms.numbers, 0), (atoms.positions, 6), (atoms.cell.array, 6)])
