"""VASP as a label method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mgflows.methods.base import check_geometry
from mgflows.methods.vasp.run import VaspCalculator, check_ready
from mgflows.methods.vasp.settings import (
    GLASS_INCAR,
    GLASS_POTCAR,
    NEUTRAL_TAGS,
    STEPPING_TAGS,
    VaspSettings,
    potential_digest,
)

if TYPE_CHECKING:
    from ase import Atoms

    from mgflows.schemas.quality import CalculationReport

__all__ = [
    "GLASS_INCAR",
    "GLASS_POTCAR",
    "NEUTRAL_TAGS",
    "STEPPING_TAGS",
    "VaspMethod",
    "potential_digest",
]


@dataclass(frozen=True)
class VaspMethod(VaspSettings):
    """All settings that determine a VASP label.

    Parameters
    ----------
    k_spacing
        1/A, see :func:`mgflows.methods.base.k_mesh`; the paper's value.
    incar
        Changes to :data:`GLASS_INCAR`, for every kind of calculation; None removes a tag. Parallel
        settings such as NCORE and KPAR are also given here.
    potcar
        POTCAR symbol of an element, such as ``{"Zr": "Zr"}``. An element that is neither here nor
        in :data:`GLASS_POTCAR` has that of atomate2's table.
    potcar_functional
        Release of the POTCARs, named as in pymatgen.
    description
        One line for reports; made from the settings by default.
    n_cores
        Cores that one calculation uses, for the cost ledger. ``vasp_command`` in mgflows.yaml
        determines how many VASP really uses.

    Raises
    ------
    InputError
        For an INCAR tag that does not belong to the method, or a k-spacing that is not positive.

    Examples
    --------
    >>> VaspMethod(incar={"NCORE": 8}, n_cores=64).description
    'VASP, PBE, 450 eV, 0.162/A'
    """

    def build(self, atoms: Atoms) -> VaspCalculator:
        """A calculator that runs a single point of VASP per geometry, in directories named vasp.

        Relaxations and molecular dynamics by VASP itself are Makers of :mod:`mgflows.jobs.vasp`.

        Raises
        ------
        InputError
            If VASP or a POTCAR is missing, or the structure cannot be labelled.
        """
        check_geometry(atoms)
        check_ready(self, sorted(set(atoms.symbols)), {})
        return VaspCalculator(self)

    def report(self, calculator: VaspCalculator) -> CalculationReport:
        """Report of VASP on its last calculation."""
        return calculator.report
