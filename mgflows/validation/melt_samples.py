"""Samples of a melt: density, heat capacity, viscosity, diffusion and relaxation time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError
from mgflows.geometry import with_volume
from mgflows.md import protocols
from mgflows.validation.heat_capacity import heat_capacity_from_fluctuations
from mgflows.validation.quantities import QUANTITIES
from mgflows.validation.suite_results import MeltState
from mgflows.validation.suite_settings import MELT_TEMPERATURE
from mgflows.validation.transport import alpha_relaxation, diffusion_coefficients
from mgflows.validation.viscosity import (
    helfand_viscosity,
    stress_correlations,
    viscosity_from_correlations,
)

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from mgflows.md.engines.base import Run
    from mgflows.validation.sample import Sample, SampleInput

__all__ = ["measure_melt", "melt_state"]

_SEGMENTS = 5
_DENSE_TIME, _DENSE_INTERVAL = 10.0, 0.05
"""ps at the start of a melt, at most a quarter of it, and between its frames there: a fraction of
the shortest relaxation times."""
_FRAME_INTERVAL = 0.4
_MOST_FRAMES = 500
_FEWEST_ENTHALPIES = 100


def measure_melt(given: SampleInput, sample: Sample) -> None:
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
    melt_state(first, temperature, last).check()
    held = first.trace(last)
    sample.average("melt_density", held.density, held.time)
    sample.average("melt_enthalpy", held.enthalpy, held.time)
    _heat_capacity(held.enthalpy, temperature, len(given.atoms), sample)
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
    try:
        sample.values["viscosity_helfand"] = helfand_viscosity(
            segments,
            sample_interval=spacing,
            volume=volume,
            temperature=temperature,
            window=result.plateau,
        )
    except InputError as error:
        sample.unresolved[QUANTITIES["viscosity_helfand"].title] = error.message
    sample.values["longest_lag"] = 1e-3 * result.plateau[1]
    sample.values["melt_volume"] = volume
    sample.values["melt_cubic"] = float(_is_cubic(melt))
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


def _is_cubic(atoms: Atoms) -> bool:
    """Whether the cell is a cube within 2 %."""
    cell = atoms.cell.array / atoms.get_volume() ** (1.0 / 3.0)
    return bool(np.allclose(cell @ cell.T, np.eye(3), rtol=0.0, atol=0.04))


def _heat_capacity(
    enthalpy: NDArray[np.float64], temperature: float, n_atoms: int, sample: Sample
) -> None:
    """Heat capacity from the fluctuations of the enthalpy, if the hold is long enough."""
    name = "heat_capacity_fluctuations"
    if len(enthalpy) < _FEWEST_ENTHALPIES:
        reason = f"{len(enthalpy)} enthalpies are fewer than {_FEWEST_ENTHALPIES}"
    else:
        capacity = heat_capacity_from_fluctuations(enthalpy, temperature, n_atoms)
        if capacity.converged:
            sample.values[name], sample.errors[name] = capacity.value, capacity.error
            return
        reason = (
            f"the hold is too short for the correlation of the enthalpy: {capacity.value:.3g} "
            f"+- {capacity.error:.2g} J/mol/K"
        )
    sample.unresolved[QUANTITIES[name].title] = reason


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
        sample.unresolved[QUANTITIES["relaxation_time"].title] = (
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


def melt_state(run: Run, temperature: float, stage: int = 1) -> MeltState:
    """State of a melt held in a stage, for its checks."""
    from mgflows.md.quench import HoldResult

    held = HoldResult(atoms=run.atoms, trace=run.trace(stage), frames=[])
    return MeltState.from_hold(held, temperature)
