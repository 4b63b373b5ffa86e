"""Strained structures."""

from __future__ import annotations

from pydantic import BaseModel, Field
from pymatgen.core import Structure

from mgflows.schemas.provenance import Provenance


class DeformedStructuresDocument(BaseModel):
    """Strained copies of one structure."""

    names: list[str] = Field(description="name of each deformation")
    structures: list[Structure] = Field(
        description="the strained structures; stored in the additional store 'data'"
    )
    deformations: list[list[list[float]]] = Field(description="(3, 3) deformation gradient of each")
    provenance: Provenance
