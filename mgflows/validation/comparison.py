"""Several potentials compared with each other and with experiment."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError
from mgflows.text import listed
from mgflows.validation.averages import (
    Estimate,
    ModelResults,
    average_indices,
    average_samples,
)
from mgflows.validation.dimers import DIMERS
from mgflows.validation.quantities import QUANTITIES
from mgflows.validation.rdf import curve_distance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mgflows.validation.experiments import Experiment, MeasuredCurve
    from mgflows.validation.plan import SampleTask, SuiteProtocol
    from mgflows.validation.rdf import CurveDistance
    from mgflows.validation.sample import Sample

__all__ = ["Comparison", "compare", "next_melts"]

_RDF_RANGE = (2.3, 10.0)
"""A, of the distances of g(r)."""
_SAME_EXPERIMENT = {
    "glass_transition_volume": "glass_transition",
    "glass_transition_enthalpy": "glass_transition",
    "diffusion_corrected": "diffusion",
}
"""Quantities that correspond to a measured one of another name."""


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
    def unresolved(self) -> dict[str, str]:
        """What the suite cannot determine, of all potentials."""
        return {
            f"{model.name}: {what}": reason
            for model in self.models
            for what, reason in model.unresolved.items()
        }

    @property
    def warnings(self) -> dict[str, str]:
        """Warnings of all peers."""
        return {
            f"{model.name}: {what}": reason
            for model in self.models
            for what, reason in model.warnings.items()
        }

    @property
    def mixed_versions(self) -> str:
        """A sentence if different versions of mgflows measured the samples; empty otherwise."""
        versions = {version for model in self.models for version in model.versions}
        if len(versions) < 2:
            return ""
        words = sorted(versions - {""}) + ["one that is not recorded"] * ("" in versions)
        return (
            f"The samples were measured by different versions of mgflows: {listed(words)}. Their "
            "protocols may differ."
        )

    def measured_values(self, key: str, temperature: float | None) -> list[Experiment]:
        """The measured values that correspond to an estimate, verified ones first."""
        name = key.partition(" ")[0]
        name = _SAME_EXPERIMENT.get(name, name)
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
        return sorted(found, key=lambda each: (not each.verified, each.value))

    def rows(self) -> list[tuple[str, str, list[Estimate | None], list[Experiment]]]:
        """Key, unit, one estimate per potential, and measured values, in the order of the tables.

        :func:`mgflows.validation.quantities.title_of` is the title of a key.
        """
        keys = dict.fromkeys(key for model in self.models for key in model.estimates)
        order = list(QUANTITIES)
        temperatures = {
            key: estimate.temperature
            for model in self.models
            for key, estimate in model.estimates.items()
        }
        rows = []
        for key in sorted(
            keys, key=lambda key: (order.index(key.partition(" ")[0]), temperatures[key] or 0.0)
        ):
            unit = QUANTITIES[key.partition(" ")[0]].unit
            estimates = [model.estimates.get(key) for model in self.models]
            rows.append((key, unit, estimates, self.measured_values(key, temperatures[key])))
        return rows


def compare(
    samples: Sequence[tuple[str, SampleTask, Sample | str]],
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
        Name of the potential, task, and its sample or the reason why there is none.
    suite, protocol
        Name and numbers of the suite.
    composition
        Atomic fractions.
    label_energies
        Energies in eV per atom of the given glasses by the labelling method, None where unknown.
        The value ``label_energy`` of a sample precedes that of the number of its glass.
    experiments, measured_curves
        Measured values and curves of this composition.
    names
        Potentials in order, those without samples included; any others follow in the order of
        their samples. The first is under test.
    """
    models = []
    sampled = dict.fromkeys(name for name, _, _ in samples)
    under_test = next(iter([*names, *sampled]), None)
    for name in dict.fromkeys([*names, *sampled]):
        own = [(task, sample) for other, task, sample in samples if other == name]
        models.append(average_samples(name, own, protocol, label_energies))
        if name != under_test:
            # Unsafe dimers of a peer are a warning, not a failure of the validation.
            unsafe = [what for what in models[-1].failures if what.endswith(f", {DIMERS}")]
            models[-1].warnings = {what: models[-1].failures.pop(what) for what in unsafe}
    average_indices(models, samples)
    first = models[0].curves.get("radial distribution") if models else None
    for model in models[1:]:
        g = model.curves.get("radial distribution")
        if first and g:
            distance = curve_distance(first["distance"], first["xray"], g["distance"], g["xray"])
            model.estimates["rdf_distance"] = _rdf_estimate(distance, model, models[0])
    result = Comparison(suite, composition, models, list(experiments), list(measured_curves))
    _compare_with_experiment(result)
    return result


def next_melts(
    result: Comparison,
    further: Sequence[SampleTask],
    protocol: SuiteProtocol,
    name_of: Callable[[SampleTask], str] = attrgetter("potential"),
) -> list[SampleTask]:
    """Choose the next runs of the melts whose viscosity is not converged.

    Parameters
    ----------
    result
        The comparison of the samples so far.
    further
        Melts that may be added, see :func:`mgflows.validation.plan.plan_further_melts`.
    protocol
        Numbers of the suite: the wanted error, and the runs that are added at once.
    name_of
        Returns the name of the potential of a task in the comparison.

    Returns
    -------
    list of SampleTask
        At most ``protocol.n_melts`` of each potential and temperature. Melts without a viscosity,
        such as those that exploded, get none.
    """
    chosen: Counter[tuple[str, float | None]] = Counter()
    tasks = []
    for task in further:
        melt = name_of(task), task.temperature
        if chosen[melt] < protocol.n_melts and _is_open(result, *melt, protocol):
            chosen[melt] += 1
            tasks.append(task)
    return tasks


def _is_open(
    result: Comparison, name: str, temperature: float | None, protocol: SuiteProtocol
) -> bool:
    """Whether the viscosity of a melt that was measured is not yet converged."""
    model = next(model for model in result.models if model.name == name)
    estimate = model.estimates.get(f"viscosity {temperature:g} K")
    return estimate is not None and not (
        estimate.error is not None and estimate.error <= protocol.melt_error * abs(estimate.value)
    )


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
            model.estimates["rdf_distance_measured"] = _rdf_estimate(distance, model)


def _rdf_estimate(distance: CurveDistance, model: ModelResults, *other: ModelResults) -> Estimate:
    n_samples = model.estimates["density"].n_samples if "density" in model.estimates else 1
    noise = _rdf_noise(model, *other)
    return Estimate(distance.mean_absolute_error, noise, n_samples).with_verdict()


def _rdf_noise(*models: ModelResults) -> float | None:
    """Mean absolute difference that equal curves would show: the noise of those of the potentials.

    A measured curve counts as exact.
    """
    errors = []
    for model in models:
        g = model.curves["radial distribution"]
        if "xray_error" not in g:
            return None
        distance = np.array(g["distance"])
        chosen = (distance >= _RDF_RANGE[0]) & (distance <= _RDF_RANGE[1])
        errors.append(np.array(g["xray_error"])[chosen])
    # The mean absolute value of a normal variable is sqrt(2/pi) of its standard deviation.
    return float(np.sqrt(2.0 / np.pi) * np.mean(np.linalg.norm(errors, axis=0)))
