"""The HTML page of a report, one self-contained file."""

from __future__ import annotations

import logging
import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from mgflows import errors
from mgflows.errors import ServiceError
from mgflows.files import write_text
from mgflows.report.sections import (
    active_learning,
    comparison,
    provenance,
    sampling,
    training,
    validation,
)
from mgflows.report.sections.acceptance import acceptance_warning
from mgflows.report.sections.warnings import failed_checks
from mgflows.report.style import theme_rules
from mgflows.text import sentence

if TYPE_CHECKING:
    from mgflows.report.content import Section
    from mgflows.report.data import ReportData

__all__ = [
    "formula_parts",
    "is_report",
    "render_report",
    "report_sections",
    "stand_in_warning",
    "write_report",
]

logger = logging.getLogger(__name__)

_SECTIONS = (
    sampling.similarity,
    sampling.supercooling,
    training.database,
    training.potential,
    validation.structure,
    validation.dynamics,
    validation.energetics,
    validation.soundness,
    provenance.provenance,
)


def write_report(data: ReportData, path: str | Path) -> Path:
    """Write the report of a campaign to one file, atomically.

    Parameters
    ----------
    data
        Content of the report.
    path
        The file; an existing one is replaced.

    Returns
    -------
    Path
        Absolute path of the file.

    Raises
    ------
    MissingDependencyError
        If matplotlib or jinja2 is not installed.
    ServiceError
        If the file cannot be written.
    """
    path = Path(path).absolute()
    text = render_report(data)
    try:
        write_text(path, text)
    except OSError as error:
        raise ServiceError(
            f"the report cannot be written to {path}: {error.strerror}",
            hint="choose another file, in a writable directory with free space",
        ) from error
    logger.info(
        "report of campaign %s written to %s (%.1f MB)",
        data.campaign.campaign,
        path,
        len(text.encode()) / 1e6,
    )
    return path


def is_report(path: Path) -> bool:
    """Whether a file is a report that :func:`write_report` has written."""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return "· mgflows report</title>" in stream.read(4096)
    except OSError:
        return False


def render_report(data: ReportData) -> str:
    """Render the report as the text of an HTML page without scripts or outside references."""
    jinja2 = errors.require("jinja2", "report", "the HTML report")
    folder = resources.files("mgflows.report")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string((folder / "report.html.j2").read_text(encoding="utf-8"))
    best, dataset = data.best_potential, data.dataset
    sections = report_sections(data)
    return str(
        template.render(
            css=(folder / "report.css").read_text(encoding="utf-8") + theme_rules(),
            campaign=data.campaign,
            alloy=formula_parts(data.campaign.alloy.name),
            n_atoms=data.campaign.alloy.n_atoms,
            potential=best,
            dataset=dataset,
            failed=acceptance_warning(best),
            failed_checks=failed_checks(data),
            warning=stand_in_warning(data),
            scaled_down=sentence(data.campaign.scaled_down),
            tiles=provenance.tiles(data),
            sections=sections,
            origins=provenance.origins(data),
            limits=provenance.limits(data),
            commands=provenance.commands(data),
        )
    )


def report_sections(data: ReportData) -> list[Section]:
    """Return the sections of the report, in their order."""
    builders = list(_SECTIONS)
    if data.rounds:
        builders.insert(builders.index(training.potential) + 1, active_learning.rounds)
    if data.comparisons:
        builders.insert(builders.index(validation.soundness) + 1, comparison.comparisons)
    return [build(data) for build in builders]


def stand_in_warning(data: ReportData) -> str:
    """Return what the labels are if they are not DFT; an empty text otherwise."""
    if data.is_dft is not False:
        return ""
    return "Stand-in EAM, not DFT." if data.is_stand_in else "The labels are not DFT."


def formula_parts(name: str) -> list[tuple[str, str]]:
    """Split a formula into (symbol, amount) pairs for subscripts; any other name is one pair."""
    parts = re.findall(r"([A-Z][a-z]?)(\d*\.?\d*)", name)
    return (
        parts
        if parts and "".join(symbol + amount for symbol, amount in parts) == name
        else [(name, "")]
    )
