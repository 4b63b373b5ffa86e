"""Any ASE calculator as a label method."""

from __future__ import annotations

import importlib
import itertools
import json
import os
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase import Atoms

from mgflows.errors import InputError, MgflowsError, MissingFileError
from mgflows.files import replace_texts, sha256_of_file, with_absolute_paths
from mgflows.methods.base import check_geometry
from mgflows.schemas.frames import Frame
from mgflows.schemas.labels import MethodFingerprint
from mgflows.schemas.quality import CalculationReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ase.calculators.calculator import Calculator

__all__ = ["AseMethod"]

_TRIAL_SPACING = 3.0
"""Distance in A between neighbours in the trial structure, typical of metals."""
_TRIED: set[tuple[str, str, tuple[str, ...]]] = set()
"""Calculators, with keyword arguments and elements, that labelled the trial structure."""


@dataclass(frozen=True)
class AseMethod:
    """Any ASE calculator, specified by name so that it can be stored and built on other machines.

    Parameters
    ----------
    calculator
        Import path of a calculator class, or of a function that returns a calculator, such as
        ``"ase.calculators.emt.EMT"``.
    kwargs
        Keyword arguments for it, as plain JSON values. A relative path to a file that exists here
        becomes absolute, because jobs run in other directories.
    is_dft
        Whether the labels are density-functional results, which determines their name in reports.
    description
        One line for reports; by default the import path.
    details
        Import path of a function that takes the same keyword arguments and returns, as a
        dictionary, further data that determine the labels, such as built-in parameters. The keys of
        its entry ``elements``, if it has one, are the elements of the calculator.
    n_cores
        Cores that one calculation uses, for the cost ledger.
    elements
        The elements that the calculator can label. None: as `details` has them; otherwise a
        calculator that is not DFT is tried on a small structure of the alloy before a campaign is
        submitted. Give them if the calculator only works on the workers.
    files
        Sha256 of each file in `kwargs`. It is recorded when the method is made; a job refuses a
        file that has changed since.

    Raises
    ------
    InputError
        If a keyword argument is not a plain JSON value.

    Notes
    -----
    The fingerprint has the import path, the version of the package, the keyword arguments with the
    sha256 of every file in place of its path, and the details.
    """

    calculator: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    is_dft: bool = False
    description: str = ""
    details: str = ""
    n_cores: int = 1
    elements: tuple[str, ...] | None = None
    files: dict[str, str] | None = None

    def __post_init__(self) -> None:
        kwargs = with_absolute_paths(self.kwargs)
        try:
            json.dumps(kwargs)
        except TypeError as error:
            raise InputError(
                f"the keyword arguments of {self.calculator} are not plain JSON values ({error})",
                hint="give numbers, texts, lists and dictionaries, or name a function that builds "
                "the calculator from them",
            ) from error
        if not self.description:
            object.__setattr__(self, "description", f"{self.calculator} through ASE")
        known = self.files or {}
        files = {
            text: known.get(text) or sha256_of_file(Path(text))
            for text in _texts(kwargs)
            if text in known or (os.path.isabs(text) and Path(text).is_file())
        }
        object.__setattr__(self, "kwargs", kwargs)
        object.__setattr__(self, "files", files or None)
        if self.elements is not None:
            object.__setattr__(self, "elements", tuple(self.elements))

    @classmethod
    def stand_in(
        cls, species: tuple[str, ...] = ("Cu", "Zr", "Al"), *, johnson_mixing: bool = False
    ) -> AseMethod:
        """The embedded-atom stand-in for DFT that is part of mgflows.

        Parameters
        ----------
        species
            Elements of the alloy.
        johnson_mixing
            Also accept the elements that the stand-in was not fitted for
            (:func:`mgflows.eam.stand_in.stand_in_model`): a demonstration.
        """
        kwargs: dict[str, Any] = {"species": list(species)}
        pairs = "refitted cross pairs"
        if johnson_mixing:
            kwargs["johnson_mixing"] = True
            pairs = "cross pairs by Johnson's rule where they are not refitted"
        return cls(
            calculator="mgflows.eam.stand_in_calculator",
            kwargs=kwargs,
            description=f"stand-in EAM (Zhou-Johnson-Wadley 2004 elements, {pairs}), not DFT",
            details="mgflows.eam.stand_in_fingerprint",
        )

    def build(self, atoms: Atoms | None = None) -> Calculator:
        """A new calculator.

        Raises
        ------
        MissingFileError
            If a file in the keyword arguments is missing on this machine.
        InputError
            If such a file has changed, the calculator cannot be imported or built, or the
            structure cannot be labelled.
        """
        if atoms is not None:
            check_geometry(atoms)
        self._check_files()
        function = _import(self.calculator)
        try:
            return function(**self.kwargs)
        except MgflowsError:
            raise
        except FileNotFoundError as error:
            raise MissingFileError(
                f"the calculator {self.calculator} was not built because a file was not found "
                f"({error})",
                hint="give its absolute path, which every worker must be able to read",
            ) from error
        except Exception as error:
            # Every calculator has its own errors.
            raise InputError(
                f"the calculator {self.calculator} cannot be built ({_words(error)})",
                hint="check its keyword arguments",
            ) from error

    def check_species(self, species: Sequence[str]) -> None:
        """Check that the calculator can label all of these elements.

        Raises
        ------
        InputError
            If it lacks an element, or a trial on a small structure of these elements fails.
        """
        elements = self.elements
        if elements is None and self.details:
            elements = self._details().get("elements")
        if elements is not None:
            missing = [symbol for symbol in species if symbol not in elements]
            if missing:
                raise InputError(
                    f"{self.description} cannot label {', '.join(missing)}; it has the elements "
                    f"{', '.join(elements)}",
                    hint="choose another method of labelling for this alloy",
                )
        elif not self.is_dft:
            _try(self, tuple(sorted(set(species))))

    def fingerprint(self, species: Sequence[str] = ()) -> MethodFingerprint:  # noqa: ARG002
        """Everything that determines the labels of this method.

        Raises
        ------
        InputError
            If the calculator cannot be imported.
        """
        _import(self.calculator)
        files = {
            path: sha256_of_file(Path(path)) if Path(path).is_file() else digest
            for path, digest in (self.files or {}).items()
        }
        settings = replace_texts(
            self.kwargs, lambda text: f"sha256:{files[text]}" if text in files else text
        )
        if self.details:
            settings["details"] = self._details()
        package = self.calculator.partition(".")[0]
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            version = "unknown"
        return MethodFingerprint(
            code=f"ase:{self.calculator}",
            version=version,
            settings=settings,
            is_dft=self.is_dft,
            description=self.description,
        )

    def report(self, calculator: Calculator) -> CalculationReport:
        """Whether the energy is a free energy; calculators report nothing else in a common form.

        A potential without electrons has one energy only, even if its calculator does not name it a
        free energy.
        """
        if "free_energy" in calculator.results:
            return CalculationReport(free_energy=True)
        return CalculationReport(free_energy=False if self.is_dft else None)

    def _details(self) -> dict[str, Any]:
        return dict(_import(self.details)(**self.kwargs))

    def _check_files(self) -> None:
        for path, digest in (self.files or {}).items():
            if not Path(path).is_file():
                raise MissingFileError(
                    f"the file {path} of {self.calculator} was not found on this machine",
                    hint="put it where every worker can read it and make the campaign with that "
                    "path",
                )
            if sha256_of_file(Path(path)) != digest:
                raise InputError(
                    f"the file {path} of {self.calculator} has changed since the method was made",
                    hint="restore it, or start a campaign with the new file",
                )


def _try(method: AseMethod, species: tuple[str, ...]) -> None:
    """Label a small structure of these elements; name the elements that fail."""
    key = (method.calculator, json.dumps([method.kwargs, method.files]), species)
    if key in _TRIED:
        return
    error = _trial_error(method, species)
    if error is None:
        _TRIED.add(key)
        return
    failing = [symbol for symbol in species if _trial_error(method, (symbol,))]
    of = ", ".join(failing if 0 < len(failing) < len(species) else species)
    raise InputError(
        f"{method.description} failed to label a small trial structure of {of} ({_words(error)})",
        hint="choose a method that has these elements, or give the keyword arguments that it needs "
        "(`kwargs`); if it works on the workers only, give its `elements`, which skips this trial",
    ) from error


def _trial_error(method: AseMethod, species: tuple[str, ...]) -> Exception | None:
    """The error of a calculator on 27 atoms in a simple cubic lattice; None if it has none."""
    sites = list(itertools.product(range(3), repeat=3))
    atoms = Atoms(
        [species[number % len(species)] for number in range(len(sites))],
        positions=[[_TRIAL_SPACING * index for index in site] for site in sites],
        cell=[3 * _TRIAL_SPACING] * 3,
        pbc=True,
    )
    atoms.calc = method.build(atoms)
    try:
        Frame.from_atoms(atoms, name="of the trial")
    except Exception as error:  # noqa: BLE001
        # Every calculator has its own errors.
        return error
    finally:
        close = getattr(atoms.calc, "close", None)
        if close is not None:
            close()
    return None


def _import(path: str) -> Callable[..., Any]:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"the calculator {path!r} cannot be imported ({error})",
            hint="give an import path such as 'ase.calculators.emt.EMT' and install its package "
            "where the job runs",
        ) from error


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for member in value.values() if isinstance(value, dict) else value:
            yield from _texts(member)
