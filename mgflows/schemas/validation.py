"""Validation of a potential and quenches made with it."""

from __future__ import annotations

from pydantic import BaseModel, Field, field_validator
from pymatgen.core import Structure

from mgflows.schemas.provenance import Provenance


class RefusedFrame(BaseModel):
    """An implausible configuration of a quench, which is not labelled."""

    time: float = Field(description="fs since the start of the melt")
    temperature: float = Field(description="thermostat temperature, K")
    reason: str = Field(description="which quantities are outside their limits")


class ExchangeCount(BaseModel):
    """Monte Carlo exchanges of two elements."""

    elements: tuple[str, str] = Field(description="the elements")
    trials: int = Field(description="exchanges tried")
    accepted: int = Field(description="accepted exchanges")


class QuenchTrace(BaseModel):
    """Columns over a quench."""

    time: list[float] = Field(default_factory=list, description="fs")
    temperature: list[float] = Field(default_factory=list, description="K")
    density: list[float] = Field(default_factory=list, description="g/cm^3")
    energy: list[float] = Field(default_factory=list, description="potential energy, eV per atom")


class QuenchDocument(BaseModel):
    """A glass quenched from the melt with a trained potential."""

    structure: Structure = Field(description="the structure at the end of the quench")
    structures: list[Structure] = Field(
        default_factory=list,
        description="configurations along melt and quench that are labelled, the end last; stored "
        "in the additional store 'data'",
    )
    times: list[float] = Field(
        default_factory=list, description="their times, fs since the start of the melt"
    )
    temperatures: list[float] = Field(
        default_factory=list, description="their thermostat temperatures, K"
    )
    refused: list[RefusedFrame] = Field(
        default_factory=list, description="implausible configurations, which are not labelled"
    )
    exchanges: list[ExchangeCount] = Field(
        default_factory=list, description="by pair of elements; empty for dynamics alone"
    )
    potential_id: str = Field(description="potential that drove the dynamics")
    cooling_rate: float = Field(description="K/ps (1 K/ps = 1000 K/ns)")
    temperature_high: float = Field(description="K")
    temperature_low: float = Field(description="K")
    density: float = Field(description="mass density at the end, g/cm^3")
    trace: QuenchTrace = Field(description="samples of the whole run")
    provenance: Provenance


class PropertiesSummary(BaseModel):
    """Properties of the glasses under one calculator: means and standard deviations over them.

    None where the suite leaves a property out or its measurement failed.
    """

    density: float | None = Field(None, description="g/cm^3 at 300 K and 0 GPa")
    density_error: float | None = Field(None, description="its standard error, g/cm^3")
    bulk_modulus: float | None = Field(None, description="GPa")
    bulk_modulus_std: float | None = Field(None, description="GPa")
    shear_modulus: float | None = Field(None, description="GPa, from the elastic constants")
    shear_modulus_std: float | None = Field(None, description="GPa")
    young_modulus: float | None = Field(None, description="GPa")
    young_modulus_std: float | None = Field(None, description="GPa")
    poisson_ratio: float | None = Field(None, description="dimensionless")
    poisson_ratio_std: float | None = Field(None, description="dimensionless")
    n_elastic: int = Field(0, description="glasses whose elastic constants were measured")
    elastic_nonlinearity: float | None = Field(
        None, description="largest relative change of the elastic constants with the strain"
    )
    shear_modulus_aqs: float | None = Field(None, description="GPa, from quasistatic shear")
    shear_modulus_aqs_std: float | None = Field(None, description="GPa")
    n_shear: int = Field(0, description="glasses whose shear modulus was measured")
    n_shear_events: int = Field(0, description="plastic events in all shear curves")
    melt_temperature: float | None = Field(
        None, description="temperature of the equilibrated melt, K"
    )
    melt_density: float | None = Field(None, description="density of the equilibrated melt, g/cm^3")
    melt_density_error: float | None = Field(None, description="its standard error, g/cm^3")
    viscosity: float | None = Field(None, description="viscosity of the melt, mPa s")
    viscosity_error: float | None = Field(None, description="its standard error, mPa s")
    viscosity_converged: bool | None = Field(
        None, description="whether the Green-Kubo integral reached its plateau"
    )
    viscosity_pressure: float | None = Field(None, description="GPa, of the melt")
    viscosity_density: float | None = Field(None, description="g/cm^3, of the melt")


class DimerVerdict(BaseModel):
    """Whether two atoms repel each other at short distance."""

    repulsive: bool = Field(description="whether the energy rises towards short distances")
    hole: float | None = Field(None, description="distance of an attractive hole, A")
    hole_depth: float | None = Field(None, description="its depth, eV")
    barrier: float | None = Field(None, description="energy barrier in front of the hole, eV")
    safe: bool | None = Field(None, description="whether dynamics cannot pass the barrier")


class ValidationSummary(BaseModel):
    """Numbers of a validation to query and compare."""

    suite: str = Field(description="name of the suite")
    seed: int = Field(description="seed of all random numbers")
    n_glasses: int = Field(description="glasses given")
    n_atoms: int = Field(description="atoms in the first glass")
    model: PropertiesSummary = Field(description="under the potential")
    reference: PropertiesSummary | None = Field(None, description="under the reference calculator")
    dimers: dict[str, DimerVerdict] = Field(
        default_factory=dict, description="by pair, such as 'Cu-Zr'"
    )
    rdf_mean_absolute_error: float | None = Field(
        None,
        description="mean absolute difference of the X-ray weighted g(r) to the reference",
    )
    rdf_wasserstein: float | None = Field(
        None, description="Wasserstein distance between these two curves, A"
    )
    energy_slope: float | None = Field(
        None, description="slope of potential energies over reference energies of the glasses"
    )
    energy_slope_error: float | None = Field(None, description="its standard error")
    energy_r_squared: float | None = Field(None, description="coefficient of determination")
    energy_residual: float | None = Field(None, description="rms deviation, eV per atom")
    failures: dict[str, str] = Field(
        default_factory=dict, description="stage to the reason why it has no result"
    )
    cpu_seconds: dict[str, float] = Field(
        default_factory=dict, description="processor time by stage, s"
    )


class RadialDistributionCurve(BaseModel):
    """Radial distribution functions."""

    distance: list[float] = Field(description="A")
    total: list[float] = Field(description="total g(r)")
    xray: list[float] = Field(default_factory=list, description="X-ray weighted g(r)")
    partial: dict[str, list[float]] = Field(description="partial g(r) by pair")


class ShearCurve(BaseModel):
    """Quasistatic shear of one glass in one direction."""

    glass: int | None = Field(None, description="number of the glass, from 0")
    direction: str = Field("", description="such as 'xy'")
    strain: list[float] = Field(description="dimensionless")
    stress: list[float] = Field(description="GPa")
    shear_modulus: float | None = Field(None, description="slope in the fit window, GPa")
    events: list[int] = Field(
        default_factory=list, description="positions on the curve of plastic events"
    )
    failure: str = Field("", description="why the curve ends early; empty if it does not")

    @field_validator("failure", mode="before")
    @classmethod
    def _none_is_empty(cls, value: str | None) -> str:
        return value or ""


class HeatCapacityCurve(BaseModel):
    """Heat capacity over temperature."""

    temperature: list[float] = Field(description="K")
    heat_capacity: list[float] = Field(description="J/(mol K)")
    error: list[float | None] = Field(description="standard error, J/(mol K)")


class ViscosityCurve(BaseModel):
    """Running Green-Kubo integral."""

    time: list[float] = Field(description="ps")
    running_integral: list[float] = Field(description="mPa s")


class DimerCurve(BaseModel):
    """Energy of two atoms over their distance."""

    distance: list[float] = Field(description="A")
    energy: list[float] = Field(description="eV")


class PropertiesCurves(BaseModel):
    """Curves of the glasses under one calculator; none where the suite leaves a property out."""

    stiffness: list[list[list[float]]] = Field(
        default_factory=list, description="(6, 6) elastic constants of each glass, GPa"
    )
    shear: list[ShearCurve] = Field(
        default_factory=list, description="all directions of the first glass, then of the next"
    )
    radial_distribution: RadialDistributionCurve | None = None
    heat_capacity: HeatCapacityCurve | None = None
    viscosity: ViscosityCurve | None = None


class GlassEnergies(BaseModel):
    """Energies of the glasses as given."""

    model: list[float] = Field(default_factory=list, description="potential, eV per atom")
    reference: list[float] = Field(default_factory=list, description="reference, eV per atom")


class ValidationCurves(BaseModel):
    """Curves of a validation, for figures."""

    model: PropertiesCurves = Field(default_factory=PropertiesCurves)
    reference: PropertiesCurves | None = None
    dimers: dict[str, DimerCurve] = Field(default_factory=dict, description="by pair")
    energies: GlassEnergies = Field(default_factory=GlassEnergies)


class ValidationDocument(BaseModel):
    """Properties of the glass under a potential, and under its reference."""

    potential_id: str = Field(description="the potential")
    dataset_id: str | None = Field(None, description="the dataset it was trained on")
    campaign: str | None = Field(None, description="campaign it belongs to")
    suite: str = Field(description="which suite was run")
    protocol: str = Field(
        description="the protocol in words, and how it is smaller than the paper's"
    )
    reference: str = Field(description="method of the reference values, in words")
    summary: ValidationSummary = Field(description="numbers to query and compare")
    curves: ValidationCurves = Field(
        description="curves to plot; stored in the additional store 'data'"
    )
    provenance: Provenance
