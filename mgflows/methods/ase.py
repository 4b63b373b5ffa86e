"""Any ASE calculator as a method of labelling."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgflows.errors import InputError
from mgflows.schemas.labels import MethodFingerprint
from mgflows.schemas.quality import CalculationReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms
    from ase.calculators.calculator import Calculator

__all__ = ["AseMethod"]


@dataclass(frozen=True)
class AseMethod:
    """Any ASE calculator, named so that a document can store it and another machine can build it.

    Parameters
    ----------
    calculator
        Import path of a calculator class or of a function that returns a calculator, such as ``"ase.calculators.emt.EMT"``.
    kwargs
        Keyword arguments for it; plain JSON values only.
    is_dft
        Whether the labels are density-functional results. Decides what reports call them.
    description
        One line for reports.
    details
        Import path of a function that takes the same keyword arguments and returns, as a dictionary, what else decides the labels: parameters
        the calculator has built in, say.
    n_cores
        Cores that one calculation uses, for the ledger of costs.

    Notes
    -----
    The fingerprint holds the import path, the version of the package, the keyword arguments, the sha256 of every file they name, and the details.
    """

    calculator: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    is_dft: bool = False
    description: str = ""
    details: str = ""
    n_cores: int = 1

    @classmethod
    def stand_in(cls, species: tuple[str, ...] = ("Cu", "Zr", "Al")) -> AseMethod:
        """The embedded-atom stand-in for DFT that mgflows builds itself."""
        return cls(
            calculator="mgflows.eam.stand_in_calculator",
            kwargs={"species": list(species)},
            description="stand-in EAM (Zhou-Johnson-Wadley 2004 elements, refitted cross pairs), not DFT",
            details="mgflows.eam.stand_in_fingerprint",
        )

    def build(self, atoms: Atoms | None = None) -> Calculator:  # noqa: ARG002
        """A new calculator.

        Raises
        ------
        InputError
            If the import path leads nowhere.
        """
        return _import(self.calculator)(**self.kwargs)

    def fingerprint(self, species: Sequence[str] = ()) -> MethodFingerprint:  # noqa: ARG002
        """What decides the labels of this method.

        Raises
        ------
        InputError
            If the calculator cannot be imported, or does not know the species it is asked for.
        """
        _import(self.calculator)
        settings = {key: _file_digest(value) or value for key, value in self.kwargs.items()}
        if self.details:
            settings["details"] = _import(self.details)(**self.kwargs)
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
            description=self.description or f"{self.calculator} through ASE",
        )

    def report(self, calculator: Calculator) -> CalculationReport:
        """Whether the energy is a free energy; a calculator says nothing else that all of them say.

        A potential without electrons has one energy only, whether its calculator calls it free or not.
        """
        return CalculationReport(
            free_energy=True
            if "free_energy" in calculator.results
            else False
            if self.is_dft
            else None
        )


def _import(path: str) -> Callable[..., Any]:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"the calculator {path!r} cannot be imported ({error}); give an import path such as 'ase.calculators.emt.EMT' "
            "and install its package where the job runs"
        ) from error


def _file_digest(value: Any) -> str | None:
    """Sha256 of the file a keyword argument names, so that an edited file is another method."""
    if not isinstance(value, str) or not Path(value).is_file():
        return None
    return "sha256:" + hashlib.sha256(Path(value).read_bytes()).hexdigest()
