"""atomate2's input set generators with our settings, and error handlers that cannot change a label.

The base classes are atomate2's, so that this module is imported only where a job runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from atomate2.vasp.sets.base import _BASE_VASP_SET
from atomate2.vasp.sets.core import MDSetGenerator, RelaxSetGenerator, StaticSetGenerator
from custodian.vasp.handlers import (
    FrozenJobErrorHandler,
    NonConvergingErrorHandler,
    StdErrHandler,
    UnconvergedErrorHandler,
    VaspErrorHandler,
)
from pymatgen.io.vasp import Kpoints

from mgflows.methods.vasp.settings import GLASS_POTCAR, VaspSettings

if TYPE_CHECKING:
    from custodian.custodian import ErrorHandler

__all__ = [
    "GlassMDSetGenerator",
    "GlassRelaxSetGenerator",
    "GlassStaticSetGenerator",
    "molecular_dynamics_handlers",
    "relax_handlers",
    "static_handlers",
]

_HARMLESS_ERRORS = [
    "amin",
    "coef",
    "edddav",
    "eddiag",
    "elf_kpar",
    "nbands_not_sufficient",
    "pdsyevx",
    "pssyevx",
    "too_few_bands",
    "zheev",
]
"""Errors whose remedies change the algorithm, mixing, number of bands or cores, or start file."""
_RELAXATION_ERRORS = ["brions", "zbrent"]
"""Errors of the minimiser; their remedies change its step or converge the electrons further."""


def static_handlers() -> tuple[ErrorHandler, ...]:
    """Custodian's handlers for single points that do not change the converged result.

    These of custodian's and atomate2's handlers are left out, because they change a label silently:

    - ``LargeSigmaHandler`` lowers SIGMA, ``IncorrectSmearingHandler`` sets ISMEAR = 2 and
      SIGMA = 0.2, ``KspacingMetalHandler`` and ``MeshSymmetryErrorHandler`` change the k-mesh;
    - most errors of ``VaspErrorHandler``: ``tet`` and ``dentet`` change the smearing, ``brmix``
      shifts the k-mesh off Gamma, ``zpotrf`` expands the cell, ``triple_product`` exchanges its
      axes;
    - ``PositiveEnergyErrorHandler`` and ``PotimErrorHandler`` change POTIM, which has no effect on
      a single point.

    The others change ALGO, mixing, bands or cores; the document names each change. The settings
    that VASP ran with are compared with the requested ones afterwards
    (:mod:`mgflows.methods.vasp.outputs`): this comparison, not the list, is the guarantee.
    """
    return (
        VaspErrorHandler(errors_subset_to_catch=[*_HARMLESS_ERRORS]),
        UnconvergedErrorHandler(),
        NonConvergingErrorHandler(),
        FrozenJobErrorHandler(),
        StdErrHandler(),
    )


def relax_handlers() -> tuple[ErrorHandler, ...]:
    """The handlers of single points and of the minimiser's errors.

    A relaxation that used all its steps continues from its last structure.
    """
    return (
        VaspErrorHandler(errors_subset_to_catch=[*_HARMLESS_ERRORS, *_RELAXATION_ERRORS]),
        *static_handlers()[1:],
    )


def molecular_dynamics_handlers() -> tuple[ErrorHandler, ...]:
    """Handlers that restart a trajectory from its beginning, with another algorithm.

    ``UnconvergedErrorHandler`` and ``FrozenJobErrorHandler`` are left out: they continue from the
    last structure, which would start a second heating ramp there.
    """
    return (
        VaspErrorHandler(errors_subset_to_catch=[*_HARMLESS_ERRORS]),
        NonConvergingErrorHandler(),
        StdErrHandler(),
    )


class _GlassInputs:
    """Base of the three generators: INCAR, k-mesh and POTCAR come from `method` only."""

    method: VaspSettings
    config_dict: dict[str, Any]
    user_incar_settings: dict[str, Any]
    structure: Any

    def __post_init__(self) -> None:
        self.config_dict = {
            "INCAR": {},
            "KPOINTS": {},
            "POTCAR": _BASE_VASP_SET["POTCAR"] | GLASS_POTCAR | self.method.potcar,
            "POTCAR_FUNCTIONAL": self.method.potcar_functional,
        }
        self.user_incar_settings = (
            self.method.tags | dict.fromkeys(self.method.removed_tags) | self.user_incar_settings
        )
        super().__post_init__()  # type: ignore[misc]

    @property
    def kpoints_updates(self) -> Kpoints:
        """The k-mesh, with rounded divisions."""
        return Kpoints.gamma_automatic(self.method.k_mesh(self.structure.lattice.matrix))


@dataclass
class GlassStaticSetGenerator(_GlassInputs, StaticSetGenerator):
    """Inputs of a single point.

    Parameters
    ----------
    method
        The settings.
    """

    method: VaspSettings = field(default_factory=VaspSettings)
    auto_ismear: bool = False


@dataclass
class GlassRelaxSetGenerator(_GlassInputs, RelaxSetGenerator):
    """Inputs of a relaxation.

    Parameters
    ----------
    method
        The settings.
    force_tolerance
        Largest force in eV/A at which to stop; the paper's 1e-2.
    relax_cell
        Relax volume and shape of the cell with the positions, as the paper does.
    max_steps
        Ionic steps.
    """

    method: VaspSettings = field(default_factory=VaspSettings)
    force_tolerance: float = 1e-2
    relax_cell: bool = True
    max_steps: int = 500
    auto_ismear: bool = False

    @property
    def incar_updates(self) -> dict[str, Any]:
        """Tags of the minimiser."""
        return {
            "IBRION": 2,
            "ISIF": 3 if self.relax_cell else 2,
            "NSW": self.max_steps,
            "EDIFFG": -self.force_tolerance,
        }


@dataclass
class GlassMDSetGenerator(_GlassInputs, MDSetGenerator):
    """Inputs of molecular dynamics at zero pressure with Langevin thermostat and barostat.

    Parameters
    ----------
    method
        The settings.
    friction, lattice_friction
        1/ps, of the atoms and of the cell; the paper's 20 and 5.
    cell_mass
        PMASS in u. The paper does not state it; VASP's default.
    seed
        First number of RANDOM_SEED.
    """

    method: VaspSettings = field(default_factory=VaspSettings)
    ensemble: str = "npt"
    start_temp: float = 0.0
    end_temp: float = 2000.0
    nsteps: int = 120
    time_step: float = 1.0
    friction: float = 20.0
    lattice_friction: float = 5.0
    cell_mass: float = 1000.0
    seed: int = 0
    auto_ismear: bool = False
    auto_ispin: bool = False

    @property
    def incar_updates(self) -> dict[str, Any]:
        """Tags of the dynamics: atomate2's, with the paper's values."""
        n_species = len(self.structure.composition.elements)
        return super().incar_updates | {
            "LANGEVIN_GAMMA": [self.friction] * n_species,
            "LANGEVIN_GAMMA_L": self.lattice_friction,
            "PMASS": self.cell_mass,
            "PSTRESS": 0,
            "NBLOCK": 1,
            "RANDOM_SEED": [self.seed, 0, 0],
        }
