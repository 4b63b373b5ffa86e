"""Averages over the samples of one potential, with errors and verdicts."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from mgflows import units
from mgflows.errors import MgflowsError
from mgflows.fits import fit_line
from mgflows.text import plural
from mgflows.validation.quantities import QUANTITIES
from mgflows.validation.short_range_order import ICOSAHEDRON
from mgflows.validation.suite_settings import MELT_TEMPERATURE
from mgflows.validation.transport import finite_size_correction, fit_arrhenius, fit_vogel
from mgflows.validation.viscosity import viscosity_from_correlations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mgflows.validation.plan import SampleTask, SuiteProtocol
    from mgflows.validation.sample import Sample

__all__ = ["Estimate", "ModelResults", "average_indices", "average_samples"]

_WANTED_ERROR = 0.05
"""Relative standard error below which a quantity counts as converged."""
_WANTED_OFFSET_ERROR = 0.01
"""eV per atom, 1 % of the paper's offset of the EAM (1.11 eV, Fig. 6b)."""
_PER_TEMPERATURE = (
    "melt_density",
    "viscosity",
    "viscosity_helfand",
    "diffusion",
    "diffusion_corrected",
    "relaxation_time",
)
_AVERAGED = (
    "radial distribution",
    "structure factor",
    "heat capacity",
    "cooling",
    "displacements",
    "stress-strain",
)
_HIDDEN = (
    "energy",
    "relaxed_energy",
    "melt_volume",
    "melt_cubic",
    "longest_lag",
    "plastic_events",
)
_LISTED_INDICES = 10
_COMPLETE = 0.999
"""Samples of earlier versions contain the most frequent Voronoi indices only."""


@dataclass(frozen=True)
class Estimate:
    """A quantity over samples.

    Parameters
    ----------
    value, error
        Mean and its standard error: over samples, or over time where there is one sample.
    n_samples
        Samples averaged.
    correlation_time
        ps, where the samples are averages over time.
    temperature
        K, for quantities of melts.
    verdict
        ``converged`` if the standard error is below 5 %, or that of the mean energy offset below
        0.01 eV per atom; otherwise what is missing.
    """

    value: float
    error: float | None
    n_samples: int
    correlation_time: float | None = None
    temperature: float | None = None
    verdict: str = ""

    def with_verdict(self) -> Estimate:
        """The same, and whether its error is below 5 %."""
        if self.error is None or not np.isfinite(self.error):
            one = self.n_samples == 1
            verdict = f"{'one sample' if one else f'{self.n_samples} samples'}: no error"
        elif self.value and self.error > _WANTED_ERROR * abs(self.value):
            verdict = f"not converged: error {self.error / abs(self.value):.0%}"
        else:
            verdict = "converged"
        return replace(self, verdict=verdict)


@dataclass
class ModelResults:
    """Results of one potential.

    Parameters
    ----------
    name
        Name of the potential.
    estimates
        Quantity (and temperature, such as ``viscosity 1600 K``) to its estimate.
    curves
        ``radial distribution``, ``structure factor``, ``heat capacity``, ``cooling``,
        ``displacements`` and ``stress-strain`` averaged over samples; ``cold`` and ``dimer A-B`` of
        a single sample; ``energies`` by glass.
    failures
        Sample and quantity to the reason.
    unresolved
        Sample and quantity to the reason why the suite cannot determine it; not failures.
    warnings
        Sample and quantity to the reason, for unsafe dimers of a peer; they do not fail the
        validation of the first potential.
    n_planned, n_done
        Samples planned, and samples with a result.
    cpu_hours
        CPU time of all samples.
    versions
        Versions of mgflows that measured them; empty for a sample that does not record it.
    """

    name: str
    estimates: dict[str, Estimate] = field(default_factory=dict)
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    unresolved: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)
    n_planned: int = 0
    n_done: int = 0
    cpu_hours: float = 0.0
    versions: list[str] = field(default_factory=list)


def average_samples(
    name: str,
    samples: Sequence[tuple[SampleTask, Sample | str]],
    protocol: SuiteProtocol,
    label_energies: Sequence[float | None] | None,
) -> ModelResults:
    """Average the samples of one potential.

    Parameters
    ----------
    name
        Name of the potential.
    samples
        Each task, and its sample or the reason why there is none.
    protocol
        Numbers of the suite.
    label_energies
        As in :func:`mgflows.validation.comparison.compare`.
    """
    model = ModelResults(name, n_planned=len(samples))
    values: dict[tuple[str, float | None], list[Sample]] = defaultdict(list)
    curves: dict[str, list[dict[str, list[float]]]] = defaultdict(list)
    measured: list[tuple[SampleTask, Sample]] = []
    for task, sample in samples:
        if isinstance(sample, str):
            model.failures[task.key] = sample
            continue
        measured.append((task, sample))
        model.n_done += 1
        model.cpu_hours += sample.cpu_seconds / 3600.0
        if sample.version not in model.versions:
            model.versions.append(sample.version)
        for what, reason in sample.failures.items():
            model.failures[task.key if what == task.kind else f"{task.key}, {what}"] = reason
        for what, reason in sample.unresolved.items():
            model.unresolved[f"{task.key}, {what}"] = reason
        melt = MELT_TEMPERATURE if task.kind == "soundness" else task.temperature
        for quantity in sample.values:
            at = melt if quantity.partition(" ")[0] in _PER_TEMPERATURE else None
            values[quantity, at].append(sample)
        for title, curve in sample.curves.items():
            curves[title].append(curve)
    for (quantity, temperature), found in values.items():
        base = quantity.partition(" ")[0]
        if quantity in _HIDDEN or base not in QUANTITIES:
            continue
        key = quantity if temperature is None else f"{quantity} {temperature:g} K"
        model.estimates[key] = _estimate(quantity, found, temperature)
    _viscosities(model, measured, protocol)
    _infinite_diffusion(model, measured)
    _fits(model)
    _melt_heat_capacity(model, measured)
    _energies(model, measured, label_energies)
    for title in _AVERAGED:
        if averaged := _mean_curve(curves.get(title, [])):
            model.curves[title] = averaged
    for title, found_curves in curves.items():
        if title == "cold" or title.startswith("dimer "):
            model.curves[title] = found_curves[0]
        elif title.startswith("shear "):
            model.curves[title] = _mean_curve(found_curves) or found_curves[0]
    return model


def _estimate(quantity: str, samples: Sequence[Sample], temperature: float | None) -> Estimate:
    times = [
        sample.correlation_times[quantity]
        for sample in samples
        if quantity in sample.correlation_times
    ]
    return replace(
        _mean([sample.values[quantity] for sample in samples], samples[0].errors.get(quantity)),
        correlation_time=float(np.mean(times)) if times else None,
        temperature=temperature,
    )


def _mean(values: Sequence[float], error_over_time: float | None = None) -> Estimate:
    """Mean and standard error over samples; a single one has its error over time."""
    series, n = np.array(values), len(values)
    mean = float(series.mean())
    error = float(series.std(ddof=1) / np.sqrt(n)) if n > 1 else error_over_time
    return Estimate(mean, error, n).with_verdict()


def _viscosities(
    model: ModelResults,
    samples: Sequence[tuple[SampleTask, Sample]],
    protocol: SuiteProtocol,
) -> None:
    """One Green-Kubo integral of all runs at a temperature, in place of the mean of theirs."""
    by_temperature: dict[float, list[Sample]] = defaultdict(list)
    for task, sample in samples:
        if task.temperature is not None and "viscosity" in sample.values:
            by_temperature[task.temperature].append(sample)
    for temperature, runs in by_temperature.items():
        segments, run_of = [], []
        for number, run in enumerate(runs):
            for column, row in run.curves["stress correlation"].items():
                if column != "time":
                    segments.append(row)
                    run_of.append(number)
        shortest = min(map(len, segments))
        times = runs[0].curves["stress correlation"]["time"]
        result = viscosity_from_correlations(
            np.array([row[:shortest] for row in segments]),
            sample_interval=times[1] - times[0],
            volume=float(np.mean([run.values["melt_volume"] for run in runs])),
            temperature=temperature,
        )
        # Segments of one run share its volume and its slow relaxations; a few runs have little
        # spread by chance. The larger of the two errors is stated.
        of_runs = [result.of_segments[np.array(run_of) == k].mean() for k in range(len(runs))]
        between = np.std(of_runs, ddof=1) / np.sqrt(len(runs)) if len(runs) > 1 else 0.0
        error = float(max(result.viscosity_error, between))
        if error > protocol.melt_error * abs(result.viscosity):
            verdict = f"not converged: error {error / abs(result.viscosity):.0%}"
        elif not result.converged:
            verdict = "not converged: no plateau"
        else:
            verdict = "converged"
        most = max(protocol.n_melts_most, len(runs))
        verdict += f"; {len(runs)} of at most {plural(most, 'run')}"
        verdict += f"; slowest decay resolved {1e-3 * result.plateau[1]:.2g} ps"
        model.estimates[f"viscosity {temperature:g} K"] = Estimate(
            result.viscosity, error, len(runs), None, temperature, verdict
        )
        model.curves[f"Green-Kubo {temperature:g} K"] = {
            "time": (1e-3 * result.time).tolist(),
            "running_integral": result.running_integral.tolist(),
        }


def _infinite_diffusion(model: ModelResults, samples: Sequence[tuple[SampleTask, Sample]]) -> None:
    """Diffusion in an infinite system, where a viscosity above twice its error corrects for it."""
    cells: dict[float, list[float]] = defaultdict(list)
    for task, sample in samples:
        # All melts of earlier versions were cubic.
        if task.temperature is not None and sample.values.get("melt_cubic", 1.0):
            cells[task.temperature].append(sample.values.get("melt_volume", np.nan))
    for key, raw in list(model.estimates.items()):
        name, _, detail = key.partition(" ")
        viscosity = model.estimates.get(f"viscosity {raw.temperature or 0.0:g} K")
        volumes = cells.get(raw.temperature or 0.0, [])
        if name != "diffusion" or viscosity is None or len(volumes) < raw.n_samples:
            continue
        if viscosity.error is None or not viscosity.value > 2.0 * viscosity.error:
            continue
        shift = finite_size_correction(
            raw.temperature or 0.0, viscosity.value, float(np.nanmean(volumes)) ** (1.0 / 3.0)
        )
        error = None
        if raw.error is not None:
            error = float(np.hypot(raw.error, shift * viscosity.error / viscosity.value))
        model.estimates[f"diffusion_corrected {detail}"] = replace(
            raw, value=raw.value + shift, error=error
        ).with_verdict()


def average_indices(
    models: Sequence[ModelResults], samples: Sequence[tuple[str, SampleTask, Sample | str]]
) -> None:
    """Fractions of the most frequent Voronoi indices of all potentials."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for name, _, sample in samples:
        if not isinstance(sample, str) and "voronoi" in sample.curves:
            found[name].append({k: column[0] for k, column in sample.curves["voronoi"].items()})
    total: Counter[str] = Counter()
    for indices in found.values():
        for each in indices:
            total.update(each)
    # The icosahedron has a row of its own.
    listed_ = [index for index, _ in total.most_common() if index != ICOSAHEDRON][:_LISTED_INDICES]
    for model in models:
        for index in listed_:
            fractions = [
                each.get(index, 0.0 if sum(each.values()) > _COMPLETE else np.nan)
                for each in found[model.name]
            ]
            if fractions and np.isfinite(fractions).all():
                model.estimates[f"voronoi {index}"] = _mean(fractions)


def _fits(model: ModelResults) -> None:
    """Arrhenius and Vogel-Fulcher-Tammann fits of the viscosity."""
    found = [
        estimate
        for key, estimate in model.estimates.items()
        if key.startswith("viscosity ") and estimate.temperature and estimate.value > 0.0
    ]
    if len(found) < 2:
        return
    temperature = [estimate.temperature or np.nan for estimate in found]
    value = [estimate.value for estimate in found]
    errors = [estimate.error for estimate in found]
    error = None if any(e is None or not e for e in errors) else [float(e or 0.0) for e in errors]
    line = fit_arrhenius(temperature, value, error)
    model.estimates["activation_energy"] = Estimate(
        line.energy, line.energy_error, len(found)
    ).with_verdict()
    if len(found) >= 4:
        try:
            vogel = fit_vogel(temperature, value, error)
        except MgflowsError as problem:
            model.unresolved["Vogel-Fulcher-Tammann fit"] = problem.message
            return
        model.estimates["vogel_temperature"] = Estimate(
            vogel.temperature, vogel.temperature_error, len(found)
        ).with_verdict()


def _melt_heat_capacity(model: ModelResults, samples: Sequence[tuple[SampleTask, Sample]]) -> None:
    """Slope of the enthalpies of the equilibrated melts over temperature."""
    points = [
        (task.temperature, sample.values["melt_enthalpy"])
        for task, sample in samples
        if task.temperature and "melt_enthalpy" in sample.values
    ]
    if len({temperature for temperature, _ in points}) < 2:
        return
    line = fit_line(*zip(*points, strict=True))
    if line is None:
        return
    scale = units.GAS_CONSTANT / units.BOLTZMANN
    error = line.slope_error * scale if len(points) > 2 else None
    model.estimates["heat_capacity_slope"] = Estimate(
        line.slope * scale, error, len(points)
    ).with_verdict()


def _energies(
    model: ModelResults,
    samples: Sequence[tuple[SampleTask, Sample]],
    label_energies: Sequence[float | None] | None,
) -> None:
    """Energies and shear moduli of the given glasses, and their line against the labels."""
    glasses = {
        task.index: sample
        for task, sample in samples
        if task.kind == "glass" and "energy" in sample.values
    }
    if not glasses:
        return
    known = [] if label_energies is None else list(label_energies)
    label = [known[k] if k < len(known) and known[k] is not None else np.nan for k in glasses]
    energy = [sample.values["energy"] for sample in glasses.values()]
    model.curves["energies"] = {
        "glass": [float(index) for index in glasses],
        "energy": energy,
        "label": [float(value) for value in label],  # type: ignore[arg-type]
        "shear_modulus": [
            sample.values.get("shear_modulus_aqs", np.nan) for sample in glasses.values()
        ],
    }
    x, y = np.array(label, dtype=float), np.array(energy)
    chosen = np.isfinite(x)
    if len(np.unique(x[chosen])) < 3 or (line := fit_line(x[chosen], y[chosen])) is None:
        return
    difference = y[chosen] - x[chosen]
    n = int(chosen.sum())
    model.estimates["energy_slope"] = Estimate(line.slope, line.slope_error, n).with_verdict()
    offset_error = float(difference.std(ddof=1) / np.sqrt(n))
    offset = Estimate(float(difference.mean()), offset_error, n).with_verdict()
    if offset_error <= _WANTED_OFFSET_ERROR:
        # The offset of a potential that was trained on the labels is zero.
        offset = replace(offset, verdict="converged")
    model.estimates["energy_offset"] = offset


def _mean_curve(curves: Sequence[dict[str, list[float]]]) -> dict[str, list[float]]:
    """Mean over samples of curves on one grid; empty if their grids differ."""
    if not curves:
        return {}
    lengths = {len(next(iter(curve.values()))) for curve in curves}
    if len(lengths) != 1:
        return {}
    mean = {
        column: np.mean([curve[column] for curve in curves if column in curve], axis=0).tolist()
        for column in curves[0]
    }
    if "xray" in mean and len(curves) > 1:
        spread = np.std([curve["xray"] for curve in curves], axis=0, ddof=1)
        mean["xray_error"] = (spread / np.sqrt(len(curves))).tolist()
    return mean
