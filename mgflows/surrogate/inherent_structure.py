"""Inherent structures: local minima of the energy at fixed cell, found by FIRE.

FIRE (Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006), doi:10.1103/PhysRevLett.97.170201) is used
instead of a line search because the truncated forces jump at the cutoff. There, conjugate gradients
and L-BFGS stop early or move to another basin. A minimum never lies at the jump.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError, MgflowsError
from mgflows.surrogate.kernels.forces import fire, potential_energy, reduced_interaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ase import Atoms
    from numpy.typing import NDArray

    from mgflows.surrogate.lennard_jones import LennardJones

__all__ = ["find_inherent_structure", "find_inherent_structures"]

logger = logging.getLogger(__name__)


def find_inherent_structure(
    atoms: Atoms, lj: LennardJones, force_tolerance: float = 1e-8, *, max_steps: int = 200_000
) -> tuple[Atoms, float]:
    """Minimise the surrogate energy of a configuration at fixed cell.

    Parameters
    ----------
    atoms
        Configuration in a periodic orthorhombic box; not changed. A box below twice the largest
        cutoff is slower because all images are visited.
    lj
        The surrogate.
    force_tolerance
        Largest force on an atom at the end, in reduced units.
    max_steps
        Largest number of FIRE steps.

    Returns
    -------
    relaxed, e_is
        The inherent structure, with the atoms in the given order and wrapped into the box, and its
        energy in eV per atom.

    Raises
    ------
    InputError
        For any other cell, an unknown species or a tolerance that double precision cannot reach.
    MgflowsError
        If the forces are still above the tolerance after ``max_steps``.
    """
    if not force_tolerance >= 1e-11:
        raise InputError(
            f"the force tolerance is {force_tolerance:g} but rounding errors of the forces are "
            "near 1e-12",
            hint="give 1e-11 or more",
        )
    configuration = lj.reduced_configuration(atoms)
    interaction = reduced_interaction(lj, configuration)
    positions = np.ascontiguousarray(configuration.positions.T)
    n_steps, largest = fire(positions, interaction, force_tolerance, max_steps)
    if not largest < force_tolerance:
        raise MgflowsError(
            f"the largest force is still {largest:.3g} after {n_steps} FIRE steps, above the "
            f"tolerance {force_tolerance:g}",
            hint=(
                "raise max_steps, and check the configuration if it started with overlapping atoms"
            ),
        )
    logger.debug(
        "inherent structure after %d FIRE steps, largest reduced force %.2g", n_steps, largest
    )
    e_is = potential_energy(positions, interaction) / len(atoms) * lj.energy_unit
    relaxed = atoms.copy()
    relaxed.calc = None
    relaxed.positions = positions.T * lj.length_unit
    relaxed.wrap()
    return relaxed, float(e_is)


def find_inherent_structures(
    samples: Iterable[Atoms],
    lj: LennardJones,
    force_tolerance: float = 1e-8,
    *,
    max_steps: int = 200_000,
    progress: Callable[[int], None] | None = None,
) -> tuple[list[Atoms], NDArray[np.float64]]:
    """Minimise many samples one after the other.

    Parameters
    ----------
    samples
        Configurations as in :func:`find_inherent_structure`.
    lj, force_tolerance, max_steps
        As in :func:`find_inherent_structure`.
    progress
        Called with the number of samples done.

    Returns
    -------
    relaxed, e_is
        The inherent structures and their (n_samples,) energies in eV per atom.
    """
    relaxed: list[Atoms] = []
    energies: list[float] = []
    for atoms in samples:
        structure, e_is = find_inherent_structure(atoms, lj, force_tolerance, max_steps=max_steps)
        relaxed.append(structure)
        energies.append(e_is)
        if progress is not None:
            progress(len(relaxed))
    return relaxed, np.array(energies)
