"""Files of GPUMD: model.xyz, run.in, thermo.out, rdf.out, viscosity.out, restart.xyz.

Formats as documented at gpumd.org for version 5 and in the headers that versions since 2026 write;
older files without headers can also be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import ase.units
import numpy as np

from mgflows.errors import InputError
from mgflows.text import plural

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

__all__ = [
    "GpumdRdf",
    "GpumdViscosity",
    "model_text",
    "parse_run_in",
    "read_model",
    "read_rdf",
    "read_thermo",
    "read_viscosity",
    "run_in_text",
]

_GRAMMAR: dict[str, tuple[str, ...]] = {
    "potential": ("t", "tt"),
    "replicate": ("iii",),
    "velocity": ("r", "rti"),
    "time_step": ("r", "rr"),
    "dump_thermo": ("i",),
    "dump_restart": ("i",),
    "compute_rdf": ("rii",),
    "compute_viscosity": ("ii",),
    "run": ("i",),
}
"""Parameters that each keyword accepts: i integer, r real, t text (GPUMD 5, src/main_gpumd/run.cu
and the classes that it calls)."""
_ENSEMBLES: dict[str, tuple[str, ...]] = {
    "nve": ("",),
    **dict.fromkeys(("nvt_ber", "nvt_nhc", "nvt_lan", "nvt_bdp", "nvt_bao"), ("rrr",)),
    **dict.fromkeys(("npt_ber", "npt_scr"), ("r" * 6, "r" * 10, "r" * 16)),
}
"""Likewise for the kinds of ``ensemble`` (src/integrate/integrate.cu)."""
_KEYWORDS = (*_GRAMMAR, "ensemble", "dump_xyz")


@dataclass(frozen=True, eq=False)
class GpumdRdf:
    """Radial distribution functions of ``compute_rdf``.

    Parameters
    ----------
    distance
        (n,) A.
    total
        (n,) dimensionless.
    partial
        By pair, such as ``"Cu-Zr"``; with numbers for names in files without a header.
    """

    distance: NDArray[np.float64]
    total: NDArray[np.float64]
    partial: dict[str, NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class GpumdViscosity:
    """Green-Kubo integrals of ``compute_viscosity``.

    Parameters
    ----------
    time
        (n,) ps.
    correlation
        (n, 9) autocorrelation of the virial components xx yy zz xy xz yz yx zx zy in eV^2.
    viscosity
        (n, 9) running integrals in mPa s.
    """

    time: NDArray[np.float64]
    correlation: NDArray[np.float64]
    viscosity: NDArray[np.float64]

    @property
    def shear(self) -> NDArray[np.float64]:
        """(n,) running shear viscosity in mPa s: mean of the six off-diagonal components."""
        return self.viscosity[:, 3:].mean(axis=1)


def model_text(atoms: Atoms) -> str:
    """``model.xyz``, with masses and velocities (A/fs) to all digits."""
    cell = " ".join(f"{value:.17g}" for value in atoms.cell.array.ravel())
    lines = [
        str(len(atoms)),
        f'pbc="T T T" Lattice="{cell}" Properties=species:S:1:pos:R:3:mass:R:1:vel:R:3',
    ]
    velocities = atoms.get_velocities() * ase.units.fs
    rows = zip(
        atoms.get_chemical_symbols(), atoms.positions, atoms.get_masses(), velocities, strict=True
    )
    for symbol, position, mass, velocity in rows:
        numbers = " ".join(f"{value:.17g}" for value in (*position, mass, *velocity))
        lines.append(f"{symbol} {numbers}")
    return "\n".join(lines) + "\n"


def read_model(path: Path) -> list[Atoms]:
    """Frames of ``model.xyz``, ``restart.xyz`` or a file of ``dump_xyz``, with velocities.

    Raises
    ------
    InputError
        If the file is missing or cannot be read.
    """
    from ase.io import read

    try:
        frames = read(path, ":", format="extxyz")
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(
            f"{path} cannot be read as a structure of GPUMD ({error})",
            hint="give a file that GPUMD wrote",
        ) from error
    for frame in frames:
        if "mass" in frame.arrays:
            frame.set_masses(frame.arrays.pop("mass"))
        if "vel" in frame.arrays:
            frame.set_velocities(frame.arrays.pop("vel") / ase.units.fs)
    return frames


def run_in_text(commands: Sequence[Sequence[object]]) -> str:
    """``run.in`` of commands, each a keyword and its parameters."""
    words = [[_word(value) for value in command] for command in commands]
    text = "\n".join(" ".join(line) for line in words) + "\n"
    parse_run_in(text)
    return text


def parse_run_in(text: str) -> list[tuple[str, list[str]]]:
    """Keywords and parameters of a ``run.in``.

    Raises
    ------
    InputError
        For a keyword or an ensemble that mgflows does not write, or for parameters that GPUMD
        rejects by number or type; names the line.
    """
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        keyword, *parameters = line.partition("#")[0].split() or [""]
        if not keyword:
            continue
        if keyword not in _KEYWORDS:
            raise InputError(
                f"line {number} of run.in has the keyword {keyword!r}, which is unknown here",
                hint=f"known are {', '.join(sorted(_KEYWORDS))}",
            )
        _check_parameters(keyword, parameters, number)
        found.append((keyword, parameters))
    return found


def _check_parameters(keyword: str, parameters: list[str], number: int) -> None:
    forms: tuple[str, ...]
    if keyword == "dump_xyz":
        # Interval and file, then options and quantities in any order.
        command, forms, values = keyword, ("it",), parameters[:2]
        if len(parameters) > 2 and all(_is_number(each, int) for each in parameters[1:3]):
            raise InputError(
                f"line {number} of run.in gives dump_xyz its parameters in the old order",
                hint="begin with the interval and the file; a group follows as an option",
            )
    elif keyword == "ensemble":
        kind, *values = parameters or [""]
        if kind not in _ENSEMBLES:
            raise InputError(
                f"line {number} of run.in has the ensemble {kind!r}, which is unknown here",
                hint=f"known are {', '.join(sorted(_ENSEMBLES))}",
            )
        command, forms = f"ensemble {kind}", _ENSEMBLES[kind]
    else:
        command, forms, values = keyword, _GRAMMAR[keyword], parameters
    form = next((each for each in forms if len(each) == len(values)), None)
    if form is None:
        wanted = " or ".join(str(len(each)) for each in forms)
        raise InputError(
            f"line {number} of run.in gives {command} {plural(len(values), 'parameter')}, but it "
            f"takes {wanted}"
        )
    for value, kind in zip(values, form, strict=True):
        if kind != "t" and not _is_number(value, int if kind == "i" else float):
            raise InputError(
                f"line {number} of run.in gives {command} {value!r}, which is not "
                f"{'an integer' if kind == 'i' else 'a number'}"
            )


def _is_number(text: str, convert: type[int] | type[float]) -> bool:
    try:
        convert(text)
    except ValueError:
        return False
    return True


def read_thermo(path: Path) -> NDArray[np.float64]:
    """(n, 18) rows of ``thermo.out``.

    K, then kinetic and potential energy in eV per cell, the pressure components xx yy zz yz xz xy
    in GPa, positive under compression, and the three cell vectors in A. Files of orthogonal boxes
    of older versions, with 12 columns, are completed.

    Raises
    ------
    InputError
        For another number of columns, or an incomplete line.
    """
    rows = _rows(path, (12, 18))
    if rows.shape[1] == 18:
        return rows
    complete = np.zeros((len(rows), 18))
    complete[:, :9] = rows[:, :9]
    complete[:, 9::4] = rows[:, 9:]
    return complete


def read_rdf(path: Path) -> GpumdRdf:
    """``rdf.out``; the last block if runs have appended several.

    Raises
    ------
    InputError
        If the file is not one.
    """
    rows = _rows(path, range(2, 200))
    starts = np.flatnonzero(np.diff(rows[:, 0], prepend=np.inf) < 0.0)
    rows = rows[starts[-1] if len(starts) else 0 :]
    names = [str(k) for k in range(1, rows.shape[1] - 1)]
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.lstrip("# ").split()
        if line.startswith("#") and words[:2] == ["radius", "total"]:
            names = words[2:]
    if len(names) != rows.shape[1] - 2:
        raise InputError(f"the header of {path} names {len(names)} pairs, not {rows.shape[1] - 2}")
    return GpumdRdf(
        rows[:, 0], rows[:, 1], {name: rows[:, k] for k, name in enumerate(names, start=2)}
    )


def read_viscosity(path: Path) -> GpumdViscosity:
    """``viscosity.out``; the last block if runs have appended several.

    Raises
    ------
    InputError
        If the file is not one.
    """
    rows = _rows(path, (19,))
    starts = np.flatnonzero(np.diff(rows[:, 0], prepend=np.inf) < 0.0)
    rows = rows[starts[-1] if len(starts) else 0 :]
    return GpumdViscosity(rows[:, 0], rows[:, 1:10], 1e3 * rows[:, 10:])


def _rows(path: Path, widths: Sequence[int]) -> NDArray[np.float64]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    rows: list[list[float]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            values = [float(word) for word in line.split()]
        except ValueError as error:
            raise InputError(
                f"line {number} of {path} is not numeric: {line[:40]!r}",
                hint="give a file that GPUMD wrote",
            ) from error
        if len(values) not in widths or (rows and len(values) != len(rows[0])):
            raise InputError(
                f"line {number} of {path} has {len(values)} columns; the file is cut off or of "
                "another program",
                hint="run GPUMD again",
            )
        rows.append(values)
    if not rows:
        raise InputError(f"{path} has no values", hint="run GPUMD again")
    return np.array(rows)


def _word(value: object) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)
