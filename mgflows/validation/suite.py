"""Validation of a potential in one call: properties of given glasses, and those of a reference.

The protocols are smaller than the paper's, and the result states by how much.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows import units
from mgflows.errors import InputError, PotentialFailureError
from mgflows.geometry import check_distances, check_geometry
from mgflows.md.quench import HoldResult, hold, quench
from mgflows.validation.dimers import DimerCurve, dimer_curves
from mgflows.validation.elasticity import ElasticResult, elastic_constants
from mgflows.validation.heat_capacity import HeatCapacityCurve, heat_capacity_from_cooling
from mgflows.validation.landscape import EnergyCorrelation, energies_per_atom, energy_correlation
from mgflows.validation.rdf import (
    CurveDistance,
    RadialDistribution,
    curve_distance,
    radial_distribution,
)
from mgflows.validation.shear import ShearResult, athermal_quasistatic_shear
from mgflows.validation.statistics import mean_error
from mgflows.validation.viscosity import ViscosityResult, green_kubo_viscosity, sample_stress

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

__all__ = [
    "SUITES",
    "GlassProperties",
    "MeltState",
    "SuiteSettings",
    "ValidationResult",
    "run_suite",
]

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]

_MELT_TEMPERATURE = 2000.0
_GLASS_TEMPERATURE = 300.0
_LARGEST_DRIFT = 0.05
"""Of the volume within a hold of a few ps; thermal noise of 150 atoms is below 0.01."""
_LARGEST_DENSITY_ERROR = 0.1
"""Of the melt's density against the reference's."""


@dataclass(frozen=True)
class SuiteSettings:
    """How much of each quantity a suite measures.

    Parameters
    ----------
    n_elastic, n_shear
        Largest numbers of glasses strained for elastic constants and for quasi-static shear; the
        first of those given are taken.
    shear_directions
        Of every sheared glass.
    hold_time, n_frames
        ps at 300 K, and frames averaged for g(r).
    cooling_rate
        K/ps from 2000 K, to quench the glass again before g(r) is measured and to measure the
        heat capacity; None takes the glass as given.
    viscosity_temperature, viscosity_time
        K, and ps of the Green-Kubo run; None for no viscosity.
    melt_time
        ps to equilibrate a melt before it is cooled or sampled.
    melt_hold_time
        ps at 2000 K and 0 GPa in which the melt must stay condensed; 0 for no such test.
    """

    n_elastic: int
    n_shear: int
    shear_directions: tuple[Any, ...]
    hold_time: float
    n_frames: int
    cooling_rate: float | None
    viscosity_temperature: float | None
    viscosity_time: float
    melt_time: float = 2.0
    melt_hold_time: float = 0.0


SUITES: dict[str, SuiteSettings] = {
    "tiny": SuiteSettings(
        n_elastic=1,
        n_shear=1,
        shear_directions=("xy",),
        hold_time=0.2,
        n_frames=5,
        cooling_rate=None,
        viscosity_temperature=None,
        viscosity_time=0.0,
    ),
    "quick": SuiteSettings(
        n_elastic=1,
        n_shear=2,
        shear_directions=("xy",),
        hold_time=2.0,
        n_frames=40,
        cooling_rate=None,
        viscosity_temperature=None,
        viscosity_time=0.0,
        melt_time=1.0,
        melt_hold_time=3.0,
    ),
    "standard": SuiteSettings(
        n_elastic=8,
        n_shear=8,
        shear_directions=("xy", "xz", "yz"),
        hold_time=5.0,
        n_frames=100,
        cooling_rate=100.0,
        viscosity_temperature=1600.0,
        viscosity_time=50.0,
        melt_hold_time=4.0,
    ),
}
"""``tiny`` is for tests of workflows; ``quick`` takes half a minute and runs after every
training; ``standard`` takes minutes on one core."""


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
                "does not keep a liquid together"
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
        Of the melt.
    viscosity_melt
        State of the melt whose viscosity it is.
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
        """Everything that is plotted, as lists.

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
                "error": self.heat_capacity.error.tolist(),
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
        What was done, in words, and in which way it is smaller than the paper's.
    seed
        Decides all random numbers.
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
        Stage and reason of everything the potential failed at, unphysical results included; the
        other quantities are present nevertheless.
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


@dataclass
class _Run:
    """Bookkeeping of one suite: stages done, failures and CPU time."""

    n_stages: int
    progress: Progress | None
    n_done: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, detail: str = "") -> Iterator[None]:
        """Time a stage; a potential that fails in it loses this result and no other.

        CPU times are summed by name, failures kept by name and detail.
        """
        if self.progress:
            self.progress(name, self.n_done, self.n_stages)
        start = time.process_time()
        try:
            yield
        except (PotentialFailureError, InputError) as error:
            self.fail(name + detail, str(error))
        spent = self.cpu_seconds.get(name, 0.0) + time.process_time() - start
        self.cpu_seconds[name] = round(spent, 3)
        self.n_done += 1
        if self.progress:
            self.progress(name, self.n_done, self.n_stages)

    def fail(self, name: str, reason: str) -> None:
        """Record a failure; a second one of the same name is appended."""
        logger.warning("%s: %s", name, reason)
        earlier = self.failures.get(name)
        self.failures[name] = f"{earlier}; {reason}" if earlier else reason


def run_suite(
    potential_calculator: Calculator,
    glasses: Sequence[Atoms],
    reference_calculator: Calculator | None = None,
    suite: str = "quick",
    seed: int = 0,
    progress: Progress | None = None,
) -> ValidationResult:
    """Validate a potential on given glasses.

    Parameters
    ----------
    potential_calculator
        Any ASE calculator with energy, forces and stress.
    glasses
        Structures of one alloy, at any density: each method relaxes them itself. The first ones
        carry the expensive quantities. Constraints are not obeyed.
    reference_calculator
        Calculator to compare with: the method of the labels if it is cheap, or another potential.
        It may have more species than the glasses have.
    suite
        A name in :data:`SUITES`.
    seed
        Decides all random numbers.
    progress
        Called with (stage, stages done, stages in all).

    Returns
    -------
    ValidationResult
        A stage in which the potential fails is named in ``failures``; the others are present.

    Raises
    ------
    InputError
        For an unknown suite, no glass, or glasses that are not finite or not periodic.
    """
    if suite not in SUITES:
        raise InputError(f"the suite {suite!r} is unknown; choose one of {', '.join(SUITES)}")
    if not glasses:
        raise InputError("there is no glass to validate on; give at least one structure")
    for number, glass in enumerate(glasses, start=1):
        formula = glass.get_chemical_formula()
        check_geometry(glass, f"glass {number} ({formula})", periodic=True)
        check_distances(glass, f"glass {number} ({formula})")
    if any(glass.constraints for glass in glasses):
        logger.warning("constraints of the glasses are ignored: all atoms move")
    settings = SUITES[suite]
    species = list(
        dict.fromkeys(symbol for glass in glasses for symbol in glass.get_chemical_symbols())
    )
    calculators = {"model": potential_calculator} | (
        {} if reference_calculator is None else {"reference": reference_calculator}
    )
    stages_each = (
        min(settings.n_elastic, len(glasses))
        + min(settings.n_shear, len(glasses))
        + 1
        + (settings.melt_hold_time > 0.0)
        + (settings.viscosity_temperature is not None)
    )
    run = _Run(n_stages=2 + stages_each * len(calculators), progress=progress)

    dimers: dict[str, DimerCurve] = {}
    with run.stage("dimers"):
        dimers = dimer_curves(potential_calculator, species)
        unsafe = [curve.verdict for curve in dimers.values() if not curve.safe]
        if unsafe:
            raise PotentialFailureError("; ".join(unsafe))
    energies: dict[str, list[float]] = {}
    correlation = None
    with run.stage("energies"):
        energies = {
            who: energies_per_atom(glasses, calculator).tolist()
            for who, calculator in calculators.items()
        }
        if len(calculators) == 2 and len(np.unique(energies["reference"])) >= 3:
            correlation = energy_correlation(energies["reference"], energies["model"])
    # Model and reference start from the same random numbers: they differ by the forces alone.
    properties = {
        who: _measure(run, who, calculator, glasses, settings, seed)
        for who, calculator in calculators.items()
    }
    model, reference = properties["model"], properties.get("reference")
    distance = None
    if (
        reference is not None
        and model.radial_distribution is not None
        and reference.radial_distribution is not None
    ):
        ours, theirs = model.radial_distribution, reference.radial_distribution
        distance = curve_distance(ours.distance, ours.xray, theirs.distance, theirs.xray)
    if reference is not None and model.melt is not None and reference.melt is not None:
        error = model.melt.density / reference.melt.density - 1.0
        if abs(error) > _LARGEST_DENSITY_ERROR:
            run.fail(
                "model: melt",
                f"the melt at {model.melt.temperature:g} K has {model.melt.density:.2f} g/cm3, "
                f"{error:+.0%} against the reference's {reference.melt.density:.2f}",
            )
    return ValidationResult(
        suite=suite,
        protocol=_protocol(suite, settings, glasses),
        seed=seed,
        n_glasses=len(glasses),
        n_atoms=len(glasses[0]),
        model=model,
        reference=reference,
        dimers=dimers,
        rdf_distance=distance,
        energy_correlation=correlation,
        energies=energies,
        failures=run.failures,
        cpu_seconds=run.cpu_seconds,
    )


def _measure(
    run: _Run,
    who: str,
    calculator: Calculator,
    glasses: Sequence[Atoms],
    settings: SuiteSettings,
    seed: int,
) -> GlassProperties:
    quench_seed, hold_seed, melt_seed, stress_seed, hot_seed = (
        int(s.generate_state(1)[0]) for s in np.random.SeedSequence(seed).spawn(5)
    )
    found: dict[str, Any] = {}
    elastic: dict[int, ElasticResult] = {}
    for index, sample in enumerate(glasses[: settings.n_elastic]):
        with run.stage(f"{who}: elastic constants", _detail(index, settings.n_elastic, glasses)):
            elastic[index] = elastic_constants(sample, calculator)
    # Once relaxed, a glass given at the surrogate's density need not expand first.
    start = next((result.atoms for result in elastic.values()), glasses[0])
    if settings.melt_hold_time > 0.0:
        with run.stage(f"{who}: melt"):
            held = hold(
                start,
                calculator,
                temperature=_MELT_TEMPERATURE,
                time=settings.melt_hold_time,
                equilibration_time=settings.melt_time,
                seed=hot_seed,
            )
            melt = MeltState.from_hold(held, _MELT_TEMPERATURE)
            melt.check()
            found["melt"] = melt
    with run.stage(f"{who}: structure"):
        found |= _structure(start, calculator, settings, quench_seed, hold_seed)
    shear: dict[int, ShearResult] = {}
    for index, sample in enumerate(glasses[: settings.n_shear]):
        detail = _detail(index, settings.n_shear, glasses)
        with run.stage(f"{who}: quasi-static shear", detail):
            relaxed = index in elastic
            shear[index] = athermal_quasistatic_shear(
                elastic[index].atoms if relaxed else sample,
                calculator,
                directions=settings.shear_directions,
                relax_reference=not relaxed,
            )
            if shear[index].problems:
                raise PotentialFailureError("; ".join(shear[index].problems))
    if settings.viscosity_temperature is not None:
        with run.stage(f"{who}: viscosity"):
            found |= _viscosity(start, calculator, settings, melt_seed, stress_seed)
    return GlassProperties(elastic=elastic, shear=shear, **found)


def _structure(
    glass: Atoms,
    calculator: Calculator,
    settings: SuiteSettings,
    quench_seed: int,
    hold_seed: int,
) -> dict[str, Any]:
    """Density and g(r) at 300 K and, with a cooling before, the heat capacity."""
    found: dict[str, Any] = {}
    if settings.cooling_rate is not None:
        quenched = quench(
            glass,
            calculator,
            temperature_high=_MELT_TEMPERATURE,
            temperature_low=_GLASS_TEMPERATURE,
            cooling_rate=settings.cooling_rate,
            equilibration_time=settings.melt_time,
            sample_every=10,
            seed=quench_seed,
        )
        glass = quenched.atoms
        found["heat_capacity"] = heat_capacity_from_cooling(
            quenched.trace.set_temperature[quenched.cooling],
            quenched.trace.enthalpy[quenched.cooling],
            n_windows=6,
        )
    held = hold(
        glass,
        calculator,
        temperature=_GLASS_TEMPERATURE,
        time=settings.hold_time,
        n_frames=settings.n_frames,
        seed=hold_seed,
    )
    density = held.trace.density
    return found | {
        "density": float(density.mean()),
        "density_error": mean_error(density),
        "radial_distribution": radial_distribution(held.frames),
    }


def _viscosity(
    glass: Atoms,
    calculator: Calculator,
    settings: SuiteSettings,
    melt_seed: int,
    stress_seed: int,
) -> dict[str, Any]:
    """Green-Kubo viscosity of the melt at its density at 0 GPa.

    Raises
    ------
    PotentialFailureError
        If there is no melt, because it evaporates.
    """
    assert settings.viscosity_temperature is not None
    temperature = settings.viscosity_temperature
    held = hold(
        glass,
        calculator,
        temperature=temperature,
        time=settings.melt_time,
        equilibration_time=settings.melt_time,
        seed=melt_seed,
    )
    melt = MeltState.from_hold(held, temperature)
    melt.check()
    atoms = held.atoms
    volume = held.trace.volume.mean() * len(atoms)
    atoms.set_cell(atoms.cell.array * np.cbrt(volume / atoms.get_volume()), scale_atoms=True)
    stress = sample_stress(
        atoms,
        calculator,
        temperature=temperature,
        n_steps=round(settings.viscosity_time * 1e3 / 2.0),
        seed=stress_seed,
    )
    return {
        "viscosity": green_kubo_viscosity(
            stress, sample_interval=4.0, volume=atoms.get_volume(), temperature=temperature
        ),
        "viscosity_melt": melt,
        "viscosity_pressure": float(-units.ev_per_a3_to_gpa(stress[:, :3].mean())),
    }


def _protocol(suite: str, settings: SuiteSettings, glasses: Sequence[Atoms]) -> str:
    n_atoms = len(glasses[0])
    origin = (
        "relaxed"
        if settings.cooling_rate is None
        else f"quenched from {_MELT_TEMPERATURE:g} K at {settings.cooling_rate * 1e3:g} K/ns"
    )
    elastic, shear, all_glasses = (
        _glasses(min(n, len(glasses))) for n in (settings.n_elastic, settings.n_shear, len(glasses))
    )
    structure = (
        f"g(r) and density: one glass of {n_atoms} atoms, {origin}, over {settings.hold_time:g} ps "
        f"at {_GLASS_TEMPERATURE:g} K and 0 GPa; distances beyond half the box over periodic "
        "images (paper: 80 samples of 1500 atoms cooled at 100 K/ns)."
    )
    strains = (
        f"Elastic constants: {elastic} at 0 K and zero stress, ions relaxed, strains of +-0.2 % or "
        "less, Voigt-Reuss-Hill (paper: 85). "
        f"Athermal quasi-static shear: {shear} along {', '.join(settings.shear_directions)}, steps "
        "of 5e-4, slope from 0.004 to 0.006 without plastic events."
    )
    sentences = [
        f"Suite '{suite}', smaller than the paper's protocol.",
        structure,
        strains,
        f"Energies: {all_glasses} as given.",
    ]
    if settings.melt_hold_time > 0.0:
        duration = settings.melt_hold_time
        sentences.append(f"Melt: {duration:g} ps at {_MELT_TEMPERATURE:g} K and 0 GPa.")
    if settings.cooling_rate is not None:
        sentences.append("Heat capacity: slope of the enthalpy of that one cooling.")
    if settings.viscosity_temperature is not None:
        sentences.append(
            f"Viscosity: Green-Kubo over one run of {settings.viscosity_time:g} ps of {n_atoms} "
            f"atoms at {settings.viscosity_temperature:g} K (paper: 20 runs of 4500 atoms)."
        )
    else:
        sentences.append("No viscosity and no heat capacity.")
    return " ".join(sentences)


def _glasses(n: int) -> str:
    return "one glass" if n == 1 else f"{n} glasses"


def _detail(index: int, n_wanted: int, glasses: Sequence[Atoms]) -> str:
    """Names the glass of a stage where there are several."""
    return f", glass {index + 1}" if min(n_wanted, len(glasses)) > 1 else ""


def _mean_and_deviation(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and standard deviation over the glasses; None where there are too few."""
    if not values:
        return None, None
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def _finite(value: float) -> float | None:
    """JSON has no nan."""
    return value if math.isfinite(value) else None
