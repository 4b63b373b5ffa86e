"""Values for figures that combine several documents, and derived means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mgflows.schemas.labels import LabelDocument
    from mgflows.schemas.sampling import SampleDocument, SupercoolingDocument
    from mgflows.schemas.validation import (
        HeatCapacityCurve,
        PropertiesCurves,
        PropertiesSummary,
        RadialDistributionCurve,
        ShearCurve,
        ValidationDocument,
    )

    Pair = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class RelaxationRecord:
    """A surrogate sample before and after its relaxation by the labelling method.

    Parameters
    ----------
    family
        The sample.
    n_sweeps
        Its cooling length.
    energy_lj
        Surrogate energy of the sample in eV per atom.
    energy_before, energy_after
        Label energy before and after in eV per atom.
    displacements
        Magnitudes in A without rigid shift and affine cell change.
    delta_cb, delta_cb_affine
        Preserved fraction of bonds, with the relaxed structure in its own cell and scaled back
        into the initial one.
    relative_volume
        Volume after over volume before.
    """

    family: str
    n_sweeps: int | None
    energy_lj: float | None
    energy_before: float
    energy_after: float
    displacements: list[float]
    delta_cb: float
    delta_cb_affine: float
    relative_volume: float


@dataclass(frozen=True)
class StageCost:
    """Cost of one stage of the campaign.

    Parameters
    ----------
    stage
        Name of the stage.
    n_jobs
        Finished jobs.
    wall_seconds, cpu_seconds
        Summed over the jobs.
    """

    stage: str
    n_jobs: int
    wall_seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Clock:
    """The log law ``e_IS = intercept + slope log10(t*)`` (paper, section II).

    Parameters
    ----------
    slope, slope_error
        Energy per decade, in units of the reference species' epsilon.
    intercept
        Energy at t* = 1.
    draws
        (n, 2) intercepts and slopes of the bootstrap.
    log10_window
        The fit window in log10 t*.
    log10_onset_time
        log10 of the onset time in t*; none where it was not measured.
    energies
        Time in t* and the inherent-structure energies of the coolings of that length.
    """

    slope: float
    slope_error: float
    intercept: float
    draws: NDArray[np.float64]
    log10_window: tuple[float, float]
    log10_onset_time: float | None
    energies: list[tuple[float, list[float]]]

    def energy_at(self, log10_time: ArrayLike) -> NDArray[np.float64]:
        """The law at log10 t*."""
        return self.intercept + self.slope * np.asarray(log10_time, dtype=float)

    def interval_at(self, log10_time: ArrayLike) -> NDArray[np.float64]:
        """(2, n) ends of the 68% interval of the law at log10 t*."""
        lines = self.draws[:, :1] + self.draws[:, 1:] * np.asarray(log10_time, dtype=float)
        return np.percentile(lines, (16.0, 84.0), axis=0)


@dataclass(frozen=True)
class Elasticity:
    """Mean and standard error of E, B, G (GPa) and ν by model, over the glasses."""

    moduli: dict[str, dict[str, tuple[float, float]]]
    n_glasses: int


@dataclass(frozen=True)
class Shear:
    """Athermal quasistatic shear of one glass by model.

    Parameters
    ----------
    energy
        Label energy of the glass in eV per atom, where there is one.
    moduli
        Shear modulus in GPa.
    curves
        (strain, stress in GPa) of each direction.
    """

    energy: float | None
    moduli: dict[str, float]
    curves: dict[str, list[tuple[list[float], list[float]]]]


@dataclass(frozen=True)
class Dimer:
    """Energy of two atoms (eV) over their distance (A).

    Parameters
    ----------
    pair
        Such as ``Cu-Zr``.
    distance, energy
        The curve.
    hole
        Distance of an attractive hole in A; none if the atoms repel.
    """

    pair: str
    distance: list[float]
    energy: list[float]
    hole: float | None


MODELS = ("model", "reference")
"""Keys of a validation: the trained potential and the method it is compared with."""
_SHEAR_WINDOW = (0.004, 0.006)


def relaxation_of(
    family: str, label: LabelDocument, sample: SampleDocument | None
) -> RelaxationRecord | None:
    """Join a relaxation with its sample; None if it does not record its changes."""
    relaxation = label.relaxation
    if relaxation is None or relaxation.similarity is None:
        return None
    if relaxation.energy_per_atom_before is None:
        return None
    return RelaxationRecord(
        family=family,
        n_sweeps=sample.n_sweeps if sample is not None else None,
        energy_lj=sample.energy_lj if sample is not None else None,
        energy_before=relaxation.energy_per_atom_before,
        energy_after=label.energy_per_atom,
        displacements=relaxation.similarity.displacements.tolist(),
        delta_cb=relaxation.similarity.delta_cb,
        delta_cb_affine=relaxation.similarity.delta_cb_affine,
        relative_volume=relaxation.similarity.relative_volume,
    )


def clock_of(document: SupercoolingDocument) -> Clock:
    """Join the clock with the coolings it was fitted to."""
    clock = document.clock
    low, high = np.log10(clock.window)
    return Clock(
        slope=clock.slope,
        slope_error=clock.slope_error,
        intercept=clock.intercept,
        draws=clock.bootstrap,
        log10_window=(float(low), float(high)),
        log10_onset_time=None if clock.onset_time is None else float(np.log10(clock.onset_time)),
        energies=sorted(
            (float(time), values) for time, values in document.dynamics.items() if values
        ),
    )


def radial_distributions_of(
    document: ValidationDocument,
) -> dict[str, RadialDistributionCurve]:
    """Return the radial distribution functions by model, of the models that have them."""
    return {
        model: curves.radial_distribution
        for model, curves in _curves(document).items()
        if curves.radial_distribution is not None
    }


def elasticity_of(document: ValidationDocument) -> Elasticity | None:
    """Return means over the glasses with standard errors, or None without elastic constants."""
    names = {"E": "young_modulus", "B": "bulk_modulus", "G": "shear_modulus", "ν": "poisson_ratio"}
    found = {model: summary for model, summary in _summaries(document).items() if summary.n_elastic}
    if not found:
        return None
    moduli = {
        model: {
            name: (
                getattr(summary, key),
                _standard_error(getattr(summary, f"{key}_std"), summary.n_elastic),
            )
            for name, key in names.items()
        }
        for model, summary in found.items()
    }
    return Elasticity(moduli=moduli, n_glasses=max(summary.n_elastic for summary in found.values()))


def shear_of(document: ValidationDocument) -> list[Shear]:
    """Return the quasi-static shear of each sheared glass.

    The moduli are those of the document, without plastic events; documents of version 0.1 have
    none, and theirs are fitted here. A direction without an elastic slope has no modulus.
    """
    energies, summaries = document.curves.energies.reference, _summaries(document)
    glasses: dict[int, dict[str, list[ShearCurve]]] = {}
    for model, curves in _curves(document).items():
        n_glasses = summaries[model].n_shear if model in summaries else 1
        n_directions = max(len(curves.shear) // max(n_glasses, 1), 1)
        for number, curve in enumerate(curves.shear):
            glass = number // n_directions if curve.glass is None else curve.glass
            glasses.setdefault(glass, {}).setdefault(model, []).append(curve)
    entries = []
    for glass, found in sorted(glasses.items()):
        moduli = {model: list(map(_shear_modulus, curves)) for model, curves in found.items()}
        entries.append(
            Shear(
                energy=energies[glass] if glass < len(energies) else None,
                moduli={
                    model: float(np.nanmean(values))
                    for model, values in moduli.items()
                    if np.isfinite(values).any()
                },
                curves={
                    model: [(curve.strain, curve.stress) for curve in curves]
                    for model, curves in found.items()
                },
            )
        )
    return entries


def landscape_of(document: ValidationDocument) -> Pair | None:
    """Return energies of label and potential in eV per atom, or None without a reference."""
    energies = document.curves.energies
    if not energies.model or not energies.reference:
        return None
    return np.asarray(energies.reference, dtype=float), np.asarray(energies.model, dtype=float)


def dimers_of(document: ValidationDocument) -> list[Dimer]:
    """Return the dimer curves of the potential."""
    return [
        Dimer(
            pair=pair,
            distance=curve.distance,
            energy=curve.energy,
            hole=document.summary.dimers[pair].hole,
        )
        for pair, curve in document.curves.dimers.items()
    ]


def heat_capacities_of(document: ValidationDocument) -> dict[str, HeatCapacityCurve]:
    """Return heat capacities by model, of the models that have them."""
    return {
        model: curves.heat_capacity
        for model, curves in _curves(document).items()
        if curves.heat_capacity is not None
    }


def viscosities_of(document: ValidationDocument) -> dict[str, tuple[float, float]]:
    """Return viscosities and their standard errors in mPa s by model."""
    return {
        model: (
            summary.viscosity,
            np.nan if summary.viscosity_error is None else summary.viscosity_error,
        )
        for model, summary in _summaries(document).items()
        if summary.viscosity is not None
    }


def _curves(document: ValidationDocument) -> dict[str, PropertiesCurves]:
    found = {"model": document.curves.model, "reference": document.curves.reference}
    return {model: curves for model, curves in found.items() if curves is not None}


def _summaries(document: ValidationDocument) -> dict[str, PropertiesSummary]:
    found = {"model": document.summary.model, "reference": document.summary.reference}
    return {model: summary for model, summary in found.items() if summary is not None}


def _shear_modulus(curve: ShearCurve) -> float:
    """Return the shear modulus of a direction in GPa; nan where it has none."""
    if "shear_modulus" in curve.model_fields_set:
        return np.nan if curve.shear_modulus is None else curve.shear_modulus
    from mgflows.validation.shear import elastic_slope

    low, high = _SHEAR_WINDOW
    strain = np.asarray(curve.strain, dtype=float)
    stress = np.asarray(curve.stress, dtype=float)
    chosen = (strain >= low - 1e-9) & (strain <= high + 1e-9)
    return elastic_slope(strain[chosen], stress[chosen], np.zeros(chosen.sum(), dtype=bool))


def _standard_error(deviation: float | None, n_glasses: int) -> float:
    return np.nan if deviation is None else deviation / float(np.sqrt(n_glasses))
