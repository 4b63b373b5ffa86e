"""Convergence of labels with the cutoff and the k-mesh: a series of settings for one cell."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mgflows import units
from mgflows.errors import InputError
from mgflows.methods.base import check_geometry, check_species, k_mesh
from mgflows.schemas.labels import Frame
from mgflows.schemas.provenance import cpu_seconds

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
"""meV per atom, of the energy of expansion; our choice, a fifth of the paper's test errors."""
FORCE_THRESHOLD = 0.005
"""eV/A, root mean square; our choice, half the paper's criterion for a relaxed structure."""
STRESS_THRESHOLD = 0.1
"""GPa, pressure and deviator; our choice, 0.1 % of the bulk modulus of the glass."""
_EXPANSION = 1.03
"""Factor on the lengths, for an energy difference that matters for a potential.

The total energy shifts with the cutoff by a constant per atom, which is irrelevant.
"""
_WORDS = {"cutoff": "eV", "k_spacing": "1/A"}


@dataclass(frozen=True, eq=False)
class Point:
    """One setting of a series, with the differences of its results from those of the finest.

    Parameters
    ----------
    value
        Cutoff in eV or k-spacing in 1/A.
    mesh
        Divisions of the k-mesh.
    total_energy, energy
        Difference of the total energy, and of the energy of an expansion by 3 % in length; meV per
        atom.
    force
        Root mean square over the components of all forces, eV/A.
    pressure, deviator
        GPa; the deviator is the root mean square of the components of the stress without its
        isotropic part.
    cpu_seconds
        Processor time of both calculations.
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
        """Whether all differences are below the thresholds; the total energy does not count."""
        within = (
            abs(self.energy) <= ENERGY_THRESHOLD,
            self.force <= FORCE_THRESHOLD,
            abs(self.pressure) <= STRESS_THRESHOLD,
            self.deviator <= STRESS_THRESHOLD,
        )
        return all(within)


@dataclass(frozen=True, eq=False)
class Convergence:
    """A series over one setting, coarsest first; the others are compared with the last point.

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
        """The coarsest setting from which on all are good; None if only the finest is."""
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
            return (
                f"no coarser setting agrees with {name} {finest.value:g} {unit}, the finest of "
                "the series; extend the series to finer settings"
            )
        mesh = (
            f", {'x'.join(map(str, self.recommended.mesh))} in this cell"
            if self.parameter == "k_spacing"
            else ""
        )
        return (
            f"{name} {self.recommended.value:g} {unit}{mesh} is the coarsest that agrees with "
            f"{finest.value:g} {unit}"
        )


def convergence(
    atoms: Atoms,
    method: LabelMethod,
    parameter: str,
    values: Sequence[float],
    show: Callable[[str], None] | None = None,
) -> Convergence:
    """Label one cell with a series of settings.

    The stress is as important as the forces: a cutoff that is too low can shift the pressure by
    several GPa although the forces are accurate.

    Parameters
    ----------
    atoms
        The cell. It should have forces, as a rattled crystal has: those of a perfect crystal are
        zero at any setting.
    method
        A method with the fields ``cutoff`` (eV) and ``k_spacing`` (1/A).
    parameter
        ``"cutoff"`` or ``"k_spacing"``; the other keeps the method's value.
    values
        At least two, in any order. Among k-spacings with the same mesh the largest is used.
    show
        Called with one line per calculation.

    Raises
    ------
    InputError
        For another parameter, a method without it, fewer than two different settings, or a
        structure that cannot be labelled.
    """
    if parameter not in _WORDS or not hasattr(method, parameter):
        raise InputError(
            f"the method {method.description} has no series over {parameter!r}",
            hint=f"choose one of {', '.join(_WORDS)}",
        )
    check_geometry(atoms)
    check_species(method, sorted(set(atoms.symbols)))
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
            f"a series over {parameter} needs at least two settings that differ; "
            f"{', '.join(map(str, values))} give {len(coarse_first)}"
        )

    expanded = atoms.copy()
    expanded.set_cell(atoms.cell.array * _EXPANSION, scale_atoms=True)
    labels: list[tuple[Frame, float, float]] = []
    for value in coarse_first:
        before = cpu_seconds()
        frame, other = (_label(each, methods[value]) for each in (atoms, expanded))
        used = cpu_seconds() - before
        labels.append((frame, other.energy_per_atom - frame.energy_per_atom, used))
        if show:
            pressure = units.pressure_from_stress(frame.stress)
            show(
                f"{parameter} {value:g}: {frame.energy_per_atom:.4f} eV/atom, "
                f"{pressure:.2f} GPa, {used:.0f} CPU s"
            )
    finest, finest_expansion, _ = labels[-1]
    points = []
    for value, (frame, expansion, used) in zip(coarse_first, labels, strict=True):
        stress = units.ev_per_a3_to_gpa(np.array(frame.stress) - np.array(finest.stress))
        isotropic = np.trace(stress) / 3.0
        forces = np.array(frame.forces) - np.array(finest.forces)
        points.append(
            Point(
                value=value,
                mesh=meshes[value],
                total_energy=1e3 * (frame.energy_per_atom - finest.energy_per_atom),
                energy=1e3 * (expansion - finest_expansion),
                force=float(np.sqrt(np.mean(forces**2))),
                pressure=float(-isotropic),
                deviator=float(np.sqrt(np.mean((stress - isotropic * np.eye(3)) ** 2))),
                cpu_seconds=used,
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
        # Ends other processes, whose processor time counts only after their end.
        close = getattr(calculator, "close", None)
        if close is not None:
            close()
