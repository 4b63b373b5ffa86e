"""Validation by independent samples: one document per sample, and the averages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from mgflows.schemas.provenance import Provenance

if TYPE_CHECKING:
    from mgflows.validation.comparison import Comparison


class SampleCurve(BaseModel):
    """Columns of one curve, such as ``distance`` and ``total`` of a g(r)."""

    columns: dict[str, list[float]] = Field(description="name to values, in the unit of its kind")


class ValidationSampleDocument(BaseModel):
    """One sample of a validation: a glass, a quench, a melt or the checks of soundness."""

    validation: str = Field(description="name of the validation")
    potential: str = Field(description="name of the potential in it")
    potential_digest: str = Field(description="sha256 of everything that determines its forces")
    suite: str = Field(description="name of the suite")
    kind: str = Field(description="soundness, glass, quench, melt or yield")
    index: int = Field(
        description="number among the samples of the same kind and temperature, from 0"
    )
    temperature: float | None = Field(None, description="K, of a melt")
    n_atoms: int = Field(description="atoms")
    composition: dict[str, float] = Field(description="atomic fractions")
    glass_digest: str | None = Field(
        None,
        description="digest of the glass that the sample was given; None in samples of earlier "
        "versions",
    )
    engine: str = Field(description="program of the dynamics")
    values: dict[str, float] = Field(description="quantity to value, in the unit of the quantity")
    errors: dict[str, float] = Field(
        default_factory=dict, description="standard errors over time, in the same units"
    )
    correlation_times: dict[str, float] = Field(
        default_factory=dict, description="integrated autocorrelation times, ps"
    )
    failures: dict[str, str] = Field(
        default_factory=dict, description="quantity to the reason why it has no value"
    )
    unresolved: dict[str, str] = Field(
        default_factory=dict, description="quantity to the reason why the sample is too short"
    )
    curves: dict[str, SampleCurve] = Field(
        default_factory=dict, description="by name; stored in the additional store 'data'"
    )
    seed: int = Field(description="seed of the sample")
    label_energy: float | None = Field(
        None, description="energy of the given glass by the labelling method, eV per atom"
    )
    provenance: Provenance


class EstimateDocument(BaseModel):
    """A quantity averaged over samples."""

    value: float = Field(description="mean, in the unit of the quantity")
    error: float | None = Field(None, description="standard error, in the same unit")
    n_samples: int = Field(description="samples averaged")
    correlation_time: float | None = Field(None, description="ps, of averages over time")
    temperature: float | None = Field(None, description="K, of quantities of melts")
    verdict: str = Field("", description="converged, or the reason why it is not")


class ModelDocument(BaseModel):
    """Results of one potential."""

    name: str = Field(description="of the potential")
    estimates: dict[str, EstimateDocument] = Field(
        default_factory=dict, description="quantity, with the temperature of melts, to its mean"
    )
    failures: dict[str, str] = Field(
        default_factory=dict, description="sample and quantity to the reason"
    )
    unresolved: dict[str, str] = Field(
        default_factory=dict,
        description="sample and quantity to the reason why the suite cannot determine it",
    )
    warnings: dict[str, str] = Field(
        default_factory=dict, description="unsafe dimers of a peer: sample to the reason"
    )
    n_planned: int = Field(0, description="samples planned")
    n_done: int = Field(0, description="samples with a result")
    cpu_hours: float = Field(0.0, description="processor time of all samples, h")
    versions: list[str] = Field(
        default_factory=list, description="versions of mgflows that measured the samples"
    )


class ExperimentDocument(BaseModel):
    """A measured value with its source."""

    quantity: str = Field(description="name of the quantity")
    composition: str = Field(description="formula")
    value: float = Field(description="in the unit of the quantity")
    error: float | None = Field(None, description="in the same unit")
    temperature: float | None = Field(None, description="K")
    sample: str = Field("", description="how the sample was made and measured")
    doi: str = Field(description="of the publication; empty for an unpublished measurement")
    read_in: str = Field(description="where the value was read")
    verified: bool = Field(description="whether it was read in the publication itself")


class MeasuredCurveDocument(BaseModel):
    """A measured curve with its source."""

    quantity: str = Field(description="radial_distribution or structure_factor, X-ray weighted")
    composition: str = Field(description="formula")
    x: list[float] = Field(description="distances in A, or wave numbers in 1/A")
    y: list[float] = Field(description="g(r) or S(q), dimensionless")
    temperature: float | None = Field(None, description="K")
    sample: str = Field("", description="how it was made and measured")
    doi: str = Field(description="of the publication; empty for an unpublished measurement")
    read_in: str = Field(description="where the curve was read")
    verified: bool = Field(description="whether it was read in the publication itself")


class ComparisonDocument(BaseModel):
    """Comparison of several potentials with each other and with experiment."""

    validation: str = Field(description="name of the validation")
    suite: str = Field(description="name of the suite")
    composition: dict[str, float] = Field(description="atomic fractions")
    models: list[ModelDocument] = Field(description="one per potential")
    experiments: list[ExperimentDocument] = Field(
        default_factory=list, description="measured values of this composition"
    )
    measured_curves: list[MeasuredCurveDocument] = Field(
        default_factory=list, description="measured curves of this composition"
    )
    curves: dict[str, dict[str, SampleCurve]] = Field(
        default_factory=dict,
        description="potential to its averaged curves; stored in the additional store 'data'",
    )
    provenance: Provenance

    def comparison(self) -> Comparison:
        """The results as :func:`mgflows.validation.comparison.compare` returns them."""
        from mgflows.validation.averages import Estimate, ModelResults
        from mgflows.validation.comparison import Comparison
        from mgflows.validation.experiments import Experiment, MeasuredCurve

        models = [
            ModelResults(
                name=model.name,
                estimates={
                    key: Estimate(**estimate.model_dump())
                    for key, estimate in model.estimates.items()
                },
                curves={
                    name: curve.columns for name, curve in self.curves.get(model.name, {}).items()
                },
                failures=model.failures,
                unresolved=model.unresolved,
                warnings=model.warnings,
                n_planned=model.n_planned,
                n_done=model.n_done,
                cpu_hours=model.cpu_hours,
                versions=model.versions,
            )
            for model in self.models
        ]
        return Comparison(
            suite=self.suite,
            composition=self.composition,
            models=models,
            experiments=[Experiment(**each.model_dump()) for each in self.experiments],
            measured_curves=[
                MeasuredCurve(**{**each.model_dump(), "x": tuple(each.x), "y": tuple(each.y)})
                for each in self.measured_curves
            ],
        )
