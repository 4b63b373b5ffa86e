"""Checks of every label before it is stored: the code's report is compared with the request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, Field

from mgflows import units

if TYPE_CHECKING:
    from ase import Atoms

    from mgflows.schemas.frames import Frame

__all__ = ["CalculationReport", "LabelQuality", "violations"]

_CUTOFF_TOLERANCE = 0.1
"""eV; codes print cutoffs in other units, rounded."""
_LENGTH_TOLERANCE = 1e-3
"""A; codes read and write positions with at least five decimals."""
_MAXIMUM_PRESSURE = 1000.0
"""GPa; the paper's densest glasses have 40."""


class CalculationReport(BaseModel):
    """Values that a code reports about one calculation, and requested ones; None if unknown."""

    free_energy: bool | None = Field(
        None, description="whether the energy is the free energy that forces and stress derive from"
    )
    scf_converged: bool | None = Field(
        None, description="whether the electronic structure is self-consistent"
    )
    scf_steps: int | None = Field(None, description="electronic steps of the last geometry")
    ionic_converged: bool | None = Field(
        None, description="whether a relaxation reached its tolerances"
    )
    k_mesh: tuple[int, int, int] | None = Field(None, description="divisions of the k-mesh used")
    k_mesh_requested: tuple[int, int, int] | None = Field(
        None, description="divisions of the k-mesh requested"
    )
    cutoff: float | None = Field(None, description="plane-wave cutoff used, eV")
    cutoff_requested: float | None = Field(None, description="plane-wave cutoff requested, eV")
    corrections: list[str] = Field(
        default_factory=list, description="changes made to reach convergence"
    )


class LabelQuality(CalculationReport):
    """The report of a label that passed all checks, and which checks were possible."""

    checked: list[str] = Field(description="checks that were made and passed")
    not_checked: list[str] = Field(description="checks for which the code reports no values")

    @classmethod
    def from_report(cls, report: CalculationReport, *, requested: bool) -> LabelQuality:
        """Make the quality record of a label without violations.

        Parameters
        ----------
        report
            Report of the code.
        requested
            Whether the requested structure is known.
        """
        possible = {
            "free energy": report.free_energy is not None,
            "electronic convergence": report.scf_converged is not None,
            "ionic convergence": report.ionic_converged is not None,
            "k-mesh": report.k_mesh is not None and report.k_mesh_requested is not None,
            "cutoff": report.cutoff is not None and report.cutoff_requested is not None,
            "composition and structure": requested,
        }
        # Frame.from_atoms makes these for every label.
        checked = [
            "finite energy, forces and stress",
            "bound on forces",
            *(name for name, is_known in possible.items() if is_known),
        ]
        return cls(
            **dict(report),
            checked=checked,
            not_checked=[name for name, is_known in possible.items() if not is_known],
        )


def violations(
    frame: Frame,
    report: CalculationReport,
    requested: Atoms | None = None,
    *,
    fixed_cell: bool = True,
) -> list[str]:
    """Return the reasons why a labelled frame must not enter a dataset; empty if there are none.

    Parameters
    ----------
    frame
        The labelled structure.
    report
        What the code reports.
    requested
        The structure to be labelled; its atoms may be in another order, as long as the order
        within each species is the same.
    fixed_cell
        Whether cell and positions must be those requested (a single point), or only the
        composition (a relaxation or a step of molecular dynamics).
    """
    found = []
    if report.scf_converged is False:
        steps = f" after {report.scf_steps} steps" if report.scf_steps else ""
        found.append(
            f"the electronic self-consistency did not converge{steps}; raise the number of "
            f"steps or "
            "check the structure"
        )
    if report.ionic_converged is False:
        found.append("the relaxation did not reach its tolerances; raise its number of steps")
    if report.free_energy is False:
        found.append(
            "the energy is not the free energy that forces and stress derive from; read the "
            "force-consistent one"
        )
    if report.k_mesh and report.k_mesh_requested and report.k_mesh != report.k_mesh_requested:
        found.append(
            f"the k-mesh is {_times(report.k_mesh)} but {_times(report.k_mesh_requested)} was "
            "requested"
        )
    if (
        report.cutoff
        and report.cutoff_requested
        and abs(report.cutoff - report.cutoff_requested) > _CUTOFF_TOLERANCE
    ):
        found.append(
            f"the cutoff is {report.cutoff:g} eV but {report.cutoff_requested:g} eV was requested"
        )
    pressure = units.pressure_from_stress(frame.stress)
    if abs(pressure) > _MAXIMUM_PRESSURE:
        found.append(
            f"the pressure of {pressure:.0f} GPa is beyond {_MAXIMUM_PRESSURE:.0f} GPa: atoms "
            "overlap, or the plane-wave cutoff is far too low"
        )
    if requested is not None:
        found += _structural(frame, requested, fixed_cell)
    return found


def _structural(frame: Frame, requested: Atoms, fixed_cell: bool) -> list[str]:
    numbers = np.array(frame.numbers)
    mine, theirs = np.argsort(numbers, kind="stable"), np.argsort(requested.numbers, kind="stable")
    if not np.array_equal(numbers[mine], requested.numbers[theirs]):
        labelled = requested.__class__(numbers=numbers).get_chemical_formula()
        return [
            f"the code labelled {labelled} but {requested.get_chemical_formula()} was requested"
        ]
    if not fixed_cell:
        return []
    off = float(np.abs(np.array(frame.cell) - requested.cell.array).max())
    if off > _LENGTH_TOLERANCE:
        return [f"the labelled cell differs by {off:.2g} A from the requested one"]
    shifts = (np.array(frame.positions)[mine] - requested.positions[theirs]) @ np.linalg.inv(
        requested.cell.array
    )
    distance = float(
        np.linalg.norm((shifts - np.round(shifts)) @ requested.cell.array, axis=1).max(initial=0.0)
    )
    if distance > _LENGTH_TOLERANCE:
        return [f"an atom is {distance:.2g} A from its requested position"]
    return []


def _times(mesh: tuple[int, int, int]) -> str:
    return "x".join(map(str, mesh))
