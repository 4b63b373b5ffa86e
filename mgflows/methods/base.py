"""What every method of labelling has, and the one rule for k-meshes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from mgflows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from numpy.typing import ArrayLike

    from mgflows.schemas.labels import MethodFingerprint
    from mgflows.schemas.quality import CalculationReport

__all__ = ["LabelMethod", "k_mesh", "mesh_of_points"]


class LabelMethod(Protocol):
    """A method that labels through an ASE calculator: what the Makers of :mod:`mgflows.jobs.labels` need of it.

    Attributes
    ----------
    description
        One line for reports.
    n_cores
        Cores that one calculation uses: ranks times threads.
    """

    @property
    def description(self) -> str: ...  # noqa: D102

    @property
    def n_cores(self) -> int: ...  # noqa: D102

    def build(self, atoms: Atoms) -> Calculator:
        """A new calculator for these atoms; what depends on the cell, such as the k-mesh, is fixed here. It is closed after use if it has ``close``."""

    def fingerprint(self, species: Sequence[str] = ()) -> MethodFingerprint:
        """What decides the labels, with the potentials of these species as far as they can be found on this machine."""

    def report(self, calculator: Calculator) -> CalculationReport:
        """What the last calculation says of itself, for the gate of :mod:`mgflows.schemas.quality`."""


def k_mesh(cell: ArrayLike, k_spacing: float) -> tuple[int, int, int]:
    """Divisions of a Gamma-centred k-mesh: each reciprocal vector divided by the spacing and *rounded*, at least one.

    The paper has 0.162/A and a 3x3x3 mesh for a cell of 12.9 A (Methods, "DFT Calculations"): 2 pi / 12.9275 / 0.162 = 3.0002, where rounding gives
    three and the ceiling that VASP's KSPACING takes gives four.

    Parameters
    ----------
    cell
        (3, 3) lattice vectors in rows, A.
    k_spacing
        1/A, with the factor 2 pi in the reciprocal vectors.

    Raises
    ------
    InputError
        If the spacing is not positive or the cell is flat.
    """
    if not k_spacing > 0.0:
        raise InputError(
            f"k_spacing is {k_spacing:g}/A but must be positive; the paper's is 0.162/A"
        )
    vectors = np.asarray(cell, dtype=float)
    if not abs(np.linalg.det(vectors)) > 0.0:
        raise InputError("the cell has no volume; a k-mesh needs three independent lattice vectors")
    lengths = 2.0 * np.pi * np.linalg.norm(np.linalg.inv(vectors), axis=0)
    first, second, third = (max(1, round(float(length) / k_spacing)) for length in lengths)
    return first, second, third


def mesh_of_points(points: ArrayLike) -> tuple[int, int, int]:
    """Divisions of a Gamma-centred mesh from the list of its points: the inverse of the smallest step along each axis.

    Parameters
    ----------
    points
        (n, 3) in reciprocal lattice vectors; one of each pair k and -k is enough.
    """
    folded = np.abs((np.asarray(points, dtype=float) + 0.5) % 1.0 - 0.5)
    steps = [
        min((value for value in folded[:, axis] if value > 1e-4), default=1.0) for axis in range(3)
    ]
    first, second, third = (round(1.0 / float(step)) for step in steps)
    return first, second, third
