"""From data to one HTML file that needs nothing else."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from mgflows import errors
from mgflows.errors import ServiceError
from mgflows.report.content import sentence
from mgflows.report.sections import provenance, sampling, training, validation

if TYPE_CHECKING:
    from mgflows.report.content import Section
    from mgflows.report.data import ReportData

__all__ = ["render_report", "write_report"]

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
    """Write the report of a campaign into one file, whole or not at all.

    Parameters
    ----------
    data
        What to show.
    path
        The file; an older one is replaced.

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
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as stream:
            temporary = Path(stream.name)
            stream.write(text)
        # A temporary file is private; a report is made to be read by others as any file here would be.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise ServiceError(
            f"the report cannot be written to {path} ({error}); give a directory that exists and has space"
        ) from error
    logger.info(
        "report of campaign %s written to %s (%.1f MB)",
        data.campaign.campaign,
        path,
        len(text.encode()) / 1e6,
    )
    return path


def render_report(data: ReportData) -> str:
    """The report as the text of an HTML page without scripts or references to anything outside it."""
    jinja2 = errors.require("jinja2", "report", "the HTML report")
    room = resources.files("mgflows.report")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string((room / "report.html.j2").read_text(encoding="utf-8"))
    best, dataset = data.best_potential, data.dataset
    sections: list[Section] = [build(data) for build in _SECTIONS]
    return str(
        template.render(
            css=(room / "report.css").read_text(encoding="utf-8"),
            campaign=data.campaign,
            alloy=_name_parts(data.campaign.alloy.name),
            n_atoms=data.campaign.alloy.n_atoms,
            potential=best,
            dataset=dataset,
            warning=_stand_in_warning(data),
            scaled_down=sentence(data.campaign.scaled_down),
            tiles=provenance.tiles(data),
            sections=sections,
            origins=provenance.origins(data),
            limits=provenance.limits(data),
            commands=provenance.commands(data),
        )
    )


def _stand_in_warning(data: ReportData) -> str:
    if data.is_dft is not False:
        return ""
    return "Stand-in EAM, not DFT." if data.is_stand_in else "The labels are not DFT."


def _name_parts(name: str) -> list[tuple[str, str]]:
    """A formula as (symbol, amount) pairs, so that the page can lower the amounts; any other name is one pair."""
    parts = re.findall(r"([A-Z][a-z]?)(\d*\.?\d*)", name)
    return (
        parts
        if parts and "".join(symbol + amount for symbol, amount in parts) == name
        else [(name, "")]
    )
