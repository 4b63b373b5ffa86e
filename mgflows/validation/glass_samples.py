"""Samples of a given glass: soundness, elastic constants and quasi-static shear."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import MgflowsError
from mgflows.geometry import at_rest
from mgflows.md import protocols
from mgflows.md.condensed import density
from mgflows.structures.similarity import compare_structures
from mgflows.validation.dimers import DIMERS, dimer_curves
from mgflows.validation.elasticity import elastic_constants
from mgflows.validation.landscape import energies_per_atom
from mgflows.validation.melt_samples import melt_state
from mgflows.validation.shear import ShearSettings, athermal_quasistatic_shear
from mgflows.validation.soundness import cold_curve, energy_drift
from mgflows.validation.suite_settings import GLASS_TEMPERATURE, MELT_TEMPERATURE

if TYPE_CHECKING:
    from mgflows.validation.sample import Sample, SampleInput

__all__ = ["measure_glass", "measure_soundness", "measure_yield"]

_DISPLACEMENT_BINS = np.linspace(0.0, 1.0, 51)
"""A."""
_LARGEST_DRIFT = 1.0
"""meV per atom and ps. With a timestep of 1 fs the drift in Cu-Zr-Al is 0.01."""


def measure_soundness(given: SampleInput, sample: Sample) -> None:
    """Dimers, cold curve, energy conservation and a hot melt."""
    protocol = given.protocol
    calculator = given.potential.calculator()
    species = list(dict.fromkeys(given.atoms.get_chemical_symbols()))
    curves = dimer_curves(calculator, species)
    for pair, curve in curves.items():
        sample.curves[f"dimer {pair}"] = {
            "distance": curve.distance.tolist(),
            "energy": curve.energy.tolist(),
        }
    unsafe = [curve.verdict for curve in curves.values() if not curve.safe]
    if unsafe:
        sample.failures[DIMERS] = "; ".join(unsafe)
    cold = cold_curve(given.atoms, calculator)
    sample.curves["cold"] = {"ratio": cold.ratio.tolist(), "energy": cold.energy.tolist()}
    if cold.problem:
        sample.failures["cold curve"] = cold.problem
    try:
        drift = energy_drift(
            given.atoms,
            given.engine,
            temperature=GLASS_TEMPERATURE,
            time=protocol.drift_time,
            seed=given.task.seed,
        )
        sample.values["energy_drift"] = drift
        if abs(drift) > _LARGEST_DRIFT:
            sample.failures["energy drift"] = f"the energy drifts by {drift:.2g} meV/atom/ps"
    except MgflowsError as error:
        sample.failures["energy drift"] = str(error)
    run = given.engine.run(
        at_rest(given.atoms),
        protocols.hold(
            MELT_TEMPERATURE,
            protocol.hot_time,
            equilibration_time=0.2 * protocol.hot_time,
            n_frames=0,
        ),
        seed=given.task.seed,
    )
    melt_state(run, MELT_TEMPERATURE).check()
    trace = run.trace(1)
    sample.average("melt_density", trace.density, trace.time)


def measure_glass(given: SampleInput, sample: Sample) -> None:
    """Energy, change on relaxation, elastic constants and quasi-static shear."""
    protocol = given.protocol
    calculator = given.potential.calculator()
    sample.values["energy"] = float(energies_per_atom([given.atoms], calculator)[0])
    elastic = elastic_constants(given.atoms, calculator)
    moduli = elastic.moduli
    sample.values |= {
        "bulk_modulus": moduli.bulk_modulus,
        "shear_modulus": moduli.shear_modulus,
        "young_modulus": moduli.young_modulus,
        "poisson_ratio": moduli.poisson_ratio,
        "density_0K": density(elastic.atoms),
        "relaxed_energy": float(energies_per_atom([elastic.atoms], calculator)[0]),
    }
    change = compare_structures(given.atoms, elastic.atoms)
    sample.values |= {
        "delta_cb": change.delta_cb,
        "displacement": float(change.displacements.mean()),
    }
    counts = np.histogram(change.displacements, _DISPLACEMENT_BINS)[0]
    width = float(_DISPLACEMENT_BINS[1])
    sample.curves["displacements"] = {
        "distance": (_DISPLACEMENT_BINS[:-1] + 0.5 * width).tolist(),
        "density": (counts / (width * len(given.atoms))).tolist(),
    }
    for row, name in enumerate(("xx", "yy", "zz", "yz", "xz", "xy")):
        sample.curves.setdefault("stiffness", {})[name] = elastic.stiffness[row].tolist()
    shear = athermal_quasistatic_shear(
        elastic.atoms,
        calculator,
        ShearSettings(strain_max=protocol.shear_strain),
        directions=protocol.shear_directions,  # type: ignore[arg-type]
        relax_reference=False,
    )
    for curve in shear.curves:
        sample.curves[f"shear {curve.direction}"] = {
            "strain": curve.strain.tolist(),
            "stress": curve.stress.tolist(),
        }
    if np.isfinite(shear.shear_modulus):
        sample.values["shear_modulus_aqs"] = shear.shear_modulus
    sample.values["plastic_events"] = float(sum(curve.n_events for curve in shear.curves))
    if shear.problems:
        sample.failures["quasi-static shear"] = "; ".join(shear.problems)


def measure_yield(given: SampleInput, sample: Sample) -> None:
    """Quasi-static shear beyond the largest stress."""
    protocol = given.protocol
    shear = athermal_quasistatic_shear(
        given.atoms,
        given.potential.calculator(),
        ShearSettings(strain_step=protocol.yield_step, strain_max=protocol.yield_strain),
        directions=protocol.shear_directions[:1],  # type: ignore[arg-type]
    )
    (curve,) = shear.curves
    sample.curves["stress-strain"] = {
        "strain": curve.strain.tolist(),
        "stress": curve.stress.tolist(),
    }
    strain, stress = curve.yield_point
    if np.isfinite(stress):
        sample.values |= {"yield_stress": stress, "yield_strain": strain}
        if curve.failure:
            sample.unresolved["stress-strain curve"] = curve.failure
    else:
        reached = f"the stress has not passed its maximum at a strain of {curve.strain[-1]:g}"
        if curve.failure:
            sample.failures["shear to yield"] = f"{reached}; {curve.failure}"
        else:
            sample.unresolved["shear to yield"] = reached
