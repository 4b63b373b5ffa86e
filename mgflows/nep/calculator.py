"""Energies, forces and stresses of a trained potential, from the file ``nep.txt``."""

from __future__ import annotations

import math
import tempfile
import weakref
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from mgflows.errors import InputError, MissingDependencyError, ServiceError, require
from mgflows.nep.parameters import NepParameters

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ase.calculators.calculator import Calculator

__all__ = ["Device", "nep_calculator", "potential_text", "validate_nep_text"]

Device = Literal["cpu", "cuda"]
"""Where a potential is evaluated."""

_HEADER_WORDS = {
    "zbl": (3,),
    "cutoff": (3, 5),
    "n_max": (3,),
    "basis_size": (3,),
    "l_max": (4, 5, 6, 7, 8),
    "ANN": (3,),
}


def potential_text(potential: str | Path) -> str:
    """The text of a potential that is given as its text or as the path of its file.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    if isinstance(potential, str) and "\n" in potential:
        return potential
    try:
        return Path(potential).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the potential {potential} cannot be read: {error}") from error


def nep_calculator(potential: str | Path, device: Device = "cpu") -> Calculator:
    """An ASE calculator for a NEP: energy in eV, forces in eV/A, stress in eV/A^3 with the ASE sign.

    nep-adapters does the work, on one CPU core unless ``OMP_NUM_THREADS`` says otherwise; calorine where nep-adapters is not installed.

    Parameters
    ----------
    potential
        Path of a ``nep.txt``, or its text.
    device
        ``cuda`` computes on the first GPU, with forces within 2e-5 eV/A of those of the CPU (tests/nep/test_gpu.py).

    Raises
    ------
    InputError
        If the file is not a NEP (see :func:`validate_nep_text`), or for another device.
    MissingDependencyError
        If neither package is installed, or only calorine, which knows no GPU, for ``cuda``.
    ServiceError
        If the GPU cannot be used.
    """
    text = potential_text(potential)
    validate_nep_text(text)
    if device not in get_args(Device):
        raise InputError(f"device is {device!r} but must be one of: {', '.join(get_args(Device))}")
    if device == "cuda":
        _check_gpu()
    if find_spec("nep_adapters") is not None:
        module = require("nep_adapters.ase", "md", "evaluating a NEP")
        with _potential_file(text) as path:
            return module.NepAseCalculator(str(path), backend=device)
    if find_spec("calorine") is not None:
        module = require("calorine.calculators", "md", "evaluating a NEP")
        directory = tempfile.TemporaryDirectory(prefix="mgflows-nep-")
        path = Path(directory.name, "nep.txt")
        path.write_text(text, encoding="utf-8")
        calculator = module.CPUNEP(str(path))
        # calorine reads the file again whenever it meets another structure.
        weakref.finalize(calculator, directory.cleanup)
        return calculator
    raise MissingDependencyError(
        "nep-adapters is needed for evaluating a NEP but is not installed, nor is calorine; install it with: pip install 'mgflows[md]'"
    )


def _check_gpu() -> None:
    status = require("nep_adapters", "md", "evaluating a NEP on a GPU").backend_status("cuda")
    if not status.available:
        raise ServiceError(
            f"a NEP cannot be evaluated on a GPU here: {status.detail or status.reason}; take the device cpu (nep_device in mgflows.yaml)"
        )


def validate_nep_text(text: str, species: Sequence[str] | None = None) -> NepParameters:
    """Check a ``nep.txt`` line by line and return the architecture it states.

    Readers of this format are known to die silently, or to go on with shifted numbers, when a line is missing.

    Parameters
    ----------
    text
        Contents of the file.
    species
        If given, the species that the potential must know, in any order.

    Returns
    -------
    parameters
        Species and architecture as in the file; what concerns the training has its default.

    Raises
    ------
    InputError
        Names the wrong line and what it should be.
    """
    lines = text.splitlines()
    header, n_header = _read_header(lines)
    numbers = [line.split() for line in lines[n_header:]]
    while numbers and not numbers[-1]:
        numbers.pop()
    for offset, words in enumerate(numbers):
        if len(words) != 1 or not _is_finite(words[0]):
            raise InputError(
                f"line {n_header + offset + 1} of the potential is {lines[n_header + offset][:40]!r} but must be one finite number"
            )
    expected = header.number_of_parameters + header.descriptor_dimension
    if len(numbers) != expected:
        raise InputError(
            f"the potential has {len(numbers)} numbers after its header (line {n_header}), but its architecture has {header.number_of_parameters} "
            f"parameters and {header.descriptor_dimension} scaling factors, {expected} lines; the file is cut off or of another NEP version"
        )
    missing = [symbol for symbol in species or () if symbol not in header.species]
    if missing:
        raise InputError(
            f"line 1 of the potential knows {', '.join(header.species)}, but not {missing[0]}; use a potential trained for this alloy"
        )
    return header


def _read_header(lines: Sequence[str]) -> tuple[NepParameters, int]:
    """Architecture and number of header lines."""
    first = lines[0].split() if lines else []
    if len(first) < 3 or first[0] not in ("nep4", "nep4_zbl"):
        raise InputError(
            f"line 1 of the potential is {' '.join(first)[:60]!r} but must be like 'nep4_zbl 3 Cu Zr Al'; only NEP version 4 is supported"
        )
    if first[1] != str(len(first) - 2):
        raise InputError(
            f"line 1 of the potential announces {first[1]} species and lists {len(first) - 2}: {' '.join(first)!r}"
        )
    keywords = ["zbl"] * (first[0] == "nep4_zbl") + [
        "cutoff",
        "n_max",
        "basis_size",
        "l_max",
        "ANN",
    ]
    values: dict[str, list[float]] = {}
    for number, keyword in enumerate(keywords, start=2):
        words = lines[number - 1].split() if number <= len(lines) else []
        if (
            not words
            or words[0] != keyword
            or len(words) not in _HEADER_WORDS[keyword]
            or not all(map(_is_finite, words[1:]))
        ):
            n_values = _HEADER_WORDS[keyword][0] - 1
            raise InputError(
                f"line {number} of the potential is {' '.join(words)[:60]!r} but must be {keyword!r} and {n_values} numbers"
            )
        values[keyword] = [float(word) for word in words[1:]]
    l_max = values["l_max"]
    if any(l_max[3:]):
        raise InputError(
            "the potential has four-body terms beyond q_222 (l_max line), which mgflows does not support; train without them"
        )
    try:
        parameters = NepParameters(
            species=tuple(first[2:]),
            zbl=values["zbl"][1] if "zbl" in values else None,
            cutoff=(values["cutoff"][0], values["cutoff"][1]),
            n_max=(int(values["n_max"][0]), int(values["n_max"][1])),
            basis_size=(int(values["basis_size"][0]), int(values["basis_size"][1])),
            l_max=(int(l_max[0]), int(l_max[1]), int(l_max[2])),
            neuron=int(values["ANN"][0]),
        )
    except InputError as error:
        raise InputError(f"the header of the potential cannot be used: {error}") from error
    return parameters, 1 + len(keywords)


def _is_finite(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


@contextmanager
def _potential_file(text: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mgflows-nep-") as directory:
        path = Path(directory, "nep.txt")
        path.write_text(text, encoding="utf-8")
        yield path


@contextmanager
def _batch_calculator(text: str) -> Iterator[Any]:
    """nep-adapters' calculator for many structures at once."""
    module = require("nep_adapters", "md", "evaluating a NEP")
    with (
        _potential_file(text) as path,
        module.NEPCalculator(str(path), backend="cpu") as calculator,
    ):
        yield calculator
