"""One sample of a validation: measured quantities, their errors over time, and curves."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError, MgflowsError
from mgflows.geometry import at_rest, with_volume
from mgflows.md import protocols
from mgflows.md.condensed import density
from mgflows.md.engines import fastest_engine
from mgflows.md.engines.base import RunPausedError
from mgflows.md.potentials import CalculatorPotential
from mgflows.structures.similarity import compare_structures
from mgflows.validation.dimers import DIMERS, dimer_curves
from mgflows.validation.elasticity import elastic_constants
from mgflows.validation.heat_capacity import (
    heat_capacity_from_cooling,
    heat_capacity_from_fluctuations,
)
from mgflows.validation.landscape import energies_per_atom
from mgflows.validation.plan import protocol_of
from mgflows.validation.rdf import radial_distribution
from mgflows.validation.shear import ShearSettings, athermal_quasistatic_shear
from mgflows.validation.short_range_order import (
    neighbour_statistics,
    neutron_weights,
    structure_factor,
    voronoi_indices,
)
from mgflows.validation.soundness import cold_curve, energy_drift
from mgflows.validation.statistics import correlation_time, mean_error
from mgflows.validation.suite_results import MeltState
from mgflows.validation.suite_settings import GLASS_TEMPERATURE, MELT_TEMPERATURE
from mgflows.validation.transition import glass_transition
from mgflows.validation.transport import alpha_relaxation, diffusion_coefficients
from mgflows.validation.viscosity import (
    helfand_viscosity,
    stress_correlations,
    viscosity_from_correlations,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ase import Atoms
    from numpy.typing import NDArray

    from mgflows.md.engines.base import Engine, Run
    from mgflows.md.potentials import Potential
    from mgflows.validation.plan import SampleTask, SuiteProtocol

    Progress = Callable[[int, int], None]

__all__ = ["Sample", "measure_sample"]

logger = logging.getLogger(__name__)

_RDF_RANGE = 15.0
_RDF_BINS = 300
_SEGMENTS = 5
_DISPLACEMENT_BINS = np.linspace(0.0, 1.0, 51)
"""A."""
_DENSE_TIME, _DENSE_INTERVAL = 10.0, 0.05
"""ps at the start of a melt, at most a quarter of it, and between its frames there: a fraction of
the shortest relaxation times."""
_FRAME_INTERVAL = 0.4
_MOST_FRAMES = 500
_LARGEST_DRIFT = 1.0
"""meV per atom and ps. With a timestep of 1 fs the drift in Cu-Zr-Al is 0.01."""


@dataclass
class Sample:
    """Result of one task.

    Parameters
    ----------
    values
        Quantity to value, in the units of :data:`mgflows.validation.comparison.QUANTITIES`.
    errors
        Standard errors over time, where available.
    correlation_times
        Correlation times in ps of quantities averaged over time.
    curves
        Name to columns, such as ``{"distance": [...], "total": [...]}``.
    failures
        Quantity to the reason why it has no value.
    cpu_seconds
        CPU time of the task.
    """

    values: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    correlation_times: dict[str, float] = field(default_factory=dict)
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    cpu_seconds: float = 0.0

    def average(self, name: str, series: NDArray[np.float64], interval: float) -> None:
        """Record the mean of a correlated series sampled every ``interval`` ps."""
        self.values[name] = float(series.mean())
        error = mean_error(series)
        if np.isfinite(error):
            self.errors[name] = error
        self.correlation_times[name] = correlation_time(series) * interval


def measure_sample(
    task: SampleTask,
    potential: Potential,
    glasses: Sequence[Atoms],
    suite: str | SuiteProtocol,
    *,
    engine: Engine | None = None,
    checkpoint: Path | None = None,
    wall_time: float | None = None,
    progress: Progress | None = None,
) -> Sample:
    """Measure one sample.

    Parameters
    ----------
    task
        A task of :func:`mgflows.validation.plan.plan_samples`.
    potential
        The potential of the task.
    glasses
        The given glasses, all of one composition.
    suite
        Name or protocol with which the task was planned.
    engine
        Engine of the dynamics; the fastest on this machine by default.
    checkpoint, wall_time, progress
        As for :meth:`mgflows.md.engines.Engine.run`.

    Returns
    -------
    Sample
        Quantities for which the potential fails are in ``failures``; ``values`` contains nothing
        from a run that exploded.

    Raises
    ------
    RunPausedError
        At the wall time.
    """
    protocol, sample = protocol_of(suite), Sample()
    engine = engine or fastest_engine(potential)
    start = time.process_time()
    try:
        if task.kind in ("quench", "melt"):
            atoms = _start_structure(glasses[task.index % len(glasses)], task.n_atoms, task.seed)
        else:
            atoms = glasses[task.index]
        given = _Given(
            task,
            potential,
            engine,
            atoms,
            protocol,
            checkpoint=checkpoint,
            wall_time=wall_time,
            progress=progress,
        )
        measures = {
            "soundness": _soundness,
            "glass": _glass,
            "quench": _quench,
            "melt": _melt,
            "yield": _yield,
        }
        measures[task.kind](given, sample)
    except RunPausedError:
        raise
    except MgflowsError as error:
        sample.failures[task.kind] = str(error)
    except Exception as error:
        # Third-party calculators raise errors of their own; from our code it would be a bug.
        if not isinstance(potential, CalculatorPotential):
            raise
        logger.warning("%s under %s", task.key, potential.name, exc_info=True)
        sample.failures[task.kind] = f"{type(error).__name__}: {error}"
    sample.cpu_seconds = round(time.process_time() - start, 2)
    return sample


@dataclass(frozen=True)
class _Given:
    """Everything a measurement starts from."""

    task: SampleTask
    potential: Potential
    engine: Engine
    atoms: Atoms
    protocol: SuiteProtocol
    checkpoint: Path | None = None
    wall_time: float | None = None
    progress: Progress | None = None


def _soundness(given: _Given, sample: Sample) -> None:
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
    _melt_state(run, MELT_TEMPERATURE).check()
    trace = run.trace(1)
    sample.average("melt_density", trace.density, _interval(trace.time))


def _glass(given: _Given, sample: Sample) -> None:
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


def _yield(given: _Given, sample: Sample) -> None:
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
    else:
        reached = f"the stress has not passed its maximum at a strain of {curve.strain[-1]:g}"
        sample.failures["shear to yield"] = "; ".join(filter(None, (reached, curve.failure)))


def _quench(given: _Given, sample: Sample) -> None:
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
    sample.average("density", settled, _interval(held.time))
    _structure(frames, sample)
    thin = slice(None, None, max(len(cooling.time) // 300, 1))
    sample.curves["cooling"] = {
        "temperature": cooling.set_temperature[thin].tolist(),
        "volume": cooling.volume[thin].tolist(),
        "enthalpy": cooling.enthalpy[thin].tolist(),
    }
    n_windows = min(6, len(cooling.time) // 20)
    if n_windows >= 2:
        curve = heat_capacity_from_cooling(
            cooling.set_temperature, cooling.enthalpy, n_windows=n_windows
        )
        converged = np.isfinite(curve.error)
        if converged.any():
            sample.curves["heat capacity"] = {
                "temperature": curve.temperature[converged].tolist(),
                "heat_capacity": curve.heat_capacity[converged].tolist(),
                "error": curve.error[converged].tolist(),
            }
    for name, series in (("volume", cooling.volume), ("enthalpy", cooling.enthalpy)):
        try:
            found = glass_transition(cooling.set_temperature, series)
        except InputError:
            # The cooling of this protocol is too short, whatever the potential.
            continue
        except MgflowsError as error:
            sample.failures[f"glass transition ({name})"] = str(error)
            continue
        sample.values[f"glass_transition_{name}"] = found.temperature
        sample.errors[f"glass_transition_{name}"] = found.error
        if name == "volume":
            volume = float(held.volume.mean())
            for phase, slope, slope_error in (
                ("glass", found.slope_glass, found.slope_glass_error),
                ("liquid", found.slope_liquid, found.slope_liquid_error),
            ):
                sample.values[f"thermal_expansion_{phase}"] = 1e6 * slope / (3.0 * volume)
                sample.errors[f"thermal_expansion_{phase}"] = 1e6 * slope_error / (3.0 * volume)


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
    indices = voronoi_indices(frames[-1])
    sample.values["icosahedra"] = indices.get("<0 0 12 0>", 0.0)
    top = list(indices.items())[:10]
    sample.curves["voronoi"] = {index: [fraction] for index, fraction in top}


def _melt(given: _Given, sample: Sample) -> None:
    """Density at constant pressure, then stress and displacements at that density."""
    assert given.task.temperature is not None
    protocol, temperature = given.protocol, given.task.temperature
    first = given.engine.run(
        given.atoms,
        [
            *protocols.hold(
                MELT_TEMPERATURE, protocol.equilibration_time, equilibration_time=0.0, n_frames=0
            ),
            *protocols.hold(
                temperature,
                protocol.equilibration_time,
                equilibration_time=protocol.equilibration_time,
                n_frames=0,
            ),
        ],
        seed=given.task.seed,
        checkpoint=given.checkpoint and given.checkpoint.with_suffix(".melt.npz"),
        wall_time=given.wall_time,
    )
    last = int(first.samples.stage.max())
    _melt_state(first, temperature, last).check()
    held = first.trace(last)
    interval = _interval(held.time)
    sample.average("melt_density", held.density, interval)
    sample.average("melt_enthalpy", held.enthalpy, interval)
    if len(held.enthalpy) >= 100:
        capacity = heat_capacity_from_fluctuations(held.enthalpy, temperature, len(given.atoms))
        if capacity.converged:
            sample.values["heat_capacity_fluctuations"] = capacity.value
            sample.errors["heat_capacity_fluctuations"] = capacity.error
    volume = float(held.volume.mean()) * len(first.atoms)
    melt = with_volume(first.atoms, volume)
    dense = 0.02 * round(min(_DENSE_TIME, 0.25 * protocol.melt_time) / 0.02)
    rest = protocol.melt_time - dense
    n_dense = max(round(dense / _DENSE_INTERVAL), 10)
    n_frames = int(np.clip(rest / _FRAME_INTERVAL, 10, _MOST_FRAMES))
    run = given.engine.run(
        melt,
        [
            protocols.Stage("nvt", 0.25 * protocol.equilibration_time, temperature),
            protocols.Stage("nvt", dense, temperature, sample_every=2, n_frames=n_dense),
            protocols.Stage("nvt", rest, temperature, sample_every=2, n_frames=n_frames),
        ],
        seed=given.task.seed,
        checkpoint=given.checkpoint,
        wall_time=given.wall_time,
        progress=given.progress,
    )
    sampled = [run.samples.of_stage(stage) for stage in (1, 2)]
    stress = np.concatenate([each.stress for each in sampled])
    spacing = 2.0 * run.timestep
    n_segment = len(stress) // _SEGMENTS
    segments = stress[: n_segment * _SEGMENTS].reshape(_SEGMENTS, n_segment, 6)
    correlations = stress_correlations(segments, max(n_segment // 2, 4))
    result = viscosity_from_correlations(
        correlations, sample_interval=spacing, volume=volume, temperature=temperature
    )
    sample.values["viscosity"] = result.viscosity
    if np.isfinite(result.viscosity_error):
        sample.errors["viscosity"] = result.viscosity_error
    sample.values["viscosity_helfand"] = helfand_viscosity(
        segments,
        sample_interval=spacing,
        volume=volume,
        temperature=temperature,
        window=result.plateau,
    )
    sample.values["longest_lag"] = 1e-3 * result.plateau[1]
    sample.values["melt_volume"] = volume
    pressure = np.concatenate([each.pressure for each in sampled])
    sample.values["melt_pressure"] = float(pressure.mean())
    sample.curves["stress correlation"] = {
        "time": result.time.tolist(),
        **{f"segment {k + 1}": row.tolist() for k, row in enumerate(correlations)},
    }
    interval = _frame_interval(run, 2)
    for symbol, value in diffusion_coefficients(run.frames[2], interval).items():
        sample.values[f"diffusion {symbol}"] = value
    _relaxation(run, protocol.wavenumber, sample)


def _relaxation(run: Run, wavenumber: float, sample: Sample) -> None:
    """tau_alpha from the frames that resolve it: the dense ones, or those of the longer run."""
    for stage in (1, 2):
        decay = alpha_relaxation(run.frames[stage], _frame_interval(run, stage), wavenumber)
        if np.isfinite(decay.tau):
            sample.values["relaxation_time"] = decay.tau
            if np.isfinite(decay.error):
                sample.errors["relaxation_time"] = decay.error
            break
    else:
        sample.failures["alpha relaxation"] = (
            f"F_s falls from {decay.scattering[1]:.2g} to {decay.scattering[-1]:.2g} between "
            f"{decay.time[1]:.2g} and {decay.time[-1]:.3g} ps and does not cross 1/e"
        )
    sample.curves["self scattering"] = {
        "time": decay.time.tolist(),
        "scattering": np.round(decay.scattering, 6).tolist(),
    }


def _frame_interval(run: Run, stage: int) -> float:
    """Fs between two frames of a stage."""
    return max(_n_steps(run, stage) // len(run.frames[stage]), 1) * run.timestep


def _n_steps(run: Run, stage: int) -> int:
    """Steps of a stage."""
    steps, stages = run.samples.step, run.samples.stage
    before = steps[stages < stage]
    return int(steps[stages == stage].max()) - (int(before.max()) if len(before) else 0)


def _melt_state(run: Run, temperature: float, stage: int = 1) -> MeltState:
    """State of a melt held in a stage, for its checks."""
    from mgflows.md.quench import HoldResult

    held = HoldResult(atoms=run.atoms, trace=run.trace(stage), frames=[])
    return MeltState.from_hold(held, temperature)


def _start_structure(glass: Atoms, n_atoms: int, seed: int) -> Atoms:
    """A disordered structure of a number of atoms with the composition of a glass, at rest."""
    if n_atoms in (0, len(glass)):
        return at_rest(glass)
    from mgflows.alloy import Alloy
    from mgflows.surrogate import LennardJones
    from mgflows.surrogate.glasses import GlassProtocol, sample_glass

    symbols = glass.get_chemical_symbols()
    species = tuple(dict.fromkeys(symbols))
    composition = {symbol: symbols.count(symbol) / len(symbols) for symbol in species}
    lj = LennardJones.for_species(species)
    alloy = Alloy(composition, n_atoms=n_atoms, number_density=lj.number_density(composition))
    sampled = sample_glass(lj, alloy, GlassProtocol(100, equilibration_sweeps=100), seed)
    assert sampled is not None
    atoms = sampled.sampler.atoms
    return at_rest(atoms)


def _interval(time_axis: NDArray[np.float64]) -> float:
    """Ps between two samples."""
    return 1e-3 * float(time_axis[1] - time_axis[0]) if len(time_axis) > 1 else 0.0
