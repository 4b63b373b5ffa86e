"""Imports of frames that other programs labelled."""

from __future__ import annotations

from pydantic import BaseModel, Field

from mgflows.schemas.labels import MethodFingerprint
from mgflows.schemas.provenance import Provenance

__all__ = ["ImportDocument", "ImportedFile", "Range"]


class Range(BaseModel):
    """Smallest and largest value of a quantity."""

    smallest: float
    largest: float

    def including(self, value: float) -> Range:
        """Return the range that also includes a value."""
        return Range(smallest=min(self.smallest, value), largest=max(self.largest, value))


class ImportedFile(BaseModel):
    """One file or folder that was read."""

    name: str = Field(description="its name, without the folder")
    sha256: str = Field("", description="hash of a file; empty for a folder")
    format: str = Field(description="extxyz, ase-db, vasp or deepmd")
    n_frames: int = Field(0, description="labelled structures in it")


class ImportDocument(BaseModel):
    """Record of frames that were read from files, checked, and stored as labels."""

    campaign: str = Field(description="campaign of the frames")
    files: list[ImportedFile] = Field(description="the sources, in their order")
    fingerprint: MethodFingerprint = Field(description="the method, as declared and as detected")
    fingerprint_digest: str = Field(description="its hash")
    keys: dict[str, dict[str, int]] = Field(
        description="quantity to the keys that it was read from, with the number of frames"
    )
    units: dict[str, str] = Field(description="units and signs of the files")
    n_read: int = Field(0, description="frames in the files")
    n_accepted: int = Field(0, description="distinct frames that passed the checks")
    n_new: int = Field(0, description="accepted frames that were new to the campaign")
    n_known: int = Field(0, description="accepted frames that were already in the campaign")
    n_repeated: int = Field(0, description="further copies of a frame in the files")
    n_relabelled: int = Field(
        0, description="accepted frames whose structure has another label, in the files or before"
    )
    n_steps: int = Field(0, description="accepted frames that are steps of molecular dynamics")
    refused: dict[str, int] = Field(
        default_factory=dict, description="reason to the number of frames that were left out"
    )
    examples: dict[str, str] = Field(
        default_factory=dict, description="reason to the place of the first frame"
    )
    subsets: dict[str, int] = Field(
        default_factory=dict, description="subset to the number of accepted frames"
    )
    formulas: dict[str, int] = Field(
        default_factory=dict, description="chemical formula of the cell to accepted frames"
    )
    n_families: int = Field(0, description="families of the accepted frames")
    family_source: str = Field("", description="meaning of the families, in words")
    ranges: dict[str, Range] = Field(
        default_factory=dict,
        description="of accepted frames: atoms, energy_per_atom (eV), maximum_force (eV/A), "
        "pressure (GPa), density (g/cm^3), volume_per_atom (A^3)",
    )
    isolated_atoms: dict[str, float] = Field(
        default_factory=dict,
        description="element to the energy of its isolated atom in eV, where the files have one",
    )
    unused_keys: list[str] = Field(
        default_factory=list, description="keys of the files that are not stored"
    )
    warnings: list[str] = Field(default_factory=list, description="points to check, in words")
    provenance: Provenance
