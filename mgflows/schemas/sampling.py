"""Documents of the sampling stage: glasses, surrogate dynamics and supercooling clock."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field
from pymatgen.core import Structure

from mgflows.schemas.fields import AsDict
from mgflows.schemas.provenance import Provenance
from mgflows.structures.order import OrderParameters
from mgflows.surrogate.lennard_jones import LennardJones
from mgflows.surrogate.supercooling import SupercoolingClock


class Acceptance(BaseModel):
    """Acceptance of moves of one kind during a cooling."""

    reduced_temperature: list[float] = Field(description="temperature T* of each block of sweeps")
    accepted_fraction: list[float | None] = Field(
        description="accepted over attempted moves in that block; none without attempts"
    )


class SampleDocument(BaseModel):
    """One glass from one cooling run on the Lennard-Jones surrogate."""

    structure: Structure = Field(
        description="the snapshot at the end of the cooling run, grouped by species"
    )
    inherent_structure: Structure = Field(description="the minimised snapshot")
    energy_lj: float = Field(description="surrogate energy of the snapshot, eV per atom")
    e_is: float = Field(description="surrogate energy of the inherent structure, eV per atom")
    e_is_reduced: float = Field(description="the same in units of epsilon of the reference species")
    pressure_lj: float = Field(description="surrogate (virial) pressure of the snapshot, GPa")
    n_sweeps: int = Field(description="length of the cooling run in sweeps (N moves each)")
    protocol: str = Field("paper", description="cooling protocol: 'paper' or 'efficient'")
    reduced_cooling_rate: float = Field(description="temperature drop per sweep, T* per sweep")
    reduced_temperature_high: float = Field(description="T* at the start")
    reduced_temperature_low: float = Field(description="T* at the end")
    swap_fraction: float = Field(description="fraction of moves that exchange two species")
    replicas: int = Field(
        1, description="samples that were cooled simultaneously, in single precision if several"
    )
    acceptance: dict[str, Acceptance] = Field(
        description="acceptance by move, such as 'displacement Cu' or 'exchange Cu-Al'; the mean "
        "of the replicas"
    )
    order: OrderParameters = Field(description="order parameters of the inherent structure")
    ordered: bool = Field(
        description="true for a crystal or Frank-Kasper phase by the order parameters; such "
        "samples are not used in training"
    )
    surrogate: Annotated[LennardJones, AsDict] = Field(description="the surrogate")
    provenance: Provenance


class SampleSetDocument(BaseModel):
    """Several glasses cooled by one job, each with a separate family."""

    families: list[str] = Field(description="family of each sample")
    samples: list[SampleDocument] = Field(description="the samples")
    provenance: Provenance


class SurrogateCoolingDocument(BaseModel):
    """Inherent-structure energies after molecular-dynamics coolings of one duration."""

    time_reduced: float = Field(
        description="duration of each cooling in t* = sigma sqrt(m/epsilon)"
    )
    e_is_reduced: list[float] = Field(
        description="inherent-structure energies per atom, one per seed, in epsilon of the "
        "reference "
        "species"
    )
    seeds: list[int] = Field(description="seeds of the runs")
    ordered: list[bool] = Field(
        description="true where a run ended ordered; such runs are left out"
    )
    surrogate: Annotated[LennardJones, AsDict] = Field(description="the surrogate")
    provenance: Provenance


class RelaxationTable(BaseModel):
    """Relaxation times and inherent energies of the liquid, over temperature."""

    reduced_temperature: list[float] = Field(description="T*")
    log_relaxation_time: list[float] = Field(description="ln tau_alpha in t*")
    log_error: list[float] = Field(description="its standard error")
    e_is: list[float] = Field(description="inherent-structure energy, eV per atom")
    e_is_error: list[float] = Field(description="its standard error, eV per atom")


class OnsetDocument(BaseModel):
    """The onset of supercooling: where tau_alpha of the surrogate leaves its Arrhenius line."""

    reduced_temperature: float | None = Field(
        description="T_on; none where the relaxation times stay within the criterion"
    )
    interval: tuple[float, float] | None = Field(description="its 68% interval")
    e_is: float | None = Field(
        description="inherent-structure energy of the liquid at T_on, eV per atom"
    )
    e_is_error: float | None = Field(description="its standard error")
    reduced_activation_energy: float = Field(
        description="slope of ln tau_alpha against 1/T* in the hot liquid"
    )
    relaxation: RelaxationTable = Field(description="the measured relaxation times")
    surrogate: Annotated[LennardJones, AsDict] = Field(description="the surrogate")
    provenance: Provenance


class EffectiveTimeRecord(BaseModel):
    """Molecular-dynamics time equivalent to one group of Monte Carlo samples."""

    n_sweeps: int = Field(description="cooling length of the group in sweeps")
    n_samples: int = Field(description="samples in the group, ordered ones left out")
    e_is_reduced: float = Field(
        description="mean inherent-structure energy per atom, in epsilon of the reference species"
    )
    e_is_reduced_error: float = Field(description="its standard error")
    log10_time: float = Field(description="log10 of the effective time in t*")
    log10_time_low: float = Field(description="lower end of the 68% interval")
    log10_time_high: float = Field(description="upper end of the 68% interval")
    log10_seconds: float = Field(
        description="log10 of the effective time in s, with the mass of the clock"
    )
    decades_above_onset: float | None = Field(
        None,
        description="log10 of effective time over onset time, where an onset was measured",
    )
    extrapolated: bool = Field(
        description="whether the time lies beyond the longest cooling of the fit"
    )


class SupercoolingDocument(BaseModel):
    """The supercooling clock of a campaign and the effective time of every sample."""

    clock: Annotated[SupercoolingClock, AsDict] = Field(description="the fitted log law")
    dynamics: dict[str, list[float]] = Field(
        description="duration (t*, as text) to e_IS* of each molecular-dynamics cooling used"
    )
    groups: list[EffectiveTimeRecord] = Field(
        description="one entry per Monte Carlo cooling length"
    )
    families: dict[str, float] = Field(description="log10 effective time in t* of each family")
    seconds_per_reduced_time: float = Field(
        description="t* in s, with the mass of the reference species"
    )
    provenance: Provenance
