"""How far labels depend on the cutoff and the k-mesh: one cell, a series of settings, and the cheapest that is good enough."""

from __future__ import annotations

import logging
import resource
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mgflows import units
from mgflows.errors import InputError
from mgflows.methods.base import k_mesh
from mgflows.schemas.labels import Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms

    from mgflows.methods.base import LabelMethod

__all__ = [
    "ENERGY_THRESHOLD",
    "FORCE_THRESHOLD",
    "STRESS_THRESHOLD",
    "Convergence",
    "Point",
    "convergence",
]

logger = logging.getLogger(__name__)

ENERGY_THRESHOLD = 1.0
"""meV per atom, of the energy of expansion; ours, a fifth of the test errors that the paper's potentials have."""
FORCE_THRESHOLD = 0.005
"""eV/A, root mean square; ours, half the paper's criterion for a relaxed structure."""
STRESS_THRESHOLD = 0.1
"""GPa, pressure and deviator; ours, 0.1 % of the bulk modulus of the glass."""
_EXPANSION = 1.03
"""Of the lengths, for the energy that a potential has to learn: the total energy shifts with the cutoff by a constant for each atom, which means nothing."""
_WORDS = {"cutoff": "eV", "k_spacing": "1/A"}


@dataclass(frozen=True, eq=False)
class Point:
    """One setting of a series, and how far its results are from those of the finest.

    Parameters
    ----------
    value
        Cutoff in eV or k-spacing in 1/A.
    mesh
        Divisions of the k-mesh.
    total_energy, energy
        Of the total energy, and of the energy by which the cell expanded by 3 % in length lies above it: meV per atom.
    force
        Root mean square over the components of all forces, eV/A.
    pressure, deviator
        GPa; the deviator is the root mean square of the components of the stress without its isotropic part.
    cpu_seconds
        Of both calculations.
    """

    value: float
    mesh: tuple[int, int, int]
    total_energy: float
    energy: float
    force: float
    pressure: float
    deviator: float
    cpu_seconds: float

    @property
    def is_good(self) -> bool:
        """Whether all differences are below the thresholds; the total energy is none of them."""
        within = (
            abs(self.energy) <= ENERGY_THRESHOLD,
            self.force <= FORCE_THRESHOLD,
            abs(self.pressure) <= STRESS_THRESHOLD,
            self.deviator <= STRESS_THRESHOLD,
        )
        return all(within)


@dataclass(frozen=True, eq=False)
class Convergence:
    """A series over one setting, coarsest first; the last point is what the others are compared with.

    Parameters
    ----------
    parameter
        ``"cutoff"`` or ``"k_spacing"``.
    points
        The settings.
    pressure
        Pressure at the finest setting, GPa.
    """

    parameter: str
    points: tuple[Point, ...]
    pressure: float

    @property
    def recommended(self) -> Point | None:
        """The coarsest setting from which on all are good; None if only the finest is, which says nothing."""
        good: Point | None = None
        for point in reversed(self.points[:-1]):
            if not point.is_good:
                break
            good = point
        return good

    @property
    def advice(self) -> str:
        """The recommendation in one sentence."""
        unit, finest = _WORDS[self.parameter], self.points[-1]
        name = self.parameter.replace("_", "-")
        if self.recommended is None:
            return f"nothing coarser than {name} {finest.value:g} {unit} is converged against it; take that or finer, and a series that goes further to know more"
        mesh = (
            f", {'x'.join(map(str, self.recommended.mesh))} in this cell"
            if self.parameter == "k_spacing"
            else ""
        )
        return f"{name} {self.recommended.value:g} {unit}{mesh} is the coarsest that agrees with {finest.value:g} {unit}"


def convergence(
    atoms: Atoms,
    method: LabelMethod,
    parameter: str,
    values: Sequence[float],
    show: Callable[[str], None] | None = None,
) -> Convergence:
    """Label one cell with a series of settings.

    The stress is looked at as closely as the forces: an under-converged cutoff shifts the pressure by GPa where the forces are perfect.

    Parameters
    ----------
    atoms
        The cell; one with forces, such as a rattled one, since those of a perfect crystal are zero at any setting.
    method
        A method with the fields ``cutoff`` (eV) and ``k_spacing`` (1/A), as those of plane-wave codes here have.
    parameter
        ``"cutoff"`` or ``"k_spacing"``; the other keeps the method's value.
    values
        At least two, in any order. Of k-spacings that give the same mesh the largest is taken.
    show
        Called with a line on each calculation.

    Raises
    ------
    InputError
        For another parameter, a method without it, or fewer than two different settings.
    """
    if parameter not in _WORDS or not hasattr(method, parameter):
        raise InputError(
            f"the method {method.description} has no series over {parameter!r}; choose one of {', '.join(_WORDS)}"
        )
    coarse_first = sorted(set(values), reverse=parameter == "k_spacing")
    methods = {value: replace(cast("Any", method), **{parameter: value}) for value in coarse_first}
    meshes = {value: k_mesh(atoms.cell.array, each.k_spacing) for value, each in methods.items()}
    if parameter == "k_spacing":
        coarse_first = [
            value
            for number, value in enumerate(coarse_first)
            if meshes[value] not in [meshes[v] for v in coarse_first[:number]]
        ]
    if len(coarse_first) < 2:
        raise InputError(
            f"a series over {parameter} needs at least two settings that differ; {', '.join(map(str, values))} give {len(coarse_first)}"
        )

    expanded = atoms.copy()
    expanded.set_cell(atoms.cell.array * _EXPANSION, scale_atoms=True)
    labels = []
    for value in coarse_first:
        before = _cpu_seconds()
        frame, other = (_label(each, methods[value]) for each in (atoms, expanded))
        labels.append(
            (frame, other.energy_per_atom - frame.energy_per_atom, _cpu_seconds() - before)
        )
        if show:
            pressure = units.pressure_from_stress(frame.stress)
            show(
                f"{parameter} {value:g}: {frame.energy_per_atom:.4f} eV/atom, {pressure:.2f} GPa, {labels[-1][2]:.0f} CPU s"
            )
    finest, finest_expansion, _ = labels[-1]
    points = []
    for value, (frame, expansion, cpu_seconds) in zip(coarse_first, labels, strict=True):
        stress = units.ev_per_a3_to_gpa(np.array(frame.stress) - np.array(finest.stress))
        isotropic = np.trace(stress) / 3.0
        points.append(
            Point(
                value=value,
                mesh=meshes[value],
                total_energy=1e3 * (frame.energy_per_atom - finest.energy_per_atom),
                energy=1e3 * (expansion - finest_expansion),
                force=float(
                    np.sqrt(np.mean((np.array(frame.forces) - np.array(finest.forces)) ** 2))
                ),
                pressure=float(-isotropic),
                deviator=float(np.sqrt(np.mean((stress - isotropic * np.eye(3)) ** 2))),
                cpu_seconds=cpu_seconds,
            )
        )
    return Convergence(parameter, tuple(points), units.pressure_from_stress(finest.stress))


def _label(atoms: Atoms, method: LabelMethod) -> Frame:
    labelled = atoms.copy()
    calculator = method.build(atoms)
    try:
        labelled.calc = calculator
        return Frame.from_atoms(labelled)
    finally:
        # Calculators that hold other processes have it; their processor time counts only when they have ended.
        close = getattr(calculator, "close", None)
        if close is not None:
            close()


def _cpu_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in used)
