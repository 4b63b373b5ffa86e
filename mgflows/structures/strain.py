"""Deformed copies of a periodic cell.

They are the subsets ``expanded_compressed`` and ``distorted`` and the strained crystals.
Conventions of all functions:

- A deformation is its gradient ``F``, a (3, 3) matrix that acts on *column* vectors: a point ``x``
  goes to ``F x``. ASE keeps cell vectors and positions as *rows*, so that ``cell -> cell F^T`` and
  ``positions -> positions F^T``. Fractional coordinates do not change: the atoms follow affinely.
- ``F = 1 + strain`` with a *symmetric* strain tensor: no rotation, and an edge along x strained by
  0.8 % is exactly 0.8 % longer. The Green-Lagrange strain ``(F^T F - 1) / 2`` of pymatgen and
  atomate2 is ``strain + strain^2 / 2``, which differs by at most 3.2e-5 at 0.8 %.
- Voigt order xx, yy, zz, yz, xz, xy with engineering shears: the fourth component is ``2
  strain_yz``.

Sources: paper, "DFT database overview", steps iii, iv and vi, which name the magnitudes and the
components C_ij. The strain state of each component is not stated there; :data:`ELASTIC_DIRECTIONS`
is our interpretation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from mgflows import units
from mgflows.errors import InputError
from mgflows.geometry import check_geometry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ELASTIC_DIRECTIONS",
    "Deformation",
    "apply_deformation",
    "crystal_deformations",
    "deformation_tables",
    "elastic_deformations",
    "strain_from_voigt",
    "volume_deformations",
]

ELASTIC_DIRECTIONS: dict[str, tuple[float, float, float, float, float, float]] = {
    "C11": (1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "C12": (1.0, 1.0, 0.0, 0.0, 0.0, 0.0),
    "C13": (1.0, 0.0, 1.0, 0.0, 0.0, 0.0),
    "C22": (0.0, 1.0, 0.0, 0.0, 0.0, 0.0),
    "C23": (0.0, 1.0, 1.0, 0.0, 0.0, 0.0),
    "C33": (0.0, 0.0, 1.0, 0.0, 0.0, 0.0),
    "C44": (0.0, 0.0, 0.0, 2.0, 0.0, 0.0),
    "C55": (0.0, 0.0, 0.0, 0.0, 2.0, 0.0),
    "C66": (0.0, 0.0, 0.0, 0.0, 0.0, 2.0),
}
"""Voigt strain of unit magnitude for each component of the stiffness matrix.

A diagonal component strains its own direction; C12, C13 and C23 strain both of their directions
equally, the state whose energy contains ``C_ii + 2 C_ij + C_jj``. A shear of magnitude m has the
tensor component ``strain_yz = m``, so the engineering strain 2 m.
"""


@dataclass(frozen=True, eq=False)
class Deformation:
    """A named deformation gradient.

    Parameters
    ----------
    name
        Unique within a set, such as ``volume+0.05`` or ``C44-0.008``.
    matrix
        Deformation gradient ``F`` (3, 3), dimensionless; acts on column vectors.
    kind
        ``volume`` for a scaling of all lattice vectors, ``elastic`` for one of the nine directions.
    """

    name: str
    matrix: NDArray[np.float64]
    kind: Literal["volume", "elastic"]


def strain_from_voigt(voigt: ArrayLike) -> NDArray[np.float64]:
    """Symmetric (3, 3) strain tensor from a Voigt vector xx, yy, zz, yz, xz, xy.

    Its shears are engineering (doubled) shears.
    """
    xx, yy, zz, yz, xz, xy = np.asarray(voigt, dtype=float)
    return units.voigt_to_tensor([xx, yy, zz, yz / 2.0, xz / 2.0, xy / 2.0])


def volume_deformations(fractions: Sequence[float] = (0.01, 0.05, 0.10)) -> list[Deformation]:
    """All lattice vectors scaled by plus and minus each fraction.

    Paper, step iii: 1, 5 and 10 %.

    The fractions are *linear*: +0.10 multiplies the volume by 1.331. The default gives 6
    deformations.

    Raises
    ------
    InputError
        For a fraction outside (0, 1).
    """
    return [
        Deformation(f"volume{sign * fraction:+g}", np.eye(3) * (1.0 + sign * fraction), "volume")
        for fraction in _checked(fractions)
        for sign in (-1.0, 1.0)
    ]


def elastic_deformations(magnitudes: Sequence[float] = (0.004, 0.008)) -> list[Deformation]:
    """The directions of :data:`ELASTIC_DIRECTIONS` with both signs of each magnitude.

    Paper, step iv: 0.4 and 0.8 %. The default gives 36 deformations.

    Raises
    ------
    InputError
        For a magnitude outside (0, 1).
    """
    return [
        Deformation(
            f"{component}{sign * magnitude:+g}",
            np.eye(3) + sign * magnitude * strain_from_voigt(direction),
            "elastic",
        )
        for component, direction in ELASTIC_DIRECTIONS.items()
        for magnitude in _checked(magnitudes)
        for sign in (-1.0, 1.0)
    ]


def crystal_deformations(
    fractions: Sequence[float] = (0.01, 0.05, 0.10), magnitudes: Sequence[float] = (0.008,)
) -> list[Deformation]:
    """The volumes of step iii and the nine directions at +-0.8 % (paper, step vi).

    The default gives 24 deformations.
    """
    return volume_deformations(fractions) + elastic_deformations(magnitudes)


def apply_deformation(atoms: Atoms, deformation: Deformation | ArrayLike) -> Atoms:
    """Return a copy of ``atoms`` with cell and positions deformed affinely.

    The copy has no calculator and no velocities.

    Parameters
    ----------
    atoms
        Periodic structure.
    deformation
        A :class:`Deformation`, or the gradient ``F`` (3, 3) itself.

    Raises
    ------
    InputError
        For a matrix that is not (3, 3) or that inverts the cell or makes its volume zero.
    """
    gradient = np.asarray(
        deformation.matrix if isinstance(deformation, Deformation) else deformation, dtype=float
    )
    if gradient.shape != (3, 3):
        raise InputError(
            f"the deformation has the shape {gradient.shape}",
            hint="give a (3, 3) deformation gradient",
        )
    check_geometry(atoms)
    determinant = np.linalg.det(gradient)
    if not determinant > 0.0:
        raise InputError(
            f"the determinant of the deformation is {determinant:g}, so the cell would be "
            "inverted or flat",
            hint="give a deformation with a positive determinant",
        )
    deformed = atoms.copy()
    deformed.set_cell(atoms.cell.array @ gradient.T, scale_atoms=False)
    deformed.set_positions(atoms.positions @ gradient.T, apply_constraint=False)
    if deformed.has("momenta"):
        del deformed.arrays["momenta"]
    return deformed


def deformation_tables() -> str:
    """Markdown tables of docs/reference/strains.md.

    The strain of each direction, and the gradient of every default deformation.
    """
    names = ["xx", "yy", "zz", "yz", "xz", "xy"]
    lines = ["| component | strain of magnitude m | elastic energy density at m |", "|---|---|---|"]
    for component, direction in ELASTIC_DIRECTIONS.items():
        strained = [index for index, value in enumerate(direction) if value]
        strains = [
            f"e_{names[index]} = {'m' if index < 3 else f'e_{names[index][::-1]} = m'}"
            for index in strained
        ]
        # Half the quadratic form of the Voigt strain: a doubled shear gives a factor of four.
        terms = []
        for i in strained:
            for j in (other for other in strained if other >= i):
                factor = direction[i] * direction[j] * (1.0 if i == j else 2.0)
                terms.append(f"{'' if factor == 1.0 else f'{factor:g} '}C{i + 1}{j + 1}")
        energy = " + ".join(terms)
        lines.append(
            f"| {component} | {', '.join(strains)} "
            f"| m²/2 {f'({energy})' if len(terms) > 1 else f'× {energy}'} |"
        )
    crystals = {deformation.name for deformation in crystal_deformations()}
    lines += [
        "",
        "| name | F, first row | second row | third row | det F | crystals too |",
        "|---|---|---|---|---|---|",
    ]
    for deformation in (*volume_deformations(), *elastic_deformations()):
        rows = " | ".join(" ".join(f"{value:.6g}" for value in row) for row in deformation.matrix)
        determinant = f"{np.linalg.det(deformation.matrix):.8g}"
        lines.append(
            f"| {deformation.name} | {rows} | {determinant} "
            f"| {'yes' if deformation.name in crystals else 'no'} |"
        )
    return "\n".join(lines)


def _checked(magnitudes: Sequence[float]) -> Sequence[float]:
    if len(set(magnitudes)) != len(magnitudes):
        raise InputError(
            f"the strain magnitudes {', '.join(map(str, magnitudes))} contain a duplicate",
            hint="give each once",
        )
    for magnitude in magnitudes:
        if not 0.0 < magnitude < 1.0:
            raise InputError(
                f"the strain magnitude {magnitude:g} must be between 0 and 1",
                hint="both signs are applied: 0.008 means +-0.8 %",
            )
    return magnitudes


if __name__ == "__main__":
    import sys

    sys.stdout.write(deformation_tables() + "\n")
