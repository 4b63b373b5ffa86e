"""Content of the pages of the live view: values for their templates, from the usual queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ase.data import atomic_numbers
from ase.data.colors import jmol_colors

from mgflows.database.failures import read_failures
from mgflows.database.forecast import running_jobs, seconds_left
from mgflows.database.glass import choose_potential
from mgflows.database.job_log import read_job_log
from mgflows.database.validations import submitted_validations, validation_progress
from mgflows.errors import InputError
from mgflows.report.data import ReportData
from mgflows.report.page import stand_in_warning
from mgflows.report.sections.acceptance import acceptance_warning
from mgflows.report.web.downloads import DATASET_FORMATS, POTENTIAL_FORMATS
from mgflows.schemas.training import subset_order
from mgflows.text import plural, sentence

if TYPE_CHECKING:
    from mgflows.database import CampaignStatus, GlassDatabase
    from mgflows.database.status import GroupStatus
    from mgflows.database.validations import SampleGroup
    from mgflows.report.web.structures import ShownStructure
    from mgflows.schemas.training import PotentialDocument

__all__ = [
    "Bar",
    "campaign",
    "campaigns",
    "comparisons",
    "dataset",
    "job",
    "potential",
    "structure",
    "validation",
]

_STATES = ("completed", "running", "failed", "waiting", "planned")
_SECONDS_BETWEEN_REFRESHES = 10


@dataclass(frozen=True)
class Bar:
    """Jobs as a bar: name, number, and start and width in % of each state."""

    parts: tuple[tuple[str, int, float, float], ...]

    @classmethod
    def of(cls, *groups: GroupStatus | SampleGroup) -> Bar:
        """The bar of one or several groups of jobs."""
        numbers = {state: sum(getattr(group, state) for group in groups) for state in _STATES}
        total, begin, parts = max(sum(numbers.values()), 1), 0.0, []
        for state, number in numbers.items():
            width = 100.0 * number / total
            parts.append((state, number, begin, width))
            begin += width
        return cls(tuple(parts))

    @property
    def text(self) -> str:
        """The numbers in words, such as ``11 completed, 2 running``."""
        words = [f"{number} {state}" for state, number, *_ in self.parts if number]
        return ", ".join(words) or "no jobs"


def campaigns(database: GlassDatabase) -> dict[str, Any]:
    """All campaigns, the newest first."""
    entries, active = [], False
    for document in database.campaigns()[::-1]:
        status = database.status(document.campaign)
        active = active or not status.finished
        found = database.potentials(document.campaign)
        entries.append(
            {
                "document": document,
                "status": status,
                "bar": Bar.of(*status.groups),
                "failed": sum(group.failed for group in status.groups),
                "potential": choose_potential(found) if found else None,
            }
        )
    return {"campaigns": entries, "refresh": _SECONDS_BETWEEN_REFRESHES if active else None}


def campaign(database: GlassDatabase, name: str) -> dict[str, Any]:
    """One campaign: progress, failures, costs and results."""
    document = database.campaign(name)
    name = document.campaign
    status = database.status(name)
    potentials = database.potentials(name)
    best = choose_potential(potentials) if potentials else None
    failures = read_failures(database.mongo, name)
    return {
        "document": document,
        "status": status,
        "groups": [(group, Bar.of(group)) for group in status.groups],
        "total": Bar.of(*status.groups),
        "running": running_jobs(database.mongo, name),
        "failures": failures,
        "warnings": _warnings(ReportData(campaign=document), status, best),
        "costs": database.cost(name),
        "remaining": database.remaining_cost(name),
        "datasets": database.datasets(name)[::-1],
        "potentials": potentials[::-1],
        "best": best,
        "comparisons": database.comparisons(name)[::-1],
        "refresh": None if status.finished else _SECONDS_BETWEEN_REFRESHES,
    }


def job(database: GlassDatabase, name: str, fw_id: int) -> dict[str, Any]:
    """One job of a campaign or a validation: its launches, its failure and its output."""
    log = read_job_log(database.mongo, name, fw_id)
    failures = {failure.fw_id: failure for failure in read_failures(database.mongo, name)}
    running = {each.fw_id: each for each in running_jobs(database.mongo, name)}
    return {
        "campaign": name,
        "job": log,
        "failure": failures.get(fw_id),
        "progress": running.get(fw_id),
        "refresh": _SECONDS_BETWEEN_REFRESHES if fw_id in running else None,
    }


def comparisons(database: GlassDatabase) -> dict[str, Any]:
    """Stored comparisons of potentials, and the validations whose jobs are in the database."""
    names = submitted_validations(database.mongo)
    submitted = [validation_progress(database.mongo, name) for name in names]
    active = any(not each.finished for each in submitted)
    return {
        "comparisons": database.comparisons()[::-1],
        "submitted": [(each, Bar.of(*each.groups)) for each in submitted],
        "refresh": _SECONDS_BETWEEN_REFRESHES if active else None,
    }


def validation(database: GlassDatabase, name: str) -> dict[str, Any]:
    """One validation that was submitted as jobs: its samples and their failures."""
    progress = validation_progress(database.mongo, name)
    remaining = database.remaining_cost(name)
    running = running_jobs(database.mongo, name)
    return {
        "validation": progress,
        "groups": [(group, Bar.of(group)) for group in progress.groups],
        "total": Bar.of(*progress.groups),
        "running": running,
        "failures": read_failures(database.mongo, name),
        "core_hours": sum(each.core_hours for each in database.cost(name)),
        "core_hours_left": sum(each.core_hours for each in remaining),
        "seconds_left": seconds_left(remaining, len(running)),
        "compared": any(each.validation == name for each in database.comparisons()),
        "refresh": None if progress.finished else _SECONDS_BETWEEN_REFRESHES,
    }


def dataset(database: GlassDatabase, identifier: str) -> dict[str, Any]:
    """One dataset, from its summary: the list of frames is not loaded."""
    found = [each for each in database.datasets() if each.dataset_id == identifier]
    if not found:
        raise InputError(f"there is no dataset {identifier!r}", hint="choose one in the list")
    return {
        "dataset": found[-1],
        "potentials": [p for p in database.potentials() if p.dataset_id == identifier],
        "formats": DATASET_FORMATS,
        "splits": ("family", "paper"),
    }


def potential(database: GlassDatabase, identifier: str) -> dict[str, Any]:
    """One potential: acceptance, errors and history."""
    found = [each for each in database.potentials() if each.potential_id == identifier]
    if not found:
        raise InputError(f"there is no potential {identifier!r}", hint="choose one in the list")
    subsets = sorted(
        found[-1].errors["train"], key=lambda name: (name == "all", subset_order(name))
    )
    return {
        "potential": found[-1],
        "subsets": subsets,
        "scaled_down": sentence(found[-1].scaled_down),
        "warning": acceptance_warning(found[-1]),
        "formats": [form for form in POTENTIAL_FORMATS if form != "nep"],
    }


def structure(shown: ShownStructure) -> dict[str, Any]:
    """Composition and colours of a structure."""
    atoms = shown.atoms
    numbers = atoms.symbols.formula.count()
    colors = {
        symbol: "#" + "".join(f"{round(255 * c):02x}" for c in jmol_colors[atomic_numbers[symbol]])
        for symbol in numbers
    }
    lengths = " × ".join(f"{length:.2f}" for length in atoms.cell.lengths())
    angles = ", ".join(f"{angle:.1f}°" for angle in atoms.cell.angles())
    facts = [
        ("atoms", f"{len(atoms)}, {atoms.symbols.formula:metal}"),
        ("cell", f"{lengths} Å, {angles}"),
    ]
    return {"facts": [*facts, *shown.facts], "species": numbers, "colors": colors}


def _warnings(
    data: ReportData, status: CampaignStatus, best: PotentialDocument | None
) -> list[tuple[str, str, bool]]:
    """Headings and texts of warnings, and whether each is a failure."""
    found = [
        ("Failed.", acceptance_warning(best), True),
        *(
            ("Blocked.", sentence(f"{plural(number, 'job')}: {reason}"), True)
            for reason, number in status.stopped.items()
        ),
        (stand_in_warning(data), "The numbers do not describe the real alloy.", True),
        ("Scaled down.", sentence(data.campaign.scaled_down), False),
    ]
    return [(heading, text, strong) for heading, text, strong in found if heading and text]
