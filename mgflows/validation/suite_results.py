"""Results of a validation suite: the properties of glasses under one calculator or two."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows.errors import PotentialFailureError
from mgflows.validation.statistics import mean_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mgflows.md.quench import HoldResult
    from mgflows.validation.dimers import DimerCurve
    from mgflows.validation.elasticity import ElasticResult
    from mgflows.validation.heat_capacity import HeatCapacityCurve
    from mgflows.validation.landscape import EnergyCorrelation
    from mgflows.validation.rdf import CurveDistance, RadialDistribution
    from mgflows.validation.shear import ShearResult
    from mgflows.validation.viscosity import ViscosityResult

__all__ = ["GlassProperties", "MeltState", "ValidationResult"]

_LARGEST_DRIFT = 0.05
"""Largest relative volume drift within a hold of a few ps; thermal noise of 150 atoms is below
0.01."""


@dataclass(frozen=True)
class MeltState:
    """A melt at constant temperature and 0 GPa.

    Parameters
    ----------
    temperature
        K.
    density, density_error
        Mean in g/cm^3 and its standard error.
    pressure
        Mean internal pressure in GPa.
    volume_drift
        Relative change of the volume from the first to the last third of the hold.
    """

    temperature: float
    density: float
    density_error: float
    pressure: float
    volume_drift: float

    @classmethod
    def from_hold(cls, result: HoldResult, temperature: float) -> MeltState:
        """Averages of a hold."""
        trace = result.trace
        return cls(
            temperature=temperature,
            density=float(trace.density.mean()),
            density_error=mean_error(trace.density),
            pressure=float(trace.pressure.mean()),
            volume_drift=result.volume_drift,
        )

    def check(self) -> None:
        """Raise if the volume drifts.

        Raises
        ------
        PotentialFailureError
            If it changes by more than 5 %.
        """
        if abs(self.volume_drift) > _LARGEST_DRIFT:
            change = "expands" if self.volume_drift > 0.0 else "contracts"
            raise PotentialFailureError(
                f"the melt at {self.temperature:g} K {change} by {abs(self.volume_drift):.0%} "
                f"within the hold, with a mean density of {self.density:.2f} g/cm3; the potential "
                "does not keep a liquid together",
                hint="train the potential on melts",
            )


@dataclass(frozen=True, eq=False)
class GlassProperties:
    """Properties of the glasses under one calculator.

    None or empty where the suite leaves a quantity out or its measurement failed.

    Parameters
    ----------
    density, density_error
        g/cm^3 at 300 K and 0 GPa, and the standard error over time.
    radial_distribution
        At 300 K, averaged over time.
    melt
        State of the melt at 2000 K.
    elastic
        One result per glass, by its index.
    shear
        One result per glass, by its index.
    heat_capacity
        From the cooling.
    viscosity
        Viscosity of the melt.
    viscosity_melt
        State of the melt in which the viscosity was measured.
    viscosity_pressure
        Mean pressure in GPa of the run at constant volume.
    """

    density: float | None = None
    density_error: float | None = None
    radial_distribution: RadialDistribution | None = None
    melt: MeltState | None = None
    elastic: dict[int, ElasticResult] = field(default_factory=dict)
    shear: dict[int, ShearResult] = field(default_factory=dict)
    heat_capacity: HeatCapacityCurve | None = None
    viscosity: ViscosityResult | None = None
    viscosity_melt: MeltState | None = None
    viscosity_pressure: float | None = None

    def summary(self) -> dict[str, Any]:
        """Means over the glasses and their standard deviations, JSON-ready.

        In GPa, g/cm^3, mPa s and J/(mol K).
        """
        summary: dict[str, Any] = {
            "density": self.density,
            "density_error": None if self.density_error is None else _finite(self.density_error),
        }
        for modulus in ("bulk_modulus", "shear_modulus", "young_modulus", "poisson_ratio"):
            summary[modulus], summary[f"{modulus}_std"] = _mean_and_deviation(
                [getattr(result.moduli, modulus) for result in self.elastic.values()]
            )
        summary["n_elastic"] = len(self.elastic)
        summary["elastic_nonlinearity"] = max(
            (result.nonlinearity for result in self.elastic.values()), default=None
        )
        sheared = [r for r in self.shear.values() if math.isfinite(r.shear_modulus)]
        summary["shear_modulus_aqs"], summary["shear_modulus_aqs_std"] = _mean_and_deviation(
            [result.shear_modulus for result in sheared]
        )
        if len(sheared) == 1:
            summary["shear_modulus_aqs_std"] = _finite(sheared[0].shear_modulus_error)
        summary["n_shear"] = len(sheared)
        summary["n_shear_events"] = sum(
            curve.n_events for result in self.shear.values() for curve in result.curves
        )
        if self.melt is not None:
            summary |= {
                "melt_temperature": self.melt.temperature,
                "melt_density": self.melt.density,
                "melt_density_error": _finite(self.melt.density_error),
            }
        if self.viscosity is not None:
            summary |= {
                "viscosity": self.viscosity.viscosity,
                "viscosity_error": _finite(self.viscosity.viscosity_error),
                "viscosity_converged": self.viscosity.converged,
                "viscosity_pressure": self.viscosity_pressure,
            }
        if self.viscosity_melt is not None:
            summary["viscosity_density"] = self.viscosity_melt.density
        return summary

    def curves(self) -> dict[str, Any]:
        """Everything needed for plots, as lists.

        g(r), stress against strain, stiffness, heat capacity, running Green-Kubo integral.
        """
        curves: dict[str, Any] = {
            "stiffness": [result.stiffness.tolist() for result in self.elastic.values()],
            "shear": [
                {
                    "glass": glass,
                    "direction": curve.direction,
                    "strain": curve.strain.tolist(),
                    "stress": curve.stress.tolist(),
                    "shear_modulus": _finite(curve.shear_modulus),
                    "events": [] if curve.events is None else np.flatnonzero(curve.events).tolist(),
                    "failure": curve.failure,
                }
                for glass, result in self.shear.items()
                for curve in result.curves
            ],
        }
        if self.radial_distribution is not None:
            g = self.radial_distribution
            curves["radial_distribution"] = {
                "distance": g.distance.tolist(),
                "total": g.total.tolist(),
                "xray": g.xray.tolist(),
                "partial": {pair: values.tolist() for pair, values in g.partial.items()},
            }
        if self.heat_capacity is not None:
            curves["heat_capacity"] = {
                "temperature": self.heat_capacity.temperature.tolist(),
                "heat_capacity": self.heat_capacity.heat_capacity.tolist(),
                "error": [
                    float(error) if np.isfinite(error) else None
                    for error in self.heat_capacity.error
                ],
            }
        if self.viscosity is not None:
            curves["viscosity"] = {
                "time": self.viscosity.time.tolist(),
                "running_integral": self.viscosity.running_integral.tolist(),
            }
        return curves


@dataclass(frozen=True, eq=False)
class ValidationResult:
    """Validation of one potential.

    Parameters
    ----------
    suite
        Name of the suite.
    protocol
        What was done, in words, and how it is smaller than the paper's.
    seed
        Seed of all random numbers.
    n_glasses, n_atoms
        Glasses given, and atoms in the first.
    model, reference
        Properties under the potential and under the reference calculator (None without one).
    dimers
        Dimer curves of the potential.
    rdf_distance
        Between the X-ray weighted g(r) of potential and reference.
    energy_correlation
        e(potential) against e(reference) of the glasses as given, eV per atom; None for fewer
        than three glasses.
    energies
        ``{"model": [...], "reference": [...]}`` of the glasses as given, eV per atom.
    failures
        Stage to reason for everything in which the potential failed, unphysical results included;
        the other quantities are still present.
    cpu_seconds
        By stage.
    """

    suite: str
    protocol: str
    seed: int
    n_glasses: int
    n_atoms: int
    model: GlassProperties
    reference: GlassProperties | None
    dimers: dict[str, DimerCurve]
    rdf_distance: CurveDistance | None
    energy_correlation: EnergyCorrelation | None
    energies: dict[str, list[float]]
    failures: dict[str, str]
    cpu_seconds: dict[str, float]

    def summary(self) -> dict[str, Any]:
        """Numbers to be queried, compared and printed; JSON-ready, without arrays."""
        distance, correlation = self.rdf_distance, self.energy_correlation
        line = None if correlation is None else correlation.overall
        return {
            "suite": self.suite,
            "seed": self.seed,
            "n_glasses": self.n_glasses,
            "n_atoms": self.n_atoms,
            "model": self.model.summary(),
            "reference": None if self.reference is None else self.reference.summary(),
            "dimers": {
                pair: {
                    "repulsive": curve.repulsive,
                    "hole": curve.hole,
                    "hole_depth": curve.hole_depth,
                    "barrier": curve.barrier,
                    "safe": curve.safe,
                }
                for pair, curve in self.dimers.items()
            },
            "rdf_mean_absolute_error": None if distance is None else distance.mean_absolute_error,
            "rdf_wasserstein": None if distance is None else distance.wasserstein,
            "energy_slope": None if line is None else line.slope,
            "energy_slope_error": None if line is None else _finite(line.slope_error),
            "energy_r_squared": None if line is None else _finite(line.r2),
            "energy_residual": None if correlation is None else correlation.residual,
            "failures": self.failures,
            "cpu_seconds": self.cpu_seconds,
        }

    def curves(self) -> dict[str, Any]:
        """Arrays for figures, as lists."""
        return {
            "model": self.model.curves(),
            "reference": None if self.reference is None else self.reference.curves(),
            "dimers": {
                pair: {"distance": curve.distance.tolist(), "energy": curve.energy.tolist()}
                for pair, curve in self.dimers.items()
            },
            "energies": self.energies,
        }

    def as_dict(self) -> dict[str, Any]:
        """``{"protocol", "summary", "curves"}``, JSON-ready."""
        return {"protocol": self.protocol, "summary": self.summary(), "curves": self.curves()}


def _mean_and_deviation(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and standard deviation over the glasses; None where there are too few."""
    if not values:
        return None, None
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def _finite(value: float) -> float | None:
    """Replace nan and infinities by None, because JSON has neither."""
    return value if math.isfinite(value) else None
