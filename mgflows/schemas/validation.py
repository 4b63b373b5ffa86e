"""Validation of a potential and quenches made with it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field
from pymatgen.core import Structure

from mgflows.schemas.provenance import Provenance


class QuenchDocument(BaseModel):
    """A glass quenched from the melt with a trained potential."""

    structure: Structure = Field(description="the structure at the end of the quench")
    potential_id: str = Field(description="potential that drove the dynamics")
    cooling_rate: float = Field(description="K/ps (1 K/ps = 1000 K/ns)")
    temperature_high: float = Field(description="K")
    temperature_low: float = Field(description="K")
    density: float = Field(description="mass density at the end, g/cm^3")
    trace: dict[str, list[float]] = Field(
        description="columns over the run: time (fs), temperature (K), density (g/cm^3), energy (eV per atom)"
    )
    scaled_down: str = Field(
        "", description="in which way the quench is faster or smaller than the paper's"
    )
    provenance: Provenance


class ValidationDocument(BaseModel):
    """What a potential says about the glass, beside its reference."""

    potential_id: str = Field(description="the potential")
    dataset_id: str | None = Field(None, description="the dataset it was trained on")
    campaign: str | None = Field(None, description="campaign it belongs to")
    suite: str = Field(description="which suite was run")
    protocol: str = Field(
        description="the protocol in words, and in which way it is smaller than the paper's"
    )
    reference: str = Field(description="what 'reference' values were computed with, in words")
    summary: dict[str, Any] = Field(
        description="numbers to query and compare, as mgflows.validation.suite.ValidationResult.summary()"
    )
    curves: dict[str, Any] = Field(
        description="curves to plot, as mgflows.validation.suite.ValidationResult.curves(); stored in the additional store 'data'"
    )
    surrogate: dict[str, Any] | None = Field(
        None,
        description="how the surrogate's energies order the labels': 'slope', 'intercept', 'r_squared', 'residual' (eV per atom), 'n_samples', and "
        "'by_n_sweeps' with the same for each cooling length",
    )
    scaled_down: str = Field(
        "", description="in which way the protocol is smaller than the paper's"
    )
    provenance: Provenance
