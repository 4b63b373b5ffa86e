"""The protocol of label methods, checks of their input, and the rule for k-meshes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from ase.data import atomic_numbers
from ase.neighborlist import neighbor_list

from mgflows.errors import InputError, StructureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from numpy.typing import ArrayLike

    from mgflows.schemas.labels import MethodFingerprint
    from mgflows.schemas.quality import CalculationReport

__all__ = [
    "SHORTEST_DISTANCE",
    "LabelMethod",
    "check_geometry",
    "check_species",
    "k_mesh",
    "mesh_of_points",
]

SHORTEST_DISTANCE = 0.5
"""A. Atoms closer than this overlap: the shortest bond of all, that of H2, has 0.74 A."""

_LARGEST_SKEW = 50.0
"""Largest product of the lengths of the lattice vectors, in units of the volume of the cell.

Beyond it codes need excessive k-meshes and numbers of images, where the reduced cell does not.
"""


class LabelMethod(Protocol):
    """A method that labels structures through an ASE calculator.

    This is all that the Makers of :mod:`mgflows.jobs.labels` and :mod:`mgflows.jobs.heating` use.

    Attributes
    ----------
    description
        One line for reports.
    n_cores
        Cores that one calculation uses: MPI ranks times threads.
    """

    @property
    def description(self) -> str: ...  # noqa: D102

    @property
    def n_cores(self) -> int: ...  # noqa: D102

    def build(self, atoms: Atoms) -> Calculator:
        """A new calculator for these atoms.

        Settings that depend on the cell, such as the k-mesh, are fixed here. A calculator with a
        ``close`` method is closed after use.
        """

    def fingerprint(self, species: Sequence[str] = ()) -> MethodFingerprint:
        """Everything that determines the labels.

        It includes the potentials of these species, as far as this machine has them.
        """

    def report(self, calculator: Calculator) -> CalculationReport:
        """Report of the code on its last calculation."""

    def check_species(self, species: Sequence[str]) -> None:
        """Check that the method can label all of these elements.

        Raises
        ------
        InputError
            If an element is missing, as far as this can be determined: a machine that only submits
            jobs need not have the code or its data files.
        """


def check_species(method: LabelMethod, species: Sequence[str]) -> None:
    """Check that these are elements and that a method can label all of them.

    A method without ``check_species`` is assumed to label every element.

    Raises
    ------
    InputError
        If one of them is not an element or the method cannot label it.
    """
    unknown = [symbol for symbol in species if atomic_numbers.get(symbol, 0) == 0]
    if unknown:
        raise InputError(
            f"{', '.join(map(repr, unknown))} is not a chemical element",
            hint="give element symbols such as 'Cu'",
        )
    check = getattr(method, "check_species", None)
    if check is not None:
        check(species)


def check_geometry(atoms: Atoms) -> None:
    """Check that a structure can be labelled: a periodic crystal or glass of real elements.

    Raises
    ------
    StructureError
        For no atoms, dummy atoms, positions or a cell that are not finite, a cell without volume
        or of nearly parallel vectors, a direction without periodic boundaries, or atoms closer
        than :data:`SHORTEST_DISTANCE`.
    """
    if len(atoms) == 0:
        raise StructureError("the structure has no atoms", hint="give at least one atom")
    formula = atoms.get_chemical_formula()
    if np.any(atoms.numbers < 1):
        index = int(np.argmin(atoms.numbers))
        raise StructureError(
            f"atom {index} of {formula} is a dummy atom",
            hint="remove it or give it an element",
        )
    for what, values in (("lattice vectors", atoms.cell.array), ("positions", atoms.positions)):
        if not np.all(np.isfinite(values)):
            raise StructureError(
                f"{formula} has {what} that are not finite",
                hint="check where the structure comes from",
            )
    # 1 for perpendicular lattice vectors, 0 for vectors in one plane.
    openness = atoms.cell.volume / max(float(np.prod(atoms.cell.lengths())), 1e-300)
    if atoms.cell.rank < 3 or not openness > 1e-9:
        raise StructureError(
            f"the cell of {formula} has no volume; a label needs three independent lattice vectors",
            hint="give it a cell, such as with atoms.center(vacuum=10)",
        )
    if openness < 1.0 / _LARGEST_SKEW:
        raise StructureError(
            f"the lattice vectors of {formula} are nearly in one plane: their product is "
            f"{1.0 / openness:.0f} times the volume of the cell, above {_LARGEST_SKEW:.0f}",
            hint="give the reduced cell, such as structure.get_reduced_structure()",
        )
    if not atoms.pbc.all():
        axes = ", ".join("abc"[axis] for axis in np.flatnonzero(~atoms.pbc))
        raise StructureError(
            f"{formula} is not periodic along {axes}, and every label is that of a periodic cell",
            hint="set atoms.pbc = True, with enough vacuum in the cell if it is a cluster",
        )
    first, second, distances = neighbor_list("ijd", atoms, SHORTEST_DISTANCE)
    if len(distances):
        closest = int(np.argmin(distances))
        raise StructureError(
            f"atoms {first[closest]} and {second[closest]} of {formula} are "
            f"{distances[closest]:.3f} A apart, below {SHORTEST_DISTANCE:g} A",
            hint="remove duplicate atoms or check the length unit",
        )


def k_mesh(cell: ArrayLike, k_spacing: float) -> tuple[int, int, int]:
    """Divisions of a Gamma-centred k-mesh.

    The length of each reciprocal vector is divided by the spacing and *rounded*, to at least one.
    The paper has 0.162/A and a 3x3x3 mesh for a cell of 12.9 A (Methods, "DFT Calculations"):
    2 pi / 12.9275 / 0.162 = 3.0002. Rounding gives three; VASP's KSPACING rounds up to four.

    Parameters
    ----------
    cell
        (3, 3) lattice vectors in rows, A.
    k_spacing
        1/A, with the factor 2 pi in the reciprocal vectors.

    Raises
    ------
    InputError
        If the spacing is not positive or the cell has no volume.
    """
    if not k_spacing > 0.0:
        raise InputError(
            f"k_spacing is {k_spacing:g}/A but must be positive", hint="the paper has 0.162/A"
        )
    vectors = np.asarray(cell, dtype=float)
    if not abs(np.linalg.det(vectors)) > 0.0:
        raise InputError(
            "the cell has no volume; a k-mesh needs three independent lattice vectors",
            hint="set the cell of the structure",
        )
    lengths = 2.0 * np.pi * np.linalg.norm(np.linalg.inv(vectors), axis=0)
    first, second, third = (max(1, round(float(length) / k_spacing)) for length in lengths)
    return first, second, third


def mesh_of_points(points: ArrayLike) -> tuple[int, int, int]:
    """Divisions of a Gamma-centred mesh from the list of its points.

    They are the inverse of the smallest step along each axis.

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
