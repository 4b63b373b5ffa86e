"""Failed checks, one sentence each, at the beginning of the report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mgflows.report.records import dimers_of, elasticity_of
from mgflows.text import listed, plural, sentence

if TYPE_CHECKING:
    from mgflows.report.data import ReportData
    from mgflows.schemas.validation import ValidationDocument

__all__ = ["failed_checks"]

_LARGEST_DENSITY_CHANGE = 0.1
"""Largest relative difference between the density of a quench and that of the relaxed samples."""
_LARGEST_SLOPE_ERROR = 0.5
"""Largest relative error of the slope of the supercooling clock for meaningful effective times."""


def failed_checks(data: ReportData) -> list[str]:
    """Return the failed checks of a campaign, the most serious first.

    The verdict of the acceptance tests is a separate notice.
    """
    best = data.best_potential
    found = []
    if best is not None and best.is_student:
        found.append(
            "There is no potential of the campaign yet: this one is the student of its teacher "
            f"({best.method.rstrip('.')}), without a label of {data.campaign.method}"
        )
    found += _quenches(data)
    if data.validation is not None:
        found += _validation(data.validation)
    found += _clock(data)
    if best is not None and best.acceptance is not None:
        found += [f"Acceptance: {text}" for text in best.acceptance.warnings]
    if data.failures:
        found.append(f"{plural(len(data.failures), 'job')} failed: see the end of this report")
    return [sentence(text) for text in found]


def _quenches(data: ReportData) -> list[str]:
    densities = [f.density for f in data.frames if f.subset == "dft_minimized"]
    known = [density for density in densities if math.isfinite(density)]
    if not known:
        return []
    expected = float(np.mean(known))
    exploded = [
        quench
        for quench in data.quenches
        if not abs(quench.density / expected - 1.0) <= _LARGEST_DENSITY_CHANGE
    ]
    if not exploded:
        return []
    words = listed([f"{quench.density:.2f}" for quench in exploded])
    return [
        (
            f"{plural(len(exploded), 'quench')} of {len(data.quenches)} did not end as a glass: "
            f"the density is {words} g/cm³, that of relaxed samples {expected:.2f} g/cm³"
        )
    ]


def _validation(document: ValidationDocument) -> list[str]:
    found = []
    holes = [
        f"{dimer.pair.replace('-', '–')} (at {dimer.hole:.1f} Å)"
        for dimer in dimers_of(document)
        if dimer.hole is not None
    ]
    if holes:
        found.append(f"Atoms of {listed(holes)} attract each other at short distance")
    elasticity = elasticity_of(document)
    for model, moduli in (elasticity.moduli if elasticity is not None else {}).items():
        unstable = [name for name in ("B", "G") if moduli[name][0] <= 0.0]
        if unstable:
            name = "potential" if model == "model" else "reference"
            found.append(
                f"The glass is unstable under the {name}: {listed(unstable)} is not positive"
            )
    if document.summary.model.viscosity_converged is False:
        found.append("The viscosity has not reached its plateau: it is a lower bound")
    found += [
        f"The validation failed at '{stage}': {reason}"
        for stage, reason in document.summary.failures.items()
    ]
    return found


def _clock(data: ReportData) -> list[str]:
    clock = data.clock
    if clock is None:
        return []
    if clock.slope >= 0.0:
        return ["The energies of the coolings do not decrease with time: there is no clock"]
    if clock.slope_error > -_LARGEST_SLOPE_ERROR * clock.slope:
        error = -100.0 * clock.slope_error / clock.slope
        return [
            (
                f"The slope of the supercooling clock has an error of {error:.0f}%: effective "
                "times have no meaning"
            )
        ]
    return []
