"""All of validation in one call: what a potential says about given glasses, beside a reference, scaled down from the paper and labelled so."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows.errors import InputError, PotentialFailureError
from mgflows.md.quench import hold, quench
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
from mgflows.validation.viscosity import ViscosityResult, green_kubo_viscosity, sample_stress

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

__all__ = ["SUITES", "GlassProperties", "SuiteSettings", "ValidationResult", "run_suite"]

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]

_MELT_TEMPERATURE = 2000.0
_GLASS_TEMPERATURE = 300.0


@dataclass(frozen=True)
class SuiteSettings:
    """How much of each quantity a suite measures.

    Parameters
    ----------
    n_elastic, n_shear
        Most glasses strained for elastic constants and for quasi-static shear; the first of those given are taken.
    shear_directions
        Of every sheared glass.
    hold_time, n_frames
        ps at 300 K, and frames averaged for g(r).
    cooling_rate
        K/ps from 2000 K, to quench the glass anew before g(r) is measured and to measure the heat capacity; None takes the glass as given.
    viscosity_temperature, viscosity_time
        K, and ps of the Green-Kubo run; None for no viscosity.
    melt_time
        ps to equilibrate a melt before it is cooled or sampled.
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
    ),
}
"""``tiny`` is for tests of workflows; ``quick`` takes seconds and is run after every training; ``standard`` takes minutes on one core."""


@dataclass(frozen=True, eq=False)
class GlassProperties:
    """What one calculator says about the glasses; None or empty for what the suite leaves out or what failed.

    Parameters
    ----------
    density
        g/cm^3 at 300 K and 0 GPa.
    radial_distribution
        At 300 K, averaged over time.
    elastic
        One result per glass.
    shear
        One result per glass.
    heat_capacity
        From the cooling.
    viscosity
        Of the melt.
    """

    density: float | None = None
    radial_distribution: RadialDistribution | None = None
    elastic: tuple[ElasticResult, ...] = ()
    shear: tuple[ShearResult, ...] = ()
    heat_capacity: HeatCapacityCurve | None = None
    viscosity: ViscosityResult | None = None

    def summary(self) -> dict[str, Any]:
        """Means over the glasses and their standard deviations, JSON-ready: GPa, g/cm^3, mPa s, J/(mol K)."""
        summary: dict[str, Any] = {"density": self.density}
        for modulus in ("bulk_modulus", "shear_modulus", "young_modulus", "poisson_ratio"):
            summary[modulus], summary[f"{modulus}_std"] = _mean_and_deviation(
                [getattr(result.moduli, modulus) for result in self.elastic]
            )
        summary["n_elastic"] = len(self.elastic)
        summary["shear_modulus_aqs"], summary["shear_modulus_aqs_std"] = _mean_and_deviation(
            [result.shear_modulus for result in self.shear]
        )
        summary["n_shear"] = len(self.shear)
        if self.viscosity is not None:
            summary |= {
                "viscosity": self.viscosity.viscosity,
                "viscosity_error": _finite(self.viscosity.viscosity_error),
                "viscosity_converged": self.viscosity.converged,
            }
        return summary

    def curves(self) -> dict[str, Any]:
        """Everything that is plotted, as lists: g(r), stress against strain, stiffness, heat capacity, running Green-Kubo integral."""
        curves: dict[str, Any] = {
            "stiffness": [result.stiffness.tolist() for result in self.elastic],
            "shear": [
                {
                    "direction": curve.direction,
                    "strain": curve.strain.tolist(),
                    "stress": curve.stress.tolist(),
                }
                for result in self.shear
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
    """A potential validated.

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
        e(potential) against e(reference) of the glasses as given, eV per atom; None for fewer than three glasses.
    energies
        ``{"model": [...], "reference": [...]}`` of the glasses as given, eV per atom.
    failures
        Stage and reason of whatever the potential could not do; the other quantities are there nevertheless.
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
                }
                for pair, curve in self.dimers.items()
            },
            "rdf_mean_absolute_error": None if distance is None else distance.mean_absolute_error,
            "rdf_wasserstein": None if distance is None else distance.wasserstein,
            "energy_slope": None if correlation is None else correlation.overall.slope,
            "energy_r_squared": None if correlation is None else correlation.overall.r_squared,
            "energy_residual": None if correlation is None else correlation.overall.residual,
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
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; a potential that fails in it loses this quantity and not the others."""
        if self.progress:
            self.progress(name, self.n_done, self.n_stages)
        start = time.process_time()
        try:
            yield
        except (PotentialFailureError, InputError) as error:
            logger.warning("%s: %s", name, error)
            self.failures[name] = str(error)
        self.cpu_seconds[name] = round(time.process_time() - start, 3)
        self.n_done += 1
        if self.progress:
            self.progress(name, self.n_done, self.n_stages)


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
        Structures of one alloy, at any density: every method relaxes them itself. The first ones carry the expensive quantities.
    reference_calculator
        What to compare with: the method of the labels if it is cheap, or another potential.
    suite
        A name in :data:`SUITES`.
    seed
        Decides all random numbers.
    progress
        Called with (stage, stages done, stages in all).

    Returns
    -------
    ValidationResult
        A stage in which the potential fails is named in ``failures``; the others are there.

    Raises
    ------
    InputError
        For an unknown suite, no glass, or glasses that are not periodic.
    """
    if suite not in SUITES:
        raise InputError(f"the suite {suite!r} is unknown; choose one of {', '.join(SUITES)}")
    if not glasses:
        raise InputError("there is no glass to validate on; give at least one structure")
    for glass in glasses:
        if not glass.pbc.all():
            raise InputError(
                f"the glass {glass.get_chemical_formula()} is not periodic in three directions; set pbc = True"
            )
    settings = SUITES[suite]
    species = list(
        dict.fromkeys(symbol for glass in glasses for symbol in glass.get_chemical_symbols())
    )
    calculators = {"model": potential_calculator} | (
        {} if reference_calculator is None else {"reference": reference_calculator}
    )
    stages_each = 3 + (settings.viscosity_temperature is not None)
    run = _Run(n_stages=2 + stages_each * len(calculators), progress=progress)

    dimers: dict[str, DimerCurve] = {}
    with run.stage("dimers"):
        dimers = dimer_curves(potential_calculator, species)
    energies: dict[str, list[float]] = {}
    correlation = None
    with run.stage("energies"):
        energies = {
            who: energies_per_atom(glasses, calculator).tolist()
            for who, calculator in calculators.items()
        }
        if len(calculators) == 2 and len(np.unique(energies["reference"])) >= 3:
            correlation = energy_correlation(energies["reference"], energies["model"])
    # Model and reference start from the same random numbers, so that they differ by the forces alone.
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
    quench_seed, hold_seed, melt_seed, stress_seed = (
        int(s.generate_state(1)[0]) for s in np.random.SeedSequence(seed).spawn(4)
    )
    density, g_of_r, heat_capacity, viscosity = None, None, None, None
    elastic: list[ElasticResult] = []
    with run.stage(f"{who}: elastic constants"):
        elastic.extend(
            elastic_constants(sample, calculator) for sample in glasses[: settings.n_elastic]
        )
    # Relaxed, a glass given at the surrogate's density does not have to blow up first.
    start = elastic[0].atoms if elastic else glasses[0]
    with run.stage(f"{who}: structure"):
        glass = start
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
            heat_capacity = heat_capacity_from_cooling(
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
        density = float(held.trace.density.mean())
        g_of_r = radial_distribution(held.frames)
    shear: list[ShearResult] = []
    with run.stage(f"{who}: quasi-static shear"):
        for index, sample in enumerate(glasses[: settings.n_shear]):
            relaxed = index < len(elastic)
            reference = elastic[index].atoms if relaxed else sample
            shear.append(
                athermal_quasistatic_shear(
                    reference,
                    calculator,
                    directions=settings.shear_directions,
                    relax_reference=not relaxed,
                )
            )
    if settings.viscosity_temperature is not None:
        with run.stage(f"{who}: viscosity"):
            melt = hold(
                start,
                calculator,
                temperature=settings.viscosity_temperature,
                time=settings.melt_time,
                equilibration_time=settings.melt_time,
                seed=melt_seed,
            )
            atoms = melt.atoms
            atoms.set_cell(
                atoms.cell.array
                * np.cbrt(melt.trace.volume.mean() * len(atoms) / atoms.get_volume()),
                scale_atoms=True,
            )
            stress = sample_stress(
                atoms,
                calculator,
                temperature=settings.viscosity_temperature,
                n_steps=round(settings.viscosity_time * 1e3 / 2.0),
                seed=stress_seed,
            )
            viscosity = green_kubo_viscosity(
                stress,
                sample_interval=4.0,
                volume=atoms.get_volume(),
                temperature=settings.viscosity_temperature,
                max_lag=2000.0,
            )
    return GlassProperties(density, g_of_r, tuple(elastic), tuple(shear), heat_capacity, viscosity)


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
    sentences = [
        f"Suite '{suite}', scaled down against the paper.",
        f"g(r) and density: one glass of {n_atoms} atoms, {origin}, over {settings.hold_time:g} ps at {_GLASS_TEMPERATURE:g} K and 0 GPa;",
        "distances beyond half the box over periodic images (paper: 80 samples of 1500 atoms cooled at 100 K/ns).",
        f"Elastic constants: {elastic} at 0 K and zero stress, ions relaxed, strains of +-0.2 %, Voigt-Reuss-Hill (paper: 85).",
        f"Athermal quasi-static shear: {shear} along {', '.join(settings.shear_directions)}, steps of 5e-4, slope from 0.004 to 0.006.",
        f"Energies: {all_glasses} as given.",
    ]
    if settings.cooling_rate is not None:
        sentences.append("Heat capacity: slope of the enthalpy of that one cooling.")
    if settings.viscosity_temperature is not None:
        sentences.append(
            f"Viscosity: Green-Kubo over one run of {settings.viscosity_time:g} ps of {n_atoms} atoms at {settings.viscosity_temperature:g} K "
            "(paper: 20 runs of 4500 atoms)."
        )
    else:
        sentences.append("No viscosity and no heat capacity.")
    return " ".join(sentences)


def _glasses(n: int) -> str:
    return "one glass" if n == 1 else f"{n} glasses"


def _mean_and_deviation(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and standard deviation over the glasses; None where there are too few."""
    if not values:
        return None, None
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def _finite(value: float) -> float | None:
    """JSON knows no nan."""
    return value if math.isfinite(value) else None
