"""Averages over samples, with errors, for several potentials and experiment."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError, MgflowsError
from mgflows.fits import fit_line
from mgflows.validation.dimers import DIMERS
from mgflows.validation.quantities import QUANTITIES, Quantity
from mgflows.validation.rdf import curve_distance
from mgflows.validation.transport import fit_arrhenius, fit_vogel
from mgflows.validation.viscosity import viscosity_from_correlations

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mgflows.validation.experiments import Experiment, MeasuredCurve
    from mgflows.validation.plan import SampleTask, SuiteProtocol
    from mgflows.validation.sample import Sample

__all__ = ["QUANTITIES", "Comparison", "Estimate", "ModelResults", "Quantity", "compare"]

_WANTED_ERROR = 0.05
"""Relative standard error below which a quantity counts as converged."""


_PER_TEMPERATURE = (
    "melt_density",
    "viscosity",
    "viscosity_helfand",
    "diffusion",
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
_HIDDEN = ("energy", "relaxed_energy", "melt_volume", "longest_lag", "plastic_events")


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
        ``converged`` if the standard error is below 5 %, otherwise what is missing.
    """

    value: float
    error: float | None
    n_samples: int
    correlation_time: float | None = None
    temperature: float | None = None
    verdict: str = ""


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
    warnings
        Sample and quantity to the reason, for unsafe dimers of a peer; they do not fail the
        validation of the first potential.
    n_planned, n_done
        Samples planned, and samples with a result.
    cpu_hours
        CPU time of all samples.
    """

    name: str
    estimates: dict[str, Estimate] = field(default_factory=dict)
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)
    n_planned: int = 0
    n_done: int = 0
    cpu_hours: float = 0.0


@dataclass
class Comparison:
    """Several potentials compared, with experimental values where available.

    Parameters
    ----------
    suite
        Name of the suite.
    composition
        Atomic fractions.
    models
        One for each potential, in the order given; the first is under test, the others are peers.
    experiments
        Measured values of this composition.
    measured_curves
        Measured curves of this composition.
    """

    suite: str
    composition: dict[str, float]
    models: list[ModelResults]
    experiments: list[Experiment]
    measured_curves: list[MeasuredCurve] = field(default_factory=list)

    def measured(self, quantity: str) -> list[MeasuredCurve]:
        """The measured curves of one quantity."""
        return [curve for curve in self.measured_curves if curve.quantity == quantity]

    def with_measured(self, path: str | Path | None) -> Comparison:
        """Return it beside the measured values and curves of an own file, if there is one."""
        if path is None:
            return self
        from mgflows.validation.experiments import load_curves, load_experiments

        result = replace(
            self,
            experiments=[e for e in load_experiments(path) if e.is_of(self.composition)],
            measured_curves=[c for c in load_curves(path) if c.is_of(self.composition)],
        )
        _compare_with_experiment(result)
        return result

    @property
    def failures(self) -> dict[str, str]:
        """Failures of all potentials."""
        return {
            f"{model.name}: {what}": reason
            for model in self.models
            for what, reason in model.failures.items()
        }

    @property
    def warnings(self) -> dict[str, str]:
        """Warnings of all peers."""
        return {
            f"{model.name}: {what}": reason
            for model in self.models
            for what, reason in model.warnings.items()
        }

    def experiment(self, key: str, temperature: float | None) -> Experiment | None:
        """The measured value that corresponds to an estimate; verified values are preferred."""
        name = key.partition(" ")[0]
        if name.startswith("glass_transition"):
            name = "glass_transition"
        found = [
            experiment
            for experiment in self.experiments
            if experiment.quantity == name
            and (
                temperature is None
                or experiment.temperature is None
                or abs(experiment.temperature - temperature) < 1.0
            )
        ]
        return min(found, key=lambda experiment: not experiment.verified, default=None)

    def rows(self) -> list[tuple[str, str, list[Estimate | None], Experiment | None]]:
        """Title, unit, one estimate per potential, and experiment, in the order of the tables."""
        keys = dict.fromkeys(key for model in self.models for key in model.estimates)
        order = list(QUANTITIES)
        rows = []
        for key in sorted(keys, key=lambda key: order.index(key.partition(" ")[0])):
            name, _, detail = key.partition(" ")
            quantity = QUANTITIES[name]
            estimates = [model.estimates.get(key) for model in self.models]
            temperature = next(e.temperature for e in estimates if e is not None)
            title = f"{quantity.title} {detail}".strip().replace("  ", " ")
            rows.append((title, quantity.unit, estimates, self.experiment(key, temperature)))
        return rows


def compare(
    samples: Sequence[tuple[str, SampleTask, Sample | None]],
    *,
    suite: str,
    protocol: SuiteProtocol,
    composition: dict[str, float],
    label_energies: Sequence[float | None] | None = None,
    experiments: Sequence[Experiment] = (),
    measured_curves: Sequence[MeasuredCurve] = (),
    names: Sequence[str] = (),
) -> Comparison:
    """Average samples.

    Parameters
    ----------
    samples
        Name of the potential, task, and its sample or None where it failed to run.
    suite, protocol
        Name and numbers of the suite.
    composition
        Atomic fractions.
    label_energies
        Energies in eV per atom of the given glasses by the labelling method, None where unknown.
    experiments, measured_curves
        Measured values and curves of this composition.
    names
        Potentials in order; any others follow in the order of their samples. The first is under
        test.
    """
    models = []
    sampled = dict.fromkeys(name for name, _, _ in samples)
    under_test = next(iter([*names, *sampled]), None)
    for name in dict.fromkeys([*(name for name in names if name in sampled), *sampled]):
        own = [(task, sample) for other, task, sample in samples if other == name]
        models.append(_average(name, own, protocol, label_energies))
        if name != under_test:
            # Unsafe dimers of a peer are a warning, not a failure of the validation.
            unsafe = [what for what in models[-1].failures if what.endswith(f", {DIMERS}")]
            models[-1].warnings = {what: models[-1].failures.pop(what) for what in unsafe}
    first = models[0].curves.get("radial distribution") if models else None
    for model in models[1:]:
        g = model.curves.get("radial distribution")
        if first and g:
            distance = curve_distance(first["distance"], first["xray"], g["distance"], g["xray"])
            n_samples = model.estimates["density"].n_samples if "density" in model.estimates else 1
            model.estimates["rdf_distance"] = Estimate(
                distance.mean_absolute_error,
                _rdf_noise(models[0], model),
                n_samples,
                verdict=_few(n_samples),
            )
    result = Comparison(suite, composition, models, list(experiments), list(measured_curves))
    _compare_with_experiment(result)
    return result


def _compare_with_experiment(result: Comparison) -> None:
    """Mean distance of each X-ray g(r) to the measured one, which must reach from 2.3 to 10 A."""
    for measured in result.measured("radial_distribution"):
        for model in result.models:
            g = model.curves.get("radial distribution")
            if g is None:
                continue
            try:
                distance = curve_distance(g["distance"], g["xray"], measured.x, measured.y)
            except InputError:
                continue
            n_samples = model.estimates["density"].n_samples if "density" in model.estimates else 1
            model.estimates["rdf_distance_measured"] = Estimate(
                distance.mean_absolute_error, None, n_samples
            )


def _average(
    name: str,
    samples: Sequence[tuple[SampleTask, Sample | None]],
    protocol: SuiteProtocol,
    label_energies: Sequence[float | None] | None,
) -> ModelResults:
    model = ModelResults(name, n_planned=len(samples))
    values: dict[tuple[str, float | None], list[Sample]] = defaultdict(list)
    curves: dict[str, list[dict[str, list[float]]]] = defaultdict(list)
    for task, sample in samples:
        if sample is None:
            model.failures[task.key] = "the sample did not run or ended with an error"
            continue
        model.n_done += 1
        model.cpu_hours += sample.cpu_seconds / 3600.0
        for what, reason in sample.failures.items():
            model.failures[task.key if what == task.kind else f"{task.key}, {what}"] = reason
        for quantity in sample.values:
            at = task.temperature if quantity.partition(" ")[0] in _PER_TEMPERATURE else None
            values[quantity, at].append(sample)
        for title, curve in sample.curves.items():
            curves[title].append(curve)
    for (quantity, temperature), found in values.items():
        base = quantity.partition(" ")[0]
        if quantity in _HIDDEN or base not in QUANTITIES:
            continue
        key = quantity if temperature is None else f"{quantity} {temperature:g} K"
        model.estimates[key] = _estimate(quantity, found, temperature)
    _viscosities(model, samples, protocol)
    _fits(model)
    _melt_heat_capacity(model, samples)
    _energies(model, samples, label_energies)
    for title in _AVERAGED:
        if averaged := _mean_curve(curves.get(title, [])):
            model.curves[title] = averaged
    for title, found_curves in curves.items():
        if title == "cold" or title.startswith(("dimer ", "voronoi")):
            model.curves[title] = found_curves[0]
        elif title.startswith("shear "):
            model.curves[title] = _mean_curve(found_curves) or found_curves[0]
    return model


def _estimate(quantity: str, samples: Sequence[Sample], temperature: float | None) -> Estimate:
    series = np.array([sample.values[quantity] for sample in samples])
    n = len(series)
    spread = float(series.std(ddof=1) / np.sqrt(n)) if n > 1 else None
    error = samples[0].errors.get(quantity) if spread is None else spread
    times = [
        sample.correlation_times[quantity]
        for sample in samples
        if quantity in sample.correlation_times
    ]
    mean = float(series.mean())
    return Estimate(
        mean,
        error,
        n,
        float(np.mean(times)) if times else None,
        temperature,
        _verdict(mean, error, n),
    )


def _verdict(value: float, error: float | None, n_samples: int) -> str:
    if error is None or not np.isfinite(error):
        return _few(n_samples)
    if value and error > _WANTED_ERROR * abs(value):
        return f"not converged: error {error / abs(value):.0%}"
    return "converged"


def _few(n_samples: int) -> str:
    return "one sample: no error" if n_samples == 1 else f"{n_samples} samples: no error"


def _viscosities(
    model: ModelResults,
    samples: Sequence[tuple[SampleTask, Sample | None]],
    protocol: SuiteProtocol,
) -> None:
    """One Green-Kubo integral of all runs at a temperature, in place of the mean of theirs."""
    by_temperature: dict[float, list[Sample]] = defaultdict(list)
    for task, sample in samples:
        if sample is not None and task.temperature is not None and "viscosity" in sample.values:
            by_temperature[task.temperature].append(sample)
    for temperature, runs in by_temperature.items():
        segments = [
            row
            for run in runs
            for column, row in run.curves["stress correlation"].items()
            if column != "time"
        ]
        shortest = min(map(len, segments))
        times = runs[0].curves["stress correlation"]["time"]
        result = viscosity_from_correlations(
            np.array([row[:shortest] for row in segments]),
            sample_interval=times[1] - times[0],
            volume=float(np.mean([run.values["melt_volume"] for run in runs])),
            temperature=temperature,
        )
        error = result.viscosity_error
        verdict = _verdict(result.viscosity, error, len(runs))
        if error > protocol.melt_error * abs(result.viscosity):
            verdict = f"not converged: error {error / abs(result.viscosity):.0%}"
        elif not result.converged:
            verdict = "not converged: no plateau"
        else:
            verdict = "converged"
        verdict += f"; slowest decay resolved {1e-3 * result.plateau[1]:.2g} ps"
        model.estimates[f"viscosity {temperature:g} K"] = Estimate(
            result.viscosity, error, len(runs), None, temperature, verdict
        )
        model.curves[f"Green-Kubo {temperature:g} K"] = {
            "time": (1e-3 * result.time).tolist(),
            "running_integral": result.running_integral.tolist(),
        }


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
        line.energy,
        line.energy_error,
        len(found),
        verdict=_verdict(line.energy, line.energy_error, len(found)),
    )
    if len(found) >= 4:
        try:
            vogel = fit_vogel(temperature, value, error)
        except MgflowsError as problem:
            model.failures["Vogel-Fulcher-Tammann fit"] = str(problem)
            return
        model.estimates["vogel_temperature"] = Estimate(
            vogel.temperature,
            vogel.temperature_error,
            len(found),
            verdict=_verdict(vogel.temperature, vogel.temperature_error, len(found)),
        )


def _melt_heat_capacity(
    model: ModelResults, samples: Sequence[tuple[SampleTask, Sample | None]]
) -> None:
    """Slope of the enthalpies of the equilibrated melts over temperature."""
    from mgflows import units

    points = [
        (task.temperature, sample.values["melt_enthalpy"])
        for task, sample in samples
        if sample is not None and task.temperature and "melt_enthalpy" in sample.values
    ]
    if len({temperature for temperature, _ in points}) < 2:
        return
    line = fit_line(*zip(*points, strict=True))
    if line is None:
        return
    scale = units.GAS_CONSTANT / units.BOLTZMANN
    error = line.slope_error * scale if len(points) > 2 else None
    model.estimates["heat_capacity_slope"] = Estimate(
        line.slope * scale,
        error,
        len(points),
        verdict=_verdict(line.slope * scale, error, len(points)),
    )


def _energies(
    model: ModelResults,
    samples: Sequence[tuple[SampleTask, Sample | None]],
    label_energies: Sequence[float | None] | None,
) -> None:
    """Energies and shear moduli of the given glasses, and their line against the labels."""
    glasses = {
        task.index: sample
        for task, sample in samples
        if sample is not None and task.kind == "glass" and "energy" in sample.values
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
    model.estimates["energy_slope"] = Estimate(
        line.slope, line.slope_error, n, verdict=_verdict(line.slope, line.slope_error, n)
    )
    model.estimates["energy_offset"] = Estimate(
        float(difference.mean()),
        float(difference.std(ddof=1) / np.sqrt(n)),
        n,
        verdict="converged",
    )


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


def _rdf_noise(one: ModelResults, other: ModelResults) -> float | None:
    """Mean absolute difference that two equal potentials would show: the noise of both curves."""
    errors = []
    for model in (one, other):
        g = model.curves["radial distribution"]
        if "xray_error" not in g:
            return None
        chosen = (np.array(g["distance"]) >= 2.3) & (np.array(g["distance"]) <= 10.0)
        errors.append(np.array(g["xray_error"])[chosen])
    # The mean absolute value of a normal variable is sqrt(2/pi) of its standard deviation.
    return float(np.sqrt(2.0 / np.pi) * np.mean(np.hypot(*errors)))
