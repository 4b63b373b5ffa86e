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
from mgflows.validation.quantities import QUANTITIES, title_of
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
_HIDDEN = (
    "energy",
    "label_energy",
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
class _CurveKind:
    """How curves of one kind are averaged.

    Parameters
    ----------
    abscissa, unit
        Column of the abscissa, and its unit.
    tolerance
        Points whose abscissae differ by at most this are averaged: well below the spacing of the
        points of one curve.
    ordinate, error
        Column with a standard error, and the column of this error.
    """

    abscissa: str
    unit: str
    tolerance: float
    ordinate: str = ""
    error: str = ""


_AVERAGED = {
    "radial distribution": _CurveKind("distance", "A", 1e-3, "xray", "xray_error"),
    "structure factor": _CurveKind("q", "1/A", 1e-3),
    "heat capacity": _CurveKind("temperature", "K", 5.0, "heat_capacity", "error"),
    "cooling": _CurveKind("temperature", "K", 1.0),
    "displacements": _CurveKind("distance", "A", 1e-3),
    "stress-strain": _CurveKind("strain", "", 1e-5),
}
_SHEAR = _CurveKind("strain", "", 1e-5)


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
        ``displacements``, ``stress-strain`` and ``shear xy`` averaged over samples, with the number
        ``n_samples`` of curves that have each point; ``cold`` and ``dimer A-B`` of a single sample;
        ``energies`` by glass.
    failures
        Sample and quantity to the reason.
    unresolved
        Sample and quantity to the reason why the suite cannot determine it, and averaged curves to
        the points that some samples lack; not failures.
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
    for title, found_curves in curves.items():
        kind = _SHEAR if title.startswith("shear ") else _AVERAGED.get(title)
        if kind is not None:
            averaged, note = _mean_curve(found_curves, kind)
            if averaged:
                model.curves[title] = averaged
            if note:
                model.unresolved[f"{title} curve"] = note
        elif title == "cold" or title.startswith("dimer "):
            model.curves[title] = found_curves[0]
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
    for temperature, all_runs in by_temperature.items():
        intervals = [_stress_interval(run) for run in all_runs]
        interval = Counter(intervals).most_common(1)[0][0]
        runs = [run for run, own in zip(all_runs, intervals, strict=True) if own == interval]
        if len(runs) < len(all_runs):
            model.unresolved[title_of(f"viscosity {temperature:g} K")] = (
                f"{plural(len(all_runs) - len(runs), 'run')} left out, whose stress was not "
                f"sampled every {interval:g} fs"
            )
        segments, run_of = [], []
        for number, run in enumerate(runs):
            for column, row in run.curves["stress correlation"].items():
                if column != "time":
                    segments.append(row)
                    run_of.append(number)
        shortest = min(map(len, segments))
        result = viscosity_from_correlations(
            np.array([row[:shortest] for row in segments]),
            sample_interval=interval,
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


def _stress_interval(run: Sample) -> float:
    """Interval in fs at which the stress of a melt was sampled, without its rounding errors."""
    times = run.curves["stress correlation"]["time"]
    return round(times[1] - times[0], 6)


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
    # The label of a sample belongs to its glass, that of a number only to the glasses given.
    given = {k: energy for k, energy in enumerate(known) if energy is not None}
    label = [
        float(sample.values.get("label_energy", given.get(k, np.nan)))
        for k, sample in glasses.items()
    ]
    energy = [sample.values["energy"] for sample in glasses.values()]
    model.curves["energies"] = {
        "glass": [float(index) for index in glasses],
        "energy": energy,
        "label": label,
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


def _mean_curve(
    curves: Sequence[dict[str, list[float]]], kind: _CurveKind
) -> tuple[dict[str, list[float]], str]:
    """Mean of curves at the abscissae that more than half of them have.

    Parameters
    ----------
    curves
        Of the samples. They may lack points, and end early.
    kind
        Their abscissa, and the column with an error: of several curves it is the standard error of
        their mean, of a single one its own.

    Returns
    -------
    dict, str
        The columns, with the number of curves at each point in ``n_samples``; empty if no point
        is left. A note on the points that some curves lack, empty if there are none.
    """
    n, least = len(curves), len(curves) // 2 + 1
    points = _matched(curves, kind)
    kept = [point for point in points if len(point) >= least]
    descending = any(curve[kind.abscissa][:1] > curve[kind.abscissa][-1:] for curve in curves)
    if descending:
        kept.reverse()

    def values(column: str, point: dict[int, int]) -> list[float]:
        return [curves[k][column][i] for k, i in point.items() if column in curves[k]]

    def abscissae(chosen: list[dict[int, int]]) -> list[float]:
        return [float(np.mean(values(kind.abscissa, point))) for point in chosen]

    notes = []
    if lost := abscissae([point for point in points if len(point) < least]):
        notes.append(f"{_points(lost, kind)} left out, in fewer than {least} of {n} curves")
    if partial := [point for point in kept if len(point) < n]:
        fewest = min(map(len, partial))
        few = f"{fewest}" if fewest == max(map(len, partial)) else f"at least {fewest}"
        notes.append(f"{_points(abscissae(partial), kind)} averaged over {few} of {n} curves")
    if not kept:
        return {}, "; ".join(["no curve", *notes])
    mean = {}
    for column in dict.fromkeys(column for curve in curves for column in curve):
        found = [values(column, point) for point in kept]
        # Samples of earlier versions lack some columns.
        if all(found):
            mean[column] = [float(np.mean(each)) for each in found]
    if n > 1 and kind.error and kind.ordinate in mean:
        mean[kind.error] = [
            float(np.std(each, ddof=1) / np.sqrt(len(each)))
            for each in (values(kind.ordinate, point) for point in kept)
        ]
    mean["n_samples"] = [float(len(point)) for point in kept]
    return mean, "; ".join(notes)


def _matched(curves: Sequence[dict[str, list[float]]], kind: _CurveKind) -> list[dict[int, int]]:
    """Points in order of their abscissae: number of each curve that has one to its index there."""
    points: list[dict[int, int]] = []
    start = -np.inf
    for x, number, index in sorted(
        (x, number, index)
        for number, curve in enumerate(curves)
        for index, x in enumerate(curve[kind.abscissa])
    ):
        if x - start > kind.tolerance or number in points[-1]:
            points.append({})
            start = x
        points[-1][number] = index
    return points


def _points(abscissae: Sequence[float], kind: _CurveKind) -> str:
    """Number and range of some points, such as ``2 points from 400 to 550 K``."""
    low, high = (f"{limit:.4g}" for limit in (min(abscissae), max(abscissae)))
    where = f"at {low}" if len(abscissae) == 1 else f"from {low} to {high}"
    unit = f" {kind.unit}" if kind.unit else ""
    return f"{plural(len(abscissae), 'point')} {where}{unit}"
