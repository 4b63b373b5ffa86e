"""A comparison of potentials as one self-contained HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import mgflows
from mgflows import errors
from mgflows.errors import ServiceError
from mgflows.files import write_text
from mgflows.report import style
from mgflows.report.content import Panel, Table
from mgflows.report.figures import comparison as figures
from mgflows.text import plural, sentence, with_error
from mgflows.validation.quantities import title_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mgflows.validation.averages import Estimate
    from mgflows.validation.comparison import Comparison

__all__ = [
    "Page",
    "comparison_notes",
    "comparison_panels",
    "quantity_tables",
    "render_comparison",
    "typeset",
    "write_comparison",
    "write_page",
]


_ORDER = ("coordination", "warren_cowley", "voronoi")
"""Quantities of the table of neighbours and chemical order."""
_PRINTED = (
    ("g/cm3", "g/cm³"),
    ("1e-6/K", "10⁻⁶/K"),
    ("1e-9 m2/s", "10⁻⁹ m²/s"),
    ("(A)", "(Å)"),
    ("4 A ", "4 Å, "),
    ("Delta_CB", "Δ_CB"),
)


@dataclass(frozen=True)
class Page:
    """Content of a comparison page.

    Parameters
    ----------
    kind
        Kind of the compared objects, in one word.
    names
        Names of the compared objects.
    alloy
        Symbols and amounts of the heading.
    lede
        First sentence.
    tables, panels
        Tables and figures.
    notes_title, notes
        Heading and sentences of the notes.
    notes_first
        Put the notes before the tables instead of at the end.
    """

    kind: str
    names: Sequence[str]
    alloy: Sequence[tuple[str, str]]
    lede: str
    tables: Sequence[Table]
    panels: Sequence[Panel]
    notes_title: str
    notes: Sequence[str]
    notes_first: bool = False


def write_comparison(result: Comparison, path: str | Path) -> Path:
    """Write the page of a comparison, atomically.

    Parameters
    ----------
    result
        The comparison.
    path
        The file; an existing one is replaced.

    Raises
    ------
    MissingDependencyError
        If matplotlib or jinja2 is not installed.
    ServiceError
        If the file cannot be written.
    """
    return _write(path, render_comparison(result))


def render_comparison(result: Comparison, validation: str = "") -> str:
    """Render a comparison as the text of an HTML page.

    Parameters
    ----------
    result
        The comparison.
    validation
        Its name, if it is stored.
    """
    names = [model.name for model in result.models]
    stored = f" Validation {validation}." if validation else ""
    page = Page(
        kind="validation",
        names=names,
        alloy=[
            (symbol, f"{100.0 * fraction:.0f}")
            for symbol, fraction in sorted(
                result.composition.items(), key=lambda item: (-round(item[1], 3), item[0])
            )
        ],
        lede=f"Properties under {', '.join(names)} and experiment. Suite {result.suite}." + stored,
        tables=quantity_tables(result),
        panels=comparison_panels(result),
        notes_title="Failures, convergence and sources",
        notes=comparison_notes(result),
    )
    return _render(page)


def quantity_tables(result: Comparison) -> list[Table]:
    """The quantities of a comparison, one row each; those of pairs have their own table."""
    names = [model.name for model in result.models]
    quantities: list[list[str]] = []
    pairs: list[list[str]] = []
    for key, unit, estimates, experiments in result.rows():
        title = title_of(key)
        row = [
            typeset(f"{title} ({unit})" if unit else title),
            *(_cell(estimate) for estimate in estimates),
            ", ".join(each.marked_value for each in experiments),
        ]
        (pairs if key.startswith(_ORDER) else quantities).append(row)
    heads = ["quantity", *names, "experiment"]
    secondary = any(row[-1].endswith("*") for row in quantities + pairs)
    if not any(row[-1] for row in pairs):
        pairs = [row[:-1] for row in pairs]
    note = (
        "Mean and standard error over samples, with their number. For a single sample the error is "
        "that over time."
    )
    if secondary:
        note += " *: read in a secondary source, not in the publication itself."
    found = [Table("Quantities", heads, quantities, note=note)]
    if pairs:
        found.append(Table("Neighbours and chemical order", heads[: len(pairs[0])], pairs))
    return found


def write_page(path: str | Path, page: Page) -> Path:
    """Write a page that compares, atomically.

    Parameters
    ----------
    path
        The file; an existing one is replaced.
    page
        Its content.

    Raises
    ------
    MissingDependencyError
        If matplotlib or jinja2 is not installed.
    ServiceError
        If the file cannot be written.
    """
    return _write(path, _render(page))


def _render(page: Page) -> str:
    jinja2 = errors.require("jinja2", "report", "the HTML report")
    folder = resources.files("mgflows.report")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string((folder / "comparison.html.j2").read_text(encoding="utf-8"))
    css = (folder / "report.css").read_text(encoding="utf-8") + style.theme_rules()
    return str(template.render(css=css, version=mgflows.__version__, **vars(page)))


def _write(path: str | Path, text: str) -> Path:
    path = Path(path).absolute()
    try:
        write_text(path, text)
    except OSError as error:
        raise ServiceError(
            f"the report cannot be written to {path}: {error.strerror}",
            hint="choose another file, in a writable directory with free space",
        ) from error
    return path


def comparison_panels(result: Comparison) -> list[Panel]:
    """The figures for which a comparison has values."""
    curves = {name for model in result.models for name in model.curves}
    estimates = {key for model in result.models for key in model.estimates}
    has_viscosity = any(key.startswith("viscosity ") for key in estimates)
    has_labels = any(key == "energy_slope" for key in estimates)
    drawn: list[tuple[bool, str, str, str, Callable[..., None], str]] = [
        (
            "radial distribution" in curves,
            "rdf",
            "Fig. 4a",
            "Radial distribution function",
            figures.draw_distribution,
            "X-ray weighted, at 300 K; shaded: standard error over quenches.",
        ),
        (
            "structure factor" in curves,
            "structure-factor",
            "",
            "Structure factor",
            figures.draw_structure_factor,
            "X-ray weighted, from g(r) up to 15 Å with Lorch's window.",
        ),
        (
            "bulk_modulus" in estimates,
            "moduli",
            "Fig. 4b",
            "Elastic moduli",
            figures.draw_moduli,
            "At 0 K with relaxed ions. Fast quenches are softer in shear than laboratory glasses.",
        ),
        (
            has_viscosity,
            "viscosity",
            "Fig. 5a",
            "Viscosity",
            figures.draw_viscosity,
            "Green-Kubo over all runs of a temperature.",
        ),
        (
            any(key.startswith("relaxation_time ") for key in estimates),
            "relaxation-times",
            "",
            "Alpha relaxation",
            figures.draw_relaxation_times,
            "Time at which the self-intermediate scattering function falls to 1/e.",
        ),
        (
            "heat capacity" in curves,
            "heat-capacity",
            "Fig. 5b",
            "Heat capacity",
            figures.draw_heat_capacity,
            "Slope of the enthalpy along the coolings.",
        ),
        (
            "cooling" in curves,
            "cooling",
            "",
            "Volume along the coolings",
            figures.draw_cooling,
            "Mean over quenches; dashed: intersection of the lines of glass and liquid.",
        ),
        (
            "energies" in curves,
            "shear-moduli",
            "Fig. 6a",
            "Shear modulus and energy",
            figures.draw_shear_moduli,
            "Quasi-static shear of each given glass.",
        ),
        (
            has_labels,
            "landscape",
            "Fig. 6b",
            "Energies of the glasses",
            figures.draw_landscape,
            "Each potential is shifted by its mean offset; the diagonal is perfect agreement.",
        ),
        (
            "displacements" in curves,
            "displacements",
            "Fig. 1b",
            "Displacements on relaxation",
            figures.draw_displacements,
            "Given glasses relaxed at zero stress; legend: fraction of neighbours kept, Δ_CB.",
        ),
        (
            "stress-strain" in curves,
            "stress-strain",
            "",
            "Shear to yield",
            figures.draw_stress_strain,
            "Athermal quasi-static shear, mean over glasses; point: mean of the yield points.",
        ),
        (
            "cold" in curves,
            "cold",
            "",
            "Cold curves",
            figures.draw_cold_curves,
            "A glass scaled uniformly, without relaxation.",
        ),
    ]
    panels = []
    for wanted, name, label, title, draw, caption in drawn:
        if wanted:
            drawing = style.Drawing(partial(draw, result=result), name)
            panels.append(Panel(name, label, title, drawing, caption))
    return panels


def comparison_notes(result: Comparison) -> list[str]:
    """Failures, warnings, what has not converged, and the sources of measured values."""
    notes = [
        f"{model.name}: {model.n_done} of {plural(model.n_planned, 'sample')} have a result."
        for model in result.models
        if model.n_done < model.n_planned
    ]
    notes += [result.mixed_versions] if result.mixed_versions else []
    notes += [_sentence(f"{what} failed: {reason}") for what, reason in result.failures.items()]
    notes += [_sentence(f"{what}: {reason}") for what, reason in result.warnings.items()]
    notes += [
        _sentence(f"{what}: not resolved: {reason}") for what, reason in result.unresolved.items()
    ]
    notes += [
        _sentence(typeset(f"{model.name}, {title_of(key)}: {estimate.verdict}"))
        for model in result.models
        for key, estimate in model.estimates.items()
        if estimate.verdict.startswith("not converged")
    ]
    used = dict.fromkeys(each for *_, experiments in result.rows() for each in experiments)
    notes += [
        sentence(
            f"{title_of(each.quantity)} {each.value:g} of {each.composition}"
            f"{_sample(each.sample)}: {each.source}"
        )
        for each in used
    ]
    notes += [
        sentence(
            f"measured {title_of(each.quantity)} of {each.composition}"
            f"{_sample(each.sample)}: {each.source}"
        )
        for each in result.measured_curves
    ]
    return notes or ["Nothing failed."]


def typeset(text: str) -> str:
    """Return a title with units as they are printed: superscripts, Å and Δ."""
    for plain, printed in _PRINTED:
        text = text.replace(plain, printed)
    return text


def _sentence(text: str) -> str:
    """The text with a full stop; it begins with the name of a potential."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _sample(sample: str) -> str:
    """How a sample was made, in brackets; empty if that is not known."""
    return f" ({sample})" if sample else ""


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    return f"{with_error(estimate.value, estimate.error)} ({estimate.n_samples})".replace("-", "−")
