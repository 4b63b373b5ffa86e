"""Strained copies of a structure (geometry only), which are labelled in separate jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from jobflow import Maker, job

from mgflows.errors import InputError
from mgflows.schemas.labels import atoms_from_structure, structure_from_atoms
from mgflows.schemas.provenance import maker_settings, record_provenance
from mgflows.schemas.strain import DeformedStructuresDocument
from mgflows.structures.strain import (
    Deformation,
    apply_deformation,
    crystal_deformations,
    elastic_deformations,
    volume_deformations,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = ["DeformationMaker", "DeformedStructuresDocument"]

_KINDS = {
    "volume": volume_deformations,
    "elastic": elastic_deformations,
    "crystal": crystal_deformations,
}


@dataclass
class DeformationMaker(Maker):
    """Strain a structure (paper, section II, subsets iii, iv and vi).

    Parameters
    ----------
    name
        Name of the job.
    kind
        ``"volume"``: all lattice vectors by +-1, 5, 10 %; ``"elastic"``: nine C_ij directions by
        +-0.4, +-0.8 %; ``"crystal"``: the volumes and +-0.8 %.
    """

    name: str = "deform"
    kind: Literal["volume", "elastic", "crystal"] = "volume"

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise InputError(
                f"the kind of deformation is {self.kind!r}",
                hint=f"choose one of {', '.join(_KINDS)}",
            )

    @property
    def deformations(self) -> list[Deformation]:
        """The deformations, which are the same for every structure."""
        return _KINDS[self.kind]()

    @job(data="structures", output_schema=DeformedStructuresDocument)
    def make(self, structure: Structure) -> DeformedStructuresDocument:
        """Strain one structure; positions follow the cell affinely."""
        with record_provenance(settings=maker_settings(self)) as provenance:
            atoms = atoms_from_structure(structure)
            structures = [
                structure_from_atoms(apply_deformation(atoms, deformation))
                for deformation in self.deformations
            ]
        return DeformedStructuresDocument(
            names=[deformation.name for deformation in self.deformations],
            structures=structures,
            deformations=[deformation.matrix.tolist() for deformation in self.deformations],
            provenance=provenance,
        )
