"""Samples of a quench: structure of the glass, and thermodynamics of its cooling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError, MgflowsError
from mgflows.md import protocols
from mgflows.text import plural
from mgflows.validation.heat_capacity import heat_capacity_from_cooling
from mgflows.validation.quantities import QUANTITIES
from mgflows.validation.rdf import radial_distribution
from mgflows.validation.short_range_order import (
    FIRST_SHELL,
    ICOSAHEDRON,
    largest_void,
    neighbour_statistics,
    neutron_weights,
    structure_factor,
    voronoi_indices,
)
from mgflows.validation.suite_settings import GLASS_TEMPERATURE, MELT_TEMPERATURE
from mgflows.validation.transition import (
    GLASS_BELOW,
    LIQUID_ABOVE,
    glass_transition,
    phase_line,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from mgflows.md.trace import Trace
    from mgflows.validation.sample import Sample, SampleInput

__all__ = ["measure_quench"]

_RDF_RANGE = 15.0
_RDF_BINS = 300
_WINDOWS = 6
_FEWEST_PER_WINDOW = 20
"""Windows of temperature of the heat capacity, and samples in each of them."""


def measure_quench(given: SampleInput, sample: Sample) -> None:
    """Structure of the glass, and thermodynamics of its cooling."""
    protocol = given.protocol
    stages = protocols.quench(
        temperature_high=MELT_TEMPERATURE,
        temperature_low=GLASS_TEMPERATURE,
        cooling_rate=protocol.cooling_rate,
        equilibration_time=protocol.equilibration_time,
        hold_time=protocol.hold_time,
        n_frames=protocol.n_frames,
        sample_every=10,
    )
    run = given.engine.run(
        given.atoms,
        stages,
        seed=given.task.seed,
        checkpoint=given.checkpoint,
        wall_time=given.wall_time,
        progress=given.progress,
    )
    held, cooling, frames = run.trace(2), run.trace(1), run.frames[2]
    # Only the second half of the hold: the glass has then relaxed after the cooling.
    settled = held.density[len(held.density) // 2 :]
    sample.average("density", settled, held.time)
    _structure(frames, sample)
    thin = slice(None, None, max(len(cooling.time) // 300, 1))
    sample.curves["cooling"] = {
        "temperature": cooling.set_temperature[thin].tolist(),
        "volume": cooling.volume[thin].tolist(),
        "enthalpy": cooling.enthalpy[thin].tolist(),
    }
    _heat_capacity(cooling, sample)
    for name, series in (("volume", cooling.volume), ("enthalpy", cooling.enthalpy)):
        try:
            found = glass_transition(cooling.set_temperature, series)
        except MgflowsError as error:
            # A cooling that is too short or too fast for its noise, whatever the potential.
            sample.unresolved[QUANTITIES[f"glass_transition_{name}"].title] = error.message
            continue
        sample.values[f"glass_transition_{name}"] = found.temperature
        sample.errors[f"glass_transition_{name}"] = found.error
    volume = float(held.volume.mean())
    for phase, limits in (("glass", {"below": GLASS_BELOW}), ("liquid", {"above": LIQUID_ABOVE})):
        name = f"thermal_expansion_{phase}"
        try:
            line = phase_line(cooling.set_temperature, cooling.volume, **limits)
        except InputError as error:
            sample.unresolved[QUANTITIES[name].title] = error.message
        else:
            sample.values[name] = 1e6 * line.slope / (3.0 * volume)
            sample.errors[name] = 1e6 * line.slope_error / (3.0 * volume)


def _heat_capacity(cooling: Trace, sample: Sample) -> None:
    """Heat capacity in windows of temperature; those without an error are left out."""
    n_windows = min(_WINDOWS, len(cooling.time) // _FEWEST_PER_WINDOW)
    if n_windows < 2:
        sample.unresolved["heat capacity along the cooling"] = (
            f"the cooling has {plural(len(cooling.time), 'sample')}, fewer than "
            f"{2 * _FEWEST_PER_WINDOW}"
        )
        return
    curve = heat_capacity_from_cooling(
        cooling.set_temperature, cooling.enthalpy, n_windows=n_windows
    )
    converged = np.isfinite(curve.error)
    if not converged.any():
        sample.unresolved["heat capacity along the cooling"] = (
            f"none of the {n_windows} windows of temperature has enough independent samples"
        )
        return
    sample.curves["heat capacity"] = {
        "temperature": curve.temperature[converged].tolist(),
        "heat_capacity": curve.heat_capacity[converged].tolist(),
        "error": curve.error[converged].tolist(),
    }


def _structure(frames: Sequence[Atoms], sample: Sample) -> None:
    g = radial_distribution(list(frames), distance_max=_RDF_RANGE, n_bins=_RDF_BINS)
    columns = {"distance": g.distance, "total": g.total, "xray": g.xray}
    symbols = frames[-1].get_chemical_symbols()
    concentrations = {
        symbol: symbols.count(symbol) / len(symbols) for symbol in dict.fromkeys(symbols)
    }
    neutron = neutron_weights(concentrations)
    wave = np.linspace(0.5, 15.0, 291)
    factors = {"q": wave, "xray": structure_factor(g, wave)}
    if neutron is not None:
        known = {
            pair if pair in g.partial else "-".join(reversed(pair.split("-"))): weight
            for pair, weight in neutron.items()
        }
        columns["neutron"] = sum(
            (weight * g.partial[pair] for pair, weight in known.items()),
            np.zeros_like(g.distance),
        )
        factors["neutron"] = structure_factor(g, wave, known)
    sample.curves["radial distribution"] = {
        name: np.round(values, 6).tolist() for name, values in (columns | g.partial).items()
    }
    sample.curves["structure factor"] = {
        name: np.round(values, 6).tolist() for name, values in factors.items()
    }
    statistics = [neighbour_statistics(frame) for frame in frames[:: max(len(frames) // 5, 1)]]
    for pair in statistics[0].coordination:
        sample.values[f"coordination {pair}"] = float(
            np.mean([each.coordination[pair] for each in statistics])
        )
    for pair in statistics[0].warren_cowley:
        sample.values[f"warren_cowley {pair}"] = float(
            np.mean([each.warren_cowley.get(pair, np.nan) for each in statistics])
        )
    void = max(largest_void(frame) for frame in frames[:: max(len(frames) // 5, 1)])
    sample.values["largest_void"] = void
    if void > FIRST_SHELL:
        sample.failures["void"] = f"the glass has a void of radius {void:.1f} A"
    indices = voronoi_indices(frames[-1])
    sample.values["icosahedra"] = indices.get(ICOSAHEDRON, 0.0)
    sample.curves["voronoi"] = {index: [fraction] for index, fraction in indices.items()}
