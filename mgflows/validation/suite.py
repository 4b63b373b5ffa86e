"""Validation of a potential in one call: properties of given glasses, compared with a reference.

The protocols are smaller than the paper's, and the result states how.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mgflows import units
from mgflows.errors import InputError, PotentialFailureError
from mgflows.geometry import check_bulk, check_distances, with_volume
from mgflows.md import protocols
from mgflows.md.quench import hold, quench
from mgflows.validation.dimers import DimerCurve, dimer_curves
from mgflows.validation.elasticity import ElasticResult, elastic_constants
from mgflows.validation.heat_capacity import heat_capacity_from_cooling
from mgflows.validation.landscape import energies_per_atom, energy_correlation
from mgflows.validation.rdf import (
    CurveDistance,
    curve_distance,
    radial_distribution,
)
from mgflows.validation.shear import ShearResult, athermal_quasistatic_shear
from mgflows.validation.statistics import mean_error
from mgflows.validation.suite_results import GlassProperties, MeltState, ValidationResult
from mgflows.validation.suite_settings import (
    FEWEST_ATOMS,
    GLASS_TEMPERATURE,
    MELT_TEMPERATURE,
    SUITES,
    SuiteSettings,
    describe_protocol,
)
from mgflows.validation.viscosity import StressSampling, green_kubo_viscosity, sample_stress

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

_LARGEST_DENSITY_ERROR = 0.1
"""Largest relative difference between the density of the melt and that of the reference."""


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
        """Time a stage. If the potential fails in it, only the result of this stage is lost.

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
        Structures of one alloy at any density; they are relaxed under each calculator. The
        expensive quantities are measured for the first ones only. Constraints are ignored.
    reference_calculator
        Calculator to compare with: the method of the labels if it is cheap, or another potential.
        It may have more species than the glasses have.
    suite
        A name in :data:`SUITES`.
    seed
        Seed of all random numbers.
    progress
        Called with (stage, stages done, stages in all).

    Returns
    -------
    ValidationResult
        Stages in which the potential fails are listed in ``failures``; the others are complete.

    Raises
    ------
    InputError
        For an unknown suite, no glass, or glasses that are not finite, have too few atoms or do
        not fill a periodic cell.
    """
    if suite not in SUITES:
        raise InputError(
            f"the suite {suite!r} is unknown", hint=f"choose one of {', '.join(SUITES)}"
        )
    _check_glasses(glasses)
    settings = SUITES[suite]
    calculators = {"model": potential_calculator} | (
        {} if reference_calculator is None else {"reference": reference_calculator}
    )
    run = _Run(2 + _n_stages(settings, len(glasses)) * len(calculators), progress)
    dimers = _dimers(run, potential_calculator, glasses)
    energies: dict[str, list[float]] = {}
    correlation = None
    with run.stage("energies"):
        energies = {
            who: energies_per_atom(glasses, calculator).tolist()
            for who, calculator in calculators.items()
        }
        if len(calculators) == 2 and len(np.unique(energies["reference"])) >= 3:
            correlation = energy_correlation(energies["reference"], energies["model"])
    # Model and reference use the same random numbers: only the forces differ.
    properties = {
        who: _measure(run, who, calculator, glasses, settings, seed)
        for who, calculator in calculators.items()
    }
    model, reference = properties["model"], properties.get("reference")
    if reference is not None:
        _check_density(run, model, reference)
    return ValidationResult(
        suite=suite,
        protocol=describe_protocol(suite, settings, glasses),
        seed=seed,
        n_glasses=len(glasses),
        n_atoms=len(glasses[0]),
        model=model,
        reference=reference,
        dimers=dimers,
        rdf_distance=_rdf_distance(model, reference),
        energy_correlation=correlation,
        energies=energies,
        failures=run.failures,
        cpu_seconds=run.cpu_seconds,
    )


def _check_glasses(glasses: Sequence[Atoms]) -> None:
    if not glasses:
        raise InputError("there is no glass to validate on", hint="give at least one structure")
    for number, glass in enumerate(glasses, start=1):
        # Coincident atoms are failures of this glass in its stages, not of all glasses.
        name = f"glass {number} ({glass.get_chemical_formula()})"
        check_bulk(glass, name, n_least=FEWEST_ATOMS)
    if any(glass.constraints for glass in glasses):
        logger.warning("constraints of the glasses are ignored: all atoms move")


def _n_stages(settings: SuiteSettings, n_glasses: int) -> int:
    """Stages of one potential."""
    return (
        min(settings.n_elastic, n_glasses)
        + min(settings.n_shear, n_glasses)
        + 1
        + (settings.melt_hold_time > 0.0)
        + (settings.viscosity_temperature is not None)
    )


def _dimers(run: _Run, calculator: Calculator, glasses: Sequence[Atoms]) -> dict[str, DimerCurve]:
    """Dimer curves of all pairs of the glasses; unsafe ones are a failure."""
    found: dict[str, DimerCurve] = {}
    with run.stage("dimers"):
        found = dimer_curves(
            calculator,
            list(dict.fromkeys(s for glass in glasses for s in glass.get_chemical_symbols())),
        )
        unsafe = [curve.verdict for curve in found.values() if not curve.safe]
        if unsafe:
            raise PotentialFailureError("; ".join(unsafe))
    return found


def _rdf_distance(
    model: GlassProperties, reference: GlassProperties | None
) -> CurveDistance | None:
    """Distance of the X-ray weighted g(r) of model and reference."""
    ours = model.radial_distribution
    theirs = None if reference is None else reference.radial_distribution
    if ours is None or theirs is None:
        return None
    return curve_distance(ours.distance, ours.xray, theirs.distance, theirs.xray)


def _check_density(run: _Run, model: GlassProperties, reference: GlassProperties) -> None:
    """Record a melt whose density is not that of the reference as a failure."""
    if model.melt is None or reference.melt is None:
        return
    error = model.melt.density / reference.melt.density - 1.0
    if abs(error) > _LARGEST_DENSITY_ERROR:
        run.fail(
            "model: melt",
            f"the melt at {model.melt.temperature:g} K has {model.melt.density:.2f} g/cm3, "
            f"{error:+.0%} against the reference's {reference.melt.density:.2f}",
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
    # Continue from the relaxed glass: the given one may have the surrogate's density.
    start = next((result.atoms for result in elastic.values()), _first_sound(glasses))
    if settings.melt_hold_time > 0.0:
        with run.stage(f"{who}: melt"):
            held = hold(
                start,
                calculator,
                protocols.hold(
                    MELT_TEMPERATURE,
                    settings.melt_hold_time,
                    equilibration_time=settings.melt_time,
                ),
                seed=hot_seed,
            )
            melt = MeltState.from_hold(held, MELT_TEMPERATURE)
            melt.check()
            found["melt"] = melt
    with run.stage(f"{who}: structure"):
        check_distances(start)
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


def _first_sound(glasses: Sequence[Atoms]) -> Atoms:
    """The first glass without coincident atoms; the first one if there is none."""
    for glass in glasses:
        with suppress(InputError):
            check_distances(glass)
            return glass
    return glasses[0]


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
            protocols.quench(
                temperature_high=MELT_TEMPERATURE,
                temperature_low=GLASS_TEMPERATURE,
                cooling_rate=settings.cooling_rate,
                equilibration_time=settings.melt_time,
                sample_every=10,
            ),
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
        protocols.hold(GLASS_TEMPERATURE, settings.hold_time, n_frames=settings.n_frames),
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
        If the melt evaporates.
    """
    assert settings.viscosity_temperature is not None
    temperature = settings.viscosity_temperature
    held = hold(
        glass,
        calculator,
        protocols.hold(temperature, settings.melt_time, equilibration_time=settings.melt_time),
        seed=melt_seed,
    )
    melt = MeltState.from_hold(held, temperature)
    melt.check()
    atoms = with_volume(held.atoms, held.trace.volume.mean() * len(held.atoms))
    sampling = StressSampling()
    stress = sample_stress(
        atoms,
        calculator,
        temperature=temperature,
        n_steps=round(settings.viscosity_time * 1e3 / sampling.timestep),
        sampling=sampling,
        seed=stress_seed,
    )
    return {
        "viscosity": green_kubo_viscosity(
            stress,
            sample_interval=sampling.interval,
            volume=atoms.get_volume(),
            temperature=temperature,
        ),
        "viscosity_melt": melt,
        "viscosity_pressure": float(-units.ev_per_a3_to_gpa(stress[:, :3].mean())),
    }


def _detail(index: int, n_wanted: int, glasses: Sequence[Atoms]) -> str:
    """Number of the glass of a stage if there are several glasses, otherwise empty."""
    return f", glass {index + 1}" if min(n_wanted, len(glasses)) > 1 else ""
