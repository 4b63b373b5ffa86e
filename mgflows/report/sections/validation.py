"""Sections on properties of the glass under the potential."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from mgflows.errors import InputError
from mgflows.fits import fit_line
from mgflows.report import style
from mgflows.report.content import Panel, Section, scaled_down, slope_with_error, with_error
from mgflows.report.figures import validation as figures
from mgflows.report.records import (
    MODELS,
    dimers_of,
    elasticity_of,
    heat_capacities_of,
    landscape_of,
    radial_distributions_of,
    shear_of,
    viscosities_of,
)
from mgflows.report.statistics import mean_and_error, root_mean_square
from mgflows.text import listed, plural, sentence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mgflows.report.data import ReportData
    from mgflows.report.records import Pair, Shear
    from mgflows.schemas.validation import RadialDistributionCurve, ValidationDocument
    from mgflows.validation.experiments import MeasuredCurve

_LONGEST_NAME = 28
"""Characters of a legend."""
_NO_VALIDATION = "No validation of a potential has been stored yet."
_NAMES = {"model": "the potential", "reference": "the reference"}


def structure(data: ReportData) -> Section:
    """Figs. 4a and 4b: structure and elasticity of the glass."""
    section = Section("structure", "Structure", "Structure and elasticity")
    document = data.validation
    if document is None:
        section.missing.append(_NO_VALIDATION)
        return section
    best = data.best_potential
    if best is not None and document.potential_id != best.potential_id:
        section.missing.append(
            "The last potential has not been validated; the following results are of potential "
            f"{document.potential_id}."
        )
    _add_distributions(section, data, document)
    _add_elasticity(section, data, document)
    return section


def _add_distributions(section: Section, data: ReportData, document: ValidationDocument) -> None:
    """Fig. 4a: radial distribution functions."""
    reference = _reference_name(document)
    distributions = radial_distributions_of(document)
    if not distributions:
        section.missing.append("The validation contains no radial distribution function.")
        return
    section.paragraphs.append(
        _describe_structure(distributions, document.summary.rdf_mean_absolute_error)
    )
    measured = [curve for curve in data.measured_curves if curve.quantity == "radial_distribution"]
    if len(measured) < len(data.measured_curves):
        section.missing.append(
            "The measured structure factor is not drawn here, since g(r) of this suite ends at "
            "10 Å; compare it with mgflows validate --experiments."
        )
    note = _note(
        data,
        f"1 glass of {document.summary.n_atoms} atoms; the paper averages 80 samples of 1500 atoms"
        + ("" if measured else " beside a measured curve (--experiments adds yours)"),
    )
    section.panels.append(
        Panel(
            "rdf",
            "Fig. 4a",
            "Radial distribution function",
            style.Drawing(
                lambda figure: figures.draw_radial_distribution(
                    figure, distributions, reference, measured
                ),
                "rdf",
            ),
            ("X-ray weighted" if figures.is_xray_weighted(distributions) else "Unweighted total")
            + " g(r) at 300 K of the potential"
            + (f" and of the reference ({document.reference})" if len(distributions) > 1 else "")
            + f".{_describe_measured(distributions, measured)} {note}",
        )
    )
    if any(curve.partial for curve in distributions.values()):
        section.panels.append(
            Panel(
                "partials",
                "Fig. 4a, resolved",
                "Partial radial distribution functions",
                style.Drawing(
                    lambda figure: figures.draw_partials(figure, distributions, reference),
                    "partials",
                ),
                f"g(r) by pair of species. {note}",
            )
        )


def _add_elasticity(section: Section, data: ReportData, document: ValidationDocument) -> None:
    """Fig. 4b: elastic constants."""
    reference = _reference_name(document)
    elasticity = elasticity_of(document)
    if elasticity is None:
        section.missing.append("The validation contains no elastic constants.")
        return
    words = []
    for name, unit in (("E", " GPa"), ("B", " GPa"), ("G", " GPa"), ("ν", "")):
        values = [elasticity.moduli[model][name] for model in MODELS if model in elasticity.moduli]
        numbers = " against ".join(with_error(*value, digits=1 if unit else 3) for value in values)
        words.append(f"{name} = {numbers}{unit}")
    order = ", the potential against the reference" if len(elasticity.moduli) == len(MODELS) else ""
    section.paragraphs.append(
        "Elastic constants (Voigt–Reuss–Hill) over "
        f"{plural(elasticity.n_glasses, 'glass')}{order}: {listed(words)}."
    )
    note = _note(data, f"{plural(elasticity.n_glasses, 'glass')}; the paper averages 85")
    measured, sources = _measured_moduli(data)
    errors = (
        "; error bars are standard errors over glasses"
        if elasticity.n_glasses > 1
        else "; one glass, so the errors are not known"
    )
    section.panels.append(
        Panel(
            "elasticity",
            "Fig. 4b",
            "Elastic constants",
            style.Drawing(
                lambda figure: figures.draw_elasticity(figure, elasticity, measured, reference),
                "elasticity",
            ),
            "Young's (E), bulk (B) and shear modulus (G) and Poisson's ratio (ν) at 0 K, "
            f"with atoms relaxed in every strained cell{errors}.{sources} {note}",
        )
    )


def dynamics(data: ReportData) -> Section:
    """Fig. 5: viscosity and heat capacity, if the validation suite includes them."""
    section = Section("dynamics", "Dynamics", "Viscosity and specific heat")
    document = data.validation
    viscosities = viscosities_of(document) if document is not None else {}
    heat_capacities = heat_capacities_of(document) if document is not None else {}
    if document is None or not (viscosities or heat_capacities):
        section.missing.append(
            "Viscosity and specific heat (Fig. 5) are not part of the scale "
            f"'{data.campaign.scale}': the paper's protocol needs 20 independent runs of 4500 "
            "atoms at every temperature."
        )
        return section
    reference = _reference_name(document)
    if viscosities:
        words = [
            f"{with_error(*viscosities[model], digits=2)} mPa s with {_NAMES[model]}"
            for model in viscosities
        ]
        section.paragraphs.append(
            f"The viscosity of the melt at one temperature is {listed(words)} (Green–Kubo). "
            f"{document.protocol}"
        )
        temperature = document.summary.model.melt_temperature
        if temperature is not None:
            measured = [
                (each.temperature, each.value)
                for each in data.experiments
                if each.quantity == "viscosity" and each.temperature is not None
            ]
            section.panels.append(
                Panel(
                    "viscosity",
                    "Fig. 5a",
                    "Viscosity",
                    style.Drawing(
                        lambda figure: figures.draw_viscosity(
                            figure, viscosities, temperature, measured, reference
                        ),
                        "viscosity",
                    ),
                    "Green–Kubo viscosity of the melt; error bars are standard errors over time. "
                    f"{_note(data, 'one temperature; the paper has 20 runs at each of several')}",
                )
            )
    if heat_capacities:
        section.panels.append(
            Panel(
                "heat-capacity",
                "Fig. 5b",
                "Heat capacity",
                style.Drawing(
                    lambda figure: figures.draw_heat_capacity(figure, heat_capacities, reference),
                    "heat-capacity",
                ),
                "Slope of the enthalpy along one cooling; error bars are standard errors of the "
                f"slope. {_note(data, 'one cooling of one glass')}",
            )
        )
    return section


def energetics(data: ReportData) -> Section:
    """Figs. 6a and 6b: shear and energies of relaxed glasses."""
    section = Section("energetics", "Shear", "Shear and energetics")
    document = data.validation
    if document is None:
        section.missing.append(_NO_VALIDATION)
        return section
    reference = _reference_name(document)
    shear = shear_of(document)
    _add_shear(section, data, document, shear)
    _add_landscape(section, data, landscape_of(document))
    if any(s.curves for s in shear):
        section.panels.append(
            Panel(
                "stress-strain",
                "",
                "Stress–strain curves",
                style.Drawing(
                    lambda figure: figures.draw_stress_strain(figure, shear, reference),
                    "stress-strain",
                ),
                "Athermal quasistatic shear, one curve for each glass and direction. "
                f"{_note(data, plural(len(shear), 'glass'))}",
            )
        )
    return section


def _add_shear(
    section: Section, data: ReportData, document: ValidationDocument, shear: list[Shear]
) -> None:
    """Fig. 6a: shear moduli."""
    if not any(s.moduli for s in shear):
        section.missing.append("The validation contains no athermal quasistatic shear.")
        return
    reference = _reference_name(document)
    words = []
    for model in MODELS:
        values = [s.moduli[model] for s in shear if model in s.moduli]
        if values:
            words.append(
                f"{with_error(*mean_and_error(values))} GPa with {_NAMES[model]} "
                f"({plural(len(values), 'glass')})"
            )
    section.paragraphs.append(
        f"Athermal quasistatic shear gives a shear modulus of {listed(words)}."
    )
    note = _note(data, f"{plural(len(shear), 'glass')} of {document.summary.n_atoms} atoms")
    if any(s.energy is not None for s in shear):
        section.panels.append(
            Panel(
                "shear-moduli",
                "Fig. 6a",
                "Shear modulus and energy",
                style.Drawing(
                    lambda figure: figures.draw_shear_moduli(
                        figure, shear, data.method_name, reference
                    ),
                    "shear-moduli",
                ),
                "Shear modulus of each glass from the slope of its stress-strain curve, "
                f"against its energy. {note}",
            )
        )


def _add_landscape(
    section: Section,
    data: ReportData,
    landscape: Pair | None,
) -> None:
    """Fig. 6b: energies of relaxed glasses."""
    if landscape is None or len(landscape[0]) < 2:
        section.missing.append(
            "The validation contains too few relaxed glasses, or no reference, to compare energies."
        )
        return
    labels, predicted = landscape
    fit = fit_line(labels.tolist(), predicted.tolist())
    section.paragraphs.append(
        f"For {plural(len(labels), 'relaxed glass')} the energies of the potential and of "
        f"the reference differ by {1e3 * root_mean_square(predicted - labels):.1f} meV/atom "
        "(RMS)"
        + (
            f"; the slope is {slope_with_error(fit.slope, fit.slope_error)} (1 is perfect)."
            if fit is not None
            else "."
        )
    )
    section.panels.append(
        Panel(
            "landscape",
            "Fig. 6b",
            "Energies of relaxed glasses",
            style.Drawing(
                lambda figure: figures.draw_landscape(figure, labels, predicted, data.method_name),
                "landscape",
            ),
            "Energy per atom of glasses relaxed by the label method; the grey diagonal "
            "is perfect agreement, the dashed line a fit. "
            f"{_note(data, plural(len(labels), 'glass'))}",
        )
    )


def soundness(data: ReportData) -> Section:
    """Dimers and quenches: the potential outside its training data."""
    section = Section("soundness", "Robustness", "Robustness of the potential")
    document = data.validation
    dimers = dimers_of(document) if document is not None else []
    if dimers:
        holes = [
            f"{dimer.pair.replace('-', '–')} (at {dimer.hole:.1f} Å)"
            for dimer in dimers
            if dimer.hole is not None
        ]
        section.paragraphs.append(
            f"The short-range check fails for {listed(holes)}: the atoms attract each other at a "
            "distance at which they should repel."
            if holes
            else f"All {plural(len(dimers), 'pair')} of species are repulsive below 2 Å."
        )
        section.panels.append(
            Panel(
                "dimers",
                "",
                "Dimers",
                style.Drawing(lambda figure: figures.draw_dimers(figure, dimers), "dimers"),
                "Energy of two isolated atoms by the potential. In the shaded range it must "
                "increase with decreasing distance; a triangle marks a hole. Isolated pairs are "
                "far from the training data, so only the repulsion is expected to be correct.",
            )
        )
    else:
        section.missing.append(
            _NO_VALIDATION if document is None else "The validation contains no dimer curves."
        )
    if document is not None:
        failures = document.summary.failures
        section.missing.extend(
            f"The validation failed at '{stage}': {sentence(reason)}"
            for stage, reason in failures.items()
        )
    if data.quenches:
        _add_quenches(section, data)
    else:
        section.missing.append("No glass has been quenched with a trained potential yet.")
    return section


def _add_quenches(section: Section, data: ReportData) -> None:
    by_rate: dict[float, list[float]] = {}
    for quench in sorted(data.quenches, key=lambda q: -q.cooling_rate):
        by_rate.setdefault(quench.cooling_rate, []).append(quench.density)
    words = [
        f"{np.mean(densities):.2f} g/cm³ at {rate:g} K/ps" for rate, densities in by_rate.items()
    ]
    first = data.quenches[0]
    section.paragraphs.append(
        "The density of glasses quenched with the potential from "
        f"{first.temperature_high:.0f} to {first.temperature_low:.0f} K is {listed(words)}. "
        + _labelled_frames(data)
    )
    traced = [
        q for q in data.quenches if q.trace.temperature and q.trace.density and q.trace.energy
    ]
    if traced:
        rates = " to ".join(dict.fromkeys(f"{rate:g}" for rate in (min(by_rate), max(by_rate))))
        note = _note(data, f"{rates} K/ps, {len(first.structure)} atoms")
        section.panels.append(
            Panel(
                "quenches",
                "",
                "Quenches with the potential",
                style.Drawing(
                    lambda figure: figures.draw_quenches(figure, traced), "quenches", height=3.0
                ),
                "Running means of density and potential energy during the quench. The paper "
                f"quenches at 1 to 0.01 K/ps. {note}",
            )
        )


def _labelled_frames(data: ReportData) -> str:
    n_frames = sum(len(quench.times) for quench in data.quenches)
    if not n_frames:
        return "Their final structures were labelled."
    return f"{plural(n_frames, 'configuration')} along them were labelled."


def _note(data: ReportData, how: str) -> str:
    """State the numbers behind one figure, and whether they are smaller than the paper's."""
    return scaled_down(how) if data.campaign.scaled_down else sentence(how)


def _reference_name(document: ValidationDocument) -> str:
    """Short name of the reference, such as ``stand-in EAM``."""
    name = re.split(r" \(|, ", document.reference or "")[0]
    return name if 0 < len(name) <= _LONGEST_NAME else figures.REFERENCE


def _measured_moduli(data: ReportData) -> tuple[dict[str, list[float]], str]:
    """Measured moduli of the alloy by name, and their sources as a sentence."""
    names = {"young_modulus": "E", "bulk_modulus": "B", "shear_modulus": "G", "poisson_ratio": "ν"}
    found: dict[str, list[float]] = {}
    sources = []
    for each in data.experiments:
        if each.quantity in names:
            found.setdefault(names[each.quantity], []).append(each.value)
            source = f"doi:{each.doi}" if each.doi else each.source
            sources.append(f"{names[each.quantity]} = {each.value:g}: {source}")
    if not found:
        return {}, ""
    return found, (
        f" Dashed: measured ({'; '.join(sources)}); fast simulated quenches are softer in shear "
        "than laboratory glasses."
    )


def _describe_measured(
    distributions: Mapping[str, RadialDistributionCurve], measured: Sequence[MeasuredCurve]
) -> str:
    """Sources of measured g(r) and their mean distances to the X-ray weighted ones."""
    from mgflows.validation.rdf import curve_distance

    text = ""
    for curve in measured:
        text += f" Dots: experiment ({curve.sample or curve.composition}; {curve.source})"
        words = []
        for model, name in _NAMES.items():
            g = distributions.get(model)
            if g is None or not g.xray:
                continue
            try:
                distance = curve_distance(g.distance, g.xray, curve.x, curve.y)
            except InputError:
                continue
            words.append(f"{distance.mean_absolute_error:.3f} with {name}")
        text += (
            f"; mean absolute difference from 2.3 to 10 Å {listed(words)} (paper: 0.091 with its "
            "potential)."
            if words
            else "; it does not reach from 2.3 to 10 Å, so no difference is given."
        )
    return text


def _describe_structure(
    distributions: Mapping[str, RadialDistributionCurve], difference: float | None
) -> str:
    words = []
    for model, name in _NAMES.items():
        if curve := distributions.get(model):
            peak = int(np.argmax(curve.total))
            words.append(f"{curve.distance[peak]:.2f} Å (g = {curve.total[peak]:.2f}) with {name}")
    text = f"The first maximum of the total g(r) is at {listed(words)}."
    if difference is not None:
        text += (
            f" The mean absolute difference of the X-ray weighted ones is {difference:.3f}; the "
            "paper reports 0.091 between its potential and experiment."
        )
    return sentence(text)
