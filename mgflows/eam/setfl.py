"""Embedded-atom models as tables: the files of LAMMPS' ``eam/alloy`` and ``eam/fs``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mgflows.eam.model import EmbeddedAtomModel, pair_key
from mgflows.errors import InputError, MissingFileError
from mgflows.files import write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EmbeddedAtomTable", "Tabulation", "read_table", "setfl_text", "write_setfl"]


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


@dataclass(frozen=True)
class EmbeddedAtomTable:
    """A checked file of tabulated functions.

    Parameters
    ----------
    species
        In the order of the file.
    style
        The pair style of LAMMPS that reads it: ``eam/fs`` has a density for each pair of species.
    cutoff
        A.
    comment
        The first three lines, which name the origin.
    text
        The whole file.
    """

    species: tuple[str, ...]
    style: Literal["eam/alloy", "eam/fs"]
    cutoff: float
    comment: str
    text: str


def read_table(path: str | Path) -> EmbeddedAtomTable:
    """Read and check a table; the number of values determines the pair style.

    Parameters
    ----------
    path
        File in the format of ``eam/alloy`` (setfl) or ``eam/fs``
        (docs.lammps.org/pair_eam.html).

    Raises
    ------
    MissingFileError
        If there is no such file.
    InputError
        If it cannot be read, or is not such a table; names the line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        kind = MissingFileError if isinstance(error, FileNotFoundError) else InputError
        raise kind(f"the potential {path} cannot be read: {error.strerror}") from error
    lines = text.splitlines()
    try:
        n_species, *species = lines[3].split()
        assert int(n_species) == len(species) > 0
        words = lines[4].split()
        n_densities, n_distances, cutoff = int(words[0]), int(words[2]), float(words[4])
        assert n_densities > 1
        assert n_distances > 1
    except (IndexError, ValueError, AssertionError) as error:
        raise InputError(
            f"{path} is not an embedded-atom table: line 4 must have the number of elements and "
            "their symbols, and line 5 Nrho drho Nr dr cutoff",
            hint="give a file for LAMMPS' pair_style eam/alloy or eam/fs",
        ) from error
    n = len(species)
    found = {
        style: _blocks(lines[5:], n, (n_densities, densities * n_distances), n_distances)
        for style, densities in (("eam/fs", n), ("eam/alloy", 1))
    }
    for style in ("eam/fs", "eam/alloy"):
        if found[style]:
            comment = " ".join(" ".join(lines[:3]).split())
            return EmbeddedAtomTable(tuple(species), style, cutoff, comment, text)
    raise InputError(
        f"{path} does not have the values of {n} elements with Nrho = {n_densities} and Nr = "
        f"{n_distances}, neither of eam/alloy nor of eam/fs; the file is cut off or of another "
        "format",
        hint="download the file again, or give a table in one of these formats",
    )


def _blocks(lines: list[str], n_species: int, element: tuple[int, int], n_distances: int) -> bool:
    """Whether the lines hold the values of all elements and pairs, and nothing after them.

    Each element begins with a header line, of which LAMMPS reads the first two words; values may be
    on any number of lines.
    """
    rest = iter([line.split() for line in lines if line.strip()])

    def read(n_values: int) -> bool:
        n = 0
        while n < n_values:
            words = next(rest, None)
            if words is None:
                return False
            n += len(words)
        return n == n_values

    for _ in range(n_species):
        header = next(rest, None)
        if header is None or not header[0].isdigit() or not read(sum(element)):
            return False
    pairs = n_species * (n_species + 1) // 2
    return read(pairs * n_distances) and next(rest, None) is None


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
    write_text(path, setfl_text(model, tabulation or Tabulation(), comment))
    return path


@lru_cache(maxsize=8)
def setfl_text(model: EmbeddedAtomModel, tabulation: Tabulation, comment: str = "") -> str:
    """Return the content of a setfl file; the arguments are those of :func:`write_setfl`."""
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
