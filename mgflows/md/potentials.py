"""Potentials by file or import path, so that every engine and every process can build them."""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgflows.eam.setfl import EmbeddedAtomTable, read_table
from mgflows.errors import InputError, MgflowsError, MissingFileError, PotentialFailureError
from mgflows.files import replace_texts, sha256_of_file, with_absolute_paths
from mgflows.md.forces import force_field
from mgflows.nep.calculator import nep_calculator, potential_text, read_potential

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from mgflows.nep.calculator import Device

__all__ = [
    "CalculatorPotential",
    "EamPotential",
    "NepPotential",
    "Potential",
    "StandInPotential",
    "parse_potential",
]


class Potential(ABC):
    """Interaction of the atoms, independent of the program that integrates their motion.

    Attributes
    ----------
    device
        Device that evaluates it.
    """

    device: Device = "cpu"

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name for tables and figures."""

    @property
    @abstractmethod
    def specification(self) -> str:
        """Text from which :func:`parse_potential` makes the same potential."""

    @property
    @abstractmethod
    def species(self) -> tuple[str, ...] | None:
        """Supported elements; None if only a calculation can show them."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """Hash of everything that determines the forces, as far as it is known."""

    @abstractmethod
    def calculator(self) -> Calculator:
        """A new ASE calculator with energy, forces and stress."""

    def check_usable(self, atoms: Atoms) -> None:
        """Check that it evaluates energy, forces and stress of a structure.

        Parameters
        ----------
        atoms
            A periodic structure. Values that are not finite are accepted: whether the potential is
            sound is a result.

        Raises
        ------
        InputError
            If an element is missing, or the calculator cannot be built or does not evaluate it.
        """
        self.check_species(atoms.get_chemical_symbols())
        probe = atoms.copy()
        probe.set_constraint()
        probe.calc = self.calculator()
        try:
            force_field(probe)(probe)
        except PotentialFailureError:
            return
        except MgflowsError:
            raise
        except Exception as error:
            # Every calculator has its own errors.
            raise InputError(
                f"{self.name} does not evaluate energy, forces and stress of "
                f"{atoms.get_chemical_formula()} ({type(error).__name__}: {error})",
                hint="give a potential with stress that has all elements of the structure",
            ) from error

    def check_species(self, species: Sequence[str]) -> None:
        """Check that all of these elements are supported.

        Raises
        ------
        InputError
            Names the missing elements.
        """
        if self.species is None:
            return
        missing = [symbol for symbol in dict.fromkeys(species) if symbol not in self.species]
        if missing:
            raise InputError(
                f"{self.name} is for {', '.join(self.species)}, but not {', '.join(missing)}",
                hint="give a potential that has all elements of the structure",
            )


@dataclass(frozen=True)
class NepPotential(Potential):
    """A neuroevolution potential.

    Parameters
    ----------
    file
        ``nep.txt``, as a path or its text.
    device
        Device of the ASE calculator and of the library of LAMMPS.

    Raises
    ------
    InputError
        If the file cannot be read or is not a NEP4.
    """

    file: str | Path
    device: Device = "cpu"
    label: str = ""

    def __post_init__(self) -> None:
        read_potential(self.text)

    @functools.cached_property
    def text(self) -> str:
        """Contents of ``nep.txt``."""
        return potential_text(self.file)

    @property
    def name(self) -> str:
        """The label, or the name of the file."""
        if self.label:
            return self.label
        is_text = isinstance(self.file, str) and "\n" in self.file
        return f"NEP {self.digest[:8]}" if is_text else Path(self.file).name

    @property
    def specification(self) -> str:
        """``nep:FILE``, or the text itself if there is no file."""
        if isinstance(self.file, str) and "\n" in self.file:
            return self.file
        return f"nep:{Path(self.file).absolute()}"

    @property
    def species(self) -> tuple[str, ...]:
        """Elements in the first line of the file."""
        return read_potential(self.text).species

    @property
    def digest(self) -> str:
        """Sha256 of the file."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def calculator(self) -> Calculator:
        """Calculator of nep-adapters or calorine."""
        return nep_calculator(self.text, self.device)


@dataclass(frozen=True)
class EamPotential(Potential):
    """An embedded-atom table.

    Parameters
    ----------
    file
        In the format of LAMMPS' ``eam/alloy`` or ``eam/fs``.

    Raises
    ------
    InputError
        If the file cannot be read or is no such table.
    """

    file: str | Path
    label: str = ""

    def __post_init__(self) -> None:
        _ = self.table

    @functools.cached_property
    def table(self) -> EmbeddedAtomTable:
        """The file, read and checked."""
        return read_table(self.file)

    @property
    def name(self) -> str:
        """The label, or the name of the file."""
        return self.label or Path(self.file).name

    @property
    def specification(self) -> str:
        """``eam:FILE``."""
        return f"eam:{Path(self.file).absolute()}"

    @property
    def species(self) -> tuple[str, ...]:
        """Elements in line 4 of the file."""
        return self.table.species

    @property
    def digest(self) -> str:
        """Sha256 of the file."""
        return hashlib.sha256(self.table.text.encode()).hexdigest()

    def calculator(self) -> Calculator:
        """By the library of LAMMPS."""
        from mgflows.eam.calculator import TableCalculator

        return TableCalculator(self.table)


@dataclass(frozen=True)
class StandInPotential(Potential):
    """The embedded-atom stand-in for DFT of :mod:`mgflows.eam.stand_in`."""

    species_: tuple[str, ...] = ("Cu", "Zr", "Al")

    @property
    def name(self) -> str:
        """``stand-in``."""
        return "stand-in"

    @property
    def specification(self) -> str:
        """``stand-in``."""
        return "stand-in"

    @property
    def species(self) -> tuple[str, ...]:
        """Elements of its fit."""
        return self.species_

    @property
    def digest(self) -> str:
        """Hash of its parameters."""
        from mgflows.eam.stand_in import stand_in_fingerprint

        return str(stand_in_fingerprint(self.species_)["sha256"])

    def calculator(self) -> Calculator:
        """By the library of LAMMPS."""
        from mgflows.eam import stand_in_calculator

        return stand_in_calculator(self.species_)

    @functools.cached_property
    def table(self) -> EmbeddedAtomTable:
        """The stand-in as a table."""
        import tempfile

        from mgflows.eam.stand_in import stand_in_setfl

        with tempfile.TemporaryDirectory(prefix="mgflows-eam-") as directory:
            return read_table(stand_in_setfl(Path(directory, "model.eam.alloy"), self.species_))


@dataclass(frozen=True)
class CalculatorPotential(Potential):
    """Any ASE calculator.

    Parameters
    ----------
    calculator_path
        Import path ``module:Class`` of a calculator class, or of a function that returns a
        calculator. Empty if only ``instance`` is given.
    kwargs
        Its keyword arguments, plain JSON values. A relative path to a file that exists here becomes
        absolute, because jobs run in other directories.
    instance
        An existing calculator; it cannot be built again in another process.
    """

    calculator_path: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)
    instance: Calculator | None = None
    label: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "kwargs", with_absolute_paths(self.kwargs))

    @property
    def name(self) -> str:
        """The label, or the name of the class."""
        if self.label:
            return self.label
        if self.instance is not None:
            return type(self.instance).__name__
        return self.calculator_path.rpartition(":")[2]

    @property
    def specification(self) -> str:
        """``calculator:module:Class``, with JSON after a question mark for keyword arguments.

        Raises
        ------
        InputError
            For an instance, which has no text.
        """
        if not self.calculator_path:
            raise InputError(
                f"the calculator {self.name} is an object and cannot be built by another process",
                hint="give its import path, such as calculator:ase.calculators.emt:EMT",
            )
        arguments = f"?{json.dumps(self.kwargs, sort_keys=True)}" if self.kwargs else ""
        return f"calculator:{self.calculator_path}{arguments}"

    @property
    def species(self) -> None:
        """Not known."""
        return

    @property
    def digest(self) -> str:
        """Hash of the import path, its arguments and their files; of the class for an object."""
        kwargs = replace_texts(self.kwargs, _content)
        words = [self.calculator_path or type(self.instance).__qualname__, kwargs]
        return hashlib.sha256(json.dumps(words, sort_keys=True, default=str).encode()).hexdigest()

    def calculator(self) -> Calculator:
        """Import and build it.

        Raises
        ------
        InputError
            If it cannot be imported or built.
        MissingFileError
            If one of its files is missing.
        """
        if self.instance is not None:
            return self.instance
        module, _, attribute = self.calculator_path.partition(":")
        try:
            function = getattr(importlib.import_module(module), attribute)
        except Exception as error:
            # A module that is imported runs its own code.
            raise InputError(
                f"the calculator {self.calculator_path} cannot be imported "
                f"({type(error).__name__}: {error})",
                hint="give calculator:MODULE:CLASS, such as calculator:ase.calculators.emt:EMT",
            ) from error
        try:
            return function(**self.kwargs)
        except MgflowsError:
            raise
        except FileNotFoundError as error:
            raise MissingFileError(
                f"the calculator {self.calculator_path} was not built because a file was not found "
                f"({error})",
                hint="give its absolute path, which every worker must be able to read",
            ) from error
        except Exception as error:
            # Every calculator has its own errors.
            raise InputError(
                f"the calculator {self.calculator_path} cannot be built "
                f"({type(error).__name__}: {error})",
                hint="check its keyword arguments",
            ) from error


def parse_potential(text: str, device: Device = "cpu") -> Potential:
    """A potential from its specification.

    Parameters
    ----------
    text
        ``nep:FILE`` or just ``FILE`` for a ``nep.txt``, ``eam:FILE`` for a table of LAMMPS,
        ``calculator:MODULE:CLASS`` for an ASE calculator, with keyword arguments as JSON after a
        question mark, or ``stand-in``. ``NAME=`` in front of the file or the module names it in
        tables.
    device
        Device on which a NEP is evaluated.

    Raises
    ------
    InputError
        For an unknown kind, or a file that cannot be used.

    Examples
    --------
    >>> parse_potential('calculator:ase.calculators.lj:LennardJones?{"sigma": 2.5}').name
    'LennardJones'
    """
    if text == "stand-in":
        return StandInPotential()
    if "\n" in text:
        return NepPotential(text, device)
    kind, separator, rest = text.partition(":")
    if not separator:
        kind, rest = "nep", text
    if kind in ("nep", "eam"):
        label, equals, file = rest.partition("=")
        if not equals or "/" in label:
            label, file = "", rest
        if not file:
            raise InputError(f"{text!r} names no file", hint=f"give {kind}:FILE")
        return NepPotential(file, device, label) if kind == "nep" else EamPotential(file, label)
    if kind == "calculator":
        path, _, arguments = rest.partition("?")
        label, equals, named = path.partition("=")
        if equals:
            path = named
        if ":" not in path:
            path = ":".join(path.rpartition(".")[::2])
        try:
            kwargs = json.loads(arguments) if arguments else {}
            if not isinstance(kwargs, dict):
                raise ValueError(f"it is a {type(kwargs).__name__}")
        except ValueError as error:
            raise InputError(
                f"the keyword arguments {arguments!r} of {path} are not a JSON object ({error})",
                hint='write them as {"name": value}',
            ) from error
        return CalculatorPotential(path, kwargs, label=label if equals else "")
    raise InputError(
        f"the potential {text!r} has the unknown kind {kind!r}",
        hint="give nep:FILE, eam:FILE, calculator:MODULE:CLASS or stand-in",
    )


def _content(text: str) -> str:
    """Hash of the file that a keyword argument names; the text itself if it names none."""
    path = Path(text)
    return f"sha256:{sha256_of_file(path)}" if path.is_absolute() and path.is_file() else text
