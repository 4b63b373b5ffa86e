"""Documents that say how fit the surrogate is: its energies against labels, the cost of these, and how little relaxation changes its structures."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, Field

from mgflows.schemas.labels import MethodFingerprint
from mgflows.schemas.provenance import Provenance
from mgflows.structures.similarity import HISTOGRAM_WIDTH

if TYPE_CHECKING:
    from mgflows.fits import LinearFit
    from mgflows.structures.similarity import SimilarityAverage
    from mgflows.surrogate.correlation import SurrogateFitness


class FitRecord(BaseModel):
    """A line through label energies against surrogate energies."""

    slope: float = Field(description="eV of label energy per eV of surrogate energy")
    slope_error: float = Field(description="its standard error")
    intercept: float = Field(description="eV per atom")
    r2: float | None = Field(
        description="coefficient of determination; none where the label energies are all equal"
    )
    n_points: int = Field(description="samples fitted")

    @classmethod
    def from_fit(cls, fit: LinearFit | None) -> Self | None:
        """The record of a fit; None of none."""
        return None if fit is None else cls.model_validate(_without_nan(asdict(fit)))


class RateRecord(BaseModel):
    """Labelled samples of one cooling length."""

    n_sweeps: int = Field(description="cooling length in sweeps")
    n_samples: int = Field(description="samples with a label")
    energy_lj: float = Field(description="mean surrogate energy, eV per atom")
    energy_label: float = Field(description="mean label energy, eV per atom")
    fit: FitRecord | None = Field(
        description="line within this cooling length; none below three samples"
    )
    pressure: float = Field(description="mean label pressure, GPa, positive when compressed")


class CostForecast(BaseModel):
    """What the pilot labels cost, and what the labels behind the gate will by that measure."""

    n_labels: int = Field(description="labels measured")
    core_hours: float = Field(description="processor time of all of them, h")
    wall_hours: float = Field(description="elapsed time of all of them, h")
    core_seconds_each: float = Field(description="mean processor time of one label, s")
    wall_seconds_each: float = Field(description="mean elapsed time of one label, s")
    largest_memory: float = Field(description="largest resident memory of one process, MiB")
    evaluations: dict[str, int] = Field(
        description="subset to the energy-and-force evaluations still to come, one a single point, one a step of dynamics, and an assumed number a relaxation"
    )
    relaxation_steps: int = Field(description="evaluations assumed for a relaxation")
    core_hours_left: float = Field(
        description="processor time of these evaluations at the cost of a pilot label, h; an upper estimate, as later steps of a run start from the last one's density"
    )
    wall_hours_left: float = Field(description="elapsed time of the same, one after the other, h")


class FitnessRecord(BaseModel):
    """What labels say about the surrogate."""

    n_samples: int = Field(description="samples with a label")
    fit: FitRecord | None = Field(
        description="label energy against surrogate energy of the same structure, all cooling lengths"
    )
    fit_inherent: FitRecord | None = Field(
        description="the same against e_IS, the surrogate energy of the inherent structure"
    )
    rates: list[RateRecord] = Field(description="one entry a cooling length")
    pressure: float = Field(
        description="mean label pressure of the samples, GPa: the pressure offset of the surrogate's density"
    )
    pressure_std: float | None = Field(
        description="its standard deviation over the samples, GPa; none for a single one"
    )

    @classmethod
    def from_fitness(cls, fitness: SurrogateFitness) -> FitnessRecord:
        """The record of what was measured."""
        return FitnessRecord(
            n_samples=fitness.n_samples,
            fit=FitRecord.from_fit(fitness.fit),
            fit_inherent=FitRecord.from_fit(fitness.fit_inherent),
            rates=[
                RateRecord.model_validate({**asdict(rate), "fit": FitRecord.from_fit(rate.fit)})
                for rate in fitness.rates
            ],
            pressure=fitness.pressure,
            pressure_std=None if math.isnan(fitness.pressure_std) else fitness.pressure_std,
        )


class FitnessDocument(FitnessRecord):
    """The gate before the bulk of the labels: what the first few say about the surrogate, and whether to go on."""

    passed: bool = Field(description="whether the rest of the labels may be submitted")
    reason: str = Field(description="why, in words; what is wrong if it did not pass")
    limits: dict[str, Any] = Field(description="FitnessLimits, as a dictionary")
    n_pilots: int = Field(description="labels that were asked for")
    missing: list[str] = Field(
        description="label jobs without an output, by uuid: they failed and were left out"
    )
    families: list[str] = Field(description="the samples whose labels are in")
    cost: CostForecast = Field(description="what the labels cost and will")
    fingerprint: MethodFingerprint = Field(description="the method of the labels")
    provenance: Provenance


class SimilarityRecord(BaseModel):
    """What relaxing the samples of one cooling length changes (paper, Fig. 1b; Methods, Eqs. 2-3), after two trivial parts are taken out."""

    n_sweeps: int | None = Field(
        description="cooling length in sweeps; none for all lengths together"
    )
    n_samples: int = Field(description="relaxed samples")
    delta_cb: float = Field(
        description="Eq. 3: mean fraction of bonds below 4 A that are below 4 A in the relaxed cell too"
    )
    delta_cb_error: float | None = Field(
        description="its standard error over the samples; none for one"
    )
    delta_cb_affine: float = Field(
        description="the same with the relaxed structure scaled back into the initial cell"
    )
    delta_cb_affine_error: float | None = Field(description="its standard error; none for one")
    mean_displacement: float = Field(description="mean displacement magnitude of the atoms, A")
    rms_displacement: float = Field(description="root mean square of it, A")
    median_displacement: float = Field(description="median of it, A")
    percentile_95: float = Field(description="95th percentile of it, A")
    linear_expansion: float = Field(
        description="affine part taken out: mean relative change of all lengths"
    )
    distortion: float = Field(
        description="affine part taken out: mean norm of the change of the cell's shape"
    )
    rigid_shift: float | None = Field(
        description="rigid part taken out: mean magnitude of the mean displacement, A; none where it was not kept"
    )
    histogram: list[int] = Field(description="number of displacements in each bin, from zero up")

    @classmethod
    def from_average(cls, n_sweeps: int | None, average: SimilarityAverage) -> Self:
        """The record of an average."""
        return cls.model_validate({"n_sweeps": n_sweeps, **_without_nan(asdict(average))})


class SimilarityDocument(BaseModel):
    """How little the surrogate's samples change when the labelling method relaxes them, by cooling length."""

    rates: list[SimilarityRecord] = Field(description="one entry a cooling length")
    overall: SimilarityRecord = Field(description="all relaxed samples")
    bin_width: float = Field(HISTOGRAM_WIDTH, description="width of a bin of the histograms, A")
    families: list[str] = Field(description="the relaxed samples")
    missing: list[str] = Field(
        description="relaxations without an output, by uuid: they failed and were left out"
    )
    fingerprint: MethodFingerprint = Field(description="the method that relaxed them")
    provenance: Provenance


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    """The same with None for nan, which JSON does not have."""
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in values.items()
    }
