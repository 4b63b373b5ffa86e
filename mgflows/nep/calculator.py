"""Energies, forces and stresses of a trained potential, from the file ``nep.txt``."""

from __future__ import annotations

import tempfile
import weakref
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from mgflows.errors import (
    InputError,
    MissingDependencyError,
    MissingFileError,
    PotentialFailureError,
    ServiceError,
    install_command,
    require,
)
from mgflows.files import read_text
from mgflows.geometry import check_distances, check_geometry
from mgflows.nep.header import NepHeader, is_number, read_header, split_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from mgflows.nep.parameters import NepParameters

__all__ = [
    "Device",
    "batch_calculator",
    "nep_calculator",
    "potential_text",
    "read_potential",
    "validate_nep_text",
]

Device = Literal["cpu", "cuda"]
"""Devices on which a potential can be evaluated."""

_LARGEST_N_MAX = (12, 8)
"""Limits of nep-adapters; calorine has none below those of the format."""


_LARGEST_VOLUME, _LARGEST_VOLUME_PER_ATOM = 2.7e7, 1e3
"""A^3."""
_CHECKED_MOVE = 0.5
"""Move of the atoms in A below which distances are not checked again."""


def potential_text(potential: str | Path) -> str:
    """The text of a potential that is given as text or as the path of its file.

    Raises
    ------
    MissingFileError
        If there is no such file.
    InputError
        If it cannot be read.
    """
    if isinstance(potential, str) and "\n" in potential:
        return potential
    try:
        return read_text(potential).lstrip()
    except FileNotFoundError as error:
        raise MissingFileError(
            f"the potential {potential} cannot be read: {error.strerror}", hint="check the path"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(
            f"the potential {potential} cannot be read: {reason}", hint="give a nep.txt"
        ) from error


def nep_calculator(potential: str | Path, device: Device = "cpu") -> Calculator:
    """An ASE calculator for a NEP: eV, eV/A, and eV/A^3 with the ASE sign of the stress.

    It is evaluated by nep-adapters on ``OMP_NUM_THREADS`` CPU cores (by default one), or by
    calorine if nep-adapters is not installed or cannot evaluate the model. The calculator raises
    :class:`~mgflows.errors.InputError` for a structure that is not finite and
    :class:`~mgflows.errors.PotentialFailureError` for results that are not.

    Parameters
    ----------
    potential
        Path of a ``nep.txt``, or its text.
    device
        ``cuda`` computes on the first GPU, with forces within 2e-5 eV/A of those of the CPU
        (tests/nep/test_gpu.py).

    Raises
    ------
    InputError
        If the file is not a NEP (see :func:`read_potential`), or for another device.
    MissingDependencyError
        If no installed package can evaluate the model.
    ServiceError
        If the GPU cannot be used.
    """
    text = potential_text(potential)
    header = read_potential(text)
    if device not in get_args(Device):
        raise InputError(f"device is {device!r} but must be one of: {', '.join(get_args(Device))}")
    if device == "cuda":
        _check_gpu()
    if find_spec("nep_adapters") is not None and (fits_nep_adapters(header) or device == "cuda"):
        module = require("nep_adapters.ase", "md", "evaluating a NEP")
        with _potential_file(text) as path:
            return _checked(module.NepAseCalculator, header.species)(str(path), backend=device)
    if find_spec("calorine") is not None:
        module = require("calorine.calculators", "neppo", "evaluating a NEP")
        directory = tempfile.TemporaryDirectory(prefix="mgflows-nep-")
        path = Path(directory.name, "nep.txt")
        path.write_text(text, encoding="utf-8")
        calculator = _checked(module.CPUNEP, header.species)(str(path))
        # calorine reads the file again whenever it gets another structure.
        weakref.finalize(calculator, directory.cleanup)
        return calculator
    if find_spec("nep_adapters") is not None:
        raise MissingDependencyError(
            f"the n_max of the potential, {header.n_max[0]} and {header.n_max[1]}, is beyond the "
            f"{_LARGEST_N_MAX[0]} and {_LARGEST_N_MAX[1]} of nep-adapters, and calorine is not "
            "installed",
            hint="install it with: pip install calorine",
        )
    raise MissingDependencyError(
        "nep-adapters is needed for evaluating a NEP but is not installed, nor is calorine",
        hint=f"install it with: {install_command('md')}",
    )


def fits_nep_adapters(header: NepHeader) -> bool:
    """Whether nep-adapters can evaluate a model."""
    return all(n <= limit for n, limit in zip(header.n_max, _LARGEST_N_MAX, strict=True))


def _checked(base: Any, species: Sequence[str]) -> Any:
    """A calculator class that checks structures and results.

    The compiled code ignores atoms whose position is not a number, and ends the process for some
    cells that are not finite.
    """

    class CheckedCalculator(base):
        results: dict[str, Any]
        _spread: Any = None

        def calculate(
            self, atoms: Any = None, properties: Any = None, system_changes: Any = ()
        ) -> None:
            if atoms is not None:
                if "numbers" in system_changes:
                    _check_species(atoms, species)
                check_geometry(atoms, periodic=True)
                check_volume(atoms)
                # Atoms coincide only after they have moved, so dynamics need not repeat the check.
                if self._spread is None or _has_moved(self._spread, atoms):
                    check_distances(atoms)
                    self._spread = atoms.copy()
            try:
                super().calculate(atoms, properties, system_changes)
            except RuntimeError as error:
                raise PotentialFailureError(
                    f"the potential cannot be evaluated for {atoms.get_chemical_formula()} "
                    f"({error})"
                ) from error
            for name in ("energy", "forces", "stress"):
                if name in self.results and not np.isfinite(self.results[name]).all():
                    self.results = {}
                    raise PotentialFailureError(
                        f"the {name} of {self.atoms.get_chemical_formula()} is not finite; the "
                        "potential fails for this structure, or two atoms are at the same place",
                        hint="check the distances between the atoms",
                    )

    CheckedCalculator.__name__ = base.__name__
    CheckedCalculator.__qualname__ = base.__qualname__
    return CheckedCalculator


def check_volume(atoms: Atoms, name: str = "the structure") -> None:
    """Check that the cell fits into the memory of a neighbour list.

    The lists of nep-adapters divide the whole cell, so that their memory is that of the volume, in
    vacuum too: 14 GiB and two minutes for a cube of 1000 A.

    Raises
    ------
    InputError
        For a cell that is both larger than a cube of 300 A and nearly empty.
    """
    volume = atoms.cell.volume
    if volume > max(_LARGEST_VOLUME, _LARGEST_VOLUME_PER_ATOM * len(atoms)):
        raise InputError(
            f"{name} has {len(atoms)} atoms in a cell of {volume:.3g} A^3, which is nearly all "
            "vacuum and whose neighbour list takes too much memory",
            hint="reduce the vacuum to three times the cutoff of the potential",
        )


def _check_species(atoms: Atoms, species: Sequence[str]) -> None:
    unknown = sorted(set(atoms.get_chemical_symbols()) - set(species))
    if unknown:
        raise InputError(
            f"{atoms.get_chemical_formula()} contains {', '.join(unknown)}, but the potential is "
            f"for {', '.join(species)}",
            hint="take a potential of these elements",
        )


def _has_moved(checked: Atoms, atoms: Atoms) -> bool:
    """Whether two atoms can have met since a check of their distances."""
    return (
        len(checked) != len(atoms)
        or not np.array_equal(checked.pbc, atoms.pbc)
        or np.abs(checked.cell.array - atoms.cell.array).max() > _CHECKED_MOVE
        or np.abs(checked.positions - atoms.positions).max() > _CHECKED_MOVE
    )


def _check_gpu() -> None:
    status = require("nep_adapters", "md", "evaluating a NEP on a GPU").backend_status("cuda")
    if not status.available:
        raise ServiceError(
            f"a NEP cannot be evaluated on a GPU here: {status.detail or status.reason}",
            hint="use the device cpu (nep_device in mgflows.yaml)",
        )


def read_potential(text: str, species: Sequence[str] | None = None) -> NepHeader:
    """Check a ``nep.txt`` line by line and return its header.

    Other readers of this format can fail silently, or continue with shifted numbers, when a line is
    missing.

    Parameters
    ----------
    text
        Contents of the file.
    species
        If given, the species that the potential must have, in any order.

    Raises
    ------
    InputError
        Names the wrong line and what it should be.
    """
    header = read_header(text)
    lines = split_lines(text)
    n_header = header.n_lines
    numbers = [line.split() for line in lines[n_header:]]
    while numbers and not numbers[-1]:
        numbers.pop()
    for offset, words in enumerate(numbers):
        if len(words) != 1 or not is_number(words[0]):
            raise InputError(
                f"line {n_header + offset + 1} of the potential is "
                f"{lines[n_header + offset][:40]!r} but must be one finite number",
                hint="copy or train the potential again",
            )
    if len(numbers) != header.number_of_lines:
        raise InputError(
            f"the potential has {len(numbers)} numbers after its header (line {n_header}), but its "
            f"architecture has {header.number_of_parameters} parameters and "
            f"{header.descriptor_dimension} scaling factors, {header.number_of_lines} lines; the "
            "file is cut off or of another NEP version",
            hint="copy or train the potential again",
        )
    if not text.endswith(("\n", "\r")) and len(numbers[-1][0]) < min(
        len(words[0].lstrip("-+")) for words in numbers[:-1]
    ):
        raise InputError(
            f"the potential ends with the number {numbers[-1][0]}, which is shorter than all "
            "others, and without a line end; the file is cut off",
            hint="copy it again; if it is whole, end it with a line end",
        )
    missing = [symbol for symbol in species or () if symbol not in header.species]
    if missing:
        raise InputError(
            f"the potential (line 1) is for {', '.join(header.species)}, but not {missing[0]}",
            hint="use a potential trained for this alloy",
        )
    return header


def validate_nep_text(text: str, species: Sequence[str] | None = None) -> NepParameters:
    """Check a ``nep.txt`` that a trainer of mgflows can have written, or can start from.

    Parameters
    ----------
    text, species
        As for :func:`read_potential`, which accepts more dialects.

    Returns
    -------
    NepParameters
        Species and architecture as in the file; training parameters have their defaults.

    Raises
    ------
    InputError
        Names the wrong line and what it should be, or the part that cannot be trained.
    """
    return read_potential(text, species).parameters()


@contextmanager
def _potential_file(text: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mgflows-nep-") as directory:
        path = Path(directory, "nep.txt")
        path.write_text(text, encoding="utf-8")
        yield path


@contextmanager
def batch_calculator(text: str) -> Iterator[Any]:
    """nep-adapters' calculator for many structures at once."""
    module = require("nep_adapters", "md", "evaluating a NEP")
    with (
        _potential_file(text) as path,
        module.NEPCalculator(str(path), backend="cpu") as calculator,
    ):
        yield calculator
