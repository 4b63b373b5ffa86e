"""Several campaigns or potentials side by side, on one page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

import numpy as np

from mgflows.errors import InputError
from mgflows.report import style
from mgflows.report.comparison import Page, comparison_panels, quantity_tables, write_page
from mgflows.report.content import Panel, Table, compact, slope_with_error
from mgflows.report.data import ReportData
from mgflows.report.figures import comparison as figures
from mgflows.report.page import formula_parts
from mgflows.report.records import elasticity_of, landscape_of, shear_of, viscosities_of
from mgflows.report.sections.acceptance import acceptance_warning
from mgflows.report.sections.warnings import failed_checks
from mgflows.surrogate.correlation import measure_fitness
from mgflows.text import format_hours, listed
from mgflows.validation.averages import Estimate, ModelResults
from mgflows.validation.comparison import Comparison

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mgflows.database import GlassDatabase
    from mgflows.schemas.training import ErrorStatistics, PotentialDocument
    from mgflows.schemas.validation import ValidationDocument

__all__ = ["Entry", "read_entries", "write_side_by_side"]

_MODULI = {"E": "young_modulus", "B": "bulk_modulus", "G": "shear_modulus", "ν": "poisson_ratio"}


@dataclass(frozen=True)
class Entry:
    """One column of the page.

    Parameters
    ----------
    name
        A campaign, or the id of a potential.
    data
        Its campaign.
    potential, validation
        The potential to use, and its validation; none where there is none yet.
    """

    name: str
    data: ReportData
    potential: PotentialDocument | None
    validation: ValidationDocument | None

    @classmethod
    def of_campaign(cls, data: ReportData) -> Self:
        """The best potential of a campaign."""
        return cls(data.campaign.campaign, data, data.best_potential, data.validation)

    @property
    def test_errors(self) -> dict[str, ErrorStatistics]:
        """Test errors of the potential by subset."""
        return {} if self.potential is None else self.potential.errors.get("test", {})


def read_entries(
    database: GlassDatabase, names: Sequence[str], experiments: str | Path | None = None
) -> list[Entry]:
    """Read campaigns and potentials from the database.

    Parameters
    ----------
    database
        The database.
    names
        Names of campaigns, or ids of potentials or the beginnings of them.
    experiments
        A file of your own measured values and curves.

    Raises
    ------
    InputError
        If something is named twice, or is neither a campaign nor a potential.
    """
    campaigns = {document.campaign for document in database.campaigns()}
    found: dict[str, ReportData] = {}
    entries: list[Entry] = []
    for name in names:
        potential = None if name in campaigns else _potential(database, name, campaigns)
        campaign = name if potential is None else potential.campaign
        if campaign not in found:
            found[campaign] = ReportData.from_database(database, campaign, experiments)
        data = found[campaign]
        if potential is None:
            entry = Entry.of_campaign(data)
        else:
            own = [v for v in data.validations if v.potential_id == potential.potential_id]
            entry = Entry(potential.potential_id, data, potential, own[-1] if own else None)
        if entry.name in [other.name for other in entries]:
            raise InputError(f"{name!r} is given twice", hint="name each once")
        entries.append(entry)
    return entries


def write_side_by_side(entries: Sequence[Entry], path: str | Path) -> Path:
    """Write the page, atomically.

    Parameters
    ----------
    entries
        Campaigns and potentials to compare, in the order of the columns.
    path
        The file; an existing one is replaced.

    Raises
    ------
    MissingDependencyError
        If matplotlib or jinja2 is not installed.
    ServiceError
        If the file cannot be written.
    """
    alloys = list(dict.fromkeys(entry.data.campaign.alloy.name for entry in entries))
    result = _comparison(entries)
    tables = [_table(entries)]
    if result.models:
        tables += quantity_tables(result)
    names = [entry.name for entry in entries]
    page = Page(
        kind="comparison",
        names=names,
        alloy=formula_parts(alloys[0]) if len(alloys) == 1 else [(", ".join(alloys), "")],
        lede=f"{listed(names)} side by side.",
        tables=tables,
        panels=[*_own_panels(entries), *comparison_panels(result)],
        notes_title="Notes",
        notes=_notes(entries),
        notes_first=True,
    )
    return write_page(path, page)


def _potential(database: GlassDatabase, name: str, campaigns: set[str]) -> PotentialDocument:
    try:
        return database.potential(name)
    except InputError as error:
        raise InputError(
            f"{name!r} is neither a campaign nor a potential ({error.message})",
            hint=f"the campaigns are {', '.join(sorted(campaigns)) or 'none yet'}; list potentials "
            "with: mgflows potentials",
        ) from error


def _table(entries: Sequence[Entry]) -> Table:
    rows: list[tuple[str, Callable[[Entry], str]]] = [
        ("campaign", lambda e: e.data.campaign.campaign),
        ("alloy", lambda e: e.data.campaign.alloy.name),
        ("scale", lambda e: e.data.campaign.scale),
        ("labels", lambda e: e.data.campaign.method),
        ("samples", lambda e: str(len(e.data.samples))),
        ("longest cooling (sweeps)", _longest_cooling),
        ("energy per decade of cooling time (ε)", _clock_slope),
        ("slope of label against surrogate energies", _surrogate_slope),
        ("potential", lambda e: e.potential.potential_id if e.potential else "none yet"),
        ("dataset", lambda e: e.potential.dataset_id if e.potential else "–"),
        ("split", lambda e: e.potential.split if e.potential else "–"),
        ("training frames", lambda e: str(e.potential.n_train) if e.potential else "–"),
        ("acceptance", _acceptance),
        ("test frames", lambda e: _error(e, "n_frames")),
        ("energy RMSE, test (meV/atom)", lambda e: _error(e, "energy_rmse")),
        ("force RMSE, test (meV/Å)", lambda e: _error(e, "force_rmse")),
        ("virial RMSE, test (meV/atom)", lambda e: _error(e, "virial_rmse")),
        (
            "processor time of the campaign (h)",
            lambda e: format_hours(sum(cost.cpu_seconds for cost in e.data.costs) / 3600.0),
        ),
    ]
    return Table(
        "Campaigns and potentials",
        ["", *(entry.name for entry in entries)],
        [[title, *(value(entry) for entry in entries)] for title, value in rows],
    )


def _longest_cooling(entry: Entry) -> str:
    longest = max((sample.n_sweeps for _, sample in entry.data.samples), default=0)
    return style.scientific(longest) if longest else "–"


def _clock_slope(entry: Entry) -> str:
    clock = entry.data.clock
    return "–" if clock is None else slope_with_error(clock.slope, clock.slope_error)


def _surrogate_slope(entry: Entry) -> str:
    samples = entry.data.labelled_samples
    fit = measure_fitness(samples).fit if samples else None
    return "–" if fit is None else slope_with_error(fit.slope, fit.slope_error)


def _acceptance(entry: Entry) -> str:
    accepted = entry.potential.accepted if entry.potential is not None else None
    return {True: "passed", False: "failed", None: "not tested"}[accepted]


def _error(entry: Entry, attribute: str) -> str:
    errors = entry.test_errors.get("all")
    if errors is None:
        return "–"
    value = getattr(errors, attribute)
    return str(value) if isinstance(value, int) else compact(value)


def _own_panels(entries: Sequence[Entry]) -> list[Panel]:
    clocks = {
        entry.data.campaign.campaign: (entry.data.clock, entry.data.supercooling.groups)
        for entry in entries
        if entry.data.clock is not None and entry.data.supercooling is not None
    }
    errors = {entry.name: entry.test_errors for entry in entries if entry.test_errors}
    panels = []
    if clocks:
        panels.append(
            Panel(
                "clock",
                "Fig. 2a",
                "The supercooling clocks",
                style.Drawing(partial(figures.draw_clocks, clocks=clocks), "clock"),
                "Logarithmic laws of the molecular-dynamics coolings, and the samples at their "
                "effective times with 68% intervals. Energies are in units of each campaign's own "
                "reference species.",
            )
        )
    if errors:
        panels.append(
            Panel(
                "test-errors",
                "",
                "Test errors by subset",
                style.Drawing(partial(figures.draw_test_errors, errors=errors), "test-errors"),
                "Root mean square errors over the test frames of each potential's own dataset, "
                "recomputed from nep.txt.",
            )
        )
    return panels


def _comparison(entries: Sequence[Entry]) -> Comparison:
    """The stored validations as a comparison, with experiment if there is one alloy."""
    compositions = [entry.data.campaign.alloy.composition for entry in entries]
    same = all(composition == compositions[0] for composition in compositions)
    return Comparison(
        suite=listed(
            list(dict.fromkeys(e.validation.summary.suite for e in entries if e.validation))
        ),
        composition=compositions[0],
        models=[_results(e.name, e.validation) for e in entries if e.validation is not None],
        experiments=entries[0].data.experiments if same else [],
        measured_curves=entries[0].data.measured_curves if same else [],
    )


def _results(name: str, document: ValidationDocument) -> ModelResults:
    summary, curves = document.summary.model, document.curves.model
    model = ModelResults(name)
    found = {"density": (summary.density, summary.density_error, 1)}
    elasticity = elasticity_of(document)
    if elasticity is not None and "model" in elasticity.moduli:
        for symbol, quantity in _MODULI.items():
            found[quantity] = (*elasticity.moduli["model"][symbol], summary.n_elastic)
    found["shear_modulus_aqs"] = (
        summary.shear_modulus_aqs,
        None
        if summary.shear_modulus_aqs_std is None
        else summary.shear_modulus_aqs_std / max(summary.n_shear, 1) ** 0.5,
        summary.n_shear,
    )
    found["energy_slope"] = (
        document.summary.energy_slope,
        document.summary.energy_slope_error,
        len(document.curves.energies.model),
    )
    for quantity, (value, error, n_samples) in found.items():
        if value is not None:
            known = error if error is not None and np.isfinite(error) else None
            model.estimates[quantity] = Estimate(value, known, n_samples)
    for key, value, error in (
        ("melt_density", summary.melt_density, summary.melt_density_error),
        ("viscosity", *viscosities_of(document).get("model", (None, None))),
    ):
        if value is not None and summary.melt_temperature is not None:
            temperature = summary.melt_temperature
            known = error if error is not None and np.isfinite(error) else None
            model.estimates[f"{key} {temperature:g} K"] = Estimate(
                value, known, 1, temperature=temperature
            )
    if (g := curves.radial_distribution) is not None and g.xray:
        model.curves["radial distribution"] = {"distance": g.distance, "xray": g.xray}
    if (capacity := curves.heat_capacity) is not None:
        model.curves["heat capacity"] = {
            "temperature": capacity.temperature,
            "heat_capacity": capacity.heat_capacity,
            "error": [np.nan if each is None else each for each in capacity.error],
        }
    landscape = landscape_of(document)
    if landscape is not None:
        moduli = [shear.moduli.get("model", np.nan) for shear in shear_of(document)]
        missing = [np.nan] * (len(landscape[0]) - len(moduli))
        model.curves["energies"] = {
            "label": landscape[0].tolist(),
            "energy": landscape[1].tolist(),
            "shear_modulus": [*moduli, *missing][: len(landscape[0])],
        }
    return model


def _notes(entries: Sequence[Entry]) -> list[str]:
    notes = []
    if len({entry.data.campaign.method for entry in entries}) > 1:
        notes.append(
            "The labels are of different methods: errors and energies are relative to each "
            "campaign's own labels."
        )
    if len({entry.potential.dataset_id for entry in entries if entry.potential}) > 1:
        notes.append(
            "The datasets differ: each potential was tested on its own frames, so a lower error "
            "does not necessarily mean a better potential."
        )
    for entry in entries:
        if warning := acceptance_warning(entry.potential):
            notes.append(warning)
        if entry.validation is None:
            notes.append(f"{entry.name} has not been validated yet.")
        elif entry.potential and entry.validation.potential_id != entry.potential.potential_id:
            notes.append(
                f"{entry.name} was validated with potential {entry.validation.potential_id}."
            )
    for data in {entry.data.campaign.campaign: entry.data for entry in entries}.values():
        notes += [f"{data.campaign.campaign}: {text}" for text in failed_checks(data)]
        if data.campaign.scaled_down:
            notes.append(f"{data.campaign.campaign} is scaled down: {data.campaign.scaled_down}.")
    return notes or ["All checks passed."]
