"""Reproduction of a paper's figures: stored values, and those of a campaign.

``wadowski2025.yaml`` lists every figure of the paper, the number it prints, if any, and values that
commands of this repository computed. A value of a campaign has the campaign's protocol,
which may be much smaller than the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

import yaml

from mgflows.text import plural

if TYPE_CHECKING:
    from mgflows.report.data import ReportData

__all__ = ["PAPERS", "Figure", "Reproduction", "Value", "load_reproduction", "with_campaign"]

PAPERS = ("wadowski2025",)
"""Papers whose figures are listed."""
Relation = Literal["equal", "at least", "at most"]
Status = Literal["schematic", "not reproduced yet", "differs", "in part", "reproduced"]
_TOLERANCE = 2.0
"""Standard errors within which a value agrees with the paper."""


@dataclass(frozen=True)
class Value:
    """One number of a figure.

    Parameters
    ----------
    quantity, unit
        Name and unit of the quantity.
    value, error
        Our value and its standard error; None if it is not known.
    protocol
        How our value was computed.
    source
        File or campaign from which it was read.
    paper
        The number that the paper prints; None if it prints none.
    relation
        Relation to the paper's number: equality, or a bound.
    excerpt
        Text of the file that contains the value.
    """

    quantity: str
    unit: str
    value: float
    protocol: str
    source: str
    error: float | None = None
    paper: float | None = None
    relation: Relation = "equal"
    excerpt: str = ""

    @property
    def deviation(self) -> float | None:
        """Our value minus the paper's; None if the paper prints no number."""
        return None if self.paper is None else self.value - self.paper

    @property
    def agrees(self) -> bool | None:
        """Whether the values agree within two standard errors; None if this cannot be decided."""
        if self.deviation is None or self.error is None:
            return None
        tolerance = _TOLERANCE * self.error
        if self.relation == "at least":
            return self.deviation >= -tolerance
        if self.relation == "at most":
            return self.deviation <= tolerance
        return abs(self.deviation) <= tolerance


@dataclass(frozen=True)
class Figure:
    """One figure of the paper.

    Parameters
    ----------
    figure, shows
        Its number and its content.
    paper
        The paper's protocol.
    command
        Command that computes it.
    missing
        Parts of the paper's protocol that the values lack.
    schematic
        Whether the figure is a sketch without values.
    values
        The numbers.
    """

    figure: str
    shows: str
    paper: str = ""
    command: str = ""
    missing: str = ""
    schematic: bool = False
    values: tuple[Value, ...] = field(default=())

    @property
    def status(self) -> Status:
        """Status of the reproduction; a single value that differs makes it ``differs``."""
        if self.schematic:
            return "schematic"
        if not self.values:
            return "not reproduced yet"
        if any(value.agrees is False for value in self.values):
            return "differs"
        complete = not self.missing and all(value.agrees for value in self.values)
        return "reproduced" if complete else "in part"


@dataclass(frozen=True)
class Reproduction:
    """A paper and its figures.

    Parameters
    ----------
    title, authors, data
        The paper, and the place of its data.
    tables
        A sentence on its tables.
    figures
        Its figures, in order.
    campaign
        Campaign whose values are among them.
    """

    title: str
    authors: str
    data: str
    tables: str
    figures: tuple[Figure, ...]
    campaign: str | None = None


def load_reproduction(paper: str) -> Reproduction:
    """Read the stored values of a paper, one of :data:`PAPERS`."""
    text = (resources.files("mgflows.report") / f"{paper}.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    figures = tuple(_figure(entry) for entry in content.pop("figures"))
    return Reproduction(figures=figures, **content)


def _figure(entry: dict[str, Any]) -> Figure:
    values = tuple(Value(**value) for value in entry.pop("values", ()))
    return Figure(values=values, **entry)


def with_campaign(reproduction: Reproduction, data: ReportData) -> Reproduction:
    """Add the values of a campaign to the figures.

    Parameters
    ----------
    reproduction
        The figures.
    data
        The campaign. Only quantities that it has measured are added.
    """
    found = _values_of(data)
    missing = _missing(data)
    figures = [
        replace(
            figure,
            values=(*figure.values, *found.get(figure.figure, ())),
            missing="; ".join(filter(None, (figure.missing, missing)))
            if figure.figure in found
            else figure.missing,
        )
        for figure in reproduction.figures
    ]
    return replace(reproduction, figures=tuple(figures), campaign=data.campaign.campaign)


def _missing(data: ReportData) -> str:
    """Parts of the paper's protocol that the campaign lacks, in words."""
    labels = "" if data.is_dft else "DFT"
    return "; ".join(filter(None, (labels, data.campaign.scaled_down)))


def _values_of(data: ReportData) -> dict[str, list[Value]]:
    """Values of a campaign by figure."""
    name = data.campaign.campaign
    found: dict[str, list[Value]] = {}

    def add(
        figure: str,
        quantity: str,
        unit: str,
        value: float | None,
        error: float | None = None,
        *,
        protocol: str,
        paper: float | None = None,
        relation: Relation = "equal",
    ) -> None:
        if value is not None:
            found.setdefault(figure, []).append(
                Value(
                    quantity,
                    unit,
                    float(value),
                    protocol,
                    f"campaign {name}",
                    error,
                    paper,
                    relation,
                )
            )

    _add_sampling(data, add)
    _add_training(data, add)
    _add_validation(data, add)
    _add_comparisons(data, add)
    return found


def _add_sampling(data: ReportData, add: Any) -> None:
    from mgflows.surrogate.correlation import measure_fitness

    if data.similarity is not None:
        overall = data.similarity.overall
        add(
            "1b",
            "bonds kept",
            "%",
            100.0 * overall.delta_cb,
            None if overall.delta_cb_error is None else 100.0 * overall.delta_cb_error,
            protocol=f"{plural(overall.n_samples, 'relaxed sample')} of all lengths",
            paper=98.0,
            relation="at least",
        )
    for group in data.supercooling.groups if data.supercooling else ():
        half_width = 0.5 * (group.log10_time_high - group.log10_time_low)
        add(
            "2a",
            f"log10 of the effective time at {group.n_sweeps:g} sweeps (paper, 14 decades at 1e9)",
            "t*",
            group.log10_time,
            half_width,
            protocol=plural(group.n_samples, "sample"),
        )
    samples = data.labelled_samples
    if samples and (fit := measure_fitness(samples).fit) is not None:
        protocol = plural(len(samples), "labelled sample")
        add(
            "2b",
            "slope of e(label) against e(LJ)",
            "",
            fit.slope,
            fit.slope_error,
            protocol=protocol,
        )
        add("2b", "R2 of the line", "", fit.r2, protocol=protocol)
    if data.relaxations:
        lost = [each.energy_before - each.energy_after for each in data.relaxations]
        add(
            "S1",
            "mean energy lost in the relaxation",
            "eV/atom",
            sum(lost) / len(lost),
            protocol=plural(len(lost), "relaxed sample"),
        )


def _add_training(data: ReportData, add: Any) -> None:
    for subset, number in data.frame_counts.items():
        add("3a", f"frames of {subset}", "", number, protocol="dataset of the potential")
    potential = data.best_potential
    if potential is None:
        return
    errors = potential.errors["test"]["all"]
    protocol = f"{errors.n_frames} test frames, {potential.split} split"
    add("3b", "test error of the energy", "meV/atom", errors.energy_rmse, protocol=protocol)
    add("3c", "test error of the forces", "meV/A", errors.force_rmse, protocol=protocol)
    add("S2", "test error of the virial", "meV/atom", errors.virial_rmse, protocol=protocol)
    if total := potential.loss.get("total"):
        steps = potential.loss["step"][-1] if potential.loss.get("step") else len(total)
        trained = f"{potential.trainer.trainer}, {steps:.0f} steps"
        add("3d", "total loss at the end", "", total[-1], protocol=trained)


_COMPARED = (
    ("4a", "X-ray g(r): mean distance to experiment", "rdf_distance_measured"),
    ("4b", "Young's modulus", "young_modulus"),
    ("4b", "bulk modulus", "bulk_modulus"),
    ("4b", "shear modulus", "shear_modulus"),
    ("4b", "Poisson's ratio", "poisson_ratio"),
    ("5a", "viscosity", "viscosity"),
    ("5b", "specific heat of the melt, slope", "heat_capacity_slope"),
    ("5b", "specific heat of the melt, fluctuations", "heat_capacity_fluctuations"),
    ("6a", "shear modulus from quasi-static shear", "shear_modulus_aqs"),
    ("6b", "slope of e(potential) against e(label)", "energy_slope"),
)
"""Figure, title and quantity of estimates of stored comparisons."""
_PAPER_DISTANCE = 0.091
"""Mean absolute difference of the X-ray g(r) to experiment (paper, section III, "Structure")."""


def _add_comparisons(data: ReportData, add: Any) -> None:
    """Values of the potential under test, the first one, in stored comparisons."""
    from mgflows.validation.quantities import QUANTITIES

    for document in data.comparisons:
        model = document.models[0]
        for figure, title, quantity in _COMPARED:
            for key, estimate in model.estimates.items():
                if key.partition(" ")[0] != quantity:
                    continue
                at = "" if estimate.temperature is None else f" at {estimate.temperature:.0f} K"
                add(
                    figure,
                    f"{title}{at}",
                    QUANTITIES[quantity].unit,
                    estimate.value,
                    estimate.error,
                    protocol=f"{model.name} in validation {document.validation}, suite "
                    f"{document.suite}, {plural(estimate.n_samples, 'sample')}",
                    paper=_PAPER_DISTANCE if quantity == "rdf_distance_measured" else None,
                    relation="at most",
                )


def _add_validation(data: ReportData, add: Any) -> None:
    validation = data.validation
    if validation is None:
        return
    summary, model = validation.summary, validation.summary.model
    suite = f"suite {validation.suite}"
    add(
        "4a",
        "X-ray g(r): mean distance to the label method",
        "",
        summary.rdf_mean_absolute_error,
        protocol=f"{suite}, one glass",
    )
    elastic = f"{suite}, {plural(model.n_elastic, 'glass')}"
    for quantity, unit, value, spread in (
        ("Young's modulus", "GPa", model.young_modulus, model.young_modulus_std),
        ("bulk modulus", "GPa", model.bulk_modulus, model.bulk_modulus_std),
        ("shear modulus", "GPa", model.shear_modulus, model.shear_modulus_std),
        ("Poisson's ratio", "", model.poisson_ratio, model.poisson_ratio_std),
    ):
        error = None
        if spread is not None and model.n_elastic > 1:
            error = spread / model.n_elastic**0.5
        add("4b", quantity, unit, value, error, protocol=elastic)
    add(
        "5a",
        f"viscosity at {model.melt_temperature or 0:.0f} K",
        "mPa s",
        model.viscosity,
        model.viscosity_error,
        protocol=suite,
    )
    curve = validation.curves.model.heat_capacity
    if curve is not None and curve.heat_capacity:
        add(
            "5b",
            f"specific heat at {curve.temperature[-1]:.0f} K",
            "J/(mol K)",
            curve.heat_capacity[-1],
            curve.error[-1],
            protocol=suite,
        )
    add(
        "6a",
        "shear modulus from quasi-static shear",
        "GPa",
        model.shear_modulus_aqs,
        protocol=f"{suite}, {plural(model.n_shear, 'glass')}",
    )
    add(
        "6b",
        "slope of e(potential) against e(label)",
        "",
        summary.energy_slope,
        summary.energy_slope_error,
        protocol=f"{suite}, {plural(summary.n_glasses, 'glass')}",
    )
