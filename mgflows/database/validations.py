"""Progress of the validations that `mgflows validate --submit` added to the database."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mgflows.database.planned import stopped_jobs
from mgflows.errors import InputError
from mgflows.schemas.campaign import CAMPAIGNS, PLANNED
from mgflows.schemas.comparison import ValidationSampleDocument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymongo.database import Database

__all__ = [
    "SampleGroup",
    "SampleProblem",
    "ValidationProgress",
    "submitted_validations",
    "validation_progress",
]

_STATES = {
    "COMPLETED": "completed",
    "RUNNING": "running",
    "FIZZLED": "failed",
    "DEFUSED": "failed",
}
"""FireWorks states to fields of a group; all others are waiting."""


@dataclass(frozen=True)
class SampleGroup:
    """Samples of one kind under one potential.

    Attributes
    ----------
    potential
        Name of the potential in the validation; empty for the collector of the samples.
    kind
        ``soundness``, ``glass``, ``quench``, ``yield``, or ``melt`` with its temperature.
    completed, running, waiting, failed, planned
        Number of jobs in that state; planned ones are not in the LaunchPad yet.
    """

    potential: str
    kind: str
    completed: int = 0
    running: int = 0
    waiting: int = 0
    failed: int = 0
    planned: int = 0

    @property
    def total(self) -> int:
        """Number of jobs."""
        return self.completed + self.running + self.waiting + self.failed + self.planned


@dataclass(frozen=True)
class SampleProblem:
    """Quantities that a finished sample could not measure.

    Attributes
    ----------
    potential, sample
        Name of the potential; kind, temperature and number of the sample.
    reasons
        Quantity to the reason.
    """

    potential: str
    sample: str
    reasons: Mapping[str, str]


@dataclass(frozen=True)
class ValidationProgress:
    """Samples of one validation.

    Attributes
    ----------
    name
        Name of the validation.
    groups
        Samples by potential and kind, in the order of their submission, and the collector.
    problems
        Finished samples without a value for some quantity.
    stopped
        Reason to number of jobs that do not start.
    """

    name: str
    groups: tuple[SampleGroup, ...]
    problems: tuple[SampleProblem, ...]
    stopped: Mapping[str, int]

    @property
    def total(self) -> int:
        """Number of jobs."""
        return sum(group.total for group in self.groups)

    @property
    def completed(self) -> int:
        """Number of completed jobs."""
        return sum(group.completed for group in self.groups)

    @property
    def failed(self) -> int:
        """Number of failed jobs."""
        return sum(group.failed for group in self.groups)

    @property
    def finished(self) -> bool:
        """Whether nothing is left that could run."""
        left = sum(group.running + group.waiting + group.planned for group in self.groups)
        return left <= sum(self.stopped.values())


def submitted_validations(database: Database) -> list[str]:
    """Names of the validations that were submitted as jobs, the newest first.

    Parameters
    ----------
    database
        Database of the LaunchPad.
    """
    campaigns = database[CAMPAIGNS].distinct("campaign")
    query = {"spec.mgflows.stage": "validation", "spec.mgflows.campaign": {"$nin": campaigns}}
    newest = database["fireworks"].aggregate(
        [
            {"$match": query},
            {"$group": {"_id": "$spec.mgflows.campaign", "last": {"$max": "$fw_id"}}},
            {"$sort": {"last": -1}},
        ]
    )
    found = [row["_id"] for row in newest]
    # Of one that is being submitted, no job may be in the LaunchPad yet.
    query = {"groups.stage": "validation", "campaign": {"$nin": [*campaigns, *found]}}
    return database[PLANNED].distinct("campaign", query) + found


def validation_progress(database: Database, name: str) -> ValidationProgress:
    """Read the progress of a validation.

    Parameters
    ----------
    database
        Database of the LaunchPad.
    name
        Name of the validation.

    Raises
    ------
    InputError
        If no validation of this name was submitted.
    """
    names = submitted_validations(database)
    if name not in names:
        raise InputError(
            f"no validation {name!r} was submitted to the database {database.name}",
            hint=f"the validations are: {', '.join(names) or 'none yet'}; submit one with: "
            "mgflows validate --submit",
        )
    fireworks = database["fireworks"].find(
        {"spec.mgflows.campaign": name},
        ["name", "state", "spec.mgflows.family"],
        sort=[("fw_id", 1)],
    )
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for firework in fireworks:
        group = counts.setdefault(_group_of(firework), defaultdict(int))
        group[_STATES.get(firework["state"], "waiting")] += 1
    planned = database[PLANNED].aggregate(
        [
            {"$match": {"campaign": name, "state": "planned"}},
            {"$unwind": "$groups"},
            {"$group": {"_id": None, "n": {"$sum": "$groups.n"}}},
        ]
    )
    groups = [
        SampleGroup(potential, kind, **numbers) for (potential, kind), numbers in counts.items()
    ]
    groups += [SampleGroup("", "not submitted yet", planned=row["n"]) for row in planned]
    groups.sort(key=lambda group: not group.potential)
    return ValidationProgress(
        name, tuple(groups), _problems(database, name), stopped_jobs(database, name)
    )


def _group_of(firework: dict[str, Any]) -> tuple[str, str]:
    """Potential and kind of a job; only the samples have a family."""
    family = ((firework.get("spec") or {}).get("mgflows") or {}).get("family")
    if not family:
        return "", firework["name"]
    # Such as ``my potential melt 2000 K 3``.
    words = family.split()[:-1]
    n_kind = 3 if words[-1] == "K" else 1
    return " ".join(words[:-n_kind]), " ".join(words[-n_kind:])


def _problems(database: Database, name: str) -> tuple[SampleProblem, ...]:
    fields = ("potential", "kind", "temperature", "index", "failures")
    documents = database["outputs"].find(
        {
            "output.@class": ValidationSampleDocument.__name__,
            "output.validation": name,
            "output.failures": {"$nin": [{}, None]},
        },
        [f"output.{field}" for field in fields],
    )
    problems = []
    for document in documents:
        output = document["output"]
        at = "" if output.get("temperature") is None else f" {output['temperature']:g} K"
        sample = f"{output['kind']}{at} {output['index'] + 1}"
        problems.append(SampleProblem(output["potential"], sample, output["failures"]))
    return tuple(sorted(problems, key=lambda each: (each.potential, each.sample)))
