"""The rounds of active learning of a campaign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mgflows.database.documents import creation_order
from mgflows.schemas.active_learning import RoundDocument

if TYPE_CHECKING:
    from pymongo.database import Database

__all__ = ["RoundSummary", "read_rounds", "round_summaries"]


@dataclass(frozen=True)
class RoundSummary:
    """One round in numbers.

    Attributes
    ----------
    round
        Its number; round 0 evaluates the first potential.
    n_labels
        Labels that all rounds so far have added.
    force_error, force_error_error
        Estimated root mean square force error of the candidates, meV/A, and its standard error.
    test_energy, test_force
        Root mean square errors of the test frames by subset, meV/atom and meV/A.
    scale
        Error over spread of the committee, for forces.
    cpu_seconds
        Processor time of the round, s.
    outcome
        ``continue``, or the reason why the rounds ended.
    reason
        The verdict in words.
    """

    round: int
    n_labels: int
    force_error: float
    force_error_error: float | None
    test_energy: dict[str, float]
    test_force: dict[str, float]
    scale: float
    cpu_seconds: float
    outcome: str
    reason: str


def read_rounds(database: Database, campaign: str) -> list[RoundDocument]:
    """Return the rounds of a campaign in their order; the latest one if a round ran again.

    Parameters
    ----------
    database
        The pymongo database.
    campaign
        Name of the campaign.
    """
    query = {"metadata.mgflows.campaign": campaign, "output.@class": RoundDocument.__name__}
    found = database["outputs"].find(query, {"output": 1, "completed_at": 1})
    rounds = {}
    for document in sorted(found, key=creation_order):
        judged = RoundDocument.model_validate(document["output"])
        rounds[judged.round] = judged
    return [rounds[number] for number in sorted(rounds)]


def round_summaries(database: Database, campaign: str) -> tuple[RoundSummary, ...]:
    """Return the rounds of a campaign in numbers; see :func:`read_rounds`."""
    return tuple(
        RoundSummary(
            round=each.round,
            n_labels=each.n_labels,
            force_error=each.candidates.force_error,
            force_error_error=each.candidates.force_error_error,
            test_energy={group.group: group.energy for group in each.by_subset},
            test_force={group.group: group.force for group in each.by_subset},
            scale=each.scales["force"].value,
            cpu_seconds=sum(each.cpu_seconds.values()),
            outcome=each.outcome,
            reason=each.reason,
        )
        for each in read_rounds(database, campaign)
    )
