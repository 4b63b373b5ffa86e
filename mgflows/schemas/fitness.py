"""Fitness of the surrogate: energies against labels, cost of labels, changes on relaxation."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import BaseModel, Field

from mgflows.schemas.labels import MethodFingerprint
from mgflows.schemas.provenance import Provenance
from mgflows.structures.similarity import HISTOGRAM_WIDTH
from mgflows.surrogate.correlation import FitnessLimits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mgflows.fits import LinearFit
    from mgflows.structures.similarity import SimilarityAverage
    from mgflows.surrogate.correlation import SurrogateFitness


class FitRecord(BaseModel):
    """A line fitted to label energies against surrogate energies."""

    slope: float = Field(description="eV of label energy per eV of surrogate energy")
    slope_error: float = Field(description="its standard error")
    intercept: float = Field(description="eV per atom")
    r2: float | None = Field(
        description="coefficient of determination; none where the label energies are all equal"
    )
    n_points: int = Field(description="samples fitted")

    @classmethod
    def from_fit(cls, fit: LinearFit | None) -> Self | None:
        """Record a fit; None for None."""
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
    """Cost of the pilot labels, and the estimated cost of the labels that follow the gate."""

    n_labels: int = Field(description="labels measured")
    core_hours: float = Field(description="processor time of all of them, h")
    wall_hours: float = Field(description="elapsed time of all of them, h")
    core_seconds_each: float = Field(description="mean processor time of one label, s")
    wall_seconds_each: float = Field(description="mean elapsed time of one label, s")
    largest_memory: float = Field(description="largest resident memory of one process, MiB")
    evaluations: dict[str, int] = Field(
        description="energy-and-force evaluations still to come by subset: one per single "
        "point, one "
        "per step of dynamics, and an assumed number per relaxation"
    )
    relaxation_steps: int = Field(description="evaluations assumed for a relaxation")
    core_hours_left: float = Field(
        description="processor time of these evaluations at the cost of a pilot label, h; an upper "
        "estimate, since later steps of a run start from the density of the step before"
    )
    wall_hours_left: float = Field(description="elapsed time of the same, one after the other, h")

    @classmethod
    def from_costs(
        cls,
        costs: Sequence[Mapping[str, Any]],
        evaluations: Mapping[str, int],
        relaxations: Mapping[str, int],
        steps_per_relaxation: int,
    ) -> Self:
        """Estimate the cost of the remaining labels from that of the measured ones.

        Parameters
        ----------
        costs
            ``cpu_seconds``, ``wall_seconds`` and ``max_rss_mib`` of each measured label.
        evaluations, relaxations
            Evaluations and relaxations still to come, by subset.
        steps_per_relaxation
            Evaluations assumed for a relaxation.
        """
        core, wall = (
            np.array([cost[key] for cost in costs], dtype=float)
            for key in ("cpu_seconds", "wall_seconds")
        )
        left = {
            subset: evaluations.get(subset, 0) + steps_per_relaxation * relaxations.get(subset, 0)
            for subset in sorted({*evaluations, *relaxations})
        }
        hours = sum(left.values()) / 3600.0
        return cls(
            n_labels=len(costs),
            core_hours=float(core.sum()) / 3600.0,
            wall_hours=float(wall.sum()) / 3600.0,
            core_seconds_each=float(core.mean()),
            wall_seconds_each=float(wall.mean()),
            largest_memory=max(cost["max_rss_mib"] for cost in costs),
            evaluations=left,
            relaxation_steps=steps_per_relaxation,
            core_hours_left=float(core.mean()) * hours,
            wall_hours_left=float(wall.mean()) * hours,
        )


class FitnessRecord(BaseModel):
    """Correlation of label energies with surrogate energies."""

    n_samples: int = Field(description="samples with a label")
    fit: FitRecord | None = Field(
        description="label energy against surrogate energy of the same structure, all lengths"
    )
    fit_inherent: FitRecord | None = Field(
        description="the same against e_IS, the surrogate energy of the inherent structure"
    )
    rates: list[RateRecord] = Field(description="one entry per cooling length")
    pressure: float = Field(
        description="mean label pressure of the samples, GPa: the pressure offset of the "
        "surrogate's "
        "density"
    )
    pressure_std: float | None = Field(
        description="its standard deviation over the samples, GPa; none for a single one"
    )

    @classmethod
    def from_fitness(cls, fitness: SurrogateFitness) -> FitnessRecord:
        """Record a measurement."""
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
    """The gate before the bulk of the labels: whether the first labels support the surrogate."""

    passed: bool = Field(description="whether the rest of the labels may be submitted")
    reason: str = Field(description="the reason in words")
    limits: FitnessLimits = Field(description="the limits that were applied")
    n_pilots: int = Field(description="labels that were requested")
    missing: list[str] = Field(
        description="label jobs without an output, by uuid: they failed and were left out"
    )
    families: list[str] = Field(description="the samples that have a label")
    cost: CostForecast = Field(description="measured and expected cost")
    fingerprint: MethodFingerprint = Field(description="the method of the labels")
    provenance: Provenance


class SimilarityRecord(BaseModel):
    """Changes of samples on relaxation (paper, Fig. 1b; Methods, Eqs. 2-3).

    The affine change of the cell and the rigid shift are removed before.
    """

    n_sweeps: int | None = Field(
        description="cooling length in sweeps; none for all lengths together"
    )
    n_samples: int = Field(description="relaxed samples")
    delta_cb: float = Field(
        description="Eq. 3: mean fraction of bonds below 4 A that stay below 4 A in the relaxed "
        "cell"
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
        description="affine part removed: mean relative change of all lengths"
    )
    distortion: float = Field(
        description="affine part removed: mean norm of the change of the cell's shape"
    )
    rigid_shift: float | None = Field(
        description="rigid part removed: mean magnitude of the mean displacement, A; none where it "
        "was not stored"
    )
    histogram: list[int] = Field(description="number of displacements in each bin, from zero up")

    @classmethod
    def from_average(cls, n_sweeps: int | None, average: SimilarityAverage) -> Self:
        """Record an average."""
        return cls.model_validate({"n_sweeps": n_sweeps, **_without_nan(asdict(average))})


class SimilarityDocument(BaseModel):
    """Changes of the samples on relaxation by the labelling method, by cooling length."""

    rates: list[SimilarityRecord] = Field(description="one entry per cooling length")
    overall: SimilarityRecord = Field(description="all relaxed samples")
    bin_width: float = Field(HISTOGRAM_WIDTH, description="width of a bin of the histograms, A")
    families: list[str] = Field(description="the relaxed samples")
    missing: list[str] = Field(
        description="relaxations without an output, by uuid: they failed and were left out"
    )
    fingerprint: MethodFingerprint = Field(description="the method that relaxed them")
    provenance: Provenance


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    """Replace nan, which JSON does not have, by None."""
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in values.items()
    }
