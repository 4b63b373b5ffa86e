"""Embedded-atom models as setfl tables, the files of LAMMPS' ``pair_style eam/alloy``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgflows.eam.model import EmbeddedAtomModel, pair_key
from mgflows.files import write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Tabulation", "write_setfl"]


@dataclass(frozen=True)
class Tabulation:
    """Grids of a setfl file; both start at zero.

    Parameters
    ----------
    n_distances
        Points of density and pair functions, from zero to the cutoff of the model.
    n_densities
        Points of the embedding functions.
    density_max
        Largest electron density, in the units of the model. The default is four times that of a
        tungsten crystal, the largest among Zhou's elements; LAMMPS extrapolates linearly above it.
    """

    n_distances: int = 2001
    n_densities: int = 2501
    density_max: float = 150.0


def write_setfl(
    path: str | Path,
    model: EmbeddedAtomModel,
    *,
    tabulation: Tabulation | None = None,
    comment: str = "",
) -> Path:
    """Write a model as a setfl file, atomically.

    Parameters
    ----------
    path
        File to write.
    model
        Species are written in its order.
    tabulation
        Grids; with the default, energies differ by less than 1e-8 eV per atom from those of the
        functions.
    comment
        First line of the file.

    Returns
    -------
    Path
        ``path``, as a :class:`~pathlib.Path`.
    """
    path = Path(path)
    write_text(path, _setfl_text(model, tabulation or Tabulation(), comment))
    return path


def _setfl_text(model: EmbeddedAtomModel, tabulation: Tabulation, comment: str) -> str:
    from ase.data import atomic_masses, atomic_numbers

    distance = np.linspace(0.0, model.cutoff, tabulation.n_distances)
    density = np.linspace(0.0, tabulation.density_max, tabulation.n_densities)
    lines = [
        " ".join(comment.split()),
        (
            f"elements {' '.join(model.species)}; eV and A; "
            "setfl: F(rho) and f(r) of each element, then r phi(r) of each pair"
        ),
        "written by mgflows",
        f"{len(model.species)} {' '.join(model.species)}",
        (
            f"{tabulation.n_densities} {density[1]:.16e} {tabulation.n_distances} "
            f"{distance[1]:.16e} {model.cutoff:.16e}"
        ),
    ]
    for symbol in model.species:
        number = atomic_numbers[symbol]
        structure, lattice_constant = model.reference_crystals[symbol]
        lines.append(f"{number} {atomic_masses[number]:.4f} {lattice_constant:.4f} {structure}")
        lines += _rows(model.embedding[symbol](density))
        lines += _rows(model.density[symbol](distance))
    for index, first in enumerate(model.species):
        for second in model.species[: index + 1]:
            lines += _rows(distance * model.pair[pair_key(first, second)](distance))
    return "\n".join(lines) + "\n"


def _rows(values: NDArray[np.float64]) -> list[str]:
    """Five numbers per line, as in the files of other writers."""
    words = [f"{value:.15e}" for value in values.tolist()]
    return [" ".join(words[start : start + 5]) for start in range(0, len(words), 5)]
